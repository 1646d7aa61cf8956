package jobs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

var podGet = metav1.GetOptions{}

// longestLine of a log that is shown, in bytes.
const longestLine = 16 << 10

// stageRule is a line by which an engine enters a stage.
type stageRule struct {
	name string
	re   *regexp.Regexp
}

func (f *logFlags) colored(out any) bool {
	switch f.color {
	case "always":
		return true
	case "never":
		return false
	}
	return term.IsTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// stages of the engine that an attempt ran. Where they are not needed, or nobody may
// read them, there are none.
func (l *logger) stages(ctx context.Context, job *v1alpha1.PoseJob, a *v1alpha1.Attempt) ([]stageRule, error) {
	if !l.color && l.flags.stage == "" {
		return nil, nil
	}
	name := job.Status.EngineName
	if other, _, ok := strings.Cut(a.Variant, "/"); ok { // of a fallback engine
		name = other
	}
	var e v1alpha1.PoseEngine
	if err := l.c.Client.Get(ctx, client.ObjectKey{Name: name}, &e); err != nil {
		if l.flags.stage != "" {
			return nil, l.c.Explain(err, "read", "PoseEngine "+name)
		}
		if apierrors.IsForbidden(err) {
			l.note("without the right to read PoseEngine %s its stages are not known", name)
		}
		return nil, nil
	}
	var out []stageRule
	names := []string{start}
	for _, s := range e.Spec.Stages {
		// One that does not compile was refused at admission; it enters nothing.
		if re, err := regexp.Compile(s.Pattern); err == nil {
			out = append(out, stageRule{s.Name, re})
			names = append(names, s.Name)
		}
	}
	for _, n := range names {
		if l.flags.stage == "" || strings.EqualFold(n, l.flags.stage) {
			return out, nil
		}
	}
	return nil, exit.Usagef("engine %s has no stage %q; it has %s", name, l.flags.stage, strings.Join(names, ", "))
}

// start is the time before the first stage.
const start = "Start"

// colors of stages, one after the other: ANSI, readable on dark and light.
var colors = []int{36, 33, 35, 32, 34, 31}

// stageWriter shows a log line by line.
type stageWriter struct {
	out        io.Writer
	stages     []stageRule
	color      bool
	only       string // stage; empty for all
	timestamps bool

	at    string
	width int
}

// copy the log, cleaned.
func (w *stageWriter) copy(from io.Reader) error {
	w.at, w.width = start, len(start)
	for _, s := range w.stages {
		w.width = max(w.width, len(s.name))
	}
	r := bufio.NewReaderSize(from, longestLine)
	for {
		raw, err := r.ReadSlice('\n')
		cut := errors.Is(err, bufio.ErrBufferFull)
		if len(raw) > 0 {
			if werr := w.line(string(raw), cut); werr != nil {
				return werr
			}
		}
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a line that is too long
			_, err = r.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err //nolint:wrapcheck // the caller says of which log
		}
	}
}

func (w *stageWriter) line(raw string, cut bool) error {
	text := strings.TrimRight(raw, "\r\n")
	// A progress bar rewrites its line: what it says last counts.
	if i := strings.LastIndexByte(text, '\r'); i >= 0 {
		text = text[i+1:]
	}
	text = clean.Line(text, longestLine)
	if cut {
		text += " ... (cut)"
	}
	said := text
	if w.timestamps {
		_, said, _ = strings.Cut(text, " ")
	}
	// The first rule that fits counts, as in the pod.
	if i := slices.IndexFunc(w.stages, func(s stageRule) bool { return s.re.MatchString(said) }); i >= 0 {
		w.at = w.stages[i].name
	}
	color := 0
	if i := slices.IndexFunc(w.stages, func(s stageRule) bool { return s.name == w.at }); i >= 0 {
		color = colors[i%len(colors)]
	}
	if w.only != "" && !strings.EqualFold(w.only, w.at) {
		return nil
	}
	var err error
	switch {
	case w.color && len(w.stages) > 0 && color > 0:
		_, err = fmt.Fprintf(w.out, "\x1b[%dm%-*s\x1b[0m | %s\n", color, w.width, clean.Line(w.at, 63), text)
	case w.color && len(w.stages) > 0:
		_, err = fmt.Fprintf(w.out, "\x1b[2m%-*s\x1b[0m | %s\n", w.width, w.at, text)
	default:
		_, err = fmt.Fprintln(w.out, text)
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
