package status

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/condition"
)

// Deletion is how far the removal of a deleted job's results has come.
type Deletion struct {
	// Done says that they are removed.
	Done            bool
	Reason, Message string
}

// Deleting gives the status of a job that was deleted and whose object waits for the
// removal of its results. What a person reads first, the phase and Ready, says what
// it waits for and not how the job ended: Complete, Failed, Finished and the attempts
// keep that. kstatus calls an object with a deletion timestamp Terminating, whatever
// its conditions say.
func Deleting(job *v1alpha1.PoseJob, d Deletion, at time.Time) v1alpha1.PoseJobStatus {
	s := *job.Status.DeepCopy()
	now := metav1.NewTime(at).Rfc3339Copy()
	s.ObservedGeneration = job.Generation
	s.Phase, s.Stage, s.Progress = v1alpha1.PhaseDeleting, "", nil
	c := condition.Setter{Conditions: &s.Conditions, Generation: job.Generation, Now: now, MaxMessage: maxMessage}
	done := metav1.ConditionFalse
	if d.Done {
		done = metav1.ConditionTrue
	}
	c.Set(v1alpha1.ConditionResultsDeleted, done, d.Reason, d.Message)
	c.Set(v1alpha1.ConditionReady, metav1.ConditionFalse, d.Reason, d.Message)
	c.Set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, d.Reason, d.Message)
	c.Remove(v1alpha1.ConditionStalled)
	return s
}
