package runner_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
)

const lavfi = "testsrc=size=160x120:rate=25:duration=2" // 50 frames

func prepareConfig(change func(*report.PrepareConfig)) report.Config {
	c := &report.PrepareConfig{MaxPixels: 1 << 22, MaxFrames: 1000, TimeoutSeconds: 60}
	if change != nil {
		change(c)
	}
	return report.Config{Role: report.RolePrepare, Prepare: c}
}

// decoded counts the frames of a file as an engine would: by decoding them.
func decoded(t *testing.T, path string) (frames, size string) {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames,width,height", "-of", "csv=p=0", path).Output()
	parts := strings.Split(strings.TrimSpace(string(out)), ",")
	if err != nil || len(parts) != 3 {
		t.Fatalf("ffprobe: %q %v", out, err)
	}
	return parts[2], parts[0] + "x" + parts[1]
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	tool(t, "ffmpeg", "ffprobe")
	h264 := []string{"-c:v", "libx264", "-pix_fmt", "yuv420p"}
	source := func(t *testing.T, name string, args ...string) string {
		path := filepath.Join(t.TempDir(), name)
		ffmpeg(t, append(append([]string{"-f", "lavfi", "-i", lavfi}, args...), path)...)
		return path
	}
	for _, tc := range []struct {
		name       string
		make       func(*testing.T) string
		cfg        func(*report.PrepareConfig)
		normalised bool
		frames     int64
		start      int64
		size       string
		fps        float64
	}{
		{name: "kept as it is", make: func(t *testing.T) string { return source(t, "a.mp4", h264...) }, frames: 50, size: "160x120", fps: 25},
		{name: "kept without its sound", make: func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "a.mp4")
			ffmpeg(t, append(append([]string{"-f", "lavfi", "-i", lavfi, "-f", "lavfi", "-i", "sine=duration=2"}, h264...), path)...)
			return path
		}, frames: 50, size: "160x120", fps: 25},
		{name: "matroska", make: func(t *testing.T) string { return source(t, "a.mkv", h264...) }, frames: 50, size: "160x120", fps: 25},
		{name: "mpeg-4 in avi", make: func(t *testing.T) string { return source(t, "a.avi", "-c:v", "mpeg4") }, normalised: true, frames: 50, size: "160x120", fps: 25},
		{name: "vp9 in webm", make: func(t *testing.T) string { return source(t, "a.webm", "-c:v", "libvpx-vp9", "-b:v", "200k") }, normalised: true, frames: 50, size: "160x120", fps: 25},
		{name: "odd size, 4:4:4", make: func(t *testing.T) string {
			return source(t, "a.mp4", "-vf", "crop=151:111", "-c:v", "libx264", "-pix_fmt", "yuv444p")
		}, normalised: true, frames: 50, size: "150x110", fps: 25},
		{name: "rotated", make: func(t *testing.T) string {
			flat := source(t, "a.mp4", h264...)
			path := filepath.Join(t.TempDir(), "r.mp4")
			ffmpeg(t, "-i", flat, "-c", "copy", "-metadata:s:v", "rotate=90", path)
			return path
		}, normalised: true, frames: 50, size: "120x160", fps: 25},
		{name: "variable frame rate", make: func(t *testing.T) string {
			return source(t, "a.mp4", append([]string{"-vf", "select='not(mod(n\\,3)*lt(n\\,30))'", "-fps_mode", "vfr"}, h264...)...)
		}, normalised: true, frames: 30, size: "160x120"},
		{name: "cut", make: func(t *testing.T) string { return source(t, "a.mp4", h264...) },
			cfg:        func(c *report.PrepareConfig) { c.StartFrame, c.EndFrame = 7, 20 },
			normalised: true, frames: 13, start: 7, size: "160x120", fps: 25},
		{name: "cut of a fragmented file, which has no index", make: func(t *testing.T) string {
			return source(t, "a.mp4", append([]string{"-movflags", "frag_keyframe+empty_moov"}, h264...)...)
		}, cfg: func(c *report.PrepareConfig) { c.EndFrame = 20 }, normalised: true, frames: 20, size: "160x120", fps: 25},
		{name: "frames hidden by an edit list", make: func(t *testing.T) string {
			whole := source(t, "a.mp4", append([]string{"-g", "50", "-bf", "0"}, h264...)...)
			path := filepath.Join(t.TempDir(), "h.mp4")
			ffmpeg(t, "-ss", "0.6", "-i", whole, "-c", "copy", path)
			return path
		}, normalised: true, frames: 35, size: "160x120", fps: 25},
		{name: "cut to its whole length", make: func(t *testing.T) string { return source(t, "a.mp4", h264...) },
			cfg: func(c *report.PrepareConfig) { c.EndFrame = 50 }, frames: 50, size: "160x120", fps: 25},
		{name: "one frame of a longer video than allowed", make: func(t *testing.T) string { return source(t, "a.mp4", h264...) },
			cfg:        func(c *report.PrepareConfig) { c.StartFrame, c.EndFrame, c.MaxFrames = 49, 50, 10 },
			normalised: true, frames: 1, start: 49, size: "160x120", fps: 25},
		{name: "real pedestrians", make: func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "v.avi")
			copyFile(t, vtest, path)
			return path
		}, normalised: true, frames: 795, size: "768x576", fps: 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPod(t)
			copyFile(t, tc.make(t), p.l.SourceFile)
			m, code, out := p.run(prepareConfig(tc.cfg))
			if code != 0 {
				t.Fatalf("code %d %+v\n%s", code, m, out)
			}
			v := m.Video
			if v.Frames != tc.frames || v.Normalised != tc.normalised || v.StartFrame != tc.start || fmt.Sprintf("%dx%d", v.Width, v.Height) != tc.size || tc.fps != 0 && v.FPS != tc.fps {
				t.Errorf("facts %+v\n%s", v, out)
			}
			frames, size := decoded(t, p.l.VideoFile)
			if frames != fmt.Sprint(tc.frames) || size != tc.size {
				t.Errorf("the file has %s frames of %s", frames, size)
			}
			if _, err := os.Stat(p.l.SourceFile); !os.IsNotExist(err) {
				t.Errorf("the source takes space still: %v", err)
			}
		})
	}
}

// TestCutIsExact compares the very pictures: frame i of the cut is frame start+i.
func TestCutIsExact(t *testing.T) {
	t.Parallel()
	tool(t, "ffmpeg", "ffprobe")
	p := newPod(t)
	path := filepath.Join(t.TempDir(), "a.mp4")
	// Each frame has a grey of its own: 4 + 4n. B-frames and a long GOP are between.
	ffmpeg(t, "-f", "lavfi", "-i", "color=black:size=64x64:rate=25:duration=2", "-vf", "geq=lum='20+4*N':cb=128:cr=128", "-c:v", "libx264", "-bf", "3", "-g", "250", "-pix_fmt", "yuv420p", path)
	copyFile(t, path, p.l.SourceFile)
	if m, code, out := p.run(prepareConfig(func(c *report.PrepareConfig) { c.StartFrame, c.EndFrame = 11, 31 })); code != 0 {
		t.Fatalf("%+v\n%s", m, out)
	}
	raw, err := exec.Command("ffmpeg", "-v", "error", "-i", p.l.VideoFile, "-vf", "extractplanes=y,scale=1:1", "-f", "rawvideo", "-pix_fmt", "gray", "-").Output()
	if err != nil || len(raw) != 20 {
		t.Fatalf("%d frames: %v", len(raw), err)
	}
	for i, y := range raw {
		got := int(y)
		// The one-pixel grey may be in full range; compare steps instead of levels.
		if i > 0 && (got-int(raw[0]) < 3*i || got-int(raw[0]) > 6*i) {
			t.Errorf("frame %d has grey %d after %d", i, got, raw[0])
		}
	}
	if first := int(raw[0]); first < 50 || first > 75 {
		t.Errorf("the first frame has grey %d, frame 11 has 64", first)
	}
}

func TestPrepareRefuses(t *testing.T) {
	t.Parallel()
	tool(t, "ffmpeg", "ffprobe")
	file := func(content string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	video := func(args ...string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			ffmpeg(t, append(append([]string{"-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=4"}, args...), "-f", "mp4", path)...)
		}
	}
	half := func(args ...string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			video(args...)(t, path)
			info, err := os.Stat(path)
			if err != nil || os.Truncate(path, info.Size()/2) != nil {
				t.Fatal("cannot cut the file")
			}
		}
	}
	plain := video("-c:v", "libx264", "-pix_fmt", "yuv420p")
	for _, tc := range []struct {
		name string
		make func(*testing.T, string)
		cfg  func(*report.PrepareConfig)
		want string
	}{
		{"a text file", file("this is no video at all\n"), nil, "Invalid data found"},
		{"an empty file", file(""), nil, "empty"},
		{"a playlist", file("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n"), nil, "not a video"},
		{"a concat script", file("ffconcat version 1.0\nfile /etc/passwd\n"), nil, "not a video"},
		{"truncated, index at the end", half("-c:v", "libx264"), nil, "moov atom not found"},
		{"truncated, index at the start", half("-c:v", "libx264", "-movflags", "+faststart"), nil, "cut off"},
		{"audio only", func(t *testing.T, path string) {
			ffmpeg(t, "-f", "lavfi", "-i", "sine=duration=1", "-f", "mp4", path)
		}, nil, "no video stream"},
		{"too many pixels", plain, func(c *report.PrepareConfig) { c.MaxPixels = 1000 }, "320x240"},
		{"too many frames", plain, func(c *report.PrepareConfig) { c.MaxFrames = 99 }, "more than 99 frames"},
		{"cut beyond the end", plain, func(c *report.PrepareConfig) { c.EndFrame = 101 }, "the video has 100"},
		{"cut behind the end", plain, func(c *report.PrepareConfig) { c.StartFrame = 100 }, "the video has 100"},
		{"backward cut", plain, func(c *report.PrepareConfig) { c.StartFrame, c.EndFrame = 20, 10 }, "no range"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPod(t)
			tc.make(t, p.l.SourceFile)
			m, code, out := p.run(prepareConfig(tc.cfg))
			if code != 1 || m.Reason != report.ReasonInputInvalid || !strings.Contains(m.Message, tc.want) {
				t.Fatalf("code %d %+v\n%s", code, m, out)
			}
			if strings.Contains(m.Message, p.root) || strings.Contains(m.Message, "0x") && tc.want != "320x240" {
				t.Errorf("the message is not clean: %s", m.Message)
			}
			if _, err := os.Stat(p.l.VideoFile); err == nil {
				t.Error("a video was left")
			}
		})
	}
}
