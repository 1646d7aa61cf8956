package posebatch_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

func deleteResults(b *v1alpha1.PoseBatch) { b.Spec.Output.DeletionPolicy = v1alpha1.DeletionDelete }

// gone waits until the batch is no more.
func (p *place) gone(b *v1alpha1.PoseBatch) {
	p.Helper()
	p.g.Eventually(func() bool {
		return apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(b), &v1alpha1.PoseBatch{}))
	}).Should(BeTrue())
}

// purges are the pods that remove results.
func (p *place) purges() []corev1.Pod {
	p.Helper()
	var list corev1.PodList
	p.must(api.List(ctx, &list, client.InNamespace(p.namespace), client.MatchingLabels{v1alpha1.LabelPurpose: v1alpha1.PurposePurge}))
	return list.Items
}

// purged is what a pod says that removed all.
func purged(r report.PurgeReport) report.Termination {
	return report.Termination{Result: report.ResultOK, Purge: &r}
}

// finished gives a batch of two clips that ended well.
func (p *place) finished(change ...func(*v1alpha1.PoseBatch)) *v1alpha1.PoseBatch {
	p.Helper()
	p.submit(append([]func(*v1alpha1.PoseBatch){uris(2)}, change...)...)
	for _, j := range p.someJobs(2) {
		if j.Spec.Output.DeletionPolicy != v1alpha1.DeletionRetain {
			p.Errorf("PoseJob %s has deletionPolicy %s", j.Name, j.Spec.Output.DeletionPolicy)
		}
		p.finish(&j, ok, 1)
	}
	p.indexed(2)
	return p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/Succeeded"))
	})
}

func TestResultsGoWithTheBatch(t *testing.T) {
	p := newPlace(t)
	p.start()
	b := p.finished(deleteResults, func(b *v1alpha1.PoseBatch) {
		b.Spec.Output.CredentialsSecretRef = &v1alpha1.SecretReference{Name: "store"}
	})
	if !controllerutil.ContainsFinalizer(b, v1alpha1.FinalizerResults) {
		t.Error("the batch has no finalizer")
	}
	p.g.Eventually(func() int { return len(p.jobs()) }).Should(BeZero(), "PoseJobs of clips that ended are kept")
	p.must(api.Delete(ctx, b))
	pod := p.pod(v1alpha1.PurposePurge, 1)
	if ref := pod.OwnerReferences[0]; ref.UID != b.UID || ref.Controller != nil || ref.BlockOwnerDeletion != nil {
		t.Errorf("the garbage collector would take the pod first: %+v", ref)
	}
	var cfg report.Config
	p.must(json.Unmarshal([]byte(pod.Spec.Containers[0].Env[0].Value), &cfg))
	if c := cfg.Purge; c == nil || c.Batch != "many" || c.URI != b.Spec.Output.URI || c.AttemptPrefix != "" || cfg.Job.Name != "many" || cfg.Job.Namespace != p.namespace {
		t.Errorf("%+v", cfg)
	}
	if v := pod.Spec.Volumes[0].Secret; v == nil || v.SecretName != "store" || pod.Spec.Containers[0].VolumeMounts[0].MountPath != report.OutputCredentialsDir {
		t.Errorf("%+v", pod.Spec)
	}
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(b.Status.Phase).To(Equal(v1alpha1.BatchPhaseDeleting))
		g.Expect(condition(b, v1alpha1.ConditionResultsDeleted)).To(Equal("False/Deleting"))
		g.Expect(condition(b, v1alpha1.ConditionReady)).To(Equal("False/Deleting"))
		g.Expect(condition(b, v1alpha1.ConditionComplete)).To(Equal("True/Succeeded"))
	})
	p.g.Consistently(func() int { return len(p.purges()) }).Should(Equal(1))
	p.says(pod, purged(report.PurgeReport{Results: 2, Objects: 7}))
	p.gone(b)
}

func TestResultsThatStay(t *testing.T) {
	p := newPlace(t)
	p.start()
	b := p.finished()
	if controllerutil.ContainsFinalizer(b, v1alpha1.FinalizerResults) {
		t.Error("the batch has a finalizer")
	}
	// Changed after the end, and back.
	p.change(deleteResults)
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(b.Finalizers).To(ContainElement(v1alpha1.FinalizerResults))
	})
	p.change(func(b *v1alpha1.PoseBatch) { b.Spec.Output.DeletionPolicy = v1alpha1.DeletionRetain })
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) { g.Expect(b.Finalizers).To(BeEmpty()) })
	p.must(api.Delete(ctx, b))
	p.gone(b)
	if n := len(p.purges()); n != 0 {
		t.Errorf("%d pods remove results", n)
	}
}

// TestDeletionWhileClipsRun: nothing is removed before all that could write has ended.
func TestDeletionWhileClipsRun(t *testing.T) {
	p := newPlace(t)
	p.start()
	b := p.submit(uris(5), deleteResults, parallelism(3))
	jobs := p.someJobs(3)
	// A pod of a PoseJob, which ends when the test lets it.
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.namespace, Name: "writes", Finalizers: []string{"example.com/test"},
			Labels:          map[string]string{"app.kubernetes.io/name": "pose-job", v1alpha1.LabelJobUID: string(jobs[0].UID)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(&jobs[0], v1alpha1.GroupVersion.WithKind("PoseJob"))},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "deliver", Image: "runner:v1"}}},
	}
	p.must(api.Create(ctx, pod))
	held := jobs[1]
	p.must(api.Patch(ctx, &held, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":["example.com/test"]}}`))))
	p.must(api.Delete(ctx, b))
	says := func(reason, words string) {
		p.Helper()
		p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
			g.Expect(condition(b, v1alpha1.ConditionResultsDeleted)).To(Equal("False/" + reason))
			for _, c := range b.Status.Conditions {
				if c.Type == v1alpha1.ConditionResultsDeleted {
					g.Expect(c.Message).To(ContainSubstring(words))
				}
			}
		})
	}
	says("Deleting", "write nothing behind the removal: 1")
	p.g.Eventually(func() int { return len(p.jobs()) }).Should(Equal(1))
	if n := len(p.purges()); n != 0 {
		t.Fatal("results are removed while a PoseJob is there")
	}
	release := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
	p.must(api.Patch(ctx, &held, release))
	says("Deleting", "pod writes ends first")
	p.g.Eventually(func(g Gomega) { // nobody else ends it: there is no garbage collector
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		g.Expect(pod.DeletionTimestamp).NotTo(BeNil())
	}).Should(Succeed())
	if n := len(p.purges()); n != 0 {
		t.Fatal("results are removed while a pod may write")
	}
	p.must(api.Patch(ctx, pod, release))
	p.says(p.pod(v1alpha1.PurposePurge, 1), purged(report.PurgeReport{}))
	p.gone(b)
	if n := len(p.jobs()); n != 0 {
		t.Errorf("%d PoseJobs were made behind the removal", n)
	}
}

// endedPod says how a pod ended, so long ago.
func (p *place) endedPod(pod *corev1.Pod, t report.Termination, ago time.Duration) {
	p.Helper()
	p.g.Eventually(func() error {
		var fresh corev1.Pod
		if err := api.Get(ctx, client.ObjectKeyFromObject(pod), &fresh); err != nil {
			return err
		}
		t.Role = report.RolePurge
		fresh.Status.Phase = corev1.PodFailed
		fresh.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: string(t.Role), State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 1, Message: string(t.Marshal()), FinishedAt: metav1.NewTime(time.Now().Add(-ago)),
		}}}}
		return api.Status().Update(ctx, &fresh)
	}).Should(Succeed())
}

// TestARemovalThatFails is tried again, and a person lets the batch go.
func TestARemovalThatFails(t *testing.T) {
	p := newPlace(t)
	p.start()
	b := p.finished(deleteResults)
	p.must(api.Delete(ctx, b))
	failed := report.Termination{Result: report.ResultFailed, Message: "3 objects are left; the first: AccessDenied"}
	first := p.pod(v1alpha1.PurposePurge, 1)
	p.endedPod(first, failed, time.Minute)
	second := p.pod(v1alpha1.PurposePurge, 2)
	p.g.Eventually(func() bool {
		return apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(first), &corev1.Pod{}))
	}).Should(BeTrue())
	p.restart()
	p.endedPod(second, failed, 0)
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionResultsDeleted)).To(Equal("False/DeletionFailed"))
		for _, c := range b.Status.Conditions {
			if c.Type == v1alpha1.ConditionResultsDeleted {
				g.Expect(c.Message).To(And(ContainSubstring("try 2"), ContainSubstring("AccessDenied"), ContainSubstring("To let the PoseBatch go and keep its results, set spec.output.deletionPolicy to Retain")))
			}
		}
	})
	p.change(func(b *v1alpha1.PoseBatch) { b.Spec.Output.DeletionPolicy = v1alpha1.DeletionRetain })
	p.gone(b)
}

// TestDeletionBeforeAnythingRan needs no pod.
func TestDeletionBeforeAnythingRan(t *testing.T) {
	p := newPlace(t)
	p.withAccount()
	p.start()
	b := p.submit(deleteResults, prefixed)
	pod := p.pod(v1alpha1.PurposeList, 1)
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(b.Finalizers).To(ContainElement(v1alpha1.FinalizerResults))
	})
	p.must(api.Delete(ctx, b))
	p.gone(b)
	if n := len(p.purges()); n != 0 || !strings.Contains(pod.Name, "list") {
		t.Errorf("%d pods remove results", n)
	}
}
