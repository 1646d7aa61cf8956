package jobs

import (
	"fmt"
	"maps"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
)

type retryFlags struct {
	name, engine, device, outputURI, dryRun, output string
	variants                                        []string
	again, wait, watch, plain                       bool
}

// RetryCommand makes another PoseJob of one's spec.
func RetryCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	var f retryFlags
	c := &cobra.Command{
		Use:   "retry NAME",
		Short: "Make a new PoseJob of the spec of one that failed or was cancelled",
		Long: `Make a new PoseJob of the spec of one that failed or was cancelled.

A PoseJob is never run twice: its attempts stay as they are. The new job has the same
spec, but for what flags say here, its own labels but those of the operator, no owner,
and the annotation ` + AnnotationRetryOf + `. It writes to the same output URI. Attempts
of jobs have folders of their own there, so nothing of the earlier job is touched.

A job that succeeded has a result, and its output URI is taken: to compute another,
name another place with --output-uri, and --again to have it computed although a
result of the same video is there. A job that still runs is refused: cancel it first.`,
		Example: `  # The node was mended
  kubectl pose retry run-42 --watch

  # Spare the GPU
  kubectl pose retry run-42 --device CPU --name run-42-cpu`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(f.output, "json", "yaml", "name"); err != nil {
				return err
			}
			if f.dryRun != "" && f.dryRun != "client" && f.dryRun != "server" {
				return exit.Usagef("--dry-run %q is unknown: use client or server", f.dryRun)
			}
			r, err := parseRef(args[0])
			if err != nil {
				return err
			}
			if r.batch {
				return exit.Usagef("%s is a batch: its clips are tried again by a new PoseBatch of the same output URI, which finds the results that are there", r)
			}
			return f.run(cmd, streams, flags, r.name)
		},
	}
	p := c.Flags()
	p.StringVar(&f.name, "name", "", "name of the new job; made of the old one's if unset")
	p.StringVar(&f.engine, "engine", "", "another engine")
	p.StringVar(&f.device, "device", "", "another device: Auto, GPU or CPU")
	p.StringSliceVar(&f.variants, "variant", nil, "other variants, in this order, separated by commas")
	p.StringVar(&f.outputURI, "output-uri", "", "another place for the results")
	p.BoolVar(&f.again, "again", false, "compute it anew, also where a verified result is found")
	p.StringVar(&f.dryRun, "dry-run", "", "client prints what would be made, server has the cluster check it, too")
	p.BoolVar(&f.wait, "wait", false, "wait until the new job has ended")
	p.BoolVar(&f.watch, "watch", false, "show how far it is until it has ended")
	p.BoolVar(&f.plain, "plain", false, "lines instead of a bar on a terminal, too")
	p.StringVarP(&f.output, "output", "o", "", "json, yaml or name; for people if unset")
	return c
}

func (f *retryFlags) run(cmd *cobra.Command, streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags, name string) error {
	ctx := cmd.Context()
	c, err := cluster.Connect(flags)
	if err != nil {
		return err
	}
	old, err := c.Job(ctx, name)
	if err != nil {
		return err
	}
	job, err := f.job(old, utilrand.String(5))
	if err != nil {
		return err
	}
	verb := "created"
	if f.dryRun != "" {
		verb = "created (" + f.dryRun + " dry run)"
	}
	if f.dryRun != "client" {
		var options []client.CreateOption
		if f.dryRun == "server" {
			options = append(options, client.DryRunAll)
		}
		if err := c.Client.Create(ctx, job, options...); err != nil {
			return c.Explain(err, "create", "PoseJob "+job.Namespace+"/"+job.Name)
		}
	}
	if err := printObject(streams.Out, f.output, verb, job); err != nil {
		return err
	}
	if f.dryRun != "" || !f.wait && !f.watch {
		return nil
	}
	refs := []ref{{name: job.Name}}
	return watchJobs(ctx, streams, watchFlags{plain: f.plain, quiet: !f.watch}, &clusterSource{c: c, refs: refs}, refs)
}

// job that takes over the spec of old.
func (f *retryFlags) job(old *v1alpha1.PoseJob, unique string) (*v1alpha1.PoseJob, error) {
	s := standingOf(old)
	switch {
	case !s.over():
		return nil, exit.Usagef("PoseJob %s/%s has not ended (%s): wait for it, or `kubectl pose cancel %s` first", old.Namespace, old.Name, s.phase, old.Name)
	case s.ok && f.outputURI == "":
		return nil, exit.Usagef("PoseJob %s/%s succeeded, and its result lies at %s: name another place with --output-uri", old.Namespace, old.Name, old.Spec.Output.URI)
	case f.name == old.Name:
		return nil, exit.Usagef("--name %s is the old job's", f.name)
	}
	job := &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{
		Namespace: old.Namespace, Name: f.name, Labels: maps.Clone(old.Labels), Annotations: map[string]string{AnnotationRetryOf: old.Name},
	}, Spec: *old.Spec.DeepCopy()}
	maps.DeleteFunc(job.Labels, func(k, _ string) bool {
		return strings.HasPrefix(k, "pose.dev/") || strings.HasPrefix(k, "app.kubernetes.io/managed-by")
	})
	if job.Name == "" {
		job.Name = retryName(old, unique)
	}
	spec := &job.Spec
	spec.Suspend = false
	if f.engine != "" && f.engine != old.Spec.EngineName {
		spec.EngineName, spec.Variants = f.engine, nil
	}
	if len(f.variants) > 0 {
		spec.Variants = f.variants
	}
	if f.outputURI != "" {
		spec.Output.URI = outputOf(f.outputURI, job.Name, false)
	}
	if f.again {
		spec.Reuse = v1alpha1.ReuseNever
	}
	if f.device != "" {
		flags := specFlags{device: f.device, output: "set"}
		if err := flags.check(1, false); err != nil {
			return nil, err
		}
		spec.Device = v1alpha1.DevicePreference(flags.device)
	}
	named(job)
	return job, nil
}

// retryName is the old job's, with another end; a retry of a retry has one end only.
func retryName(old *v1alpha1.PoseJob, unique string) string {
	base := old.Name
	if first := old.Annotations[AnnotationRetryOf]; first != "" && strings.HasPrefix(base, first+"-r") {
		base = first
	}
	const longest = 240
	return fmt.Sprintf("%s-r%s", strings.TrimRight(base[:min(len(base), longest)], "-."), unique)
}
