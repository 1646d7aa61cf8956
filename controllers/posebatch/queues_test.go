package posebatch_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/posejob"
	"github.com/pose-dev/pose-operator/internal/clips"
)

// TestABatchByPodsOfManyClips: two pods with five clips each, of which one crashes at
// its third; that clip gets a PoseJob, and the others a pod again.
func TestABatchByPodsOfManyClips(t *testing.T) {
	p := newPlace(t)
	p.reuse = posejob.Reuse{Default: v1alpha1.ReuseIfVerified}
	p.start()
	p.submit(uris(12), parallelism(2), clipsPerPod(5), p.engine(), func(b *v1alpha1.PoseBatch) {
		b.Spec.Output.Overlay = v1alpha1.OverlayBlurred
		b.Spec.Template.ActiveDeadlineSeconds = new(int64(120))
	})
	pods := p.someQueuePods([]int32{0, 1, 2, 3, 4}, []int32{5, 6, 7, 8, 9})
	b := p.counts(v1alpha1.BatchCounts{Total: 12, Pending: 2, Running: 10})
	p.isRight(b, &pods[0])
	p.ends(&pods[0], "SSRSS")
	next := p.someQueuePods([]int32{5, 6, 7, 8, 9}, []int32{10, 11})
	b = p.counts(v1alpha1.BatchCounts{Total: 12, Running: 7, Succeeded: 5, Reused: 1})
	if b.Status.GPUSeconds != 60 || b.Status.Average.GPUMilliseconds != 15_000 || b.Status.EstimatedGPUSeconds != 105 {
		t.Errorf("after the first pod: %d GPU seconds, average %+v, %d to come", b.Status.GPUSeconds, b.Status.Average, b.Status.EstimatedGPUSeconds)
	}
	p.ends(&next[0], "SSF..")
	p.counts(v1alpha1.BatchCounts{Total: 12, Pending: 2, Running: 3, Succeeded: 7, Reused: 1})
	jobs := p.someJobs(1)
	if jobs[0].Spec.Video.URI != "s3://videos/cam/00007.mp4" {
		t.Errorf("the PoseJob of a clip that failed is for %s", jobs[0].Spec.Video.URI)
	}
	p.ends(&next[1], "SS")
	last := p.someQueuePods([]int32{8, 9})
	p.ends(&last[0], "SS")
	p.finish(&jobs[0], "EngineError", 7)
	p.indexed(12)
	b = p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/ClipsFailed"))
	})
	if c := *b.Status.Counts; c.Succeeded != 11 || c.Failed != 1 || c.Reused != 1 || b.Status.GPUSeconds != 4*60+7 {
		t.Errorf("%+v, %d GPU seconds", c, b.Status.GPUSeconds)
	}
	r := p.records()[0]
	for i := range int32(12) {
		if want := digestOf(i); i != 7 && r.Digests[int(i)] != want {
			t.Errorf("digest of clip %d is %q, want %q", i, r.Digests[int(i)], want)
		}
	}
	p.g.Eventually(func(g Gomega) {
		events := strings.Join(p.queueEvents(), "\n")
		g.Expect(events).To(And(
			ContainSubstring("Normal pod "+pods[0].Name+": 4 clips were delivered, 1 had a result before"),
			ContainSubstring("Warning pod "+next[0].Name+": 2 clips were delivered, 1 failed and gets a PoseJob of its own, 2 were not reached. the last words of a clip. "),
			ContainSubstring("SIGSEGV")))
	}).Should(Succeed())
	// Those that did all are deleted, the other one is kept for its log, and not held.
	p.g.Eventually(func(g Gomega) {
		var left corev1.PodList
		g.Expect(api.List(ctx, &left, client.InNamespace(p.namespace), client.MatchingLabels{v1alpha1.LabelPurpose: v1alpha1.PurposeQueue})).To(Succeed())
		g.Expect(left.Items).To(HaveLen(1))
		g.Expect(left.Items[0].Name).To(Equal(next[0].Name))
		g.Expect(left.Items[0].Finalizers).To(BeEmpty())
	}).Should(Succeed())
}

// isRight looks at what the API server has of a pod.
func (p *place) isRight(b *v1alpha1.PoseBatch, pod *corev1.Pod) {
	p.Helper()
	if !metav1.IsControlledBy(pod, b) || pod.Labels[v1alpha1.LabelJobUID] != string(b.UID) || !slices.Contains(pod.Finalizers, v1alpha1.FinalizerOutcome) || pod.Name != batch.QueueName(b, 0, 1) {
		p.Errorf("pod %+v", pod.ObjectMeta)
	}
	var names []string
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
		if cfg := p.told(pod, c.Name); cfg.Queue == nil || cfg.Job.Batch != "many" || cfg.Job.UID != string(b.UID) || cfg.Job.Attempt != 1 {
			p.Errorf("container %s is told %+v", c.Name, cfg)
		}
	}
	if diff := cmp.Diff([]string{"lookup", "fetch", "prepare", "engine", "deliver"}, names); diff != "" {
		p.Errorf("containers (-want +got):\n%s", diff)
	}
	q := p.queueOf(pod)
	if !q.Look || q.First != 0 || q.ClipSeconds != 120 || q.Line.Overlay != "blurred" || q.JobPrefix+"-3" != batch.JobName(b, 3) {
		p.Errorf("queue %+v", q)
	}
	if d := p.told(pod, "deliver").Deliver; d.URI != b.Spec.Output.URI || d.TimeoutSeconds != 900 || !strings.HasSuffix(d.AttemptID, "-1") {
		p.Errorf("deliver %+v", d)
	}
	i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "clips" })
	var chunk corev1.ConfigMap
	p.must(api.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: pod.Spec.Volumes[i].ConfigMap.Name}, &chunk))
	list, err := clips.Decode(chunk.BinaryData[pod.Spec.Volumes[i].ConfigMap.Items[0].Key])
	if err != nil || len(list) != 12 {
		p.Errorf("the pod's list has %d clips, %v", len(list), err)
	}
}

// TestPodsOfManyClipsThatOnlyCrash are given up, and every clip goes alone.
func TestPodsOfManyClipsThatOnlyCrash(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit(uris(6), parallelism(1), clipsPerPod(3), p.engine())
	for i := range int32(3) {
		pods := p.someQueuePods([]int32{i, i + 1, i + 2})
		p.ends(&pods[0], "")
		jobs := p.someJobs(1) // of the clip to blame, before the next pod
		p.finish(&jobs[0], ok, 1)
	}
	p.counts(v1alpha1.BatchCounts{Total: 6, Pending: 2, Running: 1, Succeeded: 3})
	for range 3 {
		jobs := p.someJobs(1)
		p.finish(&jobs[0], ok, 1)
		p.g.Eventually(func() bool {
			now := p.jobs()
			return len(p.queuePods()) == 0 && (len(now) == 0 || now[0].UID != jobs[0].UID)
		}).Should(BeTrue())
	}
	p.counts(v1alpha1.BatchCounts{Total: 6, Succeeded: 6})
}

func TestWithoutPodsOfManyClips(t *testing.T) {
	t.Run("the variant cannot", func(t *testing.T) {
		p := newPlace(t)
		p.start()
		p.submit(uris(3), parallelism(2), clipsPerPod(3), p.engine(func(v *v1alpha1.Variant) { v.ClipsCommand = nil }))
		p.someJobs(2)
	})
	t.Run("the first variant is another", func(t *testing.T) {
		p := newPlace(t)
		p.start()
		p.submit(uris(3), parallelism(2), clipsPerPod(3), p.engine(), func(b *v1alpha1.PoseBatch) { b.Spec.Template.Device = "CPU" })
		p.someJobs(2)
	})
	t.Run("there is no such engine", func(t *testing.T) {
		p := newPlace(t)
		p.start()
		p.submit(uris(3), parallelism(2), clipsPerPod(3))
		p.someJobs(2)
	})
	t.Run("it is asked for later", func(t *testing.T) {
		p := newPlace(t)
		p.start()
		p.submit(uris(4), parallelism(1), p.engine())
		jobs := p.someJobs(1)
		p.change(func(b *v1alpha1.PoseBatch) { b.Spec.ClipsPerPod = 2 })
		p.finish(&jobs[0], ok, 1)
		p.someQueuePods([]int32{1, 2})
	})
}

// TestSuspendedPodsOfManyClips end; what they delivered counts.
func TestSuspendedPodsOfManyClips(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit(uris(4), parallelism(2), clipsPerPod(2), p.engine())
	pods := p.someQueuePods([]int32{0, 1}, []int32{2, 3})
	p.bound(&pods[0])
	p.change(func(b *v1alpha1.PoseBatch) { b.Spec.Suspend = true })
	p.g.Eventually(func(g Gomega) {
		var fresh corev1.Pod
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(&pods[0]), &fresh)).To(Succeed())
		g.Expect(fresh.DeletionTimestamp).NotTo(BeNil())
		// The other one had no node: it never runs.
		g.Expect(apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(&pods[1]), &fresh))).To(BeTrue())
	}).Should(Succeed())
	b := p.counts(v1alpha1.BatchCounts{Total: 4, Pending: 2, Running: 2})
	if condition(b, v1alpha1.ConditionSuspended) == "True/Suspended" {
		t.Error("the batch is called suspended while a pod runs")
	}
	p.ends(&pods[0], "S.")
	p.counts(v1alpha1.BatchCounts{Total: 4, Pending: 3, Succeeded: 1})
	b = p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionSuspended)).To(Equal("True/Suspended"))
	})
	if b.Status.GPUSeconds != 60 || p.records()[0].Totals.EmptyPods != 0 {
		t.Errorf("%d GPU seconds, %+v", b.Status.GPUSeconds, p.records()[0].Totals)
	}
	p.g.Consistently(func() int { return len(p.jobs()) }).Should(BeZero())
	p.change(func(b *v1alpha1.PoseBatch) { b.Spec.Suspend = false })
	p.someQueuePods([]int32{1, 2})
}

// TestAPodThatNoNodeTakes is told of in the batch, and given up when a PoseJob's attempt
// would be.
func TestAPodThatNoNodeTakes(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit(uris(2), clipsPerPod(2), p.engine(), func(b *v1alpha1.PoseBatch) { b.Spec.Template.PendingTimeoutSeconds = new(int64(2)) })
	pod := p.someQueuePods([]int32{0, 1})[0]
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes have a GPU", LastTransitionTime: metav1.Now()}}
	p.must(api.Status().Update(ctx, &pod))
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		ready := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady)
		g.Expect(ready.Message).To(ContainSubstring(pod.Name + ": waiting for a node: 0/3 nodes have a GPU"))
	})
	jobs := p.someJobs(2) // the first is to blame, and one clip is no queue
	p.finish(&jobs[0], ok, 1)
	p.g.Eventually(func() string { return strings.Join(p.queueEvents(), "\n") }).Should(ContainSubstring("NoCapacity: no node took the pod within 2s: 0/3 nodes have a GPU"))
}

// TestABatchThatStopsWithPods keeps what they delivered.
func TestABatchThatStopsWithPods(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit(uris(8), parallelism(2), clipsPerPod(3), p.engine(), func(b *v1alpha1.PoseBatch) { b.Spec.Budget = &v1alpha1.BatchBudget{GPUSeconds: new(int64(50))} })
	pods := p.someQueuePods([]int32{0, 1, 2}, []int32{3, 4, 5})
	p.bound(&pods[1])
	p.ends(&pods[0], "SSS")
	p.g.Eventually(func(g Gomega) {
		var fresh corev1.Pod
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(&pods[1]), &fresh)).To(Succeed())
		g.Expect(fresh.DeletionTimestamp).NotTo(BeNil(), "a pod goes on beyond the budget")
	}).Should(Succeed())
	p.ends(&pods[1], "S..")
	p.counts(v1alpha1.BatchCounts{Total: 8, Succeeded: 4, Cancelled: 4})
	p.indexed(8)
	b := p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/BudgetExhausted"))
	})
	if b.Status.GPUSeconds != 120 {
		t.Errorf("%d GPU seconds", b.Status.GPUSeconds)
	}
}

// TestAPodThatTheCacheDoesNotShow is not taken for gone: a label can be taken off it.
func TestAPodThatTheCacheDoesNotShow(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit(uris(2), clipsPerPod(2), p.engine())
	pod := p.someQueuePods([]int32{0, 1})[0]
	p.g.Eventually(func() string { return p.records()[0].Queues[1].UID }).Should(Equal(string(pod.UID)))
	p.g.Eventually(func() error {
		var fresh corev1.Pod
		if err := api.Get(ctx, client.ObjectKeyFromObject(&pod), &fresh); err != nil {
			return err
		}
		delete(fresh.Labels, v1alpha1.LabelJobUID)
		return api.Update(ctx, &fresh)
	}).Should(Succeed())
	p.change(func(b *v1alpha1.PoseBatch) { b.Spec.Parallelism = 3 }) // it looks again
	p.g.Consistently(func() int { return len(p.jobs()) + len(p.queuePods()) }).Should(Equal(1))
	p.ends(&pod, "SS")
	p.counts(v1alpha1.BatchCounts{Total: 2, Succeeded: 2})
	p.g.Eventually(func() int { return len(p.queuePods()) }).Should(BeZero())
}

// TestPodsOfABatchThatIsDeleted are not held.
func TestPodsOfABatchThatIsDeleted(t *testing.T) {
	p := newPlace(t)
	p.start()
	b := p.submit(uris(4), parallelism(2), clipsPerPod(2), p.engine())
	pods := p.someQueuePods([]int32{0, 1}, []int32{2, 3})
	p.must(api.Delete(ctx, b, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	p.gone(b)
	for i := range pods { // the garbage collector
		p.must(client.IgnoreNotFound(api.Delete(ctx, &pods[i])))
	}
	p.g.Eventually(func() int { return len(p.queuePods()) }).Should(BeZero())
}

// TestManagersThatDieWithPods: after whichever write a manager dies, no clip is in two
// pods at once, or in a pod and a PoseJob, and what pods used is counted once.
func TestManagersThatDieWithPods(t *testing.T) {
	p := newPlace(t)
	p.submit(uris(30), parallelism(3), clipsPerPod(4), p.engine())
	ended, jobs, failed := map[types.UID]bool{}, map[types.UID]bool{}, map[int32]bool{}
	play := func() {
		busy := map[string]string{}
		take := func(clip, by string) {
			if other := busy[clip]; other != "" && other != by {
				t.Errorf("%s and %s work on %s", other, by, clip)
			}
			busy[clip] = by
		}
		pods, running := p.queuePods(), p.someUnfinished()
		for i := range pods {
			for _, n := range p.queueOf(&pods[i]).Clips {
				take(fmt.Sprintf("s3://videos/cam/%05d.mp4", n), pods[i].Name)
			}
		}
		for i := range running {
			take(running[i].Spec.Video.URI, running[i].Name)
		}
		for i := range pods {
			states := ""
			for _, n := range p.queueOf(&pods[i]).Clips {
				switch {
				case n%11 == 5 && !failed[n]:
					states, failed[n] = states+"F", true
				case n%7 == 6 && !ended[pods[i].UID] && len(states) > 0:
					states += "." // it dies before that
				default:
					states += "S"
				}
			}
			if cut := strings.IndexByte(states, '.'); cut >= 0 {
				states = states[:cut] + strings.Repeat(".", len(states)-cut)
			}
			if p.tryEnd(&pods[i], states) == nil {
				ended[pods[i].UID] = true
			}
		}
		for i := range running {
			jobs[running[i].UID] = true
			p.finish(&running[i], ok, 10)
		}
	}
	for life := 0; p.unfinished() > 0; life++ {
		if life > 200 {
			t.Fatal("the batch does not go on")
		}
		p.writes.dies(1+life%9, life%2 == 0)
		p.start()
		p.g.Eventually(func() bool {
			play()
			return p.writes.dead() || p.unfinished() == 0
		}).Should(BeTrue())
		p.stop()
	}
	p.writes.dies(-1, false)
	p.start()
	p.counts(v1alpha1.BatchCounts{Total: 30, Succeeded: 30})
	p.indexed(30)
	b := p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/Succeeded"))
	})
	if want := int64(60*len(ended) + 10*len(jobs)); b.Status.GPUSeconds != want || len(ended) < 8 {
		t.Errorf("%d GPU seconds, want %d of %d pods and %d PoseJobs", b.Status.GPUSeconds, want, len(ended), len(jobs))
	}
	p.g.Eventually(func(g Gomega) {
		var list corev1.PodList
		g.Expect(api.List(ctx, &list, client.InNamespace(p.namespace))).To(Succeed())
		for _, pod := range list.Items {
			g.Expect(pod.Finalizers).To(BeEmpty(), pod.Name)
		}
	}).Should(Succeed())
}

// TestTwoManagersWithPods: one that does not know yet that it leads no more makes no pod
// twice, and counts none twice.
func TestTwoManagersWithPods(t *testing.T) {
	p := newPlace(t)
	other := &place{T: t, g: p.g, namespace: p.namespace, settings: p.settings, address: "127.0.0.1:0", writes: &writes{left: -1}}
	t.Cleanup(other.stop)
	p.start()
	other.start()
	p.submit(uris(40), parallelism(4), clipsPerPod(4), p.engine())
	made := map[types.UID]bool{}
	p.g.Eventually(func() int {
		in := map[int32]string{}
		pods := p.queuePods()
		for i := range pods {
			clips := p.queueOf(&pods[i]).Clips
			for _, n := range clips {
				if in[n] != "" {
					t.Errorf("clip %d is in %s and in %s", n, in[n], pods[i].Name)
				}
				in[n] = pods[i].Name
			}
			if p.tryEnd(&pods[i], strings.Repeat("S", len(clips))) == nil {
				made[pods[i].UID] = true
			}
		}
		return p.unfinished()
	}).WithTimeout(90 * time.Second).Should(BeZero())
	b := p.counts(v1alpha1.BatchCounts{Total: 40, Succeeded: 40})
	if len(made) != 10 || b.Status.GPUSeconds != 600 || len(p.jobs()) != 0 {
		t.Errorf("%d pods, %d GPU seconds, %d PoseJobs", len(made), b.Status.GPUSeconds, len(p.jobs()))
	}
}

// TestTheDefaultsOfAClip are those of the API server.
func TestTheDefaultsOfAClip(t *testing.T) {
	p := newPlace(t)
	b := p.submit(uris(1))
	job := batch.Job(b, 0, clips.Clip{URI: "s3://videos/a.mp4", Name: "a"})
	p.must(api.Create(ctx, job))
	want := batch.QueueJob(b, 0, clips.Clip{URI: "s3://videos/a.mp4", Name: "a"})
	want.Spec.Output.URI = job.Spec.Output.URI
	wanted, err := json.Marshal(want.Spec)
	p.must(err)
	got, err := json.Marshal(job.Spec)
	p.must(err)
	if diff := cmp.Diff(string(got), string(wanted)); diff != "" {
		t.Errorf("spec (-by the API server +here):\n%s", diff)
	}
}

// TestTheJobOfAPodOfManyHasTheAPIServersDefaults: that PoseJob is never made, so that
// nobody else fills in what its template leaves unset.
func TestTheJobOfAPodOfManyHasTheAPIServersDefaults(t *testing.T) {
	p := newPlace(t)
	b := p.submit(uris(1))
	c := clips.Clip{URI: "s3://videos/a.mp4", Name: "a.mp4"}
	real := batch.Job(b, 0, c)
	p.must(api.Create(ctx, real, client.DryRunAll))
	want, got := real.Spec, batch.QueueJob(b, 0, c).Spec
	want.Output.URI = got.Output.URI // the batch's: each clip has its own below it
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
