package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/version"
)

func describeCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	var report bool
	c := &cobra.Command{
		Use:   "describe NAME",
		Short: "Show a PoseJob with every attempt, and why it ended as it did",
		Example: `  kubectl pose describe run-42
  kubectl pose describe run-42 --bug-report > report.md`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			job, err := getJob(cmd.Context(), flags, args[0])
			if err != nil {
				return err
			}
			if report {
				bugReport(&safe{streams.Out}, job)
				return nil
			}
			describe(&safe{streams.Out}, job)
			return nil
		},
	}
	c.Flags().BoolVar(&report, "bug-report", false, "print what a bug report needs of the attempts that failed, as Markdown")
	flags.AddFlags(c.Flags())
	return c
}

// safe writes to a terminal what others wrote into a status: lines stay, and
// nothing in them moves the cursor or turns the text around.
type safe struct{ to io.Writer }

func (s *safe) Write(p []byte) (int, error) {
	lines := strings.Split(string(p), "\n")
	for i, l := range lines {
		indent := len(l) - len(strings.TrimLeft(l, " "))
		lines[i] = l[:indent] + clean.Line(l[indent:], len(l))
	}
	if _, err := io.WriteString(s.to, strings.Join(lines, "\n")); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	return len(p), nil
}

// connect to the cluster that the flags name.
func connect(flags *genericclioptions.ConfigFlags) (client.Client, string, error) {
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	rest, err := flags.ToRESTConfig()
	if err != nil {
		return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, "", fmt.Errorf("register types: %w", err)
	}
	c, err := client.New(rest, client.Options{Scheme: scheme})
	if err != nil {
		return nil, "", fmt.Errorf("connect to %s: %w", rest.Host, err)
	}
	return c, namespace, nil
}

func getJob(ctx context.Context, flags *genericclioptions.ConfigFlags, name string) (*v1alpha1.PoseJob, error) {
	c, namespace, err := connect(flags)
	if err != nil {
		return nil, err
	}
	return readJob(ctx, c, namespace, name)
}

// readJob gives a PoseJob, or says in words why there is none.
func readJob(ctx context.Context, c client.Reader, namespace, name string) (*v1alpha1.PoseJob, error) {
	var job v1alpha1.PoseJob
	err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &job)
	var noKind *meta.NoKindMatchError
	switch {
	case err == nil:
		return &job, nil
	case errors.As(err, &noKind):
		return nil, fmt.Errorf("the cluster knows no PoseJobs: install the pose operator, or choose another context: %w", err)
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("there is no PoseJob %q in namespace %q: `kubectl get pj -A` lists all", name, namespace)
	}
	return nil, fmt.Errorf("read PoseJob %s/%s: %w", namespace, name, err)
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
	row("Frames", video(s.Video))
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
	table(w, s.Attempts)
	for i := range s.Attempts {
		if a := &s.Attempts[i]; a.State == v1alpha1.AttemptFailed {
			fmt.Fprintf(w, "\nAttempt %d failed: %s\n", a.Number, a.Reason)
			fmt.Fprintf(w, "  %s\n", a.Message)
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

// video as it was measured: what the engine read, and what was fetched.
func video(v *v1alpha1.VideoStatus) string {
	if v == nil {
		return ""
	}
	text := fmt.Sprintf("%d of %dx%d at %d.%03d a second", v.Frames, v.Width, v.Height, v.MilliFPS/1000, v.MilliFPS%1000)
	if v.StartFrame > 0 {
		text += fmt.Sprintf(", from frame %d of the source", v.StartFrame)
	}
	if src := v.Source; src != nil {
		text += fmt.Sprintf("; fetched %s of %s in %s", mebibytes(src.Bytes), dash(src.Codec), dash(src.Container))
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

func table(w io.Writer, attempts []v1alpha1.Attempt) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  #\tVARIANT\tDEVICE\tNODE\tSTAGE\tSTATE\tREASON\tENDED BY\tPEAK/LIMIT\tNEXT")
	for i := range attempts {
		a := &attempts[i]
		fmt.Fprintf(t, "  %d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", a.Number, a.Variant, device(a), dash(a.Node), dash(a.Stage), a.State,
			dash(a.Reason), dash(endedBy(a)), dash(memory(a)), dash(string(a.Action)))
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

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
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
			fmt.Fprintln(w, indent+"  "+l)
		}
	}
	if len(a.Evidence.LastLines) > 0 {
		fmt.Fprintln(w, indent+"Last lines:")
		for _, l := range a.Evidence.LastLines {
			fmt.Fprintln(w, indent+"  "+l)
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
