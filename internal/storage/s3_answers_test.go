package storage

import (
	"bytes"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestS3Answers are those of servers that a test cannot bring about for real.
func TestS3Answers(t *testing.T) {
	for _, tc := range []struct {
		name, code, message, region string
		status                      int
		kind                        Kind
		temporary                   bool
		want                        []string
	}{
		{name: "another region", status: 301, code: "PermanentRedirect", message: "elsewhere", region: "eu-central-1", kind: Refused, want: []string{"region eu-central-1", "region us-east-1", "config.store.s3Region"}},
		{name: "another region, signed", status: 400, code: "AuthorizationHeaderMalformed", message: "the region 'us-east-1' is wrong; expecting 'eu-west-3'", kind: Refused, want: []string{"region eu-west-3"}},
		{name: "too fast", status: 503, code: "SlowDown", message: "reduce", kind: Unreachable, temporary: true, want: []string{"503", "fewer requests"}},
		{name: "too many", status: 429, code: "TooManyRequests", kind: Unreachable, temporary: true, want: []string{"429"}},
		{name: "inner error", status: 500, code: "InternalError", kind: Unreachable, temporary: true, want: []string{"500"}},
		{name: "gateway", status: 502, kind: Unreachable, temporary: true, want: []string{"502"}},
		{name: "not implemented", status: 501, code: "NotImplemented", kind: Other, want: []string{"501"}},
		{name: "clock", status: 403, code: "RequestTimeTooSkewed", kind: Other, want: []string{"the clock of this node"}},
		{name: "expired token", status: 400, code: "ExpiredToken", message: "expired", kind: Forbidden, want: []string{"have expired", "Secret"}},
		{name: "wrong secret", status: 403, code: "SignatureDoesNotMatch", kind: Forbidden, want: []string{"not the access key's"}},
		{name: "archived", status: 403, code: "InvalidObjectState", kind: Other, want: []string{"archived"}},
		{name: "no bucket", status: 404, code: "NoSuchBucket", kind: NotFound, want: []string{"no such bucket"}},
		{name: "condition", status: 412, code: "PreconditionFailed", kind: Changed},
		{name: "write at once", status: 409, code: "ConditionalRequestConflict", kind: Changed},
		{name: "no XML", status: 403, code: "", kind: Forbidden, want: []string{"403"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tc.region != "" {
					w.Header().Set("X-Amz-Bucket-Region", tc.region)
				}
				if tc.code == "" {
					w.WriteHeader(tc.status)
					return
				}
				s3Error(w, tc.status, tc.code, tc.message)
			}))
			defer srv.Close()
			sink, _ := hurry(t, "s3://results/x", s3Options(t, srv.URL))
			_, _, err := sink.Open(t.Context(), "a")
			if KindOf(err) != tc.kind || Temporary(err) != tc.temporary {
				t.Errorf("kind %d, temporary %v: %v", KindOf(err), Temporary(err), err)
			}
			for _, w := range append(tc.want, "s3://results/x/a") {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in: %v", w, err)
				}
			}
		})
	}
}

// TestS3LiteralKeys looks at what is asked for.
func TestS3LiteralKeys(t *testing.T) {
	var (
		mu    sync.Mutex
		asked string
	)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked, _, _ = strings.Cut(r.RequestURI, "?")
	}))
	defer srv.Close()
	for uri, want := range map[string]string{
		"s3://results/a//b":       "/results/a//b",
		"s3://results//a/b":       "/results//a/b",
		"s3://results/a%2520b":    "/results/a%2520b",
		"s3://results/a%20b+c":    "/results/a%20b%2Bc",
		"s3://results/%C3%A4/%3F": "/results/%C3%A4/%3F",
		"s3://results/...":        "/results/...",
	} {
		s, err := OpenSource(uri, s3Options(t, srv.URL))
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		_, _ = s.Stat(t.Context())
		mu.Lock()
		if asked != want {
			t.Errorf("%s asks for %s, want %s", uri, asked, want)
		}
		mu.Unlock()
	}
	for _, uri := range []string{"s3://results/a/../b", "s3://results/./b", "s3://results/a/..", "s3://results/%2e%2e/b", "s3://results/a%2F..%2Fb", "s3://results/a%00", "s3://results/a%0Ab", "s3://results/%ff", "s3://results/" + strings.Repeat("a", 1025)} {
		if _, err := OpenSource(uri, s3Options(t, srv.URL)); KindOf(err) != Refused {
			t.Errorf("%s: %v", uri, err)
		}
		if _, err := OpenSink(uri, s3Options(t, srv.URL)); KindOf(err) != Refused {
			t.Errorf("%s as a sink: %v", uri, err)
		}
	}
}

// TestS3TLS has a server whose certificate only the admin's bundle vouches for.
// Bodies are not signed then, which is the SDK's doing and saves a pass over them.
func TestS3TLS(t *testing.T) {
	target, _ := url.Parse(gateway(t, "results"))
	var unsigned atomic.Bool
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		if r.In.Method == http.MethodPut {
			unsigned.Store(r.In.Header.Get("X-Amz-Content-Sha256") == "UNSIGNED-PAYLOAD")
		}
	}}
	srv := httptest.NewTLSServer(proxy)
	defer srv.Close()
	o := s3Options(t, srv.URL)
	sink, err := OpenSink("s3://results/tls", o)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Check(t.Context()); err != nil {
		t.Errorf("a check says what a write alone can tell: %v", err)
	}
	err = sink.Put(t.Context(), object("a", []byte("x")), strings.NewReader("x"))
	if KindOf(err) != Unreachable || Temporary(err) || !strings.Contains(err.Error(), "certificate is not trusted") {
		t.Errorf("error %v", err)
	}
	o.Store.CAPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	if sink, err = OpenSink("s3://results/tls", o); err != nil {
		t.Fatal(err)
	}
	data := large()
	if err := sink.Put(t.Context(), object("large", data), bytes.NewReader(data)); err != nil || !unsigned.Load() {
		t.Fatalf("unsigned %v: %v", unsigned.Load(), err)
	}
	expectLarge(t, sink)
	o.Store.CAPEM = "no certificate"
	if _, err := OpenSink("s3://results/tls", o); err == nil || !strings.Contains(err.Error(), "store.caPEM") {
		t.Errorf("error %v", err)
	}
}

// TestS3EncodedLists has a server that encodes keys as it is asked to. versitygw
// does not.
func TestS3EncodedLists(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("encoding-type") != "url" {
			t.Errorf("asked for %s", r.URL)
		}
		_, _ = w.Write([]byte(`<ListBucketResult><Name>results</Name><EncodingType>url</EncodingType><Contents><Key>x/a+b%2Bc%2520%01</Key><Size>1</Size></Contents></ListBucketResult>`))
	}))
	defer srv.Close()
	sink, _ := hurry(t, "s3://results/x", s3Options(t, srv.URL))
	var got []string
	err := sink.List(t.Context(), "", func(e Entry) error {
		got = append(got, e.Key)
		return nil
	})
	if err != nil || len(got) != 1 || got[0] != "a b+c%20\x01" {
		t.Errorf("%q %v", got, err)
	}
}

// TestS3StrangeLists are of servers that are broken or hostile.
func TestS3StrangeLists(t *testing.T) {
	for name, tc := range map[string]struct{ answer, want string }{
		"another folder":    {`<ListBucketResult><Contents><Key>other/a</Key></Contents></ListBucketResult>`, "another folder"},
		"for ever":          {`<ListBucketResult><Name>results</Name><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken></ListBucketResult>`, "again and again"},
		"an unreadable key": {`<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>results/%zz</Key></Contents></ListBucketResult>`, "cannot be read"},
		"no XML":            {`{"a": 1}`, "no listing"},
		"a page":            {`<html><body>Log in</body></html>`, "no listing"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tc.answer)) }))
		sink, _ := hurry(t, "s3://results/x", s3Options(t, srv.URL))
		err := sink.List(t.Context(), "", func(Entry) error { return nil })
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
		srv.Close()
	}
}
