package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/place"
)

// What of tus 1.0.0 is spoken: creation, HEAD, PATCH, termination
// (https://tus.io/protocols/resumable-upload).
const (
	tusVersion = "1.0.0"
	uploads    = "api/pose/uploads"
	hResumable = "Tus-Resumable"
	hOffset    = "Upload-Offset"
	hLength    = "Upload-Length"
	hMetadata  = "Upload-Metadata"
	hExpires   = "Upload-Expires"
	hJob       = "Pose-Job-Id"
)

// An upload's id, and a job's name, become parts of paths and lines.
var (
	uploadID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	jobID    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)
)

// standing of an upload at the gateway.
type standing struct {
	offset int64
	// job that it became; empty until then.
	job string
}

func (c *Client) tus(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	r, err := c.request(ctx, method, path, body)
	if err == nil {
		r.Header.Set(hResumable, tusVersion)
	}
	return r, err
}

// create an upload with the fields of the gateway's form, and give its id and when it
// expires.
func (c *Client) create(ctx context.Context, u *place.Upload, fields map[string]string) (id string, expires time.Time, err error) {
	ctx, stop := context.WithTimeout(ctx, short)
	defer stop()
	r, err := c.tus(ctx, http.MethodPost, uploads, nil)
	if err != nil {
		return "", expires, err
	}
	r.Header.Set(hLength, strconv.FormatInt(u.Size, 10))
	r.Header.Set(hMetadata, metadata(u, fields))
	h, _, err := c.do(r)
	if err != nil {
		return "", expires, err
	}
	// Only the id is taken of the Location: where the gateway is, the person has said.
	at := h.Get("Location")
	id = at[strings.LastIndexByte(at, '/')+1:]
	if !uploadID.MatchString(id) {
		return "", expires, c.foreign()
	}
	expires, err = http.ParseTime(h.Get(hExpires))
	if err != nil {
		expires = c.now().Add(forgetAfter)
	}
	return id, expires, nil
}

func metadata(u *place.Upload, fields map[string]string) string {
	pairs := []string{"filename " + base64.StdEncoding.EncodeToString([]byte(place.SafeName(u.Path)))}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if v := fields[name]; v != "" {
			pairs = append(pairs, name+" "+base64.StdEncoding.EncodeToString([]byte(v)))
		}
	}
	return strings.Join(pairs, ",")
}

// stands asks how far an upload of size bytes is.
func (c *Client) stands(ctx context.Context, id string, size int64) (standing, error) {
	ctx, stop := context.WithTimeout(ctx, short)
	defer stop()
	r, err := c.tus(ctx, http.MethodHead, uploads+"/"+id, nil)
	if err != nil {
		return standing{}, err
	}
	h, _, err := c.do(r)
	if err != nil {
		return standing{}, err
	}
	if v := h.Get(hLength); v != "" && v != strconv.FormatInt(size, 10) {
		return standing{}, c.foreign()
	}
	return c.read(h, size)
}

// read where an upload stands of an answer's headers.
func (c *Client) read(h http.Header, size int64) (standing, error) {
	n, err := strconv.ParseInt(h.Get(hOffset), 10, 64)
	s := standing{offset: n, job: h.Get(hJob)}
	if err != nil || n < 0 || n > size || s.job != "" && !jobID.MatchString(s.job) {
		return standing{}, c.foreign()
	}
	return s, nil
}

// errStill is why a request ends whose bytes nobody takes.
var errStill = errors.New("nothing was taken of the video for too long")

// patch sends n bytes from offset on. tell is told of bytes as they are taken.
func (c *Client) patch(ctx context.Context, id string, video io.ReaderAt, offset, n, size int64, tell func(int64)) (standing, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A network that went silent is not noticed by a write for many minutes.
	still := time.AfterFunc(c.still, func() { cancel(errStill) })
	defer still.Stop()
	body := &sent{r: io.NewSectionReader(video, offset, n), left: n, all: func() { still.Stop() }, took: func(k int64) {
		still.Reset(c.still)
		tell(k)
	}}
	r, err := c.tus(ctx, http.MethodPatch, uploads+"/"+id, body)
	if err != nil {
		return standing{}, err
	}
	r.ContentLength = n
	r.Header.Set("Content-Type", "application/offset+octet-stream")
	r.Header.Set(hOffset, strconv.FormatInt(offset, 10))
	h, _, err := c.do(r)
	if ferr := body.end(); ferr != nil {
		return standing{}, &unreadable{fmt.Errorf("read the video: %w", ferr)}
	}
	if err != nil {
		return standing{}, err
	}
	return c.read(h, size)
}

// unreadable is the error of a video that this machine cannot read: no connection's.
type unreadable struct{ error }

func (u *unreadable) Unwrap() error { return u.error }

// sent is a part of a video on its way. The transport may go on reading it after the
// request was answered.
type sent struct {
	mu    sync.Mutex
	r     io.Reader
	left  int64
	took  func(int64)
	all   func() // the last byte was taken; what comes is the answer
	ended bool
	err   error // of the file
}

func (s *sent) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return 0, errEnded
	}
	n, err := s.r.Read(p)
	s.took(int64(n))
	if s.left -= int64(n); s.left == 0 {
		s.all()
	}
	switch {
	case errors.Is(err, io.EOF) && s.left > 0:
		s.err = errChanged
		return n, errChanged
	case err != nil && !errors.Is(err, io.EOF):
		s.err = err
	}
	return n, err //nolint:wrapcheck // the file's own error, or io.EOF
}

var errEnded = errors.New("the request has ended")

// end of the request; the error is the file's.
func (s *sent) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return s.err
}

// terminate an upload that nobody will go on with, as well as it can be done.
func (c *Client) terminate(ctx context.Context, id string) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	if r, err := c.tus(ctx, http.MethodDelete, uploads+"/"+id, nil); err == nil {
		_, _, _ = c.do(r) // it expires without that, too
	}
}

// final says whether another try cannot help: what was refused is the video, the
// person or the request.
func final(err error) bool {
	var (
		r *refusal
		u *unreadable
	)
	if errors.As(err, &u) {
		return true
	}
	if !errors.As(err, &r) {
		return exit.Code(err) != exit.Unreachable
	}
	switch r.status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return r.status < 500 || r.status == http.StatusNotImplemented
}

// brokeOff says whether an answer means that the request's body did not arrive whole,
// as one of a proxy may be: then the connection is to blame.
func brokeOff(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.status == http.StatusBadRequest
}

// gone says whether the gateway knows no such upload any more.
func gone(err error) bool {
	var r *refusal
	return errors.As(err, &r) && (r.status == http.StatusNotFound || r.status == http.StatusGone)
}
