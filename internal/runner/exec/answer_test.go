package exec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseAnswer(t *testing.T) {
	allow := cmp.AllowUnexported(said{})
	for line, want := range map[string]said{
		"pose-engine: clip=3 begin":                          {word: wordBegin, clip: 3},
		"pose-engine: clip=3 result frames=795 people=22":    {word: wordResult, clip: 3},
		"pose-engine: clip=2147483647 result":                {word: wordResult, clip: 2147483647},
		"\x1b[32mpose-engine: clip=3 begin\x1b[0m":           {word: wordBegin, clip: 3},
		`pose-engine: clip=3 error code=USAGE message="a"`:   {word: wordError, clip: 3, code: "USAGE", message: "a"},
		`pose-engine: clip=unknown error code=USAGE`:         {word: wordError, clip: -1, code: "USAGE"},
		`pose-engine: clip=3 error message="a \"b\" c"`:      {word: wordError, clip: 3, code: codeUnknown, message: `a \"b\" c`},
		`pose-engine: clip=3 error code=lower message="no`:   {word: wordError, clip: 3, code: codeUnknown, message: "no"},
		`pose-engine: clip=3 error message="s3://k:s@h/b?c"`: {word: wordError, clip: 3, code: codeUnknown, message: "s3://h/b"},
		"pose-engine: clip=3":                                {},
		"pose-engine: clip=3 resulting":                      {},
		"pose-engine: clip=-1 result":                        {},
		"pose-engine: clip=2147483648 result":                {},
		"pose-engine: clip=99999999999 result":               {},
		" pose-engine: clip=3 result":                        {},
		"INFO pose-engine: clip=3 result":                    {},
		"":                                                   {},
	} {
		if d := cmp.Diff(want, parseAnswer(line), allow); d != "" {
			t.Errorf("%q: %s", line, d)
		}
	}
	long := parseAnswer(`pose-engine: clip=3 error code=USAGE message="` + strings.Repeat("é", 10_000))
	if len(long.message) > maxAnswer {
		t.Errorf("a message of %d bytes", len(long.message))
	}
}
