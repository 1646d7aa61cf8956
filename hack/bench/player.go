package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/pose-dev/pose-operator/internal/storage"
)

// players write at a time, as the kubelets of so many nodes would.
const players = 16

// player is the scheduler and all kubelets: it binds each pod, says that it runs and how
// it ended, one request each, as fast as the API server takes them.
type player struct {
	api kubernetes.Interface
	// ended is told of each pod whose end the API server has taken.
	ended func(owner string, uid types.UID, now time.Time, failed bool)
	queue *fifo[func(context.Context) error]

	mu   sync.Mutex
	bind int
	seen map[types.UID]bool
	// plan of what becomes of pods.
	plan plan
	// held pods run and do not end yet; parked ones are not bound yet.
	held, parked []ownedPod
	errors       int
}

// ownedPod is a pod and the name of its unit.
type ownedPod struct {
	*corev1.Pod
	owner string
}

// plan says what becomes of pods.
type plan struct {
	// hold lets the first pod of each unit run on until it is told to end.
	hold bool
	// park lets later pods of a unit wait for their node.
	park bool
}

func newPlayer(api kubernetes.Interface, ended func(string, types.UID, time.Time, bool)) *player {
	return &player{api: api, ended: ended, seen: map[types.UID]bool{}, queue: newFIFO[func(context.Context) error]()}
}

// start playing, until the context ends.
func (p *player) start(ctx context.Context) {
	for range players {
		go func() {
			for {
				act, ok := p.queue.next(ctx)
				if !ok {
					return
				}
				if err := act(ctx); err != nil && ctx.Err() == nil {
					p.failed(err)
				}
			}
		}()
	}
}

// failed: a pod that is not played stalls its unit, which then counts as not finished.
// The first few errors say why.
func (p *player) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.errors++; p.errors <= 5 {
		fmt.Fprintln(os.Stderr, "bench: play a pod:", err)
	}
}

// follow a plan from now on.
func (p *player) follow(next plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = next
}

// saw a pod, before which its unit had so many.
func (p *player) saw(owner string, before int, seen *corev1.Pod) {
	pod := ownedPod{Pod: seen, owner: owner}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen[pod.UID] {
		return
	}
	p.seen[pod.UID] = true
	switch {
	case before > 0 && p.plan.park:
		p.parked = append(p.parked, pod)
	default:
		p.queue.add(p.live(pod, before == 0 && p.plan.hold))
	}
}

// live a pod's life, to its end unless it is held.
func (p *player) live(pod ownedPod, hold bool) func(context.Context) error {
	p.bind++
	node := nodeName(p.bind)
	return func(ctx context.Context) error {
		binding := &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: node},
		}
		if err := p.api.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("bind pod %s: %w", pod.Name, err)
		}
		if err := p.say(ctx, pod, running); err != nil {
			return err
		}
		if hold {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.held = append(p.held, pod)
			return nil
		}
		return p.say(ctx, pod, succeeded)
	}
}

// say what has become of a pod, as kubelets do.
func (p *player) say(ctx context.Context, pod ownedPod, ph phase) error {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status":   statusOf(pod.Pod, ph, time.Now()),
	})
	if err != nil {
		return err
	}
	_, err = p.api.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("write the status of pod %s: %w", pod.Name, err)
	}
	if ph != running {
		p.ended(pod.owner, pod.UID, time.Now(), ph == crashed)
	}
	return nil
}

// heldPods run on for now.
func (p *player) heldPods() []*corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*corev1.Pod
	for _, pod := range p.held {
		out = append(out, pod.Pod)
	}
	return out
}

// end the pods that are held of the units whose names begin so, so many a second.
func (p *player) end(ctx context.Context, prefix string, how phase, perSecond int) error {
	p.mu.Lock()
	var held, others []ownedPod
	for _, pod := range p.held {
		if strings.HasPrefix(pod.owner, prefix) {
			held = append(held, pod)
		} else {
			others = append(others, pod)
		}
	}
	p.held = others
	p.mu.Unlock()
	began := time.Now()
	for i, pod := range held {
		if err := storage.Sleep(ctx, time.Until(began.Add(time.Duration(i)*time.Second/time.Duration(perSecond)))); err != nil {
			return err
		}
		p.queue.add(func(ctx context.Context) error { return p.say(ctx, pod, how) })
	}
	return nil
}

// release the pods that are parked now.
func (p *player) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pod := range p.parked {
		p.queue.add(p.live(pod, false))
	}
	p.parked = nil
}

// fifo is a queue without bound, so that watches never wait for players.
type fifo[T any] struct {
	mu    sync.Mutex
	items []T
	some  chan struct{}
}

func newFIFO[T any]() *fifo[T] { return &fifo[T]{some: make(chan struct{}, 1)} }

func (f *fifo[T]) add(item T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.items = append(f.items, item)
	f.wake()
}

func (f *fifo[T]) wake() {
	select {
	case f.some <- struct{}{}:
	default:
	}
}

// next item, once there is one; false when the context ends.
func (f *fifo[T]) next(ctx context.Context) (T, bool) {
	for {
		f.mu.Lock()
		if len(f.items) > 0 {
			item := f.items[0]
			f.items = f.items[1:]
			if len(f.items) > 0 {
				f.wake()
			}
			f.mu.Unlock()
			return item, true
		}
		f.mu.Unlock()
		select {
		case <-ctx.Done():
			var none T
			return none, false
		case <-f.some:
		}
	}
}
