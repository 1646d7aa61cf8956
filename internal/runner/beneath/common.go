// Package beneath opens and makes files below a folder without ever following a
// link. It walks one component at a time with O_NOFOLLOW, which is what openat2
// with RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS does, and also works under container
// runtimes whose seccomp profile refuses openat2.
package beneath

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// ErrLink says that a component of a path is a symbolic link.
var ErrLink = errors.New("is a symbolic link, which is not followed")

// ErrNotRegular says that a path is no regular file.
var ErrNotRegular = errors.New("is not a regular file")

// MaxDepth bounds how many folders deep List goes: each level holds a
// descriptor.
const MaxDepth = 64

// ErrDepth says that folders lie deeper in each other than MaxDepth.
var ErrDepth = errors.New("has folders deeper in each other than are followed")

// File is one regular file that List found.
type File struct {
	Path    string // relative to the folder that was listed
	Size    int64
	ModTime time.Time
}

// split gives the components of rel, none of which leads upwards.
func split(rel string) ([]string, error) {
	if !filepath.IsLocal(rel) || filepath.Clean(rel) == "." || strings.ContainsRune(rel, 0) {
		return nil, fmt.Errorf("path %q does not name a file below its folder", rel)
	}
	return strings.Split(filepath.ToSlash(filepath.Clean(rel)), "/"), nil
}
