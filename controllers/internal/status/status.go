// Package status computes a PoseJob's status from what is known and decided. It
// is a pure function, and the only place that derives phase and conditions;
// neither is ever read back to decide anything.
//
// # Rules
//
//   - Succeeded and Failed are said only when no pod is live.
//   - Ready, Reconciling and Stalled follow kstatus: working → Reconciling,
//     failed → Stalled and not Ready, complete → Ready.
//   - A condition's lastTransitionTime changes with its status alone.
//   - An attempt in the input is an attempt in the output.
//   - A result that was found stands where one of an attempt would, in the same
//     words, and says that it was found; attempts stay empty.
package status

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/controllers/internal/lookup"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Input is all that a status depends on.
type Input struct {
	Job      *v1alpha1.PoseJob
	Attempts []attempt.Attempt
	Decision plan.Decision
	// Look at the job's places.
	Look lookup.Look
	// EngineName that the job was resolved to, empty while it is not.
	EngineName                  string
	EngineReady                 bool
	EngineReason, EngineMessage string
	// FirstVariant of the ladder, to say whether the result came from a later.
	FirstVariant string
	// Lacks is what the result of the last attempt, or the one that was found, has
	// not, of what one of the job's own engine has, where another engine made it; see
	// engine.Lacks.
	// LacksUnknown says that one of the two engines is gone, and nobody can tell.
	Lacks        []string
	LacksUnknown bool
	// Progress of the live attempt, nil when none was reported.
	Progress *Progress
	Now      time.Time
}

// Progress is the last report of a live attempt.
type Progress struct {
	report.Progress
	At time.Time
}

// Compute gives the whole status.
func Compute(in Input) v1alpha1.PoseJobStatus {
	s := *in.Job.Status.DeepCopy()
	now := metav1.NewTime(in.Now).Rfc3339Copy()
	s.ObservedGeneration = in.Job.Generation
	s.EngineName = in.EngineName
	if s.StartTime == nil {
		s.StartTime = &now
	}
	s.Attempts = records(in)
	s.AttemptCount = int32(len(s.Attempts)) //nolint:gosec // bounded by MaxAttempts
	suspension(&s, in, now)
	look(&s, in, now)
	facts(&s, in)
	skipped(&s, in)
	live(&s, in)
	conditions(&s, in, now)
	return s
}

// records of all attempts, the intended next one and the intent to end the
// live one included.
func records(in Input) []v1alpha1.Attempt {
	out := attempt.Records(in.Attempts)
	for i := range in.Attempts {
		unschedulable(&out[i], in.Attempts[i], in.Now)
	}
	switch in.Decision.Kind {
	case plan.KindLaunch:
		out = append(out, in.Decision.Next)
	case plan.KindEndPod:
		for i := range in.Attempts {
			if in.Attempts[i].Live() && out[i].Reason == "" {
				out[i].Reason, out[i].Action = in.Decision.Reason, in.Decision.Action
				out[i].Message = failure.Clean(in.Decision.Message, maxMessage)
			}
		}
	case plan.KindFail:
		for i := range out {
			if out[i].State == v1alpha1.AttemptIntended {
				now := metav1.NewTime(in.Now).Rfc3339Copy()
				out[i].State, out[i].Reason, out[i].FinishTime = v1alpha1.AttemptFailed, in.Decision.Reason, &now
				out[i].Action = v1alpha1.ActionFail
				out[i].Message = "no pod was made: " + failure.Clean(in.Decision.Message, maxMessage-32)
			}
		}
	}
	return out
}

// unschedulable remembers when no node was first seen to take a pod.
func unschedulable(a *v1alpha1.Attempt, seen attempt.Attempt, now time.Time) {
	waits := seen.Live() && seen.Pod.Unschedulable != "" && seen.Pod.Node == ""
	switch {
	case !waits:
		a.UnschedulableSince = nil
	case a.UnschedulableSince == nil:
		t := metav1.NewTime(now).Rfc3339Copy()
		a.UnschedulableSince = &t
	}
}

// skipped keeps what the ladder left out, each variant with its newest reason;
// one that is tried after all is left out no more.
func skipped(s *v1alpha1.PoseJobStatus, in Input) {
	for _, v := range in.Decision.Skipped {
		v.Message = failure.Clean(v.Message, maxSkipMessage)
		i := slices.IndexFunc(s.SkippedVariants, func(o v1alpha1.SkippedVariant) bool { return o.Variant == v.Variant })
		if i < 0 {
			s.SkippedVariants = append(s.SkippedVariants, v)
		} else {
			s.SkippedVariants[i] = v
		}
	}
	s.SkippedVariants = slices.DeleteFunc(s.SkippedVariants, func(v v1alpha1.SkippedVariant) bool {
		return slices.ContainsFunc(s.Attempts, func(a v1alpha1.Attempt) bool { return a.Variant == v.Variant })
	})
	s.SkippedVariants = s.SkippedVariants[:min(len(s.SkippedVariants), maxSkipped)]
}

// maxSkipped bounds the list; the API allows no more. An engine has no more variants
// at one time, and few jobs pass by all of two engines.
const maxSkipped = 16

// maxSkipMessage bounds a skipped variant's message in bytes.
const maxSkipMessage = 500

// maxMessage bounds messages in bytes.
const maxMessage = 1000

// Record writes a verdict into an attempt.
func Record(a *attempt.Attempt, v failure.Verdict, now time.Time) {
	t := metav1.NewTime(now).Rfc3339Copy()
	a.FinishTime = &t
	a.Message = v.Message
	if v.Succeeded {
		a.State, a.Reason = v1alpha1.AttemptSucceeded, ""
		return
	}
	a.State = v1alpha1.AttemptFailed
	a.Reason, a.Container, a.ExitCode, a.Signal = v.Reason, v.Container, v.ExitCode, v.Signal
	a.Action = v.Action
	if a.Action == "" {
		a.Action = plan.ActionFor(v.Reason)
	}
	a.Evidence = evidence(a, v)
}

// evidence for a bug report, of an engine that died; nil of anything else.
func evidence(a *attempt.Attempt, v failure.Verdict) *v1alpha1.Evidence {
	if v.Container != attempt.ContainerEngine {
		return nil
	}
	e := &v1alpha1.Evidence{Culprit: v.Culprit, LastLines: v.LastWords}
	if a.Pod != nil {
		if r := a.Pod.Engine(); r != nil {
			e.Preflight = r.Preflight
			e.GPUDriver = failure.Clean(r.Driver, 64)
			e.GPUMemoryBytes, e.GPUUsedBytes = max(0, r.GPUMemoryBytes), max(0, r.GPUUsedBytes)
			if r.Crash != nil {
				e.PythonStack = lines(r.Crash.PythonStack)
				e.NativeLibrary = failure.Clean(r.Crash.NativeLibrary, 128)
			}
			e.Versions = versions(r.Versions)
		}
	}
	return e
}

// maxLines and maxLine bound lists of lines in an attempt.
const (
	maxLines = 8
	maxLine  = 200
)

func lines(in []string) []string {
	var out []string
	for _, l := range in[:min(len(in), maxLines)] {
		out = append(out, failure.Clean(l, maxLine))
	}
	return out
}

func versions(in map[string]string) map[string]string {
	var out map[string]string
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if len(out) == maxLines {
			break
		}
		if out == nil {
			out = map[string]string{}
		}
		out[failure.Clean(name, 40)] = failure.Clean(in[name], 64)
	}
	return out
}

func suspension(s *v1alpha1.PoseJobStatus, in Input, now metav1.Time) {
	switch {
	case in.Job.Spec.Suspend && s.SuspendedAt == nil && !finished(in.Decision):
		s.SuspendedAt = &now
	case !in.Job.Spec.Suspend && s.SuspendedAt != nil:
		s.SuspendedSeconds += int64(now.Sub(s.SuspendedAt.Time).Seconds())
		s.SuspendedAt = nil
	}
}

// facts that a finished attempt proved.
func facts(s *v1alpha1.PoseJobStatus, in Input) {
	for _, a := range in.Attempts {
		if a.Pod == nil {
			continue
		}
		if v := a.Pod.Video(); v != nil {
			s.Video = video(v)
		}
		if d := a.Pod.Delivery(); d != nil && a.State == v1alpha1.AttemptSucceeded && s.Output == nil {
			s.Output = output(d)
		}
	}
}

// maxFiles that a status lists; the manifest lists all.
const maxFiles = 16

func output(d *report.DeliveryReport) *v1alpha1.OutputStatus {
	o := &v1alpha1.OutputStatus{URI: d.URI, ManifestSHA256: d.ManifestSHA256, People: d.People, Frames: d.Frames}
	if q := d.Quality; q != nil {
		count := func(n int64) int64 { return min(max(0, n), report.MaxQualityCount) }
		o.Quality = &v1alpha1.ResultQuality{
			CoveragePercent: min(max(0, q.CoveragePercent), 100), Gaps: count(q.Gaps),
			IDSwitchesSuspected: count(q.IDSwitchesSuspected), PeopleFiltered: count(q.PeopleFiltered),
		}
	}
	for _, f := range d.Files[:min(len(d.Files), maxFiles)] {
		o.Files = append(o.Files, v1alpha1.OutputFile{Name: f.Name, URI: d.URI + "/" + f.Path, Size: f.Size, SHA256: f.SHA256})
	}
	return o
}

// live fills what speaks of the live or last attempt.
func live(s *v1alpha1.PoseJobStatus, in Input) {
	s.Stage, s.Progress = "", nil
	if n := len(s.Attempts); n > 0 {
		s.Device, s.Variant = s.Attempts[n-1].Device, s.Attempts[n-1].Variant
	}
	a := attempt.Live(in.Attempts)
	if a == nil {
		return
	}
	s.Stage = a.Stage
	if in.Progress == nil {
		return
	}
	s.Stage = failure.Clean(in.Progress.Stage, 40)
	s.Progress = progress(in.Progress)
	for i := range s.Attempts {
		if s.Attempts[i].Number == a.Number && s.Stage != "" {
			s.Attempts[i].Stage = s.Stage
		}
	}
}

// maxCount bounds every number of a report: what is greater, or negative, is
// nonsense and would overflow what is computed from it.
const maxCount = 1 << 50

// maxLeft is the longest time that an estimate is made for.
const maxLeft = 366 * 24 * 3600

func progress(p *Progress) *v1alpha1.JobProgress {
	done, total := p.Frames, p.Total
	for _, n := range []int64{done, total, p.Bytes, p.TotalBytes, p.MilliFPS} {
		if n < 0 || n > maxCount {
			return nil
		}
	}
	if p.TotalBytes > 0 && total == 0 {
		percent := int32(min(100, p.Bytes*100/p.TotalBytes)) //nolint:gosec // at most 100
		return &v1alpha1.JobProgress{Summary: fmt.Sprintf("%d%%", percent), Percent: percent}
	}
	if total == 0 {
		return nil
	}
	done = min(done, total)
	out := &v1alpha1.JobProgress{
		Frames: done, TotalFrames: total, MilliFPS: p.MilliFPS,
		Percent: int32(done * 100 / total), //nolint:gosec // at most 100
	}
	out.Summary = fmt.Sprintf("%d%% %d/%d", out.Percent, done, total)
	if p.MilliFPS == 0 {
		return out
	}
	if left := (total - done) * 1000 / p.MilliFPS; left <= maxLeft {
		at := metav1.NewTime(p.At.Add(time.Duration(left) * time.Second)).Rfc3339Copy()
		out.EstimatedCompletionTime = &at
	}
	return out
}

func finished(d plan.Decision) bool {
	return d.Kind == plan.KindSucceed || d.Kind == plan.KindFail
}

// SoftEqual says whether two statuses differ in nothing but how far a running
// attempt is. Such a difference may wait; every other one is written at once.
func SoftEqual(a, b v1alpha1.PoseJobStatus) bool {
	return equal(soft(a), soft(b))
}

func soft(s v1alpha1.PoseJobStatus) v1alpha1.PoseJobStatus {
	c := *s.DeepCopy()
	c.Progress, c.Stage, c.Video, c.Phase, c.Conditions = nil, "", nil, "", nil
	for i := range c.Attempts {
		a := &c.Attempts[i]
		if a.State == v1alpha1.AttemptIntended || a.State == v1alpha1.AttemptRunning {
			*a = v1alpha1.Attempt{Number: a.Number, Reason: a.Reason, Variant: a.Variant}
		}
	}
	for _, cond := range s.Conditions {
		if !slices.Contains([]string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling}, cond.Type) {
			meta.SetStatusCondition(&c.Conditions, cond)
		}
	}
	return c
}

// Message makes text from outside fit for a message in status.
func Message(s string) string { return failure.Clean(s, maxMessage) }
