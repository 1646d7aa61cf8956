package results

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/controllers/errand"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// claimMount is where a pod that checks a result has the claim of a pvc:// URI.
const claimMount = "/pose/claim"

// verifyThere reads a job's result by a pod in the cluster.
func verifyThere(ctx context.Context, streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags, f verifyFlags, name string) (*verified, error) {
	c, err := cluster.Connect(flags)
	if err != nil {
		return nil, err
	}
	return verifyByPod(ctx, c.Pods(streams.ErrOut), f, name)
}

func verifyByPod(ctx context.Context, c *cluster.PodRunner, f verifyFlags, name string) (*verified, error) {
	job, err := c.Job(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case job.Status.Output == nil || job.Status.Output.URI == "":
		return nil, fmt.Errorf("PoseJob %s/%s has no result: its phase is %s", c.Namespace, name, term.Known(string(job.Status.Phase)))
	}
	settings, err := c.Settings(ctx, f.operator, f.runner)
	if err != nil {
		return nil, err
	}
	r := verifyRequest(job, f, settings)
	s, err := c.Errand(ctx, r, f.timeout)
	if err != nil {
		return nil, err
	}
	return judged(s, r.Config.Verify.ManifestSHA256)
}

// verifyRequest is the pod that checks a job's result: with the job's own Secret or
// claim, and nothing else of it.
func verifyRequest(job *v1alpha1.PoseJob, f verifyFlags, settings errand.Settings) errand.Request {
	cfg := report.VerifyConfig{
		URI: job.Status.Output.URI, PVCMount: claimMount, Store: settings.Store,
		ManifestSHA256: cmp.Or(f.manifest, job.Status.Output.ManifestSHA256), TimeoutSeconds: int64(f.timeout / time.Second),
	}
	r := errand.Request{
		Config: report.Config{
			Version: report.Version, Role: report.RoleVerify, Verify: &cfg,
			Job: report.JobRef{Namespace: job.Namespace, Name: job.Name, UID: string(job.UID)},
		},
		Places: []errand.Place{{
			URI: cfg.URI, Secret: job.Spec.Output.CredentialsSecretRef, Credentials: report.CredentialsDir, Mount: claimMount, ReadOnly: true,
		}},
		Settings: settings,
	}
	if job.Spec.PodTemplate != nil {
		r.Template = *job.Spec.PodTemplate
	}
	return r
}

// judged is what the pod said.
func judged(s *cluster.Said, manifest string) (*verified, error) {
	if s.Verify == nil {
		return nil, errors.New(cmp.Or(s.Message, "the pod did not say what it found"))
	}
	v := &verified{VerifyReport: *s.Verify, ManifestCompared: manifest != ""}
	if s.Result != report.ResultOK && len(v.Problems) == 0 {
		v.Problems = []string{cmp.Or(s.Message, "the pod did not say what is wrong")}
	}
	for line := range strings.SplitSeq(s.Log, "\n") {
		if raw, ok := strings.CutPrefix(line, verify.MadePrefix); ok {
			var m verify.Made
			if json.Unmarshal([]byte(raw), &m) == nil {
				v.Made = &m
			}
		}
	}
	return v, nil
}
