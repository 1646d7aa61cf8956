package progress

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Names that a TokenReview gives of the pod that a token is bound to.
const (
	extraPodName = "authentication.kubernetes.io/pod-name"
	extraPodUID  = "authentication.kubernetes.io/pod-uid"
)

// reviewFor is how long a token that was reviewed is believed.
const reviewFor = time.Minute

// Server takes progress by HTTPS from the pods of attempts.
type Server struct {
	Address string
	// Client reads pods from the manager's cache.
	Client client.Reader
	// Reviews checks tokens; a cached client cannot create what is never listed.
	Reviews authenticationclient.TokenReviewsGetter
	Clock   clock.PassiveClock
	Store   *Store
	// Clips takes the lists of batches; nil takes none.
	Clips ClipsTaker
	// Changed gets the job whose progress changed. Sends never block for long:
	// a full channel drops the announcement, the next report brings another.
	Changed chan<- event.GenericEvent

	cert     tls.Certificate
	mu       sync.Mutex
	reviewed map[[32]byte]identity
	lists    atomic.Int32
}

type identity struct {
	namespace, pod, uid string
	until               time.Time
}

// NeedLeaderElection is true: the leader alone writes status.
func (*Server) NeedLeaderElection() bool { return true }

// Certify makes the server's certificate and gives it as PEM, to be the only
// root that its pods trust. It lives as long as the process: pods of an earlier
// process report no progress, and lose nothing else.
func (s *Server) Certify(dnsNames []string) (caPEM string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("make the key of the progress server: %w", err)
	}
	now := s.Clock.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "pose-operator progress"},
		DNSNames:     dnsNames,
		NotBefore:    now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return "", fmt.Errorf("make the certificate of the progress server: %w", err)
	}
	s.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

// Start serves until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+report.ProgressPath, s.take)
	mux.HandleFunc("POST "+report.ClipsPath, s.takeClips)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		TLSConfig:   &tls.Config{Certificates: []tls.Certificate{s.cert}, MinVersion: tls.VersionTLS13},
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listen for progress on %s: %w", s.Address, err)
	}
	done := make(chan struct{})
	go func() { //nolint:gosec // shutting down begins when ctx has ended
		defer close(done)
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(stop) // the process ends anyway
	}()
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve progress: %w", err)
	}
	<-done
	return nil
}

// take one report.
func (s *Server) take(w http.ResponseWriter, req *http.Request) {
	id, err := s.identify(req.Context(), req.Header.Get("Authorization"))
	if err != nil {
		log.FromContext(req.Context()).V(1).Info("Progress refused", "why", err.Error())
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, report.MaxProgressBytes))
	if err != nil {
		http.Error(w, "body too large", http.StatusRequestEntityTooLarge)
		return
	}
	var p report.Progress
	if json.Unmarshal(body, &p) != nil || p.Version != report.Version {
		http.Error(w, "not a progress report of this version", http.StatusBadRequest)
		return
	}
	job, ok := s.job(req.Context(), id)
	if !ok {
		http.Error(w, "no live attempt has this pod", http.StatusForbidden)
		return
	}
	if !s.Store.Put(id.uid, p, s.Clock.Now()) {
		http.Error(w, "too many pods report", http.StatusServiceUnavailable)
		return
	}
	select {
	case s.Changed <- event.GenericEvent{Object: job}:
	default:
	}
	w.WriteHeader(http.StatusNoContent)
}

// identify the pod behind a bearer token.
func (s *Server) identify(ctx context.Context, header string) (identity, error) {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok || token == "" {
		return identity{}, errors.New("no bearer token")
	}
	key, now := sha256.Sum256([]byte(token)), s.Clock.Now()
	s.mu.Lock()
	id, known := s.reviewed[key]
	s.mu.Unlock()
	if known && now.Before(id.until) {
		return id, nil
	}
	review, err := s.Reviews.TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{report.ProgressAudience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return identity{}, fmt.Errorf("review token: %w", err)
	}
	if !review.Status.Authenticated || len(review.Status.Audiences) == 0 {
		return identity{}, errors.New("token is not valid for " + report.ProgressAudience)
	}
	user := review.Status.User
	parts := strings.Split(user.Username, ":")
	if len(parts) != 4 || parts[0] != "system" || parts[1] != "serviceaccount" ||
		len(user.Extra[extraPodUID]) != 1 || len(user.Extra[extraPodName]) != 1 {
		return identity{}, errors.New("token is not bound to a pod")
	}
	id = identity{namespace: parts[2], pod: user.Extra[extraPodName][0], uid: user.Extra[extraPodUID][0], until: now.Add(reviewFor)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reviewed == nil || len(s.reviewed) > maxEntries {
		s.reviewed = map[[32]byte]identity{}
	}
	s.reviewed[key] = id
	return id, nil
}

// job that the pod is a live attempt of.
func (s *Server) job(ctx context.Context, id identity) (*v1alpha1.PoseJob, bool) {
	pod, ok := s.pod(ctx, id)
	if !ok {
		return nil, false
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "PoseJob" {
		return nil, false
	}
	return &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: id.namespace, Name: owner.Name}}, true
}

// pod that a token is bound to, as the manager knows it.
func (s *Server) pod(ctx context.Context, id identity) (*corev1.Pod, bool) {
	var pod corev1.Pod
	if err := s.Client.Get(ctx, types.NamespacedName{Namespace: id.namespace, Name: id.pod}, &pod); err != nil {
		return nil, false
	}
	return &pod, string(pod.UID) == id.uid
}
