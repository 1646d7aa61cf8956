package place

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// Upload is a file of this machine that goes to a place.
type Upload struct {
	// Path of the file, Size in bytes, SHA256 in lower-case hex.
	Path   string
	Size   int64
	SHA256 string
}

// Measure a file, whose digest is computed. tell is told of bytes as they are read.
func Measure(ctx context.Context, path string, tell func(int64)) (*Upload, error) {
	f, size, err := openVideo(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, storage.ContextReader(ctx, counting(f, tell)))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case n != size:
		return nil, fmt.Errorf("%s changed while it was read: is it still being written?", path)
	}
	return &Upload{Path: path, Size: size, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

func openVideo(path string) (*os.File, int64, error) {
	f, err := os.Open(path) //nolint:gosec // the person's own file
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.Contains(path, `\`) && filepath.Separator == '/':
		return nil, 0, exit.With(exit.NotFound, fmt.Errorf("there is no file %s: folders are separated by / on this system", path))
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, exit.With(exit.NotFound, fmt.Errorf("there is no file %s on this machine; a video elsewhere is named by its URI, as s3://bucket/key", path))
	case err != nil:
		return nil, 0, fmt.Errorf("open the video: %w", err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = exit.Usagef("%s is a folder: name the videos in it, as %s", path, filepath.Join(path, "*.mp4"))
	case !info.Mode().IsRegular():
		err = exit.Usagef("%s is no regular file", path)
	case info.Size() == 0:
		err = exit.Usagef("%s is empty", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// Key of the file below the place of uploads: by its content, so that the same file
// lies there once and its results are found again.
func (u *Upload) Key() string { return u.SHA256[:16] + "/" + SafeName(filepath.Base(u.Path)) }

// SafeName is a file's name that every store, URI and log takes as it is.
func SafeName(name string) string {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, name)
	if len(name) > 100 {
		name = name[len(name)-100:]
	}
	if name = strings.TrimLeft(name, "."); name == "" {
		return "video"
	}
	return name
}

// To sends the file to the folder sink, unless it lies there already, and gives its
// URI. tell is told of bytes as they go, and of less than none where they go again.
func (u *Upload) To(ctx context.Context, sink storage.Sink, tell func(int64)) (uri string, sent bool, err error) {
	uri = storage.Child(sink.String(), u.Key())
	err = storage.RetryFew(ctx, storage.DefaultPolicy(), nil, func(ctx context.Context) error {
		info, err := sink.Stat(ctx, u.Key())
		if err == nil && info.Size == u.Size && info.SHA256 == u.SHA256 {
			sent = false
			return nil
		}
		if err != nil && storage.KindOf(err) != storage.NotFound && storage.KindOf(err) != storage.Forbidden {
			return err
		}
		sent = true
		return u.put(ctx, sink, tell)
	})
	if err != nil {
		if kind := storage.KindOf(err); kind == storage.Forbidden {
			err = fmt.Errorf("%w; whose credentials to use say --credentials-from-env or --credentials-dir", err)
		}
		return "", false, fmt.Errorf("upload %s: %w", u.Path, err)
	}
	return uri, sent, nil
}

var errChangedMeanwhile = errors.New("the file changed since its digest was computed: is it still being written?")

func (u *Upload) put(ctx context.Context, sink storage.Sink, tell func(int64)) error {
	f, size, err := openVideo(u.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if size != u.Size {
		return errChangedMeanwhile
	}
	told := int64(0)
	body := &same{r: counting(f, func(n int64) { told += n; tell(n) }), h: sha256.New(), left: u.Size, want: u.SHA256}
	err = sink.Put(ctx, storage.Object{Key: u.Key(), Size: u.Size, SHA256: u.SHA256, MediaType: "application/octet-stream"}, body)
	if body.changed {
		err = errChangedMeanwhile
	}
	if err != nil {
		tell(-told)
	}
	return err
}

// same gives a file's bytes, and fails before the last of them where they are not
// those of the digest: then nothing is stored.
type same struct {
	r       io.Reader
	h       hash.Hash
	left    int64
	want    string
	changed bool
}

func (s *same) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.h.Write(p[:n])
	if s.left -= int64(n); s.left < 0 || s.left == 0 && n > 0 && hex.EncodeToString(s.h.Sum(nil)) != s.want {
		s.changed = true
		return 0, errChangedMeanwhile
	}
	return n, err //nolint:wrapcheck // the file's own error, or io.EOF
}

type countingReader struct {
	r    io.Reader
	tell func(int64)
}

func counting(r io.Reader, tell func(int64)) io.Reader { return countingReader{r, tell} }

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.tell(int64(n))
	return n, err //nolint:wrapcheck // the reader's own error
}

// OpenUploads opens the folder that videos go to. end frees what it took.
func (f *Flags) OpenUploads(uri string) (sink storage.Sink, end func(), err error) {
	scheme, rest, ok := strings.Cut(uri, "://")
	switch {
	case !ok || scheme != "s3" && scheme != "gs" && scheme != "azblob":
		return nil, nil, exit.Usagef("--upload-to %s: videos are uploaded to s3://bucket/folder, gs://bucket/folder or azblob://container/folder; a claim (pvc://) only pods can write to", uri)
	case strings.Trim(rest, "/") == "":
		return nil, nil, exit.Usagef("--upload-to %s names no bucket", uri)
	}
	o, clear, err := f.Options(scheme)
	if err != nil {
		return nil, nil, err
	}
	if sink, err = storage.OpenSink(uri, o); err != nil {
		clear()
		return nil, nil, exit.Usagef("--upload-to: %w", err)
	}
	return sink, func() {
		_ = sink.Close() // what was put is stored
		clear()
	}, nil
}
