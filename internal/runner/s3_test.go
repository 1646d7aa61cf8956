package runner_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storetest"
)

// bucket starts a real S3 server with one bucket and gives its URL and folder.
func bucket(t *testing.T) (endpoint, dir string) {
	t.Helper()
	s := storetest.S3(t, "bucket")
	return s.Endpoint, filepath.Join(s.Data, "bucket")
}

func (p *pod) s3Deliver(endpoint, secret string) report.Config {
	p.t.Helper()
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": secret} {
		if err := os.WriteFile(filepath.Join(p.l.CredentialsDir, k), []byte(v), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	cfg := deliverConfig("")
	cfg.Deliver.URI = "s3://bucket/team-a/walk"
	cfg.Deliver.Store = report.StoreConfig{S3Endpoint: endpoint, S3PathStyle: true, S3Region: "us-east-1"}
	return cfg
}

// TestDeliverToS3 uploads through a proxy that refuses the first requests, and the
// first upload.
func TestDeliverToS3(t *testing.T) {
	t.Parallel()
	endpoint, dir := bucket(t)
	target, _ := url.Parse(endpoint)
	var requests, uploads atomic.Int32
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := requests.Add(1); n == 1 || n == 3 || r.Method == http.MethodPut && uploads.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	p := newPod(t)
	p.writeFacts(smallVideo)
	p.run(p.engineConfig("good", p.l.OutputDir, p.l.FactsFile))
	m, code, out := p.run(p.s3Deliver(srv.URL, "admin-secret"))
	if code != 0 || m.Result != report.ResultOK || !strings.Contains(out, "trying again") {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	var pointer result.Pointer
	readJSON(t, filepath.Join(dir, "team-a/walk/manifest.json"), &pointer)
	if pointer.URI != "s3://bucket/team-a/walk/attempts/1-abcde" || pointer.ManifestSHA256 != m.Deliver.ManifestSHA256 {
		t.Errorf("pointer %+v", pointer)
	}
	b, err := os.ReadFile(filepath.Join(dir, "team-a/walk/attempts/1-abcde/pose.json"))
	var d result.Document
	if err != nil || json.Unmarshal(b, &d) != nil || len(d.Frames) != 20 {
		t.Errorf("pose.json: %d bytes, %v", len(b), err)
	}
	// The next attempt of the same job replaces the pointer.
	cfg := p.s3Deliver(srv.URL, "admin-secret")
	cfg.Deliver.AttemptID, cfg.Job.Attempt = "2-fghij", 2
	if m, code, out := p.run(cfg); code != 0 {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	readJSON(t, filepath.Join(dir, "team-a/walk/manifest.json"), &pointer)
	if pointer.Attempt != 2 || pointer.AttemptID != "2-fghij" {
		t.Errorf("pointer %+v", pointer)
	}
}

// TestDeliverRefusesBeforeTheEngine: no engine has started, and what can never be
// uploaded is told all the same.
func TestDeliverRefusesBeforeTheEngine(t *testing.T) {
	t.Parallel()
	endpoint, _ := bucket(t)
	for name, change := range map[string]func(*report.DeliverConfig){
		"no bucket": func(c *report.DeliverConfig) { c.URI = "s3://nowhere/team-a/walk" },
		"no right":  func(*report.DeliverConfig) {},
	} {
		p := newPod(t)
		p.writeFacts(smallVideo)
		cfg := p.s3Deliver(endpoint, map[string]string{"no bucket": "admin-secret", "no right": "hunter2"}[name])
		cfg.Deliver.EngineWaitSeconds = 600
		change(cfg.Deliver)
		if m, code, out := p.run(cfg); code != 1 || m.Reason != report.ReasonDeliveryFailed || m.Temporary {
			t.Errorf("%s: code %d %+v\n%s", name, code, m, out)
		}
	}
}

func TestDeliverToS3Fails(t *testing.T) {
	t.Parallel()
	endpoint, _ := bucket(t)
	p := newPod(t)
	p.writeFacts(smallVideo)
	p.run(p.engineConfig("good", p.l.OutputDir, p.l.FactsFile))
	for name, tc := range map[string]struct {
		endpoint, secret, bucket, want string
	}{
		"wrong key":   {endpoint, "hunter2", "bucket", "check the Secret"},
		"no bucket":   {endpoint, "admin-secret", "nowhere", "s3://nowhere/team-a/walk"},
		"unreachable": {"http://127.0.0.1:1", "admin-secret", "bucket", "within 3 s"},
	} {
		cfg := p.s3Deliver(tc.endpoint, tc.secret)
		cfg.Deliver.URI = "s3://" + tc.bucket + "/team-a/walk"
		cfg.Deliver.TimeoutSeconds = 3
		_ = os.Remove(p.l.Diagnostics) // its upload would be tried too
		m, code, out := p.run(cfg)
		if code != 1 || m.Reason != report.ReasonDeliveryFailed || !strings.Contains(m.Message, tc.want) || bytes.Contains([]byte(out), []byte("hunter2")) {
			t.Errorf("%s: code %d %+v\n%s", name, code, m, out)
		}
	}
}
