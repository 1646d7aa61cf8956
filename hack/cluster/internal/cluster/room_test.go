package cluster

import "testing"

func TestRoomFor(t *testing.T) {
	images := []map[string]int64{{"base": 100, "a": 10}, {"base": 100, "b": 30}, {"c": 5}}
	// base, a, b and c unpacked, and the second image packed, on each of two nodes.
	if got, want := roomFor(images, 2), int64(2*(145+130)); got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
	if got := roomFor(nil, 2); got != 0 {
		t.Errorf("%d bytes for no image", got)
	}
}
