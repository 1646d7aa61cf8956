package posejob

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/purge"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/controllers/internal/status"
	"github.com/pose-dev/pose-operator/controllers/removal"
)

// removal of a job's results, when it is deleted.
func (r *Reconciler) removal() removal.Remover[*v1alpha1.PoseJob] {
	now := r.Clock.Now()
	return removal.Remover[*v1alpha1.PoseJob]{
		Client: r.Client, Reader: r.Reader, Now: now,
		Owner: purge.OfJob,
		Mark: func(job *v1alpha1.PoseJob, p removal.Progress) {
			job.Status = status.Deleting(job, status.Deletion(p), now)
		},
		Pod: func(job *v1alpha1.PoseJob, try int32) (*corev1.Pod, error) {
			return render.Purge(job, try, r.Settings)
		},
		Event: r.event,
	}
}

// keepFinalizer puts the finalizer on a job whose results go with it, before there
// are any, and takes it off where they stay. It gives the job as it is then.
func (r *Reconciler) keepFinalizer(ctx context.Context, job *v1alpha1.PoseJob) (*v1alpha1.PoseJob, error) {
	return r.removal().KeepFinalizer(ctx, job, job.Spec.Output.DeletionPolicy == v1alpha1.DeletionDelete)
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
	rm := r.removal()
	d := purge.Next(purge.OfJob(job), pods, rm.Now)
	result, err := rm.Carry(ctx, job, d)
	if err == nil && d.Kind != purge.KindLetGo && len(pods) > len(own) {
		result.RequeueAfter = sooner(result.RequeueAfter, lookAgain)
	}
	return result, err
}
