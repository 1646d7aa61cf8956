package posejob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
)

// Logs reads the end of a container's log.
type Logs interface {
	Tail(ctx context.Context, namespace, pod, container string) (string, error)
}

// APILogs reads it from the API server.
type APILogs struct{ Pods corev1client.PodsGetter }

// Bounds of what is read of a log: its last lines, of them the last bytes, out of
// no more than readBytes that the kubelet may send, in no more than readTime.
const (
	tailLines = 200
	tailBytes = 64 << 10
	readBytes = 4 << 20
	readTime  = 10 * time.Second
)

// Tail of a container that has ended.
func (l APILogs) Tail(ctx context.Context, namespace, pod, container string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	lines := int64(tailLines)
	// Without LimitBytes: the kubelet counts those from the first of the lines, and
	// the last ones are what matters.
	stream, err := l.Pods.Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, TailLines: &lines}).Stream(ctx)
	if err != nil {
		return "", fmt.Errorf("read the log of container %s of pod %s/%s: %w", container, namespace, pod, err)
	}
	defer stream.Close()
	raw, err := lastBytes(io.LimitReader(stream, readBytes), tailBytes)
	if err != nil {
		return "", fmt.Errorf("read the log of container %s of pod %s/%s: %w", container, namespace, pod, err)
	}
	return string(raw), nil
}

// lastBytes of what r has.
func lastBytes(r io.Reader, keep int) ([]byte, error) {
	var kept []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if kept = append(kept, buf[:n]...); len(kept) > 2*keep {
			kept = append(kept[:0], kept[len(kept)-keep:]...)
		}
		if errors.Is(err, io.EOF) {
			return kept[max(0, len(kept)-keep):], nil
		}
		if err != nil {
			return nil, fmt.Errorf("after %d bytes: %w", len(kept), err)
		}
	}
}

// lastWords of engines that no runner watched, read once: when the attempt has
// ended and its outcome is about to be recorded. What cannot be read is left
// out: the exit code and the kubelet's own words remain.
func (r *Reconciler) lastWords(ctx context.Context, namespace string, a *attempt.Attempt) error {
	if r.Logs == nil || a.Pod == nil || a.Recorded() || a.Pod.Live() {
		return nil
	}
	c := a.Pod.Container(attempt.ContainerEngine)
	if c == nil || !c.Terminated || c.ExitCode == 0 || c.Report != nil || !c.Init {
		return nil
	}
	log, err := r.Logs.Tail(ctx, namespace, a.Pod.Name, c.Name)
	a.Pod.EngineLog = log
	return err
}
