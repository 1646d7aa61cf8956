package posejob

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/purge"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/controllers/internal/status"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Events of a job that goes with its results, or without.
const (
	eventResultsDeleted = "ResultsDeleted"
	eventResultsStay    = "ResultsStay"
)

// keepFinalizer puts the finalizer on a job whose results go with it, before there
// are any, and takes it off where they stay. It gives the job as it is then.
func (r *Reconciler) keepFinalizer(ctx context.Context, job *v1alpha1.PoseJob) (*v1alpha1.PoseJob, error) {
	wanted := job.Spec.Output.DeletionPolicy == v1alpha1.DeletionDelete
	if wanted == controllerutil.ContainsFinalizer(job, v1alpha1.FinalizerResults) {
		return job, nil
	}
	updated := job.DeepCopy()
	if wanted {
		controllerutil.AddFinalizer(updated, v1alpha1.FinalizerResults)
	} else {
		controllerutil.RemoveFinalizer(updated, v1alpha1.FinalizerResults)
	}
	return updated, r.patchFinalizers(ctx, job, updated)
}

func (r *Reconciler) patchFinalizers(ctx context.Context, before, after *v1alpha1.PoseJob) error {
	if err := r.Client.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch the finalizers of PoseJob %s: %w", client.ObjectKeyFromObject(before), err)
	}
	return nil
}

// deleting looks after a job that is being deleted: its results go first where it
// says so.
func (r *Reconciler) deleting(ctx context.Context, job *v1alpha1.PoseJob, own []corev1.Pod) (ctrl.Result, error) {
	// Nobody records outcomes any more.
	if err := r.release(ctx, own); err != nil {
		return ctrl.Result{}, err
	}
	if !controllerutil.ContainsFinalizer(job, v1alpha1.FinalizerResults) {
		return ctrl.Result{}, nil
	}
	pods, err := r.hidden(ctx, job, own)
	if err != nil {
		return ctrl.Result{}, err
	}
	now := r.Clock.Now()
	d := purge.Next(job, pods, now)
	if d.Kind != purge.KindLetGo {
		if job, err = r.tellDeletion(ctx, job, d.Reason, d.Message); err != nil {
			return ctrl.Result{}, err
		}
	}
	switch d.Kind {
	case purge.KindLetGo:
		return ctrl.Result{}, r.letGo(ctx, job, d)
	case purge.KindCreate:
		switch err := r.createPurge(ctx, job, d.Try); {
		case errors.Is(err, errTerminating):
			return ctrl.Result{}, nil
		case err != nil:
			return ctrl.Result{}, err
		}
	}
	for _, p := range d.End {
		if err := r.deletePod(ctx, job.Namespace, p.Name, p.UID); err != nil {
			return ctrl.Result{}, err
		}
	}
	result := ctrl.Result{}
	if !d.Until.IsZero() {
		result.RequeueAfter = max(d.Until.Sub(now), 1)
	}
	if len(pods) > len(own) {
		result.RequeueAfter = sooner(result.RequeueAfter, lookAgain)
	}
	return result, nil
}

// tellDeletion in the job's status, so that a person sees why the object is still
// there. It gives the job as it is then.
func (r *Reconciler) tellDeletion(ctx context.Context, job *v1alpha1.PoseJob, reason, message string) (*v1alpha1.PoseJob, error) {
	updated := job.DeepCopy()
	changed := meta.SetStatusCondition(&updated.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionResultsDeleted, Status: metav1.ConditionFalse, Reason: reason, Message: status.Message(message),
		ObservedGeneration: job.Generation, LastTransitionTime: metav1.NewTime(r.Clock.Now()).Rfc3339Copy(),
	})
	if !changed {
		return job, nil
	}
	if err := r.Client.Status().Patch(ctx, updated, client.MergeFromWithOptions(job, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, fmt.Errorf("say in the status of PoseJob %s that its results are being deleted: %w", client.ObjectKeyFromObject(job), err)
	}
	return updated, nil
}

// letGo of a job whose results are gone, or are to stay.
func (r *Reconciler) letGo(ctx context.Context, job *v1alpha1.PoseJob, d purge.Decision) error {
	for _, p := range d.End {
		if err := r.deletePod(ctx, job.Namespace, p.Name, p.UID); err != nil {
			return err
		}
	}
	return r.withoutFinalizer(ctx, job, func() { r.tellDeleted(job, d.Report) })
}

// withoutFinalizer takes it off, and then says so: the event is the last that is
// heard of the job.
func (r *Reconciler) withoutFinalizer(ctx context.Context, job *v1alpha1.PoseJob, say func()) error {
	updated := job.DeepCopy()
	controllerutil.RemoveFinalizer(updated, v1alpha1.FinalizerResults)
	if err := r.patchFinalizers(ctx, job, updated); err != nil {
		return err
	}
	say()
	return nil
}

func (r *Reconciler) tellDeleted(job *v1alpha1.PoseJob, removed *report.PurgeReport) {
	if removed != nil {
		r.event(job, corev1.EventTypeNormal, eventResultsDeleted, "Purge", purge.Summary(job.Spec.Output.URI, removed))
	}
}

// errTerminating says that the job was let go because its namespace goes.
var errTerminating = errors.New("the namespace is being deleted")

// createPurge makes the pod that removes the results.
func (r *Reconciler) createPurge(ctx context.Context, job *v1alpha1.PoseJob, try int32) error {
	pod, err := render.Purge(job, try, r.Settings)
	if err != nil {
		return fmt.Errorf("remove the results of PoseJob %s: %w", client.ObjectKeyFromObject(job), err)
	}
	err = r.Client.Create(ctx, pod)
	switch {
	case err == nil:
		log.FromContext(ctx).Info("Pod created", "pod", pod.Name, "purpose", v1alpha1.PurposePurge, "try", try)
		return nil
	case apierrors.IsAlreadyExists(err):
		return r.adopt(ctx, job, pod)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		// No pod can be made here ever again, and the namespace waits for the job.
		words := fmt.Sprintf("namespace %s is being deleted, so no pod can remove the results: they stay at %s", job.Namespace, job.Spec.Output.URI)
		log.FromContext(ctx).Info("Results stay", "uri", job.Spec.Output.URI, "why", words)
		if err := r.withoutFinalizer(ctx, job, func() { r.warn(job, eventResultsStay, "Purge", words) }); err != nil {
			return err
		}
		return errTerminating
	}
	words := fmt.Sprintf("no pod can be made to remove the results at %s: %s. %s", job.Spec.Output.URI, err.Error(), purge.WayOut)
	if _, tellErr := r.tellDeletion(ctx, job, v1alpha1.ReasonDeletionFailed, words); tellErr != nil {
		return tellErr
	}
	return fmt.Errorf("create pod %s/%s: %w", pod.Namespace, pod.Name, err)
}
