package posebatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
)

// execute the steps in their order. A record that cannot be written ends it: what
// follows rests on it. A PoseJob that cannot be made now (a quota, say) keeps neither
// another step nor the status from being done; its clip stays r, and is looked for
// again.
func (r *Reconciler) execute(ctx context.Context, o *observation, steps []batch.Step) error {
	var failed error
	for _, s := range steps {
		err := error(nil)
		switch s.Kind {
		case batch.StepRecord:
			if err := r.record(ctx, o, s.Chunk, s.Record); err != nil {
				return err
			}
			r.tellEnds(o, s.Ends)
		case batch.StepCreate, batch.StepLook:
			if o.failed == nil || oneAlone(o.failed) {
				o.failed = cmp.Or(r.start(ctx, o, s.Clip, s.Kind == batch.StepLook), o.failed)
				err = lostOf(o.failed)
			}
		case batch.StepQueue:
			if o.failed == nil || oneAlone(o.failed) {
				o.failed = cmp.Or(r.queue(ctx, o, s), o.failed)
				err = lostOf(o.failed)
			}
		case batch.StepEndQueue:
			err = r.endQueue(ctx, o, s)
		case batch.StepFreeQueue:
			err = r.freeQueue(ctx, o, s)
		case batch.StepDelete:
			err = r.deleteJob(ctx, o, s.Child)
		case batch.StepSuspend:
			err = r.change(ctx, o, s.Child, func(j *v1alpha1.PoseJob) { j.Spec.Suspend = s.Suspend })
		}
		if lost := lostOf(err); lost != nil {
			return lost
		}
		if err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// oneAlone says whether an error may be that of one PoseJob: an admission webhook
// forbids what it has something against, and others may pass.
func oneAlone(err error) bool {
	return apierrors.IsForbidden(err) && !strings.Contains(err.Error(), "exceeded quota") && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// lostOf gives the errLost in err, or nil.
func lostOf(err error) error {
	var lost *errLost
	if errors.As(err, &lost) {
		return lost
	}
	return nil
}

// record writes what became of the clips of a chunk, if nobody did since it was read.
func (r *Reconciler) record(ctx context.Context, o *observation, chunk int, record *batch.Record) error {
	data, err := record.Encode()
	if err != nil {
		return err
	}
	m := o.maps[chunk].DeepCopy()
	m.Data = data
	if err := r.Client.Update(ctx, m); err != nil {
		if apierrors.IsNotFound(err) {
			return &errLost{fmt.Sprintf("ConfigMap %s, a record of the batch, was deleted", m.Name)}
		}
		return fmt.Errorf("write record %s/%s: %w", m.Namespace, m.Name, err)
	}
	o.maps[chunk], o.records[chunk] = m, record
	return nil
}

// start creates the PoseJob of a clip that is r. With look, it may be there already,
// or the clip may have ended: that is asked past the cache first.
func (r *Reconciler) start(ctx context.Context, o *observation, clip int, look bool) error {
	chunk, place, ok := batch.Locate(o.records, clip)
	if !ok {
		return nil
	}
	if look {
		again, err := r.stillRunning(ctx, o, chunk, place, clip)
		if err != nil || !again {
			return err
		}
	}
	list, err := r.chunk(ctx, o.b, chunk, len(o.records[chunk].States))
	if err != nil {
		return err
	}
	job := batch.Job(o.b, clip, list[place])
	err = r.Client.Create(ctx, job)
	switch {
	case err == nil:
		return nil
	case apierrors.IsAlreadyExists(err):
		return r.adopt(ctx, o, chunk, place, job)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return r.refuse(ctx, o, chunk, place, "the API server refuses the PoseJob: "+err.Error())
	}
	r.Recorder.Eventf(o.b, nil, corev1.EventTypeWarning, "PoseJobCreateFailed", "Create", "%s", cut(err.Error()))
	return fmt.Errorf("create PoseJob %s/%s: %w", job.Namespace, job.Name, err)
}

// stillRunning reads PoseJob and record past the cache. It is true where the clip
// has no PoseJob and is r. In this order: a PoseJob is deleted only after its record
// says more than r.
func (r *Reconciler) stillRunning(ctx context.Context, o *observation, chunk, place, clip int) (bool, error) {
	var job v1alpha1.PoseJob
	err := r.Reader.Get(ctx, client.ObjectKey{Namespace: o.b.Namespace, Name: batch.JobName(o.b, clip)}, &job)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("read PoseJob %s/%s: %w", o.b.Namespace, batch.JobName(o.b, clip), err)
	}
	if err == nil {
		return false, nil
	}
	m, err := r.missing(ctx, o.b, o.maps[chunk].Name)
	if err != nil {
		return false, err
	}
	record, err := batch.DecodeRecord(m.Data)
	if err != nil || place >= len(record.States) {
		return false, nil //nolint:nilerr // a record that was changed is found at the next look
	}
	return record.States[place] == batch.Running, nil
}

// adopt a PoseJob that exists already: it must be this very batch's.
func (r *Reconciler) adopt(ctx context.Context, o *observation, chunk, place int, want *v1alpha1.PoseJob) error {
	var have v1alpha1.PoseJob
	if err := r.Reader.Get(ctx, client.ObjectKeyFromObject(want), &have); err != nil {
		return fmt.Errorf("read PoseJob %s/%s that exists already: %w", want.Namespace, want.Name, err)
	}
	if controls(o.b, &have) {
		return nil
	}
	return r.refuse(ctx, o, chunk, place, fmt.Sprintf("PoseJob %s exists and does not belong to this batch", have.Name))
}

// refuse marks a clip as failed whose PoseJob can never be made.
func (r *Reconciler) refuse(ctx context.Context, o *observation, chunk, place int, why string) error {
	record, ok := o.records[chunk].Refuse(place, v1alpha1.ReasonJobRefused, why)
	if !ok {
		return nil
	}
	o.sooner(soon)
	return r.record(ctx, o, chunk, record)
}

// deleteJob by its uid; what it made goes with it, in the background.
func (r *Reconciler) deleteJob(ctx context.Context, o *observation, c batch.Child) error {
	uid := types.UID(c.UID)
	job := &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: o.b.Namespace, Name: c.Name}}
	err := r.Client.Delete(ctx, job, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete PoseJob %s/%s: %w", job.Namespace, job.Name, err)
	}
	return nil
}

// change the spec of a PoseJob of the batch.
func (r *Reconciler) change(ctx context.Context, o *observation, c batch.Child, edit func(*v1alpha1.PoseJob)) error {
	have := o.jobs[c.Name]
	if have == nil {
		return nil
	}
	job := have.DeepCopy()
	edit(job)
	err := r.Client.Patch(ctx, job, client.MergeFromWithOptions(have, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch PoseJob %s/%s: %w", job.Namespace, job.Name, err)
	}
	return nil
}
