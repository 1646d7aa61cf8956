// Command gateway-check starts a pose-gateway with what it needs around it: a real API
// server, a real S3 server, users, and an operator that plays what becomes of jobs. It
// prints where the gateway is and whose token to use, as one line of JSON, and ends with
// SIGINT or SIGTERM, or with the command after "--", which finds GATEWAY_URL and
// GATEWAY_TOKEN in its environment.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/stand"
	"github.com/pose-dev/pose-operator/internal/storetest"
)

var (
	gatewayBinary = flag.String("gateway", "bin/pose-gateway-check", "pose-gateway's binary")
	storeBinary   = flag.String("versitygw", ".tools/bin/versitygw", "versitygw's binary")
	resultDir     = flag.String("result", "internal/export/testdata/mediapipe", "folder whose files every job has as its result")
	step          = flag.Duration("step", 300*time.Millisecond, "how long each step of a job takes")
	verbose       = flag.Bool("v", false, "show the gateway's log")
	listen        = flag.String("listen", "", "the gateway's address; a free port when empty")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, flag.Args())
	stop()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway-check:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, then []string) error {
	log.SetLogger(logr.Discard())
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return errors.New("KUBEBUILDER_ASSETS is not set: run `make kube` and set it to the absolute path of .tools/bin/kube-assets")
	}
	dir, err := os.MkdirTemp("", "gateway-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server := &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join("config", "crd", "bases")}, ErrorIfCRDPathMissing: true}
	config, err := server.Start()
	if err != nil {
		return fmt.Errorf("start the API server: %w", err)
	}
	defer server.Stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before the API server ends
	store, err := stand.StartStore(ctx, *storeBinary, dir)
	if err != nil {
		return err
	}
	user := &stand.User{Name: "alice", Verbs: []string{"create", "get", "list", "watch", "patch", "delete"}}
	if err := stand.Users(ctx, config, []string{stand.Namespace}, user); err != nil {
		return err
	}
	if err := operator(ctx, config, store); err != nil {
		return err
	}
	url, err := gateway(ctx, config, store, dir)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"url": url, "token": user.Token, "user": user.Name, "namespace": stand.Namespace, "store": store.Dir}); err != nil {
		return err
	}
	if len(then) == 0 {
		<-ctx.Done()
		return nil
	}
	cmd := exec.CommandContext(ctx, then[0], then[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdout, os.Stderr, append(os.Environ(), "GATEWAY_URL="+url, "GATEWAY_TOKEN="+user.Token)
	return cmd.Run()
}

// operator that plays jobs, and the engine that they name.
func operator(ctx context.Context, config *rest.Config, store *stand.Store) error {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	raw, err := os.ReadFile("config/engines/mediapipe.yaml")
	if err != nil {
		return err
	}
	var engine v1alpha1.PoseEngine
	if err := yaml.Unmarshal(raw, &engine); err != nil {
		return err
	}
	if err := c.Create(ctx, &engine); err != nil {
		return err
	}
	files := map[string][]byte{}
	entries, err := os.ReadDir(*resultDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			if files[e.Name()], err = os.ReadFile(filepath.Join(*resultDir, e.Name())); err != nil {
				return err
			}
		}
	}
	o := &stand.Operator{Client: c, Store: store.Options(), Step: *step, Files: files, Log: func(err error) {
		if ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "gateway-check: operator:", err)
		}
	}}
	go o.Run(ctx)
	return nil
}

// gateway as a process of its own, with the rights of its own service account.
func gateway(ctx context.Context, config *rest.Config, store *stand.Store, dir string) (string, error) {
	account, err := stand.Account(ctx, config, []string{stand.Namespace})
	if err != nil {
		return "", err
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	err = clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:  map[string]*clientcmdapi.Cluster{"x": {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"x": {Token: account.BearerToken}},
		Contexts:  map[string]*clientcmdapi.Context{"x": {Cluster: "x", AuthInfo: "x"}}, CurrentContext: "x",
	}, kubeconfig)
	if err != nil {
		return "", err
	}
	api := *listen
	if api == "" {
		if api, err = storetest.FreeAddress(); err != nil {
			return "", err
		}
	}
	ops, err := storetest.FreeAddress()
	if err != nil {
		return "", err
	}
	file, err := stand.WriteConfig(dir, store, map[string]any{"publicURL": "http://" + api})
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, *gatewayBinary, "--config", file, "--bind-address", api, "--health-bind-address", ops, "--shutdown-delay", "0s", "--development", "-v", "1")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if *verbose {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start the gateway: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for range 300 {
		if resp, err := http.Get("http://" + ops + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return "http://" + api, nil
			}
		}
		select {
		case err := <-ended:
			return "", fmt.Errorf("the gateway ended at once: %w (see it with -v)", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return "", errors.New("the gateway is not ready after 30 seconds: see why with -v")
}
