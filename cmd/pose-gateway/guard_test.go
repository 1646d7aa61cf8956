package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/httpapi"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/jobs"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/stand"
)

// account makes a service account with a token of the API server's own audience.
func account(t *testing.T, c kubernetes.Interface, name string) string {
	t.Helper()
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.CoreV1().ServiceAccounts(stand.Namespace).Create(t.Context(), sa, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := c.CoreV1().ServiceAccounts(stand.Namespace).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.Token
}

var (
	scraperOnce  sync.Once
	scraperToken string
)

// scraper's token: it may get /metrics.
func scraper(t *testing.T) string {
	t.Helper()
	scraperOnce.Do(func() {
		c, err := kubernetes.NewForConfig(root)
		if err != nil {
			t.Fatal(err)
		}
		meta := metav1.ObjectMeta{Name: "scraper"}
		role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}}
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "scraper"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: stand.Namespace, Name: "scraper"}},
		}
		_, e1 := c.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{})
		_, e2 := c.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{})
		if err := errors.Join(e1, e2); err != nil {
			t.Fatal(err)
		}
		scraperToken = account(t, c, "scraper")
	})
	return scraperToken
}

// scrape the metrics with a token, or without.
func (g *gateway) scrape(token string) (int, string) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, g.metrics, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	// It makes its certificate itself, as the manager does.
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestMetricsAreGuarded: only who may get /metrics reads them, and no other port has
// them.
func TestMetricsAreGuarded(t *testing.T) {
	g := start(t, nil)
	c, err := kubernetes.NewForConfig(root)
	if err != nil {
		t.Fatal(err)
	}
	stranger := account(t, c, "stranger")
	// controller-runtime answers 500 to a token that the API server gives a reason against.
	for what, c := range map[string]struct {
		token  string
		status int
	}{
		"nobody": {"", 401}, "a bad token": {"x", 500}, "somebody without the right": {stranger, 403}, "the scraper": {scraper(t), 200},
	} {
		status, text := g.scrape(c.token)
		if status != c.status || strings.Contains(text, "pose_gateway_") != (status == 200) {
			t.Errorf("%s: %d %.200s", what, status, text)
		}
	}
	for _, url := range []string{g.ops + "/metrics", g.url + "/metrics"} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", url, resp.Status)
		}
	}
}

// creating is a client that does something around the creation of jobs.
type creating struct {
	client.Client
	before func()
	after  func() error
	made   *string // the name of the last one
}

func (c *creating) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	if c.before != nil {
		c.before()
	}
	err := c.Client.Create(ctx, o, opts...)
	if c.made != nil {
		*c.made = o.GetName()
	}
	if err == nil && c.after != nil {
		err = c.after()
	}
	return err
}

// built gateway that listens nowhere, for changing its client.
func built(t *testing.T) *httpapi.Server {
	t.Helper()
	file, err := stand.WriteConfig(t.TempDir(), store, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := readConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	s, cluster, err := build(c, kube, log.Log, make(chan struct{}))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = cluster.Start(t.Context()) }()
	if !cluster.WaitForSync(t.Context()) {
		t.Fatal("the jobs are not known")
	}
	return s
}

// TestRetryBesideDelete: a job is deleted after its retry was allowed and before the
// copy is made, or a moment later. No job stays whose video is gone.
func TestRetryBesideDelete(t *testing.T) {
	g := start(t, nil)
	for _, when := range []string{"before", "after"} {
		job := g.uploaded(1000, nil)
		g.ask(alice, http.MethodPost, job.Links.Cancel, http.StatusOK)
		s := built(t).Jobs
		old, err := s.Get(t.Context(), stand.Namespace, job.ID)
		if err != nil {
			t.Fatal(err)
		}
		del := func() { g.ask(alice, http.MethodDelete, job.Links.Self, http.StatusNoContent) }
		c := &creating{Client: s.Client}
		if when == "before" {
			c.before = del
		} else {
			c.after = func() error { del(); return nil }
		}
		s.Client = c
		_, err = s.Retry(t.Context(), &auth.User{Name: "alice"}, old)
		if p := problem.Of(err); p.Status != http.StatusConflict {
			t.Errorf("deleted %s: %v", when, err)
		}
		var all v1alpha1.PoseJobList
		if err := admin.List(t.Context(), &all, client.InNamespace(stand.Namespace)); err != nil {
			t.Fatal(err)
		}
		for _, j := range all.Items {
			if j.Spec.Video.URI == old.Spec.Video.URI && j.DeletionTimestamp == nil {
				t.Errorf("deleted %s: job %s stays without its video", when, j.Name)
			}
		}
		folder := strings.TrimSuffix(strings.TrimPrefix(old.Spec.Video.URI, stand.Base+"/"), "/video.mp4")
		if files := stored(t, folder); len(files) != 0 {
			t.Errorf("deleted %s: left %v", when, files)
		}
	}
}

// TestFormHeaders: neither what comes before the first field nor a field's headers may
// be without an end.
func TestFormHeaders(t *testing.T) {
	g := start(t, nil)
	const kind = "multipart/form-data; boundary=b"
	for what, body := range map[string]string{
		"a preamble": strings.Repeat("nothing\r\n", 40_000) + "--b--\r\n",
		"headers":    "--b\r\nContent-Disposition: form-data; name=\"engine\"\r\n" + strings.Repeat("X-Y: 0123456789\r\n", 9_000) + "\r\nmediapipe\r\n--b--\r\n",
		"a header":   "--b\r\nContent-Disposition: form-data; name=\"engine\"\r\nX-Y: " + strings.Repeat("x", 1<<20) + "\r\n\r\nmediapipe\r\n--b--\r\n",
	} {
		a := g.do(g.request(alice, http.MethodPost, "/api/pose/video", strings.NewReader(body), "Content-Type", kind))
		if a.StatusCode != http.StatusBadRequest || !strings.Contains(string(a.body), fmt.Sprint(128<<10)) {
			t.Errorf("%s: %s %s", what, a.Status, a.body)
		}
	}
}

// TestTusOfSomebodyElse: who is not an upload's owner ends no request of the owner's.
func TestTusOfSomebodyElse(t *testing.T) {
	g := start(t, nil)
	content := video(9 << 20)
	path := g.create(len(content))
	pr, pw := io.Pipe()
	done := make(chan *answer, 1)
	r := g.request(alice, http.MethodPatch, path, pr, "Tus-Resumable", "1.0.0", "Upload-Offset", "0", "Content-Type", offsetStream)
	go func() { done <- g.do(r) }()
	_, _ = pw.Write(content[:8<<20])
	g.until("the first piece", func() bool { return g.offset(path) == 8<<20 })
	g.tus(dave, http.MethodPatch, path, strings.NewReader("x"), "Upload-Offset", "0", "Content-Type", offsetStream).want(t, http.StatusNotFound)
	_, _ = pw.Write(content[8<<20:])
	_ = pw.Close()
	if a := <-done; a.StatusCode != http.StatusNoContent || a.Header.Get("Pose-Job-Id") == "" {
		t.Errorf("the owner's request: %s %s", a.Status, a.body)
	}
}

// TestHubOrder: changes come by version, so that Last-Event-ID leaves nothing out.
func TestHubOrder(t *testing.T) {
	h := &jobs.Hub{Max: 1, MaxPerUser: 1}
	s, err := h.Open("u", "ns", "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct{ name, version string }{{"a", "60"}, {"b", "70"}, {"a", "180"}} {
		h.Handler().OnUpdate(nil, &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: c.name, ResourceVersion: c.version}})
	}
	got, err := s.Next(t.Context(), time.Second)
	if err != nil || len(got) != 2 || got[0].Name != "b" || got[1].Job.ResourceVersion != "180" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestEventsBeginByVersion: an older job that was changed last comes last.
func TestEventsBeginByVersion(t *testing.T) {
	g := start(t, nil)
	old, newer := g.uploaded(1000, nil), g.uploaded(1000, nil)
	g.ask(alice, http.MethodPost, old.Links.Cancel, http.StatusOK)
	var last uint64
	found := 0
	for s := g.follow(alice, "/api/pose/jobs/events"); ; {
		e := s.next()
		if e.name == "sync" {
			break
		}
		v := jobs.Version(e.id)
		if v < last {
			t.Errorf("version %d comes after %d", v, last)
		}
		last = v
		if strings.Contains(e.data, old.ID) || strings.Contains(e.data, newer.ID) {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 jobs", found)
	}
}

// TestFormKeepsTheVideoOfAJob: the cluster made the job and its answer was lost.
func TestFormKeepsTheVideoOfAJob(t *testing.T) {
	for what, size := range map[string]int{"at once": 1000, "in pieces": 9 << 20} {
		s := built(t)
		var made string
		s.Jobs.Client = &creating{Client: s.Jobs.Client, made: &made, after: func() error { return errors.New("the answer was lost") }}
		srv := httptest.NewServer(s.Handler())
		defer srv.Close()
		body, kind := form("run.mp4", video(size), nil, nil)
		g := &gateway{t: t, url: srv.URL}
		g.do(g.request(alice, http.MethodPost, "/api/pose/video", body, "Content-Type", kind)).want(t, http.StatusServiceUnavailable)
		uri := poseJob(t, made).Spec.Video.URI
		if _, err := os.Stat(filepath.Join(store.Dir, stand.Bucket, strings.TrimPrefix(uri, stand.Base+"/"))); err != nil {
			t.Errorf("%s: the job's video: %v", what, err)
		}
	}
}
