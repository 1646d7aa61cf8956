package verify

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/pose-dev/pose-operator/internal/storage"
)

var errStill = errors.New("idle")

// Alive opens key of store, and gives a temporary error when nothing comes of it for
// idle.
func Alive(ctx context.Context, store Store, key string, idle time.Duration) (io.ReadCloser, storage.Info, error) {
	inner, cancel := context.WithCancelCause(ctx)
	a := &alive{outer: ctx, ctx: inner, cancel: cancel, idle: idle, place: storage.Join(store.String(), key)}
	a.timer = time.AfterFunc(idle, func() { cancel(errStill) })
	body, info, err := store.Open(inner, key)
	if err != nil {
		a.timer.Stop()
		err = a.explain(err)
		cancel(nil)
		return nil, info, err
	}
	a.body = body
	return a, info, nil
}

type alive struct {
	outer, ctx context.Context //nolint:containedctx // live as long as one read
	cancel     context.CancelCauseFunc
	timer      *time.Timer
	idle       time.Duration
	body       io.ReadCloser
	place      string
}

func (a *alive) Read(p []byte) (int, error) {
	if err := a.ctx.Err(); err != nil {
		return 0, a.explain(err)
	}
	n, err := a.body.Read(p)
	if n > 0 {
		a.timer.Reset(a.idle)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = a.explain(err)
	}
	return n, err
}

func (a *alive) explain(err error) error {
	if errors.Is(context.Cause(a.ctx), errStill) && a.outer.Err() == nil {
		return &storage.Error{Kind: storage.Unreachable, Place: a.place, Cause: "the connection stood still", Temporary: true}
	}
	return err
}

func (a *alive) Close() error {
	a.timer.Stop()
	err := a.body.Close()
	a.cancel(nil)
	return err
}
