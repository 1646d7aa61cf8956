package lookup

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
)

// TestDiffers: what is told is what a person would change to have the result.
func TestDiffers(t *testing.T) {
	pinned := func(image, digit string) string { return image + "@sha256:" + strings.Repeat(digit, 64) }
	type p = report.Provenance
	for name, tc := range map[string]struct {
		change func(*p) // of what the result says
		why    string
	}{
		"the overlay": {func(h *p) { h.Parameters = map[string]string{"overlay": "Full"} }, "output.overlay is Full there, None here"},
		"the frames":  {func(h *p) { h.Parameters = map[string]string{"frames.start": "5", "frames.end": "10"} }, "video.frames.start is 5 there, 0 here; video.frames.end is 10 there, unset, which is the end here"},
		"the people":  {func(h *p) { h.Parameters = map[string]string{"people.max": "2"} }, "people.max is 2 there, unset, which is everybody here"},
		"the rate":    {func(h *p) { h.Parameters = map[string]string{"captureFPS": "240"} }, "video.captureFPS is 240 there, unset here"},
		"the lens":    {func(h *p) { h.Parameters = map[string]string{"focalLengthPx": "900"} }, "video.focalLengthPx is 900 there, unset here"},
		"a parameter of another release": {
			func(h *p) { h.Parameters = map[string]string{"hands": "yes"} }, "parameter hands is yes there, none here",
		},
		"the engine, whose variants are its own": {func(h *p) { h.Engine, h.Variant = "mediapipe", "cpu" }, "the engine is mediapipe there, phalp here"},
		"the variant":                            {func(h *p) { h.Variant = "cpu" }, "the variant is cpu there, gpu here"},
		"the digest of an image":                 {func(h *p) { h.Image = pinned("r/phalp", "b") }, "the engine's image is sha256:bbbbbbbbbbbb there, sha256:aaaaaaaaaaaa here"},
		"another image":                          {func(h *p) { h.Image = pinned("r/fork", "a") }, "the engine's image is " + pinned("r/fork", "a") + " there, " + pinned("r/phalp", "a") + " here"},
		"the adapter":                            {func(h *p) { h.AdapterImage = "" }, "the adapter's image is none there, " + pinned("r/adapter", "c") + " here"},
		"what no manifest spells out": {
			func(h *p) { h.EngineGeneration = 3 }, "variant gpu of PoseEngine phalp had another command, environment, weights, detector or outputs (generation 3 of it there, 4 here)",
		},
		"the same by all that it says": {nil, "variant gpu of PoseEngine phalp had another command, environment, weights, detector or outputs"},
		"hostile words":                {func(h *p) { h.Parameters = map[string]string{"\x1b[2Jx": "\x1b[31mred\x1b[0m\n"} }, "parameter x is red there, none here"},
	} {
		want := p{
			Engine: "phalp", EngineGeneration: 4, Variant: "gpu", Image: pinned("r/phalp", "a"), AdapterImage: pinned("r/adapter", "c"), Parameters: map[string]string{},
		}
		have := want
		if tc.change != nil {
			tc.change(&have)
		}
		if why := differs(have, &want); why != tc.why {
			t.Errorf("%s: %q, want %q", name, why, tc.why)
		}
	}
}

// TestDiffersIsBounded: a manifest may claim any number of parameters.
func TestDiffersIsBounded(t *testing.T) {
	have := report.Provenance{Parameters: map[string]string{}}
	for i := range 1000 {
		have.Parameters[fmt.Sprintf("p%04d", i)] = strings.Repeat("x", 10_000)
	}
	const most = maxDifferences*500 + 100
	why := differs(have, &report.Provenance{})
	if len(why) > most || !strings.HasSuffix(why, "; and 995 more differences") {
		t.Errorf("%d bytes: %.300s", len(why), why)
	}
	if why := differs(have, nil); len(why) > most {
		t.Errorf("%d bytes where the job's own is not known", len(why))
	}
}
