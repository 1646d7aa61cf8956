//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

// TestTheOptionalEnginesRun: the manifests as they are shipped, but for the image's
// name, with models of the real architectures. Their weights are random (STAGED),
// so the results are complete, say so, and mean nothing.
func TestTheOptionalEnginesRun(t *testing.T) {
	t.Parallel()
	made := filepath.Join(env.Root, ".demo", "models")
	models := claim(t, "pose-models")
	for name, as := range map[string]string{"yolov8n-pose": "yolo-pose", "rtmpose-s": "rtmpose", "rtmdet-nano": "detector"} {
		copyFile(t, filepath.Join(made, name+".onnx"), filepath.Join(models, as+".onnx"))
	}
	openToPods(t, models)
	for _, name := range []string{"yolo-pose", "rtmpose"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(filepath.Join(env.Root, "config", "engines-optional", name+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			e := &v1alpha1.PoseEngine{}
			if err := yaml.UnmarshalStrict(raw, e); err != nil {
				t.Fatal(err)
			}
			for i := range e.Spec.Variants {
				e.Spec.Variants[i].Image = harness.ImageONNXPose
				e.Spec.Variants[i].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
			}
			_ = env.Client.Delete(t.Context(), e.DeepCopy())
			if err := env.Client.Create(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = env.Client.Delete(t.Context(), &v1alpha1.PoseEngine{ObjectMeta: metav1.ObjectMeta{Name: name}})
			})
			j := finish(t, job("optional-"+name, name, "good.mp4", onCPU))
			complete(t, j, 12)
			var doc struct{ Engine struct{ Name string } }
			if err := json.Unmarshal(object(t, key(t, j.Status.Output.URI)+"/pose.json"), &doc); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(doc.Engine.Name, "staged") {
				t.Errorf("a result of random weights must say so, have %q", doc.Engine.Name)
			}
		})
	}
}
