package storage

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestRetryFew(t *testing.T) {
	p := Policy{FirstDelay: time.Millisecond, MaxDelay: time.Millisecond, Tries: 3}
	for name, tc := range map[string]struct {
		fails, tries int
		err          error
	}{
		"at once":        {0, 1, &Error{Temporary: true}},
		"after two":      {2, 3, &Error{Temporary: true}},
		"never":          {9, 3, &Error{Temporary: true}},
		"what stays bad": {9, 1, errors.New("no")},
	} {
		tries, noted := 0, 0
		err := RetryFew(t.Context(), p, func(error, time.Duration) { noted++ }, func(ctx context.Context) error {
			if ctx.Err() != nil {
				t.Errorf("%s: a try has no time", name)
			}
			if tries++; tries <= tc.fails {
				return tc.err
			}
			return nil
		})
		if tries != tc.tries || (err == nil) != (tc.fails < tc.tries) || noted != tries-1 {
			t.Errorf("%s: %d tries, %d noted, %v", name, tries, noted, err)
		}
	}
}
