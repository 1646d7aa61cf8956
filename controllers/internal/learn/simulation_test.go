package learn_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/learn"
)

// What a crash costs, in seconds of a GPU: the whole load of PHALP, or its
// preflight alone.
const (
	wholeLoad = 97
	preflight = 8
)

// lost gives the seconds of GPU that so many jobs lose, one submitted every so
// often, on a kind of GPU where the variant always dies. The jobs are those of
// four namespaces, and another kind of GPU works.
func lost(jobs int, every time.Duration, cost int64, remembers bool) (seconds int64, crashes int) {
	v := gen.Variant("gpu", v1alpha1.GPU, func(v *v1alpha1.Variant) { v.Image = "registry.example/gpu@" + image })
	s := learn.Fold(v1alpha1.PoseEngineStatus{}, []learn.Observation{elsewhere}, learn.Options{}, gen.Now)
	var running []learn.Observation // by the time that they end
	trying := time.Time{}
	for i := range jobs {
		now := gen.Now.Add(time.Duration(i) * every)
		for len(running) > 0 && !running[0].At.After(now) {
			s = learn.Fold(s, running[:1], learn.Options{}, running[0].At)
			running = running[1:]
		}
		kinds := []learn.GPU{{Product: rtx, Driver: driver}}
		var tried []learn.GPU
		if now.Before(trying) {
			tried = kinds
		}
		a := learn.SkipWhile(&s, &v, kinds, tried, now)
		if remembers && a.Skip {
			continue
		}
		end := now.Add(time.Duration(cost) * time.Second)
		if len(a.Probes) > 0 {
			trying = end
		}
		o := crash(fmt.Sprint("team-", i%4), fmt.Sprint("video-", i), 0)
		o.At = end
		running = append(running, o)
		seconds, crashes = seconds+cost, crashes+1
	}
	return seconds, crashes
}

func TestWhatMemorySaves(t *testing.T) {
	const jobs = 100
	t.Logf("%d jobs on a kind of GPU where the detector always dies; seconds of GPU lost (crashes):", jobs)
	for _, every := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, hour} {
		n, nc := lost(jobs, every, wholeLoad, false)
		m, mc := lost(jobs, every, wholeLoad, true)
		p, pc := lost(jobs, every, preflight, false)
		b, bc := lost(jobs, every, preflight, true)
		t.Logf("one every %-6s nothing %5d (%3d)   memory %5d (%3d)   preflight %4d (%3d)   both %4d (%3d)", every, n, nc, m, mc, p, pc, b, bc)
		if n != jobs*wholeLoad || p != jobs*preflight {
			t.Errorf("without memory every job must crash")
		}
		if m > n || b > p || (every >= time.Minute && m*5 > n) {
			t.Errorf("memory saves too little")
		}
	}
}
