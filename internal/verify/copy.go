package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// Copy one file of a result into to, from its beginning on, and compare it with the
// manifest meanwhile: what differs is a *Damage. A connection that breaks is opened
// again, and the file read anew. tell, where it is not nil, is told of bytes as they
// come, and of less than none where they are read again.
func Copy(ctx context.Context, store Store, key string, want result.ManifestFileRef, to *os.File, tell func(int64)) error {
	if tell == nil {
		tell = func(int64) {}
	}
	o := Options{}
	return o.retry(ctx, func(ctx context.Context) error {
		if err := to.Truncate(0); err != nil {
			return fmt.Errorf("write %s: %w", to.Name(), err)
		}
		if _, err := to.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("write %s: %w", to.Name(), err)
		}
		body, info, err := Alive(ctx, store, key, o.policy().Idle)
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
		// One byte more than there should be shows a file that goes on.
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

// counter is a Writer that only counts.
type counter func(int64)

func (c counter) Write(p []byte) (int, error) {
	c(int64(len(p)))
	return len(p), nil
}
