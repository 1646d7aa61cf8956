package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
)

// A rung that was passed by further up, for what other jobs teach, comes before a
// lesser engine and before the end.
func TestALearnedSkipGivesWayBeforeTheLesserEngine(t *testing.T) {
	// gpu was passed by; each later variant of the job's own was tried.
	below := []v1alpha1.Attempt{
		failed(1, "gpu-half", "OutputInvalid"), failed(2, "gpu-yolo", "OutputInvalid"), failed(3, "cpu", "OutputInvalid"), failed(4, "cpu-yolo", "OutputInvalid"),
	}
	taught := func(variants ...string) map[string]plan.Advice {
		out := map[string]plan.Advice{}
		for _, v := range variants {
			out[v] = plan.Advice{Skip: true, Message: "died 9 of 9 times"}
		}
		return out
	}
	skippedAs := func(reason string) []v1alpha1.SkippedVariant {
		return []v1alpha1.SkippedVariant{{Variant: "gpu", Reason: reason, Message: "said then"}}
	}
	toOther := func(more ...v1alpha1.Attempt) []v1alpha1.Attempt {
		return append(below[:len(below):len(below)], more...)
	}
	for name, c := range map[string]struct {
		job     *gen.JobBuilder
		history []v1alpha1.Attempt
		learned map[string]plan.Advice
		before  []v1alpha1.SkippedVariant
		refused map[string]string
		alone   bool // no other engine is allowed

		want    string // variant of the launch; empty for a failure
		skipped []string
	}{
		"before another engine":                       {history: below, learned: taught("gpu"), want: "gpu"},
		"before the end":                              {history: below, learned: taught("gpu"), alone: true, want: "gpu"},
		"a skip that ended meanwhile":                 {history: below, before: skippedAs(v1alpha1.ReasonLearnedSkip), want: "gpu"},
		"a skip that ended meanwhile, before the end": {history: below, before: skippedAs(v1alpha1.ReasonLearnedSkip), alone: true, want: "gpu"},
		"the first of several":                        {history: below[2:], learned: taught("gpu", "gpu-half", "gpu-yolo"), want: "gpu"},
		"the first, and not the one below the last":   {history: below[1:3], learned: taught("gpu", "gpu-half", "cpu-yolo"), want: "gpu", skipped: []string{"cpu-yolo=LearnedSkip"}},
		"not while another one is left":               {history: below[:3], learned: taught("gpu"), want: "cpu-yolo"},
		"once, and not again":                         {history: toOther(failed(5, "gpu", "OutputInvalid")), learned: taught("gpu"), want: "mediapipe/gpu"},
		"not one that the policy refuses":             {history: below, learned: taught("gpu"), refused: map[string]string{"gpu": "no"}, want: "mediapipe/gpu"},
		"not one whose detector crashed":              {history: append([]v1alpha1.Attempt{failed(1, "gpu-half", "DetectorLoadCrash")}, below[1:]...), learned: taught("gpu"), want: "mediapipe/gpu"},
		"not one that was left out for another reason": {
			history: below, before: skippedAs(v1alpha1.ReasonPolicyDenied), want: "mediapipe/gpu",
		},
		"what is taught against the other engine gives way in the end as well": {
			history: toOther(failed(5, "gpu", "OutputInvalid"), failed(6, "mediapipe/cpu", "OutputInvalid")), learned: taught("mediapipe/gpu"), want: "mediapipe/gpu",
		},
		"what is taught against variants that the job does not name is nothing to it": {
			job: gen.Job("j").Variants("cpu-yolo"), history: below[3:], learned: taught("gpu"), alone: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.job == nil {
				c.job = gen.Job("j")
			}
			in := input(c.job, c.history)
			in.Learned, in.Skipped, in.Refused = c.learned, c.before, c.refused
			if !c.alone {
				in.Fallback = plan.Fallback{Name: "mediapipe", Engine: lesser()}
			}
			d := plan.Next(in)
			if c.want == "" {
				if d.Kind != plan.KindFail {
					t.Fatalf("Next = %s %s (%s) of %s, want Fail", d.Kind, d.Reason, d.Message, d.Next.Variant)
				}
				return
			}
			if d.Kind != plan.KindLaunch || d.Next.Variant != c.want {
				t.Fatalf("Next = %s %s (%s) of %q, want %s", d.Kind, d.Reason, d.Message, d.Next.Variant, c.want)
			}
			var skipped []string
			for _, s := range d.Skipped {
				skipped = append(skipped, s.Variant+"="+s.Reason)
			}
			if diff := cmp.Diff(c.skipped, skipped, cmpopts.EquateEmpty()); diff != "" && !strings.HasPrefix(c.want, "mediapipe/") {
				t.Errorf("skipped (-want +got):\n%s", diff)
			}
		})
	}
}

// nothingUntried: the ladder crosses to another engine, or ends, only when no
// variant of the job's own is left that would be started if it were the only one and
// other jobs taught nothing.
func (w *world) nothingUntried(in plan.Input, d plan.Decision) {
	n := len(in.Attempts)
	switch {
	case d.Kind == plan.KindLaunch && w.engineOf(&d.Next) != w.engine && !slices.ContainsFunc(in.Attempts, func(a attempt.Attempt) bool { return a.Variant == d.Next.Variant }):
	case d.Kind == plan.KindFail && n > 0 && in.Attempts[n-1].Recorded() && in.Attempts[n-1].Action == v1alpha1.ActionNextVariant:
	default:
		return
	}
	own, _, err := plan.Rungs(w.spec, w.engine)
	if err != nil {
		return
	}
	for _, r := range own {
		if w.tried(r.Name()) && r.Name() != d.Next.Variant {
			continue
		}
		alone := in
		alone.Spec = w.spec.DeepCopy()
		alone.Spec.Variants, alone.Fallback, alone.Learned, alone.Skipped = []string{r.Name()}, plan.Fallback{}, nil, nil
		if plan.Next(alone).Kind == plan.KindLaunch {
			w.t.Fatalf("%s %s, and nothing but what other jobs teach speaks against %s", d.Kind, d.Next.Variant, r.Name())
		}
	}
}
