package results

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spf13/pflag"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/place"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// source is a result that this machine reads: of a URI, a folder, or a job.
type source struct {
	store verify.Store
	// from names it for a person, digest is its manifest's where a status has it.
	from, digest string
	// job that it is the result of; nil where a URI or a folder was named.
	job *v1alpha1.PoseJob
	end func()
}

// sourceFlags are how a result is reached from here.
type sourceFlags struct {
	places           place.Flags
	fromJob          bool
	operator, runner string
	timeout          time.Duration // of the pod that reads a claim
}

// openSource of an argument: job/NAME, or what place.Flags.Open takes. Of a job the
// endpoints are the operator's, where the person may read them and named no other,
// and the credentials those of its Secret, where the person asked for it.
func openSource(ctx context.Context, flags *genericclioptions.ConfigFlags, f sourceFlags, what string, notes io.Writer) (*source, error) {
	name, ok := jobName(what)
	if !ok {
		if f.fromJob {
			return nil, exit.Usagef("--credentials-from-job is for job/NAME: of %s nobody knows the job", what)
		}
		store, end, err := f.places.Open(what)
		return &source{store: store, from: what, end: end}, err
	}
	c, err := cluster.Connect(flags)
	if err != nil {
		return nil, err
	}
	job, err := c.Job(ctx, name)
	if err != nil {
		return nil, err
	}
	return openJob(ctx, c, f, job, notes)
}

func openJob(ctx context.Context, c *cluster.Cluster, f sourceFlags, job *v1alpha1.PoseJob, notes io.Writer) (*source, error) {
	if job.Status.Output == nil || job.Status.Output.URI == "" {
		return nil, fmt.Errorf("PoseJob %s/%s has no result: its phase is %s. `kubectl pose describe %s` says more", job.Namespace, job.Name, phaseOf(job), job.Name)
	}
	if report.Claim(job.Status.Output.URI) != "" {
		return openClaim(ctx, c.Pods(notes), f, job)
	}
	if settings, err := c.Pods(notes).Settings(ctx, f.operator, "any"); err == nil {
		f.places.Default(settings.Store)
	}
	s := &source{from: job.Status.Output.URI, digest: job.Status.Output.ManifestSHA256, job: job, end: func() {}}
	clear := func() {}
	if ref := job.Spec.Output.CredentialsSecretRef; f.fromJob && ref != nil {
		dir, err := secretFolder(ctx, c, job.Namespace, ref.Name)
		if err != nil {
			return nil, err
		}
		clear = func() { _ = os.RemoveAll(dir) }
		f.places.UseCredentials(dir)
	}
	store, end, err := f.places.Open(s.from)
	if err != nil {
		clear()
		return nil, err
	}
	s.store, s.end = store, func() { end(); clear() }
	return s, nil
}

func phaseOf(job *v1alpha1.PoseJob) string {
	if job.Status.Phase == "" {
		return "unknown, as no operator has seen it yet"
	}
	return string(job.Status.Phase)
}

// secretFolder has the keys of a Secret as files, for this process alone.
func secretFolder(ctx context.Context, c *cluster.Cluster, namespace, name string) (string, error) {
	var secret corev1.Secret
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &secret); err != nil {
		return "", c.Explain(err, "get", "Secret "+namespace+"/"+name)
	}
	dir, err := os.MkdirTemp("", "kubectl-pose-")
	if err != nil {
		return "", fmt.Errorf("make a folder for the credentials: %w", err)
	}
	for key, value := range secret.Data {
		if filepath.Base(key) != key || !filepath.IsLocal(key) {
			continue // the API server admits none
		}
		if err := os.WriteFile(filepath.Join(dir, key), value, 0o600); err != nil {
			_ = os.RemoveAll(dir)
			return "", fmt.Errorf("keep the credentials: %w", err)
		}
	}
	return dir, nil
}

func (f *sourceFlags) add(p *pflag.FlagSet) {
	f.places.Add(p)
	p.BoolVar(&f.fromJob, "credentials-from-job", false, "with a job: read the Secret that the job names for its output, which you must have the right to")
	p.StringVar(&f.operator, "operator-namespace", "pose-system", "with a job: namespace of the operator, whose ConfigMap names the endpoints of the stores and the image of pose-runner")
	p.StringVar(&f.runner, "runner-image", "", "with a job whose results lie on a claim: image of pose-runner; read from the operator's ConfigMap if unset")
	p.DurationVar(&f.timeout, "timeout", time.Hour, "with a job whose results lie on a claim: how long the pod that reads them may take, its start included")
}
