package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/condition"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
)

func equal(a, b v1alpha1.PoseJobStatus) bool { return equality.Semantic.DeepEqual(a, b) }

// Equal says whether two statuses are the same.
func Equal(a, b v1alpha1.PoseJobStatus) bool { return equal(a, b) }

// setter writes a job's conditions.
type setter struct {
	condition.Setter
	s *v1alpha1.PoseJobStatus
}

func conditions(s *v1alpha1.PoseJobStatus, in Input, now metav1.Time) {
	c := setter{s: s, Setter: condition.Setter{Conditions: &s.Conditions, Generation: in.Job.Generation, Now: now, MaxMessage: maxMessage}}
	engineResolved(c, in)
	suspended(c, in)
	deviceMismatch(c)
	switch in.Decision.Kind {
	case plan.KindSucceed:
		complete(c, in)
	case plan.KindFail:
		failed(c, in)
	default:
		working(c, in)
	}
}

func engineResolved(c setter, in Input) {
	switch {
	case finished(in.Decision) && in.EngineReason == "" && !in.EngineReady:
	case in.EngineReady:
		c.Set(v1alpha1.ConditionEngineResolved, metav1.ConditionTrue, v1alpha1.ReasonEngineResolved, "PoseEngine "+in.EngineName+" is ready")
	case in.EngineReason != "":
		c.Set(v1alpha1.ConditionEngineResolved, metav1.ConditionFalse, in.EngineReason, in.EngineMessage)
	}
}

// deviceMismatch: the newest attempt whose engine ran on the CPU while it held a
// GPU. One that failed before it could open the GPU is no such case.
func deviceMismatch(c setter) {
	for _, a := range slices.Backward(c.s.Attempts) {
		if a.Device != v1alpha1.GPU || a.DeviceUsed == "" {
			continue
		}
		if a.DeviceUsed == v1alpha1.CPU && (a.State == v1alpha1.AttemptSucceeded || a.Stage == v1alpha1.StageTracking || a.Stage == v1alpha1.StageWriting) {
			c.Set(v1alpha1.ConditionDeviceMismatch, metav1.ConditionTrue, v1alpha1.ReasonGPUUnused,
				fmt.Sprintf("attempt %d with variant %s held a GPU on node %s and its engine never opened it: it ran on the CPU. Check the image's CUDA, the driver and the variant's arguments", a.Number, a.Variant, a.Node))
			return
		}
		break
	}
	c.Remove(v1alpha1.ConditionDeviceMismatch)
}

func suspended(c setter, in Input) {
	was := meta.FindStatusCondition(c.s.Conditions, v1alpha1.ConditionSuspended)
	switch {
	case isSuspended(in):
		c.Set(v1alpha1.ConditionSuspended, metav1.ConditionTrue, v1alpha1.ReasonSuspended, "spec.suspend is true; no pod runs")
	case was != nil && !in.Job.Spec.Suspend:
		c.Set(v1alpha1.ConditionSuspended, metav1.ConditionFalse, v1alpha1.ReasonResumed, "spec.suspend is false")
	}
}

// isSuspended: asked for, and no pod lives any more.
func isSuspended(in Input) bool {
	return in.Job.Spec.Suspend && !finished(in.Decision) && attempt.Live(in.Attempts) == nil && !in.Look.Live()
}

func complete(c setter, in Input) {
	s := c.s
	s.Phase = v1alpha1.PhaseSucceeded
	if s.CompletionTime == nil {
		s.CompletionTime = &c.Now
	}
	c.Remove(v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionFailed)
	message := "results are verified"
	if s.Output != nil {
		message = fmt.Sprintf("%s and %s, verified, at %s", count(s.Output.Frames, "frame", "frames"), count(s.Output.People, "person", "people"), s.Output.URI) + noOverlay(in.Job.Spec.Output.Overlay, s.Output)
	}
	if s.ReusedFrom != nil {
		message += ". It was " + byWhom(s.ReusedFrom) + " and found again: no attempt was made"
	}
	c.Set(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, message)
	c.Set(v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, message)
	c.Set(v1alpha1.ConditionFinished, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, message)
	people(c)
	reused(c)
	if other, _ := attempt.SplitVariant(s.Variant); other != "" {
		c.Set(v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonFallback, otherEngine(s, in))
	} else if in.FirstVariant != "" && s.Variant != in.FirstVariant {
		c.Set(v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonFallback, degraded(s, in.FirstVariant))
	}
}

// noOverlay says that the job asked for an overlay and got none. A list of files
// that was cut, or left out because it did not fit, does not tell.
func noOverlay(asked v1alpha1.Overlay, o *v1alpha1.OutputStatus) string {
	made := slices.ContainsFunc(o.Files, func(f v1alpha1.OutputFile) bool { return f.Name == "overlay" })
	if asked == "" || asked == v1alpha1.OverlayNone || made || len(o.Files) == 0 || len(o.Files) >= maxFiles {
		return ""
	}
	return ". It has no overlay: the engine makes none, or its image cannot draw"
}

func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// people: nobody in the result, or not everybody who was seen.
func people(c setter) {
	o := c.s.Output
	if o == nil {
		return
	}
	var filtered int64
	if o.Quality != nil {
		filtered = o.Quality.PeopleFiltered
	}
	if o.People == 0 {
		reason, message := v1alpha1.ReasonNobodySeen, fmt.Sprintf("all %d frames were looked at and nobody was seen. If there are people in the video, they may be too small or too short in view for this engine", o.Frames)
		if filtered > 0 {
			reason, message = v1alpha1.ReasonDetectedButFiltered, fmt.Sprintf("all %d frames were looked at and nobody was kept: %s too small or too short in view for this engine", o.Frames, sightings(filtered))
		}
		c.Set(v1alpha1.ConditionNoPeople, metav1.ConditionTrue, reason, message)
	}
	if filtered > 0 {
		kept := "nobody was kept"
		if o.People > 0 {
			kept = count(o.People, "person was kept", "people were kept")
		}
		c.Set(v1alpha1.ConditionPeopleFiltered, metav1.ConditionTrue, v1alpha1.ReasonDetectedButFiltered,
			fmt.Sprintf("%s in %d frames, and %s too small or too short in view. A larger picture of them helps, or another engine", kept, o.Frames, sightings(filtered)))
	}
}

func sightings(n int64) string {
	return count(n, "sighting was left out as", "sightings were left out as")
}

func degraded(s *v1alpha1.PoseJobStatus, wanted string) string {
	why := ""
	if s.ReusedFrom != nil {
		why = ", as when the same was asked for before"
	}
	for _, v := range s.SkippedVariants {
		if v.Variant == wanted {
			why = fmt.Sprintf(", which was skipped: %s", v.Message)
		}
	}
	for _, a := range s.Attempts {
		if a.Variant == wanted && a.State == v1alpha1.AttemptFailed {
			why = fmt.Sprintf(", because attempt %d with %s failed: %s", a.Number, wanted, a.Reason)
		}
	}
	return fmt.Sprintf("the result comes from variant %s on %s instead of %s%s", s.Variant, s.Device, wanted, why)
}

// otherEngine says which engine made the result, why not the job's own, and what
// is not in it.
func otherEngine(s *v1alpha1.PoseJobStatus, in Input) string {
	other, variant := attempt.SplitVariant(s.Variant)
	message := fmt.Sprintf("the result comes from another engine, %s (variant %s on %s), instead of %s", other, variant, s.Device, s.EngineName)
	switch {
	case len(in.Lacks) > 0:
		message += ", and lacks what that gives: " + strings.Join(in.Lacks, ", ")
	case in.LacksUnknown:
		message += "; what it lacks is not known, for one of the two PoseEngines is gone"
	}
	for _, a := range slices.Backward(s.Attempts) {
		if engine, _ := attempt.SplitVariant(a.Variant); engine == "" && a.State == v1alpha1.AttemptFailed {
			return message + fmt.Sprintf(". The last attempt with %s, %d with variant %s, failed: %s", s.EngineName, a.Number, a.Variant, a.Reason)
		}
	}
	for _, v := range s.SkippedVariants {
		if engine, _ := attempt.SplitVariant(v.Variant); engine == "" {
			message += fmt.Sprintf("; skipped %s: %s", v.Variant, v.Message)
		}
	}
	return message
}

func failed(c setter, in Input) {
	s, d := c.s, in.Decision
	s.Phase = v1alpha1.PhaseFailed
	if s.CompletionTime == nil {
		s.CompletionTime = &c.Now
	}
	message := d.Message
	if n := len(s.Attempts); n > 1 {
		message = fmt.Sprintf("all %d attempts failed. The last: %s", n, d.Message)
	}
	c.Remove(v1alpha1.ConditionReconciling, v1alpha1.ConditionComplete)
	c.Set(v1alpha1.ConditionReady, metav1.ConditionFalse, d.Reason, message)
	c.Set(v1alpha1.ConditionStalled, metav1.ConditionTrue, d.Reason, message)
	c.Set(v1alpha1.ConditionFailed, metav1.ConditionTrue, d.Reason, message)
	c.Set(v1alpha1.ConditionFinished, metav1.ConditionTrue, d.Reason, message)
}

func working(c setter, in Input) {
	s, d := c.s, in.Decision
	reason, message := v1alpha1.ReasonProgressing, d.Message
	if d.Kind == plan.KindWait && d.Cost != "" {
		message += onCPU(d.Cost)
	}
	s.Phase = v1alpha1.PhasePending
	switch {
	case isSuspended(in):
		s.Phase = v1alpha1.PhaseSuspended
		reason, message = v1alpha1.ReasonSuspended, "spec.suspend is true; no pod runs"
	case d.Kind == plan.KindLaunch:
		message = launching(s, d)
	case d.Kind == plan.KindCreate:
		n := s.Attempts[len(s.Attempts)-1]
		message = fmt.Sprintf("attempt %d with variant %s (%s) is being started", n.Number, n.Variant, n.Device) + onCPU(d.Cost)
	case d.Kind == plan.KindEndPod || d.Kind == plan.KindEndLook:
		message = "ending the pod: " + d.Message
	case d.Reason != "":
		reason = d.Reason
		if in.EngineReason != "" && d.Reason == in.EngineReason {
			reason = v1alpha1.ReasonWaitingForEngine
		}
	}
	if a := attempt.Live(in.Attempts); a != nil && a.Pod.Phase == "Running" || s.Stage != "" {
		s.Phase = v1alpha1.PhaseRunning
	}
	c.Remove(v1alpha1.ConditionStalled, v1alpha1.ConditionComplete, v1alpha1.ConditionFailed, v1alpha1.ConditionFinished)
	if s.Phase == v1alpha1.PhaseSuspended {
		// A suspended object is current for kstatus: nothing is going on. It
		// takes Ready=False for work in progress, so that goes as well.
		c.Remove(v1alpha1.ConditionReconciling, v1alpha1.ConditionReady)
		return
	}
	c.Set(v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
	c.Set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, reason, message)
}

// launching says why this attempt follows the last one, and what it costs.
func launching(s *v1alpha1.PoseJobStatus, d plan.Decision) string {
	next := d.Next
	message := fmt.Sprintf("attempt %d with variant %s (%s) is being started", next.Number, next.Variant, next.Device)
	if n := len(s.Attempts); n > 1 {
		last := s.Attempts[n-2]
		message += fmt.Sprintf(" after attempt %d with %s failed: %s", last.Number, last.Variant, last.Reason)
	}
	message += onCPU(d.Cost)
	for _, v := range s.SkippedVariants {
		message += fmt.Sprintf("; skipped %s: %s", v.Variant, v.Message)
	}
	if next.NotBefore != nil {
		message += fmt.Sprintf(" (not before %s)", next.NotBefore.UTC().Format(time.RFC3339))
	}
	return message
}

func onCPU(cost string) string {
	if cost == "" {
		return ""
	}
	return ". On the CPU " + cost
}

// OnCPU is a sentence on an attempt that is about to run on the CPU.
func OnCPU(a v1alpha1.Attempt, cost string) string {
	return fmt.Sprintf("attempt %d with variant %s runs on the CPU: %s", a.Number, a.Variant, cost)
}
