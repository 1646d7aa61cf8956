package failure

import (
	"fmt"
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
	e := engineReport(a)
	ev := evidence(c, e)
	base := Verdict{Container: c.Name, ExitCode: ev.ExitCode, Signal: ev.Signal}
	if v, ok := outOfMemory(base, c, e, ev); ok {
		return v, true
	}
	if c.Report != nil && (c.Report.Reason == report.ReasonNoProgress || c.Report.Reason == report.ReasonConfig) {
		// These two are the runner's own. Any other reason is not: the engine can
		// write the message of its container.
		base.Reason, base.Message = typed(c.Report.Reason), c.Report.Message
		return base, true
	}
	for _, r := range append(append([]Rule{}, rules...), Builtin()...) {
		if r.matches(ev) {
			base.Reason, base.Action = r.Reason, r.Action
			base.Message = describe(ev, r.Message)
			return base, true
		}
	}
	base.Reason = v1alpha1.ReasonEngineError
	base.Message = describe(ev, "No rule knows this failure")
	return base, true
}

func outOfMemory(v Verdict, c *attempt.Container, e report.EngineReport, ev Evidence) (Verdict, bool) {
	atLimit := e.LimitMemoryBytes > 0 && e.PeakMemoryBytes*100 >= e.LimitMemoryBytes*nearLimit
	switch {
	case c.TerminatedReason == "OOMKilled":
	case e.OOMKills > 0:
	case ev.Signal == "SIGKILL" && atLimit:
	default:
		return v, false
	}
	v.Reason = v1alpha1.ReasonOutOfMemory
	v.Message = fmt.Sprintf("the engine ran out of memory%s%s", inStage(ev.Stage), peak(e))
	return v, true
}

// evidence of how the engine ended. The runner saw the true signal; where it
// died itself, what the runtime saw stands in its place.
func evidence(c *attempt.Container, e report.EngineReport) Evidence {
	ev := Evidence{Stage: e.Stage, ExitCode: e.ExitCode, Signal: e.Signal, Log: e.LogTail}
	if ev.ExitCode == nil && ev.Signal == "" {
		ev.ExitCode, ev.Signal = exitOf(c)
	}
	if c.Report == nil && c.RawMessage != "" {
		ev.Log = c.RawMessage
	}
	return ev
}

// describe says what happened, then what it means.
func describe(ev Evidence, meaning string) string {
	what := "the engine ended"
	switch {
	case ev.Signal != "":
		what = "the engine was killed by " + ev.Signal
	case ev.ExitCode != nil:
		what = fmt.Sprintf("the engine ended with exit code %d", *ev.ExitCode)
	}
	what += inStage(ev.Stage)
	if meaning != "" {
		what += ". " + strings.TrimSuffix(meaning, ".")
	}
	if last := lastLines(ev.Log, 3); last != "" {
		what += ". Last words: " + last
	}
	return what
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
	return fmt.Sprintf(", at a peak of %s with a limit of %s", mebibytes(e.PeakMemoryBytes), mebibytes(e.LimitMemoryBytes))
}

func mebibytes(b int64) string { return fmt.Sprintf("%d MiB", b>>20) }

func lastLines(log string, n int) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	for i := range lines {
		lines[i] = Clean(lines[i], 160)
	}
	return strings.Join(lines, " | ")
}
