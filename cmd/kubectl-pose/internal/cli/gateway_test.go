package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestRunThroughTheGateway: nothing but the gateway is asked, an upload that a person
// interrupted goes on, and what is remembered of it has no token.
func TestRunThroughTheGateway(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("POSE_TOKEN", "hunter2")
	video := filepath.Join(t.TempDir(), "run.mp4")
	if err := os.WriteFile(video, []byte(strings.Repeat("frame", 1<<17)), 0o600); err != nil {
		t.Fatal(err)
	}
	var created, came atomic.Int64
	var closed atomic.Bool // the gateway refuses the token
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/pose/uploads", func(w http.ResponseWriter, _ *http.Request) {
		created.Add(1)
		w.Header().Set("Location", "/api/pose/uploads/an-id")
		w.WriteHeader(http.StatusCreated)
	})
	offset := func(w http.ResponseWriter) {
		w.Header().Set("Upload-Offset", fmt.Sprint(came.Load()))
		if came.Load() == 5<<17 {
			w.Header().Set("Pose-Job-Id", "run-abcde")
		}
	}
	mux.HandleFunc("HEAD /api/pose/uploads/an-id", func(w http.ResponseWriter, _ *http.Request) { offset(w) })
	mux.HandleFunc("PATCH /api/pose/uploads/an-id", func(w http.ResponseWriter, r *http.Request) {
		if closed.Load() && came.Load() > 0 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		came.Add(n)
		offset(w)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /api/pose/jobs/run-abcde", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"id":"run-abcde","namespace":"poses","status":{"phase":"Pending"}}`)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	sh := shell{t, filepath.Join(t.TempDir(), "none")}
	args := []string{"run", video, "--gateway", server.URL}

	sh.want(2, []string{"--no-resume is for --gateway"}, "run", video, "--upload-to", "s3://b/c", "--output-uri", "s3://b/d", "--no-resume")
	closed.Store(true)
	sh.want(5, []string{"POSE_TOKEN", "the gateway has 40% of it, and the same command goes on from there"}, args...)
	notes, err := filepath.Glob(filepath.Join(cache, "kubectl-pose", "uploads", "*"))
	if err != nil || len(notes) != 1 {
		t.Fatalf("%v %v", notes, err)
	}
	if raw, err := os.ReadFile(notes[0]); err != nil || strings.Contains(string(raw), "hunter2") || !strings.Contains(string(raw), `"upload":"an-id"`) {
		t.Errorf("%v %s", err, raw)
	}
	closed.Store(false)
	sh.want(0, []string{"posejob.pose.dev/run-abcde created"}, args...)
	if left, err := os.ReadDir(filepath.Dir(notes[0])); err != nil || len(left) > 0 || created.Load() != 1 {
		t.Errorf("left %v %v, %d uploads", left, err, created.Load())
	}
	came.Store(0)
	sh.want(0, []string{"posejob.pose.dev/run-abcde"}, append(args, "--no-resume", "-o", "name", "-q")...)
	if left, err := os.ReadDir(filepath.Dir(notes[0])); err != nil || len(left) > 0 || created.Load() != 2 {
		t.Errorf("left %v %v, %d uploads", left, err, created.Load())
	}
}
