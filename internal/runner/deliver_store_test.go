package runner_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
)

// TestDeliverThroughDisturbances: every request fails once, in turn with each status
// that a store gives when it is busy.
func TestDeliverThroughDisturbances(t *testing.T) {
	t.Parallel()
	endpoint, _ := bucket(t)
	p := delivered(t)
	var requests atomic.Int32
	busy := []int{http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusTooManyRequests}
	cfg := withLarge(p.s3Deliver(s3Proxy(t, endpoint, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		n := requests.Add(1)
		if n%4 == 2 {
			w.WriteHeader(busy[int(n/4)%len(busy)])
			return
		}
		forward.ServeHTTP(w, r)
	}), "admin-secret"))
	m, code, out := p.run(cfg)
	direct := cfg.Deliver.Store
	direct.S3Endpoint = endpoint
	if code != 0 || sees(t, p.reader(cfg.Deliver.URI, direct, "")) != m.Deliver.ManifestSHA256 {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
}

// TestDeliverWhenCredentialsExpire: what the place knew is refused from the nth
// request of a kind on. Another attempt, with what the Secret has then, may do better.
func TestDeliverWhenCredentialsExpire(t *testing.T) {
	t.Parallel()
	endpoint, _ := bucket(t)
	for name, c := range map[string]struct {
		refused   func(r *http.Request, n int32) bool
		temporary bool
		want      string
	}{
		"in the middle":          {func(r *http.Request, n int32) bool { return r.Method == http.MethodPut && n > 1 }, true, "refused the same credentials, so they expired"},
		"in a large file":        {func(r *http.Request, _ int32) bool { return strings.Contains(r.URL.RawQuery, "partNumber=3") }, true, "refused the same credentials, so they expired"},
		"while the engine ran":   {func(_ *http.Request, n int32) bool { return n > 3 }, true, "knew these credentials when the engine started"},
		"never allowed to write": {func(r *http.Request, _ int32) bool { return r.Method == http.MethodPut || r.Method == http.MethodPost }, false, "check the Secret"},
	} {
		t.Run(name, func(t *testing.T) {
			p := delivered(t)
			var puts, all atomic.Int32
			cfg := withLarge(p.s3Deliver(s3Proxy(t, endpoint, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
				n := all.Add(1)
				if name == "in the middle" {
					n = 0
					if r.Method == http.MethodPut {
						n = puts.Add(1)
					}
				}
				if c.refused(r, n) {
					w.WriteHeader(http.StatusForbidden)
					_, _ = w.Write([]byte("<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"))
					return
				}
				forward.ServeHTTP(w, r)
			}), "admin-secret"))
			cfg.Deliver.URI = "s3://bucket/" + strings.ReplaceAll(name, " ", "-")
			m, code, out := p.run(cfg)
			if code != 1 || m.Reason != report.ReasonDeliveryFailed || m.Temporary != c.temporary || !strings.Contains(m.Message, c.want) || strings.Contains(out+m.Message, "admin-secret") {
				t.Errorf("code %d %+v\n%s", code, m, out)
			}
			direct := cfg.Deliver.Store
			direct.S3Endpoint = endpoint
			if got := sees(t, p.reader(cfg.Deliver.URI, direct, "")); got != "" {
				t.Errorf("a reader sees %s", got)
			}
		})
	}
}

// TestDeliverToAStoreThatKeepsOtherBytes: a store without our digests is read back.
func TestDeliverToAStoreThatKeepsOtherBytes(t *testing.T) {
	t.Parallel()
	endpoint, _ := bucket(t)
	p := delivered(t)
	cfg := withLarge(p.s3Deliver(s3Proxy(t, endpoint, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		if !strings.HasSuffix(r.URL.Path, "pose.json") || r.Method != http.MethodGet && r.Method != http.MethodHead {
			forward.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		forward.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			if !strings.HasPrefix(strings.ToLower(k), "x-amz-meta") {
				w.Header()[k] = v
			}
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(bytes.ToUpper(rec.Body.Bytes()))
	}), "admin-secret"))
	m, code, out := p.run(cfg)
	if code != 1 || m.Reason != report.ReasonDeliveryFailed || !m.Temporary || !strings.Contains(m.Message, "did not keep what it was given") {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	if got := sees(t, p.reader(cfg.Deliver.URI, cfg.Deliver.Store, "")); got != "" {
		t.Errorf("a reader sees %s", got)
	}
}

// TestDeliverToAFullClaim: nothing is called a result, and once there is room the
// same attempt ends well.
func TestDeliverToAFullClaim(t *testing.T) {
	t.Parallel()
	p, claim := delivered(t), t.TempDir()
	if err := unix.Mount("tmpfs", claim, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("SKIPPED: a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(claim, unix.MNT_DETACH) })
	cfg := withLarge(deliverConfig(claim))
	m, code, out := p.run(cfg)
	root := p.reader(cfg.Deliver.URI, report.StoreConfig{}, claim)
	if code != 1 || m.Reason != report.ReasonDeliveryFailed || !strings.Contains(m.Message, "the volume is full") || sees(t, root) != "" {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	if left := names(filepath.Join(claim, "walk/attempts/1-abcde")); !slices.Equal(left, []string{"pose.json"}) {
		t.Errorf("left: %v", left)
	}
	if err := unix.Mount("tmpfs", claim, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	if m, code, out = p.run(cfg); code != 0 || sees(t, root) != m.Deliver.ManifestSHA256 {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
}

// verifyConfig checks what a delivery wrote.
func verifyConfig(d *report.DeliverConfig, manifest string) report.Config {
	return report.Config{Role: report.RoleVerify, Verify: &report.VerifyConfig{URI: d.URI, PVCMount: d.PVCMount, Store: d.Store, ManifestSHA256: manifest, TimeoutSeconds: 60}}
}

// TestVerifyRole checks a result in a real S3 server and in a claim, whole and
// damaged behind the store's back.
func TestVerifyRole(t *testing.T) {
	t.Parallel()
	endpoint, dir := bucket(t)
	claim := t.TempDir()
	for name, c := range map[string]struct {
		config func(*pod) report.Config
		folder string
	}{
		"s3":    {func(p *pod) report.Config { return withLarge(p.s3Deliver(endpoint, "admin-secret")) }, filepath.Join(dir, "team-a/walk")},
		"claim": {func(*pod) report.Config { return withLarge(deliverConfig(claim)) }, filepath.Join(claim, "walk")},
	} {
		t.Run(name, func(t *testing.T) {
			p := delivered(t)
			cfg := c.config(p)
			d, code, out := p.run(cfg)
			if code != 0 {
				t.Fatalf("code %d %+v\n%s", code, d, out)
			}
			m, code, out := p.run(verifyConfig(cfg.Deliver, d.Deliver.ManifestSHA256))
			if code != 0 || m.Verify == nil || m.Verify.Files != 2 || m.Verify.URI != d.Deliver.URI || m.Verify.Bytes < largeOutput || !strings.Contains(out, `pose-runner: made {"job":{"namespace":"team-a","name":"walk"`) {
				t.Fatalf("code %d %+v %+v\n%s", code, m, m.Verify, out)
			}
			if m, code, out = p.run(verifyConfig(cfg.Deliver, strings.Repeat("0", 64))); code != 1 || m.Verify == nil || !strings.Contains(m.Message, "another result") {
				t.Errorf("another digest: code %d %+v\n%s", code, m, out)
			}
			large := filepath.Join(c.folder, "attempts/1-abcde/large.bin")
			b, err := os.ReadFile(large)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := os.WriteFile(large, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if m, code, out = p.run(verifyConfig(cfg.Deliver, "")); code != 1 || m.Reason != report.ReasonOutputInvalid || m.Verify == nil || len(m.Verify.Problems) != 1 || !strings.Contains(m.Verify.Problems[0], "large.bin: its sha256 is") {
				t.Errorf("a turned bit: code %d %+v\n%s", code, m, out)
			}
			if err := os.Remove(large); err != nil {
				t.Fatal(err)
			}
			if m, code, out = p.run(verifyConfig(cfg.Deliver, "")); code != 1 || m.Verify == nil || !slices.Equal(m.Verify.Problems, []string{"large.bin: it is missing"}) {
				t.Errorf("a lost file: code %d %+v\n%s", code, m, out)
			}
		})
	}
}

func TestVerifyRoleCannotLook(t *testing.T) {
	t.Parallel()
	p, claim := newPod(t), t.TempDir()
	cfg := deliverConfig(claim)
	if m, code, out := p.run(verifyConfig(cfg.Deliver, "")); code != 1 || m.Verify != nil || m.Reason != report.ReasonInputUnavailable || m.Temporary {
		t.Errorf("nothing there: code %d %+v\n%s", code, m, out)
	}
	if m, code, out := p.run(verifyConfig(cfg.Deliver, strings.Repeat("0", 64))); code != 1 || m.Verify == nil || len(m.Verify.Problems) != 1 {
		t.Errorf("a result that is known of is lost: code %d %+v\n%s", code, m, out)
	}
}
