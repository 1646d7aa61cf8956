package learn

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
)

// Fold adds observations to what is known and says what follows. It changes
// nothing of the status but what was learned.
func Fold(old v1alpha1.PoseEngineStatus, obs []Observation, o Options, now time.Time) v1alpha1.PoseEngineStatus {
	now = stamp(now).Time
	f := read(old, o, now)
	s := *old.DeepCopy()
	for _, x := range ordered(obs, now) {
		if through := stamp(x.At); s.LearnedThrough == nil || s.LearnedThrough.Before(through) {
			s.LearnedThrough = through
		}
		if now.Sub(x.At) <= maxAge {
			f.add(x)
		}
	}
	f.skip()
	f.avoid()
	s.Learned, s.LearnedNodes = f.write()
	return s
}

// ordered by their times. At one time failures come first, so that a success is
// never undone by what did not come after it.
func ordered(obs []Observation, now time.Time) []Observation {
	out := make([]Observation, len(obs))
	for i, o := range obs {
		out[i] = clean(o, now)
	}
	last := func(o Observation) int {
		if o.Kind == Success {
			return 1
		}
		return 0
	}
	slices.SortFunc(out, func(a, b Observation) int {
		return cmp.Or(
			a.At.Compare(b.At), cmp.Compare(last(a), last(b)), strings.Compare(string(a.Kind), string(b.Kind)),
			strings.Compare(a.Variant, b.Variant), strings.Compare(string(a.Device), string(b.Device)),
			strings.Compare(a.GPUProduct, b.GPUProduct), strings.Compare(a.GPUDriver, b.GPUDriver), strings.Compare(a.ImageID, b.ImageID),
			strings.Compare(a.Node, b.Node), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Video, b.Video), strings.Compare(a.Reason, b.Reason),
		)
	})
	return out
}

// fold is what is known while observations are added.
type fold struct {
	o        Options
	now      time.Time
	variants map[key]*v1alpha1.LearnedVariant
	nodes    map[string]*v1alpha1.LearnedNode
	// crashed and failed are the times of the last new crash of a variant and
	// failure of a node that no success came after.
	crashed map[key]time.Time
	failed  map[string]time.Time
}

// read what is known, without what is too old, gone or nonsense: a status can be
// restored from anywhere.
func read(s v1alpha1.PoseEngineStatus, o Options, now time.Time) *fold {
	f := &fold{
		o: o, now: now,
		variants: map[key]*v1alpha1.LearnedVariant{}, nodes: map[string]*v1alpha1.LearnedNode{},
		crashed: map[key]time.Time{}, failed: map[string]time.Time{},
	}
	for i := range s.Learned {
		e := s.Learned[i].DeepCopy()
		e.Variant, e.ImageID = failure.Clean(e.Variant, maxVariant), failure.Clean(e.ImageID, maxImage)
		e.GPUProduct, e.GPUDriver = failure.Clean(e.GPUProduct, maxProduct), failure.Clean(e.GPUDriver, maxDriver)
		e.Reason = failure.Clean(e.Reason, maxReason)
		e.MilliCrashes, e.MilliSuccesses = weight(e.MilliCrashes), weight(e.MilliSuccesses)
		e.Crashes, e.Attempts = weight(e.Crashes), weight(e.Attempts)
		e.Videos, e.Namespaces = digests(e.Videos), digests(e.Namespaces)
		e.Skips = max(0, e.Skips)
		if after(e.SkipUntil, now.Add(maxSkip)) {
			e.SkipUntil = stamp(now.Add(maxSkip))
		}
		if e.Updated == nil || now.Sub(e.Updated.Time) > maxAge || f.variants[keyOf(e)] != nil {
			continue
		}
		if e.Updated.After(now) {
			e.Updated = stamp(now)
		}
		f.variants[keyOf(e)] = e
	}
	for i := range s.LearnedNodes {
		e := s.LearnedNodes[i].DeepCopy()
		e.Node, e.Reason = failure.Clean(e.Node, maxNode), failure.Clean(e.Reason, maxReason)
		e.MilliFailures, e.MilliSuccesses = weight(e.MilliFailures), weight(e.MilliSuccesses)
		e.Videos, e.Namespaces = digests(e.Videos), digests(e.Namespaces)
		if after(e.AvoidUntil, now.Add(maxAvoid)) {
			e.AvoidUntil = stamp(now.Add(maxAvoid))
		}
		if e.Updated == nil || now.Sub(e.Updated.Time) > maxAge || f.nodes[e.Node] != nil || f.gone(e.Node) {
			continue
		}
		if e.Updated.After(now) {
			e.Updated = stamp(now)
		}
		f.nodes[e.Node] = e
	}
	return f
}

func weight(w int64) int64 { return min(max(0, w), maxWeight) }

// digests that are some, each once.
func digests(list []string) []string {
	var out []string
	for _, d := range list {
		if len(d) == digestLength && strings.Trim(d, "0123456789abcdef") == "" {
			out = add(out, d)
		}
	}
	return out
}

// add to a bounded set. A full one holds more than any rule asks for.
func add(set []string, d string) []string {
	if len(set) >= maxDigests || slices.Contains(set, d) {
		return set
	}
	return append(set, d)
}

func (f *fold) add(o Observation) {
	switch o.Kind {
	case Crash:
		f.crash(o)
		f.nodeFailure(o)
	case NodeFailure:
		f.nodeFailure(o)
	case Success:
		f.success(o)
		f.nodeSuccess(o)
	}
}

// variant that the observation is of, with its weights as of now.
func (f *fold) variant(o Observation) (key, *v1alpha1.LearnedVariant) {
	k := key{o.Variant, o.ImageID, o.GPUProduct, o.GPUDriver}
	e := f.variants[k]
	if e == nil {
		e = &v1alpha1.LearnedVariant{Variant: k.variant, ImageID: k.image, GPUProduct: k.product, GPUDriver: k.driver}
		f.variants[k] = e
	} else {
		e.MilliCrashes, e.MilliSuccesses = decay(e.MilliCrashes, e.Updated.Time, f.now), decay(e.MilliSuccesses, e.Updated.Time, f.now)
	}
	e.Updated = stamp(f.now)
	return k, e
}

func (f *fold) crash(o Observation) {
	k, e := f.variant(o)
	if e.MilliCrashes < forgotten {
		// A new story. The plain counts are of the crashes that Since begins with.
		e.MilliCrashes, e.Crashes, e.Attempts, e.Skips = 0, 0, 0, 0
		e.Videos, e.Namespaces, e.Since, e.SkipUntil = nil, nil, nil, nil
	}
	e.MilliCrashes = weight(e.MilliCrashes + decay(one, o.At, f.now))
	e.Crashes, e.Attempts = weight(e.Crashes+1), weight(e.Attempts+1)
	e.Videos, e.Namespaces = add(e.Videos, o.Video), add(e.Namespaces, o.Namespace)
	e.Reason = o.Reason
	if at := stamp(o.At); e.Since == nil || at.Before(e.Since) {
		e.Since = at
	}
	f.crashed[k] = o.At
}

func (f *fold) success(o Observation) {
	k, e := f.variant(o)
	e.MilliSuccesses = weight(e.MilliSuccesses + decay(one, o.At, f.now))
	e.Attempts = weight(e.Attempts + 1)
	delete(f.crashed, k)
	if e.SkipUntil != nil {
		e.SkipUntil, e.Skips, e.Videos, e.Namespaces = nil, 0, nil, nil
		e.MilliCrashes /= 2
	}
}

// skip the variants that new crashes speak against.
func (f *fold) skip() {
	for k, at := range f.crashed {
		e := f.variants[k]
		if e.SkipUntil != nil && at.Before(e.SkipUntil.Time) {
			continue // it began before the skip was over, and is no new try
		}
		if !f.enough(e.MilliCrashes, e.MilliSuccesses, e.Videos, e.Namespaces) || !f.anySuccess() {
			continue
		}
		e.Skips = min(e.Skips+1, maxEntries)
		e.SkipUntil = stamp(f.now.Add(doubled(firstSkip, maxSkip, int64(e.Skips-1))))
	}
}

// enough to act upon.
func (f *fold) enough(bad, good int64, videos, namespaces []string) bool {
	if whole(bad) < minCrashes || bad*10 < (bad+good)*minShare || len(videos) < minVideos {
		return false
	}
	return len(namespaces) >= minNamespaces || (f.o.SingleTenant && len(namespaces) > 0)
}

// anySuccess of the engine that is not too old to weigh.
func (f *fold) anySuccess() bool {
	for _, e := range f.variants {
		if decay(e.MilliSuccesses, e.Updated.Time, f.now) > 0 {
			return true
		}
	}
	for _, n := range f.nodes {
		if decay(n.MilliSuccesses, n.Updated.Time, f.now) > 0 {
			return true
		}
	}
	return false
}

// doubled so many times, at most to a bound.
func doubled(d, most time.Duration, times int64) time.Duration {
	for ; times > 0 && d < most; times-- {
		d *= 2
	}
	return min(d, most)
}

// write what is kept, in an order that does not depend on how it was found.
func (f *fold) write() ([]v1alpha1.LearnedVariant, []v1alpha1.LearnedNode) {
	variants := keep(slices.Collect(maps.Values(f.variants)), func(e *v1alpha1.LearnedVariant) rank {
		return rank{after(e.SkipUntil, f.now), e.MilliCrashes > 0, e.Updated.Time, strings.Join([]string{e.Variant, e.GPUProduct, e.GPUDriver, e.ImageID}, "\x00")}
	})
	nodes := keep(slices.Collect(maps.Values(f.nodes)), func(n *v1alpha1.LearnedNode) rank {
		return rank{after(n.AvoidUntil, f.now), n.MilliFailures > 0, n.Updated.Time, n.Node}
	})
	return variants, nodes
}

// rank of an entry among those to keep.
type rank struct {
	acted, against bool
	updated        time.Time
	name           string
}

func (a rank) compare(b rank) int {
	first := func(x, y bool) int {
		switch {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	}
	return cmp.Or(first(a.acted, b.acted), first(a.against, b.against), b.updated.Compare(a.updated), strings.Compare(a.name, b.name))
}

// keep the most telling entries, by name. A node that only ever worked goes before
// one that failed: in a large cluster there are many of the former.
func keep[E any](entries []*E, of func(*E) rank) []E {
	slices.SortFunc(entries, func(a, b *E) int { return of(a).compare(of(b)) })
	entries = entries[:min(len(entries), maxEntries)]
	slices.SortFunc(entries, func(a, b *E) int { return strings.Compare(of(a).name, of(b).name) })
	var out []E
	for _, e := range entries {
		out = append(out, *e)
	}
	return out
}
