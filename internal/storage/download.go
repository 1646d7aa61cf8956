package storage

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Policy is how persistent a transfer is.
type Policy struct {
	// Idle ends one connection that sends nothing for so long.
	Idle time.Duration
	// FirstDelay is the pause before the second try; it doubles up to MaxDelay.
	FirstDelay, MaxDelay time.Duration
	// Tries in a row without a single new byte; the first included.
	Tries int
}

// DefaultPolicy suits networks with short disturbances.
func DefaultPolicy() Policy {
	return Policy{Idle: 60 * time.Second, FirstDelay: time.Second, MaxDelay: 30 * time.Second, Tries: 6}
}

// ErrTooLarge says that a source is larger than the limit.
var ErrTooLarge = errors.New("larger than the limit")

// Download is one transfer of a whole source.
type Download struct {
	Source Source
	Policy Policy
	// MaxBytes bounds the source.
	MaxBytes int64
	// Begin is called once, when the size (or -1) is known.
	Begin func(size int64) error
	// Retry is told of each failed try before the pause.
	Retry func(err error, delay time.Duration)

	shape shape
}

// Placer is a writer that stores a piece where it belongs before those in front of it
// came. Run gives each piece to Place, several at once and in any order, and then, in
// order, to Write, which is left with what needs the order: a digest, a count. An error
// of one is as good as the other's.
type Placer interface {
	io.Writer
	// Place stores p at offset. p is the caller's again afterwards.
	Place(p []byte, offset int64) error
}

// Run copies the source into w, in order and resuming where a connection broke.
// Where the place gives ranges of an object that it can tell from another, several
// connections bring parts of it at once. The Info is that of what w got. An error
// of w is returned as it is.
func (d *Download) Run(ctx context.Context, w io.Writer) (Info, error) {
	t := &transfer{Download: d, w: w}
	t.placer, _ = w.(Placer)
	err := t.run(ctx)
	return Info{Size: t.done, Version: t.version}, err
}

// transfer is a Download that runs.
type transfer struct {
	*Download
	w       io.Writer
	placer  Placer // w, or nil
	done    int64  // bytes that w has
	size    int64  // -1 where it is not known
	version string
	seen    maphash.Hash // of what w has, where no version would tell of a change
	noting  sync.Mutex
}

func (t *transfer) run(ctx context.Context) error {
	var c *conn
	err := t.persist(ctx, func() (bool, error) {
		var err error
		c, err = t.connect(ctx, 0, t.shape.first(), "")
		if err != nil && KindOf(err) == Other && !Temporary(err) && ctx.Err() == nil {
			// An empty object has no range, and some servers dislike the question.
			c, err = t.connect(ctx, 0, -1, "")
		}
		return false, err
	})
	if err != nil {
		return err
	}
	t.size, t.version = c.info.Size, c.info.Version
	if err := t.begin(); err != nil {
		c.Close()
		return err
	}
	switch {
	case c.whole || t.size >= 0 && t.size <= t.shape.first():
	case t.size >= 0 && t.version != "":
		if err := t.parallel(ctx, c); !errors.Is(err, errWhole) {
			return err
		}
		c = nil
	default: // parts of what cannot be told from another object must not be joined
		c.Close()
		c = nil
	}
	return t.stream(ctx, c)
}

func (t *transfer) begin() error {
	if t.size > t.MaxBytes {
		return fmt.Errorf("%s has %d bytes: %w of %d bytes", t.Source, t.size, ErrTooLarge, t.MaxBytes)
	}
	if t.Begin != nil {
		return t.Begin(t.size)
	}
	return nil
}

// stream takes what w has not got yet by one connection after the other, the first
// of which may be open.
func (t *transfer) stream(ctx context.Context, open *conn) error {
	return t.persist(ctx, func() (bool, error) {
		before := t.done
		if t.done > 0 && t.done == t.size {
			return false, nil
		}
		c, err := open, error(nil)
		if open = nil; c == nil {
			if c, err = t.reconnect(ctx); err != nil {
				return false, err
			}
		}
		defer c.Close()
		err = t.copy(c)
		return t.done > before, err
	})
}

// reconnect opens the source where w's bytes end. What has no version is read from
// its beginning again, and must be what w has.
func (t *transfer) reconnect(ctx context.Context) (*conn, error) {
	offset := t.done
	if t.version == "" {
		offset = 0
	}
	c, err := t.connect(ctx, offset, -1, t.version)
	if err != nil {
		return nil, err
	}
	if err = t.same(c); err == nil && t.version == "" && t.done > 0 {
		again := maphash.Hash{}
		again.SetSeed(t.seen.Seed())
		if _, err = io.CopyN(&again, c, t.done); errors.Is(err, io.EOF) {
			err = classify(t.Source.String(), io.ErrUnexpectedEOF)
		} else if err == nil && again.Sum64() != t.seen.Sum64() {
			err = t.changed()
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (t *transfer) same(c *conn) error {
	if t.size >= 0 && c.info.Size >= 0 && c.info.Size != t.size {
		return t.changed()
	}
	return nil
}

func (t *transfer) changed() error {
	return &Error{Kind: Changed, Place: t.Source.String(), Cause: "the object changed while it was read"}
}

// copy is io.Copy from a connection to the object's end, with limits.
func (t *transfer) copy(c *conn) error {
	buf := make([]byte, 256<<10)
	for {
		n, rerr := c.Read(buf)
		if t.done+int64(n) > t.MaxBytes {
			return fmt.Errorf("%s is %w of %d bytes", t.Source, ErrTooLarge, t.MaxBytes)
		}
		if t.size >= 0 && t.done+int64(n) > t.size {
			return t.surplus()
		}
		if err := t.place(buf[:n], t.done); err != nil {
			return err
		}
		if err := t.write(buf[:n]); err != nil {
			return err
		}
		switch {
		case errors.Is(rerr, io.EOF) && t.size >= 0 && t.done < t.size:
			return classify(t.Source.String(), io.ErrUnexpectedEOF)
		case errors.Is(rerr, io.EOF):
			return nil
		case rerr != nil:
			return rerr
		}
	}
}

func (t *transfer) surplus() error {
	return &Error{Place: t.Source.String(), Cause: "the server gave more bytes than it was asked for"}
}

// place stores what is written afterwards, where w takes it so.
func (t *transfer) place(p []byte, offset int64) error {
	if t.placer == nil || len(p) == 0 {
		return nil
	}
	return t.placer.Place(p, offset)
}

// write gives w what comes next.
func (t *transfer) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := t.w.Write(p)
	t.done += int64(n)
	if t.version == "" {
		_, _ = t.seen.Write(p[:n])
	}
	return err
}

// persist calls f until it succeeds, or has failed too often in a row without
// progress.
func (t *transfer) persist(ctx context.Context, f func() (progress bool, err error)) error {
	for failed := 1; ; failed++ {
		progress, err := f()
		if err == nil {
			return nil
		}
		if progress {
			failed = 1
		}
		if ctx.Err() != nil {
			return overall(ctx, t.Source.String(), err)
		}
		if !Temporary(err) || failed >= t.Policy.Tries {
			return err
		}
		delay := t.Policy.pause(failed, err)
		t.note(err, delay)
		if Sleep(ctx, delay) != nil {
			return overall(ctx, t.Source.String(), err)
		}
	}
}

func (t *transfer) note(err error, delay time.Duration) {
	t.noting.Lock()
	defer t.noting.Unlock()
	if t.Retry != nil {
		t.Retry(err, delay)
	}
}

// overall explains the end of the whole transfer's time.
func overall(ctx context.Context, place string, last error) error {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return &Error{Kind: Unreachable, Place: place, Cause: "the transfer did not end within its time-out", err: last}
	}
	return context.Cause(ctx)
}

// conn is one connection. It ends when it stands still for too long while somebody
// waits for it.
type conn struct {
	info   Info
	whole  bool // it holds the object to its end, whatever was asked for
	body   io.ReadCloser
	ctx    context.Context //nolint:containedctx // the connection's own
	cancel context.CancelCauseFunc
	idle   *time.Timer
	limit  time.Duration
	place  string
}

func (d *Download) connect(ctx context.Context, offset, length int64, version string) (*conn, error) {
	c := &conn{limit: d.Policy.Idle, place: d.Source.String()}
	ctx, c.cancel = context.WithCancelCause(ctx)
	c.idle = time.AfterFunc(c.limit, func() { c.cancel(errIdle) })
	c.ctx = context.WithValue(ctx, aliveKey{}, func() { c.idle.Reset(c.limit) })
	var err error
	c.body, c.info, err = d.Source.Open(c.ctx, offset, length, version)
	c.idle.Stop()
	if err != nil {
		err = c.explain(err)
		c.cancel(nil)
		return nil, err
	}
	w, tells := c.body.(interface{ whole() bool })
	c.whole = length < 0 || tells && w.whole()
	return c, nil
}

func (c *conn) Read(p []byte) (int, error) {
	c.idle.Reset(c.limit)
	n, err := c.body.Read(p)
	c.idle.Stop()
	return n, c.explain(err)
}

func (c *conn) Close() {
	c.idle.Stop()
	_ = c.body.Close()
	c.cancel(nil)
}

var errIdle = errors.New("idle")

// explain says where an error is that of a connection that stood still.
func (c *conn) explain(err error) error {
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(c.ctx), errIdle) {
		return &Error{Kind: Unreachable, Place: c.place, Cause: "the connection stood still", Temporary: true, err: err}
	}
	return err
}

type aliveKey struct{}

// alive tells the connection that ctx belongs to of a sign of life.
func alive(ctx context.Context) {
	if f, ok := ctx.Value(aliveKey{}).(func()); ok {
		f()
	}
}

// pause before the next try: no shorter than the server asks for, within reason.
func (p Policy) pause(failed int, err error) time.Duration {
	var (
		own interface{ RetryAfter() time.Duration }
		sdk *smithyhttp.ResponseError
		ask time.Duration
	)
	switch {
	case errors.As(err, &own):
		ask = own.RetryAfter()
	case errors.As(err, &sdk) && sdk.Response != nil && sdk.Response.Response != nil:
		ask = retryAfter(sdk.Response.Header)
	}
	return max(p.delay(failed), min(ask, 4*p.MaxDelay))
}

// delay before the next try after the given number of failed ones, with jitter
// so that the pods of one outage do not return together.
func (p Policy) delay(failed int) time.Duration {
	d := p.FirstDelay
	for i := 1; i < failed && d < p.MaxDelay; i++ {
		d *= 2
	}
	d = min(d, p.MaxDelay)
	return d/2 + time.Duration(rand.Int64N(int64(d/2)+1)) //nolint:gosec // jitter
}

// Retry calls f until it succeeds, fails for good or ctx ends.
func Retry(ctx context.Context, p Policy, note func(error, time.Duration), f func(context.Context) error) error {
	for failed := 1; ; failed++ {
		err := f(ctx)
		if err == nil || !Temporary(err) || ctx.Err() != nil {
			return err
		}
		delay := p.pause(failed, err)
		if note != nil {
			note(err, delay)
		}
		if Sleep(ctx, delay) != nil {
			return err
		}
	}
}

// Sleep waits for d or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
