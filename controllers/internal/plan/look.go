package plan

import (
	"fmt"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
)

// Bounds of a look, from when it was decided. A node that must be made first, or an
// image that cannot be pulled, is no reason to wait: the attempt's own pod will.
const (
	LookPatience = 30 * time.Second
	LookTimeout  = 120 * time.Second
)

// whileLooking decides on the pod of a look; false where there is nothing to await.
func whileLooking(in Input) (Decision, bool) {
	s, p := in.Look.Status, in.Look.Pod
	open := s != nil && s.State == v1alpha1.LookupRunning
	if p == nil || (!open && !p.Live()) {
		return Decision{}, false
	}
	if p.Deleting {
		return ending(in, p, "the look at the job's places"), true
	}
	end := func(reason, format string, args ...any) (Decision, bool) {
		return Decision{Kind: KindEndLook, Reason: reason, Message: fmt.Sprintf(format, args...)}, true
	}
	deadline := in.deadline()
	switch {
	case !open || len(in.Attempts) > 0:
		return end("", "the look is over")
	case in.Spec.Suspend:
		return end(v1alpha1.ReasonSuspendedAttempt, "ended by spec.suspend")
	case !deadline.IsZero() && !in.Now.Before(deadline):
		return end(v1alpha1.ReasonDeadlineExceeded, "%s", in.deadlineMessage())
	case s.Reason != "":
		return end(s.Reason, "%s", s.Message)
	}
	since := in.Now
	if s.StartTime != nil {
		since = s.StartTime.Time
	}
	if missing := missingSecret(in.Spec, p); missing != "" {
		// No attempt could start either, so it is waited for here, where no GPU is held.
		if p.ScheduledAt.After(since) {
			since = p.ScheduledAt
		}
		over := since.Add(seconds(in.Spec.StartTimeoutSeconds))
		if !in.Now.Before(over) {
			return end(v1alpha1.ReasonSecretMissing, "%s", missing)
		}
		return Decision{Kind: KindWait, Reason: v1alpha1.ReasonProgressing, Message: missing, Until: earliest(over, deadline)}, true
	}
	if c := p.Container(attempt.ContainerLookup); c != nil && c.Running && c.StartedAt.After(since) {
		since = c.StartedAt // it may have waited for a Secret
	}
	over := since.Add(LookTimeout)
	if !in.Now.Before(over) {
		return end(v1alpha1.ReasonNoProgress, "the look at the job's places did not end within %s%s", LookTimeout, lookState(in.Spec, p))
	}
	d := Decision{Kind: KindWait, Reason: v1alpha1.ReasonProgressing, Message: looking + lookState(in.Spec, p)}
	reason, stuck := lookStuck(p)
	if impatient := since.Add(LookPatience); stuck != "" {
		if !in.Now.Before(impatient) {
			return end(reason, "%s", stuck)
		}
		over = impatient
	}
	d.Until = earliest(over, deadline)
	return d, true
}

// looking is said while nothing else is known.
const looking = "looking at the places of the video and of the results, before any attempt"

// lookStuck says why the pod does not start, if it does not.
func lookStuck(p *attempt.Pod) (reason, why string) {
	if p.Unschedulable != "" && p.Node == "" {
		return v1alpha1.ReasonNoCapacity, "no node took the pod: " + p.Unschedulable
	}
	for _, c := range p.Containers {
		if waitingForGood[c.Waiting] {
			return v1alpha1.ReasonPodNotStartable, fmt.Sprintf("container %s cannot start: %s: %s", c.Name, c.Waiting, c.WaitingMessage)
		}
	}
	return "", ""
}

func lookState(spec *v1alpha1.PoseJobSpec, p *attempt.Pod) string {
	if _, why := lookStuck(p); why != "" {
		return ": " + why
	}
	if !p.Unprepared {
		return ""
	}
	return fmt.Sprintf(": node %s has not yet prepared the volumes or the network of pod %s", orUnknown(p.Node), p.Name) + whyUnprepared(spec, p)
}

// look before the first attempt, where the job wants one and has had none.
func (in Input) look(deadline time.Time) (Decision, bool) {
	if !in.Look.Wanted || len(in.Attempts) > 0 {
		return Decision{}, false
	}
	switch s := in.Look.Status; {
	case s == nil:
		return Decision{Kind: KindLook, Reason: v1alpha1.ReasonProgressing, Message: looking, Until: earliest(in.Now.Add(LookPatience), deadline)}, true
	case s.State == v1alpha1.LookupRunning:
		until := in.Now.Add(LookPatience)
		if s.StartTime != nil {
			until = s.StartTime.Add(LookPatience)
		}
		if !until.After(in.Now) {
			until = in.Now.Add(time.Second)
		}
		return Decision{Kind: KindCreateLook, Reason: v1alpha1.ReasonProgressing, Message: looking, Until: earliest(until, deadline)}, true
	}
	return Decision{}, false
}

// ending of a pod that is being deleted is waited for, however long it takes.
func ending(in Input, p *attempt.Pod, what string) Decision {
	d := Decision{Kind: KindWait, Reason: v1alpha1.ReasonProgressing, Message: what + " ends"}
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
