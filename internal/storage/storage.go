// Package storage reads inputs from and writes results to the places that a job
// may name: S3-compatible object stores, HTTP servers (input only) and claims
// that are mounted into the pod.
//
// Endpoints, reachable hosts and trusted roots come from the platform admin's
// policy, credentials from files of a Secret. No URL with userinfo or query
// string, and no credential, ever appears in an error.
package storage

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

// Options is what a place needs beside its URI.
type Options struct {
	Store report.StoreConfig
	// CredentialsDir holds one file per key of the location's Secret; it may be
	// missing, which means no credentials.
	CredentialsDir string
	// PVCMount is where the claim of a pvc:// URI is mounted.
	PVCMount string
}

// Info describes one stored object.
type Info struct {
	// Size in bytes; -1 where the server does not tell it.
	Size int64
	// Version changes when the content does (an ETag, or a modification time);
	// empty where the server has none.
	Version string
	// SHA256 that Put recorded with the object; empty where none is kept.
	SHA256 string
}

// Source is one object to read.
type Source interface {
	// Open reads length bytes from offset on, or to the end where length is
	// negative. The Info describes the whole object. A version that is not empty
	// must still be the object's, else the error is of kind Changed. A server that
	// cannot give ranges may give more than length bytes.
	Open(ctx context.Context, offset, length int64, version string) (io.ReadCloser, Info, error)
	// Stat describes the object without reading it.
	Stat(ctx context.Context) (Info, error)
	// String names the source without credentials.
	String() string
	Close() error
}

// Object is one thing to write.
type Object struct {
	Key       string // relative to the sink
	Size      int64
	SHA256    string // lower-case hex; kept with the object where possible
	MediaType string
	// If is the condition under which it is written. One that does not hold is an
	// error of kind Changed.
	If Condition
}

// Condition of a write. A place that cannot keep one atomically (a claim) checks
// it right before it writes.
type Condition struct {
	// Absent: nothing lies under the key yet.
	Absent bool
	// Version, where it is not empty, is that of what lies there.
	Version string
}

// Entry is one object of a listing.
type Entry struct {
	Key     string // relative to the sink
	Size    int64
	ModTime time.Time
}

// Sink is a folder or prefix to write below.
type Sink interface {
	// Put writes one object whole or not at all. It makes one try.
	Put(ctx context.Context, o Object, body io.Reader) error
	// Stat describes what is stored under key.
	Stat(ctx context.Context, key string) (Info, error)
	// Get reads a small object whole; more than limit bytes are an error.
	Get(ctx context.Context, key string, limit int64) ([]byte, Info, error)
	// Open reads an object from its beginning.
	Open(ctx context.Context, key string) (io.ReadCloser, Info, error)
	// List calls each for every object whose key begins with the folder prefix
	// ("" for all), in no particular order, until it returns an error.
	List(ctx context.Context, prefix string, each func(Entry) error) error
	// Delete removes one object; one that is not there is no error.
	Delete(ctx context.Context, key string) error
	// Check gives an error when the place is not there at all. What only an upload
	// can tell is no error yet.
	Check(ctx context.Context) error
	// String names the sink without credentials.
	String() string
	Close() error
}

// OpenSource finds the place that uri names.
func OpenSource(uri string, o Options) (Source, error) {
	u, err := parse(uri)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "s3":
		return openS3Source(u, o)
	case "http", "https":
		return openHTTP(u, o)
	case "pvc":
		return openClaimSource(u, o)
	}
	return nil, invalid(uri, "scheme %q is not supported: use s3, http, https or pvc", u.Scheme)
}

// OpenSink finds the place that uri names, to write below it.
func OpenSink(uri string, o Options) (Sink, error) {
	u, err := parse(uri)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "s3":
		return openS3Sink(u, o)
	case "pvc":
		return openClaimSink(u, o)
	}
	return nil, invalid(uri, "results cannot be written to scheme %q: use s3 or pvc", u.Scheme)
}

// Join gives the URI of key below uri.
func Join(uri string, key ...string) string {
	return strings.TrimRight(uri, "/") + "/" + path.Join(key...)
}

func parse(uri string) (*url.URL, error) {
	u, err := url.Parse(uri)
	if err != nil {
		// url.Parse's own error quotes the URI, credentials and all.
		return nil, invalid(uri, "it cannot be parsed as a URI")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, invalid(uri, "a URI must not carry user, password, query string or fragment: put a signed URL under key %q of the Secret", fileURL)
	}
	if u.Host == "" {
		return nil, invalid(uri, "it names no host, bucket or claim")
	}
	return u, nil
}

// key gives the object's key of an s3 or pvc URI.
func objectKey(u *url.URL) (string, error) {
	k := strings.TrimPrefix(u.Path, "/")
	if k == "" || strings.HasSuffix(k, "/") {
		return "", invalid(u.String(), "it names no file")
	}
	return k, nil
}

// within joins prefix and key and refuses keys that lead out.
func within(prefix, key string) (string, error) {
	if key == "" || strings.HasPrefix(key, "/") || path.Clean(key) != key || strings.HasPrefix(key, "..") {
		return "", fmt.Errorf("key %q does not lie below its prefix", key)
	}
	return path.Join(prefix, key), nil
}
