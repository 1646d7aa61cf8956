package storage

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// gcsChunk is how much of a resumable upload goes in one request: a multiple of
// 256 KiB, and large enough that the pause between two requests counts little.
const gcsChunk = 16 << 20

// boundary of a multipart upload. What is stored may hold it: the parts are
// checked to be without it.
const boundary = "pose-runner-9f3b1c7d2e"

func (s *gcsStore) put(ctx context.Context, key string, o Object, body io.Reader) error {
	query := url.Values{"name": {key}}
	switch {
	case o.If.Absent:
		query.Set("ifGenerationMatch", "0")
	case o.If.Version != "":
		if _, err := strconv.ParseInt(o.If.Version, 10, 64); err != nil {
			return &Error{Kind: Changed, Cause: "it was changed meanwhile"}
		}
		query.Set("ifGenerationMatch", o.If.Version)
	}
	if o.Size > partSize {
		return s.large(ctx, key, o, body, query)
	}
	data, err := exactly(body, o.Size)
	if err != nil {
		return err
	}
	return s.small(ctx, o, data, query)
}

// description is the object's metadata as an upload begins with it.
func description(o Object, crc string) []byte {
	d := map[string]any{}
	if o.MediaType != "" {
		d["contentType"] = o.MediaType
	}
	if o.SHA256 != "" {
		d["metadata"] = map[string]string{metaSHA256: o.SHA256}
	}
	if crc != "" {
		d["crc32c"] = crc
	}
	b, _ := json.Marshal(d) // strings alone
	return b
}

func (s *gcsStore) uploadURL(kind string, query url.Values) string {
	query.Set("uploadType", kind)
	return s.base + "/upload/storage/v1/b/" + url.PathEscape(s.bucket) + "/o?" + query.Encode()
}

// small sends description and content in one request. The server compares the
// checksum.
func (s *gcsStore) small(ctx context.Context, o Object, data []byte, query url.Values) error {
	mark := boundary
	for strings.Contains(string(data), mark) {
		mark += "x"
	}
	media := o.MediaType
	if media == "" {
		media = "application/octet-stream"
	}
	head := fmt.Sprintf("--%s\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n%s\r\n--%s\r\nContent-Type: %s\r\n\r\n", mark, description(o, crc32c(data)), mark, media)
	header := http.Header{"Content-Type": {"multipart/related; boundary=" + mark}}
	return watched(ctx, s.policy, func(ctx context.Context) error {
		body := slices.Concat([]byte(head), data, []byte("\r\n--"+mark+"--\r\n"))
		resp, err := s.do(ctx, http.MethodPost, s.uploadURL("multipart", query), header, body, http.StatusOK, http.StatusCreated)
		if err != nil {
			return err
		}
		resp.Body.Close()
		return nil
	})
}

// large sends an object in a resumable upload: after a break the server says how
// much it has, and the rest is sent. Its requests follow each other, as the API
// wants it.
func (s *gcsStore) large(ctx context.Context, key string, o Object, body io.Reader, query url.Values) error {
	session, err := s.begin(ctx, o, query)
	if err != nil {
		return err
	}
	sum := crc32.New(castagnoli)
	up := &gcsUpload{gcsStore: s, session: session, size: o.Size}
	if err = sendPartsOf(ctx, io.TeeReader(body, sum), o.Size, gcsChunk, 1, s.policy, up.send); err == nil && up.done == nil {
		err = &Error{Kind: Unreachable, Temporary: true, Cause: "the server took all bytes and made no object of them"}
	}
	if err != nil {
		if up.done == nil {
			up.abort(ctx)
		}
		return uploadEnded(err)
	}
	want := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum.Sum32()))
	if up.done.Size == o.Size && (up.done.CRC32C == "" || up.done.CRC32C == want) {
		return nil
	}
	up.discard(ctx, key)
	return &Error{Kind: Unreachable, Temporary: true, Cause: "other bytes arrived than were sent"}
}

// begin gives the address of a session, which is a credential itself.
func (s *gcsStore) begin(ctx context.Context, o Object, query url.Values) (string, error) {
	header := http.Header{"Content-Type": {"application/json; charset=UTF-8"}, "X-Upload-Content-Length": {strconv.FormatInt(o.Size, 10)}}
	if o.MediaType != "" {
		header.Set("X-Upload-Content-Type", o.MediaType)
	}
	resp, err := s.do(ctx, http.MethodPost, s.uploadURL("resumable", query), header, description(o, ""), http.StatusOK, http.StatusCreated)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	own, err1 := url.Parse(s.base)
	session, err2 := url.Parse(resp.Header.Get("Location"))
	if err1 != nil || err2 != nil || session.Scheme != own.Scheme || session.Host != own.Host {
		return "", &Error{Kind: Refused, Cause: "the server wants the upload to go to another address than its own"}
	}
	return session.String(), nil
}

// gcsUpload is one resumable upload. One part at a time uses it.
type gcsUpload struct {
	*gcsStore
	session string
	size    int64
	broken  bool       // the last request's fate is not known
	done    *gcsObject // what became of the last byte
}

func (u *gcsUpload) send(ctx context.Context, p uploadPart) error {
	next, end := p.offset, p.offset+int64(len(p.data))
	if u.broken {
		var err error
		if next, err = u.continueAt(ctx, fmt.Sprintf("bytes */%d", u.size), nil); err != nil {
			return err
		}
	}
	for u.done == nil && next < end {
		if next < p.offset {
			return &Error{Cause: "the server lost a part of the upload that it had taken"}
		}
		u.broken = true
		after, err := u.continueAt(ctx, fmt.Sprintf("bytes %d-%d/%d", next, end-1, u.size), p.data[next-p.offset:])
		if err != nil {
			return err
		}
		if after <= next && u.done == nil {
			return &Error{Kind: Unreachable, Temporary: true, Cause: "the server took nothing of what was sent"}
		}
		next = after
	}
	u.broken = false
	return nil
}

// continueAt sends data, or nothing, and gives how many bytes of the object the server
// has then.
func (u *gcsUpload) continueAt(ctx context.Context, contentRange string, data []byte) (int64, error) {
	header := http.Header{"Content-Range": {contentRange}}
	resp, err := u.do(ctx, http.MethodPut, u.session, header, data, http.StatusOK, http.StatusCreated, http.StatusPermanentRedirect)
	if KindOf(err) == NotFound {
		return 0, &Error{err: errUploadEnded}
	}
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusPermanentRedirect {
		u.done = &gcsObject{}
		return u.size, answerJSON(resp, u.done)
	}
	defer resp.Body.Close()
	has := resp.Header.Get("Range")
	if has == "" {
		return 0, nil
	}
	_, last, ok := strings.Cut(strings.TrimPrefix(has, "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if !ok || err != nil || n < 0 || n >= u.size {
		return 0, &Error{Cause: "the server's answer to a part of the upload cannot be read"}
	}
	return n + 1, nil
}

// abort drops the session, best effort: it would end by itself after a week.
func (u *gcsUpload) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	const closed = 499 // as documented for a session that is dropped
	if resp, err := u.do(ctx, http.MethodDelete, u.session, nil, nil, http.StatusOK, http.StatusNoContent, closed); err == nil {
		resp.Body.Close()
	}
}

// discard removes the generation that was just written.
func (u *gcsUpload) discard(ctx context.Context, key string) {
	query := url.Values{"ifGenerationMatch": {u.done.Generation}}
	if resp, err := u.do(ctx, http.MethodDelete, u.objectURL(key, query), nil, nil, http.StatusOK, http.StatusNoContent); err == nil {
		resp.Body.Close()
	}
}
