package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
)

// Backoff before a repeated attempt: backoffBase, doubled each time, at most
// backoffMax, as the Job controller of Kubernetes does.
const (
	backoffBase = 10 * time.Second
	backoffMax  = 6 * time.Minute
)

// memoryStep is by how much, in percent of the peak seen, the next limit lies
// above it. The peak of a killed process is a lower bound of what it needs.
const memoryStep = 150

// actions that follow from the operator's own reasons. A reason that is not
// here is retried: an unknown failure may be a passing one.
var actions = map[string]v1alpha1.Action{
	v1alpha1.ReasonDetectorLoadCrash:    v1alpha1.ActionNextVariant,
	v1alpha1.ReasonModelLoadCrash:       v1alpha1.ActionRetryElsewhere,
	v1alpha1.ReasonCUDAOutOfMemory:      v1alpha1.ActionNextVariant,
	v1alpha1.ReasonCUDAError:            v1alpha1.ActionRetryElsewhere,
	v1alpha1.ReasonDeviceUnusable:       v1alpha1.ActionRetryElsewhere,
	v1alpha1.ReasonGPUHardwareFault:     v1alpha1.ActionRetryElsewhere,
	v1alpha1.ReasonOutOfMemory:          v1alpha1.ActionRetry,
	v1alpha1.ReasonSharedMemoryTooSmall: v1alpha1.ActionNextVariant,
	v1alpha1.ReasonRenderingUnavailable: v1alpha1.ActionNextVariant,
	v1alpha1.ReasonWeightsMissing:       v1alpha1.ActionNextVariant,
	v1alpha1.ReasonWeightsInvalid:       v1alpha1.ActionNextVariant,
	v1alpha1.ReasonImageIncompatible:    v1alpha1.ActionNextVariant,
	v1alpha1.ReasonNetworkUnavailable:   v1alpha1.ActionNextVariant,
	v1alpha1.ReasonScratchSpaceExceeded: v1alpha1.ActionFail,
	v1alpha1.ReasonDisrupted:            v1alpha1.ActionRetry,
	v1alpha1.ReasonSuspendedAttempt:     v1alpha1.ActionRetry,
	v1alpha1.ReasonNoCapacity:           v1alpha1.ActionNextVariant,
	v1alpha1.ReasonPodNotStartable:      v1alpha1.ActionNextVariant,
	v1alpha1.ReasonSecretMissing:        v1alpha1.ActionFail,
	v1alpha1.ReasonAdapterInvalid:       v1alpha1.ActionNextVariant,
	v1alpha1.ReasonInputUnavailable:     v1alpha1.ActionFail,
	v1alpha1.ReasonInputInvalid:         v1alpha1.ActionFail,
	v1alpha1.ReasonOutputInvalid:        v1alpha1.ActionNextVariant,
	v1alpha1.ReasonDeliveryFailed:       v1alpha1.ActionRetry,
	v1alpha1.ReasonNoProgress:           v1alpha1.ActionNextVariant,
	v1alpha1.ReasonDeadlineExceeded:     v1alpha1.ActionFail,
	v1alpha1.ReasonEngineError:          v1alpha1.ActionRetry,
}

// ActionFor says what follows from a reason, unless an engine's rule says
// otherwise.
func ActionFor(reason string) v1alpha1.Action {
	if a, ok := actions[reason]; ok {
		return a
	}
	return v1alpha1.ActionRetry
}

// end says why there is no next attempt.
type end struct{ reason, message string }

// climb gives the next attempt, or why there is none, and what it left out.
// Every attempt is recorded and none of them succeeded.
func climb(in Input) (*v1alpha1.Attempt, []v1alpha1.SkippedVariant, *end) {
	rungs, without, stop := in.rungs()
	if stop != nil {
		return nil, nil, stop
	}
	n := len(in.Attempts)
	if n == 0 {
		return nextRung(in, rungs, without, 1)
	}
	last := in.Attempts[n-1]
	if n >= v1alpha1.MaxAttempts {
		return nil, nil, &end{v1alpha1.ReasonAttemptsExhausted, fmt.Sprintf("%d attempts were made, the most that a job may have. The last failed with %s: %s", n, last.Reason, last.Message)}
	}
	same := slices.IndexFunc(rungs, func(r Rung) bool { return r.Name() == last.Variant })
	number := last.Number + 1
	switch action := actionOf(last.Attempt); {
	case action == v1alpha1.ActionFail:
		return nil, nil, &end{last.Reason, last.Message}
	case action == v1alpha1.ActionNextVariant || same < 0:
		return nextRung(in, rungs, without, number)
	default:
		if a, e := repeat(in, rungs[same], number, action); a != nil || e != nil {
			return a, nil, e
		}
		if whateverRuns[last.Reason] {
			return nil, nil, &end{last.Reason, last.Message}
		}
		return nextRung(in, rungs, without, number)
	}
}

// whateverRuns are reasons that no other variant changes: once its repetitions are
// used up, the job fails.
var whateverRuns = map[string]bool{
	v1alpha1.ReasonInputUnavailable: true, v1alpha1.ReasonInputInvalid: true, v1alpha1.ReasonDeliveryFailed: true,
}

func actionOf(a v1alpha1.Attempt) v1alpha1.Action {
	switch {
	case a.Reason == v1alpha1.ReasonCUDAOutOfMemory && a.GPUShared && (a.Action == "" || a.Action == ActionFor(a.Reason)):
		return v1alpha1.ActionRetryElsewhere
	case a.Action != "":
		return a.Action
	}
	return ActionFor(a.Reason)
}

// repeat the variant of the last attempt, if its bounds allow. Both results nil
// mean that the ladder goes on.
func repeat(in Input, r Rung, number int32, action v1alpha1.Action) (*v1alpha1.Attempt, *end) {
	name := r.Name()
	if in.Refused[name] != "" {
		return nil, nil
	}
	last := in.Attempts[len(in.Attempts)-1].Attempt
	next := intend(in, number, r)
	next.MemoryBytes = last.MemoryBytes
	for _, node := range last.AvoidNodes {
		next.AvoidNodes = avoid(next.AvoidNodes, node)
	}
	switch {
	case last.Reason == v1alpha1.ReasonSuspendedAttempt:
		return next, nil
	case last.Reason == v1alpha1.ReasonDisrupted:
		if d := count(in.Attempts, func(a v1alpha1.Attempt) bool { return a.Reason == v1alpha1.ReasonDisrupted }); d > MaxDisruptions {
			return nil, &end{v1alpha1.ReasonDisrupted, fmt.Sprintf("disrupted %d times, last: %s", d, last.Message)}
		}
		return next, nil
	case last.Reason == v1alpha1.ReasonOutOfMemory:
		next.MemoryBytes = moreMemory(in.Spec, r.Variant, last)
		if next.MemoryBytes == 0 || failures(in.Attempts, name, v1alpha1.ReasonOutOfMemory) > 1 {
			return nil, nil
		}
		return next, nil
	case action == v1alpha1.ActionRetryElsewhere:
		if failures(in.Attempts, name, last.Reason) > 1 {
			return nil, nil
		}
		next.AvoidNodes = avoid(next.AvoidNodes, last.Node)
		return next, nil
	}
	made := counted(in.Attempts, name)
	if made > int(ptr.Deref(in.Spec.BackoffLimit, 0)) {
		return nil, nil
	}
	at := metav1.NewTime(in.Now.Add(backoff(made)))
	next.NotBefore = &at
	return next, nil
}

// nextRung is the first untried rung below the last one that nothing speaks
// against; with an engine that changed meanwhile, the first untried one of all.
// What other jobs teach is set aside when nothing else of that engine is left,
// wherever the rung lies: a result of another engine is a lesser one, and a learned
// skip no certainty.
func nextRung(in Input, rungs []Rung, without *v1alpha1.SkippedVariant, number int32) (*v1alpha1.Attempt, []v1alpha1.SkippedVariant, *end) {
	last := v1alpha1.Attempt{}
	if n := len(in.Attempts); n > 0 {
		last = in.Attempts[n-1].Attempt
	}
	from := slices.IndexFunc(rungs, func(r Rung) bool { return r.Name() == last.Variant }) + 1
	var skipped []v1alpha1.SkippedVariant
	for _, engine := range byEngine(rungs) {
		for _, r := range engine[min(from, len(engine)):] {
			if tried(in, r) {
				continue
			}
			why := against(in, r)
			if why == nil {
				why = taughtAgainst(in, r)
			}
			if why == nil {
				return intend(in, number, r), skipped, nil
			}
			skipped = append(skipped, *why)
		}
		from = max(0, from-len(engine))
		if i := slices.IndexFunc(engine, func(r Rung) bool { return onlyTaughtAgainst(in, r) }); i >= 0 {
			name := engine[i].Name()
			skipped = slices.DeleteFunc(skipped, func(s v1alpha1.SkippedVariant) bool { return s.Variant == name })
			return intend(in, number, engine[i]), skipped, nil
		}
	}
	if without != nil {
		skipped = append(skipped, *without)
	}
	return nil, skipped, nothingLeft(last, skipped)
}

// byEngine parts the rungs of the job's own engine from those of its fallback
// engine, which follow them.
func byEngine(rungs []Rung) [][]Rung {
	own := slices.IndexFunc(rungs, func(r Rung) bool { return r.Fallback })
	if own < 0 {
		return [][]Rung{rungs}
	}
	return [][]Rung{rungs[:own], rungs[own:]}
}

func tried(in Input, r Rung) bool {
	return slices.ContainsFunc(in.Attempts, func(a attempt.Attempt) bool { return a.Variant == r.Name() })
}

// taughtAgainst says what other jobs teach against a rung. A job that names its
// variants itself is not overruled; it cannot name those of another engine.
func taughtAgainst(in Input, r Rung) *v1alpha1.SkippedVariant {
	advice := in.Learned[r.Name()]
	if !advice.Skip || (len(in.Spec.Variants) > 0 && !r.Fallback) {
		return nil
	}
	return &v1alpha1.SkippedVariant{Variant: r.Name(), Reason: v1alpha1.ReasonLearnedSkip, Message: advice.Message}
}

// onlyTaughtAgainst: a rung was left out for what other jobs teach, now or further
// up the ladder, and nothing else keeps it from being tried. A skip may have ended
// while the attempts after it ran, and the rung is untried all the same.
func onlyTaughtAgainst(in Input, r Rung) bool {
	left := taughtAgainst(in, r) != nil || slices.ContainsFunc(in.Skipped, func(s v1alpha1.SkippedVariant) bool {
		return s.Variant == r.Name() && s.Reason == v1alpha1.ReasonLearnedSkip
	})
	return left && !tried(in, r) && against(in, r) == nil
}

// nothingLeft ends the ladder, for the reason of the last attempt where there
// was one, and says what was left out.
func nothingLeft(last v1alpha1.Attempt, skipped []v1alpha1.SkippedVariant) *end {
	e := &end{last.Reason, last.Message}
	if last.Reason == "" {
		e.reason, e.message = v1alpha1.ReasonDeadlineExceeded, "no variant can end before the deadline"
		if slices.ContainsFunc(skipped, func(s v1alpha1.SkippedVariant) bool { return s.Reason == v1alpha1.ReasonPolicyDenied }) {
			e.reason, e.message = v1alpha1.ReasonPolicyDenied, "no variant is left that the operator's policy allows"
		}
	}
	parts := make([]string, len(skipped))
	for i, s := range skipped {
		parts[i] = s.Variant + ": " + s.Message
	}
	if len(parts) > 0 {
		e.message += fmt.Sprintf(" (variants left out: %s)", strings.Join(parts, "; "))
	}
	return e
}

// against says what speaks against a rung, from the job's own attempts with that
// engine, its deadline and the variant's own estimate.
func against(in Input, r Rung) *v1alpha1.SkippedVariant {
	v := r.Variant
	skip := func(reason, format string, args ...any) *v1alpha1.SkippedVariant {
		return &v1alpha1.SkippedVariant{Variant: r.Name(), Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	if why := in.Refused[r.Name()]; why != "" {
		return skip(v1alpha1.ReasonPolicyDenied, "%s", why)
	}
	if crashedDetector(in, r) {
		return skip(v1alpha1.ReasonDetectorLoadCrash, "it loads the same detector, %s, on the same device", v.Detector)
	}
	if small, most := provedTooSmall(in, r, true), mostMemory(in.Spec, v); small > 0 && most > 0 && most <= small {
		return skip(v1alpha1.ReasonOutOfMemory, "it is the same image and detector, and may not have more than the %d MiB that proved too small", small>>20)
	}
	deadline := in.deadline()
	if deadline.IsZero() {
		return nil
	}
	left := deadline.Sub(in.Now)
	if v.Estimate != nil && in.Frames > 0 {
		if need := seconds(v.Estimate.LoadSeconds) + atPace(in.Frames, v.Estimate.MilliFPS); need > left {
			return skip(v1alpha1.ReasonTooSlow, "it needs at least %s for %d frames, and the deadline leaves %s", need.Round(time.Second), in.Frames, left.Round(time.Second))
		}
	}
	if v.Estimate == nil && v.Device == v1alpha1.CPU && provedTooSlow(in, r) {
		return skip(v1alpha1.ReasonTooSlow, "an attempt was too slow for the deadline, and the variant has no estimate that says it is faster")
	}
	return nil
}

// sameEngine: what an attempt showed speaks of its own engine alone. Another one
// has other code, another detector and another pace.
func sameEngine(a attempt.Attempt, r Rung) bool {
	engine, _ := attempt.SplitVariant(a.Variant)
	of, _ := attempt.SplitVariant(r.Name())
	return engine == of
}

func provedTooSlow(in Input, r Rung) bool {
	return slices.ContainsFunc(in.Attempts, func(a attempt.Attempt) bool {
		return a.Reason == v1alpha1.ReasonDeadlineExceeded && a.Action == v1alpha1.ActionNextVariant && sameEngine(a, r)
	})
}

// crashedDetector: a variant that loads, on the same device, a detector that
// crashed while loading would crash again.
func crashedDetector(in Input, r Rung) bool {
	v := r.Variant
	return v.Detector != "" && slices.ContainsFunc(in.Attempts, func(a attempt.Attempt) bool {
		return a.Reason == v1alpha1.ReasonDetectorLoadCrash && a.Detector == v.Detector && a.Device == v.Device && sameEngine(a, r)
	})
}

// mostMemory in bytes that a variant may have; 0 where nothing limits it.
func mostMemory(spec *v1alpha1.PoseJobSpec, v v1alpha1.Variant) int64 {
	own := limitOf(spec, v)
	if own == 0 || v.MaxMemory == nil {
		return own
	}
	return max(own, v.MaxMemory.Value())
}

// provedTooSmall is the largest memory in bytes with which an attempt of the
// same engine and image, and if asked for the same detector, ran out; 0 when none
// did.
func provedTooSmall(in Input, r Rung, sameDetector bool) int64 {
	var small int64
	for _, a := range in.Attempts {
		if a.Reason != v1alpha1.ReasonOutOfMemory || a.Variant == r.Name() || !sameEngine(a, r) {
			continue
		}
		_, name := attempt.SplitVariant(a.Variant)
		i := slices.IndexFunc(r.Engine.Spec.Variants, func(o v1alpha1.Variant) bool { return o.Name == name })
		if i < 0 || r.Engine.Spec.Variants[i].Image != r.Variant.Image || (sameDetector && a.Detector != r.Variant.Detector) {
			continue
		}
		limit := max(a.LimitMemoryBytes, a.MemoryBytes)
		if limit == 0 {
			limit = limitOf(in.Spec, r.Engine.Spec.Variants[i])
		}
		small = max(small, limit)
	}
	return small
}

// limitOf is the memory limit in bytes that a variant's pod gets unasked; 0 is
// none.
func limitOf(spec *v1alpha1.PoseJobSpec, v v1alpha1.Variant) int64 {
	var limit int64
	for _, r := range []*v1alpha1.Resources{v.Resources, ownResources(spec, v.Device)} {
		if r == nil {
			continue
		}
		if m := r.Limits.Memory().Value(); m > 0 {
			limit = m
		}
	}
	return limit
}

func intend(in Input, number int32, r Rung) *v1alpha1.Attempt {
	v := r.Variant
	a := &v1alpha1.Attempt{
		Number: number, State: v1alpha1.AttemptIntended,
		Variant: r.Name(), Device: v.Device, Detector: v.Detector,
		EngineGeneration: r.Engine.Generation,
		AvoidGPUProducts: in.Learned[r.Name()].AvoidGPUProducts,
	}
	for _, node := range in.AvoidNodes[r.Engine.Name] {
		a.AvoidNodes = avoid(a.AvoidNodes, node)
	}
	// What ran out of memory would run out again with the same limit.
	if small, own := provedTooSmall(in, r, false), limitOf(in.Spec, v); own > 0 && own <= small && v.MaxMemory != nil {
		if most := v.MaxMemory.Value(); most > own {
			// The limit that proved too small is a claim: bounded before it grows.
			a.MemoryBytes = min(grow(min(small, most)), most)
		}
	}
	return a
}

// grow is the next limit after one that proved too small.
func grow(small int64) int64 { return small * memoryStep / 100 }

// moreMemory is the next memory limit in bytes after v ran out of memory, or 0
// when maxMemory admits no more than what proved too small.
func moreMemory(spec *v1alpha1.PoseJobSpec, v v1alpha1.Variant, last v1alpha1.Attempt) int64 {
	if v.MaxMemory == nil {
		return 0
	}
	// An engine that was killed with its runner reports no limit; then the limit
	// is what its pod was given.
	small := max(last.LimitMemoryBytes, last.MemoryBytes, limitOf(spec, v))
	most := v.MaxMemory.Value()
	// The peak is a claim and may be absurd: it is bounded before it is multiplied.
	if small >= most {
		return 0
	}
	return min(grow(max(small, min(last.PeakMemoryBytes, most))), most)
}

// ownResources are the job's own for a device, or nil.
func ownResources(spec *v1alpha1.PoseJobSpec, device v1alpha1.Device) *v1alpha1.Resources {
	switch {
	case spec.PodTemplate == nil || spec.PodTemplate.Resources == nil:
		return nil
	case device == v1alpha1.GPU:
		return spec.PodTemplate.Resources.GPU
	}
	return spec.PodTemplate.Resources.CPU
}

// maxAvoided bounds the nodes that an attempt avoids; the API allows no more.
const maxAvoided = 8

// avoid a node, and forget the oldest where there are too many.
func avoid(nodes []string, node string) []string {
	if node == "" || slices.Contains(nodes, node) {
		return nodes
	}
	nodes = append(slices.Clone(nodes), node)
	return nodes[max(0, len(nodes)-maxAvoided):]
}

// counted is how many attempts of a variant count against the backoff limit.
func counted(attempts []attempt.Attempt, variant string) int {
	return count(attempts, func(a v1alpha1.Attempt) bool {
		return a.Variant == variant && a.Reason != v1alpha1.ReasonDisrupted && a.Reason != v1alpha1.ReasonSuspendedAttempt
	})
}

func failures(attempts []attempt.Attempt, variant, reason string) int {
	return count(attempts, func(a v1alpha1.Attempt) bool { return a.Variant == variant && a.Reason == reason })
}

func count(attempts []attempt.Attempt, is func(v1alpha1.Attempt) bool) int {
	n := 0
	for _, a := range attempts {
		if is(a.Attempt) {
			n++
		}
	}
	return n
}

func backoff(made int) time.Duration {
	d := backoffBase
	for i := 1; i < made && d < backoffMax; i++ {
		d *= 2
	}
	return min(d, backoffMax)
}

func denied(what []string) string {
	return strings.Join(what, "; ") + ". Create the PoseJob again as the policy allows, or ask the platform admin"
}
