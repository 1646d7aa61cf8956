// Package plan decides what a PoseJob does next. It is a pure function of the
// job, its engine, its attempts with their verdicts, and the time.
//
// # Rules, first match wins
//
//  1. A job with an accepted result is done, whatever the spec says by now.
//  2. While a pod is live, nothing is launched. The pod is ended for suspend,
//     the deadline, a pod that no node takes and a pod that cannot start; the
//     reason is recorded before the pod is deleted. Else it is waited for.
//  3. A suspended job launches nothing.
//  4. What the policy denies fails the job before any pod.
//  5. After the deadline the job fails.
//  6. A job whose engine is not ready waits. One whose engine is missing waits
//     for MissingEngineTimeout, since GitOps applies in any order, and fails
//     then, since a mistyped name never appears.
//  7. An attempt that is intended and has no pod yet is created when its time
//     has come.
//  8. Otherwise the ladder gives the next attempt, or says why there is none.
//
// # The ladder
//
// The rungs are the engine's variants, in the job's order if it has one, that
// spec.device admits, and, where spec.fallback denies a change, that share
// device or detector with the first rung. After a failed attempt:
//
//   - Disrupted and SuspendedAttempt repeat the variant and cost nothing;
//     disruptions are bounded by MaxDisruptions.
//   - Retry repeats the variant with backoff, at most spec.backoffLimit times;
//     after that it is NextVariant.
//   - OutOfMemory repeats the variant once with more memory if its maxMemory
//     admits more than what proved too small; else it is NextVariant.
//   - RetryElsewhere repeats the variant once, away from the node; after that
//     it is NextVariant.
//   - NextVariant goes on to the first rung below that is untried. After
//     DetectorLoadCrash, rungs with the same detector on the same device are
//     skipped.
//   - Fail ends the job.
//
// # Invariants (tested over random histories)
//
//   - It always ends: at most v1alpha1.MaxAttempts attempts.
//   - Never two live pods: a launch is only ever decided with none live.
//   - Never a variant outside spec.device or spec.variants.
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
	// Engine is nil while it is missing or not ready; EngineReason and
	// EngineMessage then say why.
	Engine                      *v1alpha1.PoseEngine
	EngineReason, EngineMessage string
	// EngineMissingSince is when the job was first found without an engine; zero
	// when this is the first time.
	EngineMissingSince time.Time
	// Denied is what the policy has against the job, for a person.
	Denied []string
	// Started is when the job was taken up; Suspended how long it stood still.
	Started   time.Time
	Suspended time.Duration
	Now       time.Time
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
	// KindSucceed: the job is complete.
	KindSucceed Kind = "Succeed"
	// KindFail: no attempt is left.
	KindFail Kind = "Fail"
)

// Decision is what to do now.
type Decision struct {
	Kind    Kind
	Next    v1alpha1.Attempt // of KindLaunch
	Reason  string           // of KindWait, KindEndPod, KindFail
	Message string
	// Until is when to look again; zero means only when something changes.
	Until time.Time
}

// Next decides.
func Next(in Input) Decision {
	if in.Done {
		return Decision{Kind: KindSucceed}
	}
	if live := attempt.Live(in.Attempts); live != nil {
		return whileLive(in, live)
	}
	if in.Spec.Suspend {
		return Decision{Kind: KindWait, Reason: v1alpha1.ReasonSuspended, Message: "spec.suspend is true; no pod runs"}
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
				Message: fmt.Sprintf("attempt %d waits before it repeats variant %s", a.Number, a.Variant),
				Until:   earliest(a.NotBefore.Time, deadline),
			}
		}
		return Decision{Kind: KindCreate, Until: deadline}
	}
	next, end := climb(in)
	if end != nil {
		return Decision{Kind: KindFail, Reason: end.reason, Message: end.message}
	}
	return Decision{Kind: KindLaunch, Next: *next, Until: deadline}
}

// whileLive decides on a live pod.
func whileLive(in Input, live *attempt.Attempt) Decision {
	p := live.Pod
	if p.Deleting {
		d := Decision{Kind: KindWait, Reason: v1alpha1.ReasonProgressing, Message: fmt.Sprintf("attempt %d ends", live.Number)}
		stuck := p.DeletingSince.Add(StuckTermination)
		if in.Now.Before(stuck) {
			d.Until = stuck
			return d
		}
		d.Reason = v1alpha1.ReasonWaitingForTermination
		d.Message = fmt.Sprintf("pod %s on node %s should have ended by %s and may still run; it is never deleted by force. If the node is gone for good, delete the node object",
			p.Name, orUnknown(p.Node), p.DeletingSince.UTC().Format(time.RFC3339))
		return d
	}
	if in.Spec.Suspend {
		return Decision{Kind: KindEndPod, Reason: v1alpha1.ReasonSuspendedAttempt, Message: "ended by spec.suspend"}
	}
	deadline := in.deadline()
	if !deadline.IsZero() && !in.Now.Before(deadline) {
		return Decision{Kind: KindEndPod, Reason: v1alpha1.ReasonDeadlineExceeded, Message: in.deadlineMessage()}
	}
	if live.Reason != "" {
		// The intent to end the pod is recorded and the deletion was not done.
		return Decision{Kind: KindEndPod, Reason: live.Reason, Message: live.Message}
	}
	for _, check := range []func(Input, *attempt.Attempt) (Decision, bool){unschedulable, unstartable} {
		if d, ok := check(in, live); ok {
			d.Until = earliest(d.Until, deadline)
			return d
		}
	}
	return Decision{Kind: KindWait, Reason: v1alpha1.ReasonProgressing, Message: runningMessage(live), Until: deadline}
}

func runningMessage(a *attempt.Attempt) string {
	stage := ""
	if a.Stage != "" {
		stage = ", stage " + a.Stage
	}
	on := ""
	if a.Node != "" {
		on = " on node " + a.Node
	}
	return fmt.Sprintf("attempt %d runs variant %s (%s)%s%s", a.Number, a.Variant, a.Device, on, stage)
}

// unschedulable: no node takes the pod. Only that time counts, not the time
// behind a scheduling gate.
func unschedulable(in Input, live *attempt.Attempt) (Decision, bool) {
	p := live.Pod
	if p.Unschedulable == "" || p.Node != "" {
		return Decision{}, false
	}
	d := Decision{
		Kind: KindWait, Reason: v1alpha1.ReasonProgressing,
		Message: fmt.Sprintf("attempt %d waits for a node: %s", live.Number, p.Unschedulable),
	}
	if in.Spec.PendingTimeoutSeconds == nil {
		return d, true
	}
	limit := seconds(*in.Spec.PendingTimeoutSeconds)
	over := p.UnschedulableSince.Add(limit)
	if in.Now.Before(over) {
		d.Until = over
		return d, true
	}
	return Decision{
		Kind: KindEndPod, Reason: v1alpha1.ReasonNoCapacity,
		Message: fmt.Sprintf("no node took the pod within %s: %s", limit, p.Unschedulable),
	}, true
}

// waitingForGood are container states that a person must mend.
var waitingForGood = map[string]bool{
	"ErrImagePull": true, "ImagePullBackOff": true, "InvalidImageName": true, "ErrImageNeverPull": true,
	"CreateContainerConfigError": true, "CreateContainerError": true, "RunContainerError": true,
}

// unstartable: a scheduled pod whose container cannot start.
func unstartable(in Input, live *attempt.Attempt) (Decision, bool) {
	for _, c := range live.Pod.Containers {
		if !waitingForGood[c.Waiting] {
			continue
		}
		limit := seconds(in.Spec.StartTimeoutSeconds)
		over := triedSince(live.Pod).Add(limit)
		words := fmt.Sprintf("container %s cannot start: %s: %s", c.Name, c.Waiting, c.WaitingMessage)
		if in.Now.Before(over) {
			return Decision{Kind: KindWait, Reason: v1alpha1.ReasonProgressing, Message: words, Until: over}, true
		}
		return Decision{Kind: KindEndPod, Reason: v1alpha1.ReasonPodNotStartable, Message: words}, true
	}
	return Decision{}, false
}

// triedSince is when the kubelet first could start the container that waits: the
// time without a node does not count, nor do the containers before it.
func triedSince(p *attempt.Pod) time.Time {
	since := p.Created.Time
	if p.ScheduledAt.After(since) {
		since = p.ScheduledAt
	}
	for _, c := range p.Containers {
		if c.Init && c.FinishedAt.After(since) {
			since = c.FinishedAt
		}
	}
	return since
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
