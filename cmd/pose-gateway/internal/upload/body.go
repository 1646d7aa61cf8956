package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// Pace bounds how slowly a client may send.
type Pace struct {
	// Idle is how long nothing may come.
	Idle time.Duration
	// BytesPerSecond on average, once Grace has passed.
	BytesPerSecond int64
	Grace          time.Duration
}

// paced is a request's body that is no longer waited for than Pace allows, and ends
// with its context.
type paced struct {
	ctx   context.Context //nolint:containedctx // io.Reader has none
	body  io.Reader
	pace  Pace
	set   func(time.Time) error
	now   func() time.Time
	count func(int)
	begun time.Time
	bytes int64
	ended bool
}

// restFor is how long the server waits for the rest of a body that nobody reads.
const restFor = 10 * time.Second

// body of a request; call the function when it is read.
func (s *Service) body(ctx context.Context, w http.ResponseWriter, r *http.Request) (io.Reader, func()) {
	control := http.NewResponseController(w)
	b := &paced{ctx: ctx, body: r.Body, pace: s.Pace, set: control.SetReadDeadline, now: time.Now, count: s.Received, begun: time.Now()}
	stop := context.AfterFunc(ctx, func() { _ = b.set(time.Unix(1, 0)) })
	return b, func() {
		switch {
		case !stop():
		case b.ended:
			_ = b.set(time.Time{}) // the server now watches whether the client is there still
		default:
			_ = b.set(b.now().Add(restFor))
		}
	}
}

func (b *paced) Read(p []byte) (int, error) {
	now := b.now()
	if spent := now.Sub(b.begun); spent > b.pace.Grace && float64(b.bytes) < spent.Seconds()*float64(b.pace.BytesPerSecond) {
		return 0, fmt.Errorf("%d bytes came in %s: %w", b.bytes, spent.Round(time.Second), os.ErrDeadlineExceeded)
	}
	if err := b.set(now.Add(b.pace.Idle)); err != nil {
		return 0, fmt.Errorf("set a time for the next bytes: %w", err)
	}
	// After the deadline was set, so that an end between the two is not overwritten.
	if err := b.ctx.Err(); err != nil {
		return 0, err //nolint:wrapcheck // the request's own
	}
	n, err := b.body.Read(p)
	b.bytes += int64(n)
	b.count(n)
	b.ended = b.ended || errors.Is(err, io.EOF)
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}
