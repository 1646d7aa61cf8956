package report_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pose-dev/pose-operator/internal/report"
)

func TestDigests(t *testing.T) {
	one := report.ShortDigest(strings.Repeat("ab", 32))
	if !report.IsShortDigest(one) || len(one) != report.ShortDigestLen {
		t.Fatalf("%q is no short digest", one)
	}
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.SampledFrom([]string{"", one, "0123456789-_abcZ"}), 1, 20).Draw(t, "digests")
		text := report.EncodeDigests(want)
		got, err := report.DecodeDigests(text, len(want))
		if err != nil || cmp.Diff(want, got) != "" {
			t.Fatalf("%q becomes %q, %v", want, got, err)
		}
	})
	for name, text := range map[string]string{
		"too many":           "\n\n" + one,
		"too short":          one[1:],
		"no digest":          strings.Repeat("!", 16),
		"more than it holds": strings.Repeat(one+"\n", 3),
	} {
		if got, err := report.DecodeDigests(text, 2); err == nil {
			t.Errorf("%s: %q is read as %q", name, text, got)
		}
	}
}
