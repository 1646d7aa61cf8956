package clitest

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// Exec is what a container does with a command, and the exit code that it ends with;
// less than 0 cuts the connection.
type Exec func(container string, command []string, stdout, stderr io.Writer) int

// serve answers POST /exec/NAMESPACE/POD/CONTAINER as a kubelet does: over SPDY, with a
// stream for each of error, stdout and stderr (protocol v4.channel.k8s.io).
func (e Exec) serve(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, err := httpstream.Handshake(r, w, []string{remotecommand.StreamProtocolV4Name}); err != nil {
			return // it has answered
		}
		came := make(chan httpstream.Stream, 3)
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
			came <- s
			return nil
		})
		if conn == nil {
			return
		}
		defer func() { _ = conn.Close() }() // the client may have
		streams := map[string]httpstream.Stream{}
		for len(streams) < 3 {
			select {
			case s := <-came:
				streams[s.Headers().Get(corev1.StreamType)] = s
			case <-time.After(time.Minute):
				t.Errorf("streams: %v", streams)
				return
			}
		}
		code := e(r.PathValue("container"), r.URL.Query()["command"], streams[corev1.StreamTypeStdout], streams[corev1.StreamTypeStderr])
		if code < 0 {
			return
		}
		status := metav1.Status{Status: metav1.StatusSuccess}
		if code > 0 {
			status = metav1.Status{Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason, Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(code)}}}}
		}
		_ = json.NewEncoder(streams[corev1.StreamTypeError]).Encode(status) // the client may be gone
		for _, s := range streams {
			_ = s.Close()
		}
		select {
		case <-conn.CloseChan():
		case <-time.After(time.Minute):
		}
	}
}
