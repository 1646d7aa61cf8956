//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

// visitor speaks to the gateway as a service account of the tests' namespace.
type visitor struct {
	*testing.T
	base, token string
}

// visit the gateway with the rights of a ClusterRole, or with none.
func visit(t *testing.T, account, role string) visitor {
	t.Helper()
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	if err := env.Client.Create(t.Context(), sa); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if role != "" {
		if err := env.Client.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: account}},
		}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	token, err := env.Clientset.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := env.Clientset.CoreV1().Pods(harness.SystemNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=pose-gateway"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
				return visitor{t, "http://" + p.Status.PodIP + ":8080", token.Status.Token}
			}
		}
	}
	t.Fatal("no pod of the gateway is ready")
	return visitor{}
}

// do a request and give the answer's body.
func (v visitor) do(method, path string, want int, body io.Reader, header ...string) []byte {
	v.Helper()
	r, err := http.NewRequestWithContext(v.Context(), method, v.base+path, body)
	if err != nil {
		v.Fatal(err)
	}
	r.Host = "pose.test"
	if v.token != "" {
		r.Header.Set("Authorization", "Bearer "+v.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		v.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		v.Fatalf("%s %s: %s, want %d (%v)\n%s", method, path, resp.Status, want, err, raw)
	}
	return raw
}

// upload a video as the seed's web application does.
func (v visitor) upload(file string, want int) []byte {
	v.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		v.Fatal(err)
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("video", `..\run 1 <b>.mp4`)
	if err == nil {
		_, err = part.Write(raw)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		v.Fatal(err)
	}
	return v.do(http.MethodPost, "/api/pose/video", want, &form, "Content-Type", w.FormDataContentType())
}

// TestTheGateway: a video goes in by HTTP, its poses come out, and nothing is left of
// it when it is removed. Kubernetes' own RBAC says who may.
func TestTheGateway(t *testing.T) {
	t.Parallel()
	v := visit(t, "visitor", "pose-operator-posejob-editor")
	file := cut(t, "gateway.mp4", 30, 6)
	var job struct {
		ID     string
		Status struct{ Phase string }
	}
	read := func(raw []byte) {
		t.Helper()
		if err := json.Unmarshal(raw, &job); err != nil || job.ID == "" {
			t.Fatalf("no job: %v\n%s", err, raw)
		}
	}
	read(v.upload(file, http.StatusCreated))

	stranger := visit(t, "stranger", "")
	stranger.upload(file, http.StatusForbidden)
	stranger.do(http.MethodGet, "/api/pose/jobs/"+job.ID, http.StatusForbidden, nil)
	nobody := v
	nobody.token = ""
	nobody.upload(file, http.StatusUnauthorized)

	for end := time.Now().Add(patience); job.Status.Phase != "Succeeded"; time.Sleep(500 * time.Millisecond) {
		read(v.do(http.MethodGet, "/api/pose/jobs/"+job.ID, http.StatusOK, nil))
		if job.Status.Phase == "Failed" || time.Now().After(end) {
			t.Fatalf("the job is %s\n%s", job.Status.Phase, v.do(http.MethodGet, "/api/pose/jobs/"+job.ID, http.StatusOK, nil))
		}
	}
	var results struct {
		Frames int64
		Files  []struct {
			Name, SHA256, URL string
			Size              int64
		}
	}
	if err := json.Unmarshal(v.do(http.MethodGet, "/api/pose/jobs/"+job.ID+"/results", http.StatusOK, nil), &results); err != nil || results.Frames != 6 {
		t.Fatalf("results %+v (%v)", results, err)
	}
	names := map[string]bool{}
	for _, f := range results.Files {
		names[f.Name] = true
		// A link needs no token, and gives parts.
		whole := nobody.do(http.MethodGet, f.URL, http.StatusOK, nil)
		if digest(whole) != f.SHA256 || int64(len(whole)) != f.Size {
			t.Errorf("%s is another file than its manifest names", f.Name)
		}
		if part := nobody.do(http.MethodGet, f.URL, http.StatusPartialContent, nil, "Range", "bytes=10-19"); !bytes.Equal(part, whole[10:20]) {
			t.Errorf("bytes 10 to 19 of %s are others", f.Name)
		}
	}
	if !names["pose"] || !names["overlay"] {
		t.Errorf("results are %v", names)
	}

	v.do(http.MethodDelete, "/api/pose/jobs/"+job.ID, http.StatusNoContent, nil)
	for end := time.Now().Add(patience); ; time.Sleep(500 * time.Millisecond) {
		left, err := store.Keys(t.Context(), "gateway", "")
		if err != nil {
			t.Fatal(err)
		}
		var jobs struct {
			Items []struct{ ID string }
		}
		if err := json.Unmarshal(v.do(http.MethodGet, "/api/pose/jobs", http.StatusOK, nil), &jobs); err != nil {
			t.Fatal(err)
		}
		listed := slices.ContainsFunc(jobs.Items, func(j struct{ ID string }) bool { return j.ID == job.ID })
		if len(left) == 0 && !listed {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("of a job that was removed these are left: %v, and it is listed: %t", left, listed)
		}
	}
	v.do(http.MethodGet, "/api/pose/jobs/"+job.ID, http.StatusNotFound, nil)
}

// TestTheGatewaysPage is in the image, and is allowed to reach its own host alone.
func TestTheGatewaysPage(t *testing.T) {
	t.Parallel()
	v := visit(t, "reader", "")
	v.token = ""
	page := string(v.do(http.MethodGet, "/", http.StatusOK, nil))
	if !strings.Contains(page, "<html") || strings.Contains(page, "http://") || strings.Contains(page, "https://") {
		t.Errorf("the page is\n%s", page)
	}
	if raw := v.do(http.MethodGet, "/openapi.json", http.StatusOK, nil); !json.Valid(raw) {
		t.Errorf("the document is no JSON: %s", fmt.Sprintf("%.200s", raw))
	}
}

// TestThePageInABrowser: headless Chromium sends a video to the page, sees the staged GPU
// attempt die and the CPU take over, and the result that this gave.
func TestThePageInABrowser(t *testing.T) {
	t.Parallel()
	const user, frames = "snow@example.org", 40
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "page"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "pose-operator-posejob-editor"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}
	if err := env.Client.Create(t.Context(), binding); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	engine := stage(t, "sigsegv")
	v := visit(t, "reader", "")
	behind, err := url.Parse(v.base)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(behind)
		r.Out.Host = r.In.Host
		r.Out.Header.Set("X-Proxy-Secret", harness.ProxySecret)
		r.Out.Header.Set("X-Forwarded-User", user)
	}})
	defer proxy.Close()
	cmd := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(env.Tool("")), "venv-node", "bin", "npm"), "run", "--silent", "cluster")
	cmd.Dir = filepath.Join(env.Root, "cmd", "pose-gateway", "page")
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(cmd.Path)+":"+os.Getenv("PATH"), "POSE_GATEWAY="+proxy.URL, "POSE_ENGINE="+engine,
		"POSE_VIDEO="+cut(t, "browser.mp4", 60, frames), fmt.Sprintf("POSE_FRAMES=%d", frames))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the browser's test: %v\n%s", err, out)
	}
}
