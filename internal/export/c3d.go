package export

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

const (
	c3dBlock = 512
	// c3dMaxFrame is the last frame number of the header's 16-bit fields. Longer
	// files say their real range in group TRIAL, as the C3D guide has it.
	c3dMaxFrame = 65535
	// c3dMaxLabels is how many strings one parameter holds: sizes are bytes. More
	// go on in LABELS2, as the guide has it.
	c3dMaxLabels = 255
)

// writeC3D writes a C3D file a person: floating-point 3D points, Intel byte order,
// millimetres, Y up (www.c3d.org, "The C3D File Format", user guide).
func writeC3D(j *job) error {
	all, err := j.motions()
	if err != nil {
		return err
	}
	for _, m := range all {
		if err := j.file(j.personFile(m.track.ID), func(w io.Writer) error { return j.c3d(w, m) }); err != nil {
			return err
		}
		j.describeGaps(m, "points are marked invalid (residual -1)")
	}
	j.describeTimes(false)
	return j.readme(aboutC3D)
}

func (j *job) c3d(to io.Writer, m *motion) error {
	w := bufio.NewWriterSize(to, 1<<16)
	parameters, err := j.c3dParameters(m)
	if err != nil {
		return err
	}
	if _, err := w.Write(c3dHeader(m, len(parameters)/c3dBlock, float32(j.rate))); err != nil {
		return err
	}
	if _, err := w.Write(parameters); err != nil {
		return err
	}
	size := int64(0)
	row := make([]byte, 0, 16*m.joints)
	err = j.rows(m.frames, func(_ int64, k int) error {
		row = row[:0]
		for i := range m.joints {
			// x, y, z, residual: 0 is a computed point, -1 an invalid one.
			point := [4]float32{3: -1}
			if k >= 0 {
				p := m.points[3*(m.joints*k+i):]
				point = [4]float32{p[0] * millimetres, p[1] * millimetres, p[2] * millimetres, 0}
			}
			for _, x := range point {
				row = binary.LittleEndian.AppendUint32(row, math.Float32bits(x))
			}
		}
		size += int64(len(row))
		_, err := w.Write(row)
		return err
	})
	if err != nil {
		return err
	}
	// Data, too, end with a block. Not in a long file: where the header's last frame
	// is 65535, some readers take all that follows for frames.
	if rest := size % c3dBlock; rest > 0 && m.length() < c3dMaxFrame {
		if _, err := w.Write(make([]byte, c3dBlock-rest)); err != nil {
			return err
		}
	}
	return w.Flush()
}

// c3dRange is the first and last frame number, counted from 1: those of the
// result, so that people of one video stay in step. Where they do not fit into the
// header's 16 bits, numbers begin with 1 and POSE:FIRST_FRAME says where the person
// begins: readers disagree on the high word of TRIAL:ACTUAL_START_FIELD.
func c3dRange(m *motion) (first, last int64) {
	first, last = m.frames[0]+1, m.frames[len(m.frames)-1]+1
	if last > c3dMaxFrame {
		return 1, last - first + 1
	}
	return first, last
}

func c3dHeader(m *motion, parameterBlocks int, rate float32) []byte {
	b := make([]byte, c3dBlock)
	le := binary.LittleEndian
	first, last := c3dRange(m)
	b[0], b[1] = 2, 0x50                  // parameters begin in block 2; the format's mark
	le.PutUint16(b[2:], uint16(m.joints)) //nolint:gosec // at most 256
	// Words for analog samples stay 0.
	le.PutUint16(b[6:], uint16(first))                  //nolint:gosec // c3dRange bounds it
	le.PutUint16(b[8:], uint16(min(last, c3dMaxFrame))) //nolint:gosec // bounded
	le.PutUint32(b[12:], math.Float32bits(-1))          // scale; negative: points are floats
	le.PutUint16(b[16:], c3dDataBlock(parameterBlocks))
	le.PutUint32(b[20:], math.Float32bits(rate))
	le.PutUint16(b[298:], 12345) // four-character event labels
	return b
}

// c3dDataBlock is the number of the first block of data, counted from 1.
func c3dDataBlock(parameterBlocks int) uint16 {
	return uint16(2 + parameterBlocks) //nolint:gosec // c3dParameters bounds it
}

// c3dParameters renders the parameter section: groups, their parameters, and as
// many zeros as fill the last block.
func (j *job) c3dParameters(m *motion) ([]byte, error) {
	// The section tells where data begin, so its size comes first: the same again
	// with any number in that place has the same length.
	b := j.c3dSection(m, 0)
	blocks := (len(b) + c3dBlock - 1) / c3dBlock
	if blocks > 255 {
		return nil, fmt.Errorf("the names of %d joints take %d blocks of C3D parameters, the format has 255: export to trc", m.joints, blocks)
	}
	b = j.c3dSection(m, c3dDataBlock(blocks))
	b[2] = byte(blocks)
	return append(b, make([]byte, blocks*c3dBlock-len(b))...), nil
}

func (j *job) c3dSection(m *motion, dataStart uint16) []byte {
	var s c3dWriter
	s.b.Write([]byte{1, 0x50, 0, 84}) // block of parameters, mark, count (later), Intel
	first, last := c3dRange(m)
	names := labels(j.src.Head.Skeleton.Joints)
	about := make([]string, len(names))
	for i := range about {
		about[i] = "monocular estimate"
	}

	s.group(1, "POINT", "Estimated from one camera, not measured")
	s.uint16(1, "USED", uint16(m.joints)) //nolint:gosec // at most 256
	// More frames than 16 bits count are in LONG_FRAMES and in TRIAL. The guide would
	// have a float in FRAMES, which readers in use refuse.
	frames := last - first + 1
	s.uint16(1, "FRAMES", uint16(min(frames, c3dMaxFrame))) //nolint:gosec // bounded
	if frames > c3dMaxFrame {
		s.float(1, "LONG_FRAMES", float32(frames))
	}
	s.uint16(1, "DATA_START", dataStart)
	s.float(1, "SCALE", -1) // floats need none
	s.float(1, "RATE", float32(j.rate))
	s.text(1, "UNITS", "mm")
	s.text(1, "X_SCREEN", "+X")
	s.text(1, "Y_SCREEN", "+Y")
	s.strings(1, "LABELS", names)
	s.strings(1, "DESCRIPTIONS", about)
	s.group(2, "ANALOG", "None")
	s.uint16(2, "USED", 0)
	s.group(3, "TRIAL", "")
	s.words(3, "ACTUAL_START_FIELD", first)
	s.words(3, "ACTUAL_END_FIELD", last)
	s.float(3, "CAMERA_RATE", float32(j.rate))
	s.group(4, "MANUFACTURER", "")
	s.text(4, "COMPANY", "pose.dev")
	s.text(4, "SOFTWARE", "pose-operator")
	s.group(5, "POSE", "Where the points come from")
	s.text(5, "METHOD", "monocular estimate")
	s.text(5, "ENGINE", ascii(j.src.Head.Engine.Name+" "+j.src.Head.Engine.Version))
	s.text(5, "SKELETON", ascii(j.src.Head.Skeleton.Name))
	s.words(5, "PERSON", m.track.ID)
	s.words(5, "FIRST_FRAME", m.frames[0]+1)
	s.b.Write([]byte{0, 0}) // no further entry
	return s.b.Bytes()
}

// c3dWriter writes entries of the parameter section.
type c3dWriter struct{ b bytes.Buffer }

// entry has name and description around its body; next counts from itself to the
// following entry.
func (s *c3dWriter) entry(id int8, name string, body []byte, about string) {
	s.b.WriteByte(byte(len(name))) //nolint:gosec // names here are short
	s.b.WriteByte(byte(id))        //nolint:gosec // two's complement is meant
	s.b.WriteString(name)
	next := 2 + len(body) + 1 + len(about)
	s.b.Write(binary.LittleEndian.AppendUint16(nil, uint16(next))) //nolint:gosec // bodies stay below 255*64 bytes
	s.b.Write(body)
	s.b.WriteByte(byte(len(about))) //nolint:gosec // descriptions here are short
	s.b.WriteString(about)
}

func (s *c3dWriter) group(id int8, name, about string) { s.entry(-id, name, nil, about) }

func (s *c3dWriter) uint16(group int8, name string, v uint16) {
	s.entry(group, name, binary.LittleEndian.AppendUint16([]byte{2, 0}, v), "")
}

// words writes a number of 32 bits as two of 16, the low one first.
func (s *c3dWriter) words(group int8, name string, v int64) {
	body := binary.LittleEndian.AppendUint32([]byte{2, 1, 2}, uint32(v)) //nolint:gosec // ids and frames are below 2³¹
	s.entry(group, name, body, "Low and high word")
}

func (s *c3dWriter) float(group int8, name string, v float32) {
	s.entry(group, name, binary.LittleEndian.AppendUint32([]byte{4, 0}, math.Float32bits(v)), "")
}

func (s *c3dWriter) text(group int8, name, v string) {
	v = v[:min(len(v), 127)]
	s.entry(group, name, append([]byte{0xff, 1, byte(len(v))}, v...), "") //nolint:gosec // at most 127
}

// strings writes a table of characters, padded with blanks; what does not fit into
// one goes on in NAME2.
func (s *c3dWriter) strings(group int8, name string, v []string) {
	for part := 1; len(v) > 0; part++ {
		own := v[:min(len(v), c3dMaxLabels)]
		v = v[len(own):]
		width := 0
		for _, t := range own {
			width = max(width, min(len(t), 127))
		}
		body := []byte{0xff, 2, byte(width), byte(len(own))} //nolint:gosec // at most 255
		for _, t := range own {
			cell := bytes.Repeat([]byte{' '}, width)
			copy(cell, t)
			body = append(body, cell...)
		}
		label := name
		if part > 1 {
			label = fmt.Sprintf("%s%d", name, part)
		}
		s.entry(group, label, body, "")
	}
}
