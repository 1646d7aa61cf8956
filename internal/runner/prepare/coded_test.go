package prepare

import (
	"slices"
	"strings"
	"testing"
)

// TestSame: a copy counts only when a decoder is given the same.
func TestSame(t *testing.T) {
	t.Parallel()
	lines := []string{
		"packet|pts=0|flags=K_|side_data|side_data_type=MPEGTS Stream ID", "|data_hash=CRC32:01", "packet|pts=80|flags=__|data_hash=CRC32:02", "packet|pts=40|flags=__|data_hash=CRC32:03",
		"stream|width=128|height=64|extradata_hash=CRC32:0a|tag:encoder=x",
	}
	read := func(t *testing.T, lines []string) *coded {
		c := &coded{most: 10}
		if enough, err := c.read(strings.NewReader(strings.Join(lines, "\n"))); enough || err != nil {
			t.Fatal(enough, err)
		}
		return c
	}
	for _, tc := range []struct {
		name, from, to string
		same           bool
	}{
		{"itself", "", "", true},
		{"other times in the same order", "pts=80", "pts=90", true},
		{"another order", "pts=80", "pts=20", false},
		{"another frame", "CRC32:02", "CRC32:04", false},
		{"another frame with side data", "CRC32:01", "CRC32:04", false},
		{"a frame without a digest", "|data_hash=CRC32:01", "", false},
		{"another set-up", "CRC32:0a", "CRC32:0b", false},
		{"another size", "width=128", "width=126", false},
		{"a frame without a time", "pts=80", "pts=N/A", false},
		{"a hidden frame", "flags=K_", "flags=KD", false},
		{"a frame less", lines[3] + "\n", "", false},
	} {
		changed := strings.Replace(strings.Join(lines, "\n"), tc.from, tc.to, 1)
		a, b := read(t, lines), read(t, strings.Split(changed, "\n"))
		if a.same(b) != tc.same || b.same(a) != tc.same {
			t.Errorf("%s: %v", tc.name, a.same(b))
		}
	}
	changing := slices.Clone(lines)
	changing[2] += "|side_data|side_data_type=New Extradata"
	if !read(t, changing).changes || read(t, lines).changes {
		t.Error("a set-up that changes is overlooked")
	}
	few := &coded{most: 1}
	if enough, err := few.read(strings.NewReader(strings.Join(lines, "\n"))); !enough || err != nil || few.frames() != 2 {
		t.Error("it reads on and on", enough, err)
	}
}
