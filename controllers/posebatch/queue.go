package posebatch

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/errand"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/controllers/posejob"
	"github.com/pose-dev/pose-operator/controllers/removal"
	"github.com/pose-dev/pose-operator/internal/clips"
)

// Starter says how a PoseJob would start that need not exist.
type Starter interface {
	First(ctx context.Context, job *v1alpha1.PoseJob) (posejob.First, error)
}

// eventQueuePodEnded tells what came of a pod of many clips.
const eventQueuePodEnded = "QueuePodEnded"

// first is how the clips of the batch start, asked once in a reconcile. It depends on
// the template alone.
func (r *Reconciler) first(ctx context.Context, o *observation) (posejob.First, error) {
	if o.first != nil || r.Jobs == nil {
		return valueOr(o.first, posejob.First{Why: "no PoseJobs are run here"}), nil
	}
	f, err := r.Jobs.First(ctx, batch.QueueJob(o.b, 0, clips.Clip{URI: o.b.Spec.Videos.Prefix, Name: "any"}))
	if err != nil {
		return f, fmt.Errorf("find the engine of PoseBatch %s: %w", client.ObjectKeyFromObject(o.b), err)
	}
	o.first = &f
	return f, nil
}

func valueOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// queues are the pods of many clips that there are. Those that a record has and the
// cache does not show are read past it: one is taken for gone only when the API server
// itself says so.
func (r *Reconciler) queues(ctx context.Context, o *observation) ([]batch.QueuePod, error) {
	pods := o.pods
	have := map[string]bool{}
	for i := range pods {
		have[pods[i].Name] = true
	}
	for chunk, record := range o.records {
		for number := range record.Queues {
			name := batch.QueueName(o.b, chunk, number)
			if have[name] {
				continue
			}
			var pod corev1.Pod
			err := r.Reader.Get(ctx, client.ObjectKey{Namespace: o.b.Namespace, Name: name}, &pod)
			if client.IgnoreNotFound(err) != nil {
				return nil, fmt.Errorf("read pod %s/%s, which the cache does not show: %w", o.b.Namespace, name, err)
			}
			if err == nil {
				pods = append(pods, pod)
				o.sooner(lookAgain) // no event will tell of its end
			}
		}
	}
	o.pods = pods
	var out []batch.QueuePod
	for i := range pods {
		if _, _, ok := batch.QueueOf(o.b, pods[i].Name); !ok {
			continue
		}
		// What the engine's own rules say is told once, when the pod has ended.
		var engine *v1alpha1.PoseEngine
		if starts(&pods[i]) {
			f, err := r.first(ctx, o)
			if err != nil {
				return nil, err
			}
			engine = f.Engine
		}
		view := attempt.View(&pods[i])
		o.sooner(r.podEvents.Explain(ctx, r.Reader, o.b.Namespace, &view, o.now))
		p, mine := batch.QueuePodOf(o.b, &pods[i], view, engine, o.now)
		if !mine {
			continue
		}
		out = append(out, p)
		words := waits(&pods[i])
		if view.Unmounted.Words != "" {
			words = p.Waits // the kubelet's own
		}
		if p.Live && words != "" && o.rep.Waiting == "" {
			o.rep.Waiting = "pod " + p.Name + ": " + words
		}
	}
	return out, nil
}

// waits says what a pod that has not begun waits for: it has no PoseJob to say so.
func waits(pod *corev1.Pod) string {
	if pod.Status.Phase != corev1.PodPending || len(pod.Status.Conditions)+len(pod.Status.InitContainerStatuses) == 0 {
		return "" // just made
	}
	look := errand.Look(pod, attempt.ContainerDeliver)
	return cmp.Or(look.Stuck, look.Step)
}

// starts says whether a pod may need its engine to be judged: it has not begun, or has
// ended and nobody took that down.
func starts(pod *corev1.Pod) bool {
	switch pod.Status.Phase {
	case corev1.PodRunning:
		return false
	case corev1.PodSucceeded, corev1.PodFailed:
		return len(pod.Finalizers) > 0
	}
	return true
}

// offer of pods of many clips, as a decision asks for it.
func (r *Reconciler) offer(ctx context.Context, o *observation) func() batch.Offer {
	return func() batch.Offer {
		f, err := r.first(ctx, o)
		if err != nil {
			o.failed = err
			return batch.Offer{Why: err.Error()}
		}
		if why := without(f); why != "" {
			return batch.Offer{Why: why}
		}
		return batch.Offer{Mount: func(chunk, place int) (string, bool) {
			list, err := r.chunk(ctx, o.b, chunk, len(o.records[chunk].States))
			if err != nil {
				o.failed = err
				return "", false
			}
			c := list[place]
			return render.Mount(c.URI), len(r.Policy.Denied(batch.Job(o.b, 0, c))) == 0
		}}
	}
}

// without pods of many clips, because the variant that the clips start with cannot.
func without(f posejob.First) string {
	switch {
	case f.Why != "":
		return f.Why
	case !render.Queues(f.Variant):
		return fmt.Sprintf("variant %s of PoseEngine %s cannot work through many clips", f.Variant.Name, f.Engine.Name)
	}
	return ""
}

// queue makes the pod of many clips that a record intends. Unless the record was
// written just now it is read past the cache: what was intended in an older copy may
// have ended long ago.
func (r *Reconciler) queue(ctx context.Context, o *observation, s batch.Step) error {
	record := o.records[s.Chunk]
	if !s.Fresh {
		m, err := r.missing(ctx, o.b, o.maps[s.Chunk].Name)
		if err != nil {
			return err
		}
		if record, err = batch.DecodeRecord(m.Data); err != nil {
			return nil //nolint:nilerr // a record that was changed is found at the next look
		}
	}
	if !record.Intends(s.Queue) {
		return nil
	}
	pod, err := r.queuePod(ctx, o, s.Chunk, s.Queue, record.Queues[s.Queue].Places)
	if err != nil {
		return err
	}
	if pod == nil {
		return r.withoutQueue(ctx, o, s, false)
	}
	err = r.Client.Create(ctx, pod)
	switch {
	case err == nil:
		log.FromContext(ctx).Info("Pod created", "pod", pod.Name, "purpose", v1alpha1.PurposeQueue, "clips", len(record.Queues[s.Queue].Places))
		return nil
	case apierrors.IsAlreadyExists(err):
		var have corev1.Pod
		if err := r.Reader.Get(ctx, client.ObjectKeyFromObject(pod), &have); err != nil {
			return fmt.Errorf("read pod %s/%s that exists already: %w", pod.Namespace, pod.Name, err)
		}
		if controls(o.b, &have) {
			return nil
		}
		return r.withoutQueue(ctx, o, s, false) // the next one has another name
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), oneAlone(err):
		// It asks for more disk than the pod of one clip, which a LimitRange may allow.
		r.Recorder.Eventf(o.b, nil, corev1.EventTypeWarning, "PodCreateFailed", "Create", "%s", cut("the API server refuses a pod of many clips, and they get PoseJobs: "+err.Error()))
		return r.withoutQueue(ctx, o, s, true)
	}
	r.Recorder.Eventf(o.b, nil, corev1.EventTypeWarning, "PodCreateFailed", "Create", "%s", cut(err.Error()))
	return fmt.Errorf("create pod %s/%s: %w", pod.Namespace, pod.Name, err)
}

// queuePod of clips of a chunk; nil where none can be made any more.
func (r *Reconciler) queuePod(ctx context.Context, o *observation, chunk int, number int32, places []int) (*corev1.Pod, error) {
	f, err := r.first(ctx, o)
	if err != nil {
		return nil, err
	}
	list, err := r.chunk(ctx, o.b, chunk, len(o.records[chunk].States))
	if err != nil || without(f) != "" {
		return nil, err
	}
	at := batch.FirstOf(o.records, chunk)
	q := render.Queue{
		PodName: batch.QueueName(o.b, chunk, number), Number: number, First: int32(at), //nolint:gosec // at most MaxClips
		ConfigMap: batch.ChunkName(o.b, o.b.Status.Listing.Attempt, chunk), Key: keyClips,
		JobPrefix: batch.JobPrefix(o.b), Look: f.Look,
	}
	for _, place := range places {
		if len(r.Policy.Denied(batch.Job(o.b, at+place, list[place]))) > 0 {
			return nil, nil //nolint:nilnil // documented
		}
		q.Clips = append(q.Clips, int32(at+place)) //nolint:gosec // at most MaxClips
	}
	a := *f.Attempt
	a.Number = number
	pod, err := render.QueuePod(batch.QueueJob(o.b, at+places[0], list[places[0]]), f.Engine, f.Variant, &a, f.Request, q, r.Settings)
	if err != nil {
		return nil, fmt.Errorf("make a pod of many clips for PoseBatch %s: %w", client.ObjectKeyFromObject(o.b), err)
	}
	return pod, nil
}

// withoutQueue takes back what a record intends and nobody can make.
func (r *Reconciler) withoutQueue(ctx context.Context, o *observation, s batch.Step, blame bool) error {
	record, ok := o.records[s.Chunk].WithoutQueue(s.Queue, blame)
	if !ok {
		return nil
	}
	o.sooner(soon)
	return r.record(ctx, o, s.Chunk, record)
}

// freeQueue lets a pod of many clips go. What no record of the cache speaks of may stand
// in a newer one.
func (r *Reconciler) freeQueue(ctx context.Context, o *observation, s batch.Step) error {
	if s.Look && s.Chunk < len(o.maps) {
		m, err := r.missing(ctx, o.b, o.maps[s.Chunk].Name)
		if err != nil {
			return err
		}
		record, err := batch.DecodeRecord(m.Data)
		if err != nil {
			return nil //nolint:nilerr // a record that was changed is found at the next look
		}
		if _, open := record.Queues[s.Queue]; open {
			return nil
		}
	}
	for i := range o.pods {
		if string(o.pods[i].UID) == s.Pod.UID {
			if err := removal.Release(ctx, r.Client, &o.pods[i]); err != nil {
				return fmt.Errorf("release pod %s/%s of many clips: %w", o.b.Namespace, s.Pod.Name, err)
			}
		}
	}
	if !s.Delete {
		return nil
	}
	return r.endQueue(ctx, o, s)
}

func (r *Reconciler) endQueue(ctx context.Context, o *observation, s batch.Step) error {
	if err := removal.DeletePod(ctx, r.Client, o.b.Namespace, s.Pod.Name, s.Pod.UID); err != nil {
		return fmt.Errorf("end pod %s/%s of many clips: %w", o.b.Namespace, s.Pod.Name, err)
	}
	return nil
}

// tellEnds of pods of many clips, once that is written down.
func (r *Reconciler) tellEnds(o *observation, ends []batch.QueueEnd) {
	for _, e := range ends {
		kind := corev1.EventTypeWarning
		if e.Whole() {
			kind = corev1.EventTypeNormal
		}
		r.Recorder.Eventf(o.b, nil, kind, eventQueuePodEnded, "Account", "%s", cut(e.String()))
	}
}
