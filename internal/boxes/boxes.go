// Package boxes reads files with the boxes of the people in a video, found by
// any detector before (docs/boxes.md), and makes of them the one kind of file
// that engines read. It is pure: bytes in, values and bytes out.
//
// # Rules
//
//   - (B1) A file is UTF-8 JSON or CSV with at most MaxBytes bytes, MaxBoxes boxes
//     and MaxPerFrame boxes in a frame. A member or a column that the format does
//     not know is refused: it could be a misspelt one.
//   - (B2) A frame is a whole number, counted from 0 in the source video. In JSON
//     a frame has one entry at most; in CSV its rows may stand anywhere.
//   - (B3) Every number is finite.
//   - (B4) A box overlaps the picture, and is at most three times as wide and as
//     high as it: rule R9 of docs/pose-json.md. It is no thinner than MinSide.
//   - (B5) A score, where there is one, lies between 0 and 1.
//   - (B6) Either every box has an id or none has. An id occurs once in a frame.
//   - (B7) A frame exists in the source video, as far as its length is known.
//   - (B8) A file with boxes has at least one in the frames that are asked for;
//     most often one that has not counts from the begin of the cut. A file
//     without any box is valid: nobody is in the video.
//
// Errors are of type *Invalid and name the place, the rule that broke and what
// to mend.
package boxes

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// Identity of the JSON file.
const (
	APIVersion = "pose.dev/v1alpha1"
	Kind       = "PoseBoxes"
)

// Bounds of a file (B1) and of its numbers.
const (
	MaxBytes    = 256 << 20
	MaxBoxes    = 5_000_000
	MaxPerFrame = 1000
	MaxFrames   = 10_000_000 // so the last frame's number is one less
	MaxID       = 1<<31 - 1
	MinSide     = 0.001 // pixels
)

// NoScore and NoID stand for what a box does not have.
const (
	NoScore = -1
	NoID    = -1
)

// Box is one person in one frame.
type Box struct {
	// X, Y, W, H are left, top, width and height in pixels of the upright
	// picture, whose top left corner is 0, 0.
	X, Y, W, H float64
	Score      float64 // 0 to 1, or NoScore
	ID         int32   // 0 to MaxID, or NoID
	Frame      int32   // counted from 0
}

// Set is what a file holds: its boxes by ascending frame, those of one frame in
// the file's order.
type Set struct {
	Boxes []Box
	// IDs says that the boxes have ids.
	IDs bool
}

// Invalid says where a file breaks which rule.
type Invalid struct {
	Place string // as "line 17" or "frames[3].boxes[0].bbox"; empty for the whole file
	What  string
}

func (e *Invalid) Error() string {
	if e.Place == "" {
		return e.What
	}
	return e.Place + ": " + e.What
}

func invalid(place, format string, args ...any) error {
	return &Invalid{Place: place, What: fmt.Sprintf(format, args...)}
}

// Limits bound what a reader takes; zero fields mean MaxBytes and MaxBoxes.
type Limits struct {
	Bytes int64
	Boxes int
}

func (l Limits) orMax() Limits {
	if l.Bytes <= 0 {
		l.Bytes = MaxBytes
	}
	if l.Boxes <= 0 {
		l.Boxes = MaxBoxes
	}
	return l
}

// Video is what the boxes must agree with.
type Video struct {
	// Width and Height of the picture in pixels, after rotation.
	Width, Height int64
	// Start is the first frame that is asked for, Frames how many there are.
	Start, Frames int64
	// SourceFrames is the length of the source video, 0 where nobody counted.
	SourceFrames int64
}

// Cut checks every box against the video and gives those of the frames that are
// asked for, renumbered so that frame v.Start becomes frame 0.
func (s Set) Cut(v Video) (Set, error) {
	nth := 0 // in its frame
	for i, b := range s.Boxes {
		if i > 0 && s.Boxes[i-1].Frame == b.Frame {
			nth++
		} else {
			nth = 0
		}
		if err := v.check(b, nth); err != nil {
			return Set{}, err
		}
	}
	at := func(frame int64) int {
		i, _ := slices.BinarySearchFunc(s.Boxes, frame, func(b Box, f int64) int { return cmp.Compare(int64(b.Frame), f) })
		return i
	}
	out := Set{Boxes: s.Boxes[at(v.Start):at(v.Start+v.Frames)], IDs: s.IDs}
	if len(out.Boxes) == 0 && len(s.Boxes) > 0 {
		return Set{}, invalid("", "none of its %d boxes is in the frames %d to %d that are asked for; they are of the frames %d to %d. Frames are those of the source video, counted from 0, whatever spec.video.frames cuts out (B8)",
			len(s.Boxes), v.Start, v.Start+v.Frames-1, s.Boxes[0].Frame, s.Boxes[len(s.Boxes)-1].Frame)
	}
	if v.Start == 0 {
		return out, nil
	}
	out.Boxes = slices.Clone(out.Boxes)
	for i := range out.Boxes {
		out.Boxes[i].Frame -= int32(v.Start) //nolint:gosec // not above the frame itself
	}
	return out, nil
}

// check one box, the nth of its frame. It runs for millions of good ones, so words
// are made for a bad one only.
func (v Video) check(b Box, nth int) error {
	w, h := float64(v.Width), float64(v.Height)
	switch {
	case v.SourceFrames > 0 && int64(b.Frame) >= v.SourceFrames:
		return invalid(fmt.Sprintf("frame %d", b.Frame), "the video has %d frames, numbered 0 to %d: the boxes are of another video, or count from 1 (B7)", v.SourceFrames, v.SourceFrames-1)
	case b.W > 3*w || b.H > 3*h:
		return b.wrong(nth, "is more than three times as large as the picture of %dx%d pixels: are its numbers x, y, width, height, in pixels of this video? (B4)", v.Width, v.Height)
	case b.X >= w || b.Y >= h || b.X+b.W <= 0 || b.Y+b.H <= 0:
		return b.wrong(nth, "lies outside the picture of %dx%d pixels: leave it out, or scale the boxes to this video (B4)", v.Width, v.Height)
	}
	return nil
}

// wrong says what is wrong with the nth box of its frame.
func (b Box) wrong(nth int, format string, args ...any) error {
	box := fmt.Sprintf("box [%s, %s, %s, %s] ", number(b.X), number(b.Y), number(b.W), number(b.H))
	return invalid(fmt.Sprintf("frame %d, boxes[%d]", b.Frame, nth), box+format, args...)
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', 6, 64) }

// Frames is how many frames have at least one box.
func (s Set) Frames() int64 {
	var n int64
	for i, b := range s.Boxes {
		if i == 0 || s.Boxes[i-1].Frame != b.Frame {
			n++
		}
	}
	return n
}

// collector takes a file's boxes one by one.
type collector struct {
	limits Limits
	boxes  []Box
	// first places of a box with and without an id; empty while there is none.
	withID, withoutID string
}

// add a box that was read at place. Its numbers are within their bounds.
func (c *collector) add(b Box, place func() string) error {
	if len(c.boxes) >= c.limits.Boxes {
		return invalid(place(), "more than %d boxes: cut the video and its boxes into parts (B1)", c.limits.Boxes)
	}
	known, other := &c.withID, &c.withoutID
	if b.ID == NoID {
		known, other = other, known
	}
	if *known == "" {
		*known = place()
		if *other != "" {
			return invalid(place(), "ids are given for some boxes only, first with at %s and without at %s: give one to every box, or to none (B6)", c.withID, c.withoutID)
		}
	}
	c.boxes = append(c.boxes, b)
	return nil
}

// set orders the boxes and checks what relates those of a frame.
func (c *collector) set() (Set, error) {
	byFrame := func(a, b Box) int { return cmp.Compare(a.Frame, b.Frame) }
	if !slices.IsSortedFunc(c.boxes, byFrame) {
		slices.SortStableFunc(c.boxes, byFrame)
	}
	ids := map[int32]bool{}
	n := 0
	for i, b := range c.boxes {
		if i == 0 || c.boxes[i-1].Frame != b.Frame {
			n = 0
			clear(ids)
		}
		if n++; n > MaxPerFrame {
			return Set{}, invalid(fmt.Sprintf("frame %d", b.Frame), "more than %d boxes: leave out those with a low score (B1)", MaxPerFrame)
		}
		if b.ID == NoID {
			continue
		}
		if ids[b.ID] {
			return Set{}, invalid(fmt.Sprintf("frame %d", b.Frame), "id %d occurs twice: one person has one box in a frame (B6)", b.ID)
		}
		ids[b.ID] = true
	}
	return Set{Boxes: c.boxes, IDs: c.withID != ""}, nil
}

// The bounds of single numbers, which both formats check alike. Each says what
// is wrong, or nothing.

func checkBox(b Box) string {
	for _, side := range []struct {
		name  string
		value float64
	}{{"width", b.W}, {"height", b.H}} {
		if side.value < MinSide {
			return fmt.Sprintf("the box's %s %s is not greater than 0: its numbers are x, y, width, height, with x and y of its top left corner (B4)", side.name, number(side.value))
		}
	}
	if b.Score != NoScore && (b.Score < 0 || b.Score > 1) {
		return fmt.Sprintf("score %s is not between 0 and 1 (B5)", number(b.Score))
	}
	return ""
}

func whole(name string, f float64, limit int64) (int32, string) {
	n := int64(f)
	switch {
	case f < 0 || f > float64(limit):
		return 0, fmt.Sprintf("%s %s is not between 0 and %d", name, number(f), limit)
	case float64(n) != f:
		return 0, fmt.Sprintf("%s %s is no whole number", name, number(f))
	}
	return int32(n), "" //nolint:gosec // limit is below 1<<31
}

func frameNumber(f float64) (int32, string) { return whole("frame", f, MaxFrames-1) }
func idNumber(f float64) (int32, string)    { return whole("id", f, MaxID) }

var errTooLarge = errors.New("the file is larger than the operator accepts")

// bounded gives an error, rather than an end, beyond its bytes.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooLarge
	}
	// One byte beyond tells "exactly at the limit" from "too large".
	n, err := b.r.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
