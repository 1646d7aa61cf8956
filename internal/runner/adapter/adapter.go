// Package adapter is the role that copies the files of a variant's adapter out of
// its image into the volume where the engine sees them. It runs in that image,
// which holds files alone: no shell, no program, perhaps of other users.
//
// Regular files and folders are copied, as files that nobody writes to. A link is
// refused rather than followed: what it leads to is not there in the engine's
// container.
package adapter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/beneath"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
)

// Bounds of an adapter. An engine's code and weights belong elsewhere. The volume
// (render's adapterSize) holds that many files of that size, whatever its block size.
const (
	maxBytes   = 192 << 20
	maxEntries = 10_000 // files and folders
	maxDepth   = 32
)

// Run copies the tree below source into target, a folder that is there. It may
// run again in the same pod, after a node's restart.
func Run(ctx context.Context, source, target string, log io.Writer) error {
	info, err := os.Lstat(source)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return invalid("the adapter's image has no folder %s: put the adapter's files there (COPY . %s)", report.AdapterSourceDir, report.AdapterSourceDir)
	case err != nil:
		return invalid("the adapter's folder %s cannot be looked at: %w", report.AdapterSourceDir, err)
	case !info.IsDir():
		return invalid("%s of the adapter's image is a %s, a folder is expected", report.AdapterSourceDir, kind(info.Mode()))
	}
	if err := empty(target); err != nil {
		return fmt.Errorf("empty the adapter's volume: %w", err)
	}
	c := &copier{source: source, target: target}
	err = filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return c.visit(path, d, err)
	})
	if err == nil && c.files == 0 {
		err = invalid("the folder %s of the adapter's image holds no file", report.AdapterSourceDir)
	}
	if err == nil {
		err = c.close()
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "pose-runner: copied an adapter of %d files, %s\n", c.files, progress.Bytes(c.bytes))
	return nil
}

func invalid(format string, args ...any) error {
	return outcome.Failf(report.ReasonAdapterInvalid, format, args...)
}

// copier is one copy.
type copier struct {
	source, target string
	entries, files int
	bytes          int64
	folders        []string // made, from the top down
}

// visit one entry of the source.
func (c *copier) visit(path string, d fs.DirEntry, err error) error {
	rel, relErr := filepath.Rel(c.source, path)
	if relErr != nil {
		return relErr
	}
	shown := filepath.Join(report.AdapterSourceDir, rel)
	if err != nil {
		return unreadable(shown, err)
	}
	if rel == "." {
		return nil
	}
	if c.entries++; c.entries > maxEntries {
		return invalid("the adapter's image has more than %d files and folders below %s: an adapter is a few files beside the engine's own image", maxEntries, report.AdapterSourceDir)
	}
	if strings.Count(rel, "/") >= maxDepth {
		return invalid("%q of the adapter's image lies more than %d folders deep", shown, maxDepth)
	}
	switch {
	case d.IsDir():
		to := filepath.Join(c.target, rel)
		c.folders = append(c.folders, to)
		return explain(shown, os.Mkdir(to, 0o755)) // closed when its files are in
	case d.Type().IsRegular():
		return c.file(rel, shown)
	}
	return invalid("%q of the adapter's image is a %s: an adapter holds regular files and folders only", shown, kind(d.Type()))
}

// file copies one regular file.
func (c *copier) file(rel, shown string) error {
	in, err := beneath.Open(c.source, rel)
	if err != nil {
		return unreadable(shown, err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return unreadable(shown, err)
	}
	mode := fs.FileMode(0o444)
	if info.Mode()&0o111 != 0 {
		mode = 0o555
	}
	out, err := os.OpenFile(filepath.Join(c.target, rel), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return explain(shown, err)
	}
	n, err := io.Copy(out, io.LimitReader(in, maxBytes-c.bytes+1))
	if err == nil {
		err = out.Chmod(mode) // whatever the umask said
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if c.bytes += n; c.bytes > maxBytes {
		return invalid("the adapter's image has more than %s below %s (with %q): weights and engines belong into images and volumes of their own", progress.Bytes(maxBytes), report.AdapterSourceDir, shown)
	}
	c.files++
	return explain(shown, err)
}

// close takes the right to write from the folders, the deepest first.
func (c *copier) close() error {
	for i := len(c.folders) - 1; i >= 0; i-- {
		if err := os.Chmod(c.folders[i], 0o555); err != nil {
			return fmt.Errorf("close the adapter's folder: %w", err)
		}
	}
	return nil
}

// empty removes what an earlier run left in dir, and leaves dir itself.
func empty(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		// Nothing can be removed from the folders that close closed.
		err := fs.WalkDir(root.FS(), e.Name(), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = root.Chmod(path, 0o755)
			}
			return err
		})
		if err == nil {
			err = root.RemoveAll(e.Name())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unreadable says what is wrong with the image's side.
func unreadable(shown string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return invalid("%q of the adapter's image cannot be read by user %d: give everybody the right to (chmod -R a+rX %s in the image): %w", shown, os.Getuid(), report.AdapterSourceDir, err)
	}
	return invalid("%q of the adapter's image cannot be read: %w", shown, err)
}

// explain says what is wrong with the volume's side.
func explain(shown string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return outcome.Failf(report.ReasonScratchExceeded, "the node's disk is full while the adapter is copied: %w", err)
	}
	return fmt.Errorf("copy %q of the adapter: %w", shown, err)
}

// kind names what is no regular file.
func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m.IsDir():
		return "folder"
	case m.IsRegular():
		return "file"
	case m&fs.ModeDevice != 0:
		return "device"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	}
	return "special file"
}
