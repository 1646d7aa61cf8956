package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
)

// takenName of the folder, in a clip's own, that the engine's outputs are copied to.
const takenName = "taken"

func (c *clip) takenDir() string { return filepath.Join(filepath.Dir(c.Layout.SourceFile), takenName) }

// place is where outputs are: a folder, and the folder below it that is named by the
// engine's user and may be a link.
type place struct{ root, name string }

func (c *clip) outputs() place {
	return place{root: filepath.Dir(c.Layout.OutputDir), name: filepath.Base(c.Layout.OutputDir)}
}

// take copies the outputs of a clip to where the engine cannot reach them. It lives
// on: what is judged must be what is uploaded.
func take(ctx context.Context, cfg report.DeliverConfig, from place, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("make room for the outputs: %w", err)
	}
	left := cfg.MaxBytes
	for _, spec := range cfg.Outputs {
		n, err := takeOne(ctx, from, to, spec, left, cfg.MaxBytes > 0)
		if errors.Is(err, fs.ErrNotExist) && !spec.Required {
			continue
		}
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

func takeOne(ctx context.Context, from place, to string, spec report.OutputFile, left int64, bounded bool) (int64, error) {
	inside := spec
	inside.Path = from.name + "/" + spec.Path
	o, err := open(from.root, inside)
	if err != nil {
		return 0, err
	}
	defer o.file.Close()
	if bounded && o.size > left {
		return 0, invalid(spec, "it has %s, with which the outputs have more than the operator accepts", progress.Bytes(o.size))
	}
	path := filepath.Join(to, filepath.FromSlash(spec.Path))
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return 0, fmt.Errorf("keep output %s: %w", spec.Name, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return 0, fmt.Errorf("keep output %s: %w", spec.Name, err)
	}
	n, err := io.Copy(f, reader(ctx, o))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return 0, fmt.Errorf("keep output %s: %w", spec.Name, err)
	}
	if n != o.size {
		return 0, invalid(spec, "it changed from %d to %d bytes while it was read", o.size, n)
	}
	return n, nil
}
