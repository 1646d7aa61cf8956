package storage

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

// mode is how many connections bring how large parts.
type mode struct {
	connections int
	part        int64 // bytes
}

// shape is how a transfer is cut. The zero value is what suits one; tests cut finer.
type shape struct {
	block  int64 // bytes of memory that are filled, and written, at once
	blocks int
	// modes to choose from: the first costs less, the second may bring more.
	modes [2]mode
	begin int // the mode to begin with
}

// What a container of 128 MiB can spare, and what a store and a network need:
// long ranges for one connection, as each request costs a server; as many
// connections as browsers make. Blocks of a MiB: while one is written, the socket
// gathers so much that few reads fill the next.
func (s shape) orDefault() shape {
	if s.block == 0 {
		return shape{block: 1 << 20, blocks: 28, modes: [2]mode{{1, 32 << 20}, {6, 4 << 20}}}
	}
	return s
}

// first is how much of a source is asked for before its size is known.
func (s shape) first() int64 {
	s = s.orDefault()
	return min(2*s.modes[1].part, s.modes[0].part)
}

const (
	// reserved blocks are for the part that w wants next: it must go on.
	reserved = 2
	// ahead is how many blocks that part may be before w: more would only be cold.
	ahead = 4
)

// errWhole says that a server answers with the whole object where a part was asked
// for.
var errWhole = errors.New("the server gives no ranges")

// part is a piece of the object on its way.
type part struct {
	offset, size int64
	mode         int
	in           int64    // bytes that are there; who brings it alone knows
	open         []byte   // the block that is being filled; as in
	full         [][]byte // blocks that are not written yet
}

// window is the parts between what w has and what was not asked for yet. They are
// given out in order.
type window struct {
	*transfer
	shape
	pace pace

	mu     sync.Mutex
	moved  *sync.Cond
	parts  []*part // w wants the first
	active int     // parts that somebody brings
	free   [][]byte
	next   int64 // offset of what was not given out yet
	err    error // why it ended
}

// parallel brings the object by several connections, or by one where that is no
// slower. The first is open at the object's beginning.
func (t *transfer) parallel(ctx context.Context, first *conn) error {
	s := t.shape.orDefault()
	memory, free := offHeap(int64(s.blocks) * s.block)
	defer free()
	w := &window{transfer: t, shape: s, pace: pace{mode: s.begin}}
	w.moved = sync.NewCond(&w.mu)
	for b := range slices.Chunk(memory, int(s.block)) {
		w.free = append(w.free, b[:0])
	}
	work, cancel := context.WithCancel(ctx)
	begin := &part{size: s.first()}
	w.parts, w.next, w.active = []*part{begin}, begin.size, 1
	var workers sync.WaitGroup
	workers.Go(func() { w.work(work, begin, first) })
	for range max(s.modes[0].connections, s.modes[1].connections) - 1 {
		workers.Go(func() { w.work(work, w.take(nil), nil) })
	}
	err := w.deliver(ctx)
	w.end(errors.New("it is over"))
	cancel()
	workers.Wait() // before their memory goes
	return err
}

// work brings one part after the other.
func (w *window) work(ctx context.Context, p *part, open *conn) {
	for ; p != nil; p, open = w.take(p), nil {
		if err := w.bring(ctx, p, open); err != nil {
			w.end(err)
			return
		}
	}
}

// bring fills one part.
func (w *window) bring(ctx context.Context, p *part, open *conn) error {
	return w.persist(ctx, func() (bool, error) {
		before := p.in
		c, err := open, error(nil)
		if open = nil; c == nil {
			if c, err = w.connect(ctx, p.offset+p.in, p.size-p.in, w.version); err != nil {
				w.calm()
				return false, err
			}
		}
		defer c.Close()
		if err = w.same(c); err == nil {
			err = w.read(c, p)
		}
		return p.in > before, err
	})
}

func (w *window) read(c *conn, p *part) error {
	if c.whole {
		return errWhole
	}
	for p.in < p.size {
		into, err := w.block(p)
		if err != nil {
			return err
		}
		n, err := c.Read(into)
		if err := w.came(p, n); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) && p.in < p.size {
			return classify(w.Source.String(), io.ErrUnexpectedEOF)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	// To its end, which also leaves the connection to the next part.
	if n, _ := c.Read(make([]byte, 1)); n > 0 {
		return w.surplus()
	}
	return nil
}

// take gives out the next part to who has done one, nil when there is no more to do.
func (w *window) take(done *part) *part {
	w.mu.Lock()
	defer w.mu.Unlock()
	if done != nil {
		w.active--
		w.moved.Broadcast()
	}
	for w.err == nil && w.next < w.size && (w.active >= w.modes[w.pace.mode].connections || len(w.free) <= reserved) {
		w.moved.Wait()
	}
	if w.err != nil || w.next >= w.size {
		return nil
	}
	size := w.modes[w.pace.mode].part
	if w.pace.trying() {
		size = min(size, w.first())
	}
	p := &part{offset: w.next, size: min(size, w.size-w.next), mode: w.pace.mode}
	w.parts = append(w.parts, p)
	w.next += p.size
	w.active++
	return p
}

// block gives memory for more of p, when there is some.
func (w *window) block(p *part) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.open == nil {
		for w.err == nil && !w.mayTake(p) {
			w.moved.Wait()
		}
		if w.err != nil {
			return nil, w.err
		}
		last := len(w.free) - 1
		p.open, w.free = w.free[last], w.free[:last] // the warmest
	}
	room := min(int64(cap(p.open)-len(p.open)), p.size-p.in)
	return p.open[len(p.open) : int64(len(p.open))+room], nil
}

func (w *window) mayTake(p *part) bool {
	if w.parts[0] == p {
		return len(w.free) > 0 && len(p.full) < ahead
	}
	return len(w.free) > reserved
}

// came puts a block that is full where it belongs, while it is in the processor's
// cache, and hands it on.
func (w *window) came(p *part, n int) error {
	p.in += int64(n)
	p.open = p.open[:len(p.open)+n]
	if len(p.open) < cap(p.open) && p.in < p.size {
		return nil
	}
	if err := w.place(p.open, p.offset+p.in-int64(len(p.open))); err != nil {
		w.end(err) // whatever it looks like, it is none of the connection's
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p.full, p.open = append(p.full, p.open), nil
	w.moved.Broadcast()
	return nil
}

func (w *window) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.moved.Broadcast()
}

// calm gives up several connections: a server that refuses one may take fewer.
func (w *window) calm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pace.settle(0)
}

// deliver gives the parts to w in order.
func (w *window) deliver(ctx context.Context) error {
	for {
		p, b, err := w.await()
		if err != nil || p == nil {
			return err
		}
		if ctx.Err() != nil {
			return overall(ctx, w.Source.String(), nil)
		}
		if err := w.write(b); err != nil {
			return err
		}
		w.release(p, b)
	}
}

// await gives the next block, none at the end.
func (w *window) await() (*part, []byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done == w.size {
		return nil, nil, nil
	}
	for w.err == nil && (len(w.parts) == 0 || len(w.parts[0].full) == 0) {
		w.moved.Wait()
	}
	if w.err != nil {
		return nil, nil, w.err
	}
	p := w.parts[0]
	b := p.full[0]
	p.full = p.full[1:]
	return p, b, nil
}

func (w *window) release(p *part, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free = append(w.free, b[:0])
	if w.done == p.offset+p.size {
		w.parts = w.parts[1:]
	}
	w.pace.came(p.mode, int64(len(b)), time.Now())
	w.moved.Broadcast()
}

// pace chooses the mode. It tries each, and keeps the second where that brings
// clearly more. When the chosen one falls off, both are tried again.
type pace struct {
	mode  int
	began time.Time
	bytes int64
	rates [2]float64 // bytes per second; 0 where not tried yet
	calm  bool       // the first for good
}

// A try takes long enough to say something, and no longer.
const (
	tryBytes = 16 << 20
	tryLeast = 100 * time.Millisecond
	tryMost  = 500 * time.Millisecond
	// clearly more, and fallen off.
	better, fallen = 1.2, 0.5
)

func (p *pace) trying() bool { return !p.calm && (p.rates[0] == 0 || p.rates[1] == 0) }

func (p *pace) settle(mode int) { p.mode, p.calm = mode, true }

// came is told of bytes that a part of the mode brought.
func (p *pace) came(mode int, bytes int64, now time.Time) {
	if p.calm || mode != p.mode {
		return // what was still under way when the mode changed
	}
	if p.began.IsZero() {
		p.began = now
		return
	}
	p.bytes += bytes
	took := now.Sub(p.began)
	if took < tryLeast || p.bytes < tryBytes && took < tryMost {
		return
	}
	p.judge(float64(p.bytes) / took.Seconds())
	p.began, p.bytes = time.Time{}, 0
}

func (p *pace) judge(rate float64) {
	other := 1 - p.mode
	switch {
	case !p.trying() && rate > p.rates[p.mode]*fallen:
	case !p.trying():
		p.rates = [2]float64{}
		p.rates[p.mode] = rate
		p.mode = other
	case p.rates[other] == 0:
		p.rates[p.mode] = rate
		p.mode = other
	default:
		p.rates[p.mode] = rate
		if p.mode = 0; p.rates[1] > p.rates[0]*better {
			p.mode = 1
		}
	}
}
