package attempt

import (
	"cmp"
	"regexp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
)

// Unmounted is what the kubelet said of a pod whose volumes or network it could not
// prepare. Events are words: whoever may write events in the namespace can forge them.
type Unmounted struct {
	// Secret that does not exist; empty where none is named so.
	Secret string
	// Words of the newest warning.
	Words string
}

// noSecret is how the kubelet says that a Secret of a volume does not exist: of itself
// where it watches Secrets, in the API server's words where it gets them. The name is
// that of a Kubernetes object.
var noSecret = regexp.MustCompile(`\bsecrets? "([a-z0-9][a-z0-9.-]{0,252})" not found`)

// unmounting are the kubelet's reasons for what keeps containers from being made.
var unmounting = map[string]bool{
	"FailedMount": true, "FailedAttachVolume": true, "FailedMapVolume": true, "FailedCreatePodSandBox": true, "NetworkNotReady": true,
}

// maxSaid bounds what is kept of an event's note, in bytes; the API allows 1024.
const maxSaid = 1024

// WhyUnmounted reads the events of one pod. A warning that names a missing Secret
// counts before newer ones: between two tries the kubelet also says that it timed out.
func WhyUnmounted(events []eventsv1.Event) Unmounted {
	var warnings []*eventsv1.Event
	for i := range events {
		if e := &events[i]; e.Type == corev1.EventTypeWarning && unmounting[e.Reason] {
			warnings = append(warnings, e)
		}
	}
	slices.SortStableFunc(warnings, func(a, b *eventsv1.Event) int { return seen(b).Compare(seen(a)) })
	var u Unmounted
	for _, e := range warnings {
		note := e.Note[:min(len(e.Note), maxSaid)]
		u.Words = cmp.Or(u.Words, note)
		if m := noSecret.FindStringSubmatch(note); m != nil {
			return Unmounted{Secret: m[1], Words: note}
		}
	}
	return u
}

// seen is when an event was seen last, whichever API it was written by.
func seen(e *eventsv1.Event) time.Time {
	at := e.CreationTimestamp.Time
	for _, t := range []time.Time{e.EventTime.Time, e.DeprecatedLastTimestamp.Time} {
		if t.After(at) {
			at = t
		}
	}
	if s := e.Series; s != nil && s.LastObservedTime.After(at) {
		at = s.LastObservedTime.Time
	}
	return at
}
