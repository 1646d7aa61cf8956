package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

// fast is a policy for tests: patient enough, but without long pauses.
func fast() Policy {
	return Policy{Idle: 300 * time.Millisecond, FirstDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond, Tries: 4}
}

// content is 1 MiB that differs everywhere.
func content() []byte {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// secret writes a location's Secret.
func secret(t *testing.T, keys map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for k, v := range keys {
		if err := os.WriteFile(filepath.Join(dir, k), []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func local(dir string) Options {
	return Options{Store: report.StoreConfig{HTTPAllowedHosts: []string{"127.0.0.1"}}, CredentialsDir: dir}
}

func download(t *testing.T, uri string, o Options, limit int64) ([]byte, error) {
	t.Helper()
	s, err := OpenSource(uri, o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var b bytes.Buffer
	d := Download{Source: s, Policy: fast(), MaxBytes: limit}
	_, err = d.Run(t.Context(), &b)
	return b.Bytes(), err
}

// breaking serves content, but breaks the connection off often.
func breaking(data []byte, ranges bool, how func(w http.ResponseWriter)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := 0
		w.Header().Set("ETag", `"v1"`)
		if ranges {
			_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)-start))
		if start > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(data)-1, len(data)))
			w.WriteHeader(http.StatusPartialContent)
		}
		part := data[start:]
		if len(part) > 300<<10 {
			_, _ = w.Write(part[:300<<10])
			how(w)
			return
		}
		_, _ = w.Write(part)
	}
}

func TestDownloadResumes(t *testing.T) {
	data := content()
	for name, how := range map[string]func(http.ResponseWriter){
		"connection breaks": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"connection stalls": func(w http.ResponseWriter) {
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Second)
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(breaking(data, true, how))
			defer srv.Close()
			got, err := download(t, srv.URL+"/v.mp4", local(""), 1<<30)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes: %v", len(got), err)
			}
		})
	}
}

func TestDownloadFromServerWithoutRanges(t *testing.T) {
	data := content()
	var tries atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		if tries.Add(1) == 1 {
			_, _ = w.Write(data[:500<<10])
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(data)
	}))
	defer srv.Close()
	got, err := download(t, srv.URL, local(""), 1<<30)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes: %v", len(got), err)
	}
}

func TestDownloadNoticesAChange(t *testing.T) {
	data := content()
	var tries atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := tries.Add(1)
		w.Header().Set("ETag", fmt.Sprintf(`"v%d"`, n))
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:1000])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer srv.Close()
	if _, err := download(t, srv.URL, local(""), 1<<30); KindOf(err) != Changed {
		t.Fatalf("error %v", err)
	}
}

func TestDownloadErrors(t *testing.T) {
	mux := http.NewServeMux()
	for _, code := range []int{401, 403, 404, 410, 500, 503} {
		mux.HandleFunc(fmt.Sprintf("/%d", code), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/ftp", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "ftp://example.com/x", http.StatusFound)
	})
	mux.HandleFunc("/inside", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://localhost:1/secret?token=tok123", http.StatusFound)
	})
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content()) })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	gone := httptest.NewServer(mux)
	gone.Close()
	for _, tc := range []struct {
		uri  string
		kind Kind
		want string
	}{
		{srv.URL + "/401", Forbidden, "Secret"},
		{srv.URL + "/403", Forbidden, "403 Forbidden"},
		{srv.URL + "/404", NotFound, "404 Not Found"},
		{srv.URL + "/410", NotFound, "410"},
		{srv.URL + "/500", Unreachable, "500"},
		{srv.URL + "/503", Unreachable, "503"},
		{gone.URL + "/x", Unreachable, "connection refused"},
		{srv.URL + "/loop", Refused, "more than 5 times"},
		{srv.URL + "/ftp", Refused, "another protocol"},
		{srv.URL + "/inside", Refused, "loopback"},
		{srv.URL + "/big", Other, "larger than the limit"},
		{"http://no-such-host.invalid/x", Unreachable, "cannot be resolved"},
		{"http://user:hunter2@127.0.0.1/x?sig=abc", Refused, "must not carry"},
		{"ftp://127.0.0.1/x", Refused, "not supported"},
		{"http:///x", Refused, "names no host"},
	} {
		_, err := download(t, tc.uri, local(""), 1000)
		if err == nil || KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: kind %d, error %v", tc.uri, KindOf(err), err)
		}
		for _, never := range []string{"hunter2", "sig=abc", "tok123"} {
			if strings.Contains(fmt.Sprint(err), never) {
				t.Errorf("%s: the error tells a secret: %v", tc.uri, err)
			}
		}
	}
}

func TestHTTPCredentials(t *testing.T) {
	var last *http.Request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last = r
		if strings.Contains(r.URL.RawQuery, "fail") {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer srv.Close()
	uri := srv.URL + "/v.mp4"
	for _, tc := range []struct {
		name  string
		keys  map[string]string
		check func() bool
		fails string
	}{
		{"basic", map[string]string{"username": "u", "password": "p\n"}, func() bool { u, p, ok := last.BasicAuth(); return ok && u == "u" && p == "p" }, ""},
		{"bearer", map[string]string{"token": "tok"}, func() bool { return last.Header.Get("Authorization") == "Bearer tok" }, ""},
		{"signed", map[string]string{"url": uri + "?sig=abc"}, func() bool { return last.URL.Query().Get("sig") == "abc" }, ""},
		{"signed, refused", map[string]string{"url": uri + "?sig=abc&fail"}, nil, "403"},
		{"signed for another host", map[string]string{"url": "http://evil.example/v.mp4?sig=abc"}, nil, "another scheme or host"},
	} {
		_, err := download(t, uri, local(secret(t, tc.keys)), 1000)
		if tc.fails == "" && (err != nil || !tc.check()) || tc.fails != "" && (KindOf(err) != Forbidden || !strings.Contains(err.Error(), tc.fails)) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if strings.Contains(fmt.Sprint(err), "sig=abc") {
			t.Errorf("%s: the error tells the signature: %v", tc.name, err)
		}
	}
}

// TestCredentialsStayAtTheirHost: a redirect to another server gets none.
func TestCredentialsStayAtTheirHost(t *testing.T) {
	got := make(chan http.Header, 1)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	defer other.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusFound)
	}))
	defer srv.Close()
	if _, err := download(t, srv.URL+"/x", local(secret(t, map[string]string{"token": "tok"})), 1000); err != nil {
		t.Fatal(err)
	}
	if h := <-got; h.Get("Authorization") != "" || h.Get("Referer") != "" {
		t.Errorf("the other server got %v", h)
	}
}

func TestGuardRefusesAddresses(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	_, err := download(t, srv.URL, Options{}, 1000)
	if KindOf(err) != Refused || !strings.Contains(err.Error(), "loopback") || Temporary(err) {
		t.Fatalf("error %v", err)
	}
	for addr, refused := range map[string]bool{
		"127.0.0.1": true, "10.1.2.3": true, "172.16.0.1": true, "192.168.1.1": true, "169.254.169.254": true, "100.100.100.200": true,
		"168.63.129.16": true, "0.0.0.0": true, "224.0.0.1": true, "255.255.255.255": true, "192.0.0.192": true, "::1": true, "::": true,
		"fe80::1": true, "fc00::1": true, "fd00:ec2::254": true, "ff02::1": true, "::ffff:10.0.0.1": true, "::ffff:169.254.169.254": true,
		"64:ff9b::a00:1": true, "2002:a00:1::": true, "::127.0.0.1": true,
		"1.1.1.1": false, "93.184.216.34": false, "2606:4700::1111": false, "::ffff:8.8.8.8": false,
	} {
		if got := refusal(netip.MustParseAddr(addr)) != ""; got != refused {
			t.Errorf("%s: refused %t", addr, got)
		}
	}
}

func TestAllowedHosts(t *testing.T) {
	g := guard{allowed: []string{"videos.lan", "store.lan:9000", "*.corp.example", "10.0.0.5"}}
	for hostPort, want := range map[[2]string]bool{
		{"videos.lan", "80"}: true, {"VIDEOS.LAN.", "443"}: true, {"store.lan", "9000"}: true, {"store.lan", "80"}: false,
		{"a.corp.example", "80"}: true, {"corp.example", "80"}: false, {"evilcorp.example", "80"}: false, {"10.0.0.5", "80"}: true, {"10.0.0.50", "80"}: false,
	} {
		if got := g.allows(hostPort[0], hostPort[1]); got != want {
			t.Errorf("%v: %t", hostPort, got)
		}
	}
}

func TestDownloadStopsWithItsContext(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("x"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer srv.Close()
	s, err := OpenSource(srv.URL, local(""))
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("told to")
	ctx, cancel := context.WithCancelCause(t.Context())
	p := fast()
	p.Idle = time.Hour
	d := Download{Source: s, Policy: p, MaxBytes: 10}
	_, err = d.Run(ctx, writerFunc(func(b []byte) (int, error) { cancel(why); return len(b), nil }))
	if !errors.Is(err, why) {
		t.Fatalf("error %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestDownloadKeepsTheWritersError(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content()) }))
	defer srv.Close()
	s, _ := OpenSource(srv.URL, local(""))
	d := Download{Source: s, Policy: fast(), MaxBytes: 1 << 30}
	if _, err := d.Run(t.Context(), writerFunc(func([]byte) (int, error) { return 0, io.ErrShortWrite })); !errors.Is(err, io.ErrShortWrite) {
		t.Fatalf("error %v", err)
	}
}
