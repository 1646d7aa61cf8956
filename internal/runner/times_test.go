package runner_test

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
)

// shown are the times at which a player shows the frames of a file, in seconds since
// the first.
func shown(t *testing.T, path string) []float64 {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "frame=best_effort_timestamp_time", "-of", "csv=p=0", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var times []float64
	for line := range strings.Lines(string(out)) {
		if line = strings.Trim(line, ",\n"); line == "" {
			continue // between frames with side data
		}
		at, err := strconv.ParseFloat(line, 64)
		if err != nil {
			t.Fatalf("ffprobe: %q", line)
		}
		times = append(times, at)
	}
	for i, first := len(times)-1, times[0]; i >= 0; i-- {
		times[i] -= first
	}
	return times
}

// uneven is a video of 30 frames whose rate changes in the middle.
func uneven(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "a.mp4")
	ffmpeg(t, "-f", "lavfi", "-i", lavfi, "-vf", "select='not(mod(n\\,3)*lt(n\\,30))'", "-fps_mode", "vfr", "-c:v", "libx264", "-pix_fmt", "yuv420p", path)
	return path
}

// TestFrameTimes: engines see a constant rate; the source's own times come beside the
// result, from prepare through deliver.
func TestFrameTimes(t *testing.T) {
	t.Parallel()
	tool(t, "ffmpeg", "ffprobe")
	source := uneven(t)
	want := shown(t, source)
	if len(want) != 30 || math.Abs(want[1]-0.12) > 1e-3 || math.Abs(want[29]-want[28]-0.04) > 1e-3 {
		t.Fatalf("the source's times are %v", want)
	}
	p, claim := newPod(t), t.TempDir()
	copyFile(t, source, p.l.SourceFile)
	m, code, out := p.run(prepareConfig(func(c *report.PrepareConfig) { c.StartFrame, c.EndFrame = 7, 27 }))
	if code != 0 || !m.Video.Source.VariableRate {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	if code := write("good", p.l.OutputDir, p.l.FactsFile); code != 0 {
		t.Fatalf("the engine's code %d", code)
	}
	cfg := deliverConfig(claim)
	cfg.Deliver.EngineEnded = true
	if m, code, out = p.run(cfg); code != 0 {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	var manifest result.Manifest
	folder := filepath.Join(claim, "walk/attempts/1-abcde")
	readJSON(t, filepath.Join(folder, "manifest.json"), &manifest)
	at := slices.IndexFunc(manifest.Files, func(f result.ManifestFileRef) bool { return f.Name == "frameTimes" })
	if at < 0 || manifest.Files[at].Path != result.FrameTimesFile || manifest.Files[at].MediaType != "application/json" {
		t.Fatalf("files %+v\n%s", manifest.Files, out)
	}
	f, err := os.Open(filepath.Join(folder, result.FrameTimesFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	times, err := result.ReadFrameTimes(f, 20)
	if err != nil || times.StartFrame != 7 {
		t.Fatalf("%+v %v", times, err)
	}
	for i, have := range times.Seconds {
		if math.Abs(have-want[7+i]) > 1e-6 {
			t.Errorf("frame %d is shown at %v, the source has %v", i, have, want[7+i])
		}
	}
}

// TestNoFrameTimes: a constant rate needs none, also where an earlier run left some.
func TestNoFrameTimes(t *testing.T) {
	t.Parallel()
	tool(t, "ffmpeg", "ffprobe")
	p := newPod(t)
	ffmpeg(t, "-f", "lavfi", "-i", lavfi, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-f", "mp4", p.l.SourceFile)
	if err := os.WriteFile(p.l.FrameTimes(), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if m, code, out := p.run(prepareConfig(nil)); code != 0 {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	if _, err := os.Stat(p.l.FrameTimes()); !os.IsNotExist(err) {
		t.Errorf("times of a constant rate: %v", err)
	}
}

// TestFrameTimesThatAreLeftOut: a result does not depend on them.
func TestFrameTimesThatAreLeftOut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, says string }{
		"of other frames":      {`{"apiVersion":"pose.dev/v1alpha1","kind":"FrameTimes","startFrame":0,"seconds":[0,1]}`, "2 times for 20 frames"},
		"that are no document": {`[`, "does not have the members"},
		"that are endless":     {strings.Repeat(" ", 1<<16), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			p, claim := newPod(t), t.TempDir()
			p.writeFacts(smallVideo)
			if err := os.WriteFile(p.l.FrameTimes(), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if code := write("good", p.l.OutputDir, p.l.FactsFile); code != 0 {
				t.Fatalf("the engine's code %d", code)
			}
			cfg := deliverConfig(claim)
			cfg.Deliver.EngineEnded = true
			m, code, out := p.run(cfg)
			if code != 0 || !strings.Contains(out, "the times of the frames are left out: ") || !strings.Contains(out, c.says) {
				t.Fatalf("code %d %+v\n%s", code, m, out)
			}
			if _, err := os.Stat(filepath.Join(claim, "walk/attempts/1-abcde", result.FrameTimesFile)); !os.IsNotExist(err) {
				t.Errorf("they were uploaded: %v", err)
			}
		})
	}
}
