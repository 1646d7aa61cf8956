package exec

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// maxShared bounds the walk over an engine's outputs.
const maxShared = 100_000

var errEnough = errors.New("enough")

// share lets the pod's group read what the engine wrote: deliver is another
// user, and stock images write with their own umask or through files that are
// private by default. Links are neither followed nor changed.
func share(dir string) {
	n := 0
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if n++; n > maxShared {
			return errEnough
		}
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return nil //nolint:nilerr // what cannot be read stays as it is; deliver judges it
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		want := info.Mode().Perm() | 0o040
		if d.IsDir() {
			want |= 0o010
		}
		if want != info.Mode().Perm() {
			_ = os.Chmod(path, want|info.Mode()&os.ModeSetgid) //nolint:gosec // the engine is dead, and this process has no right that it had not
		}
		return nil
	})
}
