package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
)

// Rung of the ladder: a variant of the job's own engine or of its fallback
// engine.
type Rung struct {
	Variant v1alpha1.Variant
	Engine  *v1alpha1.PoseEngine
	// Fallback says that the engine is not the job's own.
	Fallback bool
}

// Name as attempts record it.
func (r Rung) Name() string {
	if r.Fallback {
		return attempt.VariantName(r.Engine.Name, r.Variant.Name)
	}
	return r.Variant.Name
}

// Rungs gives the variants of the job's own engine that it may use, in order. The
// error is for a person and names what is missing.
func Rungs(spec *v1alpha1.PoseJobSpec, engine *v1alpha1.PoseEngine) ([]Rung, string, error) {
	asked, reason, err := asked(spec, engine)
	if err != nil {
		return nil, reason, err
	}
	boxed := slices.DeleteFunc(slices.Clone(asked), func(v v1alpha1.Variant) bool { return !fitsBoxes(spec, v) })
	if len(boxed) == 0 {
		return nil, v1alpha1.ReasonNoVariantForBoxes, noneForBoxes(spec, engine, asked)
	}
	fit := slices.DeleteFunc(slices.Clone(boxed), func(v v1alpha1.Variant) bool { return !fitsDevice(spec, v) })
	if len(fit) == 0 {
		return nil, v1alpha1.ReasonNoVariantForDevice, fmt.Errorf("none of the variants %s of PoseEngine %s%s runs on device %s. Create the PoseJob again with another device, or add a variant to the engine",
			strings.Join(names(boxed), ", "), engine.Name, withBoxes(spec, " that the job's boxes leave"), spec.Device)
	}
	head := fit[0]
	fit = slices.DeleteFunc(fit, func(v v1alpha1.Variant) bool {
		return (spec.Fallback.Device == v1alpha1.Deny && v.Device != head.Device) ||
			(spec.Fallback.Detector == v1alpha1.Deny && v.Detector != head.Detector)
	})
	return rungsOf(engine, fit, false), "", nil
}

// asked are the variants that the job names, or all that run unasked.
func asked(spec *v1alpha1.PoseJobSpec, engine *v1alpha1.PoseEngine) ([]v1alpha1.Variant, string, error) {
	all := engine.Spec.Variants
	if len(spec.Variants) == 0 {
		unasked := unasked(all)
		if len(unasked) == 0 && len(all) > 0 {
			return nil, v1alpha1.ReasonVariantNotFound, fmt.Errorf("the variants of PoseEngine %s run on request alone: create the PoseJob again with some of %s in spec.variants", engine.Name, strings.Join(names(all), ", "))
		}
		return unasked, "", nil
	}
	var out []v1alpha1.Variant
	for _, name := range spec.Variants {
		i := slices.IndexFunc(all, func(v v1alpha1.Variant) bool { return v.Name == name })
		if i < 0 {
			return nil, v1alpha1.ReasonVariantNotFound, fmt.Errorf("PoseEngine %s has no variant %q; it has %s. Create the PoseJob again with one of them, or add the variant to the engine",
				engine.Name, name, strings.Join(names(all), ", "))
		}
		// A variant by name is a wish: what cannot be granted is said, not dropped.
		if v := all[i]; !fitsBoxes(spec, v) {
			return nil, v1alpha1.ReasonNoVariantForBoxes, fmt.Errorf("spec.variants names %s of PoseEngine %s, which %s. Create the PoseJob again %s, or without that variant",
				name, engine.Name, boxesWord(v), withBoxes(spec, "without spec.video.boxes")+withoutBoxes(spec, "with spec.video.boxes"))
		}
		out = append(out, all[i])
	}
	return out, "", nil
}

func unasked(all []v1alpha1.Variant) []v1alpha1.Variant {
	return slices.DeleteFunc(slices.Clone(all), func(v v1alpha1.Variant) bool { return v.OnRequest })
}

// fitsBoxes: boxes that a job has are never ignored, and what needs them does not
// run without.
func fitsBoxes(spec *v1alpha1.PoseJobSpec, v v1alpha1.Variant) bool {
	if spec.Video.Boxes == nil {
		return v.Boxes != v1alpha1.BoxesRequired
	}
	return v.Boxes != ""
}

func fitsDevice(spec *v1alpha1.PoseJobSpec, v v1alpha1.Variant) bool {
	return spec.Device == v1alpha1.DeviceAuto || spec.Device == "" || string(v.Device) == string(spec.Device)
}

// noneForBoxes: every variant that was asked for takes no boxes, or needs them.
func noneForBoxes(spec *v1alpha1.PoseJobSpec, engine *v1alpha1.PoseEngine, asked []v1alpha1.Variant) error {
	var request []string
	for _, v := range engine.Spec.Variants {
		if v.OnRequest && fitsBoxes(spec, v) && fitsDevice(spec, v) {
			request = append(request, v.Name)
		}
	}
	also := ""
	if len(request) > 0 {
		also = fmt.Sprintf(", or with %s in spec.variants, which runs on request alone", strings.Join(request, " or "))
	}
	if spec.Video.Boxes == nil {
		return fmt.Errorf("the variants %s of PoseEngine %s need boxes. Create the PoseJob again with spec.video.boxes%s, or add a variant to the engine that finds people itself",
			strings.Join(names(asked), ", "), engine.Name, also)
	}
	return fmt.Errorf("none of the variants %s of PoseEngine %s takes boxes, and boxes are never ignored. Create the PoseJob again without spec.video.boxes%s, or add a variant with boxes: Required or Optional to the engine",
		strings.Join(names(asked), ", "), engine.Name, also)
}

func boxesWord(v v1alpha1.Variant) string {
	if v.Boxes == v1alpha1.BoxesRequired {
		return "needs boxes"
	}
	return "takes no boxes"
}

func withBoxes(spec *v1alpha1.PoseJobSpec, words string) string {
	if spec.Video.Boxes == nil {
		return ""
	}
	return words
}

func withoutBoxes(spec *v1alpha1.PoseJobSpec, words string) string {
	if spec.Video.Boxes != nil {
		return ""
	}
	return words
}

// Fallback is the engine whose variants follow those of the job's own.
type Fallback struct {
	// Name is empty where the job allows no other engine, or its own names none.
	Name string
	// Engine is nil while it is missing or not ready; Message then says why.
	Engine  *v1alpha1.PoseEngine
	Message string
}

// awaitFallback: the last attempt is of another engine and is to be made, or made
// again, and that engine is away for the moment. Its absence counts from the last
// end of an attempt.
func (in Input) awaitFallback(deadline time.Time) (Decision, bool) {
	n := len(in.Attempts)
	if n == 0 || in.Fallback.Name == "" || in.Fallback.Engine != nil || n >= v1alpha1.MaxAttempts {
		return Decision{}, false
	}
	last := in.Attempts[n-1]
	if engine, _ := attempt.SplitVariant(last.Variant); engine != in.Fallback.Name {
		return Decision{}, false
	}
	since := last.FinishTime
	if !last.Recorded() {
		since = last.NotBefore
		if n > 1 && since == nil {
			since = in.Attempts[n-2].FinishTime
		}
	} else if action := actionOf(last.Attempt); action != v1alpha1.ActionRetry && action != v1alpha1.ActionRetryElsewhere {
		return Decision{}, false
	}
	if since == nil || !in.Now.Before(since.Add(MissingEngineTimeout)) {
		return Decision{}, false
	}
	return Decision{
		Kind: KindWait, Reason: v1alpha1.ReasonWaitingForEngine, Until: earliest(since.Add(MissingEngineTimeout), deadline),
		Message: fmt.Sprintf("attempt %d of variant %s waits to be made (again) until its engine is back: %s", last.Number, last.Variant, in.Fallback.Message),
	}, true
}

// AnyVariant stands for a fallback engine's variants in a list of skipped ones
// where there is none to name.
const AnyVariant = "*"

// rungs gives the whole ladder. Where the job allows another engine and that one
// gives no rung, without says why.
func (in Input) rungs() ([]Rung, *v1alpha1.SkippedVariant, *end) {
	own, reason, err := Rungs(in.Spec, in.Engine)
	if err != nil {
		return nil, nil, &end{reason, err.Error()}
	}
	more, without := in.fallbackRungs(own[0].Variant.Device)
	return append(own, more...), without, nil
}

// rungOf gives the whole ladder and the place on it of an attempt's variant, by the
// name that attempts record; -1 where there is none.
func (in Input) rungOf(variant string) ([]Rung, int) {
	rungs, _, stop := in.rungs()
	if stop != nil {
		return nil, -1
	}
	return rungs, slices.IndexFunc(rungs, func(r Rung) bool { return r.Name() == variant })
}

// fallbackRungs: the detector is another engine's own, so spec.fallback.detector
// does not speak of it; the device is one thing for all.
func (in Input) fallbackRungs(head v1alpha1.Device) ([]Rung, *v1alpha1.SkippedVariant) {
	f := in.Fallback
	if f.Name == "" {
		return nil, nil
	}
	none := func(reason, format string, args ...any) ([]Rung, *v1alpha1.SkippedVariant) {
		return nil, &v1alpha1.SkippedVariant{Variant: attempt.VariantName(f.Name, AnyVariant), Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	if f.Engine == nil {
		return none(v1alpha1.ReasonFallbackEngineNotReady, "%s", f.Message)
	}
	fit := slices.DeleteFunc(unasked(f.Engine.Spec.Variants), func(v v1alpha1.Variant) bool { return !fitsBoxes(in.Spec, v) })
	if len(fit) == 0 {
		return none(v1alpha1.ReasonNoVariantForBoxes, "no variant of PoseEngine %s %s", f.Name, withBoxes(in.Spec, "takes boxes")+withoutBoxes(in.Spec, "runs without boxes and unasked"))
	}
	fit = slices.DeleteFunc(fit, func(v v1alpha1.Variant) bool {
		return !fitsDevice(in.Spec, v) || (in.Spec.Fallback.Device == v1alpha1.Deny && v.Device != head)
	})
	if len(fit) == 0 {
		return none(v1alpha1.ReasonNoVariantForDevice, "no variant of PoseEngine %s runs on the device that the job allows", f.Name)
	}
	return rungsOf(f.Engine, fit, true), nil
}

func rungsOf(engine *v1alpha1.PoseEngine, variants []v1alpha1.Variant, fallback bool) []Rung {
	out := make([]Rung, len(variants))
	for i, v := range variants {
		out[i] = Rung{Variant: v, Engine: engine, Fallback: fallback}
	}
	return out
}

func names(vs []v1alpha1.Variant) []string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = v.Name
	}
	return out
}

// Ladder gives the rungs of a job: those of its own engine, and of its fallback
// engine where it allows that and it is there. None where the job's own has none.
func Ladder(spec *v1alpha1.PoseJobSpec, engine *v1alpha1.PoseEngine, fallback Fallback) []Rung {
	if engine == nil {
		return nil
	}
	rungs, _, stop := Input{Spec: spec, Engine: engine, Fallback: fallback}.rungs()
	if stop != nil {
		return nil
	}
	return rungs
}
