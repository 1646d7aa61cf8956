package faults

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// watchFault is what happens to what the manager's caches are told.
type watchFault struct {
	// resource that it happens to, as "pods"; empty for all.
	resource string
	// held events come only when the manager has written once more; lag ones when so
	// many later ones have come. Where neither comes they wait for patience alone:
	// nothing else would ever move.
	held bool
	lag  int
	// cut ends the watch after so many events, maxCuts times. With gone the next one
	// is refused once, because what it begins with is too old.
	cut  int
	gone bool
}

const (
	maxCuts  = 3
	patience = 100 * time.Millisecond
)

func (f watchFault) String() string {
	of := f.resource
	if of == "" {
		of = "everything"
	}
	switch {
	case f.held:
		return "events of " + of + " held back until the next write"
	case f.lag > 0:
		return fmt.Sprintf("events of %s %d behind", of, f.lag)
	case f.cut > 0 && f.gone:
		return fmt.Sprintf("watches of %s cut at event %d and gone", of, f.cut)
	case f.cut > 0:
		return fmt.Sprintf("watches of %s cut at event %d", of, f.cut)
	}
	return "undisturbed"
}

// concerns says whether a watch is one of those; only what lies in the replay's own
// namespace is touched.
func (f watchFault) concerns(w *wire, r *http.Request) bool {
	_, resource, ok := strings.Cut(r.URL.Path, "/namespaces/"+w.namespace+"/")
	return ok && (f.held || f.lag > 0 || f.cut > 0) && (f.resource == "" || f.resource == resource)
}

// watch for the manager.
func (l *life) watch(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	f := l.wire.fault.watches
	concerned := f.concerns(l.wire, r)
	if concerned && f.gone && l.wire.tooOld() {
		return refusal(r, http.StatusGone, metav1.StatusReasonExpired), nil
	}
	resp, err := l.send(next, r)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	if concerned {
		resp.Body = l.wire.filter(resp.Body)
	}
	l.keep(resp.Body)
	return resp, nil
}

// tooOld once, after the first cut.
func (w *wire) tooOld() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.cuts > 0 && !w.gone
	w.gone = w.gone || old
	return old
}

// cutNow says whether a watch that gave so many events ends.
func (w *wire) cutNow(events int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault.watches.cut == 0 || events < w.fault.watches.cut || w.cuts == maxCuts {
		return false
	}
	w.cuts++
	w.fired++
	return true
}

// told is one event with when it came.
type told struct {
	line  []byte
	at    time.Time
	wrote int
}

// stream of events that come when the fault lets them.
type stream struct {
	*io.PipeReader
	upstream io.Closer
}

func (s stream) Close() error {
	s.upstream.Close()
	return s.PipeReader.Close()
}

// filter a watch's body, one JSON document a line.
func (w *wire) filter(body io.ReadCloser) io.ReadCloser {
	reader, writer := io.Pipe()
	events := make(chan told, 4096)
	go func() {
		defer close(events)
		in := bufio.NewReader(body)
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				return
			}
			events <- told{line, time.Now(), w.wrote()}
		}
	}()
	go func() {
		defer body.Close()
		defer writer.Close()
		n := 0
		for e := range events {
			for !w.ready(e, len(events)) {
				time.Sleep(2 * time.Millisecond)
			}
			if _, err := writer.Write(e.line); err != nil {
				return
			}
			if n++; w.cutNow(n) {
				return
			}
		}
	}()
	return stream{reader, body}
}

// ready says whether an event may go on to the manager.
func (w *wire) ready(e told, later int) bool {
	f := w.fault.watches
	switch {
	case time.Since(e.at) >= patience:
		return true
	case f.held:
		return w.wrote() > e.wrote
	case f.lag > 0:
		return later >= f.lag
	}
	return true
}
