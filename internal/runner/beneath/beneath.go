//go:build !windows

package beneath

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Open opens the regular file rel below dir for reading.
func Open(dir, rel string) (*os.File, error) {
	parts, err := split(rel)
	if err != nil {
		return nil, err
	}
	parent, err := walk(dir, parts[:len(parts)-1], false)
	if err != nil {
		return nil, err
	}
	defer unix.Close(parent)
	// O_NONBLOCK: a FIFO in the place of a file must not block us.
	fd, err := openat(parent, parts[len(parts)-1], unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, pathError("open", rel, err)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(dir, rel))
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if !info.Mode().IsRegular() {
		f.Close()
		return nil, pathError("open", rel, ErrNotRegular)
	}
	return f, nil
}

// Write makes the file rel below dir, with its folders, from what fill writes:
// into a temporary file that is synced and then renamed.
func Write(dir, rel string, fill func(*os.File) error) error {
	return write(dir, rel, fill, func(parent int, temp, name string) error { return unix.Renameat(parent, temp, parent, name) })
}

// WriteNew is Write for a file that is not there yet: fs.ErrExist when it is, also
// when somebody else made it a moment ago.
func WriteNew(dir, rel string, fill func(*os.File) error) error {
	return write(dir, rel, fill, func(parent int, temp, name string) error {
		// A hard link never replaces, on network file systems neither.
		err := unix.Linkat(parent, temp, parent, name, 0)
		if err == nil || errors.Is(err, unix.EEXIST) {
			_ = unix.Unlinkat(parent, temp, 0)
			return err
		}
		// File systems without hard links: a look right before is the best there is
		// where the kernel cannot do better.
		if err = renameNew(parent, temp, name); err == nil || errors.Is(err, unix.EEXIST) {
			return err
		}
		var st unix.Stat_t
		if unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			return unix.EEXIST
		}
		return unix.Renameat(parent, temp, parent, name)
	})
}

func write(dir, rel string, fill func(*os.File) error, place func(parent int, temp, name string) error) error {
	parts, err := split(rel)
	if err != nil {
		return err
	}
	name := parts[len(parts)-1]
	temp := temporary(name)
	parent, fd, err := createTemp(dir, parts[:len(parts)-1], name, temp)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	f := os.NewFile(uintptr(fd), filepath.Join(dir, rel))
	if err := fillAndSync(f, fill); err != nil {
		_ = unix.Unlinkat(parent, temp, 0)
		return err
	}
	if err := place(parent, temp, name); err != nil {
		_ = unix.Unlinkat(parent, temp, 0)
		return pathError("rename", rel, err)
	}
	// The rename itself must be on disk too; some network file systems refuse
	// to sync a folder, and they order renames themselves.
	if err := unix.Fsync(parent); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return pathError("sync the folder of", rel, err)
	}
	return nil
}

// createTemp makes the folders and a new file in the last of them.
func createTemp(dir string, parts []string, name, temp string) (parent, fd int, err error) {
	// Remove takes empty folders away, also those that were made a moment ago.
	for range 100 {
		if parent, err = walk(dir, parts, true); err == nil {
			sweep(parent, name)
			fd, err = openat(parent, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o660)
			if err == nil {
				return parent, fd, nil
			}
			unix.Close(parent)
			err = pathError("create", path.Join(append(slices.Clone(parts), temp)...), err)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return -1, -1, err
}

// temporary is a name that no other writer has: containers of several pods, each
// with the same process id, may write the same file of a shared volume at once.
func temporary(name string) string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return fmt.Sprintf("%s%x%s", tempPrefix(name), random, tempSuffix)
}

const (
	tempSuffix = ".tmp"
	// stale is the age at which a temporary file that nobody wrote to meanwhile is
	// what a killed container left.
	stale = time.Hour
	// longestName is what is left for a name beside prefix, random part and suffix.
	longestName = 255 - len("..") - 16 - len(tempSuffix)
)

func tempPrefix(name string) string { return "." + name[:min(len(name), longestName)] + "." }

// sweep removes stale temporary files of the same name, best effort.
func sweep(parent int, name string) {
	fd, err := openat(parent, ".", unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	folder := os.NewFile(uintptr(fd), ".")
	defer folder.Close()
	names, _ := folder.Readdirnames(-1)
	for _, n := range names {
		var st unix.Stat_t
		if !strings.HasPrefix(n, tempPrefix(name)) || !strings.HasSuffix(n, tempSuffix) || unix.Fstatat(parent, n, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			continue
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG && time.Since(time.Unix(st.Mtim.Unix())) > stale {
			_ = unix.Unlinkat(parent, n, 0)
		}
	}
}

func fillAndSync(f *os.File, fill func(*os.File) error) error {
	err := fill(f)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// walk opens the folder that parts lead to; make creates what is missing.
func walk(dir string, parts []string, create bool) (int, error) {
	fd, err := openat(unix.AT_FDCWD, dir, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, pathError("open", dir, err)
	}
	for i, part := range parts {
		if create {
			if err := unix.Mkdirat(fd, part, 0o770); err != nil && !errors.Is(err, unix.EEXIST) {
				unix.Close(fd)
				return -1, pathError("create", filepath.Join(parts[:i+1]...), err)
			}
		}
		next, err := openat(fd, part, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			err = explain(fd, part, err)
		}
		unix.Close(fd)
		if err != nil {
			return -1, pathError("open", filepath.Join(parts[:i+1]...), err)
		}
		fd = next
	}
	return fd, nil
}

// explain tells a link apart from a file: O_DIRECTORY|O_NOFOLLOW gives ENOTDIR
// for both.
func explain(parent int, name string, err error) error {
	var st unix.Stat_t
	if unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return ErrLink
	}
	return err
}

func openat(parent int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(parent, name, flags, mode)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func pathError(op, path string, err error) error {
	switch {
	case errors.Is(err, unix.ELOOP):
		err = ErrLink
	case errors.Is(err, unix.ENXIO): // a socket, or a FIFO without a writer
		err = ErrNotRegular
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}
