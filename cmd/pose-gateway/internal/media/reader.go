package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/pose-dev/pose-operator/internal/storage"
)

// errDamaged says of a file that it is not the one that was delivered.
var errDamaged = errors.New("its sha256 is not that of the manifest")

// reader makes of a source what http.ServeContent can seek in. The source is opened at
// the first read after a seek. Who reads all of it gets the last bytes only when the
// digest is right: the connection then ends early, which no client takes for success.
type reader struct {
	ctx     context.Context //nolint:containedctx // io.Reader has none
	source  storage.Source
	version string
	size    int64
	want    string

	at   int64
	body io.ReadCloser
	sum  hash.Hash
	err  error
}

func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	if offset != r.at {
		_ = r.Close()
		r.at = offset
	}
	return r.at, nil
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

func (r *reader) read(p []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	if r.body == nil {
		body, _, err := r.source.Open(r.ctx, r.at, r.size-r.at, r.version)
		if err != nil {
			return 0, err
		}
		r.body, r.sum = body, nil
		if r.at == 0 {
			r.sum = sha256.New()
		}
	}
	n, err := r.body.Read(p[:min(int64(len(p)), r.size-r.at)])
	r.at += int64(n)
	if r.sum != nil {
		r.sum.Write(p[:n])
		if r.at == r.size && hex.EncodeToString(r.sum.Sum(nil)) != r.want {
			return 0, errDamaged
		}
	}
	if errors.Is(err, io.EOF) && r.at < r.size {
		return n, io.ErrUnexpectedEOF
	}
	return n, err //nolint:wrapcheck // it names the place
}

func (r *reader) Close() error {
	if r.body == nil {
		return nil
	}
	body := r.body
	r.body, r.sum = nil, nil
	return body.Close() //nolint:wrapcheck // nothing is lost
}
