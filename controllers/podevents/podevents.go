// Package podevents reads what kubelets say of pods that hang: a pod whose volumes or
// network its node cannot prepare never says why, its events do. The right to list
// events need not be given: then nothing is known.
package podevents

import (
	"context"
	"fmt"
	"sync"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
)

// Bounds of reading events, which the API server finds by going through all of the
// namespace: only of pods that their node has not prepared for so long, and the more
// seldom the longer they hang.
const (
	patience = 10 * time.Second
	interval = 15 * time.Second
	most     = 50
	// denial is how long nothing is asked after the API server forbade it.
	denial = 10 * time.Minute
)

// Reader of the events of pods. Its zero value is ready; it remembers that the API server
// forbade it to read them.
type Reader struct {
	mu          sync.Mutex
	deniedUntil time.Time
	known       map[string]answer // by the pod's uid
}

// answer that was given of a pod, and is given again until then.
type answer struct {
	unmounted attempt.Unmounted
	until     time.Time
}

// maxKnown bounds the answers that are remembered.
const maxKnown = 4096

// hanging says whether a pod's node has it and has not prepared it, and when it got it.
func hanging(p *attempt.Pod) (since time.Time, ok bool) {
	if p == nil || !p.Live() || p.Deleting || !p.Unprepared || p.Node == "" || p.ScheduledAt.IsZero() {
		return time.Time{}, false
	}
	for _, c := range p.Containers {
		if c.Running || c.Terminated {
			return time.Time{}, false
		}
	}
	return p.ScheduledAt, true
}

// Explain fills in why a pod hangs (Pod.Unmounted), if it does, and says when to look
// again; zero is not at all. What cannot be read is left out. Direct reads the API server
// past any cache.
func (e *Reader) Explain(ctx context.Context, direct client.Reader, namespace string, p *attempt.Pod, now time.Time) time.Duration {
	since, ok := hanging(p)
	if !ok || e.denied(now) {
		return 0
	}
	age := now.Sub(since)
	if age < patience {
		return patience - age
	}
	if a, ok := e.recall(p.UID); ok && now.Before(a.until) {
		p.Unmounted = a.unmounted
		return a.until.Sub(now)
	}
	var list eventsv1.EventList
	err := direct.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{"regarding.uid": p.UID}, client.Limit(most))
	switch {
	case apierrors.IsForbidden(err):
		e.deny(now)
		log.FromContext(ctx).Info("Nobody says why pods hang: the manager may not list events (chart value rbac.podEvents)", "error", err.Error())
		return 0
	case err != nil:
		log.FromContext(ctx).Error(fmt.Errorf("list the events of pod %s/%s: %w", namespace, p.Name, err), "Why the pod does not start is not known")
	default:
		p.Unmounted = attempt.WhyUnmounted(list.Items)
	}
	again := max(interval, age/4)
	e.remember(p.UID, answer{p.Unmounted, now.Add(again)}, now)
	return again
}

func (e *Reader) recall(uid string) (answer, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a, ok := e.known[uid]
	return a, ok
}

func (e *Reader) remember(uid string, a answer, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known == nil {
		e.known = map[string]answer{}
	}
	if len(e.known) >= maxKnown {
		for k, old := range e.known {
			if !now.Before(old.until) {
				delete(e.known, k)
			}
		}
		if len(e.known) >= maxKnown {
			return
		}
	}
	e.known[uid] = a
}

func (e *Reader) denied(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return now.Before(e.deniedUntil)
}

func (e *Reader) deny(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deniedUntil = now.Add(denial)
}
