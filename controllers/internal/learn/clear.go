package learn

import (
	"slices"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
)

// Clear forgets what the annotation v1alpha1.AnnotationClearLearned asks to
// forget; true says that something was asked for. It is asked for each time the
// value changes:
//
//	value   = target [ " " anything ]
//	target  = "variant=" NAME | "node=" NAME | anything else
//
// A target of variant=NAME forgets that variant, on all GPUs and with all images;
// node=NAME forgets that node; any other value forgets all. What comes after the
// space serves to change the value, as in "node=gpu-7 2026-03-04". Taking the
// annotation off, or emptying it, forgets nothing, and lets an old value be used
// again.
//
// Attempts that ended before now are not learned from again.
func Clear(old v1alpha1.PoseEngineStatus, value string, now time.Time) (v1alpha1.PoseEngineStatus, bool) {
	value = acted(value)
	if value == old.Cleared {
		return old, false
	}
	s := *old.DeepCopy()
	s.Cleared = value
	if value == "" {
		return s, false
	}
	s.LearnedThrough = stamp(now)
	target, _, _ := strings.Cut(value, " ")
	kind, name, named := strings.Cut(target, "=")
	switch {
	case named && kind == "variant":
		s.Learned = slices.DeleteFunc(s.Learned, func(e v1alpha1.LearnedVariant) bool { return e.Variant == name })
	case named && kind == "node":
		s.LearnedNodes = slices.DeleteFunc(s.LearnedNodes, func(n v1alpha1.LearnedNode) bool { return n.Node == name })
	default:
		s.Learned, s.LearnedNodes = nil, nil
	}
	return s, true
}

// acted is the form of a value in which status keeps it. Long ones that differ
// only in their ends differ by their digests.
func acted(value string) string {
	short := failure.Clean(value, maxCleared)
	if len(value) > maxCleared {
		short = failure.Clean(value, maxCleared-1-digestLength) + " " + digest(value)
	}
	return short
}
