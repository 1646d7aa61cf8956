package upload

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/place"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// An upload is kept as pieces until it is whole, each an object that is named by its
// offset, so that any replica can go on with it and nothing is lost when one dies.
// Then the pieces are joined to one object by reading them back: the one thing that
// every store can do.

const (
	// pieceSize bounds a piece, in bytes. One piece is one request to the store.
	pieceSize = 8 << 20
	// saveFor bounds saving what came before a client was cut off.
	saveFor = 30 * time.Second
	// joinFor bounds joining.
	joinFor = 30 * time.Minute
	// sparePieces is how many pieces more than needed an upload may have: each cut
	// connection leaves a short one.
	sparePieces = 1000
	piecesDir   = "pieces"
)

type piece struct{ offset, size int64 }

func (p piece) key() string { return fmt.Sprintf("%s/%020d", piecesDir, p.offset) }

// listPieces gives the pieces that lie one after the other from the beginning. One that
// begins within another is left out: a request that was cut off may have stored less at
// a place than one that came after it, on another replica.
func listPieces(ctx context.Context, sink storage.Sink, length int64) ([]piece, error) {
	var all []piece
	err := sink.List(ctx, piecesDir, func(e storage.Entry) error {
		n, err := strconv.ParseInt(strings.TrimPrefix(e.Key, piecesDir+"/"), 10, 64)
		if err != nil || n < 0 {
			return nil //nolint:nilerr // not ours
		}
		if all = append(all, piece{n, e.Size}); int64(len(all)) > length/pieceSize+2*sparePieces {
			return problem.New(http.StatusConflict, "the upload came in too many small pieces: begin a new one, and send at least some MiB at a time")
		}
		return nil
	})
	if err != nil {
		return nil, place.Failure(err)
	}
	slices.SortFunc(all, func(a, b piece) int { return int(min(max(a.offset-b.offset, -1), 1)) })
	return follow(all), nil
}

// follow gives those of pieces, by their offsets, that follow each other.
func follow(all []piece) []piece {
	var out []piece
	for _, p := range all {
		switch next := end(out); {
		case p.offset > next || p.size <= 0 && p.offset == next:
			return out
		case p.offset == next:
			out = append(out, p)
		}
	}
	return out
}

func end(pieces []piece) int64 {
	if len(pieces) == 0 {
		return 0
	}
	last := pieces[len(pieces)-1]
	return last.offset + last.size
}

// errNotAVideo says what the first bytes are not.
func errNotAVideo() error {
	return problem.New(http.StatusUnsupportedMediaType, "the file does not begin as a video does: send one of %s", strings.Join(Extensions, ", "))
}

// savePieces stores what body has from offset on, at most until limit, and gives where
// it ended. What came before body broke is stored, too.
func savePieces(ctx context.Context, sink storage.Sink, body io.Reader, offset, limit int64) (int64, error) {
	buf := make([]byte, pieceSize)
	for {
		n, err := fill(body, buf)
		if int64(n) > limit-offset {
			return offset, errTooLong
		}
		if n > 0 {
			if offset == 0 && (n >= sniffBytes || int64(n) == limit) && Sniff(buf[:min(n, sniffBytes)]) == "" {
				return 0, errNotAVideo()
			}
			p := piece{offset, int64(n)}
			if perr := putPiece(ctx, sink, p, buf[:n]); perr != nil {
				return offset, perr
			}
			offset += p.size
		}
		if errors.Is(err, io.EOF) {
			return offset, nil
		}
		if err != nil {
			return offset, err
		}
	}
}

// fill buf. The error is io.EOF where r ended well, and never where it was cut off:
// io.ReadFull has one error for both.
func fill(r io.Reader, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if err != nil {
			return n, err //nolint:wrapcheck // the caller's own reader
		}
	}
	return n, nil
}

// errTooLong says that more came than there may be.
var errTooLong = errors.New("more bytes than the upload has")

// putPiece also when the client is gone: that is what makes an upload resumable.
func putPiece(ctx context.Context, sink storage.Sink, p piece, data []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveFor)
	defer cancel()
	err := storage.RetryFew(ctx, storage.DefaultPolicy(), nil, func(ctx context.Context) error {
		return sink.Put(ctx, storage.Object{Key: p.key(), Size: p.size, MediaType: "application/octet-stream"}, bytes.NewReader(data))
	})
	return place.Failure(err)
}

// joined is a whole video.
type joined struct {
	key    string
	sha256 string
}

// join pieces to one object, and compute its digest on the way.
func join(ctx context.Context, sink storage.Sink, pieces []piece) (*joined, error) {
	ctx, cancel := context.WithTimeout(ctx, joinFor)
	defer cancel()
	// In the background, so that the next piece is read while one is sent.
	pr, pw := io.Pipe()
	defer func() { _ = pr.Close() }()
	go func() { pw.CloseWithError(readPieces(ctx, sink, pieces, pw)) }()
	return putVideo(ctx, sink, pr, end(pieces))
}

// putVideo stores the whole video of size bytes.
func putVideo(ctx context.Context, sink storage.Sink, body io.Reader, size int64) (*joined, error) {
	sum := sha256.New()
	b := bufio.NewReaderSize(io.TeeReader(body, sum), 64<<10)
	first, err := b.Peek(sniffBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, place.Failure(err)
	}
	ext := Sniff(first)
	if ext == "" {
		return nil, errNotAVideo()
	}
	key := "video" + ext
	if err := sink.Put(ctx, storage.Object{Key: key, Size: size, MediaType: mediaTypes[ext]}, b); err != nil {
		return nil, place.Failure(err)
	}
	return &joined{key: key, sha256: hexSum(sum)}, nil
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

var mediaTypes = map[string]string{
	".mp4": "video/mp4", ".mov": "video/quicktime", ".mkv": "video/x-matroska", ".webm": "video/webm", ".avi": "video/x-msvideo", ".mpg": "video/mpeg",
	".ts": "video/mp2t", ".m2ts": "video/mp2t", ".flv": "video/x-flv", ".wmv": "video/x-ms-wmv", ".ogv": "video/ogg",
}

func readPieces(ctx context.Context, sink storage.Sink, pieces []piece, w io.Writer) error {
	for _, p := range pieces {
		var data []byte
		err := storage.RetryFew(ctx, storage.DefaultPolicy(), nil, func(ctx context.Context) (err error) {
			data, _, err = sink.Get(ctx, p.key(), pieceSize)
			return err
		})
		if err == nil && int64(len(data)) != p.size {
			err = errors.New("a piece of the upload was changed in this moment")
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err //nolint:wrapcheck // the pipe's own
		}
	}
	return nil
}
