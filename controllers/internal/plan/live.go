package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
)

// whileLive decides on a live pod.
func whileLive(in Input, live *attempt.Attempt) Decision {
	p := live.Pod
	if p.Deleting {
		return ending(in, p, fmt.Sprintf("attempt %d", live.Number))
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
	over, bound := in.attemptDeadline(live)
	if !over.IsZero() && !in.Now.Before(over) {
		return overrun(live, bound)
	}
	deadline = earliest(deadline, over)
	if h := in.Hopeless; h != nil {
		return Decision{Kind: KindEndPod, Reason: h.Reason, Message: h.Message, Action: h.Action}
	}
	for _, check := range []func(Input, *attempt.Attempt) (Decision, bool){tooSlow, Input.Starting} {
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
	if !namesClaim(in.Spec, claim) {
		d.Message = fmt.Sprintf("PersistentVolumeClaim %s, from which the PoseEngine's variant mounts its models, does not exist in the job's namespace. Create it there: each namespace of jobs needs one", claim)
	}
	if !in.Now.Before(d.Until) {
		d.Kind, d.Reason, d.Action, d.Until = KindEndPod, v1alpha1.ReasonPodNotStartable, v1alpha1.ActionFail, time.Time{}
	}
	return d
}

// namesClaim: one of the job's own URIs lies on the claim.
func namesClaim(spec *v1alpha1.PoseJobSpec, claim string) bool {
	uris := []string{spec.Video.URI, spec.Output.URI}
	if spec.Video.Boxes != nil {
		uris = append(uris, spec.Video.Boxes.URI)
	}
	return slices.ContainsFunc(uris, func(uri string) bool { return strings.HasPrefix(uri, "pvc://"+claim+"/") })
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
	over := p.ScheduledAt.Add(seconds(in.Spec.StartTimeoutSeconds))
	if missing := missingSecret(in.Spec, p); missing != "" {
		if in.Now.Before(over) {
			return Decision{Kind: KindWait, Reason: v1alpha1.ReasonProgressing, Message: missing, Until: over}, true
		}
		return Decision{Kind: KindEndPod, Reason: v1alpha1.ReasonSecretMissing, Message: missing}, true
	}
	words := fmt.Sprintf("node %s cannot prepare the volumes or the network of pod %s", p.Node, p.Name) + whyUnprepared(in.Spec, p)
	again := false
	for _, a := range in.Attempts {
		again = again || a.Reason == v1alpha1.ReasonPodNotStartable && a.Action == v1alpha1.ActionRetryElsewhere
	}
	if again {
		// The second node shows what is missing everywhere, and that takes it less.
		over = earliest(over, p.ScheduledAt.Add(secondNode))
	}
	if in.Now.Before(over) {
		return Decision{Kind: KindWait, Reason: v1alpha1.ReasonProgressing, Message: words, Until: over}, true
	}
	d := Decision{Kind: KindEndPod, Reason: v1alpha1.ReasonPodNotStartable, Action: v1alpha1.ActionRetryElsewhere, Message: words}
	if again {
		d.Action = v1alpha1.ActionFail
	}
	return d, true
}

// secondNode is how long another node may take to prepare the pod, after one could
// not within spec.startTimeoutSeconds.
const secondNode = 120 * time.Second

// missingSecret says of a pod that a Secret of the job keeps it from starting, by the
// kubelet's own words; empty where nobody said so, or of another Secret than the
// job names.
func missingSecret(spec *v1alpha1.PoseJobSpec, p *attempt.Pod) string {
	name := p.Unmounted.Secret
	if !p.Unprepared || name == "" {
		return ""
	}
	var fields []string
	for _, n := range secrets(spec) {
		if n.name == name {
			fields = append(fields, n.field)
		}
	}
	if len(fields) == 0 {
		return ""
	}
	return fmt.Sprintf("Secret %s (%s) does not exist in the job's namespace, and pod %s on node %s waits for it. Create it there, or create the PoseJob again with another",
		name, strings.Join(fields, ", "), p.Name, orUnknown(p.Node))
}

// whyUnprepared is what the kubelet says of it, or else what a person should look at.
func whyUnprepared(spec *v1alpha1.PoseJobSpec, p *attempt.Pod) string {
	if p.Unmounted.Words != "" {
		return ". The kubelet says: " + p.Unmounted.Words
	}
	words := ""
	if needs := needed(spec); needs != "" {
		words = fmt.Sprintf(". Do these exist in the job's namespace: %s?", needs)
	}
	return words + fmt.Sprintf(" `kubectl describe pod %s` shows the kubelet's own words", p.Name)
}

// needed are the things by name that a job's pod mounts.
func needed(spec *v1alpha1.PoseJobSpec) string {
	var names []string
	for _, n := range secrets(spec) {
		names = append(names, fmt.Sprintf("Secret %s (%s)", n.name, n.of))
	}
	return strings.Join(names, ", ")
}

// named is a Secret that a job names.
type named struct{ name, of, field string }

func secrets(spec *v1alpha1.PoseJobSpec) []named {
	var out []named
	add := func(of, field string, ref *v1alpha1.SecretReference) {
		if ref != nil {
			out = append(out, named{ref.Name, of, field + ".credentialsSecretRef"})
		}
	}
	add("video", "spec.video", spec.Video.CredentialsSecretRef)
	if b := spec.Video.Boxes; b != nil {
		add("boxes", "spec.video.boxes", b.CredentialsSecretRef)
	}
	add("output", "spec.output", spec.Output.CredentialsSecretRef)
	return out
}

// stuckWith says why the ladder would have nothing after the live attempt if it
// ended for the reason; empty when it has.
func (in Input) stuckWith(live *attempt.Attempt, reason string) string {
	if in.Engine == nil {
		return "its engine is not ready"
	}
	if next, skipped := in.after(live, reason, v1alpha1.ActionNextVariant); next == nil {
		why := "no other variant is left that the job may use"
		for _, s := range skipped {
			if s.Reason == v1alpha1.ReasonFallbackEngineNotReady {
				why += ": " + s.Message
			}
		}
		return why
	}
	return ""
}

// after says what follows if the live attempt fails so; nil is nothing.
func (in Input) after(live *attempt.Attempt, reason string, action v1alpha1.Action) (*v1alpha1.Attempt, []v1alpha1.SkippedVariant) {
	in.Attempts = append([]attempt.Attempt{}, in.Attempts...)
	for i := range in.Attempts {
		if in.Attempts[i].Number == live.Number {
			a := &in.Attempts[i]
			a.State, a.Reason, a.Action, a.Pod = v1alpha1.AttemptFailed, reason, action, nil
		}
	}
	next, skipped, _ := climb(in)
	return next, skipped
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
	if in.Engine != nil {
		if next, _ := in.after(live, d.Reason, v1alpha1.ActionNextVariant); next != nil {
			d.Action = v1alpha1.ActionNextVariant
		}
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
