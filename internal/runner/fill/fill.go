// Package fill puts weights onto a volume, once, from places that its configuration
// names. It checks what it fetches, leaves what is already right, and writes down
// the digest of every file in sha256sum's own format.
//
// A file appears under its name whole and checked, or not at all: it is written
// into a folder of this run and then renamed. What a killed run left is removed by
// the next. Runs on one volume take turns.
package fill

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
	"github.com/pose-dev/pose-operator/internal/storage"
)

const (
	// DigestsFile lists the sha256 of every file; `sha256sum -c` reads it.
	DigestsFile = "weights.sha256"
	// recordFile says which source gave which files.
	recordFile    = ".pose-fill.json"
	stagingPrefix = ".pose-fill-"
	maxSmall      = 4 << 20 // bytes of a configuration, or of a record
	// maxDigests bounds the list of digests, in bytes: engines' adapters read no more.
	maxDigests = 1 << 20
	maxSources = 256
	sayEvery   = 10 * time.Second
)

// Config says what to fetch.
type Config struct {
	// Store is the platform admin's policy on places, as for videos.
	Store report.StoreConfig `json:"store"`
	// MaxBytes bounds one source, and what an archive unpacks to.
	MaxBytes int64    `json:"maxBytes"`
	Sources  []Source `json:"sources"`
}

// Source is one file, or an archive of several.
type Source struct {
	// URI is s3://bucket/key or http(s)://host/path.
	URI string `json:"uri"`
	// Path below the volume: of the file, or of the folder that an archive is
	// unpacked into ("." for the volume itself).
	Path string `json:"path"`
	// SHA256 of the file or archive, lower-case hex. Without one the digest of what
	// came is written down, and whether it is the right file is not checked.
	SHA256 string `json:"sha256,omitempty"`
	// Unpack says that it is a tar archive, plain or gzipped.
	Unpack bool `json:"unpack,omitempty"`
}

// Options are the places of one run.
type Options struct {
	Target         string // the mounted volume
	CredentialsDir string
	Log            io.Writer
}

// Parse reads and checks a configuration.
func Parse(r io.Reader) (*Config, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxSmall+1))
	if err != nil {
		return nil, fmt.Errorf("read the list of weights: %w", err)
	}
	if len(raw) > maxSmall {
		return nil, fmt.Errorf("the list of weights is larger than %d bytes", maxSmall)
	}
	var c Config
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("the list of weights makes no sense: %w", err)
	}
	if len(c.Sources) == 0 || len(c.Sources) > maxSources {
		return nil, fmt.Errorf("the list of weights has %d sources; it needs 1 to %d", len(c.Sources), maxSources)
	}
	if c.MaxBytes <= 0 {
		return nil, errors.New("the list of weights has no maxBytes")
	}
	seen := map[string]bool{}
	for i, s := range c.Sources {
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("sources[%d]: %w", i, err)
		}
		if !s.Unpack && seen[s.Path] {
			return nil, fmt.Errorf("sources[%d]: path %s is given twice", i, s.Path)
		}
		seen[s.Path] = true
	}
	return &c, nil
}

func (s Source) check() error {
	scheme, _, _ := strings.Cut(s.URI, "://")
	switch {
	case scheme != "s3" && scheme != "http" && scheme != "https":
		return errors.New("uri must begin with s3://, https:// or http://")
	case s.SHA256 != "" && !isDigest(s.SHA256):
		return errors.New("sha256 must be 64 lower-case hex digits")
	case s.Unpack && s.Path == ".":
		return nil
	case !proper(s.Path):
		return fmt.Errorf("path %q must be relative, without . or .., and must not begin with a dot", s.Path)
	}
	return nil
}

// proper says whether a path may be written: below the volume, and not one of the
// run's own files.
func proper(p string) bool {
	return fs.ValidPath(p) && p != "." && !strings.HasPrefix(p, ".") && p != DigestsFile
}

func isDigest(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// File is one file that a source gave.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// record is what an earlier run did, by the source's identity.
type record map[string]done

type done struct {
	// SHA256 of the source as it came.
	SHA256 string `json:"sha256"`
	Files  []File `json:"files"`
}

// String names a source for a person.
func (s Source) String() string {
	if s.Unpack {
		return "archive " + clean.URL(s.URI)
	}
	return "weights " + s.Path
}

func (s Source) id() string { return fmt.Sprintf("%s -> %s (unpack %v)", s.URI, s.Path, s.Unpack) }

type filler struct {
	Options
	config *Config
	root   *os.Root
	record record
}

// Run brings the volume to what config says.
func Run(ctx context.Context, config *Config, o Options) error {
	root, err := os.OpenRoot(o.Target)
	if err != nil {
		return fmt.Errorf("open the volume at %s: %w", o.Target, err)
	}
	defer func() { _ = root.Close() }()
	f := &filler{Options: o, config: config, root: root, record: record{}}
	unlock, held, err := f.lock(ctx)
	if err != nil {
		return fmt.Errorf("lock the volume by its file %s: %w", lockFile, err)
	}
	defer unlock()
	if held {
		f.sweep()
	}
	f.readRecord()
	for _, s := range config.Sources {
		if err := f.source(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	if err := f.writeDigests(); err != nil {
		return fmt.Errorf("write %s: %w", DigestsFile, err)
	}
	fmt.Fprintf(f.Log, "pose-runner: the volume holds all %d sources; their digests are in %s\n", len(config.Sources), DigestsFile)
	return nil
}

// sweep removes what a killed run left. The caller holds the lock.
func (f *filler) sweep() {
	dir, err := f.root.Open(".")
	if err != nil {
		return
	}
	defer dir.Close()
	entries, _ := dir.ReadDir(-1)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), stagingPrefix) {
			_ = f.root.RemoveAll(e.Name())
		}
	}
}

func (f *filler) readRecord() {
	raw, err := f.small(recordFile, maxSmall)
	if err != nil || json.Unmarshal(raw, &f.record) != nil || f.record == nil {
		f.record = record{} // everything is looked at anew, and nothing is lost by that
	}
}

var errLarge = errors.New("is larger")

// small reads a file of at most limit bytes. A larger one is errLarge.
func (f *filler) small(name string, limit int64) ([]byte, error) {
	file, err := f.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s %w than %d bytes", name, errLarge, limit)
	}
	return raw, err
}

// source brings one source, unless it is there.
func (f *filler) source(ctx context.Context, s Source) error {
	there, err := f.present(ctx, s)
	if err != nil {
		return err
	}
	if there {
		fmt.Fprintf(f.Log, "pose-runner: %s is there and right\n", s)
		return nil
	}
	d, err := f.fetch(ctx, s)
	if err != nil {
		return explain(err)
	}
	f.record[s.id()] = d
	return f.writeRecord()
}

// present says whether all files of a source are there with their digests.
func (f *filler) present(ctx context.Context, s Source) (bool, error) {
	d, ok := f.record[s.id()]
	switch {
	case ok && s.SHA256 != "" && d.SHA256 != s.SHA256:
		return false, nil // it is another file now
	case !ok && (s.SHA256 == "" || s.Unpack):
		return false, nil
	case !ok: // put there by hand
		d = done{SHA256: s.SHA256, Files: []File{{Path: s.Path, Size: -1, SHA256: s.SHA256}}}
	}
	for i, file := range d.Files {
		size, digest, err := f.hash(ctx, file)
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if err != nil || digest != file.SHA256 {
			return false, nil //nolint:nilerr // what cannot be read is fetched again
		}
		d.Files[i].Size = size
	}
	f.record[s.id()] = d
	return len(d.Files) > 0, nil
}

// hash reads a file whole, unless its size is wrong already.
func (f *filler) hash(ctx context.Context, file File) (int64, string, error) {
	in, err := f.root.Open(file.Path)
	if err != nil {
		return 0, "", err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil || !info.Mode().IsRegular() || file.Size >= 0 && info.Size() != file.Size {
		return 0, "", errors.Join(err, errors.New("not the file that was written"))
	}
	h := sha256.New()
	n, err := io.Copy(h, storage.ContextReader(ctx, in))
	return n, hex.EncodeToString(h.Sum(nil)), err
}

// fetch brings a source into a folder of its own, checks it, and moves its files to
// their places.
func (f *filler) fetch(ctx context.Context, s Source) (done, error) {
	from, err := storage.OpenSource(s.URI, storage.Options{Store: f.config.Store, CredentialsDir: f.CredentialsDir})
	if err != nil {
		return done{}, err
	}
	defer func() { _ = from.Close() }()
	staging := stagingPrefix + rand.Text()[:8]
	if err := f.root.Mkdir(staging, 0o755); err != nil {
		return done{}, err
	}
	defer func() { _ = f.root.RemoveAll(staging) }()
	fmt.Fprintf(f.Log, "pose-runner: fetching %s\n", from)
	in := intake{filler: f, source: s, staging: staging}
	digest, files, err := in.run(ctx, from)
	if err != nil {
		return done{}, err
	}
	if s.SHA256 != "" && digest != s.SHA256 {
		return done{}, fmt.Errorf("%s has sha256 %s, the list says %s: it is another file, or damaged", from, digest, s.SHA256)
	}
	if s.SHA256 == "" {
		fmt.Fprintf(f.Log, "pose-runner: warning: no sha256 is given for %s; it has %s\n", s, digest)
	}
	for i, file := range files {
		to := path.Join(s.Path, file.Path)
		if !s.Unpack {
			to = s.Path
		}
		if err := f.place(path.Join(staging, file.Path), to); err != nil {
			return done{}, err
		}
		files[i].Path = to
	}
	return done{SHA256: digest, Files: files}, nil
}

// place moves a file to its name. Who reads it later is another user of its group,
// or of none.
func (f *filler) place(from, to string) error {
	if dir := path.Dir(to); dir != "." {
		if err := f.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := f.root.Chmod(from, 0o644); err != nil {
		return err
	}
	return f.root.Rename(from, to)
}

// writeRecord and writeDigests replace their file whole.
func (f *filler) writeRecord() error {
	raw, err := json.MarshalIndent(f.record, "", "  ")
	if err != nil {
		return err
	}
	return f.replace(recordFile, raw)
}

func (f *filler) replace(name string, content []byte) error {
	temp := stagingPrefix + rand.Text()[:8] + ".tmp"
	if err := f.root.WriteFile(temp, content, 0o644); err != nil {
		return err
	}
	err := f.place(temp, name)
	if err != nil {
		_ = f.root.Remove(temp)
	}
	return err
}

// counted hashes, counts and tells how far it is.
type counted struct {
	to    io.Writer
	hash  hash.Hash
	log   io.Writer
	done  int64
	total int64
	said  time.Time
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.hash.Write(p[:n])
	c.done += int64(n)
	if now := time.Now(); now.Sub(c.said) > sayEvery {
		c.said = now
		of := ""
		if c.total > 0 {
			of = " of " + progress.Bytes(c.total)
		}
		fmt.Fprintf(c.log, "pose-runner: %s%s\n", progress.Bytes(c.done), of)
	}
	return n, err
}

// space fails early when the volume cannot hold size more bytes.
func (f *filler) space(size int64) error {
	var st unix.Statfs_t
	if size <= 0 {
		return nil
	}
	if err := unix.Statfs(f.Target, &st); err != nil {
		return fmt.Errorf("look at the volume: %w", err)
	}
	if free := int64(st.Bavail) * st.Bsize; size > free { //nolint:gosec // block counts fit
		return fmt.Errorf("it has %s and the volume %s left: enlarge the claim", progress.Bytes(size), progress.Bytes(free))
	}
	return nil
}

func explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("the volume is full: enlarge the claim (%w)", err)
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the volume cannot be written: it needs to be writable for group %d of the pod, or for its user (%w)", os.Getgid(), err)
	}
	return err
}
