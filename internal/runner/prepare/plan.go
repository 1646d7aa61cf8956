package prepare

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
)

// Limits on what is taken for a video's frame rate, in frames per second.
const (
	minFPS = 0.01
	maxFPS = 1000
)

// plan is what prepare does with a source.
type plan struct {
	Copy   bool // keep the coded frames as they are
	Why    string
	Start  int64
	Frames int64 // that the engine will read
	Width  int64 // after rotation, even unless copied
	Height int64
	Rate   rational
	// Deinterlace gives each frame the lines of one moment. Their number stays.
	Deinterlace bool
}

// checkHeader refuses what need not be decoded to be refused.
func checkHeader(v stream, cfg report.PrepareConfig) error {
	if v.Width < 2 || v.Height < 2 {
		return outcome.Failf(report.ReasonInputInvalid, "the video's frames have %dx%d pixels: this is not a video that can be used", v.Width, v.Height)
	}
	if v.Width > math.MaxInt32 || v.Height > math.MaxInt32 || cfg.MaxPixels > 0 && v.Width*v.Height > cfg.MaxPixels {
		return outcome.Failf(report.ReasonInputInvalid, "the video's frames have %dx%d = %d pixels, the operator accepts %d: scale the video down", v.Width, v.Height, v.Width*v.Height, cfg.MaxPixels)
	}
	return nil
}

// makePlan decides from headers and frames. Pure.
func makePlan(v stream, s scan, cfg report.PrepareConfig) (plan, error) {
	if s.Frames == 0 {
		return plan{}, outcome.Failf(report.ReasonInputInvalid, "no frame of the video can be decoded: check that it plays")
	}
	if s.Resized >= 0 {
		return plan{}, outcome.Failf(report.ReasonInputInvalid, "the frame size changes at frame %d (first %dx%d): re-encode the video to one size", s.Resized, s.Width, s.Height)
	}
	p := plan{Start: cfg.StartFrame, Width: s.Width, Height: s.Height, Rate: rate(v, s), Deinterlace: v.Interlaced && v.Rotation%180 == 0}
	end := s.Frames
	if cfg.EndFrame > 0 {
		end = cfg.EndFrame
	}
	switch {
	case cfg.StartFrame < 0 || cfg.EndFrame < 0 || cfg.EndFrame > 0 && cfg.EndFrame <= cfg.StartFrame:
		return plan{}, outcome.Failf(report.ReasonInputInvalid, "frames %d to %d are no range: end must be greater than start", cfg.StartFrame, cfg.EndFrame)
	case cfg.StartFrame >= s.Frames || end > s.Frames:
		return plan{}, outcome.Failf(report.ReasonInputInvalid, "frames %d to %d are asked for, the video has %d: create the PoseJob again with other spec.video.frames", cfg.StartFrame, end, s.Frames)
	}
	p.Frames = end - cfg.StartFrame
	if cfg.MaxFrames > 0 && p.Frames > cfg.MaxFrames {
		return plan{}, tooMany(cfg)
	}
	if v.Rotation%180 == 90 {
		p.Width, p.Height = p.Height, p.Width
	}
	if p.Why = reencode(v, s, p); p.Why == "" {
		p.Copy = true
		return p, nil
	}
	p.Width, p.Height = p.Width&^1, p.Height&^1
	return p, nil
}

func tooMany(cfg report.PrepareConfig) error {
	return outcome.Failf(report.ReasonInputInvalid, "the video has more than %d frames, the operator's limit: cut it with spec.video.frames", cfg.MaxFrames)
}

// copyable containers keep H.264 as MP4 does, so that its coded frames can go
// from the one to the other byte by byte.
var copyable = []string{"mov", "matroska", "flv"}

// reencode says why a source's coded frames cannot be used as they are, "" when
// they can.
func reencode(v stream, s scan, p plan) string {
	switch {
	case !slices.Contains(copyable, v.Container):
		return "container " + v.Container
	case v.Codec != "h264":
		return "codec " + v.Codec
	case v.PixFmt != "yuv420p" && v.PixFmt != "yuvj420p":
		return "pixel format " + v.PixFmt
	case v.Rotation != 0:
		return fmt.Sprintf("rotation by %d degrees", v.Rotation)
	case v.Mirrored:
		return "mirrored"
	case v.Interlaced:
		return "interlaced"
	case !s.Constant:
		return "variable frame rate"
	case p.Start != 0 || p.Frames != s.Frames || v.Promised > p.Frames:
		return "cut"
	case p.Width%2 != 0 || p.Height%2 != 0:
		return "odd size"
	}
	return ""
}

// rate is the average frame rate, of the headers if they are sound, else of the
// frames' own times, else 25.
func rate(v stream, s scan) rational {
	if v.Rate.valid() && v.Rate.float() >= minFPS && v.Rate.float() <= maxFPS {
		return v.Rate
	}
	if s.Frames > 1 && s.span > 0 && v.TimeBase.valid() {
		fps := float64(s.Frames-1) / (float64(s.span) * v.TimeBase.float())
		if fps >= minFPS && fps <= maxFPS {
			return rational{int64(math.Round(fps * 1000)), 1000}
		}
	}
	return rational{25, 1}
}

// maxVersion bounds a source's version in the facts, in bytes of JSON: the
// termination message holds two. Object stores give less than 100; a longer one of
// a web server is left out, as a part of it would name another state.
const maxVersion = 300

func version(s string) string {
	if b, err := json.Marshal(s); err != nil || len(b) > maxVersion {
		return ""
	}
	return s
}

// facts is what prepare reports of the finished file.
func (p plan) facts(fetched report.FetchReport, source report.SourceFacts) report.VideoFacts {
	fps := p.Rate.float()
	source.Why = p.Why
	return report.VideoFacts{
		Container: "mp4", Codec: "h264", Width: p.Width, Height: p.Height,
		FPS: math.Round(fps*1e6) / 1e6, Frames: p.Frames, StartFrame: p.Start, Normalised: !p.Copy,
		DurationSec: math.Round(float64(p.Frames)/fps*1000) / 1000, SourceSHA256: fetched.SHA256,
		SourceVersion: version(fetched.Version), Source: &source,
	}
}

// copyArgs makes one clean stream of the coded frames as they are.
func copyArgs(source, target string) []string {
	args := append([]string{"-nostdin", "-v", "error", "-y"}, openGuard...)
	return append(args, "-i", source, "-map", "0:V:0", "-c", "copy", "-map_metadata", "-1", "-map_chapters", "-1",
		"-write_tmcd", "0", "-f", "mp4", target)
}

// encodeArgs maps frame Start+i of the source to frame i of the target, whatever
// the frames' times: each gets the time i/rate, so that the constant rate after
// it neither drops nor doubles one.
func (p plan) encodeArgs(source, target string, threads int, maxPixels int64) []string {
	n := strconv.Itoa(threads)
	fields := ""
	if p.Deinterlace {
		fields = "yadif=mode=send_frame:deint=interlaced,"
	}
	filters := fmt.Sprintf("trim=start_frame=%d:end_frame=%d,%ssettb=%s,setpts=N,crop=%d:%d:0:0,format=yuv420p,setsar=1",
		p.Start, p.Start+p.Frames, fields, p.Rate.inverse(), p.Width, p.Height)
	args := append([]string{"-nostdin", "-v", "error", "-y", "-threads", n}, decodeGuard(maxPixels)...)
	return append(args, "-i", source, "-map", "0:V:0", "-an", "-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1",
		"-vf", filters, "-fps_mode", "cfr", "-r", p.Rate.String(), "-frames:v", strconv.FormatInt(p.Frames, 10),
		// No B-frames: what is stored is in the order in which it is shown, and
		// the file needs no edit list that readers treat differently.
		"-c:v", "libx264", "-preset", "veryfast", "-crf", "17", "-bf", "0", "-threads", n, "-x264-params", p.lookahead(),
		"-write_tmcd", "0", "-f", "mp4", target)
}

// largeFrame is more pixels than 4K has. ffmpeg keeps such frames one by one.
const largeFrame = 12 << 20

// lookahead gives x264's own settings. An 8K frame takes 50 MB; of as many as
// x264 likes to look ahead, dataSize does not hold all.
func (p plan) lookahead() string {
	if p.Width*p.Height > largeFrame {
		return "rc-lookahead=0:sync-lookahead=0:mbtree=0"
	}
	return "rc-lookahead=10"
}

// threadsFor keeps as few large frames in flight as it takes to go on.
func threadsFor(width, height int64, threads int) int {
	if width*height > largeFrame {
		return min(2, threads)
	}
	return threads
}
