package failure

import (
	"regexp"
	"strings"
	"unicode"
)

// Clean makes text from outside fit for a status, an event and a terminal: one
// line, no control characters, at most limit bytes.
func Clean(s string, limit int) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0):
			return -1
		case unicode.Is(unicode.Bidi_Control, r):
			return -1 // bidirectional overrides turn a message around
		}
		return r
	}, s)
	s = query.ReplaceAllString(s, "$1?redacted")
	s = userinfo.ReplaceAllString(s, "$1")
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-len("…")], "") + "…"
}

// query finds the query of a URL, for a signed one is a credential; userinfo
// finds the user and password before its host.
var (
	query    = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://[^\s?"']+)\?[^\s"']+`)
	userinfo = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)[^\s/"']+@`)
)
