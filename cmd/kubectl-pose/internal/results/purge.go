package results

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
)

type purgeFlags struct {
	video, copies, dryRun, yes bool
	output, runner, operator   string
	timeout                    time.Duration
	gone                       goneJob
}

// goneJob says of a job that is no more what its PoseJob would say.
type goneJob struct {
	uid, outputURI, secret, videoURI, videoSecret, serviceAccount string
}

// PurgeCommand removes what jobs wrote.
func PurgeCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	var f purgeFlags
	c := &cobra.Command{
		Use:   "purge JOB|pb/NAME",
		Short: "Remove what a job wrote, and on request its video",
		Long: `Remove what a job wrote, and on request its video.

Removed are the results of all its attempts, whole and partial, results that it
reused by a copy, those of a job of the same name that was deleted before, and the
manifest.json at its output URI. With --video the video itself goes too, and with
--copies what other jobs of the namespace copied from this one. What belongs to
others stays and is named. Backups and versions that a store keeps are its own.

Of a batch (pb/NAME) the results of all its clips are removed, and batch.json.

It is done by a pod in the job's namespace, which has the job's own Secrets and
claims and is deleted at the end. The PoseJob stays; its status still names the
results.

The exit code is 0 if nothing is left, 1 if something is, and 2 if nothing was tried:
the command is wrong, the job still runs, or the cluster cannot be reached.`,
		Example: `  # What would go?
  kubectl pose purge run-42 -n snow --video --copies --dry-run

  # All of it, without a question
  kubectl pose purge run-42 -n snow --video --copies --yes

  # Of a job that was deleted
  kubectl pose purge run-42 -n snow --output-uri s3://results/snow/run-42 --credentials-secret store`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := term.UntilTold(cmd.Context())
			defer stop()
			return runPurge(ctx, streams, flags, f, args[0])
		},
	}
	ofOne(c)
	p := c.Flags()
	p.BoolVar(&f.video, "video", false, "remove the job's video too")
	p.BoolVar(&f.copies, "copies", false, "remove the results of other jobs of the namespace that were copied from this one, too")
	p.BoolVar(&f.dryRun, "dry-run", false, "remove nothing, and say what would be removed")
	p.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	p.DurationVar(&f.timeout, "timeout", 30*time.Minute, "how long to wait for a node, the image and the removal, for each job")
	p.StringVarP(&f.output, "output", "o", "", "json; for people if unset")
	p.StringVar(&f.runner, "runner-image", "", "image of pose-runner; read from the operator's ConfigMap if unset")
	p.StringVar(&f.operator, "operator-namespace", "pose-system", "namespace of the operator, whose ConfigMap names the image of pose-runner and the endpoints of the stores")
	g := &f.gone
	p.StringVar(&g.outputURI, "output-uri", "", "of a job that was deleted: its spec.output.uri")
	p.StringVar(&g.secret, "credentials-secret", "", "of a job that was deleted: the Secret of its output")
	p.StringVar(&g.uid, "uid", "", "of a job that was deleted: its metadata.uid; without it partial results cannot be told from those of others, and stay")
	p.StringVar(&g.videoURI, "video-uri", "", "of a job that was deleted, with --video: its spec.video.uri")
	p.StringVar(&g.videoSecret, "video-credentials-secret", "", "of a job that was deleted: the Secret of its video")
	p.StringVar(&g.serviceAccount, "service-account", "", "of a job that was deleted: the service account of its pods, where the cloud gives rights by it")
	return c
}

// ofOne takes one argument. What is wrong with the command is told from an answer by its
// exit code.
func ofOne(c *cobra.Command) {
	c.Args = func(cmd *cobra.Command, args []string) error {
		return exit.With(exit.Usage, cobra.ExactArgs(1)(cmd, args))
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return exit.With(exit.Usage, err) })
}

func (f *purgeFlags) check() error {
	g := f.gone
	switch {
	case f.output != "" && f.output != "json":
		return fmt.Errorf("--output %q is unknown: use json, or leave it out", f.output)
	case f.timeout < time.Second:
		return fmt.Errorf("--timeout %s is too short", f.timeout)
	case g.outputURI == "" && g != (goneJob{}):
		return errors.New("--uid, --credentials-secret, --video-uri, --video-credentials-secret and --service-account are for a job that was deleted: say its --output-uri too")
	case g.outputURI != "" && f.video != (g.videoURI != ""):
		return errors.New("of a job that was deleted the video needs both --video and --video-uri")
	}
	return nil
}

func runPurge(ctx context.Context, streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags, f purgeFlags, name string) error {
	if err := f.check(); err != nil {
		return exit.With(exit.Usage, err)
	}
	c, err := cluster.Connect(flags)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	return (&purger{PodRunner: c.Pods(streams.ErrOut), flags: f, in: streams.In, out: streams.Out}).run(ctx, name)
}

// sure asks before anything is removed.
func (p *purger) sure(targets []target) error {
	for _, t := range targets {
		p.Note("%s", t.describe())
	}
	if p.flags.yes || p.flags.dryRun {
		return nil
	}
	fmt.Fprint(p.Notes, "Remove this for good? Type yes: ")
	answer, err := bufio.NewReader(io.LimitReader(p.in, 64)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "yes" && a != "y" {
		p.Note("")
		return errors.New("nothing was removed: the answer was not yes; --yes asks nothing")
	}
	return nil
}
