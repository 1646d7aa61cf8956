package verify

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/pose-dev/pose-operator/internal/runner/beneath"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// Folder is a Store on this machine. No link in it is followed.
type Folder string

// Open reads a regular file below the folder.
func (d Folder) Open(_ context.Context, key string) (io.ReadCloser, storage.Info, error) {
	f, err := beneath.Open(string(d), filepath.FromSlash(key))
	if err != nil {
		return nil, storage.Info{}, d.explain(key, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, storage.Info{}, d.explain(key, err)
	}
	return f, storage.Info{Size: info.Size()}, nil
}

func (d Folder) explain(key string, err error) error {
	e := &storage.Error{Place: filepath.Join(string(d), filepath.FromSlash(key)), Cause: err.Error()}
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Kind, e.Cause = storage.NotFound, "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Cause = storage.Refused, "you may not read it"
	case errors.As(err, &path):
		e.Cause = path.Err.Error()
	}
	return e
}

// String is the folder's path.
func (d Folder) String() string { return string(d) }
