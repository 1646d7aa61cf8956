package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
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
}

// Run copies the source into w, resuming where a connection broke. An error of
// w is returned as it is.
func (d *Download) Run(ctx context.Context, w io.Writer) (int64, error) {
	var (
		done    int64
		version string
		failed  int
	)
	for {
		n, info, err := d.try(ctx, w, done, version)
		done += n
		if err == nil {
			return done, nil
		}
		if n > 0 {
			failed = 0
		}
		if info.Version != "" {
			version = info.Version
		}
		failed++
		if ctx.Err() != nil {
			return done, overall(ctx, d.Source.String(), err)
		}
		if !Temporary(err) || failed >= d.Policy.Tries {
			return done, err
		}
		delay := d.Policy.delay(failed)
		if d.Retry != nil {
			d.Retry(err, delay)
		}
		if werr := Sleep(ctx, delay); werr != nil {
			return done, overall(ctx, d.Source.String(), err)
		}
	}
}

// overall explains the end of the whole transfer's time.
func overall(ctx context.Context, place string, last error) error {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return &Error{Kind: Unreachable, Place: place, Cause: "the transfer did not end within its time-out", err: last}
	}
	return context.Cause(ctx)
}

// try makes one connection.
func (d *Download) try(ctx context.Context, w io.Writer, offset int64, version string) (int64, Info, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(d.Policy.Idle, func() { cancel(errIdle) })
	defer idle.Stop()
	body, info, err := d.Source.Open(ctx, offset, -1, version)
	if err != nil {
		return 0, info, idleError(ctx, d.Source.String(), err)
	}
	defer body.Close()
	if info.Size > d.MaxBytes {
		return 0, info, fmt.Errorf("%s has %d bytes: %w of %d bytes", d.Source, info.Size, ErrTooLarge, d.MaxBytes)
	}
	if offset == 0 && d.Begin != nil {
		if err := d.Begin(info.Size); err != nil {
			return 0, info, err
		}
	}
	n, err := d.copy(w, body, offset, func() { idle.Reset(d.Policy.Idle) })
	if err == nil && info.Size >= 0 && offset+n != info.Size {
		err = classify(d.Source.String(), io.ErrUnexpectedEOF)
	}
	return n, info, idleError(ctx, d.Source.String(), err)
}

// copy is io.Copy with a limit and a sign of life for each block.
func (d *Download) copy(w io.Writer, r io.Reader, offset int64, alive func()) (int64, error) {
	buf := make([]byte, 256<<10)
	var n int64
	for {
		k, rerr := r.Read(buf)
		if k > 0 {
			alive()
			if offset+n+int64(k) > d.MaxBytes {
				return n, fmt.Errorf("%s is %w of %d bytes", d.Source, ErrTooLarge, d.MaxBytes)
			}
			if _, err := w.Write(buf[:k]); err != nil {
				return n, err
			}
			n += int64(k)
		}
		if errors.Is(rerr, io.EOF) {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
	}
}

var errIdle = errors.New("idle")

func idleError(ctx context.Context, place string, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errIdle) {
		return &Error{Kind: Unreachable, Place: place, Cause: "the connection stood still", Temporary: true, err: err}
	}
	return err
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
		delay := p.delay(failed)
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
