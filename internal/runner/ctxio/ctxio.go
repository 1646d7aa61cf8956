// Package ctxio has readers that end with a context, for its cause: a role that is
// told to stop does not finish a large file first.
package ctxio

import (
	"context"
	"io"
)

// Reader reads from r until ctx ends.
func Reader(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.Read(p)
	})
}

// ReaderAt reads from r until ctx ends.
func ReaderAt(ctx context.Context, r io.ReaderAt) io.ReaderAt {
	return readerAtFunc(func(p []byte, at int64) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.ReadAt(p, at)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type readerAtFunc func([]byte, int64) (int, error)

func (f readerAtFunc) ReadAt(p []byte, at int64) (int, error) { return f(p, at) }
