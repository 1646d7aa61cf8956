package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/place"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// video of a size that begins as an MP4 does.
func video(t *testing.T, size int) *place.Upload {
	t.Helper()
	path := filepath.Join(t.TempDir(), "Run é.mov")
	content := make([]byte, size)
	rand.New(rand.NewSource(int64(size))).Read(content)
	copy(content, "\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return measured(t, path)
}

func measured(t *testing.T, path string) *place.Upload {
	t.Helper()
	u, err := place.Measure(t.Context(), path, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// deaf is a Watch that nobody reads.
var deaf = Watch{Went: func(int64) {}, Had: func(int64) {}, Say: func(string, ...any) {}}

// client of a test, with small parts, no patience and a cache of its own.
func client(t *testing.T, base string) *Client {
	t.Helper()
	t.Setenv("POSE_TOKEN", "")
	c, err := Open(base, "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	hurried(c, t.TempDir())
	return c
}

func hurried(c *Client, notes string) {
	c.notes, c.part = notes, 1<<20
	c.wait = func(ctx context.Context, _ time.Duration) error { return storage.Sleep(ctx, time.Millisecond) }
}

// heard is a Watch that keeps what it was told.
type heard struct {
	mu        sync.Mutex
	went, had int64
	said      []string
}

func (h *heard) watch() Watch {
	add := func(to *int64) func(int64) {
		return func(n int64) {
			h.mu.Lock()
			defer h.mu.Unlock()
			*to += n
		}
	}
	return Watch{Went: add(&h.went), Had: add(&h.had), Say: func(format string, args ...any) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.said = append(h.said, fmt.Sprintf(format, args...))
	}}
}

func TestSend(t *testing.T) {
	u := video(t, 5<<20)
	s := newServer(t)
	var token, namespace string
	s.before = func(_ http.ResponseWriter, r *http.Request) bool {
		token, namespace = r.Header.Get("Authorization"), r.URL.Query().Get("namespace")
		return false
	}
	s.StartTLS()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	t.Setenv("POSE_TOKEN", "from-env")
	c, err := Open(s.URL+"/base", "", ca, "snow")
	if err != nil {
		t.Fatal(err)
	}
	hurried(c, t.TempDir())
	var h heard
	job, err := c.Send(t.Context(), u, map[string]string{"sha256": u.SHA256, "device": "CPU", "engine": ""}, true, h.watch())
	if err != nil || job.Name != "run-abcde" || job.Namespace != "snow" || job.Status.Progress.Percent != 7 || job.Annotations["pose.dev/cancelled"] != "true" {
		t.Fatalf("%+v %v", job, err)
	}
	want := "filename " + base64.StdEncoding.EncodeToString([]byte("Run__.mov")) + ",device " + base64.StdEncoding.EncodeToString([]byte("CPU")) + ",sha256 " + base64.StdEncoding.EncodeToString([]byte(u.SHA256))
	if !s.holds("id-1", u) || s.metadata["id-1"] != want || token != "Bearer from-env" || namespace != "snow" || h.went != u.Size || h.had != 0 || len(h.said) > 0 || len(s.offsets) != 6 {
		t.Errorf("metadata %q, token %q, namespace %q, told of %d bytes, said %q, sent at %v", s.metadata["id-1"], token, namespace, h.went, h.said, s.offsets)
	}
	if left, err := os.ReadDir(c.notes); err != nil || len(left) > 0 {
		t.Errorf("notes of a complete upload: %v %v", left, err)
	}
	if c, err = Open(s.URL, "", "", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(t.Context(), u, nil, true, deaf); exit.Code(err) != exit.Unreachable || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
}

// TestSendGoesOn cuts connections everywhere: each byte counts once, and progress is
// what the gateway has.
func TestSendGoesOn(t *testing.T) {
	u := video(t, 3<<20+7)
	s := newServer(t)
	var n atomic.Int32
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		switch n.Add(1) {
		case 2: // in the first bytes
			s.cut(r, 1000)
		case 3:
			http.Error(w, `{"detail":"too many"}`, http.StatusTooManyRequests)
			return true
		case 6: // in a later part
			s.cut(r, 700<<10)
		case 8: // a proxy's words for a body that broke off
			http.Error(w, `bad request`, http.StatusBadRequest)
			return true
		}
		return false
	}
	s.Start()
	c := client(t, s.URL+"/base")
	var h heard
	job, err := c.Send(t.Context(), u, nil, true, h.watch())
	if err != nil || job.Name != "run-abcde" || !s.holds("id-1", u) || s.created != 1 {
		t.Fatalf("%+v %v, %d uploads", job, err, s.created)
	}
	if h.went != u.Size || h.had != 0 || len(h.said) != 4 || !strings.Contains(h.said[2], "33%") {
		t.Errorf("told of %d and %d bytes, said %q", h.went, h.had, h.said)
	}
}

// TestSendAfterItEnded: another process goes on, with the same content and fields only.
func TestSendAfterItEnded(t *testing.T) {
	u := video(t, 4<<20)
	s := newServer(t)
	var patches atomic.Int32
	stop := func() {}
	s.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			if patches.Add(1) == 3 {
				stop()
				panic(http.ErrAbortHandler)
			}
		}
		return false
	}
	s.Start()
	c := client(t, s.URL+"/base")
	c.token = "hunter2"
	begin := func(fields map[string]string, resume bool) {
		t.Helper()
		patches.Store(0)
		ctx, cancel := context.WithCancel(t.Context())
		stop = cancel
		_, err := c.Send(ctx, u, fields, resume, deaf)
		if exit.Code(err) != exit.Interrupted || resume != strings.Contains(err.Error(), "31%") || resume != strings.Contains(err.Error(), "goes on from there") {
			t.Fatalf("%v", err)
		}
	}
	send := func(u *place.Upload, fields map[string]string) *heard {
		t.Helper()
		patches.Store(-1000)
		var h heard
		if _, err := c.Send(t.Context(), u, fields, true, h.watch()); err != nil {
			t.Fatal(err)
		}
		return &h
	}
	begin(nil, true)
	notes, err := os.ReadDir(c.notes)
	if err != nil || len(notes) != 1 {
		t.Fatalf("%v %v", notes, err)
	}
	info, err := notes[0].Info()
	raw, rerr := os.ReadFile(filepath.Join(c.notes, notes[0].Name()))
	if err != nil || rerr != nil || info.Mode().Perm() != 0o600 || bytes.Contains(raw, []byte("hunter2")) {
		t.Errorf("%v: %s", info, raw)
	}
	if h := send(u, nil); h.had != firstBytes+1<<20 || h.had+h.went != u.Size || !s.holds("id-1", u) || s.created != 1 || len(h.said) > 0 {
		t.Errorf("%+v, %d uploads", h, s.created)
	}

	begin(nil, true)
	if h := send(u, map[string]string{"device": "CPU"}); h.had != 0 || s.created != 3 || len(h.said) != 1 || !strings.Contains(h.said[0], "other options") || s.has("id-2") {
		t.Errorf("with other fields: %+v, %d uploads", h, s.created)
	}

	begin(nil, true)
	f, err := os.OpenFile(u.Path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("other"), 1<<20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	other := measured(t, u.Path)
	if h := send(other, nil); h.had != 0 || s.created != 5 || len(h.said) != 1 || !strings.Contains(h.said[0], "content was another") || !s.holds("id-5", other) {
		t.Errorf("of another content: %+v, %d uploads", h, s.created)
	}

	u = other
	begin(nil, false)
	if left, err := os.ReadDir(c.notes); err != nil || len(left) > 0 || s.has("id-6") {
		t.Errorf("--no-resume leaves %v, %v", left, err)
	}

	begin(nil, true)
	s.change(func() { delete(s.uploads, "id-7") })
	if h := send(u, nil); s.created != 8 || len(h.said) != 1 || !strings.Contains(h.said[0], "does not have") {
		t.Errorf("an upload that expired: %+v, %d uploads", h, s.created)
	}

	// It became a job, and nobody was told so.
	begin(nil, true)
	s.change(func() { s.jobs["id-9"], s.uploads["id-9"] = "made-already", make([]byte, u.Size) })
	if job, err := c.Send(t.Context(), u, nil, true, deaf); err != nil || job.Name != "made-already" || s.created != 9 {
		t.Errorf("%+v %v, %d uploads", job, err, s.created)
	}
}

// TestSendNotices a file that changes meanwhile: nothing of it is left.
func TestSendNotices(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"touched":   func(p string) error { return os.Chtimes(p, time.Now(), time.Now().Add(time.Hour)) },
		"cut off":   func(p string) error { return os.Truncate(p, 1<<20) },
		"replaced":  func(p string) error { return errors.Join(os.Rename(p, p+".old"), os.WriteFile(p, nil, 0o600)) },
		"taken off": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			u := video(t, 3<<20)
			s := newServer(t)
			var n atomic.Int32
			s.before = func(http.ResponseWriter, *http.Request) bool {
				if n.Add(1) == 3 {
					if err := change(u.Path); err != nil {
						t.Error(err)
					}
				}
				return false
			}
			s.Start()
			c := client(t, s.URL+"/base")
			_, err := c.Send(t.Context(), u, nil, true, deaf)
			if err == nil || name != "taken off" && (!errors.Is(err, errChanged) || s.has("id-1")) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestSendGivesUp: not before it was tried often, and not at all where nobody answers.
func TestSendGivesUp(t *testing.T) {
	u := video(t, 3<<20)
	// failing is a gateway all of whose answers but the first three are bad.
	failing := func(t *testing.T, answer func(*server, http.ResponseWriter, *http.Request)) (*server, *atomic.Int32) {
		t.Helper()
		s, asked := newServer(t), new(atomic.Int32)
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			if asked.Add(1) > 3 {
				answer(s, w, r)
				return true
			}
			return false
		}
		s.Start()
		return s, asked
	}
	s, asked := failing(t, func(s *server, _ http.ResponseWriter, r *http.Request) { s.cut(r, 0) })
	c := client(t, s.URL+"/base")
	var h heard
	_, err := c.Send(t.Context(), u, nil, true, h.watch())
	if n := asked.Load(); exit.Code(err) != exit.Unreachable || !strings.Contains(err.Error(), "after 10 tries") || !strings.Contains(err.Error(), "goes on from there") || len(h.said) != 10 || n < 13 {
		t.Errorf("%v after %d requests, said %q", err, n, h.said)
	}
	for status, code := range map[int]int{401: exit.Forbidden, 403: exit.Forbidden, 415: exit.Usage, 422: exit.Usage} {
		s, asked := failing(t, func(_ *server, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		if _, err := client(t, s.URL+"/base").Send(t.Context(), u, nil, true, deaf); exit.Code(err) != code || asked.Load() != 4 {
			t.Errorf("%d: %v after %d requests", status, err, asked.Load())
		}
	}
	s.Close()
	h = heard{}
	if _, err := c.Send(t.Context(), u, nil, false, h.watch()); exit.Code(err) != exit.Unreachable || len(h.said) > 0 {
		t.Errorf("nobody there: %v, said %q", err, h.said)
	}
}

// TestSendFromASilentNetwork: bytes that nobody takes end a request.
func TestSendFromASilentNetwork(t *testing.T) {
	u := video(t, 40<<20)
	s := newServer(t)
	var n atomic.Int32
	again := make(chan struct{})
	heal := sync.OnceFunc(func() { close(again) })
	s.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			heal()
		}
		if r.Method == http.MethodPatch {
			if n.Add(1) == 2 {
				<-again // the buffers of both sides are full by then
				panic(http.ErrAbortHandler)
			}
		}
		return false
	}
	s.Start()
	c := client(t, s.URL+"/base")
	c.part, c.still = 1<<30, time.Second
	var h heard
	if _, err := c.Send(t.Context(), u, nil, true, h.watch()); err != nil || !s.holds("id-1", u) || len(h.said) == 0 || !strings.Contains(h.said[0], "nothing was taken") {
		t.Errorf("%v, said %q", err, h.said)
	}
}

// TestForeignAnswers: what a server says leads nowhere else.
func TestForeignAnswers(t *testing.T) {
	u := video(t, 1<<20)
	for name, headers := range map[string]map[string]string{
		"no place":                {},
		"a place of many":         {"Location": "/api/pose/uploads/.."},
		"a query":                 {"Location": "https://evil.example/x?token"},
		"an offset beyond":        {"Location": "/x/id", "Upload-Offset": "1048577"},
		"an offset of less":       {"Location": "/x/id", "Upload-Offset": "-1"},
		"no offset":               {"Location": "/x/id"},
		"a job that is none":      {"Location": "/x/id", "Upload-Offset": "5", "Pose-Job-Id": "a b"},
		"the end without its job": {"Location": "/x/id", "Upload-Offset": "1048576"},
	} {
		paths := map[string]bool{}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			paths[r.URL.Path] = true
			for k, v := range headers {
				w.Header().Set(k, v)
			}
			w.WriteHeader(http.StatusNoContent)
		}))
		_, err := client(t, s.URL).Send(t.Context(), u, nil, true, deaf)
		if err == nil || !strings.Contains(err.Error(), "is it one?") {
			t.Errorf("%s: %v", name, err)
		}
		delete(paths, "/api/pose/uploads")
		delete(paths, "/api/pose/uploads/id")
		if len(paths) > 0 {
			t.Errorf("%s: asked for %v", name, paths)
		}
		s.Close()
	}
}

// TestNotes: what is old, broken or somebody else's leads nowhere and goes.
func TestNotes(t *testing.T) {
	u := video(t, 1<<20)
	c := client(t, "https://pose.example.org/base")
	own := c.noteOf(u, nil)
	n := own
	n.Upload, n.Expires = "an-id", time.Now().Add(time.Hour)
	if err := c.remember(n); err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(c.notes, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("broken.json", "{")
	write("long.json", strings.Repeat(" ", maxNote+1))
	write("hostile.json", `{"upload":"../x","expires":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`)
	write("never.json", `{"upload":"x","expires":"9000-01-01T00:00:00Z"}`)
	write("not-ours.txt", "")
	if id, old := c.recall(own); id != "an-id" || old != nil {
		t.Errorf("%q %v", id, old)
	}
	left, err := os.ReadDir(c.notes)
	if err != nil || len(left) != 2 {
		t.Errorf("left: %v %v", left, err)
	}
	for name, other := range map[string]*Client{"gateway": client(t, "https://other.example"), "namespace": client(t, "https://pose.example.org/base")} {
		other.notes = c.notes
		if name == "namespace" {
			other.namespace = "snow"
		}
		if id, old := other.recall(other.noteOf(u, nil)); id != "" || old != nil {
			t.Errorf("of another %s: %q %v", name, id, old)
		}
	}
	c.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if id, _ := c.recall(own); id != "" {
		t.Error("it has expired")
	}
	c.notes = ""
	if c.remember(n) == nil {
		t.Error("remembered nowhere")
	}
	c.forget(n)
}
