package jobs

import (
	"bytes"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/clitest"
)

// TestListForPeople compares both tables with files.
func TestListForPeople(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(d)) }
	job := func(name string, age time.Duration, change func(*v1alpha1.PoseJob)) *v1alpha1.PoseJob {
		j := &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: "snow", Name: name, CreationTimestamp: at(-age)}}
		j.Spec.Output.URI = "s3://results/snow/" + name
		if change != nil {
			change(j)
		}
		return j
	}
	ready := func(j *v1alpha1.PoseJob, message string, more ...string) {
		j.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Message: message}}
		for _, kind := range more {
			j.Status.Conditions = append(j.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue})
		}
	}
	ends := at(95 * time.Second)
	jobs := []client.Object{
		job("fresh", 2*time.Second, nil),
		job("evil", time.Hour, func(j *v1alpha1.PoseJob) {
			j.Status.Phase, j.Status.Stage = v1alpha1.PhaseFailed, "\x1b[31mTracking\x1b[0m"
			ready(j, "no\x1b[2J variant\tis\nleft\u202e", v1alpha1.ConditionFinished)
		}),
		job("run-42", 3*time.Minute, func(j *v1alpha1.PoseJob) {
			j.Status = v1alpha1.PoseJobStatus{
				Phase: v1alpha1.PhaseRunning, Stage: "Tracking", EngineName: "phalp", Variant: "cpu", Device: v1alpha1.CPU, AttemptCount: 2,
				Progress: &v1alpha1.JobProgress{Summary: "42% 333/795", EstimatedCompletionTime: &ends},
			}
			ready(j, "attempt 2 runs")
		}),
		job("done", 26*time.Hour, func(j *v1alpha1.PoseJob) {
			j.Status = v1alpha1.PoseJobStatus{
				Phase: v1alpha1.PhaseSucceeded, EngineName: "phalp", Variant: "gpu", Device: v1alpha1.GPU, AttemptCount: 1,
				Progress: &v1alpha1.JobProgress{Summary: "100% 795/795", EstimatedCompletionTime: &ends}, Output: &v1alpha1.OutputStatus{URI: "s3://results/snow/done/attempts/abcde-1", People: 0},
			}
			ready(j, "nobody was seen", v1alpha1.ConditionFinished, v1alpha1.ConditionComplete)
		}),
		job("given-up", time.Hour, func(j *v1alpha1.PoseJob) {
			j.Annotations = map[string]string{AnnotationCancelled: "true"}
			j.Status.Phase = v1alpha1.PhaseSuspended
		}),
	}
	batch := &v1alpha1.PoseBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "snow", Name: "archive", CreationTimestamp: at(-time.Hour)}}
	batch.Status = v1alpha1.PoseBatchStatus{Phase: v1alpha1.BatchPhaseRunning, Progress: "12% 1203/10000", GPUSeconds: 5000, Counts: &v1alpha1.BatchCounts{Running: 4, Failed: 3}, EstimatedCompletionTime: &ends}
	for name, f := range map[string]listFlags{"list.txt": {}, "list-wide.txt": {output: "wide", all: true}} {
		var out bytes.Buffer
		if err := f.print(&out, f.choose(jobs), []client.Object{batch}, now); err != nil {
			t.Fatal(err)
		}
		clitest.Golden(t, name, out.String())
	}
}
