// Package plan decides what a PoseJob does next. It is a pure function of the
// job, its engine, its attempts with their verdicts, and the time.
//
// # Rules, first match wins
//
//  1. A job with an accepted result is done, whatever the spec says by now.
//  2. While a pod is live, nothing is launched. The pod is ended for suspend,
//     the deadline, a pace by which the deadline cannot be met, a pod that no
//     node takes while another variant is left, and a pod that cannot start; the
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
//   - those that other jobs' attempts teach to skip, while another rung is left
//     and the job does not name its variants itself.
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
	"regexp"
	"strings"
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
	// Refused variants, that the policy does not allow, with what it has against
	// them.
	Refused map[string]string
	// Frames of the video, 0 while nobody counted them.
	Frames int64
	// Pace of the live attempt; nil while it has none.
	Pace *Pace
	// Learned is what other jobs' attempts teach, by variant; AvoidNodes are the
	// nodes that they would rather not run on.
	Learned    map[string]Advice
	AvoidNodes []string
	// Started is when the job was taken up; Suspended how long it stood still.
	Started   time.Time
	Suspended time.Duration
	Now       time.Time
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
	// Action that follows once the pod of KindEndPod has ended; empty means the
	// reason's own.
	Action v1alpha1.Action
	// Skipped variants, that the ladder left out on its way to Next or to its end.
	Skipped []v1alpha1.SkippedVariant
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
				Message: backingOff(in.Attempts),
				Until:   earliest(a.NotBefore.Time, deadline),
			}
		}
		return Decision{Kind: KindCreate, Until: deadline}
	}
	next, skipped, end := climb(in)
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
		return Decision{Kind: KindEndPod, Reason: live.Reason, Message: live.Message, Action: live.Action}
	}
	for _, check := range []func(Input, *attempt.Attempt) (Decision, bool){tooSlow, unschedulable, unprepared, unstartable} {
		if d, ok := check(in, live); ok {
			if d.Kind == KindWait {
				d.Until = earliest(d.Until, deadline)
			}
			return d
		}
	}
	return Decision{Kind: KindWait, Reason: v1alpha1.ReasonProgressing, Message: runningMessage(live), Until: deadline}
}

func runningMessage(a *attempt.Attempt) string {
	on := ""
	if a.Node != "" {
		on = " on node " + a.Node
	}
	return fmt.Sprintf("attempt %d runs variant %s (%s)%s", a.Number, a.Variant, a.Device, on)
}

// unschedulable: no node takes the pod. Only that time counts, not the time
// behind a scheduling gate. While no other variant may be tried, it waits.
func unschedulable(in Input, live *attempt.Attempt) (Decision, bool) {
	p := live.Pod
	if p.Unschedulable == "" || p.Node != "" {
		return Decision{}, false
	}
	d := Decision{
		Kind: KindWait, Reason: v1alpha1.ReasonProgressing,
		Message: fmt.Sprintf("attempt %d waits for a node: %s", live.Number, p.Unschedulable),
	}
	since := in.Now
	if live.UnschedulableSince != nil {
		since = live.UnschedulableSince.Time
	}
	if m := noClaim.FindStringSubmatch(p.Unschedulable); m != nil {
		return in.withoutClaim(m[1], since), true
	}
	if in.Spec.PendingTimeoutSeconds == nil {
		return d, true
	}
	limit := seconds(*in.Spec.PendingTimeoutSeconds)
	over := since.Add(limit)
	if in.Now.Before(over) {
		d.Until = over
		return d, true
	}
	if why := in.stuckWith(live, v1alpha1.ReasonNoCapacity); why != "" {
		d.Message += fmt.Sprintf(" (for more than spec.pendingTimeoutSeconds, %s; it waits on, because %s)", limit, why)
		return d, true
	}
	return Decision{
		Kind: KindEndPod, Reason: v1alpha1.ReasonNoCapacity,
		Message: fmt.Sprintf("no node took the pod within %s: %s", limit, p.Unschedulable),
	}, true
}

// noClaim is how the scheduler says that a claim does not exist.
var noClaim = regexp.MustCompile(`persistentvolumeclaim "([^"]{1,253})" not found`)

// withoutClaim: no node and no variant helps while a claim is missing.
func (in Input) withoutClaim(claim string, since time.Time) Decision {
	d := Decision{
		Kind: KindWait, Reason: v1alpha1.ReasonProgressing, Until: since.Add(seconds(in.Spec.StartTimeoutSeconds)),
		Message: fmt.Sprintf("PersistentVolumeClaim %s does not exist in the job's namespace. Create it, or create the PoseJob again with another URI", claim),
	}
	if !in.Now.Before(d.Until) {
		d.Kind, d.Reason, d.Action, d.Until = KindEndPod, v1alpha1.ReasonPodNotStartable, v1alpha1.ActionFail, time.Time{}
	}
	return d
}

// patienceWithNode is how long a node may take to prepare a pod before the job
// says that it waits for that.
const patienceWithNode = 10 * time.Second

// unprepared: the pod has a node, and the node cannot prepare it: a Secret or a
// volume is missing, or the node's network fails. Once it is tried elsewhere; the
// second time the job fails, for what is missing is missing everywhere.
func unprepared(in Input, live *attempt.Attempt) (Decision, bool) {
	p := live.Pod
	if p.Node == "" || !p.Unprepared || p.ScheduledAt.IsZero() {
		return Decision{}, false
	}
	for _, c := range p.Containers {
		if c.Running || c.Terminated {
			return Decision{}, false
		}
	}
	if patient := p.ScheduledAt.Add(patienceWithNode); in.Now.Before(patient) {
		return Decision{Kind: KindWait, Reason: v1alpha1.ReasonProgressing, Message: runningMessage(live), Until: patient}, true
	}
	words := fmt.Sprintf("node %s cannot prepare the volumes or the network of pod %s", p.Node, p.Name)
	if needs := needed(in.Spec); needs != "" {
		words += fmt.Sprintf(". Do these exist in the job's namespace: %s?", needs)
	}
	words += fmt.Sprintf(" `kubectl describe pod %s` shows the kubelet's own words", p.Name)
	over := p.ScheduledAt.Add(seconds(in.Spec.StartTimeoutSeconds))
	if in.Now.Before(over) {
		return Decision{Kind: KindWait, Reason: v1alpha1.ReasonProgressing, Message: words, Until: over}, true
	}
	d := Decision{Kind: KindEndPod, Reason: v1alpha1.ReasonPodNotStartable, Action: v1alpha1.ActionRetryElsewhere, Message: words}
	for _, a := range in.Attempts {
		if a.Reason == d.Reason && a.Action == d.Action {
			d.Action = v1alpha1.ActionFail
		}
	}
	return d, true
}

// needed are the things by name that a job's pod mounts.
func needed(spec *v1alpha1.PoseJobSpec) string {
	var names []string
	for _, ref := range []struct {
		of     string
		secret *v1alpha1.SecretReference
	}{{"video", spec.Video.CredentialsSecretRef}, {"output", spec.Output.CredentialsSecretRef}} {
		if ref.secret != nil {
			names = append(names, fmt.Sprintf("Secret %s (%s)", ref.secret.Name, ref.of))
		}
	}
	return strings.Join(names, ", ")
}

// stuckWith says why the ladder would have nothing after the live attempt if it
// ended for the reason; empty when it has.
func (in Input) stuckWith(live *attempt.Attempt, reason string) string {
	if in.Engine == nil {
		return "its engine is not ready"
	}
	if !in.left(live, reason, v1alpha1.ActionNextVariant) {
		return "no other variant is left that the job may use"
	}
	return ""
}

// left says whether another variant follows if the live attempt fails so.
func (in Input) left(live *attempt.Attempt, reason string, action v1alpha1.Action) bool {
	in.Attempts = append([]attempt.Attempt{}, in.Attempts...)
	for i := range in.Attempts {
		if in.Attempts[i].Number == live.Number {
			a := &in.Attempts[i]
			a.State, a.Reason, a.Action, a.Pod = v1alpha1.AttemptFailed, reason, action, nil
		}
	}
	next, _, _ := climb(in)
	return next != nil
}

// Bounds of a judgement by pace: so much of it must have been seen, and it must
// miss the deadline by so much, in percent, that no ordinary swing makes it.
const (
	paceFrames  = 20
	paceSeen    = 30 * time.Second
	paceCertain = 125
)

// tooSlow: even at the best pace that it kept up the attempt cannot end before the
// deadline. That is said as soon as it is certain, and not at the deadline. The
// time that it loaded and pauses in between say nothing of its pace.
func tooSlow(in Input, live *attempt.Attempt) (Decision, bool) {
	p, deadline := in.Pace, in.deadline()
	if p == nil || deadline.IsZero() || p.BestMilliFPS <= 0 || p.Frames < paceFrames || p.Total <= p.Frames {
		return Decision{}, false
	}
	need, left := atPace(p.Total-p.Frames, p.BestMilliFPS), deadline.Sub(in.Now)
	if p.Tracked < paceSeen || need/paceCertain*100 <= left {
		return Decision{}, false
	}
	d := Decision{
		Kind: KindEndPod, Reason: v1alpha1.ReasonDeadlineExceeded, Action: v1alpha1.ActionFail,
		Message: fmt.Sprintf("variant %s did %d of %d frames and needs %s more at its best pace, and spec.activeDeadlineSeconds leaves %s", live.Variant, p.Frames, p.Total, need.Round(time.Second), left.Round(time.Second)),
	}
	if in.Engine != nil && in.left(live, d.Reason, v1alpha1.ActionNextVariant) {
		d.Action = v1alpha1.ActionNextVariant
	}
	return d, true
}

// atPace is how long so many frames take, at most a hundred years.
func atPace(frames, milliFPS int64) time.Duration {
	const most = 100 * 365 * 24 * 3600
	return time.Duration(min(float64(frames)*1000/float64(milliFPS), most) * float64(time.Second))
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
