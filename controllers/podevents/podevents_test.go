package podevents

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
)

// lister answers with an error, or an event, and counts how often it is asked.
type lister struct {
	client.Reader
	err   error
	asked int
}

func (l *lister) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	l.asked++
	list.(*eventsv1.EventList).Items = []eventsv1.Event{{Type: "Warning", Reason: "FailedMount", Note: `secret "keys" not found`}}
	return l.err
}

// The right to read events may be missing: that is asked seldom, and costs nothing else.
func TestEventsThatMayNotBeRead(t *testing.T) {
	pod := gen.Pod("p", 1, "gpu", v1alpha1.GPU).Node("n").Waiting("copy", "ContainerCreating", "").
		Condition(corev1.PodScheduled, corev1.ConditionTrue, "", "", -60).Condition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, "", "", -60).Build()
	var e Reader
	explain := func(l *lister, after time.Duration) (attempt.Unmounted, time.Duration) {
		p := attempt.View(&pod)
		again := e.Explain(t.Context(), l, "team-a", &p, gen.Now.Add(after))
		return p.Unmounted, again
	}
	forbidden := &lister{err: apierrors.NewForbidden(schema.GroupResource{Group: "events.k8s.io", Resource: "events"}, "", errors.New("no"))}
	for i := range 3 {
		if u, again := explain(forbidden, time.Duration(i)*time.Minute); u != (attempt.Unmounted{}) || again != 0 || forbidden.asked != 1 {
			t.Fatalf("%+v, again in %s, asked %d times", u, again, forbidden.asked)
		}
	}
	allowed := &lister{}
	if u, again := explain(allowed, 11*time.Minute); u.Secret != "keys" || again != 3*time.Minute {
		t.Errorf("%+v, again in %s", u, again)
	}
	// Other things that happen meanwhile ask nothing anew.
	if u, again := explain(allowed, 12*time.Minute); u.Secret != "keys" || again != 2*time.Minute || allowed.asked != 1 {
		t.Errorf("%+v, again in %s, asked %d times", u, again, allowed.asked)
	}
	if u, again := explain(&lister{err: errors.New("a timeout")}, 15*time.Minute); u != (attempt.Unmounted{}) || again == 0 {
		t.Errorf("%+v, again in %s", u, again)
	}
	e = Reader{}
	if u, again := explain(allowed, -55*time.Second); u != (attempt.Unmounted{}) || again != 5*time.Second || allowed.asked != 1 {
		t.Errorf("a node that has just begun: %+v, again in %s, asked %d times", u, again, allowed.asked)
	}
}
