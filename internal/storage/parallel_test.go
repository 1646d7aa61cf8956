package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fine cuts a transfer of 1 MiB into many parts, and begins with several connections.
func fine() shape {
	return shape{block: 8 << 10, blocks: 20, modes: [2]mode{{4, 64 << 10}, {4, 64 << 10}}}
}

// patient is a policy for tests in which nothing stands still but the machine.
func patient() Policy {
	p := fast()
	p.Idle = time.Minute
	return p
}

// shaped downloads uri in fine parts, and gives what it told of each try.
func shaped(t *testing.T, uri string, o Options) ([]byte, []time.Duration, error) {
	t.Helper()
	s, err := OpenSource(uri, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var (
		b      bytes.Buffer
		delays []time.Duration
	)
	d := Download{
		Source: s, Policy: patient(), MaxBytes: 1 << 30, shape: fine(),
		Retry: func(_ error, delay time.Duration) { delays = append(delays, delay) },
	}
	info, err := d.Run(t.Context(), &b)
	if err == nil && info.Size != int64(b.Len()) {
		t.Errorf("%d bytes are told of, %d came", info.Size, b.Len())
	}
	return b.Bytes(), delays, err
}

// site is a server of one file with faults.
type site struct {
	data     []byte
	validate func(http.Header) // sets the validators
	noRanges bool
	// before answers in place of the file when it gives true.
	before func(w http.ResponseWriter, r *http.Request, n int64) bool
	// cutAt breaks the connection off that carries this byte of all that is sent.
	cutAt int64

	requests, sent, cuts atomic.Int64
}

func strong(h http.Header)      { h.Set("ETag", `"v1"`) }
func weak(h http.Header)        { h.Set("ETag", `W/"v1"`) }
func dated(h http.Header)       { h.Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT") }
func unvalidated(_ http.Header) {}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.requests.Add(1)
	s.validate(w.Header())
	if s.before != nil && s.before(w, r, n) {
		return
	}
	w.Header().Set("Content-Type", "video/mp4")
	w = &cutting{w, s}
	if s.noRanges {
		w.Header().Set("Content-Length", strconv.Itoa(len(s.data)))
		_, _ = w.Write(s.data)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.data))
}

type cutting struct {
	http.ResponseWriter
	s *site
}

func (c *cutting) Write(p []byte) (int, error) {
	before := c.s.sent.Add(int64(len(p))) - int64(len(p))
	if at := c.s.cutAt; at > 0 && before <= at && at < before+int64(len(p)) {
		_, _ = c.ResponseWriter.Write(p[:at-before])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		c.s.cuts.Add(1)
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

// TestDownloadIsCutAnywhere breaks one connection at every tenth of the transfer,
// at servers of all kinds.
func TestDownloadIsCutAnywhere(t *testing.T) {
	data := content()
	for name, s := range map[string]*site{
		"ranges":                       {validate: strong},
		"ranges, by date":              {validate: dated},
		"ranges, weak validator":       {validate: weak},
		"ranges, no validator":         {validate: unvalidated},
		"no ranges":                    {validate: strong, noRanges: true},
		"no ranges, no validator":      {validate: unvalidated, noRanges: true},
		"no ranges, validated by date": {validate: dated, noRanges: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for tenth := range int64(10) {
				s := &site{data: data, validate: s.validate, noRanges: s.noRanges, cutAt: tenth*int64(len(data))/10 + 1000}
				srv := httptest.NewServer(s)
				got, delays, err := shaped(t, srv.URL+"/v.mp4", local(""))
				srv.Close()
				if err != nil || !bytes.Equal(got, data) || s.cuts.Load() != 1 || len(delays) > 1 {
					t.Errorf("cut at %d: %d bytes, %d cuts, %d pauses: %v", s.cutAt, len(got), s.cuts.Load(), len(delays), err)
				}
			}
		})
	}
}

// TestDownloadUsesSeveralConnections: parts are on their way at once where they can
// be joined, and nothing is asked for twice.
func TestDownloadUsesSeveralConnections(t *testing.T) {
	data := content()
	for name, tc := range map[string]struct {
		site     *site
		parallel bool
	}{
		"ranges":       {&site{validate: strong}, true},
		"by date":      {&site{validate: dated}, true},
		"weak":         {&site{validate: weak}, false},
		"no validator": {&site{validate: unvalidated}, false},
		"no ranges":    {&site{validate: strong, noRanges: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.site.data = data
			var (
				mu       sync.Mutex
				together = make(chan struct{})
				waiting  int
			)
			// The second and third request wait for each other, where there should be more than one.
			tc.site.before = func(_ http.ResponseWriter, r *http.Request, n int64) bool {
				if !tc.parallel || n == 1 || n > 3 {
					return false
				}
				mu.Lock()
				if waiting++; waiting == 2 {
					close(together)
				}
				mu.Unlock()
				select {
				case <-together:
				case <-r.Context().Done():
				}
				return false
			}
			srv := httptest.NewServer(tc.site)
			defer srv.Close()
			got, delays, err := shaped(t, srv.URL, local(""))
			if err != nil || !bytes.Equal(got, data) || len(delays) != 0 {
				t.Fatalf("%d bytes, %d pauses: %v", len(got), len(delays), err)
			}
			if tc.parallel && tc.site.sent.Load() != int64(len(data)) {
				t.Errorf("%d bytes were sent for %d", tc.site.sent.Load(), len(data))
			}
			if !tc.parallel && tc.site.requests.Load() > 2 {
				t.Errorf("%d requests", tc.site.requests.Load())
			}
		})
	}
}

// TestDownloadNoticesAChangeWithoutAVersion: what a server without validators gives
// the second time must begin with what it gave before.
func TestDownloadNoticesAChangeWithoutAVersion(t *testing.T) {
	for name, validate := range map[string]func(http.Header){"none": unvalidated, "weak": weak} {
		t.Run(name, func(t *testing.T) {
			s := &site{data: content(), validate: validate, noRanges: true, cutAt: 500_000}
			s.before = func(_ http.ResponseWriter, _ *http.Request, n int64) bool {
				if n == 2 {
					s.data = bytes.Clone(s.data)
					s.data[1000]++
				}
				return false
			}
			srv := httptest.NewServer(s)
			defer srv.Close()
			if _, _, err := shaped(t, srv.URL, local("")); KindOf(err) != Changed {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestDownloadIsToldToStop ends all connections, and gives the reason.
func TestDownloadIsToldToStop(t *testing.T) {
	data := content()
	var open atomic.Int64
	s := &site{data: data, validate: strong}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Add(-1)
		if first, last := span(r); first > 300<<10 {
			w.Header().Set("Content-Length", strconv.Itoa(last-first+1))
			s.validate(w.Header())
			partial(w, first, last, len(data), data[first:first+10])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		s.ServeHTTP(w, r)
	}))
	defer srv.Close()
	source, err := OpenSource(srv.URL, local(""))
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("told to")
	ctx, cancel := context.WithCancelCause(t.Context())
	p := patient()
	d := Download{Source: source, Policy: p, MaxBytes: 1 << 30, shape: fine()}
	var got int
	_, err = d.Run(ctx, writerFunc(func(b []byte) (int, error) {
		if ctx.Err() != nil {
			t.Error("more is written afterwards")
		}
		if got += len(b); got > 200<<10 {
			cancel(why)
		}
		return len(b), nil
	}))
	if !errors.Is(err, why) {
		t.Fatalf("error %v", err)
	}
	source.Close()
	srv.Close() // waits for the handlers, which wait for their connections
	if open.Load() != 0 {
		t.Errorf("%d connections are open", open.Load())
	}
}

// TestDownloadKeepsItsWindow: a writer that takes nothing gets no more of the object
// into memory than the window holds.
func TestDownloadKeepsItsWindow(t *testing.T) {
	data := bytes.Repeat(content(), 4)
	srv := httptest.NewServer(&site{data: data, validate: strong})
	defer srv.Close()
	source, err := OpenSource(srv.URL, local(""))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	counted := &countingSource{Source: source}
	d := Download{Source: counted, Policy: patient(), MaxBytes: 1 << 30, shape: fine()}
	var wrote, most int64
	_, err = d.Run(t.Context(), writerFunc(func(b []byte) (int, error) {
		if wrote < 100<<10 {
			time.Sleep(5 * time.Millisecond) // the others have time to run ahead
		}
		most = max(most, counted.read.Load()-wrote)
		wrote += int64(len(b))
		return len(b), nil
	}))
	sh := fine()
	if err != nil || wrote != int64(len(data)) || most > sh.block*int64(sh.blocks) {
		t.Fatalf("%d bytes of %d were in memory: %v", most, sh.block*int64(sh.blocks), err)
	}
}

type countingSource struct {
	Source
	read atomic.Int64
}

func (c *countingSource) Open(ctx context.Context, offset, length int64, version string) (io.ReadCloser, Info, error) {
	r, info, err := c.Source.Open(ctx, offset, length, version)
	if err != nil {
		return nil, info, err
	}
	return &countingBody{r, &c.read}, info, nil
}

type countingBody struct {
	io.ReadCloser
	read *atomic.Int64
}

func (c *countingBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// TestPace: several connections are kept where they bring clearly more.
func TestPace(t *testing.T) {
	const mib = 1 << 20
	for _, tc := range []struct {
		name  string
		rates [2]int64
		want  int
	}{
		{"several bring more", [2]int64{10 * mib, 50 * mib}, 1},
		{"several bring as much", [2]int64{100 * mib, 105 * mib}, 0},
		{"several bring less", [2]int64{500 * mib, 300 * mib}, 0},
		{"both crawl", [2]int64{mib, mib}, 0},
	} {
		p, now := &pace{}, time.Unix(0, 0)
		for range 200 {
			now = now.Add(50 * time.Millisecond)
			p.came(p.mode, tc.rates[p.mode]/20, now)
		}
		if p.mode != tc.want {
			t.Errorf("%s: mode %d", tc.name, p.mode)
		}
	}
	p, now := &pace{}, time.Unix(0, 0)
	feed := func(rate int64, until func() bool) {
		for i := 0; i < 1000 && !until(); i++ {
			now = now.Add(50 * time.Millisecond)
			p.came(p.mode, rate/20, now)
		}
	}
	if feed(100*mib, func() bool { return !p.trying() }); p.mode != 0 || p.trying() {
		t.Fatalf("it does not decide: %+v", p)
	}
	if feed(40*mib, p.trying); p.mode != 1 {
		t.Errorf("a fall does not make it try again: %+v", p)
	}
	p.settle(0)
	if feed(mib, p.trying); p.mode != 0 {
		t.Errorf("it does not stay calm: %+v", p)
	}
}
