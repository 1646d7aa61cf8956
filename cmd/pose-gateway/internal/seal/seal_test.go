package seal

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestSeal(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	old, next := bytes.Repeat([]byte("a"), 32), bytes.Repeat([]byte("b"), 40)
	before, err := New(old)
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := New(next, append(old, '\n'))
	if err != nil {
		t.Fatal(err)
	}
	stranger, _ := New(bytes.Repeat([]byte("c"), 32))
	text, err := before.Seal("link", "hello", now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, "hello") || strings.ContainsAny(text, "+/=") {
		t.Errorf("sealed text %q", text)
	}
	for name, c := range map[string]struct {
		keys    *Keys
		purpose string
		text    string
		now     time.Time
		want    error
	}{
		"in time":           {before, "link", text, now, nil},
		"an older key":      {rotated, "link", text, now, nil},
		"another purpose":   {before, "session", text, now, ErrInvalid},
		"another's keys":    {stranger, "link", text, now, ErrInvalid},
		"too late":          {before, "link", text, now.Add(time.Minute), ErrExpired},
		"a changed byte":    {before, "link", text[:30] + flip(text[30:31]) + text[31:], now, ErrInvalid},
		"cut":               {before, "link", text[:10], now, ErrInvalid},
		"empty":             {before, "link", "", now, ErrInvalid},
		"no base64":         {before, "link", "%%%", now, ErrInvalid},
		"sealed with a new": {before, "link", must(rotated.Seal("link", "x", now.Add(time.Hour))), now, ErrInvalid},
	} {
		var got string
		if err := c.keys.Open(c.purpose, c.text, &got, c.now); !errors.Is(err, c.want) || (c.want == nil && got != "hello") {
			t.Errorf("%s: %q, %v; want %v", name, got, err, c.want)
		}
	}
	if _, err := New([]byte("short")); err == nil {
		t.Error("a short key is taken")
	}
	if _, err := New(); err == nil {
		t.Error("no key is taken")
	}
}

func flip(s string) string {
	if s == "A" {
		return "B"
	}
	return "A"
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}
