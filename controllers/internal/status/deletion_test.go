package status_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
	posestatus "github.com/pose-dev/pose-operator/controllers/internal/status"
)

// A job whose results cannot be removed says so first, however it ended.
func TestDeleting(t *testing.T) {
	attempts := func(a v1alpha1.Attempt) *v1alpha1.PoseJob {
		return gen.Job("j").Attempts(a).Build()
	}
	pod := gen.Pod("p1", 1, "gpu", v1alpha1.GPU)
	ended := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Succeeded())
	died := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Failed("EngineError"))
	live := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"))
	for name, c := range map[string]struct {
		in       posestatus.Input
		complete string // what is still said of the end: type/status
	}{
		"after a success": {input(attempts(ended), plan.Decision{Kind: plan.KindSucceed}, pod.Done(1, 120).Build()), v1alpha1.ConditionComplete},
		"after a failure": {input(attempts(died), plan.Decision{Kind: plan.KindFail, Reason: "EngineError", Message: "no"}), v1alpha1.ConditionFailed},
		"while it ran":    {input(attempts(live), plan.Decision{Kind: plan.KindWait}, pod.InputsDone().Runs("engine").Build()), ""},
	} {
		t.Run(name, func(t *testing.T) {
			job := c.in.Job.DeepCopy()
			job.Status = posestatus.Compute(c.in)
			job.Status.Stage, job.Status.Progress = v1alpha1.StageTracking, &v1alpha1.JobProgress{Summary: "40%"}
			before := job.Status.DeepCopy()
			got := posestatus.Deleting(job, posestatus.Deletion{Reason: v1alpha1.ReasonDeletionFailed, Message: "the bucket refuses"}, c.in.Now)
			if got.Phase != v1alpha1.PhaseDeleting || got.Stage != "" || got.Progress != nil {
				t.Errorf("phase %q, stage %q, progress %v", got.Phase, got.Stage, got.Progress)
			}
			for kind, want := range map[string]metav1.ConditionStatus{v1alpha1.ConditionReady: metav1.ConditionFalse, v1alpha1.ConditionResultsDeleted: metav1.ConditionFalse, v1alpha1.ConditionReconciling: metav1.ConditionTrue} {
				if s := meta.FindStatusCondition(got.Conditions, kind); s == nil || s.Status != want || s.Reason != v1alpha1.ReasonDeletionFailed || s.Message != "the bucket refuses" {
					t.Errorf("%s = %+v", kind, s)
				}
			}
			if s := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionStalled); s != nil {
				t.Errorf("Stalled = %+v, and it is tried again", s)
			}
			if c.complete != "" && (!meta.IsStatusConditionTrue(got.Conditions, c.complete) || !meta.IsStatusConditionTrue(got.Conditions, v1alpha1.ConditionFinished)) {
				t.Errorf("how the job ended is forgotten: %+v", got.Conditions)
			}
			if !posestatus.Equal(job.Status, *before) {
				t.Error("the job that was given was changed")
			}
			job.Status = got
			if again := posestatus.Deleting(job, posestatus.Deletion{Reason: v1alpha1.ReasonDeletionFailed, Message: "the bucket refuses"}, c.in.Now.Add(1e9)); !posestatus.Equal(again, got) {
				t.Error("the same words are written again")
			}
			if done := posestatus.Deleting(job, posestatus.Deletion{Done: true, Reason: v1alpha1.ReasonResultsRemoved}, c.in.Now); !meta.IsStatusConditionTrue(done.Conditions, v1alpha1.ConditionResultsDeleted) {
				t.Errorf("%+v", done.Conditions)
			}
		})
	}
}
