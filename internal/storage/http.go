package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

// maxRedirects bounds how often a server may send us on.
const maxRedirects = 5

type httpSource struct {
	client *http.Client
	target *url.URL // may carry a signature: never shown
	place  string
	header http.Header
	led    atomic.Pointer[url.URL] // where redirects led; as target
}

func openHTTP(u *url.URL, o Options) (Source, error) {
	place := u.String()
	target, header, err := httpCredentials(u, o.CredentialsDir)
	if err != nil {
		return nil, classify(place, err)
	}
	transport, err := newTransport(o.Store.CAPEM, &guard{allowed: o.Store.HTTPAllowedHosts})
	if err != nil {
		return nil, classify(place, err)
	}
	transport.DisableCompression = true // nothing is decoded on the way
	s := &httpSource{target: target, place: place, header: header}
	s.client = &http.Client{Transport: transport, CheckRedirect: checkRedirect}
	return s, nil
}

// httpCredentials gives the URL to ask for and the headers to ask with.
func httpCredentials(u *url.URL, dir string) (*url.URL, http.Header, error) {
	c, err := secretKeys(dir, fileUsername, filePassword, fileToken, fileURL)
	if err != nil {
		return nil, nil, err
	}
	header := http.Header{}
	switch {
	case c[fileToken] != "":
		header.Set("Authorization", "Bearer "+c[fileToken])
	case c[fileUsername] != "":
		r := http.Request{Header: header}
		r.SetBasicAuth(c[fileUsername], c[filePassword])
	}
	if c[fileURL] == "" {
		return u, header, nil
	}
	signed, err := url.Parse(c[fileURL])
	if err != nil || signed.User != nil {
		return nil, nil, &Error{Kind: Forbidden, Cause: "key url of the location's Secret is not a URL without userinfo"}
	}
	if signed.Scheme != u.Scheme || !strings.EqualFold(signed.Host, u.Host) {
		return nil, nil, &Error{Kind: Forbidden, Cause: fmt.Sprintf("key url of the location's Secret leads to another scheme or host than %s://%s", u.Scheme, u.Host)}
	}
	return signed, header, nil
}

// checkRedirect bounds redirects and keeps credentials at their own host. The
// new address is checked when it is dialled.
func checkRedirect(r *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) > maxRedirects:
		return &Error{Kind: Refused, Cause: fmt.Sprintf("the server redirects more than %d times", maxRedirects)}
	case r.URL.Scheme != "http" && r.URL.Scheme != "https":
		return &Error{Kind: Refused, Cause: "the server redirects to another protocol than http and https"}
	case first.URL.Scheme == "https" && r.URL.Scheme != "https":
		return &Error{Kind: Refused, Cause: "the server redirects from https to http"}
	}
	if r.URL.Scheme != first.URL.Scheme || r.URL.Host != first.URL.Host {
		r.Header.Del("Authorization")
	}
	r.Header.Del("Referer") // it would carry a signed URL on
	return nil
}

func (s *httpSource) Open(ctx context.Context, offset, length int64, version string) (io.ReadCloser, Info, error) {
	header := http.Header{}
	if offset > 0 || length >= 0 {
		last := ""
		if length >= 0 {
			last = strconv.FormatInt(offset+max(length, 1)-1, 10)
		}
		header.Set("Range", fmt.Sprintf("bytes=%d-%s", offset, last))
		if isStrongETag(version) {
			header.Set("If-Range", version)
		}
	}
	resp, err := s.do(ctx, http.MethodGet, header)
	if err != nil {
		return nil, Info{}, classify(s.place, err)
	}
	body, info, err := s.read(ctx, resp, offset, length, version)
	if err != nil {
		resp.Body.Close()
		return nil, Info{}, classify(s.place, err)
	}
	return body, info, nil
}

// Stat asks for the head alone. Servers that give none, and signatures that are
// good for GET only, are asked for one byte.
func (s *httpSource) Stat(ctx context.Context) (Info, error) {
	resp, err := s.do(ctx, http.MethodHead, nil)
	if err != nil {
		return Info{}, classify(s.place, err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK && resp.ContentLength >= 0 {
		return Info{Size: resp.ContentLength, Version: versionOf(resp.Header)}, classify(s.place, s.encoding(resp))
	}
	if resp, err = s.do(ctx, http.MethodGet, http.Header{"Range": {"bytes=0-0"}}); err != nil {
		return Info{}, classify(s.place, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && resp.Header.Get("Content-Range") == "bytes */0" {
		return Info{Version: versionOf(resp.Header)}, nil
	}
	_, info, err := s.read(ctx, resp, 0, 1, "")
	return info, classify(s.place, err)
}

// do makes one request. Where a redirect led before is asked at first: the parts
// of one transfer come from one of a site's mirrors, and without a detour each.
func (s *httpSource) do(ctx context.Context, method string, header http.Header) (*http.Response, error) {
	if at := s.led.Load(); at != nil {
		resp, err := s.ask(ctx, method, at, header)
		if err == nil && (resp.StatusCode < 400 || resp.StatusCode == http.StatusRequestedRangeNotSatisfiable) {
			return resp, nil
		}
		// It may have been good for a while only.
		s.led.CompareAndSwap(at, nil)
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
	}
	resp, err := s.ask(ctx, method, s.target, header)
	if err == nil && resp.StatusCode < 300 && resp.Request.URL.String() != s.target.String() {
		s.led.Store(resp.Request.URL)
	}
	return resp, err
}

func (s *httpSource) ask(ctx context.Context, method string, at *url.URL, header http.Header) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return nil, &Error{Cause: "it cannot be asked for"}
	}
	if at.Scheme == s.target.Scheme && at.Host == s.target.Host {
		maps.Copy(r.Header, s.header)
	}
	maps.Copy(r.Header, header)
	r.Header.Set("User-Agent", "pose-runner")
	// A video is compressed already, and offsets must count its own bytes.
	r.Header.Set("Accept-Encoding", "identity")
	return s.client.Do(r)
}

// read checks that resp holds length bytes from offset on, and skips to them when
// the server ignored the range.
func (s *httpSource) read(ctx context.Context, resp *http.Response, offset, length int64, version string) (io.ReadCloser, Info, error) {
	info := Info{Size: resp.ContentLength, Version: versionOf(resp.Header)}
	body := &httpBody{ReadCloser: resp.Body, place: s.place}
	switch resp.StatusCode {
	case http.StatusOK:
		body.all = true
	case http.StatusPartialContent:
		span, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil || span.first != offset || length >= 0 && span.last >= offset+max(length, 1) {
			return nil, info, &Error{Cause: "the server answered with another range than asked for"}
		}
		if resp.ContentLength >= 0 && resp.ContentLength != span.last-span.first+1 {
			return nil, info, &Error{Cause: "the server answered with a range and another length"}
		}
		info.Size = span.size
	default:
		return nil, info, statusError{resp.StatusCode, retryAfter(resp.Header)}
	}
	if err := s.encoding(resp); err != nil {
		return nil, info, err
	}
	if version != "" && info.Version != version {
		return nil, info, &Error{Kind: Changed, Cause: "the object changed while it was read"}
	}
	if body.all && offset > 0 {
		if err := skip(ctx, body, offset); err != nil {
			return nil, info, err
		}
	}
	return body, info, nil
}

// skip throws n bytes away.
func skip(ctx context.Context, r io.Reader, n int64) error {
	buf := make([]byte, min(n, 64<<10))
	for n > 0 {
		k, err := r.Read(buf[:min(n, int64(len(buf)))])
		if n -= int64(k); err != nil && n > 0 {
			return err
		}
		alive(ctx)
	}
	return nil
}

// encoding refuses bytes that are not those of the file. Some servers call a .gz
// itself encoded.
func (s *httpSource) encoding(resp *http.Response) error {
	switch e := strings.ToLower(strings.Join(resp.Header.Values("Content-Encoding"), ", ")); e {
	case "", "identity":
		return nil
	case "gzip", "x-gzip":
		if ext := path.Ext(s.target.Path); ext == ".gz" || ext == ".tgz" {
			return nil
		}
		fallthrough
	default:
		return &Error{Cause: fmt.Sprintf("the server sends it with the Content-Encoding %s, although it was asked for the file as it is", clean.Line(e, 64))}
	}
}

// httpBody is the body of an answer.
type httpBody struct {
	io.ReadCloser
	place string
	// all says that the server ignored the range.
	all bool
}

func (b *httpBody) whole() bool { return b.all }

func (b *httpBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = classify(b.place, err)
	}
	return n, err
}

// maxVersion bounds what a server may give as a version.
const maxVersion = 256

// versionOf gives the strong ETag, or else the date of the last change: bytes
// under one weak ETag need not be the same.
func versionOf(h http.Header) string {
	v := h.Get("ETag")
	if !isStrongETag(v) {
		v = h.Get("Last-Modified")
	}
	if v != clean.Line(v, maxVersion) {
		return ""
	}
	return v
}

func isStrongETag(v string) bool { return strings.HasPrefix(v, `"`) }

// contentRange is what part of a file an answer holds; size is -1 where it is not
// told.
type contentRange struct{ first, last, size int64 }

// parseContentRange reads "bytes 5-9/10" and "bytes 5-9/*".
func parseContentRange(s string) (contentRange, error) {
	c := contentRange{size: -1}
	bad := fmt.Errorf("%q is no range of bytes", s)
	rest, isBytes := strings.CutPrefix(s, "bytes ")
	span, total, hasTotal := strings.Cut(rest, "/")
	first, last, hasLast := strings.Cut(span, "-")
	if !isBytes || !hasTotal || !hasLast {
		return c, bad
	}
	var err1, err2, err3 error
	c.first, err1 = strconv.ParseInt(first, 10, 64)
	c.last, err2 = strconv.ParseInt(last, 10, 64)
	if total != "*" {
		c.size, err3 = strconv.ParseInt(total, 10, 64)
	}
	if err1 != nil || err2 != nil || err3 != nil || c.first < 0 || c.last < c.first || total != "*" && c.last >= c.size {
		return c, bad
	}
	return c, nil
}

// statusError is an answer other than the object.
type statusError struct {
	code  int
	after time.Duration
}

func (s statusError) Error() string {
	return fmt.Sprintf("the server answered %d %s", s.code, http.StatusText(s.code))
}
func (s statusError) HTTPStatusCode() int       { return s.code }
func (s statusError) RetryAfter() time.Duration { return s.after }

// retryAfter is how long a server asks to be left alone, 0 where it does not.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(max(seconds, 0), 1<<20)) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

func (s *httpSource) String() string { return s.place }

func (s *httpSource) Close() error {
	s.client.CloseIdleConnections()
	return nil
}
