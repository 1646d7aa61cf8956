package posebatch

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/policy"
	"github.com/pose-dev/pose-operator/controllers/pace"
	"github.com/pose-dev/pose-operator/controllers/progress"
)

// Options of the controller.
type Options struct {
	Policy policy.Policy
	// Settings of the pods of PoseJobs, which the batch's own share. Without Progress
	// in them only batches whose spec names every video can be run.
	Settings settings
	// Progress is the server to which Settings.Progress leads; nil where there is
	// none.
	Progress *progress.Server
	Clock    clock.PassiveClock
	// Jobs says how the PoseJob of a clip would start; nil makes no pods of many clips.
	Jobs Starter
	// Pace spaces writes that tell progress alone.
	Pace *pace.Pacer
}

const (
	// ownerIndex finds PoseJobs and pods by the name of the PoseBatch that controls
	// them.
	ownerIndex = "controller.posebatch"
	// recordIndex finds records by the uid of their batch.
	recordIndex = "record.posebatch"
)

// concurrency of reconciles: each may make fifty PoseJobs.
const concurrency = 4

// Setup registers the controller with the manager, and with the progress server as
// the one that takes lists.
func Setup(mgr ctrl.Manager, o Options) error {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	r := &Reconciler{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder("pose-operator"),
		Clock: o.Clock, Policy: o.Policy, Settings: o.Settings, Jobs: o.Jobs, Pace: o.Pace,
	}
	if o.Progress != nil {
		o.Progress.Clips = r
	}
	ctx := context.Background()
	for _, kind := range []client.Object{&v1alpha1.PoseJob{}, &corev1.Pod{}} {
		if err := mgr.GetFieldIndexer().IndexField(ctx, kind, ownerIndex, ownerName); err != nil {
			return fmt.Errorf("index %T by PoseBatch: %w", kind, err)
		}
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &corev1.ConfigMap{}, recordIndex, recordOf); err != nil {
		return fmt.Errorf("index records by PoseBatch: %w", err)
	}
	toBatch := handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &v1alpha1.PoseBatch{}, handler.OnlyControllerOwner())
	err := ctrl.NewControllerManagedBy(mgr).
		Named("posebatch").
		For(&v1alpha1.PoseBatch{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, statusEnded()))).
		Watches(&v1alpha1.PoseJob{}, toBatch, builder.WithPredicates(telling())).
		// The pod that removes a batch's results is not controlled by it.
		Watches(&corev1.Pod{}, handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &v1alpha1.PoseBatch{}), builder.WithPredicates(podTelling())).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: concurrency,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, time.Minute),
		}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("build the PoseBatch controller: %w", err)
	}
	return nil
}

func ownerName(o client.Object) []string {
	ref := metav1.GetControllerOf(o)
	if ref == nil || ref.Kind != "PoseBatch" || ref.APIVersion != v1alpha1.GroupVersion.String() {
		return nil
	}
	return []string{ref.Name}
}

func recordOf(o client.Object) []string {
	labels := o.GetLabels()
	if labels[v1alpha1.LabelBatchPart] != v1alpha1.PartRecord || len(ownerName(o)) == 0 {
		return nil
	}
	return []string{labels[v1alpha1.LabelBatchUID]}
}

// telling lets those updates of PoseJobs through that a batch does something about:
// not the progress of each frame.
func telling() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*v1alpha1.PoseJob)
		after, ok2 := e.ObjectNew.(*v1alpha1.PoseJob)
		if !ok1 || !ok2 {
			return false
		}
		return before.Generation != after.Generation || (before.DeletionTimestamp == nil) != (after.DeletionTimestamp == nil) ||
			before.Status.AttemptCount != after.Status.AttemptCount || holds(before) != holds(after)
	}}
}

// holds says which of the conditions that a batch reads are True.
func holds(j *v1alpha1.PoseJob) [2]bool {
	c := j.Status.Conditions
	return [2]bool{meta.IsStatusConditionTrue(c, v1alpha1.ConditionFinished), meta.IsStatusConditionTrue(c, v1alpha1.ConditionSuspended)}
}

func podTelling() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Pod)
		after, ok2 := e.ObjectNew.(*corev1.Pod)
		return ok1 && ok2 && (!equality.Semantic.DeepEqual(before.Status, after.Status) || before.DeletionTimestamp == nil && after.DeletionTimestamp != nil)
	}}
}

// statusEnded lets a status through that somebody else (a restore) changed to an end
// or back.
func statusEnded() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*v1alpha1.PoseBatch)
		after, ok2 := e.ObjectNew.(*v1alpha1.PoseBatch)
		return ok1 && ok2 && finished(before) != finished(after)
	}}
}
