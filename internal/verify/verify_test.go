package verify_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// content of a result's files.
var content = map[string][]byte{
	"pose.json":          bytes.Repeat([]byte("pose"), 300_000),
	"pictures/sheet.png": []byte("sheet"),
	"empty":              {},
}

// write a result into the folder of an attempt, with a pointer at the root, and give
// the digest of its manifest.
func write(t *testing.T, dir string) string {
	t.Helper()
	m := result.Manifest{
		APIVersion: result.APIVersion, Kind: result.KindManifest, Version: result.ManifestVersion, AttemptID: "abcde-1",
		Job: report.JobRef{Namespace: "snow", Name: "run", UID: "u", Attempt: 1}, Frames: 3,
	}
	folder := filepath.Join(dir, "attempts/abcde-1")
	for name, b := range content {
		place(t, filepath.Join(folder, name), b)
		m.Files = append(m.Files, result.ManifestFileRef{Name: name, Path: name, Size: int64(len(b)), SHA256: sum(b)})
	}
	raw, err := verify.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	place(t, filepath.Join(folder, "manifest.json"), raw)
	p, err := verify.Encode(result.Pointer{APIVersion: result.APIVersion, Kind: result.KindPointer, Job: m.Job, Attempt: 1, AttemptID: m.AttemptID, URI: "s3://elsewhere/it/says", ManifestSHA256: sum(raw)})
	if err != nil {
		t.Fatal(err)
	}
	place(t, filepath.Join(dir, "manifest.json"), p)
	return sum(raw)
}

func place(t *testing.T, path string, b []byte) {
	t.Helper()
	if os.MkdirAll(filepath.Dir(path), 0o755) != nil || os.WriteFile(path, b, 0o600) != nil {
		t.Fatalf("cannot write %s", path)
	}
}

// TestWhole breaks a result in every way.
func TestWhole(t *testing.T) {
	in := func(name string) string { return "attempts/abcde-1/" + name }
	change := func(name string, edit func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			place(t, filepath.Join(dir, name), edit(b))
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	link := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			if os.Rename(path, path+".other") != nil || os.Symlink(filepath.Base(path)+".other", path) != nil {
				t.Fatal("cannot link")
			}
		}
	}
	for name, c := range map[string]struct {
		harm func(*testing.T, string)
		want string // the problem; "" for a whole result
		err  string // or the error, without a digest that is known from elsewhere
	}{
		"whole":                   {func(*testing.T, string) {}, "", ""},
		"with files of others":    {func(t *testing.T, dir string) { place(t, filepath.Join(dir, in("engine.log")), []byte("x")) }, "", ""},
		"a bit turned":            {change(in("pose.json"), func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), "pose.json: its sha256 is", ""},
		"one byte less":           {change(in("pose.json"), func(b []byte) []byte { return b[1:] }), "pose.json: it has 1199999 bytes, the manifest says 1200000", ""},
		"one byte more":           {change(in("pictures/sheet.png"), func(b []byte) []byte { return append(b, 0) }), "pictures/sheet.png: it has 6 bytes", ""},
		"an empty one filled":     {change(in("empty"), func([]byte) []byte { return []byte("x") }), "empty: it has 1 bytes", ""},
		"a file lost":             {remove(in("pictures/sheet.png")), "pictures/sheet.png: it is missing", ""},
		"a link":                  {link(in("pose.json")), "symbolic link", ""},
		"a folder that is a link": {link(in("pictures")), "symbolic link", ""},
		"a folder in its place": {func(t *testing.T, dir string) {
			remove(in("empty"))(t, dir)
			place(t, filepath.Join(dir, in("empty/x")), nil)
		}, "not a regular file", ""},
		"manifest changed":     {change(in("manifest.json"), func(b []byte) []byte { return bytes.Replace(b, []byte(`"frames": 3`), []byte(`"frames": 4`), 1) }), "the pointer that leads to it says", ""},
		"manifest lost":        {remove(in("manifest.json")), "leads to attempts/abcde-1/manifest.json, which is not there", ""},
		"manifest is a link":   {link(in("manifest.json")), "", "symbolic link"},
		"pointer lost":         {remove("manifest.json"), "", "there is no such file"},
		"pointer to elsewhere": {change("manifest.json", func(b []byte) []byte { return bytes.Replace(b, []byte(`"abcde-1"`), []byte(`"../../x"`), 1) }), "cannot be a folder's name", ""},
		"a web app":            {change("manifest.json", func([]byte) []byte { return []byte(`{"name": "app"}`) }), "", "no document of the pose operator"},
		"huge":                 {change("manifest.json", func([]byte) []byte { return make([]byte, 2<<20) }), "", "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			digest := write(t, dir)
			c.harm(t, dir)
			rep, found, err := verify.Whole(t.Context(), verify.Folder(dir), "", verify.Options{})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%+v %v", rep, err)
				}
				// Who knows that there was a result knows that it is not there.
				if rep, _, err := verify.Whole(t.Context(), verify.Folder(dir), digest, verify.Options{}); !strings.Contains(name, "link") && (err != nil || len(rep.Problems) != 1) {
					t.Errorf("%+v %v", rep, err)
				}
				return
			}
			if err != nil || (c.want == "") != (len(rep.Problems) == 0) || !strings.Contains(strings.Join(rep.Problems, "\n"), c.want) || len(rep.Problems) > 1 {
				t.Fatalf("%+v %v", rep, err)
			}
			if c.want == "" && (rep.Files != 3 || rep.Bytes != 1_200_005 || rep.ManifestSHA256 != digest || rep.URI != dir+"/attempts/abcde-1" || found.Folder != "attempts/abcde-1" || found.Pointer == nil) {
				t.Errorf("%+v %+v", rep, found)
			}
		})
	}
}

func TestFindByDigest(t *testing.T) {
	dir := t.TempDir()
	digest := write(t, dir)
	folder := verify.Folder(filepath.Join(dir, "attempts/abcde-1"))
	f, err := verify.Find(t.Context(), folder, digest, verify.Options{})
	if err != nil || f.Folder != "" || f.Pointer != nil || f.SHA256 != digest || f.Key("a/b") != "a/b" {
		t.Errorf("%+v %v", f, err)
	}
	rep, err := verify.Check(t.Context(), folder, f, verify.Options{Parallel: 1})
	if err != nil || len(rep.Problems) != 0 || rep.URI != folder.String() {
		t.Errorf("%+v %v", rep, err)
	}
	_, err = verify.Find(t.Context(), verify.Folder(dir), strings.Repeat("0", 64), verify.Options{})
	if p, ok := verify.IsDamage(err); !ok || !strings.Contains(p[0], "it is another result, or it was changed") {
		t.Errorf("%v", err)
	}
}

// flaky is a Store whose reading fails as it is told.
type flaky struct {
	verify.Store
	mu   sync.Mutex
	open func(key string, n int) error
	read func(key string, n int) error // after a few bytes
	// size that is announced of a key, instead of the true one
	size  map[string]int64
	opens map[string]int
}

func (f *flaky) Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.opens == nil {
		f.opens = map[string]int{}
	}
	f.opens[key]++
	n := f.opens[key]
	if f.open != nil {
		if err := f.open(key, n); err != nil {
			return nil, storage.Info{}, err
		}
	}
	body, info, err := f.Store.Open(ctx, key)
	if s, ok := f.size[key]; ok {
		info.Size = s
	}
	if err == nil && f.read != nil {
		if failure := f.read(key, n); failure != nil {
			return &broken{body, failure}, info, nil
		}
	}
	return body, info, err
}

type broken struct {
	io.ReadCloser
	err error
}

func (b *broken) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), 3)])
	if err == nil {
		err = b.err
	}
	return n, err
}

var (
	impatient = storage.Policy{FirstDelay: time.Millisecond, MaxDelay: time.Millisecond, Tries: 3}
	down      = &storage.Error{Kind: storage.Unreachable, Place: "s3://b", Cause: "the server answered 503", Temporary: true}
	forbidden = &storage.Error{Kind: storage.Forbidden, Place: "s3://b", Cause: "the server answered 403"}
)

func TestCheckTriesAgain(t *testing.T) {
	dir := t.TempDir()
	write(t, dir)
	s := &flaky{Store: verify.Folder(dir), open: func(_ string, n int) error {
		if n == 1 {
			return down
		}
		return nil
	}, read: func(_ string, n int) error {
		if n == 2 {
			return down
		}
		return nil
	}}
	var most int64
	rep, _, err := verify.Whole(t.Context(), s, "", verify.Options{Policy: impatient, Progress: func(done, total int64) {
		if most = max(most, done); total != 1_200_005 {
			t.Errorf("of %d bytes", total)
		}
	}})
	if err != nil || len(rep.Problems) > 0 || rep.Bytes != 1_200_005 || most != rep.Bytes {
		t.Errorf("%+v %v, progress up to %d", rep, err, most)
	}
}

// TestCheckCannotBeMade: what cannot be read is not called damaged, nor whole.
func TestCheckCannotBeMade(t *testing.T) {
	dir := t.TempDir()
	digest := write(t, dir)
	for name, c := range map[string]struct {
		open func(string, int) error
		kind storage.Kind
	}{
		"down":      {func(key string, _ int) error { return map[bool]error{true: down}[strings.HasSuffix(key, "pose.json")] }, storage.Unreachable},
		"all down":  {func(string, int) error { return down }, storage.Unreachable},
		"forbidden": {func(key string, _ int) error { return map[bool]error{true: forbidden}[strings.HasSuffix(key, "empty")] }, storage.Forbidden},
	} {
		rep, _, err := verify.Whole(t.Context(), &flaky{Store: verify.Folder(dir), open: c.open}, digest, verify.Options{Policy: impatient})
		if err == nil || storage.KindOf(err) != c.kind {
			t.Errorf("%s: %+v %v", name, rep, err)
		}
		if _, ok := verify.IsDamage(err); ok {
			t.Errorf("%s is called damage: %v", name, err)
		}
	}
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := &flaky{Store: verify.Folder(dir), open: func(key string, _ int) error {
		if strings.HasSuffix(key, "pose.json") {
			cancel(over)
		}
		return nil
	}}
	if rep, _, err := verify.Whole(ctx, s, digest, verify.Options{Parallel: 1}); !errors.Is(err, over) {
		t.Errorf("%+v %v", rep, err)
	}
}

// TestServerThatLies announces another size than it gives.
func TestServerThatLies(t *testing.T) {
	dir := t.TempDir()
	write(t, dir)
	key := "attempts/abcde-1/pose.json"
	for name, c := range map[string]struct {
		edit func([]byte) []byte
		want string
	}{
		"more":        {func(b []byte) []byte { return append(b, b...) }, "it has more than the 1200000 bytes"},
		"fewer":       {func(b []byte) []byte { return b[:10] }, "it ends after 10 of 1200000 bytes"},
		"other bytes": {bytes.ToUpper, "its sha256 is"},
	} {
		place(t, filepath.Join(dir, key), c.edit(bytes.Clone(content["pose.json"])))
		for _, size := range []int64{-1, 1_200_000} {
			rep, _, err := verify.Whole(t.Context(), &flaky{Store: verify.Folder(dir), size: map[string]int64{key: size}}, "", verify.Options{})
			if err != nil || len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0], c.want) {
				t.Errorf("%s, %d: %+v %v", name, size, rep, err)
			}
		}
	}
}

func TestDescribe(t *testing.T) {
	m := &result.Manifest{AttemptID: "a-1", Job: report.JobRef{Name: "run"}, Provenance: report.Provenance{VideoURI: "s3://v/a.mp4", Engine: "e", Variant: "v"}, Video: report.VideoFacts{SourceSHA256: "s", StartFrame: 7}, Frames: 3, Engine: &result.Engine{Version: "9"}}
	if got := fmt.Sprintf("%+v", verify.Describe(m)); !strings.Contains(got, "VideoURI:s3://v/a.mp4 VideoSHA256:s StartFrame:7 Frames:3") || !strings.Contains(got, "EngineVersion:9") {
		t.Error(got)
	}
}

// still is a Store that stands still until it is given up.
type still struct {
	verify.Store
	mu    sync.Mutex
	opens int
	open  bool // already when it is opened
}

func (s *still) Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	s.mu.Lock()
	s.opens++
	n := s.opens
	s.mu.Unlock()
	body, info, err := s.Store.Open(ctx, key)
	if err != nil || n%2 == 0 {
		return body, info, err
	}
	if s.open {
		<-ctx.Done()
		return nil, info, ctx.Err()
	}
	return &silent{body, ctx}, info, nil
}

type silent struct {
	io.ReadCloser
	ctx context.Context
}

func (s *silent) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func TestCheckOfAStoreThatStandsStill(t *testing.T) {
	dir := t.TempDir()
	write(t, dir)
	hasty := impatient
	hasty.Idle = 50 * time.Millisecond
	for _, open := range []bool{false, true} {
		rep, _, err := verify.Whole(t.Context(), &still{Store: verify.Folder(dir), open: open}, "", verify.Options{Policy: hasty, Parallel: 1})
		if err != nil || len(rep.Problems) > 0 || rep.Bytes != 1_200_005 {
			t.Errorf("%+v %v", rep, err)
		}
	}
	if _, _, err := verify.Whole(t.Context(), &always{verify.Folder(dir)}, "", verify.Options{Policy: hasty}); storage.KindOf(err) != storage.Unreachable || !strings.Contains(err.Error(), "stood still") {
		t.Errorf("%v", err)
	}
}

// always stands still.
type always struct{ verify.Store }

func (a *always) Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	body, info, err := verify.Folder(a.String()).Open(ctx, key)
	if err != nil {
		return nil, info, err
	}
	return &silent{body, ctx}, info, nil
}
