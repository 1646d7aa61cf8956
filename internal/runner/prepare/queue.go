package prepare

import (
	"context"
	"fmt"
	"io"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/queue"
)

// RunQueue prepares the videos of many clips as they come. It says in one line what
// became of them.
func RunQueue(ctx context.Context, cfg report.PrepareConfig, q *queue.Queue, log io.Writer) (string, error) {
	cfg.Boxes = ""
	var prepared, failed int
	said := func() string {
		return fmt.Sprintf("%d of %d videos were prepared, %d cannot be", prepared, len(q.Clips), failed)
	}
	for _, c := range q.Clips {
		var seen queue.Seen
		err := q.Await(ctx, report.RoleFetch, func() bool {
			seen = c.Seen()
			return seen.Over() || seen.Fetched
		})
		if err != nil {
			return said(), err
		}
		if seen.Over() {
			continue
		}
		_, err = Run(ctx, cfg, c.Layout, c.Log(log))
		switch {
		case ctx.Err() != nil:
			return said(), context.Cause(ctx)
		case c.Seen().Done: // its place is closed, and its files went away meanwhile
			if err := c.Clear(); err != nil {
				return said(), err
			}
		case err == nil:
			prepared++
		default:
			failed++
			fmt.Fprintf(log, "pose-runner: clip %d is not prepared: %s\n", c.Number, queue.FailureOf(err).Message)
			if err := c.Fail(err); err != nil {
				return said(), err
			}
		}
	}
	return said(), nil
}
