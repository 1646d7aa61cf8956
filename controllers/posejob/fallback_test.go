package posejob_test

import (
	"testing"

	. "github.com/onsi/gomega"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/internal/report"
)

// other is the name of the engine that the place's own falls back to.
func (p *place) other() string { return p.engine + "-other" }

// withLadder makes the place's engine with two variants and a body model, which
// falls back to another one.
func (p *place) withLadder() *place {
	p.Helper()
	e := p.newEngine()
	e.Spec.FallbackEngineName = p.other()
	e.Spec.Outputs = append(e.Spec.Outputs, v1alpha1.EngineOutput{Name: "smpl", Path: "smpl.npz", Format: "SMPLNPZ", Required: true})
	e.Spec.FailureRules = []v1alpha1.FailureRule{{ExitCodes: []int32{9}, Reason: "OfTheOwnEngine", Action: v1alpha1.ActionNextVariant}}
	p.must(api.Create(ctx, e))
	return p
}

// withOther makes the engine that follows.
func (p *place) withOther() *v1alpha1.PoseEngine {
	p.Helper()
	e := gen.Engine(p.other()).Variants(
		gen.Variant("asked", v1alpha1.CPU, gen.OnRequest()),
		gen.Variant("cpu", v1alpha1.CPU, gen.Detector("blazepose")),
	).Rules(v1alpha1.FailureRule{ExitCodes: []int32{9}, Reason: "OfTheOtherEngine", Action: v1alpha1.ActionRetryElsewhere}).Build()
	e.Spec.Variants[1].Image = "other:v1"
	p.must(api.Create(ctx, e))
	p.Cleanup(func() { _ = api.Delete(ctx, e) })
	return e
}

func allowEngine(j *v1alpha1.PoseJob) { j.Spec.Fallback.Engine = v1alpha1.Allow }

func onlyGPU(j *v1alpha1.PoseJob) { j.Spec.Variants = []string{"gpu"} }

// exited is what a kubelet says of an engine that ended with a code.
func exited(code int32) *gen.PodBuilder {
	return x().Dead().EngineSays(code, report.EngineReport{ExitCode: &code}).DeliverSkipped()
}

// attemptIs one of that variant, which ended for the reason; empty while it has not.
func attemptIs(number int, variant, reason string) func(g Gomega, j *v1alpha1.PoseJob) {
	return func(g Gomega, j *v1alpha1.PoseJob) {
		g.Expect(len(j.Status.Attempts)).To(BeNumerically(">=", number))
		a := j.Status.Attempts[number-1]
		g.Expect([]string{a.Variant, a.Reason}).To(Equal([]string{variant, reason}))
	}
}

func TestBoxesRunAVariantThatTakesThem(t *testing.T) {
	boxes := func(j *v1alpha1.PoseJob) {
		j.Spec.Video.Boxes = &v1alpha1.BoxesSource{URI: "s3://videos/boxes.json"}
	}
	t.Run("where there is one", func(t *testing.T) {
		p := newPlace(t)
		e := p.newEngine()
		e.Spec.Variants = append(e.Spec.Variants, gen.Variant("gpu-boxes", v1alpha1.GPU, gen.Detector("none"), gen.Boxes(v1alpha1.BoxesRequired)))
		p.must(api.Create(ctx, e))
		p.start()
		p.submit("run", boxes)
		first := p.pod(1)
		p.g.Expect(first.Labels[v1alpha1.LabelVariant]).To(Equal("gpu-boxes"))
		p.play(first, succeeded())
		j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
		p.g.Expect(condition(j, v1alpha1.ConditionDegraded)).To(BeEmpty(), "it is the first of those that take boxes")
	})
	t.Run("where there is none", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run", boxes)
		j := p.eventually("run", phase(v1alpha1.PhaseFailed))
		p.g.Expect(condition(j, v1alpha1.ConditionFailed)).To(Equal("True/NoVariantForBoxes"))
		p.g.Expect(condition(j, v1alpha1.ConditionEngineResolved)).To(Equal("False/NoVariantForBoxes"))
		p.g.Expect(meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionReady).Message).To(And(ContainSubstring(p.engine), ContainSubstring("without spec.video.boxes")))
		p.g.Expect(p.pods()).To(BeEmpty())
	})
}

// The whole way: the own engine's rungs, then the other engine's, judged by its own
// rules, and a result although that engine is gone by then.
func TestTheFallbackEngineIsTheLastRung(t *testing.T) {
	p := newPlace(t).withLadder()
	other := p.withOther()
	p.start()
	p.submit("run", allowEngine)
	p.play(p.pod(1), detectorCrash())
	p.play(p.pod(2), exited(9))
	p.eventually("run", attemptIs(2, "cpu", "OfTheOwnEngine"))

	third := p.pod(3)
	p.g.Expect(third.Spec.Containers).To(ContainElement(And(HaveField("Name", "engine"), HaveField("Image", "other:v1"))))
	p.g.Expect(third.Labels[v1alpha1.LabelVariant]).To(Equal("cpu"))
	p.play(third, exited(9))
	j := p.eventually("run", attemptIs(3, p.other()+"/cpu", "OfTheOtherEngine"))
	p.g.Expect(j.Status.Attempts[2].EngineGeneration).To(Equal(other.Generation))
	p.g.Expect(j.Status.EngineName).To(Equal(p.engine))

	fourth := p.pod(4)
	p.play(fourth, running())
	p.eventually("run", phase(v1alpha1.PhaseRunning))
	p.must(api.Delete(ctx, other))
	p.g.Consistently(func(g Gomega) { g.Expect(p.pod(4).DeletionTimestamp).To(BeNil()) }).Should(Succeed())
	p.play(fourth, succeeded())
	j = p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	p.g.Expect(j.Status.Variant).To(Equal(p.other() + "/cpu"))
	p.g.Expect(condition(j, v1alpha1.ConditionDegraded)).To(Equal("True/Fallback"))
	p.g.Expect(meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionDegraded).Message).To(And(
		ContainSubstring("another engine, "+p.other()+" (variant cpu on CPU), instead of "+p.engine),
		ContainSubstring("2 with variant cpu, failed: OfTheOwnEngine"),
	))
}

func TestAResultOfTheFallbackEngineSaysWhatItLacks(t *testing.T) {
	const body = "lacks what that gives: the SMPL body model (smpl.npz)"
	for name, c := range map[string]struct {
		// while the attempt of the other engine runs
		meanwhile func(p *place, own, other *v1alpha1.PoseEngine)
		says      string
	}{
		"as it is": {func(*place, *v1alpha1.PoseEngine, *v1alpha1.PoseEngine) {}, body},
		"although its own names no other engine any more": {func(p *place, own, _ *v1alpha1.PoseEngine) {
			own.Spec.FallbackEngineName = ""
			p.must(api.Update(ctx, own))
		}, body},
		"although its own names a better one by now": {func(p *place, own, _ *v1alpha1.PoseEngine) {
			better := gen.Engine(p.engine + "-better").Variants(gen.Variant("cpu", v1alpha1.CPU)).Build()
			better.Spec.Outputs = own.Spec.Outputs
			p.must(api.Create(ctx, better))
			p.Cleanup(func() { _ = api.Delete(ctx, better) })
			own.Spec.FallbackEngineName = better.Name
			p.must(api.Update(ctx, own))
		}, body},
		"not where nobody can know it": {func(p *place, _, other *v1alpha1.PoseEngine) {
			p.must(api.Delete(ctx, other))
		}, "what it lacks is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t).withLadder()
			other := p.withOther()
			p.start()
			p.submit("run", allowEngine, onlyGPU)
			p.play(p.pod(1), detectorCrash())
			second := p.pod(2)
			p.play(second, running())
			p.eventually("run", phase(v1alpha1.PhaseRunning))
			var own v1alpha1.PoseEngine
			p.must(api.Get(ctx, client.ObjectKey{Name: p.engine}, &own))
			c.meanwhile(p, &own, other)
			p.g.Consistently(func(g Gomega) { g.Expect(p.pod(2).DeletionTimestamp).To(BeNil()) }).Should(Succeed())
			p.play(second, succeeded())
			j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
			p.g.Expect(meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionDegraded).Message).To(ContainSubstring(c.says))
		})
	}
}

func TestTheFallbackEngineIsDeniedByDefault(t *testing.T) {
	p := newPlace(t).withLadder()
	p.withOther()
	p.start()
	p.submit("run", onlyGPU)
	p.play(p.pod(1), detectorCrash())
	j := p.eventually("run", phase(v1alpha1.PhaseFailed))
	p.g.Expect(condition(j, v1alpha1.ConditionFailed)).To(Equal("True/DetectorLoadCrash"))
	p.g.Expect(j.Status.SkippedVariants).To(BeEmpty())
}

func TestAMissingFallbackEngine(t *testing.T) {
	t.Run("is said in the end", func(t *testing.T) {
		p := newPlace(t).withLadder()
		p.start()
		p.submit("run", allowEngine, onlyGPU)
		p.play(p.pod(1), detectorCrash())
		j := p.eventually("run", phase(v1alpha1.PhaseFailed))
		p.g.Expect(condition(j, v1alpha1.ConditionFailed)).To(Equal("True/DetectorLoadCrash"))
		p.g.Expect(j.Status.SkippedVariants).To(HaveLen(1))
		p.g.Expect(j.Status.SkippedVariants[0]).To(And(HaveField("Variant", p.other()+"/*"), HaveField("Reason", v1alpha1.ReasonFallbackEngineNotReady)))
	})
	t.Run("may come while the own engine works", func(t *testing.T) {
		p := newPlace(t).withLadder()
		p.start()
		p.submit("run", allowEngine, onlyGPU)
		first := p.pod(1)
		p.play(first, running())
		p.eventually("run", phase(v1alpha1.PhaseRunning))
		p.withOther()
		p.play(first, detectorCrash())
		p.pod(2)
		p.eventually("run", attemptIs(2, p.other()+"/cpu", ""))
	})
	t.Run("wakes a job that waits for a node", func(t *testing.T) {
		p := newPlace(t).withLadder()
		p.start()
		p.submit("run", allowEngine, onlyGPU, func(j *v1alpha1.PoseJob) { j.Spec.PendingTimeoutSeconds = new(int64(1)) })
		first := p.pod(1)
		p.setStatus(first, x().Unschedulable("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", 0))
		p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) {
			g.Expect(meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionReady).Message).To(ContainSubstring("there is no PoseEngine"))
		})
		p.withOther()
		p.eventually("run", attemptIs(1, "gpu", v1alpha1.ReasonNoCapacity))
		p.pod(2)
		p.eventually("run", attemptIs(2, p.other()+"/cpu", ""))
	})
	t.Run("that goes before its attempt has a pod is waited for", func(t *testing.T) {
		p := newPlace(t).withLadder()
		other := p.withOther()
		p.start()
		p.submit("run", allowEngine, onlyGPU)
		p.play(p.pod(1), detectorCrash())
		p.play(p.pod(2), exited(3)) // repeated after a pause
		p.eventually("run", attemptIs(3, p.other()+"/cpu", ""))
		p.must(api.Delete(ctx, other))
		p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) {
			g.Expect(condition(j, v1alpha1.ConditionReady)).To(Equal("False/" + v1alpha1.ReasonWaitingForEngine))
		})
		p.withOther()
		p.play(p.pod(3), succeeded())
		p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	})
	t.Run("that is denied before its attempt has a pod ends the job", func(t *testing.T) {
		p := newPlace(t).withLadder()
		p.withOther()
		p.start()
		job := p.submit("run", allowEngine, onlyGPU)
		p.play(p.pod(1), detectorCrash())
		p.play(p.pod(2), exited(3)) // repeated after a pause
		p.eventually("run", attemptIs(3, p.other()+"/cpu", ""))
		p.must(api.Patch(ctx, job, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"fallback":{"engine":"Deny"}}}`))))
		j := p.eventually("run", phase(v1alpha1.PhaseFailed))
		p.g.Expect(j.Status.Attempts).To(HaveLen(3))
		p.g.Expect(j.Status.Attempts[2].Reason).To(Equal(v1alpha1.ReasonPodNotStartable))
		p.g.Expect(j.Status.Attempts[2].Message).To(ContainSubstring("denies another engine by now"))
	})
}

// Before an attempt on the CPU starts, a person can read how long it will take, and
// once prepare has counted the frames, how long for all of them.
func TestTheCostOfAnAttemptOnTheCPU(t *testing.T) {
	p := newPlace(t)
	e := p.newEngine()
	e.Spec.Variants[1].Estimate = &v1alpha1.Estimate{MilliFPS: 500, TypicalMilliFPS: 80}
	p.must(api.Create(ctx, e))
	p.start()
	p.submit("run")
	p.play(p.pod(1), x().Phase("Failed").Exit("copy", 0).Exit("engine", 139).Says("engine", report.Termination{
		Role: report.RoleExec, Result: report.ResultFailed, Engine: &report.EngineReport{Stage: v1alpha1.StageDetectorLoad, Signal: "SIGSEGV"},
	}))
	second := p.pod(2)
	says := func(words string) {
		p.Helper()
		p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) {
			g.Expect(meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionReady).Message).To(ContainSubstring(words))
		})
	}
	says("On the CPU each 1000 frames at 0.08 frames/s take about 3 h 28 min")
	p.g.Eventually(func(g Gomega) {
		var list eventsv1.EventList
		g.Expect(api.List(ctx, &list, client.InNamespace(p.namespace))).To(Succeed())
		g.Expect(list.Items).To(ContainElement(And(
			HaveField("Reason", "CPUAttempt"), HaveField("Type", "Normal"),
			HaveField("Note", "attempt 2 with variant cpu runs on the CPU: each 1000 frames at 0.08 frames/s take about 3 h 28 min"),
		)))
	}).Should(Succeed())
	p.play(second, running())
	says("On the CPU 120 frames at 0.08 frames/s take about 25 min")
	before := p.writes.snapshot()["PATCH job"]
	p.g.Consistently(func(g Gomega) { g.Expect(p.writes.snapshot()["PATCH job"]).To(Equal(before)) }).Should(Succeed())
}

func TestPeopleWhoWereLeftOut(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run")
	p.play(p.pod(1), x().Done(0, 120).Says("deliver", report.Termination{
		Role: report.RoleDeliver, Result: report.ResultOK,
		Deliver: &report.DeliveryReport{URI: "s3://results/x", ManifestSHA256: "cd", Frames: 120, Quality: &report.ResultQuality{CoveragePercent: 0, PeopleFiltered: 7}},
	}))
	j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	p.g.Expect(condition(j, v1alpha1.ConditionPeopleFiltered)).To(Equal("True/DetectedButFiltered"))
	p.g.Expect(condition(j, v1alpha1.ConditionNoPeople)).To(Equal("True/DetectedButFiltered"))
	p.g.Expect(j.Status.Output.Quality).To(HaveField("PeopleFiltered", int64(7)))
}
