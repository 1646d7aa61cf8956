package results

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pose-dev/pose-operator/internal/export"
)

// splitOut takes --out apart: a name with the format's extension that is no folder
// is a file, whose name without the extension begins the names of all files.
func splitOut(out string, f export.Format) (folder, stem string, err error) {
	if out == "" || strings.ContainsRune(out, 0) {
		return "", "", errors.New("--out names no folder or file")
	}
	if strings.Contains(out, "://") {
		return "", "", fmt.Errorf("--out %s: exports are written to this machine only: name a folder, and copy it there", out)
	}
	base := filepath.Base(out)
	if info, err := os.Stat(out); (err == nil && info.IsDir()) || !strings.EqualFold(filepath.Ext(base), f.Extension) || os.IsPathSeparator(out[len(out)-1]) {
		return filepath.Clean(out), "", nil
	}
	stem = strings.TrimSuffix(base, filepath.Ext(base))
	if stem == "" {
		return "", "", fmt.Errorf("--out %s has nothing before its extension", out)
	}
	return filepath.Dir(out), stem, nil
}

// outputFile is one file that was written.
type outputFile struct {
	Path string `json:"path"`
	Size int64  `json:"size"` // bytes
}

// output collects the files of an export in a hidden folder beside their place, and
// moves them there once all are complete.
type output struct {
	flag   string   // by which the person named the folder
	folder string   // where the files belong
	made   []string // folders that are ours: it and those above it, innermost first
	work   string   // where they are until then
	force  bool
	names  []string
}

// newOutput writes into a folder that flag named.
func newOutput(flag, folder string, force bool) (*output, error) {
	o := &output{flag: flag, folder: folder, force: force}
	switch info, err := os.Stat(folder); {
	case errors.Is(err, fs.ErrNotExist):
		o.made = missing(folder)
		if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // the person's own folder, as mkdir makes it
			o.discard()
			return nil, fmt.Errorf("make the folder of %s: %w", flag, err)
		}
	case err != nil:
		return nil, fmt.Errorf("look at %s: %w", flag, err)
	case !info.IsDir():
		return nil, fmt.Errorf("%s %s is a file, not a folder; a file of an export must have the format's extension", flag, folder)
	}
	work, err := os.MkdirTemp(folder, ".pose-export-")
	if err != nil {
		o.discard()
		return nil, fmt.Errorf("write into the folder of %s: %w", flag, err)
	}
	o.work = work
	return o, nil
}

// missing lists a folder and those above it that are not there.
func missing(folder string) []string {
	var out []string
	for {
		if _, err := os.Lstat(folder); !errors.Is(err, fs.ErrNotExist) {
			return out
		}
		out = append(out, folder)
		folder = filepath.Dir(folder)
	}
}

// create is an export.Create. It refuses a place that is taken at once, before
// the work is done.
func (o *output) create(name string) (io.WriteCloser, error) {
	if name == "" || name != filepath.Base(name) || !filepath.IsLocal(name) {
		return nil, fmt.Errorf("%q is no plain file name", name)
	}
	if err := o.free(name); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(o.work, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // a plain name in our own folder
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", filepath.Join(o.folder, name), err)
	}
	o.names = append(o.names, name)
	return f, nil
}

// free says whether a name may be taken. A folder is never replaced.
func (o *output) free(name string) error {
	path := filepath.Join(o.folder, name)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at %s: %w", path, err)
	case info.IsDir():
		return fmt.Errorf("%s is a folder: choose another %s", path, o.flag)
	case !o.force:
		return fmt.Errorf("%s is there already: choose another %s, or add --force to replace it", path, o.flag)
	}
	return nil
}

// replacedDir is the folder in the work folder that holds what files of the export
// have replaced. No file has its name: theirs have an extension.
const replacedDir = "replaced"

// commit moves all files to their place. Each is complete when it appears. If one
// cannot be moved, everything is as before.
func (o *output) commit() ([]outputFile, error) {
	if o.force {
		if err := os.Mkdir(filepath.Join(o.work, replacedDir), 0o700); err != nil {
			return nil, fmt.Errorf("write into the folder of %s: %w", o.flag, err)
		}
	}
	out := make([]outputFile, 0, len(o.names))
	for _, name := range o.names {
		from, to := filepath.Join(o.work, name), filepath.Join(o.folder, name)
		info, err := os.Stat(from)
		if err != nil {
			err = fmt.Errorf("finish %s: %w", to, err)
		} else {
			err = o.parent(to, name)
		}
		if err == nil {
			err = o.place(from, to, name)
		}
		if err != nil {
			return nil, errors.Join(err, o.takeBack(append(out, outputFile{Path: to})))
		}
		out = append(out, outputFile{Path: to, Size: info.Size()})
	}
	return out, nil
}

// parent makes the folders of a file below the output's.
func (o *output) parent(to, name string) error {
	if filepath.Dir(name) == "." {
		return nil
	}
	o.made = append(missing(filepath.Dir(to)), o.made...)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // the person's own folder, as mkdir makes it
		return fmt.Errorf("make the folder of %s: %w", to, err)
	}
	return nil
}

// takeBack removes the files of an export that could not be finished, and puts those
// back that they replaced. The last one did not get to its place.
func (o *output) takeBack(files []outputFile) error {
	var failed error
	for i, f := range files {
		old := o.aside(o.names[i])
		if _, err := os.Lstat(old); o.force && err == nil {
			if err := os.Rename(old, f.Path); err != nil {
				failed = errors.Join(failed, fmt.Errorf("put back what was at %s: %w; it is in %s", f.Path, err, old))
			}
			continue
		}
		if i < len(files)-1 {
			_ = os.Remove(f.Path) // the error that led here counts
		}
	}
	if failed != nil {
		o.work = "" // it holds the person's own files
	}
	return failed
}

// aside is where what was at a file's place is kept. Its folders are part of the name.
func (o *output) aside(name string) string {
	return filepath.Join(o.work, replacedDir, url.PathEscape(filepath.ToSlash(name)))
}

// setAside keeps what is at a place, so that it can be put back: by a second name for it,
// so that the place is never empty, or else by moving it.
func (o *output) setAside(path, name string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	aside := o.aside(name)
	if info.Mode().IsRegular() && os.Link(path, aside) == nil {
		return nil
	}
	if err := os.Rename(path, aside); err != nil {
		return fmt.Errorf("set %s aside: %w", path, err)
	}
	return nil
}

// place renames; without --force by a link, which fails where somebody else made
// the name meanwhile, while a rename would replace it.
func (o *output) place(from, to, name string) error {
	if !o.force {
		err := os.Link(from, to)
		if err == nil {
			return nil // the work folder goes with its own names
		}
		if errors.Is(err, fs.ErrExist) {
			return o.free(name)
		}
		// A filesystem without links: look, then rename.
		if err := o.free(name); err != nil {
			return err
		}
	} else {
		if err := o.free(name); err != nil { // a folder by now
			return err
		}
		if err := o.setAside(to, name); err != nil {
			return err
		}
	}
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("finish %s: %w", to, err)
	}
	return nil
}

// discard removes what is not needed any more, and a folder that was made for an
// export that failed or had nothing to write.
func (o *output) discard() {
	if o.work != "" {
		_ = os.RemoveAll(o.work) // what cannot be removed is hidden and named for what it is
	}
	for _, folder := range o.made {
		_ = os.Remove(folder) // one that holds something stays, and those above it
	}
}
