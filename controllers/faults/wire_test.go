package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// point says what happens to a write of the manager.
type point string

const (
	// The manager is killed: before the write is sent, when the server has it and
	// nobody saw the reply, or when the reply is there and nothing more was done.
	killedBefore point = "killed before"
	killedAfter  point = "killed after"
	killedReply  point = "killed at the reply"
	// The write is refused, or its reply is lost.
	conflict    point = "conflict"
	tooMany     point = "too many requests"
	serverError point = "server error"
	lostReply   point = "reply lost"
)

// fault is what goes wrong in one replay.
type fault struct {
	// write that it happens to, from 1; 0 is none, each is every one.
	write int
	point point
	// readsFail refuses every so manyth read, the first ten times.
	readsFail int
	watches   watchFault
}

// each write in turn: every life of the manager ends with its first.
const each = -1

func (f fault) hits(n int) bool { return f.write == each || (f.write > 0 && f.write == n) }

func (f fault) String() string {
	switch {
	case f.write == each:
		return string(f.point) + " of every write"
	case f.write > 0 && f.watches.held:
		return fmt.Sprintf("%s of write %d, %s", f.point, f.write, f.watches)
	case f.write > 0:
		return fmt.Sprintf("%s of write %d", f.point, f.write)
	case f.readsFail > 0:
		return fmt.Sprintf("every read of %d fails", f.readsFail)
	}
	return f.watches.String()
}

// wire is what lies between the API server and the managers of one replay. It counts
// what they write in the replay's namespace.
type wire struct {
	namespace string
	fault     fault

	mu     sync.Mutex
	writes []string
	reads  int
	failed int
	fired  int
	cuts   int
	gone   bool
}

// wrote gives the number of writes so far.
func (w *wire) wrote() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.writes)
}

func (w *wire) record() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.writes)
}

// hit says how often the fault happened.
func (w *wire) hit() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fired
}

// life of one manager: from its start to its end nothing else uses it.
type life struct {
	wire   *wire
	killed chan struct{}

	mu     sync.Mutex
	dead   bool
	bodies []io.Closer
}

var errKilled = errors.New("the manager was killed")

// kill: no request leaves any more, and no answer comes.
func (l *life) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return
	}
	l.dead = true
	close(l.killed)
	for _, b := range l.bodies {
		b.Close()
	}
}

func (l *life) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// keep a stream open until the life is over.
func (l *life) keep(body io.Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		body.Close()
		return
	}
	l.bodies = append(l.bodies, body)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// wrap the manager's transport.
func (l *life) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if l.over() {
			return nil, errKilled
		}
		watching := r.URL.Query().Get("watch") != ""
		switch name := l.wire.describe(r); {
		case watching:
			return l.watch(next, r)
		case name != "":
			return l.write(next, r, name)
		}
		if l.wire.refusesRead(r) {
			return refusal(r, http.StatusInternalServerError, metav1.StatusReasonInternalError), nil
		}
		return l.send(next, r)
	})
}

// send a request whose answer nobody gets once the life is over.
func (l *life) send(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	resp, err := next.RoundTrip(r)
	if err == nil && l.over() {
		resp.Body.Close()
		return nil, errKilled
	}
	return resp, err
}

// describe a write by its verb, resource and subresource; empty for what is none, for
// events, and for what lies elsewhere than in the namespace.
func (w *wire) describe(r *http.Request) string {
	_, rest, ok := strings.Cut(r.URL.Path, "/namespaces/"+w.namespace+"/")
	if r.Method == http.MethodGet || !ok {
		return ""
	}
	parts := strings.Split(rest, "/")
	if parts[0] == "events" {
		return ""
	}
	name := r.Method + " " + parts[0]
	if len(parts) > 2 {
		name += "/" + parts[2]
	}
	return name
}

// refusesRead of the namespace.
func (w *wire) refusesRead(r *http.Request) bool {
	if w.fault.readsFail == 0 || r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/namespaces/"+w.namespace+"/") {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	if w.reads%w.fault.readsFail != 0 || w.failed == 10 {
		return false
	}
	w.failed++
	w.fired++
	return true
}

// write something, unless the fault is due.
func (l *life) write(next http.RoundTripper, r *http.Request, name string) (*http.Response, error) {
	if !l.wire.due(name) {
		return l.send(next, r)
	}
	switch l.wire.fault.point {
	case killedBefore:
		l.kill()
		return nil, errKilled
	case conflict:
		return refusal(r, http.StatusConflict, metav1.StatusReasonConflict), nil
	case tooMany:
		return refusal(r, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests), nil
	case serverError:
		return refusal(r, http.StatusInternalServerError, metav1.StatusReasonInternalError), nil
	}
	resp, err := next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if l.wire.fault.write == each && resp.StatusCode >= http.StatusBadRequest {
		// A create of what is there already changes nothing: who is killed at every such
		// answer never learns it, and no life gets any further.
		return resp, nil
	}
	switch l.wire.fault.point {
	case killedAfter:
		resp.Body.Close()
		l.kill()
		return nil, errKilled
	case lostReply:
		resp.Body.Close()
		return nil, errors.New("net/http: timeout awaiting response headers")
	}
	// The reply is read whole first: the kill takes away what is read later.
	raw, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	l.kill()
	return resp, err
}

// due counts a write and says whether the fault happens to it.
func (w *wire) due(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes = append(w.writes, name)
	hit := w.fault.hits(len(w.writes))
	if hit {
		w.fired++
	}
	return hit
}

// refusal as the API server words it.
func refusal(r *http.Request, code int32, reason metav1.StatusReason) *http.Response {
	raw, _ := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: code, Reason: reason, Message: "refused by the test",
	})
	h := http.Header{"Content-Type": []string{"application/json"}}
	if code == http.StatusTooManyRequests {
		h.Set("Retry-After", "0")
	}
	return &http.Response{
		Status: http.StatusText(int(code)), StatusCode: int(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(bytes.NewReader(raw)), ContentLength: int64(len(raw)), Request: r,
	}
}
