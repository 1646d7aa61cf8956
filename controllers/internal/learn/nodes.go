package learn

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// ofTheGPU are reasons that a success on the CPU does not answer.
var ofTheGPU = []string{v1alpha1.ReasonDeviceUnusable, v1alpha1.ReasonGPUHardwareFault, v1alpha1.ReasonCUDAError}

func (f *fold) gone(node string) bool { return f.o.Nodes != nil && !f.o.Nodes[node] }

// node that the observation is of, with its weights as of now; nil for none.
func (f *fold) node(o Observation) *v1alpha1.LearnedNode {
	if o.Node == "" || f.gone(o.Node) {
		return nil
	}
	n := f.nodes[o.Node]
	if n == nil {
		n = &v1alpha1.LearnedNode{Node: o.Node}
		f.nodes[o.Node] = n
	} else {
		n.MilliFailures, n.MilliSuccesses = decay(n.MilliFailures, n.Updated.Time, f.now), decay(n.MilliSuccesses, n.Updated.Time, f.now)
	}
	n.Updated = stamp(f.now)
	return n
}

func (f *fold) nodeFailure(o Observation) {
	if !f.works(o) {
		return
	}
	n := f.node(o)
	if n == nil {
		return
	}
	if n.MilliFailures < forgotten {
		n.MilliFailures, n.Videos, n.Namespaces, n.AvoidUntil = 0, nil, nil, nil
	}
	n.MilliFailures = weight(n.MilliFailures + decay(one, o.At, f.now))
	n.Videos, n.Namespaces = add(n.Videos, o.Video), add(n.Namespaces, o.Namespace)
	n.Reason = o.Reason
	f.failed[o.Node] = o.At
}

// works: the same variant and image have succeeded on the same product of GPU.
// A pod that never started knows neither image nor, perhaps, product.
func (f *fold) works(o Observation) bool {
	for k, e := range f.variants {
		same := k.variant == o.Variant && (o.ImageID == "" || k.image == o.ImageID) && (o.GPUProduct == "" || k.product == o.GPUProduct)
		if same && decay(e.MilliSuccesses, e.Updated.Time, f.now) > 0 {
			return true
		}
	}
	return false
}

func (f *fold) nodeSuccess(o Observation) {
	if n := f.nodes[o.Node]; n != nil && o.Device == v1alpha1.CPU && slices.Contains(ofTheGPU, n.Reason) {
		return
	}
	n := f.node(o)
	if n == nil {
		return
	}
	n.MilliSuccesses = weight(n.MilliSuccesses + decay(one, o.At, f.now))
	delete(f.failed, o.Node)
	if n.AvoidUntil != nil {
		n.AvoidUntil, n.Videos, n.Namespaces = nil, nil, nil
		n.MilliFailures /= 2
	}
}

// avoid the nodes that new failures speak against, the worst first, as far as
// enough others are left.
func (f *fold) avoid() {
	avoided := f.avoided()
	for _, n := range avoided[min(len(avoided), f.mayAvoid()):] {
		n.AvoidUntil = nil
	}
	count := min(len(avoided), f.mayAvoid())
	var failed []*v1alpha1.LearnedNode
	for name := range f.failed {
		failed = append(failed, f.nodes[name])
	}
	slices.SortFunc(failed, worse)
	for _, n := range failed {
		again := n.AvoidUntil != nil && f.failed[n.Node].Before(n.AvoidUntil.Time)
		if again || count >= f.mayAvoid() || !f.enough(n.MilliFailures, n.MilliSuccesses, n.Videos, n.Namespaces) || !f.successOnAnother(n.Node) {
			continue
		}
		n.AvoidUntil = stamp(f.now.Add(doubled(firstAvoid, maxAvoid, whole(n.MilliFailures)-minCrashes)))
		count++
	}
}

// avoided nodes, the worst first.
func (f *fold) avoided() []*v1alpha1.LearnedNode {
	var out []*v1alpha1.LearnedNode
	for _, n := range f.nodes {
		if after(n.AvoidUntil, f.now) {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, worse)
	return out
}

// mayAvoid is how many nodes may be avoided at a time. Where the nodes are not
// known, those that jobs ran on stand for them.
func (f *fold) mayAvoid() int {
	nodes := min(len(f.nodes), maxEntries)
	if f.o.Nodes != nil {
		nodes = 0
		for _, exists := range f.o.Nodes {
			if exists {
				nodes++
			}
		}
	}
	return nodes / 3
}

func (f *fold) successOnAnother(node string) bool {
	for name, n := range f.nodes {
		if name != node && decay(n.MilliSuccesses, n.Updated.Time, f.now) > 0 {
			return true
		}
	}
	return false
}

func worse(a, b *v1alpha1.LearnedNode) int {
	return cmp.Or(cmp.Compare(b.MilliFailures, a.MilliFailures), strings.Compare(a.Node, b.Node))
}

// Avoid gives the nodes on which a job would rather not run now, the worst first.
func Avoid(s *v1alpha1.PoseEngineStatus, now time.Time) []string {
	var nodes []*v1alpha1.LearnedNode
	for i := range s.LearnedNodes {
		if after(s.LearnedNodes[i].AvoidUntil, now) {
			nodes = append(nodes, &s.LearnedNodes[i])
		}
	}
	slices.SortFunc(nodes, worse)
	var out []string
	for _, n := range nodes[:min(len(nodes), maxAvoided)] {
		out = append(out, n.Node)
	}
	return out
}
