package prepare_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/child"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/prepare"
)

// The test binary plays the hidden entry point, too, that starts ffmpeg.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == child.Entry {
		os.Exit(child.Main())
	}
	os.Exit(m.Run())
}

func config() report.PrepareConfig {
	return report.PrepareConfig{MaxPixels: 1 << 22, MaxFrames: 1000, TimeoutSeconds: 600}
}

// run prepares a copy of the file at path, in a tree of its own.
func run(t *testing.T, path string, cfg report.PrepareConfig, left ...string) (*report.VideoFacts, layout.Layout, error) {
	t.Helper()
	l := layout.Under(t.TempDir())
	b, err := os.ReadFile(path)
	if err != nil || os.MkdirAll(filepath.Dir(l.SourceFile), 0o755) != nil || os.MkdirAll(filepath.Dir(l.VideoFile), 0o755) != nil ||
		os.WriteFile(l.SourceFile, b, 0o600) != nil {
		t.Fatalf("cannot place the source: %v", err)
	}
	for _, facts := range left {
		if err := os.WriteFile(l.SourceFacts, []byte(facts), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v, err := prepare.Run(t.Context(), cfg, l, t.Output())
	return v, l, err
}

// ffmpeg makes a video.
func ffmpeg(t *testing.T, args ...string) {
	t.Helper()
	for _, name := range []string{"ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("SKIPPED: %s is not installed (apt-get install ffmpeg)", name)
		}
	}
	out, err := exec.Command("ffmpeg", append([]string{"-nostdin", "-v", "error", "-y"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
