package results

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/internal/export"
)

type exportFlags struct {
	format, out, output string
	people              []int64
	captureFPS          float64
	constantRate        bool
	force, quiet        bool
	source              sourceFlags
}

// ExportCommand turns results into the files of other programs.
func ExportCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use:   "export RESULT|URI|job/NAME --format FORMAT --out DIR_OR_FILE",
		Short: "Turn a result into the files of other programs: COCO, OpenPose, BVH, TRC, C3D, CSV",
		Long: `Turn a result into the files of other programs. RESULT is a folder with a
manifest.json, a folder with a pose.json (and, for results of PHALP, its smpl.npz),
or one of these two files. A URI is the output URI of a job, or one attempt's folder
in it: what the format needs is fetched to this machine, and removed at the end.
job/NAME is the result that the job's status names. With a manifest every file is
compared with it first.

Formats:
` + listFormats() + `
Three-dimensional formats have Y up. They are estimates from one camera, and their
files say so. docs/export.md has units, axes and conventions.`,
		Example: `  # Joint angles of everybody
  kubectl pose export results/run-42 --format csv --out run-42-angles.csv

  # One person's motion, of a video shot at 240 frames a second
  kubectl pose export results/run-42 --format bvh --person 3 --capture-fps 240 --out run-42-bvh

  # Straight from a bucket
  kubectl pose export s3://results/snow/run-42 --region eu-north-1 --credentials-from-env --format trc --out run-42`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runExport(cmd.Context(), args[0], f, streams, flags)
		},
	}
	p := c.Flags()
	p.StringVar(&f.format, "format", "", "one of the formats above")
	p.StringVar(&f.out, "out", "", "folder for the files; or a file name with the format's extension, which gives the files their names")
	p.Int64SliceVar(&f.people, "person", nil, "ids of the people to export, separated by commas; everybody if unset")
	p.Float64Var(&f.captureFPS, "capture-fps", 0, "frames a second at which the scene was recorded, for slow motion; as in the result if unset")
	p.BoolVar(&f.constantRate, "constant-rate", false, "leave frame-times.json out: times are those of the constant rate, though the source's varies")
	p.BoolVar(&f.force, "force", false, "replace files that are there already")
	p.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	p.StringVarP(&f.output, "output", "o", "", "json lists the files that were written; for people if unset")
	f.source.add(p)
	for _, name := range []string{"format", "out"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flags are defined above
		}
	}
	return c
}

func listFormats() string {
	var b strings.Builder
	t := term.Table(&b)
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

func runExport(ctx context.Context, from string, f exportFlags, streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) error {
	if !slices.Contains([]string{"", "json"}, f.output) {
		return exit.Usagef("--output %q is unknown: use json, or leave it out", f.output)
	}
	format, err := export.Find(f.format)
	if err != nil {
		return exit.Usagef("--format: %w", err)
	}
	folder, stem, err := splitOut(f.out, format)
	if err != nil {
		return err
	}
	ctx, stop := term.UntilEnded(ctx)
	defer stop()
	src, err := openSource(ctx, flags, f.source, from, streams.ErrOut)
	if err != nil {
		return err
	}
	defer src.end()
	say := term.NewProgress(streams.ErrOut, f.quiet)
	r, err := openResult(ctx, src.store, src.from, src.digest, parts{smpl: format.UsesSMPL, times: !f.constantRate}, func(read, size int64) {
		say.Line("checking %s: %d of %d MiB", term.Clipped(src.from), read>>20, size>>20)
	})
	if err != nil {
		return err
	}
	defer r.Close()

	o, err := newOutput("--out", folder, f.force)
	if err != nil {
		return err
	}
	defer o.discard()
	step := func(done, total int64) error {
		if done%64 != 0 && done != total {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("interrupted at %d of %d, nothing was written: %w", done, total, err)
		}
		say.Line("writing %s: %d of %d frames", format.Name, done, total)
		return nil
	}
	err = export.Export(r.Source, format, export.Options{People: f.people, CaptureFPS: f.captureFPS, Stem: stem, Progress: step}, o.create)
	if err != nil {
		return fmt.Errorf("export %s to %s: %w", from, format.Name, err)
	}
	files, err := o.commit()
	if err != nil {
		return err
	}
	if f.output == "json" {
		return term.JSON(streams.Out, exported{Format: format.Name, Files: files})
	}
	return listWritten(streams.Out, folder, files)
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
