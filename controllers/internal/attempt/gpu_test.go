package attempt_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
)

func TestGPUOf(t *testing.T) {
	type labels = map[string]string
	for name, c := range map[string]struct {
		labels labels
		want   *attempt.NodeGPU
	}{
		"a node without a GPU": {labels{"kubernetes.io/hostname": "a"}, nil},
		"GPU feature discovery": {
			labels{"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-4060", "nvidia.com/cuda.driver-version.full": "550.54.15", "nvidia.com/gpu.sharing-strategy": "none"},
			&attempt.NodeGPU{Product: "NVIDIA-GeForce-RTX-4060", Driver: "550.54.15"},
		},
		"an older GPU feature discovery tells the driver in parts": {
			labels{"nvidia.com/gpu.product": "Tesla-T4", "nvidia.com/cuda.driver.major": "470", "nvidia.com/cuda.driver.minor": "57", "nvidia.com/cuda.driver.rev": "02"},
			&attempt.NodeGPU{Product: "Tesla-T4", Driver: "470.57.02"},
		},
		"a time-sliced GPU is shared": {
			labels{"nvidia.com/gpu.product": "Tesla-T4-SHARED", "nvidia.com/gpu.sharing-strategy": "time-slicing"},
			&attempt.NodeGPU{Product: "Tesla-T4", Shared: true},
		},
		"MPS is shared":          {labels{"nvidia.com/gpu.product": "Tesla-T4", "nvidia.com/gpu.sharing-strategy": "mps"}, &attempt.NodeGPU{Product: "Tesla-T4", Shared: true}},
		"AMD's node labeller":    {labels{"amd.com/gpu.product-name": "AMD_Instinct_MI300X"}, &attempt.NodeGPU{Product: "AMD_Instinct_MI300X"}},
		"a driver without a GPU": {labels{"nvidia.com/cuda.driver-version.full": "550"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, attempt.GPUOf(c.labels)); diff != "" {
				t.Errorf("GPUOf (-want +got):\n%s", diff)
			}
		})
	}
}
