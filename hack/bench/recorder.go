package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/internal/storage"
)

// unit is when watches told what of one unit.
type unit struct {
	seen, terminal time.Time
	succeeded      bool
	pods           []*podTimes // in the order in which they came
}

// podTimes is when the watch told of a pod, and when the API server had taken its end.
type podTimes struct {
	uid         types.UID
	seen, ended time.Time
	failed      bool
}

// recorder keeps the times of all units.
type recorder struct {
	mu      sync.Mutex
	units   map[string]*unit
	changed chan struct{}
}

func newRecorder() *recorder {
	return &recorder{units: map[string]*unit{}, changed: make(chan struct{}, 1)}
}

func (r *recorder) at(name string) *unit {
	if r.units[name] == nil {
		r.units[name] = &unit{}
	}
	return r.units[name]
}

// unit of that name was seen in some state.
func (r *recorder) unit(name string, now time.Time, done, succeeded bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.at(name)
	if u.seen.IsZero() {
		u.seen = now
	}
	if done && u.terminal.IsZero() {
		u.terminal, u.succeeded = now, succeeded
		r.wake()
	}
}

// pod of a unit was seen; it tells how many pods came before it.
func (r *recorder) pod(owner string, uid types.UID, now time.Time) (before int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.at(owner)
	for i, p := range u.pods {
		if p.uid == uid {
			return i
		}
	}
	u.pods = append(u.pods, &podTimes{uid: uid, seen: now})
	r.wake()
	return len(u.pods) - 1
}

// podEnded: the API server has taken it.
func (r *recorder) podEnded(owner string, uid types.UID, now time.Time, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.at(owner).pods {
		if p.uid == uid && p.ended.IsZero() {
			p.ended, p.failed = now, failed
		}
	}
}

func (r *recorder) wake() {
	select {
	case r.changed <- struct{}{}:
	default: // somebody is told already
	}
}

// group of the units whose names begin so.
func (r *recorder) group(prefix string) []unit {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []unit
	for name, u := range r.units {
		if strings.HasPrefix(name, prefix) {
			c := *u
			c.pods = nil
			for _, p := range u.pods {
				copied := *p
				c.pods = append(c.pods, &copied)
			}
			out = append(out, c)
		}
	}
	return out
}

// until so many units of a group are as asked, or the time is over: it tells how many
// are.
func (r *recorder) until(ctx context.Context, prefix string, want int, limit time.Duration, ok func(*unit) bool) (int, error) {
	over := time.After(limit)
	for {
		n := 0
		r.mu.Lock()
		for name, u := range r.units {
			if strings.HasPrefix(name, prefix) && ok(u) {
				n++
			}
		}
		r.mu.Unlock()
		if n >= want {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return n, context.Cause(ctx)
		case <-over:
			return n, nil
		case <-r.changed:
			// Not at once: counting ten thousand units for each event takes time from
			// those who are measured.
			if err := storage.Sleep(ctx, 20*time.Millisecond); err != nil {
				return n, err
			}
		}
	}
}

// watchUnits of the world's contender. There must be none yet.
func (w *world) watchUnits(ctx context.Context) error {
	from, err := listVersion(ctx, w.api, w.contender.kind)
	if err != nil {
		return err
	}
	return follow(ctx, from, func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		return w.contender.watch(ctx, w, o)
	}, func(o runtime.Object) {
		m, ok := o.(metav1.Object)
		if !ok {
			return
		}
		done, succeeded := ended(o)
		w.watched.unit(m.GetName(), time.Now(), done, succeeded)
	})
}

// watchPods that have no node yet, as a scheduler does, and hand them to the player. What
// else becomes of pods the player knows, and this program shares the machine with those
// whom it measures.
func (w *world) watchPods(ctx context.Context) error {
	from, err := listVersion(ctx, w.api, corev1.SchemeGroupVersion.WithKind("Pod"))
	if err != nil {
		return err
	}
	return follow(ctx, from, func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = "spec.nodeName="
		return w.pods.CoreV1().Pods(namespace).Watch(ctx, o)
	}, func(o runtime.Object) {
		pod, ok := o.(*corev1.Pod)
		if !ok {
			return
		}
		owner := metav1.GetControllerOf(pod)
		if owner == nil {
			return
		}
		before := w.watched.pod(owner.Name, pod.UID, time.Now())
		w.player.saw(owner.Name, before, pod)
	})
}

type starter = func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)

// follow what a watch tells after a version, past all breaks, until the context ends.
// Deletions are not told.
func follow(ctx context.Context, from string, start starter, told func(runtime.Object)) error {
	events, err := watchtools.NewRetryWatcherWithContext(ctx, from, &toolscache.ListWatch{WatchFuncWithContext: start})
	if err != nil {
		return fmt.Errorf("watch from version %s: %w", from, err)
	}
	go func() {
		for e := range events.ResultChan() {
			if e.Type == watch.Added || e.Type == watch.Modified {
				told(e.Object)
			}
		}
	}()
	return nil
}

// listVersion is the version from which a watch can go on after a list.
func listVersion(ctx context.Context, c client.Reader, k kind) (string, error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(k.GroupVersion().WithKind(k.Kind + "List"))
	if err := c.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return "", fmt.Errorf("list %s before watching: %w", k.Kind, err)
	}
	return list.ResourceVersion, nil
}
