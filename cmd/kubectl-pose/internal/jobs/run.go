package jobs

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/place"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/internal/storage"
)

type runFlags struct {
	spec                  specFlags
	places                place.Flags
	uploadTo              string
	gateway, gatewayToken string
	dryRun, output        string
	wait, watch, plain    bool
	quiet, noResume       bool
	timeout               time.Duration
}

// mostVideos of one command: more are a PoseBatch.
const mostVideos = 500

// RunCommand makes PoseJobs.
func RunCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run VIDEO... --output-uri URI",
		Short: "Make a PoseJob of each video; files of this machine are uploaded first",
		Long: `Make a PoseJob of each video.

A VIDEO is a URI that the cluster reads, as s3://bucket/key, gs://, azblob://, https://,
pvc://claim/path or oci://, or a file of this machine, which is uploaded first: straight
to a store with --upload-to, with your own credentials, or through the upload service
with --gateway. Paths of Windows (C:\Users\x\v.mp4) are understood in its Subsystem for
Linux, and paths of the Subsystem (/mnt/c/..., \\wsl$\...) on Windows.

A file is uploaded under a name made of its sha256, so the same file lies there once,
and its result is found again instead of computed. The job's spec has the digest.
Through the gateway a connection that breaks goes on where it was, and so does the same
command after it was ended, for as long as the gateway keeps what came (a day).
Uploads stay until you remove them ("kubectl pose purge --video") or the platform
admin's sweep does.

With --watch or --wait the exit code is 1 if a job fails, and 6 after --timeout.`,
		Example: `  # A video in a bucket; the namespace is snow
  kubectl pose run s3://videos/run-42.mov -n snow --secret store --output-uri s3://results/snow/ --watch

  # A file of this machine, on the CPU, with an overlay that hides faces
  kubectl pose run ./run-42.mov --upload-to s3://videos/snow --credentials-from-env --secret store \
      --output-uri s3://results/snow/ --device CPU --overlay Blurred

  # Through the upload service, which chooses places and credentials
  kubectl pose run "C:\Users\x\run-42.mov" --gateway https://pose.example.org --wait

  # What would be made?
  kubectl pose run s3://videos/run-42.mov --output-uri s3://results/snow/ --dry-run=client -o yaml`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(len(args)); err != nil {
				return err
			}
			ctx, stop := term.UntilTold(cmd.Context())
			defer stop()
			return f.run(ctx, streams, flags, args)
		},
	}
	p := c.Flags()
	f.spec.add(p)
	p.StringVar(&f.uploadTo, "upload-to", "", "folder of a store for files of this machine, as s3://videos/snow")
	p.StringVar(&f.gateway, "gateway", "", "base URL of the upload service, for files of this machine")
	p.StringVar(&f.gatewayToken, "gateway-token-file", "", "file with the token for the gateway; the variable POSE_TOKEN if unset")
	p.BoolVar(&f.noResume, "no-resume", false, "with --gateway: begin each upload anew, and remember nothing of it in this user's cache")
	f.places.Add(p)
	p.StringVar(&f.dryRun, "dry-run", "", "client prints what would be made, server has the cluster check it, too; nothing is made or uploaded")
	p.BoolVar(&f.wait, "wait", false, "wait until all jobs have ended")
	p.BoolVar(&f.watch, "watch", false, "show how far they are until all have ended")
	p.BoolVar(&f.plain, "plain", false, "lines instead of bars on a terminal, too")
	p.BoolVarP(&f.quiet, "quiet", "q", false, "do not say how far uploads are")
	p.DurationVar(&f.timeout, "timeout", 0, "with --wait or --watch: for how long; 0 is for ever")
	p.StringVarP(&f.output, "output", "o", "", "json, yaml or name; for people if unset")
	return c
}

func (f *runFlags) check(videos int) error {
	if err := checkOutput(f.output, "json", "yaml", "name"); err != nil {
		return err
	}
	switch {
	case videos > mostVideos:
		return exit.Usagef("%d videos are more than the %d of one command: make a PoseBatch of them", videos, mostVideos)
	case f.dryRun != "" && f.dryRun != "client" && f.dryRun != "server":
		return exit.Usagef("--dry-run %q is unknown: use client or server", f.dryRun)
	case f.uploadTo != "" && f.gateway != "":
		return exit.Usagef("--upload-to and --gateway: leave one out")
	case f.noResume && f.gateway == "":
		return exit.Usagef("--no-resume is for --gateway: an upload to a store goes part by part, and always begins anew")
	case f.gateway != "" && f.dryRun != "":
		return exit.Usagef("--dry-run: the gateway makes the job itself, and cannot say what it would make")
	case f.dryRun != "" && (f.wait || f.watch):
		return exit.Usagef("--dry-run makes nothing that could be waited for")
	case f.timeout != 0 && !f.wait && !f.watch:
		return exit.Usagef("--timeout is for --wait and --watch")
	}
	return f.spec.check(videos, f.gateway != "")
}

// video of the command line.
type video struct {
	arg   string
	local bool
	// name is a URI, or a path on this machine.
	name   string
	upload *place.Upload
}

// videos of the arguments.
func (f *runFlags) videos(args []string) ([]video, error) {
	system := place.Here()
	out := make([]video, 0, len(args))
	for _, arg := range args {
		name, local, err := system.Local(arg)
		switch {
		case err != nil:
			return nil, err
		case local && f.uploadTo == "" && f.gateway == "":
			return nil, exit.Usagef("%s is a file of this machine, which no pod can read: say where to upload it, with --upload-to s3://bucket/folder or --gateway URL; a video elsewhere is named by its URI", arg)
		case !local && f.gateway != "":
			return nil, exit.Usagef("%s is a URI, and the gateway takes files of this machine only: leave --gateway out", arg)
		}
		out = append(out, video{arg: arg, local: local, name: name})
	}
	return out, nil
}

func (f *runFlags) run(ctx context.Context, streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags, args []string) error {
	all, err := f.videos(args)
	if err != nil {
		return err
	}
	if err := f.measure(ctx, streams, all); err != nil {
		return err
	}
	if f.gateway != "" {
		return f.throughGateway(ctx, streams, flags, all)
	}
	var (
		sink storage.Sink
		end  = func() {}
	)
	if f.uploadTo != "" {
		if !f.places.Chosen() {
			scheme, _, _ := strings.Cut(f.uploadTo, "://")
			f.places.FromEnvironmentIfSet(scheme)
		}
		if sink, end, err = f.places.OpenUploads(f.uploadTo); err != nil {
			return err
		}
	}
	defer end()
	made := make([]*v1alpha1.PoseJob, 0, len(all))
	for _, v := range all {
		uri, digest := v.name, ""
		if v.upload != nil {
			uri, digest = storage.Child(sink.String(), v.upload.Key()), v.upload.SHA256
		}
		made = append(made, f.spec.job("", uri, digest, utilrand.String(5), len(all) > 1))
	}
	c, err := cluster.Connect(flags)
	if err != nil && (f.dryRun != "client" || c != nil) {
		return err
	}
	for _, j := range made {
		if c != nil {
			j.Namespace = c.Namespace
		}
	}
	return f.create(ctx, streams, c, sink, all, made)
}

// create the jobs, after what they read lies at its place.
func (f *runFlags) create(ctx context.Context, streams genericiooptions.IOStreams, c *cluster.Cluster, sink storage.Sink, all []video, made []*v1alpha1.PoseJob) error {
	if f.dryRun != "client" {
		// What the API server refuses is not uploaded.
		for _, j := range made {
			try := j
			if f.dryRun == "" {
				try = j.DeepCopy()
			}
			if err := c.Client.Create(ctx, try, client.DryRunAll); err != nil {
				return c.Explain(err, "create", "PoseJob "+j.Namespace+"/"+j.Name)
			}
		}
	}
	verb := "created"
	if f.dryRun != "" {
		verb = "created (" + f.dryRun + " dry run)"
	}
	var (
		sum  failures
		refs []ref
	)
	for i, j := range made {
		err := f.make(ctx, streams, c, sink, all[i], j)
		if err == nil {
			refs = append(refs, ref{name: j.Name})
			err = printObject(streams.Out, f.output, verb, j)
		} else if len(made) > 1 {
			fmt.Fprintf(term.Safe(streams.ErrOut), "error: %s: %v\n", all[i].arg, err)
		}
		sum.add(err)
		if ctx.Err() != nil {
			break
		}
	}
	if err := sum.err(); err != nil || !f.wait && !f.watch {
		return err
	}
	return watchJobs(ctx, streams, f.watching(), &clusterSource{c: c, refs: refs}, refs)
}

func (f *runFlags) watching() watchFlags {
	return watchFlags{timeout: f.timeout, plain: f.plain, quiet: !f.watch}
}

// make one job.
func (f *runFlags) make(ctx context.Context, streams genericiooptions.IOStreams, c *cluster.Cluster, sink storage.Sink, v video, j *v1alpha1.PoseJob) error {
	if f.dryRun != "" {
		return nil
	}
	if v.upload != nil {
		b := f.bar(ctx, streams, v.arg, "Upload", v.upload.Size)
		_, sent, err := v.upload.To(ctx, sink, b.add)
		switch {
		case err != nil:
			b.done("")
			return err
		case !sent:
			b.done(v.arg + " lies at " + j.Spec.Video.URI + " already")
		default:
			b.done(v.arg + " was uploaded to " + j.Spec.Video.URI)
		}
	}
	if err := c.Client.Create(ctx, j); err != nil {
		return c.Explain(err, "create", "PoseJob "+j.Namespace+"/"+j.Name)
	}
	return nil
}

// measure the files of this machine.
func (f *runFlags) measure(ctx context.Context, streams genericiooptions.IOStreams, all []video) error {
	for i := range all {
		v := &all[i]
		if !v.local {
			continue
		}
		size, err := place.Size(v.name)
		if err != nil {
			return err
		}
		b := f.bar(ctx, streams, v.arg, "Digest", size)
		v.upload, err = place.Measure(ctx, v.name, b.add)
		b.done("")
		switch {
		case err != nil:
			return err
		case f.spec.sha256 != "" && f.spec.sha256 != v.upload.SHA256:
			return exit.Usagef("%s has sha256 %s, and --sha256 says %s", v.arg, v.upload.SHA256, f.spec.sha256)
		}
	}
	return nil
}

// bar of one transfer of a file.
type bar struct {
	add, had func(bytes int64)
	// say a line that stays, also where the person wants no bar.
	say func(format string, args ...any)
	// done ends it, with last words.
	done func(last string)
}

func (f *runFlags) bar(ctx context.Context, streams genericiooptions.IOStreams, name, doing string, size int64) bar {
	if f.quiet {
		none := func(int64) {}
		return bar{add: none, had: none, done: func(string) {}, say: func(format string, args ...any) {
			fmt.Fprintln(term.Safe(streams.ErrOut), term.OneLine(fmt.Sprintf(format, args...)))
		}}
	}
	board := term.NewBoard(ctx, streams.ErrOut, f.plain, time.Now)
	t := term.NewTransfer(board, name, doing, size, time.Now)
	return bar{add: t.Add, had: t.Had, say: board.Say, done: func(last string) {
		board.Done(name, last)
		board.Close()
	}}
}
