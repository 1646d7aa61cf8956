package plan

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
)

// noEstimate is said of an attempt on the CPU after GPU rungs of the same engine.
const noEstimate = "it may take far longer than on a GPU: the variant has no estimate"

// cost of the attempt on the CPU that the decision starts or waits for, in words
// of a variant's own estimate. It depends on nothing that changes while the
// attempt runs, but for the frames, which prepare counts once: a message that holds
// it causes no write of its own.
func (in Input) cost(d Decision) string {
	if in.Engine == nil {
		return ""
	}
	name := ""
	live := attempt.Live(in.Attempts)
	switch {
	case d.Kind == KindLaunch:
		name = d.Next.Variant
	case d.Kind == KindCreate:
		name = in.Attempts[len(in.Attempts)-1].Variant
	case d.Kind == KindWait && live != nil && !live.Pod.Deleting:
		name = live.Variant
	}
	rungs, i := in.rungOf(name)
	if i < 0 || rungs[i].Variant.Device != v1alpha1.CPU {
		return ""
	}
	e := rungs[i].Variant.Estimate
	if e == nil {
		if slices.ContainsFunc(rungs[:i], func(r Rung) bool { return r.Variant.Device == v1alpha1.GPU && r.Engine == rungs[i].Engine }) {
			return noEstimate
		}
		return ""
	}
	milliFPS, bound := e.TypicalMilliFPS, ""
	if milliFPS == 0 { // what is left is how fast it is at best
		milliFPS, bound = e.MilliFPS, " or longer"
	}
	pace := strconv.FormatFloat(float64(milliFPS)/1000, 'f', -1, 64)
	frames, atMost := in.Frames, ""
	if frames == 0 {
		frames, atMost = rangeFrames(in.Spec.Video.Frames), "at most "
	}
	if frames == 0 {
		return fmt.Sprintf("each 1000 frames at %s frames/s take about %s%s", pace, about(atPace(1000, milliFPS)), bound)
	}
	return fmt.Sprintf("%s%d frames at %s frames/s take about %s%s", atMost, frames, pace, about(seconds(e.LoadSeconds)+atPace(frames, milliFPS)), bound)
}

// rangeFrames is how many frames the job asks for; 0 where it does not say. The
// video may hold fewer.
func rangeFrames(r *v1alpha1.FrameRange) int64 {
	if r == nil {
		return 0
	}
	return max(0, r.End-r.Start)
}

// about is a duration in two units, as a person says it.
func about(d time.Duration) string {
	const day = 24 * time.Hour
	two := func(large int64, of string, small int64, unit string) string {
		if small == 0 {
			return fmt.Sprintf("%d %s", large, of)
		}
		return fmt.Sprintf("%d %s %d %s", large, of, small, unit)
	}
	switch {
	case d < time.Minute:
		return "a minute"
	case d < time.Hour-time.Minute/2:
		return fmt.Sprintf("%d min", int64(d.Round(time.Minute)/time.Minute))
	case d < 2*day:
		d = d.Round(time.Minute)
		return two(int64(d/time.Hour), "h", int64(d%time.Hour/time.Minute), "min")
	}
	d = d.Round(time.Hour)
	return two(int64(d/day), "d", int64(d%day/time.Hour), "h")
}
