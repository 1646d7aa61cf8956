package posejob

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
)

// Nodes reads labels of nodes, and nothing else of them.
type Nodes struct{ Client client.Reader }

func nodeMeta() *metav1.PartialObjectMetadata {
	n := &metav1.PartialObjectMetadata{}
	n.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Node"))
	return n
}

// GPU of a node; nil for one that has none, or is gone.
func (n Nodes) GPU(ctx context.Context, name string) (*attempt.NodeGPU, error) {
	node := nodeMeta()
	if err := n.Client.Get(ctx, client.ObjectKey{Name: name}, node); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, nil //nolint:nilnil // documented
		}
		return nil, fmt.Errorf("read the labels of node %s: %w", name, err)
	}
	return attempt.GPUOf(node.Labels), nil
}

// list every node's labels.
func (n Nodes) list(ctx context.Context) ([]metav1.PartialObjectMetadata, error) {
	var nodes metav1.PartialObjectMetadataList
	nodes.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NodeList"))
	if err := n.Client.List(ctx, &nodes); err != nil {
		return nil, fmt.Errorf("list the labels of nodes: %w", err)
	}
	return nodes.Items, nil
}

// listTime bounds a look at the cache of nodes, which waits until it is filled.
const listTime = 10 * time.Second

// Known nodes by name; nil while they cannot be read.
func (n Nodes) Known() map[string]bool {
	ctx, cancel := context.WithTimeout(context.Background(), listTime)
	defer cancel()
	nodes, err := n.list(ctx)
	if err != nil {
		return nil
	}
	names := make(map[string]bool, len(nodes))
	for i := range nodes {
		names[nodes[i].Name] = true
	}
	return names
}

// GPUs that the variant's pods may land on, each kind once.
func (n Nodes) GPUs(ctx context.Context, v *v1alpha1.Variant) ([]attempt.NodeGPU, error) {
	nodes, err := n.list(ctx)
	if err != nil {
		return nil, err
	}
	kinds := map[attempt.NodeGPU]bool{}
	for i := range nodes {
		if g := attempt.GPUOf(nodes[i].Labels); g != nil && selects(v.NodeSelector, nodes[i].Labels) {
			g.Shared = false
			kinds[*g] = true
		}
	}
	out := make([]attempt.NodeGPU, 0, len(kinds))
	for g := range maps.Keys(kinds) {
		out = append(out, g)
	}
	return out, nil
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}
