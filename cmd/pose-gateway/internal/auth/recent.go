package auth

import (
	"crypto/sha256"
	"sync"
	"time"
)

// recent keeps answers of the cluster for a short while, at most so many.
type recent[T any] struct {
	mu      sync.Mutex
	entries map[[32]byte]answer[T]
}

type answer[T any] struct {
	value T
	until time.Time
}

// maxRecent answers of one kind.
const maxRecent = 4096

func (r *recent[T]) get(key string, now time.Time) (T, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.entries[sha256.Sum256([]byte(key))]
	return a.value, ok && now.Before(a.until)
}

func (r *recent[T]) put(key string, value T, until, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) >= maxRecent {
		for k, a := range r.entries {
			if !now.Before(a.until) {
				delete(r.entries, k)
			}
		}
	}
	if r.entries == nil || len(r.entries) >= maxRecent {
		r.entries = map[[32]byte]answer[T]{}
	}
	r.entries[sha256.Sum256([]byte(key))] = answer[T]{value, until}
}
