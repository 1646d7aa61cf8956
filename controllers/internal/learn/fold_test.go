package learn_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/learn"
)

const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
	image  = "sha256:aa"
)

// at is so long after gen.Now.
func at(d time.Duration) time.Time { return gen.Now.Add(d) }

// crash of the variant gpu on the RTX of node-1.
func crash(namespace, video string, when time.Duration, change ...func(*learn.Observation)) learn.Observation {
	o := learn.Observation{
		Namespace: namespace, Video: video, Variant: "gpu", Device: v1alpha1.GPU, ImageID: "registry.example/gpu@" + image,
		GPUProduct: rtx, GPUDriver: driver, Node: "node-1", Kind: learn.Crash, Reason: "DetectorLoadCrash", At: at(when),
	}
	for _, c := range change {
		c(&o)
	}
	return o
}

func success(when time.Duration, change ...func(*learn.Observation)) learn.Observation {
	return crash("team-x", "any", when, append([]func(*learn.Observation){func(o *learn.Observation) { o.Kind, o.Reason = learn.Success, "" }}, change...)...)
}

func on(product string) func(*learn.Observation) {
	return func(o *learn.Observation) { o.GPUProduct = product }
}

func onNode(name string) func(*learn.Observation) {
	return func(o *learn.Observation) { o.Node = name }
}

func cpu(o *learn.Observation) {
	o.Variant, o.Device, o.ImageID, o.GPUProduct, o.GPUDriver = "cpu", v1alpha1.CPU, "sha256:cc", "", ""
}

// three crashes that speak against the variant, one a minute.
func three(from time.Duration) []learn.Observation {
	return []learn.Observation{crash("team-a", "1", from), crash("team-a", "2", from+minute), crash("team-b", "3", from+2*minute)}
}

// elsewhere is a success on another product and node.
var elsewhere = success(0, on("A100"), onNode("node-9"))

// entry of the variant gpu on the RTX.
func entry(t *testing.T, s v1alpha1.PoseEngineStatus) v1alpha1.LearnedVariant {
	t.Helper()
	i := slices.IndexFunc(s.Learned, func(e v1alpha1.LearnedVariant) bool { return e.Variant == "gpu" && e.GPUProduct == rtx })
	if i < 0 {
		t.Fatalf("nothing was learned of gpu on %s: %+v", rtx, s.Learned)
	}
	return s.Learned[i]
}

func skipFor(t *testing.T, s v1alpha1.PoseEngineStatus, now time.Time) time.Duration {
	t.Helper()
	e := entry(t, s)
	if e.SkipUntil == nil || !e.SkipUntil.After(now) {
		return 0
	}
	return e.SkipUntil.Sub(now)
}

// step of a history: what is folded, and how long the skip is after it.
type step struct {
	at   time.Duration
	obs  []learn.Observation
	skip time.Duration
}

func TestFoldSkips(t *testing.T) {
	with := func(obs []learn.Observation, more ...learn.Observation) []learn.Observation {
		return append(slices.Clone(obs), more...)
	}
	each := func(obs []learn.Observation, change func(*learn.Observation)) []learn.Observation {
		out := slices.Clone(obs)
		for i := range out {
			change(&out[i])
		}
		return out
	}
	var many, oneVideo []learn.Observation
	for i := range 200 {
		many = append(many, crash("team-a", fmt.Sprint(i), minute))
		oneVideo = append(oneVideo, crash(fmt.Sprint(i), "1", minute))
	}
	for name, c := range map[string]struct {
		options learn.Options
		steps   []step
	}{
		"three crashes of three videos and two namespaces, and a success elsewhere": {
			steps: []step{{3 * minute, with(three(0), elsewhere), hour}},
		},
		"two crashes are not enough": {
			steps: []step{{3 * minute, with(three(0)[1:], elsewhere), 0}},
		},
		"two hundred crashes of one namespace are not enough": {
			steps: []step{{3 * minute, with(many, elsewhere), 0}},
		},
		"they are, where there is one tenant": {
			options: learn.Options{SingleTenant: true},
			steps:   []step{{3 * minute, with(many, elsewhere), hour}},
		},
		"two hundred crashes of one video are not enough": {
			steps: []step{{3 * minute, with(oneVideo, elsewhere), 0}},
		},
		"with no success anywhere nothing is skipped": {
			steps: []step{{3 * minute, three(0), 0}},
		},
		"a success of another variant on the CPU is one": {
			steps: []step{{3 * minute, with(three(0), success(0, cpu)), hour}},
		},
		"a success elsewhere after the crashes lets the next crash begin a skip": {
			steps: []step{{3 * minute, three(0), 0}, {4 * minute, []learn.Observation{elsewhere}, 0}, {5 * minute, []learn.Observation{crash("team-c", "4", 5*minute)}, hour}},
		},
		"a success elsewhere that is folded with the crashes counts wherever it stands": {
			steps: []step{{9 * minute, with(three(0), success(9*minute, on("A100"))), hour}},
		},
		"failures of the node alone skip no variant": {
			steps: []step{{3 * minute, with(each(three(0), func(o *learn.Observation) { o.Kind, o.Reason = learn.NodeFailure, "EngineError" }), elsewhere, success(-hour)), 0}},
		},
		"two successes among eight crashes are too many": {
			steps: []step{{3 * minute, with(with(three(0), three(0)...), success(0), success(0)), 0}},
		},
		"one success before nine crashes is not": {
			steps: []step{{3 * minute, with(with(three(0), with(three(0), three(0)...)...), success(-minute)), hour}},
		},
		"crashes of three weeks ago are forgotten": {
			steps: []step{{21 * day, with(three(0), success(20*day, on("A100"))), 0}},
		},
		"crashes of yesterday count": {
			steps: []step{{day, with(three(0), elsewhere), hour}},
		},
		"a week later two more are needed to make three": {
			steps: []step{
				{3 * minute, three(0)[:2], 0},
				{7 * day, []learn.Observation{elsewhere, crash("team-b", "3", 7*day)}, 0},
				{7*day + minute, []learn.Observation{crash("team-b", "4", 7*day+minute)}, hour},
			},
		},
		"crashes of another image are another matter": {
			steps: []step{{3 * minute, with(three(0)[:2], crash("team-b", "3", minute, func(o *learn.Observation) { o.ImageID = "sha256:bb" }), elsewhere), 0}},
		},
		"crashes of another driver are another matter": {
			steps: []step{{3 * minute, with(three(0)[:2], crash("team-b", "3", minute, func(o *learn.Observation) { o.GPUDriver = "535" }), elsewhere), 0}},
		},
		"a registry's name is no part of an image": {
			steps: []step{{3 * minute, with(three(0)[:2], crash("team-b", "3", 2*minute, func(o *learn.Observation) { o.ImageID = "docker-pullable://mirror/gpu@" + image }), elsewhere), hour}},
		},
		"several crashes within a skip do not prolong it": {
			steps: []step{
				{0, with(three(-3*minute), elsewhere), hour},
				{10 * minute, with(three(5*minute), three(6*minute)...), 50 * minute},
				{30 * minute, three(20 * minute), 30 * minute},
			},
		},
		"what crashed before the end of a skip is no new try, whenever it is folded": {
			steps: []step{{0, with(three(-3*minute), elsewhere), hour}, {2 * hour, []learn.Observation{crash("team-c", "4", hour-minute)}, 0}},
		},
		"a crash after a skip renews it for twice as long": {
			steps: []step{
				{0, with(three(-3*minute), elsewhere), hour},
				{61 * minute, []learn.Observation{crash("team-a", "4", 61*minute)}, 2 * hour},
				{4 * hour, []learn.Observation{crash("team-a", "5", 4*hour)}, 4 * hour},
			},
		},
		"several tries at once renew it once": {
			steps: []step{
				{0, with(three(-3*minute), elsewhere), hour},
				{61 * minute, three(60 * minute), 2 * hour},
				{62 * minute, three(60 * minute), 119 * minute},
			},
		},
		"a skip lasts a day at most": {
			steps: []step{
				{0, with(three(-3*minute), elsewhere), hour},
				{1 * hour, three(1 * hour)[:1], 2 * hour}, {3 * hour, three(3 * hour)[:1], 4 * hour}, {7 * hour, three(7 * hour)[:1], 8 * hour},
				{15 * hour, three(15 * hour)[:1], 16 * hour}, {31 * hour, three(31 * hour)[:1], day}, {55 * hour, three(55 * hour)[:1], day},
			},
		},
		"a success after a skip ends it": {
			steps: []step{{0, with(three(-3*minute), elsewhere), hour}, {2 * hour, []learn.Observation{success(2 * hour)}, 0}},
		},
		"a success within a skip ends it": {
			steps: []step{{0, with(three(-3*minute), elsewhere), hour}, {minute, []learn.Observation{success(minute)}, 0}},
		},
		"a success at the time of a crash ends it": {
			steps: []step{{0, with(three(-3*minute), elsewhere), hour}, {2 * hour, []learn.Observation{success(2 * hour), crash("team-c", "9", 2*hour)}, 0}},
		},
		"nor if many crashed at the same time": {
			steps: []step{{0, with(three(-3*minute), elsewhere), hour}, {2 * hour, with(each(slices.Concat(three(0), three(0), three(0)), func(o *learn.Observation) { o.At = at(2 * hour) }), success(2*hour)), 0}},
		},
		"a success that comes last keeps a skip from beginning": {
			steps: []step{{hour, with(slices.Concat(three(0), three(0), three(0), three(0)), success(4*minute)), 0}},
		},
		"after a success the old videos count no more": {
			steps: []step{
				{0, with(with(three(-3*minute), with(many, many...)...), elsewhere), hour},
				{2 * hour, []learn.Observation{success(2 * hour)}, 0},
				{3 * hour, three(3 * hour)[:1], 0}, {4 * hour, three(4 * hour)[:2], 0}, {5 * hour, three(5 * hour)[:3], hour},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s v1alpha1.PoseEngineStatus
			for i, st := range c.steps {
				s = learn.Fold(s, st.obs, c.options, at(st.at))
				if got := skipFor(t, s, at(st.at)); got != st.skip {
					t.Errorf("step %d: skipped for %s, want %s: %+v", i+1, got, st.skip, entry(t, s))
				}
			}
		})
	}
}

func TestFoldKeepsWhatPeopleWantToKnow(t *testing.T) {
	before := v1alpha1.PoseEngineStatus{ObservedGeneration: 7}
	s := learn.Fold(before, []learn.Observation{success(-hour), crash("team-a", "1", 0), crash("team-a", "1", minute), crash("team-b", "2", 2*minute)}, learn.Options{}, at(hour))
	since, through, updated := gen.At(0), gen.At(120), gen.At(3600)
	want := v1alpha1.LearnedVariant{
		Variant: "gpu", ImageID: image, GPUProduct: rtx, GPUDriver: driver, Reason: "DetectorLoadCrash",
		MilliCrashes: 2986, MilliSuccesses: 991, Crashes: 3, Attempts: 3, Since: &since, Updated: &updated,
	}
	got := s.Learned[0]
	if len(got.Videos) != 2 || len(got.Namespaces) != 2 || len(got.Videos[0]) != 12 {
		t.Errorf("videos %q and namespaces %q, want two short digests each", got.Videos, got.Namespaces)
	}
	want.Videos, want.Namespaces = got.Videos, got.Namespaces
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	if s.ObservedGeneration != 7 || !s.LearnedThrough.Equal(&through) {
		t.Errorf("generation %d, learned through %v", s.ObservedGeneration, s.LearnedThrough)
	}
}

func TestASuccessAfterASkipHalvesTheCrashes(t *testing.T) {
	s := learn.Fold(v1alpha1.PoseEngineStatus{}, append(three(0), elsewhere), learn.Options{}, at(3*minute))
	s = learn.Fold(s, []learn.Observation{success(2 * hour)}, learn.Options{}, at(2*hour))
	if e := entry(t, s); e.MilliCrashes < 1400 || e.MilliCrashes > 1500 || e.Crashes != 3 || e.Attempts != 4 {
		t.Errorf("%d crashes weigh %d of %d attempts, want 3 that weigh half, of 4", e.Crashes, e.MilliCrashes, e.Attempts)
	}
}

func TestFoldKeepsEightVideos(t *testing.T) {
	var obs []learn.Observation
	for i := range 100 {
		obs = append(obs, crash(fmt.Sprint("team-", i), fmt.Sprint("video-", i), 0))
	}
	if e := entry(t, learn.Fold(v1alpha1.PoseEngineStatus{}, obs, learn.Options{}, at(0))); len(e.Videos) != 8 || len(e.Namespaces) != 8 {
		t.Errorf("%d videos and %d namespaces are kept, the API admits 8", len(e.Videos), len(e.Namespaces))
	}
}

func TestAvoidGivesTheWorstEight(t *testing.T) {
	var s v1alpha1.PoseEngineStatus
	until := gen.At(60)
	for i := range 12 {
		s.LearnedNodes = append(s.LearnedNodes, v1alpha1.LearnedNode{Node: fmt.Sprint("node-", i), MilliFailures: int64(i), AvoidUntil: &until})
	}
	got := learn.Avoid(&s, gen.Now)
	if want := []string{"node-11", "node-10", "node-9", "node-8", "node-7", "node-6", "node-5", "node-4"}; !slices.Equal(got, want) {
		t.Errorf("Avoid = %v, want %v", got, want)
	}
}

func TestFoldForgets(t *testing.T) {
	s := learn.Fold(v1alpha1.PoseEngineStatus{}, append(three(0), success(0), elsewhere), learn.Options{}, at(hour))
	if len(s.Learned) != 2 || len(s.LearnedNodes) != 2 {
		t.Fatalf("learned %d variants and %d nodes, want 2 and 2", len(s.Learned), len(s.LearnedNodes))
	}
	if f := learn.Fold(v1alpha1.PoseEngineStatus{}, three(-31*day), learn.Options{}, at(0)); len(f.Learned) != 0 || f.LearnedThrough == nil {
		t.Errorf("%d variants were learned of from attempts of a month ago", len(f.Learned))
	}
	if f := learn.Fold(s, nil, learn.Options{}, at(30*day)); len(f.Learned) != 2 {
		t.Errorf("after 30 days %d variants are left, want 2", len(f.Learned))
	}
	if f := learn.Fold(s, nil, learn.Options{}, at(31*day)); len(f.Learned) != 0 || len(f.LearnedNodes) != 0 {
		t.Errorf("after 31 days %d variants and %d nodes are left", len(f.Learned), len(f.LearnedNodes))
	}
	if f := learn.Fold(s, nil, learn.Options{Nodes: map[string]bool{"node-9": true}}, at(hour)); len(f.LearnedNodes) != 1 {
		t.Errorf("%d nodes are left, want node-9 alone", len(f.LearnedNodes))
	}
}

func TestFoldKeepsWhatFailedBeforeWhatWorked(t *testing.T) {
	s := learn.Fold(v1alpha1.PoseEngineStatus{}, append(three(0), crash("team-a", "1", 0, on("V100")), elsewhere), learn.Options{}, at(3*minute))
	var worked, failed []learn.Observation
	for i := range 100 {
		worked = append(worked, success(10*minute, on(fmt.Sprint("gpu-", i)), onNode(fmt.Sprint("worker-", i))))
		failed = append(failed, crash("team-a", "1", 20*minute, on(fmt.Sprint("bad-", i))))
	}
	s = learn.Fold(s, worked, learn.Options{}, at(10*minute))
	if len(s.Learned) != 64 || len(s.LearnedNodes) != 64 {
		t.Fatalf("learned of %d variants and %d nodes, want 64 each", len(s.Learned), len(s.LearnedNodes))
	}
	if !slices.ContainsFunc(s.Learned, func(e v1alpha1.LearnedVariant) bool { return e.GPUProduct == "V100" }) {
		t.Errorf("the crash was lost among successes")
	}
	s = learn.Fold(s, failed, learn.Options{}, at(20*minute))
	if got := skipFor(t, s, at(20*minute)); got == 0 {
		t.Errorf("the skip was lost among crashes")
	}
}

func TestFoldDoesNotWriteIntoItsInput(t *testing.T) {
	s := learn.Fold(v1alpha1.PoseEngineStatus{}, append(three(0), success(0), elsewhere), learn.Options{}, at(hour))
	before := *s.DeepCopy()
	learn.Fold(s, append(three(2*hour), success(2*hour)), learn.Options{}, at(3*hour))
	if diff := cmp.Diff(before, s); diff != "" {
		t.Errorf("the status that was passed in changed (-before +after):\n%s", diff)
	}
}

func TestFoldAvoidsNodes(t *testing.T) {
	nodes := func(n int) map[string]bool {
		out := map[string]bool{}
		for i := range n {
			out[fmt.Sprint("node-", i+1)] = true
		}
		return out
	}
	works := success(-hour, onNode("node-2")) // the same kind of GPU, on another node
	faults := func(node string, from time.Duration) []learn.Observation {
		obs := three(from)
		for i := range obs {
			obs[i].Kind, obs[i].Reason, obs[i].Node = learn.NodeFailure, "GPUHardwareFault", node
		}
		return obs
	}
	all := slices.Concat[[]learn.Observation]
	one := func(o learn.Observation) []learn.Observation { return []learn.Observation{o} }
	for name, c := range map[string]struct {
		nodes map[string]bool
		obs   []learn.Observation
		now   time.Duration
		avoid []string
		until time.Duration
	}{
		"three failures on a node whose kind of GPU works elsewhere": {
			nodes: nodes(3), obs: all(one(works), faults("node-1", 0)), now: hour, avoid: []string{"node-1"}, until: 90 * minute,
		},
		"more failures, longer": {
			nodes: nodes(3), obs: all(one(works), faults("node-1", 0), faults("node-1", minute)), now: hour, avoid: []string{"node-1"}, until: 5 * hour,
		},
		"many failures, twelve hours at most": {
			nodes: nodes(3), obs: all(one(works), faults("node-1", 0), faults("node-1", 0), faults("node-1", 0), faults("node-1", 0), faults("node-1", 0)), now: hour, avoid: []string{"node-1"}, until: 13 * hour,
		},
		"crashes of the variant count as well": {
			nodes: nodes(3), obs: all(one(works), three(0)), now: hour, avoid: []string{"node-1"}, until: 90 * minute,
		},
		"what fails on this kind of GPU everywhere is not the node's": {
			nodes: nodes(3), obs: all(one(success(-hour, on("A100"), onNode("node-2"))), faults("node-1", 0)), now: hour,
		},
		"what fails with this image everywhere is not the node's": {
			nodes: nodes(3), obs: all(one(success(-hour, onNode("node-2"), func(o *learn.Observation) { o.ImageID = "sha256:bb" })), faults("node-1", 0)), now: hour,
		},
		"a success on the node alone is not one elsewhere": {
			nodes: nodes(3), obs: all(one(success(-hour)), faults("node-1", 0), faults("node-1", 0), faults("node-1", 0), faults("node-1", 0)), now: hour,
		},
		"two nodes are too few to avoid one": {
			nodes: nodes(2), obs: all(one(works), faults("node-1", 0)), now: hour,
		},
		"of five nodes one is avoided, the worst": {
			nodes: nodes(5), obs: all(one(works), faults("node-1", 0), faults("node-3", 0), faults("node-3", 0)), now: hour, avoid: []string{"node-3"}, until: 5 * hour,
		},
		"of six nodes two are, the worst first": {
			nodes: nodes(6), obs: all(one(works), faults("node-1", 0), faults("node-3", 0), faults("node-3", 0)), now: hour, avoid: []string{"node-3", "node-1"}, until: 90 * minute,
		},
		"a node that is gone is not avoided": {
			nodes: nodes(6), obs: all(one(works), faults("node-7", 0)), now: hour,
		},
		"where nodes are not known, those that jobs ran on stand for them": {
			obs: all(one(works), one(success(0, onNode("node-3"))), faults("node-1", 0)), now: hour, avoid: []string{"node-1"}, until: 90 * minute,
		},
		"two of them are too few": {
			obs: all(one(works), faults("node-1", 0)), now: hour,
		},
		"one namespace cannot do it": {
			nodes: nodes(3), obs: all(one(works), faults("node-1", 0)[:2], faults("node-1", 0)[:2]), now: hour,
		},
		"a success on the node ends it": {
			nodes: nodes(3), obs: all(one(works), faults("node-1", 0), one(success(10*minute))), now: hour,
		},
		"one that comes after many failures of one look as well": {
			nodes: nodes(3), obs: all(one(works), faults("node-1", 0), faults("node-1", 0), faults("node-1", 0), faults("node-1", 0), one(success(10*minute))), now: hour,
		},
		"a success on its CPU says nothing of its GPU": {
			nodes: nodes(3), obs: all(one(works), faults("node-1", 0), one(success(10*minute, cpu))), now: hour, avoid: []string{"node-1"}, until: 90 * minute,
		},
		"a pod that never started knows no image": {
			nodes: nodes(3), now: hour, avoid: []string{"node-1"}, until: 90 * minute,
			obs: func() []learn.Observation {
				obs := all(faults("node-1", 0), one(works))
				for i := range obs[:3] {
					obs[i].ImageID, obs[i].GPUProduct, obs[i].Reason = "", "", "PodNotStartable"
				}
				return obs
			}(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := learn.Fold(v1alpha1.PoseEngineStatus{}, c.obs, learn.Options{Nodes: c.nodes}, at(c.now))
			got := learn.Avoid(&s, at(c.now))
			if diff := cmp.Diff(c.avoid, got); diff != "" {
				t.Errorf("nodes to avoid (-want +got):\n%s%+v", diff, s.LearnedNodes)
			}
			if len(c.avoid) > 0 {
				if ends := learn.Ends(&s, at(c.now)); !ends.Equal(at(c.until)) && skipless(s, at(c.now)) {
					t.Errorf("avoided until %s, want %s", ends, at(c.until))
				}
				if again := learn.Avoid(&s, at(c.until)); len(again) >= len(c.avoid) {
					t.Errorf("still avoided at %s: %v", at(c.until), again)
				}
			}
		})
	}
}

func skipless(s v1alpha1.PoseEngineStatus, now time.Time) bool {
	return len(learn.Skipped(&s, now)) == 0
}

func TestANodeThatIsAvoidedAlreadyStaysSo(t *testing.T) {
	o := learn.Options{Nodes: map[string]bool{"node-1": true, "node-2": true, "node-3": true, "node-4": true, "node-5": true, "node-6": true}}
	s := learn.Fold(v1alpha1.PoseEngineStatus{}, append(three(0), success(-hour, onNode("node-2"))), o, at(hour))
	until := s.LearnedNodes[0].AvoidUntil
	if s = learn.Fold(s, three(hour), o, at(hour+10*minute)); !s.LearnedNodes[0].AvoidUntil.Equal(until) {
		t.Errorf("avoided until %s, want %s as before", s.LearnedNodes[0].AvoidUntil, until)
	}
	if s = learn.Fold(s, three(2 * hour)[:1], o, at(2*hour+minute)); s.LearnedNodes[0].AvoidUntil.Sub(at(2*hour+minute)) != 8*hour {
		t.Errorf("avoided until %s, want 8 hours for seven failures", s.LearnedNodes[0].AvoidUntil)
	}
	o.Nodes = map[string]bool{"node-1": true, "node-2": true}
	if s = learn.Fold(s, nil, o, at(2*hour+2*minute)); len(learn.Avoid(&s, at(2*hour+2*minute))) != 0 {
		t.Errorf("one of two nodes is avoided")
	}
}
