package poseengine

import (
	"cmp"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/learn"
)

// Bounds of what waits in memory.
const (
	// maxQueued observations of an engine; the oldest go first.
	maxQueued = 4096
	// announcements that may wait for the work queue.
	announcements = 1024
)

// FlushInterval is Memory.Interval where that is not set.
const FlushInterval = 10 * time.Second

// rememberSeen is how long an attempt is known that was seen already. Only one
// that ends while a manager starts is seen twice: by its job's controller and in
// the job's status.
const rememberSeen = 10 * time.Minute

// probeLease is how long a job that tries a skipped variant again keeps others
// from doing so too. A crash is over long before, and renews the skip.
const probeLease = 15 * time.Minute

// Memory collects what attempts teach until it is written into the status of
// their engines. It is safe for concurrent use, its zero value is ready, and a
// nil one forgets everything. It must not be copied.
type Memory struct {
	// Interval is the least time between two writes of what was learned of one
	// engine; zero is FlushInterval. It does not change while the Memory is used.
	Interval time.Duration

	mu      sync.Mutex
	engines map[string]*engineMemory
	probes  map[probe]lease
	changed chan event.GenericEvent
}

// engineMemory is what is known of one engine and not in its status.
type engineMemory struct {
	queue []learn.Observation
	// gone is how many observations have left the queue, so that a place in it
	// has a number that stays.
	gone int
	// seen are the IDs of observations that were queued, with their times.
	seen map[string]time.Time
	// recovered says that the attempts of an earlier manager were read.
	recovered bool
	// flushed is when observations were written last.
	flushed time.Time
	// told are the skips and avoidances that people were told of; nil before the
	// first look.
	told map[string]string
}

type probe struct {
	engine, variant string
	gpu             learn.GPU
}

type lease struct {
	job   types.UID
	until time.Time
}

// Observe queues what an attempt of an engine taught, and has it written soon.
func (m *Memory) Observe(engine string, o learn.Observation) {
	if m == nil || engine == "" {
		return
	}
	m.mu.Lock()
	m.engine(engine).add(o)
	changed := m.channel()
	m.mu.Unlock()
	select {
	case changed <- event.GenericEvent{Object: &v1alpha1.PoseEngine{ObjectMeta: metav1.ObjectMeta{Name: engine}}}:
	default: // so many wait already; the next reconcile of the engine takes it along
	}
}

// Advise says whether a job should skip a variant now. While another job tries
// the variant again on some kind of GPU, the skip goes on there.
func (m *Memory) Advise(e *v1alpha1.PoseEngine, v *v1alpha1.Variant, candidates []learn.GPU, job types.UID, now time.Time) learn.Advice {
	if m == nil {
		return learn.Skip(&e.Status, v, candidates, now)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var tried []learn.GPU
	for p, l := range m.probes {
		if p.engine == e.Name && p.variant == v.Name && l.job != job && now.Before(l.until) {
			tried = append(tried, p.gpu)
		}
	}
	return learn.SkipWhile(&e.Status, v, candidates, tried, now)
}

// Probe says that a job starts a variant that was skipped on these kinds of GPU,
// and so tries it again for all: the Probes of the advice that it acted upon.
func (m *Memory) Probe(engine, variant string, kinds []learn.GPU, job types.UID, now time.Time) {
	if m == nil || len(kinds) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.probes == nil {
		m.probes = map[probe]lease{}
	}
	for p, l := range m.probes {
		if !now.Before(l.until) {
			delete(m.probes, p)
		}
	}
	for _, g := range kinds {
		p := probe{engine, variant, g}
		if _, held := m.probes[p]; !held {
			m.probes[p] = lease{job, now.Add(probeLease)}
		}
	}
}

// channel of announcements; the lock is held.
func (m *Memory) channel() chan event.GenericEvent {
	if m.changed == nil {
		m.changed = make(chan event.GenericEvent, announcements)
	}
	return m.changed
}

// announced engines.
func (m *Memory) announced() <-chan event.GenericEvent {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.channel()
}

// engine by name; the lock is held.
func (m *Memory) engine(name string) *engineMemory {
	if m.engines == nil {
		m.engines = map[string]*engineMemory{}
	}
	if m.engines[name] == nil {
		m.engines[name] = &engineMemory{seen: map[string]time.Time{}}
	}
	return m.engines[name]
}

func (e *engineMemory) add(o learn.Observation) {
	if o.ID != "" {
		if _, twice := e.seen[o.ID]; twice {
			return
		}
		e.seen[o.ID] = o.At
	}
	e.queue = append(e.queue, o)
	e.leave(len(e.queue) - maxQueued)
}

// leave: the oldest n observations leave the queue.
func (e *engineMemory) leave(n int) {
	if n <= 0 {
		return
	}
	e.queue, e.gone = e.queue[n:], e.gone+n
	if len(e.queue) == 0 {
		e.queue = nil // what it stood in can go
	}
}

// forget an engine that does not exist.
func (m *Memory) forget(engine string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.engines, engine)
}

// recovered says whether the attempts of earlier managers were queued.
func (m *Memory) recovered(engine string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.engine(engine).recovered
}

// recover queues the attempts of earlier managers.
func (m *Memory) recover(engine string, obs []learn.Observation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.engine(engine)
	for _, o := range obs {
		e.add(o)
	}
	e.recovered = true
}

// taken are the observations that are to be folded now.
type taken struct {
	obs []learn.Observation
	// through is the number of the last one.
	through int
	// wait, if positive, is how long the next ones must wait.
	wait time.Duration
}

// take what may be folded now; it stays queued until it is done.
func (m *Memory) take(engine string, now time.Time) taken {
	if m == nil {
		return taken{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.engine(engine)
	for id, at := range e.seen {
		if now.Sub(at) > rememberSeen {
			delete(e.seen, id)
		}
	}
	if len(e.queue) == 0 {
		return taken{}
	}
	if wait := cmp.Or(m.Interval, FlushInterval) - now.Sub(e.flushed); wait > 0 && !e.flushed.IsZero() {
		return taken{wait: wait}
	}
	return taken{obs: append([]learn.Observation(nil), e.queue...), through: e.gone + len(e.queue)}
}

// done with what was taken: it stands in the status. Only what came after it
// stays queued.
func (m *Memory) done(engine string, t taken, now time.Time) {
	if m == nil || len(t.obs) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.engine(engine)
	e.flushed = now
	e.leave(t.through - e.gone)
}

// drop everything that waits: what it speaks of was cleared.
func (m *Memory) drop(engine string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.engine(engine)
	e.leave(len(e.queue))
}

// tell notes what people are told of now and gives what they were told of before.
// At the first look at an engine that is what its status said.
func (m *Memory) tell(engine string, status, now map[string]string) (before map[string]string) {
	if m == nil {
		return status
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.engine(engine)
	if before = e.told; before == nil {
		before = status
	}
	e.told = now
	return before
}
