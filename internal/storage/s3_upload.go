package storage

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// abortTime bounds the clearing up after an upload that failed.
const abortTime = 20 * time.Second

// completeTime bounds one try to join the parts: it may take a server minutes.
const completeTime = 15 * time.Minute

// s3Upload writes objects. Small ones in one request; large ones in parts, each
// with a checksum that the server compares, where it knows checksums.
type s3Upload struct {
	*s3Store
	policy Policy
	// plain says that the server refused a checksum once.
	plain atomic.Bool
}

func (u *s3Upload) put(ctx context.Context, key string, o Object, body io.Reader) error {
	if o.Size > partSize {
		return u.large(ctx, key, o, body)
	}
	data, err := exactly(body, o.Size)
	if err != nil {
		return err
	}
	in := &s3.PutObjectInput{Bucket: &u.bucket, Key: &key, ContentLength: &o.Size, Metadata: metadata(o), ContentType: optional(o.MediaType)}
	in.IfNoneMatch, in.IfMatch = conditions(o.If)
	return u.checked(data, func(crc *string) error {
		return watched(ctx, u.policy, func(ctx context.Context) error {
			in.Body, in.ChecksumCRC32C = newOutgoing(ctx, data), crc
			_, err := u.client.PutObject(ctx, in)
			return conflict(err)
		})
	})
}

func metadata(o Object) map[string]string {
	if o.SHA256 == "" {
		return nil
	}
	return map[string]string{metaSHA256: o.SHA256}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func conditions(c Condition) (ifNoneMatch, ifMatch *string) {
	if c.Absent {
		return aws.String("*"), nil
	}
	return nil, optional(c.Version)
}

// conflict gives two that write under a condition in the same moment, and the
// missing object of a condition, the kind of a condition that does not hold.
func conflict(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "ConditionalRequestConflict" {
		return &Error{Kind: Changed, Cause: "another write of the same object was under way", err: err}
	}
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc32c(data []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli)))
}

// checked sends data with its checksum, and without one when the server refuses
// checksums as such.
func (u *s3Upload) checked(data []byte, send func(crc *string) error) error {
	if u.plain.Load() {
		return send(nil)
	}
	err := send(aws.String(crc32c(data)))
	if !u.refusesChecksums(err) {
		return err
	}
	return send(nil)
}

// refusesChecksums tells a server that does not know checksums from one that found
// a wrong one, and remembers it.
func (u *s3Upload) refusesChecksums(err error) bool {
	var (
		status statusOf
		api    smithy.APIError
	)
	if err == nil || !errors.As(err, &status) {
		return false
	}
	unknown := errors.As(err, &api) && slices.Contains([]string{"NotImplemented", "InvalidRequest", "InvalidArgument", "MalformedTrailerError"}, api.ErrorCode())
	if code := status.HTTPStatusCode(); code != http.StatusNotImplemented && (code != http.StatusBadRequest || !unknown) {
		return false
	}
	return !u.plain.Swap(true)
}

// large sends an object in parts.
func (u *s3Upload) large(ctx context.Context, key string, o Object, body io.Reader) error {
	u.abortLeftovers(ctx, key)
	id, err := u.begin(ctx, key, o)
	if err != nil {
		return err
	}
	var (
		mu   sync.Mutex
		done []types.CompletedPart
	)
	err = sendParts(ctx, body, o.Size, u.policy, func(ctx context.Context, p uploadPart) error {
		number := aws.Int32(int32(p.number) + 1) //nolint:gosec // at most maxParts
		in := &s3.UploadPartInput{Bucket: &u.bucket, Key: &key, UploadId: &id, PartNumber: number, ContentLength: aws.Int64(int64(len(p.data)))}
		if !u.plain.Load() {
			in.ChecksumCRC32C = aws.String(crc32c(p.data))
		}
		in.Body = newOutgoing(ctx, p.data)
		out, err := u.client.UploadPart(ctx, in)
		if errorCode(err) == "NoSuchUpload" {
			return &Error{err: errUploadEnded}
		}
		if err != nil {
			return u.failure(err)
		}
		mu.Lock()
		defer mu.Unlock()
		done = append(done, types.CompletedPart{PartNumber: number, ETag: out.ETag, ChecksumCRC32C: in.ChecksumCRC32C})
		return nil
	})
	if err == nil {
		slices.SortFunc(done, func(a, b types.CompletedPart) int { return int(*a.PartNumber - *b.PartNumber) })
		err = u.complete(ctx, key, id, o, done)
	}
	if err != nil {
		u.abort(ctx, key, id)
	}
	return uploadEnded(err)
}

func (u *s3Upload) begin(ctx context.Context, key string, o Object) (string, error) {
	in := &s3.CreateMultipartUploadInput{Bucket: &u.bucket, Key: &key, Metadata: metadata(o), ContentType: optional(o.MediaType)}
	if !u.plain.Load() {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc32c, types.ChecksumTypeComposite
	}
	out, err := u.client.CreateMultipartUpload(ctx, in)
	if u.refusesChecksums(err) {
		in.ChecksumAlgorithm, in.ChecksumType = "", ""
		out, err = u.client.CreateMultipartUpload(ctx, in)
	}
	if err != nil {
		return "", err
	}
	if aws.ToString(out.UploadId) == "" {
		return "", &Error{Cause: "the server began an upload without a name"}
	}
	return *out.UploadId, nil
}

// complete joins the parts. When its answer is lost, the object may be there all
// the same.
func (u *s3Upload) complete(ctx context.Context, key, id string, o Object, parts []types.CompletedPart) error {
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &u.bucket, Key: &key, UploadId: &id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}
	in.IfNoneMatch, in.IfMatch = conditions(o.If)
	tries, slow := 0, u.policy
	slow.Idle = completeTime
	return persist(ctx, slow, func(ctx context.Context) error {
		tries++
		_, err := u.client.CompleteMultipartUpload(ctx, in)
		if err == nil {
			return nil
		}
		err = u.failure(conflict(err))
		if tries > 1 && !Temporary(err) && arrived(ctx, u, key, o) {
			return nil
		}
		return err
	})
}

// abort removes the parts of an upload, best effort, also when ctx is over.
func (u *s3Upload) abort(ctx context.Context, key, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	_, _ = u.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.bucket, Key: &key, UploadId: &id})
}

// abortLeftovers clears up after a container that was killed while it sent the same
// object: an attempt's objects are written by one container at a time.
func (u *s3Upload) abortLeftovers(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(ctx, abortTime)
	defer cancel()
	_, _ = u.abortListed(ctx, key, func(l types.MultipartUpload) bool { return aws.ToString(l.Key) == key })
}

func (s *s3Store) abortUploads(ctx context.Context, prefix string, before time.Time) (int, error) {
	return s.upload.abortListed(ctx, prefix, func(l types.MultipartUpload) bool {
		return strings.HasPrefix(aws.ToString(l.Key), prefix) && (before.IsZero() || l.Initiated != nil && l.Initiated.Before(before))
	})
}

// abortListed aborts the uploads whose key begins with prefix and that are wanted.
func (u *s3Upload) abortListed(ctx context.Context, prefix string, wanted func(types.MultipartUpload) bool) (int, error) {
	in := &s3.ListMultipartUploadsInput{Bucket: &u.bucket, Prefix: &prefix}
	n := 0
	for {
		out, err := u.client.ListMultipartUploads(ctx, in)
		if err != nil {
			return n, u.failure(err)
		}
		for _, l := range out.Uploads {
			if !wanted(l) {
				continue
			}
			if _, err := u.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.bucket, Key: l.Key, UploadId: l.UploadId}); err != nil {
				return n, u.failure(err)
			}
			n++
		}
		next := aws.ToString(out.NextKeyMarker)
		if !aws.ToBool(out.IsTruncated) || next == "" || next == aws.ToString(in.KeyMarker) && aws.ToString(out.NextUploadIdMarker) == aws.ToString(in.UploadIdMarker) {
			return n, nil
		}
		in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker
	}
}
