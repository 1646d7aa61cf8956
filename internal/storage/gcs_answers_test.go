package storage

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

// TestGCSAnswers are answers from which the library would make an object that is none,
// memory without a bound, or an error that repeats what the server said.
func TestGCSAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"no JSON":          `hunter2`,
		"nothing":          ``,
		"no content":       `204`,
		"an empty object":  `{}`,
		"a size of text":   `{"size":"hunter2","generation":"1"}`,
		"a generation":     `{"size":"1","generation":"hunter2"}`,
		"no generation":    `{"size":"1"}`,
		"a size below all": `{"size":"-1","generation":"1"}`,
		"a size above all": `{"size":"18446744073709551615","generation":"1"}`,
		"a long answer":    `{"size":"1","generation":"1","metadata":{"x":"` + strings.Repeat("x", maxAnswer) + `"}}`,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if answer == "204" {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			_, _ = io.WriteString(w, answer)
		}))
		s, err := OpenSource("gs://bucket/key", Options{Store: report.StoreConfig{GCSEndpoint: srv.URL}})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := s.Stat(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be read") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
		_ = s.Close()
		sink, _ := hurry(t, "gs://bucket/key", Options{Store: report.StoreConfig{GCSEndpoint: srv.URL}})
		if err := sink.List(t.Context(), "", func(Entry) error { return nil }); err == nil && !strings.HasPrefix(answer, "{") {
			t.Errorf("%s: it is taken for an empty folder", name)
		}
		srv.Close()
	}
}

// TestGCSGenerations asks below the looks that others have before and after.
func TestGCSGenerations(t *testing.T) {
	sink, s := hurry(t, "gs://results/a", gcsOptions(t, "results"))
	o := object("b", []byte("x"))
	if err := sink.Put(t.Context(), o, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	o.If.Version = "1"
	if err := s.put(t.Context(), "a/b", o, strings.NewReader("x")); KindOf(err) != Changed {
		t.Errorf("another generation was replaced: %v", err)
	}
	// The emulator opens and removes any generation.
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("ifGenerationMatch") == "1" {
			w.WriteHeader(http.StatusPreconditionFailed)
		}
	}))
	defer srv.Close()
	_, s = hurry(t, "gs://results/a", Options{Store: report.StoreConfig{GCSEndpoint: srv.URL}})
	if r, _, err := s.open(t.Context(), "a/b", 0, -1, "1"); KindOf(classify("", err)) != Changed {
		t.Errorf("another generation was opened: %v, %v", r, err)
	}
	if err := s.remove(t.Context(), "a/b", "1"); KindOf(classify("", err)) != Changed {
		t.Errorf("another generation was removed: %v", err)
	}
}

// TestGCSStoredBytes reads an object that is stored compressed as it is stored:
// digests and offsets are of those bytes.
func TestGCSStoredBytes(t *testing.T) {
	var stored bytes.Buffer
	z := gzip.NewWriter(&stored)
	_, _ = z.Write(content())
	_ = z.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Goog-Generation", "1")
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") { // for whom the server unpacks
			_, _ = w.Write(content())
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(stored.Bytes())
	}))
	defer srv.Close()
	s, err := OpenSource("gs://bucket/key", Options{Store: report.StoreConfig{GCSEndpoint: srv.URL}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, _, err := s.Open(t.Context(), 0, -1, "1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, stored.Bytes()) {
		t.Errorf("%d bytes, %d are stored: %v", len(got), stored.Len(), err)
	}
}

// TestGCSLostAnswer sends an object of one request again when the answer was lost, and
// finds that its own first try is there.
func TestGCSLostAnswer(t *testing.T) {
	o := gcsOptions(t, "results")
	target := o.Store.GCSEndpoint
	var sent atomic.Int32
	srv := between(t, target, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && sent.Add(1) == 1 {
			r.Header.Set("X-Test-Target", target)
			lose(w, r)
		}
		return false
	})
	o.Store.GCSEndpoint = srv.URL
	sink, _ := hurry(t, "gs://results/a", o)
	data := large()[:partSize+1]
	put := object("large", data)
	put.If.Absent = true
	if err := sink.Put(t.Context(), put, bytes.NewReader(data)); err != nil || sent.Load() != 2 {
		t.Errorf("after %d tries: %v", sent.Load(), err)
	}
	if got, _, err := sink.Get(t.Context(), "large", 1<<30); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back: %v", len(got), err)
	}
}

// TestGCSAgain asks when the library shall send a chunk again. It is done with at
// once where nobody waits any more.
func TestGCSAgain(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	busy := apiError{statusError{http.StatusServiceUnavailable, time.Hour}, ""}
	p := Policy{MaxDelay: time.Hour, Tries: 3}
	if u := (&gcsUpload{ctx: gone, policy: p}); u.again(busy) {
		t.Error("it goes on without the pause that the server asks for")
	}
	busy.after = 0
	u := &gcsUpload{ctx: t.Context(), policy: p}
	for i, want := range []bool{true, true, false} {
		if u.again(busy) != want {
			t.Errorf("failure %d: not %v", i+1, want)
		}
	}
	if u.again(nil) || !u.again(busy) {
		t.Error("a chunk that passed counts for the next")
	}
	if u.again(apiError{statusError{http.StatusForbidden, 0}, ""}) {
		t.Error("what no retry helps is tried again")
	}
}

// TestGCSStandsStill ends a chunk that the server takes no further, and sends it again.
func TestGCSStandsStill(t *testing.T) {
	hang := make(chan struct{})
	s := &sessions{breaks: func(_ http.ResponseWriter, _ *http.Request, chunk int) bool {
		if chunk == 1 {
			<-hang
		}
		return chunk == 1
	}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	defer close(hang)
	sink, st := hurry(t, "gs://results/a", Options{Store: report.StoreConfig{GCSEndpoint: srv.URL}})
	st.(*gcsStore).policy.Idle = 500 * time.Millisecond
	if err := putLarge(t.Context(), sink); err != nil || !bytes.Equal(s.object, large()) {
		t.Errorf("%d bytes: %v", len(s.object), err)
	}
}

func TestGCSEndpoints(t *testing.T) {
	for endpoint, want := range map[string]string{
		"": googleEndpoint, "http://127.0.0.1:4443/": "http://127.0.0.1:4443",
		"https://host/path": "", "ftp://host": "", "host:80": "", "http://%zz": "", "https://u:hunter2@host": "", "https://host?x=1": "",
	} {
		u, err := gcsBase(endpoint)
		if (err == nil) != (want != "") || err == nil && u.String() != want || err != nil && (KindOf(err) != Refused || strings.Contains(fmt.Sprint(err), "hunter2")) {
			t.Errorf("%s: %v, %v", endpoint, u, err)
		}
	}
}
