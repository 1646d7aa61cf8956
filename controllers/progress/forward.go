package progress

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/clock"

	"github.com/pose-dev/pose-operator/internal/report"
)

// Any replica takes what pods report; the leader alone keeps it. So the others pass
// it on, as it is, token and all: the leader checks it itself.

// headerForwarded marks what was passed on once. Two replicas that each take the
// other for the leader do not play with it.
const headerForwarded = "Pose-Forwarded"

// leaderFor is how long an answer to who leads is believed, and askEvery the least time
// between two questions: while nobody leads, all pods go on reporting.
const (
	leaderFor = 5 * time.Second
	askEvery  = time.Second
)

// Identity of a replica in the lease of the leader's election: a name, the address
// of its pod, and what makes it unique.
func Identity(name, address, unique string) string { return name + "_" + address + "_" + unique }

// addressOf an Identity; empty where it names none.
func addressOf(identity string) string {
	parts := strings.Split(identity, "_")
	if len(parts) != 3 || net.ParseIP(parts[1]) == nil {
		return ""
	}
	return parts[1]
}

// Leader finds the leader of the replicas by its lease, and sends it requests.
type Leader struct {
	Leases coordinationclient.LeaseInterface
	Name   string // of the lease
	Clock  clock.PassiveClock

	mu    sync.Mutex
	at    string
	asked time.Time
	http  *http.Client
}

// trust the servers of all replicas, by the certificate that they share.
func (l *Leader) trust(c *Certificate, serverName string) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.CertPEM)
	l.http = &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: serverName, MinVersion: tls.VersionTLS13},
			MaxIdleConnsPerHost: 32, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// address of the leader's pod.
func (l *Leader) address(ctx context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.Clock.Now()
	if age := now.Sub(l.asked); age >= leaderFor || l.at == "" && age >= askEvery {
		l.asked, l.at = now, ""
		lease, err := l.Leases.Get(ctx, l.Name, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("read who leads: %w", err)
		}
		if lease.Spec.HolderIdentity != nil {
			l.at = addressOf(*lease.Spec.HolderIdentity)
		}
	}
	if l.at == "" {
		return "", errors.New("nobody leads, or its address is not known")
	}
	return l.at, nil
}

// pass a request on to the leader and its answer back.
func (l *Leader) pass(w http.ResponseWriter, req *http.Request, port string, most int64) {
	if req.Header.Get(headerForwarded) != "" {
		http.Error(w, "this replica does not lead", http.StatusServiceUnavailable)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, most))
	if err != nil {
		http.Error(w, "body too large", http.StatusRequestEntityTooLarge)
		return
	}
	resp, err := l.send(req, port, body)
	if err != nil {
		http.Error(w, "the leader cannot be reached", http.StatusServiceUnavailable)
		return
	}
	defer resp.Body.Close()
	if next := resp.Header.Get(report.HeaderNext); next != "" {
		w.Header().Set(report.HeaderNext, next)
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(resp.Body, 4096))
}

func (l *Leader) send(req *http.Request, port string, body []byte) (*http.Response, error) {
	address, err := l.address(req.Context())
	if err != nil {
		return nil, err
	}
	out, err := http.NewRequestWithContext(req.Context(), http.MethodPost, "https://"+net.JoinHostPort(address, port)+req.URL.Path, bytes.NewReader(body)) //nolint:gosec // the address is the lease's, the path one of the two that are routed here
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	out.Header.Set("Authorization", req.Header.Get("Authorization"))
	out.Header.Set("Content-Type", "application/json")
	out.Header.Set(headerForwarded, "1")
	resp, err := l.http.Do(out) //nolint:gosec // as above
	if err != nil {
		l.mu.Lock()
		l.at = "" // it may be another by now
		l.mu.Unlock()
		return nil, fmt.Errorf("send to the leader: %w", err)
	}
	return resp, nil
}
