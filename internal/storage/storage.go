// Package storage reads inputs from and writes results to the places that a job
// may name: object stores (S3 and what is compatible, Google Cloud Storage, Azure
// Blob Storage), HTTP servers (input only), claims that are mounted into the pod,
// and images that are (input only).
//
// Endpoints, accounts, reachable hosts and trusted roots come from the platform
// admin's policy, credentials from files of a Secret or, where the admin allows it,
// from what the cloud gives the pod's service account. No URL with userinfo or
// query string, and no credential, ever appears in an error.
//
// The path of a URI is percent-decoded, once, and what that gives is the object's
// key, to the letter: "a//b" is not "a/b" in a store. A segment "." or ".." is
// refused, as some clients and proxies between here and a store take it for a path.
package storage

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

// Options is what a place needs beside its URI.
type Options struct {
	Store report.StoreConfig
	// CredentialsDir holds one file per key of the location's Secret; it may be
	// missing, which means no credentials.
	CredentialsDir string
	// PVCMount is where the claim of a pvc:// URI, or the image of an oci:// URI, is
	// mounted.
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
	// Version is that of Info; empty where a listing does not tell it (claims).
	Version string
}

// Sink is a folder or prefix to write below.
type Sink interface {
	// Put writes one object whole or not at all. It makes one try; of a large object
	// a part that breaks is sent again by itself, some times.
	Put(ctx context.Context, o Object, body io.Reader) error
	// Stat describes what is stored under key.
	Stat(ctx context.Context, key string) (Info, error)
	// Get reads a small object whole; more than limit bytes are an error.
	Get(ctx context.Context, key string, limit int64) ([]byte, Info, error)
	// Open reads an object from its beginning.
	Open(ctx context.Context, key string) (io.ReadCloser, Info, error)
	// List calls each for every object whose key begins with the folder prefix
	// ("" for all), in no particular order, until it returns an error. Empty objects
	// whose key ends with a slash, which consoles show as folders, are left out. A
	// folder that is not there has no objects.
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
	case "s3", "gs", "azblob":
		return openObject(u, o)
	case "http", "https":
		return openHTTP(u, o)
	case "pvc":
		return openClaimSource(u, o)
	case "oci":
		return openImageSource(u, o)
	}
	return nil, invalid(uri, "scheme %q is not supported: use s3, gs, azblob, http, https, pvc or oci", u.Scheme)
}

// OpenSink finds the place that uri names, to write below it.
func OpenSink(uri string, o Options) (Sink, error) {
	u, err := parse(uri)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "s3", "gs", "azblob":
		return openPrefix(u, o)
	case "pvc":
		return openClaimSink(u, o)
	}
	return nil, invalid(uri, "results cannot be written to scheme %q: use s3, gs, azblob or pvc", u.Scheme)
}

// Join gives the URI of key below uri.
func Join(uri string, key ...string) string {
	return strings.TrimRight(uri, "/") + "/" + path.Join(key...)
}

// Child gives the URI of the object key below uri, as OpenSource reads it: what a
// URI cannot hold is percent-encoded.
func Child(uri, key string) string {
	return strings.TrimRight(uri, "/") + "/" + (&url.URL{Path: "/" + key}).EscapedPath()[1:]
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
		return nil, invalid(uri, "it names no host, bucket, container, claim or image")
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		return u, nil
	}
	if why := badKey(strings.TrimPrefix(u.Path, "/")); why != "" {
		return nil, invalid(uri, "its path %s", why)
	}
	return u, nil
}

// maxKey bounds a key, in bytes: the least of the stores' own bounds.
const maxKey = 1024

// badKey says why no place could take a key, "" when it could.
func badKey(key string) string {
	switch {
	case len(key) > maxKey:
		return fmt.Sprintf("has %d bytes, at most %d are possible", len(key), maxKey)
	case !utf8.ValidString(key):
		return "is not valid UTF-8"
	case strings.ContainsFunc(key, unicode.IsControl):
		return "holds a control character"
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "." || segment == ".." {
			return "has a segment \".\" or \"..\", which could lead out of its folder"
		}
	}
	return ""
}

// objectKey gives the key that a URI names.
func objectKey(u *url.URL) (string, error) {
	k := strings.TrimPrefix(u.Path, "/")
	if k == "" || strings.HasSuffix(k, "/") {
		return "", invalid(u.String(), "it names no file")
	}
	return k, nil
}

// within joins prefix and key, to the letter, and refuses keys that lead out.
func within(prefix, key string) (string, error) {
	why := badKey(key)
	switch {
	case key == "":
		why = "is empty"
	case strings.HasPrefix(key, "/"):
		why = "begins with a slash"
	}
	if why != "" {
		return "", &Error{Cause: fmt.Sprintf("the key %s %s", clean.Line(strconv.Quote(key), 100), why)}
	}
	if prefix == "" {
		return key, nil
	}
	return prefix + "/" + key, nil
}

// folder gives the prefix of a listing without the slash at its end.
func folder(prefix string) (string, error) {
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == "" {
		return "", nil
	}
	return within("", prefix)
}
