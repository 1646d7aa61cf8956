package verify_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

func pointerOf(name, uid string, attempt int32) result.Pointer {
	return result.Pointer{
		APIVersion: result.APIVersion, Kind: result.KindPointer, Attempt: attempt, AttemptID: uid + "-1", ManifestSHA256: strings.Repeat("a", 64),
		Job: report.JobRef{Namespace: "snow", Name: name, UID: uid, Attempt: attempt},
	}
}

// busy is a Sink to which others write right before, or which loses its answer.
type busy struct {
	storage.Sink
	t      *testing.T
	before func(n int)
	after  func(n int) error
	puts   int
}

func (b *busy) Put(ctx context.Context, o storage.Object, body io.Reader) error {
	b.puts++
	if b.before != nil {
		b.before(b.puts)
	}
	err := b.Sink.Put(ctx, o, body)
	if err == nil && b.after != nil {
		err = b.after(b.puts)
	}
	return err
}

func TestSetPointer(t *testing.T) {
	ours := pointerOf("run", "u", 2)
	for name, c := range map[string]struct {
		others    func(n int) *result.Pointer // written right before our nth try
		overwrite bool
		want      string // job of the pointer that stays
		refused   string
		temporary bool
		log       string
		puts      int
	}{
		"nobody":          {func(int) *result.Pointer { return nil }, false, "run", "", false, "", 1},
		"an earlier one":  {func(n int) *result.Pointer { return onlyFirst(n, pointerOf("run", "u", 1)) }, false, "run", "", false, "looking again", 2},
		"a later one":     {func(n int) *result.Pointer { return onlyFirst(n, pointerOf("run", "u", 3)) }, false, "run", "", false, "a later attempt has delivered already", 1},
		"another job":     {func(n int) *result.Pointer { return onlyFirst(n, pointerOf("walk", "v", 1)) }, false, "walk", "belongs to the job snow/walk", false, "", 1},
		"one to overrule": {func(n int) *result.Pointer { return onlyFirst(n, pointerOf("walk", "v", 1)) }, true, "run", "", false, "was the result v-1 of the job snow/walk, and is replaced", 2},
		"without an end": {func(n int) *result.Pointer {
			p := pointerOf("run", "u", 1)
			p.ManifestSHA256 = strings.Repeat("b", n) + strings.Repeat("a", 64-n)
			return &p
		}, false, "run", "changed by others 10 times", true, "", 10},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			sink, err := storage.OpenSink("pvc://results", storage.Options{PVCMount: dir})
			if err != nil {
				t.Fatal(err)
			}
			s := &busy{Sink: sink, t: t, before: func(n int) {
				if p := c.others(n); p != nil {
					b, err := verify.Encode(p)
					if err != nil {
						t.Fatal(err)
					}
					place(t, filepath.Join(dir, "manifest.json"), b)
				}
			}}
			var log bytes.Buffer
			err = verify.SetPointer(t.Context(), s, ours, c.overwrite, &log)
			var f *outcome.Failure
			if c.refused == "" && err != nil || c.refused != "" && (!errors.As(err, &f) || !strings.Contains(err.Error(), c.refused) || f.Temporary != c.temporary) {
				t.Errorf("%v", err)
			}
			raw, rerr := os.ReadFile(filepath.Join(dir, "manifest.json"))
			p, perr := result.ReadPointer(raw)
			if rerr != nil || perr != nil || p.Job.Name != c.want || !strings.Contains(log.String(), c.log) || s.puts != c.puts {
				t.Errorf("%s %v %v, %d tries, log %s", raw, rerr, perr, s.puts, log.String())
			}
			if err := verify.MayPoint(t.Context(), sink, ours, c.overwrite); (err != nil) != (c.want != "run") {
				t.Errorf("MayPoint: %v", err)
			}
		})
	}
}

func onlyFirst(n int, p result.Pointer) *result.Pointer {
	if n > 1 {
		return nil
	}
	return &p
}

// TestSetPointerAgain: the store has it, and the answer was lost.
func TestSetPointerAgain(t *testing.T) {
	sink, err := storage.OpenSink("pvc://results", storage.Options{PVCMount: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := &busy{Sink: sink, t: t, after: func(int) error { return down }}
	try := func(ctx context.Context) error {
		return verify.SetPointer(ctx, s, pointerOf("run", "u", 1), false, io.Discard)
	}
	if err := storage.Retry(t.Context(), impatient, nil, try); err != nil || s.puts != 1 {
		t.Errorf("%d tries: %v", s.puts, err)
	}
}
