package plan_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
)

// TestAttemptDeadline: a variant's own bound ends an attempt, and nothing else of
// the job.
func TestAttemptDeadline(t *testing.T) {
	running := []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"))}
	// The pod has its node for 200 seconds, and is 300 old.
	scheduled := func() *gen.PodBuilder {
		return gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Node("n").Phase(corev1.PodRunning).Condition(corev1.PodScheduled, corev1.ConditionTrue, "", "", -200)
	}
	for name, c := range map[string]struct {
		pod      *gen.PodBuilder
		bound    int64
		deadline int64 // spec.activeDeadlineSeconds of a job that began 1000 s ago; 0 is none
		away     bool
		want     plan.Kind
		until    int64 // seconds from now; 0 is never
	}{
		"over":                               {pod: scheduled(), bound: 200, want: plan.KindEndPod},
		"not yet":                            {pod: scheduled(), bound: 201, want: plan.KindWait, until: 1},
		"none":                               {pod: scheduled(), want: plan.KindWait},
		"the job's deadline comes first":     {pod: scheduled(), bound: 600, deadline: 1100, want: plan.KindWait, until: 100},
		"the variant's comes first":          {pod: scheduled(), bound: 250, deadline: 1100, want: plan.KindWait, until: 50},
		"time without a node does not count": {pod: gen.Pod("p1", 1, "gpu", v1alpha1.GPU), bound: 60, want: plan.KindWait},
		"an engine that is gone says of no bounds": {pod: scheduled(), bound: 60, away: true, want: plan.KindWait},
	} {
		t.Run(name, func(t *testing.T) {
			job := gen.Job("j").Spec(func(s *v1alpha1.PoseJobSpec) {
				if c.deadline > 0 {
					s.ActiveDeadlineSeconds = &c.deadline
				}
			})
			in := input(job, running, c.pod)
			if c.bound > 0 {
				in.Engine.Spec.Variants[0].ActiveDeadlineSeconds = &c.bound
			}
			if c.away {
				in.Engine = nil
			}
			d := plan.Next(in)
			var until time.Time
			if c.until > 0 {
				until = gen.Now.Add(time.Duration(c.until) * time.Second)
			}
			if d.Kind != c.want || !d.Until.Equal(until) {
				t.Fatalf("%s until %s (%s); want %s until %s", d.Kind, d.Until, d.Message, c.want, until)
			}
			if c.want == plan.KindEndPod && (d.Reason != v1alpha1.ReasonDeadlineExceeded || d.Action != v1alpha1.ActionNextVariant || !strings.Contains(d.Message, "3m20s")) {
				t.Errorf("%s/%s: %s", d.Reason, d.Action, d.Message)
			}
		})
	}
}

func TestAfterAnAttemptThatTookTooLongComesTheNextVariant(t *testing.T) {
	long := failed(1, "gpu", v1alpha1.ReasonDeadlineExceeded, func(a *v1alpha1.Attempt) { a.Action = v1alpha1.ActionNextVariant })
	if d := plan.Next(input(gen.Job("j"), []v1alpha1.Attempt{long})); d.Kind != plan.KindLaunch || d.Next.Variant != "gpu-half" {
		t.Errorf("%s %+v", d.Kind, d.Next)
	}
	last := failed(2, "cpu-yolo", v1alpha1.ReasonDeadlineExceeded, func(a *v1alpha1.Attempt) { a.Action, a.Message = v1alpha1.ActionNextVariant, "ran for 1h" })
	if d := plan.Next(input(gen.Job("j").Device(v1alpha1.DeviceCPU), []v1alpha1.Attempt{last})); d.Kind != plan.KindFail || d.Reason != v1alpha1.ReasonDeadlineExceeded {
		t.Errorf("%s %s %s", d.Kind, d.Reason, d.Message)
	}
}
