package jobs

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/internal/version"
)

// DescribeCommand shows a job or batch with all that is known of it.
func DescribeCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	var report bool
	c := &cobra.Command{
		Use:   "describe NAME|pb/NAME",
		Short: "Show a job with every attempt, or a batch with its counts and failures, and why it ended as it did",
		Example: `  kubectl pose describe run-42
  kubectl pose describe pb/archive
  kubectl pose describe run-42 --bug-report > report.md`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := parseRef(args[0])
			if err != nil {
				return err
			}
			if report && r.batch {
				return exit.Usagef("--bug-report is of one job: name one of the batch's, which `kubectl pose list -l pose.dev/batch=%s` lists", r.name)
			}
			c, err := cluster.Connect(flags)
			if err != nil {
				return err
			}
			o, err := get(cmd.Context(), c, r)
			if err != nil {
				return err
			}
			if batch, ok := o.(*v1alpha1.PoseBatch); ok {
				describeBatch(term.Safe(streams.Out), batch)
				return nil
			}
			job, _ := o.(*v1alpha1.PoseJob)
			if report {
				bugReport(term.Safe(streams.Out), job)
				return nil
			}
			describe(term.Safe(streams.Out), job)
			return nil
		},
	}
	c.Flags().BoolVar(&report, "bug-report", false, "print what a bug report needs of the attempts that failed, as Markdown")
	return c
}

func describe(w io.Writer, j *v1alpha1.PoseJob) {
	s := j.Status
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-16s%s\n", name+":", value)
		}
	}
	row("Name", j.Name)
	row("Namespace", j.Namespace)
	row("Phase", string(s.Phase))
	row("Engine", s.EngineName)
	row("Video", j.Spec.Video.URI)
	row("Frames", videoFacts(s.Video))
	if l := s.Lookup; l != nil {
		row("Look ahead", strings.TrimSpace(fmt.Sprintf("%s %s", l.State, l.Message)))
	}
	if s.Output != nil {
		row("Output", s.Output.URI)
		row("Quality", quality(s.Output.Quality))
	}
	row("Took", took(s.StartTime, s.CompletionTime))
	for _, c := range s.Conditions {
		switch c.Type {
		case v1alpha1.ConditionReady, v1alpha1.ConditionDegraded, v1alpha1.ConditionNoPeople, v1alpha1.ConditionPeopleFiltered, v1alpha1.ConditionDeviceMismatch,
			v1alpha1.ConditionReused, v1alpha1.ConditionResultsDeleted:
			row(c.Type, fmt.Sprintf("%s (%s) %s", c.Status, c.Reason, once(c.Message, s.Attempts)))
		}
	}
	for _, v := range s.SkippedVariants {
		row("Skipped", fmt.Sprintf("%s (%s) %s", v.Variant, v.Reason, once(v.Message, s.Attempts)))
	}
	if len(s.Attempts) == 0 {
		return
	}
	fmt.Fprintln(w, "\nAttempts:")
	attemptTable(w, s.Attempts)
	for i := range s.Attempts {
		if a := &s.Attempts[i]; a.State == v1alpha1.AttemptFailed {
			fmt.Fprintf(w, "\nAttempt %d failed: %s\n", a.Number, a.Reason)
			fmt.Fprintf(w, "  %s\n", term.OneLine(a.Message))
			for _, f := range facts(a) {
				fmt.Fprintf(w, "  %-14s%s\n", f.name+":", f.value)
			}
			stack(w, a, "  ")
		}
	}
}

// once leaves out of a message what an attempt below says in full.
func once(message string, attempts []v1alpha1.Attempt) string {
	for i := range attempts {
		a := &attempts[i]
		if a.State == v1alpha1.AttemptFailed && a.Message != "" {
			message = strings.ReplaceAll(message, a.Message, fmt.Sprintf("(attempt %d, below)", a.Number))
		}
	}
	return message
}

// videoFacts as it was measured: what the engine read, and what was fetched.
func videoFacts(v *v1alpha1.VideoStatus) string {
	if v == nil {
		return ""
	}
	text := fmt.Sprintf("%d of %dx%d at %d.%03d a second", v.Frames, v.Width, v.Height, v.MilliFPS/1000, v.MilliFPS%1000)
	if v.StartFrame > 0 {
		text += fmt.Sprintf(", from frame %d of the source", v.StartFrame)
	}
	if src := v.Source; src != nil {
		text += fmt.Sprintf("; fetched %s of %s in %s", size(src.Bytes), term.Dash(src.Codec), term.Dash(src.Container))
		if src.Reencoded != "" {
			text += ", re-encoded (" + src.Reencoded + ")"
		}
	}
	return text
}

// quality of a result, as its engine claims it.
func quality(q *v1alpha1.ResultQuality) string {
	if q == nil {
		return ""
	}
	return fmt.Sprintf("somebody in %d %% of the frames, %d gaps, %d suspected changes of identity, %d sightings left out (the engine's own account)",
		q.CoveragePercent, q.Gaps, q.IDSwitchesSuspected, q.PeopleFiltered)
}

func attemptTable(w io.Writer, attempts []v1alpha1.Attempt) {
	t := term.Table(w)
	fmt.Fprintln(t, "  #\tVARIANT\tDEVICE\tNODE\tSTAGE\tSTATE\tREASON\tENDED BY\tPEAK/LIMIT\tNEXT")
	for i := range attempts {
		a := &attempts[i]
		fmt.Fprintf(t, "  %d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", a.Number, a.Variant, device(a), term.Dash(a.Node), term.Dash(a.Stage), a.State,
			term.Dash(a.Reason), term.Dash(endedBy(a)), term.Dash(memory(a)), term.Dash(string(a.Action)))
	}
	_ = t.Flush()
}

// device that was asked for, and the one that it ran on where that is another. An
// engine that died while it loaded had no time to open its GPU.
func device(a *v1alpha1.Attempt) string {
	ran := a.State == v1alpha1.AttemptSucceeded || a.Stage == v1alpha1.StageTracking || a.Stage == v1alpha1.StageWriting
	if ran && a.DeviceUsed != "" && a.DeviceUsed != a.Device {
		return fmt.Sprintf("%s (ran on %s)", a.Device, a.DeviceUsed)
	}
	return string(a.Device)
}

func endedBy(a *v1alpha1.Attempt) string {
	switch {
	case a.Signal != "":
		return a.Signal
	case a.ExitCode != nil:
		return fmt.Sprintf("exit %d", *a.ExitCode)
	}
	return ""
}

func memory(a *v1alpha1.Attempt) string {
	if a.PeakMemoryBytes == 0 && a.LimitMemoryBytes == 0 {
		return ""
	}
	return fmt.Sprintf("%s/%s", mebibytes(a.PeakMemoryBytes), mebibytes(a.LimitMemoryBytes))
}

// size of a file, which may be a small one.
func size(b int64) string {
	if b < 10<<20 {
		return fmt.Sprintf("%d KiB", (b+1023)>>10)
	}
	return mebibytes(b)
}

func mebibytes(b int64) string { return fmt.Sprintf("%d MiB", b>>20) }

func took(from, to *metav1.Time) string {
	if from == nil || to == nil {
		return ""
	}
	return to.Sub(from.Time).Round(time.Second).String()
}

type fact struct{ name, value string }

// facts of an attempt that its table row has not.
func facts(a *v1alpha1.Attempt) []fact {
	out := []fact{
		{"Image", a.ImageID},
		{"GPU", strings.TrimSpace(strings.Join([]string{a.GPU, a.GPUProduct}, " "))},
	}
	driver := a.GPUDriver
	if e := a.Evidence; e != nil {
		if driver == "" {
			driver = e.GPUDriver
		}
		if e.GPUMemoryBytes > 0 {
			out = append(out, fact{"GPU memory", fmt.Sprintf("%s, at most %s in use", mebibytes(e.GPUMemoryBytes), mebibytes(e.GPUUsedBytes))})
		}
		out = append(out, fact{"Culprit", e.Culprit}, fact{"Library", e.NativeLibrary}, fact{"Versions", versions(e.Versions)})
		if e.Preflight {
			out = append(out, fact{"Preflight", "it died in the variant's first step"})
		}
	}
	out = append(out, fact{"Driver", driver})
	if s := a.Seconds; s != nil {
		out = append(out, fact{"Seconds", fmt.Sprintf("load %d, track %d, engine in all %d", s.Load, s.Track, s.Engine)})
	}
	return slices.DeleteFunc(out, func(f fact) bool { return f.value == "" })
}

func versions(v map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		parts = append(parts, name+" "+v[name])
	}
	return strings.Join(parts, ", ")
}

func stack(w io.Writer, a *v1alpha1.Attempt, indent string) {
	if a.Evidence == nil {
		return
	}
	if len(a.Evidence.PythonStack) > 0 {
		fmt.Fprintln(w, indent+"Python stack, innermost call first:")
		for _, l := range a.Evidence.PythonStack {
			fmt.Fprintln(w, indent+"  "+term.OneLine(l))
		}
	}
	if len(a.Evidence.LastLines) > 0 {
		fmt.Fprintln(w, indent+"Last lines:")
		for _, l := range a.Evidence.LastLines {
			fmt.Fprintln(w, indent+"  "+term.OneLine(l))
		}
	}
}

// bugReport is Markdown for an engine's authors. It names no video, no namespace
// and no node.
func bugReport(w io.Writer, j *v1alpha1.PoseJob) {
	fmt.Fprintf(w, "### Engine %s under pose operator %s\n", j.Status.EngineName, version.Version)
	if v := j.Status.Video; v != nil {
		fmt.Fprintf(w, "\nVideo: %s, %dx%d, %d.%03d fps, %d frames\n", v.Codec, v.Width, v.Height, v.MilliFPS/1000, v.MilliFPS%1000, v.Frames)
	}
	for i := range j.Status.Attempts {
		a := &j.Status.Attempts[i]
		if a.State != v1alpha1.AttemptFailed {
			continue
		}
		fmt.Fprintf(w, "\n#### Attempt %d: variant %s on %s, %s\n\n", a.Number, a.Variant, device(a), a.Reason)
		for _, f := range []fact{{"Ended by", endedBy(a)}, {"Stage", a.Stage}, {"Memory, peak/limit", memory(a)}} {
			if f.value != "" {
				fmt.Fprintf(w, "- %s: %s\n", f.name, f.value)
			}
		}
		for _, f := range facts(a) {
			fmt.Fprintf(w, "- %s: %s\n", f.name, f.value)
		}
		if a.Evidence != nil && len(a.Evidence.PythonStack)+len(a.Evidence.LastLines) > 0 {
			// An indented block: no line of a log can end it.
			fmt.Fprintln(w)
			stack(w, a, "    ")
		}
	}
}
