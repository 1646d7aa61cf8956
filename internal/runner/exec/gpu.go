package exec

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

// findGPU says which GPUs the container can use, as the driver names them. The
// device files decide: the driver's folder in /proc shows the node's GPUs also to
// containers that were given none.
func findGPU(root string) string {
	devices, _ := filepath.Glob(filepath.Join(root, "dev/nvidia[0-9]*"))
	if len(devices) == 0 {
		return ""
	}
	infos, _ := filepath.Glob(filepath.Join(root, "proc/driver/nvidia/gpus/*/information"))
	var models []string
	for _, path := range infos {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "Model:"); ok {
				models = append(models, clean.Line(strings.TrimSpace(v), 64))
			}
		}
	}
	if len(models) == 0 {
		return fmt.Sprintf("%d NVIDIA", len(devices))
	}
	return clean.Head(strings.Join(models, ", "), 200)
}
