package gen

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Containers of an attempt's pod, in their order.
var (
	Inits = []string{"copy", "adapter", "fetch", "prepare"}
	Mains = []string{"engine", "deliver"}
)

// Attempt is a record of one attempt.
func Attempt(number int32, variant string, device v1alpha1.Device, change ...func(*v1alpha1.Attempt)) v1alpha1.Attempt {
	a := v1alpha1.Attempt{Number: number, State: v1alpha1.AttemptIntended, Variant: variant, Device: device, EngineGeneration: 1}
	for _, c := range change {
		c(&a)
	}
	return a
}

// Running puts the record on a pod.
func Running(pod string) func(*v1alpha1.Attempt) {
	return func(a *v1alpha1.Attempt) {
		a.State, a.PodName, a.PodUID = v1alpha1.AttemptRunning, pod, "uid-"+pod
	}
}

// Failed records a verdict.
func Failed(reason string) func(*v1alpha1.Attempt) {
	return func(a *v1alpha1.Attempt) {
		t := At(0)
		a.State, a.Reason, a.Message, a.FinishTime = v1alpha1.AttemptFailed, reason, "it failed", &t
	}
}

// Succeeded records a success.
func Succeeded() func(*v1alpha1.Attempt) {
	return func(a *v1alpha1.Attempt) {
		t := At(0)
		a.State, a.FinishTime = v1alpha1.AttemptSucceeded, &t
	}
}

// PodBuilder builds a pod of an attempt.
type PodBuilder struct{ pod corev1.Pod }

// Pod of an attempt, just created: pending, on no node, no container started.
func Pod(name string, number int32, variant string, device v1alpha1.Device) *PodBuilder {
	return &PodBuilder{pod: corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team-a", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: At(-300),
			Labels: map[string]string{
				v1alpha1.LabelAttempt: strconv.Itoa(int(number)), v1alpha1.LabelVariant: variant, v1alpha1.LabelDevice: string(device),
				v1alpha1.LabelJobUID: string(JobUID),
			},
			Finalizers: []string{v1alpha1.FinalizerOutcome},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}}
}

// With changes anything.
func (b *PodBuilder) With(change func(*corev1.Pod)) *PodBuilder {
	change(&b.pod)
	return b
}

// Phase of the pod.
func (b *PodBuilder) Phase(p corev1.PodPhase) *PodBuilder {
	b.pod.Status.Phase = p
	return b
}

// Node that the pod was bound to.
func (b *PodBuilder) Node(name string) *PodBuilder {
	b.pod.Spec.NodeName = name
	return b
}

// Reason and message of the kubelet on the pod.
func (b *PodBuilder) Reason(reason, message string) *PodBuilder {
	b.pod.Status.Reason, b.pod.Status.Message = reason, message
	return b
}

// Deleting since a deletion that was asked for so many seconds from Now, with a
// grace period as the API server writes both.
func (b *PodBuilder) Deleting(asked, grace int64) *PodBuilder {
	t := At(asked + grace)
	b.pod.DeletionTimestamp, b.pod.DeletionGracePeriodSeconds = &t, &grace
	return b
}

// Condition that became so many seconds from Now.
func (b *PodBuilder) Condition(kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string, since int64) *PodBuilder {
	b.pod.Status.Conditions = append(b.pod.Status.Conditions, corev1.PodCondition{
		Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: At(since),
	})
	return b
}

// Disrupted sets the condition DisruptionTarget.
func (b *PodBuilder) Disrupted(reason, message string, since int64) *PodBuilder {
	return b.Condition(corev1.DisruptionTarget, corev1.ConditionTrue, reason, message, since)
}

// Unschedulable since so many seconds from Now.
func (b *PodBuilder) Unschedulable(message string, since int64) *PodBuilder {
	return b.Condition(corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonUnschedulable, message, since)
}

// Waiting container.
func (b *PodBuilder) Waiting(container, reason, message string) *PodBuilder {
	b.status(container).State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	return b
}

// Runs: the container runs.
func (b *PodBuilder) Runs(container string) *PodBuilder {
	b.status(container).State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: At(-100)}}
	return b
}

// Exit of a container, 40 seconds after its start.
func (b *PodBuilder) Exit(container string, code int32) *PodBuilder {
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	b.status(container).State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, StartedAt: At(-100), FinishedAt: At(-60),
	}}
	return b
}

// OOMKilled as the kubelet writes it.
func (b *PodBuilder) OOMKilled(container string) *PodBuilder {
	b.Exit(container, 137)
	b.status(container).State.Terminated.Reason = "OOMKilled"
	return b
}

// Signal as a runtime reports it that knows signals.
func (b *PodBuilder) Signal(container string, number int32) *PodBuilder {
	b.Exit(container, 0)
	t := b.status(container).State.Terminated
	t.Signal, t.ExitCode, t.Reason = number, 128+number, "Error"
	return b
}

// FinishedAt moves the end of a container that has ended.
func (b *PodBuilder) FinishedAt(container string, seconds int64) *PodBuilder {
	b.status(container).State.Terminated.FinishedAt = At(seconds)
	return b
}

// Says gives a container that has ended the runner's termination message.
func (b *PodBuilder) Says(container string, t report.Termination) *PodBuilder {
	return b.SaysRaw(container, string(t.Marshal()))
}

// SaysRaw gives a container that has ended any termination message.
func (b *PodBuilder) SaysRaw(container, message string) *PodBuilder {
	b.status(container).State.Terminated.Message = message
	return b
}

// Image that the node reports for a container.
func (b *PodBuilder) Image(container, id string) *PodBuilder {
	b.status(container).ImageID = id
	return b
}

// InputsDone: copy, fetch and prepare ended well.
func (b *PodBuilder) InputsDone() *PodBuilder {
	b.Exit("copy", 0).Says("copy", report.Termination{Role: report.RoleCopy, Result: report.ResultOK})
	b.Exit("fetch", 0).Says("fetch", report.Termination{
		Role: report.RoleFetch, Result: report.ResultOK, Fetch: &report.FetchReport{Bytes: 1 << 20, SHA256: "ab"},
	})
	return b.Exit("prepare", 0).Says("prepare", report.Termination{
		Role: report.RolePrepare, Result: report.ResultOK,
		Video: &report.VideoFacts{Codec: "h264", Width: 640, Height: 360, FPS: 29.97, Frames: 120, SourceSHA256: "ab"},
	})
}

// EngineSays: the engine's container ended with the exit code of the runner,
// which saw this of the engine.
func (b *PodBuilder) EngineSays(code int32, e report.EngineReport) *PodBuilder {
	result := report.ResultFailed
	if code == 0 {
		result = report.ResultOK
	}
	return b.Exit("engine", code).Says("engine", report.Termination{Role: report.RoleExec, Result: result, Engine: &e})
}

// DeliverSkipped: deliver had nothing to judge, because the engine failed.
func (b *PodBuilder) DeliverSkipped() *PodBuilder {
	return b.Exit("deliver", 0).Says("deliver", report.Termination{Role: report.RoleDeliver, Result: report.ResultSkipped})
}

// Delivered: deliver proved a result.
func (b *PodBuilder) Delivered(people, frames int64) *PodBuilder {
	return b.Exit("deliver", 0).Says("deliver", report.Termination{
		Role: report.RoleDeliver, Result: report.ResultOK, Seconds: 3.2,
		Deliver: &report.DeliveryReport{
			URI: "s3://results/team-a/job/attempts/0f5a7-1", ManifestSHA256: "cd", People: people, Frames: frames,
			Files: []report.DeliveredFile{{Name: "pose", Path: "pose.json", Size: 12, SHA256: "ef"}},
		},
	})
}

// Dead: the pod failed on node-1 after its inputs were ready.
func (b *PodBuilder) Dead() *PodBuilder {
	return b.Phase(corev1.PodFailed).Node("node-1").InputsDone()
}

// Done: the pod succeeded with a proven result.
func (b *PodBuilder) Done(people, frames int64) *PodBuilder {
	code := int32(0)
	return b.Phase(corev1.PodSucceeded).Node("node-1").InputsDone().
		EngineSays(0, report.EngineReport{Stage: v1alpha1.StageWriting, ExitCode: &code}).
		Delivered(people, frames)
}

func (b *PodBuilder) status(container string) *corev1.ContainerStatus {
	list := &b.pod.Status.ContainerStatuses
	for _, name := range Inits {
		if name == container {
			list = &b.pod.Status.InitContainerStatuses
		}
	}
	for i := range *list {
		if (*list)[i].Name == container {
			return &(*list)[i]
		}
	}
	*list = append(*list, corev1.ContainerStatus{Name: container})
	return &(*list)[len(*list)-1]
}

// Build the pod.
func (b *PodBuilder) Build() corev1.Pod { return *b.pod.DeepCopy() }

// Seconds as a duration.
func Seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
