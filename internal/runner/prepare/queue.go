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
		became, err := c.Settle(ctx, err, "prepared", log)
		switch {
		case err != nil:
			return said(), err
		case became == queue.Worked:
			prepared++
		case became == queue.Failed:
			failed++
		}
	}
	return said(), nil
}
