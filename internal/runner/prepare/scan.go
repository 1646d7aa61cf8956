package prepare

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// scan is what decoding every frame showed.
type scan struct {
	Frames   int64
	Constant bool // frame times keep to the stream's rate
	// Uneven says that there is a time that does not, as against none at all.
	Uneven bool
	Width  int64
	Height int64
	// Resized is the first frame of another size, -1 without one.
	Resized int64
	times   ticks
	// span in ticks between the first and the last frame.
	span int64
}

// scanner reads ffprobe's lines of the form
// "frame|best_effort_timestamp=512|width=320|height=240". Frames with side data
// have more after it, and blank lines between them; names keep that apart.
type scanner struct {
	s        scan
	interval float64 // ticks between two frames, 0 while unknown
	first    int64
	stop     int64 // frames after which enough is known, 0 for all
}

func newScanner(v stream, stop int64) *scanner {
	sc := &scanner{s: scan{Constant: true, Resized: -1}, stop: stop}
	if v.Rate.valid() && v.TimeBase.valid() {
		sc.interval = 1 / v.Rate.float() / v.TimeBase.float()
	} else {
		sc.s.Constant = false
	}
	return sc
}

// read takes all lines; done is true when it stopped early.
func (sc *scanner) read(r io.Reader) (done bool, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if err := sc.line(lines.Text()); err != nil {
			return false, err
		}
		if sc.stop > 0 && sc.s.Frames >= sc.stop {
			return true, nil
		}
	}
	return false, lines.Err()
}

func (sc *scanner) line(text string) error {
	rest, ok := strings.CutPrefix(text, "frame|")
	if !ok {
		return nil
	}
	var at string
	var w, h int64
	for field := range strings.SplitSeq(rest, "|") {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "best_effort_timestamp":
			at = value
		case "width":
			w, _ = strconv.ParseInt(value, 10, 64)
		case "height":
			h, _ = strconv.ParseInt(value, 10, 64)
		}
	}
	if w <= 0 || h <= 0 {
		return fmt.Errorf("ffprobe's line %q has no size", text)
	}
	if sc.s.Frames == 0 {
		sc.s.Width, sc.s.Height = w, h
	} else if sc.s.Resized < 0 && (w != sc.s.Width || h != sc.s.Height) {
		sc.s.Resized = sc.s.Frames
	}
	sc.time(at)
	sc.s.Frames++
	return nil
}

// time checks that frame i comes i intervals after the first, within a twentieth
// of an interval or one tick: containers with coarse ticks round.
func (sc *scanner) time(field string) {
	t, err := strconv.ParseInt(field, 10, 64)
	if err != nil {
		sc.s.Constant, sc.s.times.lost = false, true // "N/A"
		return
	}
	if sc.s.Frames == 0 {
		sc.first = t
	}
	sc.s.span = t - sc.first
	sc.s.times.add(sc.s.span)
	if sc.interval == 0 {
		return
	}
	drift := math.Abs(float64(t-sc.first) - float64(sc.s.Frames)*sc.interval)
	if drift > math.Max(1, sc.interval/20) {
		sc.s.Constant, sc.s.Uneven = false, true
	}
}
