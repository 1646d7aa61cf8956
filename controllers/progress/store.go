// Package progress receives what pods report while they run. It is perishable:
// the outcome of an attempt never depends on it.
package progress

import (
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/controllers/internal/status"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Store keeps the last report of each pod, by the pod's uid.
type Store struct {
	mu   sync.Mutex
	last map[string]status.Progress
}

// maxEntries bounds the store; maxAge is when a report of a pod that went silent
// is dropped.
const (
	maxEntries = 20000
	maxAge     = 30 * time.Minute
)

// Latest report of a pod.
func (s *Store) Latest(podUID string) (status.Progress, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.last[podUID]
	return p, ok
}

// Put a report. It is false when the store is full of younger ones.
func (s *Store) Put(podUID string, p report.Progress, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]status.Progress{}
	}
	if _, ok := s.last[podUID]; !ok && len(s.last) >= maxEntries {
		for uid, old := range s.last {
			if now.Sub(old.At) > maxAge {
				delete(s.last, uid)
			}
		}
		if len(s.last) >= maxEntries {
			return false
		}
	}
	s.last[podUID] = status.Progress{Progress: p, At: now}
	return true
}
