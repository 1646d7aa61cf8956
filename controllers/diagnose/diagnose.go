// Package diagnose says of a saved log what the operator would say of it and do
// next: the same rules, the same ladder, without a cluster. It is as pure as
// what it calls.
package diagnose

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
)

// Question is all that a person knows of a dead engine.
type Question struct {
	Log string
	// ExitCode as a shell or Kubernetes shows it: 128 and more is a signal.
	ExitCode *int32
	// Signal as SIGSEGV; read from the log where it is empty.
	Signal string
	// Stage in which it died; read from the log where it is empty.
	Stage string
	// Memory evidence; empty means unknown.
	Memory v1alpha1.MemoryEvidence
	// Engine whose rules and ladder count; nil means the built-in rules alone.
	Engine *v1alpha1.PoseEngine
	// Variant that died; the engine's first where it is empty.
	Variant string
	// Known engines, whose stages are tried on the log when Engine is nil.
	Known []v1alpha1.PoseEngine
}

// Answer is what the operator would say.
type Answer struct {
	// Reason is the class of the failure.
	Reason string `json:"reason"`
	// Stage in which it died; empty when nobody knows.
	Stage string `json:"stage"`
	// Action that follows: Retry, RetryElsewhere, NextVariant or Fail.
	Action v1alpha1.Action `json:"action"`
	// Culprit is the line that decided, CulpritLine its number from 1.
	Culprit     string `json:"culprit"`
	CulpritLine int    `json:"culpritLine,omitempty"`
	// Explanation says what it means, Remedy what a person can do.
	Explanation string `json:"explanation"`
	Remedy      string `json:"remedy"`
	// Next says what the operator would do now.
	Next     string `json:"next"`
	ExitCode *int32 `json:"exitCode,omitempty"`
	Signal   string `json:"signal,omitempty"`
	Engine   string `json:"engine,omitempty"`
	Variant  string `json:"variant,omitempty"`
	// LastLines of the log.
	LastLines []string `json:"lastLines,omitempty"`
}

// Ask answers. The error is a bad rule of the engine's.
func Ask(q Question) (Answer, error) {
	var rules []failure.Rule
	if q.Engine != nil {
		var err error
		if rules, err = failure.Compile(q.Engine.Spec.FailureRules); err != nil {
			return Answer{}, fmt.Errorf("PoseEngine %s: %w", q.Engine.Name, err)
		}
	}
	a := Answer{Stage: q.Stage, ExitCode: q.ExitCode, Signal: q.Signal}
	if a.ExitCode != nil && a.Signal == "" {
		a.ExitCode, a.Signal = failure.Ending(*a.ExitCode)
	}
	if a.ExitCode == nil && a.Signal == "" {
		a.Signal = signalIn(q.Log)
	}
	if a.Stage == "" {
		a.Stage = stageIn(q)
	}
	f := failure.Classify(failure.Evidence{Stage: a.Stage, ExitCode: a.ExitCode, Signal: a.Signal, Memory: q.Memory, Log: q.Log}, rules)
	a.Reason, a.Action, a.Culprit, a.CulpritLine = f.Reason, f.Action, f.Culprit, f.Line
	a.Explanation, a.Remedy, a.LastLines = f.Explanation, f.Remedy, f.LastWords
	if !f.Said && a.ExitCode != nil && *a.ExitCode == 0 {
		// It did not die: what is wrong, if anything, is what it wrote.
		a.Reason = v1alpha1.ReasonOutputInvalid
		a.Explanation, a.Remedy = failure.Meaning(a.Reason)
	}
	if a.Action == "" {
		a.Action = plan.ActionFor(a.Reason)
	}
	return next(a, q), nil
}

// stageIn reads the stage from the log: the last line that enters one, by the
// engine's stages or those of the known engine that finds most in it.
func stageIn(q Question) string {
	engines := q.Known
	if q.Engine != nil {
		engines = []v1alpha1.PoseEngine{*q.Engine}
	}
	best, stage := 0, ""
	for i := range engines {
		if n, s := lastStage(q.Log, engines[i].Spec.Stages); n > best {
			best, stage = n, s
		}
	}
	return stage
}

func lastStage(log string, stages []v1alpha1.StageRule) (lines int, stage string) {
	type pattern struct {
		name string
		re   *regexp.Regexp
	}
	var patterns []pattern
	for _, s := range stages {
		// One that does not compile was refused at admission; it enters nothing.
		if re, err := regexp.Compile(s.Pattern); err == nil {
			patterns = append(patterns, pattern{s.Name, re})
		}
	}
	for line := range strings.Lines(log) {
		i := slices.IndexFunc(patterns, func(p pattern) bool { return p.re.MatchString(line) })
		if i >= 0 {
			lines++
			stage = patterns[i].name
		}
	}
	return lines, stage
}

// endings are how shells, launchers and faulthandler say by which signal a
// process died.
var endings = []struct {
	re     *regexp.Regexp
	signal string
}{
	{regexp.MustCompile(`(?m)(?:^|\d +)Segmentation fault|Fatal Python error: Segmentation fault|\bSIGSEGV\b|\bsegfault at\b|exitcode: -11\b`), "SIGSEGV"},
	{regexp.MustCompile(`(?m)(?:^|\d +)Aborted\b|Fatal Python error: Aborted|\bSIGABRT\b|exitcode: -6\b`), "SIGABRT"},
	{regexp.MustCompile(`(?m)(?:^|\d +)Bus error\b|Fatal Python error: Bus error|\bSIGBUS\b|exitcode: -7\b`), "SIGBUS"},
	{regexp.MustCompile(`(?m)(?:^|\d +)Illegal instruction\b|\bSIGILL\b|exitcode: -4\b`), "SIGILL"},
	{regexp.MustCompile(`(?m)(?:^|\d +)Floating point exception\b|\bSIGFPE\b|exitcode: -8\b`), "SIGFPE"},
	{regexp.MustCompile(`(?m)(?:^|\d +)Killed\b|\bSIGKILL\b|exitcode: -9\b`), "SIGKILL"},
}

func signalIn(log string) string {
	at, signal := -1, ""
	for _, e := range endings {
		found := e.re.FindAllStringIndex(log, -1)
		if n := len(found); n > 0 && found[n-1][0] > at {
			at, signal = found[n-1][0], e.signal
		}
	}
	return signal
}

// next asks the ladder what follows, with an engine; without one the action
// alone speaks.
func next(a Answer, q Question) Answer {
	a.Next = meaning[a.Action]
	if q.Engine == nil || len(q.Engine.Spec.Variants) == 0 {
		return a
	}
	vs := q.Engine.Spec.Variants
	i := slices.IndexFunc(vs, func(v v1alpha1.Variant) bool { return v.Name == q.Variant })
	i = max(i, 0)
	a.Engine, a.Variant = q.Engine.Name, vs[i].Name
	d := plan.Next(plan.Input{
		Spec: jobOf(&vs[i]), Engine: q.Engine, Now: time.Unix(0, 0),
		Attempts: []attempt.Attempt{{Attempt: v1alpha1.Attempt{
			Number: 1, State: v1alpha1.AttemptFailed, Variant: vs[i].Name, Device: vs[i].Device, Detector: vs[i].Detector,
			Reason: a.Reason, Action: a.Action, Message: a.Explanation,
		}}},
	})
	switch d.Kind {
	case plan.KindLaunch:
		a.Next = fmt.Sprintf("%s: attempt 2 runs variant %s (%s)", a.Action, d.Next.Variant, d.Next.Device)
		if d.Next.MemoryBytes > 0 {
			a.Next += fmt.Sprintf(" with %d MiB of memory", d.Next.MemoryBytes>>20)
		}
	case plan.KindFail:
		a.Next = fmt.Sprintf("%s: the job fails with %s, no other variant is left", a.Action, a.Reason)
	}
	return a
}

// jobOf is a job as it ran the variant: with boxes where that needs them, and by name
// where it runs on request.
func jobOf(v *v1alpha1.Variant) *v1alpha1.PoseJobSpec {
	two := int32(2)
	spec := &v1alpha1.PoseJobSpec{
		Device: v1alpha1.DeviceAuto, BackoffLimit: &two,
		Fallback: v1alpha1.Fallback{Device: v1alpha1.Allow, Detector: v1alpha1.Allow},
	}
	if v.Boxes == v1alpha1.BoxesRequired {
		spec.Video.Boxes = &v1alpha1.BoxesSource{}
	}
	if v.OnRequest {
		spec.Variants = []string{v.Name}
	}
	return spec
}

var meaning = map[v1alpha1.Action]string{
	v1alpha1.ActionRetry:          "Retry: the same variant again, after a pause, up to spec.backoffLimit; then the next variant",
	v1alpha1.ActionRetryElsewhere: "RetryElsewhere: the same variant once more, away from the node; then the next variant",
	v1alpha1.ActionNextVariant:    "NextVariant: the engine's next variant that spec.device and spec.fallback allow",
	v1alpha1.ActionFail:           "Fail: the job ends; a repetition would end the same way",
}

// SignalName of a number on Linux, as SIGSEGV; empty when there is none.
func SignalName(n int32) string { return failure.SignalName(n) }
