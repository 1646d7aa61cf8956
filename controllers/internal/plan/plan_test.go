package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
)

const gib = int64(1) << 30

// engine with a ladder of five rungs.
func engine() *v1alpha1.PoseEngine {
	return gen.Engine("phalp").Variants(
		gen.Variant("gpu", v1alpha1.GPU, gen.Detector("vitdet"), gen.Memory("8Gi", "16Gi")),
		gen.Variant("gpu-half", v1alpha1.GPU, gen.Detector("vitdet"), gen.Memory("8Gi", "")),
		gen.Variant("gpu-yolo", v1alpha1.GPU, gen.Detector("yolo")),
		gen.Variant("cpu", v1alpha1.CPU, gen.Detector("vitdet")),
		gen.Variant("cpu-yolo", v1alpha1.CPU, gen.Detector("yolo")),
	).Build()
}

func failed(number int32, variant string, reason string, change ...func(*v1alpha1.Attempt)) v1alpha1.Attempt {
	e := engine()
	for _, v := range e.Spec.Variants {
		if v.Name == variant {
			change = append([]func(*v1alpha1.Attempt){
				gen.Running("p"), gen.Failed(reason), func(a *v1alpha1.Attempt) { a.Detector, a.Node = v.Detector, "node-1" },
			}, change...)
			return gen.Attempt(number, variant, v.Device, change...)
		}
	}
	return gen.Attempt(number, variant, v1alpha1.GPU, append([]func(*v1alpha1.Attempt){gen.Running("p"), gen.Failed(reason)}, change...)...)
}

// start of the job is 1000 seconds before now.
var start = gen.Now.Add(-1000 * time.Second)

func input(job *gen.JobBuilder, records []v1alpha1.Attempt, pods ...*gen.PodBuilder) plan.Input {
	j := job.Build()
	built := make([]corev1.Pod, len(pods))
	for i, p := range pods {
		built[i] = p.Build()
	}
	return plan.Input{Spec: &j.Spec, Attempts: attempt.Join(records, built), Engine: engine(), Started: start, Now: gen.Now}
}

func TestNext(t *testing.T) {
	job := func() *gen.JobBuilder { return gen.Job("j") }
	pod := func() *gen.PodBuilder { return gen.Pod("p1", 1, "gpu", v1alpha1.GPU) }
	first := []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"))}
	intended := []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU)}
	change := func(in plan.Input, f func(*plan.Input)) plan.Input {
		f(&in)
		return in
	}
	stuck := func(since int64) []v1alpha1.Attempt {
		t := gen.At(since)
		return []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), func(a *v1alpha1.Attempt) { a.UnschedulableSince = &t })}
	}
	secrets := func(p *gen.PodBuilder, since int64) *gen.PodBuilder {
		return p.Node("node-1").Waiting("copy", "PodInitializing", "").
			Condition(corev1.PodScheduled, corev1.ConditionTrue, "", "", since).
			Condition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, "", "", since)
	}
	stroe := func(s *v1alpha1.PoseJobSpec) {
		s.Video.CredentialsSecretRef = &v1alpha1.SecretReference{Name: "stroe"}
	}
	missing := func(in plan.Input, secret string) plan.Input {
		in.Attempts[len(in.Attempts)-1].Pod.Unmounted = attempt.Unmounted{Secret: secret, Words: `secret "` + secret + `" not found`}
		return in
	}
	paced := func(in plan.Input, p plan.Pace) plan.Input {
		in.Pace = &p
		return in
	}
	pending := func(seconds int64) func(*v1alpha1.PoseJobSpec) {
		return func(s *v1alpha1.PoseJobSpec) { s.PendingTimeoutSeconds = &seconds }
	}
	backoff := []v1alpha1.Attempt{failed(1, "gpu", v1alpha1.ReasonEngineError), gen.Attempt(2, "gpu", v1alpha1.GPU, func(a *v1alpha1.Attempt) {
		at := gen.At(7)
		a.NotBefore = &at
	})}
	for name, c := range map[string]struct {
		in     plan.Input
		want   plan.Kind
		why    string // Reason
		says   string
		until  int64 // seconds from now; 0 is never
		action v1alpha1.Action
	}{
		// 1. A result is accepted.
		"a proven result is the end, whatever the spec says": {
			in:   change(input(job().Suspend().Deadline(1), first), func(in *plan.Input) { in.Done, in.Denied, in.Engine = true, []string{"no"}, nil }),
			want: plan.KindSucceed,
		},
		// 2. A pod is live.
		"a running pod is waited for": {
			in: input(job(), first, pod().Phase(corev1.PodRunning).Node("node-1")), want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "on node node-1",
		},
		"a running pod is waited for until the deadline": {
			in: input(job().Deadline(1200), first, pod().Phase(corev1.PodRunning)), want: plan.KindWait, why: v1alpha1.ReasonProgressing, until: 200,
		},
		"a running pod does not mind an engine that is gone, or a policy that changed": {
			in:   change(input(job(), first, pod().Phase(corev1.PodRunning)), func(in *plan.Input) { in.Engine, in.Denied = nil, []string{"no"} }),
			want: plan.KindWait, why: v1alpha1.ReasonProgressing,
		},
		"suspend ends a live pod": {
			in: input(job().Suspend(), first, pod().Phase(corev1.PodRunning)), want: plan.KindEndPod, why: v1alpha1.ReasonSuspendedAttempt,
		},
		"suspend comes before the deadline": {
			in: input(job().Suspend().Deadline(10), first, pod().Phase(corev1.PodRunning)), want: plan.KindEndPod, why: v1alpha1.ReasonSuspendedAttempt,
		},
		"the deadline ends a live pod": {
			in: input(job().Deadline(1000), first, pod().Phase(corev1.PodRunning)), want: plan.KindEndPod, why: v1alpha1.ReasonDeadlineExceeded, says: "16m40s",
		},
		"suspended time does not count for the deadline": {
			in:   change(input(job().Deadline(1000), first, pod().Phase(corev1.PodRunning)), func(in *plan.Input) { in.Suspended = 30 * time.Second }),
			want: plan.KindWait, why: v1alpha1.ReasonProgressing, until: 30,
		},
		"a recorded intent to end the pod is carried out after a restart": {
			in: input(job(), []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), func(a *v1alpha1.Attempt) {
				a.Reason, a.Message = v1alpha1.ReasonNoCapacity, "no node"
			})}, pod()),
			want: plan.KindEndPod, why: v1alpha1.ReasonNoCapacity, says: "no node",
		},
		"a pod that ends is waited for, even when the job is suspended": {
			in: input(job().Suspend(), first, pod().Phase(corev1.PodRunning).Node("node-1").Deleting(-10, 30)), want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "attempt 1 ends", until: 80,
		},
		"a pod that should have ended and has not is said so, and never forced": {
			in: input(job(), first, pod().Phase(corev1.PodRunning).Node("node-1").Deleting(-90, 30)), want: plan.KindWait, why: v1alpha1.ReasonWaitingForTermination, says: "node-1",
		},
		"an unschedulable pod waits when there is no time limit": {
			in: input(job(), first, pod().Unschedulable("0/2 nodes", -900)), want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "0/2 nodes",
		},
		"the wait for a node begins when the operator first sees it": {
			in: input(job().Spec(pending(100)), first, pod().Unschedulable("0/2 nodes", -900)), want: plan.KindWait, why: v1alpha1.ReasonProgressing, until: 100,
		},
		"an unschedulable pod waits within its time limit": {
			in: input(job().Spec(pending(100)), stuck(-40), pod().Unschedulable("0/2 nodes", -900)), want: plan.KindWait, why: v1alpha1.ReasonProgressing, until: 60,
		},
		"an unschedulable pod waits until the deadline if that is sooner": {
			in: input(job().Spec(pending(100)).Deadline(1020), stuck(-40), pod().Unschedulable("0/2 nodes", -40)), want: plan.KindWait, why: v1alpha1.ReasonProgressing, until: 20,
		},
		"a pod that no node takes is given up while another variant is left": {
			in: input(job().Spec(pending(100)), stuck(-100), pod().Unschedulable("0/2 nodes", -100)), want: plan.KindEndPod, why: v1alpha1.ReasonNoCapacity, says: "0/2 nodes",
		},
		"a pod that no node takes waits on when no other variant is allowed": {
			in:   input(job().Spec(pending(100)).Variants("gpu"), stuck(-500), pod().Unschedulable("0/2 nodes", -500)),
			want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "no other variant is left",
		},
		"a pod that no node takes waits on when the other variants cannot end in time": {
			in: change(input(job().Spec(pending(100)).Variants("gpu", "cpu").Deadline(2000), stuck(-500), pod().Unschedulable("0/2 nodes", -500)), func(in *plan.Input) {
				in.Frames = 20000
				in.Engine.Spec.Variants[3].Estimate = &v1alpha1.Estimate{LoadSeconds: 60, MilliFPS: 1000}
			}),
			want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "no other variant is left", until: 1000,
		},
		"a pod that no node takes makes room for one that can end in time": {
			in: change(input(job().Spec(pending(100)).Variants("gpu", "cpu").Deadline(2000), stuck(-500), pod().Unschedulable("0/2 nodes", -500)), func(in *plan.Input) {
				in.Frames = 900
				in.Engine.Spec.Variants[3].Estimate = &v1alpha1.Estimate{LoadSeconds: 60, MilliFPS: 1000}
			}),
			want: plan.KindEndPod, why: v1alpha1.ReasonNoCapacity,
		},
		"a claim that does not exist is told from a lack of nodes": {
			in: input(job().Spec(func(s *v1alpha1.PoseJobSpec) { s.Video.URI = "pvc://films/a.mp4" }), stuck(-40), pod().Unschedulable(`0/2 nodes are available: persistentvolumeclaim "films" not found.`, -40)), want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "PersistentVolumeClaim films does not exist in the job's namespace. Create it, or create the PoseJob again", until: 560,
		},
		"a claim with models that does not exist is told by what it is for": {
			in: input(job(), stuck(-40), pod().Unschedulable(`0/2 nodes are available: persistentvolumeclaim "weights" not found.`, -40)), want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "weights, from which the PoseEngine's variant mounts its models", until: 560,
		},
		"a claim that never comes fails the job": {
			in: input(job(), stuck(-600), pod().Unschedulable(`0/2 nodes are available: persistentvolumeclaim "films" not found.`, -600)), want: plan.KindEndPod, why: v1alpha1.ReasonPodNotStartable, says: "films", action: v1alpha1.ActionFail,
		},
		"a node that has just got the pod is left in peace": {
			in: input(job(), first, secrets(pod(), -5)), want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "attempt 1 runs", until: 5,
		},
		"a Secret for the boxes is one of them": {
			in: input(job().Spec(func(s *v1alpha1.PoseJobSpec) {
				s.Video.Boxes = &v1alpha1.BoxesSource{URI: "s3://b/boxes.csv", CredentialsSecretRef: &v1alpha1.SecretReference{Name: "kasten"}}
			}), first, secrets(pod(), -40)),
			want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "Secret kasten (boxes)", until: 560,
		},
		"a node that cannot prepare a pod is told, with the Secrets that it wants": {
			in:   input(job().Spec(stroe), first, secrets(pod(), -40)),
			want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "Do these exist in the job's namespace: Secret stroe (video)?", until: 560,
		},
		"a pod that a node cannot prepare in time is tried elsewhere": {
			in:   input(job().Spec(stroe), first, secrets(pod(), -600)),
			want: plan.KindEndPod, why: v1alpha1.ReasonPodNotStartable, says: "Secret stroe", action: v1alpha1.ActionRetryElsewhere,
		},
		"a Secret that is missing is named, by the kubelet's word": {
			in:   missing(input(job().Spec(stroe), first, secrets(pod(), -40)), "stroe"),
			want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "Secret stroe (spec.video.credentialsSecretRef) does not exist in the job's namespace", until: 560,
		},
		"a Secret that is missing for too long is not tried elsewhere": {
			in:   missing(input(job().Spec(stroe), first, secrets(pod(), -600)), "stroe"),
			want: plan.KindEndPod, why: v1alpha1.ReasonSecretMissing, says: "Secret stroe", action: "",
		},
		"a Secret that the job does not name decides nothing": {
			in:   missing(input(job().Spec(stroe), first, secrets(pod(), -600)), "other"),
			want: plan.KindEndPod, why: v1alpha1.ReasonPodNotStartable, says: `The kubelet says: secret "other" not found`, action: v1alpha1.ActionRetryElsewhere,
		},
		"a second node has less time to show what is missing": {
			in: input(job().Spec(stroe), []v1alpha1.Attempt{
				failed(1, "gpu", v1alpha1.ReasonPodNotStartable, func(a *v1alpha1.Attempt) { a.Action = v1alpha1.ActionRetryElsewhere }),
				gen.Attempt(2, "gpu", v1alpha1.GPU, gen.Running("p1")),
			}, secrets(pod(), -40).With(func(p *corev1.Pod) { p.Labels[v1alpha1.LabelAttempt] = "2" })),
			want: plan.KindWait, says: "Secret stroe", until: 80,
		},
		"a pod that no node can prepare fails the job": {
			in: input(job().Spec(stroe), []v1alpha1.Attempt{
				failed(1, "gpu", v1alpha1.ReasonPodNotStartable, func(a *v1alpha1.Attempt) { a.Action = v1alpha1.ActionRetryElsewhere }),
				gen.Attempt(2, "gpu", v1alpha1.GPU, gen.Running("p1")),
			}, secrets(pod(), -600).With(func(p *corev1.Pod) { p.Labels[v1alpha1.LabelAttempt] = "2" })),
			want: plan.KindEndPod, why: v1alpha1.ReasonPodNotStartable, action: v1alpha1.ActionFail,
		},
		"a pod with a container that runs is prepared, whatever a stale condition says": {
			in: input(job(), first, secrets(pod(), -600).Runs("copy")), want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "attempt 1 runs",
		},
		"an engine whose results nobody can take is ended": {
			in: change(input(job(), first, pod().Phase(corev1.PodRunning).Node("n")), func(in *plan.Input) {
				in.Hopeless = &plan.Hopeless{Reason: v1alpha1.ReasonDeliveryFailed, Message: "no such bucket", Action: v1alpha1.ActionFail}
			}),
			want: plan.KindEndPod, why: v1alpha1.ReasonDeliveryFailed, says: "no such bucket", action: v1alpha1.ActionFail,
		},
		// The job's own pace.
		"a pace that cannot meet the deadline moves on as soon as that is certain": {
			in:   paced(input(job().Deadline(1600), first, pod().Phase(corev1.PodRunning).Node("n")), plan.Pace{Frames: 100, Total: 4000, BestMilliFPS: 2000, Tracked: 50 * time.Second}),
			want: plan.KindEndPod, why: v1alpha1.ReasonDeadlineExceeded, says: "100 of 4000 frames", action: v1alpha1.ActionNextVariant,
		},
		"with no faster variant left it fails, and says so": {
			in:   paced(input(job().Variants("gpu").Deadline(1600), first, pod().Phase(corev1.PodRunning).Node("n")), plan.Pace{Frames: 100, Total: 4000, BestMilliFPS: 2000, Tracked: 50 * time.Second}),
			want: plan.KindEndPod, why: v1alpha1.ReasonDeadlineExceeded, says: "leaves 10m0s", action: v1alpha1.ActionFail,
		},
		"a pace that misses the deadline by a little is no certainty": {
			in:   paced(input(job().Deadline(1600), first, pod().Phase(corev1.PodRunning).Node("n")), plan.Pace{Frames: 100, Total: 1500, BestMilliFPS: 2000, Tracked: 50 * time.Second}),
			want: plan.KindWait, until: 600,
		},
		"a pace of a few frames is no certainty": {
			in:   paced(input(job().Deadline(1600), first, pod().Phase(corev1.PodRunning).Node("n")), plan.Pace{Frames: 19, Total: 4000, BestMilliFPS: 100, Tracked: 50 * time.Second}),
			want: plan.KindWait, until: 600,
		},
		"a pace of a few seconds is no certainty": {
			in:   paced(input(job().Deadline(1600), first, pod().Phase(corev1.PodRunning).Node("n")), plan.Pace{Frames: 100, Total: 400000, BestMilliFPS: 20000, Tracked: 29 * time.Second}),
			want: plan.KindWait, until: 600,
		},
		"an absurd claim of frames overflows nothing": {
			in:   paced(input(job().Deadline(1600), first, pod().Phase(corev1.PodRunning).Node("n")), plan.Pace{Frames: 1 << 40, Total: 1 << 62, BestMilliFPS: 1, Tracked: 50 * time.Second}),
			want: plan.KindEndPod, why: v1alpha1.ReasonDeadlineExceeded, action: v1alpha1.ActionNextVariant,
		},
		"without a deadline any pace will do": {
			in:   paced(input(job(), first, pod().Phase(corev1.PodRunning).Node("n")), plan.Pace{Frames: 100, Total: 4000, BestMilliFPS: 2, Tracked: 50 * time.Second}),
			want: plan.KindWait,
		},
		"a pod behind a scheduling gate is not unschedulable": {
			in:   input(job().Spec(pending(100)), first, pod().Condition(corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonSchedulingGated, "gated", -900)),
			want: plan.KindWait, why: v1alpha1.ReasonProgressing,
		},
		"a pod that has a node is not unschedulable, whatever a stale condition says": {
			in:   input(job().Spec(pending(100)), first, pod().Unschedulable("0/2 nodes", -900).Node("node-1")),
			want: plan.KindWait, why: v1alpha1.ReasonProgressing,
		},
		"an image that cannot be pulled is waited for within the start time-out": {
			in:   input(job(), first, pod().Node("node-1").Waiting("copy", "ImagePullBackOff", "not found")),
			want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "ImagePullBackOff: not found", until: 300,
		},
		"an image that cannot be pulled ends the pod after the start time-out": {
			in:   input(job(), first, pod().With(func(p *corev1.Pod) { p.CreationTimestamp = gen.At(-600) }).Node("node-1").Waiting("engine", "ErrImagePull", "not found")),
			want: plan.KindEndPod, why: v1alpha1.ReasonPodNotStartable, says: "container engine cannot start: ErrImagePull: not found",
		},
		"the time without a node does not count for the start time-out": {
			in: input(job(), first, pod().With(func(p *corev1.Pod) { p.CreationTimestamp = gen.At(-9000) }).Node("node-1").
				Condition(corev1.PodScheduled, corev1.ConditionTrue, "", "", -10).Waiting("copy", "ErrImagePull", "slow")),
			want: plan.KindWait, why: v1alpha1.ReasonProgressing, until: 590,
		},
		"the time of fetch and prepare does not count for the start of the engine": {
			in: input(job(), first, pod().With(func(p *corev1.Pod) { p.CreationTimestamp = gen.At(-9000) }).Node("node-1").
				InputsDone().FinishedAt("prepare", -20).Waiting("engine", "ErrImagePull", "registry is slow")),
			want: plan.KindWait, why: v1alpha1.ReasonProgressing, until: 580,
		},
		"a container that is only being created is waited for without end": {
			in:   input(job(), first, pod().With(func(p *corev1.Pod) { p.CreationTimestamp = gen.At(-9000) }).Node("node-1").Waiting("engine", "ContainerCreating", "")),
			want: plan.KindWait, why: v1alpha1.ReasonProgressing,
		},
		// 3. Suspended.
		"a suspended job launches nothing": {
			in: input(job().Suspend(), nil), want: plan.KindWait, why: v1alpha1.ReasonSuspended,
		},
		"a suspended job does not fail by its deadline": {
			in: input(job().Suspend().Deadline(1), nil), want: plan.KindWait, why: v1alpha1.ReasonSuspended,
		},
		"a suspended job does not create an intended pod": {
			in: input(job().Suspend(), intended), want: plan.KindWait, why: v1alpha1.ReasonSuspended,
		},
		// 4. Policy.
		"what the policy denies fails before any pod": {
			in:   change(input(job(), nil), func(in *plan.Input) { in.Denied = []string{"this", "that"} }),
			want: plan.KindFail, why: v1alpha1.ReasonPolicyDenied, says: "this; that. Create the PoseJob again as the policy allows",
		},
		// 5. Deadline.
		"after the deadline the job fails": {
			in: input(job().Deadline(1000), []v1alpha1.Attempt{failed(1, "gpu", v1alpha1.ReasonEngineError)}), want: plan.KindFail, why: v1alpha1.ReasonDeadlineExceeded,
		},
		"after the deadline an intended pod is not created any more": {
			in: input(job().Deadline(999), intended), want: plan.KindFail, why: v1alpha1.ReasonDeadlineExceeded,
		},
		"a job that was not taken up yet has no deadline": {
			in:   change(input(job().Deadline(1), nil), func(in *plan.Input) { in.Started = time.Time{} }),
			want: plan.KindLaunch,
		},
		// 6. Engine.
		"an engine that is not ready is waited for without end": {
			in: change(input(job(), nil), func(in *plan.Input) {
				in.Engine, in.EngineReason, in.EngineMessage = nil, v1alpha1.ReasonEngineNotReady, "no image"
				in.Started = gen.Now.Add(-100 * time.Hour)
			}),
			want: plan.KindWait, why: v1alpha1.ReasonEngineNotReady, says: "no image",
		},
		"an engine that is not ready is waited for until the deadline": {
			in: change(input(job().Deadline(1500), nil), func(in *plan.Input) {
				in.Engine, in.EngineReason = nil, v1alpha1.ReasonEngineNotReady
			}),
			want: plan.KindWait, why: v1alpha1.ReasonEngineNotReady, until: 500,
		},
		"a missing engine is waited for, since GitOps applies in any order": {
			in: change(input(job(), nil), func(in *plan.Input) {
				in.Engine, in.EngineReason, in.EngineMissingSince = nil, v1alpha1.ReasonEngineNotFound, gen.Now.Add(-time.Minute)
			}),
			want: plan.KindWait, why: v1alpha1.ReasonEngineNotFound, until: 540,
		},
		"a missing engine is not waited for without end, since a mistyped name never appears": {
			in: change(input(job(), nil), func(in *plan.Input) {
				in.Engine, in.EngineReason, in.EngineMessage = nil, v1alpha1.ReasonEngineNotFound, "no PoseEngine"
				in.EngineMissingSince = gen.Now.Add(-plan.MissingEngineTimeout)
			}),
			want: plan.KindFail, why: v1alpha1.ReasonEngineNotFound, says: "no PoseEngine",
		},
		"an engine that went missing just now is waited for, however old the job": {
			in: change(input(job(), nil), func(in *plan.Input) {
				in.Engine, in.EngineReason, in.Started = nil, v1alpha1.ReasonEngineNotFound, gen.Now.Add(-100*time.Hour)
			}),
			want: plan.KindWait, why: v1alpha1.ReasonEngineNotFound, until: 600,
		},
		// 7. Intended.
		"an intended attempt without a pod is created": {
			in: input(job(), intended), want: plan.KindCreate,
		},
		"an intended attempt waits for its time": {
			in: input(job(), backoff), want: plan.KindWait, why: v1alpha1.ReasonBackingOff, says: "2026-03-04T12:00:07Z, because attempt 1 failed: EngineError", until: 7,
		},
		"an intended attempt waits for its time or the deadline": {
			in: input(job().Deadline(1003), backoff), want: plan.KindWait, why: v1alpha1.ReasonBackingOff, until: 3,
		},
		"an intended attempt whose time has come is created": {
			in: change(input(job(), backoff), func(in *plan.Input) { in.Now = in.Now.Add(7 * time.Second) }), want: plan.KindCreate,
		},
		// 8. The ladder.
		"the first attempt is on the first rung": {
			in: input(job(), nil), want: plan.KindLaunch,
		},
		"a variant that the engine does not have": {
			in: input(job().Variants("gpu", "tpu"), nil), want: plan.KindFail, why: v1alpha1.ReasonVariantNotFound, says: `no variant "tpu"; it has gpu, gpu-half, gpu-yolo, cpu, cpu-yolo`,
		},
		"no variant for the device": {
			in: input(job().Variants("gpu").Device(v1alpha1.DeviceCPU), nil), want: plan.KindFail, why: v1alpha1.ReasonNoVariantForDevice, says: "device CPU",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := plan.Next(c.in)
			if d.Kind != c.want || (c.why != "" && d.Reason != c.why) {
				t.Errorf("Next = %s %s (%s), want %s %s", d.Kind, d.Reason, d.Message, c.want, c.why)
			}
			if !strings.Contains(d.Message, c.says) {
				t.Errorf("message %q does not say %q", d.Message, c.says)
			}
			if d.Action != c.action {
				t.Errorf("Action = %q, want %q", d.Action, c.action)
			}
			var want time.Time
			if c.until != 0 {
				want = gen.Now.Add(time.Duration(c.until) * time.Second)
			}
			if !d.Until.Equal(want) {
				t.Errorf("Until = %v, want %v", d.Until, want)
			}
		})
	}
}

func TestLadder(t *testing.T) {
	job := func() *gen.JobBuilder { return gen.Job("j") }
	type next struct {
		Number     int32
		Variant    string
		Memory     int64
		AvoidNodes []string
		After      int64 // seconds until NotBefore
	}
	peak := func(limit, peak int64) func(*v1alpha1.Attempt) {
		return func(a *v1alpha1.Attempt) { a.LimitMemoryBytes, a.PeakMemoryBytes = limit, peak }
	}
	asked := func(memory int64) func(*v1alpha1.Attempt) {
		return func(a *v1alpha1.Attempt) { a.MemoryBytes = memory }
	}
	action := func(act v1alpha1.Action) func(*v1alpha1.Attempt) {
		return func(a *v1alpha1.Attempt) { a.Action = act }
	}
	away := func(nodes ...string) func(*v1alpha1.Attempt) {
		return func(a *v1alpha1.Attempt) { a.AvoidNodes = nodes }
	}
	many := func(n int, reason string) []v1alpha1.Attempt {
		var out []v1alpha1.Attempt
		for i := range n {
			out = append(out, failed(int32(i+1), "gpu", reason))
		}
		return out
	}
	own := v1alpha1.PodTemplate{Resources: &v1alpha1.DeviceResources{GPU: &v1alpha1.Resources{Limits: corev1.ResourceList{"memory": resource.MustParse("14Gi")}}}}
	for name, c := range map[string]struct {
		job     *gen.JobBuilder
		history []v1alpha1.Attempt
		want    next   // of a launch
		end     string // reason of a failure
		says    string
	}{
		"the job's own order decides the first rung": {job: job().Variants("cpu", "gpu"), want: next{Number: 1, Variant: "cpu"}},
		"CPU only starts at the first CPU rung":      {job: job().Device(v1alpha1.DeviceCPU), want: next{Number: 1, Variant: "cpu"}},
		"an empty device is Auto":                    {job: job().Device(""), want: next{Number: 1, Variant: "gpu"}},
		"GPU only ends after the last GPU rung":      {job: job().Device(v1alpha1.DeviceGPU), history: []v1alpha1.Attempt{failed(1, "gpu-yolo", "OutputInvalid")}, end: "OutputInvalid"},
		"the device must not change":                 {job: job().Spec(func(s *v1alpha1.PoseJobSpec) { s.Fallback.Device = v1alpha1.Deny }), history: []v1alpha1.Attempt{failed(1, "gpu-yolo", "OutputInvalid")}, end: "OutputInvalid"},
		"the detector must not change":               {job: job().Spec(func(s *v1alpha1.PoseJobSpec) { s.Fallback.Detector = v1alpha1.Deny }), history: []v1alpha1.Attempt{failed(1, "gpu-half", "OutputInvalid")}, want: next{Number: 2, Variant: "cpu"}},
		"neither device nor detector may change": {job: job().Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Fallback = v1alpha1.Fallback{Device: v1alpha1.Deny, Detector: v1alpha1.Deny}
		}), history: []v1alpha1.Attempt{failed(1, "gpu-half", "OutputInvalid")}, end: "OutputInvalid"},
		"a crash in detector load skips the same detector": {history: []v1alpha1.Attempt{failed(1, "gpu", "DetectorLoadCrash")}, want: next{Number: 2, Variant: "gpu-yolo"}},
		"the same detector on the other device is tried":   {history: []v1alpha1.Attempt{failed(1, "gpu", "DetectorLoadCrash"), failed(2, "gpu-yolo", "DetectorLoadCrash")}, want: next{Number: 3, Variant: "cpu"}},
		"what was skipped is said in the end": {
			job: job().Variants("gpu", "gpu-half"), history: []v1alpha1.Attempt{failed(1, "gpu", "DetectorLoadCrash")},
			end: "DetectorLoadCrash", says: "gpu-half: it loads the same detector, vitdet, on the same device",
		},
		"variants that name no detector share none": {job: job(), history: []v1alpha1.Attempt{failed(1, "old", "DetectorLoadCrash")}, want: next{Number: 2, Variant: "gpu"}},

		"an unknown failure is repeated with backoff":       {history: many(1, "EngineError"), want: next{Number: 2, Variant: "gpu", After: 10}},
		"the backoff doubles":                               {history: many(2, "EngineError"), want: next{Number: 3, Variant: "gpu", After: 20}},
		"after the backoff limit comes the next variant":    {history: many(3, "EngineError"), want: next{Number: 4, Variant: "gpu-half"}},
		"with a backoff limit of 0 nothing is repeated":     {job: job().BackoffLimit(0), history: many(1, "EngineError"), want: next{Number: 2, Variant: "gpu-half"}},
		"the backoff limit is the variant's own":            {history: append(many(3, "EngineError"), failed(4, "gpu-half", "EngineError")), want: next{Number: 5, Variant: "gpu-half", After: 10}},
		"the backoff is bounded":                            {job: job().BackoffLimit(5), history: many(5, "EngineError"), want: next{Number: 6, Variant: "gpu", After: 160}},
		"a reason that nobody knows is repeated":            {history: many(1, "Surprise"), want: next{Number: 2, Variant: "gpu", After: 10}},
		"a failed upload is repeated":                       {history: many(1, "DeliveryFailed"), want: next{Number: 2, Variant: "gpu", After: 10}},
		"a failure without a reason is repeated":            {history: many(1, ""), want: next{Number: 2, Variant: "gpu", After: 10}},
		"the last variant's last failure is the job's":      {history: []v1alpha1.Attempt{failed(1, "cpu-yolo", "OutputInvalid")}, end: "OutputInvalid", says: "it failed"},
		"a rung that was tried is not tried again":          {history: []v1alpha1.Attempt{failed(1, "gpu-half", "OutputInvalid"), failed(2, "gpu", "OutputInvalid")}, want: next{Number: 3, Variant: "gpu-yolo"}},
		"numbers go on from the last one, not the count":    {history: []v1alpha1.Attempt{failed(7, "gpu", "OutputInvalid")}, want: next{Number: 8, Variant: "gpu-half"}},
		"a variant that the engine lost goes to an untried": {history: []v1alpha1.Attempt{failed(1, "gpu", "OutputInvalid"), failed(2, "lost", "EngineError")}, want: next{Number: 3, Variant: "gpu-half"}},

		"the video is not there: the end":         {history: many(1, "InputUnavailable"), end: "InputUnavailable"},
		"the video is none: the end":              {history: many(1, "InputInvalid"), end: "InputInvalid"},
		"the scratch is too small: the end":       {history: many(1, "ScratchSpaceExceeded"), end: "ScratchSpaceExceeded"},
		"the results are short: the next variant": {history: many(1, "OutputInvalid"), want: next{Number: 2, Variant: "gpu-half"}},
		"it stood still: the next variant":        {history: many(1, "NoProgress"), want: next{Number: 2, Variant: "gpu-half"}},
		"no node took it: the next variant":       {history: many(1, "NoCapacity"), want: next{Number: 2, Variant: "gpu-half"}},
		"it cannot start: the next variant":       {history: many(1, "PodNotStartable"), want: next{Number: 2, Variant: "gpu-half"}},

		"a model load crash goes elsewhere once":             {history: many(1, "ModelLoadCrash"), want: next{Number: 2, Variant: "gpu", AvoidNodes: []string{"node-1"}}},
		"a second model load crash goes on":                  {history: many(2, "ModelLoadCrash"), want: next{Number: 3, Variant: "gpu-half"}},
		"elsewhere means nothing where the node is unknown":  {history: []v1alpha1.Attempt{failed(1, "gpu", "ModelLoadCrash", func(a *v1alpha1.Attempt) { a.Node = "" })}, want: next{Number: 2, Variant: "gpu"}},
		"a node is avoided once":                             {history: []v1alpha1.Attempt{failed(1, "gpu", "ModelLoadCrash", away("node-1"))}, want: next{Number: 2, Variant: "gpu", AvoidNodes: []string{"node-1"}}},
		"no more than eight nodes are avoided":               {history: []v1alpha1.Attempt{failed(1, "gpu", "ModelLoadCrash", away("1", "2", "3", "4", "5", "6", "7", "8"))}, want: next{Number: 2, Variant: "gpu", AvoidNodes: []string{"2", "3", "4", "5", "6", "7", "8", "node-1"}}},
		"avoided nodes and memory stay while it is repeated": {history: []v1alpha1.Attempt{failed(1, "gpu", "Disrupted", away("n"), asked(9*gib))}, want: next{Number: 2, Variant: "gpu", AvoidNodes: []string{"n"}, Memory: 9 * gib}},
		"another variant starts without them":                {history: []v1alpha1.Attempt{failed(1, "gpu", "NoProgress", away("n"), asked(9*gib))}, want: next{Number: 2, Variant: "gpu-half"}},

		"a disruption costs nothing and waits for nothing":                        {job: job().BackoffLimit(0), history: many(9, "Disrupted"), want: next{Number: 10, Variant: "gpu"}},
		"disruptions are bounded":                                                 {history: many(17, "Disrupted"), end: "Disrupted", says: "disrupted 17 times"},
		"sixteen disruptions are not yet too many":                                {history: many(16, "Disrupted"), want: next{Number: 17, Variant: "gpu"}},
		"a suspended attempt costs nothing":                                       {job: job().BackoffLimit(0), history: many(20, "SuspendedAttempt"), want: next{Number: 21, Variant: "gpu"}},
		"disruptions between failures change no backoff":                          {history: []v1alpha1.Attempt{failed(1, "gpu", "EngineError"), failed(2, "gpu", "Disrupted"), failed(3, "gpu", "EngineError")}, want: next{Number: 4, Variant: "gpu", After: 20}},
		"the bound on all attempts":                                               {history: many(v1alpha1.MaxAttempts, "SuspendedAttempt"), end: "AttemptsExhausted", says: "40 attempts"},
		"the bound on all attempts admits the last one":                           {history: many(v1alpha1.MaxAttempts-1, "SuspendedAttempt"), want: next{Number: v1alpha1.MaxAttempts, Variant: "gpu"}},
		"out of memory: half as much again as the peak seen":                      {history: []v1alpha1.Attempt{failed(1, "gpu", "OutOfMemory", peak(8*gib, 8*gib))}, want: next{Number: 2, Variant: "gpu", Memory: 12 * gib}},
		"out of memory: at most maxMemory":                                        {history: []v1alpha1.Attempt{failed(1, "gpu", "OutOfMemory", peak(15*gib, 15*gib))}, want: next{Number: 2, Variant: "gpu", Memory: 16 * gib}},
		"out of memory with nothing measured: from the limit in the engine":       {history: []v1alpha1.Attempt{failed(1, "gpu", "OutOfMemory")}, want: next{Number: 2, Variant: "gpu", Memory: 12 * gib}},
		"out of memory with nothing measured: from the job's own limit":           {job: job().Template(own), history: []v1alpha1.Attempt{failed(1, "gpu", "OutOfMemory")}, want: next{Number: 2, Variant: "gpu", Memory: 16 * gib}},
		"out of memory a second time: the next variant":                           {history: []v1alpha1.Attempt{failed(1, "gpu", "OutOfMemory"), failed(2, "gpu", "OutOfMemory", asked(12*gib))}, want: next{Number: 3, Variant: "gpu-half"}},
		"out of memory at maxMemory: the next variant":                            {history: []v1alpha1.Attempt{failed(1, "gpu", "OutOfMemory", peak(16*gib, 16*gib))}, want: next{Number: 2, Variant: "gpu-half"}},
		"out of memory where maxMemory is unset: the next variant":                {history: []v1alpha1.Attempt{failed(1, "gpu-half", "OutOfMemory")}, want: next{Number: 2, Variant: "gpu-yolo"}},
		"out of memory with a peak below the limit: above the limit all the same": {history: []v1alpha1.Attempt{failed(1, "gpu", "OutOfMemory", peak(8*gib, gib))}, want: next{Number: 2, Variant: "gpu", Memory: 12 * gib}},
		"an absurd peak that an engine claims stays below maxMemory":              {history: []v1alpha1.Attempt{failed(1, "gpu", "OutOfMemory", peak(8*gib, 1<<62))}, want: next{Number: 2, Variant: "gpu", Memory: 16 * gib}},

		"a store that does not answer is asked again":                        {history: []v1alpha1.Attempt{failed(1, "gpu", "InputUnavailable", action(v1alpha1.ActionRetry))}, want: next{Number: 2, Variant: "gpu", After: 10}},
		"a video that stays away fails the job, whatever variants there are": {job: job().BackoffLimit(0), history: []v1alpha1.Attempt{failed(1, "gpu", "InputUnavailable", action(v1alpha1.ActionRetry))}, end: "InputUnavailable"},
		"results that cannot be uploaded fail the job in the end":            {job: job().BackoffLimit(1), history: []v1alpha1.Attempt{failed(1, "gpu", "DeliveryFailed"), failed(2, "gpu", "DeliveryFailed")}, end: "DeliveryFailed"},
		"an engine's rule says Fail":                                         {history: []v1alpha1.Attempt{failed(1, "gpu", "Custom", action(v1alpha1.ActionFail))}, end: "Custom"},
		"an engine's rule says NextVariant":                                  {history: []v1alpha1.Attempt{failed(1, "gpu", "Custom", action(v1alpha1.ActionNextVariant))}, want: next{Number: 2, Variant: "gpu-half"}},
		"an engine's rule says RetryElsewhere":                               {history: []v1alpha1.Attempt{failed(1, "gpu", "Custom", action(v1alpha1.ActionRetryElsewhere))}, want: next{Number: 2, Variant: "gpu", AvoidNodes: []string{"node-1"}}},
		"an engine's rule says Retry of an end":                              {history: []v1alpha1.Attempt{failed(1, "gpu", "InputInvalid", action(v1alpha1.ActionRetry))}, want: next{Number: 2, Variant: "gpu", After: 10}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.job == nil {
				c.job = job()
			}
			d := plan.Next(input(c.job, c.history))
			if c.end != "" {
				if d.Kind != plan.KindFail || d.Reason != c.end || !strings.Contains(d.Message, c.says) {
					t.Errorf("Next = %s %s (%s) %+v, want Fail %s saying %q", d.Kind, d.Reason, d.Message, d.Next, c.end, c.says)
				}
				return
			}
			if d.Kind != plan.KindLaunch {
				t.Fatalf("Next = %s %s (%s), want Launch of %+v", d.Kind, d.Reason, d.Message, c.want)
			}
			got := next{Number: d.Next.Number, Variant: d.Next.Variant, Memory: d.Next.MemoryBytes, AvoidNodes: d.Next.AvoidNodes}
			if d.Next.NotBefore != nil {
				got.After = int64(d.Next.NotBefore.Sub(gen.Now) / time.Second)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("launch (-want +got):\n%s", diff)
			}
			if d.Next.State != v1alpha1.AttemptIntended || d.Next.EngineGeneration != 1 {
				t.Errorf("launch = %+v, want an intent with the engine's generation", d.Next)
			}
		})
	}
}

func TestActionForKnowsEveryReasonOfTheAPI(t *testing.T) {
	for reason, want := range map[string]v1alpha1.Action{
		v1alpha1.ReasonDetectorLoadCrash:    v1alpha1.ActionNextVariant,
		v1alpha1.ReasonModelLoadCrash:       v1alpha1.ActionRetryElsewhere,
		v1alpha1.ReasonCUDAOutOfMemory:      v1alpha1.ActionNextVariant,
		v1alpha1.ReasonCUDAError:            v1alpha1.ActionRetryElsewhere,
		v1alpha1.ReasonDeviceUnusable:       v1alpha1.ActionRetryElsewhere,
		v1alpha1.ReasonGPUHardwareFault:     v1alpha1.ActionRetryElsewhere,
		v1alpha1.ReasonSharedMemoryTooSmall: v1alpha1.ActionNextVariant,
		v1alpha1.ReasonRenderingUnavailable: v1alpha1.ActionNextVariant,
		v1alpha1.ReasonWeightsMissing:       v1alpha1.ActionNextVariant,
		v1alpha1.ReasonWeightsInvalid:       v1alpha1.ActionNextVariant,
		v1alpha1.ReasonImageIncompatible:    v1alpha1.ActionNextVariant,
		v1alpha1.ReasonNetworkUnavailable:   v1alpha1.ActionNextVariant,
		v1alpha1.ReasonOutOfMemory:          v1alpha1.ActionRetry,
		v1alpha1.ReasonScratchSpaceExceeded: v1alpha1.ActionFail,
		v1alpha1.ReasonDisrupted:            v1alpha1.ActionRetry,
		v1alpha1.ReasonNoCapacity:           v1alpha1.ActionNextVariant,
		v1alpha1.ReasonPodNotStartable:      v1alpha1.ActionNextVariant,
		v1alpha1.ReasonSecretMissing:        v1alpha1.ActionFail,
		v1alpha1.ReasonAdapterInvalid:       v1alpha1.ActionNextVariant,
		v1alpha1.ReasonInputUnavailable:     v1alpha1.ActionFail,
		v1alpha1.ReasonInputInvalid:         v1alpha1.ActionFail,
		v1alpha1.ReasonOutputInvalid:        v1alpha1.ActionNextVariant,
		v1alpha1.ReasonDeliveryFailed:       v1alpha1.ActionRetry,
		v1alpha1.ReasonNoProgress:           v1alpha1.ActionNextVariant,
		v1alpha1.ReasonDeadlineExceeded:     v1alpha1.ActionFail,
		v1alpha1.ReasonEngineError:          v1alpha1.ActionRetry,
		v1alpha1.ReasonSuspendedAttempt:     v1alpha1.ActionRetry,
		"NobodyKnows":                       v1alpha1.ActionRetry,
		"":                                  v1alpha1.ActionRetry,
	} {
		if got := plan.ActionFor(reason); got != want {
			t.Errorf("ActionFor(%q) = %s, want %s", reason, got, want)
		}
	}
}

// TestWhatIsLeftOut: variants that the ladder passes by, and why.
func TestWhatIsLeftOut(t *testing.T) {
	type estimates map[string]v1alpha1.Estimate
	slow := func(number int32, variant string) v1alpha1.Attempt {
		return failed(number, variant, v1alpha1.ReasonDeadlineExceeded, func(a *v1alpha1.Attempt) { a.Action = v1alpha1.ActionNextVariant })
	}
	ranOut := func(number int32, variant string, limit int64) v1alpha1.Attempt {
		return failed(number, variant, v1alpha1.ReasonOutOfMemory, func(a *v1alpha1.Attempt) { a.LimitMemoryBytes, a.MemoryBytes = limit, limit })
	}
	for name, c := range map[string]struct {
		job       *gen.JobBuilder
		history   []v1alpha1.Attempt
		learned   map[string]plan.Advice
		estimates estimates
		refused   map[string]string
		frames    int64
		sameImage bool
		maxMemory string
		avoid     []string

		want    string // variant of the launch; empty for a failure
		memory  int64
		nodes   []string
		gpus    []string
		skipped []string // variant=reason
		end     string
	}{
		"what other jobs teach is skipped, and said": {
			learned: map[string]plan.Advice{"gpu": {Skip: true, Message: "died 3 of 3 times"}},
			want:    "gpu-half", skipped: []string{"gpu=LearnedSkip"},
		},
		"what other jobs teach counts on the way down as well": {
			history: []v1alpha1.Attempt{failed(1, "gpu", "OutputInvalid")}, learned: map[string]plan.Advice{"gpu-half": {Skip: true}, "gpu-yolo": {Skip: true}},
			want: "cpu", skipped: []string{"gpu-half=LearnedSkip", "gpu-yolo=LearnedSkip"},
		},
		"what other jobs teach is no ban: where nothing else is left, it is tried": {
			job: gen.Job("j").Device(v1alpha1.DeviceGPU), learned: map[string]plan.Advice{"gpu": {Skip: true}, "gpu-half": {Skip: true}, "gpu-yolo": {Skip: true}},
			want: "gpu", skipped: []string{"gpu-half=LearnedSkip", "gpu-yolo=LearnedSkip"},
		},
		"a job that names its variants is not taught": {
			job: gen.Job("j").Variants("gpu", "cpu"), learned: map[string]plan.Advice{"gpu": {Skip: true}}, want: "gpu",
		},
		"kinds of GPU and nodes are avoided as other jobs teach": {
			learned: map[string]plan.Advice{"gpu": {AvoidGPUProducts: []string{"Tesla-K80"}}}, avoid: []string{"n7"},
			want: "gpu", gpus: []string{"Tesla-K80"}, nodes: []string{"n7"},
		},
		"a variant that cannot end in time is not started": {
			job: gen.Job("j").Deadline(1600), frames: 4000, estimates: estimates{"gpu": {LoadSeconds: 100, MilliFPS: 7000}, "gpu-half": {LoadSeconds: 100, MilliFPS: 9000}},
			want: "gpu-half", skipped: []string{"gpu=TooSlow"},
		},
		"a variant that the policy refuses is left out": {
			refused: map[string]string{"gpu": "not allowed"}, want: "gpu-half", skipped: []string{"gpu=PolicyDenied"},
		},
		"a job whose variants are all refused fails": {
			job: gen.Job("j").Variants("gpu"), refused: map[string]string{"gpu": "not allowed"}, end: v1alpha1.ReasonPolicyDenied, skipped: []string{"gpu=PolicyDenied"},
		},
		"while nobody counted the frames, no variant is too slow": {
			job: gen.Job("j").Deadline(1600), estimates: estimates{"gpu": {LoadSeconds: 100, MilliFPS: 1}}, want: "gpu",
		},
		"without a deadline no variant is too slow": {
			frames: 4000, estimates: estimates{"gpu": {MilliFPS: 1}}, want: "gpu",
		},
		"a job that no variant can do in time fails before it costs anything": {
			job: gen.Job("j").Variants("gpu", "cpu").Deadline(1600), frames: 4000, estimates: estimates{"gpu": {MilliFPS: 1}, "cpu": {MilliFPS: 1}},
			end: v1alpha1.ReasonDeadlineExceeded, skipped: []string{"gpu=TooSlow", "cpu=TooSlow"},
		},
		"after an attempt that was too slow, a CPU variant must be known to be faster": {
			job: gen.Job("j").Variants("gpu-yolo", "cpu", "cpu-yolo").Deadline(1600), frames: 4000,
			history: []v1alpha1.Attempt{slow(1, "gpu-yolo")}, estimates: estimates{"cpu-yolo": {MilliFPS: 20000}},
			want: "cpu-yolo", skipped: []string{"cpu=TooSlow"},
		},
		"out of GPU memory on a GPU of its own goes to the next variant": {
			history: []v1alpha1.Attempt{failed(1, "gpu", v1alpha1.ReasonCUDAOutOfMemory)}, want: "gpu-half",
		},
		"out of GPU memory on a shared GPU goes elsewhere first": {
			history: []v1alpha1.Attempt{failed(1, "gpu", v1alpha1.ReasonCUDAOutOfMemory, func(a *v1alpha1.Attempt) {
				a.GPUShared, a.Action = true, v1alpha1.ActionNextVariant
			})},
			want: "gpu", nodes: []string{"node-1"},
		},
		"out of memory: another variant of the same image starts with more than proved too small": {
			sameImage: true, maxMemory: "32Gi", history: []v1alpha1.Attempt{ranOut(1, "gpu", 8*gib), ranOut(2, "gpu", 16*gib)},
			want: "gpu-half", memory: 24 * gib,
		},
		"out of memory: the same image and detector with no more to give is left out": {
			sameImage: true, maxMemory: "16Gi", history: []v1alpha1.Attempt{ranOut(1, "gpu", 8*gib), ranOut(2, "gpu", 16*gib)},
			want: "gpu-yolo", skipped: []string{"gpu-half=OutOfMemory"},
		},
		"out of memory: the same image and detector whose limit cannot be raised at all is left out": {
			sameImage: true, history: []v1alpha1.Attempt{ranOut(1, "gpu", 8*gib), ranOut(2, "gpu", 16*gib)},
			want: "gpu-yolo", skipped: []string{"gpu-half=OutOfMemory"},
		},
		"a variant that the policy refuses by now is not repeated": {
			refused: map[string]string{"gpu": "not allowed"}, history: []v1alpha1.Attempt{failed(1, "gpu", v1alpha1.ReasonEngineError)}, want: "gpu-half",
		},
		"a variant that the policy refuses by now is not repeated after a disruption either": {
			refused: map[string]string{"gpu": "not allowed"}, history: []v1alpha1.Attempt{failed(1, "gpu", v1alpha1.ReasonDisrupted)}, want: "gpu-half",
		},
		"out of memory says nothing of another image": {
			maxMemory: "16Gi", history: []v1alpha1.Attempt{ranOut(1, "gpu", 8*gib), ranOut(2, "gpu", 16*gib)}, want: "gpu-half",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.job == nil {
				c.job = gen.Job("j")
			}
			in := input(c.job, c.history)
			in.Learned, in.Frames, in.AvoidNodes, in.Refused = c.learned, c.frames, map[string][]string{"phalp": c.avoid}, c.refused
			for i := range in.Engine.Spec.Variants {
				v := &in.Engine.Spec.Variants[i]
				if e, ok := c.estimates[v.Name]; ok {
					v.Estimate = &e
				}
				if c.sameImage {
					v.Image = "one"
				}
				if c.maxMemory != "" && v.Resources != nil {
					most := resource.MustParse(c.maxMemory)
					v.MaxMemory = &most
				}
			}
			d := plan.Next(in)
			var skipped []string
			for _, s := range d.Skipped {
				skipped = append(skipped, s.Variant+"="+s.Reason)
			}
			if diff := cmp.Diff(c.skipped, skipped, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("skipped (-want +got):\n%s", diff)
			}
			if c.want == "" {
				if d.Kind != plan.KindFail || d.Reason != c.end || !strings.Contains(d.Message, c.skipped[0][:3]) {
					t.Fatalf("Next = %s %s (%s), want Fail %s that says what was left out", d.Kind, d.Reason, d.Message, c.end)
				}
				return
			}
			if d.Kind != plan.KindLaunch || d.Next.Variant != c.want || d.Next.MemoryBytes != c.memory {
				t.Fatalf("Next = %s %s (%s) of %+v, want %s with %d bytes", d.Kind, d.Reason, d.Message, d.Next, c.want, c.memory)
			}
			if diff := cmp.Diff([][]string{c.nodes, c.gpus}, [][]string{d.Next.AvoidNodes, d.Next.AvoidGPUProducts}, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("avoided (-want +got):\n%s", diff)
			}
		})
	}
}
