// Package send is the role that gives a person the files of a result on a claim,
// which only pods can read. Its container waits (Hold) while somebody runs
// `pose-runner send FILE` in it, once for each file. What that writes to its standard
// output is one line of JSON, a header, and then the bytes of the file; Receive reads
// it on the person's machine.
package send

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// header says what follows: so many bytes, or why there are none.
type header struct {
	Size  int64  `json:"size"`
	Kind  string `json:"kind,omitempty"`
	Cause string `json:"cause,omitempty"`
}

const (
	// maxHeader bounds the header's line, maxCause what it says, in bytes.
	maxHeader = 4096
	maxCause  = 500
)

// kinds of errors that the receiver must tell apart; all else is Other.
var kinds = map[storage.Kind]string{
	storage.NotFound: "NotFound", storage.Forbidden: "Forbidden", storage.Unreachable: "Unreachable",
	storage.Refused: "Refused", storage.Changed: "Changed", storage.Other: "Other",
}

// Hold keeps the container until its time is over, or it is told to end.
func Hold(ctx context.Context, cfg report.SendConfig) error {
	return storage.Sleep(ctx, time.Duration(cfg.TimeoutSeconds)*time.Second)
}

// File writes one file of the claim: a regular one below the URI's folder, to which no
// link leads. That there is none is no error here: the header tells.
func File(ctx context.Context, cfg report.SendConfig, key string, w io.Writer) error {
	body, info, err := open(ctx, cfg, key)
	if err != nil {
		h := header{Kind: kinds[storage.KindOf(err)], Cause: clean.Line(err.Error(), maxCause)}
		var e *storage.Error
		if errors.As(err, &e) {
			h.Cause = clean.Line(e.Cause, maxCause)
		}
		return say(w, h)
	}
	defer body.Close()
	if err := say(w, header{Size: info.Size}); err != nil {
		return err
	}
	if _, err := io.CopyN(w, storage.ContextReader(ctx, body), info.Size); err != nil {
		return fmt.Errorf("send %s: %w", clean.Line(key, maxCause), err)
	}
	return nil
}

func open(ctx context.Context, cfg report.SendConfig, key string) (io.ReadCloser, storage.Info, error) {
	if report.Claim(cfg.URI) == "" {
		return nil, storage.Info{}, fmt.Errorf("%s is no claim", clean.URL(cfg.URI))
	}
	sink, err := storage.OpenSink(cfg.URI, storage.Options{PVCMount: cfg.PVCMount})
	if err != nil {
		return nil, storage.Info{}, err
	}
	defer func() { _ = sink.Close() }() // files that were opened stay so
	return sink.Open(ctx, key)
}

func say(w io.Writer, h header) error {
	b, err := json.Marshal(h)
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("send a header: %w", err)
	}
	return nil
}

// Receive reads what File wrote: the file's size, and its bytes, which body gives
// whole or with an error. place names the file in errors.
func Receive(r io.Reader, place string) (body io.Reader, size int64, err error) {
	b := bufio.NewReaderSize(r, maxHeader)
	line, err := b.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, 0, broken(place, err)
	}
	var h header
	if err != nil || json.Unmarshal(line, &h) != nil || h.Size < 0 {
		return nil, 0, &storage.Error{Place: place, Cause: "the pod did not answer as pose-runner does: is its image of this release?"}
	}
	if h.Kind == "" {
		return &whole{r: io.LimitReader(b, h.Size), left: h.Size, place: place}, h.Size, nil
	}
	e := &storage.Error{Place: place, Cause: clean.Line(h.Cause, maxCause)}
	for kind, name := range kinds {
		if name == h.Kind {
			e.Kind = kind
		}
	}
	return nil, 0, e
}

// broken is the error of what ended too early: the connection's own, or none at all.
func broken(place string, err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	return &storage.Error{Kind: storage.Unreachable, Place: place, Cause: "the connection to the pod broke off", Temporary: true}
}

// whole has its end only after all bytes.
type whole struct {
	r     io.Reader
	left  int64
	place string
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && w.left == 0:
		return n, io.EOF
	case err != nil:
		return n, broken(w.place, err)
	}
	return n, nil
}
