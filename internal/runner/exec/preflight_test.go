package exec

import (
	"strings"
	"testing"
)

func TestEnoughMemory(t *testing.T) {
	const gib = 1 << 30
	for name, tc := range map[string]struct {
		gpus []gpu
		want string // in the message; "" is enough
	}{
		"enough":         {[]gpu{{"A", "1", 80 * gib, 0, 12 * gib}}, ""},
		"one of two":     {[]gpu{{"A", "1", 80 * gib, 0, gib}, {"B", "1", 80 * gib, 0, 13 * gib}}, ""},
		"it is not told": {[]gpu{{"A", "1", -1, -1, -1}}, ""},
		"too little":     {[]gpu{{"A", "1", 16 * gib, 0, 4 * gib}}, "wants 12.0GiB of free GPU memory, and A has 4.0GiB of 16.0GiB free"},
		"of two":         {[]gpu{{"A", "1", 16 * gib, 0, 4 * gib}, {"B", "1", -1, 0, 5 * gib}}, "and B, the freest of 2 GPUs, has 5.0GiB free"},
	} {
		err := enoughMemory(tc.gpus, 12*gib)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
