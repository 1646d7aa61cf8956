package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/place"
)

// file of a video that is larger than what either side may hold.
func file(t *testing.T) *place.Upload {
	t.Helper()
	path := filepath.Join(t.TempDir(), "Run é.mov")
	if err := os.WriteFile(path, []byte(strings.Repeat("frame", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	u, err := place.Measure(t.Context(), path, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestSend(t *testing.T) {
	u := file(t)
	var fields []string
	var sum, name, token, namespace string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, namespace = r.Header.Get("Authorization"), r.URL.Query().Get("namespace")
		form, err := r.MultipartReader()
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/base/api/pose/video" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		for {
			part, err := form.NextPart()
			if err != nil {
				break
			}
			if part.FormName() == "video" {
				h := sha256.New()
				_, _ = io.Copy(h, part)
				sum, name = hex.EncodeToString(h.Sum(nil)), part.FileName()
				continue
			}
			b, _ := io.ReadAll(part)
			if sum != "" {
				t.Error("a field comes after the video")
			}
			fields = append(fields, part.FormName()+"="+string(b))
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"id":"run-abcde","namespace":"snow","createdAt":"2026-05-01T12:00:00Z","cancelled":true,"status":{"phase":"Running","progress":{"percent":7}},"unknown":1}`)
	}))
	defer server.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	t.Setenv("POSE_TOKEN", "from-env")
	c, err := Open(server.URL+"/base", "", ca, "snow")
	if err != nil {
		t.Fatal(err)
	}
	sent := int64(0)
	job, err := c.Send(t.Context(), u, map[string]string{"sha256": u.SHA256, "device": "CPU", "engine": ""}, func(n int64) { sent += n })
	if err != nil || job.Name != "run-abcde" || job.Namespace != "snow" || job.Status.Progress.Percent != 7 || job.Annotations["pose.dev/cancelled"] != "true" {
		t.Fatalf("%+v %v", job, err)
	}
	if sum != u.SHA256 || name != "Run__.mov" || token != "Bearer from-env" || namespace != "snow" || sent != u.Size || len(fields) != 2 {
		t.Errorf("sha256 %s, name %q, token %q, namespace %q, %d bytes, fields %q", sum, name, token, namespace, sent, fields)
	}
	if _, err := Open(server.URL, "", "no pem", ""); exit.Code(err) != exit.Usage {
		t.Errorf("%v", err)
	}
	c, err = Open(server.URL, "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Job(t.Context(), "x"); exit.Code(err) != exit.Unreachable || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
}

// TestAnswers: each refusal has its exit code, and words.
func TestAnswers(t *testing.T) {
	u := file(t)
	status, body := 0, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	c, err := Open(server.URL, "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		status, code int
		body, want   string
	}{
		{401, exit.Forbidden, `{"title":"x","detail":"no token"}`, "POSE_TOKEN"},
		{403, exit.Forbidden, `{"title":"Denied","detail":"user may not create \u001b[2Jposejobs"}`, "user may not create posejobs"},
		{404, exit.NotFound, "<html>", "404 Not Found"},
		{413, exit.Usage, `{"detail":"at most 4 GiB"}`, "at most 4 GiB"},
		{503, exit.Unreachable, ``, "503"},
		{302, exit.Failed, ``, "302"},
		{200, exit.Failed, `{"id":""}`, "is it a gateway"},
		{200, exit.Failed, `no json`, "is it a gateway"},
		{500, exit.Failed, `{"title":"Broken"}`, "Broken"},
	} {
		status, body = tc.status, tc.body
		for _, ask := range []func() error{
			func() error { _, err := c.Job(t.Context(), "x/../y"); return err },
			func() error { _, err := c.Send(t.Context(), u, nil, func(int64) {}); return err },
		} {
			// A server that answers before it has read all may end the connection.
			if err := ask(); err == nil || exit.Code(err) != tc.code && !strings.Contains(err.Error(), "ended the connection") || exit.Code(err) == tc.code && !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%d: code %d: %v", tc.status, exit.Code(err), err)
			}
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, base := range []string{"http://pose.example.org", "pose.example.org", "https://user:hunter2@pose.example.org", "https://pose.example.org?token=hunter2", "ftp://x", ""} {
		if _, err := Open(base, token, "", ""); exit.Code(err) != exit.Usage || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", base, err)
		}
	}
	if c, err := Open("http://127.0.0.1:1", token, "", ""); err != nil || c.token != "hunter2" {
		t.Errorf("%v", err)
	}
	if _, err := Open("https://x", token+"s", "", ""); err == nil {
		t.Error("a token file that is not there was taken")
	}
}

// TestInterrupted: an upload ends with its context.
func TestInterrupted(t *testing.T) {
	hold := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	defer server.Close()
	defer close(hold)
	c, err := Open(server.URL, "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := c.Send(ctx, file(t), nil, func(int64) {}); err == nil {
		t.Error("it was sent")
	}
}
