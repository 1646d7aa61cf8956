package cluster

import (
	"context"
	"fmt"
	"syscall"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/archive"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
)

// spareBytes is what must be left beside the images: logs, volumes and scratch of pods.
const spareBytes = 1 << 30

// room fails if the images that a node has not yet would fill the disk. A full disk
// otherwise shows as a failed import, or later as evicted pods.
func (c *Cluster) room(ctx context.Context, files []string) error {
	var layers []map[string]int64
	for _, file := range files {
		images, err := archive.Images(file)
		if err != nil {
			return err
		}
		if present(ctx, layout.Nodes()[0], images) {
			continue
		}
		of, err := archive.LayerBytes(file)
		if err != nil {
			return err
		}
		layers = append(layers, of)
	}
	if len(layers) == 0 {
		return nil
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(c.Dir, &disk); err != nil {
		return fmt.Errorf("free space of %s: %w", c.Dir, err)
	}
	free, want := int64(disk.Bavail)*disk.Bsize, roomFor(layers, len(layout.Nodes()))+spareBytes
	if free < want {
		return fmt.Errorf("%s has %.1f GB free and the images of both nodes need about %.1f: make room (clones with a .cluster folder of their own, `go clean -cache`), then go on",
			c.Dir, float64(free)/1e9, float64(want)/1e9)
	}
	return nil
}

// roomFor is the most bytes that images take on nodes, given the layers of each:
// every layer once, unpacked, and the packed layers of one image while it is loaded.
func roomFor(images []map[string]int64, nodes int) int64 {
	seen := map[string]bool{}
	var unpacked, packed int64
	for _, layers := range images {
		var own int64
		for name, size := range layers {
			own += size
			if !seen[name] {
				seen[name] = true
				unpacked += size
			}
		}
		packed = max(packed, own)
	}
	return (unpacked + packed) * int64(nodes)
}
