package storage

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/googleapi"
	gcs "google.golang.org/api/storage/v1"
)

const (
	// gcsChunk is how much of a resumable upload goes in one request: a multiple of
	// 256 KiB, and large enough that the pause between two requests counts little.
	// The library holds one in memory.
	gcsChunk = 16 << 20
	// gcsChunkTime bounds the tries of one chunk, beyond what their number does.
	gcsChunkTime = 24 * time.Hour
)

// put sends description and content in one request, or a large object in a resumable
// upload, chunk by chunk. The library tells the server the whole's checksum.
func (s *gcsStore) put(ctx context.Context, key string, o Object, body io.Reader) error {
	upload := &gcsUpload{ctx: ctx, own: s.own, policy: s.policy}
	object := &gcs.Object{Name: key, ContentType: o.MediaType}
	if o.SHA256 != "" {
		object.Metadata = map[string]string{metaSHA256: o.SHA256}
	}
	from := &exactReader{r: body, size: o.Size, sum: crc32.New(castagnoli)}
	call := s.objects.Insert(s.bucket, object).Context(context.WithValue(ctx, gcsUploadKey{}, upload))
	if err := gcsCondition(call, o.If); err != nil {
		return err
	}
	call.Media(from, googleapi.ContentType(cmp.Or(o.MediaType, "application/octet-stream")), googleapi.EnableAutoChecksum(),
		googleapi.ChunkSize(int(min(gcsChunk, o.Size+1))), googleapi.ChunkRetryDeadline(gcsChunkTime)) // a first chunk is read here
	if from.err != nil {
		return from.err
	}
	if o.Size > partSize {
		call.WithRetry(&gax.Backoff{Initial: s.policy.FirstDelay, Max: s.policy.MaxDelay, Multiplier: 2}, upload.again)
	}
	done, err := call.Do()
	if from.err != nil {
		err = from.err
	} else {
		err = uploadEnded(s.failure(err))
	}
	if err != nil {
		if upload.tries > 1 && !Temporary(err) && arrived(ctx, s, key, o) {
			return nil // by a request whose answer was lost
		}
		s.abort(ctx, upload)
		return err
	}
	if size, err := gcsSize(done); err == nil && size == o.Size && (done.Crc32c == "" || done.Crc32c == from.crc32c()) {
		return nil
	}
	// Of the generation that was just written, best effort.
	_ = s.objects.Delete(s.bucket, key).IfGenerationMatch(done.Generation).Context(ctx).Do()
	return &Error{Kind: Unreachable, Temporary: true, Cause: "other bytes arrived than were sent"}
}

func gcsCondition(call *gcs.ObjectsInsertCall, c Condition) error {
	switch {
	case c.Absent:
		call.IfGenerationMatch(0)
	case c.Version != "":
		generation, err := strconv.ParseInt(c.Version, 10, 64)
		if err != nil {
			return &Error{Kind: Changed, Cause: "it was changed meanwhile"}
		}
		call.IfGenerationMatch(generation)
	}
	return nil
}

// abort drops the session, best effort: it would end by itself after a week.
func (s *gcsStore) abort(ctx context.Context, u *gcsUpload) {
	if u.session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodDelete, u.session, nil)
	if err != nil {
		return
	}
	if resp, err := s.client.Do(r); err == nil {
		resp.Body.Close()
	}
}

type gcsUploadKey struct{}

// gcsUpload watches the requests of one put, which the library sends.
type gcsUpload struct {
	ctx     context.Context //nolint:containedctx // of the put, which the library's question for another try does not give
	own     *url.URL
	policy  Policy
	session string // its address, a credential itself, once the server gave it
	failed  int    // tries in a row
	tries   int    // the most that one request took
}

// again says whether the library shall send a chunk once more. It asks after every
// request.
func (u *gcsUpload) again(err error) bool {
	if err == nil {
		u.failed = 0
		return false
	}
	u.failed++
	u.tries = max(u.tries, u.failed+1)
	if !Temporary(classify("", err)) || u.failed >= u.policy.Tries {
		return false
	}
	// The library has its own pauses, and does not know what the server asks for.
	var asks interface{ RetryAfter() time.Duration }
	return !errors.As(err, &asks) || Sleep(u.ctx, min(asks.RetryAfter(), 4*u.policy.MaxDelay)) == nil
}

// expects looks at a request before it is sent. After a server that says that
// something is missing when all was sent, the library would ask for ever.
func (u *gcsUpload) expects(r *http.Request) error {
	if u != nil && r.URL.String() == u.session && strings.HasPrefix(r.Header.Get("Content-Range"), "bytes */") {
		return &Error{err: errUploadEnded}
	}
	return nil
}

// saw looks at what became of a request.
func (u *gcsUpload) saw(r *http.Request, resp *http.Response, err error) error {
	switch {
	case u == nil:
		return err
	case r.URL.String() == u.session && KindOf(classify("", err)) == NotFound:
		return &Error{err: errUploadEnded}
	case err != nil:
		return err
	case u.session == "" && r.URL.Query().Get("uploadType") == "resumable":
		return u.begin(resp.Header.Get("Location"))
	}
	return u.took(r.Header.Get("Content-Range"), resp.Header)
}

func (u *gcsUpload) begin(location string) error {
	session, err := url.Parse(location)
	if err != nil || session.Scheme != u.own.Scheme || session.Host != u.own.Host {
		return &Error{Kind: Refused, Cause: "the server wants the upload to go to another address than its own"}
	}
	u.session = session.String()
	return nil
}

// took fails for a chunk of which the server kept a part alone: the library would go
// on with the next one. It is sent again, and the server leaves out what it has.
func (u *gcsUpload) took(sent string, answer http.Header) error {
	var first, last, kept int64
	if answer.Get("X-Http-Status-Code-Override") != "308" {
		return nil
	}
	if _, err := fmt.Sscanf(sent, "bytes %d-%d/", &first, &last); err != nil {
		return nil //nolint:nilerr // the request was no chunk
	}
	if _, err := fmt.Sscanf(answer.Get("Range"), "bytes=0-%d", &kept); err != nil || kept != last {
		return &Error{Kind: Unreachable, Temporary: true, Cause: "the server took less than was sent"}
	}
	return nil
}

// exactReader gives size bytes of r, and an error where r has less or more. With the
// last byte it gives the end, so that no empty chunk follows.
type exactReader struct {
	r    io.Reader
	size int64
	read int64
	sum  hash.Hash32
	err  error // other than the end
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	p = p[:min(int64(len(p)), e.size-e.read)]
	e.err = fill(e.r, p, e.size, e.read)
	if e.err != nil {
		return 0, e.err
	}
	_, _ = e.sum.Write(p) // never fails
	e.read += int64(len(p))
	if e.read < e.size {
		return len(p), nil
	}
	if e.err = atEnd(e.r, e.size); e.err != nil {
		return 0, e.err
	}
	return len(p), io.EOF
}

func (e *exactReader) crc32c() string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, e.sum.Sum32()))
}
