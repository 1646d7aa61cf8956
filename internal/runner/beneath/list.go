//go:build !windows

package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// List calls each for every regular file below the folder rel of dir ("" is dir
// itself), hidden and temporary ones too, until it returns an error. Links,
// sockets and the like are left out. What is made or removed meanwhile, by each
// too, may be listed or not.
func List(dir, rel string, each func(File) error) error {
	var parts []string
	if rel != "" {
		var err error
		if parts, err = split(rel); err != nil {
			return err
		}
	}
	fd, err := walk(dir, parts, false)
	if err != nil {
		return err
	}
	return list(fd, "", 0, each)
}

// list closes fd.
func list(fd int, at string, depth int, each func(File) error) error {
	folder := os.NewFile(uintptr(fd), at)
	defer folder.Close()
	if depth > MaxDepth {
		return pathError("list", at, ErrDepth)
	}
	// All names first: each may remove files and with them this folder.
	names, err := folder.Readdirnames(-1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pathError("list", at, err)
	}
	for _, name := range names {
		if err := visit(fd, name, path.Join(at, name), depth, each); err != nil {
			return err
		}
	}
	return nil
}

func visit(parent int, name, at string, depth int, each func(File) error) error {
	var st unix.Stat_t
	if err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return unlessGone("look at", at, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return each(File{Path: at, Size: st.Size, ModTime: time.Unix(st.Mtim.Unix())})
	case unix.S_IFDIR:
		fd, err := openat(parent, name, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if name == "lost+found" && errors.Is(err, fs.ErrPermission) {
			return nil // of the file system itself, for root alone
		}
		if err != nil {
			if err = explain(parent, name, err); errors.Is(err, ErrLink) {
				return nil // it was a folder a moment ago
			}
			return unlessGone("open", at, err)
		}
		return list(fd, at, depth+1, each)
	}
	return nil
}

func unlessGone(op, at string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return pathError(op, at, err)
}

// Remove removes the file rel below dir, or the link of that name but not what it
// leads to. Folders that are empty then go too, as far up as the folder keep of
// dir ("" is dir itself), which stays. What is not there is no error.
func Remove(dir, rel, keep string) error {
	parts, err := split(rel)
	if err != nil {
		return err
	}
	var kept []string
	if keep != "" {
		if kept, err = split(keep); err != nil {
			return err
		}
	}
	if len(kept) >= len(parts) || !strings.HasPrefix(strings.Join(parts, "/")+"/", strings.TrimPrefix(strings.Join(kept, "/")+"/", "/")) {
		return fmt.Errorf("path %q does not lie below %q", rel, keep)
	}
	parent, err := walk(dir, parts[:len(parts)-1], false)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return nil
	case err != nil:
		return err
	}
	err = unlink(parent, parts[len(parts)-1], rel)
	unix.Close(parent)
	if err != nil {
		return err
	}
	for n := len(parts) - 1; n > len(kept); n-- {
		if !removeFolder(dir, parts[:n]) {
			break
		}
	}
	return nil
}

func unlink(parent int, name, rel string) error {
	err := unix.Unlinkat(parent, name, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EISDIR):
		err = ErrNotRegular
	}
	if err != nil {
		return pathError("remove", rel, err)
	}
	if err := unix.Fsync(parent); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return pathError("sync the folder of", rel, err)
	}
	return nil
}

// removeFolder removes a folder when it is empty, and says whether it did.
func removeFolder(dir string, parts []string) bool {
	parent, err := walk(dir, parts[:len(parts)-1], false)
	if err != nil {
		return false
	}
	defer unix.Close(parent)
	return unix.Unlinkat(parent, parts[len(parts)-1], unix.AT_REMOVEDIR) == nil
}
