package posejob_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/internal/report"
)

func deleteResults(j *v1alpha1.PoseJob) { j.Spec.Output.DeletionPolicy = v1alpha1.DeletionDelete }

func (p *place) setPolicy(job string, policy v1alpha1.DeletionPolicy) {
	p.Helper()
	p.must(api.Patch(ctx, p.job(job), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"output":{"deletionPolicy":"`+string(policy)+`"}}}`))))
}

// purged is a pod that removed all, or failed for a reason.
func purged(r report.PurgeReport) *gen.PodBuilder {
	return x().Phase(corev1.PodSucceeded).Exit("purge", 0).Says("purge", report.Termination{Role: report.RolePurge, Result: report.ResultOK, Purge: &r})
}

func notPurged(message string) *gen.PodBuilder {
	return x().Phase(corev1.PodFailed).Exit("purge", 1).Says("purge", report.Termination{Role: report.RolePurge, Result: report.ResultFailed, Reason: v1alpha1.ReasonDeliveryFailed, Message: message})
}

// jobGone: the object is no more.
func (p *place) jobGone(job *v1alpha1.PoseJob) {
	p.Helper()
	p.g.Eventually(func(g Gomega) {
		var j v1alpha1.PoseJob
		err := api.Get(ctx, client.ObjectKeyFromObject(job), &j)
		g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "%v %v", err, j.Status.Conditions)
	}).Should(Succeed())
}

// says of its deletion, as reason and words.
func (p *place) saysOfDeletion(job, reason, words string) {
	p.Helper()
	p.eventually(job, func(g Gomega, j *v1alpha1.PoseJob) {
		g.Expect(condition(j, v1alpha1.ConditionResultsDeleted)).To(Equal("False/" + reason))
		g.Expect(meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionResultsDeleted).Message).To(ContainSubstring(words))
		// The columns of kubectl say the same, and no longer how the job ended.
		g.Expect(j.Status.Phase).To(Equal(v1alpha1.PhaseDeleting))
		g.Expect(condition(j, v1alpha1.ConditionReady)).To(Equal("False/" + reason))
		g.Expect(meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionReady).Message).To(ContainSubstring(words))
	})
}

// finishedJob has a result, and the pod that made it.
func (p *place) finishedJob(change ...func(*v1alpha1.PoseJob)) (*v1alpha1.PoseJob, *corev1.Pod) {
	p.Helper()
	job := p.submit("run", append([]func(*v1alpha1.PoseJob){deleteResults}, change...)...)
	pod := p.pod(1)
	p.play(pod, succeeded())
	p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	return job, pod
}

func (p *place) hasFinalizer(job string, want bool) {
	p.Helper()
	p.eventually(job, func(g Gomega, j *v1alpha1.PoseJob) {
		if want {
			g.Expect(j.Finalizers).To(ContainElement(v1alpha1.FinalizerResults))
		} else {
			g.Expect(j.Finalizers).NotTo(ContainElement(v1alpha1.FinalizerResults))
		}
	})
}

func TestResultsFinalizer(t *testing.T) {
	t.Run("stands before the first pod", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run", deleteResults)
		p.pod(1)
		p.g.Expect(p.job("run").Finalizers).To(Equal([]string{v1alpha1.FinalizerResults}))
	})
	t.Run("stands before the look", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run", deleteResults, reusing)
		p.lookup()
		p.g.Expect(p.job("run").Finalizers).To(Equal([]string{v1alpha1.FinalizerResults}))
	})
	t.Run("is not on jobs whose results stay", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run")
		p.play(p.pod(1), succeeded())
		j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
		p.g.Expect(j.Finalizers).To(BeEmpty())
	})
	t.Run("follows the policy, also after the end", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run", deleteResults, func(j *v1alpha1.PoseJob) { j.Finalizers = []string{"example.com/other"} })
		pod := p.pod(1)
		p.setPolicy("run", v1alpha1.DeletionRetain)
		p.hasFinalizer("run", false)
		p.play(pod, succeeded())
		p.eventually("run", phase(v1alpha1.PhaseSucceeded))
		p.setPolicy("run", v1alpha1.DeletionDelete)
		p.hasFinalizer("run", true)
		p.setPolicy("run", v1alpha1.DeletionRetain)
		p.hasFinalizer("run", false)
		p.g.Expect(p.job("run").Finalizers).To(Equal([]string{"example.com/other"}), "those of others stay")
		p.must(api.Patch(ctx, p.job("run"), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))))
	})
	t.Run("is left to those who manage the job", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("theirs", deleteResults, func(j *v1alpha1.PoseJob) { j.Spec.ManagedBy = "example.com/other" })
		p.submit("ours", deleteResults)
		p.hasFinalizer("ours", true)
		p.g.Expect(p.job("theirs").Finalizers).To(BeEmpty())
	})
}

func TestDeletionTakesTheResultsAlong(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job, _ := p.finishedJob(func(j *v1alpha1.PoseJob) {
		j.Spec.Output.CredentialsSecretRef = &v1alpha1.SecretReference{Name: "keys"}
	})
	p.must(api.Delete(ctx, job))
	pod := p.purposed(v1alpha1.PurposePurge)
	cfg := p.configOf(pod, "purge")
	p.g.Expect(cfg.Purge.URI).To(Equal(job.Spec.Output.URI))
	p.g.Expect(cfg.Purge.AttemptPrefix).To(Equal(render.AttemptPrefix(job)))
	p.g.Expect(cfg.Purge.Video).To(BeNil(), "the video is never the job's to remove")
	p.g.Expect(pod.Spec.Containers[0].VolumeMounts).To(ConsistOf(HaveField("MountPath", report.OutputCredentialsDir)))
	p.saysOfDeletion("run", "Deleting", job.Spec.Output.URI)
	p.g.Consistently(func(g Gomega) { g.Expect(p.job("run").DeletionTimestamp).NotTo(BeNil()) }).Should(Succeed())
	p.play(pod, purged(report.PurgeReport{Results: 2, Partials: 1, Objects: 9, Bytes: 1234, Pointer: true, Kept: []string{"notes.txt: it is not the job's"}}))
	p.jobGone(job)
	p.g.Eventually(func(g Gomega) {
		var events eventsv1.EventList
		g.Expect(api.List(ctx, &events, client.InNamespace(p.namespace))).To(Succeed())
		g.Expect(events.Items).To(ContainElement(And(HaveField("Reason", "ResultsDeleted"), HaveField("Type", corev1.EventTypeNormal), HaveField("Note",
			And(ContainSubstring("removed 2 results, 1 partial ones, 9 objects and 1234 bytes"), ContainSubstring(job.Spec.Output.URI), ContainSubstring("kept 1, as notes.txt"))))))
	}).Should(Succeed())
}

func TestDeletionEndsTheLivePodFirst(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job := p.submit("run", deleteResults)
	pod := p.pod(1)
	p.play(pod, running())
	p.eventually("run", phase(v1alpha1.PhaseRunning))
	p.must(api.Delete(ctx, job))
	p.g.Eventually(func(g Gomega) {
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		g.Expect(pod.DeletionTimestamp).NotTo(BeNil())
		g.Expect(*pod.DeletionGracePeriodSeconds).To(BeNumerically(">", 0), "never by force")
	}).Should(Succeed())
	p.saysOfDeletion("run", "Deleting", "ends first")
	p.g.Consistently(func(g Gomega) { g.Expect(p.ofPurpose(v1alpha1.PurposePurge)).To(BeEmpty()) }).Should(Succeed())
	p.gone(pod)
	p.play(p.purposed(v1alpha1.PurposePurge), purged(report.PurgeReport{}))
	p.jobGone(job)
}

func TestDeletionEndsTheLookFirst(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job := p.submit("run", deleteResults, reusing)
	look := p.lookup()
	p.play(look, x().Phase(corev1.PodRunning).Runs("lookup"))
	p.must(api.Delete(ctx, job))
	p.saysOfDeletion("run", "Deleting", "ends first")
	p.g.Consistently(func(g Gomega) { g.Expect(p.ofPurpose(v1alpha1.PurposePurge)).To(BeEmpty()) }).Should(Succeed())
	p.gone(look)
	p.play(p.purposed(v1alpha1.PurposePurge), purged(report.PurgeReport{}))
	p.jobGone(job)
}

// A node that is gone for good keeps the pod, and so the job: both are said.
func TestDeletionWaitsForAPodThatDoesNotEnd(t *testing.T) {
	p := newPlace(t).withEngine()
	clock := &shifted{}
	p.options.Clock = clock
	p.start()
	job := p.submit("run", deleteResults)
	pod := p.pod(1)
	p.play(pod, running())
	p.must(api.Delete(ctx, job))
	p.saysOfDeletion("run", "Deleting", "ends first")
	clock.move(5 * time.Minute)
	p.touch(pod)
	p.saysOfDeletion("run", v1alpha1.ReasonWaitingForTermination, "deletionPolicy to Retain")
	p.g.Expect(p.ofPurpose(v1alpha1.PurposePurge)).To(BeEmpty())
}

func TestDeletionThatFailsIsTriedAgain(t *testing.T) {
	for name, fail := range map[string]struct {
		how  func(p *place, pod *corev1.Pod)
		says string
	}{
		"with a reason":  {func(p *place, pod *corev1.Pod) { p.play(pod, notPurged("bucket results: AccessDenied")) }, "try 1 to remove the results at s3://results/"},
		"without a word": {func(p *place, pod *corev1.Pod) { p.play(pod, x().Phase(corev1.PodFailed).OOMKilled("purge")) }, "OOMKilled"},
		"by an eviction": {func(p *place, pod *corev1.Pod) {
			p.play(pod, x().Phase(corev1.PodFailed).Reason("Evicted", "low on disk"))
		}, "Evicted: low on disk"},
		"without its proof": {func(p *place, pod *corev1.Pod) { p.play(pod, x().Phase(corev1.PodSucceeded).Exit("purge", 0)) }, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t).withEngine()
			clock := &shifted{}
			p.options.Clock = clock
			p.start()
			job, _ := p.finishedJob()
			p.must(api.Delete(ctx, job))
			first := p.purposed(v1alpha1.PurposePurge)
			fail.how(p, first)
			p.saysOfDeletion("run", "DeletionFailed", fail.says)
			p.saysOfDeletion("run", "DeletionFailed", "deletionPolicy to Retain")
			p.g.Consistently(func(g Gomega) { g.Expect(p.ofPurpose(v1alpha1.PurposePurge)).To(HaveLen(1)) }).Should(Succeed())
			clock.move(15 * time.Second)
			p.touch(first)
			second := p.purposed(v1alpha1.PurposePurge, first)
			p.g.Expect(second.Name).To(Equal(render.PurgeName(job, 2)))
			p.play(second, notPurged("still AccessDenied"))
			p.saysOfDeletion("run", "DeletionFailed", "try 2")
			p.touch(second) // by the clock 15 s after its end, and the second pause is longer
			p.g.Consistently(func(g Gomega) { g.Expect(p.ofPurpose(v1alpha1.PurposePurge, first, second)).To(BeEmpty()) }).Should(Succeed())
			clock.move(15 * time.Second)
			p.touch(second)
			p.play(p.purposed(v1alpha1.PurposePurge, first, second), purged(report.PurgeReport{Results: 1}))
			p.jobGone(job)
		})
	}
}

func TestDeletionWhosePodVanishes(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job, _ := p.finishedJob()
	p.must(api.Delete(ctx, job))
	first := p.purposed(v1alpha1.PurposePurge)
	p.gone(first)
	p.play(p.purposed(v1alpha1.PurposePurge, first), purged(report.PurgeReport{}))
	p.jobGone(job)
}

// The Secret may be gone already: the object says what it lacks.
func TestDeletionWhosePodDoesNotStart(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job, _ := p.finishedJob(func(j *v1alpha1.PoseJob) {
		j.Spec.Output.CredentialsSecretRef = &v1alpha1.SecretReference{Name: "keys"}
	})
	p.must(api.Delete(ctx, job))
	pod := p.purposed(v1alpha1.PurposePurge)
	p.play(pod, x().Waiting("purge", "ContainerCreating", "").Condition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, "", "", 0))
	p.saysOfDeletion("run", "DeletionFailed", "Does Secret keys exist")
	p.setStatus(pod, x().Waiting("purge", "ImagePullBackOff", "not found"))
	p.saysOfDeletion("run", "DeletionFailed", "ImagePullBackOff: not found. To let the PoseJob go")
	p.setStatus(pod, x().Phase(corev1.PodRunning).Runs("purge"))
	p.saysOfDeletion("run", "Deleting", "are being removed")
}

func TestDeletionWithAPodThatTheAPIServerRefuses(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job, pod := p.finishedJob()
	p.stop()
	// A quota of no pods at all, as an admin may set it meanwhile.
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "none"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}}}
	p.must(api.Create(ctx, quota))
	quota.Status.Hard, quota.Status.Used = quota.Spec.Hard, corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}
	p.must(api.Status().Update(ctx, quota))
	p.must(api.Delete(ctx, job))
	p.start()
	p.saysOfDeletion("run", "DeletionFailed", "exceeded quota")
	p.g.Expect(p.ofPurpose(v1alpha1.PurposePurge)).To(BeEmpty())
	p.must(api.Delete(ctx, quota))
	p.play(p.purposed(v1alpha1.PurposePurge), purged(report.PurgeReport{}))
	p.jobGone(job)
	p.gone(pod)
}

// The way out: Retain lets the object go at once, and the results stay.
func TestRetainWhileDeleting(t *testing.T) {
	for name, play := range map[string]func(p *place, pod *corev1.Pod){
		"while it runs":      func(p *place, pod *corev1.Pod) { p.play(pod, x().Phase(corev1.PodRunning).Runs("purge")) },
		"after it failed":    func(p *place, pod *corev1.Pod) { p.play(pod, notPurged("AccessDenied")) },
		"before it had node": func(*place, *corev1.Pod) {},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t).withEngine()
			p.start()
			job, _ := p.finishedJob()
			p.must(api.Delete(ctx, job))
			pod := p.purposed(v1alpha1.PurposePurge)
			play(p, pod)
			p.setPolicy("run", v1alpha1.DeletionRetain)
			p.jobGone(job)
			p.g.Eventually(func(g Gomega) {
				err := api.Get(ctx, client.ObjectKeyFromObject(pod), pod)
				g.Expect(apierrors.IsNotFound(err) || pod.DeletionTimestamp != nil).To(BeTrue())
			}).Should(Succeed())
		})
	}
	t.Run("while an attempt ends", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		job := p.submit("run", deleteResults)
		p.play(p.pod(1), running())
		p.must(api.Delete(ctx, job))
		p.saysOfDeletion("run", "Deleting", "ends first")
		p.setPolicy("run", v1alpha1.DeletionRetain)
		p.jobGone(job)
	})
}

// A namespace that is being deleted takes no new pod, and waits for the job.
func TestDeletionOfTheNamespace(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job, pod := p.finishedJob()
	p.must(api.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.namespace}}))
	p.must(api.Delete(ctx, job))
	p.jobGone(job)
	p.gone(pod)
	p.g.Expect(p.ofPurpose(v1alpha1.PurposePurge)).To(BeEmpty())
}

// In the foreground the garbage collector takes all that belongs to the job first; a
// pod that is made before would be taken too.
func TestDeletionInTheForeground(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job, pod := p.finishedJob()
	p.must(api.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationForeground)))
	p.saysOfDeletion("run", "Deleting", "foreground")
	p.g.Consistently(func(g Gomega) { g.Expect(p.ofPurpose(v1alpha1.PurposePurge)).To(BeEmpty()) }).Should(Succeed())
	p.released(pod)
	p.gone(pod)
	// What the garbage collector does once nothing is left.
	p.must(api.Patch(ctx, job, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":["`+v1alpha1.FinalizerResults+`"]}}`))))
	purge := p.purposed(v1alpha1.PurposePurge)
	p.g.Expect(purge.OwnerReferences[0].BlockOwnerDeletion).To(BeNil())
	p.play(purge, purged(report.PurgeReport{}))
	p.jobGone(job)
}

// A finalizer of somebody else keeps the object: it says what became of its results.
func TestDeletionOfAnObjectThatOthersKeep(t *testing.T) {
	for name, c := range map[string]struct {
		policy       v1alpha1.DeletionPolicy
		want, reason string
	}{
		"removed": {v1alpha1.DeletionDelete, "True/" + v1alpha1.ReasonResultsRemoved, v1alpha1.ReasonResultsRemoved},
		"kept":    {v1alpha1.DeletionRetain, "False/" + v1alpha1.ReasonResultsStay, v1alpha1.ReasonResultsStay},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t).withEngine()
			p.start()
			job, _ := p.finishedJob(func(j *v1alpha1.PoseJob) { j.Finalizers = []string{"example.com/audit"} })
			p.must(api.Delete(ctx, job))
			pod := p.purposed(v1alpha1.PurposePurge)
			if c.policy == v1alpha1.DeletionRetain {
				p.setPolicy("run", c.policy)
			} else {
				p.play(pod, purged(report.PurgeReport{Results: 1}))
			}
			p.hasFinalizer("run", false)
			p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) {
				g.Expect(condition(j, v1alpha1.ConditionResultsDeleted)).To(Equal(c.want))
				ready := meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionReady)
				g.Expect(ready.Reason).To(Equal(c.reason))
				g.Expect(ready.Message).To(HaveSuffix("kept by finalizers of others: example.com/audit"))
			})
			p.must(api.Patch(ctx, p.job("run"), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))))
			p.jobGone(job)
		})
	}
}

func TestDeletionByTTL(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job, _ := p.finishedJob(func(j *v1alpha1.PoseJob) { j.Spec.TTLSecondsAfterFinished = new(int32(0)) })
	p.play(p.purposed(v1alpha1.PurposePurge), purged(report.PurgeReport{Results: 1}))
	p.jobGone(job)
}

func TestDeletionOfAJobThatNeverHadAPod(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job := p.submit("run", deleteResults, func(j *v1alpha1.PoseJob) { j.Spec.Suspend = true })
	p.hasFinalizer("run", true)
	p.must(api.Delete(ctx, job))
	p.jobGone(job)
	p.g.Expect(p.pods()).To(BeEmpty())
}

// A result that was found is a copy of the job's own, or was the job's before.
func TestDeletionOfAFoundResult(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job := p.submit("run", deleteResults, reusing)
	p.play(p.lookup(), p.found("run"))
	p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	p.must(api.Delete(ctx, job))
	p.play(p.purposed(v1alpha1.PurposePurge), purged(report.PurgeReport{Results: 1}))
	p.jobGone(job)
}

func TestRestartsWhileDeleting(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job := p.submit("run", deleteResults)
	attempt := p.pod(1)
	p.play(attempt, running())
	p.eventually("run", phase(v1alpha1.PhaseRunning))
	p.stop()
	p.must(api.Delete(ctx, job)) // while no manager runs
	p.start()
	p.saysOfDeletion("run", "Deleting", "ends first")
	p.stop()
	p.gone(attempt)
	p.start()
	pod := p.purposed(v1alpha1.PurposePurge)
	p.restart()
	p.play(pod, x().Phase(corev1.PodRunning).Runs("purge"))
	p.restart()
	p.g.Consistently(func(g Gomega) { g.Expect(p.ofPurpose(v1alpha1.PurposePurge)).To(HaveLen(1)) }).Should(Succeed())
	p.stop()
	p.setStatus(pod, purged(report.PurgeReport{Results: 1}))
	p.start()
	p.jobGone(job)
}

// A job of the same name that was deleted before has pods of its own names.
func TestDeletionAndAJobThatIsMadeAgain(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job, pod := p.finishedJob()
	p.must(api.Delete(ctx, job))
	first := p.purposed(v1alpha1.PurposePurge)
	p.play(first, purged(report.PurgeReport{}))
	p.jobGone(job)
	again := p.submit("run", deleteResults)
	p.g.Eventually(func(g Gomega) { g.Expect(p.pods()).To(HaveLen(3)) }).Should(Succeed())
	p.must(api.Delete(ctx, again))
	second := p.purposed(v1alpha1.PurposePurge, first)
	p.g.Expect(second.Name).NotTo(Equal(first.Name))
	p.g.Expect(strings.HasPrefix(second.Name, "run-")).To(BeTrue())
	p.play(second, purged(report.PurgeReport{}))
	p.jobGone(again)
	p.gone(pod)
}
