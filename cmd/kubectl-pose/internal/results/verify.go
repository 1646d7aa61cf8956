package results

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/place"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

type verifyFlags struct {
	manifest, output string
	places           place.Flags
	runner, operator string
	timeout          time.Duration
	quiet            bool
}

// VerifyCommand checks results against their manifests.
func VerifyCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	var f verifyFlags
	c := &cobra.Command{
		Use:   "verify URI|FOLDER|job/NAME|pb/NAME",
		Short: "Check every file of a result against its manifest",
		Long: `Check every file of a result against its manifest.

The result is that of a job's output URI, of one attempt's folder in it, or of a
folder on this machine. All its files are read, and their sizes and sha256 compared
with manifest.json. The digest of manifest.json itself stands in the status of the
job (.status.output.manifestSHA256): give it with --manifest-sha256 to know that the
manifest, too, is the one that was delivered.

The output of a whole batch, or pb/NAME, is checked too: batch.json, and every result
that it names.

With a URI the result is read from here, without credentials unless a folder or the
environment has them. With job/NAME it is read by a pod in the job's namespace, which
has the job's own Secret or claim and is deleted at the end, and the digest of the
manifest is that of the job's status.

The exit code is 0 if the result is whole, 1 if it is damaged, and 2 if nothing can
be said: the command is wrong, or the place cannot be reached.`,
		Example: `  # The result of a job, from within the cluster
  kubectl pose verify job/run-42

  # A folder on this machine
  kubectl pose verify ./run-42

  # A bucket, with the credentials of the environment
  kubectl pose verify s3://results/snow/run-42 --s3-endpoint https://s3.example.org --path-style --credentials-from-env`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := term.UntilTold(cmd.Context())
			defer stop()
			return runVerify(ctx, streams, flags, f, args[0])
		},
	}
	ofOne(c)
	p := c.Flags()
	p.StringVar(&f.manifest, "manifest-sha256", "", "digest that manifest.json must have; of job/NAME that of its status if unset")
	f.places.Add(p)
	p.DurationVar(&f.timeout, "timeout", 20*time.Minute, "how long it may take; with job/NAME the pod's start counts")
	p.StringVar(&f.runner, "runner-image", "", "with job/NAME: image of pose-runner; read from the operator's ConfigMap if unset")
	p.StringVar(&f.operator, "operator-namespace", "pose-system", "with job/NAME: namespace of the operator, whose ConfigMap names the image of pose-runner and the endpoints of the stores")
	p.StringVarP(&f.output, "output", "o", "", "json; for people if unset")
	p.BoolVar(&f.quiet, "quiet", false, "do not say how far the check is")
	return c
}

// verified is what -o json prints.
type verified struct {
	Whole bool `json:"whole"`
	report.VerifyReport
	// ManifestCompared says that the manifest's own digest was known from elsewhere.
	ManifestCompared bool         `json:"manifestCompared"`
	Made             *verify.Made `json:"made,omitempty"`
	// Batch whose results they all are.
	Batch *clips.IndexHead `json:"batch,omitempty"`
}

var sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)

func runVerify(ctx context.Context, streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags, f verifyFlags, what string) error {
	switch {
	case f.output != "" && f.output != "json":
		return exit.With(exit.Usage, fmt.Errorf("--output %q is unknown: use json, or leave it out", f.output))
	case f.manifest != "" && !sha256Hex.MatchString(f.manifest):
		return exit.With(exit.Usage, fmt.Errorf("--manifest-sha256 %q is no sha256: 64 lower-case hex digits are expected", term.Clipped(f.manifest)))
	case f.timeout < time.Second:
		return exit.With(exit.Usage, fmt.Errorf("--timeout %s is too short", f.timeout))
	}
	check := func() (*verified, error) { return verifyHere(ctx, streams, f, what) }
	if job, ok := jobName(what); ok {
		check = func() (*verified, error) { return verifyThere(ctx, streams, flags, f, job) }
	}
	if batch, ok := batchName(what); ok {
		check = func() (*verified, error) {
			c, err := cluster.Connect(flags)
			if err != nil {
				return nil, err
			}
			return verifyBatchByPod(ctx, c.Pods(streams.ErrOut), f, batch)
		}
	}
	v, err := check()
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	v.Whole = len(v.Problems) == 0
	return v.print(streams.Out, f.output)
}

// jobName of an argument that names a job as kubectl does.
func jobName(what string) (string, bool) {
	kind, name, ok := strings.Cut(what, "/")
	switch kind {
	case "job", "posejob", "posejobs", "pj", "posejob.pose.dev", "posejobs.pose.dev":
		return name, ok && name != "" && !strings.Contains(name, "/") && !strings.HasPrefix(name, ".")
	}
	return "", false
}

// verifyHere reads the result from where the person sits.
func verifyHere(ctx context.Context, streams genericiooptions.IOStreams, f verifyFlags, what string) (*verified, error) {
	ctx, stop := context.WithTimeout(ctx, f.timeout)
	defer stop()
	if info, err := os.Stat(what); err == nil && !info.IsDir() && filepath.Base(what) != result.ManifestFile {
		return nil, fmt.Errorf("%s is neither a folder nor a %s", what, result.ManifestFile)
	}
	store, end, err := f.places.Open(what)
	if err != nil {
		return nil, err
	}
	defer end()
	say := term.NewProgress(streams.ErrOut, f.quiet)
	rep, found, err := verify.Whole(ctx, store, f.manifest, verify.Options{Progress: func(done, total int64) {
		say.Line("checking %s: %d of %d MiB", term.Clipped(what), done>>20, total>>20)
	}})
	if isBatch(ctx, store, err) {
		v, berr := verifyBatchHere(ctx, store, f, streams.ErrOut)
		if berr == nil {
			return v, nil
		}
		err = berr
	}
	switch {
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return nil, fmt.Errorf("%s was not checked within %s: give it more time with --timeout: %w", what, f.timeout, context.Cause(ctx))
	case ctx.Err() != nil:
		return nil, fmt.Errorf("interrupted; nothing is known of %s: %w", what, ctx.Err())
	case storage.KindOf(err) == storage.NotFound:
		return nil, fmt.Errorf("there is no result: %w", err)
	case err != nil:
		return nil, fmt.Errorf("%s cannot be checked: %w", what, err)
	}
	v := &verified{VerifyReport: *rep, ManifestCompared: f.manifest != ""}
	if found != nil {
		v.Made = new(verify.Describe(found.Manifest))
	}
	return v, nil
}

// print gives an error, and so exit code 1, if the result is damaged.
func (v *verified) print(w io.Writer, format string) error {
	if format == "json" {
		if err := term.JSON(w, v); err != nil {
			return exit.With(exit.Usage, err)
		}
	} else {
		if v.Batch != nil || v.Results > 0 {
			v.batchTable(term.Safe(w))
		} else {
			v.table(term.Safe(w))
		}
	}
	if !v.Whole {
		return fmt.Errorf("%s is damaged: %d problems", v.URI, len(v.Problems))
	}
	return nil
}

func (v *verified) table(w io.Writer) {
	t := term.Table(w)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, term.OneLine(fmt.Sprintf(format, args...)))
	}
	row("Result", "%s", v.URI)
	if m := v.Made; m != nil {
		row("Made by", "job %s/%s, attempt %d (%s), of operator %s", m.Job.Namespace, m.Job.Name, m.Job.Attempt, m.AttemptID, m.Operator)
		row("With", "engine %s %s, variant %s, device %s, image %s", m.Engine, m.EngineVersion, m.Variant, m.Device, m.Image)
		row("At", "%s", m.CompletedAt.UTC().Format(time.RFC3339))
		row("Video", "%s, sha256 %s, %d frames from frame %d on", m.VideoURI, term.Known(m.VideoSHA256), m.Frames, m.StartFrame)
		row("People", "%d", m.People)
	}
	if v.ManifestSHA256 != "" {
		row("Checked", "%d files, %d bytes, manifest sha256 %s", v.Files, v.Bytes, v.ManifestSHA256)
	}
	_ = t.Flush()
	for _, p := range v.Problems {
		fmt.Fprintf(w, "DAMAGED  %s\n", term.OneLine(p))
	}
	switch {
	case !v.Whole:
	case v.ManifestCompared:
		fmt.Fprintln(w, "The result is whole.")
	default:
		fmt.Fprintf(w, "The files are as %s says. Whether that is the delivered one only its digest tells: compare it with --manifest-sha256.\n", result.ManifestFile)
	}
}
