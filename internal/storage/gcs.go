package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/api/option"
	gcs "google.golang.org/api/storage/v1"
)

// googleEndpoint serves Google Cloud Storage's JSON API.
const googleEndpoint = "https://storage.googleapis.com"

// gcsBucketName is Google's rule, without the bounds of its parts.
var gcsBucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`)

// gcsStore speaks the JSON API of Google Cloud Storage by Google's client of it. The
// larger one (cloud.google.com/go/storage) brings gRPC besides, which we have no use
// for.
type gcsStore struct {
	*gcsTransport
	client  *http.Client
	objects *gcs.ObjectsService
	bucket  string
	access  access
}

func newGCS(bucket string, o Options) (store, error) {
	if !gcsBucketName.MatchString(bucket) {
		return nil, &Error{Kind: Refused, Cause: fmt.Sprintf("%q is not a bucket's name", bucket)}
	}
	base, err := gcsBase(o.Store.GCSEndpoint)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(o.Store.CAPEM, nil)
	if err != nil {
		return nil, err
	}
	// Offsets count the bytes that are stored.
	transport.DisableCompression = true
	t, acc, err := gcsCredentials(o, &http.Client{Transport: transport, CheckRedirect: noRedirect, Timeout: identityTime})
	if err != nil {
		return nil, err
	}
	s := &gcsStore{gcsTransport: &gcsTransport{base: transport, own: base, tokens: t, policy: DefaultPolicy()}, bucket: bucket, access: acc}
	s.client = &http.Client{Transport: s.gcsTransport}
	// The client of ours keeps the library from looking for credentials in places of
	// its own; its logger, which the environment could turn on, would print tokens.
	service, err := gcs.NewService(context.Background(), option.WithHTTPClient(s.client), option.WithEndpoint(base.JoinPath("storage/v1/").String()), option.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	service.UserAgent = "pose-runner"
	s.objects = service.Objects
	return s, nil
}

// gcsBase is the server's address, "" for Google's. The library uploads to a path of
// its own choice: a server below a path would not see that.
func gcsBase(endpoint string) (*url.URL, error) {
	if endpoint == "" {
		endpoint = googleEndpoint
	}
	u, err := url.Parse(strings.TrimRight(endpoint, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, &Error{Kind: Refused, Cause: "the operator's store.gcsEndpoint is not of the form https://host:port: correct the chart's value"}
	}
	return u, nil
}

// failure classifies what the library gives. Its own texts are left out: they can
// hold addresses of uploads and what a server sent.
func (s *gcsStore) failure(err error) error {
	var answered *url.Error // by the client: what the transport said
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answered):
		err = answered.Err
	case !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded):
		err = errAnswer()
	}
	return s.access.explain(classify("", err))
}

// errAnswer is made anew for each place, which it will name.
func errAnswer() error { return &Error{Cause: "the server's answer cannot be read"} }

func (s *gcsStore) stat(ctx context.Context, key string) (Info, error) {
	o, err := s.objects.Get(s.bucket, key).Fields("size", "generation", "metadata").Context(ctx).Do()
	if err != nil {
		return Info{}, s.failure(err)
	}
	size, err := gcsSize(o)
	if err == nil && o.Generation <= 0 {
		err = errAnswer()
	}
	return Info{Size: size, Version: strconv.FormatInt(o.Generation, 10), SHA256: o.Metadata[metaSHA256]}, err
}

// gcsSize is an object's size in bytes.
func gcsSize(o *gcs.Object) (int64, error) {
	if o.Size > maxObject {
		return 0, errAnswer()
	}
	return int64(o.Size), nil
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
	call := s.objects.Get(s.bucket, key).Context(ctx)
	if version != "" {
		generation, err := strconv.ParseInt(version, 10, 64)
		if err != nil { // it is none of this store's
			return nil, Info{}, errChanged()
		}
		call.IfGenerationMatch(generation)
	}
	if r := byteRange(offset, length); r != nil {
		call.Header().Set("Range", *r)
	}
	resp, err := call.Download()
	if err != nil {
		return nil, Info{}, s.failure(err)
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

func (s *gcsStore) list(ctx context.Context, prefix string, limit int, each func(Entry) error) error {
	call := s.objects.List(s.bucket).Prefix(prefix).Fields("nextPageToken", "items(name,size,updated,generation)").MaxResults(int64(pageSize(limit))).Context(ctx)
	for last := ""; ; {
		page, err := call.Do()
		if err != nil {
			return s.failure(err)
		}
		for _, o := range page.Items {
			size, err := gcsSize(o)
			if err != nil {
				return err
			}
			updated, err := time.Parse(time.RFC3339, o.Updated)
			if err != nil {
				return errAnswer()
			}
			if err := each(Entry{Key: o.Name, Size: size, ModTime: updated, Version: strconv.FormatInt(o.Generation, 10)}); err != nil {
				return err
			}
		}
		if limit > 0 || page.NextPageToken == "" {
			return nil
		}
		if page.NextPageToken == last {
			return &Error{Cause: "the server lists the same page again and again"}
		}
		last = page.NextPageToken
		call.PageToken(last)
	}
}

func (s *gcsStore) remove(ctx context.Context, key, version string) error {
	call := s.objects.Delete(s.bucket, key).Context(ctx)
	if version != "" {
		generation, err := strconv.ParseInt(version, 10, 64)
		if err != nil { // it is none of this store's
			return errChanged()
		}
		call.IfGenerationMatch(generation)
	}
	return s.failure(call.Do())
}

func (s *gcsStore) close() { s.base.CloseIdleConnections() }
