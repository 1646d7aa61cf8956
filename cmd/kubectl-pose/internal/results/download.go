package results

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// Commands for results.
func Commands(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) []*cobra.Command {
	return []*cobra.Command{ShowCommand(streams, flags), ExportCommand(streams, flags), VerifyCommand(streams, flags), PurgeCommand(streams, flags)}
}

type resultFlags struct {
	source             sourceFlags
	download, output   string
	open, force, quiet bool
	only               []string
}

// ShowCommand shows and downloads a job's result.
func ShowCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	var f resultFlags
	c := &cobra.Command{
		Use:   "results JOB|URI",
		Short: "Show where a job's results are, or download them and check every file",
		Long: `Show where the results of a job are, or download them into a folder.

Every file that is downloaded is compared with the manifest, and the manifest with the
digest in the job's status. Files appear in the folder once all of them are whole; it
then is a result by itself, which "kubectl pose verify FOLDER" and "export" take.

The files are read from here: with the credentials of the environment or of a folder,
or with --credentials-from-job those of the job's own Secret, if you may read it.

Only pods can read a claim (pvc://). There a pod of the job's namespace reads the files
for you, has the claim to read only, and is deleted at the end. You need the verbs
create, get, watch and delete of pods, and create and get of pods/exec, in the namespace.`,
		Example: `  kubectl pose results run-42
  kubectl pose results run-42 --download ./run-42 --credentials-from-job

  # The overlay video only, and show it
  kubectl pose results run-42 --download . --only overlay --open --credentials-from-env`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := term.UntilEnded(cmd.Context())
			defer stop()
			return f.run(ctx, streams, flags, args[0])
		},
	}
	p := c.Flags()
	p.StringVarP(&f.download, "download", "d", "", "folder to download to; made if it is missing")
	p.StringSliceVar(&f.only, "only", nil, "only these files, by name or path, separated by commas")
	p.BoolVar(&f.open, "open", false, "with --download: open the overlay video, or else the folder, with this machine's own program")
	p.BoolVar(&f.force, "force", false, "replace files that are there already")
	p.BoolVarP(&f.quiet, "quiet", "q", false, "do not say how far it is")
	f.source.add(p)
	p.StringVarP(&f.output, "output", "o", "", "json; for people if unset")
	return c
}

func (f *resultFlags) run(ctx context.Context, streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags, what string) error {
	switch {
	case f.output != "" && f.output != "json":
		return exit.Usagef("--output %q is unknown: use json, or leave it out", f.output)
	case f.download == "" && (f.open || f.force || len(f.only) > 0):
		return exit.Usagef("--open, --force and --only go with --download")
	case strings.Contains(f.download, "://"):
		return exit.Usagef("--download %s: results are downloaded to this machine only: name a folder", f.download)
	}
	if !strings.Contains(what, "/") {
		what = "job/" + what
	}
	if name, ok := jobName(what); ok && f.download == "" {
		c, err := cluster.Connect(flags)
		if err != nil {
			return err
		}
		job, err := c.Job(ctx, name)
		if err != nil {
			return err
		}
		return showResult(streams.Out, job, f.output)
	}
	if f.download == "" {
		return exit.Usagef("%s is no job: say --download, or look at it with `kubectl pose verify`", what)
	}
	src, err := openSource(ctx, flags, f.source, what, streams.ErrOut)
	if err != nil {
		return err
	}
	defer src.end()
	return f.fetch(ctx, streams, src)
}

// shown is what -o json prints of a job's result.
type shown struct {
	Namespace      string                `json:"namespace"`
	Job            string                `json:"job"`
	URI            string                `json:"uri"`
	ManifestSHA256 string                `json:"manifestSHA256"`
	People         int64                 `json:"people"`
	Frames         int64                 `json:"frames"`
	Files          []v1alpha1.OutputFile `json:"files"`
}

func showResult(w io.Writer, job *v1alpha1.PoseJob, format string) error {
	out := job.Status.Output
	if out == nil {
		return fmt.Errorf("PoseJob %s/%s has no result: its phase is %s. `kubectl pose describe %s` says more", job.Namespace, job.Name, phaseOf(job), job.Name)
	}
	if format == "json" {
		return term.JSON(w, shown{job.Namespace, job.Name, out.URI, out.ManifestSHA256, out.People, out.Frames, out.Files})
	}
	w = term.Safe(w)
	fmt.Fprintf(w, "%d people in %d frames, at %s\n\n", out.People, out.Frames, term.OneLine(out.URI))
	t := term.Table(w)
	fmt.Fprintln(t, "FILE\tSIZE\tSHA256\tURI")
	for _, file := range out.Files {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", term.OneLine(file.Name), term.Bytes(file.Size), term.Dash(file.SHA256), term.OneLine(file.URI))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	_, err := fmt.Fprintf(w, "\nmanifest sha256 %s\n", out.ManifestSHA256)
	return err //nolint:wrapcheck // the terminal's own error
}

// fetch the files of a result into a folder.
func (f *resultFlags) fetch(ctx context.Context, streams genericiooptions.IOStreams, src *source) error {
	found, err := verify.Find(ctx, src.store, src.digest, verify.Options{})
	if err != nil {
		return fmt.Errorf("find the result in %s: %w", src.from, err)
	}
	files, err := f.chosen(found.Manifest.Files)
	if err != nil {
		return err
	}
	o, err := newOutput("--download", f.download, f.force)
	if err != nil {
		return err
	}
	defer o.discard()
	if err := f.receive(ctx, streams, src, found, files, o); err != nil {
		return err
	}
	done, err := o.commit()
	if err != nil {
		return err
	}
	if f.output == "json" {
		err = term.JSON(streams.Out, map[string]any{"from": src.from, "manifestSHA256": found.SHA256, "files": done})
	} else {
		err = listWritten(term.Safe(streams.Out), f.download, done)
	}
	if err == nil && f.open {
		err = openFile(ctx, picture(f.download, files))
	}
	return err
}

// chosen files of a manifest.
func (f *resultFlags) chosen(files []result.ManifestFileRef) ([]result.ManifestFileRef, error) {
	if len(f.only) == 0 {
		return files, nil
	}
	var out []result.ManifestFileRef
	var names []string
	for _, file := range files {
		names = append(names, file.Name)
	}
	for _, want := range f.only {
		i := slices.IndexFunc(files, func(r result.ManifestFileRef) bool { return r.Name == want || r.Path == want })
		if i < 0 {
			return nil, exit.With(exit.NotFound, fmt.Errorf("the result has no file %q; it has %s", want, strings.Join(names, ", ")))
		}
		out = append(out, files[i])
	}
	return out, nil
}

// receive the files, and the manifest last, where all are wanted: with it the folder is
// a result.
func (f *resultFlags) receive(ctx context.Context, streams genericiooptions.IOStreams, src *source, found *verify.Found, files []result.ManifestFileRef, o *output) error {
	total := int64(0)
	for _, file := range files {
		total += file.Size
	}
	tell := func(int64) {}
	if !f.quiet {
		board := term.NewBoard(ctx, streams.ErrOut, false, time.Now)
		defer board.Close()
		defer board.Done(src.from, "")
		tell = term.NewTransfer(board, src.from, "Download", total, time.Now).Add
	}
	for _, file := range files {
		w, err := o.file(file.Path)
		if err != nil {
			return err
		}
		err = verify.Copy(ctx, src.store, found.Key(file.Path), file, w, tell)
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		if ctx.Err() != nil {
			return exit.With(exit.Interrupted, fmt.Errorf("interrupted; nothing was written: %w", ctx.Err()))
		}
		if err != nil {
			return fmt.Errorf("download %s: %w", src.from, err)
		}
	}
	if len(f.only) > 0 {
		return nil
	}
	w, err := o.file(result.ManifestFile)
	if err != nil {
		return err
	}
	_, err = w.Write(found.Raw)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", result.ManifestFile, err)
	}
	return nil
}

// picture is what a person wants to see: the overlay, or else the folder.
func picture(folder string, files []result.ManifestFileRef) string {
	for _, file := range files {
		if strings.HasPrefix(file.MediaType, "video/") || strings.EqualFold(filepath.Ext(file.Path), ".mp4") {
			return filepath.Join(folder, filepath.FromSlash(file.Path))
		}
	}
	return folder
}

// opener is the program that opens a file as a double click does.
var opener = map[string][]string{"darwin": {"open"}, "windows": {"rundll32", "url.dll,FileProtocolHandler"}}

func openFile(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	command := opener[runtime.GOOS]
	if command == nil {
		command = []string{cmp.Or(os.Getenv("POSE_OPENER"), "xdg-open")}
	}
	out, err := exec.CommandContext(ctx, command[0], append(command[1:], path)...).CombinedOutput() //nolint:gosec // the person's own program
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s was downloaded, and there is no %s to open it with; another program is named by POSE_OPENER", path, command[0])
	case err != nil:
		return fmt.Errorf("%s was downloaded, and cannot be opened: %w: %s", path, err, term.OneLine(string(out)))
	}
	return nil
}

// file is create for a path below the folder, whose folders are made.
func (o *output) file(path string) (*os.File, error) {
	local := filepath.FromSlash(path)
	if !filepath.IsLocal(local) || strings.EqualFold(filepath.Base(local), replacedDir) {
		return nil, fmt.Errorf("%q leads out of the folder", path)
	}
	if err := o.free(local); err != nil {
		return nil, err
	}
	work := filepath.Join(o.work, local)
	if err := os.MkdirAll(filepath.Dir(work), 0o755); err != nil { //nolint:gosec // below our own folder
		return nil, fmt.Errorf("make the folder of %s: %w", path, err)
	}
	f, err := os.OpenFile(work, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // a local path in our own folder
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("the result names %s twice on this machine, where case does not count", path)
	}
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", filepath.Join(o.folder, local), err)
	}
	o.names = append(o.names, local)
	return f, nil
}
