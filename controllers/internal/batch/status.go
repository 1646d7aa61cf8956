package batch

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/condition"
)

// maxStatusMessage bounds a condition's message.
const maxStatusMessage = 1024

// Report of one reconcile, from which the status follows.
type Report struct {
	Batch *v1alpha1.PoseBatch
	Now   time.Time
	// Listing and Index as they are to be written.
	Listing *v1alpha1.BatchListing
	Index   *v1alpha1.BatchIndex
	// Plan of a batch whose clips are listed; nil before.
	Plan *Plan
	// Name gives the name of a clip that failed.
	Name func(Place) string
	// Waiting says what a pod of the batch's own waits for.
	Waiting string
	// End of the batch; nil while it goes on.
	End *End
}

// End of a batch.
type End struct {
	Failed          bool
	Reason, Message string
}

// EndOf a batch whose clips all ended, with its index written or given up.
func EndOf(r *Report, indexFailed string) *End {
	c := r.Plan.Tally.Counts
	message := sum(c)
	if r.Index != nil && r.Index.Missing > 0 {
		message += fmt.Sprintf("; %d of the results were not to be read for batch.json", r.Index.Missing)
	}
	if indexFailed != "" {
		message += "; batch.json cannot be written: " + indexFailed
	}
	switch stop := r.Batch.Status.Stopping; {
	case stop != nil:
		return &End{Failed: true, Reason: stop.Reason, Message: stop.Message + ". " + message}
	case c.Failed > 0:
		return &End{Failed: true, Reason: v1alpha1.ReasonClipsFailed, Message: message}
	case indexFailed != "":
		return &End{Failed: true, Reason: v1alpha1.ReasonIndexFailed, Message: message}
	}
	if r.Index != nil && r.Index.Missing > 0 {
		return &End{Failed: true, Reason: v1alpha1.ReasonResultsMissing, Message: message}
	}
	return &End{Reason: v1alpha1.ReasonSucceeded, Message: message}
}

// sum of counts for a person.
func sum(c v1alpha1.BatchCounts) string {
	s := fmt.Sprintf("%d of %d clips succeeded", c.Succeeded, c.Total)
	for _, x := range []struct {
		n    int32
		text string
	}{{c.Reused, "%d of them computed before"}, {c.Failed, "%d failed"}, {c.Cancelled, "%d were cancelled"}} {
		if x.n > 0 {
			s += ", " + fmt.Sprintf(x.text, x.n)
		}
	}
	return s
}

// Status of the batch.
func Status(r Report) v1alpha1.PoseBatchStatus {
	s := *r.Batch.Status.DeepCopy()
	s.ObservedGeneration = r.Batch.Generation
	now := metav1.NewTime(r.Now).Rfc3339Copy()
	if s.StartTime == nil {
		s.StartTime = &now
	}
	s.Listing, s.Index = r.Listing, r.Index
	if r.Plan != nil {
		numbers(&s, r)
		if s.Stopping == nil && r.Plan.Stop != nil {
			s.Stopping = r.Plan.Stop.DeepCopy()
			s.Stopping.Time = now
		}
	}
	suspension(&s, r, now)
	w := writer{s: &s, Setter: condition.Setter{Conditions: &s.Conditions, Generation: r.Batch.Generation, Now: now, MaxMessage: maxStatusMessage}}
	w.listed(r)
	switch {
	case r.End != nil && r.End.Failed:
		w.failed(*r.End)
	case r.End != nil:
		w.complete(*r.End)
	default:
		w.working(r)
	}
	return s
}

func numbers(s *v1alpha1.PoseBatchStatus, r Report) {
	t := r.Plan.Tally
	c := t.Counts
	s.Counts = &c
	ended := c.Succeeded + c.Failed + c.Cancelled
	if c.Total > 0 {
		s.Percent = int32(int64(ended) * 100 / int64(c.Total)) //nolint:gosec // at most 100
	}
	s.Progress = fmt.Sprintf("%d%% %d/%d", s.Percent, ended, c.Total)
	s.GPUSeconds, s.CPUSeconds = t.Used.GPUSeconds, t.Used.CPUSeconds
	s.Failures = nil
	for _, f := range t.Failures {
		s.Failures = append(s.Failures, v1alpha1.BatchFailure{Name: r.Name(f), Index: int32(f.Clip), Reason: f.Failure.Reason, Message: f.Failure.Message}) //nolint:gosec // at most MaxClips
	}
	estimate(s, r)
}

// estimate what is left by what the clips took that ended and were computed: what lay
// there already says nothing of the others.
func estimate(s *v1alpha1.PoseBatchStatus, r Report) {
	t := r.Plan.Tally
	c := t.Counts
	s.Average, s.EstimatedCompletionTime, s.EstimatedGPUSeconds, s.EstimatedCPUSeconds = nil, nil, 0, 0
	n := int64(c.Succeeded + c.Failed - c.Reused)
	if n <= 0 {
		return
	}
	s.Average = &v1alpha1.BatchAverage{
		Seconds: t.Totals.Seconds / n, GPUMilliseconds: t.Totals.GPUSeconds * 1000 / n, CPUMilliseconds: t.Totals.CPUSeconds * 1000 / n,
	}
	left := int64(c.Pending + c.Running)
	if left == 0 || r.End != nil || s.Stopping != nil {
		return
	}
	s.EstimatedGPUSeconds = left * t.Totals.GPUSeconds / n
	s.EstimatedCPUSeconds = left * t.Totals.CPUSeconds / n
	if r.Batch.Spec.Suspend {
		return
	}
	// What runs has done a part already, but never more than what a clip takes.
	whole := time.Duration(left*t.Totals.Seconds/n) * time.Second
	done := min(t.Ages, time.Duration(int64(c.Running)*t.Totals.Seconds/n)*time.Second)
	slots := left
	if perPod := int64(r.Batch.Spec.ClipsPerPod); t.Queues > 0 && perPod > 1 {
		slots = (left + perPod - 1) / perPod
	}
	side := max(1, min(int64(r.Batch.Spec.Parallelism), slots))
	at := metav1.NewTime(r.Now.Add((whole - done) / time.Duration(side)).Truncate(10 * time.Second))
	s.EstimatedCompletionTime = &at
}

func suspension(s *v1alpha1.PoseBatchStatus, r Report, now metav1.Time) {
	suspended := r.Batch.Spec.Suspend && r.End == nil
	switch {
	case suspended && s.SuspendedAt == nil:
		s.SuspendedAt = &now
	case !suspended && s.SuspendedAt != nil:
		s.SuspendedSeconds += max(0, int64(now.Sub(s.SuspendedAt.Time).Seconds()))
		s.SuspendedAt = nil
	}
}

// writer of a batch's conditions.
type writer struct {
	condition.Setter
	s *v1alpha1.PoseBatchStatus
}

// Whole says whether the list of clips is made.
func Whole(l *v1alpha1.BatchListing) bool { return l != nil && l.CompletionTime != nil }

func (w writer) listed(r Report) {
	l := r.Listing
	switch {
	case Whole(l):
		message := fmt.Sprintf("%d clips", l.Clips)
		if l.Skipped > 0 {
			message += fmt.Sprintf("; %d entries were left out, for no PoseJob can name them", l.Skipped)
		}
		w.Set(v1alpha1.ConditionListed, metav1.ConditionTrue, v1alpha1.ConditionListed, message)
	case r.End != nil:
		w.Set(v1alpha1.ConditionListed, metav1.ConditionFalse, r.End.Reason, r.End.Message)
	default:
		message := "the list of clips is being made"
		for _, more := range []string{listingMessage(l), r.Waiting} {
			if more != "" {
				message += "; " + more
			}
		}
		w.Set(v1alpha1.ConditionListed, metav1.ConditionFalse, v1alpha1.ReasonListing, message)
	}
}

func listingMessage(l *v1alpha1.BatchListing) string {
	if l == nil {
		return ""
	}
	return l.Message
}

func (w writer) ended() {
	if w.s.CompletionTime == nil {
		w.s.CompletionTime = &w.Now
	}
	w.Remove(v1alpha1.ConditionReconciling)
	if meta.FindStatusCondition(w.s.Conditions, v1alpha1.ConditionSuspended) != nil {
		w.Set(v1alpha1.ConditionSuspended, metav1.ConditionFalse, v1alpha1.ReasonResumed, "the batch has ended")
	}
}

func (w writer) failed(e End) {
	w.s.Phase = v1alpha1.BatchPhaseFailed
	w.ended()
	w.Remove(v1alpha1.ConditionComplete)
	w.Set(v1alpha1.ConditionReady, metav1.ConditionFalse, e.Reason, e.Message)
	for _, k := range []string{v1alpha1.ConditionStalled, v1alpha1.ConditionFailed, v1alpha1.ConditionFinished} {
		w.Set(k, metav1.ConditionTrue, e.Reason, e.Message)
	}
}

func (w writer) complete(e End) {
	w.s.Phase = v1alpha1.BatchPhaseSucceeded
	w.ended()
	w.Remove(v1alpha1.ConditionStalled, v1alpha1.ConditionFailed)
	for _, k := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionComplete, v1alpha1.ConditionFinished} {
		w.Set(k, metav1.ConditionTrue, e.Reason, e.Message)
	}
}

func (w writer) working(r Report) {
	s := w.s
	w.Remove(v1alpha1.ConditionStalled, v1alpha1.ConditionComplete, v1alpha1.ConditionFailed, v1alpha1.ConditionFinished)
	resting := r.Plan == nil || r.Plan.Tally.Live == r.Plan.Tally.Resting
	if r.Batch.Spec.Suspend && resting && s.Stopping == nil && (r.Plan == nil || !r.Plan.Ended) {
		// A suspended object is current for kstatus, which takes Ready=False for work
		// in progress: so that goes as well.
		s.Phase = v1alpha1.BatchPhaseSuspended
		w.Set(v1alpha1.ConditionSuspended, metav1.ConditionTrue, v1alpha1.ReasonSuspended, "spec.suspend is true; nothing runs")
		w.Remove(v1alpha1.ConditionReconciling, v1alpha1.ConditionReady)
		return
	}
	if meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionSuspended) != nil && !r.Batch.Spec.Suspend {
		w.Set(v1alpha1.ConditionSuspended, metav1.ConditionFalse, v1alpha1.ReasonResumed, "spec.suspend is false")
	}
	reason, message := w.phase(r)
	w.Set(v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
	w.Set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, reason, message)
}

func (w writer) phase(r Report) (reason, message string) {
	s := w.s
	switch {
	case r.Plan == nil:
		s.Phase = v1alpha1.BatchPhaseListing
		return v1alpha1.ReasonListing, meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionListed).Message
	case r.Plan.Ended:
		s.Phase = v1alpha1.BatchPhaseIndexing
		message = sum(*s.Counts) + "; batch.json is being written"
		for _, more := range []string{indexMessage(r.Index), r.Waiting} {
			if more != "" {
				message += "; " + more
			}
		}
		return v1alpha1.ReasonIndexing, message
	case s.Stopping != nil:
		s.Phase = v1alpha1.BatchPhaseStopping
		return s.Stopping.Reason, fmt.Sprintf("%s. What runs is being ended: %s", s.Stopping.Message, living(r.Plan.Tally))
	}
	s.Phase = v1alpha1.BatchPhaseRunning
	message = fmt.Sprintf("%d clips run; %s", s.Counts.Running, sum(*s.Counts))
	if s.EstimatedCompletionTime != nil {
		message += ". The last may end about " + s.EstimatedCompletionTime.UTC().Format(time.RFC3339)
	}
	if r.Waiting != "" {
		message += ". " + r.Waiting
	}
	return v1alpha1.ReasonProgressing, message
}

// living PoseJobs and pods of many clips in words.
func living(t Tally) string {
	s := fmt.Sprintf("%d PoseJobs", t.Jobs)
	if pods := t.Live - t.Jobs; pods > 0 {
		s += fmt.Sprintf(" and %d pods of many clips", pods)
	}
	return s
}

func indexMessage(i *v1alpha1.BatchIndex) string {
	if i == nil {
		return ""
	}
	return i.Message
}

// Equal says whether two statuses are the same.
func Equal(a, b v1alpha1.PoseBatchStatus) bool { return equality.Semantic.DeepEqual(a, b) }

// SoftEqual says whether two statuses differ in nothing but how far the batch is, so
// that writing the newer one can wait.
func SoftEqual(a, b v1alpha1.PoseBatchStatus) bool {
	hard := func(s v1alpha1.PoseBatchStatus) v1alpha1.PoseBatchStatus {
		s = *s.DeepCopy()
		s.Progress, s.Percent, s.Counts, s.Failures, s.GPUSeconds, s.CPUSeconds, s.Average = "", 0, nil, nil, 0, 0, nil
		s.EstimatedCompletionTime, s.EstimatedGPUSeconds, s.EstimatedCPUSeconds = nil, 0, 0
		for i := range s.Conditions {
			s.Conditions[i].Message = ""
		}
		return s
	}
	return a.Counts != nil && Equal(hard(a), hard(b))
}
