package posejob_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/internal/report"
)

// TestWhatAKubeletSays: statuses as a kubelet, the scheduler or a controller of the
// control plane writes them, on the real API server, and what follows.
func TestWhatAKubeletSays(t *testing.T) {
	runs := func() *gen.PodBuilder { return x().Phase(corev1.PodFailed).InputsDone() }
	const nvidia = `failed to create containerd task: failed to create shim task: OCI runtime create failed: nvidia-container-cli: initialization error: driver error: failed to process request: unknown`
	for name, c := range map[string]struct {
		status *gen.PodBuilder
		reason string
		// next variant; empty is the job's end.
		next  string
		away  bool // from the node
		bytes int64
		says  string
	}{
		"killed by the kernel for memory": {status: runs().OOMKilled("engine"), reason: v1alpha1.ReasonOutOfMemory, next: "gpu", bytes: 1536 << 20, says: "out of memory"},
		"evicted for memory over its request": {
			status: runs().Reason("Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 90Mi. Container engine was using 1100Mi, request is 1Gi, has larger consumption of memory. ").
				Disrupted("TerminationByKubelet", "The node was low on resource: memory.", 0),
			reason: v1alpha1.ReasonOutOfMemory, next: "gpu", bytes: 1536 << 20, says: "1100Mi",
		},
		"evicted for a full emptyDir":       {status: runs().Reason("Evicted", `Usage of EmptyDir volume "output" exceeds the limit "20Gi". `), reason: v1alpha1.ReasonScratchSpaceExceeded, says: "scratchSize"},
		"evicted for the pressure of disks": {status: runs().Reason("Evicted", "The node had condition: [DiskPressure]. ").Disrupted("TerminationByKubelet", "The node had condition: [DiskPressure].", 0), reason: v1alpha1.ReasonDisrupted, next: "gpu", says: "DiskPressure"},
		"evicted for the pressure of PIDs":  {status: runs().Reason("Evicted", "The node was low on resource: pids."), reason: v1alpha1.ReasonDisrupted, next: "gpu", says: "pids"},
		"preempted by the scheduler":        {status: runs().Signal("engine", 15).Disrupted("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod", 0), reason: v1alpha1.ReasonDisrupted, next: "gpu", says: "higher priority"},
		"preempted by the kubelet":          {status: runs().Reason("Preempting", "Preempted in order to admit critical pod"), reason: v1alpha1.ReasonDisrupted, next: "gpu", says: "critical pod"},
		"drained":                           {status: runs().Signal("engine", 15).Disrupted("EvictionByEvictionAPI", "Eviction API: evicting", 0), reason: v1alpha1.ReasonDisrupted, next: "gpu"},
		"deleted for a taint":               {status: runs().Signal("engine", 15).Disrupted("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", 0), reason: v1alpha1.ReasonDisrupted, next: "gpu", says: "NoExecute"},
		"the node shuts down":               {status: runs().Reason("Terminated", "Pod was terminated in response to imminent node shutdown."), reason: v1alpha1.ReasonDisrupted, next: "gpu", says: "shutdown"},
		"the node is lost":                  {status: runs().Reason("NodeLost", "Node node-1 which was running pod x is unresponsive"), reason: v1alpha1.ReasonDisrupted, next: "gpu", says: "unresponsive"},
		"the kubelet has no device left":    {status: x().Phase(corev1.PodFailed).Reason("OutOfnvidia.com/gpu", "Node didn't have enough resource: nvidia.com/gpu, requested: 1, used: 1, capacity: 1"), reason: v1alpha1.ReasonDisrupted, next: "gpu", says: "requested: 1"},
		"the node forgot a container": {
			status: runs().Exit("engine", 137).With(func(p *corev1.Pod) {
				p.Status.ContainerStatuses[0].State.Terminated.Reason = "ContainerStatusUnknown"
				p.Status.ContainerStatuses[0].State.Terminated.Message = "The container could not be located when the pod was terminated"
			}),
			reason: v1alpha1.ReasonDisrupted, next: "gpu", says: "could not be located",
		},
		"the device plugin refuses": {
			status: x().Phase(corev1.PodFailed).Reason("UnexpectedAdmissionError", "Allocate failed due to no healthy devices present; cannot allocate unhealthy devices nvidia.com/gpu, which is unexpected"),
			reason: v1alpha1.ReasonDeviceUnusable, next: "gpu", away: true, says: "unhealthy devices",
		},
		"the runtime finds no driver": {
			status: runs().Exit("engine", 128).SaysRaw("engine", nvidia).With(func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State.Terminated.Reason = "StartError" }),
			reason: v1alpha1.ReasonDeviceUnusable, next: "gpu", away: true, says: "nvidia-container-cli",
		},
		"the runtime finds no program": {
			status: runs().Exit("engine", 128).SaysRaw("engine", `exec: "phalp": executable file not found in $PATH`).With(func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State.Terminated.Reason = "StartError" }),
			reason: v1alpha1.ReasonPodNotStartable, next: "cpu", says: "executable file not found",
		},
		"the pod's time is over by somebody else's limit": {status: runs().Reason("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"), reason: v1alpha1.ReasonDeadlineExceeded, says: "not the operator's"},
		"the whole container died with its memory full": {
			status: runs().Exit("engine", 137).Says("engine", report.Termination{Role: report.RoleExec, Result: report.ResultRunning, Engine: &report.EngineReport{Stage: v1alpha1.StageDetectorLoad, PeakMemoryBytes: 1020 << 20, LimitMemoryBytes: 1 << 30}}),
			reason: v1alpha1.ReasonOutOfMemory, next: "gpu", bytes: 1536 << 20, says: "1020 MiB with a limit of 1024 MiB",
		},
		"the whole container died with memory to spare": {
			status: runs().Exit("engine", 137).Says("engine", report.Termination{Role: report.RoleExec, Result: report.ResultRunning, Engine: &report.EngineReport{Stage: v1alpha1.StageDetectorLoad, PeakMemoryBytes: 300 << 20, LimitMemoryBytes: 1 << 30}}),
			reason: v1alpha1.ReasonDetectorLoadCrash, next: "cpu", says: "SIGKILL",
		},
		"the node ran out of memory, and not the container": {
			status: runs().EngineSays(137, report.EngineReport{Signal: "SIGKILL", OOMKills: 1, PeakMemoryBytes: 300 << 20, LimitMemoryBytes: 1 << 30}),
			reason: v1alpha1.ReasonOutOfMemory, next: "gpu", bytes: 1536 << 20, says: "the node itself ran out of memory",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t).withEngine()
			p.start()
			p.submit("run")
			first := p.pod(1)
			p.play(first, c.status)
			j := p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) {
				g.Expect(j.Status.Attempts).NotTo(BeEmpty())
				g.Expect(j.Status.Attempts[0].State).To(Equal(v1alpha1.AttemptFailed))
			})
			a := j.Status.Attempts[0]
			if a.Reason != c.reason || !strings.Contains(a.Message, c.says) {
				t.Fatalf("%s: %s; want %s that says %q", a.Reason, a.Message, c.reason, c.says)
			}
			if c.next == "" {
				p.eventually("run", phase(v1alpha1.PhaseFailed))
				return
			}
			second := p.pod(2)
			p.g.Expect(second.Labels[v1alpha1.LabelVariant]).To(Equal(c.next))
			p.g.Expect(avoids(second, "node-1")).To(Equal(c.away))
			if c.bytes > 0 {
				p.g.Expect(p.job("run").Status.Attempts[1].MemoryBytes).To(Equal(c.bytes))
			}
		})
	}
}

// changeEngine of the place. Every manager of these tests writes the status of every
// engine, so that a change may have to be tried again.
func (p *place) changeEngine(change func(*v1alpha1.PoseEngine)) {
	p.Helper()
	p.g.Eventually(func(g Gomega) {
		var e v1alpha1.PoseEngine
		g.Expect(api.Get(ctx, client.ObjectKey{Name: p.engine}, &e)).To(Succeed())
		change(&e)
		g.Expect(api.Update(ctx, &e)).To(Succeed())
	}).Should(Succeed())
}

func avoids(pod *corev1.Pod, node string) bool {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.NodeAffinity == nil {
		return false
	}
	for _, term := range pod.Spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		for _, e := range term.Preference.MatchExpressions {
			if e.Key == corev1.LabelHostname && e.Operator == corev1.NodeSelectorOpNotIn && len(e.Values) == 1 && e.Values[0] == node {
				return true
			}
		}
	}
	return false
}

// TestLearning: three videos of two namespaces crash on one kind of GPU; the next
// job skips the variant, says so, and a manager that starts again remembers.
func TestLearning(t *testing.T) {
	p := newPlace(t).withEngine()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gpu-of-" + p.namespace, Labels: map[string]string{
		"nvidia.com/gpu.product": "NVIDIA-Test-" + p.namespace, "nvidia.com/cuda.driver-version.full": "550.54", "of": p.namespace,
	}}}
	p.must(api.Create(ctx, node))
	t.Cleanup(func() { _ = api.Delete(ctx, node) })
	p.changeEngine(func(e *v1alpha1.PoseEngine) { e.Spec.Variants[0].NodeSelector = map[string]string{"of": p.namespace} })
	p.options.Learning.SingleTenant = true // one namespace is all that this manager sees
	p.start()
	crash := func(name string) {
		p.submit(name, func(j *v1alpha1.PoseJob) { j.Spec.Video.URI = "s3://videos/" + name })
		pod := p.podOf(name, 1)
		binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: node.Name}}
		p.must(api.SubResource("binding").Create(ctx, pod, binding))
		p.setStatus(pod, detectorCrashOf("sha-of-"+name))
		second := p.podOf(name, 2)
		p.play(second, succeeded())
		j := p.eventually(name, phase(v1alpha1.PhaseSucceeded))
		a := j.Status.Attempts[0]
		p.g.Expect([]string{a.GPUProduct, a.GPUDriver}).To(Equal([]string{"NVIDIA-Test-" + p.namespace, "550.54"}))
	}
	for _, name := range []string{"a", "b", "c"} {
		crash(name)
	}
	p.managerSees(func(g Gomega, e *v1alpha1.PoseEngine) {
		g.Expect(e.Status.Learned).To(ContainElement(HaveField("SkipUntil", Not(BeNil()))))
	})

	skips := func(name string) {
		p.submit(name)
		pod := p.podOf(name, 1)
		p.g.Expect(pod.Labels[v1alpha1.LabelVariant]).To(Equal("cpu"))
		p.play(pod, succeeded())
		j := p.eventually(name, phase(v1alpha1.PhaseSucceeded))
		p.g.Expect(j.Status.SkippedVariants).To(HaveLen(1))
		p.g.Expect(j.Status.SkippedVariants[0].Reason).To(Equal(v1alpha1.ReasonLearnedSkip))
		p.g.Expect(j.Status.SkippedVariants[0].Message).To(ContainSubstring("3 of 3 times on NVIDIA-Test-"))
		p.g.Expect(condition(j, v1alpha1.ConditionDegraded)).To(Equal("True/Fallback"))
	}
	skips("d")
	p.restart()
	skips("e")

	// A job that names its variants is not overruled.
	p.submit("f", func(j *v1alpha1.PoseJob) { j.Spec.Variants = []string{"gpu", "cpu"} })
	p.g.Expect(p.podOf("f", 1).Labels[v1alpha1.LabelVariant]).To(Equal("gpu"))

	p.changeEngine(func(e *v1alpha1.PoseEngine) {
		e.Annotations = map[string]string{v1alpha1.AnnotationClearLearned: "now"}
	})
	p.managerSees(func(g Gomega, e *v1alpha1.PoseEngine) {
		g.Expect(e.Status.Learned).To(BeEmpty())
		g.Expect(e.Status.Cleared).To(Equal("now"))
	})
	p.submit("g")
	p.g.Expect(p.podOf("g", 1).Labels[v1alpha1.LabelVariant]).To(Equal("gpu"))
}

// detectorCrashOf a video with this digest.
func detectorCrashOf(sha string) *gen.PodBuilder {
	image := gen.Variant("gpu", v1alpha1.GPU).Image
	return detectorCrash().Image("engine", image).Says("prepare", report.Termination{Role: report.RolePrepare, Result: report.ResultOK, Video: &report.VideoFacts{Codec: "h264", Width: 640, Height: 360, FPS: 30, Frames: 120, SourceSHA256: sha}})
}

// podOf a job's attempt, once it is there.
func (p *place) podOf(job string, attempt int) *corev1.Pod {
	p.Helper()
	var found corev1.Pod
	p.g.Eventually(func(g Gomega) {
		var n int
		for _, pod := range p.pods() {
			if pod.Labels[v1alpha1.LabelJob] == job && pod.Labels[v1alpha1.LabelAttempt] == string(rune('0'+attempt)) {
				found = pod
				n++
			}
		}
		g.Expect(n).To(Equal(1), "pod of attempt %d of %s", attempt, job)
	}).Should(Succeed())
	return &found
}

// TestAnEngineThatNoRunnerWatches: it is refused until the policy allows it.
func TestAnEngineThatNoRunnerWatches(t *testing.T) {
	p := newPlace(t).withEngine()
	p.changeEngine(func(e *v1alpha1.PoseEngine) { e.Spec.Variants[0].Runner = v1alpha1.RunnerNone })
	p.start()
	p.submit("run")
	pod := p.pod(1)
	p.g.Expect(pod.Labels[v1alpha1.LabelVariant]).To(Equal("cpu"))
	j := p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) { g.Expect(j.Status.SkippedVariants).To(HaveLen(1)) })
	p.g.Expect(j.Status.SkippedVariants[0].Reason).To(Equal(v1alpha1.ReasonPolicyDenied))
	p.submit("gpu-only", func(j *v1alpha1.PoseJob) { j.Spec.Device = v1alpha1.DeviceGPU })
	j = p.eventually("gpu-only", phase(v1alpha1.PhaseFailed))
	p.g.Expect(condition(j, v1alpha1.ConditionFailed)).To(Equal("True/PolicyDenied"))
	p.g.Expect(j.Status.Attempts).To(BeEmpty())
}
