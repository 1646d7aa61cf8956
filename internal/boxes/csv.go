package boxes

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxLine bounds one line, in bytes: seven numbers need far less.
const maxLine = 4096

// Columns of the CSV file; the last two may be missing.
var columns = []string{"frame", "x", "y", "w", "h", "score", "id"}

const required = 5 // of columns

// ReadCSV reads a file with one box a line below a header that names the
// columns. Lines end with LF or CRLF; a byte order mark is passed over.
func ReadCSV(r io.Reader, limits Limits) (Set, error) {
	limits = limits.orMax()
	t := &table{in: bufio.NewReaderSize(&bounded{r: r, left: limits.Bytes}, maxLine), collector: collector{limits: limits}}
	for {
		line, err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = t.line(line)
		}
		if err != nil {
			return Set{}, err
		}
	}
	if t.header == nil {
		return Set{}, invalid("", "the file is empty: its first line must be the header %s", strings.Join(columns[:required], ","))
	}
	return t.set()
}

// table is a CSV file that is being read.
type table struct {
	collector
	in     *bufio.Reader
	number int
	header []string
}

func (t *table) place() string { return "line " + strconv.Itoa(t.number) }

// next gives the next line without its end.
func (t *table) next() (string, error) {
	t.number++
	b, err := t.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", invalid(t.place(), "it is longer than %d bytes: one line holds one box, and ends with LF or CRLF", maxLine)
	case errors.Is(err, errTooLarge):
		return "", invalid("", "%v, %d bytes (B1)", errTooLarge, t.limits.Bytes)
	case errors.Is(err, io.EOF) && len(b) > 0: // the last line has no end
	case errors.Is(err, io.EOF):
		return "", io.EOF
	case err != nil:
		return "", fmt.Errorf("read the boxes: %w", err)
	}
	if t.number == 1 {
		if bytes.HasPrefix(b, []byte{0xff, 0xfe}) || bytes.HasPrefix(b, []byte{0xfe, 0xff}) {
			return "", invalid(t.place(), "the file is UTF-16: save it as UTF-8")
		}
		b = bytes.TrimPrefix(b, byteOrderMark)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

var byteOrderMark = []byte{0xef, 0xbb, 0xbf}

func (t *table) line(line string) error {
	if strings.TrimSpace(line) == "" {
		return nil
	}
	cells := strings.Split(line, ",")
	for i := range cells {
		cells[i] = bare(cells[i])
	}
	if t.header == nil {
		return t.readHeader(cells)
	}
	if len(cells) != len(t.header) {
		return invalid(t.place(), "%d values, the header names %d columns: separate values by commas, and write decimals with a point", len(cells), len(t.header))
	}
	return t.readBox(cells)
}

// bare takes blanks off a cell, and the quotes that some programs write.
func bare(cell string) string {
	cell = strings.TrimSpace(cell)
	if len(cell) >= 2 && cell[0] == '"' && cell[len(cell)-1] == '"' {
		cell = strings.TrimSpace(cell[1 : len(cell)-1])
	}
	return cell
}

func (t *table) readHeader(cells []string) error {
	for i, name := range cells {
		switch {
		case !slices.Contains(columns, name):
			return invalid(t.place(), "column %q is unknown: the header is frame,x,y,w,h and may go on with score and id, separated by commas (B1)", clip(name))
		case slices.Contains(cells[:i], name):
			return invalid(t.place(), "column %q occurs twice", name)
		}
	}
	for _, name := range columns[:required] {
		if !slices.Contains(cells, name) {
			return invalid(t.place(), "column %q is missing: the header is frame,x,y,w,h and may go on with score and id", name)
		}
	}
	t.header = cells
	return nil
}

func (t *table) readBox(cells []string) error {
	b := Box{Score: NoScore, ID: NoID}
	for i, cell := range cells {
		name := t.header[i]
		if cell == "" && (name == "score" || name == "id") {
			continue
		}
		f, ok := decimal(cell)
		if !ok {
			return invalid(t.place(), "%s is %q, a finite number in decimals is expected, as 12.5 (B3)", name, clip(cell))
		}
		var wrong string
		switch name {
		case "frame":
			b.Frame, wrong = frameNumber(f)
		case "x":
			b.X = f
		case "y":
			b.Y = f
		case "w":
			b.W = f
		case "h":
			b.H = f
		case "score":
			if b.Score = f; f < 0 { // NoScore is below 0, too
				wrong = fmt.Sprintf("score %s is not between 0 and 1 (B5)", number(f))
			}
		case "id":
			b.ID, wrong = idNumber(f)
		}
		if wrong != "" {
			return invalid(t.place(), "%s", wrong)
		}
	}
	if wrong := checkBox(b); wrong != "" {
		return invalid(fmt.Sprintf("%s (frame %d)", t.place(), b.Frame), "%s", wrong)
	}
	return t.add(b, t.place)
}

// decimal reads a number as people write it: ParseFloat also takes words,
// underscores and hexadecimal.
func decimal(s string) (float64, bool) {
	if strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// clip keeps foreign text short and printable in messages.
func clip(s string) string {
	const most = 40
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
