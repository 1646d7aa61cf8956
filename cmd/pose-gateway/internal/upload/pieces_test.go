package upload

import (
	"slices"
	"testing"
)

// TestFollow: pieces that begin within others, as two replicas may leave them of one
// connection that was half open, keep nothing back.
func TestFollow(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct{ all, want []piece }{
		"none":                    {nil, nil},
		"one after the other":     {[]piece{{0, 8}, {8, 8}, {16, 3}}, []piece{{0, 8}, {8, 8}, {16, 3}}},
		"a gap":                   {[]piece{{0, 8}, {9, 8}}, []piece{{0, 8}}},
		"nothing at the start":    {[]piece{{1, 8}}, nil},
		"an empty one":            {[]piece{{0, 8}, {8, 0}}, []piece{{0, 8}}},
		"a short one and the old": {[]piece{{0, 8 * mib}, {8 * mib, 3 * mib}, {11 * mib, 8 * mib}, {16 * mib, 8 * mib}, {19 * mib, 5 * mib}}, []piece{{0, 8 * mib}, {8 * mib, 3 * mib}, {11 * mib, 8 * mib}, {19 * mib, 5 * mib}}},
	} {
		if got := follow(c.all); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
