package exec

import (
	"slices"
	"strings"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

const (
	// maxTail bounds the log tail of a report, in bytes.
	maxTail = 1200
	// maxTailLine bounds one line of it, and of the errors.
	maxTailLine = 300
	// maxTraceback bounds how far after a traceback's head its last line is
	// looked for, in lines.
	maxTraceback = 512
	// keepException is for how many bytes of output after it a traceback's last
	// line is kept, whatever follows.
	keepException = 1 << 20
)

const tracebackMark = "Traceback (most recent call last)"

// tail keeps the end of a log, and what looks like a cause from before it.
type tail struct {
	lines  []string
	size   int
	bytes  int64 // of output, ever
	count  int64 // lines ever added; the newest has this number
	errors []numbered

	traceback int // lines left in which a traceback may end, 0 outside of one
	exception numbered
	thrownAt  int64 // bytes before the exception
}

type numbered struct {
	text string
	no   int64
}

// Add takes one clean line that was size bytes long.
func (t *tail) Add(line string, size int) {
	t.bytes += int64(size)
	t.count++
	line = clean.Head(line, maxTailLine)
	t.follow(line)
	t.lines = append(t.lines, line)
	t.size += len(line) + 1
	for t.size > maxTail && len(t.lines) > 1 {
		t.size -= len(t.lines[0]) + 1
		t.drop(numbered{t.lines[0], t.count - int64(len(t.lines)) + 1})
		t.lines = t.lines[1:]
	}
}

// follow finds the line in which a traceback ends: the first that is not
// indented or framed and has an exception's form.
func (t *tail) follow(line string) {
	if strings.Contains(line, tracebackMark) {
		t.traceback = maxTraceback
		return
	}
	if t.traceback == 0 {
		return
	}
	t.traceback--
	if report.ExceptionLine(line) {
		t.exception, t.thrownAt, t.traceback = numbered{line, t.count}, t.bytes, 0
	}
}

// drop takes what fell out of the tail. A line that is repeated is kept once: a
// flood of one error must not push out all others.
func (t *tail) drop(n numbered) {
	if !report.CauseLine(n.text) || slices.ContainsFunc(t.errors, func(e numbered) bool { return e.text == n.text }) {
		return
	}
	t.errors = append(t.errors, n)
	if len(t.errors) > report.MaxLogErrors {
		t.errors = t.errors[1:]
	}
}

// Text is the tail.
func (t *tail) Text() string { return clean.Redact(strings.Join(t.lines, "\n")) }

// Errors are the last lines that look like a cause and are not in the tail.
func (t *tail) Errors() []string {
	kept := slices.Clone(t.errors)
	e := t.exception
	fallen := e.no > 0 && e.no <= t.count-int64(len(t.lines))
	if fallen && t.bytes-t.thrownAt <= keepException && !slices.ContainsFunc(kept, func(k numbered) bool { return k.text == e.text }) {
		if len(kept) == report.MaxLogErrors {
			kept = kept[1:]
		}
		kept = append(kept, e)
		slices.SortStableFunc(kept, func(a, b numbered) int { return int(a.no - b.no) })
	}
	var out []string
	for _, k := range kept {
		out = append(out, clean.Redact(k.text))
	}
	return out
}
