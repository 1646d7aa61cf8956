package status_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
	posestatus "github.com/pose-dev/pose-operator/controllers/internal/status"
	"github.com/pose-dev/pose-operator/internal/report"
)

func TestAResultOfAnotherEngineIsDegraded(t *testing.T) {
	dead := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Failed("DetectorLoadCrash"))
	other := gen.Attempt(2, "mediapipe/cpu", v1alpha1.CPU, gen.Running("p2"), gen.Succeeded())
	pod := gen.Pod("p2", 2, "cpu", v1alpha1.CPU).Done(1, 120).Build()
	done := plan.Decision{Kind: plan.KindSucceed}
	crashed := func(lacks ...string) posestatus.Input {
		in := input(gen.Job("j").Attempts(dead, other).Build(), done, pod)
		in.Lacks = lacks
		return in
	}
	for name, c := range map[string]struct {
		in   posestatus.Input
		want string
	}{
		"after attempts of the own engine": {
			crashed("the SMPL body model (smpl.npz)"),
			"the result comes from another engine, mediapipe (variant cpu on CPU), instead of phalp, and lacks what that gives: the SMPL body model (smpl.npz). The last attempt with phalp, 1 with variant gpu, failed: DetectorLoadCrash",
		},
		"where both engines are gone by now": {
			func() posestatus.Input {
				in := crashed()
				in.EngineReady, in.EngineReason, in.FirstVariant, in.LacksUnknown = false, v1alpha1.ReasonEngineNotFound, "", true
				return in
			}(),
			"the result comes from another engine, mediapipe (variant cpu on CPU), instead of phalp; what it lacks is not known, for one of the two PoseEngines is gone. The last attempt with phalp, 1 with variant gpu, failed: DetectorLoadCrash",
		},
		"where the own engine was not tried at all": {
			input(gen.Job("j").Attempts(other).With(func(j *v1alpha1.PoseJob) {
				j.Status.SkippedVariants = []v1alpha1.SkippedVariant{{Variant: "gpu", Reason: "TooSlow", Message: "it needs 3h"}, {Variant: "mediapipe/gpu", Reason: "TooSlow"}}
			}).Build(), done, pod),
			"the result comes from another engine, mediapipe (variant cpu on CPU), instead of phalp; skipped gpu: it needs 3h",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := meta.FindStatusCondition(posestatus.Compute(c.in).Conditions, v1alpha1.ConditionDegraded)
			if got == nil || got.Status != metav1.ConditionTrue || got.Reason != v1alpha1.ReasonFallback || got.Message != c.want {
				t.Errorf("Degraded = %+v, want %q", got, c.want)
			}
		})
	}
}

func TestTheCostOnTheCPUIsSaid(t *testing.T) {
	const cost = "795 frames at 0.08 frames/s take about 2 h 46 min"
	dead := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Failed("DetectorLoadCrash"))
	intended := gen.Attempt(2, "cpu", v1alpha1.CPU)
	running := gen.Attempt(2, "cpu", v1alpha1.CPU, gen.Running("p2"))
	pod := gen.Pod("p2", 2, "cpu", v1alpha1.CPU).Phase(corev1.PodRunning).Build()
	for name, c := range map[string]struct {
		in   posestatus.Input
		want string
	}{
		"before it is started": {
			input(gen.Job("j").Attempts(dead).Build(), plan.Decision{Kind: plan.KindLaunch, Next: intended, Cost: cost}),
			"attempt 2 with variant cpu (CPU) is being started after attempt 1 with gpu failed: DetectorLoadCrash. On the CPU " + cost,
		},
		"when its pod is made": {
			input(gen.Job("j").Attempts(dead, intended).Build(), plan.Decision{Kind: plan.KindCreate, Cost: cost}),
			"attempt 2 with variant cpu (CPU) is being started. On the CPU " + cost,
		},
		"while it runs": {
			input(gen.Job("j").Attempts(dead, running).Build(), plan.Decision{Kind: plan.KindWait, Reason: v1alpha1.ReasonProgressing, Message: "attempt 2 runs", Cost: cost}, pod),
			"attempt 2 runs. On the CPU " + cost,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := posestatus.Compute(c.in)
			for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling} {
				if got := meta.FindStatusCondition(s.Conditions, kind).Message; got != c.want {
					t.Errorf("%s = %q, want %q", kind, got, c.want)
				}
			}
		})
	}
	if got, want := posestatus.OnCPU(intended, cost), "attempt 2 with variant cpu runs on the CPU: "+cost; got != want {
		t.Errorf("OnCPU = %q, want %q", got, want)
	}
}

func TestPeopleWhoWereLeftOutAreACondition(t *testing.T) {
	succeeded := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Succeeded())
	result := func(people int64, q *report.ResultQuality) v1alpha1.PoseJobStatus {
		pod := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Done(people, 120).Says("deliver", report.Termination{
			Role: report.RoleDeliver, Result: report.ResultOK, Deliver: &report.DeliveryReport{URI: "u", People: people, Frames: 120, Quality: q},
		}).Build()
		return posestatus.Compute(input(gen.Job("j").Attempts(succeeded).Build(), plan.Decision{Kind: plan.KindSucceed}, pod))
	}
	for name, c := range map[string]struct {
		people       int64
		quality      *report.ResultQuality
		nobody, left string // messages; empty for no condition
		reason       string // of NoPeople
		want         *v1alpha1.ResultQuality
	}{
		"an engine that says nothing of it": {people: 2},
		"everybody was kept":                {people: 2, quality: &report.ResultQuality{CoveragePercent: 97, Gaps: 3, IDSwitchesSuspected: 1}, want: &v1alpha1.ResultQuality{CoveragePercent: 97, Gaps: 3, IDSwitchesSuspected: 1}},
		"some were left out": {
			people: 2, quality: &report.ResultQuality{PeopleFiltered: 14}, want: &v1alpha1.ResultQuality{PeopleFiltered: 14},
			left: "2 people were kept in 120 frames, and 14 sightings were left out as too small or too short in view. A larger picture of them helps, or another engine",
		},
		"one of two": {
			people: 1, quality: &report.ResultQuality{PeopleFiltered: 1}, want: &v1alpha1.ResultQuality{PeopleFiltered: 1},
			left: "1 person was kept in 120 frames, and 1 sighting was left out as too small or too short in view. A larger picture of them helps, or another engine",
		},
		"all were left out: that is no empty video": {
			quality: &report.ResultQuality{PeopleFiltered: 14}, want: &v1alpha1.ResultQuality{PeopleFiltered: 14},
			reason: v1alpha1.ReasonDetectedButFiltered, nobody: "all 120 frames were looked at and nobody was kept: 14 sightings were left out as too small or too short in view for this engine",
			left: "nobody was kept in 120 frames, and 14 sightings were left out as too small or too short in view. A larger picture of them helps, or another engine",
		},
		"nobody was there": {
			quality: &report.ResultQuality{}, want: &v1alpha1.ResultQuality{},
			reason: v1alpha1.ReasonNobodySeen, nobody: "all 120 frames were looked at and nobody was seen. If there are people in the video, they may be too small or too short in view for this engine",
		},
		"absurd claims are bounded": {
			people: 1, quality: &report.ResultQuality{CoveragePercent: 300, Gaps: -4, IDSwitchesSuspected: 1 << 62, PeopleFiltered: -1},
			want: &v1alpha1.ResultQuality{CoveragePercent: 100, IDSwitchesSuspected: report.MaxQualityCount},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := result(c.people, c.quality)
			if diff := cmp.Diff(c.want, s.Output.Quality); diff != "" {
				t.Errorf("quality (-want +got):\n%s", diff)
			}
			for kind, want := range map[string][2]string{
				v1alpha1.ConditionNoPeople:       {c.reason, c.nobody},
				v1alpha1.ConditionPeopleFiltered: {v1alpha1.ReasonDetectedButFiltered, c.left},
			} {
				got := meta.FindStatusCondition(s.Conditions, kind)
				switch {
				case got == nil && want[1] == "":
				case got == nil || want[1] == "" || got.Reason != want[0] || got.Message != want[1] || got.Status != metav1.ConditionTrue:
					t.Errorf("%s = %+v, want %q", kind, got, want)
				}
			}
		})
	}
}

// TestAnOverlayThatWasNotMadeIsTold: a job that asked for one and is complete
// without says so.
func TestAnOverlayThatWasNotMadeIsTold(t *testing.T) {
	files := func(names ...string) []report.DeliveredFile {
		var out []report.DeliveredFile
		for _, n := range names {
			out = append(out, report.DeliveredFile{Name: n, Path: n})
		}
		return out
	}
	for name, c := range map[string]struct {
		asked v1alpha1.Overlay
		files []report.DeliveredFile
		told  bool
	}{
		"asked and made":           {v1alpha1.OverlayFull, files("pose", "overlay"), false},
		"asked and not made":       {v1alpha1.OverlayBlurred, files("pose"), true},
		"not asked":                {v1alpha1.OverlayNone, files("pose"), false},
		"unset":                    {"", files("pose"), false},
		"a list that was left out": {v1alpha1.OverlayFull, nil, false},
		"a list that was cut":      {v1alpha1.OverlayFull, files(strings.Fields("a b c d e f g h i j k l m n o p q")...), false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Done(1, 120).Says("deliver", report.Termination{
				Role: report.RoleDeliver, Result: report.ResultOK, Deliver: &report.DeliveryReport{URI: "u", People: 1, Frames: 120, Files: c.files},
			}).Build()
			job := gen.Job("j").Attempts(gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Succeeded())).Spec(func(s *v1alpha1.PoseJobSpec) { s.Output.Overlay = c.asked })
			s := posestatus.Compute(input(job.Build(), plan.Decision{Kind: plan.KindSucceed}, pod))
			message := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionComplete).Message
			if told := strings.Contains(message, "no overlay"); told != c.told || !strings.Contains(message, "120 frames and 1 person, verified") {
				t.Errorf("message %q, want told %t", message, c.told)
			}
		})
	}
}
