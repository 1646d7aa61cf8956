package prepare_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/report"
)

// Frames of counter show their number: eight bars of 16 pixels from left to
// right are its bits, the lowest first, white for 1.
const (
	counterWidth, counterHeight = 128, 64
	counterFrames               = 40
)

func counter(rate string) string {
	return fmt.Sprintf("color=gray:size=%dx%d:rate=%s,format=yuv420p,geq=lum='if(mod(floor(N/pow(2\\,floor(X/16)))\\,2)\\,235\\,16)':cb=128:cr=128,trim=end_frame=%d",
		counterWidth, counterHeight, rate, counterFrames)
}

// numbers reads them back from a file whose picture was turned by degrees.
func numbers(t *testing.T, path string, degrees int) []int {
	t.Helper()
	var w, h int
	size, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "stream=width,height", "-of", "csv=p=0", path).Output()
	if _, serr := fmt.Sscanf(string(size), "%d,%d", &w, &h); err != nil || serr != nil {
		t.Fatalf("ffprobe: %q %v %v", size, err, serr)
	}
	raw, err := exec.Command("ffmpeg", "-v", "error", "-i", path, "-vf", "extractplanes=y", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-").Output()
	if err != nil || len(raw)%(w*h) != 0 {
		t.Fatalf("%d bytes: %v", len(raw), err)
	}
	var out []int
	for frame := range slices.Chunk(raw, w*h) {
		n := 0
		for bit := range 8 {
			along := 16*bit + 8
			x, y := along, h/2
			switch degrees {
			case 90:
				x, y = w/2, along
			case 180:
				x = w - 1 - along
			case 270:
				x, y = w/2, h-1-along
			}
			if x >= 0 && x < w && y >= 0 && y < h && frame[y*w+x] > 125 {
				n |= 1 << bit
			}
		}
		out = append(out, n)
	}
	return out
}

func sequence(from, to int) []int {
	var out []int
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

// TestFormats: whatever the container and the codec, frame i of the prepared
// video is frame start+i as a player shows the source.
func TestFormats(t *testing.T) {
	t.Parallel()
	h264 := []string{"-c:v", "libx264", "-bf", "2", "-g", "12"}
	with := func(more ...string) []string { return append(slices.Clone(h264), more...) }
	x265 := func(more ...string) []string {
		return append([]string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-tag:v", "hvc1"}, more...)
	}
	matrix := func(a, b, c, d float64) func(*testing.T, string) string {
		return func(t *testing.T, path string) string { return turn(t, path, a, b, c, d) }
	}
	note := filepath.Join(t.TempDir(), "note.txt")
	chapters := filepath.Join(t.TempDir(), "chapters.txt")
	if os.WriteFile(note, []byte("a font"), 0o600) != nil ||
		os.WriteFile(chapters, []byte(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=800\ntitle=one\n"), 0o600) != nil {
		t.Fatal("cannot write")
	}
	sound := []string{"-f", "lavfi", "-i", "sine=duration=1.6", "-f", "lavfi", "-i", "sine=frequency=700:duration=1.6"}
	for _, tc := range []struct {
		name, file string
		rate       string   // of the source, 25 unless set
		inputs     []string // beside the video
		args       []string
		then       func(*testing.T, string) string
		turned     int
		size       string // 128x64 unless set
		want       []int  // all frames unless set
		copied     bool
		source     report.SourceFacts // without its bytes, size and reason
		why        string
		anyRate    bool
	}{
		{name: "H.264 in QuickTime", file: "a.mov", args: h264, copied: true, source: report.SourceFacts{Container: "mov", Codec: "h264"}},
		{name: "iPhone: turned by 90", file: "a.mov", args: h264, then: matrix(0, 1, -1, 0), turned: 90, size: "64x128", source: report.SourceFacts{Container: "mov", Codec: "h264", Rotation: 90}, why: "rotation by 90 degrees"},
		{name: "iPhone: turned by 180", file: "a.mov", args: h264, then: matrix(-1, 0, 0, -1), turned: 180, source: report.SourceFacts{Container: "mov", Codec: "h264", Rotation: 180}, why: "rotation by 180 degrees"},
		{name: "iPhone: turned by 270", file: "a.mov", args: x265(), then: matrix(0, -1, 1, 0), turned: 270, size: "64x128", source: report.SourceFacts{Container: "mov", Codec: "hevc", Rotation: 270}, why: "codec hevc"},
		{name: "a selfie that is mirrored", file: "a.mp4", args: h264, then: matrix(-1, 0, 0, 1), turned: 180, source: report.SourceFacts{Container: "mov", Codec: "h264", Rotation: 180}, why: "rotation by 180 degrees"},
		{name: "HEVC", file: "a.mov", args: x265("-pix_fmt", "yuv420p"), source: report.SourceFacts{Container: "mov", Codec: "hevc"}, why: "codec hevc"},
		{name: "HEVC, 10 bits, PQ", file: "a.mov", args: x265("-pix_fmt", "yuv420p10le", "-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc"), source: report.SourceFacts{Container: "mov", Codec: "hevc"}, why: "codec hevc"},
		{name: "timecode and two sounds", file: "a.mov", inputs: sound, args: with("-map", "0:v", "-map", "1:a", "-map", "2:a", "-timecode", "01:00:00:00"), copied: true, source: report.SourceFacts{Container: "mov", Codec: "h264"}},
		{name: "variable rate", file: "a.mov", args: with("-vf", "select='not(mod(n\\,3)*lt(n\\,30))'", "-fps_mode", "vfr"),
			want: append([]int{0, 3, 6, 9, 12, 15, 18, 21, 24, 27}, sequence(30, 40)...), anyRate: true, source: report.SourceFacts{Container: "mov", Codec: "h264", VariableRate: true}, why: "variable frame rate"},
		{name: "edit list into a group with B-frames", file: "a.mp4", args: with("-g", "40"), then: func(t *testing.T, path string) string {
			second := filepath.Join(t.TempDir(), "b.mp4")
			ffmpeg(t, "-ss", "0.6", "-i", path, "-c", "copy", second)
			return second
		}, want: sequence(15, 40), source: report.SourceFacts{Container: "mov", Codec: "h264"}, why: "cut"},
		{name: "fragmented", file: "a.mp4", args: with("-movflags", "frag_keyframe+empty_moov"), copied: true, source: report.SourceFacts{Container: "mov", Codec: "h264"}},
		{name: "index first", file: "a.mp4", args: with("-movflags", "+faststart"), copied: true, source: report.SourceFacts{Container: "mov", Codec: "h264"}},
		{name: "times that begin late", file: "a.mp4", args: with("-output_ts_offset", "5"), copied: true, source: report.SourceFacts{Container: "mov", Codec: "h264"}},
		{name: "times below zero", file: "a.mov", args: with("-output_ts_offset", "-0.4", "-avoid_negative_ts", "disabled", "-use_editlist", "0"), anyRate: true, source: report.SourceFacts{Container: "mov", Codec: "h264"}, copied: true},
		{name: "open groups", file: "a.mp4", args: with("-x264-params", "open-gop=1:keyint=10:bframes=3:scenecut=0"), copied: true, source: report.SourceFacts{Container: "mov", Codec: "h264"}},
		{name: "interlaced H.264", file: "a.mp4", args: with("-flags", "+ildct+ilme", "-x264-params", "tff=1"), source: report.SourceFacts{Container: "mov", Codec: "h264"}, why: "interlaced"},
		{name: "ProRes", file: "a.mov", args: []string{"-c:v", "prores_ks"}, source: report.SourceFacts{Container: "mov", Codec: "prores"}, why: "codec prores"},
		{name: "Motion JPEG in AVI", file: "a.avi", args: []string{"-c:v", "mjpeg", "-pix_fmt", "yuvj420p"}, source: report.SourceFacts{Container: "avi", Codec: "mjpeg"}, why: "container avi"},
		{name: "MPEG-4 with B-frames in AVI", file: "a.avi", args: []string{"-c:v", "mpeg4", "-bf", "2", "-q:v", "3"}, anyRate: true, source: report.SourceFacts{Container: "avi", Codec: "mpeg4"}, why: "container avi"},
		{name: "H.264 in AVI", file: "a.avi", args: h264, anyRate: true, source: report.SourceFacts{Container: "avi", Codec: "h264"}, why: "container avi"},
		{name: "H.264 in Matroska with attachment and chapters", file: "a.mkv", inputs: []string{"-i", chapters},
			args: with("-map", "0:v", "-map_chapters", "1", "-attach", note, "-metadata:s:t", "mimetype=application/x-truetype-font"), copied: true, source: report.SourceFacts{Container: "matroska", Codec: "h264"}},
		{name: "HEVC in Matroska", file: "a.mkv", args: x265(), source: report.SourceFacts{Container: "matroska", Codec: "hevc"}, why: "codec hevc"},
		{name: "VP9 in Matroska", file: "a.mkv", args: []string{"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"}, source: report.SourceFacts{Container: "matroska", Codec: "vp9"}, why: "codec vp9"},
		{name: "AV1 in Matroska", file: "a.mkv", args: []string{"-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8"}, source: report.SourceFacts{Container: "matroska", Codec: "av1"}, why: "codec av1"},
		{name: "FFV1 in Matroska", file: "a.mkv", args: []string{"-c:v", "ffv1"}, source: report.SourceFacts{Container: "matroska", Codec: "ffv1"}, why: "codec ffv1"},
		{name: "VP8 in WebM", file: "a.webm", args: []string{"-c:v", "libvpx", "-deadline", "realtime", "-b:v", "500k"}, source: report.SourceFacts{Container: "matroska", Codec: "vp8"}, why: "codec vp8"},
		{name: "VP9 with alpha in WebM", file: "a.webm", args: []string{"-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-deadline", "realtime", "-cpu-used", "8"}, source: report.SourceFacts{Container: "matroska", Codec: "vp9"}, why: "codec vp9"},
		{name: "MPEG-2 programme stream", file: "a.mpg", args: []string{"-c:v", "mpeg2video", "-bf", "2", "-q:v", "3"}, source: report.SourceFacts{Container: "mpeg", Codec: "mpeg2video"}, why: "container mpeg"},
		{name: "MPEG-2 transport stream", file: "a.ts", args: []string{"-c:v", "mpeg2video", "-bf", "2", "-q:v", "3"}, source: report.SourceFacts{Container: "mpegts", Codec: "mpeg2video"}, why: "container mpegts"},
		{name: "H.264 transport stream", file: "a.ts", args: h264, source: report.SourceFacts{Container: "mpegts", Codec: "h264"}, why: "container mpegts"},
		{name: "3GP", file: "a.3gp", args: []string{"-c:v", "mpeg4", "-q:v", "3"}, source: report.SourceFacts{Container: "mov", Codec: "mpeg4"}, why: "codec mpeg4"},
		{name: "Flash", file: "a.flv", args: []string{"-c:v", "flv", "-q:v", "3"}, source: report.SourceFacts{Container: "flv", Codec: "flv1"}, why: "codec flv1"},
		{name: "H.264 in Flash", file: "a.flv", args: h264, copied: true, source: report.SourceFacts{Container: "flv", Codec: "h264"}},
		{name: "WMV", file: "a.wmv", args: []string{"-c:v", "wmv2", "-q:v", "3"}, source: report.SourceFacts{Container: "asf", Codec: "wmv2"}, why: "container asf"},
		{name: "Theora", file: "a.ogv", args: []string{"-c:v", "libtheora", "-q:v", "8"}, source: report.SourceFacts{Container: "ogg", Codec: "theora"}, why: "container ogg"},
		{name: "interlaced MPEG-2 in MXF", file: "a.mxf", args: []string{"-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-top", "1", "-q:v", "3"}, source: report.SourceFacts{Container: "mxf", Codec: "mpeg2video"}, why: "container mxf"},
		{name: "odd sides", file: "a.mp4", args: []string{"-vf", "format=yuv444p,crop=127:63:0:0", "-c:v", "libx264"}, size: "126x62", source: report.SourceFacts{Container: "mov", Codec: "h264"}, why: "pixel format yuv444p"},
		{name: "pixels that are not square stay as they are", file: "a.mp4", args: with("-vf", "setsar=4/3"), copied: true, source: report.SourceFacts{Container: "mov", Codec: "h264"}},
		{name: "pixels that are not square, re-encoded", file: "a.mpg", args: []string{"-c:v", "mpeg2video", "-q:v", "3", "-vf", "setdar=16/9"}, source: report.SourceFacts{Container: "mpeg", Codec: "mpeg2video"}, why: "container mpeg"},
		{name: "a frame in ten seconds", file: "a.mp4", rate: "1/10", args: h264, copied: true, source: report.SourceFacts{Container: "mov", Codec: "h264"}},
		{name: "240 frames a second", file: "a.mp4", rate: "240", args: h264, copied: true, source: report.SourceFacts{Container: "mov", Codec: "h264"}},
		{name: "29.97 in Matroska's milliseconds", file: "a.mkv", rate: "30000/1001", args: h264, copied: true, source: report.SourceFacts{Container: "matroska", Codec: "h264"}},
		{name: "one frame", file: "a.mkv", args: with("-frames:v", "1"), want: []int{0}, copied: true, anyRate: true, source: report.SourceFacts{Container: "matroska", Codec: "h264"}},
		{name: "two videos: the first", file: "a.mp4", inputs: []string{"-f", "lavfi", "-i", "testsrc=size=320x240:rate=10:duration=1"}, args: with("-map", "0:v", "-map", "1:v"), copied: true, source: report.SourceFacts{Container: "mov", Codec: "h264"}},
		{name: "cover art before the video", file: "a.mp4", inputs: []string{"-f", "lavfi", "-i", "testsrc=size=320x240:duration=0.04"},
			args: with("-map", "1:v", "-map", "0:v", "-c:v:0", "png", "-disposition:v:0", "attached_pic"), copied: true, source: report.SourceFacts{Container: "mov", Codec: "h264"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rate := tc.rate
			if rate == "" {
				rate = "25"
			}
			path := filepath.Join(t.TempDir(), tc.file)
			ffmpeg(t, slices.Concat([]string{"-f", "lavfi", "-i", counter(rate)}, tc.inputs, tc.args, []string{path})...)
			if tc.then != nil {
				path = tc.then(t, path)
			}
			want, size := tc.want, tc.size
			if want == nil {
				want = sequence(0, counterFrames)
			}
			if size == "" {
				size = fmt.Sprintf("%dx%d", counterWidth, counterHeight)
			}
			for _, cut := range []bool{false, true} {
				start, end := 0, len(want)
				if cut {
					start, end = min(11, end-1), min(31, end)
				}
				cfg := config()
				if cut {
					cfg.StartFrame, cfg.EndFrame = int64(start), int64(end)
				}
				v, l, err := run(t, path, cfg)
				if err != nil {
					t.Fatalf("cut %v: %v", cut, err)
				}
				if d := cmp.Diff(want[start:end], numbers(t, l.VideoFile, tc.turned)); d != "" {
					t.Errorf("cut %v: other frames: %s", cut, d)
				}
				whole := start == 0 && end == len(want)
				if v.Frames != int64(end-start) || fmt.Sprintf("%dx%d", v.Width, v.Height) != size || v.Normalised != (!tc.copied || !whole) || v.StartFrame != int64(start) {
					t.Errorf("cut %v: facts %+v, source %+v", cut, v, v.Source)
				}
				if f := fraction(rate); !tc.anyRate && math.Abs(v.FPS-f) > f*1e-3 {
					t.Errorf("cut %v: %v frames a second, want %v", cut, v.FPS, f)
				}
				got := *v.Source
				if (got.Why != "") != v.Normalised || !cut && !strings.Contains(got.Why, tc.why) {
					t.Errorf("cut %v: why %q, want %q", cut, got.Why, tc.why)
				}
				if info, err := os.Stat(path); err != nil || got.Bytes != info.Size() || got.Width == 0 || got.Height == 0 {
					t.Errorf("source %+v", got)
				}
				got.Bytes, got.Width, got.Height, got.Why = 0, 0, 0, ""
				if cut && got.VariableRate {
					got.VariableRate = tc.source.VariableRate
				}
				if d := cmp.Diff(tc.source, got); d != "" && !cut && !tc.anyRate {
					t.Errorf("source: %s", d)
				}
			}
		})
	}
}

func fraction(s string) float64 {
	a, b, ok := strings.Cut(s, "/")
	x, _ := strconv.ParseFloat(a, 64)
	if y, err := strconv.ParseFloat(b, 64); ok && err == nil {
		x /= y
	}
	return x
}

// turn writes another display matrix into the first track's header.
func turn(t *testing.T, path string, a, b, c, d float64) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	at := bytes.Index(raw, []byte("tkhd"))
	if err != nil || at < 0 {
		t.Fatalf("no track header: %v", err)
	}
	for i, f := range []float64{a, b, 0, c, d} {
		if i != 2 {
			binary.BigEndian.PutUint32(raw[at+44+4*i:], uint32(int32(f*65536)))
		}
	}
	second := filepath.Join(t.TempDir(), "turned.mp4")
	if err := os.WriteFile(second, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return second
}
