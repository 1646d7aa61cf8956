package runner_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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

// TestFetchInParts brings a file that takes several connections, and says which
// version of it that was.
func TestFetchInParts(t *testing.T) {
	t.Parallel()
	video := noise(24 << 20)
	var ranges atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			ranges.Add(1)
		}
		w.Header().Set("ETag", `"v7"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(video))
	}))
	defer srv.Close()
	sum := sha256.Sum256(video)
	for _, tc := range []struct {
		name, digest, reason string
	}{
		{"right digest", hex.EncodeToString(sum[:]), ""},
		{"wrong digest", strings.Repeat("0", 64), report.ReasonInputInvalid},
	} {
		p := newPod(t)
		cfg := fetchConfig(srv.URL + "/v.mp4")
		cfg.Fetch.MaxBytes, cfg.Fetch.SHA256 = 1<<30, tc.digest
		m, code, out := p.run(cfg)
		if m.Reason != tc.reason || (code == 0) != (tc.reason == "") || ranges.Load() < 3 {
			t.Fatalf("%s: %d ranges, code %d %+v\n%s", tc.name, ranges.Load(), code, m, out)
		}
		got, _ := os.ReadFile(p.l.SourceFile)
		if tc.reason == "" && (!bytes.Equal(got, video) || m.Fetch.SHA256 != tc.digest || m.Fetch.Version != `"v7"`) {
			t.Errorf("%d bytes, %+v", len(got), m.Fetch)
		}
		if left, _ := os.ReadDir(filepath.Dir(p.l.SourceFile)); tc.reason != "" && len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// noise is what no two parts of are the same.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// TestFetchEndsWithin: what stops a transfer of several connections in the middle
// leaves nothing of it.
func TestFetchEndsWithin(t *testing.T) {
	t.Parallel()
	video := noise(24 << 20)
	for _, tc := range []struct {
		name string
		// fault is what the server does with each request but the first.
		fault  func(w http.ResponseWriter, r *http.Request)
		within func(dir string) // is done once, before the second request is answered
		volume string           // size of the volume, where that matters
		kill   bool
		reason string
		want   string
	}{
		{name: "credentials expire", reason: report.ReasonInputUnavailable, want: "403 Forbidden", fault: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
		}},
		{name: "another object", reason: report.ReasonInputUnavailable, want: "changed while it was read", fault: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v8"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(video))
		}},
		{name: "disk full", volume: "size=30m", reason: report.ReasonScratchExceeded, want: "scratchSize", within: func(dir string) {
			// Somebody else takes the room that was there at the beginning, all that is left of it.
			_ = os.WriteFile(filepath.Join(dir, "else"), make([]byte, 30<<20), 0o600)
		}, fault: func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(video))
		}},
		{name: "terminated", kill: true, want: "fetch did not finish", fault: func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			dir := filepath.Dir(p.l.SourceFile)
			if tc.volume != "" {
				if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, tc.volume); err != nil {
					t.Skipf("SKIPPED: a small volume cannot be mounted: %v", err)
				}
				t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
			}
			var once sync.Once
			within := make(chan struct{})
			var requests atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("ETag", `"v7"`)
				if requests.Add(1) == 1 {
					http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(video))
					return
				}
				once.Do(func() {
					close(within)
					if tc.within != nil {
						tc.within(dir)
					}
				})
				tc.fault(w, r)
			}))
			t.Cleanup(srv.Close)
			cfg := fetchConfig(srv.URL + "/v.mp4")
			cfg.Fetch.MaxBytes = 1 << 30
			c := p.start(cfg)
			if tc.kill {
				select {
				case <-within:
				case <-time.After(patience):
					t.Fatal("it does not begin")
				}
				_ = c.cmd.Process.Signal(syscall.SIGTERM)
			}
			m, code, out := c.wait()
			if code == 0 || m.Reason != tc.reason || !strings.Contains(m.Message, tc.want) {
				t.Fatalf("code %d %+v\n%s", code, m, out)
			}
			left, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range left {
				if e.Name() != "else" {
					t.Errorf("left behind: %s", e.Name())
				}
			}
		})
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
