package storage

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// shelf is a Placer. It notes what is written before it was placed.
type shelf struct {
	mu      sync.Mutex
	data    []byte
	placed  []bool
	written []byte
	early   int
	full    error // of Place, from the middle on
}

func (s *shelf) Place(p []byte, offset int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full != nil && offset >= int64(len(s.data)/2) {
		return s.full
	}
	copy(s.data[offset:], p)
	for i := range p {
		s.placed[offset+int64(i)] = true
	}
	return nil
}

func (s *shelf) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := len(s.written)
	s.written = append(s.written, p...)
	if slices.Contains(s.placed[at:at+len(p)], false) {
		s.early++
	}
	return len(p), nil
}

// TestDownloadPlaces breaks connections, too: a piece is placed once more, or whole.
func TestDownloadPlaces(t *testing.T) {
	data := content()
	full := errors.New("no space left")
	for name, server := range map[string]*site{
		"ranges":                  {validate: strong},
		"no ranges":               {validate: strong, noRanges: true},
		"no ranges, no validator": {validate: unvalidated, noRanges: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, end := range []error{nil, full} {
				site := &site{data: data, validate: server.validate, noRanges: server.noRanges, cutAt: int64(len(data)) / 3}
				srv := httptest.NewServer(site)
				defer srv.Close()
				source, err := OpenSource(srv.URL+"/v.mp4", local(""))
				if err != nil {
					t.Fatal(err)
				}
				defer source.Close()
				s := &shelf{data: make([]byte, len(data)), placed: make([]bool, len(data)), full: end}
				told := 0
				d := Download{Source: source, Policy: patient(), MaxBytes: 1 << 30, shape: fine(), Retry: func(error, time.Duration) { told++ }}
				_, err = d.Run(t.Context(), s)
				if !errors.Is(err, end) {
					t.Errorf("ended with %v, not %v", err, end)
				}
				if end == nil && (!bytes.Equal(s.data, data) || !bytes.Equal(s.written, data)) {
					t.Error("something else was placed or written")
				}
				if !bytes.HasPrefix(data, s.written) || s.early > 0 {
					t.Errorf("%d times something was written that was not placed, or out of order", s.early)
				}
				if cuts := int(site.cuts.Load()); told > cuts || end == nil && told < cuts {
					t.Errorf("%d tries failed, %d connections were cut", told, cuts)
				}
			}
		})
	}
}
