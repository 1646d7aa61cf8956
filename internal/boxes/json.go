package boxes

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxValue bounds one string or number, and white space between two, in bytes:
// the decoder holds a value whole.
const maxValue = 64 << 10

// ReadJSON reads a file of kind PoseBoxes. A byte order mark is passed over.
func ReadJSON(r io.Reader, limits Limits) (Set, error) {
	limits = limits.orMax()
	in := bufio.NewReader(&bounded{r: r, left: limits.Bytes})
	if b, err := in.Peek(3); err == nil && bytes.Equal(b, byteOrderMark) {
		_, _ = in.Discard(3)
	}
	m := &meter{r: in}
	d := &document{dec: json.NewDecoder(m), in: m, collector: collector{limits: limits}}
	if err := d.read(); err != nil {
		return Set{}, err
	}
	return d.set()
}

// meter hands out a bounded number of bytes for each value, so that no single
// one makes the decoder's buffer grow without end.
type meter struct {
	r      io.Reader
	left   int64
	failed error
}

var errLongValue = fmt.Errorf("one value is longer than %d bytes", maxValue)

func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		m.failed = errLongValue
		return 0, m.failed
	}
	n, err := m.r.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		m.failed = err
	}
	return n, err
}

// document is a JSON file that is being read. The format is three objects deep
// and takes no unknown member, so nothing nests deeper.
type document struct {
	collector
	dec  *json.Decoder
	in   *meter
	path []step
	seen []uint64 // bits of the frames that had their entry
}

// step is a member's name, or an index where the name is empty.
type step struct {
	name  string
	index int
}

func (d *document) place() string {
	var b strings.Builder
	for _, s := range d.path {
		switch {
		case s.name == "":
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case b.Len() > 0:
			b.WriteString("." + s.name)
		default:
			b.WriteString(s.name)
		}
	}
	return b.String()
}

func (d *document) fail(format string, args ...any) error { return invalid(d.place(), format, args...) }

func (d *document) token() (json.Token, error) {
	d.in.left = maxValue
	t, err := d.dec.Token()
	if err == nil {
		return t, nil
	}
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.Is(d.in.failed, errTooLarge):
		return nil, invalid("", "%v, %d bytes (B1)", errTooLarge, d.limits.Bytes)
	case errors.Is(d.in.failed, errLongValue):
		return nil, d.fail("%v", errLongValue)
	case d.in.failed != nil:
		return nil, fmt.Errorf("read the boxes: %w", d.in.failed)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, d.fail("the file ends here: it is incomplete")
	case errors.As(err, &typ):
		return nil, d.fail("a number is not finite in 64 bits (B3)")
	case errors.As(err, &syntax):
		return nil, d.fail("no JSON at byte %d: %s (NaN and Infinity are no JSON)", d.dec.InputOffset(), clip(syntax.Error()))
	}
	return nil, fmt.Errorf("read the boxes: %w", err)
}

// more says whether the array or object goes on. It reads ahead, too.
func (d *document) more() bool {
	d.in.left = maxValue
	return d.dec.More()
}

func (d *document) delim(want json.Delim, what string) error {
	t, err := d.token()
	if err == nil && t != want {
		err = d.fail("%s is expected", what)
	}
	return err
}

// object calls member for each member. Every name must be one of names, and
// occur once; the first need of them must be there.
func (d *document) object(names []string, need int, member func(name string) error) error {
	if err := d.delim('{', "an object"); err != nil {
		return err
	}
	seen := 0 // bits, in the order of names
	for d.more() {
		t, err := d.token()
		if err != nil {
			return err
		}
		name, _ := t.(string) // a key is nothing else
		bit := 0
		for i, n := range names {
			if n == name {
				bit = 1 << i
			}
		}
		switch {
		case bit == 0:
			return d.fail("member %q is unknown: the known ones are %s (B1)", clip(name), strings.Join(names, ", "))
		case seen&bit != 0:
			return d.fail("member %q occurs twice", name)
		}
		seen |= bit
		d.path = append(d.path, step{name: name})
		if err := member(name); err != nil {
			return err
		}
		d.path = d.path[:len(d.path)-1]
	}
	if err := d.delim('}', "the object's end"); err != nil {
		return err
	}
	for i, n := range names[:need] {
		if seen&(1<<i) == 0 {
			return d.fail("member %q is missing", n)
		}
	}
	return nil
}

// array calls element for each of at most limit elements and gives their number.
func (d *document) array(limit int, element func(i int) error) (int, error) {
	if err := d.delim('[', "an array"); err != nil {
		return 0, err
	}
	n := 0
	for d.more() {
		if n >= limit {
			return n, d.fail("more than %d entries (B1)", limit)
		}
		d.path = append(d.path, step{index: n})
		if err := element(n); err != nil {
			return n, err
		}
		d.path = d.path[:len(d.path)-1]
		n++
	}
	return n, d.delim(']', "the array's end")
}

func (d *document) number() (float64, error) {
	t, err := d.token()
	if err != nil {
		return 0, err
	}
	f, ok := t.(float64)
	if !ok {
		return 0, d.fail("a number is expected")
	}
	return f, nil
}

func (d *document) oneOf(want string) error {
	t, err := d.token()
	if err != nil {
		return err
	}
	if t != want {
		return d.fail("it must be %q", want)
	}
	return nil
}

func (d *document) read() error {
	err := d.object([]string{"apiVersion", "kind", "frames"}, 3, func(name string) error {
		switch name {
		case "apiVersion":
			return d.oneOf(APIVersion)
		case "kind":
			return d.oneOf(Kind)
		}
		_, err := d.array(MaxFrames, func(int) error { return d.readFrame() })
		return err
	})
	if err != nil {
		return err
	}
	// Anything but white space after the document is rubbish.
	d.in.left = maxValue
	if _, err := d.dec.Token(); !errors.Is(err, io.EOF) {
		return d.fail("the file goes on behind the document's end")
	}
	return nil
}

// readFrame takes index and boxes in either order, so the boxes learn their
// frame at the end.
func (d *document) readFrame() error {
	begin := len(d.boxes)
	var index int32
	err := d.object([]string{"index", "boxes"}, 2, func(name string) error {
		if name == "boxes" {
			_, err := d.array(MaxPerFrame, func(int) error { return d.readBox() })
			return err
		}
		f, err := d.number()
		if err != nil {
			return err
		}
		var wrong string
		if index, wrong = frameNumber(f); wrong != "" {
			return d.fail("%s", wrong)
		}
		if !d.first(index) {
			return d.fail("frame %d has an entry already: put all boxes of a frame into one (B2)", index)
		}
		return nil
	})
	for i := begin; i < len(d.boxes); i++ {
		d.boxes[i].Frame = index
	}
	return err
}

// first says whether it is called for this frame for the first time.
func (d *document) first(frame int32) bool {
	word, bit := int(frame/64), uint64(1)<<(frame%64)
	if missing := word + 1 - len(d.seen); missing > 0 {
		d.seen = append(d.seen, make([]uint64, missing)...)
	}
	had := d.seen[word]&bit != 0
	d.seen[word] |= bit
	return !had
}

func (d *document) readBox() error {
	b := Box{Score: NoScore, ID: NoID}
	err := d.object([]string{"bbox", "score", "id"}, 1, func(name string) error {
		if name == "bbox" {
			return d.readSides(&b)
		}
		f, err := d.number()
		if err != nil {
			return err
		}
		var wrong string
		if name == "id" {
			b.ID, wrong = idNumber(f)
		} else if b.Score = f; f < 0 { // NoScore is below 0, too
			wrong = fmt.Sprintf("score %s is not between 0 and 1 (B5)", number(f))
		}
		if wrong != "" {
			return d.fail("%s", wrong)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if wrong := checkBox(b); wrong != "" {
		return d.fail("%s", wrong)
	}
	return d.add(b, d.place)
}

func (d *document) readSides(b *Box) error {
	n, err := d.array(4, func(i int) error {
		f, err := d.number()
		*[]*float64{&b.X, &b.Y, &b.W, &b.H}[i] = f
		return err
	})
	if err == nil && n != 4 {
		return d.fail("%d numbers instead of 4: x, y, width, height", n)
	}
	return err
}
