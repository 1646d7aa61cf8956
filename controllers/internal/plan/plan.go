// Package plan decides what a PoseJob does next. It is a pure function of the
// job, its engine, its attempts with their verdicts, and the time.
//
// # Rules, first match wins
//
//  1. A job with an accepted result is done, whatever the spec says by now.
//  2. While a pod of an attempt is live, nothing is launched. The pod is ended for suspend,
//     the deadline, a pace by which the deadline cannot be met, a pod that no
//     node takes while another variant is left, a pod that cannot start, and one
//     whose results nobody can take any more; the reason is recorded before the pod is deleted. Else it is waited for.
//  3. So it is with the pod of the look, which is ended for suspend, the deadline,
//     and its own bounds: LookPatience for a node and an image, LookTimeout for all.
//     A look that was settled, or has no place beside attempts, is ended too. While a
//     Secret of the job's does not exist, by the kubelet's word, the look waits for it
//     as long as an attempt would, spec.startTimeoutSeconds, and refuses the job then:
//     no attempt could start, and here no GPU is held.
//  4. A suspended job launches nothing.
//  5. What the look refused fails the job: no attempt could mend it.
//  6. What the policy denies fails the job before any pod.
//  7. After the deadline the job fails.
//  8. A job whose engine is not ready waits. One whose engine is missing waits
//     for MissingEngineTimeout, since GitOps applies in any order, and fails
//     then, since a mistyped name never appears.
//  9. A job that takes results that were computed before, and for which the ladder
//     has a first attempt, looks at its places before it makes that attempt. It
//     looks once; what it finds is rule 1, and what keeps it from looking costs the
//     job its time alone.
//  10. An attempt of another engine that is intended, or to be repeated with nothing
//     else left, waits for that engine, MissingEngineTimeout at most, as a job waits
//     for its own.
//  11. An attempt that is intended and has no pod yet is created when its time
//     has come.
//  12. Otherwise the ladder gives the next attempt, or says why there is none.
//
// # The ladder
//
// The rungs are the engine's variants, in the job's order if it has one, that
// spec.device admits, and, where spec.fallback denies a change, that share
// device or detector with the first rung. Of them:
//
//   - Variants that are on request are rungs only where spec.variants names them.
//   - With spec.video.boxes only variants that take boxes, Required or Optional;
//     without, all but those that require them. Boxes are never ignored. A named
//     variant that does not fit is an error, and not left out in silence.
//   - Where spec.fallback.engine is Allow, the variants of the engine's fallback
//     engine follow, by the same rules of boxes and device; never those on
//     request, for spec.variants cannot name them. The detector is that engine's
//     own, so spec.fallback.detector does not speak of it. Its own fallback engine
//     is not followed. While it is missing or not ready it gives no rung, and the
//     end of the ladder says so, rule 10 aside.
//     A job for which its own engine has no rung fails: another engine follows, it
//     does not stand in.
//   - What attempts showed of detectors, memory and pace speaks of their own
//     engine alone. Attempts of another engine are recorded as engine/variant.
//
// After a failed attempt:
//
//   - Disrupted and SuspendedAttempt repeat the variant and cost nothing;
//     disruptions are bounded by MaxDisruptions.
//   - Retry repeats the variant with backoff, at most spec.backoffLimit times;
//     after that it is NextVariant, or the end where no variant changes anything
//     (the video's place, the results' place).
//   - OutOfMemory repeats the variant once with more memory if its maxMemory
//     admits more than what proved too small; else it is NextVariant.
//   - RetryElsewhere repeats the variant once, away from the node; after that
//     it is NextVariant.
//   - CUDAOutOfMemory on a GPU that others share is RetryElsewhere first.
//   - NextVariant goes on to the first rung below that is untried.
//   - Fail ends the job.
//
// On the way down, rungs are left out, and the job says which and why:
//
//   - those that the policy refuses;
//   - after DetectorLoadCrash those with the same detector on the same device;
//   - after OutOfMemory those of the same image and detector that may not have
//     more than what proved too small; the others of that image start with more;
//   - those that by their own estimate cannot end before the deadline; after an
//     attempt that proved too slow, those on the CPU without an estimate as well;
//   - those that other jobs' attempts teach to skip, while another rung of the
//     same engine is left and the job does not name its variants itself. Once none
//     is left, the first of those that were left out for this alone is tried, even
//     where it lies above the last attempt.
//
// # Cost
//
// An attempt on the CPU says before it starts how long it will take, by its
// variant's estimate and the frames that are known: counted, or asked for by
// spec.video.frames, or else by the thousand. It says so again once prepare has
// counted them.
//
// # Invariants (tested over random histories)
//
//   - It always ends: at most v1alpha1.MaxAttempts attempts.
//   - Never two live pods: a launch, or a look, is only ever decided with none live.
//   - Never a look beside or after an attempt, nor a second one but for a suspended
//     one; and no attempt while a look that was decided has not ended.
//   - Never another end, for a job whose look found nothing or was not made, than it
//     would have without a look, but for the time that it took.
//   - Never a variant outside spec.device or spec.variants, nor one on request that
//     is not named, nor one that would ignore boxes or miss them.
//   - Never another engine's variant before each of the job's own was tried or left
//     out for a reason other than what other jobs teach, nor at all unless
//     spec.fallback.engine allows it.
//   - Never the end of the ladder before a variant that nothing but other jobs'
//     attempts speaks against.
//   - Disruptions never use up the backoff limit.
//   - The same input gives the same decision.
package plan

import (
	"fmt"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
)

// MaxDisruptions bounds how often a job is started again after disruptions.
const MaxDisruptions = 16

// StuckTermination is how long a pod may take to end beyond its own grace
// period before the job says that it waits for it.
const StuckTermination = 60 * time.Second

// MissingEngineTimeout is how long a job waits for an engine that does not exist.
const MissingEngineTimeout = 10 * time.Minute

// Input is all that a decision depends on.
type Input struct {
	Spec     *v1alpha1.PoseJobSpec
	Attempts []attempt.Attempt // with verdicts recorded where there are any
	// Done is true once a verified result is accepted.
	Done bool
	// Look at the job's places.
	Look Look
	// Engine is nil while it is missing or not ready; EngineReason and
	// EngineMessage then say why.
	Engine                      *v1alpha1.PoseEngine
	EngineReason, EngineMessage string
	// Fallback engine of the job; the zero value where it has none.
	Fallback Fallback
	// EngineMissingSince is when the job was first found without an engine; zero
	// when this is the first time.
	EngineMissingSince time.Time
	// Denied is what the policy has against the job, for a person.
	Denied []string
	// Refused variants, that the policy does not allow, with what it has against
	// them. By rung, as Learned.
	Refused map[string]string
	// Frames of the video, 0 while nobody counted them.
	Frames int64
	// Hopeless is why the live attempt cannot succeed any more; nil while it can.
	Hopeless *Hopeless
	// Pace of the live attempt; nil while it has none.
	Pace *Pace
	// Learned is what other jobs' attempts teach, by Rung.Name; AvoidNodes are the
	// nodes that they would rather not run on, by the name of the engine.
	Learned    map[string]Advice
	AvoidNodes map[string][]string
	// Skipped is what the ladder left out so far, as the job's status has it.
	Skipped []v1alpha1.SkippedVariant
	// Started is when the job was taken up; Suspended how long it stood still.
	Started   time.Time
	Suspended time.Duration
	Now       time.Time
}

// Look at the job's places before any attempt.
type Look struct {
	// Wanted says that the job takes results that were computed before.
	Wanted bool
	// Status as recorded, with an end that was judged just now; nil before a look.
	Status *v1alpha1.LookupStatus
	// Pod of the look; nil while there is none.
	Pod *attempt.Pod
}

// Pace is how fast a live attempt says that it is.
type Pace struct {
	// Frames done of Total.
	Frames, Total int64
	// BestMilliFPS is the fastest pace that it kept up for a while, in thousandths
	// of frames per second.
	BestMilliFPS int64
	// Tracked is how long ago its first frame was done.
	Tracked time.Duration
}

// Hopeless is the end of an attempt whose pod still runs.
type Hopeless struct {
	Reason, Message string
	// Action, or empty for the reason's own.
	Action v1alpha1.Action
}

// Advice on a variant from other jobs' attempts.
type Advice struct {
	// Skip it; Message says why.
	Skip    bool
	Message string
	// AvoidGPUProducts are kinds of GPU that it would rather not run on.
	AvoidGPUProducts []string
}

// Kind of a decision.
type Kind string

// Kinds.
const (
	// KindWait: nothing to do until something changes or Until comes.
	KindWait Kind = "Wait"
	// KindLaunch: record Next as intended, then create its pod.
	KindLaunch Kind = "Launch"
	// KindCreate: the last attempt is intended and its pod is to be created.
	KindCreate Kind = "Create"
	// KindEndPod: record Reason on the live attempt, then delete its pod.
	KindEndPod Kind = "EndPod"
	// KindLook: record the look as Running, then create its pod.
	KindLook Kind = "Look"
	// KindCreateLook: the look is recorded and its pod is to be created.
	KindCreateLook Kind = "CreateLook"
	// KindEndLook: record Reason on the look, then delete its pod.
	KindEndLook Kind = "EndLook"
	// KindSucceed: the job is complete.
	KindSucceed Kind = "Succeed"
	// KindFail: no attempt is left.
	KindFail Kind = "Fail"
)

// Decision is what to do now.
type Decision struct {
	Kind    Kind
	Next    v1alpha1.Attempt // of KindLaunch
	Reason  string           // of KindWait, KindEndPod, KindEndLook, KindFail
	Message string
	// Action that follows once the pod of KindEndPod has ended; empty means the
	// reason's own.
	Action v1alpha1.Action
	// Skipped variants, that the ladder left out on its way to Next or to its end.
	Skipped []v1alpha1.SkippedVariant
	// Cost of the attempt on the CPU that starts or runs, for a person; empty where
	// there is none, or nothing to say.
	Cost string
	// Until is when to look again; zero means only when something changes.
	Until time.Time
}

// Next decides.
func Next(in Input) Decision {
	d := decide(in)
	d.Cost = in.cost(d)
	return d
}

func decide(in Input) Decision {
	if in.Done {
		return Decision{Kind: KindSucceed}
	}
	if live := attempt.Live(in.Attempts); live != nil {
		return whileLive(in, live)
	}
	if d, ok := whileLooking(in); ok {
		return d
	}
	if in.Spec.Suspend {
		return Decision{Kind: KindWait, Reason: v1alpha1.ReasonSuspended, Message: "spec.suspend is true; no pod runs"}
	}
	if l := in.Look.Status; l != nil && l.State == v1alpha1.LookupRefused && len(in.Attempts) == 0 {
		return Decision{Kind: KindFail, Reason: l.Reason, Message: l.Message}
	}
	if len(in.Denied) > 0 {
		return Decision{Kind: KindFail, Reason: v1alpha1.ReasonPolicyDenied, Message: denied(in.Denied)}
	}
	deadline := in.deadline()
	if !deadline.IsZero() && !in.Now.Before(deadline) {
		return Decision{Kind: KindFail, Reason: v1alpha1.ReasonDeadlineExceeded, Message: in.deadlineMessage()}
	}
	if in.Engine == nil {
		return in.withoutEngine(deadline)
	}
	return in.climb(deadline)
}

// withoutEngine waits, and not for ever where the engine does not exist.
func (in Input) withoutEngine(deadline time.Time) Decision {
	d := Decision{Kind: KindWait, Reason: in.EngineReason, Message: in.EngineMessage, Until: deadline}
	if in.EngineReason == v1alpha1.ReasonEngineNotReady {
		return d
	}
	since := in.EngineMissingSince
	if since.IsZero() {
		since = in.Now
	}
	over := since.Add(MissingEngineTimeout)
	if in.Now.Before(over) {
		d.Until = earliest(over, deadline)
		return d
	}
	d.Kind, d.Until = KindFail, time.Time{}
	return d
}

// climb asks the ladder, with no pod live and an engine at hand.
func (in Input) climb(deadline time.Time) Decision {
	if n := len(in.Attempts); n > 0 && !in.Attempts[n-1].Recorded() {
		a := in.Attempts[n-1]
		if a.NotBefore != nil && in.Now.Before(a.NotBefore.Time) {
			return Decision{
				Kind: KindWait, Reason: v1alpha1.ReasonBackingOff,
				Message: backingOff(in.Attempts),
				Until:   earliest(a.NotBefore.Time, deadline),
			}
		}
		if d, ok := in.awaitFallback(deadline); ok {
			return d
		}
		return Decision{Kind: KindCreate, Until: deadline}
	}
	next, skipped, end := climb(in)
	if d, ok := in.look(deadline); ok && end == nil {
		return d
	}
	if d, ok := in.awaitFallback(deadline); ok && end != nil {
		return d
	}
	if end != nil {
		return Decision{Kind: KindFail, Reason: end.reason, Message: end.message, Skipped: skipped}
	}
	return Decision{Kind: KindLaunch, Next: *next, Skipped: skipped, Until: deadline}
}

// backingOff says until when the last attempt waits, and why.
func backingOff(attempts []attempt.Attempt) string {
	n := len(attempts)
	next := attempts[n-1]
	message := fmt.Sprintf("attempt %d repeats variant %s, not before %s", next.Number, next.Variant, next.NotBefore.UTC().Format(time.RFC3339))
	if n > 1 {
		last := attempts[n-2]
		message += fmt.Sprintf(", because attempt %d failed: %s: %s", last.Number, last.Reason, last.Message)
	}
	return message
}

func (in Input) deadline() time.Time {
	if in.Spec.ActiveDeadlineSeconds == nil || in.Started.IsZero() {
		return time.Time{}
	}
	return in.Started.Add(seconds(*in.Spec.ActiveDeadlineSeconds)).Add(in.Suspended)
}

func (in Input) deadlineMessage() string {
	return fmt.Sprintf("the job did not end within spec.activeDeadlineSeconds (%s); suspended time is left out", seconds(*in.Spec.ActiveDeadlineSeconds))
}

func seconds(s int64) time.Duration { return time.Duration(s) * time.Second }

// earliest of two times, where zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

func orUnknown(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}
