// Package removal carries out what controllers/internal/purge decides about an object
// that is being deleted and whose results go first: its finalizer, the pod that
// removes the results, the condition that says how far that is, and the event that is
// the last that is heard of it.
package removal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/purge"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Events of an object that goes with its results, or without.
const (
	EventResultsDeleted = "ResultsDeleted"
	EventResultsStay    = v1alpha1.ReasonResultsStay
	eventPodNameTaken   = "PodNameTaken"
)

// Progress of a deletion.
type Progress struct {
	// Done says that the results are removed.
	Done            bool
	Reason, Message string
}

// Remover of the results of one kind of objects.
type Remover[T client.Object] struct {
	Client client.Client
	// Reader reads past the cache.
	Reader client.Reader
	Now    time.Time
	// Owner is the object as a decision sees it.
	Owner func(T) purge.Owner
	// Mark writes into the object's status how far its deletion is.
	Mark func(o T, p Progress)
	// Pod that removes the results, of a try.
	Pod func(o T, try int32) (*corev1.Pod, error)
	// Event says something of the object.
	Event func(o T, kind, reason, action, note string)
}

// KeepFinalizer puts the finalizer on an object whose results go with it, before there
// are any, and takes it off where they stay. It gives the object as it is then.
func (r Remover[T]) KeepFinalizer(ctx context.Context, o T, wanted bool) (T, error) {
	if wanted == controllerutil.ContainsFinalizer(o, v1alpha1.FinalizerResults) {
		return o, nil
	}
	updated := duplicate(o)
	if wanted {
		controllerutil.AddFinalizer(updated, v1alpha1.FinalizerResults)
	} else {
		controllerutil.RemoveFinalizer(updated, v1alpha1.FinalizerResults)
	}
	return updated, r.patchFinalizers(ctx, o, updated)
}

func duplicate[T client.Object](o T) T { return o.DeepCopyObject().(T) } //nolint:forcetypeassert // a copy is of its kind

func (r Remover[T]) patchFinalizers(ctx context.Context, before, after T) error {
	if err := r.Client.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch the finalizers of %s: %w", r.name(before), err)
	}
	return nil
}

func (r Remover[T]) name(o T) string {
	return r.Owner(o).Kind + " " + client.ObjectKeyFromObject(o).String()
}

// Carry a decision out.
func (r Remover[T]) Carry(ctx context.Context, o T, d purge.Decision) (ctrl.Result, error) {
	var err error
	if d.Kind != purge.KindLetGo {
		if o, err = r.tell(ctx, o, Progress{Reason: d.Reason, Message: d.Message}); err != nil {
			return ctrl.Result{}, err
		}
	}
	if d.Kind == purge.KindCreate {
		switch err := r.create(ctx, o, d.Try); {
		case errors.Is(err, errTerminating):
			return ctrl.Result{}, nil
		case err != nil:
			return ctrl.Result{}, err
		}
	}
	for _, p := range d.End {
		if err := DeletePod(ctx, r.Client, o.GetNamespace(), p.Name, p.UID); err != nil {
			return ctrl.Result{}, err
		}
	}
	if d.Kind == purge.KindLetGo {
		return ctrl.Result{}, r.letGo(ctx, o, d.Report)
	}
	result := ctrl.Result{}
	if !d.Until.IsZero() {
		result.RequeueAfter = max(d.Until.Sub(r.Now), 1)
	}
	return result, nil
}

// letGo of an object whose results are gone, or are to stay.
func (r Remover[T]) letGo(ctx context.Context, o T, removed *report.PurgeReport) error {
	owner := r.Owner(o)
	last := Progress{Done: true, Reason: v1alpha1.ReasonResultsRemoved, Message: purge.Summary(owner.URI, removed)}
	if owner.Policy != v1alpha1.DeletionDelete {
		last = Progress{Reason: v1alpha1.ReasonResultsStay, Message: "the results stay at " + owner.URI + ", as spec.output.deletionPolicy says"}
	}
	return r.withoutFinalizer(ctx, o, last, func() {
		if removed != nil {
			r.Event(o, corev1.EventTypeNormal, EventResultsDeleted, "Purge", last.Message)
		}
	})
}

// tell in the object's status what its deletion waits for, so that a person sees why
// it is still there. It gives the object as it is then.
func (r Remover[T]) tell(ctx context.Context, o T, p Progress) (T, error) {
	updated := duplicate(o)
	r.Mark(updated, p)
	if equality.Semantic.DeepEqual(o, updated) {
		return o, nil
	}
	if err := r.Client.Status().Patch(ctx, updated, client.MergeFromWithOptions(o, client.MergeFromWithOptimisticLock{})); err != nil {
		return o, fmt.Errorf("say in the status of %s that its results are being deleted: %w", r.name(o), err)
	}
	return updated, nil
}

// withoutFinalizer takes it off, and then says so: the event is the last that is heard
// of the object, unless others keep it.
func (r Remover[T]) withoutFinalizer(ctx context.Context, o T, last Progress, say func()) error {
	others := slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == v1alpha1.FinalizerResults })
	if len(others) > 0 {
		last.Message += ". The object is kept by finalizers of others: " + strings.Join(others, ", ")
		var err error
		if o, err = r.tell(ctx, o, last); err != nil {
			return err
		}
	}
	updated := duplicate(o)
	controllerutil.RemoveFinalizer(updated, v1alpha1.FinalizerResults)
	if err := r.patchFinalizers(ctx, o, updated); err != nil {
		return err
	}
	say()
	return nil
}

// errTerminating says that the object was let go because its namespace goes.
var errTerminating = errors.New("the namespace is being deleted")

// create the pod that removes the results.
func (r Remover[T]) create(ctx context.Context, o T, try int32) error {
	pod, err := r.Pod(o, try)
	if err != nil {
		return fmt.Errorf("remove the results of %s: %w", r.name(o), err)
	}
	owner := r.Owner(o)
	err = r.Client.Create(ctx, pod)
	switch {
	case err == nil:
		log.FromContext(ctx).Info("Pod created", "pod", pod.Name, "purpose", v1alpha1.PurposePurge, "try", try)
		return nil
	case apierrors.IsAlreadyExists(err):
		return r.adopt(ctx, o, pod)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		// No pod can be made here ever again, and the namespace waits for the object.
		words := fmt.Sprintf("namespace %s is being deleted, so no pod can remove the results: they stay at %s", o.GetNamespace(), owner.URI)
		log.FromContext(ctx).Info("Results stay", "uri", owner.URI, "why", words)
		if err := r.withoutFinalizer(ctx, o, Progress{Reason: v1alpha1.ReasonResultsStay, Message: words}, func() {
			r.Event(o, corev1.EventTypeWarning, EventResultsStay, "Purge", words)
		}); err != nil {
			return err
		}
		return errTerminating
	}
	words := fmt.Sprintf("no pod can be made to remove the results at %s: %s. %s", owner.URI, err.Error(), purge.WayOut(owner.Kind))
	if _, tellErr := r.tell(ctx, o, Progress{Reason: v1alpha1.ReasonDeletionFailed, Message: words}); tellErr != nil {
		return tellErr
	}
	return fmt.Errorf("create pod %s/%s: %w", pod.Namespace, pod.Name, err)
}

// adopt a pod that exists already: it must be this very object's.
func (r Remover[T]) adopt(ctx context.Context, o T, want *corev1.Pod) error {
	var have corev1.Pod
	if err := r.Reader.Get(ctx, client.ObjectKeyFromObject(want), &have); err != nil {
		return fmt.Errorf("read pod %s/%s that exists already: %w", want.Namespace, want.Name, err)
	}
	if slices.ContainsFunc(have.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == o.GetUID() }) {
		return nil
	}
	err := fmt.Errorf("pod %s/%s exists and does not belong to %s (uid %s): delete it", have.Namespace, have.Name, r.name(o), o.GetUID())
	r.Event(o, corev1.EventTypeWarning, eventPodNameTaken, "Create", err.Error())
	return err
}

// Release a pod whose outcome is written, or whose owner is going: nobody records it
// any more.
func Release(ctx context.Context, c client.Client, pod *corev1.Pod) error {
	if !slices.Contains(pod.Finalizers, v1alpha1.FinalizerOutcome) {
		return nil
	}
	// It names our finalizer alone, so those of others stay whatever happens meanwhile, and
	// the uid, so that no other pod of the name is meant.
	patch := fmt.Sprintf(`{"metadata":{"uid":%q,"$deleteFromPrimitiveList/finalizers":[%q]}}`, pod.UID, v1alpha1.FinalizerOutcome)
	released := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	err := c.Patch(ctx, released, client.RawPatch(types.StrategicMergePatchType, []byte(patch)))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// DeletePod by its uid, and never by force. A conflict says that another pod has the name
// by now, or that the API server could not do it just then: whoever asked looks again.
func DeletePod(ctx context.Context, c client.Client, namespace, name, uid string) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	id := types.UID(uid)
	if err := c.Delete(ctx, pod, client.Preconditions{UID: &id}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete pod %s/%s: %w", namespace, name, err)
	}
	return nil
}
