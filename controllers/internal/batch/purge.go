package batch

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/condition"
)

// What may still write results of a batch that is being deleted:
//
//   - its own pods that live, which controllers/internal/purge knows as writers;
//   - its PoseJobs that have not ended: they are deleted, and waited for until they are
//     gone, for they would make pods anew;
//   - pods of its PoseJobs that live although the PoseJob has ended or is gone: the
//     garbage collector ends those of one that is gone, with a grace.

// Writers of results of a batch that is being deleted.
type Writers struct {
	// Delete these PoseJobs now.
	Delete []Child
	// Left is how many PoseJobs have not ended, those being deleted too.
	Left int
	// Pods of PoseJobs of the batch that may live, and are not to be waited for with
	// their PoseJob.
	Pods []corev1.Pod
}

// WritersOf a batch, among the PoseJobs and the pods of its namespace.
func WritersOf(b *v1alpha1.PoseBatch, jobs []v1alpha1.PoseJob, pods []corev1.Pod) Writers {
	var w Writers
	for i := range jobs {
		c, ok := ChildOf(b, &jobs[i])
		if !ok || c.Ended && !c.Deleting {
			continue
		}
		w.Left++
		if !c.Deleting && len(w.Delete) < maxDelete {
			w.Delete = append(w.Delete, c)
		}
	}
	for i := range pods {
		ref := metav1.GetControllerOf(&pods[i])
		if ref == nil || ref.Kind != "PoseJob" {
			continue
		}
		if _, mine := ClipOf(b, ref.Name); mine {
			w.Pods = append(w.Pods, pods[i])
		}
	}
	return w
}

// Message of what is waited for; empty is nothing. The pods are not spoken of.
func (w Writers) Message() string {
	if w.Left == 0 {
		return ""
	}
	return fmt.Sprintf("PoseJobs of the batch end first, so that they write nothing behind the removal: %d", w.Left)
}

// Deleting writes into the status of a batch that was deleted how far the removal of
// its results is. What a person reads first, the phase and Ready, says what it waits
// for; Complete, Failed, Finished and the counts keep how the batch ended.
func Deleting(b *v1alpha1.PoseBatch, done bool, reason, message string, now time.Time) {
	s := &b.Status
	s.ObservedGeneration, s.Phase = b.Generation, v1alpha1.BatchPhaseDeleting
	c := condition.Setter{Conditions: &s.Conditions, Generation: b.Generation, Now: metav1.NewTime(now).Rfc3339Copy(), MaxMessage: maxStatusMessage}
	removed := metav1.ConditionFalse
	if done {
		removed = metav1.ConditionTrue
	}
	c.Set(v1alpha1.ConditionResultsDeleted, removed, reason, message)
	c.Set(v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
	c.Set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, reason, message)
	c.Remove(v1alpha1.ConditionStalled)
}
