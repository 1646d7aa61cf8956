package fetch

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/queue"
)

// RunQueue fetches the videos of many clips, each when there is room for it. It says
// in one line what became of them.
func RunQueue(ctx context.Context, cfg report.FetchConfig, q *queue.Queue, push func(report.Progress), log io.Writer) (string, error) {
	list, err := q.List()
	if err != nil {
		return "", err
	}
	var fetched, failed int
	var here []queue.Clip // that are fetched and not done
	said := func() string {
		return fmt.Sprintf("%d of %d videos were fetched, %d cannot be", fetched, len(q.Clips), failed)
	}
	for i, c := range q.Clips {
		if err := await(ctx, q, c); err != nil {
			return said(), err
		}
		if c.Seen().Over() {
			continue
		}
		err := q.Await(ctx, report.RoleDeliver, func() bool {
			here = slices.DeleteFunc(here, func(c queue.Clip) bool { return c.Seen().Done })
			return len(here) < report.QueueWindow
		})
		if err != nil {
			return said(), err
		}
		if c.Seen().Over() { // deliver found its place closed
			continue
		}
		here = append(here, c)
		one := cfg
		one.URI, one.Boxes = list[i].URI, nil
		if err := c.Open(); err != nil {
			return said(), err
		}
		_, err = Run(ctx, one, c.Layout, push, c.Log(log))
		became, err := c.Settle(ctx, err, "fetched", log)
		switch {
		case err != nil:
			return said(), err
		case became == queue.Worked:
			fetched++
		case became == queue.Failed:
			failed++
		}
	}
	return said(), nil
}

// await the look at a clip's places.
func await(ctx context.Context, q *queue.Queue, c queue.Clip) error {
	if !q.Config.Look {
		return nil
	}
	return q.Await(ctx, report.RoleLookup, func() bool {
		s := c.Seen()
		return s.Look != nil || s.Over()
	})
}
