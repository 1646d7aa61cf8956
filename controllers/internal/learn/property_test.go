package learn_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/learn"
)

// few words, so that histories come to something.
func few(prefix string, n int) *rapid.Generator[string] {
	return rapid.Map(rapid.IntRange(1, n), func(i int) string { return fmt.Sprint(prefix, "-", i) })
}

// observations of an ordinary cluster, at most so long before now.
func drawObservations(t *rapid.T, now time.Time, age time.Duration, n int) []learn.Observation {
	one := rapid.Custom(func(t *rapid.T) learn.Observation {
		o := crash(few("ns", 3).Draw(t, "namespace"), few("video", 5).Draw(t, "video"), 0)
		o.Variant = rapid.SampledFrom([]string{"gpu", "gpu", "gpu", "gpu-half"}).Draw(t, "variant")
		o.GPUProduct = few("gpu", 2).Draw(t, "product")
		o.Node = few("node", 5).Draw(t, "node")
		o.Kind = rapid.SampledFrom([]learn.Kind{learn.Crash, learn.Crash, learn.Crash, learn.Crash, learn.Crash, learn.NodeFailure, learn.NodeFailure, learn.Success, "Other"}).Draw(t, "kind")
		if rapid.IntRange(0, 9).Draw(t, "on the CPU") == 0 {
			cpu(&o)
		}
		o.At = now.Add(-time.Duration(rapid.Int64Range(0, int64(age)).Draw(t, "age"))).Truncate(time.Minute)
		return o
	})
	return rapid.SliceOfN(one, 0, n).Draw(t, "observations")
}

func drawOptions(t *rapid.T) learn.Options {
	o := learn.Options{SingleTenant: rapid.Bool().Draw(t, "single tenant")}
	if n := rapid.IntRange(-1, 7).Draw(t, "nodes"); n >= 0 {
		o.Nodes = map[string]bool{}
		for i := range n {
			o.Nodes[fmt.Sprint("node-", i+1)] = true
		}
	}
	return o
}

// play a history and give its end.
func play(t *rapid.T, o learn.Options, change func([]learn.Observation), look func(s v1alpha1.PoseEngineStatus, now time.Time)) (v1alpha1.PoseEngineStatus, time.Time) {
	now := gen.Now
	var s v1alpha1.PoseEngineStatus
	for range rapid.IntRange(1, 6).Draw(t, "folds") {
		now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*hour)).Draw(t, "later")))
		obs := drawObservations(t, now, 2*hour, 25)
		if change != nil {
			change(obs)
		}
		s = learn.Fold(s, obs, o, now)
		look(s, now)
	}
	return s, now
}

// sound: what must hold of every result.
func sound(t *rapid.T, s v1alpha1.PoseEngineStatus, o learn.Options, now time.Time) {
	if len(s.Learned) > 64 || len(s.LearnedNodes) > 64 {
		t.Fatalf("%d variants and %d nodes are kept", len(s.Learned), len(s.LearnedNodes))
	}
	long := func(what, value string, most int) {
		if utf8.RuneCountInString(value) > most || !utf8.ValidString(value) || strings.ContainsAny(value, "\n\x00\x1b") {
			t.Fatalf("%s %q: the API admits %d characters", what, value, most)
		}
	}
	set := func(what string, values []string) {
		if len(values) > 8 || len(slices.Compact(slices.Sorted(slices.Values(values)))) != len(values) {
			t.Fatalf("%s %q is no set of at most 8", what, values)
		}
	}
	keys, names := map[string]bool{}, map[string]bool{}
	for _, e := range s.Learned {
		long("variant", e.Variant, 63)
		long("image", e.ImageID, 512)
		long("product", e.GPUProduct, 128)
		long("driver", e.GPUDriver, 64)
		long("reason", e.Reason, 63)
		set("videos", e.Videos)
		set("namespaces", e.Namespaces)
		k := strings.Join([]string{e.Variant, e.ImageID, e.GPUProduct, e.GPUDriver}, "\x00")
		if keys[k] {
			t.Fatalf("%q is there twice", k)
		}
		keys[k] = true
		if e.MilliCrashes < 0 || e.MilliSuccesses < 0 || e.Crashes < 0 || e.Attempts < 0 || e.Skips < 0 {
			t.Fatalf("a count is negative: %+v", e)
		}
		if e.SkipUntil != nil && e.SkipUntil.After(now.Add(day)) {
			t.Fatalf("skipped until %s at %s", e.SkipUntil, now)
		}
	}
	for _, n := range s.LearnedNodes {
		long("node", n.Node, 253)
		long("reason", n.Reason, 63)
		set("videos", n.Videos)
		set("namespaces", n.Namespaces)
		if names[n.Node] {
			t.Fatalf("node %q is there twice", n.Node)
		}
		names[n.Node] = true
		if o.Nodes != nil && !o.Nodes[n.Node] {
			t.Fatalf("node %q is kept and gone", n.Node)
		}
	}
	if avoided := len(learn.Avoided(&s, now)); o.Nodes != nil && avoided > len(o.Nodes)/3 {
		t.Fatalf("%d of %d nodes are avoided", avoided, len(o.Nodes))
	}
	if len(learn.Avoid(&s, now)) > 8 {
		t.Fatalf("an attempt can avoid 8 nodes")
	}
}

func nothingHeld(t *rapid.T, s v1alpha1.PoseEngineStatus, now time.Time) {
	if skips, nodes := learn.Skipped(&s, now), learn.Avoid(&s, now); len(skips) > 0 || len(nodes) > 0 {
		t.Fatalf("skipped %+v, avoided %v", skips, nodes)
	}
}

func TestOneNamespaceAloneCausesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		o.SingleTenant = false
		// Others may succeed as much as they like.
		mine := func(obs []learn.Observation) {
			for i := range obs {
				if obs[i].Kind != learn.Success {
					obs[i].Namespace = "mine"
				}
			}
		}
		play(t, o, mine, func(s v1alpha1.PoseEngineStatus, now time.Time) { nothingHeld(t, s, now) })
	})
}

func TestTwoVideosCauseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		two := func(obs []learn.Observation) {
			for i := range obs {
				obs[i].Video = few("one-of-two", 2).Draw(t, "video")
			}
		}
		play(t, drawOptions(t), two, func(s v1alpha1.PoseEngineStatus, now time.Time) { nothingHeld(t, s, now) })
	})
}

func TestEveryHistoryIsSound(t *testing.T) {
	skips, nodes := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		s, now := play(t, o, nil, func(s v1alpha1.PoseEngineStatus, now time.Time) {
			sound(t, s, o, now)
			skips, nodes = skips+len(learn.Skipped(&s, now)), nodes+len(learn.Avoid(&s, now))
		})
		if diff := cmp.Diff(s, learn.Fold(s, nil, o, now)); diff != "" {
			t.Fatalf("folding nothing changed something (-before +after):\n%s", diff)
		}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), `"ns-`) || strings.Contains(string(raw), `"video-`) {
			t.Fatalf("a namespace or a video is named: %s", raw)
		}
	})
	if skips == 0 || nodes == 0 {
		t.Errorf("%d skips and %d avoided nodes in all histories: they prove nothing", skips, nodes)
	}
}

func TestTheOrderOfObservationsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		s, now := play(t, o, nil, func(v1alpha1.PoseEngineStatus, time.Time) {})
		obs := drawObservations(t, now, 10*minute, 30)
		before := slices.Clone(obs)
		want := learn.Fold(s, obs, o, now)
		if diff := cmp.Diff(want, learn.Fold(s, rapid.Permutation(obs).Draw(t, "another order"), o, now)); diff != "" {
			t.Fatalf("another order gave another result (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(before, obs); diff != "" {
			t.Fatalf("the observations changed:\n%s", diff)
		}
	})
}

func TestASuccessThatComesLastLeavesNoSkip(t *testing.T) {
	ended := 0
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		s, now := play(t, o, nil, func(v1alpha1.PoseEngineStatus, time.Time) {})
		for _, e := range s.Learned {
			if e.SkipUntil == nil {
				continue
			}
			ended++
			later := e.SkipUntil.Add(time.Duration(rapid.Int64Range(0, int64(hour)).Draw(t, "after the skip")))
			later = later.Add(max(0, now.Sub(later)))
			obs := drawObservations(t, later, hour, 10)
			obs = append(obs, learn.Observation{Kind: learn.Success, Variant: e.Variant, Device: v1alpha1.GPU, ImageID: e.ImageID, GPUProduct: e.GPUProduct, GPUDriver: e.GPUDriver, At: later})
			for _, a := range learn.Fold(s, obs, o, later).Learned {
				if a.Variant == e.Variant && a.ImageID == e.ImageID && a.GPUProduct == e.GPUProduct && a.GPUDriver == e.GPUDriver && (a.SkipUntil != nil || a.Skips != 0) {
					t.Fatalf("skipped until %s after a success at %s", a.SkipUntil, later)
				}
			}
		}
	})
	if ended == 0 {
		t.Error("no history had a skip")
	}
}

func TestWeightsNeverGrowByTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		s, now := play(t, o, nil, func(v1alpha1.PoseEngineStatus, time.Time) {})
		before := s
		for range 4 {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*day)).Draw(t, "later")))
			// Successes bring the weights of crashes up to now and add none.
			var obs []learn.Observation
			for _, e := range before.Learned {
				obs = append(obs, learn.Observation{Kind: learn.Success, Variant: e.Variant, Device: v1alpha1.GPU, ImageID: e.ImageID, GPUProduct: e.GPUProduct, GPUDriver: e.GPUDriver, Node: few("node", 5).Draw(t, "node"), At: now})
			}
			next := learn.Fold(before, obs, o, now)
			for _, e := range next.Learned {
				for _, b := range before.Learned {
					if b.Variant == e.Variant && b.ImageID == e.ImageID && b.GPUProduct == e.GPUProduct && b.GPUDriver == e.GPUDriver && e.MilliCrashes > b.MilliCrashes {
						t.Fatalf("crashes weigh %d, and weighed %d", e.MilliCrashes, b.MilliCrashes)
					}
				}
			}
			before = next
		}
	})
}

// hostile text of any kind and length.
func hostile() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(), rapid.StringN(0, 2000, -1),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 1200), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", "@", "@sha256:", "a@b@c", "http://u:p@h/x?y", "://", "\x1b[31m", "\u202e", strings.Repeat("ä", 600), "sha256:aa"}),
	)
}

func hostileTime(now time.Time) *rapid.Generator[time.Time] {
	return rapid.Map(rapid.Int64Range(-1<<40, 1<<40), func(s int64) time.Time { return now.Add(time.Duration(s) * time.Millisecond) })
}

func TestFoldIsNotUpsetByAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := gen.Now
		when := func(name string) *metav1.Time {
			if rapid.Bool().Draw(t, name+" is set") {
				return &metav1.Time{Time: hostileTime(now).Draw(t, name)}
			}
			return nil
		}
		text := func(name string) string { return hostile().Draw(t, name) }
		number := func(name string) int64 { return rapid.Int64().Draw(t, name) }
		texts := rapid.SliceOfN(hostile(), 0, 12)
		var s v1alpha1.PoseEngineStatus
		for range rapid.IntRange(0, 5).Draw(t, "entries") {
			s.Learned = append(s.Learned, v1alpha1.LearnedVariant{
				Variant: text("variant"), ImageID: text("image"), GPUProduct: text("product"), GPUDriver: text("driver"), Reason: text("reason"),
				MilliCrashes: number("weight"), MilliSuccesses: number("weight"), Crashes: number("count"), Attempts: number("count"),
				Videos: texts.Draw(t, "videos"), Namespaces: texts.Draw(t, "namespaces"), Since: when("since"), Updated: when("updated"), SkipUntil: when("until"),
				Skips: rapid.Int32().Draw(t, "skips"),
			})
			s.LearnedNodes = append(s.LearnedNodes, v1alpha1.LearnedNode{
				Node: text("node"), Reason: text("reason"), MilliFailures: number("weight"), MilliSuccesses: number("weight"),
				Videos: texts.Draw(t, "videos"), Namespaces: texts.Draw(t, "namespaces"), Updated: when("updated"), AvoidUntil: when("until"),
			})
		}
		var obs []learn.Observation
		for range rapid.IntRange(0, 8).Draw(t, "observations") {
			obs = append(obs, learn.Observation{
				ID: text("id"), Namespace: text("namespace"), Video: text("video"), Variant: text("variant"), Device: v1alpha1.Device(text("device")),
				ImageID: text("image"), GPUProduct: text("product"), GPUDriver: text("driver"), Node: text("node"),
				Kind: rapid.SampledFrom([]learn.Kind{learn.Crash, learn.NodeFailure, learn.Success, ""}).Draw(t, "kind"), Reason: text("reason"), At: hostileTime(now).Draw(t, "at"),
			})
		}
		o := drawOptions(t)
		got := learn.Fold(s, obs, o, now)
		sound(t, got, o, now)
		if got.LearnedThrough != nil && got.LearnedThrough.After(now) {
			t.Fatalf("learned through %s at %s: later attempts would be lost", got.LearnedThrough, now)
		}
		if diff := cmp.Diff(got, learn.Fold(got, nil, o, now)); diff != "" {
			t.Fatalf("folding nothing changed something (-before +after):\n%s", diff)
		}
		v := gen.Variant("gpu", v1alpha1.GPU)
		a := learn.Skip(&got, &v, []learn.GPU{{Product: text("product"), Driver: text("driver")}}, now)
		if utf8.RuneCountInString(a.Message) > 512 {
			t.Fatalf("the message has %d characters", utf8.RuneCountInString(a.Message))
		}
		cleared, _ := learn.Clear(got, text("annotation"), now)
		if utf8.RuneCountInString(cleared.Cleared) > 256 {
			t.Fatalf("cleared has %d characters", utf8.RuneCountInString(cleared.Cleared))
		}
	})
}
