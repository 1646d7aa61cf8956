package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pose-dev/pose-operator/internal/storage"
)

// many units at once; then the controller's memory with all of them finished and still
// there, pods too; then its restart.
func many(ctx context.Context, w *world, z sizes) ([]*row, error) {
	if err := w.warmUp(ctx, z.warm); err != nil {
		return nil, err
	}
	const prefix = "many-"
	r, err := w.weighed(ctx, z.many, func() (*row, error) {
		return w.measure(ctx, scenarioMany, prefix, z.many, bound(z.many), func(ctx context.Context) error {
			return w.createAll(ctx, prefix, z.many, 0)
		})
	})
	if err != nil {
		return nil, err
	}
	rows := []*row{r}
	again, err := w.restarted(ctx)
	if err != nil {
		return rows, fmt.Errorf("restart: %w", err)
	}
	return append(rows, again), nil
}

// restarted is how long it takes from the start of a controller, which was killed, until
// the pod of a unit is there that was made meanwhile, and what coming back costs.
func (w *world) restarted(ctx context.Context) (*row, error) {
	const name = "restart-00000"
	objects := len(w.watched.group(""))
	w.controller.kill()
	if err := w.create(ctx, name); err != nil {
		return nil, err
	}
	if err := storage.Sleep(ctx, settle); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := w.startController(); err != nil {
		return nil, err
	}
	n, err := w.watched.until(ctx, name, 1, slack, terminal)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.Join(fmt.Errorf("the unit has not ended within %s", slack), w.controller.dead())
	}
	r := &row{Scenario: scenarioRestart, Contender: w.contender.name, Units: 1, Objects: objects}
	units := w.watched.group(name)
	r.fill(units, began)
	r.RestartMS = milliseconds(units[0].pods[0].seen.Sub(began))
	if err := w.quiet(ctx); err != nil {
		return nil, err
	}
	cpu, err := cpuOf(w.controller.pid())
	if err != nil {
		return nil, err
	}
	r.ControllerCPU = rounded(cpu*1e3, 0)
	return r, nil
}

// quiet waits until controller and API server have nothing to do, a while at most.
func (w *world) quiet(ctx context.Context) error {
	const (
		share = 0.15 // of one core, of both together
		limit = 30 * time.Second
	)
	for over := time.Now().Add(limit); time.Now().Before(over); {
		before, err := w.account()
		if err != nil {
			return err
		}
		if err := storage.Sleep(ctx, time.Second); err != nil {
			return err
		}
		after, err := w.account()
		if err != nil {
			return err
		}
		if after.controller-before.controller+after.apiserver-before.apiserver < share {
			return nil
		}
	}
	return nil
}

// scale: what a unit costs while ever more finished objects lie there, whose pods are
// gone, and what these weigh.
func scale(ctx context.Context, w *world, z sizes) ([]*row, error) {
	if err := w.warmUp(ctx, z.warm); err != nil {
		return nil, err
	}
	_, empty, err := w.weigh(ctx)
	if err != nil {
		return nil, err
	}
	var rows []*row
	lie := 0
	levels := z.scale
	if w.contender.name != nameOurs {
		levels = levels[:2] // what one of its objects weighs does not change any more
	}
	for _, objects := range levels {
		size, err := w.archived(ctx, "warm-00000", lie, objects)
		if err != nil {
			return rows, err
		}
		lie = objects
		if err := w.quiet(ctx); err != nil {
			return rows, err
		}
		rss, heap, err := w.weigh(ctx)
		if err != nil {
			return rows, err
		}
		// After a collection, or it is chance whether one of what was loaded falls into
		// the time that is measured.
		server, err := w.apiserverHeap(ctx)
		if err != nil {
			return rows, err
		}
		prefix := fmt.Sprintf("scale%d-", objects)
		r, err := w.measure(ctx, scenarioScale, prefix, z.scaleUnits, bound(z.scaleUnits), func(ctx context.Context) error {
			return w.createAll(ctx, prefix, z.scaleUnits, 0)
		})
		if err != nil {
			return rows, err
		}
		r.Objects, r.ObjectBytes = objects, size
		r.Memory = &memory{APIServerHeap: server, RSSAfter: rss, HeapBefore: empty, HeapAfter: heap, HeapPerUnit: rounded((heap-empty)/float64(objects), 0)}
		rows = append(rows, r)
	}
	return rows, nil
}
