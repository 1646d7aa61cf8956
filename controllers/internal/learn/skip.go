package learn

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
)

// GPU is a kind of GPU, as the labels of nodes name it. The zero value is a GPU
// of which nothing is known.
type GPU struct{ Product, Driver string }

// Advice on a variant for a job that is about to start it.
type Advice struct {
	// Skip the variant: it is skipped on every kind of GPU that there is.
	Skip bool
	// AvoidProducts, because it is skipped on them and not on all.
	AvoidProducts []string
	// Message for a person; empty where nothing is skipped.
	Message string
	// Probes are the kinds on which a skip has ended and nothing is known since:
	// the job that starts now tries again for all.
	Probes []GPU
}

// Skip says whether a job should skip a variant. Candidates are the kinds of GPU
// that nodes offer now; where there are none to name, only what was learned on
// GPUs without a name counts.
func Skip(s *v1alpha1.PoseEngineStatus, v *v1alpha1.Variant, candidates []GPU, now time.Time) Advice {
	return SkipWhile(s, v, candidates, nil, now)
}

// SkipWhile is Skip while other jobs try the variant again on some kinds: one try
// is enough, so until its outcome is known the skip goes on there.
func SkipWhile(s *v1alpha1.PoseEngineStatus, v *v1alpha1.Variant, candidates, tried []GPU, now time.Time) Advice {
	if v.Device != v1alpha1.GPU {
		return Advice{}
	}
	if len(candidates) == 0 {
		candidates = []GPU{{}}
	}
	var a Advice
	var skipped []v1alpha1.LearnedVariant
	good := map[string]bool{}
	for _, g := range kinds(candidates) {
		e := against(s, v, g, now)
		switch {
		case e != nil && (after(e.SkipUntil, now) || slices.Contains(tried, g)):
			skipped = append(skipped, *e)
			a.AvoidProducts = append(a.AvoidProducts, g.Product)
			continue
		case e != nil:
			a.Probes = append(a.Probes, g)
		}
		good[g.Product] = true
	}
	if len(skipped) == 0 {
		return a
	}
	a.Message = sentence(skipped, now)
	if len(good) == 0 {
		a.Skip, a.AvoidProducts = true, nil
		return a
	}
	// A product that runs with another driver elsewhere cannot be avoided by name.
	a.AvoidProducts = slices.DeleteFunc(slices.Compact(a.AvoidProducts), func(p string) bool { return p == "" || good[p] })
	a.AvoidProducts = a.AvoidProducts[:min(len(a.AvoidProducts), maxAvoided)]
	return a
}

// kinds in order, each once, in the words that are stored.
func kinds(candidates []GPU) []GPU {
	out := make([]GPU, len(candidates))
	for i, g := range candidates {
		out[i] = GPU{failure.Clean(g.Product, maxProduct), failure.Clean(g.Driver, maxDriver)}
	}
	slices.SortFunc(out, func(a, b GPU) int {
		return cmp.Or(strings.Compare(a.Product, b.Product), strings.Compare(a.Driver, b.Driver))
	})
	return slices.Compact(out)
}

// against the variant on a kind of GPU: what keeps it off longest, or nil. An
// image that the variant is no longer pinned to speaks for itself alone.
func against(s *v1alpha1.PoseEngineStatus, v *v1alpha1.Variant, g GPU, now time.Time) *v1alpha1.LearnedVariant {
	pinned := ""
	if strings.Contains(v.Image, "@") {
		pinned = imageDigest(v.Image)
	}
	var longest *v1alpha1.LearnedVariant
	for i := range s.Learned {
		e := &s.Learned[i]
		same := e.Variant == v.Name && e.GPUProduct == g.Product && (e.GPUDriver == g.Driver || g == GPU{})
		if !same || e.SkipUntil == nil || (pinned != "" && e.ImageID != pinned) || now.Sub(e.SkipUntil.Time) > maxAge {
			continue
		}
		if longest == nil || longest.SkipUntil.Before(e.SkipUntil) {
			longest = e
		}
	}
	return longest
}

// sentence on one or more skips, which are not none.
func sentence(skipped []v1alpha1.LearnedVariant, now time.Time) string {
	first := slices.MinFunc(skipped, func(a, b v1alpha1.LearnedVariant) int { return a.SkipUntil.Compare(b.SkipUntil.Time) })
	more := ""
	if n := len(skipped) - 1; n == 1 {
		more = ", and skipped on another kind of GPU"
	} else if n > 1 {
		more = fmt.Sprintf(", and skipped on %d other kinds of GPU", n)
	}
	return failure.Clean(Describe(first, now)+more, maxMessage)
}

// Describe a skip for a person, with the counts behind it.
func Describe(e v1alpha1.LearnedVariant, now time.Time) string {
	since := ""
	if e.Since != nil {
		since = " since " + e.Since.UTC().Format(time.DateOnly)
	}
	next := "another job tries it again now"
	if after(e.SkipUntil, now) {
		next = "tried again after " + e.SkipUntil.UTC().Format("2006-01-02T15:04Z")
	}
	return fmt.Sprintf("%s: died in %s %d of %d times on %s%s; %s", e.Variant, stage(e.Reason), e.Crashes, e.Attempts, Where(e), since, next)
}

// Where names the kind of GPU of an entry.
func Where(e v1alpha1.LearnedVariant) string {
	where := e.GPUProduct
	if where == "" {
		where = "GPUs of an unknown kind"
	}
	if e.GPUDriver != "" {
		where += " (driver " + e.GPUDriver + ")"
	}
	return where
}

// stage of a crash in words.
func stage(reason string) string {
	if reason == v1alpha1.ReasonDetectorLoadCrash {
		return "detector load"
	}
	return "model load"
}

// Skipped gives the skips that hold now.
func Skipped(s *v1alpha1.PoseEngineStatus, now time.Time) []v1alpha1.LearnedVariant {
	var out []v1alpha1.LearnedVariant
	for _, e := range s.Learned {
		if after(e.SkipUntil, now) {
			out = append(out, e)
		}
	}
	return out
}

// Avoided gives the nodes that are avoided now, all of them.
func Avoided(s *v1alpha1.PoseEngineStatus, now time.Time) []v1alpha1.LearnedNode {
	var out []v1alpha1.LearnedNode
	for _, n := range s.LearnedNodes {
		if after(n.AvoidUntil, now) {
			out = append(out, n)
		}
	}
	return out
}

// Ends is when the next skip or avoidance ends; zero means that none holds.
func Ends(s *v1alpha1.PoseEngineStatus, now time.Time) time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, e := range Skipped(s, now) {
		sooner(e.SkipUntil.Time)
	}
	for _, n := range Avoided(s, now) {
		sooner(n.AvoidUntil.Time)
	}
	return next
}
