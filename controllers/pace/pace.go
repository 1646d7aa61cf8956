// Package pace spaces writes of status that only tell progress, so that many objects
// that work cost the API server little.
//
// # Rules
//
//  1. An object's next soft write is no sooner than the interval that it asks for
//     after its last write, soft or not.
//  2. All soft writes together keep to a budget: once due, they get slots, one after
//     the other, a second divided by the budget apart. Who asks first is first, so that
//     with more objects at work each is written more seldom, and none is forgotten.
//  3. A slot is kept until it is used, or until something else was written of the
//     object: that write told the progress too.
package pace

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// DefaultBudget is how many soft writes a second all objects have together.
const DefaultBudget = 20

// Pacer remembers when the status of each object was last written. Its zero value is
// ready and keeps to DefaultBudget; it may be used by several goroutines, and by
// several controllers that share a budget. A nil Pacer lets every write through.
type Pacer struct {
	// Budget is how many soft writes a second are allowed in all; 0 is DefaultBudget.
	Budget float64

	mu   sync.Mutex
	kept map[Key]entry
	next time.Time // the first slot that is free
}

// Key names an object: names of different kinds do not meet.
type Key struct {
	Kind string
	types.NamespacedName
}

type entry struct {
	last time.Time // of the last write
	slot time.Time // of the next soft write; zero is none
}

// gap between two slots.
func (p *Pacer) gap() time.Duration {
	budget := p.Budget
	if budget <= 0 {
		budget = DefaultBudget
	}
	return time.Duration(float64(time.Second) / budget)
}

// Wait says how long a soft write of an object is to wait; zero means not at all.
func (p *Pacer) Wait(key Key, interval time.Duration, now time.Time) time.Duration {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.kept[key]
	if e.slot.IsZero() {
		if due := e.last.Add(interval); ok && due.After(now) {
			return due.Sub(now)
		}
		if e.slot = p.next; now.After(e.slot) {
			e.slot = now
		}
		p.next = e.slot.Add(p.gap())
		p.keep(key, e)
	}
	return max(0, e.slot.Sub(now))
}

// Wrote notes a write of an object, soft or not.
func (p *Pacer) Wrote(key Key, now time.Time) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep(key, entry{last: now})
}

// Forget an object that is gone.
func (p *Pacer) Forget(key Key) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.kept, key)
}

// Horizon is how long a soft write that is due would wait, asking for a slot now. Who tells
// progress more often tells it in vain.
func (p *Pacer) Horizon(now time.Time) time.Duration {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, p.next.Sub(now))
}

func (p *Pacer) keep(key Key, e entry) {
	if p.kept == nil {
		p.kept = map[Key]entry{}
	}
	p.kept[key] = e
}
