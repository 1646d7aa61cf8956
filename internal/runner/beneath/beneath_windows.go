package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// kubectl-pose runs on Windows, and only reads folders there; pods do not run on it.
var errWindows = fmt.Errorf("not on Windows: %w", errors.ErrUnsupported)

// Open opens the regular file rel below dir for reading.
func Open(dir, rel string) (*os.File, error) {
	parts, err := split(rel)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	at := ""
	for i, part := range parts {
		at = filepath.Join(at, part)
		info, err := root.Lstat(at)
		switch {
		case err != nil:
			return nil, err
		case info.Mode()&(fs.ModeSymlink|fs.ModeIrregular) != 0: // junctions are irregular
			return nil, &fs.PathError{Op: "open", Path: at, Err: ErrLink}
		case i == len(parts)-1 && !info.Mode().IsRegular():
			return nil, &fs.PathError{Op: "open", Path: rel, Err: ErrNotRegular}
		}
	}
	// Who puts a link there between the look and this only leads to another file below
	// dir: a root is never left.
	return root.Open(at)
}

// Write is not for Windows.
func Write(_, rel string, _ func(*os.File) error) error { return refused("write", rel) }

// WriteNew is not for Windows.
func WriteNew(_, rel string, _ func(*os.File) error) error { return refused("write", rel) }

// List is not for Windows.
func List(_, rel string, _ func(File) error) error { return refused("list", rel) }

// Remove is not for Windows.
func Remove(_, rel, _ string) error { return refused("remove", rel) }

func refused(op, path string) error { return &fs.PathError{Op: op, Path: path, Err: errWindows} }
