package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/place"
)

// server speaks tus 1.0.0 as the gateway does, and misbehaves as a test says.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	uploads  map[string][]byte
	length   map[string]int64
	metadata map[string]string
	jobs     map[string]string
	// offsets at which bytes came.
	offsets []int64
	created int
	// before is asked first; true: it has answered, or cut the connection.
	before func(w http.ResponseWriter, r *http.Request) bool
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{uploads: map[string][]byte{}, length: map[string]int64{}, metadata: map[string]string{}, jobs: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /base/api/pose/uploads", s.create)
	mux.HandleFunc("HEAD /base/api/pose/uploads/{id}", s.head)
	mux.HandleFunc("PATCH /base/api/pose/uploads/{id}", s.patch)
	mux.HandleFunc("DELETE /base/api/pose/uploads/{id}", func(w http.ResponseWriter, r *http.Request) {
		delete(s.uploads, r.PathValue("id"))
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /base/api/pose/jobs/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"id":%q,"namespace":"snow","createdAt":"2026-05-01T12:00:00Z","cancelled":true,"status":{"phase":"Running","progress":{"percent":7}},"unknown":1}`, r.PathValue("id"))
	})
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.before != nil && s.before(w, r) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) create(w http.ResponseWriter, r *http.Request) {
	s.created++
	id := "id-" + strconv.Itoa(s.created)
	s.length[id], _ = strconv.ParseInt(r.Header.Get("Upload-Length"), 10, 64)
	s.uploads[id], s.metadata[id] = nil, r.Header.Get("Upload-Metadata")
	w.Header().Set("Location", "/api/pose/uploads/"+id)
	w.Header().Set("Upload-Expires", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
	w.WriteHeader(http.StatusCreated)
}

func (s *server) tell(w http.ResponseWriter, id string, status int) {
	if _, ok := s.uploads[id]; !ok {
		http.Error(w, `{"detail":"no such upload"}`, http.StatusNotFound)
		return
	}
	if job := s.jobs[id]; job != "" {
		w.Header().Set("Pose-Job-Id", job)
	}
	w.Header().Set("Upload-Offset", strconv.Itoa(len(s.uploads[id])))
	w.Header().Set("Upload-Length", strconv.FormatInt(s.length[id], 10))
	w.WriteHeader(status)
}

func (s *server) head(w http.ResponseWriter, r *http.Request) {
	s.tell(w, r.PathValue("id"), http.StatusOK)
}

func (s *server) patch(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	at, err := strconv.ParseInt(r.Header.Get("Upload-Offset"), 10, 64)
	if err != nil || at != int64(len(s.uploads[id])) || r.Header.Get("Content-Type") != "application/offset+octet-stream" || r.Header.Get("Tus-Resumable") != "1.0.0" {
		http.Error(w, `{"detail":"another offset"}`, http.StatusConflict)
		return
	}
	s.offsets = append(s.offsets, at)
	b, err := io.ReadAll(r.Body)
	s.uploads[id] = append(s.uploads[id], b...)
	if err != nil {
		return
	}
	if int64(len(s.uploads[id])) == s.length[id] {
		s.jobs[id] = "run-abcde"
	}
	s.tell(w, id, http.StatusNoContent)
}

// holds says whether the server has the whole video.
func (s *server) holds(id string, u *place.Upload) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := sha256.Sum256(s.uploads[id])
	return hex.EncodeToString(sum[:]) == u.SHA256
}

// has says whether the server has something of an upload.
func (s *server) has(id string) (has bool) {
	s.change(func() { has = s.uploads[id] != nil })
	return has
}

// change what the server has.
func (s *server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// cut a connection after so many bytes of the request's body came, which the server
// keeps.
func (s *server) cut(r *http.Request, after int64) {
	b, _ := io.ReadAll(io.LimitReader(r.Body, after))
	s.mu.Lock()
	id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if s.uploads[id] != nil || s.length[id] > 0 {
		s.uploads[id] = append(s.uploads[id], b...)
	}
	s.mu.Unlock()
	panic(http.ErrAbortHandler)
}
