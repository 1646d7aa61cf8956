package storage

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/storetest"
)

// gateway starts a real S3 server and gives its URL.
func gateway(t *testing.T, buckets ...string) string {
	t.Helper()
	return storetest.S3(t, buckets...).Endpoint
}

func s3Options(t *testing.T, endpoint string) Options {
	return Options{
		Store:          report.StoreConfig{S3Endpoint: endpoint, S3Region: "us-east-1", S3PathStyle: true},
		CredentialsDir: secret(t, map[string]string{"AWS_ACCESS_KEY_ID": storetest.AccessKey, "AWS_SECRET_ACCESS_KEY": storetest.SecretKey + "\n"}),
	}
}

func put(t *testing.T, o Options, uri, key string, data []byte) {
	t.Helper()
	sink, err := OpenSink(uri, o)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	sum := sha256.Sum256(data)
	object := Object{Key: key, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), MediaType: "video/mp4"}
	if err := sink.Put(t.Context(), object, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	info, err := sink.Stat(t.Context(), key)
	if err != nil || info.Size != object.Size || info.SHA256 != object.SHA256 {
		t.Fatalf("%+v %v", info, err)
	}
}

func TestS3(t *testing.T) {
	o := s3Options(t, gateway(t, "videos"))
	small, large := []byte("hello"), bytes.Repeat(content(), 12) // two parts and a rest
	put(t, o, "s3://videos/in", "a.txt", small)
	put(t, o, "s3://videos/in", "large.mp4", large)
	for key, want := range map[string][]byte{"a.txt": small, "large.mp4": large} {
		if got, err := download(t, "s3://videos/in/"+key, o, 1<<30); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", key, len(got), err)
		}
	}
	sink, _ := OpenSink("s3://videos/in", o)
	if b, _, err := sink.Get(t.Context(), "a.txt", 100); err != nil || string(b) != "hello" {
		t.Errorf("%q %v", b, err)
	}
	if _, _, err := sink.Get(t.Context(), "none", 100); KindOf(err) != NotFound {
		t.Errorf("error %v", err)
	}
	// A broken-off upload leaves nothing.
	err := sink.Put(t.Context(), Object{Key: "broken", Size: 9}, strings.NewReader("hello"))
	if _, serr := sink.Stat(t.Context(), "broken"); err == nil || KindOf(serr) != NotFound {
		t.Errorf("put: %v, stat: %v", err, serr)
	}
}

func TestS3Errors(t *testing.T) {
	endpoint := gateway(t, "videos")
	good := s3Options(t, endpoint)
	put(t, good, "s3://videos", "a.txt", []byte("hello"))
	wrong, half, none, other, down := good, good, good, good, good
	other.CredentialsDir = secret(t, map[string]string{"user": "admin", "pass": "hunter2"})
	wrong.CredentialsDir = secret(t, map[string]string{"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "hunter2"})
	half.CredentialsDir = secret(t, map[string]string{"AWS_ACCESS_KEY_ID": "admin"})
	none.CredentialsDir = t.TempDir()
	down.Store.S3Endpoint = "http://127.0.0.1:1"
	for _, tc := range []struct {
		uri  string
		o    Options
		kind Kind
		want string
	}{
		{"s3://videos/none.mp4", good, NotFound, "check the URI"},
		{"s3://no-such-bucket/a.txt", good, NotFound, "check the URI"},
		{"s3://videos/a.txt", wrong, Forbidden, "Secret"},
		{"s3://videos/a.txt", half, Forbidden, "needs both keys"},
		{"s3://videos/a.txt", none, Forbidden, "Secret"},
		{"s3://videos/a.txt", other, Forbidden, "none of the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; it has pass, user"},
		{"s3://videos/a.txt", down, Unreachable, "connection refused"},
		{"s3://Bad_Bucket/a.txt", good, Refused, "not a bucket's name"},
		{"s3://videos/", good, Refused, "names no file"},
	} {
		_, err := download(t, tc.uri, tc.o, 1000)
		if err == nil || KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: kind %d, error %v", tc.uri, KindOf(err), err)
		}
	}
}

// TestS3Resumes puts a proxy that breaks connections off before the server.
func TestS3Resumes(t *testing.T) {
	endpoint := gateway(t, "videos")
	data := bytes.Repeat(content(), 4)
	put(t, s3Options(t, endpoint), "s3://videos", "v.mp4", data)
	target, _ := url.Parse(endpoint)
	var broken atomic.Int32
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Request.Method == http.MethodGet && broken.Add(1) <= 3 {
			r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, 700<<10), failingReader{}))
		}
		return nil
	}
	srv := httptest.NewServer(proxy)
	defer srv.Close()
	got, err := download(t, "s3://videos/v.mp4", s3Options(t, srv.URL), 1<<30)
	if err != nil || !bytes.Equal(got, data) || broken.Load() < 4 {
		t.Fatalf("%d bytes in %d connections: %v", len(got), broken.Load(), err)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, fmt.Errorf("broken off on purpose") }
