package prepare

import (
	"slices"
	"testing"
)

// TestFrameTimes: a time that is not known, or does not ascend, makes all of them
// doubtful.
func TestFrameTimes(t *testing.T) {
	base := stream{TimeBase: rational{1, 1000}}
	all := ticks{at: []int64{0, 40, 80, 500, 540}}
	for name, c := range map[string]struct {
		v    stream
		s    scan
		p    plan
		want []float64
	}{
		"all frames":                    {base, scan{Uneven: true, times: all}, plan{Frames: 5}, []float64{0, 0.04, 0.08, 0.5, 0.54}},
		"a part of them":                {base, scan{Uneven: true, times: all}, plan{Start: 2, Frames: 2}, []float64{0.08, 0.5}},
		"a constant rate":               {base, scan{times: all}, plan{Frames: 5}, nil},
		"one that is not known":         {base, scan{Uneven: true, times: ticks{at: all.at, lost: true}}, plan{Frames: 5}, nil},
		"fewer than frames":             {base, scan{Uneven: true, times: all}, plan{Frames: 6}, nil},
		"two at once":                   {base, scan{Uneven: true, times: ticks{at: []int64{0, 40, 40}}}, plan{Frames: 3}, nil},
		"backwards":                     {base, scan{Uneven: true, times: ticks{at: []int64{0, 40, 20}}}, plan{Frames: 3}, nil},
		"backwards beyond the part":     {base, scan{Uneven: true, times: ticks{at: []int64{0, 40, 20}}}, plan{Frames: 2}, []float64{0, 0.04}},
		"a time base that says nothing": {stream{}, scan{Uneven: true, times: all}, plan{Frames: 5}, nil},
	} {
		got := frameTimes(c.v, c.s, c.p)
		if (got == nil) != (c.want == nil) || got != nil && (!slices.Equal(got.Seconds, c.want) || got.StartFrame != c.p.Start) {
			t.Errorf("%s: %+v, want %v", name, got, c.want)
		}
	}
}

func TestTicksAreBounded(t *testing.T) {
	var k ticks
	for i := range int64(maxTimes) + 5 {
		k.add(i)
	}
	if !k.lost || len(k.at) > maxTimes {
		t.Errorf("%d times are kept, lost: %t", len(k.at), k.lost)
	}
}
