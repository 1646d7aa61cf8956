package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/runner/beneath"
)

// claim is a mounted volume, or a folder in it.
type claim struct {
	mount  string
	prefix string
	place  string
}

func openClaimSource(u *url.URL, o Options) (Source, error) {
	if _, err := objectKey(u); err != nil {
		return nil, err
	}
	c, err := newClaim(u, o)
	if err != nil {
		return nil, err
	}
	return claimSource{c}, nil
}

func openClaimSink(u *url.URL, o Options) (Sink, error) {
	c, err := newClaim(u, o)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func newClaim(u *url.URL, o Options) (*claim, error) {
	if o.PVCMount == "" {
		return nil, invalid(u.String(), "the claim is not mounted into this container (the operator's fault)")
	}
	return &claim{mount: o.PVCMount, prefix: strings.Trim(u.Path, "/"), place: u.String()}, nil
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

func describe(f *os.File) (Info, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Info{}, err
	}
	return Info{Size: st.Size, Version: fmt.Sprintf("%d-%d.%d-%d", st.Ino, st.Mtim.Sec, st.Mtim.Nsec, st.Size)}, nil
}

func (c *claim) Put(ctx context.Context, o Object, body io.Reader) error {
	place := Join(c.place, o.Key)
	key, err := within(c.prefix, o.Key)
	if err != nil {
		return err
	}
	if err := c.holds(ctx, o); err != nil {
		return classify(place, err)
	}
	err = beneath.Write(c.mount, key, func(f *os.File) error {
		n, err := io.Copy(f, ContextReader(ctx, body))
		if err == nil && n != o.Size {
			return fmt.Errorf("%d bytes were to be written, %d came", o.Size, n)
		}
		return err
	})
	return classify(place, err)
}

// holds says whether the condition of a write holds now.
func (c *claim) holds(ctx context.Context, o Object) error {
	if o.If == (Condition{}) {
		return nil
	}
	info, err := c.Stat(ctx, o.Key)
	absent := KindOf(err) == NotFound
	switch {
	case err != nil && !absent:
		return err
	case o.If.Absent && !absent:
		return &Error{Kind: Changed, Cause: "it is there already"}
	case o.If.Version != "" && info.Version != o.If.Version:
		return &Error{Kind: Changed, Cause: "it was changed meanwhile"}
	}
	return nil
}

// open a file below the folder.
func (c *claim) open(key string) (*os.File, Info, error) {
	k, err := within(c.prefix, key)
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

func (c *claim) List(context.Context, string, func(Entry) error) error {
	return errors.New("TODO")
}

func (c *claim) Delete(context.Context, string) error {
	return errors.New("TODO")
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
