package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
)

// TestAnswers: each refusal has its exit code, and words.
func TestAnswers(t *testing.T) {
	u := video(t, 5<<20)
	status, body := 0, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	c := client(t, server.URL)
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
		{200, exit.Failed, `{"id":""}`, "is it one?"},
		{200, exit.Failed, `no json`, "is it one?"},
		{500, exit.Failed, `{"title":"Broken"}`, "Broken"},
	} {
		status, body = tc.status, tc.body
		for what, ask := range map[string]func() error{
			"job":  func() error { _, err := c.Job(t.Context(), "x/../y"); return err },
			"send": func() error { _, err := c.Send(t.Context(), u, nil, true, deaf); return err },
		} {
			if err := ask(); exit.Code(err) != tc.code || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%s, %d: code %d: %v", what, tc.status, exit.Code(err), err)
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
	if _, err := Open("https://x", "", "no pem", ""); exit.Code(err) != exit.Usage {
		t.Errorf("%v", err)
	}
	if c, err := Open("http://127.0.0.1:1", token, "", ""); err != nil || c.token != "hunter2" {
		t.Errorf("%v", err)
	}
	if _, err := Open("https://x", token+"s", "", ""); err == nil {
		t.Error("a token file that is not there was taken")
	}
}
