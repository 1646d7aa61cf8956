package runner_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
)

func TestQueue(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args   []string
		change func(*queuePod)
		want   string
		why    string // in the report
		log    string // in exec's log
	}{
		"all are delivered": {want: "SSSSS", log: "stage=done"},
		"a crash costs its clip only, and those behind it are as before": {args: []string{"42=segv"}, want: "SSF..", why: "): the engine was ended by SIGSEGV in stage Detector"},
		"an engine that ends in the middle":                              {args: []string{"42=exit"}, want: "SSF..", why: "exit code 5"},
		"an engine that ends well and has not answered":                  {args: []string{"42=end"}, want: "SSF.."},
		"a crash while loading costs none":                               {args: []string{"dies-loading"}, want: "....."},
		"a death before the clip was begun does not cost it":             {args: []string{"42=unbegun-exit"}, want: "SS..."},
		"an error of one clip":                                           {args: []string{"41=error"}, want: "SFSSS", why: "the engine says NO_FRAMES: it said"},
		"a line that was not understood":                                 {args: []string{"41=unknown"}, want: "SFSSS", why: "USAGE: what?"},
		"a result without files":                                         {args: []string{"41=nothing"}, want: "SFSSS", why: "wrote none"},
		"a result that is short":                                         {args: []string{"44=short"}, want: "SSSSF", why: "covers 6 frames, the video has 7"},
		"a link in the place of a result":                                {args: []string{"40=link"}, want: "FSSSS", why: "symbolic link"},
		"a link in the place of the folder":                              {args: []string{"40=linked"}, want: "FSSSS", why: "symbolic link"},
		"an answer for another clip counts for none":                     {args: []string{"41=other"}, want: "SSSSS", log: "counts for nothing"},
		"answers to what was not asked":                                  {args: []string{"forges", "40=skip"}, want: "FSSSS", why: "wrote none", log: "counts for nothing"},
		"an engine that does not answer has its time": {args: []string{"42=chatty"}, want: "SSF..", why: "longer than 5s",
			change: func(q *queuePod) { q.cfg.ClipSeconds = 5 }},
		"an engine that stands still": {args: []string{"42=silent"}, want: "SSF..", why: "no progress for 1s in stage Detector",
			change: func(q *queuePod) {
				q.exec = func(c *report.ExecConfig) { c.Stages[1].StallTimeoutSeconds = 1 }
			}},
		"what is no video": {want: "SSFSS", why: "not a video",
			change: func(q *queuePod) { q.w.put("videos/2.mp4", "no video at all") }},
		"a video that is gone": {want: "FSSSS", why: "videos/0.mp4",
			change: func(q *queuePod) { _ = os.Remove(filepath.Join(q.w.dir, "videos/0.mp4")) }},
		"an engine that does not end after its last clip": {args: []string{"stays"}, want: "SSSSS"},
		"a preflight that fails": {want: ".....", change: func(q *queuePod) {
			q.exec = func(c *report.ExecConfig) {
				c.Preflight = &report.PreflightConfig{Command: []string{os.Args[0], "engine=exit3"}}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t, claimWorld(t), tc.args...)
			if tc.change != nil {
				tc.change(q)
			}
			q.beginAll()
			m := q.states(tc.want)
			if !strings.Contains(m.Queue.Why, tc.why) {
				t.Errorf("why %q, want %q", m.Queue.Why, tc.why)
			}
			e := q.parts[report.RoleExec]
			if tc.log != "" && !strings.Contains(e.out.String(), tc.log) {
				t.Errorf("exec's log has no %q:\n%s", tc.log, e.out)
			}
			if complete := !strings.Contains(tc.want, "."); (e.code() == 0) != complete {
				t.Errorf("exec's code %d, %+v", e.code(), e.termination())
			}
			if t.Failed() {
				t.Log(q.logs())
			}
		})
	}
}

// TestQueueResultIsThatOfASingleRun: the manifest of a clip of a queue is that of the same clip alone.
func TestQueueResultIsThatOfASingleRun(t *testing.T) {
	t.Parallel()
	w := claimWorld(t)
	q := newQueue(t, w)
	q.beginAll()
	q.states("SSSSS")
	single := w.pod()
	job := report.JobRef{Namespace: "team-a", Name: "runs-abcde-43", UID: "uid-b", Attempt: 1, Batch: "runs"}
	for _, role := range []report.Role{report.RoleFetch, report.RolePrepare} {
		cfg := q.config(role)
		cfg.Queue, cfg.Job = nil, job
		if role == report.RoleFetch {
			cfg.Fetch.URI = w.base + "/videos/3.mp4"
		}
		if m, code, out := single.run(cfg); code != 0 {
			t.Fatalf("%s: %d %+v\n%s", role, code, m, out)
		}
	}
	cfg := q.config(report.RoleDeliver)
	cfg.Queue, cfg.Job = nil, job
	cfg.Deliver.URI, cfg.Deliver.Provenance.VideoURI = w.base+"/alone", w.base+"/videos/3.mp4"
	d := single.start(cfg)
	if m, code, out := single.run(single.engineConfig("good", single.l.OutputDir, single.l.FactsFile)); code != 0 {
		t.Fatalf("exec: %d %+v\n%s", code, m, out)
	}
	if m, code, out := d.wait(); code != 0 {
		t.Fatalf("deliver: %d %+v\n%s", code, m, out)
	}
	read := func(path string) (m result.Manifest) {
		raw := w.read(path + "/attempts/abcde-1/manifest.json")
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	got, want := read("out/cam/3.mp4"), read("alone")
	// Which device an engine used is not seen of one that ends in a moment.
	if d := cmp.Diff(want, got, cmpopts.EquateApproxTime(time.Hour), cmpopts.IgnoreFields(result.EngineRun{}, "StageSeconds", "PeakMemoryBytes", "DeviceUsed")); d != "" {
		t.Error(d)
	}
	if got.StartedAt.After(got.EngineEndedAt) || got.PreparedAt.After(got.EngineEndedAt) || got.EngineEndedAt.After(got.CompletedAt) || len(got.Run.StageSeconds) == 0 {
		t.Errorf("%+v %+v", got, got.Run)
	}
}

// TestQueueFindsResults: a queue whose clips have their results already starts no
// engine, and one that is half done computes the other half.
func TestQueueFindsResults(t *testing.T) {
	t.Parallel()
	w := claimWorld(t)
	first := newQueue(t, w, "42=segv")
	first.beginAll()
	first.states("SSF..")
	second := newQueue(t, w)
	second.cfg.Look, second.id = true, "abcde-2"
	second.beginAll()
	second.states("RRSSS")
	third := newQueue(t, w, "dies-loading")
	third.cfg.Look, third.id = true, "abcde-3"
	third.beginAll()
	third.states("RRRRR")
	if e := third.parts[report.RoleExec]; e.code() != 0 || !strings.Contains(e.out.String(), "no clip needs the engine") {
		t.Errorf("exec: %d\n%s", e.code(), e.out)
	}
}

// TestQueueKeepsItsWindow: no more than three clips lie on the disk, and none when
// all is done.
func TestQueueKeepsItsWindow(t *testing.T) {
	t.Parallel()
	go1 := filepath.Join(t.TempDir(), "go")
	q := newQueue(t, claimWorld(t), "40=wait:"+go1)
	q.beginAll()
	fetched := func() int {
		dirs, _ := filepath.Glob(filepath.Join(q.l.InputDir, "*", "source.json"))
		return len(dirs)
	}
	q.parts[report.RoleFetch].await("the third clip is fetched", func() bool { return fetched() == report.QueueWindow })
	prepared := func() bool {
		_, err := os.Stat(filepath.Join(q.l.InputDir, "42", "facts.json"))
		return err == nil
	}
	q.parts[report.RolePrepare].await("the third clip is prepared", prepared)
	time.Sleep(time.Second)
	if n := fetched(); n != report.QueueWindow {
		t.Errorf("%d clips are fetched", n)
	}
	if err := os.WriteFile(go1, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	q.states("SSSSS")
	left, _ := filepath.Glob(filepath.Join(q.l.InputDir, "*", "*"))
	for _, path := range left {
		if info, err := os.Stat(path); err != nil || info.IsDir() || info.Size() > 10_000 || strings.HasSuffix(path, ".mp4") {
			t.Errorf("%s stays: %v", path, err)
		}
	}
}
