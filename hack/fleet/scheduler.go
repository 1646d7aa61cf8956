package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const gpuResource corev1.ResourceName = "nvidia.com/gpu"

// scheduler binds the pods of one fleet, the oldest first: a pod that wants a GPU
// to the first node whose GPU is free, any other to the node without one. The real
// one would wait whole seconds before it tries a pod again, which is minutes here.
type scheduler struct {
	client   client.Client
	clock    clock
	gpuNodes []string
	cpuNode  string
	// bound pods, also those that the cache does not show on their nodes yet.
	bound map[types.UID]string
	told  map[types.UID]bool
}

// run until the context ends; changed says that pods changed.
func (s *scheduler) run(ctx context.Context, changed <-chan struct{}) error {
	s.bound, s.told = map[types.UID]string{}, map[types.UID]bool{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		if err := s.pass(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func (s *scheduler) pass(ctx context.Context) error {
	var pods corev1.PodList
	if err := s.client.List(ctx, &pods); err != nil {
		return fmt.Errorf("list pods to bind: %w", err)
	}
	used := map[string]bool{}
	var waiting []*corev1.Pod
	for i := range pods.Items {
		p := &pods.Items[i]
		switch ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed; {
		case ended:
		case s.bound[p.UID] != "":
			used[s.bound[p.UID]] = true
		case p.DeletionTimestamp == nil:
			waiting = append(waiting, p)
		}
	}
	slices.SortFunc(waiting, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	for _, p := range waiting {
		node := s.cpuNode
		if wantsGPU(p) {
			node = s.free(used)
		}
		if node == "" {
			if err := s.tell(ctx, p); err != nil {
				return err
			}
			continue
		}
		binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: node}}
		if err := s.client.SubResource("binding").Create(ctx, p, binding); err != nil {
			return fmt.Errorf("bind pod %s/%s: %w", p.Namespace, p.Name, err)
		}
		s.bound[p.UID], used[node] = node, true
	}
	return nil
}

// free GPU node, or none.
func (s *scheduler) free(used map[string]bool) string {
	for _, n := range s.gpuNodes {
		if !used[n] {
			return n
		}
	}
	return ""
}

// tell once that no node takes the pod.
func (s *scheduler) tell(ctx context.Context, p *corev1.Pod) error {
	if s.told[p.UID] {
		return nil
	}
	s.told[p.UID] = true
	old := p.DeepCopy()
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", LastTransitionTime: metav1.NewTime(s.clock.Now()),
	})
	if err := s.client.Status().Patch(ctx, p, client.MergeFrom(old)); err != nil {
		return fmt.Errorf("say that pod %s/%s waits: %w", p.Namespace, p.Name, err)
	}
	return nil
}

func wantsGPU(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool {
		q, ok := c.Resources.Limits[gpuResource]
		return ok && !q.IsZero()
	})
}
