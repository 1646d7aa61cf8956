package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/exports"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/httpapi"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/jobs"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/media"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/openapi"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/place"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/seal"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/upload"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/page"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/version"
)

type flags struct {
	config        string
	address       string
	healthAddress string
	// metricsAddress is 0 where nobody is to read metrics.
	metricsAddress string
	grace          time.Duration
	lameDuck       time.Duration
	verbosity      int
	development    bool
}

func command() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:           "pose-gateway",
		Short:         "Serve poses over HTTP",
		Version:       version.Version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := zap.Level(zapcore.Level(-f.verbosity)) //nolint:gosec // small
			log := zap.New(zap.UseDevMode(f.development), level, zap.WriteTo(os.Stderr)).WithName("pose-gateway")
			ctrl.SetLogger(log)
			c, err := readConfig(f.config)
			if err != nil {
				return err
			}
			kube, err := ctrl.GetConfig()
			if err != nil {
				return fmt.Errorf("find the cluster: %w", err)
			}
			return run(cmd.Context(), f, c, kube, log)
		},
	}
	p := c.Flags()
	p.StringVar(&f.config, "config", "/etc/pose-gateway/config.yaml", "configuration file")
	p.StringVar(&f.address, "bind-address", ":8080", "where the API and the page are served")
	p.StringVar(&f.healthAddress, "health-bind-address", ":8081", "where /healthz and /readyz are served")
	p.StringVar(&f.metricsAddress, "metrics-bind-address", ":8082", "where /metrics is served by HTTPS to those who may get it; 0 serves none")
	p.DurationVar(&f.grace, "shutdown-grace", 5*time.Minute, "how long uploads and downloads may go on when the process is to end")
	p.DurationVar(&f.lameDuck, "shutdown-delay", 5*time.Second, "how long new requests are still taken then, until no more are sent here")
	p.IntVarP(&f.verbosity, "v", "v", 0, "verbosity of the log; 1 logs every request")
	p.BoolVar(&f.development, "development", false, "log for people rather than as JSON")
	return c
}

// run the service until ctx ends.
func run(ctx context.Context, f flags, c *Config, kube *rest.Config, log logr.Logger) error {
	stopping := make(chan struct{})
	s, cluster, err := build(c, kube, log, stopping)
	if err != nil {
		return err
	}
	// The watch outlives ctx: uploads that go on need it.
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	failed := make(chan error, 4)
	go func() { failed <- cluster.Start(watching) }()

	h := &health{}
	ops := &http.Server{Addr: f.healthAddress, Handler: h.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	api := &http.Server{
		Addr: f.address, Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
	}
	if err := serveTLS(watching, c.TLS, api); err != nil {
		return err
	}
	metrics, err := metricsServer(f.metricsAddress, kube, s.Metrics.Handler(), log)
	if err != nil {
		return err
	}
	servers := []*http.Server{ops, api}
	if metrics != nil {
		servers = append(servers, metrics)
		defer func() { _ = metrics.Close() }()
	}
	for _, srv := range servers {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", srv.Addr)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		log.Info("Listening", "address", l.Addr().String())
		go func() { failed <- serve(srv, l) }()
	}
	go func() {
		// No reason to end or to take no requests: a store may come later.
		if err := s.Jobs.Places.Check(watching); err != nil {
			log.Error(err, "The store does not answer as it should: uploads and results will fail")
		}
		if cluster.WaitForSync(watching) {
			h.synced.Store(true)
			log.Info("Ready", "version", version.Version)
		}
	}()
	select {
	case err = <-failed:
	case <-ctx.Done():
		log.Info("Ending: uploads and downloads may go on for a while", "grace", f.grace.String())
		h.stopping.Store(true)
		time.Sleep(f.lameDuck)
	}
	close(stopping)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.grace)
	defer cancel()
	return errors.Join(err, ignoreLate(api.Shutdown(end)), ops.Close())
}

// ignoreLate: what was not done in the time of grace is cut off.
func ignoreLate(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

func serve(srv *http.Server, l net.Listener) error {
	err := error(nil)
	if srv.TLSConfig != nil {
		err = srv.ServeTLS(l, "", "")
	} else {
		err = srv.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", l.Addr(), err)
}

// serveTLS has a server use a certificate that may be renewed while it runs.
func serveTLS(ctx context.Context, c *TLSConfig, srv *http.Server) error {
	if c == nil {
		return nil
	}
	w, err := certwatcher.New(c.CertFile, c.KeyFile)
	if err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	go func() { _ = w.Start(ctx) }()
	srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: w.GetCertificate}
	return nil
}

// health of the process, for the kubelet.
type health struct{ synced, stopping atomic.Bool }

func (h *health) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case h.stopping.Load():
			http.Error(w, "ending", http.StatusServiceUnavailable)
		case !h.synced.Load():
			http.Error(w, "the cluster's jobs are not known yet: may the service account list and watch posejobs and poseengines?", http.StatusServiceUnavailable)
		default:
			_, _ = w.Write([]byte("ok\n"))
		}
	})
	return mux
}

// exportWait is how long an export waits for others to end: somebody who asks for two
// formats at once gets both.
const exportWait = 20 * time.Second

// build the service from its configuration.
func build(c *Config, kube *rest.Config, log logr.Logger, stopping <-chan struct{}) (*httpapi.Server, *jobs.Cluster, error) {
	public, err := url.Parse(c.PublicURL)
	if err != nil {
		return nil, nil, fmt.Errorf("publicURL: %w", err)
	}
	places, err := place.New(c.Place.Base, storage.Options{Store: c.Store, CredentialsDir: c.Place.CredentialsDir})
	if err != nil {
		return nil, nil, err
	}
	keys, err := readKeys(c.KeyFiles)
	if err != nil {
		return nil, nil, err
	}
	ns := httpapi.Namespaces{Default: c.Namespaces.Default}
	watched := []string{c.Namespaces.Default}
	for _, n := range c.Namespaces.Allowed {
		if n == "*" {
			ns.All, watched = true, nil
			break
		}
		ns.Allowed, watched = append(ns.Allowed, n), append(watched, n)
	}
	hub := &jobs.Hub{Max: c.Limits.Streams, MaxPerUser: c.Limits.StreamsPerUser}
	// The API server's own priority and fairness limits clients better than a fixed
	// rate on this side.
	kube = rest.AddUserAgent(kube, "pose-gateway")
	kube.QPS = -1
	cluster, err := jobs.NewCluster(kube, watched, hub)
	if err != nil {
		return nil, nil, err
	}
	known, authorizer, err := authOf(c, kube, keys, public)
	if err != nil {
		return nil, nil, err
	}
	doc, err := openapi.JSON(version.Version)
	if err != nil {
		return nil, nil, err
	}
	trusted, err := prefixes("trustedProxies", c.TrustedProxies)
	if err != nil {
		return nil, nil, err
	}
	metrics := httpapi.NewMetrics(hub.Len)
	js := &jobs.Service{Client: cluster.Client, Plain: cluster.Plain, Places: places, Defaults: jobs.Defaults{
		Engine: c.Jobs.Engine, Overlay: c.Jobs.Overlay, DeletionPolicy: c.Jobs.DeletionPolicy, TTLSeconds: c.Jobs.TTLSecondsAfterFinished,
		Secret: c.Jobs.CredentialsSecret, ServiceAccount: c.Jobs.ServiceAccountName,
	}}
	files := &media.Service{Places: places, Keys: keys, Now: time.Now, LinkFor: c.Limits.LinkExpires.Duration}
	s := &httpapi.Server{
		Auth: known, Authorizer: authorizer, Jobs: js, Hub: hub, Namespaces: ns, PublicURL: public, CORS: c.CORSOrigins, TrustedProxies: trusted,
		Media: files,
		Exports: &exports.Service{Media: files, Places: places, Keys: keys, Now: time.Now, Limits: exports.Limits{
			AtOnce: c.Limits.Exports, Wait: exportWait, Bytes: c.Limits.ExportBytes, MotionBytes: c.Limits.ExportMotionBytes, Time: c.Limits.ExportTime.Duration,
		}},
		Uploads: &upload.Service{
			Places: places, Jobs: js, Now: time.Now, MaxBytes: c.Limits.VideoBytes, Expires: c.Limits.UploadExpires.Duration,
			Sending: make(chan struct{}, c.Limits.Uploads), Joining: make(chan struct{}, c.Limits.Joins),
			Pace:     upload.Pace{Idle: time.Duration(c.Limits.IdleSeconds) * time.Second, BytesPerSecond: c.Limits.MinBytesPerSecond, Grace: time.Minute},
			Received: metrics.Received, Note: func(err error, what string) { log.Error(err, "Could not "+what) },
		},
		Limits: httpapi.Limits{
			PerAddress: c.Limits.AddressRequestsPerMinute, PerUser: c.Limits.RequestsPerMinute,
			UploadsPerUser: c.Limits.UploadsPerUser, Downloads: c.Limits.Downloads,
		},
		OpenAPI: doc, Version: version.Version, Log: log, Metrics: metrics, Stopping: stopping,
	}
	if shown, ok := page.FS(); ok {
		s.Page = shown
	}
	return s, cluster, nil
}

func readKeys(files []string) (*seal.Keys, error) {
	var keys [][]byte
	for _, f := range files {
		raw, err := os.ReadFile(f) //nolint:gosec // the admin's own configuration names it
		if err != nil {
			return nil, fmt.Errorf("keyFiles: %w", err)
		}
		keys = append(keys, raw)
	}
	k, err := seal.New(keys...)
	if err != nil {
		return nil, fmt.Errorf("keyFiles %s: %w", strings.Join(files, ", "), err)
	}
	return k, nil
}

func authOf(c *Config, kube *rest.Config, keys *seal.Keys, public *url.URL) (*auth.Auth, *auth.Authorizer, error) {
	client, err := kubernetes.NewForConfig(kube)
	if err != nil {
		return nil, nil, fmt.Errorf("make the client for reviews: %w", err)
	}
	a := &auth.Auth{Keys: keys, Now: time.Now}
	if t := c.Auth.Tokens; t != nil {
		a.Bearer = &auth.Bearer{Reviews: client.AuthenticationV1().TokenReviews(), Audiences: t.Audiences}
	}
	if o := c.Auth.OIDC; o != nil {
		if a.Login, err = loginOf(o, public); err != nil {
			return nil, nil, err
		}
	}
	if p := c.Auth.Proxy; p != nil {
		secret, err := secretFile(p.SecretFile)
		if err != nil {
			return nil, nil, fmt.Errorf("auth.proxy.secretFile: %w", err)
		}
		from, err := prefixes("auth.proxy.from", p.From)
		if err != nil {
			return nil, nil, err
		}
		a.Proxy = &auth.Proxy{
			From: from, Secret: []byte(secret), SecretHeader: p.SecretHeader, UserHeader: p.UserHeader, GroupsHeader: p.GroupsHeader,
			UserPrefix: p.UsernamePrefix, GroupPrefix: p.GroupsPrefix,
		}
	}
	return a, &auth.Authorizer{Reviews: client.AuthorizationV1().SubjectAccessReviews(), Now: time.Now}, nil
}

// minSecret of a proxy, in bytes.
const minSecret = 16

func secretFile(name string) (string, error) {
	raw, err := os.ReadFile(name) //nolint:gosec // the admin's own configuration names it
	if err != nil {
		return "", fmt.Errorf("read a secret: %w", err)
	}
	s := strings.TrimSpace(string(raw))
	if len(s) < minSecret {
		return "", fmt.Errorf("%s has %d bytes: write at least %d random ones", name, len(s), minSecret)
	}
	return s, nil
}

func loginOf(o *OIDCConfig, public *url.URL) (*auth.Login, error) {
	l := auth.LoginConfig{
		Issuer: o.Issuer, ClientID: o.ClientID, Scopes: o.Scopes, UserClaim: o.UsernameClaim, UserPrefix: o.UsernamePrefix,
		GroupsClaim: o.GroupsClaim, GroupPrefix: o.GroupsPrefix, NamespaceClaim: o.NamespaceClaim, Session: o.Session.Duration, PublicURL: public,
	}
	if o.ClientSecretFile != "" {
		raw, err := os.ReadFile(o.ClientSecretFile)
		if err != nil {
			return nil, fmt.Errorf("auth.oidc.clientSecretFile: %w", err)
		}
		l.ClientSecret = strings.TrimSpace(string(raw))
	}
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("make a client for the identity provider")
	}
	transport = transport.Clone()
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("auth.oidc.caFile: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("auth.oidc.caFile %s holds no certificate", o.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	l.HTTP = &http.Client{Transport: transport, Timeout: 15 * time.Second}
	return auth.NewLogin(l), nil
}
