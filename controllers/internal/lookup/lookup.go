// Package lookup joins the look at a job's places, which a small pod makes before
// any attempt, with what the job's status says of it. It is pure.
//
// # Rules
//
//   - The look is recorded as Running before its pod is made, and ends in one of
//     four states, which is never changed afterwards.
//   - Found and Refused need the word of the look's own container, which runs our
//     code alone: a result that lies below the job's own output, or a refusal that
//     no attempt could mend. A Secret of the job's that did not exist for as long as
//     an attempt would have waited for it refuses too: no attempt could start. Everything else leaves the job as it would be without
//     a look: NotFound where it was made, Skipped where it could not be.
//   - A pod that is live has not ended; its record knows it by UID, and one that
//     vanishes before it was read is Skipped. A look that has no pod for
//     NoPodTimeout is Skipped.
//   - A look that was ended by spec.suspend and proves nothing is forgotten once its
//     pod is gone, and made again on resume; so is one that was suspended before it
//     had a pod.
//   - What the pod says is bounded and cleaned.
package lookup

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/internal/report"
)

// NoPodTimeout is how long a look may be recorded without its pod being made.
const NoPodTimeout = 30 * time.Second

// Look as the record and the cluster show it together.
type Look struct {
	// Status is nil while none was decided, and again after a suspended one.
	Status *v1alpha1.LookupStatus
	// Pod is nil while there is none.
	Pod *attempt.Pod
	// Fresh says that the end was judged just now.
	Fresh bool
	// Found is the result of a look that just found one.
	Found *report.ReusedResult
}

// Live says whether the look's pod may still run.
func (l Look) Live() bool { return l.Pod != nil && l.Pod.Live() }

// Join the record of a job's look with the job's pods, and judge its end. Without
// says why the job has no recipe by which results could be compared; empty where it
// has one.
func Join(job *v1alpha1.PoseJob, pods []corev1.Pod, without string, now time.Time) Look {
	l := Look{Status: job.Status.Lookup.DeepCopy(), Pod: find(job, pods)}
	if l.Status == nil && l.Pod != nil && len(job.Status.Attempts) == 0 {
		// A status that was lost.
		l.Status = &v1alpha1.LookupStatus{State: v1alpha1.LookupRunning, StartTime: l.Pod.Created.DeepCopy()}
	}
	if l.Status == nil || l.Status.State != v1alpha1.LookupRunning {
		return l
	}
	if l.Pod != nil {
		l.Status.PodName, l.Status.PodUID = l.Pod.Name, l.Pod.UID
	}
	v, ended := judge(&l, job, now)
	if !ended {
		return l
	}
	if v.again {
		l.Status = nil
		return l
	}
	l.Fresh, l.Found = true, v.found
	l.Status.State, l.Status.Reason = v.state, v.reason
	l.Status.Message = failure.Clean(v.message, maxMessage)
	if v.state == v1alpha1.LookupNotFound && without != "" {
		l.Status.Message = failure.Clean(without, maxMessage)
	}
	l.Status.FinishTime = new(metav1.NewTime(now).Rfc3339Copy())
	return l
}

// maxMessage bounds a message in bytes; the API allows 1024.
const maxMessage = 1000

// find the look's pod: the one that the record knows, or the one that says so.
func find(job *v1alpha1.PoseJob, pods []corev1.Pod) *attempt.Pod {
	known := ""
	if s := job.Status.Lookup; s != nil {
		known = s.PodUID
	}
	i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return known != "" && string(p.UID) == known })
	if i < 0 {
		i = slices.IndexFunc(pods, func(p corev1.Pod) bool {
			return p.Labels[v1alpha1.LabelPurpose] == v1alpha1.PurposeLookup &&
				!slices.ContainsFunc(job.Status.Attempts, func(a v1alpha1.Attempt) bool { return a.PodUID == string(p.UID) })
		})
	}
	// Another pod of that purpose than the record's own is no proof of anything
	// while the record's is gone.
	if i < 0 || (known != "" && string(pods[i].UID) != known && job.Status.Lookup.State == v1alpha1.LookupRunning) {
		return nil
	}
	p := attempt.View(&pods[i])
	return &p
}

type verdict struct {
	state           v1alpha1.LookupState
	reason, message string
	found           *report.ReusedResult
	again           bool
}

func judge(l *Look, job *v1alpha1.PoseJob, now time.Time) (verdict, bool) {
	s, p := l.Status, l.Pod
	suspended := s.Reason == v1alpha1.ReasonSuspendedAttempt
	switch {
	case p == nil && (suspended || (s.PodUID == "" && job.Spec.Suspend)):
		return verdict{again: true}, true
	case s.Reason == v1alpha1.ReasonSecretMissing && !l.Live() && !spoke(p):
		return verdict{state: v1alpha1.LookupRefused, reason: s.Reason, message: s.Message}, true
	case p == nil && s.PodUID != "":
		return skipped(s, "the pod that looked is gone: it was deleted, or its node was removed"), true
	case p == nil:
		if s.StartTime != nil && now.Before(s.StartTime.Add(NoPodTimeout)) {
			return verdict{}, false
		}
		return skipped(s, fmt.Sprintf("no pod could be made within %s", NoPodTimeout)), true
	case p.Live():
		return verdict{}, false
	}
	t := p.Report(attempt.ContainerLookup)
	switch {
	case t == nil:
	case len(job.Status.Attempts) > 0:
		return skipped(s, "the job had an attempt before the look ended"), true
	case t.Result == report.ResultOK && p.Phase == corev1.PodSucceeded && t.Lookup != nil:
		return answered(s, t.Lookup, job), true
	case t.Result == report.ResultFailed && !t.Temporary && refusals[t.Reason]:
		return verdict{state: v1alpha1.LookupRefused, reason: t.Reason, message: cmp.Or(t.Message, "the look at the job's places failed")}, true
	}
	if suspended {
		return verdict{}, false // until the pod is gone, for the next one has its name
	}
	return skipped(s, lastWords(p, t)), true
}

// spoke says that the look's container left a word.
func spoke(p *attempt.Pod) bool { return p != nil && p.Report(attempt.ContainerLookup) != nil }

// refusals are what no attempt could mend either.
var refusals = map[string]bool{
	report.ReasonInputUnavailable: true, report.ReasonInputInvalid: true, report.ReasonScratchExceeded: true, report.ReasonDeliveryFailed: true,
}

// skipped for the reason that was recorded before the pod was ended, or else for
// what was seen.
func skipped(s *v1alpha1.LookupStatus, seen string) verdict {
	return verdict{state: v1alpha1.LookupSkipped, reason: s.Reason, message: cmp.Or(s.Message, seen)}
}

// digest as it stands in a manifest's name.
var digest = regexp.MustCompile(`^[0-9a-f]{1,64}$`)

func answered(s *v1alpha1.LookupStatus, r *report.LookupReport, job *v1alpha1.PoseJob) verdict {
	if r.Reused == nil {
		return verdict{state: v1alpha1.LookupNotFound, message: cmp.Or(r.Why, "no result lies there")}
	}
	found := &r.Reused.Result
	place := strings.TrimRight(job.Spec.Output.URI, "/")
	if !digest.MatchString(found.ManifestSHA256) || (found.URI != place && !strings.HasPrefix(found.URI, place+"/")) {
		return skipped(s, "the look named a result that does not lie below the job's own output")
	}
	return verdict{state: v1alpha1.LookupFound, message: "a verified result lies at " + found.URI, found: r.Reused}
}

// lastWords of a pod that did not answer.
func lastWords(p *attempt.Pod, t *report.Termination) string {
	c := p.Container(attempt.ContainerLookup)
	switch {
	case p.Disruption != "":
		return "the pod was disrupted: " + p.Disruption
	case t != nil && t.Message != "":
		return t.Message
	case p.Reason != "":
		return strings.TrimSpace(p.Reason + ": " + p.Message)
	case p.Deleting:
		return "the pod was deleted by somebody else"
	case c != nil && c.Terminated:
		return strings.TrimRight(fmt.Sprintf("container %s ended with exit code %d (%s): %s", c.Name, c.ExitCode, c.TerminatedReason, failure.Clean(c.RawMessage, 300)), ": ")
	}
	return "the pod ended without a word"
}
