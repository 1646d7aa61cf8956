package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/kubeapi"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
)

const (
	gpuResource = "nvidia.com/gpu"
	// gpuAnnotation lets a test take the GPU away ("0") or add more.
	gpuAnnotation = "pose-cluster/gpus"
	guardInterval = 3 * time.Second
)

// gpuLabels are what NVIDIA's GPU feature discovery would set. The product's
// name says that there is no such card.
var gpuLabels = map[string]string{
	"nvidia.com/gpu.present":        "true",
	"nvidia.com/gpu.product":        "Staged-GPU",
	"nvidia.com/gpu.memory":         "24576",
	"nvidia.com/gpu.count":          "1",
	"nvidia.com/gpu.replicas":       "1",
	"nvidia.com/gpu.family":         "staged",
	"nvidia.com/gpu.compute.major":  "8",
	"nvidia.com/gpu.compute.minor":  "0",
	"nvidia.com/cuda.driver.major":  "550",
	"nvidia.com/cuda.driver.minor":  "0",
	"nvidia.com/cuda.runtime.major": "12",
	"nvidia.com/cuda.runtime.minor": "4",
	"nvidia.com/mig.capable":        "false",
}

type node struct {
	Metadata struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Status struct {
		Capacity    map[string]string `json:"capacity"`
		Allocatable map[string]string `json:"allocatable"`
		Conditions  []struct {
			Type    string `json:"type"`
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"conditions"`
	} `json:"status"`
}

// gpus is how many GPUs the node should offer.
func gpus(n node) string {
	if count, ok := n.Metadata.Annotations[gpuAnnotation]; ok {
		return count
	}
	return "1"
}

func staged(n node) bool {
	return n.Status.Capacity[gpuResource] == gpus(n) && n.Status.Allocatable[gpuResource] == gpus(n) &&
		len(missingLabels(n)) == 0
}

func missingLabels(n node) map[string]string {
	lost := map[string]string{}
	for name, value := range gpuLabels {
		if _, ok := n.Metadata.Labels[name]; !ok {
			lost[name] = value
		}
	}
	return lost
}

// Guard keeps what no component of Kubernetes keeps: the GPU that a node
// pretends to have (a restarted kubelet drops it) and the volumes that were
// released (they are emptied and offered again). It runs until it is ended.
func (c *Cluster) Guard(ctx context.Context) error {
	api, err := kubeapi.New(c.Paths)
	if err != nil {
		return err
	}
	for {
		for _, n := range layout.Nodes() {
			if !n.GPU {
				continue
			}
			if err := c.stage(ctx, api, n); err != nil {
				c.say("%s: %v", n.Name, err)
			}
		}
		if err := c.recycle(ctx, api); err != nil {
			c.say("volumes: %v", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(guardInterval):
		}
	}
}

func (c *Cluster) stage(ctx context.Context, api *kubeapi.Client, n layout.Node) error {
	path := "/api/v1/nodes/" + n.Name
	var o node
	if err := api.Get(ctx, path, &o); err != nil {
		return err
	}
	if lost := missingLabels(o); len(lost) > 0 {
		patch := map[string]any{"metadata": map[string]any{"labels": lost}}
		if err := api.Merge(ctx, path, patch); err != nil {
			return err
		}
		c.say("%s: set %d GPU labels", n.Name, len(lost))
	}
	if staged(o) {
		return nil
	}
	count := map[string]string{gpuResource: gpus(o)}
	patch := map[string]any{"status": map[string]any{"capacity": count, "allocatable": count}}
	if err := api.Merge(ctx, path+"/status", patch); err != nil {
		return err
	}
	c.say("%s: offers %s %s", n.Name, gpus(o), gpuResource)
	return nil
}

type volumeList struct {
	Items []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Status struct {
			Phase string `json:"phase"`
		} `json:"status"`
	} `json:"items"`
}

func (c *Cluster) recycle(ctx context.Context, api *kubeapi.Client) error {
	var list volumeList
	if err := api.Get(ctx, "/api/v1/persistentvolumes?labelSelector=pose-cluster/volume=true", &list); err != nil {
		return err
	}
	for _, v := range list.Items {
		if v.Status.Phase != "Released" {
			continue
		}
		if err := empty(filepath.Join(c.Volumes(), filepath.Base(v.Metadata.Name))); err != nil {
			return err
		}
		patch := map[string]any{"spec": map[string]any{"claimRef": nil}}
		if err := api.Merge(ctx, "/api/v1/persistentvolumes/"+v.Metadata.Name, patch); err != nil {
			return err
		}
		c.say("volume %s is free again", v.Metadata.Name)
	}
	return nil
}

// empty deletes a folder's contents but not the folder, which a pod that is
// just ending may still have mounted.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// kubectl shows what kubectl prints.
func (c *Cluster) kubectl(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, c.Kube("kubectl"), args...)
	cmd.Stdout, cmd.Stderr = c.Out, c.Out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kubectl %s: %w", args[len(args)-1], err)
	}
	return nil
}
