package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
)

// metaSHA256 is the key of the object's metadata that holds its digest.
const metaSHA256 = "pose-sha256"

// bucketName is S3's rule, which also keeps a bucket from changing the host.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

type s3Place struct {
	bucket *blob.Bucket
	prefix string // without a slash at its end
	place  string
}

func openS3Source(u *url.URL, o Options) (Source, error) {
	key, err := objectKey(u)
	if err != nil {
		return nil, err
	}
	p, err := openS3(u, o)
	if err != nil {
		return nil, err
	}
	p.prefix = key
	return s3Source{p}, nil
}

func openS3Sink(u *url.URL, o Options) (Sink, error) {
	p, err := openS3(u, o)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func openS3(u *url.URL, o Options) (*s3Place, error) {
	if !bucketName.MatchString(u.Host) {
		return nil, invalid(u.String(), "%q is not a bucket's name", u.Host)
	}
	client, err := s3Client(o)
	if err != nil {
		return nil, classify(u.String(), err)
	}
	bucket, err := s3blob.OpenBucket(context.Background(), client, u.Host, &s3blob.Options{
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
	})
	if err != nil {
		return nil, classify(u.String(), err)
	}
	return &s3Place{bucket: bucket, prefix: strings.Trim(u.Path, "/"), place: u.String()}, nil
}

// s3Client is built from the policy and the Secret alone: neither environment
// nor instance metadata may lend a job the node's own rights.
func s3Client(o Options) (*s3.Client, error) {
	c, err := credentials3(o.CredentialsDir)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(o.Store.CAPEM, nil)
	if err != nil {
		return nil, err
	}
	region := o.Store.S3Region
	if region == "" {
		region = "us-east-1"
	}
	cfg := aws.Config{
		Region:      region,
		Credentials: c,
		HTTPClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		// Our own loops retry: they know the time-out and tell of it.
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		// Older S3-compatible servers refuse the newer checksum headers; the
		// digest is checked by deliver anyway.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	return s3.NewFromConfig(cfg, func(so *s3.Options) {
		if o.Store.S3Endpoint != "" {
			so.BaseEndpoint = aws.String(o.Store.S3Endpoint)
		}
		so.UsePathStyle = o.Store.S3PathStyle
		so.DisableLogOutputChecksumValidationSkipped = true
	}), nil
}

func credentials3(dir string) (aws.CredentialsProvider, error) {
	c, err := credentialFiles(dir)
	if err != nil {
		return nil, err
	}
	id, secret := c[fileAccessKey], c[fileSecretKey]
	switch {
	case id == "" && secret == "":
		return aws.AnonymousCredentials{}, nil
	case id == "" || secret == "":
		return nil, &Error{Kind: Forbidden, Cause: fmt.Sprintf("the location's Secret needs both keys %s and %s", fileAccessKey, fileSecretKey)}
	}
	return credentials.NewStaticCredentialsProvider(id, secret, c[fileSessionToken]), nil
}

func credentialFiles(dir string) (map[string]string, error) {
	return secretKeys(dir, fileAccessKey, fileSecretKey, fileSessionToken)
}

type s3Source struct{ *s3Place }

func (s s3Source) Open(ctx context.Context, offset, length int64, version string) (io.ReadCloser, Info, error) {
	r, err := s.bucket.NewRangeReader(ctx, s.prefix, offset, length, &blob.ReaderOptions{BeforeRead: func(as func(any) bool) error {
		var in *s3.GetObjectInput
		if version != "" && as(&in) {
			in.IfMatch = aws.String(version)
		}
		return nil
	}})
	if err != nil {
		return nil, Info{}, classify(s.place, err)
	}
	info := Info{Size: r.Size()}
	var out s3.GetObjectOutput
	if r.As(&out) {
		info.Version = aws.ToString(out.ETag)
	}
	if version != "" && info.Version != version {
		_ = r.Close()
		return nil, Info{}, &Error{Kind: Changed, Place: s.place, Cause: "the object changed while it was read"}
	}
	return &classifyingReader{r, s.place}, info, nil
}

func (s s3Source) Stat(ctx context.Context) (Info, error) {
	a, err := s.bucket.Attributes(ctx, s.prefix)
	if err != nil {
		return Info{}, classify(s.place, err)
	}
	return Info{Size: a.Size, Version: a.ETag, SHA256: a.Metadata[metaSHA256]}, nil
}

// classifyingReader gives the errors of a body a kind.
type classifyingReader struct {
	io.ReadCloser
	place string
}

func (c *classifyingReader) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = classify(c.place, err)
	}
	return n, err
}

func (s *s3Place) Put(ctx context.Context, o Object, body io.Reader) error {
	key, err := within(s.prefix, o.Key)
	if err != nil {
		return err
	}
	place := Join(s.place, o.Key)
	// Cancelling before Close is how a gocloud writer is told to drop the object.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opts := &blob.WriterOptions{ContentType: o.MediaType, DisableContentTypeDetection: true}
	if o.SHA256 != "" {
		opts.Metadata = map[string]string{metaSHA256: o.SHA256}
	}
	w, err := s.bucket.NewWriter(ctx, key, opts)
	if err != nil {
		return classify(place, err)
	}
	n, err := io.Copy(w, ContextReader(ctx, body))
	if err == nil && n != o.Size {
		err = fmt.Errorf("%d bytes were to be written, %d came", o.Size, n)
	}
	if err != nil {
		cancel()
		_ = w.Close()
		return classify(place, err)
	}
	return classify(place, w.Close())
}

func (s *s3Place) Stat(ctx context.Context, key string) (Info, error) {
	k, err := within(s.prefix, key)
	if err != nil {
		return Info{}, err
	}
	a, err := s.bucket.Attributes(ctx, k)
	if err != nil {
		return Info{}, classify(Join(s.place, key), err)
	}
	return Info{Size: a.Size, Version: a.ETag, SHA256: a.Metadata[metaSHA256]}, nil
}

func (s *s3Place) Get(ctx context.Context, key string, limit int64) ([]byte, Info, error) {
	r, info, err := s.Open(ctx, key)
	if err != nil {
		return nil, Info{}, err
	}
	defer func() { _ = r.Close() }()
	b, err := readAll(r, limit)
	return b, info, classify(Join(s.place, key), err)
}

func (s *s3Place) Open(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	k, err := within(s.prefix, key)
	if err != nil {
		return nil, Info{}, err
	}
	place := Join(s.place, key)
	r, err := s.bucket.NewReader(ctx, k, nil)
	if err != nil {
		return nil, Info{}, classify(place, err)
	}
	info := Info{Size: r.Size()}
	var out s3.GetObjectOutput
	if r.As(&out) {
		info.Version, info.SHA256 = aws.ToString(out.ETag), out.Metadata[metaSHA256]
	}
	return &classifyingReader{r, place}, info, nil
}

func (s *s3Place) List(context.Context, string, func(Entry) error) error {
	return errors.New("TODO")
}

func (s *s3Place) Delete(context.Context, string) error {
	return errors.New("TODO")
}

// Check asks for one key: a bucket that is missing says so, also to a user who may
// not list it.
func (s *s3Place) Check(ctx context.Context) error {
	_, _, err := s.bucket.ListPage(ctx, blob.FirstPageToken, 1, &blob.ListOptions{Prefix: s.prefix})
	if err = classify(s.place, err); KindOf(err) == NotFound {
		return err
	}
	return nil
}

func (s *s3Place) String() string { return s.place }
func (s *s3Place) Close() error   { return s.bucket.Close() }
