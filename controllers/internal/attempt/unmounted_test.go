package attempt

import (
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What kubelets say of pods that hang, newest last in time.
func TestWhyUnmounted(t *testing.T) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	event := func(kind, reason, note string, since int) eventsv1.Event {
		return eventsv1.Event{Type: kind, Reason: reason, Note: note, DeprecatedLastTimestamp: metav1.NewTime(at.Add(time.Duration(since) * time.Second))}
	}
	const missing = `MountVolume.SetUp failed for volume "output-credentials" : secret "keys" not found`
	const waited = `Unable to attach or mount volumes: timed out waiting for the condition`
	for name, c := range map[string]struct {
		events []eventsv1.Event
		want   Unmounted
	}{
		"nothing was said":                    {nil, Unmounted{}},
		"a Secret is missing":                 {[]eventsv1.Event{event("Normal", "Scheduled", "to n", 0), event("Warning", "FailedMount", missing, 1)}, Unmounted{Secret: "keys", Words: missing}},
		"a Secret is missing, and it waits":   {[]eventsv1.Event{event("Warning", "FailedMount", waited, 9), event("Warning", "FailedMount", missing, 1)}, Unmounted{Secret: "keys", Words: missing}},
		"in the API server's words":           {[]eventsv1.Event{event("Warning", "FailedMount", `secrets "keys" not found`, 1)}, Unmounted{Secret: "keys", Words: `secrets "keys" not found`}},
		"the newest of several":               {[]eventsv1.Event{event("Warning", "FailedAttachVolume", "first", 1), event("Warning", "FailedMount", "last", 3), event("Warning", "FailedMount", "then", 2)}, Unmounted{Words: "last"}},
		"the network":                         {[]eventsv1.Event{event("Warning", "FailedCreatePodSandBox", "no address", 1)}, Unmounted{Words: "no address"}},
		"what does not keep it from starting": {[]eventsv1.Event{event("Warning", "Unhealthy", `secret "x" not found`, 1), event("Normal", "FailedMount", `secret "y" not found`, 1)}, Unmounted{}},
		"a name that is none":                 {[]eventsv1.Event{event("Warning", "FailedMount", `secret "../x" not found`, 1)}, Unmounted{Words: `secret "../x" not found`}},
		"by the series of the newer API": {[]eventsv1.Event{
			{Type: "Warning", Reason: "FailedMount", Note: "old", EventTime: metav1.NewMicroTime(at.Add(5 * time.Second))},
			{Type: "Warning", Reason: "FailedMount", Note: "again", EventTime: metav1.NewMicroTime(at), Series: &eventsv1.EventSeries{LastObservedTime: metav1.NewMicroTime(at.Add(time.Minute))}},
		}, Unmounted{Words: "again"}},
		"a long note": {[]eventsv1.Event{event("Warning", "FailedMount", strings.Repeat("x", 9999), 1)}, Unmounted{Words: strings.Repeat("x", maxSaid)}},
	} {
		if got := WhyUnmounted(c.events); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
