package results

import (
	"context"
	"errors"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/controllers/errand"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/send"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// runnerPath is pose-runner's in its own image.
const runnerPath = "/pose-runner"

// openClaim starts the pod that reads a job's result on a claim.
func openClaim(ctx context.Context, c *cluster.PodRunner, f sourceFlags, job *v1alpha1.PoseJob) (*source, error) {
	if f.timeout < time.Second {
		return nil, exit.Usagef("--timeout %s is too short", f.timeout)
	}
	settings, err := c.Settings(ctx, f.operator, f.runner)
	if err != nil {
		return nil, err
	}
	owner := metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "PoseJob", Name: job.Name, UID: job.UID}
	pod, err := c.Hold(ctx, sendRequest(job, f, settings), owner, f.timeout)
	if err != nil {
		return nil, err
	}
	uri := job.Status.Output.URI
	return &source{
		store: claimStore{run: c, pod: pod, uri: uri}, from: uri, digest: job.Status.Output.ManifestSHA256, job: job,
		end: func() { c.Remove(ctx, pod) },
	}, nil
}

// sendRequest is the pod that gives the files of a job's result: with its claim to
// read only, and nothing else of it.
func sendRequest(job *v1alpha1.PoseJob, f sourceFlags, settings errand.Settings) errand.Request {
	uri := job.Status.Output.URI
	r := errand.Request{
		Config: report.Config{
			Version: report.Version, Role: report.RoleSend,
			Send: &report.SendConfig{URI: uri, PVCMount: claimMount, TimeoutSeconds: int64(f.timeout / time.Second)},
			Job:  report.JobRef{Namespace: job.Namespace, Name: job.Name, UID: string(job.UID)},
		},
		Places:   []errand.Place{{URI: uri, Mount: claimMount, ReadOnly: true}},
		Settings: settings,
	}
	if job.Spec.PodTemplate != nil {
		r.Template = *job.Spec.PodTemplate
	}
	return r
}

// claimStore is a verify.Store on a claim that a pod reads: one command in it for each
// file.
type claimStore struct {
	run *cluster.PodRunner
	pod *corev1.Pod
	uri string
}

// String is the URI of the result.
func (s claimStore) String() string { return s.uri }

// Open a file below the URI.
func (s claimStore) Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.CloseWithError(s.run.Exec(ctx, s.pod, string(report.RoleSend), []string{runnerPath, "send", "--", key}, w))
	}()
	end := func() {
		select {
		case <-ended: // in good order
		case <-time.After(linger):
		}
		cancel()
		_ = r.CloseWithError(errClosed) // which ends a write of the command's output
		<-ended
	}
	body, size, err := send.Receive(r, storage.Join(s.uri, key))
	if err != nil {
		end()
		return nil, storage.Info{}, err
	}
	return &received{body, end}, storage.Info{Size: size}, nil
}

// linger is how long a command may take to end once nobody reads on: of a file that was
// read whole it has nothing more to say.
const linger = 100 * time.Millisecond

var errClosed = errors.New("nobody reads on")

// received is a file on its way.
type received struct {
	io.Reader
	end func()
}

func (r *received) Close() error {
	r.end()
	return nil
}
