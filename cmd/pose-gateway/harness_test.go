package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/jobs"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/stand"
	"github.com/pose-dev/pose-operator/controllers/apitest"
	"github.com/pose-dev/pose-operator/internal/storetest"
)

// What all tests share: a real API server, a real S3 server.
var (
	root  *rest.Config // may do everything
	kube  *rest.Config // the gateway's own
	admin client.Client
	store *stand.Store
	// alice may do everything, bob nothing, carol look at one job.
	alice = &stand.User{Name: "alice", Verbs: []string{"create", "get", "list", "watch", "patch", "delete"}}
	bob   = &stand.User{Name: "bob"}
	carol = &stand.User{Name: "carol", Verbs: []string{"get", "watch"}, Names: []string{"for-carol"}}
	// dave may send videos and nothing else.
	dave = &stand.User{Name: "dave", Verbs: []string{"create"}}
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "pose-gateway-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, cancel := context.WithCancel(context.Background())
	code := apitest.Main(m, func(c *rest.Config) error { return setUp(ctx, c, dir) })
	cancel()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func setUp(ctx context.Context, c *rest.Config, dir string) error {
	binary := os.Getenv("POSE_TEST_VERSITYGW")
	if binary == "" {
		return errors.New("POSE_TEST_VERSITYGW is not set: these tests need a real S3 server; run `make test-unit`, or set it to the absolute path of .tools/bin/versitygw after `make tools`")
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	var err error
	if admin, err = client.New(c, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if store, err = stand.StartStore(ctx, binary, dir); err != nil {
		return err
	}
	raw, err := os.ReadFile("../../config/engines/mediapipe.yaml")
	if err != nil {
		return err
	}
	var engine v1alpha1.PoseEngine
	if err := yaml.Unmarshal(raw, &engine); err != nil {
		return err
	}
	if err := admin.Create(ctx, &engine); err != nil {
		return err
	}
	if err := stand.Users(ctx, c, []string{stand.Namespace, "other"}, alice, bob, carol, dave); err != nil {
		return err
	}
	root = c
	// The gateway has its own rights and no others.
	kube, err = stand.Account(ctx, c, []string{stand.Namespace})
	return err
}

// gateway that runs as it does in a cluster, with more in its configuration.
type gateway struct {
	t   *testing.T
	url string
	ops string
	// metrics is where they are served.
	metrics string
	stop    func() error
}

func start(t *testing.T, more map[string]any) *gateway {
	t.Helper()
	api, err := storetest.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return startAt(t, api, more)
}

func startAt(t *testing.T, api string, more map[string]any) *gateway {
	t.Helper()
	apitest.Named(t)
	file, err := stand.WriteConfig(t.TempDir(), store, more)
	if err != nil {
		t.Fatal(err)
	}
	c, err := readConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	ops, err := storetest.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := storetest.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, flags{address: api, healthAddress: ops, metricsAddress: metrics, grace: 30 * time.Second}, c, kube, log.Log)
	}()
	g := &gateway{t: t, url: "http://" + api, ops: "http://" + ops, metrics: "https://" + metrics + "/metrics"}
	if c.TLS != nil {
		g.url = "https://" + api
	}
	ended := false
	g.stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := g.stop(); err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	})
	g.until("readiness", func() bool {
		resp, err := http.Get(g.ops + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return g
}

// until something holds; a minute is long enough for anything here.
func (g *gateway) until(what string, holds func() bool) {
	g.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	g.t.Fatalf("%s did not come", what)
}

// request as somebody; headers are pairs.
func (g *gateway) request(u *stand.User, method, path string, body io.Reader, headers ...string) *http.Request {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, g.url+path, body)
	if err != nil {
		g.t.Fatal(err)
	}
	if u != nil {
		r.Header.Set("Authorization", "Bearer "+u.Token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// answer of a request, its body read.
type answer struct {
	*http.Response
	body []byte
}

var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (g *gateway) do(r *http.Request) *answer {
	g.t.Helper()
	resp, err := noRedirects.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	conforms(g.t, r, resp, b)
	return &answer{resp, b}
}

// ask and want a status.
func (g *gateway) ask(u *stand.User, method, path string, status int, headers ...string) *answer {
	g.t.Helper()
	a := g.do(g.request(u, method, path, nil, headers...))
	a.want(g.t, status)
	return a
}

func (a *answer) want(t *testing.T, status int) {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d: %s", a.Request.Method, a.Request.URL.Path, a.Status, status, a.body)
	}
	if status >= 400 && a.Request.Method != http.MethodHead && a.Header.Get("Content-Type") == "application/problem+json" {
		var p struct {
			Title, Detail, RequestID string
			Status                   int
		}
		if json.Unmarshal(a.body, &p) != nil || p.Detail == "" || p.RequestID == "" || p.Status != status {
			t.Errorf("no problem: %s", a.body)
		}
	}
}

func decode[T any](t *testing.T, a *answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return v
}

// video of a size that begins as an MP4 does.
func video(size int) []byte {
	b := make([]byte, size)
	rand.New(rand.NewSource(int64(size))).Read(b)
	copy(b, "\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41")
	return b
}

// form with a video and fields, before or after it.
func form(file string, content []byte, before, after map[string]string) (io.Reader, string) {
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for k, v := range before {
		_ = m.WriteField(k, v)
	}
	w, _ := m.CreateFormFile("video", file)
	_, _ = w.Write(content)
	for k, v := range after {
		_ = m.WriteField(k, v)
	}
	_ = m.Close()
	return &b, m.FormDataContentType()
}

func (g *gateway) upload(u *stand.User, file string, content []byte, before, after map[string]string) *answer {
	g.t.Helper()
	body, kind := form(file, content, before, after)
	return g.do(g.request(u, http.MethodPost, "/api/pose/video", body, "Content-Type", kind))
}

// uploaded job of alice's.
func (g *gateway) uploaded(size int, fields map[string]string) jobs.Job {
	g.t.Helper()
	a := g.upload(alice, "run.mp4", video(size), fields, nil)
	a.want(g.t, http.StatusCreated)
	return decode[jobs.Job](g.t, a)
}

func poseJob(t *testing.T, name string) *v1alpha1.PoseJob {
	t.Helper()
	var j v1alpha1.PoseJob
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: stand.Namespace, Name: name}, &j); err != nil {
		t.Fatal(err)
	}
	return &j
}

// stored files below a folder of the bucket.
func stored(t *testing.T, below string) []string {
	t.Helper()
	var out []string
	root := filepath.Join(store.Dir, stand.Bucket, below)
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil && !d.IsDir() {
			out = append(out, strings.TrimPrefix(p, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// challenge of PKCE (RFC 7636, S256).
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
