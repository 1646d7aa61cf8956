// Package verify finds a result and checks it against its manifest.
//
// A result is a folder with a manifest.json that names every file of it with size
// and sha256. An output's root has a small pointer instead, which leads to the
// folder of one attempt and holds the digest of its manifest. The digest of the
// manifest stands for the whole result: who has it from elsewhere, as from the
// status of a PoseJob, knows of every byte whether it is as it was delivered.
//
// Nothing that is read here is trusted: not the pointer's URI, nor a path that leads
// out of the folder, nor a size.
package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// Store is where a result lies. Every storage.Sink is one.
type Store interface {
	Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error)
	String() string
}

// Damage is the error of a result that is not whole. Any other error says nothing of
// the result: it could not be looked at.
type Damage struct{ Problems []string }

func (d *Damage) Error() string {
	if len(d.Problems) == 0 {
		return "the result is damaged"
	}
	more := ""
	if n := len(d.Problems) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	return d.Problems[0] + more
}

func damaged(format string, args ...any) error {
	return &Damage{Problems: []string{fmt.Sprintf(format, args...)}}
}

// Found is a result with its manifest. Its files are not looked at yet.
type Found struct {
	// Folder of the attempt, relative to the store; "" when the store is that folder.
	Folder   string
	Manifest *result.Manifest
	// Raw is the manifest's own bytes, SHA256 their digest.
	Raw    []byte
	SHA256 string
	// Pointer that led here; nil without one.
	Pointer *result.Pointer
	// Version of the file at the store's root, for a write on condition; empty where
	// the place has none.
	Version string
}

// Key of a file of the result in the store.
func (f *Found) Key(path string) string {
	if f.Folder == "" {
		return path
	}
	return f.Folder + "/" + path
}

// Bytes of all files.
func (f *Found) Bytes() (sum int64) {
	for _, r := range f.Manifest.Files {
		sum += r.Size
	}
	return sum
}

// Options of Find and Check; the zero value will do.
type Options struct {
	// Policy of another try after a temporary error; storage's own where it is zero.
	Policy storage.Policy
	// Parallel is how many files are read at a time; 0 means 4.
	Parallel int
	// Progress is told of bytes as they are read, one call at a time; nil: nobody asks.
	Progress func(done, total int64)
}

// Find reads the manifest of the result that lies in store: that of the folder, or
// that of the attempt to which the pointer at an output's root leads. The manifest
// must have the digest that the pointer names and, where want is not empty, want.
//
// Where there is no manifest at all the error is of storage's kind NotFound, and a
// file of somebody else is result.ErrForeign. A pointer that leads nowhere, another
// digest and a manifest that cannot be right are a *Damage.
func Find(ctx context.Context, store Store, want string, o Options) (*Found, error) {
	raw, info, err := o.get(ctx, store, result.ManifestFile)
	if err != nil {
		return nil, err
	}
	f := &Found{Raw: raw, Version: info.Version}
	if result.KindOf(raw) == result.KindPointer {
		if f.Pointer, err = result.ReadPointer(raw); err != nil {
			return nil, unfit(store, result.ManifestFile, err)
		}
		f.Folder = result.AttemptsDir + "/" + f.Pointer.AttemptID
		f.Raw, _, err = o.get(ctx, store, f.Key(result.ManifestFile))
		if storage.KindOf(err) == storage.NotFound {
			return nil, damaged("%s leads to %s, which is not there", result.ManifestFile, f.Key(result.ManifestFile))
		}
		if err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(f.Raw)
	f.SHA256 = hex.EncodeToString(sum[:])
	key := f.Key(result.ManifestFile)
	if f.Pointer != nil && f.Pointer.ManifestSHA256 != f.SHA256 {
		return nil, damaged("%s has sha256 %s, the pointer that leads to it says %s", key, f.SHA256, f.Pointer.ManifestSHA256)
	}
	if want != "" && want != f.SHA256 {
		return nil, damaged("%s has sha256 %s, not %s: it is another result, or it was changed", key, f.SHA256, want)
	}
	if f.Manifest, err = result.ReadManifest(f.Raw); err != nil {
		return nil, unfit(store, key, err)
	}
	return f, nil
}

// get a small document. One that is too large is somebody else's.
func (o Options) get(ctx context.Context, store Store, key string) (raw []byte, info storage.Info, err error) {
	err = o.retry(ctx, func(ctx context.Context) (err error) {
		var body io.ReadCloser
		if body, info, err = Alive(ctx, store, key, o.policy().Idle); err != nil {
			return err
		}
		defer body.Close()
		raw, err = io.ReadAll(io.LimitReader(body, result.MaxManifestBytes+1))
		return err
	})
	if err == nil && len(raw) > result.MaxManifestBytes {
		err = unfit(store, key, fmt.Errorf("%w: it has more than %d bytes", result.ErrForeign, result.MaxManifestBytes))
	}
	return raw, info, err
}

// unfit says of which document an error is: a foreign one stays foreign, a broken
// one of ours is damage.
func unfit(store Store, key string, err error) error {
	if errors.Is(err, result.ErrForeign) {
		return fmt.Errorf("%s: %w", storage.Join(store.String(), key), err)
	}
	return damaged("%s cannot be right: %v", key, err)
}

// policy fills in what is not set.
func (o Options) policy() storage.Policy {
	p := o.Policy
	if p == (storage.Policy{}) {
		p = storage.DefaultPolicy()
	}
	if p.Idle <= 0 {
		p.Idle = storage.DefaultPolicy().Idle
	}
	return p
}

func (o Options) retry(ctx context.Context, f func(context.Context) error) error {
	return storage.RetryFew(ctx, o.policy(), nil, f)
}

// block is how much of a file is read at a time, in bytes.
const block = 256 << 10

// Check reads every file of a result and compares it with the manifest. The report
// is complete also when there are problems; the error says that the check could not
// be made.
func Check(ctx context.Context, store Store, f *Found, o Options) (*report.VerifyReport, error) {
	c := &check{store: store, found: f, options: o, total: f.Bytes()}
	files := f.Manifest.Files
	problems, errs := make([]string, len(files)), make([]error, len(files))
	n := o.Parallel
	if n <= 0 {
		n = 4
	}
	next := make(chan int)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wait sync.WaitGroup
	for range min(n, len(files)) {
		wait.Go(func() {
			buf := make([]byte, block)
			for i := range next {
				if problems[i], errs[i] = c.file(ctx, files[i], buf); errs[i] != nil {
					stop()
				}
			}
		})
	}
	for i := range files {
		select {
		case next <- i:
		case <-ctx.Done():
			errs[i] = context.Cause(ctx)
		}
	}
	close(next)
	wait.Wait()
	rep := &report.VerifyReport{URI: store.String(), ManifestSHA256: f.SHA256}
	if f.Folder != "" {
		rep.URI = storage.Join(store.String(), f.Folder)
	}
	for i := range files {
		if problems[i] != "" {
			rep.Problems = append(rep.Problems, problems[i])
		}
	}
	rep.Files, rep.Bytes = c.files, c.done
	return rep, first(errs)
}

// first error, and one that is not merely another's echo if there is one.
func first(errs []error) (err error) {
	for _, e := range errs {
		if e != nil && !errors.Is(e, context.Canceled) {
			return e
		}
		if err == nil {
			err = e
		}
	}
	return err
}

type check struct {
	store   Store
	found   *Found
	options Options
	total   int64

	mu          sync.Mutex
	files, done int64
}

func (c *check) add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done += n; c.options.Progress != nil {
		c.options.Progress(c.done, c.total)
	}
}

// file gives the problem of one file, "" for none.
func (c *check) file(ctx context.Context, want result.ManifestFileRef, buf []byte) (problem string, err error) {
	err = c.options.retry(ctx, func(ctx context.Context) error {
		problem, err = c.read(ctx, want, buf)
		return err
	})
	switch kind := storage.KindOf(err); {
	case err == nil:
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case kind == storage.NotFound:
		problem, err = want.Path+": it is missing", nil
	case kind == storage.Other || kind == storage.Changed:
		// It lies there and cannot be read as a file: a link, a folder, a disk's
		// error, an object that changes while it is read.
		problem, err = fmt.Sprintf("%s: %v", want.Path, err), nil
	default:
		return "", err
	}
	c.mu.Lock()
	c.files++
	c.mu.Unlock()
	return problem, nil
}

// read one file once. What was counted of a file whose reading broke off is taken
// back, for it is read again.
func (c *check) read(ctx context.Context, want result.ManifestFileRef, buf []byte) (problem string, err error) {
	body, info, err := Alive(ctx, c.store, c.found.Key(want.Path), c.options.policy().Idle)
	if err != nil {
		return "", err
	}
	defer body.Close()
	if info.Size >= 0 && info.Size != want.Size {
		return fmt.Sprintf("%s: it has %d bytes, the manifest says %d", want.Path, info.Size, want.Size), nil
	}
	h, n := sha256.New(), int64(0)
	// One byte more than there should be shows a file that goes on.
	r := io.LimitReader(body, want.Size+1)
	for {
		k, err := r.Read(buf)
		h.Write(buf[:k])
		n += int64(k)
		c.add(int64(k))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			c.add(-n)
			return "", err
		}
	}
	switch got := hex.EncodeToString(h.Sum(nil)); {
	case n > want.Size:
		return fmt.Sprintf("%s: it has more than the %d bytes that the manifest says", want.Path, want.Size), nil
	case n < want.Size:
		return fmt.Sprintf("%s: it ends after %d of %d bytes", want.Path, n, want.Size), nil
	case got != want.SHA256:
		return fmt.Sprintf("%s: its sha256 is %s, the manifest says %s", want.Path, got, want.SHA256), nil
	}
	return "", nil
}
