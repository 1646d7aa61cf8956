package report

import (
	"bytes"
	"strings"
)

// maxCause bounds how much of a line is looked at, in bytes.
const maxCause = 300

// A word that a cause's line holds. Lower case; atStart asks that no letter
// stands before it, or "default" would hold a fault.
type causeWord struct {
	word    []byte
	atStart bool
}

var causeWords = []causeWord{
	{word: []byte("error")}, {word: []byte("exception")}, {word: []byte("fatal")}, {word: []byte("fail")},
	{word: []byte("killed")}, {word: []byte("cannot")}, {word: []byte("can't")}, {word: []byte("unable to")},
	{word: []byte("abort")}, {word: []byte("terminat"), atStart: true}, {word: []byte("fault"), atStart: true}, {word: []byte("segfault")},
	{word: []byte("out of memory")}, {word: []byte("no space left")}, {word: []byte("what():")},
	{word: []byte("corrupt")}, {word: []byte("invalid pointer")}, {word: []byte("smashing detected")},
	{word: []byte("xid"), atStart: true}, {word: []byte("fallen off the bus")},
}

// levels mark a line that is a warning or less, if they come before the cause's
// word: "[INFO] no errors" is one, "RuntimeError: see WARNING" is not.
var levels = [][]byte{
	[]byte("WARN"), []byte("INFO"), []byte("DEBUG"), []byte("TRACE"), []byte("Warning"), []byte("warning"), []byte("[info]"), []byte("[debug]"),
}

// CauseLine says whether a line of a log looks like the cause of an end. It is
// made for one clean line and is cheap: it is asked for every line of a log.
func CauseLine(line string) bool {
	line = line[:min(len(line), maxCause)]
	var lower [maxCause]byte
	for i := range len(line) {
		c := line[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	at := firstCause(lower[:len(line)])
	if at < 0 || shortLevel(line) || ofTraceback(line) {
		return false
	}
	before := []byte(line[:at])
	for _, l := range levels {
		if bytes.Contains(before, l) {
			return false
		}
	}
	return true
}

// firstCause is where the first cause's word begins, -1 without one.
func firstCause(lower []byte) int {
	first := -1
	for _, w := range causeWords {
		i := bytes.Index(lower, w.word)
		for w.atStart && i > 0 && isLetter(lower[i-1]) {
			next := bytes.Index(lower[i+1:], w.word)
			if next < 0 {
				i = -1
				break
			}
			i += 1 + next
		}
		if i >= 0 && (first < 0 || i < first) {
			first = i
		}
	}
	return first
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// ofTraceback knows the lines of a traceback that name an exception and are not
// its last one.
func ofTraceback(line string) bool {
	text := strings.TrimLeft(line, " │|")
	for _, p := range []string{"raise ", `File "`, "During handling of the above exception", "The above exception was"} {
		if strings.HasPrefix(text, p) {
			return true
		}
	}
	return false
}

// shortLevel knows the one-letter levels of glog ("W0102 15:04:05") and of
// TensorFlow ("2026-01-02 15:04:05.1: W tensorflow/...").
func shortLevel(line string) bool {
	if len(line) > 5 && (line[0] == 'W' || line[0] == 'I') && line[5] == ' ' && strings.Trim(line[1:5], "0123456789") == "" {
		return true
	}
	_, rest, ok := strings.Cut(line[:min(len(line), 40)], ": ")
	return ok && line[0] >= '0' && line[0] <= '9' && (strings.HasPrefix(rest, "W ") || strings.HasPrefix(rest, "I "))
}

// ExceptionLine says whether a line has the form in which Python ends a
// traceback: the exception's dotted name, alone or with a colon and a text.
func ExceptionLine(line string) bool {
	name, _, _ := strings.Cut(line, ":")
	if name == "" || len(name) > 128 || !isLetter(name[0]) && name[0] != '_' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !isLetter(c) && c != '_' && c != '.' && (c < '0' || c > '9') {
			return false
		}
	}
	// "WARNING: ..." and "pose: ..." have the form too; socket.gaierror has it in
	// lower case.
	class := name[strings.LastIndexByte(name, '.')+1:]
	if class == "" || strings.ToUpper(class) == class || strings.HasSuffix(class, "Warning") {
		return false
	}
	return 'A' <= class[0] && class[0] <= 'Z' ||
		class != name && (strings.HasSuffix(class, "error") || strings.HasSuffix(class, "exception"))
}
