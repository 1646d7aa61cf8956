package upload

import (
	"strings"
	"testing"
)

func TestSniff(t *testing.T) {
	ts := []byte(strings.Repeat("G"+strings.Repeat("\x00", 187), 3))
	m2ts := []byte(strings.Repeat("\x00\x00\x00\x00G"+strings.Repeat("\x00", 187), 3))
	for want, cases := range map[string][]string{
		".mp4":  {"\x00\x00\x00\x20ftypisom", "\x00\x00\x00\x18ftypM4V "},
		".mov":  {"\x00\x00\x00\x14ftypqt  ", "\x00\x00\x00\x08wide\x00\x00\x00\x00mdat", "\x00\x00\x10\x00moov"},
		".mkv":  {"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska"},
		".webm": {"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm"},
		".avi":  {"RIFF\x00\x00\x00\x00AVI LIST"},
		".mpg":  {"\x00\x00\x01\xba\x44"},
		".ts":   {string(ts)},
		".m2ts": {string(m2ts)},
		".flv":  {"FLV\x01\x05"},
		".wmv":  {"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9"},
		".ogv":  {"OggS\x00"},
		"":      {"", "G", "RIFF\x00\x00\x00\x00WAVEfmt ", "<html>", "#!/bin/sh", "PK\x03\x04", "\x89PNG\r\n", "#EXTM3U\nfile:///etc/passwd", "ftyp", strings.Repeat("\x00", 600)},
	} {
		for _, c := range cases {
			if got := Sniff([]byte(c)); got != want {
				t.Errorf("Sniff(%.20q) = %q, want %q", c, got, want)
			}
		}
	}
}

func TestEveryContainerHasAType(t *testing.T) {
	for _, ext := range []string{".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".ts", ".m2ts", ".flv", ".wmv", ".ogv"} {
		if mediaTypes[ext] == "" {
			t.Errorf("%s has no media type", ext)
		}
	}
}
