package posejob_test

import (
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/internal/report"
)

func x() *gen.PodBuilder { return gen.Pod("x", 1, "gpu", v1alpha1.GPU) }

// succeeded is what a kubelet says of a pod with a proven result.
func succeeded() *gen.PodBuilder { return x().Done(2, 120) }

// detectorCrash: the engine died by SIGSEGV while it loaded its detector.
func detectorCrash() *gen.PodBuilder {
	return x().Dead().EngineSays(139, report.EngineReport{Stage: v1alpha1.StageDetectorLoad, Signal: "SIGSEGV"}).DeliverSkipped()
}

func phase(want v1alpha1.Phase) func(g Gomega, j *v1alpha1.PoseJob) {
	return func(g Gomega, j *v1alpha1.PoseJob) { g.Expect(j.Status.Phase).To(Equal(want)) }
}

func TestSuccess(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run")
	pod := p.pod(1)
	p.g.Expect(pod.Finalizers).To(ContainElement(v1alpha1.FinalizerOutcome))
	p.play(pod, succeeded())
	j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	p.released(pod)

	p.g.Expect(condition(j, v1alpha1.ConditionReady)).To(Equal("True/Succeeded"))
	p.g.Expect(condition(j, v1alpha1.ConditionComplete)).To(Equal("True/Succeeded"))
	p.g.Expect(condition(j, v1alpha1.ConditionFinished)).To(Equal("True/Succeeded"))
	p.g.Expect(condition(j, v1alpha1.ConditionReconciling)).To(BeEmpty())
	p.g.Expect(condition(j, v1alpha1.ConditionDegraded)).To(BeEmpty())
	p.g.Expect(j.Status.ObservedGeneration).To(Equal(j.Generation))
	p.g.Expect(j.Status.Output).NotTo(BeNil())
	p.g.Expect(j.Status.Output.People).To(Equal(int64(2)))
	p.g.Expect(j.Status.Attempts).To(HaveLen(1))
	a := j.Status.Attempts[0]
	p.g.Expect(a.State).To(Equal(v1alpha1.AttemptSucceeded))
	p.g.Expect(a.PodName).To(Equal(pod.Name))
	p.g.Expect(a.PodUID).To(Equal(string(pod.UID)))
	p.g.Expect(a.Node).To(Equal("node-1"))

	// Intent, pod, outcome, finalizer: at most four writes, and none after.
	p.g.Consistently(func(g Gomega) {
		n := 0
		for _, c := range p.writes.snapshot() {
			n += c
		}
		g.Expect(n).To(BeNumerically("<=", 4), "%v", p.writes.snapshot())
	}).Should(Succeed())
	var events eventsv1.EventList
	p.must(api.List(ctx, &events, client.InNamespace(p.namespace)))
	p.g.Expect(events.Items).To(BeEmpty(), "a success makes no event")
	p.g.Expect(p.pods()).To(HaveLen(1), "the pod stays for its TTL")
}

func TestDetectorCrashMovesOnToTheNextVariant(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run")
	first := p.pod(1)
	p.play(first, detectorCrash())
	p.released(first)
	second := p.pod(2)
	p.g.Expect(second.Labels[v1alpha1.LabelVariant]).To(Equal("cpu"))
	p.play(second, succeeded())
	j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	p.g.Expect(j.Status.Attempts).To(HaveLen(2))
	a := j.Status.Attempts[0]
	p.g.Expect(a.Reason).To(Equal(v1alpha1.ReasonDetectorLoadCrash))
	p.g.Expect(a.Signal).To(Equal("SIGSEGV"))
	p.g.Expect(a.Container).To(Equal("engine"))
	p.g.Expect(a.Action).To(Equal(v1alpha1.ActionNextVariant))
	p.g.Expect(a.PodUID).To(Equal(string(first.UID)))
	p.g.Expect(condition(j, v1alpha1.ConditionDegraded)).To(Equal("True/Fallback"))
	p.g.Eventually(func(g Gomega) {
		var events eventsv1.EventList
		g.Expect(api.List(ctx, &events, client.InNamespace(p.namespace))).To(Succeed())
		g.Expect(events.Items).To(ContainElement(HaveField("Reason", v1alpha1.ReasonDetectorLoadCrash)))
	}).Should(Succeed())
}

func TestLastVariantFails(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run", func(j *v1alpha1.PoseJob) { j.Spec.Device = v1alpha1.DeviceGPU })
	p.play(p.pod(1), detectorCrash())
	j := p.eventually("run", phase(v1alpha1.PhaseFailed))
	p.g.Expect(condition(j, v1alpha1.ConditionFailed)).To(Equal("True/DetectorLoadCrash"))
	p.g.Expect(condition(j, v1alpha1.ConditionStalled)).To(Equal("True/DetectorLoadCrash"))
	p.g.Expect(condition(j, v1alpha1.ConditionReady)).To(Equal("False/DetectorLoadCrash"))
	p.g.Expect(j.Status.CompletionTime).NotTo(BeNil())
}

// A pod that somebody deletes and that does not end blocks the next one.
func TestAtMostOneLivePod(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run")
	first := p.pod(1)
	p.play(first, running())
	p.eventually("run", phase(v1alpha1.PhaseRunning))
	p.must(api.Delete(ctx, first))
	p.g.Consistently(func(g Gomega) { g.Expect(p.pods()).To(HaveLen(1)) }).Should(Succeed())
	p.g.Expect(p.job("run").Status.Attempts).To(HaveLen(1))

	p.play(first, x().Phase(corev1.PodFailed).InputsDone().Signal("engine", 15).DeliverSkipped())
	second := p.pod(2)
	p.g.Expect(second.Labels[v1alpha1.LabelVariant]).To(Equal("gpu"), "a disruption repeats the variant")
	p.released(first)
	j := p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) { g.Expect(j.Status.Attempts).To(HaveLen(2)) })
	p.g.Expect(j.Status.Attempts[0].Reason).To(Equal(v1alpha1.ReasonDisrupted))
}

// The manager's cache finds pods by a label that anybody with rights on pods can
// take off: the pod runs on, and must block the next one all the same.
func TestAPodWithoutItsLabelsIsStillLive(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run")
	first := p.pod(1)
	p.play(first, running())
	p.eventually("run", phase(v1alpha1.PhaseRunning))
	p.must(api.Patch(ctx, first, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"pose.dev/job-uid":null,"pose.dev/attempt":null}}}`))))
	p.g.Consistently(func(g Gomega) { g.Expect(p.pods()).To(HaveLen(1)) }).Should(Succeed())
	p.g.Expect(p.job("run").Status.Attempts).To(HaveLen(1))

	p.play(first, succeeded())
	p.eventually("run", phase(v1alpha1.PhaseSucceeded))
}

func TestVanishedPodIsADisruption(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run")
	first := p.pod(1)
	p.play(first, running())
	p.eventually("run", phase(v1alpha1.PhaseRunning))
	// Somebody strips the finalizer and deletes by force.
	p.must(api.Patch(ctx, first, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))))
	p.gone(first)
	p.pod(2)
	j := p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) { g.Expect(j.Status.Attempts).To(HaveLen(2)) })
	p.g.Expect(j.Status.Attempts[0].Reason).To(Equal(v1alpha1.ReasonDisrupted))
}

func TestSuspendAndResume(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job := p.submit("run")
	first := p.pod(1)
	p.play(first, running())
	suspend := func(yes bool) {
		p.must(api.Get(ctx, client.ObjectKeyFromObject(job), job))
		before := job.DeepCopy()
		job.Spec.Suspend = yes
		p.must(api.Patch(ctx, job, client.MergeFrom(before)))
	}
	suspend(true)
	p.g.Eventually(func(g Gomega) {
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(first), first)).To(Succeed())
		g.Expect(first.DeletionTimestamp).NotTo(BeNil())
		g.Expect(*first.DeletionGracePeriodSeconds).To(BeNumerically(">", 0), "never by force")
	}).Should(Succeed())
	p.g.Expect(p.job("run").Status.Attempts[0].Reason).To(Equal(v1alpha1.ReasonSuspendedAttempt), "written before the deletion")
	p.g.Expect(condition(p.job("run"), v1alpha1.ConditionSuspended)).To(BeEmpty(), "a pod still runs")
	p.play(first, x().Phase(corev1.PodFailed).InputsDone().Signal("engine", 15).DeliverSkipped())
	p.eventually("run", phase(v1alpha1.PhaseSuspended))
	p.released(first)
	p.g.Consistently(func(g Gomega) {
		g.Expect(p.pods()).NotTo(ContainElement(HaveField("ObjectMeta.Labels", HaveKeyWithValue(v1alpha1.LabelAttempt, "2"))))
	}).Should(Succeed())

	suspend(false)
	second := p.pod(2)
	p.g.Expect(second.Labels[v1alpha1.LabelVariant]).To(Equal("gpu"))
	p.play(second, succeeded())
	j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	p.g.Expect(condition(j, v1alpha1.ConditionSuspended)).To(Equal("False/Resumed"))
	p.g.Expect(j.Status.Attempts[0].Action).To(Equal(v1alpha1.ActionRetry))
}

// A pod that never had a node has no kubelet to end it.
func TestSuspendBeforeThePodHasANode(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job := p.submit("run")
	first := p.pod(1)
	before := job.DeepCopy()
	job.Spec.Suspend = true
	p.must(api.Patch(ctx, job, client.MergeFrom(before)))
	p.eventually("run", phase(v1alpha1.PhaseSuspended))
	p.released(first)
	p.g.Eventually(func(g Gomega) { g.Expect(p.pods()).To(BeEmpty()) }).Should(Succeed())
}

func TestDeadline(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run", func(j *v1alpha1.PoseJob) { j.Spec.ActiveDeadlineSeconds = new(int64(2)) })
	pod := p.pod(1)
	p.play(pod, running())
	p.g.Eventually(func(g Gomega) {
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		g.Expect(pod.DeletionTimestamp).NotTo(BeNil())
	}).Should(Succeed())
	p.g.Expect(condition(p.job("run"), v1alpha1.ConditionFinished)).To(BeEmpty(), "a pod still runs")
	p.play(pod, x().Phase(corev1.PodFailed).InputsDone().Signal("engine", 15).DeliverSkipped())
	j := p.eventually("run", phase(v1alpha1.PhaseFailed))
	p.g.Expect(condition(j, v1alpha1.ConditionFailed)).To(Equal("True/DeadlineExceeded"))
	p.g.Expect(j.Status.Attempts[0].Reason).To(Equal(v1alpha1.ReasonDeadlineExceeded))
	p.released(pod)
}

func TestNoCapacityMovesOnToTheNextVariant(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run", func(j *v1alpha1.PoseJob) { j.Spec.PendingTimeoutSeconds = new(int64(1)) })
	first := p.pod(1)
	p.setStatus(first, x().Unschedulable("0/2 nodes are available: 2 Insufficient nvidia.com/gpu", 0))
	second := p.pod(2)
	p.g.Expect(second.Labels[v1alpha1.LabelVariant]).To(Equal("cpu"))
	p.released(first)
	j := p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) { g.Expect(j.Status.Attempts).To(HaveLen(2)) })
	p.g.Expect(j.Status.Attempts[0].Reason).To(Equal(v1alpha1.ReasonNoCapacity))
	p.g.Expect(j.Status.Attempts[0].Message).To(ContainSubstring("Insufficient nvidia.com/gpu"))
}

func TestDeletingAJobReleasesItsPods(t *testing.T) {
	for name, finalizer := range map[string]string{"at once": "", "while a finalizer of others holds it": "example.com/hold"} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t).withEngine()
			p.start()
			job := p.submit("run", func(j *v1alpha1.PoseJob) {
				if finalizer != "" {
					j.Finalizers = []string{finalizer}
				}
			})
			pod := p.pod(1)
			p.play(pod, running())
			p.eventually("run", phase(v1alpha1.PhaseRunning))
			p.must(api.Delete(ctx, job))
			p.released(pod)
			p.g.Consistently(func(g Gomega) { g.Expect(len(p.pods())).To(BeNumerically("<=", 1)) }).Should(Succeed())
			if finalizer != "" {
				p.must(api.Patch(ctx, job, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))))
			}
		})
	}
}

func TestPodsOfAnEarlierJobOfTheSameName(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job := p.submit("run")
	old := p.pod(1)
	p.play(old, running())
	p.eventually("run", phase(v1alpha1.PhaseRunning))
	p.stop()
	p.must(api.Delete(ctx, job))
	p.submit("run")
	p.start()
	p.released(old)
	var fresh *corev1.Pod
	p.g.Eventually(func(g Gomega) {
		all := p.pods()
		i := slices.IndexFunc(all, func(pod corev1.Pod) bool { return pod.UID != old.UID })
		g.Expect(i).NotTo(Equal(-1))
		fresh = &all[i]
	}).Should(Succeed())
	p.g.Expect(fresh.Name).NotTo(Equal(old.Name))
	p.play(fresh, succeeded())
	j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	p.g.Expect(j.Status.Attempts).To(HaveLen(1))
	p.g.Expect(j.Status.Attempts[0].PodUID).To(Equal(string(fresh.UID)))
}

func TestPolicyDenial(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run", func(j *v1alpha1.PoseJob) {
		j.Spec.Output.URI = "s3://results/somebody-else/run"
		j.Spec.PodTemplate = &v1alpha1.PodTemplate{ServiceAccountName: "admin"}
	})
	j := p.eventually("run", phase(v1alpha1.PhaseFailed))
	p.g.Expect(condition(j, v1alpha1.ConditionFailed)).To(Equal("True/PolicyDenied"))
	p.g.Expect(j.Status.Conditions).To(ContainElement(And(HaveField("Type", "Failed"), HaveField("Message", And(ContainSubstring("somebody-else"), ContainSubstring("serviceAccountName"))))))
	p.g.Consistently(func(g Gomega) { g.Expect(p.pods()).To(BeEmpty()) }).Should(Succeed())
}

func TestMissingEngineAppears(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit("run")
	j := p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) {
		g.Expect(condition(j, v1alpha1.ConditionEngineResolved)).To(Equal("False/EngineNotFound"))
	})
	p.g.Expect(condition(j, v1alpha1.ConditionReady)).To(Equal("False/WaitingForEngine"))
	p.g.Expect(j.Status.Phase).To(Equal(v1alpha1.PhasePending))
	p.g.Expect(p.pods()).To(BeEmpty())
	p.withEngine()
	p.play(p.pod(1), succeeded())
	j = p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	p.g.Expect(condition(j, v1alpha1.ConditionEngineResolved)).To(Equal("True/EngineResolved"))
}

func TestEngineWithoutAnImage(t *testing.T) {
	p := newPlace(t)
	p.start()
	e := p.newEngine()
	image := e.Spec.Variants[0].Image
	e.Spec.Variants[0].Image = ""
	p.must(api.Create(ctx, e))
	engineReady := func(want string) {
		p.Helper()
		p.g.Eventually(func(g Gomega) {
			var have v1alpha1.PoseEngine
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(e), &have)).To(Succeed())
			g.Expect(have.Status.ObservedGeneration).To(Equal(have.Generation))
			g.Expect(have.Status.Conditions).To(ContainElement(And(HaveField("Type", "Ready"), HaveField("Reason", want), HaveField("ObservedGeneration", have.Generation))))
		}).Should(Succeed())
	}
	engineReady(v1alpha1.ReasonImageNotSet)
	p.submit("run")
	j := p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) {
		g.Expect(condition(j, v1alpha1.ConditionEngineResolved)).To(Equal("False/EngineNotReady"))
	})
	p.g.Expect(j.Status.Conditions).To(ContainElement(And(HaveField("Type", "EngineResolved"), HaveField("Message", ContainSubstring("ImageNotSet")))))
	p.g.Consistently(func(g Gomega) { g.Expect(p.pods()).To(BeEmpty()) }).Should(Succeed())

	p.must(api.Get(ctx, client.ObjectKeyFromObject(e), e))
	e.Spec.Variants[0].Image = image
	p.must(api.Update(ctx, e))
	engineReady(v1alpha1.ReasonEngineReady)
	p.pod(1)
}

func TestJobsOfOthersAreLeftAlone(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("theirs", func(j *v1alpha1.PoseJob) { j.Spec.ManagedBy = "example.com/other" })
	p.submit("ours", func(j *v1alpha1.PoseJob) { j.Spec.ManagedBy = v1alpha1.ManagedByOperator })
	p.pod(1)
	p.g.Consistently(func(g Gomega) {
		g.Expect(p.job("theirs").Status.ObservedGeneration).To(Equal(int64(-1)))
		g.Expect(p.pods()).To(HaveLen(1))
	}).Should(Succeed())
}

func TestTTLs(t *testing.T) {
	t.Run("the pod goes after its own", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run", func(j *v1alpha1.PoseJob) { j.Spec.PodTTLSecondsAfterFinished = new(int32(1)) })
		p.play(p.pod(1), succeeded())
		p.eventually("run", phase(v1alpha1.PhaseSucceeded))
		p.g.Eventually(func(g Gomega) {
			all := p.pods()
			if len(all) > 0 {
				g.Expect(all[0].DeletionTimestamp).NotTo(BeNil())
				p.gone(&all[0])
			}
			g.Expect(p.pods()).To(BeEmpty())
		}).Should(Succeed())
		p.g.Expect(p.job("run").Status.Attempts).To(HaveLen(1), "the outcome outlives the pod")
	})
	t.Run("the job goes after its own", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		job := p.submit("run", func(j *v1alpha1.PoseJob) { j.Spec.TTLSecondsAfterFinished = new(int32(0)) })
		p.play(p.pod(1), succeeded())
		p.g.Eventually(func(g Gomega) {
			g.Expect(apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(job), job))).To(BeTrue())
		}).Should(Succeed())
	})
	t.Run("without one it stays", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run")
		p.play(p.pod(1), succeeded())
		p.eventually("run", phase(v1alpha1.PhaseSucceeded))
		p.g.Consistently(func(g Gomega) { g.Expect(p.job("run").DeletionTimestamp).To(BeNil()) }).Should(Succeed())
	})
	t.Run("the pod of an earlier attempt goes too, after the end of the job", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run", func(j *v1alpha1.PoseJob) { j.Spec.PodTTLSecondsAfterFinished = new(int32(0)) })
		first := p.pod(1)
		p.play(first, detectorCrash())
		p.play(p.pod(2), succeeded())
		p.eventually("run", phase(v1alpha1.PhaseSucceeded))
		p.g.Eventually(func(g Gomega) {
			err := api.Get(ctx, client.ObjectKeyFromObject(first), first)
			g.Expect(apierrors.IsNotFound(err) || first.DeletionTimestamp != nil).To(BeTrue())
		}).Should(Succeed())
	})
}

// A pod of somebody else's stands where the attempt's should be.
func TestForeignPodOfTheSameName(t *testing.T) {
	p := newPlace(t).withEngine()
	job := p.submit("run")
	foreign := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: render.PodName(job, 1)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	p.must(api.Create(ctx, foreign))
	p.start()
	p.g.Eventually(func(g Gomega) {
		var events eventsv1.EventList
		g.Expect(api.List(ctx, &events, client.InNamespace(p.namespace))).To(Succeed())
		g.Expect(events.Items).To(ContainElement(And(
			HaveField("Type", corev1.EventTypeWarning),
			HaveField("Note", And(ContainSubstring(foreign.Name), ContainSubstring("does not belong to"))))))
	}).Should(Succeed())
	p.g.Expect(p.job("run").Status.Phase).To(Equal(v1alpha1.PhasePending))
	p.must(api.Get(ctx, client.ObjectKeyFromObject(foreign), foreign))
	p.g.Expect(foreign.DeletionTimestamp).To(BeNil(), "it is left alone")
	p.gone(foreign)
	p.play(p.pod(1), succeeded())
	p.eventually("run", phase(v1alpha1.PhaseSucceeded))
}

// A pod that the API server refuses for good fails its attempt, and the next
// variant follows without anybody else's doing.
func TestPodThatTheAPIServerRefuses(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run", func(j *v1alpha1.PoseJob) {
		j.Spec.PodTemplate = &v1alpha1.PodTemplate{Labels: map[string]string{"team": "not a label!"}}
	})
	j := p.eventually("run", phase(v1alpha1.PhaseFailed))
	p.g.Expect(condition(j, v1alpha1.ConditionFailed)).To(Equal("True/PodNotStartable"))
	p.g.Expect(j.Status.Attempts).To(HaveLen(2))
	for _, a := range j.Status.Attempts {
		p.g.Expect(a.State).To(Equal(v1alpha1.AttemptFailed))
		p.g.Expect(a.Message).To(ContainSubstring("not a label!"))
	}
	p.g.Expect(p.pods()).To(BeEmpty())
}

// An engine forges what it can: the job must neither believe it nor stick.
func TestForgedTerminationMessages(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run", func(j *v1alpha1.PoseJob) { j.Spec.BackoffLimit = new(int32(0)) })
	forged := report.Termination{
		Role: report.RoleExec, Result: report.ResultFailed, Reason: "not a reason!\x1b[2J",
		Engine: &report.EngineReport{Stage: "Stage\x1b\n with spaces", Signal: "no signal!", GPU: "H200\x07", PeakMemoryBytes: 1 << 62},
	}
	p.play(p.pod(1), x().Dead().Exit("engine", 1).Says("engine", forged).DeliverSkipped())
	proof := report.Termination{Role: report.RoleDeliver, Result: report.ResultOK, Deliver: &report.DeliveryReport{URI: "s3://x/y", ManifestSHA256: "ab", People: 1, Frames: 1}}
	p.play(p.pod(2), x().Phase(corev1.PodSucceeded).InputsDone().Exit("engine", 0).Says("engine", proof).DeliverSkipped())
	j := p.eventually("run", phase(v1alpha1.PhaseFailed))
	p.g.Expect(j.Status.Output).To(BeNil())
	p.g.Expect(j.Status.Attempts[0].Reason).To(Equal(v1alpha1.ReasonEngineError))
	p.g.Expect(j.Status.Attempts[0].GPU).To(Equal("H200"))
}

// Whenever the manager dies, the next one goes on where it stood.
func TestRestarts(t *testing.T) {
	t.Run("at every step of a job with a fallback", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.submit("run") // while no manager runs
		p.start()
		first := p.pod(1)
		p.restart()
		p.play(first, running())
		p.restart()
		p.eventually("run", phase(v1alpha1.PhaseRunning))
		p.stop()
		p.play(first, detectorCrash()) // while no manager runs
		p.start()
		second := p.pod(2)
		p.restart()
		p.released(first)
		p.stop()
		p.play(second, succeeded())
		p.start()
		j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
		p.restart()
		p.released(second)
		p.g.Expect(j.Status.Attempts).To(HaveLen(2))
		p.g.Expect(p.pods()).To(HaveLen(2))
	})
	t.Run("after the intent and before the pod", func(t *testing.T) {
		p := newPlace(t).withEngine()
		job := p.submit("run")
		p.intend(job)
		p.start()
		pod := p.pod(1)
		p.g.Expect(pod.Labels[v1alpha1.LabelVariant]).To(Equal("cpu"), "what was intended is done")
		p.g.Consistently(func(g Gomega) { g.Expect(p.pods()).To(HaveLen(1)) }).Should(Succeed())
		p.play(pod, succeeded())
		p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	})
	t.Run("after the intent to end a pod and before its deletion", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run")
		pod := p.pod(1)
		p.play(pod, running())
		p.eventually("run", phase(v1alpha1.PhaseRunning))
		p.stop()
		j := p.job("run")
		j.Status.Attempts[0].Reason, j.Status.Attempts[0].Message = v1alpha1.ReasonNoCapacity, "no node"
		p.must(api.Status().Update(ctx, j))
		p.start()
		p.g.Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
			g.Expect(pod.DeletionTimestamp).NotTo(BeNil())
		}).Should(Succeed())
	})
	t.Run("a drain deletes the crashed pod while no manager runs", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run")
		pod := p.pod(1)
		p.stop()
		p.play(pod, detectorCrash())
		p.backdate(pod)
		p.gone(pod) // the finalizer keeps it
		p.start()
		p.pod(2)
		j := p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) { g.Expect(j.Status.Attempts).To(HaveLen(2)) })
		p.g.Expect(j.Status.Attempts[0].Reason).To(Equal(v1alpha1.ReasonDetectorLoadCrash))
		p.g.Eventually(func(g Gomega) {
			g.Expect(apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(pod), pod))).To(BeTrue())
		}).Should(Succeed())
	})
	t.Run("after the outcome and before the finalizer", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run")
		pod := p.pod(1)
		p.play(pod, succeeded())
		p.eventually("run", phase(v1alpha1.PhaseSucceeded))
		p.released(pod)
		p.stop()
		p.must(api.Patch(ctx, pod, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":["`+v1alpha1.FinalizerOutcome+`"]}}`))))
		p.start()
		p.released(pod)
	})
	t.Run("a status that was lost adopts the pod that is there", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run")
		pod := p.pod(1)
		p.play(pod, running())
		p.eventually("run", phase(v1alpha1.PhaseRunning))
		p.stop()
		j := p.job("run")
		j.Status = v1alpha1.PoseJobStatus{ObservedGeneration: -1}
		p.must(api.Status().Update(ctx, j))
		p.start()
		j = p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) { g.Expect(j.Status.Attempts).To(HaveLen(1)) })
		p.g.Expect(j.Status.Attempts[0].PodUID).To(Equal(string(pod.UID)))
		p.g.Consistently(func(g Gomega) { g.Expect(p.pods()).To(HaveLen(1)) }).Should(Succeed())
	})
}

// intend writes the status of a manager that died between intent and pod.
func (p *place) intend(job *v1alpha1.PoseJob) {
	p.Helper()
	j := p.job(job.Name)
	now := metav1.Now()
	j.Status = v1alpha1.PoseJobStatus{
		ObservedGeneration: j.Generation, StartTime: &now, EngineName: p.engine, AttemptCount: 1,
		Attempts: []v1alpha1.Attempt{{Number: 1, State: v1alpha1.AttemptIntended, Variant: "cpu", Device: v1alpha1.CPU, EngineGeneration: 1}},
	}
	p.must(api.Status().Update(ctx, j))
}

// backdate the end of a pod's containers by a minute.
func (p *place) backdate(pod *corev1.Pod) {
	p.Helper()
	p.must(api.Get(ctx, client.ObjectKeyFromObject(pod), pod))
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			if t := list[i].State.Terminated; t != nil {
				t.StartedAt.Time, t.FinishedAt.Time = t.StartedAt.Add(-time.Minute), t.FinishedAt.Add(-time.Minute)
			}
		}
	}
	p.must(api.Status().Update(ctx, pod))
}
