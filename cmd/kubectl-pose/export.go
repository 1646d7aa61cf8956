package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/internal/export"
)

type exportFlags struct {
	format, out, output string
	people              []int64
	captureFPS          float64
	force, quiet        bool
}

func exportCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use:   "export RESULT --format FORMAT --out DIR_OR_FILE",
		Short: "Turn a result into the files of other programs: COCO, OpenPose, BVH, TRC, C3D, CSV",
		Long: `Turn a result into the files of other programs. RESULT is a folder with a
pose.json (and, for results of PHALP, its smpl.npz), a folder with a
manifest.json, or one of these two files; it must lie on this machine.

Formats:
` + listFormats() + `
Three-dimensional formats have Y up. They are estimates from one camera, and their
files say so. docs/export.md has units, axes and conventions.`,
		Example: `  # Joint angles of everybody
  kubectl pose export results/run-42 --format csv --out run-42-angles.csv

  # One person's motion, of a video shot at 240 frames a second
  kubectl pose export results/run-42 --format bvh --person 3 --capture-fps 240 --out run-42-bvh`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runExport(cmd.Context(), args[0], f, streams)
		},
	}
	p := c.Flags()
	p.StringVar(&f.format, "format", "", "one of the formats above")
	p.StringVar(&f.out, "out", "", "folder for the files; or a file name with the format's extension, which gives the files their names")
	p.Int64SliceVar(&f.people, "person", nil, "ids of the people to export, separated by commas; everybody if unset")
	p.Float64Var(&f.captureFPS, "capture-fps", 0, "frames a second at which the scene was recorded, for slow motion; as in the result if unset")
	p.BoolVar(&f.force, "force", false, "replace files that are there already")
	p.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	p.StringVarP(&f.output, "output", "o", "", "json lists the files that were written; for people if unset")
	for _, name := range []string{"format", "out"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flags are defined above
		}
	}
	return c
}

func listFormats() string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range export.Formats() {
		fmt.Fprintf(t, "  %s\t%s\n", f.Name, f.About)
	}
	_ = t.Flush() // to memory
	return b.String()
}

// exported is what -o json prints.
type exported struct {
	Format string       `json:"format"`
	Files  []outputFile `json:"files"`
}

func runExport(ctx context.Context, from string, f exportFlags, streams genericiooptions.IOStreams) error {
	if !slices.Contains([]string{"", "json"}, f.output) {
		return fmt.Errorf("--output %q is unknown: use json, or leave it out", f.output)
	}
	format, err := export.Find(f.format)
	if err != nil {
		return fmt.Errorf("--format: %w", err)
	}
	folder, stem, err := splitOut(f.out, format)
	if err != nil {
		return err
	}
	if ctx == nil { // a command run without one
		ctx = context.Background()
	}
	ctx, stop := untilEnded(ctx)
	defer stop()
	say := newProgress(ctx, streams.ErrOut, f.quiet)
	r, err := openResult(ctx, from, format.UsesSMPL, func(read, size int64) {
		say.line("checking %s: %d of %d MiB", clipped(from), read>>20, size>>20)
	})
	if err != nil {
		return err
	}
	defer r.Close()

	o, err := newOutput(folder, f.force)
	if err != nil {
		return err
	}
	defer o.discard()
	say.doing = "writing " + format.Name
	err = export.Export(r.source, format, export.Options{People: f.people, CaptureFPS: f.captureFPS, Stem: stem, Progress: say.step}, o.create)
	if err != nil {
		return fmt.Errorf("export %s to %s: %w", from, format.Name, err)
	}
	files, err := o.commit()
	if err != nil {
		return err
	}
	if f.output == "json" {
		e := json.NewEncoder(streams.Out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(exported{Format: format.Name, Files: files}) //nolint:wrapcheck // the terminal's own error
	}
	return listWritten(streams.Out, folder, files)
}

// untilEnded ends a context, too, when the process is told to end or its terminal
// goes: what was begun is taken away then, as after an interrupt.
func untilEnded(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

// maxShown bounds how many files are named to a person.
const maxShown = 20

func listWritten(w io.Writer, folder string, files []outputFile) error {
	if len(files) == 0 {
		_, err := fmt.Fprintln(w, "The result holds no people: there was nothing to write.")
		return err //nolint:wrapcheck // the terminal's own error
	}
	for _, f := range files[:min(len(files), maxShown)] {
		fmt.Fprintf(w, "%s  %d bytes\n", f.Path, f.Size)
	}
	if n := len(files) - maxShown; n > 0 {
		fmt.Fprintf(w, "and %d more files in %s\n", n, folder)
	}
	return nil
}

func clipped(s string) string {
	if r := []rune(s); len(r) > 60 {
		return "..." + string(r[len(r)-57:])
	}
	return s
}

// progress writes a line on standard error at most every two seconds; a short
// export says nothing. It also ends the work when the person interrupts it.
type progress struct {
	ctx   context.Context // the work's own: it ends with it
	w     io.Writer
	quiet bool
	doing string
	last  time.Time
}

func newProgress(ctx context.Context, w io.Writer, quiet bool) *progress {
	return &progress{ctx: ctx, w: &safe{w}, quiet: quiet, last: time.Now()}
}

// step is an export.Options.Progress.
func (p *progress) step(done, total int64) error {
	if done%64 != 0 && done != total {
		return nil
	}
	if err := p.ctx.Err(); err != nil {
		return fmt.Errorf("interrupted at %d of %d, nothing was written: %w", done, total, err)
	}
	p.line("%s: %d of %d frames", p.doing, done, total)
	return nil
}

func (p *progress) line(format string, args ...any) {
	if now := time.Now(); !p.quiet && now.Sub(p.last) >= 2*time.Second {
		p.last = now
		fmt.Fprintf(p.w, format+"\n", args...)
	}
}
