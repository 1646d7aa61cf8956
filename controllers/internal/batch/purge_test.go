package batch_test

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/internal/clips"
)

func TestWritersOf(t *testing.T) {
	b := many()
	job := func(clip int, change ...func(*v1alpha1.PoseJob)) v1alpha1.PoseJob {
		j := batch.Job(b, clip, clips.Clip{URI: "s3://videos/a.mp4", Name: "a.mp4"})
		j.UID = types.UID(fmt.Sprint("uid-", clip))
		for _, c := range change {
			c(j)
		}
		return *j
	}
	ended := func(j *v1alpha1.PoseJob) {
		meta.SetStatusCondition(&j.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionFinished, Status: metav1.ConditionTrue, Reason: "Succeeded"})
	}
	going := func(j *v1alpha1.PoseJob) { now := gen.At(0); j.DeletionTimestamp = &now }
	foreign := func(j *v1alpha1.PoseJob) { j.OwnerReferences = nil }
	pod := func(name string, owner v1alpha1.PoseJob, kind string) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(&owner, v1alpha1.GroupVersion.WithKind(kind))}}}
	}
	other := job(1)
	other.Name = "others-0f5a7-1"
	w := batch.WritersOf(b,
		[]v1alpha1.PoseJob{job(0), job(1, ended), job(2, going), job(3, ended, going), job(4, foreign), other},
		[]corev1.Pod{pod("a", job(0), "PoseJob"), pod("b", job(7), "PoseJob"), pod("c", other, "PoseJob"), pod("d", job(0), "ReplicaSet"), {ObjectMeta: metav1.ObjectMeta{Name: "e"}}},
	)
	var pods []string
	for _, p := range w.Pods {
		pods = append(pods, p.Name)
	}
	// One that ended and is going may have a pod that ends with it.
	if len(w.Delete) != 1 || w.Delete[0].Clip != 0 || w.Left != 3 || !slices.Equal(pods, []string{"a", "b"}) || w.Message() == "" {
		t.Errorf("%+v, pods %q", w, pods)
	}
	if w := batch.WritersOf(b, []v1alpha1.PoseJob{job(1, ended)}, nil); w.Left != 0 || w.Message() != "" {
		t.Errorf("%+v", w)
	}
	var jobs []v1alpha1.PoseJob
	for clip := range 300 {
		jobs = append(jobs, job(clip))
	}
	if w := batch.WritersOf(b, jobs, nil); len(w.Delete) != 50 || w.Left != 300 {
		t.Errorf("%d of %d are deleted at once", len(w.Delete), w.Left)
	}
}

// TestDeleting: the status says what a batch that goes waits for, and keeps how it
// ended.
func TestDeleting(t *testing.T) {
	b := many()
	b.Generation = 7
	for _, kind := range []string{v1alpha1.ConditionComplete, v1alpha1.ConditionStalled, v1alpha1.ConditionReady} {
		meta.SetStatusCondition(&b.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: "Succeeded"})
	}
	batch.Deleting(b, false, v1alpha1.ReasonDeletionFailed, "no right", gen.Now)
	get := func(kind string) string {
		c := meta.FindStatusCondition(b.Status.Conditions, kind)
		if c == nil {
			return ""
		}
		return string(c.Status) + " " + c.Reason
	}
	for kind, want := range map[string]string{
		v1alpha1.ConditionResultsDeleted: "False DeletionFailed", v1alpha1.ConditionReady: "False DeletionFailed", v1alpha1.ConditionReconciling: "True DeletionFailed",
		v1alpha1.ConditionComplete: "True Succeeded", v1alpha1.ConditionStalled: "",
	} {
		if got := get(kind); got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
	if b.Status.Phase != v1alpha1.BatchPhaseDeleting || b.Status.ObservedGeneration != 7 {
		t.Errorf("%+v", b.Status)
	}
	if batch.Deleting(b, true, v1alpha1.ReasonResultsRemoved, "gone", gen.Now); get(v1alpha1.ConditionResultsDeleted) != "True ResultsRemoved" {
		t.Errorf("%+v", b.Status.Conditions)
	}
}
