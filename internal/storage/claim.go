package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/pose-dev/pose-operator/internal/runner/beneath"
)

// claim is a mounted volume or image, or a folder in it.
type claim struct {
	mount  string
	prefix string
	place  string
}

func openClaimSource(u *url.URL, o Options) (Source, error) {
	if _, err := objectKey(u); err != nil {
		return nil, err
	}
	c, err := newClaim(u, u.Path, o)
	if err != nil {
		return nil, err
	}
	return claimSource{c}, nil
}

func openClaimSink(u *url.URL, o Options) (Sink, error) {
	c, err := newClaim(u, u.Path, o)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func newClaim(u *url.URL, path string, o Options) (*claim, error) {
	if o.PVCMount == "" {
		return nil, invalid(u.String(), "it is not mounted into this container (the operator's fault)")
	}
	return &claim{mount: o.PVCMount, prefix: strings.Trim(path, "/"), place: u.String()}, nil
}

type claimSource struct{ *claim }

func (c claimSource) Open(_ context.Context, offset, length int64, version string) (io.ReadCloser, Info, error) {
	f, err := beneath.Open(c.mount, c.prefix)
	if err != nil {
		return nil, Info{}, classify(c.place, err)
	}
	info, err := describe(f)
	if err == nil && version != "" && version != info.Version {
		err = &Error{Kind: Changed, Cause: "the file changed while it was read"}
	}
	if err == nil {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, Info{}, classify(c.place, err)
	}
	if length >= 0 {
		return &limited{io.LimitReader(f, length), f}, info, nil
	}
	return f, info, nil
}

// limited reads a part of a file and closes it.
type limited struct {
	io.Reader
	io.Closer
}

func (c claimSource) Stat(context.Context) (Info, error) {
	f, err := beneath.Open(c.mount, c.prefix)
	if err != nil {
		return Info{}, classify(c.place, err)
	}
	defer f.Close()
	info, err := describe(f)
	return info, classify(c.place, err)
}

func (c *claim) Put(ctx context.Context, o Object, body io.Reader) error {
	place := Join(c.place, o.Key)
	key, err := c.within(o.Key)
	if err != nil {
		return err
	}
	if err := c.holds(ctx, o); err != nil {
		return classify(place, err)
	}
	write := beneath.Write
	if o.If.Absent {
		write = beneath.WriteNew
	}
	err = write(c.mount, key, func(f *os.File) error {
		n, err := io.Copy(f, ContextReader(ctx, body))
		if err == nil && n != o.Size {
			return fmt.Errorf("%d bytes were to be written, %d came", o.Size, n)
		}
		return err
	})
	if o.If.Absent && errors.Is(err, fs.ErrExist) {
		err = &Error{Kind: Changed, Cause: "it is there already", err: err}
	}
	return classify(place, err)
}

// within is stricter than a store's: a file system takes "a//b" for "a/b".
func (c *claim) within(key string) (string, error) {
	k, err := within(c.prefix, key)
	if err == nil && path.Clean(key) != key {
		err = &Error{Cause: fmt.Sprintf("the key %q does not name a file", key)}
	}
	return k, classify(c.place, err)
}

// holds says whether the condition of a write holds now. That nothing is there is
// true when the file appears, too; a version may change between look and write.
func (c *claim) holds(ctx context.Context, o Object) error {
	if o.If == (Condition{}) {
		return nil
	}
	info, err := c.Stat(ctx, o.Key)
	return conditionHolds(o.If, info, err)
}

// open a file below the folder.
func (c *claim) open(key string) (*os.File, Info, error) {
	k, err := c.within(key)
	if err != nil {
		return nil, Info{}, err
	}
	f, err := beneath.Open(c.mount, k)
	if err != nil {
		return nil, Info{}, classify(Join(c.place, key), err)
	}
	info, err := describe(f)
	if err != nil {
		f.Close()
		return nil, Info{}, classify(Join(c.place, key), err)
	}
	return f, info, nil
}

func (c *claim) Stat(_ context.Context, key string) (Info, error) {
	f, info, err := c.open(key)
	if err != nil {
		return Info{}, err
	}
	return info, f.Close()
}

func (c *claim) Get(_ context.Context, key string, limit int64) ([]byte, Info, error) {
	f, info, err := c.open(key)
	if err != nil {
		return nil, Info{}, err
	}
	defer f.Close()
	b, err := readAll(f, limit)
	return b, info, classify(Join(c.place, key), err)
}

func (c *claim) Open(_ context.Context, key string) (io.ReadCloser, Info, error) {
	return c.open(key)
}

func (c *claim) List(ctx context.Context, prefix string, each func(Entry) error) error {
	prefix, err := folder(prefix)
	if err != nil {
		return err
	}
	var failed error // each's own, which is given back as it is
	err = beneath.List(c.mount, path.Join(c.prefix, prefix), func(f beneath.File) error {
		if failed = ctx.Err(); failed == nil {
			failed = each(Entry{Key: path.Join(prefix, f.Path), Size: f.Size, ModTime: f.ModTime})
		}
		return failed
	})
	if failed != nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return failed // as in a store, nothing lies below a folder that is not there
	}
	return classify(Join(c.place, prefix), err)
}

// Delete removes folders that it leaves empty too, but not the claim's own
// folder: it may be somebody else's.
func (c *claim) Delete(_ context.Context, key string) error {
	k, err := c.within(key)
	if err != nil {
		return err
	}
	return classify(Join(c.place, key), beneath.Remove(c.mount, k, c.prefix))
}

// Check has nothing to ask: the claim is mounted, or the pod would not run.
func (c *claim) Check(context.Context) error { return nil }

func (c *claim) String() string { return c.place }
func (c *claim) Close() error   { return nil }

// readAll reads r and fails beyond limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = &Error{Cause: fmt.Sprintf("it is larger than %d bytes", limit)}
	}
	return b, err
}

// ContextReader ends a copy from r when ctx does, with ctx's own error.
func ContextReader(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context //nolint:containedctx // lives as long as one copy
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
