package storage

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"
)

// broker stands before a real S3 server.
func broker(t *testing.T, endpoint string, modify func(*http.Response) error) string {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: modify,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
	t.Cleanup(srv.Close)
	return srv.URL
}

// cutBody ends a body early.
type cutBody struct {
	io.Reader
	io.Closer
}

// TestS3InParts brings an object of a real S3 server by several connections, which
// break, are refused and are told to come later.
func TestS3InParts(t *testing.T) {
	endpoint := gateway(t, "videos")
	data := bytes.Repeat(content(), 3)
	put(t, s3Options(t, endpoint), "s3://videos", "v.mp4", data)
	var n atomic.Int64
	at := broker(t, endpoint, func(r *http.Response) error {
		switch n.Add(1) % 7 {
		case 3:
			r.Body = cutBody{io.MultiReader(io.LimitReader(r.Body, 10<<10), failingReader{}), r.Body}
		case 5:
			r.StatusCode = http.StatusServiceUnavailable
			r.Header.Set("Retry-After", "0")
		case 6:
			r.StatusCode = http.StatusInternalServerError
		}
		return nil
	})
	source, err := OpenSource("s3://videos/v.mp4", s3Options(t, at))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	var (
		b     bytes.Buffer
		tries int
	)
	p := patient()
	p.Tries = 30 // of one part, whose turn it may be each time
	d := Download{Source: source, Policy: p, MaxBytes: 1 << 30, shape: fine(), Retry: func(error, time.Duration) { tries++ }}
	info, err := d.Run(t.Context(), &b)
	if err != nil || !bytes.Equal(b.Bytes(), data) || tries == 0 {
		t.Fatalf("%d bytes, %d tries: %v", b.Len(), tries, err)
	}
	stat, err := source.Stat(t.Context())
	if err != nil || stat.Version == "" || info.Version != stat.Version || info.Size != stat.Size {
		t.Errorf("%+v, but %+v: %v", info, stat, err)
	}
}

// TestS3ChangesWithin replaces an object while it is read.
func TestS3ChangesWithin(t *testing.T) {
	o := s3Options(t, gateway(t, "videos"))
	data := bytes.Repeat(content(), 3)
	put(t, o, "s3://videos", "v.mp4", data)
	source, err := OpenSource("s3://videos/v.mp4", o)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	other := bytes.Clone(data)
	other[len(other)-1]++
	d := Download{Source: source, Policy: patient(), MaxBytes: 1 << 30, shape: fine()}
	var got bytes.Buffer
	_, err = d.Run(t.Context(), writerFunc(func(b []byte) (int, error) {
		if got.Len() == 0 {
			put(t, o, "s3://videos", "v.mp4", other)
		}
		return got.Write(b)
	}))
	if KindOf(err) != Changed || !bytes.HasPrefix(data, got.Bytes()) {
		t.Fatalf("%d bytes: %v", got.Len(), err)
	}
}

// TestS3GoesAway: the server ends in the middle, and for good.
func TestS3GoesAway(t *testing.T) {
	endpoint := gateway(t, "videos")
	data := bytes.Repeat(content(), 3)
	put(t, s3Options(t, endpoint), "s3://videos", "v.mp4", data)
	var down atomic.Bool
	at := broker(t, endpoint, func(_ *http.Response) error {
		if down.Load() {
			return io.ErrUnexpectedEOF
		}
		return nil
	})
	source, err := OpenSource("s3://videos/v.mp4", s3Options(t, at))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	d := Download{Source: source, Policy: patient(), MaxBytes: 1 << 30, shape: fine()}
	_, err = d.Run(context.Background(), writerFunc(func(b []byte) (int, error) {
		down.Store(true)
		return len(b), nil
	}))
	if KindOf(err) != Unreachable || !Temporary(err) {
		t.Fatalf("error %v", err)
	}
}

// TestClaimInParts: a mounted file is read in parts as well, and must stay the same.
func TestClaimInParts(t *testing.T) {
	o := Options{PVCMount: t.TempDir()}
	data := content()
	put := func(data []byte) {
		sink, err := OpenSink("pvc://c", o)
		if err != nil {
			t.Fatal(err)
		}
		if err := sink.Put(t.Context(), Object{Key: "v.mp4", Size: int64(len(data))}, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	put(data)
	if got, _, err := shaped(t, "pvc://c/v.mp4", o); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	source, err := OpenSource("pvc://c/v.mp4", o)
	if err != nil {
		t.Fatal(err)
	}
	d := Download{Source: source, Policy: patient(), MaxBytes: 1 << 30, shape: fine()}
	first := true
	_, err = d.Run(t.Context(), writerFunc(func(b []byte) (int, error) {
		if first {
			first = false
			put(data)
		}
		return len(b), nil
	}))
	if KindOf(err) != Changed {
		t.Errorf("error %v", err)
	}
}
