package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxValue bounds one string or number, and white space between two, in
	// bytes: the decoder holds a value whole.
	maxValue = 64 << 10
	// maxDepth bounds the nesting of members that are skipped.
	maxDepth = 32
	// maxPart bounds one frame, and one member above frames that this version
	// knows, in bytes: readers hold each of them whole. A thousand people with 256
	// joints, rounded as the format has it, take about 10 MB.
	maxPart = 16 << 20
)

// Invalid says where a document breaks which rule.
type Invalid struct {
	Place string // a path such as frames[12].people[0].bbox
	What  string
}

func (e *Invalid) Error() string {
	if e.Place == "" {
		return e.What
	}
	return e.Place + ": " + e.What
}

// meteredReader hands out a bounded number of bytes for each value, so that no
// single value makes the decoder's buffer grow without end, and bounds the sum.
type meteredReader struct {
	r      io.Reader
	value  int64 // left for the current value
	total  int64 // left for the document
	failed error
}

func (m *meteredReader) Read(p []byte) (int, error) {
	if m.total < 0 {
		m.failed = errTooLarge
		return 0, m.failed
	}
	if m.value <= 0 {
		m.failed = errLongValue
		return 0, m.failed
	}
	// One byte beyond the total tells "exactly at the limit" from "too large".
	n := min(int64(len(p)), m.value, m.total+1)
	k, err := m.r.Read(p[:n])
	m.value -= int64(k)
	m.total -= int64(k)
	if m.total < 0 {
		m.failed = errTooLarge
		return 0, m.failed
	}
	return k, err
}

var (
	errTooLarge  = errors.New("the file is larger than the operator accepts")
	errLongValue = fmt.Errorf("one value is longer than %d bytes", maxValue)
)

// cursor walks through a document's tokens and knows where it is.
type cursor struct {
	dec  *json.Decoder
	in   *meteredReader
	path []step
}

// step is one part of the path: a member's name, or an index if name is empty.
type step struct {
	name  string
	index int64
}

func newCursor(r io.Reader, maxBytes int64) *cursor {
	in := &meteredReader{r: r, total: maxBytes}
	return &cursor{in: in, dec: json.NewDecoder(in)}
}

// place renders the path.
func (c *cursor) place() string {
	var b strings.Builder
	for _, s := range c.path {
		switch {
		case s.name == "":
			b.WriteString("[" + strconv.FormatInt(s.index, 10) + "]")
		case b.Len() > 0:
			b.WriteString("." + s.name)
		default:
			b.WriteString(s.name)
		}
	}
	return b.String()
}

func (c *cursor) fail(format string, args ...any) error {
	return &Invalid{Place: c.place(), What: fmt.Sprintf(format, args...)}
}

func (c *cursor) token() (json.Token, error) {
	c.in.value = maxValue
	t, err := c.dec.Token()
	switch {
	case err == nil:
		return t, nil
	case c.in.failed != nil:
		return nil, c.fail("%v", c.in.failed)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, c.fail("the file ends here: it is incomplete")
	}
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &typ) {
		return nil, c.fail("no JSON at byte %d: %v (NaN and Infinity are not allowed)", c.dec.InputOffset(), err)
	}
	return nil, fmt.Errorf("read pose.json: %w", err)
}

// more says whether the array or object goes on. It reads ahead, too.
func (c *cursor) more() bool {
	c.in.value = maxValue
	return c.dec.More()
}

func (c *cursor) delim(want json.Delim, what string) error {
	t, err := c.token()
	if err != nil {
		return err
	}
	if t != want {
		return c.fail("%s expected", what)
	}
	return nil
}

// object calls member for each member; member must take its value if it knows the
// name, which is then one of required or optional. Every required name must occur,
// and none twice. A name that equals one of them but for case is refused:
// encoding/json takes both for the same member, so a reader that goes by it would
// see another document than the one that was checked.
func (c *cursor) object(required, optional []string, member func(name string) (known bool, err error)) error {
	if err := c.delim('{', "an object"); err != nil {
		return err
	}
	seen := make(map[string]bool, len(required)+2)
	for c.more() {
		t, err := c.token()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok {
			return c.fail("a member's name expected")
		}
		if seen[name] {
			return c.fail("member %q occurs twice", clip(name))
		}
		c.path = append(c.path, step{name: clip(name)})
		known, err := member(name)
		if err == nil && !known {
			err = c.skipUnknown(name, required, optional)
		}
		if err != nil {
			return err
		}
		if known || len(seen) < 64 { // bounds memory; the format has far fewer names
			seen[name] = true
		}
		c.path = c.path[:len(c.path)-1]
	}
	if err := c.delim('}', "the object's end"); err != nil {
		return err
	}
	for _, name := range required {
		if !seen[name] {
			return c.fail("member %q is missing", name)
		}
	}
	return nil
}

// array calls element for each element and gives their number.
func (c *cursor) array(limit int64, element func(i int64) error) (int64, error) {
	if err := c.delim('[', "an array"); err != nil {
		return 0, err
	}
	var i int64
	for c.more() {
		if i >= limit {
			return i, c.fail("more than %d entries", limit)
		}
		c.path = append(c.path, step{index: i})
		if err := element(i); err != nil {
			return i, err
		}
		c.path = c.path[:len(c.path)-1]
		i++
	}
	return i, c.delim(']', "the array's end")
}

// skipUnknown passes over a member whose name is not like any that is known.
func (c *cursor) skipUnknown(name string, known ...[]string) error {
	for _, names := range known {
		for _, n := range names {
			if strings.EqualFold(n, name) {
				return c.fail("it is no member of the format, and differs from %q by case only: readers could take one for the other", n)
			}
		}
	}
	return c.skip()
}

// part calls read and bounds the bytes of what that reads.
func (c *cursor) part(read func() error) error {
	from := c.dec.InputOffset()
	if err := read(); err != nil {
		return err
	}
	if n := c.dec.InputOffset() - from; n > maxPart {
		return c.fail("it has %d bytes, at most %d are read", n, maxPart)
	}
	return nil
}

// skip passes over a value that this version does not know.
func (c *cursor) skip() error {
	depth := 0
	for {
		t, err := c.token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth > maxDepth {
			return c.fail("nested deeper than %d", maxDepth)
		}
		if depth == 0 {
			return nil
		}
	}
}

func (c *cursor) number(low, high float64) (float64, error) {
	t, err := c.token()
	if err != nil {
		return 0, err
	}
	f, ok := t.(float64)
	if !ok {
		return 0, c.fail("a number expected")
	}
	if math.IsNaN(f) || f < low || f > high {
		return 0, c.fail("%v is not between %v and %v", f, low, high)
	}
	return f, nil
}

func (c *cursor) integer(low, high int64) (int64, error) {
	f, err := c.number(float64(low), float64(high))
	if err != nil {
		return 0, err
	}
	if f != math.Trunc(f) {
		return 0, c.fail("%v is no integer", f)
	}
	return int64(f), nil
}

func (c *cursor) text(limit int) (string, error) {
	t, err := c.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", c.fail("a string expected")
	}
	if n := len([]rune(s)); n < 1 || n > limit {
		return "", c.fail("a string of 1 to %d characters expected", limit)
	}
	return s, nil
}

func (c *cursor) oneOf(values ...string) error {
	_, err := c.choice(values...)
	return err
}

// choice reads one of some words and gives it back.
func (c *cursor) choice(values ...string) (string, error) {
	s, err := c.text(128)
	if err != nil {
		return "", err
	}
	if !slices.Contains(values, s) {
		return "", c.fail("%q is not one of %s", clip(s), strings.Join(values, ", "))
	}
	return s, nil
}

func (c *cursor) boolean() (bool, error) {
	t, err := c.token()
	if err != nil {
		return false, err
	}
	b, ok := t.(bool)
	if !ok {
		return false, c.fail("true or false expected")
	}
	return b, nil
}

// clip keeps foreign names short and printable in messages.
func clip(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
