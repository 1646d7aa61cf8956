package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// maxPointerRounds bounds how often the pointer is decided anew because somebody else
// wrote it in between.
const maxPointerRounds = 10

// MayPoint looks whether next may become the pointer at the root of sink. An error of
// type *outcome.Failure says that it may not, any other that the place could not be
// looked at. It makes one try.
func MayPoint(ctx context.Context, sink storage.Sink, next result.Pointer, overwrite bool) error {
	raw, _, err := pointer(ctx, sink)
	if err != nil {
		return err
	}
	return refused(sink, result.DecidePointer(raw, next, overwrite, time.Now()))
}

// SetPointer makes next the pointer at the root of sink, where result.DecidePointer
// has it so, on the condition that nobody else writes there in between: then it is
// decided again. What it does that a person may wonder about goes to log. An error of
// type *outcome.Failure is a refusal.
func SetPointer(ctx context.Context, sink storage.Sink, next result.Pointer, overwrite bool, log io.Writer) error {
	b, err := Encode(next)
	if err != nil {
		return err
	}
	place := storage.Join(sink.String(), result.ManifestFile)
	for range maxPointerRounds {
		raw, info, err := pointer(ctx, sink)
		if err != nil {
			return err
		}
		d := result.DecidePointer(raw, next, overwrite, time.Now())
		switch {
		case d.Refused != "":
			return refused(sink, d)
		case d.Later:
			fmt.Fprintf(log, "pose-runner: a later attempt has delivered already, %s stays\n", place)
			return nil
		case d.Same:
			return nil
		}
		o := storage.Object{Key: result.ManifestFile, Size: int64(len(b)), SHA256: digest(b), MediaType: "application/json"}
		if o.If.Version = info.Version; raw == nil {
			o.If = storage.Condition{Absent: true}
		}
		err = sink.Put(ctx, o, bytes.NewReader(b))
		switch {
		case err == nil && d.Replaces != "":
			fmt.Fprintf(log, "pose-runner: %s was %s, and is replaced as output.overwrite asks\n", place, d.Replaces)
			return nil
		case storage.KindOf(err) != storage.Changed:
			return err
		}
		fmt.Fprintf(log, "pose-runner: %s was written by somebody else meanwhile; looking again\n", place)
	}
	return outcome.Failf(report.ReasonDeliveryFailed, "%s was changed by others %d times while it was to be written: does another job have the same output URI?", place, maxPointerRounds).MayPass(true)
}

// pointer is what lies in the place of the root's pointer; nil when nothing does.
// What is too large to be read is somebody else's, and is given as far as it was.
func pointer(ctx context.Context, sink storage.Sink) ([]byte, storage.Info, error) {
	body, info, err := sink.Open(ctx, result.ManifestFile)
	if storage.KindOf(err) == storage.NotFound {
		return nil, storage.Info{}, nil
	}
	if err != nil {
		return nil, info, err
	}
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, result.MaxManifestBytes+1))
	if raw == nil {
		raw = []byte{}
	}
	return raw, info, err
}

func refused(sink storage.Sink, d result.PointerDecision) error {
	if d.Refused == "" {
		return nil
	}
	return outcome.Failf(report.ReasonDeliveryFailed, "%s %s and is not overwritten: choose another output URI, or remove it, or set output.overwrite",
		storage.Join(sink.String(), result.ManifestFile), d.Refused)
}

// Encode gives the bytes of a manifest or pointer as they are stored.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// IsDamage says whether err says of a result that it is not whole, and how.
func IsDamage(err error) ([]string, bool) {
	var d *Damage
	if errors.As(err, &d) {
		return d.Problems, true
	}
	return nil, false
}
