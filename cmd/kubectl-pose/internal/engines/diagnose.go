package engines

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/config/engines"
	"github.com/pose-dev/pose-operator/controllers/diagnose"
)

type diagnoseFlags struct {
	log, exitCode, signal, stage, engine, variant, memory, output string
}

// DiagnoseCommand reads a saved log.
func DiagnoseCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var f diagnoseFlags
	c := &cobra.Command{
		Use:   "diagnose --log FILE",
		Short: "Say why an engine died, from a saved log, without a cluster",
		Long: `Say why an engine died, from a saved log of any kind: of a container, of a
program that was run by hand, of the kernel. The rules are the operator's own,
and so is the answer: what happened, which line says so, what the operator would
do next, and what a person can do. What no rule knows is an EngineError with its
last words.`,
		Example: `  # A log of PHALP that somebody sent
  kubectl pose diagnose --log phalp.log --exit-code 1 --engine phalp

  # From a pipe, for a script
  docker logs phalp 2>&1 | kubectl pose diagnose --log - -o json

  # Nothing but a signal and a stage
  kubectl pose diagnose --log /dev/null --signal SIGSEGV --stage DetectorLoad`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runDiagnose(f, streams) },
	}
	p := c.Flags()
	p.StringVar(&f.log, "log", "", "file with the log; - reads standard input")
	p.StringVar(&f.exitCode, "exit-code", "", "exit code of the process or container; 128 and more is a signal")
	p.StringVar(&f.signal, "signal", "", "signal that ended it, as SIGSEGV or 11")
	p.StringVar(&f.stage, "stage", "", "stage in which it died, as DetectorLoad; read from the log if unset")
	p.StringVar(&f.engine, "engine", "", "built-in PoseEngine by name, or a file with one, whose rules and variants count as well")
	p.StringVar(&f.variant, "variant", "", "variant that died; the engine's first if unset")
	p.StringVar(&f.memory, "memory", "", "what is known of its memory: AtLimit, BelowLimit or Unknown")
	p.StringVarP(&f.output, "output", "o", "", "json or yaml; for people if unset")
	if err := c.MarkFlagRequired("log"); err != nil {
		panic(err) // the flag is defined above
	}
	return c
}

func runDiagnose(f diagnoseFlags, streams genericiooptions.IOStreams) error {
	if !slices.Contains([]string{"", "json", "yaml"}, f.output) {
		return fmt.Errorf("--output %q is unknown: use json or yaml, or leave it out", f.output)
	}
	q, err := question(f, streams.In)
	if err != nil {
		return err
	}
	a, err := diagnose.Ask(q)
	if err != nil {
		return fmt.Errorf("diagnose %s: %w", f.log, err)
	}
	switch f.output {
	case "json":
		return term.JSON(streams.Out, a)
	case "yaml":
		b, err := yaml.Marshal(a)
		if err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		_, err = streams.Out.Write(b)
		return err //nolint:wrapcheck // the terminal's own error
	}
	printAnswer(streams.Out, a)
	return nil
}

func question(f diagnoseFlags, stdin io.Reader) (diagnose.Question, error) {
	q := diagnose.Question{Stage: f.stage, Variant: f.variant, Memory: v1alpha1.MemoryEvidence(f.memory)}
	var err error
	if q.Log, err = readTail(f.log, stdin); err != nil {
		return q, err
	}
	if q.Signal, err = signalName(f.signal); err != nil {
		return q, err
	}
	if f.exitCode != "" {
		n, err := strconv.ParseInt(f.exitCode, 10, 32)
		if err != nil {
			return q, fmt.Errorf("--exit-code %q is no number", f.exitCode)
		}
		code := int32(n)
		if code < 0 { // Python's subprocess says -11 for signal 11
			code = 128 - code
		}
		q.ExitCode = &code
	}
	switch q.Memory {
	case "", v1alpha1.MemoryAtLimit, v1alpha1.MemoryBelowLimit, v1alpha1.MemoryUnknown:
	default:
		return q, fmt.Errorf("--memory %q is unknown: use AtLimit, BelowLimit or Unknown", f.memory)
	}
	if q.Known, err = engines.Builtin(); err != nil {
		return q, fmt.Errorf("read the built-in engines: %w", err)
	}
	if q.Engine, err = findEngine(f.engine, q.Known); err != nil {
		return q, err
	}
	return q, checkVariant(q)
}

func checkVariant(q diagnose.Question) error {
	if q.Variant == "" {
		return nil
	}
	if q.Engine == nil {
		return fmt.Errorf("--variant %s needs --engine", q.Variant)
	}
	var names []string
	for _, v := range q.Engine.Spec.Variants {
		names = append(names, v.Name)
	}
	if !slices.Contains(names, q.Variant) {
		return fmt.Errorf("engine %s has no variant %q; it has %s", q.Engine.Name, q.Variant, strings.Join(names, ", "))
	}
	return nil
}

// readTail reads the end of a file, or of standard input.
func readTail(path string, stdin io.Reader) (string, error) {
	from := stdin
	if path != "-" {
		file, err := os.Open(path) //nolint:gosec // the person's own file
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", exit.With(exit.NotFound, fmt.Errorf("read the log: %w", err))
		case err != nil:
			return "", fmt.Errorf("read the log: %w", err)
		}
		defer file.Close()
		if size, err := file.Seek(0, io.SeekEnd); err == nil {
			if _, err := file.Seek(max(0, size-cluster.MaxLog), io.SeekStart); err != nil {
				return "", fmt.Errorf("read the end of %s: %w", path, err)
			}
		}
		from = file
	}
	kept := make([]byte, 0, 64<<10)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if kept = append(kept, buf[:n]...); len(kept) > 2*cluster.MaxLog {
			kept = append(kept[:0], kept[len(kept)-cluster.MaxLog:]...)
		}
		switch {
		case err == io.EOF:
			return string(kept[max(0, len(kept)-cluster.MaxLog):]), nil
		case err != nil:
			return "", fmt.Errorf("read the log %s: %w", path, err)
		}
	}
}

var signalWord = regexp.MustCompile(`^[A-Z][A-Z0-9]*$`)

func signalName(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		if name := diagnose.SignalName(int32(n)); name != "" {
			return name, nil
		}
		return "", fmt.Errorf("--signal %d is no signal of Linux", n)
	}
	s = "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if !signalWord.MatchString(s) {
		return "", fmt.Errorf("--signal %q is no signal: write SIGSEGV or 11", s)
	}
	return s, nil
}

// findEngine gives a built-in engine or reads one from a file.
func findEngine(name string, known []v1alpha1.PoseEngine) (*v1alpha1.PoseEngine, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // no engine is a choice
	}
	var names []string
	for i := range known {
		if known[i].Name == name {
			return &known[i], nil
		}
		names = append(names, known[i].Name)
	}
	raw, err := os.ReadFile(name) //nolint:gosec // the person's own file
	if err != nil {
		return nil, fmt.Errorf("--engine %q is neither built in (%s) nor a file that can be read: %w", name, strings.Join(names, ", "), err)
	}
	var e v1alpha1.PoseEngine
	if err := yaml.UnmarshalStrict(raw, &e); err != nil {
		return nil, fmt.Errorf("read the PoseEngine in %s: %w", name, err)
	}
	if e.Kind != "PoseEngine" {
		return nil, fmt.Errorf("%s holds a %q, not a PoseEngine", name, e.Kind)
	}
	return &e, nil
}

func printAnswer(w io.Writer, a diagnose.Answer) {
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-13s%s\n", name+":", value)
		}
	}
	row("Reason", a.Reason)
	row("Stage", a.Stage)
	switch {
	case a.Signal != "":
		row("Ended by", a.Signal)
	case a.ExitCode != nil:
		row("Ended by", fmt.Sprintf("exit code %d", *a.ExitCode))
	}
	if a.CulpritLine > 0 {
		row(fmt.Sprintf("Line %d", a.CulpritLine), a.Culprit)
	}
	row("Meaning", a.Explanation)
	row("Next", a.Next)
	row("You can", a.Remedy)
	if a.Reason == v1alpha1.ReasonEngineError && len(a.LastLines) > 0 {
		fmt.Fprintln(w, "Last words:")
		for _, l := range a.LastLines {
			fmt.Fprintln(w, "  "+l)
		}
	}
}
