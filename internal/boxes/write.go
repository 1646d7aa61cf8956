package boxes

import (
	"bufio"
	"io"
	"strconv"
)

// WriteJSON writes the set in its canonical form: no white space, frames in
// ascending order, those without boxes left out, numbers as short as they can be
// read back.
func (s Set) WriteJSON(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	_, _ = out.WriteString(`{"apiVersion":"` + APIVersion + `","kind":"` + Kind + `","frames":[`)
	var b []byte
	for i, box := range s.Boxes {
		b = b[:0]
		switch {
		case i == 0:
			b = frameHead(b, box)
		case s.Boxes[i-1].Frame != box.Frame:
			b = frameHead(append(b, "]},"...), box)
		default:
			b = append(b, ',')
		}
		// The buffered writer keeps its first error for Flush.
		_, _ = out.Write(appendBox(b, box))
	}
	if len(s.Boxes) > 0 {
		_, _ = out.WriteString("]}")
	}
	_, _ = out.WriteString("]}\n")
	return out.Flush()
}

func frameHead(b []byte, box Box) []byte {
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(box.Frame), 10)
	return append(b, `,"boxes":[`...)
}

func appendBox(b []byte, box Box) []byte {
	b = append(b, `{"bbox":[`...)
	for i, f := range [4]float64{box.X, box.Y, box.W, box.H} {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, f, 'g', -1, 64)
	}
	b = append(b, ']')
	if box.Score != NoScore {
		b = append(b, `,"score":`...)
		b = strconv.AppendFloat(b, box.Score, 'g', -1, 64)
	}
	if box.ID != NoID {
		b = append(b, `,"id":`...)
		b = strconv.AppendInt(b, int64(box.ID), 10)
	}
	return append(b, '}')
}
