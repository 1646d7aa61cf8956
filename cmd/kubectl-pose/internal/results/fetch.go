package results

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// fetch copies one file of a result into to, from its beginning on, and compares it
// with the manifest meanwhile. What differs is a *verify.Damage. A connection that
// breaks is opened again, and the file read anew. tell is told of bytes as they come,
// and of less than none where they are read again.
func fetch(ctx context.Context, store verify.Store, key string, want result.ManifestFileRef, to *os.File, tell func(int64)) error {
	policy := storage.DefaultPolicy()
	return storage.RetryFew(ctx, policy, nil, func(ctx context.Context) error {
		if err := to.Truncate(0); err != nil {
			return fmt.Errorf("write %s: %w", to.Name(), err)
		}
		if _, err := to.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("write %s: %w", to.Name(), err)
		}
		body, info, err := verify.Alive(ctx, store, key, policy.Idle)
		switch {
		case storage.KindOf(err) == storage.NotFound:
			return damaged("%s: it is missing", want.Path)
		case err != nil:
			return fmt.Errorf("read %s: %w", want.Path, err)
		}
		defer body.Close()
		if info.Size >= 0 && info.Size != want.Size {
			return damaged("%s: it has %d bytes, the manifest says %d", want.Path, info.Size, want.Size)
		}
		told := int64(0)
		h := sha256.New()
		n, err := io.Copy(io.MultiWriter(to, h, counter(func(n int64) { told += n; tell(n) })), io.LimitReader(body, want.Size+1))
		if err != nil {
			tell(-told)
			return fmt.Errorf("copy %s to %s: %w", want.Path, to.Name(), err)
		}
		got := hex.EncodeToString(h.Sum(nil))
		switch {
		case n != want.Size:
			return damaged("%s: it has not the %d bytes that the manifest says", want.Path, want.Size)
		case got != want.SHA256:
			return damaged("%s: its sha256 is %s, the manifest says %s", want.Path, got, want.SHA256)
		}
		return nil
	})
}

func damaged(format string, args ...any) error {
	return &verify.Damage{Problems: []string{fmt.Sprintf(format, args...)}}
}

// counter is a Writer that only counts.
type counter func(int64)

func (c counter) Write(p []byte) (int, error) {
	c(int64(len(p)))
	return len(p), nil
}

// errInterrupted ends reading when the person interrupts the command.
var errInterrupted = errors.New("interrupted")

// readable is a file whose reading ends when the person interrupts the command.
type readable struct {
	ctx  context.Context //nolint:containedctx // reading ends with it
	file *os.File
	size int64
	// report says how far reading is; nil: nobody asks.
	report func(read, size int64)
	read   int64
}

func (r *readable) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, errInterrupted
	}
	n, err := r.file.Read(p)
	if r.read += int64(n); r.report != nil {
		r.report(r.read, r.size)
	}
	return n, err //nolint:wrapcheck // the file's own error, or io.EOF
}

func (r *readable) ReadAt(p []byte, at int64) (int, error) {
	if r.ctx.Err() != nil {
		return 0, errInterrupted
	}
	return r.file.ReadAt(p, at) //nolint:wrapcheck // the file's own error, or io.EOF
}

func (r *readable) Seek(offset int64, whence int) (int64, error) {
	r.read = 0
	return r.file.Seek(offset, whence) //nolint:wrapcheck // the file's own error
}
