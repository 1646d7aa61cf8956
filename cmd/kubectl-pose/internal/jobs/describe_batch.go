package jobs

import (
	"fmt"
	"io"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
)

func describeBatch(w io.Writer, b *v1alpha1.PoseBatch) {
	s := b.Status
	row := func(name, format string, args ...any) {
		if value := term.OneLine(fmt.Sprintf(format, args...)); value != "" {
			fmt.Fprintf(w, "%-16s%s\n", name+":", value)
		}
	}
	row("Name", "%s", b.Name)
	row("Namespace", "%s", b.Namespace)
	row("Phase", "%s", standingOf(b).phase)
	row("Videos", "%s%s%s", b.Spec.Videos.Prefix, b.Spec.Videos.List, uriCount(b.Spec.Videos.URIs))
	row("Output", "%s", b.Spec.Output.URI)
	row("Engine", "%s", b.Spec.Template.EngineName)
	if c := s.Counts; c != nil {
		row("Clips", "%d: %d pending, %d running, %d succeeded (%d of them reused), %d failed, %d cancelled", c.Total, c.Pending, c.Running, c.Succeeded, c.Reused, c.Failed, c.Cancelled)
	}
	if l := s.Listing; l != nil && (l.Message != "" || l.Skipped > 0) {
		row("Listing", "attempt %d, %d entries skipped %s", l.Attempt, l.Skipped, l.Message)
	}
	if s.GPUSeconds+s.CPUSeconds > 0 {
		row("Used", "%d GPU seconds, %d CPU seconds of engines", s.GPUSeconds, s.CPUSeconds)
	}
	if a := s.Average; a != nil {
		row("A clip takes", "%s on average, %.1f GPU seconds, %.1f CPU seconds", time.Duration(a.Seconds)*time.Second, float64(a.GPUMilliseconds)/1000, float64(a.CPUMilliseconds)/1000)
	}
	if e := s.EstimatedCompletionTime; e != nil && !standingOf(b).finished {
		row("Expected end", "%s, after %d more GPU seconds and %d CPU seconds", e.UTC().Format(time.RFC3339), s.EstimatedGPUSeconds, s.EstimatedCPUSeconds)
	}
	if st := s.Stopping; st != nil {
		row("Given up", "(%s) %s", st.Reason, st.Message)
	}
	if i := s.Index; i != nil {
		row("Index", "%s sha256 %s", i.URI, i.SHA256)
		if i.Missing > 0 {
			row("Missing", "%d results that were not readable any more when the index was written", i.Missing)
		}
		row("Index failed", "%s", i.Message)
	}
	row("Took", "%s", took(s.StartTime, s.CompletionTime))
	for _, c := range s.Conditions {
		switch c.Type {
		case v1alpha1.ConditionReady, v1alpha1.ConditionListed, v1alpha1.ConditionResultsDeleted, v1alpha1.ConditionSuspended:
			row(c.Type, "%s (%s) %s", c.Status, c.Reason, c.Message)
		}
	}
	if len(s.Failures) == 0 {
		return
	}
	fmt.Fprintf(w, "\nFailed clips, the first %d:\n", len(s.Failures))
	t := term.Table(w)
	fmt.Fprintln(t, "  #\tCLIP\tREASON\tMESSAGE")
	for _, f := range s.Failures {
		fmt.Fprintf(t, "  %d\t%s\t%s\t%s\n", f.Index, term.OneLine(f.Name), term.Dash(f.Reason), term.OneLine(f.Message))
	}
	_ = t.Flush() // to a writer whose errors come again
}

func uriCount(uris []string) string {
	if len(uris) == 0 {
		return ""
	}
	return fmt.Sprintf("%d URIs", len(uris))
}
