package posebatch

import (
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
)

var batchesTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "pose_batches_finished_total",
	Help: "PoseBatches that ended, by reason (Succeeded for those that did).",
}, []string{"reason"})

func init() { metrics.Registry.MustRegister(batchesTotal) }

// maxNote bounds the note of an event; the API server takes 1024 bytes.
const maxNote = 1000

// cut a text to what the status takes.
func cut(s string) string { return failure.Clean(s, maxNote) }

// tell of what happens once in the life of a batch, after the status is persisted.
func (r *Reconciler) tell(o *observation, next v1alpha1.PoseBatchStatus) {
	was := &o.b.Status
	event := func(kind, reason, action, note string) {
		r.Recorder.Eventf(o.b, nil, kind, reason, action, "%s", cut(note))
	}
	if next.Stopping != nil && was.Stopping == nil {
		event(corev1.EventTypeWarning, next.Stopping.Reason, "Stop", next.Stopping.Message)
	}
	if batch.Whole(next.Listing) && next.Listing.Skipped > 0 && !batch.Whole(was.Listing) {
		event(corev1.EventTypeWarning, "EntriesSkipped", "List", "some entries cannot be named by the URI of a PoseJob's video and were left out; the log of the list pod has their number")
	}
	if o.rep.End == nil {
		return
	}
	batchesTotal.WithLabelValues(o.rep.End.Reason).Inc()
	if o.rep.End.Failed && was.Stopping == nil {
		event(corev1.EventTypeWarning, o.rep.End.Reason, "Fail", o.rep.End.Message)
	}
}
