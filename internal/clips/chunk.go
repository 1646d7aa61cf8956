package clips

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Bounds of a chunk of the list.
const (
	MaxChunkClips = 1000
	// MaxChunkBytes of its JSON, before it is compressed.
	MaxChunkBytes = 512 << 10
	// MaxChunks of a list: MaxClips with the longest URIs and names.
	MaxChunks = 400
)

// overhead of a clip in JSON beside its own two strings, which may grow by escaping.
const overhead = 64

// Chunks cuts a list into parts that keep the bounds.
func Chunks(list []Clip) [][]Clip {
	var out [][]Clip
	start, size := 0, 0
	for i, c := range list {
		n := len(c.URI) + len(c.Name) + overhead
		if i > start && (i-start == MaxChunkClips || size+n > MaxChunkBytes) {
			out = append(out, list[start:i:i])
			start, size = i, 0
		}
		size += n
	}
	if start < len(list) {
		out = append(out, list[start:])
	}
	return out
}

// CheckChunk that somebody else made: its size, each clip, and that names rise, so
// that none is there twice.
func CheckChunk(list []Clip) error {
	if len(list) == 0 || len(list) > MaxChunkClips {
		return fmt.Errorf("a chunk has %d clips, 1 to %d are possible", len(list), MaxChunkClips)
	}
	for i, c := range list {
		if err := Check(c); err != nil {
			return fmt.Errorf("clip %d: %w", i, err)
		}
		if i > 0 && c.Name <= list[i-1].Name {
			return fmt.Errorf("clip %d: its name does not follow that of the one before", i)
		}
	}
	return nil
}

// Encode a chunk to be stored. The same chunk gives the same bytes.
func Encode(list []Clip) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	e := json.NewEncoder(z)
	e.SetEscapeHTML(false)
	if err := e.Encode(list); err != nil {
		return nil, fmt.Errorf("encode a chunk of the list: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress a chunk of the list: %w", err)
	}
	return b.Bytes(), nil
}

// Decode a stored chunk and check it.
func Decode(raw []byte) ([]Clip, error) {
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, errors.New("a chunk of the list is not compressed as it should be")
	}
	// Escaping in JSON can make text longer than what Chunks counts.
	text, err := io.ReadAll(io.LimitReader(z, 2*MaxChunkBytes+1))
	if err != nil || len(text) > 2*MaxChunkBytes {
		return nil, errors.New("a chunk of the list is broken or too large")
	}
	var list []Clip
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, errors.New("a chunk of the list is not JSON as it should be")
	}
	if err := CheckChunk(list); err != nil {
		return nil, err
	}
	return list, nil
}
