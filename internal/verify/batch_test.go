package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// writeBatch lays the results of a batch and its index, and gives the index's digest.
// One clip's name is percent-encoded in the index alone; one failed.
func writeBatch(t *testing.T, dir string, change ...func([]clips.IndexEntry, *clips.IndexHead)) string {
	t.Helper()
	const uri = "s3://results/snow/many"
	var entries []clips.IndexEntry
	for _, name := range []string{"a%20b.mp4", "cam/c.mp4", "d.mp4"} {
		digest := write(t, filepath.Join(dir, strings.ReplaceAll(name, "%20", " ")))
		entries = append(entries, clips.IndexEntry{
			Name: name, Video: "s3://videos/" + name, State: clips.StateSucceeded, Result: uri + "/" + name + "/attempts/abcde-1", ManifestSHA256: digest,
			People: new(int64(0)), Frames: new(int64(3)), Job: "snow/many-1",
		})
	}
	entries = append(entries, clips.IndexEntry{Name: "e.mp4", Video: "s3://videos/e.mp4", State: clips.StateFailed, Reason: "InputInvalid"})
	head := clips.IndexHead{
		APIVersion: clips.APIVersion, Kind: clips.KindIndex, Version: clips.IndexVersion, URI: uri,
		Batch: clips.BatchRef{Namespace: "snow", Name: "many", UID: "u"}, Counts: clips.IndexCounts{Total: 4, Succeeded: 3, Failed: 1},
	}
	for _, c := range change {
		c(entries, &head)
	}
	var b bytes.Buffer
	w, err := clips.NewIndexWriter(&b, head)
	for _, e := range entries {
		if err == nil {
			err = w.Add(e)
		}
	}
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	place(t, filepath.Join(dir, "batch.json"), b.Bytes())
	return sum(b.Bytes())
}

// TestBatch breaks a batch in every way.
func TestBatch(t *testing.T) {
	type breaks = func(t *testing.T, dir string)
	entry := func(i int, change func(*clips.IndexEntry)) breaks {
		return func(t *testing.T, dir string) {
			writeBatch(t, dir, func(e []clips.IndexEntry, _ *clips.IndexHead) { change(&e[i]) })
		}
	}
	head := func(change func(*clips.IndexHead)) breaks {
		return func(t *testing.T, dir string) {
			writeBatch(t, dir, func(_ []clips.IndexEntry, h *clips.IndexHead) { change(h) })
		}
	}
	index := func(edit func(string) string) breaks {
		return func(t *testing.T, dir string) {
			name := filepath.Join(dir, "batch.json")
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			place(t, name, []byte(edit(string(b))))
		}
	}
	remove := func(name string) breaks {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		breaks  breaks
		want    []string // of every problem, a part
		results int64
	}{
		"nothing": {func(*testing.T, string) {}, nil, 3},
		"a pointer that leads elsewhere: the index is believed": {func(t *testing.T, dir string) { place(t, filepath.Join(dir, "d.mp4/manifest.json"), []byte("{}")) }, nil, 3},
		"a file that is gone":     {remove("a b.mp4/attempts/abcde-1/pose.json"), []string{"a%20b.mp4: pose.json: it is missing"}, 3},
		"a manifest that is gone": {remove("cam/c.mp4/attempts/abcde-1/manifest.json"), []string{"cam/c.mp4: "}, 3},
		"files of two results": {func(t *testing.T, dir string) {
			remove("d.mp4/attempts/abcde-1/empty")(t, dir)
			remove("cam/c.mp4/attempts/abcde-1/empty")(t, dir)
		}, []string{"cam/c.mp4: empty: it is missing", "d.mp4: empty: it is missing"}, 3},
		"another manifest":                       {entry(2, func(e *clips.IndexEntry) { e.ManifestSHA256 = strings.Repeat("0", 64) }), []string{"d.mp4: manifest.json has sha256"}, 3},
		"another number of people":               {entry(0, func(e *clips.IndexEntry) { e.People = new(int64(9)) }), []string{"a%20b.mp4: the index says 9 people, its manifest 0"}, 3},
		"another number of frames":               {entry(0, func(e *clips.IndexEntry) { e.Frames = new(int64(9)) }), []string{"9 frames, its manifest 3"}, 3},
		"a result that was missing":              {entry(1, func(e *clips.IndexEntry) { e.Result, e.ManifestSHA256, e.Message = "", "", "it was gone" }), []string{"cam/c.mp4: it succeeded, and its result was not to be read when the index was written: it was gone"}, 2},
		"a result elsewhere":                     {entry(1, func(e *clips.IndexEntry) { e.Result = "s3://elsewhere/x" }), []string{"does not lie in its own folder"}, 2},
		"another clip's result":                  {entry(1, func(e *clips.IndexEntry) { e.Result = "s3://results/snow/many/d.mp4/attempts/abcde-1" }), []string{"does not lie in its own folder"}, 2},
		"a path that leads out":                  {entry(1, func(e *clips.IndexEntry) { e.Result += "/../../x" }), []string{"is no folder of an attempt"}, 2},
		"a name that leads out":                  {entry(1, func(e *clips.IndexEntry) { e.Name, e.Result = "b/../../c", "s3://results/snow/many/b/../../c" }), []string{"does not lie in its own folder"}, 2},
		"no digest":                              {entry(1, func(e *clips.IndexEntry) { e.ManifestSHA256 = "" }), []string{"cam/c.mp4: the index has no digest"}, 2},
		"a result of a clip that failed":         {entry(3, func(e *clips.IndexEntry) { e.Result = "s3://results/snow/many/e.mp4" }), []string{"e.mp4: it is Failed, and has a result"}, 3},
		"a clip twice":                           {entry(1, func(e *clips.IndexEntry) { e.Name = "a%20b.mp4" }), []string{`cannot be right: clip "a%20b.mp4" does not follow`}, 1},
		"no order":                               {entry(2, func(e *clips.IndexEntry) { e.Name = "aaa" }), []string{"cannot be right"}, 2},
		"another state":                          {entry(2, func(e *clips.IndexEntry) { e.State = "Maybe" }), []string{`has the state "Maybe"`}, 2},
		"counts that are not so":                 {head(func(h *clips.IndexHead) { h.Counts.Failed, h.Counts.Succeeded = 0, 4 }), []string{"batch.json counts"}, 3},
		"a later version":                        {head(func(h *clips.IndexHead) { h.Version = 7 }), []string{"version 7"}, 0},
		"an index that breaks off":               {index(func(s string) string { return s[:len(s)-4] }), []string{"breaks off"}, 3},
		"an index that breaks off within a clip": {index(func(s string) string { before, _, _ := strings.Cut(s, `e":"d.mp4"`); return before }), []string{"clip 2 cannot be read"}, 2},
		"an index with something behind":         {index(func(s string) string { return s + "{}" }), []string{"something follows"}, 3},
		"an index without clips":                 {index(func(s string) string { before, _, _ := strings.Cut(s, `,"clips"`); return before + "}" }), []string{"it has no clips"}, 0},
		"clips that are none":                    {index(func(s string) string { before, _, _ := strings.Cut(s, `"clips":[`); return before + `"clips":7}` }), []string{"are no list"}, 0},
		"a clip that is too large":               {index(func(s string) string { return strings.Replace(s, "InputInvalid", strings.Repeat("x", 1<<20), 1) }), []string{"clip 3 cannot be read: it is too large"}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			digest := writeBatch(t, dir)
			tc.breaks(t, dir)
			var told []string
			var last verify.BatchProgress
			rep, h, err := verify.Batch(t.Context(), verify.Folder(dir), "", verify.BatchOptions{
				Problem: func(p string) { told = append(told, p) }, Progress: func(p verify.BatchProgress) { last = p },
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(rep.Problems)
			slices.Sort(told)
			if len(rep.Problems) != len(tc.want) || !slices.Equal(told, rep.Problems) || rep.Results != tc.results || h == nil || h.Batch.Name != "many" {
				t.Fatalf("%+v, told %q, want %q and %d results", rep, told, tc.want, tc.results)
			}
			for i, want := range tc.want {
				if !strings.Contains(rep.Problems[i], want) {
					t.Errorf("%q does not say %q", rep.Problems[i], want)
				}
			}
			if last.Results != rep.Results || last.Files != rep.Files || last.Bytes != rep.Bytes || (rep.Results > 0 && last.Total != tc.results) {
				t.Errorf("progress %+v, report %+v", last, rep)
			}
			b, err := os.ReadFile(filepath.Join(dir, "batch.json"))
			if err != nil || rep.ManifestSHA256 != sum(b) {
				t.Errorf("digest %s, %v", rep.ManifestSHA256, err)
			}
			// Whoever knows the digest sees every change of the index.
			rep, _, err = verify.Batch(t.Context(), verify.Folder(dir), digest, verify.BatchOptions{})
			if changed := sum(b) != digest; err != nil || changed != strings.Contains(strings.Join(rep.Problems, "\n"), "not "+digest+": it was changed") {
				t.Errorf("changed: %v; %q %v", changed, rep.Problems, err)
			}
		})
	}
}

func TestBatchOfSomebodyElse(t *testing.T) {
	dir := t.TempDir()
	if is, err := verify.IsBatch(t.Context(), verify.Folder(dir)); is || err != nil {
		t.Error(is, err)
	}
	if _, _, err := verify.Batch(t.Context(), verify.Folder(dir), "", verify.BatchOptions{}); storage.KindOf(err) != storage.NotFound {
		t.Error(err)
	}
	for _, text := range []string{"", "hello", `{"kind":"PoseManifest"}`, strings.Repeat("[", 1<<20), `{"a":"` + strings.Repeat("x", 1<<20)} {
		place(t, filepath.Join(dir, "batch.json"), []byte(text))
		if is, err := verify.IsBatch(t.Context(), verify.Folder(dir)); is || err != nil {
			t.Error(is, err)
		}
		if _, _, err := verify.Batch(t.Context(), verify.Folder(dir), "", verify.BatchOptions{}); !errors.Is(err, result.ErrForeign) {
			t.Errorf("%.20s: %v", text, err)
		}
	}
	writeBatch(t, dir)
	if is, err := verify.IsBatch(t.Context(), verify.Folder(dir)); !is || err != nil {
		t.Error(is, err)
	}
}

// refusing is a store that refuses some keys, and breaks off others now and then.
type refusing struct {
	verify.Folder
	refuses string
	mu      sync.Mutex
	broken  int // readings of the index that break off
	opened  int
}

func (s *refusing) Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	if s.refuses != "" && strings.HasPrefix(key, s.refuses) {
		return nil, storage.Info{}, &storage.Error{Kind: storage.Refused, Place: key, Cause: "you may not"}
	}
	body, info, err := s.Folder.Open(ctx, key)
	if key == "batch.json" && s.broken > 0 && err == nil {
		s.broken--
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(body, 700), breaking{}), body}, info, nil
	}
	return body, info, err
}

type breaking struct{}

func (breaking) Read([]byte) (int, error) {
	return 0, &storage.Error{Kind: storage.Other, Place: "x", Cause: "the connection broke", Temporary: true}
}

// TestBatchThatCannotBeLookedAt: nothing is said of it.
func TestBatchThatCannotBeLookedAt(t *testing.T) {
	dir := t.TempDir()
	writeBatch(t, dir)
	quick := verify.BatchOptions{Options: verify.Options{Policy: storage.Policy{Tries: 3, FirstDelay: time.Millisecond, MaxDelay: time.Millisecond}}}
	s := &refusing{Folder: verify.Folder(dir), refuses: "cam/"}
	rep, _, err := verify.Batch(t.Context(), s, "", quick)
	if storage.KindOf(err) != storage.Refused || !strings.Contains(fmt.Sprint(err), "cam/c.mp4") || rep == nil || len(rep.Problems) > 0 {
		t.Errorf("%+v %v", rep, err)
	}
	// A connection that breaks is no damage.
	s = &refusing{Folder: verify.Folder(dir), broken: 2}
	if rep, _, err = verify.Batch(t.Context(), s, "", quick); err != nil || len(rep.Problems) > 0 || rep.Results != 3 {
		t.Errorf("%+v %v", rep, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err = verify.Batch(ctx, s, "", quick); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
