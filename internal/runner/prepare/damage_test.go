package prepare_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
)

// TestDamaged: a damaged video is refused, or what is left of it is told as it
// is: as many frames as are in the file that the engine gets, in their order.
func TestDamaged(t *testing.T) {
	t.Parallel()
	cut := func(share float64) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			info, err := os.Stat(path)
			if err != nil || os.Truncate(path, int64(share*float64(info.Size()))) != nil {
				t.Fatal("cannot cut the file")
			}
		}
	}
	behead := func(t *testing.T, path string) {
		b, err := os.ReadFile(path)
		if err != nil || os.WriteFile(path, b[len(b)/3:], 0o600) != nil {
			t.Fatal("cannot cut the file")
		}
	}
	scratch := func(t *testing.T, path string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := len(b) / 2; i < len(b)/2+len(b)/20; i++ {
			b[i] ^= 0x5a
		}
		if os.WriteFile(path, b, 0o600) != nil {
			t.Fatal("cannot write")
		}
	}
	h264 := []string{"-c:v", "libx264", "-bf", "2", "-g", "12"}
	for _, tc := range []struct {
		name, file string
		args       []string
		harm       func(*testing.T, string)
		want       string // of the refusal; else what is left is prepared
	}{
		{"MP4, cut off, index first", "a.mp4", append(slices.Clone(h264), "-movflags", "+faststart"), cut(0.6), "cut off: it announces 40 frames"},
		{"MP4 without its index", "a.mp4", h264, cut(0.6), "moov atom not found"},
		{"fragmented MP4, cut off", "a.mp4", append(slices.Clone(h264), "-movflags", "frag_keyframe+empty_moov"), cut(0.6), "cut off after 2"},
		{"Matroska, cut off", "a.mkv", h264, cut(0.6), "cut off after 2"},
		{"AVI, cut off", "a.avi", []string{"-c:v", "mjpeg", "-pix_fmt", "yuvj420p"}, cut(0.6), ""},
		{"transport stream, cut off", "a.ts", h264, cut(0.6), ""},
		{"transport stream without its beginning", "a.ts", []string{"-c:v", "mpeg2video", "-bf", "2", "-g", "12", "-q:v", "3"}, behead, ""},
		{"broken frames in the middle of MP4", "a.mp4", h264, scratch, ""},
		{"broken frames in the middle of Matroska", "a.mkv", h264, scratch, ""},
		{"broken frames in the middle of AVI", "a.avi", []string{"-c:v", "mpeg4", "-q:v", "3"}, scratch, ""},
		{"no frames", "a.mp4", append(slices.Clone(h264), "-frames:v", "0"), nil, "no video stream"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), tc.file)
			ffmpeg(t, slices.Concat([]string{"-f", "lavfi", "-i", counter("25") + ",noise=alls=12"}, tc.args, []string{path})...)
			if tc.harm != nil {
				tc.harm(t, path)
			}
			v, l, err := run(t, path, config())
			var f *outcome.Failure
			if tc.want != "" || err != nil {
				if !errors.As(err, &f) || f.Reason != report.ReasonInputInvalid || !strings.Contains(f.Message, tc.want) {
					t.Fatalf("%v, want %q", err, tc.want)
				}
				t.Log(f.Message)
				return
			}
			got := numbers(t, l.VideoFile, 0)
			t.Log(v.Frames, v.Source.Why, got)
			if int64(len(got)) != v.Frames {
				t.Errorf("%d frames are told of, %d are there", v.Frames, len(got))
			}
		})
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s) //nolint:errchkjson // a string
	return string(b)
}

// TestFacts: what fetch knows of the source goes with the video's facts, and
// these fit into a termination message.
func TestFacts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.mov")
	ffmpeg(t, "-f", "lavfi", "-i", counter("25"), "-c:v", "libx264", path)
	digest := strings.Repeat("ab", 32)
	for _, tc := range []struct{ name, version, want string }{
		{"ETag", `"d41d8cd98f00b204e9800998ecf8427e-12"`, `"d41d8cd98f00b204e9800998ecf8427e-12"`},
		{"none", "", ""},
		{"as long as may be", strings.Repeat("v", 298), strings.Repeat("v", 298)},
		{"too long", strings.Repeat("v", 299), ""},
		{"short and long in JSON", strings.Repeat("\x01", 80), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, _, err := run(t, path, config(), fmt.Sprintf(`{"bytes":1,"sha256":%q,"version":%s}`, digest, quoted(tc.version)))
			if err != nil || v.SourceSHA256 != digest || v.SourceVersion != tc.want {
				t.Fatalf("%+v %v", v, err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(&report.SourceFacts{Bytes: info.Size(), Container: "mov", Codec: "h264", Width: counterWidth, Height: counterHeight}, v.Source); d != "" {
				t.Error(d)
			}
			v.Boxes = &report.BoxesFacts{Boxes: 1 << 40, Frames: 1 << 40, IDs: true, SourceSHA256: digest, SourceVersion: v.SourceVersion}
			message := report.Termination{Role: report.RolePrepare, Result: report.ResultOK, Seconds: 1234.5, Video: v}
			got, err := report.ParseTermination(string(message.Marshal()))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(v, got.Video); d != "" {
				t.Errorf("lost on the way: %s", d)
			}
		})
	}
}
