package export

import (
	"fmt"
	"io"
	"math"

	"github.com/pose-dev/pose-operator/internal/result"
)

// IsTimes says whether a file of a manifest has the times of the frames, as the
// operator writes them: an engine may have a file of one of both names.
func IsTimes(f result.ManifestFileRef) bool {
	return f.Name == result.FrameTimesName && f.Path == result.FrameTimesFile
}

// AttachTimes adds the times of the source's frames, which a result has where the
// source's rate varies (docs/videos.md). They are those of the document's frames, or
// an error.
func (s *Source) AttachTimes(r io.Reader) error {
	v := s.Head.Video
	t, err := result.ReadFrameTimes(r, v.Frames)
	if err != nil {
		return fmt.Errorf("%s is not valid: %w", result.FrameTimesFile, err)
	}
	if t.StartFrame != v.StartFrame {
		return fmt.Errorf("pose.json and %s are not of one result: they begin with frame %d and %d of the source", result.FrameTimesFile, v.StartFrame, t.StartFrame)
	}
	s.Times = t.Seconds
	return nil
}

// worldTime of a frame, in seconds of the world since frame 0 of the result: by the
// times of the source's frames where the result has them, else by the constant rate.
// A video that plays slower than the world went is slower between any two frames:
//
//	(time of the frame - time of frame 0) * fps / capture rate
func (j *job) worldTime(frame int64) float64 {
	if t := j.src.Times; t != nil {
		return (t[frame] - t[0]) * j.src.Head.Video.FPS / j.rate
	}
	return float64(frame) / j.rate
}

// describeTimes notes in the README what the source's varying rate means for a format
// that has the times, or for one that knows a constant rate only.
func (j *job) describeTimes(written bool) {
	if j.src.Times == nil {
		return
	}
	if written {
		j.note("The source's frame rate varies: times are those at which a player of the source shows each frame.")
		return
	}
	worst, at := 0.0, int64(0)
	for i := range int64(len(j.src.Times)) {
		if d := math.Abs(j.worldTime(i) - float64(i)/j.rate); d > worst {
			worst, at = d, i
		}
	}
	j.note("The source's frame rate varies, and this format knows a constant one only: frames stand up to %s s (frame %d) from when a player of the source shows them. csv and trc have the times.",
		short(worst), at)
}
