package batch

import (
	"fmt"
	"slices"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

// Pod is the pod of the current attempt to list or to index.
type Pod struct {
	// Live: it exists and has not ended.
	Live, Deleting bool
	// Stale: it trusts the certificate of a manager that is gone, so that nobody
	// takes what it has to say.
	Stale bool
	// Report of a pod that ended; nil where it said nothing.
	Report *report.Termination
	// Why it waits, or ended without a report, for a person.
	Why string
}

// PodAction is what to do about a pod.
type PodAction int

// Actions.
const (
	PodWait   PodAction = iota // until it changes, or Until
	PodIntend                  // write down the attempt of that number
	PodCreate                  // create the pod of the attempt that is written down
	PodEnd                     // delete it
	PodDone                    // it did what it was to do
	PodGiveUp                  // no pod will do it
)

// PodStep is the next step of an attempt to list or to index.
type PodStep struct {
	Action PodAction
	// Attempt and NotBefore of PodIntend.
	Attempt   int32
	NotBefore time.Time
	// Until is when to look again; zero means only when something changes.
	Until time.Time
	// Message for a person.
	Message string
}

// refusals are what no other attempt mends.
var refusals = []string{report.ReasonInputUnavailable, report.ReasonInputInvalid, report.ReasonDeliveryFailed, report.ReasonConfig}

// NextPod decides about the pod of an attempt. An attempt stands in the status
// before its pod is made, and there is one pod at a time.
func NextPod(attempt int32, notBefore time.Time, pod *Pod, suspended bool, now time.Time) PodStep {
	switch {
	case pod != nil && pod.Live && pod.Stale && !pod.Deleting:
		return PodStep{Action: PodEnd, Message: "the operator was started again, and so is the pod"}
	case pod != nil && pod.Live:
		return PodStep{Message: pod.Why}
	case pod != nil && pod.Report != nil && pod.Report.Result == report.ResultOK:
		return PodStep{Action: PodDone}
	case pod != nil:
		return afterFailure(attempt, pod, now)
	case suspended:
		return PodStep{Message: "spec.suspend is true"}
	case attempt == 0:
		return PodStep{Action: PodIntend, Attempt: 1}
	case now.Before(notBefore):
		return PodStep{Until: notBefore, Message: fmt.Sprintf("attempt %d waits until %s", attempt, notBefore.UTC().Format(time.RFC3339))}
	}
	return PodStep{Action: PodCreate}
}

func afterFailure(attempt int32, pod *Pod, now time.Time) PodStep {
	why := pod.Why
	refused := false
	if r := pod.Report; r != nil {
		why = r.Message
		if r.Reason != "" {
			why = r.Reason + ": " + why
		}
		refused = r.Result == report.ResultFailed && !r.Temporary && slices.Contains(refusals, r.Reason)
	}
	return again(attempt, refused, why, now)
}

// again gives the next attempt, or gives up.
func again(attempt int32, refused bool, why string, now time.Time) PodStep {
	if why == "" {
		why = "the pod ended without a word"
	}
	if refused || attempt >= MaxPodAttempts {
		return PodStep{Action: PodGiveUp, Message: why}
	}
	delay := 5 * time.Second << min(attempt, 6)
	return PodStep{Action: PodIntend, Attempt: attempt + 1, NotBefore: now.Add(delay), Message: fmt.Sprintf("attempt %d failed: %s", attempt, why)}
}

// Repeat an attempt whose work proved to be not whole, although it said so.
func Repeat(attempt int32, why string, now time.Time) PodStep { return again(attempt, false, why, now) }
