package posebatch_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/internal/report"
)

// engine of the test's own, whose first variant works through many clips.
func (p *place) engine(change ...func(*v1alpha1.Variant)) func(*v1alpha1.PoseBatch) {
	p.Helper()
	many := func(v *v1alpha1.Variant) {
		v.ClipsCommand = []string{"engine", "--device=$(DEVICE)", "--clips", "-"}
		for _, c := range change {
			c(v)
		}
	}
	e := gen.Engine("clips-"+p.namespace).Variants(gen.Variant("gpu", v1alpha1.GPU, many), gen.Variant("cpu", v1alpha1.CPU)).Build()
	p.must(api.Create(ctx, e))
	p.Cleanup(func() { p.must(client.IgnoreNotFound(api.Delete(ctx, e))) })
	return func(b *v1alpha1.PoseBatch) { b.Spec.Template.EngineName = e.Name }
}

func clipsPerPod(n int32) func(*v1alpha1.PoseBatch) {
	return func(b *v1alpha1.PoseBatch) { b.Spec.ClipsPerPod = n }
}

// queuePods of the namespace that have not ended, by name.
func (p *place) queuePods() []corev1.Pod {
	p.Helper()
	var list corev1.PodList
	p.must(api.List(ctx, &list, client.InNamespace(p.namespace), client.MatchingLabels{v1alpha1.LabelPurpose: v1alpha1.PurposeQueue}))
	out := slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool {
		return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	})
	slices.SortFunc(out, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// someQueuePods waits for so many of them, with these clips.
func (p *place) someQueuePods(want ...[]int32) []corev1.Pod {
	p.Helper()
	var pods []corev1.Pod
	p.g.Eventually(func(g Gomega) {
		pods = p.queuePods()
		var got [][]int32
		for i := range pods {
			got = append(got, p.queueOf(&pods[i]).Clips)
		}
		g.Expect(cmp.Diff(want, got)).To(BeEmpty())
	}).Should(Succeed())
	return pods
}

// told is what a container of a pod is told.
func (p *place) told(pod *corev1.Pod, container string) *report.Config {
	p.Helper()
	for _, c := range pod.Spec.Containers {
		for _, e := range c.Env {
			if c.Name == container && e.Name == report.ConfigEnv {
				cfg, err := report.ParseConfig(strings.ReplaceAll(e.Value, "$$", "$"))
				p.must(err)
				return cfg
			}
		}
	}
	p.Fatalf("pod %s has no container %s with a config", pod.Name, container)
	return nil
}

func (p *place) queueOf(pod *corev1.Pod) *report.QueueConfig { return p.told(pod, "deliver").Queue }

// bound: the scheduler has found a node.
func (p *place) bound(pod *corev1.Pod) {
	p.Helper()
	p.must(api.SubResource("binding").Create(ctx, pod, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "node-1"}}))
}

// digestOf the result of a clip.
func digestOf(clip int32) string { return report.ShortDigest(fmt.Sprintf("%064x", clip+1)) }

// ends a pod as the kubelet tells of it: deliver said this of its clips, and the engine
// ran for a minute.
func (p *place) ends(pod *corev1.Pod, states string) {
	p.Helper()
	p.must(client.IgnoreNotFound(p.tryEnd(pod, states)))
}

func (p *place) tryEnd(pod *corev1.Pod, states string) error {
	var fresh corev1.Pod
	if err := api.Get(ctx, client.ObjectKeyFromObject(pod), &fresh); err != nil {
		return err
	}
	rep := &report.QueueReport{States: states, Why: "the last words of a clip"}
	for i, n := range p.queueOf(pod).Clips {
		if i < len(states) && strings.ContainsRune("SR", rune(states[i])) {
			rep.Digests += digestOf(n)
		}
	}
	t := report.Termination{Role: report.RoleDeliver, Result: report.ResultOK, Queue: rep}
	code, phase := int32(0), corev1.PodSucceeded
	if strings.ContainsRune(states, report.QueueWaiting) || states == "" {
		t.Result, code, phase = report.ResultFailed, 139, corev1.PodFailed
	}
	if states == "" {
		t.Queue = nil
	}
	end := func(name, message string) corev1.ContainerStatus {
		s := &corev1.ContainerStateTerminated{ExitCode: code, Message: message, StartedAt: metav1.NewTime(pod.CreationTimestamp.Add(-time.Minute)), FinishedAt: pod.CreationTimestamp}
		return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Terminated: s}}
	}
	fresh.Status.Phase = phase
	engine := report.Termination{Role: report.RoleExec, Result: report.ResultFailed, Engine: &report.EngineReport{Stage: v1alpha1.StageTracking, Signal: "SIGSEGV"}}
	fresh.Status.ContainerStatuses = []corev1.ContainerStatus{end("engine", string(engine.Marshal())), end("deliver", string(t.Marshal()))}
	return api.Status().Update(ctx, &fresh)
}

// records of the batch.
func (p *place) records() []*batch.Record {
	p.Helper()
	var list corev1.ConfigMapList
	p.must(api.List(ctx, &list, client.InNamespace(p.namespace), client.MatchingLabels{v1alpha1.LabelBatchPart: v1alpha1.PartRecord}))
	var out []*batch.Record
	for _, m := range list.Items {
		r, err := batch.DecodeRecord(m.Data)
		p.must(err)
		out = append(out, r)
	}
	return out
}

func (p *place) queueEvents() []string {
	p.Helper()
	var list eventsv1.EventList
	p.must(api.List(ctx, &list, client.InNamespace(p.namespace)))
	var out []string
	for _, e := range list.Items {
		if e.Reason == "QueuePodEnded" {
			out = append(out, e.Type+" "+e.Note)
		}
	}
	return out
}
