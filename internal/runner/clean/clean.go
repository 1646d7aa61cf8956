// Package clean makes outside text fit to show: logs of engines and ffmpeg, and
// URLs, go into status, events and terminals.
package clean

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape matches terminal sequences: CSI, OSC and two-byte escapes.
var escape = regexp.MustCompile(`\x1b(?:\[[0-9;:?<=>]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_a-z])`)

// links matches URLs, which may carry credentials in userinfo or query.
var links = regexp.MustCompile(`(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s"'<>\\]+`)

// Line gives one line without terminal sequences, control characters and
// invalid UTF-8, at most limit bytes long.
func Line(s string, limit int) string {
	if printable(s) {
		return Head(strings.TrimRight(s, " "), limit)
	}
	if strings.IndexByte(s, 0x1b) >= 0 {
		s = escape.ReplaceAllString(s, "")
	}
	s = strings.ToValidUTF8(s, "�")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return -1
		}
		return r
	}, s)
	return Head(strings.TrimRight(s, " "), limit)
}

// printable says that s is what most lines are, ASCII without control
// characters: an engine may print millions of them.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Head cuts s to at most limit bytes without breaking a character.
func Head(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// Tail keeps at most limit bytes from the end, starting at a line if it can.
func Tail(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	s = s[len(s)-limit:]
	if i := strings.IndexByte(s, '\n'); i >= 0 && i < len(s)-1 {
		return s[i+1:]
	}
	for len(s) > 0 && !utf8.RuneStart(s[0]) {
		s = s[1:]
	}
	return s
}

// Redact removes userinfo, query and fragment from every URL in s.
func Redact(s string) string {
	return links.ReplaceAllStringFunc(s, URL)
}

// URL gives raw without userinfo, query and fragment.
func URL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		// What cannot be parsed cannot be cut safely either.
		scheme, _, _ := strings.Cut(raw, "://")
		return Line(scheme, 20) + "://(unreadable)"
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	return u.String()
}
