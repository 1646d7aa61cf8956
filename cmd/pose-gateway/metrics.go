package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
)

// metricsServer serves metrics as the manager does: by HTTPS, with a certificate of its
// own that it makes at every start, to those who may get /metrics by Kubernetes RBAC.
// It is nil where the address is 0.
func metricsServer(address string, kube *rest.Config, metrics http.Handler, log logr.Logger) (*http.Server, error) {
	if address == "0" {
		return nil, nil //nolint:nilnil // documented
	}
	client, err := rest.HTTPClientFor(kube)
	if err != nil {
		return nil, fmt.Errorf("make the client for reviews of metrics: %w", err)
	}
	filter, err := filters.WithAuthenticationAndAuthorization(kube, client)
	if err != nil {
		return nil, fmt.Errorf("guard the metrics: %w", err)
	}
	guarded, err := filter(log.WithName("metrics"), metrics)
	if err != nil {
		return nil, fmt.Errorf("guard the metrics: %w", err)
	}
	pem, key, err := certutil.GenerateSelfSignedCertKeyWithFixtures("localhost", []net.IP{{127, 0, 0, 1}}, nil, "")
	if err != nil {
		return nil, fmt.Errorf("make a certificate for the metrics: %w", err)
	}
	pair, err := tls.X509KeyPair(pem, key)
	if err != nil {
		return nil, fmt.Errorf("use the certificate of the metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", guarded)
	return &http.Server{
		Addr: address, Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 32 << 10,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}},
	}, nil
}
