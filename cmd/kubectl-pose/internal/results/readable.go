package results

import (
	"context"
	"errors"
	"os"
)

// errInterrupted ends reading when the person interrupts the command.
var errInterrupted = errors.New("interrupted")

// readable is a file whose reading ends when the person interrupts the command.
type readable struct {
	ctx  context.Context //nolint:containedctx // reading ends with it
	file *os.File
	size int64
	// report says how far reading is; nil: nobody asks.
	report func(read, size int64)
	read   int64
}

func (r *readable) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, errInterrupted
	}
	n, err := r.file.Read(p)
	if r.read += int64(n); r.report != nil {
		r.report(r.read, r.size)
	}
	return n, err //nolint:wrapcheck // the file's own error, or io.EOF
}

func (r *readable) ReadAt(p []byte, at int64) (int, error) {
	if r.ctx.Err() != nil {
		return 0, errInterrupted
	}
	return r.file.ReadAt(p, at) //nolint:wrapcheck // the file's own error, or io.EOF
}

func (r *readable) Seek(offset int64, whence int) (int64, error) {
	r.read = 0
	return r.file.Seek(offset, whence) //nolint:wrapcheck // the file's own error
}
