package fill

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/internal/storage"
)

// maxEntries bounds the files of one archive.
const maxEntries = 10_000

// intake takes one source into its staging folder.
type intake struct {
	*filler
	source  Source
	staging string
}

// run gives the digest of the source and the files that it made, with paths
// relative to the staging folder.
func (in intake) run(ctx context.Context, from storage.Source) (string, []File, error) {
	var files []File
	c := &counted{hash: sha256.New(), log: in.Log, said: time.Now()}
	d := storage.Download{
		Source: from, Policy: storage.DefaultPolicy(), MaxBytes: in.config.MaxBytes,
		Begin: func(size int64) error {
			c.total = max(0, size)
			return in.space(size)
		},
		Retry: func(err error, delay time.Duration) {
			fmt.Fprintf(in.Log, "pose-runner: %v; trying again in %s\n", err, delay.Round(100*time.Millisecond))
		},
	}
	err := in.into(c, func() error {
		_, err := d.Run(ctx, c)
		return err
	}, &files)
	return hex.EncodeToString(c.hash.Sum(nil)), files, err
}

// into runs download while what c gets becomes a file, or the files of an archive.
func (in intake) into(c *counted, download func() error, files *[]File) error {
	if !in.source.Unpack {
		return in.write("file", func(w io.Writer) error {
			c.to = w
			return download()
		}, files)
	}
	r, w := io.Pipe()
	c.to = w
	unpacked := make(chan error, 1)
	go func() {
		err := in.unpack(r, files)
		_ = r.CloseWithError(err) // what is still to come is refused, with this reason
		unpacked <- err
	}()
	err := download()
	_ = w.CloseWithError(err)
	if uerr := <-unpacked; err == nil {
		err = uerr
	}
	return err
}

// unpack takes the regular files of a tar archive. Anything else that it could make
// is refused.
func (in intake) unpack(r io.Reader, files *[]File) error {
	buffered := bufio.NewReaderSize(r, 64<<10)
	var archive io.Reader = buffered
	if magic, _ := buffered.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return fmt.Errorf("it is no whole gzip file: %w", err)
		}
		archive = z
	}
	left := in.config.MaxBytes
	t := tar.NewReader(archive)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("it is no whole tar archive: %w", err)
		}
		if err := in.entry(h, t, &left, files); err != nil {
			return err
		}
	}
	if len(*files) == 0 {
		return errors.New("the archive holds no file")
	}
	// The digest is that of the whole source, padding included.
	if _, err := io.Copy(io.Discard, archive); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, buffered)
	return err
}

func (in intake) entry(h *tar.Header, body io.Reader, left *int64, files *[]File) error {
	name := strings.TrimPrefix(path.Clean(h.Name), "./")
	switch h.Typeflag {
	case tar.TypeXGlobalHeader, tar.TypeDir:
		return nil
	case tar.TypeReg:
	default:
		return fmt.Errorf("%q in the archive is no regular file: pack it with links followed (tar -h --hard-dereference)", h.Name)
	}
	switch {
	case path.Base(name) == DigestsFile:
		return nil // one is written at the end
	case !proper(name):
		return fmt.Errorf("%q in the archive is no proper name: pack the folder with relative names that do not begin with a dot", h.Name)
	case h.Size > *left:
		return fmt.Errorf("the archive unpacks to more than %d bytes", in.config.MaxBytes)
	case len(*files) >= maxEntries:
		return fmt.Errorf("the archive has more than %d files", maxEntries)
	case slices.ContainsFunc(*files, func(f File) bool { return f.Path == name }):
		return fmt.Errorf("%q is in the archive twice", name)
	}
	*left -= h.Size
	return in.write(name, func(w io.Writer) error {
		if _, err := io.Copy(w, body); err != nil {
			return fmt.Errorf("%q in the archive cannot be taken whole: %w", name, err)
		}
		return nil
	}, files)
}

// write makes one file of the staging folder, on disk when it returns.
func (in intake) write(name string, fill func(io.Writer) error, files *[]File) error {
	full := path.Join(in.staging, name)
	if err := in.root.MkdirAll(path.Dir(full), 0o755); err != nil {
		return err
	}
	out, err := in.root.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	sum := &counted{to: out, hash: sha256.New(), log: io.Discard, said: time.Now()}
	err = fill(sum)
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		*files = append(*files, File{Path: name, Size: sum.done, SHA256: hex.EncodeToString(sum.hash.Sum(nil))})
	}
	return err
}

// writeDigests lists every file that is known: those of this list's sources, and
// those that somebody else listed and that no source gives.
func (f *filler) writeDigests() error {
	digests := map[string]string{}
	raw, err := f.small(DigestsFile, maxDigests)
	if errors.Is(err, errLarge) { // to leave lines out would lose somebody's digests
		return fmt.Errorf("the one on the volume cannot be kept: %w; remove it, or the lines of files that are gone", err)
	}
	if err == nil {
		for line := range strings.Lines(string(raw)) {
			digest, name, ok := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
			if name = strings.TrimLeft(name, " *"); ok && isDigest(digest) && name != "" {
				digests[name] = digest
			}
		}
	}
	for _, s := range f.config.Sources {
		for _, file := range f.record[s.id()].Files {
			digests[file.Path] = file.SHA256
		}
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(digests)) {
		fmt.Fprintf(&b, "%s  %s\n", digests[name], name)
	}
	if b.Len() > maxDigests {
		return fmt.Errorf("%d files make %d bytes of it, and engines read no more than %d: fetch fewer files onto one volume, or remove the lines of those that are gone", len(digests), b.Len(), maxDigests)
	}
	return f.replace(DigestsFile, []byte(b.String()))
}
