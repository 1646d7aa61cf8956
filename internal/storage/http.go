package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxRedirects bounds how often a server may send us on.
const maxRedirects = 5

type httpSource struct {
	client *http.Client
	target *url.URL // may carry a signature: never shown
	place  string
	header http.Header
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
	// A video is compressed already, and offsets must count its own bytes.
	transport.DisableCompression = true
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
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.target.String(), nil)
	if err != nil {
		return nil, Info{}, &Error{Place: s.place, Cause: "it cannot be asked for"}
	}
	for k, v := range s.header {
		r.Header[k] = v
	}
	r.Header.Set("User-Agent", "pose-runner")
	if offset > 0 || length >= 0 {
		last := ""
		if length >= 0 {
			last = strconv.FormatInt(offset+length-1, 10)
		}
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%s", offset, last))
		if isStrongETag(version) {
			r.Header.Set("If-Range", version)
		}
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, Info{}, classify(s.place, err)
	}
	body, info, err := readResponse(resp, offset, version)
	if err != nil {
		resp.Body.Close()
		return nil, Info{}, classify(s.place, err)
	}
	return &classifyingReader{body, s.place}, info, nil
}

func (s *httpSource) Stat(context.Context) (Info, error) {
	return Info{}, errors.New("TODO")
}

// readResponse checks that resp holds the content from offset on, and skips to
// it when the server ignored the range.
func readResponse(resp *http.Response, offset int64, version string) (io.ReadCloser, Info, error) {
	info := Info{Size: resp.ContentLength, Version: versionOf(resp.Header)}
	start := int64(0)
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusPartialContent:
		var err error
		if start, info.Size, err = parseContentRange(resp.Header.Get("Content-Range")); err != nil || start > offset {
			return nil, info, &Error{Cause: "the server answered with another range than asked for"}
		}
	default:
		return nil, info, statusError(resp.StatusCode)
	}
	if version != "" && info.Version != version {
		return nil, info, &Error{Kind: Changed, Cause: "the object changed while it was read"}
	}
	if skip := offset - start; skip > 0 {
		if _, err := io.CopyN(io.Discard, resp.Body, skip); err != nil {
			return nil, info, err
		}
	}
	return resp.Body, info, nil
}

// versionOf gives the ETag, or else the date of the last change.
func versionOf(h http.Header) string {
	if tag := h.Get("ETag"); tag != "" {
		return tag
	}
	return h.Get("Last-Modified")
}

func isStrongETag(v string) bool { return strings.HasPrefix(v, `"`) }

// parseContentRange reads "bytes 5-9/10"; the size is -1 for "bytes 5-9/*".
func parseContentRange(s string) (start, size int64, err error) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return 0, 0, errors.New("no byte range")
	}
	span, total, ok := strings.Cut(rest, "/")
	first, _, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 {
		return 0, 0, errors.New("no byte range")
	}
	if start, err = strconv.ParseInt(first, 10, 64); err != nil {
		return 0, 0, err
	}
	if total == "*" {
		return start, -1, nil
	}
	size, err = strconv.ParseInt(total, 10, 64)
	return start, size, err
}

type statusError int

func (s statusError) Error() string {
	return fmt.Sprintf("the server answered %d %s", int(s), http.StatusText(int(s)))
}
func (s statusError) HTTPStatusCode() int { return int(s) }

func (s *httpSource) String() string { return s.place }

func (s *httpSource) Close() error {
	s.client.CloseIdleConnections()
	return nil
}
