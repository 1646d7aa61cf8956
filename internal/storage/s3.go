package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// metaSHA256 is the key of the object's metadata that holds its digest.
const metaSHA256 = "pose-sha256"

// bucketName is S3's rule, which also keeps a bucket from changing the host.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

type s3Store struct {
	client *s3.Client
	bucket string
	upload s3Upload
	access access
	idle   func()
}

func newS3(bucket string, o Options) (store, error) {
	if !bucketName.MatchString(bucket) {
		return nil, &Error{Kind: Refused, Cause: fmt.Sprintf("%q is not a bucket's name", bucket)}
	}
	transport, err := newTransport(o.Store.CAPEM, nil)
	if err != nil {
		return nil, err
	}
	provider, acc, err := s3Credentials(o, transport)
	if err != nil {
		return nil, err
	}
	s := &s3Store{client: s3Client(o, provider, transport), bucket: bucket, access: acc, idle: transport.CloseIdleConnections}
	s.upload = s3Upload{s3Store: s, policy: DefaultPolicy()}
	return s, nil
}

// s3Region is where requests are signed for.
func s3Region(o Options) string {
	if o.Store.S3Region == "" {
		return "us-east-1"
	}
	return o.Store.S3Region
}

// s3Client is built from the policy and what it is given alone: neither
// environment nor instance metadata may lend a job the node's own rights.
func s3Client(o Options, provider aws.CredentialsProvider, transport http.RoundTripper) *s3.Client {
	cfg := aws.Config{
		Region:      s3Region(o),
		Credentials: provider,
		HTTPClient: &http.Client{
			Transport:     transport,
			CheckRedirect: noRedirect,
		},
		// Our own loops retry: they know the time-out and tell of it.
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		// We send checksums ourselves, and do without where a server refuses them.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	return s3.NewFromConfig(cfg, func(so *s3.Options) {
		if o.Store.S3Endpoint != "" {
			so.BaseEndpoint = aws.String(o.Store.S3Endpoint)
		}
		so.UsePathStyle = o.Store.S3PathStyle
		so.DisableLogOutputChecksumValidationSkipped = true
	})
}

func (s *s3Store) open(ctx context.Context, key string, offset, length int64, version string) (io.ReadCloser, Info, error) {
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key, Range: byteRange(offset, length)}
	if version != "" {
		in.IfMatch = &version
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		return nil, Info{}, s.failure(err)
	}
	info := Info{Size: -1, Version: aws.ToString(out.ETag), SHA256: out.Metadata[metaSHA256]}
	if out.ContentLength != nil {
		info.Size = *out.ContentLength
	}
	body, err := fromOffset(ctx, out.Body, aws.ToString(out.ContentRange), offset, length, &info)
	if err != nil {
		_ = out.Body.Close()
		return nil, Info{}, err
	}
	return body, info, nil
}

// byteRange is the header for a part, nil for the whole.
func byteRange(offset, length int64) *string {
	switch {
	case length >= 0:
		return aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		return aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	return nil
}

func (s *s3Store) stat(ctx context.Context, key string) (Info, error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return Info{}, s.failure(err)
	}
	info := Info{Size: -1, Version: aws.ToString(out.ETag), SHA256: out.Metadata[metaSHA256]}
	if out.ContentLength != nil {
		info.Size = *out.ContentLength
	}
	return info, nil
}

func (s *s3Store) put(ctx context.Context, key string, o Object, body io.Reader) error {
	return s.failure(s.upload.put(ctx, key, o, body))
}

func (s *s3Store) list(ctx context.Context, prefix string, limit int, each func(Entry) error) error {
	in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix, EncodingType: types.EncodingTypeUrl, MaxKeys: aws.Int32(pageSize(limit))}
	for {
		out, err := s.client.ListObjectsV2(ctx, in)
		if err != nil {
			return s.failure(err)
		}
		if out.Name == nil && out.KeyCount == nil && out.MaxKeys == nil && len(out.Contents) == 0 {
			// A page of a proxy, say: nothing found is not the same as nothing there.
			return &Error{Cause: "the server's answer is no listing"}
		}
		for _, o := range out.Contents {
			e := Entry{Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size), ModTime: aws.ToTime(o.LastModified), Version: aws.ToString(o.ETag)}
			if out.EncodingType == types.EncodingTypeUrl {
				if e.Key, err = url.QueryUnescape(e.Key); err != nil {
					return &Error{Cause: "the server listed a key that cannot be read"}
				}
			}
			if err := each(e); err != nil {
				return err
			}
		}
		next := aws.ToString(out.NextContinuationToken)
		if limit > 0 || !aws.ToBool(out.IsTruncated) || next == "" {
			return nil
		}
		if next == aws.ToString(in.ContinuationToken) {
			return &Error{Cause: "the server lists the same page again and again"}
		}
		in.ContinuationToken = &next
	}
}

// remove leaves older versions in a bucket that keeps them: how long is the rule
// of the bucket's owner.
func (s *s3Store) remove(ctx context.Context, key, version string) error {
	in := &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key, IfMatch: optional(version)}
	_, err := s.client.DeleteObject(ctx, in)
	var status statusOf
	if version != "" && errors.As(err, &status) && status.HTTPStatusCode() == http.StatusNotImplemented {
		in.IfMatch = nil // a server that says so; others ignore it
		_, err = s.client.DeleteObject(ctx, in)
	}
	return s.failure(conflict(err))
}

func (s *s3Store) close() { s.idle() }

// failure adds to an error what only this store knows.
func (s *s3Store) failure(err error) error {
	if err == nil {
		return nil
	}
	if region := otherRegion(err); region != "" {
		return &Error{Kind: Refused, err: err, Cause: fmt.Sprintf("the bucket lies in region %s, and requests go to region %s: the platform admin sets the chart's value config.store.s3Region", region, s.client.Options().Region)}
	}
	return s.access.explain(classify("", err))
}

var regionText = regexp.MustCompile(`expecting '([a-z0-9-]{1,40})'`)

// otherRegion gives the region that a server says the bucket is in, when that is
// why it refuses.
func otherRegion(err error) string {
	var r *smithyhttp.ResponseError
	if errors.As(err, &r) && r.Response != nil && r.Response.Response != nil {
		code, region := r.Response.StatusCode, r.Response.Header.Get("X-Amz-Bucket-Region")
		moved := code == http.StatusMovedPermanently || code == http.StatusTemporaryRedirect || code == http.StatusBadRequest
		if moved && regionName.MatchString(region) {
			return region
		}
	}
	if m := regionText.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}

var regionName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
