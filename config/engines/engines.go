// Package engines holds the built-in PoseEngines as the chart renders them by
// default, for what works without a cluster.
package engines

import (
	"embed"
	"fmt"

	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

//go:embed mediapipe.yaml phalp.yaml
var files embed.FS

// Builtin gives the built-in engines.
func Builtin() ([]v1alpha1.PoseEngine, error) {
	var out []v1alpha1.PoseEngine
	for _, name := range []string{"phalp.yaml", "mediapipe.yaml"} {
		raw, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the built-in engine %s: %w", name, err)
		}
		var e v1alpha1.PoseEngine
		if err := yaml.UnmarshalStrict(raw, &e); err != nil {
			return nil, fmt.Errorf("read the built-in engine %s: %w", name, err)
		}
		out = append(out, e)
	}
	return out, nil
}
