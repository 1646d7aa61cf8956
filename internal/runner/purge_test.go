package runner_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
)

// purge is that of team-a/walk, uid-2.
func (w *world) purge(change func(*report.PurgeConfig)) report.Config {
	cfg := report.Config{
		Role: report.RolePurge, Job: report.JobRef{Namespace: "team-a", Name: "walk", UID: "uid-2"},
		Purge: &report.PurgeConfig{URI: w.base + "/team-a/walk", PVCMount: w.mount, Store: w.store, AttemptPrefix: "uid2-", TimeoutSeconds: 60},
	}
	if change != nil {
		change(cfg.Purge)
	}
	return cfg
}

// litter makes all that may lie in an output: results of the job, of a namesake that
// was deleted, of others, copies, partial ones, and what nobody knows. It gives the
// keys that are not the job's.
func (w *world) litter() (foreign []string) {
	w.t.Helper()
	overwrite := func(d *report.DeliverConfig, _ *report.VideoFacts) { d.Overwrite = true }
	w.put("videos/v.mp4", "a video")
	other := w.compute("videos/v.mp4", "team-a/run", "uid9-1", jobRef("team-a", "run", "uid-9"), nil)
	w.compute("videos/v.mp4", "team-a/walk", "uid9-7", jobRef("team-a", "run", "uid-9"), overwrite)
	w.compute("videos/v.mp4", "team-a/walk", "uid1-1", jobRef("team-a", "walk", "uid-1"), func(d *report.DeliverConfig, _ *report.VideoFacts) {
		d.Overwrite, d.Provenance.Recipe, d.Provenance.Request = true, "sha256:0", "sha256:0"
	})
	// The job copies another's result, for its namesake's is of another recipe.
	l, out := w.look(func(c *report.LookupConfig) {
		c.Candidates = []report.ResultRef{{URI: other.URI, ManifestSHA256: other.ManifestSHA256}}
	})
	if l.Reused == nil {
		w.t.Fatalf("%+v\n%s", l, out)
	}
	w.compute("videos/v.mp4", "team-a/walk", "uid2-2", jobRef("team-a", "walk", "uid-2"), nil)
	w.put("team-a/walk/attempts/uid2-1/engine.log", "it died")
	w.put("team-a/walk/attempts/uid2-3/pose.json", "a part of it")
	w.put("team-a/walk/attempts/uid5-1/engine.log", "somebody's")
	w.put("team-a/walk/attempts/readme.txt", "a stray")
	w.put("team-a/walk/notes.txt", "a person's")
	return []string{"attempts/readme.txt", "attempts/uid5-1/engine.log", "attempts/uid9-7/manifest.json", "attempts/uid9-7/pose.json", "notes.txt"}
}

func TestPurge(t *testing.T) {
	t.Parallel()
	for name, w := range worlds(t) {
		foreign := w.litter()
		before := w.files("team-a/walk")
		dry, code, out := w.pod().run(w.purge(func(c *report.PurgeConfig) { c.DryRun = true }))
		if code != 0 || strings.Contains(out, ": removed") {
			t.Fatalf("%s: %d %+v\n%s", name, code, dry, out)
		}
		same(t, name+": a dry run", w.files("team-a/walk"), before)

		m, code, out := w.pod().run(w.purge(nil))
		if code != 0 || m.Result != report.ResultOK || m.Purge == nil {
			t.Fatalf("%s: %d %+v\n%s", name, code, m, out)
		}
		p := m.Purge
		if p.Results != 3 || p.Partials != 2 || !p.Pointer || p.Video || p.Objects != int64(len(before)-len(foreign)) || p.Bytes == 0 {
			t.Errorf("%s: %+v\n%s", name, p, out)
		}
		if d := dry.Purge; d.Results != p.Results || d.Partials != p.Partials || d.Objects != p.Objects || d.Bytes != p.Bytes || !d.Pointer || !slices.Equal(d.Kept, p.Kept) {
			t.Errorf("%s: a dry run said %+v, then %+v", name, d, p)
		}
		if len(p.Kept) != 3 || !contains(p.Kept, "uid9-7", "team-a/run") || !contains(p.Kept, "uid5-1", "no manifest") || !contains(p.Kept, "1 objects") {
			t.Errorf("%s: kept %q", name, p.Kept)
		}
		same(t, name, w.files("team-a/walk"), foreign)
		if len(w.files("team-a/run")) != 3 || w.read("videos/v.mp4") == nil {
			t.Errorf("%s: too much was removed", name)
		}
		// Again: there is nothing left, and that is no error.
		if m, code, out = w.pod().run(w.purge(nil)); code != 0 || m.Purge.Objects != 0 || m.Purge.Pointer {
			t.Errorf("%s: again: %d %+v\n%s", name, code, m.Purge, out)
		}
		if m, code, out = w.pod().run(w.purge(func(c *report.PurgeConfig) { c.URI = w.base + "/team-a/none" })); code != 0 || m.Purge.Objects != 0 {
			t.Errorf("%s: nothing there: %d %+v\n%s", name, code, m, out)
		}
	}
}

// TestPurgeLeavesAnothersPointer, also where it leads to what the job once had.
func TestPurgeLeavesAnothersPointer(t *testing.T) {
	t.Parallel()
	for name, w := range worlds(t) {
		w.put("videos/v.mp4", "a video")
		w.compute("videos/v.mp4", "team-a/walk", "uid2-1", jobRef("team-a", "walk", "uid-2"), nil)
		w.compute("videos/v.mp4", "team-a/walk", "uid9-1", jobRef("team-a", "run", "uid-9"), func(d *report.DeliverConfig, _ *report.VideoFacts) { d.Overwrite = true })
		m, code, out := w.pod().run(w.purge(nil))
		if code != 0 || m.Purge.Pointer || m.Purge.Results != 1 || !contains(m.Purge.Kept, "manifest.json", "team-a/run") || !w.whole("team-a/walk") {
			t.Errorf("%s: %d %+v\n%s", name, code, m.Purge, out)
		}
		w.put("team-a/walk/manifest.json", "hello")
		if m, code, out = w.pod().run(w.purge(nil)); code != 0 || m.Purge.Pointer || !contains(m.Purge.Kept, "somebody else") {
			t.Errorf("%s: %d %+v\n%s", name, code, m.Purge, out)
		}
	}
}

func TestPurgeOfTheVideo(t *testing.T) {
	t.Parallel()
	for name, w := range worlds(t) {
		w.put("videos/a b.mp4", "a video")
		w.put("videos/other.mp4", "another")
		video := func(uri string) func(*report.PurgeConfig) {
			return func(c *report.PurgeConfig) { c.Video = &report.LookupInput{URI: uri, PVCMount: w.mount} }
		}
		m, code, out := w.pod().run(w.purge(video(w.base + "/videos/a%20b.mp4")))
		if code != 0 || !m.Purge.Video || m.Purge.Objects != 1 || m.Purge.Bytes != 7 {
			t.Errorf("%s: %d %+v\n%s", name, code, m.Purge, out)
		}
		same(t, name, w.files("videos"), []string{"other.mp4"})
		for uri, why := range map[string]string{
			w.base + "/videos/a%20b.mp4":      "not there any more",
			"https://example.org/v.mp4":       "web server",
			"oci://r.example/i@sha256:0//v":   "image",
			w.base + "/videos/nowhere/at/all": "not there any more",
		} {
			if m, code, out = w.pod().run(w.purge(video(uri))); code != 0 || m.Purge.Video || !contains(m.Purge.Kept, "the video", why) {
				t.Errorf("%s: %s: %d %+v\n%s", name, uri, code, m.Purge, out)
			}
		}
	}
}

// TestPurgeIsKilled at each of its writes: whoever reads finds whole results or
// none, and the next run leaves nothing of the job's.
func TestPurgeIsKilled(t *testing.T) {
	t.Parallel()
	w := bucketWorld(t)
	w.put("videos/v.mp4", "a video")
	k := newKiller(t, w.store.S3Endpoint)
	through := *w
	through.store.S3Endpoint = k.URL
	// The namesake's folder is known by its manifest alone.
	w.compute("videos/v.mp4", "team-a/walk", "uid1-1", jobRef("team-a", "walk", "uid-1"), nil)
	w.compute("videos/v.mp4", "team-a/walk", "uid2-1", jobRef("team-a", "walk", "uid-2"), nil)
	made := w.snapshot("team-a/walk")
	for at, more := 1, true; more; at++ {
		if at > 30 {
			t.Fatal("there is no end of writes")
		}
		w.restore(made)
		more = k.run(through.pod(), through.purge(nil), at, at%2 == 0)
		if !more && at < 7 {
			t.Fatalf("there were only %d writes", at-1)
		}
		w.whole("team-a/walk")
		k.run(through.pod(), through.purge(nil), 1000, false)
		if left := w.files("team-a/walk"); len(left) > 0 {
			t.Errorf("killed at write %d: %q are left", at, left)
		}
	}
}

// TestPurgeSaysWhatIsLeft when a store refuses.
func TestPurgeSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	w := bucketWorld(t)
	foreign := w.litter()
	made := w.snapshot("team-a/walk")
	k := newKiller(t, w.store.S3Endpoint)
	through := *w
	through.store.S3Endpoint = k.URL
	for _, tc := range []struct{ file, left string }{
		{"attempts/uid2-2/pose.json", "attempts/uid2-2/pose.json"},
		// A manifest that stays keeps its files, and a pointer its manifest.
		{"attempts/uid1-1/manifest.json", "attempts/uid1-1/manifest.json attempts/uid1-1/owner.json attempts/uid1-1/pose.json"},
	} {
		k.refuse = func(r *http.Request) bool {
			return r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, tc.file)
		}
		w.restore(made)
		m, code, out := through.pod().run(through.purge(nil))
		if code != 1 || m.Result != report.ResultFailed || m.Temporary || !strings.Contains(m.Message, tc.file) || !strings.Contains(m.Message, "are left") || m.Purge == nil || m.Purge.Partials != 2 {
			t.Errorf("%s: %d %+v\n%s", tc.file, code, m, out)
		}
		same(t, tc.file, w.files("team-a/walk"), slices.Concat(foreign, strings.Fields(tc.left)))
		w.whole("team-a/walk")
	}
	w.restore(made)
	k.refuse = func(r *http.Request) bool {
		return r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "walk/manifest.json")
	}
	before := w.files("team-a/walk")
	if m, code, out := through.pod().run(through.purge(nil)); code != 1 || m.Purge.Objects != 0 {
		t.Errorf("%d %+v\n%s", code, m, out)
	}
	same(t, "the pointer stays", w.files("team-a/walk"), before)
	if !w.whole("team-a/walk") {
		t.Error("there is no result")
	}
}

// TestPurgeOfAGoneBucket: a wrong server has no such bucket either, and nobody may
// believe that the results are gone.
func TestPurgeOfAGoneBucket(t *testing.T) {
	t.Parallel()
	w := bucketWorld(t)
	m, code, out := w.pod().run(w.purge(func(c *report.PurgeConfig) { c.URI = "s3://nowhere/team-a/walk" }))
	if code != 1 || m.Temporary || !strings.Contains(m.Message, "s3://nowhere/team-a/walk") || !strings.Contains(m.Message, "not known") {
		t.Errorf("%d %+v\n%s", code, m, out)
	}
	w.secret["AWS_SECRET_ACCESS_KEY"] = "hunter2"
	m, code, out = w.pod().run(w.purge(nil))
	if code != 1 || m.Temporary || !strings.Contains(m.Message, "Secret") || strings.Contains(out+m.Message, "hunter2") {
		t.Errorf("%d %+v\n%s", code, m, out)
	}
}

// TestPurgeFollowsNoLinks: a link in a claim is neither followed nor a reason to
// remove what it leads to.
func TestPurgeFollowsNoLinks(t *testing.T) {
	t.Parallel()
	w := worlds(t)["claim"]
	w.put("precious/attempts/x/pose.json", "of somebody")
	w.put("team-a/walk/attempts/uid2-1/engine.log", "x")
	for _, link := range [][2]string{{"../../../precious/attempts/x", "uid2-2"}, {"../../../precious", "uid2-1/more"}} {
		if err := os.Symlink(link[0], w.dir+"/team-a/walk/attempts/"+link[1]); err != nil {
			t.Fatal(err)
		}
	}
	m, code, out := w.pod().run(w.purge(nil))
	if code != 0 || w.read("precious/attempts/x/pose.json") == nil {
		t.Errorf("%d %+v\n%s", code, m, out)
	}
	var p result.Pointer
	if b := w.read("team-a/walk/manifest.json"); b != nil && json.Unmarshal(b, &p) == nil {
		t.Error("a pointer is left")
	}
}

// TestPurgeEndsBrokenUploads of the job's attempts, also where they left nothing
// else.
func TestPurgeEndsBrokenUploads(t *testing.T) {
	t.Parallel()
	w := bucketWorld(t)
	w.begin("team-a/walk/attempts/uid2-4/overlay.mp4", "team-a/walk/attempts/uid9-1/overlay.mp4", "team-a/walk-2/attempts/uid2-4/x", "videos/v.mp4")
	m, code, out := w.pod().run(w.purge(nil))
	if code != 0 || !strings.Contains(out, "parts of 1 uploads") {
		t.Errorf("%d %+v\n%s", code, m, out)
	}
	same(t, "begun", w.begun(), []string{"team-a/walk/attempts/uid9-1/overlay.mp4", "team-a/walk-2/attempts/uid2-4/x", "videos/v.mp4"})
}

// TestPurgeSparesWhatASuccessorHas: the pointer leads to a folder of this job's as the
// result of another, which took it over when its batch was made again.
func TestPurgeSparesWhatASuccessorHas(t *testing.T) {
	t.Parallel()
	for name, w := range worlds(t) {
		w.put("videos/v.mp4", "a video")
		made := w.compute("videos/v.mp4", "team-a/walk", "uid2-1", jobRef("team-a", "walk", "uid-2"), nil)
		var p result.Pointer
		readJSON(t, filepath.Join(w.dir, "team-a/walk/manifest.json"), &p)
		p.Job.Name, p.Job.UID, p.URI, p.ManifestSHA256 = "successor", "uid-3", made.URI, made.ManifestSHA256
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		w.put("team-a/walk/manifest.json", string(raw))
		before := w.files("team-a/walk")
		m, code, out := w.pod().run(w.purge(nil))
		if code != 0 || m.Purge == nil || m.Purge.Results != 0 || !strings.Contains(strings.Join(m.Purge.Kept, "\n"), "job team-a/successor has by now as its own") {
			t.Errorf("%s: code %d %+v\n%s", name, code, m.Purge, out)
		}
		same(t, name, w.files("team-a/walk"), before)
	}
}
