package progress

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/pace"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Server takes progress by HTTPS from the pods of attempts.
type Server struct {
	Address string
	// Client reads pods from the manager's cache.
	Client client.Reader
	Tokens *Tokens
	Clock  clock.PassiveClock
	Store  *Store
	// Clips takes the lists of batches; nil takes none.
	Clips ClipsTaker
	// Changed gets the job whose progress changed. Sends never block for long:
	// a full channel drops the announcement, the next report brings another.
	Changed chan<- event.GenericEvent
	// Certificate of the server, ServerName what pods call it.
	Certificate *Certificate
	ServerName  string
	// Elected is closed once this replica leads; until then requests are passed on to
	// the Leader. Without a Leader this replica is the only one.
	Elected <-chan struct{}
	Leader  *Leader
	// Pace of the writes that reports lead to; pods are told to report no faster.
	Pace *pace.Pacer

	lists, passing atomic.Int32
}

// maxPassing bounds the reports that are being passed on: each may take a megabyte.
const maxPassing = 64

// NeedLeaderElection is false: any replica takes reports.
func (*Server) NeedLeaderElection() bool { return false }

// leads says whether this replica keeps what it takes.
func (s *Server) leads() bool {
	if s.Leader == nil {
		return true
	}
	select {
	case <-s.Elected:
		return true
	default:
		return false
	}
}

// keepOrPass lets the leader keep what was taken.
func (s *Server) keepOrPass(keep http.HandlerFunc, most int64) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if s.leads() {
			keep(w, req)
			return
		}
		// Whoever is no pod of ours is worth neither memory nor the leader's time.
		id, ok := s.known(w, req)
		if !ok {
			return
		}
		if _, ok := s.pod(req.Context(), id); !ok {
			http.Error(w, "no live attempt has this pod", http.StatusForbidden)
			return
		}
		leave, ok := enter(w, &s.passing, maxPassing, "reports")
		if !ok {
			return
		}
		defer leave()
		_, port, _ := net.SplitHostPort(s.Address)
		s.Leader.pass(w, req, port, most)
	}
}

// enter among those that are in hand, or answer that they are too many.
func enter(w http.ResponseWriter, in *atomic.Int32, most int32, what string) (leave func(), ok bool) {
	leave = func() { in.Add(-1) }
	if in.Add(1) > most {
		leave()
		http.Error(w, "too many "+what+" at a time", http.StatusServiceUnavailable)
		return nil, false
	}
	return leave, true
}

// known identifies the pod that sends, or answers that it is none.
func (s *Server) known(w http.ResponseWriter, req *http.Request) (identity, bool) {
	id, err := s.Tokens.identify(req.Context(), req.Header.Get("Authorization"))
	if err != nil {
		log.FromContext(req.Context()).V(1).Info("Report refused", "why", err.Error())
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return identity{}, false
	}
	return id, true
}

// Start serves until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+report.ProgressPath, s.keepOrPass(s.take, report.MaxProgressBytes))
	mux.HandleFunc("POST "+report.ClipsPath, s.keepOrPass(s.takeClips, report.MaxClipsPageBytes))
	if s.Leader != nil {
		s.Leader.trust(s.Certificate, s.ServerName)
	}
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		TLSConfig:   &tls.Config{Certificates: []tls.Certificate{s.Certificate.pair}, MinVersion: tls.VersionTLS13},
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
	id, ok := s.known(w, req)
	if !ok {
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
	next := s.Pace.Horizon(s.Clock.Now()) / time.Second
	w.Header().Set(report.HeaderNext, strconv.FormatInt(int64(min(next, report.MaxNextSeconds)), 10))
	w.WriteHeader(http.StatusNoContent)
}

// job that the pod is a live attempt of.
func (s *Server) job(ctx context.Context, id identity) (*v1alpha1.PoseJob, bool) {
	pod, ok := s.pod(ctx, id)
	if !ok {
		return nil, false
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "PoseJob" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
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
