package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

//go:embed audit-policy.yaml
var auditPolicy []byte

const (
	// namespace of all units.
	namespace = "bench"
	// nodes that pods are bound to in turn.
	nodes = 16
	// Users at the API server, whom the audit log tells apart.
	userBench      = "bench"
	userController = "controller"
	userKubelet    = "kubelet"
)

// world is an API server with its etcd, and one contender at it.
type world struct {
	contender *contender
	dir       string // of its logs and configuration
	profiled  bool

	env        *envtest.Environment
	config     *rest.Config // of userBench
	kubeconfig string       // of userController
	api        client.Client
	views      client.WithWatch     // of the contender's units
	pods       kubernetes.Interface // as userKubelet

	apiserver, etcd int // process ids
	etcdURL         string
	controller      *process
	watched         *recorder
	player          *player
	audit           auditLog
}

// newScheme of all that is written and read here.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// newWorld starts an API server for a contender, who is not started yet. The caller
// stops it.
func newWorld(ctx context.Context, dir string, c *contender) (w *world, err error) {
	w = &world{contender: c, dir: dir}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	policy := filepath.Join(dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, auditPolicy, 0o600); err != nil {
		return nil, err
	}
	w.audit.path = filepath.Join(dir, "audit.log")
	w.env = &envtest.Environment{
		CRDDirectoryPaths:     []string{"config/crd/bases", "hack/bench/floor-crd.yaml"},
		ErrorIfCRDPathMissing: true, BinaryAssetsDirectory: assets(),
	}
	server := w.env.ControlPlane.GetAPIServer()
	server.Configure().
		Append("audit-log-path", w.audit.path).Append("audit-policy-file", policy).
		// As in a cluster: pods get their service account.
		Disable("disable-admission-plugins").
		Set("profiling", "true").
		// In MB: it is read by its offset, so it must not be turned over.
		Append("audit-log-maxsize", "100000")
	log, err := os.Create(filepath.Join(dir, "apiserver.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	server.Out, server.Err = log, log
	config, err := w.env.Start()
	if err != nil {
		return nil, fmt.Errorf("start the API server: %w. Run `make bench-quick`", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.stop())
		}
	}()
	started, err := children()
	if err != nil {
		return nil, err
	}
	w.apiserver, w.etcd = started["kube-apiserver"], started["etcd"]
	if w.apiserver == 0 || w.etcd == 0 {
		return nil, fmt.Errorf("kube-apiserver and etcd are not among the children of this process: %v", started)
	}
	w.etcdURL = w.env.ControlPlane.Etcd.URL.String()
	if err := w.letIn(config); err != nil {
		return nil, err
	}
	if err := w.furnish(ctx); err != nil {
		return nil, err
	}
	return w, w.watch(ctx)
}

// letIn the users of this world.
func (w *world) letIn(admin *rest.Config) error {
	add := func(name string) (*envtest.AuthenticatedUser, error) {
		u, err := w.env.AddUser(envtest.User{Name: name, Groups: []string{"system:masters"}}, admin)
		if err != nil {
			return nil, fmt.Errorf("let user %s in: %w", name, err)
		}
		return u, nil
	}
	bench, err := add(userBench)
	if err != nil {
		return err
	}
	controller, err := add(userController)
	if err != nil {
		return err
	}
	kubelet, err := add(userKubelet)
	if err != nil {
		return err
	}
	raw, err := controller.KubeConfig()
	if err != nil {
		return fmt.Errorf("let user %s in: %w", userController, err)
	}
	w.kubeconfig = filepath.Join(w.dir, "kubeconfig")
	if err := os.WriteFile(w.kubeconfig, raw, 0o600); err != nil {
		return err
	}
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	w.config = bench.Config()
	w.config.QPS = -1
	if w.api, err = client.New(w.config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if w.views, err = newViewClient(w.config, w.contender.kind); err != nil {
		return err
	}
	nodes := rest.CopyConfig(kubelet.Config())
	nodes.QPS, nodes.ContentType = -1, runtime.ContentTypeProtobuf
	w.pods, err = kubernetes.NewForConfig(nodes)
	return err
}

// furnish what all units need.
func (w *world) furnish(ctx context.Context) error {
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}},
		benchEngine(),
	}
	for i := range nodes {
		objects = append(objects, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName(i), Labels: map[string]string{
			corev1.LabelHostname: nodeName(i), "nvidia.com/gpu.product": gpuProduct, "nvidia.com/cuda.driver-version.full": gpuDriver,
		}}})
	}
	for _, o := range objects {
		if err := w.api.Create(ctx, o); err != nil {
			return fmt.Errorf("create %s: %w", o.GetName(), err)
		}
	}
	return nil
}

// watch units and pods, and play the pods.
func (w *world) watch(ctx context.Context) error {
	w.watched = newRecorder()
	w.player = newPlayer(w.pods, w.watched.podEnded)
	w.player.start(ctx)
	return errors.Join(w.watchUnits(ctx), w.watchPods(ctx))
}

// create a unit of the contender.
func (w *world) create(ctx context.Context, name string) error {
	create := w.api.Create
	if w.contender.kind == floorUnits {
		create = w.views.Create
	}
	if err := create(ctx, w.contender.unit(name)); err != nil {
		return fmt.Errorf("create %s %s: %w", w.contender.kind.Kind, name, err)
	}
	return nil
}

// startController of the contender, its log appended to.
func (w *world) startController() error {
	path, env, args, err := w.contender.command(w)
	if err != nil {
		return err
	}
	w.controller, err = startProcess(w.dir, w.contender.name, env, path, args...)
	return err
}

// stop everything.
func (w *world) stop() error {
	if w.controller != nil {
		w.controller.stop()
	}
	err := w.env.Stop()
	// Its log is large, and has been counted.
	return errors.Join(err, os.RemoveAll(w.audit.path))
}

// freePort on loopback. Nobody else takes it meanwhile on a machine that is to be left
// alone.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
