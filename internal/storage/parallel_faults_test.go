package storage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// span gives the range that is asked for.
func span(r *http.Request) (first, last int) {
	first, last = 0, -1
	_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last)
	return first, last
}

func partial(w http.ResponseWriter, first, last, size int, body []byte) bool {
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, size))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(body)
	return true
}

// TestDownloadFromServersThatLie: no answer makes a file of wrong bytes. The first
// request is answered well, each later one by the lie.
func TestDownloadFromServersThatLie(t *testing.T) {
	data := content()
	for _, tc := range []struct {
		name string
		lie  func(w http.ResponseWriter, r *http.Request) bool
		kind Kind
		want string // in the error; empty where the whole file must come all the same
	}{
		{"another range", func(w http.ResponseWriter, r *http.Request) bool {
			first, last := span(r)
			return partial(w, first+1, last+1, len(data), data[first+1:last+2])
		}, Other, "another range"},
		{"the file's beginning, named as asked", func(w http.ResponseWriter, r *http.Request) bool {
			first, last := span(r)
			return partial(w, 0, last-first, len(data), data[:last-first+1])
		}, Other, "another range"},
		{"a longer range", func(w http.ResponseWriter, r *http.Request) bool {
			first, _ := span(r)
			return partial(w, first, len(data)-1, len(data), data[first:])
		}, Other, "another range"},
		{"more bytes than named", func(w http.ResponseWriter, r *http.Request) bool {
			first, last := span(r)
			w.Header().Set("Transfer-Encoding", "chunked")
			return partial(w, first, last, len(data), data[first:min(last+100, len(data))])
		}, Other, "more bytes than it was asked for"},
		{"another length than the range's", func(w http.ResponseWriter, r *http.Request) bool {
			first, last := span(r)
			w.Header().Set("Content-Length", "5")
			return partial(w, first, last, len(data), data[first:first+5])
		}, Other, "another length"},
		{"no Content-Range", func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusPartialContent)
			return true
		}, Other, "another range"},
		{"a range beyond the file", func(w http.ResponseWriter, r *http.Request) bool {
			first, last := span(r)
			return partial(w, first, last, last, data[first:last+1])
		}, Other, "another range"},
		{"fewer bytes than named", func(w http.ResponseWriter, r *http.Request) bool {
			first, last := span(r)
			w.Header().Set("Transfer-Encoding", "chunked")
			return partial(w, first, last, len(data), nil)
		}, Unreachable, "the connection broke"},
		{"another size", func(w http.ResponseWriter, r *http.Request) bool {
			first, last := span(r)
			return partial(w, first, last, len(data)+1, data[first:last+1])
		}, Changed, "changed"},
		{"another version", func(w http.ResponseWriter, r *http.Request) bool {
			first, last := span(r)
			w.Header().Set("ETag", `"v2"`)
			return partial(w, first, last, len(data), data[first:last+1])
		}, Changed, "changed"},
		{"a version that became weak", func(w http.ResponseWriter, r *http.Request) bool {
			first, last := span(r)
			weak(w.Header())
			return partial(w, first, last, len(data), data[first:last+1])
		}, Changed, "changed"},
		{"encoded bytes", func(w http.ResponseWriter, r *http.Request) bool {
			first, last := span(r)
			w.Header().Set("Content-Encoding", "br")
			return partial(w, first, last, len(data), data[first:last+1])
		}, Other, "Content-Encoding br"},
		{"the whole in place of a part", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			_, _ = w.Write(data)
			return true
		}, Other, ""},
		{"a shorter range", func(w http.ResponseWriter, r *http.Request) bool {
			first, last := span(r)
			last = min(last, first+5_000)
			return partial(w, first, last, len(data), data[first:last+1])
		}, Other, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := &site{data: data, validate: strong, before: func(w http.ResponseWriter, r *http.Request, n int64) bool {
				return n > 1 && tc.lie(w, r)
			}}
			srv := httptest.NewServer(s)
			defer srv.Close()
			got, _, err := shaped(t, srv.URL+"/v.mp4", local(""))
			if tc.want == "" {
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes: %v", len(got), err)
				}
				return
			}
			if err == nil || KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("kind %d, %v", KindOf(err), err)
			}
			if !bytes.HasPrefix(data, got) {
				t.Error("the writer got wrong bytes")
			}
		})
	}
}

// TestDownloadOutlastsRefusals: errors of a server that go away.
func TestDownloadOutlastsRefusals(t *testing.T) {
	data := content()
	refuse := func(code int, after string, some func(n int64) bool) func(http.ResponseWriter, *http.Request, int64) bool {
		return func(w http.ResponseWriter, _ *http.Request, n int64) bool {
			if !some(n) {
				return false
			}
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			w.WriteHeader(code)
			return true
		}
	}
	first3 := func(n int64) bool { return n <= 3 }
	within := func(n int64) bool { return n > 2 && n%3 == 0 && n < 40 }
	for _, tc := range []struct {
		name          string
		before        func(http.ResponseWriter, *http.Request, int64) bool
		least, most   time.Duration
		oneConnection bool
	}{
		{name: "500 at first", before: refuse(500, "", first3)},
		{name: "503 within", before: refuse(503, "", within)},
		{name: "429 that asks for a second", before: refuse(429, "1", func(n int64) bool { return n == 3 }), least: time.Second},
		{name: "503 that asks for a day", before: refuse(503, "86400", within), most: 2 * time.Second},
		{name: "429 that asks for a time long past", before: refuse(429, "Mon, 02 Jan 2006 15:04:05 GMT", first3), most: 2 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(&site{data: data, validate: strong, before: tc.before})
			defer srv.Close()
			s, err := OpenSource(srv.URL, local(""))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var (
				b       bytes.Buffer
				longest time.Duration
			)
			p := patient()
			p.MaxDelay = 500 * time.Millisecond // a quarter of what a server may ask for
			d := Download{Source: s, Policy: p, MaxBytes: 1 << 30, shape: fine(), Retry: func(err error, delay time.Duration) {
				longest = max(longest, delay)
				if KindOf(err) != Unreachable {
					t.Errorf("error %v", err)
				}
			}}
			if _, err := d.Run(t.Context(), &b); err != nil || !bytes.Equal(b.Bytes(), data) {
				t.Fatalf("%d bytes: %v", b.Len(), err)
			}
			if longest < tc.least || tc.most > 0 && longest > tc.most || longest == 0 {
				t.Errorf("the longest pause was %s", longest)
			}
		})
	}
}

// oneAtATime refuses a second connection.
type oneAtATime struct {
	Source
	t    *testing.T
	open atomic.Int64
}

func (o *oneAtATime) Open(ctx context.Context, offset, length int64, version string) (io.ReadCloser, Info, error) {
	if o.open.Add(1) > 1 {
		o.open.Add(-1)
		if offset >= 512<<10 {
			o.t.Errorf("a second connection is tried again, at %d", offset)
		}
		return nil, Info{}, classify(o.String(), statusError{code: http.StatusServiceUnavailable})
	}
	r, info, err := o.Source.Open(ctx, offset, length, version)
	if err != nil {
		o.open.Add(-1)
		return nil, info, err
	}
	return &closeOnce{ReadCloser: r, open: &o.open}, info, nil
}

type closeOnce struct {
	io.ReadCloser
	open *atomic.Int64
	once sync.Once
}

func (c *closeOnce) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.ReadCloser.Close()
}

// TestDownloadFromServerThatTakesOneConnection gets along with it, and leaves it in
// peace.
func TestDownloadFromServerThatTakesOneConnection(t *testing.T) {
	data := content()
	srv := httptest.NewServer(&site{data: data, validate: strong})
	defer srv.Close()
	source, err := OpenSource(srv.URL, local(""))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	p := patient()
	p.Tries = 1000 // the others end their parts meanwhile, however slow the machine is
	cut := fine()
	cut.modes[0].connections, cut.begin = 1, 1
	var b bytes.Buffer
	d := Download{Source: &oneAtATime{Source: source, t: t}, Policy: p, MaxBytes: 1 << 30, shape: cut}
	if _, err := d.Run(t.Context(), &b); err != nil || !bytes.Equal(b.Bytes(), data) {
		t.Fatalf("%d bytes: %v", b.Len(), err)
	}
}

// TestDownloadWithCredentialsThatExpire says so, and soon.
func TestDownloadWithCredentialsThatExpire(t *testing.T) {
	data := content()
	s := &site{data: data, validate: strong, before: func(w http.ResponseWriter, _ *http.Request, n int64) bool {
		if n > 5 {
			w.WriteHeader(http.StatusForbidden)
		}
		return n > 5
	}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	got, delays, err := shaped(t, srv.URL, local(""))
	if KindOf(err) != Forbidden || !strings.Contains(err.Error(), "Secret") || len(delays) != 0 || !bytes.HasPrefix(data, got) {
		t.Fatalf("%d bytes, %d pauses, error %v", len(got), len(delays), err)
	}
}

// TestDownloadOutlastsAStall: one of several connections stands still.
func TestDownloadOutlastsAStall(t *testing.T) {
	data := content()
	s := &site{data: data, validate: strong, before: func(w http.ResponseWriter, r *http.Request, n int64) bool {
		if n != 3 {
			return false
		}
		first, last := span(r)
		w.Header().Set("Content-Length", strconv.Itoa(last-first+1))
		partial(w, first, last, len(data), data[first:first+1000])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	source, err := OpenSource(srv.URL, local(""))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	var (
		b     bytes.Buffer
		still int
	)
	d := Download{Source: source, Policy: fast(), MaxBytes: 1 << 30, shape: fine(), Retry: func(err error, _ time.Duration) {
		if strings.Contains(err.Error(), "stood still") {
			still++
		}
	}}
	if _, err := d.Run(t.Context(), &b); err != nil || !bytes.Equal(b.Bytes(), data) || still == 0 {
		t.Fatalf("%d bytes, still %d times: %v", b.Len(), still, err)
	}
}
