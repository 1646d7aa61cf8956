package export

import (
	"bufio"
	"math"
	"strconv"
)

// line builds text without an allocation a number.
type line struct{ b []byte }

func (l *line) text(s string) *line {
	l.b = append(l.b, s...)
	return l
}

func (l *line) int(n int64) *line {
	l.b = strconv.AppendInt(l.b, n, 10)
	return l
}

// fixed writes f with at most digits decimals and no trailing zeros; what is no
// number becomes 0, as no format here has a word for it.
func (l *line) fixed(f float64, digits int) *line {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		f = 0
	}
	start := len(l.b)
	l.b = strconv.AppendFloat(l.b, f, 'f', digits, 64)
	if digits > 0 {
		for l.b[len(l.b)-1] == '0' {
			l.b = l.b[:len(l.b)-1]
		}
		if l.b[len(l.b)-1] == '.' {
			l.b = l.b[:len(l.b)-1]
		}
	}
	if string(l.b[start:]) == "-0" {
		l.b = append(l.b[:start], '0')
	}
	return l
}

// flush writes the text and starts anew.
func (l *line) flush(w *bufio.Writer) error {
	_, err := w.Write(l.b)
	l.b = l.b[:0]
	return err
}

// ascii keeps letters, digits and a few signs of a name, for formats whose readers
// split at blanks or know 8-bit text only. Others become underscores.
func ascii(name string) string {
	out := make([]byte, 0, len(name))
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-', r == '.':
			out = append(out, byte(r)) //nolint:gosec // ASCII
		default:
			out = append(out, '_')
		}
	}
	if len(out) == 0 {
		return "_"
	}
	return string(out)
}

// labels makes names of joints that every reader accepts, each once.
func labels(names []string) []string {
	seen := make(map[string]bool, len(names))
	out := make([]string, len(names))
	for i, n := range names {
		base := ascii(n)
		label := base
		for k := 2; seen[label]; k++ {
			label = base + "_" + strconv.Itoa(k)
		}
		seen[label] = true
		out[i] = label
	}
	return out
}
