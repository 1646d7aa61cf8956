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
	"path/filepath"
	"strings"

	"github.com/pose-dev/pose-operator/internal/export"
	"github.com/pose-dev/pose-operator/internal/result"
)

const (
	poseFile = "pose.json"
	// maxPose and maxSMPL bound what is read of a person's own disk: enough for
	// hours of video, and an end for a device or a file that never stops.
	maxPose     = 16 << 30
	maxSMPL     = 4 << 30
	maxManifest = 8 << 20
)

var limits = result.Limits{Bytes: maxPose}

// localResult is an open result on this machine.
type localResult struct {
	source *export.Source
	opened []io.Closer
	report func(read, size int64)
}

func (r *localResult) Close() {
	for _, c := range r.opened {
		_ = c.Close() // they were only read
	}
}

// place of a result: a folder, and the names of its files in it. Nothing outside
// the folder is ever opened, whatever a manifest says.
type place struct {
	root     *os.Root
	pose     string // path of pose.json in root
	digests  map[string]string
	manifest bool
}

// openResult finds, checks and opens a result; with the body model's parameters
// only if they are wanted.
func openResult(ctx context.Context, from string, smpl bool, report func(read, size int64)) (*localResult, error) {
	p, err := findResult(from)
	if err != nil {
		return nil, err
	}
	r := &localResult{opened: []io.Closer{p.root}, report: report}
	if err := r.load(ctx, from, p, smpl); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *localResult) load(ctx context.Context, from string, p place, smpl bool) error {
	f, err := r.open(p, p.pose)
	if err != nil {
		return fmt.Errorf("open the result %s: %w", from, err)
	}
	if err := p.check(ctx, f, p.pose); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open the result %s: %w", from, err)
	}
	in := &interruptible{ctx: ctx, ReadSeeker: f, size: info.Size(), report: r.report}
	defer func() { in.report = nil }() // the export counts frames itself
	r.source, err = export.NewSource(in, limits)
	if err != nil {
		return fmt.Errorf("read the result %s: %w", from, err)
	}
	if !smpl || r.source.Head.Parametric == nil {
		return nil
	}
	return r.loadSMPL(ctx, p, r.source.Head.Parametric.File)
}

// open a regular file of the result.
func (r *localResult) open(p place, name string) (*os.File, error) {
	f, err := p.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err //nolint:wrapcheck // the callers say what was opened
	}
	r.opened = append(r.opened, f)
	info, err := f.Stat()
	if err != nil {
		return nil, err //nolint:wrapcheck // see above
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", f.Name())
	}
	return f, nil
}

// loadSMPL reads the body model's parameters from a file beside pose.json.
func (r *localResult) loadSMPL(ctx context.Context, p place, file string) error {
	name := filepath.ToSlash(filepath.Join(filepath.Dir(filepath.FromSlash(p.pose)), file))
	f, err := r.open(p, name)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("pose.json names %s beside it, which is not there: fetch the whole folder of the result", file)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", file, err)
	}
	if err := p.check(ctx, f, name); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open %s: %w", file, err)
	}
	if info.Size() > maxSMPL {
		return fmt.Errorf("%s has %d bytes, more than the %d that are read", file, info.Size(), int64(maxSMPL))
	}
	if err := r.source.Attach(&interruptibleAt{ctx: ctx, r: f}, info.Size(), limits); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}

// check compares a file with the manifest's digest, where there is one.
func (p place) check(ctx context.Context, f *os.File, name string) error {
	if !p.manifest {
		return nil
	}
	want, ok := p.digests[name]
	if !ok {
		return fmt.Errorf("the manifest does not list %s: it is not part of the result", name)
	}
	h := sha256.New()
	if _, err := io.Copy(h, &interruptible{ctx: ctx, ReadSeeker: f}); err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%s has sha256 %s, the manifest says %s: it was changed or not fetched whole; fetch it again", f.Name(), got, want)
	}
	_, err := f.Seek(0, io.SeekStart)
	return err //nolint:wrapcheck // a file that was just read
}

// findResult says where a result lies: from is a folder, a pose.json or a manifest.
func findResult(from string) (place, error) {
	if strings.Contains(from, "://") {
		return place{}, fmt.Errorf("%s is not on this machine: fetch its folder first (for example with `aws s3 cp --recursive` or `kubectl cp`) and name that", from)
	}
	info, err := os.Stat(from)
	if err != nil {
		return place{}, fmt.Errorf("find the result: %w", err)
	}
	folder, file := from, ""
	if !info.IsDir() {
		folder, file = filepath.Dir(from), filepath.Base(from)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return place{}, fmt.Errorf("open the result's folder: %w", err)
	}
	p, err := locate(root, file)
	if err != nil {
		_ = root.Close() // the first error counts
		return place{}, fmt.Errorf("find the result in %s: %w", from, err)
	}
	return p, nil
}

func locate(root *os.Root, file string) (place, error) {
	if file == "" {
		if _, err := root.Stat(result.ManifestFile); err == nil {
			file = result.ManifestFile
		} else {
			file = poseFile
		}
	}
	if file != result.ManifestFile {
		return place{root: root, pose: file}, nil
	}
	return fromManifest(root, result.ManifestFile)
}

// fromManifest follows the pointer at an output's root, then reads the manifest.
func fromManifest(root *os.Root, name string) (place, error) {
	b, err := readSmall(root, name)
	if err != nil {
		return place{}, err
	}
	var kind struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(b, &kind); err != nil {
		return place{}, fmt.Errorf("%s is no manifest of a result: %w", name, err)
	}
	switch kind.Kind {
	case result.KindPointer:
		var pointer result.Pointer
		if err := json.Unmarshal(b, &pointer); err != nil {
			return place{}, fmt.Errorf("%s is no manifest of a result: %w", name, err)
		}
		id := pointer.AttemptID
		if id == "" || id != filepath.Base(id) || !filepath.IsLocal(id) || name != result.ManifestFile {
			return place{}, fmt.Errorf("%s leads to attempt %q, which is no name of a folder", name, id)
		}
		next := result.AttemptsDir + "/" + id + "/" + result.ManifestFile
		p, err := fromManifest(root, next)
		if errors.Is(err, os.ErrNotExist) {
			return place{}, fmt.Errorf("%s leads to %s, which is not there: fetch the folder %s, too", name, next, result.AttemptsDir)
		}
		return p, err
	case result.KindManifest:
		return listed(root, name, b)
	}
	return place{}, fmt.Errorf("%s is of kind %q, not %s or %s", name, kind.Kind, result.KindManifest, result.KindPointer)
}

// listed takes the files and digests of a manifest.
func listed(root *os.Root, name string, b []byte) (place, error) {
	var m result.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return place{}, fmt.Errorf("%s is no manifest of a result: %w", name, err)
	}
	p := place{root: root, manifest: true, digests: map[string]string{}}
	dir := filepath.Dir(filepath.FromSlash(name))
	for _, f := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
			return place{}, fmt.Errorf("%s names %q, which leads out of its folder", name, f.Path)
		}
		path := filepath.ToSlash(filepath.Join(dir, filepath.FromSlash(f.Path)))
		p.digests[path] = f.SHA256
		if f.Name == poseFile || (p.pose == "" && filepath.Base(path) == poseFile) {
			p.pose = path
		}
	}
	if p.pose == "" {
		return place{}, fmt.Errorf("%s lists no %s: the engine delivered another kind of result", name, poseFile)
	}
	return p, nil
}

func readSmall(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the file
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > maxManifest {
		return nil, fmt.Errorf("%s has more than %d bytes: it is no manifest", name, maxManifest)
	}
	return b, nil
}

// interruptible ends reading when the person interrupts the command, and says how
// far it is.
type interruptible struct {
	ctx context.Context // reading ends with it
	io.ReadSeeker
	size, read int64
	report     func(read, size int64) // nil: nobody asks
}

var errInterrupted = errors.New("interrupted")

// interruptibleAt ends reading at any place when the person interrupts the command.
type interruptibleAt struct {
	ctx context.Context // reading ends with it
	r   io.ReaderAt
}

func (i *interruptibleAt) ReadAt(p []byte, at int64) (int, error) {
	if i.ctx.Err() != nil {
		return 0, errInterrupted
	}
	return i.r.ReadAt(p, at) //nolint:wrapcheck // the reader's own error
}

func (i *interruptible) Read(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, errInterrupted
	}
	n, err := i.ReadSeeker.Read(p)
	if i.read += int64(n); i.report != nil {
		i.report(i.read, i.size)
	}
	return n, err //nolint:wrapcheck // the reader's own error
}

func (i *interruptible) Seek(offset int64, whence int) (int64, error) {
	i.read = 0
	return i.ReadSeeker.Seek(offset, whence) //nolint:wrapcheck // the reader's own error
}
