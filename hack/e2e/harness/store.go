package harness

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// HostAddress is where pods of the clone's own cluster reach this machine.
// POSE_HOST_ADDRESS overrides it for another cluster.
const HostAddress = "10.99.0.1"

// Store is a real S3 server (versitygw) over a folder.
type Store struct {
	Endpoint             string
	AccessKey, SecretKey string
	Dir                  string
	// PID of the server.
	PID int

	client *s3.Client
	cmd    *exec.Cmd
}

// StartStore starts an S3 server on a free port of the host address. Its
// credentials are made for this run, and it ends with this process, however that
// ends.
func (e *Env) StartStore(ctx context.Context, dir string) (*Store, error) {
	s, err := e.launch(ctx, dir, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL})
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// launch the server, which may not answer yet.
func (e *Env) launch(ctx context.Context, dir string, attr *syscall.SysProcAttr) (*Store, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the store's folder: %w", err)
	}
	host := Host()
	port, err := freePort(ctx, host)
	if err != nil {
		return nil, err
	}
	s := &Store{
		Endpoint:  "http://" + net.JoinHostPort(host, port),
		AccessKey: "pose-" + random(4), SecretKey: random(20), Dir: dir,
	}
	log, err := os.Create(filepath.Clean(dir) + ".log")
	if err != nil {
		return nil, fmt.Errorf("make the store's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	s.cmd = exec.Command(e.Tool("versitygw"), "--port", net.JoinHostPort(host, port), "posix", dir)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = attr
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start versitygw: %w. Run `make tools`", err)
	}
	s.PID = s.cmd.Process.Pid
	s.connect()
	return s, nil
}

func (s *Store) connect() {
	s.client = s3.New(s3.Options{
		BaseEndpoint: &s.Endpoint, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
	})
}

// Host is the address of this machine as pods see it.
func Host() string {
	if h := os.Getenv("POSE_HOST_ADDRESS"); h != "" {
		return h
	}
	return HostAddress
}

func freePort(ctx context.Context, host string) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", fmt.Errorf("listen on %s: %w. Is the cluster up? Set POSE_HOST_ADDRESS for a cluster of your own", host, err)
	}
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil //nolint:forcetypeassert // a TCP listener
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func (s *Store) ready(ctx context.Context) error {
	var last error
	for range 100 {
		if last = s.answers(ctx); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("the S3 server at %s does not answer (its log is %s.log): %w", s.Endpoint, s.Dir, last)
}

func (s *Store) answers(ctx context.Context) error {
	_, err := s.client.ListBuckets(ctx, &s3.ListBucketsInput{})
	return err
}

// Stop a server of StartStore.
func (s *Store) Stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// Bucket makes a bucket unless it exists.
func (s *Store) Bucket(ctx context.Context, name string) error {
	_, err := s.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name})
	var mine *types.BucketAlreadyOwnedByYou
	var exists *types.BucketAlreadyExists
	if err != nil && !errors.As(err, &mine) && !errors.As(err, &exists) {
		return fmt.Errorf("make bucket %s: %w", name, err)
	}
	return nil
}

// Put a file.
func (s *Store) Put(ctx context.Context, bucket, key, path string) error {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	defer func() { _ = f.Close() }()
	if _, err := s.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: f}); err != nil {
		return fmt.Errorf("upload s3://%s/%s: %w", bucket, key, err)
	}
	return nil
}

// Get an object.
func (s *Store) Get(ctx context.Context, bucket, key string) ([]byte, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, fmt.Errorf("download s3://%s/%s: %w", bucket, key, err)
	}
	defer func() { _ = out.Body.Close() }()
	b, err := io.ReadAll(out.Body)
	if err != nil {
		return nil, fmt.Errorf("download s3://%s/%s: %w", bucket, key, err)
	}
	return b, nil
}

// Keys below a prefix.
func (s *Store) Keys(ctx context.Context, bucket, prefix string) ([]string, error) {
	var keys []string
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String(prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list s3://%s/%s: %w", bucket, prefix, err)
		}
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
		}
	}
	return keys, nil
}
