package failure

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/internal/report"
)

// nearLimit is the part of the memory limit, in percent, from which a SIGKILL
// counts as the kernel's: the last pages that broke the limit were never in use.
const nearLimit = 95

// engine judges the engine's own end.
func engine(a attempt.Attempt, rules []Rule) (Verdict, bool) {
	c := a.Pod.Container(attempt.ContainerEngine)
	if c == nil || !c.Terminated || c.ExitCode == 0 {
		return Verdict{}, false
	}
	if v, ok := neverRan(c); ok {
		return v, true
	}
	e := engineReport(a)
	ev := evidence(a, c, e)
	v := Verdict{Container: c.Name, ExitCode: ev.ExitCode, Signal: ev.Signal}
	if c.Report != nil && believed[c.Report.Reason] && ev.Memory != v1alpha1.MemoryAtLimit {
		// Any other reason is not the runner's: the engine can write the message
		// of its container.
		v.Reason, v.Message = typed(c.Report.Reason), c.Report.Message
		text := readLog(ev.Log)
		v.LastWords = text.lastWords(maxLastWords)
		return v, true
	}
	f := Classify(ev, rules)
	v.Reason, v.Action, v.Culprit, v.LastWords = f.Reason, f.Action, f.Culprit, f.LastWords
	v.Message = describe(ev, f, e)
	return v, true
}

// believed reasons that the runner itself gives of an engine. A forged one
// concerns no job but its own.
var believed = map[string]bool{
	report.ReasonNoProgress: true, report.ReasonConfig: true,
	v1alpha1.ReasonDeviceUnusable: true, v1alpha1.ReasonCUDAOutOfMemory: true,
}

// neverRan: the runtime could not start the container. The words are its own,
// and name a missing program, a missing user or an unusable GPU.
func neverRan(c *attempt.Container) (Verdict, bool) {
	switch c.TerminatedReason {
	case "StartError", "ContainerCannotRun", "RunContainerError", "CreateContainerError":
	default:
		return Verdict{}, false
	}
	v := Verdict{Container: c.Name, Reason: v1alpha1.ReasonPodNotStartable, Culprit: Clean(c.RawMessage, maxCulprit)}
	v.ExitCode, v.Signal = exitOf(c)
	f := Classify(Evidence{Log: c.RawMessage}, nil)
	if f.Reason == v1alpha1.ReasonDeviceUnusable || f.Reason == v1alpha1.ReasonGPUHardwareFault {
		v.Reason = f.Reason
	}
	v.Message = fmt.Sprintf("the container runtime could not start container %s: %s%s", c.Name, c.TerminatedReason, quote(c.RawMessage))
	return v, true
}

// memory says what is known of a dead engine's memory.
func memory(c *attempt.Container, e report.EngineReport, signal string) v1alpha1.MemoryEvidence {
	known := e.LimitMemoryBytes > 0 && e.PeakMemoryBytes > 0
	switch {
	case c.TerminatedReason == "OOMKilled", e.OOMKills > 0:
		return v1alpha1.MemoryAtLimit
	case known && signal == "SIGKILL" && nearTheLimit(e):
		return v1alpha1.MemoryAtLimit
	case known:
		return v1alpha1.MemoryBelowLimit
	}
	return v1alpha1.MemoryUnknown
}

// nearTheLimit compares without overflow: the engine can forge both figures.
func nearTheLimit(e report.EngineReport) bool {
	return e.PeakMemoryBytes >= e.LimitMemoryBytes-e.LimitMemoryBytes/100*(100-nearLimit)
}

// evidence of how the engine ended. The runner saw the true signal; where it
// died itself, what the runtime saw stands in its place.
func evidence(a attempt.Attempt, c *attempt.Container, e report.EngineReport) Evidence {
	ev := Evidence{Stage: e.Stage, ExitCode: e.ExitCode, Signal: e.Signal}
	if ev.ExitCode == nil && ev.Signal == "" {
		ev.ExitCode, ev.Signal = exitOf(c)
	}
	parts := append([]string{}, e.LogErrors...)
	if e.Crash != nil && e.Crash.FatalError != "" {
		parts = append(parts, e.Crash.FatalError)
	}
	parts = append(parts, e.LogTail)
	if c.Report == nil {
		// The kubelet's own end of the log is the surest, and may be all.
		parts = []string{a.Pod.EngineLog, c.RawMessage}
	}
	ev.Log = strings.Trim(strings.Join(parts, "\n"), "\n")
	ev.Memory = memory(c, e, ev.Signal)
	return ev
}

// describe says what happened, what it means and what to do.
func describe(ev Evidence, f Finding, e report.EngineReport) string {
	what := "the engine ended"
	switch {
	case f.Reason == v1alpha1.ReasonOutOfMemory:
		what = "the engine ran out of memory"
	case ev.Signal != "":
		what = "the engine was killed by " + ev.Signal
	case ev.ExitCode != nil:
		what = fmt.Sprintf("the engine ended with exit code %d", *ev.ExitCode)
	}
	what += inStage(ev.Stage)
	if f.Reason == v1alpha1.ReasonOutOfMemory {
		what += peak(e)
	}
	parts := []string{what, f.Explanation}
	if f.Said {
		parts = append(parts, "It said: "+said(f.Culprit))
	} else if len(f.LastWords) > 0 {
		parts = append(parts, "Last words: "+lastLines(f.LastWords, 3))
	}
	parts = append(parts, f.Remedy)
	return sentences(parts)
}

// lastWordMessage is the message of the last word of an engine that speaks the
// operator's protocol.
var lastWordMessage = regexp.MustCompile(`^pose-engine: error code=\w+ message="?(.*?)"?$`)

// said is what a line tells, for a sentence. The message of a last word was made for
// a person and names every file that is missing, so it stays whole.
func said(line string) string {
	if m := lastWordMessage.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return Clean(line, 300)
}

// sentences joins what is not empty.
func sentences(parts []string) string {
	var kept []string
	for _, p := range parts {
		if p = strings.TrimRight(strings.TrimSpace(p), "."); p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, ". ")
}

func inStage(stage string) string {
	if stage == "" {
		return ""
	}
	return " in stage " + stage
}

func peak(e report.EngineReport) string {
	if e.PeakMemoryBytes == 0 || e.LimitMemoryBytes == 0 {
		return ""
	}
	// The kernel's own peak counts what it could have dropped, and may lie above
	// the limit.
	at := fmt.Sprintf(", at a peak of %s with a limit of %s", mebibytes(min(e.PeakMemoryBytes, e.LimitMemoryBytes)), mebibytes(e.LimitMemoryBytes))
	if e.OOMKills > 0 && !nearTheLimit(e) {
		at += ": the limit was not reached, so the node itself ran out of memory"
	}
	return at
}

func mebibytes(b int64) string { return fmt.Sprintf("%d MiB", b>>20) }

func lastLines(lines []string, n int) string {
	lines = append([]string{}, lines[max(0, len(lines)-n):]...)
	for i := range lines {
		lines[i] = Clean(lines[i], 160)
	}
	return strings.Join(lines, " | ")
}
