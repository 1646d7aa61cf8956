package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// Names of the scenarios in results.json.
const (
	scenarioPaced = "paced"
	scenarioBurst = "burst"
	scenarioCrash = "crash"
	// scenarioCrashPaced is the same where nobody waits for anybody.
	scenarioCrashPaced = "crash-paced"
	scenarioMany       = "many"
	scenarioRestart    = "restart"
	scenarioScale      = "scale"
	scenarioProgress   = "progress"
)

// sizes of a run.
type sizes struct {
	warm, paced, burst, rounds, crash, many int
	// scale is how many finished objects lie there while scaleUnits are run; the last
	// but one is what memory at rest is taken at.
	scale      []int
	scaleUnits int
	// progress is how many jobs run on and tell how far they are.
	progress int
}

const (
	// pacedPerSecond is a load at which nobody waits for anybody.
	pacedPerSecond = 5
	// crashesPaced is how many pods crash a second where nobody waits.
	crashesPaced = 10
	// crashesPerSecond of pods that all run when it begins.
	crashesPerSecond = 100
	// slowest that a contender may be before it is not waited for, in jobs a second,
	// and what each may take beside.
	slowest = 15
	slack   = 60 * time.Second
)

var (
	quick = sizes{warm: 10, paced: 20, burst: 200, rounds: 1, crash: 40}
	full  = sizes{warm: 50, paced: 100, burst: 1000, rounds: 1, crash: 1000, many: 10000, scale: []int{1000, 10000, 50000}, scaleUnits: 500, progress: 5000}
)

// times some of the sizes, for finding out.
func (z sizes) times(factor float64) sizes {
	for _, n := range []*int{&z.paced, &z.burst, &z.crash, &z.many, &z.scaleUnits, &z.progress} {
		*n = max(1, int(float64(*n)*factor))
	}
	z.scale = slices.Clone(z.scale)
	for i := range z.scale {
		z.scale[i] = max(1, int(float64(z.scale[i])*factor))
	}
	return z
}

// bound of the time for n units.
func bound(n int) time.Duration { return slack + time.Duration(n)*time.Second/slowest }

// warmUp a world whose controller has just started, so that nothing is measured that
// happens once.
func (w *world) warmUp(ctx context.Context, n int) error {
	const prefix = "warm-"
	if err := w.createAll(ctx, prefix, n, 0); err != nil {
		return err
	}
	done, err := w.watched.until(ctx, prefix, n, slack, terminal)
	if err != nil {
		return err
	}
	if done < n {
		return errors.Join(fmt.Errorf("%d of %d units to warm up have not ended within %s", n-done, n, slack), w.controller.dead())
	}
	return storage.Sleep(ctx, settle)
}

// steady: units at a slow pace, then all at once.
func steady(ctx context.Context, w *world, z sizes) ([]*row, error) {
	if err := w.warmUp(ctx, z.warm); err != nil {
		return nil, err
	}
	paced, err := w.measure(ctx, scenarioPaced, "paced-", z.paced, bound(z.paced), func(ctx context.Context) error {
		return w.createAll(ctx, "paced-", z.paced, pacedPerSecond)
	})
	if err != nil {
		return nil, err
	}
	rows := []*row{paced}
	for i := range z.rounds {
		prefix := fmt.Sprintf("burst%d-", i)
		r, err := w.weighed(ctx, z.burst, func() (*row, error) {
			return w.measure(ctx, scenarioBurst, prefix, z.burst, bound(z.burst), func(ctx context.Context) error {
				return w.createAll(ctx, prefix, z.burst, 0)
			})
		})
		if err != nil {
			return rows, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// crash: all pods run, then each crashes once, first some at a pace at which nobody waits,
// then the others a hundred a second; the next ones are not bound until the last has its
// successor, so that the machine is not asked for more than the crashes; then they
// succeed. All first pods are made before any crashes: jobs learn of crashes, and would
// not try the GPU.
func crash(ctx context.Context, w *world, z sizes) ([]*row, error) {
	if err := w.warmUp(ctx, z.warm); err != nil {
		return nil, err
	}
	groups := []struct {
		scenario, prefix string
		units, perSecond int
	}{
		{scenarioCrashPaced, "slow-", max(1, z.crash/10), crashesPaced},
		{scenarioCrash, "crash-", z.crash, crashesPerSecond},
	}
	w.player.follow(plan{hold: true, park: true})
	all := 0
	for _, g := range groups {
		if err := w.createAll(ctx, g.prefix, g.units, 0); err != nil {
			return nil, err
		}
		all += g.units
	}
	if err := w.untilHeld(ctx, all, bound(all)); err != nil {
		return nil, err
	}
	var rows []*row
	for _, g := range groups {
		if err := w.still(ctx); err != nil {
			return rows, err
		}
		limit := bound(g.units)
		r, err := w.measure(ctx, g.scenario, g.prefix, g.units, limit, func(ctx context.Context) error {
			if err := w.player.end(ctx, g.prefix, crashed, g.perSecond); err != nil {
				return err
			}
			_, err := w.watched.until(ctx, g.prefix, g.units, limit, func(u *unit) bool { return len(u.pods) > 1 })
			w.player.release()
			return err
		})
		if err != nil {
			return rows, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// still waits until the controller has written nothing for a while: that pods run it may
// tell later, a few a second.
func (w *world) still(ctx context.Context) error {
	for over := time.Now().Add(2 * slack); time.Now().Before(over); {
		if err := storage.Sleep(ctx, settle); err != nil {
			return err
		}
		counted, err := w.audit.next()
		if err != nil {
			return err
		}
		if counted.of(userController).written() == 0 {
			return nil
		}
	}
	return fmt.Errorf("the controller still writes after %s, although all pods only run", 2*slack)
}

// untilHeld so many pods run.
func (w *world) untilHeld(ctx context.Context, n int, limit time.Duration) error {
	for over := time.Now().Add(limit); ; {
		held := len(w.player.heldPods())
		switch {
		case held >= n:
			return nil
		case time.Now().After(over):
			return errors.Join(fmt.Errorf("%d of %d pods run after %s", held, n, limit), w.controller.dead())
		}
		if err := storage.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// takePod that our manager makes of a unit, without what binds it to its owner.
func (w *world) takePod(ctx context.Context) (*corev1.Pod, error) {
	const name = "pattern"
	if err := w.create(ctx, name); err != nil {
		return nil, err
	}
	if n, err := w.watched.until(ctx, name, 1, slack, terminal); err != nil || n == 0 {
		return nil, errors.Join(errors.New("the first PoseJob has not ended"), err, w.controller.dead())
	}
	var pods corev1.PodList
	if err := w.api.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelJob: name}); err != nil {
		return nil, fmt.Errorf("list the pods of PoseJob %s: %w", name, err)
	}
	if len(pods.Items) != 1 {
		return nil, fmt.Errorf("PoseJob %s has %d pods, expected one", name, len(pods.Items))
	}
	return bare(&pods.Items[0]), nil
}
