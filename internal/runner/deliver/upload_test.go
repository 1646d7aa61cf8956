package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

var errCrashed = errors.New("the process is dead")

// crashing is a Sink to which a process writes that dies at its nth change: before
// or after the place has it.
type crashing struct {
	storage.Sink
	left  int
	after bool
	log   []string
}

func (c *crashing) change(what string, do func() error) error {
	if c.left < 0 {
		return errCrashed
	}
	if c.left--; c.left >= 0 {
		c.log = append(c.log, what)
		return do()
	}
	if c.after {
		c.log = append(c.log, what)
		_ = do()
	}
	return errCrashed
}

func (c *crashing) Put(ctx context.Context, o storage.Object, body io.Reader) error {
	return c.change("put "+o.Key, func() error { return c.Sink.Put(ctx, o, body) })
}

func (c *crashing) Delete(ctx context.Context, key string) error {
	return c.change("delete "+key, func() error { return c.Sink.Delete(ctx, key) })
}

// sees is the digest of the result that a reader sees, "" for none. Anything that is
// not whole fails the test.
func sees(t *testing.T, s verify.Store) string {
	t.Helper()
	rep, _, err := verify.Whole(t.Context(), s, "", verify.Options{})
	if storage.KindOf(err) == storage.NotFound {
		return ""
	}
	if err != nil || len(rep.Problems) > 0 {
		t.Fatalf("a reader sees %+v %v", rep, err)
	}
	return rep.ManifestSHA256
}

type scene struct {
	t     *testing.T
	claim string
	cfg   report.DeliverConfig
	out   string
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, claim: t.TempDir(), out: t.TempDir()}
	s.cfg = report.DeliverConfig{
		URI: "pvc://results/walk", AttemptID: "abcde-1", PVCMount: s.claim, Provenance: report.Provenance{Engine: "test"},
		Outputs: []report.OutputFile{{Name: "a", Path: "a", Format: report.FormatOpaque}, {Name: "b", Path: "folder/b", Format: report.FormatOpaque}},
	}
	if err := os.Mkdir(filepath.Join(s.out, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.write("first")
	return s
}

func (s *scene) write(content string) {
	s.t.Helper()
	for _, name := range []string{"a", "folder/b"} {
		if err := os.WriteFile(filepath.Join(s.out, name), []byte(content+name), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *scene) sink() storage.Sink {
	s.t.Helper()
	sink, err := storage.OpenSink(s.cfg.URI, storage.Options{PVCMount: s.claim})
	if err != nil {
		s.t.Fatal(err)
	}
	return sink
}

func (s *scene) deliver(sink storage.Sink) (*report.DeliveryReport, error) {
	s.t.Helper()
	j, err := judge(s.t.Context(), s.cfg, s.out, report.VideoFacts{Frames: 1})
	if err != nil {
		s.t.Fatal(err)
	}
	defer j.close()
	job := report.JobRef{Namespace: "snow", Name: "run", UID: "abcde", Attempt: 1}
	u := &uploader{sink: sink, cfg: s.cfg, job: job, log: io.Discard, push: func(int64, int64) {}}
	return u.deliver(s.t.Context(), j, result.Manifest{
		APIVersion: result.APIVersion, Kind: result.KindManifest, Version: result.ManifestVersion, Job: job, AttemptID: s.cfg.AttemptID,
		Provenance: s.cfg.Provenance, Frames: 1, StartedAt: stamp(time.Now()),
	})
}

// TestUploadDiesAnywhere: after each change, and right before it, a reader sees no
// result or a whole one, at the root and in the attempt's folder; and the next run of
// the same attempt ends well.
func TestUploadDiesAnywhere(t *testing.T) {
	for name, before := range map[string]func(*scene){
		"nothing there": func(*scene) {},
		"the same result, and its pointer": func(s *scene) {
			if _, err := s.deliver(s.sink()); err != nil {
				s.t.Fatal(err)
			}
		},
		"another result of this attempt, and its pointer": func(s *scene) {
			if _, err := s.deliver(s.sink()); err != nil {
				s.t.Fatal(err)
			}
			s.write("second")
		},
		"somebody else's pointer, to be replaced": func(s *scene) {
			s.cfg.Overwrite = true
			if os.Mkdir(filepath.Join(s.claim, "walk"), 0o755) != nil || os.WriteFile(filepath.Join(s.claim, "walk/manifest.json"), []byte("hello"), 0o600) != nil {
				s.t.Fatal("cannot place the file")
			}
		},
	} {
		for n, over := 0, false; !over; n++ {
			for _, after := range []bool{false, true} {
				s := newScene(t)
				before(s)
				c := &crashing{Sink: s.sink(), left: n, after: after}
				_, err := s.deliver(c)
				over = err == nil
				if !over && !errors.Is(err, errCrashed) {
					t.Fatalf("%s, change %d: %v", name, n, err)
				}
				where := fmt.Sprintf("%s, died at change %d (after it: %v): %v", name, n, after, c.log)
				folder := verify.Folder(filepath.Join(s.claim, "walk/attempts/abcde-1"))
				manifest := sees(t, folder)
				if raw, _ := os.ReadFile(filepath.Join(s.claim, "walk/manifest.json")); string(raw) != "hello" {
					if pointer := sees(t, s.sink()); pointer != "" && pointer != manifest {
						t.Errorf("%s: manifest %q, pointer %q", where, manifest, pointer)
					}
				}
				rep, err := s.deliver(s.sink())
				if err != nil || sees(t, s.sink()) != rep.ManifestSHA256 || sees(t, folder) != rep.ManifestSHA256 {
					t.Fatalf("%s, then: %v", where, err)
				}
			}
			if n > 20 {
				t.Fatal("there is no end")
			}
		}
	}
}

func TestDecideFolder(t *testing.T) {
	mine := func() result.Manifest {
		return result.Manifest{
			APIVersion: result.APIVersion, Kind: result.KindManifest, Version: result.ManifestVersion, AttemptID: "abcde-1",
			Job: report.JobRef{Namespace: "snow", Name: "run", UID: "abcde", Attempt: 1}, Frames: 3,
			Files: []result.ManifestFileRef{{Name: "a", Path: "a", Size: 1, SHA256: strings.Repeat("a", 64)}},
			Run:   &result.EngineRun{DeviceUsed: "GPU"}, StartedAt: stamp(time.Now()),
		}
	}
	for name, c := range map[string]struct {
		change    func(*result.Manifest)
		overwrite bool
		want      folderDecision
	}{
		"the same":              {func(*result.Manifest) {}, false, folderDecision{keep: true}},
		"the same, overwrite":   {func(*result.Manifest) {}, true, folderDecision{keep: true}},
		"at another time":       {func(m *result.Manifest) { m.CompletedAt, m.Run, m.RunnerVersion = time.Now(), nil, "9" }, false, folderDecision{keep: true}},
		"other files":           {func(m *result.Manifest) { m.Files[0].Size = 2 }, false, folderDecision{replaces: "that of an earlier run of this attempt, which had another result"}},
		"another video":         {func(m *result.Manifest) { m.Video.SourceSHA256 = "b" }, false, folderDecision{replaces: "that of an earlier run of this attempt, which had another result"}},
		"another attempt":       {func(m *result.Manifest) { m.Job.Attempt = 2 }, false, folderDecision{refused: "belongs to attempt 2 of the job snow/run"}},
		"another uid":           {func(m *result.Manifest) { m.Job.UID = "abcdf" }, false, folderDecision{refused: "belongs to attempt 1 of the job snow/run"}},
		"another job":           {func(m *result.Manifest) { m.Job.Name = "walk" }, false, folderDecision{refused: "belongs to attempt 1 of the job snow/walk"}},
		"another job, replaced": {func(m *result.Manifest) { m.Job.Name = "walk" }, true, folderDecision{replaces: "a file of somebody else, as output.overwrite allows"}},
		"no manifest":           {func(m *result.Manifest) { m.Kind = "App" }, false, folderDecision{refused: "is a file of somebody else"}},
		"no manifest, replaced": {func(m *result.Manifest) { m.Kind = "App" }, true, folderDecision{replaces: "a file of somebody else, as output.overwrite allows"}},
	} {
		m := mine()
		c.change(&m)
		raw, err := verify.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if got := decideFolder(raw, mine(), c.overwrite); got != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestSeen: what an engine says of itself is bounded, and no manifest breaks by it.
func TestSeen(t *testing.T) {
	e := report.EngineReport{DeviceUsed: "GPU", GPU: strings.Repeat("g\x1b", 5000), StageSeconds: map[string]float64{}, Versions: map[string]string{}}
	for i := range 10_000 {
		e.StageSeconds[fmt.Sprint(i)], e.Versions[fmt.Sprint(i)] = 1, strings.Repeat("v", 5000)
	}
	m := result.Manifest{
		APIVersion: result.APIVersion, Kind: result.KindManifest, Version: result.ManifestVersion, AttemptID: "a", Run: seen(e),
		Files: []result.ManifestFileRef{{Path: "a", SHA256: strings.Repeat("a", 64)}},
	}
	b, err := encode(&m)
	if err != nil || m.Run == nil || len(m.Run.StageSeconds) != maxSeenStages || len(b) > 20_000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
