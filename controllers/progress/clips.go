package progress

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pose-dev/pose-operator/internal/report"
)

// ClipsTaker keeps pages of lists of clips.
type ClipsTaker interface {
	// TakeClips keeps one page that the pod pushed, for good before it answers. The
	// same page may come twice. ErrNoSuchPod, ErrRefused and ErrConflict tell errors
	// apart; after any other the pod tries again.
	TakeClips(ctx context.Context, pod *corev1.Pod, page report.ClipsPage) error
}

// Errors of a ClipsTaker.
var (
	// ErrNoSuchPod: the pod is none whose list is wanted now. It may be in a moment.
	ErrNoSuchPod = errors.New("no list is wanted of this pod")
	// ErrRefused: the page is none.
	ErrRefused = errors.New("the page is refused")
	// ErrConflict: another page of that number is kept already.
	ErrConflict = errors.New("another page of that number is kept already")
)

// maxLists bounds how many pages are in hand at a time: each takes some megabytes.
const maxLists = 4

// takeClips takes one page of a list.
func (s *Server) takeClips(w http.ResponseWriter, req *http.Request) {
	ctx := req.Context()
	if s.Clips == nil {
		http.Error(w, "lists are not taken", http.StatusNotFound)
		return
	}
	id, ok := s.known(w, req)
	if !ok {
		return
	}
	// Before the body is read: only a pod that the manager knows costs memory.
	pod, ok := s.pod(ctx, id)
	if !ok {
		http.Error(w, ErrNoSuchPod.Error(), http.StatusForbidden)
		return
	}
	leave, ok := enter(w, &s.lists, maxLists, "lists")
	if !ok {
		return
	}
	defer leave()
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, report.MaxClipsPageBytes))
	if err != nil {
		http.Error(w, "body too large", http.StatusRequestEntityTooLarge)
		return
	}
	var page report.ClipsPage
	if json.Unmarshal(body, &page) != nil || page.Version != report.Version {
		http.Error(w, "not a page of this version", http.StatusBadRequest)
		return
	}
	status := http.StatusNoContent
	if err := s.Clips.TakeClips(ctx, pod, page); err != nil {
		log.FromContext(ctx).Info("Page of a list not kept", "pod", id.namespace+"/"+id.pod, "page", page.Page, "why", err.Error())
		status = clipsStatus(err)
	}
	w.WriteHeader(status)
}

func clipsStatus(err error) int {
	switch {
	case errors.Is(err, ErrNoSuchPod):
		return http.StatusForbidden
	case errors.Is(err, ErrRefused):
		return http.StatusBadRequest
	case errors.Is(err, ErrConflict):
		return http.StatusConflict
	}
	return http.StatusServiceUnavailable
}
