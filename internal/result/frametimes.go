package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// KindFrameTimes is the kind of FrameTimesFile.
const KindFrameTimes = "FrameTimes"

// FrameTimesFile lies beside pose.json where the rate of the source varies.
const FrameTimesFile = "frame-times.json"

// FrameTimesName is what a manifest calls FrameTimesFile.
const FrameTimesName = "frameTimes"

// FrameTimes are the times of a video's frames as a player of the source shows them.
// Engines read a copy of constant rate, so that the times in pose.json are that copy's.
type FrameTimes struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// StartFrame is the number in the source of the first one.
	StartFrame int64 `json:"startFrame"`
	// Seconds of each frame since frame 0 of the source, to the microsecond, ascending.
	Seconds []float64 `json:"seconds"`
}

// maxFrameTime bounds a time, in seconds: a year.
const maxFrameTime = 366 * 24 * 3600

// Bounds of a file of frames' times, in bytes: of each number, and of the rest.
const (
	frameTimeBytes = 32
	frameTimesHead = 4096
)

// ReadFrameTimes reads the times of so many frames; what is no such document, or is
// longer, is an error.
func ReadFrameTimes(r io.Reader, frames int64) (*FrameTimes, error) {
	if frames < 0 || frames > maxFrames {
		return nil, fmt.Errorf("%d frames are out of range", frames)
	}
	limit := frames*frameTimeBytes + frameTimesHead
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the times of frames: %w", err)
	case int64(len(raw)) > limit:
		return nil, &Invalid{What: fmt.Sprintf("it has more than %d bytes, which %d frames do not need", limit, frames)}
	}
	var t FrameTimes
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return nil, &Invalid{What: "it does not have the members of a " + KindFrameTimes + ": " + err.Error()}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, &Invalid{What: "there is more after the document"}
	}
	if err := t.check(frames); err != nil {
		return nil, err
	}
	return &t, nil
}

func (t *FrameTimes) check(frames int64) error {
	switch {
	case t.APIVersion != APIVersion || t.Kind != KindFrameTimes:
		return &Invalid{Place: "kind", What: fmt.Sprintf("%s of %s expected", KindFrameTimes, APIVersion)}
	case t.StartFrame < 0 || t.StartFrame > maxFrames:
		return invalidAt("startFrame", "%d is out of range", t.StartFrame)
	case int64(len(t.Seconds)) != frames:
		return invalidAt("seconds", "%d times for %d frames", len(t.Seconds), frames)
	}
	last := math.Inf(-1)
	for i, s := range t.Seconds {
		if !(s > last) || math.Abs(s) > maxFrameTime {
			return invalidAt(fmt.Sprintf("seconds[%d]", i), "times ascend strictly and are at most a year")
		}
		last = s
	}
	return nil
}
