package posebatch_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

const ok = v1alpha1.ReasonSucceeded

// kstatusOf is what `kubectl apply --wait` and GitOps tools see.
func kstatusOf(t *testing.T, b *v1alpha1.PoseBatch) status.Status {
	t.Helper()
	b.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PoseBatch"))
	o, err := runtime.DefaultUnstructuredConverter.ToUnstructured(b)
	if err != nil {
		t.Fatal(err)
	}
	r, err := status.Compute(&unstructured.Unstructured{Object: o})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status
}

func TestABatchToItsEnd(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit(uris(5), parallelism(2), func(b *v1alpha1.PoseBatch) {
		b.Spec.Videos.CredentialsSecretRef = &v1alpha1.SecretReference{Name: "in"}
		b.Spec.Output.CredentialsSecretRef = &v1alpha1.SecretReference{Name: "out"}
		b.Spec.Output.Overlay = v1alpha1.OverlayBlurred
		b.Spec.Template.Reuse = v1alpha1.ReuseIfVerified
	})
	jobs := p.someJobs(2)
	j := jobs[0]
	if j.Spec.Video.URI != "s3://videos/cam/00000.mp4" || j.Spec.Output.URI != "s3://results/"+p.namespace+"/many/cam/00000.mp4" ||
		j.Spec.Video.CredentialsSecretRef.Name != "in" || j.Spec.Output.CredentialsSecretRef.Name != "out" ||
		j.Spec.Output.Overlay != v1alpha1.OverlayBlurred || j.Spec.EngineName != "mediapipe" || j.Spec.Reuse != v1alpha1.ReuseIfVerified || j.Spec.StallTimeoutSeconds != 900 {
		t.Errorf("PoseJob %+v", j.Spec)
	}
	b := p.counts(v1alpha1.BatchCounts{Total: 5, Pending: 3, Running: 2})
	if condition(b, v1alpha1.ConditionListed) != "True/Listed" || condition(b, v1alpha1.ConditionReconciling) != "True/Progressing" || b.Status.Phase != v1alpha1.BatchPhaseRunning || kstatusOf(t, b) != status.InProgressStatus {
		t.Errorf("status %+v", b.Status)
	}
	p.finish(&jobs[0], ok, 30)
	b = p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(b.Status.Counts.Succeeded).To(Equal(int32(1)))
	})
	if b.Status.GPUSeconds != 30 || b.Status.EstimatedGPUSeconds != 120 || b.Status.EstimatedCompletionTime == nil || b.Status.Progress != "20% 1/5" {
		t.Errorf("after the first clip: %+v", b.Status)
	}
	for range 4 {
		jobs = p.someJobs(min(2, 5-int(p.batch().Status.Counts.Succeeded)))
		p.finish(&jobs[0], ok, 30)
		n := p.batch().Status.Counts.Succeeded
		p.g.Eventually(func() int32 { return p.batch().Status.Counts.Succeeded }).Should(BeNumerically(">", n))
	}
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) { g.Expect(b.Status.Phase).To(Equal(v1alpha1.BatchPhaseIndexing)) })
	p.g.Consistently(func() string { return condition(p.batch(), v1alpha1.ConditionFinished) }).Should(BeEmpty())
	p.indexed(5)
	b = p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/Succeeded"))
	})
	if condition(b, v1alpha1.ConditionComplete) != "True/Succeeded" || b.Status.Index.SHA256 == "" || b.Status.GPUSeconds != 150 || kstatusOf(t, b) != status.CurrentStatus || b.Status.Percent != 100 || b.Status.CompletionTime == nil {
		t.Errorf("at the end: %+v", b.Status)
	}
	p.g.Eventually(func() []v1alpha1.PoseJob { return p.jobs() }).Should(BeEmpty())
	if b.Status.EstimatedCompletionTime != nil || b.Status.EstimatedGPUSeconds != 0 {
		t.Errorf("an estimate of what is over: %+v", b.Status)
	}
}

func TestFailuresAreListedAndKept(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit(uris(4), parallelism(4), func(b *v1alpha1.PoseBatch) { b.Spec.FailedJobsHistoryLimit = new(int32(1)) })
	jobs := p.someJobs(4)
	p.finish(&jobs[2], "InputInvalid", 1)
	p.counts(v1alpha1.BatchCounts{Total: 4, Running: 3, Failed: 1})
	p.finish(&jobs[3], "EngineError", 2)
	p.counts(v1alpha1.BatchCounts{Total: 4, Running: 2, Failed: 2})
	p.must(finish(&jobs[0], ok, 0, true))
	p.finish(&jobs[1], ok, 4)
	p.indexed(4)
	b := p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/ClipsFailed"))
	})
	f := b.Status.Failures
	if len(f) != 2 || f[0].Name != "cam/00002.mp4" || f[0].Reason != "InputInvalid" || f[0].Message != "why it is so" || f[1].Name != "cam/00003.mp4" || f[1].Index != 3 {
		t.Errorf("failures %+v", f)
	}
	if condition(b, v1alpha1.ConditionStalled) != "True/ClipsFailed" || condition(b, v1alpha1.ConditionComplete) != "" || kstatusOf(t, b) != status.FailedStatus {
		t.Errorf("conditions %+v", b.Status.Conditions)
	}
	if c := b.Status.Counts; c.Reused != 1 || c.Succeeded != 2 || c.Failed != 2 || b.Status.GPUSeconds != 7 {
		t.Errorf("counts %+v, %d GPU seconds", c, b.Status.GPUSeconds)
	}
	p.g.Eventually(func() int { return len(p.jobs()) }).Should(Equal(1))
	if left := p.jobs()[0]; meta.FindStatusCondition(left.Status.Conditions, v1alpha1.ConditionFailed) == nil {
		t.Errorf("PoseJob %s is kept", left.Name)
	}
}

func TestTooManyFailed(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit(uris(10), parallelism(3), func(b *v1alpha1.PoseBatch) {
		b.Spec.FailurePolicy = &v1alpha1.BatchFailurePolicy{MaxFailed: intstr.FromString("10%")}
	})
	for range 2 {
		jobs := p.someJobs(3)
		p.finish(&jobs[0], "EngineError", 5)
		n := p.batch().Status.Counts
		p.g.Eventually(func(g Gomega) {
			c := p.batch().Status.Counts
			g.Expect(c).NotTo(BeNil())
			g.Expect(n == nil || c.Failed > n.Failed || c.Cancelled > 0).To(BeTrue())
		}).Should(Succeed())
	}
	b := p.counts(v1alpha1.BatchCounts{Total: 10, Failed: 2, Cancelled: 8})
	if b.Status.Stopping == nil || b.Status.Stopping.Reason != v1alpha1.ReasonTooManyFailed {
		t.Errorf("stopping %+v", b.Status.Stopping)
	}
	p.someJobs(0)
	p.indexed(10)
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/TooManyFailed"))
	})
	for _, e := range p.pod(v1alpha1.PurposeIndex, 1).Spec.Containers[0].Env {
		if e.Name == report.ConfigEnv && !strings.Contains(e.Value, "TooManyFailed") {
			t.Errorf("the index does not learn why the batch was stopped: %s", e.Value)
		}
	}
}

func TestABudgetThatIsUsedUp(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit(uris(6), parallelism(2), func(b *v1alpha1.PoseBatch) { b.Spec.Budget = &v1alpha1.BatchBudget{GPUSeconds: new(int64(50))} })
	jobs := p.someJobs(2)
	p.finish(&jobs[0], ok, 60)
	p.counts(v1alpha1.BatchCounts{Total: 6, Pending: 4, Running: 1, Succeeded: 1})
	p.g.Consistently(func() int { return len(p.someJobs(1)) }).Should(Equal(1))
	p.finish(&jobs[1], ok, 10)
	p.counts(v1alpha1.BatchCounts{Total: 6, Succeeded: 2, Cancelled: 4})
	p.indexed(6)
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/BudgetExhausted"))
	})
}

func TestSuspendAndResume(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit(uris(4), parallelism(2))
	p.someJobs(2)
	p.change(func(b *v1alpha1.PoseBatch) { b.Spec.Suspend = true })
	p.g.Eventually(func(g Gomega) {
		for _, j := range p.jobs() {
			g.Expect(j.Spec.Suspend).To(BeTrue())
		}
	}).Should(Succeed())
	b := p.batch()
	if condition(b, v1alpha1.ConditionSuspended) == "True/Suspended" {
		t.Error("the batch is called suspended while its pods run")
	}
	jobs := p.jobs()
	p.finish(&jobs[0], ok, 1) // its pod ended just then
	before := jobs[1].DeepCopy()
	meta.SetStatusCondition(&jobs[1].Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionSuspended, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSuspended})
	p.must(api.Status().Patch(ctx, &jobs[1], client.MergeFrom(before)))
	b = p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionSuspended)).To(Equal("True/Suspended"))
		g.Expect(b.Status.Counts.Succeeded).To(Equal(int32(1)))
	})
	if kstatusOf(t, b) != status.CurrentStatus || b.Status.Phase != v1alpha1.BatchPhaseSuspended || b.Status.SuspendedAt == nil {
		t.Errorf("suspended: %+v", b.Status)
	}
	p.g.Consistently(func() int { return len(p.someJobs(1)) }).Should(Equal(1))
	p.change(func(b *v1alpha1.PoseBatch) { b.Spec.Suspend = false })
	for _, j := range p.someJobs(2) {
		p.g.Eventually(func(g Gomega) {
			var fresh v1alpha1.PoseJob
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(&j), &fresh)).To(Succeed())
			g.Expect(fresh.Spec.Suspend).To(BeFalse())
		}).Should(Succeed())
	}
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionSuspended)).To(Equal("False/Resumed"))
		g.Expect(b.Status.SuspendedAt).To(BeNil())
	})
}

// TestAPoseJobThatAPersonDeletes is made again, and a clip that ended is not.
func TestAPoseJobThatAPersonDeletes(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit(uris(2), parallelism(2))
	jobs := p.someJobs(2)
	p.must(api.Delete(ctx, &jobs[0]))
	p.g.Eventually(func(g Gomega) {
		var again v1alpha1.PoseJob
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(&jobs[0]), &again)).To(Succeed())
		g.Expect(again.UID).NotTo(Equal(jobs[0].UID))
	}).Should(Succeed())
	p.finish(&jobs[1], ok, 1)
	p.counts(v1alpha1.BatchCounts{Total: 2, Running: 1, Succeeded: 1})
	p.g.Consistently(func() int { return len(p.someJobs(1)) }).Should(Equal(1))
}

func TestAPoseJobOfSomebodyElse(t *testing.T) {
	p := newPlace(t)
	b := p.submit(uris(2), parallelism(2))
	uid := strings.ReplaceAll(string(b.UID), "-", "")[:5]
	foreign := &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "many-" + uid + "-1"},
		Spec:       v1alpha1.PoseJobSpec{Video: v1alpha1.VideoSource{URI: "s3://videos/x.mp4"}, Output: v1alpha1.Output{URI: "s3://results/x"}},
	}
	p.must(api.Create(ctx, foreign))
	p.start()
	b = p.counts(v1alpha1.BatchCounts{Total: 2, Running: 1, Failed: 1})
	if f := b.Status.Failures; len(f) != 1 || f[0].Reason != v1alpha1.ReasonJobRefused {
		t.Errorf("failures %+v", f)
	}
}

// TestARecordThatIsGone: what became of its clips is not guessed.
func TestARecordThatIsGone(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit(uris(3), parallelism(1))
	jobs := p.someJobs(1)
	p.must(api.DeleteAllOf(ctx, &corev1.ConfigMap{}, client.InNamespace(p.namespace), client.MatchingLabels{v1alpha1.LabelBatchPart: v1alpha1.PartRecord}))
	p.finish(&jobs[0], ok, 1)
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/ListLost"))
	})
	p.g.Consistently(func() int { return len(p.jobs()) }).Should(Equal(1))
}

func TestABatchThatCannotStart(t *testing.T) {
	t.Run("an output that the policy denies", func(t *testing.T) {
		p := newPlace(t)
		p.start()
		p.submit(uris(2), func(b *v1alpha1.PoseBatch) { b.Spec.Output.URI = "s3://results/elsewhere" })
		p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
			g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/PolicyDenied"))
		})
		if n := len(p.jobs()); n != 0 {
			t.Errorf("%d PoseJobs", n)
		}
	})
	t.Run("nothing is left", func(t *testing.T) {
		p := newPlace(t)
		p.start()
		p.submit(uris(2), func(b *v1alpha1.PoseBatch) { b.Spec.Videos.Exclude = []string{"*.mp4"} })
		p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
			g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/NoVideos"))
		})
	})
	t.Run("a URI that names nothing", func(t *testing.T) {
		p := newPlace(t)
		p.start()
		p.submit(uris(1), func(b *v1alpha1.PoseBatch) {
			b.Spec.Videos.URIs = append(b.Spec.Videos.URIs, "s3://videos/%2e%2e/x.mp4")
		})
		p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
			g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/ListFailed"))
			g.Expect(meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady).Message).To(ContainSubstring("spec.videos.uris[1]"))
		})
	})
}

// TestManagersThatDie: after whichever write a manager dies, be it that it never
// learns of it, every clip is made once and counted once.
func TestManagersThatDie(t *testing.T) {
	p := newPlace(t)
	p.submit(uris(24), parallelism(3))
	made := map[types.UID]bool{}
	for life := 0; p.unfinished() > 0; life++ {
		if life > 200 {
			t.Fatal("the batch does not go on")
		}
		p.writes.dies(1+life%9, life%2 == 0)
		p.start()
		p.g.Eventually(func() bool {
			for _, j := range p.someUnfinished() {
				made[j.UID] = true
				p.finish(&j, ok, 10)
			}
			return p.writes.dead() || p.unfinished() == 0
		}).Should(BeTrue())
		p.stop()
	}
	p.writes.dies(-1, false)
	p.start()
	p.counts(v1alpha1.BatchCounts{Total: 24, Succeeded: 24})
	p.indexed(24)
	b := p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/Succeeded"))
	})
	if b.Status.GPUSeconds != 240 || len(made) != 24 {
		t.Errorf("%d GPU seconds, %d PoseJobs for 24 clips", b.Status.GPUSeconds, len(made))
	}
	p.g.Eventually(func() int { return len(p.jobs()) }).Should(BeZero())
}

// TestTwoManagersAtATime: one that does not know yet that it leads no more does no
// harm. Whose copy of a record is the older writes nothing.
func TestTwoManagersAtATime(t *testing.T) {
	p := newPlace(t)
	other := &place{T: t, g: p.g, namespace: p.namespace, settings: p.settings, address: "127.0.0.1:0", writes: &writes{left: -1}}
	t.Cleanup(other.stop)
	p.start()
	other.start()
	p.submit(uris(40), parallelism(5))
	made := map[string]map[types.UID]bool{}
	p.g.Eventually(func() int {
		for _, j := range p.someUnfinished() {
			if made[j.Name] == nil {
				made[j.Name] = map[types.UID]bool{}
			}
			made[j.Name][j.UID] = true
			p.finish(&j, ok, 10)
		}
		return p.unfinished()
	}).WithTimeout(90 * time.Second).Should(BeZero())
	b := p.counts(v1alpha1.BatchCounts{Total: 40, Succeeded: 40})
	if b.Status.GPUSeconds != 400 || len(made) != 40 {
		t.Errorf("%d GPU seconds for %d clips", b.Status.GPUSeconds, len(made))
	}
	for name, uids := range made {
		if len(uids) != 1 {
			t.Errorf("PoseJob %s was made %d times", name, len(uids))
		}
	}
}

// unfinished clips by the records.
func (p *place) unfinished() int {
	p.Helper()
	var list corev1.ConfigMapList
	p.must(api.List(ctx, &list, client.InNamespace(p.namespace), client.MatchingLabels{v1alpha1.LabelBatchPart: v1alpha1.PartRecord}))
	if len(list.Items) == 0 {
		return 1
	}
	n := 0
	for _, m := range list.Items {
		for _, state := range ".aqr" {
			n += strings.Count(m.Data["states"], string(state))
		}
	}
	return n
}

func (p *place) someUnfinished() []v1alpha1.PoseJob {
	var out []v1alpha1.PoseJob
	for _, j := range p.jobs() {
		if !meta.IsStatusConditionTrue(j.Status.Conditions, v1alpha1.ConditionFinished) {
			out = append(out, j)
		}
	}
	return out
}
