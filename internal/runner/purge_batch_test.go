package runner_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// batchPurge is that of the batch team-a/many.
func (w *world) batchPurge(change func(*report.PurgeConfig)) report.Config {
	cfg := report.Config{
		Role: report.RolePurge, Job: report.JobRef{Namespace: "team-a", Name: "many", UID: "uid-b"},
		Purge: &report.PurgeConfig{URI: w.base + "/team-a/many", PVCMount: w.mount, Store: w.store, Batch: "many", TimeoutSeconds: 60},
	}
	if change != nil {
		change(cfg.Purge)
	}
	return cfg
}

// clipRef is a job of a batch.
func clipRef(batch string, clip int) report.JobRef {
	job := jobRef("team-a", fmt.Sprintf("%s-abcde-%d", batch, clip), fmt.Sprintf("uid-%d", clip))
	job.Batch = batch
	return job
}

// own marks a folder as that of a job, and puts a file there.
func (w *world) own(folder, file string, job report.JobRef) {
	w.t.Helper()
	parent, id := folder[:strings.LastIndex(folder, "/")], folder[strings.LastIndex(folder, "/")+1:]
	if err := verify.Own(w.t.Context(), w.sink(parent), id, job); err != nil {
		w.t.Fatal(err)
	}
	w.put(folder+"/"+file, "a part of it")
}

// litterBatch makes all that may lie in a batch's output. It gives the keys that are
// not the batch's.
func (w *world) litterBatch() (foreign []string) {
	w.t.Helper()
	overwrite := func(d *report.DeliverConfig, _ *report.VideoFacts) { d.Overwrite = true }
	w.put("videos/v.mp4", "a video")
	compute := func(clip, id string, job report.JobRef, change func(*report.DeliverConfig, *report.VideoFacts)) {
		w.compute("videos/v.mp4", "team-a/many/"+clip, id, job, change)
	}
	compute("a.mp4", "aaaaa-1", clipRef("many", 0), nil)
	former := clipRef("many", 7)
	former.Name, former.UID = "many-fffff-7", "uid-f"
	compute("cam/b.mp4", "fffff-1", former, nil)
	compute("cam/attempts/run.mp4", "aaaaa-3", clipRef("many", 3), nil)
	// Known by its manifest alone.
	if err := w.sink("team-a/many/cam/attempts/run.mp4").Delete(w.t.Context(), "attempts/aaaaa-3/owner.json"); err != nil {
		w.t.Fatal(err)
	}
	// Of another batch, of a job, and of a batch of this name in another namespace.
	compute("c.mp4", "ccccc-1", clipRef("other", 1), nil)
	compute("d.mp4", "ddddd-1", jobRef("team-a", "run", "uid-d"), nil)
	compute("f.mp4", "eeeee-1", report.JobRef{Namespace: "team-b", Name: "many-eeeee-1", UID: "uid-e", Attempt: 1, Batch: "many"}, nil)
	// Replaced by another job, which left what was there.
	compute("e.mp4", "aaaaa-4", clipRef("many", 4), nil)
	compute("e.mp4", "ddddd-2", jobRef("team-a", "run", "uid-d"), overwrite)
	// Partial ones: of the batch, of another, of nobody.
	w.own("team-a/many/a.mp4/attempts/aaaaa-9", "engine.log", clipRef("many", 0))
	w.own("team-a/many/g.mp4/attempts/aaaaa-1", "pose.json", clipRef("many", 8))
	w.own("team-a/many/a.mp4/attempts/ccccc-9", "engine.log", clipRef("other", 0))
	w.put("team-a/many/a.mp4/attempts/zzzzz-1/engine.log", "somebody's")
	w.put("team-a/many/a.mp4/notes.txt", "a person's")
	w.put("team-a/many/notes.txt", "a person's")
	w.put("team-a/many-2/a.mp4/attempts/aaaaa-1/engine.log", "beside it")
	w.put("team-a/many/batch.json", `{"apiVersion":"pose.dev/v1alpha1","kind":"PoseBatchIndex","version":1,"batch":{"namespace":"team-a","name":"many","uid":"x"},"clips":[]}`)
	foreign = []string{
		"a.mp4/attempts/ccccc-9/engine.log", "a.mp4/attempts/ccccc-9/owner.json", "a.mp4/attempts/zzzzz-1/engine.log", "a.mp4/notes.txt", "notes.txt",
		"e.mp4/attempts/ddddd-2/manifest.json", "e.mp4/attempts/ddddd-2/pose.json", "e.mp4/manifest.json",
	}
	for _, clip := range []string{"c.mp4 ccccc-1", "d.mp4 ddddd-1", "f.mp4 eeeee-1"} {
		name, id, _ := strings.Cut(clip, " ")
		for _, key := range w.files("team-a/many/" + name) {
			foreign = append(foreign, name+"/"+key)
		}
		if !slices.Contains(foreign, name+"/attempts/"+id+"/manifest.json") {
			w.t.Fatalf("%s has no result", name)
		}
	}
	slices.Sort(foreign)
	return foreign
}

// TestPurgeOfABatch removes what the batch wrote, under all its names, and nothing
// else.
func TestPurgeOfABatch(t *testing.T) {
	t.Parallel()
	for name, w := range worlds(t) {
		foreign := w.litterBatch()
		if name == "bucket" {
			w.begin("team-a/many/g.mp4/attempts/aaaaa-1/overlay.mp4", "team-a/many/c.mp4/attempts/ccccc-2/overlay.mp4")
		}
		before := w.files("team-a/many")
		dry, code, out := w.pod().run(w.batchPurge(func(c *report.PurgeConfig) { c.DryRun = true }))
		if code != 0 || dry.Purge == nil || strings.Contains(out, ": removed") {
			t.Fatalf("%s: %d %+v\n%s", name, code, dry, out)
		}
		same(t, name+": a dry run", w.files("team-a/many"), before)
		m, code, out := w.pod().run(w.batchPurge(nil))
		if code != 0 || m.Result != report.ResultOK || m.Purge == nil {
			t.Fatalf("%s: %d %+v\n%s", name, code, m, out)
		}
		same(t, name, w.files("team-a/many"), foreign)
		p, d := m.Purge, dry.Purge
		if p.Results != 4 || p.Partials != 2 || !p.Pointer || p.Objects != int64(len(before)-len(foreign)) || p.Bytes == 0 {
			t.Errorf("%s: %+v\n%s", name, p, out)
		}
		if d.Results != p.Results || d.Partials != p.Partials || d.Objects != p.Objects || d.Bytes != p.Bytes || !d.Pointer {
			t.Errorf("%s: a dry run said %+v, then %+v", name, d, p)
		}
		for _, kept := range []string{
			"a.mp4/attempts/ccccc-9 is the result of job team-a/other-abcde-0", "a.mp4/attempts/zzzzz-1 has no manifest", "c.mp4/attempts/ccccc-1 is the result of job team-a/other",
			"d.mp4/manifest.json leads to the result of job team-a/run", "f.mp4/attempts/eeeee-1 is the result of job team-b/many",
		} {
			if !strings.Contains(out, "kept: "+kept) {
				t.Errorf("%s: %q is not named as kept:\n%s", name, kept, out)
			}
		}
		if len(w.files("team-a/many-2")) != 1 || w.read("videos/v.mp4") == nil {
			t.Errorf("%s: too much was removed", name)
		}
		if name == "bucket" {
			same(t, "uploads", w.begun(), []string{"team-a/many/c.mp4/attempts/ccccc-2/overlay.mp4"})
		}
		for _, cfg := range []report.Config{w.batchPurge(nil), w.batchPurge(func(c *report.PurgeConfig) { c.URI = w.base + "/team-a/none" })} {
			if m, code, out = w.pod().run(cfg); code != 0 || m.Purge.Objects != 0 || m.Purge.Pointer {
				t.Errorf("%s: nothing there: %d %+v\n%s", name, code, m.Purge, out)
			}
		}
	}
}

// TestPurgeOfABatchLeavesAnothersIndex.
func TestPurgeOfABatchLeavesAnothersIndex(t *testing.T) {
	t.Parallel()
	for name, w := range worlds(t) {
		for text, why := range map[string]string{
			`{"apiVersion":"pose.dev/v1alpha1","kind":"PoseBatchIndex","version":1,"batch":{"namespace":"team-a","name":"other","uid":"x"},"clips":[]}`: "is that of batch team-a/other",
			`{"apiVersion":"pose.dev/v1alpha1","kind":"PoseBatchIndex","version":1,"batch":{"namespace":"team-b","name":"many","uid":"x"},"clips":[]}`:  "is that of batch team-b/many",
			"hello": "is a file of somebody else",
		} {
			w.put("team-a/many/batch.json", text)
			m, code, out := w.pod().run(w.batchPurge(nil))
			if code != 0 || m.Purge.Pointer || !contains(m.Purge.Kept, "batch.json", why) || w.read("team-a/many/batch.json") == nil {
				t.Errorf("%s: %d %+v\n%s", name, code, m.Purge, out)
			}
		}
	}
}

// TestPurgeOfABatchIsKilled at each of its writes: whoever reads finds whole results
// or none, and the next run goes on.
func TestPurgeOfABatchIsKilled(t *testing.T) {
	t.Parallel()
	w := bucketWorld(t)
	foreign := w.litterBatch()
	made := w.snapshot("team-a/many")
	k := newKiller(t, w.store.S3Endpoint)
	through := *w
	through.store.S3Endpoint = k.URL
	clips := []string{"a.mp4", "cam/b.mp4", "cam/attempts/run.mp4", "c.mp4", "e.mp4"}
	for at, more := 1, true; more; at += 3 {
		if at > 90 {
			t.Fatal("there is no end of writes")
		}
		w.restore(made)
		if more = k.run(through.pod(), through.batchPurge(nil), at, at%2 == 0); !more && at < 15 {
			t.Fatalf("there were only %d writes", at-1)
		}
		for _, clip := range clips {
			w.whole("team-a/many/" + clip)
		}
		k.run(through.pod(), through.batchPurge(nil), 1000, false)
		same(t, fmt.Sprintf("killed at write %d", at), w.files("team-a/many"), foreign)
	}
}

// TestPurgeOfABatchSaysWhatIsLeft of one clip, and removes the others.
func TestPurgeOfABatchSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	w := bucketWorld(t)
	foreign := w.litterBatch()
	made := w.snapshot("team-a/many")
	k := newKiller(t, w.store.S3Endpoint)
	through := *w
	through.store.S3Endpoint = k.URL
	for file, left := range map[string]string{
		"cam/b.mp4/manifest.json":              "cam/b.mp4/manifest.json cam/b.mp4/attempts/fffff-1/manifest.json cam/b.mp4/attempts/fffff-1/owner.json cam/b.mp4/attempts/fffff-1/pose.json",
		"a.mp4/attempts/aaaaa-9/engine.log":    "a.mp4/attempts/aaaaa-9/engine.log a.mp4/attempts/aaaaa-9/owner.json",
		"a.mp4/attempts/aaaaa-1/manifest.json": "a.mp4/attempts/aaaaa-1/manifest.json a.mp4/attempts/aaaaa-1/owner.json a.mp4/attempts/aaaaa-1/pose.json",
	} {
		k.refuse = func(r *http.Request) bool {
			return r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/many/"+file)
		}
		w.restore(made)
		m, code, out := through.pod().run(through.batchPurge(nil))
		if code != 1 || m.Result != report.ResultFailed || m.Temporary || !strings.Contains(m.Message, file) || !strings.Contains(m.Message, "are left") {
			t.Errorf("%s: %d %+v\n%s", file, code, m, out)
		}
		want := slices.Concat(foreign, strings.Fields(left))
		if got := w.files("team-a/many"); !slices.Contains(got, file) {
			t.Errorf("%s was removed", file)
		} else {
			slices.Sort(want)
			same(t, file, got, want)
		}
	}
	k.refuse = func(r *http.Request) bool {
		return r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/many/batch.json")
	}
	w.restore(made)
	before := w.files("team-a/many")
	if m, code, out := through.pod().run(through.batchPurge(nil)); code != 1 || m.Purge.Objects != 0 {
		t.Errorf("%d %+v\n%s", code, m, out)
	}
	same(t, "the index stays, and all with it", w.files("team-a/many"), before)
}

// TestPurgeOfABatchIsOvertaken: another job sets its pointer right before the batch's
// would be removed; it stays, and with it what it leads to.
func TestPurgeOfABatchIsOvertaken(t *testing.T) {
	t.Parallel()
	w := bucketWorld(t)
	w.put("videos/v.mp4", "a video")
	w.compute("videos/v.mp4", "team-a/many/a.mp4", "aaaaa-1", clipRef("many", 0), nil)
	w.compute("videos/v.mp4", "team-a/run", "ddddd-1", jobRef("team-a", "run", "uid-d"), nil)
	theirs := string(w.read("team-a/run/manifest.json"))
	k := newKiller(t, w.store.S3Endpoint)
	through := *w
	through.store.S3Endpoint = k.URL
	done := false
	k.refuse = func(r *http.Request) bool {
		if !done && r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, "/many/a.mp4/manifest.json") {
			done = true
			w.put("team-a/many/a.mp4/manifest.json", theirs)
		}
		return false
	}
	m, code, out := through.pod().run(through.batchPurge(nil))
	if got := string(w.read("team-a/many/a.mp4/manifest.json")); got != theirs || code != 1 || !done {
		t.Errorf("%d %+v\n%s\n%s", code, m, out, got)
	}
	// The next run sees whose it is.
	if m, code, out = through.pod().run(through.batchPurge(nil)); code != 0 || !contains(m.Purge.Kept, "a.mp4/manifest.json leads to the result of job team-a/run") || m.Purge.Results != 1 {
		t.Errorf("%d %+v\n%s", code, m, out)
	}
}
