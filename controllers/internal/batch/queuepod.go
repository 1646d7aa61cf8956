package batch

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
	"github.com/pose-dev/pose-operator/internal/clips"
)

// QueueJob stands for all clips of a pod of many: a PoseJob as that of the clip would
// be, which is never made, with the uid of the batch and the batch's output. Nobody has
// put the API server's defaults into it, so they are put in here.
func QueueJob(b *v1alpha1.PoseBatch, n int, c clips.Clip) *v1alpha1.PoseJob {
	job := Job(b, n, c)
	job.UID, job.Spec.Output.URI = b.UID, b.Spec.Output.URI
	s := &job.Spec
	orDefault(&s.Device, v1alpha1.DeviceAuto)
	orDefault(&s.Fallback.Device, v1alpha1.Allow)
	orDefault(&s.Fallback.Detector, v1alpha1.Allow)
	orDefault(&s.Fallback.Engine, v1alpha1.Deny)
	orDefault(&s.StartTimeoutSeconds, 600)
	orDefault(&s.StallTimeoutSeconds, 900)
	orDefault(&s.DeliveryTimeoutSeconds, 900)
	orDefault(&s.PodTTLSecondsAfterFinished, new(int32(600)))
	orDefault(&s.BackoffLimit, new(int32(2)))
	orDefault(&s.ScratchSize, new(resource.MustParse("20Gi")))
	orDefault(&s.Output.Overlay, v1alpha1.OverlayNone)
	orDefault(&s.Output.Overwrite, v1alpha1.Deny)
	return job
}

func orDefault[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

// leftover is how long the other containers of a pod may go on after deliver ended: it
// ends last, and nothing that they do counts any more.
const leftover = time.Minute

// QueuePodOf says what a decision needs to know of a pod of many clips. It is false for
// a pod that is none of the batch's. The view is of the pod, with what its events say.
// Engine is the one that its clips start with, and may be nil while that is not to be
// had.
func QueuePodOf(b *v1alpha1.PoseBatch, pod *corev1.Pod, v attempt.Pod, engine *v1alpha1.PoseEngine, now time.Time) (QueuePod, bool) {
	chunk, number, ok := QueueOf(b, pod.Name)
	if !ok || !metav1.IsControlledBy(pod, b) {
		return QueuePod{}, false
	}
	p := QueuePod{
		Chunk: chunk, Number: number, Name: v.Name, UID: v.UID, Live: v.Live(), Deleting: v.Deleting, Held: v.Finalizer,
		Device: v.Device, Made: v.Created.Time, End: v.Created.Time,
	}
	if t := v.Report(attempt.ContainerDeliver); t != nil {
		p.Report = t.Queue
	}
	for _, c := range v.Containers {
		if c.FinishedAt.After(p.End) {
			p.End = c.FinishedAt
		}
	}
	p.engine(&v, now)
	a := attempt.Attempt{Attempt: v1alpha1.Attempt{Number: number, State: v1alpha1.AttemptRunning, PodUID: v.UID, Variant: v.Variant, Device: v.Device}, Pod: &v}
	switch {
	case p.Live:
		p.watch(b, engine, a, now)
	case v.Phase != corev1.PodSucceeded:
		p.judge(a, engine)
	}
	return p, true
}

// judge a pod that did not end well as a PoseJob's attempt would be.
func (p *QueuePod) judge(a attempt.Attempt, engine *v1alpha1.PoseEngine) {
	v, ended := failure.Judge(a, rulesOf(engine))
	if !ended {
		return
	}
	p.Reason, p.Message = v.Reason, v.Message
	if e := a.Pod.Engine(); e != nil && e.Clip != nil && *e.Clip >= 0 {
		p.Message = fmt.Sprintf("at clip %d: %s", *e.Clip, p.Message)
	}
}

// engine time by the kubelet's clock.
func (p *QueuePod) engine(v *attempt.Pod, now time.Time) {
	c := v.Container(attempt.ContainerEngine)
	if c == nil || c.StartedAt.IsZero() {
		return
	}
	end := c.FinishedAt
	if p.Running = c.Running; c.Running {
		end = now
	}
	n := min(max(0, int64(end.Sub(c.StartedAt).Seconds())), maxSum/clips.MaxClips)
	if v.Device == v1alpha1.GPU {
		p.Used.GPUSeconds = n
	} else {
		p.Used.CPUSeconds = n
	}
}

// watch a pod that lives, by the bounds of a PoseJob's attempt for its start.
func (p *QueuePod) watch(b *v1alpha1.PoseBatch, engine *v1alpha1.PoseEngine, a attempt.Attempt, now time.Time) {
	if c := a.Pod.Container(attempt.ContainerDeliver); c != nil && c.Terminated {
		if p.Until = c.FinishedAt.Add(leftover); !now.Before(p.Until) {
			p.Reason, p.Message = v1alpha1.ReasonDeliveryFailed, "deliver ended, and other containers of the pod went on"
		}
		return
	}
	if !a.Pod.UnschedulableSince.IsZero() {
		a.UnschedulableSince = new(metav1.NewTime(a.Pod.UnschedulableSince))
	}
	job := QueueJob(b, 0, clips.Clip{URI: b.Spec.Videos.Prefix})
	in := plan.Input{Spec: &job.Spec, Attempts: []attempt.Attempt{a}, Engine: engine, Now: now}
	d, ok := in.Starting(&a)
	if !ok {
		return
	}
	if d.Kind == plan.KindEndPod {
		p.Reason, p.Message = d.Reason, d.Message
		return
	}
	p.Waits, p.Until = d.Message, d.Until
}

// rulesOf an engine; the built-in ones alone where it has none that compile.
func rulesOf(engine *v1alpha1.PoseEngine) []failure.Rule {
	if engine == nil {
		return nil
	}
	rules, err := failure.Compile(engine.Spec.FailureRules)
	if err != nil {
		return nil
	}
	return rules
}
