package posebatch

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/removal"
	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
)

// list makes the list of clips: at once of what stands in the spec, else by a pod.
func (r *Reconciler) list(ctx context.Context, o *observation) error {
	if o.rep.Listing == nil {
		o.rep.Listing = &v1alpha1.BatchListing{}
	}
	if len(o.b.Spec.Videos.URIs) > 0 {
		return r.inline(ctx, o)
	}
	l := o.rep.Listing
	if r.Settings.Progress == nil {
		o.end(v1alpha1.ReasonListFailed, "the operator runs without an address for the progress of pods, so that no pod can tell it what it lists: name at most 500 videos in spec.videos.uris, or ask the platform admin for the flag --progress-host")
		return nil
	}
	view, pod := r.view(o.pods, o.b, v1alpha1.PurposeList, l.Attempt)
	s := batch.NextPod(l.Attempt, timeOf(l.NotBefore), view, o.b.Spec.Suspend, o.now)
	if s.Action == batch.PodDone {
		var err error
		if s, err = r.commit(ctx, o, view.Report.List); err != nil || s.Action == batch.PodDone {
			return err
		}
	}
	if s.Action == batch.PodGiveUp {
		o.rep.Waiting = s.Message
		o.end(v1alpha1.ReasonListFailed, "the list of clips cannot be made: %s", s.Message)
		return nil
	}
	r.follow(o, s, pod, tries{v1alpha1.PurposeList, &l.Attempt, &l.NotBefore, &l.Message})
	return nil
}

// tries are what the status keeps of the attempts to list or to index.
type tries struct {
	purpose   string
	attempt   *int32
	notBefore **metav1.Time
	message   *string
}

// follow a step of an attempt that goes on.
func (r *Reconciler) follow(o *observation, s batch.PodStep, pod *corev1.Pod, t tries) {
	o.rep.Waiting = s.Message
	switch s.Action {
	case batch.PodIntend:
		*t.attempt, *t.notBefore, *t.message = s.Attempt, notBefore(s.NotBefore), cut(s.Message)
		o.sooner(max(soon, s.NotBefore.Sub(o.now)))
		o.rep.Waiting = ""
	case batch.PodCreate:
		o.act = func(ctx context.Context) error { return r.create(ctx, o.b, t.purpose, *t.attempt) }
	case batch.PodEnd:
		o.act = func(ctx context.Context) error {
			return removal.DeletePod(ctx, r.Client, pod.Namespace, pod.Name, string(pod.UID))
		}
	case batch.PodWait, batch.PodDone, batch.PodGiveUp:
		o.until(s.Until)
	}
}

func (o *observation) until(t time.Time) {
	if !t.IsZero() {
		o.sooner(max(soon, t.Sub(o.now)))
	}
}

// inline makes the list of the URIs that stand in the spec.
func (r *Reconciler) inline(ctx context.Context, o *observation) error {
	v := &o.b.Spec.Videos
	filter, err := clips.NewFilter(v.Include, v.Exclude, false)
	if err != nil {
		o.end(v1alpha1.ReasonListFailed, "spec.videos: %v", err)
		return nil
	}
	var found []clips.Found
	for i, uri := range v.URIs {
		f, err := clips.ParseURI(uri)
		if err != nil {
			o.end(v1alpha1.ReasonListFailed, "spec.videos.uris[%d]: %.80q: %v", i, uri, err)
			return nil
		}
		if filter.Keeps(f.Path) {
			found = append(found, f)
		}
	}
	if len(found) > int(v.MaxVideos) {
		o.end(v1alpha1.ReasonListFailed, "spec.videos.uris names %d videos, spec.videos.maxVideos admits %d", len(found), v.MaxVideos)
		return nil
	}
	list, left := clips.Name(found)
	var sizes []int
	for i, chunk := range clips.Chunks(list) {
		if err := r.store(ctx, o.b, 0, i, chunk); err != nil {
			return err
		}
		sizes = append(sizes, len(chunk))
	}
	return r.listed(ctx, o, sizes, left)
}

// commit the list that a pod says it made, if it is there, whole.
func (r *Reconciler) commit(ctx context.Context, o *observation, rep *report.ListReport) (batch.PodStep, error) {
	l := o.rep.Listing
	if rep == nil || rep.Pages < 0 || rep.Pages > clips.MaxChunks || rep.Clips < 0 || rep.Clips > clips.MaxClips || rep.Skipped < 0 {
		return batch.Repeat(l.Attempt, "the pod's report cannot be right", o.now), nil
	}
	sizes, why, err := r.stored(ctx, o.b, l.Attempt, int(rep.Pages), int(rep.Clips))
	if err != nil {
		return batch.PodStep{}, err
	}
	if why != "" {
		return batch.Repeat(l.Attempt, "the list is not whole: "+why, o.now), nil
	}
	return batch.PodStep{Action: batch.PodDone}, r.listed(ctx, o, sizes, int(rep.Skipped))
}

// listed makes the records of a list that is whole, and then says that it is.
func (r *Reconciler) listed(ctx context.Context, o *observation, sizes []int, skipped int) error {
	l := o.rep.Listing
	for i, n := range sizes {
		data, err := batch.NewRecord(n).Encode()
		if err != nil {
			return err
		}
		m := &corev1.ConfigMap{ObjectMeta: partMeta(o.b, batch.RecordName(o.b, l.Attempt, i), v1alpha1.PartRecord, l.Attempt), Data: data}
		// One that is there already was made by a manager that died before it could
		// say so: nothing has happened to its clips.
		if err := r.Client.Create(ctx, m); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("make record %d of PoseBatch %s: %w", i, client.ObjectKeyFromObject(o.b), err)
		}
	}
	total := 0
	for _, n := range sizes {
		total += n
	}
	at := metav1.NewTime(o.now).Rfc3339Copy()
	l.Chunks, l.Clips, l.Skipped = int32(len(sizes)), int32(total), int32(min(skipped, clips.MaxClips)) //nolint:gosec // at most MaxClips
	l.CompletionTime, l.NotBefore, l.Message = &at, nil, ""
	o.sooner(soon)
	o.act = func(ctx context.Context) error {
		b := o.b.DeepCopy()
		b.Status.Listing = l
		return r.discard(ctx, b)
	}
	return nil
}

// index has the list of results written, and ends the batch.
func (r *Reconciler) index(o *observation) {
	if o.rep.Index == nil {
		o.rep.Index = &v1alpha1.BatchIndex{}
	}
	x := o.rep.Index
	view, pod := r.view(o.pods, o.b, v1alpha1.PurposeIndex, x.Attempt)
	s := batch.NextPod(x.Attempt, timeOf(x.NotBefore), view, false, o.now)
	if s.Action == batch.PodDone {
		rep := view.Report.Index
		if rep != nil && rep.URI != "" && int(rep.Clips) == int(o.b.Status.Listing.Clips) {
			x.URI, x.SHA256, x.Missing, x.NotBefore, x.Message = rep.URI, rep.SHA256, max(0, rep.Missing), nil, ""
			o.rep.End = batch.EndOf(&o.rep, "")
			return
		}
		s = batch.Repeat(x.Attempt, "the pod's report cannot be right", o.now)
	}
	if s.Action == batch.PodCreate {
		if why := r.denied(o.b); len(why) > 0 {
			s = batch.PodStep{Action: batch.PodGiveUp, Message: cut(strings.Join(why, "; "))}
		}
	}
	if s.Action == batch.PodGiveUp {
		o.rep.Waiting, x.Message = s.Message, cut(s.Message)
		o.rep.End = batch.EndOf(&o.rep, s.Message)
		return
	}
	r.follow(o, s, pod, tries{v1alpha1.PurposeIndex, &x.Attempt, &x.NotBefore, &x.Message})
}

// create the pod of an attempt that the status names.
func (r *Reconciler) create(ctx context.Context, b *v1alpha1.PoseBatch, purpose string, attempt int32) error {
	render := r.listPod
	if purpose == v1alpha1.PurposeIndex {
		render = r.indexPod
	}
	pod, err := render(b, attempt)
	if err != nil {
		return err
	}
	err = r.Client.Create(ctx, pod)
	if err == nil {
		return nil
	}
	if apierrors.IsAlreadyExists(err) {
		var have corev1.Pod
		if err := r.Reader.Get(ctx, client.ObjectKeyFromObject(pod), &have); err != nil {
			return fmt.Errorf("read pod %s/%s that exists already: %w", pod.Namespace, pod.Name, err)
		}
		if !controls(b, &have) {
			return fmt.Errorf("pod %s/%s exists and does not belong to PoseBatch %s (uid %s): delete it, or give the PoseBatch another name", pod.Namespace, pod.Name, b.Name, b.UID)
		}
		return nil
	}
	r.Recorder.Eventf(b, nil, corev1.EventTypeWarning, "PodCreateFailed", "Create", "%s", cut(err.Error()))
	return fmt.Errorf("create pod %s/%s: %w", pod.Namespace, pod.Name, err)
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

func notBefore(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	m := metav1.NewTime(t).Rfc3339Copy()
	return &m
}
