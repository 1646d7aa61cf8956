// Package clitest has what the tests of several commands need: a real API server, a
// kubelet that is played, a real S3 server, and a run of commands as a shell makes it.
package clitest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/internal/storetest"
)

// Build makes commands as the plugin's root does.
type Build func(genericiooptions.IOStreams, *genericclioptions.ConfigFlags) []*cobra.Command

// Say runs commands with arguments and standard input, and gives all that they wrote.
func Say(t *testing.T, build Build, stdin string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := Run(t, build, genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &out, ErrOut: &out}, args...)
	return out.String(), err
}

// Run runs commands with streams of the test's own.
func Run(t *testing.T, build Build, streams genericiooptions.IOStreams, args ...string) error {
	t.Helper()
	c := &cobra.Command{Use: "kubectl-pose", SilenceUsage: true, SilenceErrors: true}
	c.SetIn(streams.In)
	c.SetOut(streams.Out)
	c.SetErr(streams.ErrOut)
	flags := genericclioptions.NewConfigFlags(true)
	flags.AddFlags(c.PersistentFlags())
	c.AddCommand(build(streams, flags)...)
	c.SetArgs(args)
	return c.ExecuteContext(t.Context()) //nolint:wrapcheck // the command's own error
}

// Server is a real API server. There is no kubelet and no operator: tests play them.
type Server struct {
	Client client.WithWatch
	Config *rest.Config
	// Kubeconfig is a file for --kubeconfig.
	Kubeconfig string
	env        *envtest.Environment
}

// Bare starts an API server without our CRDs.
func Bare(t *testing.T) *Server {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set: this test needs a real API server; run `make test-unit`, or set it to the absolute path of .tools/bin/kube-assets after `make kube`")
	}
	s := &Server{env: &envtest.Environment{}}
	config, err := s.env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.env.Stop() })
	s.Config = config
	s.connect(t)
	s.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(s.Kubeconfig, s.env.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// APIServer starts one with our CRDs.
func APIServer(t *testing.T) *Server {
	t.Helper()
	s := Bare(t)
	s.InstallCRDs(t)
	return s
}

// InstallCRDs as the chart does.
func (s *Server) InstallCRDs(t *testing.T) {
	t.Helper()
	if _, err := envtest.InstallCRDs(s.Config, envtest.CRDInstallOptions{Paths: []string{Root(t) + "/config/crd/bases"}}); err != nil {
		t.Fatal(err)
	}
	s.connect(t) // what the client knows of the kinds is from before
}

func (s *Server) connect(t *testing.T) {
	t.Helper()
	scheme, err := cluster.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	if err := rbacv1.AddToScheme(scheme); err != nil { // tests give rights by it
		t.Fatal(err)
	}
	if s.Client, err = client.NewWithWatch(s.Config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
}

// User is the kubeconfig of somebody who has no right at first.
func (s *Server) User(t *testing.T, name string) string {
	t.Helper()
	u, err := s.env.AddUser(envtest.User{Name: name, Groups: []string{"system:authenticated"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := u.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Root of the repository.
func Root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("there is no go.mod above the test's folder")
	return ""
}

// Container is the status of a pod with one container.
func Container(name string, s corev1.ContainerState) []corev1.ContainerStatus {
	return []corev1.ContainerStatus{{Name: name, State: s, ImageID: "registry.example/phalp@sha256:aa"}}
}

// S3 starts a real S3 server with the named buckets. keys is a folder with its
// credentials, data the folder in which it keeps objects, stop ends it before the test
// does.
func S3(t *testing.T, buckets ...string) (endpoint, keys, data string, stop func()) {
	t.Helper()
	s := storetest.S3(t, buckets...)
	keys = t.TempDir()
	for name, v := range map[string]string{"AWS_ACCESS_KEY_ID": storetest.AccessKey, "AWS_SECRET_ACCESS_KEY": storetest.SecretKey} {
		if err := os.WriteFile(filepath.Join(keys, name), []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s.Endpoint, keys, s.Data, s.Stop
}
