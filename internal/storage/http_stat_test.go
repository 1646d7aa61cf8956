package storage

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestHTTPStat asks servers that tell more and less.
func TestHTTPStat(t *testing.T) {
	const date = "Mon, 02 Jan 2006 15:04:05 GMT"
	data := content()
	serve := func(w http.ResponseWriter, r *http.Request, data []byte) {
		http.ServeContent(w, r, "v.mp4", time.Time{}, bytes.NewReader(data))
	}
	// getOnly refuses HEAD by code.
	getOnly := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(code)
				return
			}
			strong(w.Header())
			serve(w, r, data)
		}
	}
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		want    Info
		kind    Kind
		fails   string
	}{
		{name: "head", want: Info{Size: 1 << 20, Version: `"v1"`}, handler: func(w http.ResponseWriter, r *http.Request) {
			strong(w.Header())
			serve(w, r, data)
		}},
		{name: "weak and dated", want: Info{Size: 1 << 20, Version: date}, handler: func(w http.ResponseWriter, r *http.Request) {
			weak(w.Header())
			dated(w.Header())
			serve(w, r, data)
		}},
		{name: "weak alone", want: Info{Size: 1 << 20}, handler: func(w http.ResponseWriter, r *http.Request) {
			weak(w.Header())
			serve(w, r, data)
		}},
		{name: "a version out of measure", want: Info{Size: 1 << 20}, handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"`+strings.Repeat("x", 300)+`"`)
			serve(w, r, data)
		}},
		{name: "empty", want: Info{Version: `"v1"`}, handler: func(w http.ResponseWriter, r *http.Request) {
			strong(w.Header())
			serve(w, r, nil)
		}},
		{name: "empty, no head", want: Info{Version: `"v1"`}, handler: func(w http.ResponseWriter, r *http.Request) {
			strong(w.Header())
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			if r.Header.Get("Range") == "" {
				return
			}
			w.Header().Set("Content-Range", "bytes */0")
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		}},
		{name: "no head", handler: getOnly(405), want: Info{Size: 1 << 20, Version: `"v1"`}},
		{name: "a signature for GET", handler: getOnly(403), want: Info{Size: 1 << 20, Version: `"v1"`}},
		{name: "a head that fails", handler: getOnly(500), want: Info{Size: 1 << 20, Version: `"v1"`}},
		{name: "a head without a length", want: Info{Size: 1 << 20, Version: `"v1"`}, handler: func(w http.ResponseWriter, r *http.Request) {
			strong(w.Header())
			if r.Method == http.MethodHead {
				w.Header().Set("Transfer-Encoding", "chunked")
				return
			}
			serve(w, r, data)
		}},
		{name: "no head and no ranges", want: Info{Size: 1 << 20}, handler: func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusNotImplemented)
				return
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data)
		}},
		{name: "no length at all", want: Info{Size: -1}, handler: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
		}},
		{name: "encoded", kind: Other, fails: "Content-Encoding gzip", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Length", "5")
		}},
		{name: "missing", kind: NotFound, fails: "404", handler: http.NotFound},
		{name: "forbidden", kind: Forbidden, fails: "403", handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }},
		{name: "down", kind: Unreachable, fails: "503", handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := httptest.NewServer(tc.handler)
			defer srv.Close()
			s, err := OpenSource(srv.URL+"/v.mp4", local(""))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got, err := s.Stat(t.Context())
			if tc.fails != "" {
				if err == nil || KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.fails) {
					t.Errorf("kind %d, %v", KindOf(err), err)
				}
				return
			}
			if err != nil || got != tc.want {
				t.Errorf("%+v %v", got, err)
			}
			// What a transfer sees is the same.
			if b, _, err := shaped(t, srv.URL+"/v.mp4", local("")); err != nil || got.Size >= 0 && int64(len(b)) != got.Size {
				t.Errorf("download: %d bytes, %v", len(b), err)
			}
		})
	}
}

// TestHTTPEncodingOfPackedFiles: some servers call the packing of a file its encoding.
func TestHTTPEncodingOfPackedFiles(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("Accept-Encoding %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "x-gzip")
		_, _ = w.Write([]byte("packed"))
	}))
	defer srv.Close()
	for path, taken := range map[string]bool{"/weights.tar.gz": true, "/weights.tgz": true, "/video.mp4": false} {
		got, err := download(t, srv.URL+path, local(""), 1000)
		if taken != (err == nil) || taken && string(got) != "packed" {
			t.Errorf("%s: %q %v", path, got, err)
		}
	}
}

// TestDownloadByRedirects: where a redirect led is asked for the other parts, without
// credentials that are not its own, until it refuses.
func TestDownloadByRedirects(t *testing.T) {
	data := content()
	var (
		asked atomic.Int64 // at the beginning of the way
		lost  atomic.Int64 // requests that an old way was refused for
	)
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the mirror got credentials")
		}
		// The signature is good for the seven requests that follow the last redirect to it.
		if n := asked.Load(); r.URL.Query().Get("sig") != fmt.Sprint(n) {
			lost.Add(1)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		strong(w.Header())
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		if first, _ := span(r); first == 256<<10 {
			asked.Add(1) // it is over
		}
	}))
	defer mirror.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer tok" {
			t.Errorf("Authorization %q", r.Header.Get("Authorization"))
		}
		http.Redirect(w, r, fmt.Sprintf("%s/v.mp4?sig=%d", mirror.URL, asked.Load()), http.StatusFound)
	}))
	defer srv.Close()
	got, delays, err := shaped(t, srv.URL+"/v.mp4", local(secret(t, map[string]string{"token": "tok"})))
	if err != nil || !bytes.Equal(got, data) || len(delays) != 0 {
		t.Fatalf("%d bytes, %d pauses: %v", len(got), len(delays), err)
	}
	if lost.Load() == 0 {
		t.Error("the way that was over was not asked")
	}
}

func TestContentRange(t *testing.T) {
	for in, want := range map[string]contentRange{
		"bytes 5-9/10": {5, 9, 10}, "bytes 0-0/1": {0, 0, 1}, "bytes 5-9/*": {5, 9, -1},
	} {
		if got, err := parseContentRange(in); err != nil || got != want {
			t.Errorf("%q: %+v %v", in, got, err)
		}
	}
	for _, in := range []string{"", "bytes", "bytes */10", "bytes 9-5/10", "bytes 5-10/10", "items 0-1/2", "bytes 0-1", "bytes -1-5/10", "bytes 0-99999999999999999999/*", "bytes 1-2/-5"} {
		if got, err := parseContentRange(in); err == nil {
			t.Errorf("%q: %+v", in, got)
		}
	}
}
