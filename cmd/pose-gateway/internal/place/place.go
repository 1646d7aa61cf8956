// Package place says where in the store the gateway keeps what, and opens it. Every
// place lies below the gateway's base and the namespace, whatever anybody says.
//
//	BASE/NAMESPACE/uploads/ID/upload.json     a resumable upload
//	BASE/NAMESPACE/uploads/ID/pieces/OFFSET   what has come of it
//	BASE/NAMESPACE/uploads/ID/video.EXT       the video of a job
//	BASE/NAMESPACE/results/JOB/               the output of a job
package place

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/internal/storage"
)

var (
	basePattern = regexp.MustCompile(`^(s3|gs|azblob)://[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)
	keyPattern  = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)
	idPattern   = regexp.MustCompile(`^[a-z2-7]{26}$`)
)

// encoding of ids: 128 random bits as 26 characters that are good in names and URLs.
var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewID gives a random id of an upload.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return strings.ToLower(encoding.EncodeToString(b[:]))
}

// ValidID says whether an id may be one of NewID's.
func ValidID(id string) bool { return idPattern.MatchString(id) }

// Places of the gateway.
type Places struct {
	base    string
	options storage.Options
}

// New checks the base, which is a bucket or container and perhaps a path.
func New(base string, o storage.Options) (*Places, error) {
	base = strings.TrimRight(base, "/")
	if !basePattern.MatchString(base) {
		return nil, fmt.Errorf("place.base is %q: it must be s3://bucket, gs://bucket or azblob://container, and perhaps a path of letters, digits, '-', '_' and '.'", base)
	}
	p := &Places{base: base, options: o}
	sink, err := storage.OpenSink(base+"/probe", o)
	if err != nil {
		return nil, fmt.Errorf("place.base %s: %w", base, err)
	}
	return p, sink.Close()
}

// Upload is the URI of an upload's folder.
func (p *Places) Upload(namespace, id string) string {
	return p.base + "/" + namespace + "/uploads/" + id
}

// Results is the output URI of a job.
func (p *Places) Results(namespace, job string) string {
	return p.base + "/" + namespace + "/results/" + job
}

// UploadOf gives the id of the upload whose video uri is, "" when it is none of this
// namespace.
func (p *Places) UploadOf(namespace, uri string) string {
	rest, ok := strings.CutPrefix(uri, p.base+"/"+namespace+"/uploads/")
	id, file, _ := strings.Cut(rest, "/")
	if !ok || !ValidID(id) || strings.TrimSuffix(file, path.Ext(file)) != "video" || strings.Contains(file, "/") {
		return ""
	}
	return id
}

// Serves says whether the gateway shows what lies at uri to those who may see the
// namespace: only below its base and the namespace. An encoded path is refused: it
// could say the same as another.
func (p *Places) Serves(namespace, uri string) bool {
	rest, ok := strings.CutPrefix(uri, p.base+"/"+namespace+"/")
	return ok && keyPattern.MatchString(rest)
}

// Sink opens a folder, which Upload, Results or Serves vouch for.
func (p *Places) Sink(uri string) (storage.Sink, error) {
	s, err := storage.OpenSink(uri, p.options)
	if err != nil {
		return nil, Failure(err)
	}
	return s, nil
}

// Source opens the object key below uri.
func (p *Places) Source(uri, key string) (storage.Source, error) {
	s, err := storage.OpenSource(storage.Child(uri, key), p.options)
	if err != nil {
		return nil, Failure(err)
	}
	return s, nil
}

// Check says whether the store answers.
func (p *Places) Check(ctx context.Context) error {
	s, err := storage.OpenSink(p.base+"/probe", p.options)
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Check(ctx); err != nil {
		return fmt.Errorf("look at the store: %w", err)
	}
	return nil
}

// maxRemoved bounds one removal, so that a listing without an end is none.
const maxRemoved = 100_000

// Remove deletes all below uri, which ends an upload that was under way, too.
func (p *Places) Remove(ctx context.Context, uri string) error {
	s, err := p.Sink(uri)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	var keys []string
	err = s.List(ctx, "", func(e storage.Entry) error {
		if keys = append(keys, e.Key); len(keys) > maxRemoved {
			return errors.New("too many objects")
		}
		return nil
	})
	if err != nil {
		return Failure(err)
	}
	for _, k := range keys {
		if err := s.Delete(ctx, k); err != nil {
			return Failure(err)
		}
	}
	if _, err := storage.AbortUploads(ctx, s, "", time.Time{}); err != nil {
		return Failure(err)
	}
	return nil
}

// Failure is what a client is told of a store's error: nothing but whether another try
// may help. The log has the rest.
func Failure(err error) error {
	var p *problem.Problem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return problem.Because(err, http.StatusServiceUnavailable, "the request ended before the store had done its part: try again")
	case storage.Temporary(err):
		return problem.Unavailable(err, "the store")
	}
	return problem.Because(err, http.StatusServiceUnavailable, "the store refuses what the service asks of it: the administrator finds the cause in its log by the request's id")
}
