package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pose-dev/pose-operator/internal/storetest"
)

// between puts a proxy before a server that answers by itself when handle says so.
func between(t *testing.T, endpoint string, handle func(http.ResponseWriter, *http.Request) bool) *httptest.Server {
	t.Helper()
	target, _ := url.Parse(endpoint)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !handle(w, r) {
			proxy.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // else the client may see the connection break instead of the answer
	}))
	t.Cleanup(srv.Close)
	return srv
}

// hurry opens a sink that waits shortly between its tries.
func hurry(t *testing.T, uri string, o Options) (Sink, store) {
	t.Helper()
	sink, err := OpenSink(uri, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	p := Policy{Idle: 10 * time.Second, FirstDelay: time.Millisecond, MaxDelay: time.Millisecond, Tries: 4}
	s := sink.(*objectSink).store
	switch s := s.(type) {
	case *s3Store:
		s.upload.policy = p
	case *gcsStore:
		s.policy = p
	case *azureStore:
		s.policy = p
	}
	return sink, s
}

func putLarge(ctx context.Context, sink Sink) error {
	data := large()
	return sink.Put(ctx, object("large", data), bytes.NewReader(data))
}

func expectLarge(t *testing.T, sink Sink) {
	t.Helper()
	if got, info, err := sink.Get(t.Context(), "large", 1<<30); err != nil || !bytes.Equal(got, large()) || info.SHA256 != object("", large()).SHA256 {
		t.Errorf("%d bytes came back, %+v, %v", len(got), info, err)
	}
}

// uploads counts what was begun and neither completed nor aborted.
func uploads(t *testing.T, s store) int {
	t.Helper()
	out, err := s.(*s3Store).client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String("results")})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.Uploads)
}

func isPart(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.Query().Has("partNumber")
}

func isComplete(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

func s3Error(w http.ResponseWriter, code int, name, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(code)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", name, message)
}

// TestS3BrokenParts breaks each part of an upload once, in another way each time:
// that part alone is sent again.
func TestS3BrokenParts(t *testing.T) {
	endpoint := gateway(t, "results")
	var (
		mu   sync.Mutex
		seen = map[string]int{}
	)
	srv := between(t, endpoint, func(w http.ResponseWriter, r *http.Request) bool {
		if !isPart(r) {
			return false
		}
		number := r.URL.Query().Get("partNumber")
		mu.Lock()
		seen[number]++
		first := seen[number] == 1
		mu.Unlock()
		switch {
		case !first:
			return false
		case number == "1":
			s3Error(w, http.StatusServiceUnavailable, "SlowDown", "wait")
		case number == "2":
			_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
			panic(http.ErrAbortHandler) // in its midst
		default: // it arrived, and the answer does not
			_, _ = io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		}
		return true
	})
	sink, s := hurry(t, "s3://results/a", s3Options(t, srv.URL))
	if err := putLarge(t.Context(), sink); err != nil {
		t.Fatal(err)
	}
	expectLarge(t, sink)
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 3 || seen["1"] != 2 || seen["2"] != 2 || seen["3"] != 2 || uploads(t, s) != 0 {
		t.Errorf("parts were sent so often: %v; uploads left: %d", seen, uploads(t, s))
	}
}

// TestS3FailedUploads fail for good, and leave no parts on the server.
func TestS3FailedUploads(t *testing.T) {
	endpoint := gateway(t, "results")
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		kind   Kind
		passes bool
	}{
		"a part is forbidden": {func(w http.ResponseWriter, r *http.Request) bool {
			if isPart(r) {
				s3Error(w, http.StatusForbidden, "AccessDenied", "no")
			}
			return isPart(r)
		}, Forbidden, false},
		"a part fails for ever": {func(w http.ResponseWriter, r *http.Request) bool {
			if isPart(r) && r.URL.Query().Get("partNumber") == "2" {
				w.WriteHeader(http.StatusInternalServerError)
				return true
			}
			return false
		}, Unreachable, true},
		"it is not completed": {func(w http.ResponseWriter, r *http.Request) bool {
			if isComplete(r) {
				s3Error(w, http.StatusBadRequest, "InvalidPart", "no")
			}
			return isComplete(r)
		}, Other, false},
		"the answer to its completion is an error in spite of its status": {func(w http.ResponseWriter, r *http.Request) bool {
			if isComplete(r) {
				s3Error(w, http.StatusOK, "InternalError", "again")
			}
			return isComplete(r)
		}, Unreachable, true},
		"the server has forgotten it": {func(w http.ResponseWriter, r *http.Request) bool {
			if isPart(r) {
				s3Error(w, http.StatusNotFound, "NoSuchUpload", "what")
			}
			return isPart(r)
		}, Unreachable, true},
	} {
		t.Run(name, func(t *testing.T) {
			sink, s := hurry(t, "s3://results/b", s3Options(t, between(t, endpoint, tc.answer).URL))
			err := putLarge(t.Context(), sink)
			if KindOf(err) != tc.kind || Temporary(err) != tc.passes {
				t.Errorf("kind %d, temporary %v: %v", KindOf(err), Temporary(err), err)
			}
			if n := uploads(t, s); n != 0 {
				t.Errorf("%d uploads are left on the server", n)
			}
			if _, err := sink.Stat(t.Context(), "large"); KindOf(err) != NotFound {
				t.Errorf("something is there: %v", err)
			}
		})
	}
}

// TestS3LostAnswer completes an upload whose answer never comes: the object is
// there all the same, also under a condition that it breaks itself.
func TestS3LostAnswer(t *testing.T) {
	endpoint := gateway(t, "results")
	var lost atomic.Int32
	srv := between(t, endpoint, func(w http.ResponseWriter, r *http.Request) bool {
		if !isComplete(r) {
			return false
		}
		if lost.Add(1) > 1 {
			s3Error(w, http.StatusNotFound, "NoSuchUpload", "what")
			return true
		}
		r2 := r.Clone(r.Context())
		r2.URL, _ = url.Parse(endpoint + r.URL.RequestURI())
		r2.RequestURI = ""
		if resp, err := http.DefaultTransport.RoundTrip(r2); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		panic(http.ErrAbortHandler)
	})
	sink, _ := hurry(t, "s3://results/c", s3Options(t, srv.URL))
	data := large()
	o := object("large", data)
	o.If.Absent = true
	if err := sink.Put(t.Context(), o, bytes.NewReader(data)); err != nil || lost.Load() < 2 {
		t.Fatalf("after %d completions: %v", lost.Load(), err)
	}
	expectLarge(t, sink)
}

// TestS3OldServers know neither checksums nor conditions.
func TestS3OldServers(t *testing.T) {
	endpoint := gateway(t, "results")
	refused := 0
	srv := between(t, endpoint, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("X-Amz-Checksum-Crc32c") != "" || r.Header.Get("X-Amz-Checksum-Algorithm") != "" {
			refused++
			s3Error(w, http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented")
			return true
		}
		return false
	})
	sink, _ := hurry(t, "s3://results/d", s3Options(t, srv.URL))
	if err := putLarge(t.Context(), sink); err != nil || refused != 1 {
		t.Fatalf("after %d refusals: %v", refused, err)
	}
	expectLarge(t, sink)
	small, _ := hurry(t, "s3://results/d", s3Options(t, srv.URL))
	if err := small.Put(t.Context(), object("small", []byte("x")), strings.NewReader("x")); err != nil || refused != 2 {
		t.Errorf("after %d refusals: %v", refused, err)
	}

	// A condition that is ignored is found by the look before the write. Here the
	// server is asked without a signature of those headers, so they can be left out.
	deaf := between(t, endpoint, func(_ http.ResponseWriter, r *http.Request) bool {
		r.Header.Del("If-None-Match")
		r.Header.Del("If-Match")
		return false
	})
	sink, _ = hurry(t, "s3://results/d", s3Options(t, deaf.URL))
	for _, c := range []Condition{{Absent: true}, {Version: `"0123"`}} {
		o := object("small", []byte("y"))
		o.If = c
		if err := sink.Put(t.Context(), o, strings.NewReader("y")); KindOf(err) != Changed {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestS3Leftovers are of containers that were killed.
func TestS3Leftovers(t *testing.T) {
	sink, s := hurry(t, "s3://results/e", s3Options(t, gateway(t, "results")))
	begin := func(keys ...string) {
		for _, k := range keys {
			if _, err := s.(*s3Store).client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String("results"), Key: aws.String(k)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	begin("e/large", "e/larger", "e/attempts/1-1/a", "e/attempts/1-2/b", "e/attempts/2-1/c", "elsewhere")
	if err := putLarge(t.Context(), sink); err != nil || uploads(t, s) != 5 {
		t.Errorf("%d uploads are left of 5: %v", uploads(t, s), err)
	}
	if n, err := AbortUploads(t.Context(), sink, "attempts/1-", time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("%d uploads of the last hour were aborted: %v", n, err)
	}
	if n, err := AbortUploads(t.Context(), sink, "attempts/1-", time.Time{}); n != 2 || err != nil || uploads(t, s) != 3 {
		t.Errorf("%d uploads were aborted, %d are left: %v", n, uploads(t, s), err)
	}
	if n, err := AbortUploads(t.Context(), sink, "", time.Time{}); n != 2 || err != nil || uploads(t, s) != 1 {
		t.Errorf("%d uploads were aborted, %d are left: %v", n, uploads(t, s), err)
	}
}

// TestS3ServerDies in the midst of an upload.
func TestS3ServerDies(t *testing.T) {
	server := storetest.S3(t, "results")
	var parts atomic.Int32
	srv := between(t, server.Endpoint, func(_ http.ResponseWriter, r *http.Request) bool {
		if isPart(r) && parts.Add(1) == 2 {
			server.Stop()
		}
		return false
	})
	sink, _ := hurry(t, "s3://results/f", s3Options(t, srv.URL))
	if err := putLarge(t.Context(), sink); KindOf(err) != Unreachable || !Temporary(err) {
		t.Errorf("error %v", err)
	}
}

// TestUploadStandsStill at a server that takes a connection and nothing more.
func TestUploadStandsStill(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer srv.Close()
	defer close(hang)
	sink, s := hurry(t, "s3://results/g", s3Options(t, srv.URL))
	s.(*s3Store).upload.policy.Idle = 50 * time.Millisecond
	err := sink.Put(t.Context(), object("a", content()), bytes.NewReader(content()))
	if KindOf(err) != Unreachable || !Temporary(err) || !strings.Contains(err.Error(), "stood still") {
		t.Errorf("error %v", err)
	}
}

func TestPlanParts(t *testing.T) {
	for _, size := range []int64{partSize + 1, 100 << 20, 1 << 30, partSize * maxParts, partSize*maxParts + 1, 1 << 40, maxObject} {
		part, workers, err := planParts(size)
		if err != nil || (size+part-1)/part > maxParts || workers < 1 || workers > 1 && part*int64(workers) > maxPartMemory {
			t.Errorf("%d bytes: %d parts of %d by %d: %v", size, (size+part-1)/part, part, workers, err)
		}
	}
	if _, _, err := planParts(maxObject + 1); err == nil {
		t.Error("more than the largest object was planned")
	}
}

// TestPartsEndEarly keeps the first error, and reads no further than it must.
func TestPartsEndEarly(t *testing.T) {
	read := 0
	body := readerFunc(func(p []byte) (int, error) {
		read += len(p)
		return len(p), nil
	})
	broken := &Error{Kind: Forbidden, Cause: "no"}
	err := sendPartsOf(t.Context(), body, 1<<40, 1<<10, 3, DefaultPolicy(), func(_ context.Context, p uploadPart) error {
		if p.number == 5 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) || read > 1<<20 {
		t.Errorf("%d bytes were read: %v", read, err)
	}
}

// TestBodyEndsWithItsTry has a server that answers before it has read: what the
// transport still sends then must not be read out of a buffer that is used again.
func TestBodyEndsWithItsTry(t *testing.T) {
	var body *outgoing
	_ = watched(t.Context(), DefaultPolicy(), func(ctx context.Context) error {
		body = newOutgoing(ctx, []byte("hello"))
		if n, err := body.Read(make([]byte, 2)); n != 2 || err != nil {
			t.Errorf("%d %v", n, err)
		}
		return nil
	})
	if n, err := body.Read(make([]byte, 2)); n != 0 || err == nil {
		t.Errorf("%d bytes were read after the try: %v", n, err)
	}
}
