package exec

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

var phalp = report.ExecConfig{
	Stages: []report.StagePattern{
		{Name: "Predictor", Pattern: "Loading Predictor model"},
		{Name: "Detector", Pattern: "Loading Detection model"},
		{Name: "Tracking", Pattern: `stage=track`},
	},
	ProgressPattern: `frame=(?P<frame>\d+) total=(?P<total>\d+)`,
}

func TestTracker(t *testing.T) {
	track, err := newTracker(phalp, t0)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range []string{
		"WARNING: You are using a SMPL model",
		"[2026-01-01 00:00:02,000][phalp.trackers.PHALP][INFO] - Loading Predictor model...",
		"\x1b[32m[INFO]\x1b[0m - Loading \x1b[1mDetection\x1b[0m model...",
		"fetching https://user:hunter2@example.com/w.pkl?sig=abc\x07\x00",
		"pose-engine: stage=track",
		"pose-engine: frame=120 total=795 people=6",
		"pose-engine: frame=99999999999999999999 total=-1 people=6",
	} {
		track.Line(t0.Add(time.Duration(i+1)*time.Second), line)
	}
	var got report.EngineReport
	track.Fill(t0.Add(10*time.Second), &got)
	want := report.EngineReport{
		Stage: "Tracking", Frames: 120, Total: 795,
		StageSeconds: map[string]float64{report.StageStart: 2, "Predictor": 1, "Detector": 2, "Tracking": 5},
		LogTail: strings.Join([]string{
			"WARNING: You are using a SMPL model",
			"[2026-01-01 00:00:02,000][phalp.trackers.PHALP][INFO] - Loading Predictor model...",
			"[INFO] - Loading Detection model...",
			"fetching https://example.com/w.pkl",
			"pose-engine: stage=track",
			"pose-engine: frame=120 total=795 people=6",
			"pose-engine: frame=99999999999999999999 total=-1 people=6",
		}, "\n"),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if idle := track.Idle(t0.Add(10 * time.Second)); idle != 3*time.Second {
		t.Errorf("idle %s", idle)
	}
}

func TestTrackerIsBounded(t *testing.T) {
	track, _ := newTracker(phalp, t0)
	for range 10_000 {
		track.Line(t0, strings.Repeat("x", 10_000))
	}
	var r report.EngineReport
	track.Fill(t0, &r)
	if len(r.LogTail) > maxTail {
		t.Errorf("tail of %d bytes", len(r.LogTail))
	}
}

func TestSplitter(t *testing.T) {
	var got []string
	s := splitter{line: func(l string) { got = append(got, l) }}
	for _, part := range []string{"one\ntw", "o\r\n10%\r20%\r", "\n\n", strings.Repeat("y", 2*maxLine), "\nlast"} {
		s.Write([]byte(part))
	}
	s.Flush()
	if d := cmp.Diff([]string{"one", "two", "10%", "20%", strings.Repeat("y", maxLine), "last"}, got); d != "" {
		t.Error(d)
	}
}

func TestLogFileKeepsTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := openLog(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for i := range 500 {
		line := []byte(strings.Repeat(string(rune('a'+i%26)), i%13) + "\n")
		all.Write(line)
		l.Write(line)
	}
	l.Close()
	l.Write([]byte("after its end"))
	got, err := os.ReadFile(path)
	if err != nil || len(got) < 100 || len(got) > 200 || !bytes.HasSuffix(all.Bytes(), got) {
		t.Errorf("%d bytes kept: %v", len(got), err)
	}
}

func TestCgroups(t *testing.T) {
	for name, tc := range map[string]struct {
		self  string
		files map[string]string
		want  memory
	}{
		"version 2, in a container": {
			"0::/\n", map[string]string{
				"memory.current": "1000\n", "memory.max": "5000\n", "memory.peak": "4000\n",
				"memory.events": "low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 0\n", "memory.stat": "anon 700\ninactive_file 300\n",
			}, memory{Used: 700, Limit: 5000, Peak: 4000, OOMKills: 2},
		},
		"version 2, without a limit": {
			"0::/kubepods/x\n", map[string]string{"kubepods/x/memory.current": "9", "kubepods/x/memory.max": "max", "memory.current": "1"},
			memory{Used: 9},
		},
		"version 1, mounted as the root": {
			"4:memory:/kubepods/pod1/c1\n0::/\n", map[string]string{
				"memory/memory.usage_in_bytes": "1000", "memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.max_usage_in_bytes": "4000",
				"memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", "memory/memory.stat": "total_inactive_file 1\n",
			}, memory{Used: 999, Peak: 4000, OOMKills: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for f, content := range tc.files {
				path := filepath.Join(dir, "sys", f)
				if os.MkdirAll(filepath.Dir(path), 0o755) != nil || os.WriteFile(path, []byte(content), 0o600) != nil {
					t.Fatal("cannot write")
				}
			}
			self := filepath.Join(dir, "self")
			if err := os.WriteFile(self, []byte(tc.self), 0o600); err != nil {
				t.Fatal(err)
			}
			c, ok := findCgroup(filepath.Join(dir, "sys"), self)
			if !ok {
				t.Fatal("not found")
			}
			got, ok := c.read()
			if d := cmp.Diff(tc.want, got); !ok || d != "" {
				t.Error(d)
			}
		})
	}
	if _, ok := findCgroup(t.TempDir(), "/nonexistent"); ok {
		t.Error("a cgroup was found in an empty folder")
	}
}

func TestParseStat(t *testing.T) {
	line := "42 (a) b (c) S 1 77 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 9 1000 250 18446744073709551615"
	if s, ok := parseStat(line); !ok || s.parent != 1 || s.group != 77 || s.pages != 250 {
		t.Errorf("%+v %t", s, ok)
	}
	if _, ok := parseStat("rubbish"); ok {
		t.Error("rubbish was read")
	}
}

func TestFindGPU(t *testing.T) {
	root := t.TempDir()
	write := func(path, content string) {
		path = filepath.Join(root, path)
		if os.MkdirAll(filepath.Dir(path), 0o755) != nil || os.WriteFile(path, []byte(content), 0o600) != nil {
			t.Fatal("cannot write")
		}
	}
	write("proc/driver/nvidia/gpus/0000:17:00.0/information", "Model: \t\t NVIDIA H200\nIRQ: 1\n")
	if got := findGPU(root); got != "" {
		t.Errorf("a node's GPU was taken for the container's: %q", got)
	}
	write("dev/nvidiactl", "")
	write("dev/nvidia0", "")
	if got := findGPU(root); got != "NVIDIA H200" {
		t.Errorf("%q", got)
	}
}

// TestHurriedMessages: new stages are told at once, but not at the pace of a log
// that jumps between them; the last one is told a moment later.
func TestHurriedMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "message")
	track, _ := newTracker(phalp, t0)
	r := &runner{track: track, meter: &meter{}, obs: newObserver("/nonexistent", nil), term: outcome.NewWriter(path), server: &server{changed: make(chan struct{})}}
	written := func() bool {
		_, err := os.Stat(path)
		_ = os.Remove(path)
		return err == nil
	}
	for i := range 3 * maxHurried {
		if r.stageChanged(t0); written() != (i < maxHurried) {
			t.Errorf("stage %d", i)
		}
	}
	if r.tick(t0); !written() {
		t.Error("the last stage was not told")
	}
	if r.tick(t0); written() {
		t.Error("it was told twice")
	}
	if r.stageChanged(t0); !written() {
		t.Error("the next stage was not told at once")
	}
}

func TestKillAfter(t *testing.T) {
	for grace, want := range map[int64]time.Duration{0: 25 * time.Second, 60: 55 * time.Second, 6: 3 * time.Second, 1: 500 * time.Millisecond} {
		if got := killAfter(grace); got != want {
			t.Errorf("grace %d: %s", grace, got)
		}
	}
}
