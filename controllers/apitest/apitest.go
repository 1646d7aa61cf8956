// Package apitest starts the real API server that the tests of the controllers run
// against. There is no kubelet, no garbage collector and no controller: tests play
// what they need.
package apitest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// assets names the folder of the API server's binaries.
const assets = "KUBEBUILDER_ASSETS"

// Main starts the API server with the CRDs, lets ready have its configuration, runs
// the tests and gives the exit code for os.Exit. The managers' logs go to the file
// that POSE_TEST_LOG names.
func Main(m *testing.M, ready func(*rest.Config) error) int {
	if os.Getenv(assets) == "" {
		fmt.Fprintf(os.Stderr, "%s is not set: these tests need a real API server; run `make test-unit`, or set it to the absolute path of .tools/bin/kube-assets after `make kube`\n", assets)
		return 1
	}
	out := os.DevNull
	if name := os.Getenv("POSE_TEST_LOG"); name != "" {
		out = name
	}
	if f, err := os.OpenFile(out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil { //nolint:gosec // whoever runs the tests names it
		log.SetLogger(zap.New(zap.WriteTo(f), zap.UseDevMode(true)))
	}
	server := &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join(root(), "config", "crd", "bases")}, ErrorIfCRDPathMissing: true}
	config, err := server.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the API server:", err)
		return 1
	}
	defer func() {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the API server:", err)
		}
	}()
	config.QPS = -1
	if err := ready(config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// root of the repository.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Named makes the cached result of a package's tests depend on the API server, whose
// variable Main reads before go test keeps track.
func Named(t *testing.T) {
	t.Helper()
	if os.Getenv(assets) == "" {
		t.Fatal(assets + " is not set")
	}
}
