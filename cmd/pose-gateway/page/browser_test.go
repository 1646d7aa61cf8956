//go:build page

package page_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/stand"
	"github.com/pose-dev/pose-operator/controllers/apitest"
	"github.com/pose-dev/pose-operator/internal/storetest"
)

// The page in a real browser, on the gateway's own binary, with a real API server and a
// real S3 server. What the operator would write is played at the browser tests' word.

const (
	proxySecret = "a-secret-of-the-proxy-1"
	proxyUser   = "alice@example.org"
)

var (
	kube  *rest.Config
	admin client.Client
)

func TestMain(m *testing.M) {
	os.Exit(apitest.Main(m, func(c *rest.Config) error {
		scheme := runtime.NewScheme()
		if err := v1alpha1.AddToScheme(scheme); err != nil {
			return err
		}
		var err error
		kube = c
		admin, err = client.New(c, client.Options{Scheme: scheme})
		return err
	}))
}

func TestInBrowser(t *testing.T) {
	apitest.Named(t)
	versitygw := os.Getenv("POSE_TEST_VERSITYGW")
	if versitygw == "" {
		t.Fatal("POSE_TEST_VERSITYGW is not set: set it to the absolute path of .tools/bin/versitygw after `make tools`")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store, err := stand.StartStore(ctx, versitygw, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := prepare(ctx); err != nil {
		t.Fatal(err)
	}
	gateway := serve(t, store)
	control := httptest.NewServer(operator(store))
	defer control.Close()

	cmd := exec.CommandContext(ctx, "npm", "run", "--silent", "gateway")
	cmd.Env = append(os.Environ(), "POSE_GATEWAY="+gateway, "POSE_CONTROL="+control.URL, "POSE_PROXY_SECRET="+proxySecret, "POSE_PROXY_USER="+proxyUser)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("the browser's tests: %v (npm and Node.js 20 and Chromium are needed; `make build` in this folder comes first)", err)
	}
}

// prepare an engine, and a user whom a proxy may name.
func prepare(ctx context.Context) error {
	raw, err := os.ReadFile("../../../config/engines/mediapipe.yaml")
	if err != nil {
		return fmt.Errorf("read an engine: %w", err)
	}
	var engine v1alpha1.PoseEngine
	if err := yaml.Unmarshal(raw, &engine); err != nil {
		return fmt.Errorf("read an engine: %w", err)
	}
	if err := admin.Create(ctx, &engine); err != nil {
		return fmt.Errorf("make an engine: %w", err)
	}
	verbs := []string{"create", "get", "list", "watch", "patch", "delete"}
	if err := stand.Users(ctx, kube, []string{stand.Namespace}, &stand.User{Name: "alice", Verbs: verbs}); err != nil {
		return fmt.Errorf("make a user: %w", err)
	}
	c, err := kubernetes.NewForConfig(kube)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	user := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: proxyUser}}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "proxy"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "alice"}, Subjects: user}
	all := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "proxy"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "engines-alice"}, Subjects: user}
	_, err1 := c.RbacV1().RoleBindings(stand.Namespace).Create(ctx, binding, metav1.CreateOptions{})
	_, err2 := c.RbacV1().ClusterRoleBindings().Create(ctx, all, metav1.CreateOptions{})
	return errors.Join(err1, err2)
}

// serve builds the gateway with its page and starts it; its address comes back.
func serve(t *testing.T, store *stand.Store) string {
	t.Helper()
	dir := t.TempDir()
	binary, kubeconfig, secret := filepath.Join(dir, "pose-gateway"), filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "secret")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "page", "-o", binary, "..").CombinedOutput(); err != nil {
		t.Fatalf("build the gateway: %v\n%s", err, out)
	}
	if err := os.WriteFile(secret, []byte(proxySecret), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeKubeconfig(kubeconfig); err != nil {
		t.Fatal(err)
	}
	config, err := stand.WriteConfig(dir, store, map[string]any{"auth": map[string]any{"proxy": map[string]any{"from": []string{"127.0.0.0/8"}, "secretFile": secret}}})
	if err != nil {
		t.Fatal(err)
	}
	api, err1 := storetest.FreeAddress()
	health, err2 := storetest.FreeAddress()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "--config", config, "--bind-address", api, "--health-bind-address", health, "--shutdown-delay", "0s", "--shutdown-grace", "1s", "-v", "1")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait()
		if raw, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the gateway's log:\n%s", raw)
		}
	})
	for range 300 {
		resp, err := http.Get("http://" + health + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return "http://" + api
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the gateway does not become ready")
	return ""
}

func writeKubeconfig(name string) error {
	c := clientcmdapi.NewConfig()
	c.Clusters["test"] = &clientcmdapi.Cluster{Server: kube.Host, CertificateAuthorityData: kube.CAData}
	c.AuthInfos["test"] = &clientcmdapi.AuthInfo{ClientCertificateData: kube.CertData, ClientKeyData: kube.KeyData, Token: kube.BearerToken}
	c.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	c.CurrentContext = "test"
	return clientcmd.WriteToFile(*c, name)
}

// operator plays what the operator does: GET /jobs/NAME gives the object, PUT
// /jobs/NAME/status replaces its status, and POST /jobs/NAME/result?overlay=... writes a
// multipart form's files as its verified result.
func operator(store *stand.Store) http.Handler {
	mux := http.NewServeMux()
	named := func(r *http.Request) *v1alpha1.PoseJob {
		return &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: stand.Namespace, Name: r.PathValue("name")}}
	}
	answer := func(w http.ResponseWriter, job *v1alpha1.PoseJob, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(job)
	}
	mux.HandleFunc("GET /jobs/{name}", func(w http.ResponseWriter, r *http.Request) {
		job := named(r)
		answer(w, job, admin.Get(r.Context(), client.ObjectKeyFromObject(job), job))
	})
	mux.HandleFunc("PUT /jobs/{name}/status", func(w http.ResponseWriter, r *http.Request) {
		var status v1alpha1.PoseJobStatus
		if err := json.NewDecoder(r.Body).Decode(&status); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		job := named(r)
		answer(w, job, stand.Write(r.Context(), admin, job, func(s *v1alpha1.PoseJobStatus) { *s = status }))
	})
	mux.HandleFunc("POST /jobs/{name}/result", func(w http.ResponseWriter, r *http.Request) {
		files, err := filesOf(r)
		job := named(r)
		if err == nil {
			err = admin.Get(r.Context(), client.ObjectKeyFromObject(job), job)
		}
		if err == nil {
			err = stand.Succeed(r.Context(), admin, store.Options(), job, files)
		}
		answer(w, job, err)
	})
	return mux
}

func filesOf(r *http.Request) (map[string][]byte, error) {
	if err := r.ParseMultipartForm(32 << 20); err != nil {
		return nil, fmt.Errorf("read the files: %w", err)
	}
	files := map[string][]byte{}
	for name, headers := range r.MultipartForm.File {
		f, err := headers[0].Open()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		raw, err := io.ReadAll(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		files[name] = raw
	}
	return files, nil
}
