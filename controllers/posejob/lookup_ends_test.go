package posejob_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

// What keeps the look from being made never costs the job its result.
func TestLookupThatIsSkipped(t *testing.T) {
	for name, c := range map[string]struct {
		ends func(p *place, clock *shifted, look *corev1.Pod)
		says string
	}{
		"a place that does not answer": {func(p *place, _ *shifted, look *corev1.Pod) {
			p.play(look, looked(report.Termination{Result: report.ResultFailed, Reason: v1alpha1.ReasonInputUnavailable, Message: "503", Temporary: true}))
		}, "503"},
		"a reason that is none of its own": {func(p *place, _ *shifted, look *corev1.Pod) {
			p.play(look, refused(report.ReasonConfig, "of another release"))
		}, "of another release"},
		"a pod that was evicted": {func(p *place, _ *shifted, look *corev1.Pod) {
			p.play(look, x().Phase(corev1.PodFailed).Reason("Evicted", "the node was low on memory"))
		}, "Evicted: the node was low on memory"},
		"a pod that was disrupted": {func(p *place, _ *shifted, look *corev1.Pod) {
			p.play(look, x().Phase(corev1.PodFailed).Disrupted("PreemptionByScheduler", "preempted", 0).Exit("lookup", 137))
		}, "PreemptionByScheduler"},
		"a container that died without a word": {func(p *place, _ *shifted, look *corev1.Pod) {
			p.play(look, x().Phase(corev1.PodFailed).OOMKilled("lookup"))
		}, "OOMKilled"},
		"a container that ended well without a word": {func(p *place, _ *shifted, look *corev1.Pod) {
			p.play(look, x().Phase(corev1.PodSucceeded).Exit("lookup", 0))
		}, "exit code 0"},
		"a pod that vanished": {func(p *place, _ *shifted, look *corev1.Pod) {
			p.play(look, x().Phase(corev1.PodRunning).Runs("lookup"))
			p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) { g.Expect(j.Status.Lookup.PodUID).NotTo(BeEmpty()) })
			p.gone(look)
		}, "the pod that looked is gone"},
		"a pod that no node takes": {func(p *place, clock *shifted, look *corev1.Pod) {
			p.setStatus(look, x().Unschedulable("0/2 nodes are available", 0))
			p.g.Consistently(func(g Gomega) { g.Expect(p.job("run").Status.Lookup.State).To(Equal(v1alpha1.LookupRunning)) }).Should(Succeed())
			clock.move(31 * time.Second)
			p.touch(look)
		}, "no node took the pod: 0/2 nodes are available"},
		"an image that cannot be pulled": {func(p *place, clock *shifted, look *corev1.Pod) {
			p.play(look, x().Waiting("lookup", "ErrImagePull", "not found"))
			clock.move(31 * time.Second)
			p.touch(look)
			p.g.Eventually(func(g Gomega) {
				g.Expect(api.Get(ctx, client.ObjectKeyFromObject(look), look)).To(Succeed())
				g.Expect(look.DeletionTimestamp).NotTo(BeNil())
			}).Should(Succeed())
			p.noAttempt()
			p.gone(look)
		}, "container lookup cannot start: "},
		"a look that takes too long": {func(p *place, clock *shifted, look *corev1.Pod) {
			p.play(look, x().Phase(corev1.PodRunning).Runs("lookup"))
			clock.move(121 * time.Second)
			p.touch(look)
			p.g.Eventually(func(g Gomega) {
				g.Expect(api.Get(ctx, client.ObjectKeyFromObject(look), look)).To(Succeed())
				g.Expect(look.DeletionTimestamp).NotTo(BeNil())
				g.Expect(*look.DeletionGracePeriodSeconds).To(BeNumerically(">", 0), "never by force")
			}).Should(Succeed())
			p.noAttempt() // while the pod may run
			p.g.Expect(p.job("run").Status.Lookup.Reason).To(Equal(v1alpha1.ReasonNoProgress), "written before the deletion")
			p.gone(look)
		}, "did not end within 2m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t).withEngine()
			clock := &shifted{}
			p.options.Clock = clock
			p.start()
			p.submit("run", reusing)
			c.ends(p, clock, p.lookup())
			p.play(p.pod(1), succeeded())
			p.eventually("run", phase(v1alpha1.PhaseSucceeded))
			p.eventually("run", lookupIs(v1alpha1.LookupSkipped, c.says))
		})
	}
}

func TestALookupPodThatTheAPIServerRefuses(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run", reusing, func(j *v1alpha1.PoseJob) {
		j.Spec.PodTemplate = &v1alpha1.PodTemplate{Labels: map[string]string{"team": "not a label!"}}
	})
	j := p.eventually("run", phase(v1alpha1.PhaseFailed)) // its attempts cannot be made either
	lookupIs(v1alpha1.LookupSkipped, "not a label!")(p.g, j)
	p.g.Expect(j.Status.Attempts).To(HaveLen(2))
	p.g.Expect(p.pods()).To(BeEmpty())
}

func TestSuspendWhileLooking(t *testing.T) {
	t.Run("looks again on resume", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		job := p.submit("run", reusing)
		look := p.lookup()
		p.play(look, x().Phase(corev1.PodRunning).Runs("lookup"))
		p.suspend(job, true)
		p.g.Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(look), look)).To(Succeed())
			g.Expect(look.DeletionTimestamp).NotTo(BeNil())
		}).Should(Succeed())
		p.g.Expect(p.job("run").Status.Lookup.Reason).To(Equal(v1alpha1.ReasonSuspendedAttempt), "written before the deletion")
		p.g.Expect(condition(p.job("run"), v1alpha1.ConditionSuspended)).To(BeEmpty(), "a pod still runs")
		p.setStatus(look, x().Phase(corev1.PodFailed).Exit("lookup", 143))
		p.suspend(job, false) // before the pod has gone
		p.g.Consistently(func(g Gomega) { g.Expect(p.pods()).To(HaveLen(1)) }).Should(Succeed())
		p.gone(look)
		again := p.purposed(v1alpha1.PurposeLookup, look)
		p.play(again, p.found("run"))
		p.eventually("run", phase(v1alpha1.PhaseSucceeded))
		p.noAttempt()
	})
	t.Run("is suspended once the pod has gone", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		job := p.submit("run", reusing)
		look := p.lookup()
		p.play(look, x().Phase(corev1.PodRunning).Runs("lookup"))
		p.suspend(job, true)
		p.g.Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(look), look)).To(Succeed())
			g.Expect(look.DeletionTimestamp).NotTo(BeNil())
		}).Should(Succeed())
		p.gone(look)
		j := p.eventually("run", phase(v1alpha1.PhaseSuspended))
		p.g.Expect(j.Status.Lookup).To(BeNil())
		p.g.Consistently(func(g Gomega) { g.Expect(p.pods()).To(BeEmpty()) }).Should(Succeed())
		p.suspend(job, false)
		p.lookup()
	})
	t.Run("a result that was found all the same counts", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		job := p.submit("run", reusing)
		look := p.lookup()
		p.play(look, x().Phase(corev1.PodRunning).Runs("lookup"))
		p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) { g.Expect(j.Status.Lookup.PodUID).NotTo(BeEmpty()) })
		p.stop()
		p.suspend(job, true)
		p.setStatus(look, p.found("run"))
		p.start()
		p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	})
}

func (p *place) suspend(job *v1alpha1.PoseJob, yes bool) {
	p.Helper()
	p.must(api.Patch(ctx, job, client.RawPatch("application/merge-patch+json", []byte(fmt.Sprintf(`{"spec":{"suspend":%t}}`, yes)))))
}

func TestDeadlineWhileLooking(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run", reusing, func(j *v1alpha1.PoseJob) { j.Spec.ActiveDeadlineSeconds = new(int64(2)) })
	look := p.lookup()
	p.play(look, x().Phase(corev1.PodRunning).Runs("lookup"))
	p.g.Eventually(func(g Gomega) {
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(look), look)).To(Succeed())
		g.Expect(look.DeletionTimestamp).NotTo(BeNil())
	}).Should(Succeed())
	p.g.Expect(condition(p.job("run"), v1alpha1.ConditionFinished)).To(BeEmpty(), "a pod still runs")
	p.gone(look)
	j := p.eventually("run", phase(v1alpha1.PhaseFailed))
	p.g.Expect(condition(j, v1alpha1.ConditionFailed)).To(Equal("True/DeadlineExceeded"))
	p.g.Expect(j.Status.Lookup.State).To(Equal(v1alpha1.LookupSkipped))
	p.noAttempt()
}

// Whenever the manager dies, the next one goes on where it stood.
func TestRestartsWhileLooking(t *testing.T) {
	t.Run("at every step", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.submit("run", reusing) // while no manager runs
		p.start()
		look := p.lookup()
		p.restart()
		p.play(look, x().Phase(corev1.PodRunning).Runs("lookup"))
		p.restart()
		p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) { g.Expect(j.Status.Lookup.PodUID).NotTo(BeEmpty()) })
		p.stop()
		p.setStatus(look, p.found("run")) // while no manager runs
		p.start()
		p.eventually("run", phase(v1alpha1.PhaseSucceeded))
		p.restart()
		p.noAttempt()
		p.g.Expect(p.pods()).To(HaveLen(1))
	})
	t.Run("after the intent and before the pod", func(t *testing.T) {
		p := newPlace(t).withEngine()
		job := p.submit("run", reusing)
		now := metav1.Now()
		job.Status = v1alpha1.PoseJobStatus{ObservedGeneration: 1, StartTime: &now, EngineName: p.engine, Lookup: &v1alpha1.LookupStatus{State: v1alpha1.LookupRunning, StartTime: &now}}
		p.must(api.Status().Update(ctx, job))
		p.start()
		p.play(p.lookup(), notFound(""))
		p.pod(1)
		p.g.Expect(p.ofPurpose(v1alpha1.PurposeLookup)).To(HaveLen(1))
	})
	t.Run("long after the intent, without a pod", func(t *testing.T) {
		p := newPlace(t).withEngine()
		job := p.submit("run", reusing)
		then := metav1.NewTime(time.Now().Add(-time.Minute))
		job.Status = v1alpha1.PoseJobStatus{ObservedGeneration: 1, StartTime: &then, EngineName: p.engine, Lookup: &v1alpha1.LookupStatus{State: v1alpha1.LookupRunning, StartTime: &then}}
		p.must(api.Status().Update(ctx, job))
		p.start()
		p.pod(1)
		p.eventually("run", lookupIs(v1alpha1.LookupSkipped, "no pod could be made"))
	})
	t.Run("a status that was lost adopts the pod that is there", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run", reusing)
		look := p.lookup()
		p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) { g.Expect(j.Status.Lookup.PodUID).NotTo(BeEmpty()) })
		p.stop()
		j := p.job("run")
		j.Status = v1alpha1.PoseJobStatus{ObservedGeneration: -1}
		p.must(api.Status().Update(ctx, j))
		p.start()
		p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) {
			lookupIs(v1alpha1.LookupRunning, "")(g, j)
			g.Expect(j.Status.Lookup.PodUID).To(Equal(string(look.UID)))
		})
		p.g.Expect(p.pods()).To(HaveLen(1))
	})
	t.Run("a pod without its labels is still live", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run", reusing)
		look := p.lookup()
		p.play(look, x().Phase(corev1.PodRunning).Runs("lookup"))
		p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) { g.Expect(j.Status.Lookup.PodUID).NotTo(BeEmpty()) })
		p.must(api.Patch(ctx, look, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"pose.dev/job-uid":null,"pose.dev/purpose":null}}}`))))
		p.noAttempt()
		p.play(look, p.found("run"))
		p.eventually("run", phase(v1alpha1.PhaseSucceeded))
		p.g.Expect(p.pods()).To(HaveLen(1))
	})
}

// Somebody else writes the job time and again: what is decided on an old version is
// not done. Each conflict makes the next try wait twice as long, so the writes are
// bounded.
func TestConflictsWhileLooking(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job := p.submit("run", reusing)
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range 60 {
			_ = api.Patch(ctx, job.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(fmt.Sprintf(`{"metadata":{"annotations":{"n":"%d"}}}`, i))))
		}
	})
	defer writer.Wait()
	p.play(p.lookup(), notFound("nothing"))
	p.play(p.pod(1), succeeded())
	j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	p.g.Expect(j.Status.Lookup.State).To(Equal(v1alpha1.LookupNotFound))
	p.g.Expect(p.pods()).To(HaveLen(2))
}

func TestALookupsPodGoesAfterItsTTL(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run", reusing, func(j *v1alpha1.PoseJob) { j.Spec.PodTTLSecondsAfterFinished = new(int32(1)) })
	look := p.lookup()
	p.play(look, p.found("run"))
	p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	p.g.Eventually(func(g Gomega) {
		err := api.Get(ctx, client.ObjectKeyFromObject(look), look)
		g.Expect(apierrors.IsNotFound(err) || look.DeletionTimestamp != nil).To(BeTrue())
	}).Should(Succeed())
}
