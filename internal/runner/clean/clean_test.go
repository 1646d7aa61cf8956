package clean

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                               "plain",
		"\x1b[1;31mred\x1b[0m":                "red",
		"\x1b]0;title\x07text":                "text",
		"bell\x07 null\x00 back\b":            "bell null back",
		"tab\there":                           "tab here",
		"bad \xff utf8":                       "bad � utf8",
		"right\u202eto left":                  "rightto left",
		"line\u2028separator":                 "lineseparator",
		"c1 control \u009b31m":                "c1 control 31m",
		"nested \x1b[\x1b[31m":                "nested [",
		strings.Repeat("ä", 60) + " too long": strings.Repeat("ä", 50),
	} {
		if got := Line(in, 100); got != want {
			t.Errorf("%q gives %q", in, got)
		}
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"get https://u:p@h.example/a?sig=1#f now":  "get https://h.example/a now",
		`"s3://bucket/key"`:                        `"s3://bucket/key"`,
		"two http://a/?x=1 and http://b:80/?y=2":   "two http://a/ and http://b:80/",
		"https://h/%zz?sig=secret":                 "https://(unreadable)",
		"no address at all: a@b?c":                 "no address at all: a@b?c",
		"Get \"https://h/v?X-Amz-Signature=abc\":": "Get \"https://h/v\":",
	} {
		if got := Redact(in); got != want {
			t.Errorf("%q gives %q", in, got)
		}
	}
}

func TestTail(t *testing.T) {
	if got := Tail("one\ntwo\nthree", 8); got != "three" {
		t.Errorf("%q", got)
	}
	if got := Tail("ääää", 3); got != "ä" {
		t.Errorf("%q", got)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("\x1b[1mx\x1b]8;;http://a\x07", 10)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if limit < 0 || limit > 1<<16 {
			return
		}
		got := Line(s, limit)
		if len(got) > limit || !utf8.ValidString(got) || strings.ContainsAny(got, "\x1b\n\r\x00") {
			t.Errorf("%q", got)
		}
	})
}
