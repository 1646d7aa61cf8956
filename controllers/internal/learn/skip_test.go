package learn_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/learn"
)

func TestSkip(t *testing.T) {
	skipped := func(product, driver, image string, until time.Duration) v1alpha1.LearnedVariant {
		since, end := gen.At(-3600), gen.At(int64(until/time.Second))
		return v1alpha1.LearnedVariant{
			Variant: "gpu", ImageID: image, GPUProduct: product, GPUDriver: driver, Reason: "DetectorLoadCrash",
			Crashes: 3, Attempts: 3, Since: &since, SkipUntil: &end, Skips: 1,
		}
	}
	pinned := gen.Variant("gpu", v1alpha1.GPU, func(v *v1alpha1.Variant) { v.Image = "registry.example/gpu@" + image })
	tagged := gen.Variant("gpu", v1alpha1.GPU, func(v *v1alpha1.Variant) { v.Image = "registry.example:5000/gpu:v1" })
	r550, r535, a100 := learn.GPU{Product: rtx, Driver: "550.54"}, learn.GPU{Product: rtx, Driver: "535"}, learn.GPU{Product: "A100", Driver: "550.54"}
	const on4060 = "gpu: died in detector load 3 of 3 times on NVIDIA-GeForce-RTX-4060 (driver 550.54) since 2026-03-04; tried again after 2026-03-04T13:00Z"
	type entries = []v1alpha1.LearnedVariant
	for name, c := range map[string]struct {
		learned    entries
		variant    v1alpha1.Variant
		candidates []learn.GPU
		tried      []learn.GPU
		want       learn.Advice
	}{
		"nothing learned, nothing skipped": {variant: pinned, candidates: []learn.GPU{r550}},
		"skipped on the only kind that there is": {
			learned: entries{skipped(rtx, "550.54", image, hour)}, variant: pinned, candidates: []learn.GPU{r550, r550},
			want: learn.Advice{Skip: true, Message: on4060},
		},
		"skipped on one of two kinds: it is avoided": {
			learned: entries{skipped(rtx, "550.54", image, hour)}, variant: pinned, candidates: []learn.GPU{a100, r550},
			want: learn.Advice{AvoidProducts: []string{rtx}, Message: on4060},
		},
		"skipped on both kinds": {
			learned: entries{skipped(rtx, "550.54", image, hour), skipped("A100", "550.54", image, 2*hour)}, variant: pinned, candidates: []learn.GPU{a100, r550},
			want: learn.Advice{Skip: true, Message: on4060 + ", and skipped on another kind of GPU"},
		},
		"with one of its drivers only, a product cannot be avoided": {
			learned: entries{skipped(rtx, "550.54", image, hour)}, variant: pinned, candidates: []learn.GPU{r550, r535},
			want: learn.Advice{Message: on4060},
		},
		"another driver is another kind":  {learned: entries{skipped(rtx, "535", image, hour)}, variant: pinned, candidates: []learn.GPU{r550}},
		"another product is another kind": {learned: entries{skipped("A100", "550.54", image, hour)}, variant: pinned, candidates: []learn.GPU{r550}},
		"another variant is not meant":    {learned: entries{skipped(rtx, "550.54", image, hour)}, variant: gen.Variant("gpu-half", v1alpha1.GPU), candidates: []learn.GPU{r550}},
		"a variant on the CPU never is":   {learned: entries{skipped("", "", image, hour)}, variant: gen.Variant("gpu", v1alpha1.CPU, func(v *v1alpha1.Variant) { v.Image = pinned.Image })},
		"an image that was replaced by another digest counts no more": {
			learned: entries{skipped(rtx, "550.54", "sha256:old", hour)}, variant: pinned, candidates: []learn.GPU{r550},
		},
		"an image by tag may be any of them": {
			learned: entries{skipped(rtx, "550.54", "sha256:old", hour)}, variant: tagged, candidates: []learn.GPU{r550},
			want: learn.Advice{Skip: true, Message: on4060},
		},
		"where the cluster's kinds are unknown, what was learned on known ones does not count": {
			learned: entries{skipped(rtx, "550.54", image, hour)}, variant: pinned,
		},
		"what was learned on unknown ones does": {
			learned: entries{skipped("", "", image, hour)}, variant: pinned,
			want: learn.Advice{Skip: true, Message: "gpu: died in detector load 3 of 3 times on GPUs of an unknown kind since 2026-03-04; tried again after 2026-03-04T13:00Z"},
		},
		"GPUs without a name are a kind, which cannot be avoided by name": {
			learned: entries{skipped("", "", image, hour)}, variant: pinned, candidates: []learn.GPU{{}, a100},
			want: learn.Advice{Message: "gpu: died in detector load 3 of 3 times on GPUs of an unknown kind since 2026-03-04; tried again after 2026-03-04T13:00Z"},
		},
		"after the end of a skip a job tries again": {
			learned: entries{skipped(rtx, "550.54", image, 0)}, variant: pinned, candidates: []learn.GPU{r550},
			want: learn.Advice{Probes: []learn.GPU{r550}},
		},
		"while one does, others do not": {
			learned: entries{skipped(rtx, "550.54", image, -minute)}, variant: pinned, candidates: []learn.GPU{r550}, tried: []learn.GPU{r550},
			want: learn.Advice{Skip: true, Message: strings.Replace(on4060, "tried again after 2026-03-04T13:00Z", "another job tries it again now", 1)},
		},
		"a try on one kind does not keep others off another": {
			learned: entries{skipped(rtx, "550.54", image, -minute)}, variant: pinned, candidates: []learn.GPU{r550, a100}, tried: []learn.GPU{a100},
			want: learn.Advice{Probes: []learn.GPU{r550}},
		},
		"a skip of long ago asks for no try": {
			learned: entries{skipped(rtx, "550.54", image, -31*day)}, variant: pinned, candidates: []learn.GPU{r550},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := learn.SkipWhile(&v1alpha1.PoseEngineStatus{Learned: c.learned}, &c.variant, c.candidates, c.tried, gen.Now)
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("advice (-want +got):\n%s", diff)
			}
		})
	}
}

// What Fold writes is what Skip reads.
func TestSkipUnderstandsFold(t *testing.T) {
	s := learn.Fold(v1alpha1.PoseEngineStatus{}, append(three(0), elsewhere), learn.Options{}, at(3*minute))
	v := gen.Variant("gpu", v1alpha1.GPU, func(v *v1alpha1.Variant) { v.Image = "other.example/gpu:v1@" + image })
	a := learn.Skip(&s, &v, []learn.GPU{{Product: rtx, Driver: driver}}, at(10*minute))
	if want := "gpu: died in detector load 3 of 3 times on NVIDIA-GeForce-RTX-4060 (driver 550.54) since 2026-03-04; tried again after 2026-03-04T13:03Z"; !a.Skip || a.Message != want {
		t.Errorf("advice %+v, want a skip saying %q", a, want)
	}
	if a = learn.Skip(&s, &v, []learn.GPU{{Product: rtx, Driver: driver}}, at(2*hour)); a.Skip || len(a.Probes) != 1 {
		t.Errorf("advice %+v, want one try", a)
	}
}

func TestClear(t *testing.T) {
	s := learn.Fold(v1alpha1.PoseEngineStatus{Cleared: "before"}, append(three(0), success(0), elsewhere, success(0, cpu, onNode("node-2"))), learn.Options{}, at(hour))
	long := strings.Repeat("x", 300)
	for name, c := range map[string]struct {
		value           string
		variants, nodes int
		asked           bool
	}{
		"the value that was acted upon":           {value: "before", variants: 3, nodes: 3},
		"another value forgets all":               {value: "2026-03-04", asked: true},
		"a variant is forgotten alone":            {value: "variant=gpu", variants: 1, nodes: 3, asked: true},
		"what comes after a space is for changes": {value: "variant=gpu 2", variants: 1, nodes: 3, asked: true},
		"a variant that nobody knows":             {value: "variant=xyz", variants: 3, nodes: 3, asked: true},
		"a node is forgotten alone":               {value: "node=node-1 again", variants: 3, nodes: 2, asked: true},
		"another word before = forgets all":       {value: "x=y", asked: true},
		"no value forgets nothing":                {value: "", variants: 3, nodes: 3},
		"a very long value forgets all":           {value: long, asked: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, asked := learn.Clear(s, c.value, at(2*hour))
			if asked != c.asked || len(got.Learned) != c.variants || len(got.LearnedNodes) != c.nodes {
				t.Errorf("Clear = %v, %d variants and %d nodes are left; want %v, %d and %d", asked, len(got.Learned), len(got.LearnedNodes), c.asked, c.variants, c.nodes)
			}
			if asked && !got.LearnedThrough.Equal(new(gen.At(7200))) {
				t.Errorf("learned through %s, want now: old attempts would be learned from again", got.LearnedThrough)
			}
			if _, again := learn.Clear(got, c.value, at(3*hour)); again {
				t.Errorf("the same value is acted upon twice")
			}
			if len(got.Cleared) > 256 {
				t.Errorf("cleared holds %d bytes", len(got.Cleared))
			}
		})
	}
	first, _ := learn.Clear(s, long+"1", at(hour))
	if _, asked := learn.Clear(first, long+"2", at(hour)); !asked {
		t.Error("long values that differ in their ends are taken for one")
	}
	if len(s.Learned) != 3 {
		t.Error("the status that was passed in changed")
	}
}
