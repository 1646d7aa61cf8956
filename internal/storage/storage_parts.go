package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// How large objects are sent. Between what the network needs (parts in flight) and
// what the container of deliver has (256Mi with its page cache).
const (
	partSize = 8 << 20
	// partsAtOnce are in flight or being read.
	partsAtOnce = 4
	// maxPartMemory bounds all buffers of one upload, as long as one part fits.
	maxPartMemory = 40 << 20
	// maxParts is S3's bound; Azure's is 50,000.
	maxParts = 10_000
	// maxObject is S3's bound.
	maxObject = 5 << 40
)

// plan says in how large parts an object is sent, and how many at once.
func planParts(size int64) (part int64, workers int, err error) {
	if size > maxObject {
		return 0, 0, fmt.Errorf("it has %d bytes, at most %d can be stored", size, int64(maxObject))
	}
	part = partSize
	for part*maxParts < size {
		part += 1 << 20
	}
	return part, max(1, min(partsAtOnce, int(maxPartMemory/part))), nil
}

// exactly reads size bytes of r and makes sure that there are no more.
func exactly(r io.Reader, size int64) ([]byte, error) {
	b := make([]byte, size)
	if err := fill(r, b, size, 0); err != nil {
		return nil, err
	}
	return b, atEnd(r, size)
}

// fill reads all of b, which begins at offset of a body of size bytes.
func fill(r io.Reader, b []byte, size, offset int64) error {
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		// Not the error that a broken connection gives: no retry helps.
		return &Error{Cause: fmt.Sprintf("%d bytes were to be written, %d came", size, offset+int64(n))}
	}
	return err
}

func atEnd(r io.Reader, size int64) error {
	var b [1]byte
	n, err := io.ReadFull(r, b[:])
	switch {
	case n > 0:
		return &Error{Cause: fmt.Sprintf("%d bytes were to be written, more came", size)}
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

// uploadPart is a part of a large object.
type uploadPart struct {
	number int // from 0 on
	offset int64
	data   []byte
}

// sendParts reads body and hands its parts to send, some at once, until one fails
// for good. A part that fails for a while is sent again by itself.
func sendParts(ctx context.Context, body io.Reader, size int64, p Policy, send func(context.Context, uploadPart) error) error {
	length, workers, err := planParts(size)
	if err != nil {
		return err
	}
	return sendPartsOf(ctx, body, size, length, workers, p, send)
}

func sendPartsOf(ctx context.Context, body io.Reader, size, length int64, workers int, p Policy, send func(context.Context, uploadPart) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	// The gate of a try keeps its transport from holding any of it afterwards.
	memory, release := offHeap(int64(workers) * length)
	defer release()
	free := make(chan []byte, workers)
	for b := range slices.Chunk(memory, int(length)) {
		free <- b
	}
	work := make(chan uploadPart)
	for range workers {
		wg.Go(func() {
			for part := range work {
				if ctx.Err() == nil {
					if err := persist(ctx, p, func(ctx context.Context) error { return send(ctx, part) }); err != nil {
						cancel(err)
					}
				}
				free <- part.data[:cap(part.data)]
			}
		})
	}
	err := cutParts(ctx, body, size, length, free, work)
	close(work)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause // the first failure, of which err is a consequence
	}
	return err
}

// cutParts reads body into free buffers and puts them to work.
func cutParts(ctx context.Context, body io.Reader, size, length int64, free chan []byte, work chan<- uploadPart) error {
	for number, offset := 0, int64(0); offset < size; number++ {
		var buf []byte
		select {
		case buf = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		buf = buf[:min(length, size-offset)]
		if err := fill(body, buf, size, offset); err != nil {
			return err
		}
		if offset+int64(len(buf)) == size {
			// Before the last part, with which a server may make the object.
			if err := atEnd(body, size); err != nil {
				return err
			}
		}
		select {
		case work <- uploadPart{number, offset, buf}:
		case <-ctx.Done():
			return ctx.Err()
		}
		offset += int64(len(buf))
	}
	return nil
}

// persist tries one part as often as the policy says.
func persist(ctx context.Context, p Policy, try func(context.Context) error) error {
	for failed := 1; ; failed++ {
		err := classify("", watched(ctx, p, try))
		if err == nil || !Temporary(err) || failed >= p.Tries || ctx.Err() != nil {
			return err
		}
		if Sleep(ctx, p.pause(failed, err)) != nil {
			return err
		}
	}
}

// watched ends a try that stands still.
func watched(ctx context.Context, p Policy, try func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(p.Idle, func() { cancel(errStill) })
	defer idle.Stop()
	ctx = context.WithValue(ctx, aliveKey{}, func() { idle.Reset(p.Idle) })
	g := &gate{}
	defer g.close()
	err := try(context.WithValue(ctx, gateKey{}, g))
	if err != nil && errors.Is(context.Cause(ctx), errStill) {
		return &Error{Kind: Unreachable, Cause: "the connection stood still", Temporary: true, err: err}
	}
	return err
}

var errStill = errors.New("the connection stood still")

// gate keeps a transport from reading a body after its try: when the answer comes
// before all of it was sent, the transport goes on for a moment, and by then the
// bytes may be another part's.
type gate struct {
	mu     sync.Mutex
	closed bool
}

type gateKey struct{}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// gated is the body of a request that tells watched of each block that the transport
// takes.
type gated struct {
	r     io.Reader
	gate  *gate
	alive func()
}

func newGated(ctx context.Context, r io.Reader) gated {
	g, ok := ctx.Value(gateKey{}).(*gate)
	if !ok {
		g = &gate{}
	}
	return gated{r: r, gate: g, alive: func() { alive(ctx) }}
}

func (o gated) Read(p []byte) (int, error) {
	o.gate.mu.Lock()
	defer o.gate.mu.Unlock()
	if o.gate.closed {
		return 0, io.ErrClosedPipe
	}
	o.alive()
	return o.r.Read(p)
}

// outgoing is a gated body that can be sent again.
type outgoing struct {
	gated
	seeker io.Seeker
}

func newOutgoing(ctx context.Context, b []byte) *outgoing {
	r := bytes.NewReader(b)
	return &outgoing{newGated(ctx, r), r}
}

func (o *outgoing) Seek(offset int64, whence int) (int64, error) {
	o.gate.mu.Lock()
	defer o.gate.mu.Unlock()
	return o.seeker.Seek(offset, whence)
}

// errUploadEnded says that the server knows no more of an upload than was begun: a
// part cannot be sent again, but the whole object can.
var errUploadEnded = errors.New("the server ended the upload before it was complete")

func uploadEnded(err error) error {
	if errors.Is(err, errUploadEnded) {
		return &Error{Kind: Unreachable, Temporary: true, Cause: errUploadEnded.Error(), err: err}
	}
	return err
}

// arrived says whether the object that o describes is there: of a write whose
// answer was lost.
func arrived(ctx context.Context, s store, key string, o Object) bool {
	if o.SHA256 == "" {
		return false
	}
	info, err := s.stat(ctx, key)
	return err == nil && info.SHA256 == o.SHA256 && info.Size == o.Size
}
