package exec

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

// word is what an engine says of a clip; docs/clips.md has the lines.
type word int

const (
	wordNone word = iota
	wordBegin
	wordResult
	wordError
)

// said is one such line.
type said struct {
	word word
	// clip is -1 where the engine could not read a number.
	clip          int32
	code, message string
}

var (
	clipLine = regexp.MustCompile(`^pose-engine: clip=(\d{1,10}|unknown) (begin|result|error)(?: (.*))?$`)
	codeText = regexp.MustCompile(`(?:^| )code=([A-Z][A-Z0-9_]{0,39})(?: |$)`)
)

// maxAnswer bounds the message of an answer, in bytes.
const maxAnswer = 240

// codeUnknown stands for a code that cannot be read.
const codeUnknown = "UNKNOWN"

// parseAnswer reads a line of an engine's log. Pure.
func parseAnswer(raw string) said {
	m := clipLine.FindStringSubmatch(clean.Line(raw, maxLine))
	if m == nil {
		return said{}
	}
	s := said{clip: -1}
	if m[1] != "unknown" {
		n, err := strconv.ParseInt(m[1], 10, 32)
		if err != nil {
			return said{}
		}
		s.clip = int32(n)
	}
	switch m[2] {
	case "begin":
		s.word = wordBegin
	case "result":
		s.word = wordResult
	case "error":
		s.word, s.code = wordError, codeUnknown
		if c := codeText.FindStringSubmatch(m[3]); c != nil {
			s.code = c[1]
		}
		if _, text, ok := strings.Cut(m[3], `message="`); ok {
			if i := strings.LastIndexByte(text, '"'); i >= 0 {
				text = text[:i]
			}
			s.message = clean.Redact(clean.Head(text, maxAnswer))
		}
	}
	return s
}
