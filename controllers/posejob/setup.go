package posejob

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// ownerIndex finds pods by the name of the PoseJob that controls them.
const ownerIndex = "controller.posejob"

// Priorities in the work queue. Finished pods go first: recording an outcome
// frees a GPU's next job and lets a user see a result, a new job can wait a
// moment. The initial lists come in below both.
const (
	priorityFinished = 20
	priorityProgress = -10
)

// softInterval is the least time between two writes that only say how far a
// running attempt is.
const softInterval = 2 * time.Second

// Concurrency of reconciles; the API server is the bottleneck, not the manager.
const concurrency = 8

// SetupWithManager registers indexes and watches. Progress announces jobs whose
// progress changed.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, progress <-chan event.GenericEvent) error {
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &corev1.Pod{}, ownerIndex, ownerName); err != nil {
		return fmt.Errorf("index pods by owner: %w", err)
	}
	err := ctrl.NewControllerManagedBy(mgr).
		Named("posejob").
		For(&v1alpha1.PoseJob{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, deleting(), statusEnded()))).
		Watches(&corev1.Pod{}, podHandler()).
		Watches(&v1alpha1.PoseEngine{}, handler.EnqueueRequestsFromMapFunc(r.waitingFor), builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		WatchesRawSource(source.Channel(progress, progressHandler())).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: concurrency,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, time.Minute),
		}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("build the PoseJob controller: %w", err)
	}
	return nil
}

// deleting lets the updates through by which a deletion begins, and by which others
// let go of what is being deleted.
func deleting() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectNew.GetDeletionTimestamp() != nil &&
			(e.ObjectOld.GetDeletionTimestamp() == nil || !slices.Equal(e.ObjectOld.GetFinalizers(), e.ObjectNew.GetFinalizers()))
	}}
}

// statusEnded lets a status through that somebody else (a restore) changed to an
// end or back.
func statusEnded() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*v1alpha1.PoseJob)
		after, ok2 := e.ObjectNew.(*v1alpha1.PoseJob)
		return ok1 && ok2 && finished(before) != finished(after)
	}}
}

// ownerName is the name of the PoseJob that controls a pod, or that the pod removes
// the results of, which no controller owns.
func ownerName(o client.Object) []string {
	ref := metav1.GetControllerOf(o)
	if refs := o.GetOwnerReferences(); ref == nil && len(refs) == 1 && o.GetLabels()[v1alpha1.LabelPurpose] == v1alpha1.PurposePurge {
		ref = &refs[0]
	}
	if ref == nil || ref.Kind != "PoseJob" || ref.APIVersion != v1alpha1.GroupVersion.String() {
		return nil
	}
	return []string{ref.Name}
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// podHandler maps a pod to its job, a finished one before everything else.
func podHandler() handler.EventHandler {
	add := func(o client.Object, q queue, initial bool) {
		names := ownerName(o)
		if len(names) == 0 {
			return
		}
		priority := 0
		pod, ok := o.(*corev1.Pod)
		switch {
		case ok && (pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed):
			priority = priorityFinished
		case initial:
			priority = handler.LowPriority
		}
		enqueue(q, priority, types.NamespacedName{Namespace: o.GetNamespace(), Name: names[0]})
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(e.Object, q, e.IsInInitialList) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { add(e.ObjectNew, q, false) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(e.Object, q, false) },
	}
}

func progressHandler() handler.EventHandler {
	return handler.Funcs{GenericFunc: func(_ context.Context, e event.GenericEvent, q queue) {
		enqueue(q, priorityProgress, client.ObjectKeyFromObject(e.Object))
	}}
}

func enqueue(q queue, priority int, key types.NamespacedName) {
	request := reconcile.Request{NamespacedName: key}
	if pq, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		pq.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, request)
		return
	}
	q.Add(request)
}

// waitingFor gives the unfinished jobs: an engine that changed may concern any
// of them, and engines change rarely.
func (r *Reconciler) waitingFor(ctx context.Context, _ client.Object) []reconcile.Request {
	var jobs v1alpha1.PoseJobList
	if err := r.Client.List(ctx, &jobs); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "List PoseJobs for a changed PoseEngine")
		return nil
	}
	var out []reconcile.Request
	for i := range jobs.Items {
		if !finished(&jobs.Items[i]) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&jobs.Items[i])})
		}
	}
	return out
}
