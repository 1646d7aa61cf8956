package prepare

import (
	"fmt"
	"math"
	"os"

	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/queue"
)

// maxTimes bounds how many times are kept while frames are counted: 16 MiB of them.
const maxTimes = 2 << 20

// ticks are the times of frames as they are counted, in the stream's time base and
// since the first.
type ticks struct {
	at []int64
	// lost says that one is not known, or that there are too many.
	lost bool
}

func (t *ticks) add(at int64) {
	if t.lost = t.lost || len(t.at) >= maxTimes; !t.lost {
		t.at = append(t.at, at)
	}
}

// frameTimes of the prepared frames; nil where the rate is constant, or not all of them
// are known or ascend: a wrong time is worse than none. Pure.
func frameTimes(v stream, s scan, p plan) *result.FrameTimes {
	if !s.Uneven || s.times.lost || !v.TimeBase.valid() || int64(len(s.times.at)) < p.Start+p.Frames {
		return nil
	}
	t := &result.FrameTimes{APIVersion: result.APIVersion, Kind: result.KindFrameTimes, StartFrame: p.Start}
	last := math.Inf(-1)
	for _, at := range s.times.at[p.Start : p.Start+p.Frames] {
		seconds := math.Round(float64(at)*v.TimeBase.float()*1e6) / 1e6
		if seconds <= last {
			return nil
		}
		last = seconds
		t.Seconds = append(t.Seconds, seconds)
	}
	return t
}

// leaveTimes for deliver, where the source's rate varies: engines are given a constant
// one.
func (j *job) leaveTimes(v stream, s scan, p plan) error {
	path := j.l.FrameTimes()
	t := frameTimes(v, s, p)
	if t == nil {
		if s.Uneven {
			fmt.Fprintln(j.log, "pose-runner: the frame rate varies, and the source does not give each frame a time of its own: none are kept")
		}
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	return queue.Write(path, t, 0o644)
}
