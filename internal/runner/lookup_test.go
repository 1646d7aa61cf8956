package runner_test

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// lookup is the look of team-a/walk, made again under another uid, at its places.
func (w *world) lookup(change func(*report.LookupConfig)) report.Config {
	cfg := report.Config{
		Role: report.RoleLookup, Job: report.JobRef{Namespace: "team-a", Name: "walk", UID: "uid-2"},
		Lookup: &report.LookupConfig{
			Video: report.LookupInput{URI: w.base + "/videos/v.mp4", MaxBytes: 1 << 20, PVCMount: w.mount},
			URI:   w.base + "/team-a/walk", PVCMount: w.mount, MaxBytes: 1 << 30, Store: w.store, AttemptID: "uid2-0",
			Request: "sha256:r", Recipes: []string{"sha256:1", "sha256:2"}, TimeoutSeconds: 60,
		},
	}
	if change != nil {
		change(cfg.Lookup)
	}
	return cfg
}

// look runs it.
func (w *world) look(change func(*report.LookupConfig)) (*report.LookupReport, string) {
	w.t.Helper()
	m, code, out := w.pod().run(w.lookup(change))
	if code != 0 || m.Result != report.ResultOK || m.Lookup == nil {
		w.t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	return m.Lookup, out
}

// TestLookupFindsItsOwn: a job that is made again has its result in place.
func TestLookupFindsItsOwn(t *testing.T) {
	t.Parallel()
	for name, w := range worlds(t) {
		w.put("videos/v.mp4", "a video")
		if l, _ := w.look(nil); l.Reused != nil || l.VideoBytes != 7 || l.VideoVersion == "" || !strings.Contains(l.Why, "no result lies at") {
			t.Errorf("%s: nothing is there: %+v", name, l)
		}
		made := w.compute("videos/v.mp4", "team-a/walk", "uid1-1", jobRef("team-a", "walk", "uid-1"), nil)
		files := w.files("team-a/walk")
		l, out := w.look(nil)
		r := l.Reused
		if r == nil || r.Result.URI != made.URI || r.URI != made.URI || r.Result.ManifestSHA256 != made.ManifestSHA256 ||
			len(r.Result.Files) != 1 || r.Result.Files[0] != made.Files[0] || r.Result.Frames != 20 || r.Result.People != 1 {
			t.Fatalf("%s: %+v\n%s", name, l, out)
		}
		if r.From.UID != "uid-1" || r.Variant != "gpu" || r.Device != "GPU" || r.Image != "i@sha256:1" || r.CompletedAt == "" || r.Video.SourceSHA256 != digest("a video") {
			t.Errorf("%s: %+v", name, r)
		}
		same(t, name, w.files("team-a/walk"), files)
		var p result.Pointer
		readJSON(t, filepath.Join(w.dir, "team-a/walk/manifest.json"), &p)
		if p.Job.UID != "uid-2" || p.AttemptID != "uid1-1" || p.ManifestSHA256 != made.ManifestSHA256 {
			t.Errorf("%s: pointer %+v", name, p)
		}
		// Again, as after a restart: there is nothing left to write.
		before := w.read("team-a/walk/manifest.json")
		if l, _ = w.look(nil); l.Reused == nil || !bytes.Equal(before, w.read("team-a/walk/manifest.json")) {
			t.Errorf("%s: the second look: %+v", name, l)
		}
		if !w.whole("team-a/walk") {
			t.Errorf("%s: no result", name)
		}
	}
}

// TestLookupRejects: each time there is a result, and it will not do.
func TestLookupRejects(t *testing.T) {
	t.Parallel()
	for name, w := range worlds(t) {
		w.put("videos/v.mp4", "a video")
		w.compute("videos/v.mp4", "team-a/walk", "uid1-1", jobRef("team-a", "walk", "uid-1"), nil)
		w.compute("videos/v.mp4", "team-a/theirs", "uid3-1", jobRef("team-b", "walk", "uid-3"), nil)
		made := w.snapshot("team-a/walk")
		for _, tc := range []struct {
			what   string
			spoil  func()
			change func(*report.LookupConfig)
			why    string
		}{
			{"a damaged file", func() { w.spoil("team-a/walk/attempts/uid1-1/pose.json") }, nil, "it is damaged: pose.json"},
			{"a changed manifest", func() { w.spoil("team-a/walk/attempts/uid1-1/manifest.json") }, nil, "it is damaged: attempts/uid1-1/manifest.json"},
			{"another digest", nil, func(c *report.LookupConfig) { c.Video.SHA256 = digest("another video") }, "its sha256 is"},
			{"another recipe", nil, func(c *report.LookupConfig) { c.Request, c.Recipes = "sha256:s", []string{"sha256:9"} }, "made otherwise"},
			{"another recipe, and what is another in it", nil, func(c *report.LookupConfig) {
				c.Request, c.Recipes, c.First = "sha256:s", []string{"sha256:9"}, &report.Provenance{Engine: "phalp", Variant: "gpu", Parameters: map[string]string{"overlay": "Blurred"}}
			}, "output.overlay is None there, Blurred here"},
			{"a later recipe", nil, func(c *report.LookupConfig) { c.Request, c.Recipes = "sha256:s", []string{"sha256:9", "sha256:1"} }, "variant gpu, which is not the first"},
			{"no recipe at all", nil, func(c *report.LookupConfig) { c.Request, c.Recipes = "", nil }, "pinned by digest"},
			{"boxes are wanted", nil, func(c *report.LookupConfig) { c.Boxes = &c.Video }, "without the boxes"},
			{"another namespace", nil, func(c *report.LookupConfig) { c.URI, c.Overwrite = w.base+"/team-a/theirs", true }, "another namespace"},
			{"another video", func() { w.put("videos/v.mp4", "a VIDEO") }, nil, "changed or uploaded again"},
		} {
			if tc.spoil != nil {
				w.restore(made)
				tc.spoil()
			}
			output := strings.TrimPrefix(w.lookup(tc.change).Lookup.URI, w.base+"/")
			before := w.snapshot(output)
			if l, out := w.look(tc.change); l.Reused != nil || !strings.Contains(l.Why, tc.why) {
				t.Errorf("%s: %s: %+v\n%s", name, tc.what, l, out)
			}
			if !maps.Equal(before, w.snapshot(output)) {
				t.Errorf("%s: %s: something was written", name, tc.what)
			}
			w.restore(made)
		}
	}
}

// TestLookupTakesWhatANeighbourLeft: a result of another job of the namespace that
// lies at the output will do as it is, and stays that job's. One that will not do is
// not overwritten.
func TestLookupTakesWhatANeighbourLeft(t *testing.T) {
	t.Parallel()
	for name, w := range worlds(t) {
		w.put("videos/v.mp4", "a video")
		w.compute("videos/v.mp4", "team-a/run", "uid9-1", jobRef("team-a", "first", "uid-9"), nil)
		before := w.read("team-a/run/manifest.json")
		at := func(c *report.LookupConfig) { c.URI = w.base + "/team-a/run" }
		rep, out := w.look(at)
		if rep == nil || rep.Reused == nil || rep.Reused.From.Name != "first" || !strings.HasSuffix(rep.Reused.Result.URI, "/team-a/run/attempts/uid9-1") {
			t.Fatalf("%s: %+v\n%s", name, rep, out)
		}
		if !bytes.Equal(w.read("team-a/run/manifest.json"), before) {
			t.Errorf("%s: the pointer was changed", name)
		}
		w.put("videos/v.mp4", "another video")
		m, code, out := w.pod().run(w.lookup(at))
		if code != 1 || m.Reason != report.ReasonDeliveryFailed || m.Temporary || !strings.Contains(m.Message, "belongs to the job team-a/first") {
			t.Errorf("%s: another video: code %d %+v\n%s", name, code, m, out)
		}
	}
}

// TestLookupCopies: the result of another job becomes one of this.
func TestLookupCopies(t *testing.T) {
	t.Parallel()
	for name, w := range worlds(t) {
		w.put("videos/v.mp4", "a video")
		bad := w.compute("videos/v.mp4", "team-a/bad", "uid8-1", jobRef("team-a", "bad", "uid-8"), nil)
		made := w.compute("videos/v.mp4", "team-a/run", "uid9-1", jobRef("team-a", "run", "uid-9"), nil)
		w.spoil("team-a/bad/attempts/uid8-1/pose.json")
		candidates := func(c *report.LookupConfig) {
			c.Candidates = []report.ResultRef{
				{URI: w.base + "/team-a/gone/attempts/x", ManifestSHA256: made.ManifestSHA256},
				{URI: made.URI, ManifestSHA256: bad.ManifestSHA256},
				{URI: made.URI},
				{URI: "pvc://elsewhere/team-a/run/attempts/uid9-1", ManifestSHA256: made.ManifestSHA256},
				{URI: bad.URI, ManifestSHA256: bad.ManifestSHA256},
				{URI: made.URI, ManifestSHA256: made.ManifestSHA256},
			}
		}
		l, out := w.look(candidates)
		r := l.Reused
		if r == nil || r.Result.URI != w.base+"/team-a/walk/attempts/uid2-0" || r.URI != made.URI || r.From.Name != "run" || r.Result.ManifestSHA256 != made.ManifestSHA256 {
			t.Fatalf("%s: %+v\n%s", name, l, out)
		}
		for _, want := range []string{"attempts/x: it is there no more", "is damaged: manifest.json has sha256", "is not recorded", "another claim", "pose.json is not what its manifest says"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: want %q in\n%s", name, want, out)
			}
		}
		same(t, name, w.files("team-a/walk"), []string{"attempts/uid2-0/manifest.json", "attempts/uid2-0/owner.json", "attempts/uid2-0/pose.json", "manifest.json"})
		rep, _, err := verify.Whole(t.Context(), w.sink("team-a/walk"), made.ManifestSHA256, verify.Options{})
		if err != nil || len(rep.Problems) > 0 {
			t.Errorf("%s: the copy: %v %+v", name, err, rep)
		}
		if !bytes.Equal(w.read("team-a/walk/attempts/uid2-0/manifest.json"), w.read("team-a/run/attempts/uid9-1/manifest.json")) {
			t.Errorf("%s: the manifest was changed", name)
		}
		owner, err := result.ReadOwner(w.read("team-a/walk/attempts/uid2-0/owner.json"))
		if err != nil || owner.Job.Name != "walk" || owner.From != made.URI {
			t.Errorf("%s: owner %+v %v", name, owner, err)
		}
		// The job is made again: its copy does, where it lies.
		cfg := w.lookup(nil)
		cfg.Job.UID, cfg.Lookup.AttemptID = "uid-3", "uid3-0"
		m, code, out := w.pod().run(cfg)
		if code != 0 || m.Lookup.Reused == nil || m.Lookup.Reused.Result.URI != r.Result.URI || m.Lookup.Reused.From.Name != "run" {
			t.Errorf("%s: %d %+v\n%s", name, code, m, out)
		}
		// A job that may overwrite another's place does not take the other's folder.
		l, out = w.look(func(c *report.LookupConfig) { c.URI, c.Overwrite = w.base+"/team-a/run", true })
		if l.Reused == nil || l.Reused.Result.URI != w.base+"/team-a/run/attempts/uid2-0" || !w.whole("team-a/run") {
			t.Errorf("%s: %+v\n%s", name, l, out)
		}
	}
}

// TestLookupRefuses: what no attempt could mend is told at once, in the words of
// the role that would have met it.
func TestLookupRefuses(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	for name, w := range worlds(t) {
		w.put("videos/v.mp4", "a video")
		w.put("videos/empty.mp4", "")
		w.put("team-a/taken/manifest.json", "hello")
		w.compute("videos/v.mp4", "team-a/run", "uid9-1", jobRef("team-a", "run", "uid-9"), nil)
		for what, tc := range map[string]struct {
			change func(*report.LookupConfig)
			reason string
			want   string
		}{
			"no video":     {func(c *report.LookupConfig) { c.Video.URI += ".mov" }, report.ReasonInputUnavailable, "check the URI"},
			"an empty one": {func(c *report.LookupConfig) { c.Video.URI = w.base + "/videos/empty.mp4" }, report.ReasonInputInvalid, "is empty: upload the video again"},
			"a large one":  {func(c *report.LookupConfig) { c.Video.MaxBytes = 6 }, report.ReasonInputInvalid, "larger than the limit of 6 bytes"},
			"a full disk":  {func(c *report.LookupConfig) { c.Video.MaxBytes, c.Video.ScratchBound = 6, true }, report.ReasonScratchExceeded, "spec.scratchSize"},
			"no boxes": {func(c *report.LookupConfig) {
				c.Boxes = &report.LookupInput{URI: w.base + "/videos/b.csv", PVCMount: w.mount}
			}, report.ReasonInputUnavailable, "spec.video.boxes: "},
			"a bad host": {func(c *report.LookupConfig) { c.Video.URI = srv.URL + "/v.mp4" }, report.ReasonInputUnavailable, "loopback"},
			"a web page": {func(c *report.LookupConfig) {
				c.Video.URI, c.Store.HTTPAllowedHosts = srv.URL+"/v.mp4", []string{"127.0.0.1"}
			}, report.ReasonInputUnavailable, "404"},
			"another's": {func(c *report.LookupConfig) {
				c.URI, c.Request, c.Recipes = w.base+"/team-a/run", "sha256:other", []string{"sha256:9"}
			}, report.ReasonDeliveryFailed, "belongs to the job team-a/run"},
			"somebody's":    {func(c *report.LookupConfig) { c.URI = w.base + "/team-a/taken" }, report.ReasonDeliveryFailed, "somebody else"},
			"a bad scheme":  {func(c *report.LookupConfig) { c.URI = "https://h/x" }, report.ReasonDeliveryFailed, "https"},
			"a bad attempt": {func(c *report.LookupConfig) { c.AttemptID = "../x" }, report.ReasonConfig, "../x"},
		} {
			if w.secret != nil && (what == "a bad host" || what == "a web page") {
				continue // its keys are none of a web server's
			}
			m, code, out := w.pod().run(w.lookup(tc.change))
			if code != 1 || m.Reason != tc.reason || m.Temporary || !strings.Contains(m.Message, tc.want) {
				t.Errorf("%s: %s: code %d %+v\n%s", name, what, code, m, out)
			}
		}
		same(t, name, w.files("team-a/taken"), []string{"manifest.json"})
	}
}

// TestLookupOfAStore: what only a store can refuse.
func TestLookupOfAStore(t *testing.T) {
	t.Parallel()
	w := bucketWorld(t)
	w.put("videos/v.mp4", "a video")
	for what, tc := range map[string]struct {
		change    func(*world, *report.LookupConfig)
		reason    string
		temporary bool
	}{
		"no bucket": {func(_ *world, c *report.LookupConfig) { c.URI = "s3://nowhere/team-a/walk" }, report.ReasonDeliveryFailed, false},
		"no right": {func(w *world, _ *report.LookupConfig) {
			w.secret = map[string]string{"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "hunter2"}
		}, report.ReasonInputUnavailable, false},
		"no connection": {func(_ *world, c *report.LookupConfig) { c.Store.S3Endpoint = "http://127.0.0.1:1" }, report.ReasonInputUnavailable, true},
	} {
		v := *w
		cfg := w.lookup(func(c *report.LookupConfig) { tc.change(&v, c) })
		m, code, out := v.pod().run(cfg)
		if code != 1 || m.Reason != tc.reason || m.Temporary != tc.temporary || strings.Contains(out+m.Message, "hunter2") {
			t.Errorf("%s: code %d %+v\n%s", what, code, m, out)
		}
	}
}

// TestLookupIsKilled at each of its writes: whoever reads finds a whole result or
// none, and the next look ends well.
func TestLookupIsKilled(t *testing.T) {
	t.Parallel()
	w := bucketWorld(t)
	w.put("videos/v.mp4", "a video")
	made := w.compute("videos/v.mp4", "team-a/run", "uid9-1", jobRef("team-a", "run", "uid-9"), nil)
	k := newKiller(t, w.store.S3Endpoint)
	through := *w
	through.store.S3Endpoint = k.URL
	for _, after := range []bool{false, true} {
		for at, more := 1, true; more; at++ {
			output := "team-a/walk" + map[bool]string{true: "-after"}[after] + strings.Repeat("x", at)
			cfg := through.lookup(func(c *report.LookupConfig) {
				c.URI = w.base + "/" + output
				c.Candidates = []report.ResultRef{{URI: made.URI, ManifestSHA256: made.ManifestSHA256}}
			})
			more = k.run(through.pod(), cfg, at, after)
			if !more && at < 5 {
				t.Fatalf("there were only %d writes: owner, file, manifest and pointer are expected", at-1)
			}
			w.whole(output)
			if k.run(through.pod(), cfg, 1000, false); !w.whole(output) {
				t.Errorf("killed at write %d: the next look found nothing", at)
			}
			same(t, output, w.files(output), []string{"attempts/uid2-0/manifest.json", "attempts/uid2-0/owner.json", "attempts/uid2-0/pose.json", "manifest.json"})
		}
	}
}

// TestLookupIsToldToEnd: what it did not find may be there, so it has no answer.
func TestLookupIsToldToEnd(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 9)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	w := worlds(t)["claim"]
	w.put("videos/v.mp4", "a video")
	c := w.pod().start(w.lookup(func(c *report.LookupConfig) {
		c.Video.URI, c.Store.HTTPAllowedHosts = srv.URL+"/v.mp4", []string{"127.0.0.1"}
	}))
	<-asked
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	m, code, out := c.wait()
	if code != 143 || m.Result != report.ResultFailed || m.Reason != "" || !strings.Contains(m.Message, "SIGTERM") {
		t.Errorf("code %d %+v\n%s", code, m, out)
	}
}

// TestLookupRunsOutOfTime: a server that does not answer is no refusal.
func TestLookupRunsOutOfTime(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(srv.Close)
	w := worlds(t)["claim"]
	m, code, out := w.pod().run(w.lookup(func(c *report.LookupConfig) {
		c.Video.URI, c.Store.HTTPAllowedHosts, c.TimeoutSeconds = srv.URL+"/v.mp4", []string{"127.0.0.1"}, 1
	}))
	if code != 1 || !m.Temporary || m.Reason != report.ReasonInputUnavailable {
		t.Errorf("code %d %+v\n%s", code, m, out)
	}
}
