package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// googleEndpoint serves Google Cloud Storage's JSON API.
const googleEndpoint = "https://storage.googleapis.com"

// maxAnswer bounds one answer that is no object, in bytes: a page of a listing.
const maxAnswer = 16 << 20

// gcsBucketName is Google's rule, without the bounds of its parts.
var gcsBucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`)

// gcsStore speaks the JSON API of Google Cloud Storage. Google's own client would
// more than double this program, for its gRPC that we have no use for, looks for
// credentials in places of its own, and hides how an upload is resumed.
type gcsStore struct {
	client *http.Client
	base   string // without a slash at its end
	bucket string
	tokens *tokens // nil for anonymous requests
	access access
	policy Policy
	idle   func()
}

func newGCS(bucket string, o Options) (store, error) {
	if !gcsBucketName.MatchString(bucket) {
		return nil, &Error{Kind: Refused, Cause: fmt.Sprintf("%q is not a bucket's name", bucket)}
	}
	transport, err := newTransport(o.Store.CAPEM, nil)
	if err != nil {
		return nil, err
	}
	// Offsets count the bytes that are stored.
	transport.DisableCompression = true
	client := &http.Client{Transport: transport, CheckRedirect: noRedirect}
	t, acc, err := gcsCredentials(o, &http.Client{Transport: transport, CheckRedirect: noRedirect, Timeout: identityTime})
	if err != nil {
		return nil, err
	}
	base := strings.TrimRight(o.Store.GCSEndpoint, "/")
	if base == "" {
		base = googleEndpoint
	}
	return &gcsStore{client: client, base: base, bucket: bucket, tokens: t, access: acc, policy: DefaultPolicy(), idle: transport.CloseIdleConnections}, nil
}

// objectURL is that of one object, "" for all.
func (s *gcsStore) objectURL(key string, query url.Values) string {
	u := s.base + "/storage/v1/b/" + url.PathEscape(s.bucket) + "/o"
	if key != "" {
		u += "/" + url.PathEscape(key)
	}
	return u + "?" + query.Encode()
}

// do sends a request. An answer that is not among good is an error, and closed.
func (s *gcsStore) do(ctx context.Context, method, target string, header http.Header, data []byte, good ...int) (*http.Response, error) {
	for again := false; ; again = true {
		resp, value, err := s.ask(ctx, method, target, header, data)
		if err != nil {
			return nil, s.failure(err)
		}
		if slices.Contains(good, resp.StatusCode) {
			return resp, nil
		}
		err = googleError(resp)
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized || s.tokens == nil || again {
			return nil, s.failure(err)
		}
		s.tokens.forget(value) // revoked, perhaps, and the next one good
	}
}

// ask sends a request once, and gives the token that it went with.
func (s *gcsStore) ask(ctx context.Context, method, target string, header http.Header, data []byte) (*http.Response, string, error) {
	var body io.Reader // none, for no data: the length is 0 then and no guess
	if len(data) > 0 {
		body = newOutgoing(ctx, data)
	}
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, "", &Error{Cause: "it cannot be asked for"}
	}
	for k, v := range header {
		r.Header[k] = v
	}
	r.ContentLength = int64(len(data))
	r.Header.Set("User-Agent", "pose-runner")
	var t token
	if s.tokens != nil {
		if t, err = s.tokens.get(ctx); err != nil {
			return nil, "", err
		}
		r.Header.Set("Authorization", "Bearer "+t.value)
	}
	resp, err := s.client.Do(r)
	return resp, t.value, withoutURL(err)
}

func (s *gcsStore) failure(err error) error { return s.access.explain(classify("", err)) }

// googleError reads an error of Google's APIs.
func googleError(resp *http.Response) error {
	var answer struct {
		Error struct {
			Errors []struct {
				Reason string `json:"reason"`
			} `json:"errors"`
		} `json:"error"`
	}
	e := apiError{statusError{resp.StatusCode, retryAfter(resp.Header)}, ""}
	if b, err := io.ReadAll(io.LimitReader(resp.Body, maxToken)); err == nil && json.Unmarshal(b, &answer) == nil && len(answer.Error.Errors) > 0 {
		e.reason = word(answer.Error.Errors[0].Reason)
	}
	return e
}

// answerJSON reads and closes an answer.
func answerJSON(resp *http.Response, v any) error {
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return err
	}
	if len(b) > maxAnswer || json.Unmarshal(b, v) != nil {
		return &Error{Cause: "the server's answer cannot be read"}
	}
	return nil
}

// gcsObject is what the API says of an object. Numbers of 64 bits are strings.
type gcsObject struct {
	Name       string            `json:"name"`
	Size       int64             `json:"size,string"`
	Generation string            `json:"generation"`
	Updated    time.Time         `json:"updated"`
	CRC32C     string            `json:"crc32c"`
	Metadata   map[string]string `json:"metadata"`
}

func (o gcsObject) info() Info {
	return Info{Size: o.Size, Version: o.Generation, SHA256: o.Metadata[metaSHA256]}
}

func (s *gcsStore) stat(ctx context.Context, key string) (Info, error) {
	resp, err := s.do(ctx, http.MethodGet, s.objectURL(key, url.Values{"fields": {"size,generation,metadata"}}), nil, nil, http.StatusOK)
	if err != nil {
		return Info{}, err
	}
	var o gcsObject
	err = answerJSON(resp, &o)
	return o.info(), err
}

func (s *gcsStore) open(ctx context.Context, key string, offset, length int64, version string) (io.ReadCloser, Info, error) {
	var known Info
	if offset == 0 && length < 0 && version == "" {
		// The digest is told with the object's description alone.
		var err error
		if known, err = s.stat(ctx, key); err != nil {
			return nil, Info{}, err
		}
		version = known.Version
	}
	query, header := url.Values{"alt": {"media"}}, http.Header{"Accept-Encoding": {"gzip"}} // as stored, also what is stored compressed
	if version != "" {
		query.Set("ifGenerationMatch", version)
	}
	if r := byteRange(offset, length); r != nil {
		header.Set("Range", *r)
	}
	resp, err := s.do(ctx, http.MethodGet, s.objectURL(key, query), header, nil, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return nil, Info{}, s.staleVersion(err, version)
	}
	info := Info{Size: resp.ContentLength, Version: resp.Header.Get("X-Goog-Generation"), SHA256: known.SHA256}
	if info.Version == "" {
		info.Version = version // which the server was asked to make sure of
	}
	body, err := fromOffset(ctx, resp.Body, resp.Header.Get("Content-Range"), offset, length, &info)
	if err != nil {
		resp.Body.Close()
		return nil, Info{}, err
	}
	return body, info, nil
}

// staleVersion is for versions that are none of this store's.
func (s *gcsStore) staleVersion(err error, version string) error {
	var status statusOf
	if _, bad := strconv.ParseInt(version, 10, 64); version != "" && bad != nil && errors.As(err, &status) && status.HTTPStatusCode() == http.StatusBadRequest {
		return errChanged
	}
	return err
}

func (s *gcsStore) list(ctx context.Context, prefix string, limit int, each func(Entry) error) error {
	query := url.Values{"prefix": {prefix}, "fields": {"nextPageToken,items(name,size,updated)"}, "maxResults": {strconv.Itoa(int(pageSize(limit)))}}
	for {
		resp, err := s.do(ctx, http.MethodGet, s.objectURL("", query), nil, nil, http.StatusOK)
		if err != nil {
			return err
		}
		var page struct {
			Items         []gcsObject `json:"items"`
			NextPageToken string      `json:"nextPageToken"`
		}
		if err := answerJSON(resp, &page); err != nil {
			return err
		}
		for _, o := range page.Items {
			if err := each(Entry{Key: o.Name, Size: o.Size, ModTime: o.Updated}); err != nil {
				return err
			}
		}
		if limit > 0 || page.NextPageToken == "" {
			return nil
		}
		if page.NextPageToken == query.Get("pageToken") {
			return &Error{Cause: "the server lists the same page again and again"}
		}
		query.Set("pageToken", page.NextPageToken)
	}
}

func (s *gcsStore) remove(ctx context.Context, key string) error {
	resp, err := s.do(ctx, http.MethodDelete, s.objectURL(key, url.Values{}), nil, nil, http.StatusOK, http.StatusNoContent)
	if err != nil {
		return err
	}
	resp.Body.Close()
	return nil
}

func (s *gcsStore) close() { s.idle() }
