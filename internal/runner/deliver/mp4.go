package deliver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// maxBoxes bounds the walk over one level of a file.
	maxBoxes = 1 << 16
	// headerSize of a box, in bytes; 16 with a long size.
	headerSize = 8
)

// box is one part of an MP4 file.
type box struct {
	kind       string
	start, end int64 // of its content
}

// checkMP4 walks the boxes of an MP4 file of size bytes. A writer that was
// stopped leaves a file without moov, or boxes that reach beyond its end.
func checkMP4(r io.ReaderAt, size int64) error {
	top, err := boxes(r, 0, size)
	if err != nil {
		return err
	}
	if len(top) == 0 || top[0].kind != "ftyp" {
		return errors.New("it does not begin with an ftyp box")
	}
	var moov *box
	data := int64(0)
	for i, b := range top {
		switch b.kind {
		case "moov":
			moov = &top[i]
		case "mdat":
			data += b.end - b.start
		}
	}
	if moov == nil {
		return errors.New("it has no moov box: the writer did not finish")
	}
	if data == 0 {
		return errors.New("it holds no media data")
	}
	inner, err := boxes(r, moov.start, moov.end)
	if err != nil {
		return fmt.Errorf("in moov: %w", err)
	}
	for _, b := range inner {
		if b.kind == "trak" {
			return nil
		}
	}
	return errors.New("its moov box holds no track")
}

// boxes lists the boxes between start and end.
func boxes(r io.ReaderAt, start, end int64) ([]box, error) {
	var out []box
	for at := start; at < end; {
		if len(out) == maxBoxes {
			return nil, fmt.Errorf("it has more than %d boxes", maxBoxes)
		}
		b, err := readBox(r, at, end)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
		at = b.end
	}
	return out, nil
}

func readBox(r io.ReaderAt, at, end int64) (box, error) {
	var h [2 * headerSize]byte
	if end-at < headerSize {
		return box{}, fmt.Errorf("%d stray bytes at %d", end-at, at)
	}
	if _, err := r.ReadAt(h[:headerSize], at); err != nil {
		return box{}, fmt.Errorf("read the box at %d: %w", at, err)
	}
	b := box{kind: string(h[4:8]), start: at + headerSize}
	size := int64(binary.BigEndian.Uint32(h[:4]))
	switch size {
	case 0: // to the end
		size = end - at
	case 1: // the size follows in 64 bits
		if end-at < 2*headerSize {
			return box{}, fmt.Errorf("the box at %d is cut off", at)
		}
		if _, err := r.ReadAt(h[headerSize:], at+headerSize); err != nil {
			return box{}, fmt.Errorf("read the box at %d: %w", at, err)
		}
		long := binary.BigEndian.Uint64(h[headerSize:])
		if long > uint64(end-at) { //nolint:gosec // end > at
			return box{}, fmt.Errorf("the box %q at %d reaches beyond its surroundings", b.kind, at)
		}
		size, b.start = int64(long), at+2*headerSize //nolint:gosec // bounded above
	}
	if size < b.start-at || size > end-at {
		return box{}, fmt.Errorf("the box %q at %d has %d bytes where %d are left", b.kind, at, size, end-at)
	}
	b.end = at + size
	return b, nil
}
