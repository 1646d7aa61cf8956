package posebatch

import (
	"context"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/errand"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/internal/purge"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/controllers/removal"
)

// purgeSeconds bounds one pod that removes results; the next goes on. A hundred
// thousand results take a store some of it.
const purgeSeconds = 2 * 3600

// writersLook is how often it is looked whether PoseJobs and their pods are gone: no
// pod of a PoseJob tells the batch.
const writersLook = 2 * time.Second

// removal of a batch's results, when it is deleted.
func (r *Reconciler) removal() removal.Remover[*v1alpha1.PoseBatch] {
	now := r.Clock.Now()
	return removal.Remover[*v1alpha1.PoseBatch]{
		Client: r.Client, Reader: r.Reader, Now: now,
		Owner: purge.OfBatch,
		Mark: func(b *v1alpha1.PoseBatch, p removal.Progress) {
			batch.Deleting(b, p.Done, p.Reason, p.Message, now)
		},
		Pod: r.purgePod,
		Event: func(b *v1alpha1.PoseBatch, kind, reason, action, note string) {
			r.Recorder.Eventf(b, nil, kind, reason, action, "%s", cut(note))
		},
	}
}

// deleting looks after a batch that is being deleted. All that it made goes with it;
// its results go first where it says so.
func (r *Reconciler) deleting(ctx context.Context, b *v1alpha1.PoseBatch) (ctrl.Result, error) {
	var own corev1.PodList
	if err := r.Client.List(ctx, &own, client.InNamespace(b.Namespace), client.MatchingLabels{v1alpha1.LabelJobUID: string(b.UID)}); err != nil {
		return ctrl.Result{}, fmt.Errorf("list pods of PoseBatch %s: %w", client.ObjectKeyFromObject(b), err)
	}
	for i := range own.Items { // nobody records outcomes any more
		if err := removal.Release(ctx, r.Client, &own.Items[i]); err != nil {
			return ctrl.Result{}, err
		}
	}
	if !controllerutil.ContainsFinalizer(b, v1alpha1.FinalizerResults) {
		return ctrl.Result{}, nil
	}
	rm := r.removal()
	if b.Spec.Output.DeletionPolicy != v1alpha1.DeletionDelete {
		return rm.Carry(ctx, b, purge.Next(purge.OfBatch(b), own.Items, rm.Now))
	}
	w, err := r.writers(ctx, r.Client, b)
	if err != nil {
		return ctrl.Result{}, err
	}
	for _, c := range w.Delete {
		if err := r.deleteJob(ctx, &observation{b: b}, c); err != nil {
			return ctrl.Result{}, err
		}
	}
	d := r.nextRemoval(b, own.Items, w, rm.Now)
	if d.Kind == purge.KindCreate {
		// What the cache does not show yet may write as well.
		if w, err = r.writers(ctx, r.Reader, b); err != nil {
			return ctrl.Result{}, err
		}
		d = r.nextRemoval(b, own.Items, w, rm.Now)
	}
	return rm.Carry(ctx, b, d)
}

// writers of the batch that are not its own pods.
func (r *Reconciler) writers(ctx context.Context, from client.Reader, b *v1alpha1.PoseBatch) (batch.Writers, error) {
	var jobs v1alpha1.PoseJobList
	if err := from.List(ctx, &jobs, client.InNamespace(b.Namespace), client.MatchingLabels{v1alpha1.LabelBatchUID: string(b.UID)}); err != nil {
		return batch.Writers{}, fmt.Errorf("list PoseJobs of PoseBatch %s: %w", client.ObjectKeyFromObject(b), err)
	}
	var pods corev1.PodList
	if err := from.List(ctx, &pods, client.InNamespace(b.Namespace), client.MatchingLabels{"app.kubernetes.io/name": "pose-job"}); err != nil {
		return batch.Writers{}, fmt.Errorf("list pods of the PoseJobs of PoseBatch %s: %w", client.ObjectKeyFromObject(b), err)
	}
	return batch.WritersOf(b, jobs.Items, pods.Items), nil
}

// nextRemoval decides what is next; nothing is removed while anybody may write.
func (r *Reconciler) nextRemoval(b *v1alpha1.PoseBatch, own []corev1.Pod, w batch.Writers, now time.Time) purge.Decision {
	look := now.Add(writersLook)
	if w.Left > 0 {
		// Their pods end with them, the batch's own meanwhile.
		d := purge.Decision{Kind: purge.KindWait, Reason: v1alpha1.ReasonDeleting, Message: w.Message(), Until: look}
		if ends := purge.Next(purge.OfBatch(b), own, now); ends.Kind == purge.KindEnd {
			d.End = ends.End
		}
		return d
	}
	d := purge.Next(purge.OfBatch(b), append(own[:len(own):len(own)], w.Pods...), now)
	if len(w.Pods) > 0 && (d.Kind == purge.KindEnd || d.Kind == purge.KindWait) && (d.Until.IsZero() || look.Before(d.Until)) {
		d.Until = look
	}
	return d
}

// purgePod removes what the batch and its PoseJobs wrote. It belongs to the batch and
// yet is not controlled by it, nor does it block its deletion: the garbage collector
// deletes such pods at once of an owner that waits for them.
func (r *Reconciler) purgePod(b *v1alpha1.PoseBatch, try int32) (*corev1.Pod, error) {
	request := errand.BatchPurge(b, r.Settings.Store, purgeSeconds)
	pod, err := r.pod(b, v1alpha1.PurposePurge, try, request, indexMemory)
	if err != nil {
		return nil, err
	}
	pod.Annotations[render.AnnotationTry] = strconv.Itoa(int(try))
	owner := &pod.OwnerReferences[0]
	owner.Controller, owner.BlockOwnerDeletion = nil, nil
	return pod, nil
}
