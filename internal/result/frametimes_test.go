package result

import (
	"strings"
	"testing"
)

func TestReadFrameTimes(t *testing.T) {
	const head = `{"apiVersion":"pose.dev/v1alpha1","kind":"FrameTimes","startFrame":3,"seconds":`
	for name, c := range map[string]struct{ text, want string }{
		"good":                {head + `[0.1,0.2]}`, ""},
		"before the first":    {head + `[-0.1,0]}`, ""},
		"of another kind":     {strings.Replace(head, "FrameTimes", "PoseResult", 1) + `[0,1]}`, "kind"},
		"too few":             {head + `[0.1]}`, "1 times for 2 frames"},
		"the same twice":      {head + `[0.1,0.1]}`, "seconds[1]"},
		"out of this world":   {head + `[0,1e300]}`, "seconds[1]"},
		"text":                {head + `["0","1"]}`, "members"},
		"another member":      {head + `[0,1],"x":1}`, "members"},
		"more after it":       {head + `[0,1]}{}`, "more after"},
		"endless":             {head + `[0,1]}` + strings.Repeat(" ", 1<<20), "more than"},
		"a negative start":    {strings.Replace(head, ":3", ":-3", 1) + `[0,1]}`, "startFrame"},
		"nothing":             {``, "members"},
		"a number of no kind": {head + `[0,NaN]}`, "members"},
	} {
		got, err := ReadFrameTimes(strings.NewReader(c.text), 2)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || err == nil && got.StartFrame != 3 {
			t.Errorf("%s: %+v %v, want %q", name, got, err, c.want)
		}
	}
}
