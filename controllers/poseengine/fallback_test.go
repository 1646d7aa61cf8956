package poseengine_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
)

// fallBackTo another engine.
func (b *bench) fallBackTo(name string) {
	b.Helper()
	e := b.engine()
	e.Spec.FallbackEngineName = name
	if err := b.client.Update(ctx, e); err != nil {
		b.Fatal(err)
	}
}

func TestTheFallbackEngineIsACondition(t *testing.T) {
	other := func(change ...func(*v1alpha1.Variant)) *v1alpha1.PoseEngine {
		return gen.Engine("mediapipe").Variants(gen.Variant("cpu", v1alpha1.CPU, change...)).Build()
	}
	for name, c := range map[string]struct {
		named  string
		other  *v1alpha1.PoseEngine
		status metav1.ConditionStatus // empty for no condition
		reason string
		says   string
	}{
		"none is named":                  {},
		"it is there":                    {named: "mediapipe", other: other(), status: metav1.ConditionTrue, reason: v1alpha1.ReasonEngineResolved, says: "fall back to PoseEngine mediapipe"},
		"it is not there":                {named: "mediapipe", status: metav1.ConditionFalse, reason: v1alpha1.ReasonEngineNotFound, says: `there is no PoseEngine "mediapipe"`},
		"it has no image":                {named: "mediapipe", other: other(gen.NoImage()), status: metav1.ConditionFalse, reason: v1alpha1.ReasonEngineNotReady, says: "ImageNotSet"},
		"an engine falls back to itself": {named: "itself", status: metav1.ConditionFalse, reason: v1alpha1.ReasonFallbackIsItself, says: "names the engine itself"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if c.named == "itself" {
				c.named = b.name
			}
			b.fallBackTo(c.named)
			if c.other != nil {
				if err := b.client.Create(ctx, c.other); err != nil {
					t.Fatal(err)
				}
			}
			b.reconcile()
			conditions := b.engine().Status.Conditions
			if !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) {
				t.Errorf("conditions %+v, want Ready whatever the fallback engine is", conditions)
			}
			got := meta.FindStatusCondition(conditions, v1alpha1.ConditionFallbackResolved)
			if got == nil {
				if c.status != "" {
					t.Fatalf("no condition FallbackResolved, want %s %s", c.status, c.reason)
				}
				return
			}
			if got.Status != c.status || got.Reason != c.reason || !strings.Contains(got.Message, c.says) {
				t.Errorf("FallbackResolved = %+v, want %q %q saying %q", got, c.status, c.reason, c.says)
			}
			b.fallBackTo("")
			b.reconcile()
			if got := meta.FindStatusCondition(b.engine().Status.Conditions, v1alpha1.ConditionFallbackResolved); got != nil {
				t.Errorf("FallbackResolved = %+v although none is named any more", got)
			}
		})
	}
}

// What an earlier manager recorded teaches the engine that the attempt ran, which
// need not be its job's own.
func TestAttemptsOfAnotherEngineTeachThatOne(t *testing.T) {
	b := newBench(t)
	theirs, more := job("team-1", "theirs", "phalp", 0), job("team-1", "more", "phalp", 0)
	theirs.Status.Attempts[0].Variant, more.Status.Attempts[0].Variant = b.name+"/gpu", b.name+"/gpu"
	own := job("team-2", "own", b.name, 0)
	own.Status.Attempts[0].Variant = "phalp/gpu"
	for _, j := range []*v1alpha1.PoseJob{theirs, more, own, job("team-3", "plain", b.name, 0)} {
		if err := b.client.Create(ctx, j); err != nil {
			t.Fatal(err)
		}
	}
	b.reconcile()
	if b.crashes() != 3 {
		t.Errorf("%d crashes, want 3: one of its own job and two of another engine's", b.crashes())
	}
	for _, v := range b.engine().Status.Learned {
		if v.Variant != "gpu" {
			t.Errorf("learned of variant %q, want the bare name", v.Variant)
		}
	}
}
