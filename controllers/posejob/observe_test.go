package posejob

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
)

// What was left out for what other jobs teach may come back on the ladder, so the
// plan must know it when the skip itself has ended.
func TestThePlanKnowsWhatWasSkipped(t *testing.T) {
	want := []v1alpha1.SkippedVariant{{Variant: "gpu", Reason: v1alpha1.ReasonLearnedSkip, Message: "died 9 of 9 times"}}
	job := gen.Job("j").With(func(j *v1alpha1.PoseJob) { j.Status.SkippedVariants = want }).Build()
	in, err := (&Reconciler{}).planInput(t.Context(), &observation{job: job, now: gen.Now})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, in.Skipped); diff != "" {
		t.Errorf("Skipped (-want +got):\n%s", diff)
	}
}
