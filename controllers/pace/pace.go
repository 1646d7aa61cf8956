// Package pace spaces writes of status that only tell progress, so that many objects
// that work cost the API server little.
package pace

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Pacer remembers when the status of each object was last written. Its zero value is
// ready; it may be used by several goroutines.
type Pacer struct {
	mu   sync.Mutex
	last map[types.NamespacedName]time.Time
}

// Wait says how long a write of an object's status is to wait for the interval since
// the last one; zero means not at all.
func (p *Pacer) Wait(key types.NamespacedName, interval time.Duration, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.last[key]
	if !ok {
		return 0
	}
	return max(0, interval-now.Sub(last))
}

// Wrote notes a write.
func (p *Pacer) Wrote(key types.NamespacedName, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[types.NamespacedName]time.Time{}
	}
	p.last[key] = now
}

// Forget an object that is gone.
func (p *Pacer) Forget(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.last, key)
}
