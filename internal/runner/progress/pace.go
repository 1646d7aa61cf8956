package progress

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

// window is how far back the pace looks: long enough to smooth slow engines
// (40 s a frame on a CPU), short enough to follow a change.
const window = 5 * time.Minute

// maxPoints bounds the pace's memory.
const maxPoints = 64

type point struct {
	at     time.Time
	frames int64
}

// bestOver is the least time over which a best pace is taken: engines that print
// every hundredth frame look fast for a moment.
const bestOver = 15 * time.Second

// Pace measures frames per second over a moving window. It begins with the first
// frame: the time that an engine loads says nothing of its pace.
type Pace struct {
	points []point
	first  point // the first frame that was seen
	best   int64
}

// Speed is a pace in thousandths of frames per second.
type Speed struct {
	// Now is the current pace, 0 while unknown.
	Now int64
	// Best is the fastest that was kept up for bestOver, 0 while unknown.
	Best int64
	// Tracked is how long ago the first frame was done.
	Tracked time.Duration
}

// Add notes how many frames are done.
func (p *Pace) Add(now time.Time, frames int64) Speed {
	if frames <= 0 && len(p.points) == 0 {
		return Speed{}
	}
	n := len(p.points)
	switch {
	case n == 0, frames < p.points[n-1].frames: // the engine begins, or begins anew
		p.first, p.best = point{now, frames}, 0
		p.points = append(p.points[:0], p.first)
	case frames > p.points[n-1].frames:
		p.points = append(p.points, point{now, frames})
	}
	for len(p.points) > maxPoints || len(p.points) > 2 && now.Sub(p.points[0].at) > window {
		p.points = p.points[1:]
	}
	for _, from := range append([]point{p.first}, p.points...) {
		if now.Sub(from.at) >= bestOver {
			p.best = max(p.best, rate(from, point{now, frames}))
		}
	}
	return Speed{Now: rate(p.points[0], point{now, frames}), Best: p.best, Tracked: now.Sub(p.first.at)}
}

// rate between two points, 0 where it is unknown.
func rate(from, to point) int64 {
	elapsed := to.at.Sub(from.at).Seconds()
	if to.frames <= from.frames || elapsed <= 0 {
		return 0
	}
	return int64(math.Min(float64(to.frames-from.frames)/elapsed*1000, 1e9))
}

// Text is a progress as a person reads it in a log.
func Text(p report.Progress) string {
	var b strings.Builder
	fmt.Fprintf(&b, "stage=%s", p.Stage)
	done, total := p.Frames, p.Total
	switch {
	case p.Frames > 0 || p.Total > 0:
		fmt.Fprintf(&b, " frames=%d", p.Frames)
		if p.Total > 0 {
			fmt.Fprintf(&b, "/%d", p.Total)
		}
	case p.Bytes > 0 || p.TotalBytes > 0:
		done, total = p.Bytes, p.TotalBytes
		fmt.Fprintf(&b, " bytes=%s", Bytes(p.Bytes))
		if p.TotalBytes > 0 {
			fmt.Fprintf(&b, "/%s", Bytes(p.TotalBytes))
		}
	}
	if total > 0 {
		fmt.Fprintf(&b, " %d%%", min(100, done*100/total))
	}
	if p.MilliFPS > 0 {
		fmt.Fprintf(&b, " %.1f fps", float64(p.MilliFPS)/1000)
		if left := p.Total - p.Frames; left > 0 {
			d := time.Duration(float64(left) / float64(p.MilliFPS) * 1000 * float64(time.Second))
			fmt.Fprintf(&b, " eta %s", short(d))
		}
	}
	return b.String()
}

// short gives a duration without units that are zero.
func short(d time.Duration) string {
	d = d.Round(time.Second)
	if d >= time.Hour {
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	if d >= time.Minute {
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

// Bytes gives a number of bytes with a binary unit.
func Bytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%dB", n)
	}
	f, i := float64(n)/unit, 0
	for f >= unit && i < 4 {
		f /= unit
		i++
	}
	return fmt.Sprintf("%.1f%ciB", f, "KMGTP"[i])
}
