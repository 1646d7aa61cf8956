package lookup

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/queue"
)

// RunQueue looks at the places of many clips, in their order. It says in one line
// what it found.
func RunQueue(ctx context.Context, cfg report.LookupConfig, job report.JobRef, q *queue.Queue, l layout.Layout, log io.Writer) (string, error) {
	list, err := q.List()
	if err != nil {
		return "", err
	}
	var found, refused int
	said := func() string {
		return fmt.Sprintf("of %d clips %d have a result already and %d can have none", len(q.Clips), found, refused)
	}
	for i, c := range q.Clips {
		if c.Seen().Over() {
			continue
		}
		rep, err := Run(ctx, clipConfig(cfg, list[i]), q.Job(job, c), l, c.Log(log))
		if ctx.Err() != nil && (err != nil || rep.Reused == nil) {
			return said(), context.Cause(ctx)
		}
		look := queue.Look{Report: rep}
		var f *outcome.Failure
		switch {
		case err == nil && rep.Reused != nil:
			found++
		case errors.As(err, &f) && !f.Temporary:
			refused++
			look = queue.Look{Refused: queue.FailureOf(err)}
			fmt.Fprintf(log, "pose-runner: clip %d can have no result: %s\n", c.Number, look.Refused.Message)
		case err != nil:
			// A look that fails costs nothing but itself.
			look = queue.Look{}
			fmt.Fprintf(log, "pose-runner: clip %d is computed without a look: %s\n", c.Number, queue.FailureOf(err).Message)
		}
		if err := c.Looked(look); err != nil {
			return said(), err
		}
	}
	return said(), nil
}

// clipConfig is what a look at the places of one clip is told.
func clipConfig(cfg report.LookupConfig, c clips.Clip) report.LookupConfig {
	cfg.Video.URI, cfg.Boxes = c.URI, nil
	cfg.URI = c.Output(cfg.URI)
	return cfg
}
