package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// profiles is where our own parts leave their CPU profiles, when it is set.
const profiles = "POSE_TRANSFER_PROFILES"

// fetchPart is the container fetch: the whole role, below a folder of its own.
// Its arguments are the folder, the URI, the S3 endpoint and the credentials.
func fetchPart(args []string) error {
	defer profile("fetch")()
	root, uri, endpoint, credentials := args[0], args[1], args[2], args[3]
	l := layout.Under(root)
	l.CredentialsDir = credentials
	for _, path := range []string{l.SourceFile, l.Termination} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
	}
	if strings.HasPrefix(uri, "http") {
		l.CredentialsDir = ""
	}
	raw, err := json.Marshal(report.Config{Version: report.Version, Role: report.RoleFetch, Fetch: &report.FetchConfig{
		URI: uri, MaxBytes: 1 << 40, TimeoutSeconds: 3600, Store: store(endpoint),
	}})
	if err != nil {
		return err
	}
	if code := runner.Main(context.Background(), string(raw), l, io.Discard); code != 0 {
		why, _ := os.ReadFile(l.Termination)
		return fmt.Errorf("fetch ended with %d: %s", code, why)
	}
	return nil
}

func store(endpoint string) report.StoreConfig {
	return report.StoreConfig{S3Endpoint: endpoint, S3Region: "us-east-1", S3PathStyle: true, HTTPAllowedHosts: []string{"127.0.0.1"}}
}

// downloadPart is the transfer alone, without a digest, as other clients make it. Its
// arguments are those of fetchPart, but the file in place of the folder.
func downloadPart(args []string) error {
	defer profile("download")()
	options := storage.Options{Store: store(args[2])}
	if !strings.HasPrefix(args[1], "http") {
		options.CredentialsDir = args[3]
	}
	source, err := storage.OpenSource(args[1], options)
	if err != nil {
		return err
	}
	defer source.Close()
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	d := storage.Download{Source: source, Policy: storage.DefaultPolicy(), MaxBytes: 1 << 40}
	_, err = d.Run(context.Background(), placing{f})
	return errors.Join(err, f.Close())
}

// placing is a file that is written in any order.
type placing struct{ file *os.File }

func (p placing) Place(b []byte, offset int64) error {
	_, err := p.file.WriteAt(b, offset)
	return err
}

func (placing) Write(b []byte) (int, error) { return len(b), nil }

// digestPart computes the digest of a file as fast as fetch does.
func digestPart(args []string) error {
	d, err := digest(args[0])
	fmt.Printf("%x\n", d)
	return err
}

// uploadPart is what deliver does with a file: its digest, which goes with it, and
// the upload. Its arguments are the file, the key, the S3 endpoint and the
// credentials.
func uploadPart(args []string) error {
	defer profile("upload")()
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, block))
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sink, err := storage.OpenSink("s3://bench/up", storage.Options{Store: store(args[2]), CredentialsDir: args[3]})
	if err != nil {
		return err
	}
	defer sink.Close()
	return sink.Put(context.Background(), storage.Object{Key: args[1], Size: n, SHA256: hex.EncodeToString(h.Sum(nil)), MediaType: "video/mp4"}, f)
}

func profile(name string) func() {
	dir := os.Getenv(profiles)
	if dir == "" {
		return func() {}
	}
	f, err := os.Create(filepath.Join(dir, name+".pprof"))
	fail(err)
	fail(pprof.StartCPUProfile(f))
	return func() {
		pprof.StopCPUProfile()
		fail(f.Close())
	}
}

// usage is what one run of a client took.
type usage struct {
	wall, cpu time.Duration
	servers   time.Duration // CPU time of the servers meanwhile
	peak      int64         // bytes resident
}

// measure runs a client.
func measure(ctx context.Context, env []string, name string, args ...string) (usage, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	u := usage{wall: time.Since(began)}
	if err != nil {
		return u, fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.peak = r.Maxrss << 10
	}
	return u, nil
}

// client is one way to move the object.
type client struct {
	name string
	ours bool
	// limit is no client of the server, but what the machine gives at most.
	limit bool
	run   func(ctx context.Context) (usage, error)
	// file is what it makes.
	file string
}

func (b *bench) self(args ...string) func(context.Context) (usage, error) {
	return func(ctx context.Context) (usage, error) {
		self, err := os.Executable()
		if err != nil {
			return usage{}, err
		}
		return measure(ctx, nil, self, args...)
	}
}

func (b *bench) peer(name string, args ...string) func(context.Context) (usage, error) {
	env := []string{
		"AWS_ACCESS_KEY_ID=" + access, "AWS_SECRET_ACCESS_KEY=" + secret, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true",
	}
	return func(ctx context.Context) (usage, error) { return measure(ctx, env, name, args...) }
}

// thenDigest computes the digest of what a client made, which fetch does on the way.
func (b *bench) thenDigest(c client) client {
	run, then := c.run, b.self("digest", c.file)
	c.name += ", then digest"
	c.run = func(ctx context.Context) (usage, error) {
		u, err := run(ctx)
		if err != nil {
			return u, err
		}
		d, err := then(ctx)
		return usage{wall: u.wall + d.wall, cpu: u.cpu + d.cpu, peak: max(u.peak, d.peak)}, err
	}
	return c
}

// comparisons are the tables to print.
func (b *bench) comparisons() []comparison {
	in := func(name string) string { return filepath.Join(b.work, "in", name) }
	s5cmd := filepath.Join(b.tools, "s5cmd")
	credentials := filepath.Join(b.work, "credentials")
	source := func(root string) string { return layout.Under(root).SourceFile }
	curl := func(ctx context.Context) (usage, error) {
		return measure(ctx, nil, "curl", "-sSf", "-o", in("curl"), b.http+"/bench/up/object")
	}
	fromS3 := client{name: "s5cmd", file: in("s5cmd"), run: b.peer(s5cmd, "--log", "error", "--endpoint-url", b.s3, "cp", "s3://bench/up/object", in("s5cmd"))}
	fromHTTP := client{name: "curl", file: in("curl"), run: curl}
	return []comparison{
		{"download from S3", []client{
			{name: "pose-runner fetch", ours: true, file: source(in("s3")), run: b.self("fetch", in("s3"), "s3://bench/up/object", b.s3, credentials)},
			{name: "same, no digest", ours: true, file: in("bare"), run: b.self("download", in("bare"), "s3://bench/up/object", b.s3, credentials)},
			fromS3,
			b.thenDigest(fromS3),
			{name: "aws s3 cp", file: in("aws"), run: b.peer(b.aws, "--endpoint-url", b.s3, "s3", "cp", "--quiet", "s3://bench/up/object", in("aws"))},
			{name: "raw copy", limit: true, file: in("rawfile"), run: b.self("raw-receive", b.raw, in("rawfile"))},
		}},
		{"download from HTTP", []client{
			{name: "pose-runner fetch", ours: true, file: source(in("http")), run: b.self("fetch", in("http"), b.http+"/bench/up/object", "", "")},
			{name: "same, no digest", ours: true, file: in("bare"), run: b.self("download", in("bare"), b.http+"/bench/up/object", "", "")},
			fromHTTP,
			b.thenDigest(fromHTTP),
			{name: "raw copy", limit: true, file: in("rawfile"), run: b.self("raw-receive", b.raw, in("rawfile"))},
		}},
		{"upload to S3", []client{
			{name: "pose-runner put", ours: true, file: b.stored("ours"), run: b.self("upload", b.source(), "ours", b.s3, credentials)},
			{name: "s5cmd", file: b.stored("s5cmd"), run: b.peer(s5cmd, "--log", "error", "--endpoint-url", b.s3, "cp", b.source(), "s3://bench/up/s5cmd")},
			{name: "aws s3 cp", file: b.stored("aws"), run: b.peer(b.aws, "--endpoint-url", b.s3, "s3", "cp", "--quiet", b.source(), "s3://bench/up/aws")},
			{name: "raw copy", limit: true, file: in("raw"), run: b.self("raw-send", b.raw, b.source())},
		}},
	}
}

// memory fetches and uploads a file that is much larger than memory may be.
func (b *bench) memory(ctx context.Context) error {
	dir, err := os.MkdirTemp(b.disk, "transfer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	credentials := filepath.Join(b.work, "credentials")
	large := b.stored("large")
	fmt.Printf("\nmemory for %d MiB\n", b.large)
	for _, c := range []struct {
		name string
		run  func(context.Context) (usage, error)
	}{
		{"fetch from S3", b.self("fetch", dir, "s3://bench/up/large", b.s3, credentials)},
		{"fetch from HTTP", b.self("fetch", dir, b.http+"/bench/up/large", "", "")},
		{"put to S3", b.self("upload", large, "copy", b.s3, credentials)},
	} {
		if c.name == "put to S3" { // where it lands is the scratch folder
			if err := room(b.scratch, b.large<<20); err != nil {
				fmt.Printf("  %-18s left out: %v\n", c.name, err)
				continue
			}
		}
		u, err := c.run(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("  %-18s peak %3d MiB resident, %5.0f MB/s\n", c.name, u.peak>>20, float64(b.large<<20)/1e6/u.wall.Seconds())
		if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(b.stored("copy")), os.MkdirAll(dir, 0o755)); err != nil {
			return err
		}
	}
	return nil
}
