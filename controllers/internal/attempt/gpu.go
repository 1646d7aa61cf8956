package attempt

import "strings"

// NodeGPU is what a node's labels say of its GPUs.
type NodeGPU struct {
	// Product, as NVIDIA-GeForce-RTX-4060; empty when no label says.
	Product string
	// Driver version, as 550.54.15.
	Driver string
	// Shared between pods, by time slices or MPS.
	Shared bool
}

// Labels of GPU nodes, by NVIDIA's GPU feature discovery and AMD's node labeller.
const (
	labelProduct    = "nvidia.com/gpu.product"
	labelAMDProduct = "amd.com/gpu.product-name"
	labelDriver     = "nvidia.com/cuda.driver-version.full"
	labelDriverPart = "nvidia.com/cuda.driver." // major, minor, rev
	labelSharing    = "nvidia.com/gpu.sharing-strategy"
	sharedSuffix    = "-SHARED" // of the product, when a GPU is time-sliced
)

// GPUOf reads a node's labels; nil for a node that shows no GPU.
func GPUOf(labels map[string]string) *NodeGPU {
	product := first(labels[labelProduct], labels[labelAMDProduct])
	if product == "" {
		return nil
	}
	g := &NodeGPU{Product: strings.TrimSuffix(product, sharedSuffix), Driver: labels[labelDriver]}
	sharing := labels[labelSharing]
	g.Shared = strings.HasSuffix(product, sharedSuffix) || (sharing != "" && sharing != "none")
	if g.Driver == "" {
		var parts []string
		for _, part := range []string{"major", "minor", "rev"} {
			if v := labels[labelDriverPart+part]; v != "" {
				parts = append(parts, v)
			}
		}
		g.Driver = strings.Join(parts, ".")
	}
	return g
}
