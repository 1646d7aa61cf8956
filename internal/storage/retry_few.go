package storage

import (
	"context"
	"time"
)

// RetryFew is Retry for what can be left undone: it gives up after p.Tries tries.
func RetryFew(ctx context.Context, p Policy, note func(error, time.Duration), f func(context.Context) error) error {
	few, stop := context.WithCancel(ctx)
	defer stop()
	tried := 0
	return Retry(few, p, note, func(context.Context) error {
		err := f(ctx)
		if tried++; tried >= p.Tries {
			stop() // which ends a Retry
		}
		return err
	})
}
