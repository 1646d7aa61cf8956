package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"go.uber.org/zap/zapcore"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers"
	"github.com/pose-dev/pose-operator/controllers/cached"
	"github.com/pose-dev/pose-operator/internal/version"
)

type flags struct {
	config          string
	metricsAddress  string
	healthAddress   string
	progressAddress string
	progressHost    string
	progressSecret  string
	leaderElect     bool
	leaderNamespace string
	watchNamespaces []string
	verbosity       int
	development     bool
}

func command() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:           "manager",
		Short:         "Run the controllers of the pose operator",
		Version:       version.Version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), f) },
	}
	p := c.Flags()
	p.StringVar(&f.config, "config", "/etc/pose-operator/config.yaml", "configuration file")
	p.StringVar(&f.metricsAddress, "metrics-bind-address", ":8080", "where metrics are served by HTTPS to who may get /metrics; 0 for not at all")
	p.StringVar(&f.healthAddress, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served")
	p.StringVar(&f.progressAddress, "progress-bind-address", ":8443", "where pods report progress; empty for not at all")
	p.StringVar(&f.progressHost, "progress-host", "", "name by which pods reach the progress address, as pose-operator-progress.pose-system.svc")
	p.StringVar(&f.progressSecret, "progress-secret", "", "Secret in the manager's namespace that keeps the certificate of the progress address, for all replicas and restarts; when empty each process makes its own")
	p.BoolVar(&f.leaderElect, "leader-elect", true, "run as one of several replicas")
	p.StringVar(&f.leaderNamespace, "leader-election-namespace", "", "namespace of the lease and of the progress Secret; the pod's own (POD_NAMESPACE) when empty")
	p.StringSliceVar(&f.watchNamespaces, "namespaces", nil, "namespaces to watch; all when empty")
	p.IntVarP(&f.verbosity, "v", "v", 0, "verbosity of the log")
	p.BoolVar(&f.development, "development", false, "log for people rather than as JSON")
	return c
}

func run(ctx context.Context, f flags) error {
	logger := newLogger(f)
	ctrl.SetLogger(logger)
	config, err := readConfig(f.config)
	if err != nil {
		return err
	}
	if f.progressHost == "" {
		f.progressAddress = ""
	}
	mgr, err := newManager(f)
	if err != nil {
		return err
	}
	err = controllers.Setup(mgr, controllers.Options{
		Policy:   config.Policy,
		Learning: config.Learning.options(),
		Batches:  !config.Batches.Disabled,
		Reuse:    controllers.Reuse{Default: config.Reuse.Default, CrossNamespace: config.Reuse.CrossNamespace},
		Settings: controllers.Settings{
			RunnerImage: config.Images.Runner, MediaImage: config.Images.Media,
			ImagePullPolicy: config.Images.PullPolicy, PullSecrets: config.Images.PullSecrets,
			Store: config.Store.report(), OperatorVersion: version.Version,
			MaxVideoBytes: config.Limits.VideoBytes, MaxPixels: config.Limits.FramePixels, MaxFrames: config.Limits.Frames,
		},
		Progress: f.progress(config.Progress),
	})
	if err != nil {
		return err
	}
	logger.Info("Starting", "version", version.Version, "namespaces", f.watchNamespaces)
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("run the manager: %w", err)
	}
	return nil
}

// podAddress of this replica, by which the others find it when it leads.
func podAddress() string { return os.Getenv("POD_IP") }

// namespace of the manager itself.
func (f flags) namespace() string { return cmp.Or(f.leaderNamespace, os.Getenv("POD_NAMESPACE")) }

func (f flags) progress(c Progress) controllers.Progress {
	p := controllers.Progress{
		Address: f.progressAddress, Host: f.progressHost, WritesPerSecond: c.WritesPerSecond,
		Namespace: f.namespace(), Secret: f.progressSecret,
	}
	if f.leaderElect && podAddress() != "" && f.progressSecret != "" {
		p.Lease = leaseName
	}
	return p
}

// lock of the leader's election. It names the address of this pod, so that the other
// replicas can pass on what is the leader's.
func (f flags) lock(config *rest.Config) (resourcelock.Interface, error) {
	if !f.leaderElect || podAddress() == "" {
		return nil, nil //nolint:nilnil // the manager's own does
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find the name of this replica: %w", err)
	}
	// A request that hangs must not cost the lead: half of what renewing may take.
	config = rest.AddUserAgent(config, "leader-election")
	config.Timeout = renewDeadline / 2
	leases, err := coordinationclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make the client for the lease: %w", err)
	}
	return &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: f.namespace(), Name: leaseName},
		Client:     leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: controllers.ReplicaIdentity(host, podAddress())},
	}, nil
}

// renewDeadline of the lease: controller-runtime's own default.
const renewDeadline = 10 * time.Second

// leaseName of the leader's election.
const leaseName = "pose-operator.pose.dev"

func newLogger(f flags) logr.Logger {
	level := zap.Level(zapcore.Level(-f.verbosity)) //nolint:gosec // small
	return zap.New(zap.UseDevMode(f.development), level, zap.WriteTo(os.Stderr)).WithName("pose-operator")
}

func newManager(f flags) (ctrl.Manager, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	// The API server's own priority and fairness limits clients better than a
	// fixed rate on this side.
	config.QPS = -1
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register types: %w", err)
		}
	}
	lock, err := f.lock(config)
	if err != nil {
		return nil, err
	}
	renew := renewDeadline
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		RenewDeadline: &renew, LeaderElectionResourceLockInterface: lock,
		Scheme:    scheme,
		Cache:     cached.Options(f.watchNamespaces...),
		NewClient: cached.NewClient,
		Metrics: metricsserver.Options{
			BindAddress: f.metricsAddress, SecureServing: true, FilterProvider: filters.WithAuthenticationAndAuthorization,
			TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
		},
		HealthProbeBindAddress:        f.healthAddress,
		LeaderElection:                f.leaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       f.leaderNamespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("make the manager: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("add health check: %w", err)
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("add readiness check: %w", err)
	}
	return mgr, nil
}
