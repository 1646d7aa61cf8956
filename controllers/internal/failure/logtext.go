package failure

import (
	"regexp"
	"strings"
)

// Bounds of what is read of a log. A rule's RE2 takes time in proportion to the
// text, so these bound the time as well.
const (
	maxLogBytes  = 256 << 10 // from the end
	maxLogLine   = 2048      // bytes of one line
	maxPlain     = 200       // lines without an exception that rules look at
	lookBack     = 20        // lines before an exception that may hold its cause
	tailOfSilent = 12        // lines after an exception that still belong to it
)

// kind of a line of a log.
type kind int

const (
	plain     kind = iota
	soft           // a warning or an information: true, and not why it died
	traceback      // "Traceback (most recent call last):"
	frame          // a frame of a traceback, its source line, its markers
	chained        // the sentence between two tracebacks
	blank
)

type line struct {
	text   string
	kind   kind
	number int // in the log as it was given, from 1
}

// logText is a log with what its lines are.
type logText struct {
	lines []line
	// final is the first line of the last exception with all that it was chained
	// to; -1 without one.
	final int
	// message is the first line of the last exception's own message, which names
	// its type.
	message int
}

var (
	// prefixes that multi-process launchers and container runtimes put before
	// each line.
	prefixed = regexp.MustCompile(`^(?:\[rank\d+\]:|\(\w+ pid=\d+(?:, ip=[\d.]+)?\)|\d{4}-\d\d-\d\dT[\d:.]+Z? (?:stdout|stderr) [FP]|[\w.-]+\s+\| ) ?`)
	// An event of Kubernetes begins with its type, and NCCL calls its errors
	// warnings: neither is one of a program that goes on. Nor is the last word of an
	// engine that speaks the operator's protocol, whatever its message holds.
	event   = regexp.MustCompile(`^\s*Warning\s+[A-Z]\w+\s+\S+\s|\bNCCL WARN\b`)
	warning = regexp.MustCompile(`(?i)\bwarn(?:ing)?\b|\b[A-Z]\w*Warning: |^\[?W\d{4} |^\[W |: W (?:tensorflow|external)/|\bWARN:\d|^\s*\[WARN|libEGL warning|\bdeprecated\b|potential root causes|possible causes|^\s*if you (?:encounter|see|get|run into)\b`)
	info    = regexp.MustCompile(`^\s*\[?(?:INFO|DEBUG)\b|\[(?:INFO|DEBUG)\]|^I\d{4} |: I (?:tensorflow|external)/|\s(?:INFO|DEBUG):?\s|\[INFO:\d`)
	// bareWarning ends a line whose text follows on the next ones.
	bareWarning = regexp.MustCompile(`\b[A-Z]\w*Warning:\s*$`)

	tracebackHead = regexp.MustCompile(`Traceback \(most recent call (?:last|first)\)`)
	frameLine     = regexp.MustCompile(`^\s*(?:#\d+:? +0x[0-9a-f]+|\[?0x[0-9a-f]{6,}\]?[ ,]|frame #\d+: |@ +0x[0-9a-f]+ )|^\s*File "[^"]*", line \d+|^\s+\[Previous line repeated|^\s*[\^~]+\s*$|^\s+\.\.\.<\d+ lines>\.\.\.`)
	chainLine     = regexp.MustCompile(`^\s*(?:During handling of the above exception, another exception occurred|The above exception was the direct cause of the following exception):`)
	// exceptionLine is how CPython prints an exception, with its module or without.
	exceptionLine = regexp.MustCompile(`^\s*(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|NotFound|Timeout|Failure)\b(?::|$)|^\s*(?:[a-z_]\w*\.)+[A-Za-z]\w*(?:Error|Exception|error): `)
	// derived exceptions tell nothing of their own: what they stumbled over was
	// printed before, by a library that is not Python.
	derived   = regexp.MustCompile(`^\s*(?:\w+\.)*(?:IndexError|StopIteration|ZeroDivisionError|UnboundLocalError|CalledProcessError|ChildFailedError|ProcessExitedException|SystemExit|AssertionError\s*$|AssertionError:\s*$|AttributeError: 'NoneType'|TypeError: 'NoneType'|TypeError: cannot unpack non-iterable NoneType|ValueError: (?:need at least one array|max\(\) arg|min\(\) arg|not enough values to unpack|attempt to get arg)|RuntimeError: DataLoader worker .* exited unexpectedly)`)
	quoted    = regexp.MustCompile(`returned non-zero exit status`)
	nativeEnd = regexp.MustCompile(`(?i)^\s*(?:terminate called|Fatal Python error|Segmentation fault|Aborted|Bus error|Killed|Illegal instruction|Floating point exception)|^F\d{4} |core dumped`)
)

// readLog cuts a log into lines and says what they are.
func readLog(log string) logText {
	skipped := 0
	if len(log) > maxLogBytes {
		cut := len(log) - maxLogBytes
		if i := strings.IndexByte(log[cut:], '\n'); i >= 0 {
			cut += i + 1
		}
		skipped = strings.Count(log[:cut], "\n")
		log = log[cut:]
	}
	t := logText{final: -1, message: -1}
	inFrames, inWarning := false, 0
	// A carriage return ends a line too: progress bars rewrite theirs.
	n := skipped
	for raw := range strings.Lines(log) {
		n++
		for _, part := range strings.FieldsFunc(raw, func(r rune) bool { return r == '\n' || r == '\r' }) {
			l := line{text: cutLine(part), number: n}
			l.kind, inFrames, inWarning = classify(l.text, inFrames, inWarning)
			t.lines = append(t.lines, l)
		}
	}
	t.find()
	return t
}

func cutLine(s string) string {
	if len(s) > maxLogLine {
		s = s[:maxLogLine]
	}
	s = strings.ToValidUTF8(s, "")
	return strings.TrimRight(prefixed.ReplaceAllString(s, ""), " \t")
}

// classify a line, given whether it follows a frame of a traceback and how many
// lines of a warning are still to come.
func classify(s string, inFrames bool, inWarning int) (kind, bool, int) {
	switch {
	case strings.TrimSpace(s) == "":
		return blank, false, inWarning
	case tracebackHead.MatchString(s):
		return traceback, true, 0
	case chainLine.MatchString(s):
		return chained, false, 0
	case frameLine.MatchString(s):
		return frame, true, 0
	case inFrames && (s[0] == ' ' || s[0] == '\t') && !exceptionLine.MatchString(strings.TrimLeft(s, " \t")):
		return frame, true, 0
	case bareWarning.MatchString(s):
		return soft, false, 3
	case inWarning > 0:
		return soft, false, inWarning - 1
	case event.MatchString(s), strings.HasPrefix(s, "pose-engine: error "):
		return plain, false, 0
	case exceptionLine.MatchString(s):
		return plain, false, 0
	case warning.MatchString(s), info.MatchString(s):
		return soft, false, 0
	}
	return plain, false, 0
}

// find the last exception: the last traceback with those that it is chained to,
// or, where the log shows no traceback, the last line that reads like one.
func (t *logText) find() {
	last, closed := -1, -1
	for i, l := range t.lines {
		switch {
		case l.kind == traceback:
			last, closed = i, -1
		case l.kind == plain && last >= 0 && closed < 0:
			closed = i
		case l.kind == plain && exceptionLine.MatchString(l.text):
			// One that stands alone after a traceback, as a launcher prints it.
			if last < 0 {
				t.final, t.message = i, i
			}
		}
	}
	if last < 0 {
		return
	}
	t.message = closed
	t.final = t.chainStart(last)
}

// chainStart walks up from a traceback to the first of its chain.
func (t *logText) chainStart(at int) int {
	for {
		i := at - 1
		for i >= 0 && t.lines[i].kind == blank {
			i--
		}
		if i < 0 || t.lines[i].kind != chained {
			return at
		}
		for i >= 0 && t.lines[i].kind != traceback {
			i--
		}
		if i < 0 {
			return 0 // the log was cut within the chain
		}
		at = i
	}
}

// silent says whether the log ends without a Python exception. One that was
// caught, with much printed after it, is not its end.
func (t *logText) silent() bool {
	if t.message < 0 {
		return true
	}
	after := 0
	for _, l := range t.lines[t.message+1:] {
		if l.kind != blank {
			after++
		}
	}
	return after > tailOfSilent
}

// candidates are the lines that may say why it died, best first: those of the
// last exception; where that is one of a kind that only stumbled, the lines just
// before it; without an exception, the last lines of all.
func (t *logText) candidates() [][]line {
	if t.final < 0 {
		return [][]line{t.only(max(0, len(t.lines)-maxPlain), len(t.lines))}
	}
	out := [][]line{t.only(t.final, len(t.lines))}
	if t.message < 0 {
		// The log was cut before the exception's own words: its frames are all
		// that is left of it.
		out[0] = t.lines[t.final:]
	}
	stumbled := t.message < 0 || derived.MatchString(t.lines[t.message].text)
	if stumbled || t.silent() {
		out = append(out, t.only(max(0, t.final-lookBack), t.final))
	}
	return out
}

// only the plain lines of a part.
func (t *logText) only(from, to int) []line {
	var out []line
	for _, l := range t.lines[from:to] {
		// A command that failed is quoted with its arguments: words of a person,
		// and not of what went wrong.
		// What stands before "Traceback" on its line is a logger's own sentence.
		said := l.kind == plain || l.kind == traceback && tracebackHead.FindStringIndex(l.text)[0] > len("[rank0]: ")
		if said && !quoted.MatchString(l.text) {
			out = append(out, l)
		}
	}
	return out
}

// block is the last exception with its frames, and what follows it, as one text;
// the last lines where there is none.
func (t *logText) block() (string, []line) {
	from := t.final
	if from < 0 {
		from = max(0, len(t.lines)-maxPlain)
	}
	var b strings.Builder
	var kept []line
	for _, l := range t.lines[from:] {
		if l.kind == soft || l.kind == blank {
			continue
		}
		b.WriteString(l.text)
		b.WriteByte('\n')
		kept = append(kept, l)
	}
	return b.String(), kept
}

// lastWords gives the last n lines that are not blank, the message of an
// exception first where it lies further up.
func (t *logText) lastWords(n int) []string {
	var out []string
	for i := len(t.lines) - 1; i >= 0 && len(out) < n; i-- {
		if t.lines[i].kind != blank {
			out = append([]string{Clean(t.lines[i].text, 200)}, out...)
		}
	}
	return out
}

// culprit where no rule matched: the message of the last exception, the line by
// which a native crash is known, or the last line of all.
func (t *logText) culprit() line {
	if t.message >= 0 && !t.silent() {
		return t.lines[t.message]
	}
	for i := len(t.lines) - 1; i >= 0; i-- {
		if t.lines[i].kind == plain && nativeEnd.MatchString(t.lines[i].text) {
			return t.lines[i]
		}
	}
	for i := len(t.lines) - 1; i >= 0; i-- {
		if t.lines[i].kind != blank {
			return t.lines[i]
		}
	}
	return line{}
}
