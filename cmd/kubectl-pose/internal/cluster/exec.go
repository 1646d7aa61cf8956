package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// Exec runs a command in a container, whose standard output goes to stdout. What it
// writes to its standard error is part of the error, if it fails.
func (c *Cluster) Exec(ctx context.Context, pod *corev1.Pod, container string, command []string, stdout io.Writer) error {
	at := c.Set.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	old, err := remotecommand.NewSPDYExecutor(c.config, "POST", at)
	if err != nil {
		return fmt.Errorf("make a connection to pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	// WebSockets pass proxies that know nothing of SPDY; servers and proxies that know
	// nothing of these get the other.
	over, err := remotecommand.NewWebSocketExecutor(c.config, "GET", at.String())
	if err != nil {
		return fmt.Errorf("make a connection to pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	both, err := remotecommand.NewFallbackExecutor(over, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return fmt.Errorf("make a connection to pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	// What goes wrong is in the error; the library would write it to the terminal, too.
	ctx = logr.NewContext(ctx, logr.Discard())
	var said bounded
	err = both.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: stdout, Stderr: &said})
	return explainExec(err, pod, said.String())
}

// explainExec tells what may pass from what does not: who reads a file tries again.
func explainExec(err error, pod *corev1.Pod, said string) error {
	place := fmt.Sprintf("pod %s/%s", pod.Namespace, pod.Name)
	var ended exec.CodeExitError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &ended):
		return &storage.Error{Place: place, Cause: fmt.Sprintf("pose-runner ended with exit code %d: %s", ended.Code, term.OneLine(said))}
	case apierrors.IsForbidden(err), strings.Contains(err.Error(), "forbidden"):
		return exit.With(exit.Forbidden, fmt.Errorf("you may not run commands in pods of namespace %s, which is how files of a claim are read: ask for a role with the verbs create and get of pods/exec, as the ClusterRole edit has: %w", pod.Namespace, err))
	case apierrors.IsNotFound(err), strings.Contains(err.Error(), "not found"):
		return &storage.Error{Place: place, Cause: "the pod is gone before all was read: its time was over (--timeout), or somebody deleted it"}
	}
	return &storage.Error{Kind: storage.Unreachable, Place: place, Cause: "the connection broke off: " + term.OneLine(err.Error()), Temporary: true}
}

// bounded keeps the first bytes of what is written to it. The library may still write
// when a stream has ended with an error.
type bounded struct {
	mu   sync.Mutex
	said []byte
}

// maxSaid of a command's standard error is kept, in bytes.
const maxSaid = 4 << 10

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said = append(b.said, p[:min(len(p), maxSaid-len(b.said))]...)
	return len(p), nil
}

func (b *bounded) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.said)
}
