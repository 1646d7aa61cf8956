package runner_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

func fetchConfig(uri string) report.Config {
	return report.Config{Role: report.RoleFetch, Fetch: &report.FetchConfig{
		URI: uri, MaxBytes: 1 << 20, TimeoutSeconds: 60, Store: report.StoreConfig{HTTPAllowedHosts: []string{"127.0.0.1"}},
	}}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("video", 1000)
	sum := sha256.Sum256([]byte(body))
	digest := hex.EncodeToString(sum[:])
	mux := http.NewServeMux()
	mux.HandleFunc("/v", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/announced", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "9000000000000000")
		w.WriteHeader(http.StatusOK)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close) // not deferred: the parallel tests outlive this function
	for _, tc := range []struct {
		name, path string
		cfg        func(*report.FetchConfig)
		reason     string
		want       string
	}{
		{"plain", "/v", nil, "", ""},
		{"right digest", "/v", func(c *report.FetchConfig) { c.SHA256 = strings.ToUpper(digest) }, "", ""},
		{"wrong digest", "/v", func(c *report.FetchConfig) { c.SHA256 = strings.Repeat("0", 64) }, report.ReasonInputInvalid, digest},
		{"empty", "/empty", nil, report.ReasonInputInvalid, "is empty"},
		{"too large", "/v", func(c *report.FetchConfig) { c.MaxBytes = 4999 }, report.ReasonInputInvalid, "larger than the limit of 4999 bytes"},
		{"too large for the volume", "/announced", func(c *report.FetchConfig) { c.MaxBytes = 1 << 60 }, report.ReasonScratchExceeded, "scratchSize"},
		{"missing", "/none", nil, report.ReasonInputUnavailable, "404"},
		{"larger than the job's own disk", "/v", func(c *report.FetchConfig) { c.MaxBytes, c.ScratchBound = 4999, true }, report.ReasonScratchExceeded, "spec.scratchSize"},
		{"not allowed", "/v", func(c *report.FetchConfig) { c.Store.HTTPAllowedHosts = nil }, report.ReasonInputUnavailable, "loopback"},
		{"unmounted claim", "", func(c *report.FetchConfig) { c.URI = "pvc://c/v.mp4" }, report.ReasonInputUnavailable, "not mounted"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			cfg := fetchConfig(srv.URL + tc.path)
			if tc.cfg != nil {
				tc.cfg(cfg.Fetch)
			}
			m, code, out := p.run(cfg)
			if m.Reason != tc.reason || (code == 0) != (tc.reason == "") || !strings.Contains(m.Message, tc.want) {
				t.Fatalf("code %d %+v\n%s", code, m, out)
			}
			got, err := os.ReadFile(p.l.SourceFile)
			if tc.reason == "" && (string(got) != body || m.Fetch.SHA256 != digest || m.Fetch.Bytes != 5000) {
				t.Errorf("%d bytes, %v, %+v", len(got), err, m.Fetch)
			}
			if tc.reason != "" {
				if left, _ := os.ReadDir(filepath.Dir(p.l.SourceFile)); len(left) != 0 {
					t.Errorf("left behind: %v", left)
				}
			}
		})
	}
}

// TestFetchFillsTheVolume uses a volume that is really too small.
func TestFetchFillsTheVolume(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	dir := filepath.Dir(p.l.SourceFile)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("SKIPPED: a small volume cannot be mounted: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 100 { // chunked: the size is not known before
			_, _ = w.Write(make([]byte, 4096))
			_ = http.NewResponseController(w).Flush()
		}
	}))
	defer srv.Close()
	m, code, out := p.run(fetchConfig(srv.URL))
	if code != 1 || m.Reason != report.ReasonScratchExceeded {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
}

func TestFetchIsTerminated(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("x"))
		_ = http.NewResponseController(w).Flush()
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer srv.Close()
	p := newPod(t)
	c := p.start(fetchConfig(srv.URL))
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("nothing was asked for")
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	m, code, out := c.wait()
	if code != 143 || m.Result != report.ResultFailed || m.Reason != "" || !strings.Contains(m.Message, "fetch did not finish") {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	m, code, out := p.run(report.Config{Role: "dance"})
	if code != 1 || m.Reason != report.ReasonConfig || !strings.Contains(m.Message, "dance") {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
}
