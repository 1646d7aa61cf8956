package plan_test

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
)

func drawEngine(t *rapid.T, name string) *v1alpha1.PoseEngine {
	n := rapid.IntRange(1, 6).Draw(t, "variants")
	b := gen.Engine(name)
	for i := range n {
		device := rapid.SampledFrom([]v1alpha1.Device{v1alpha1.GPU, v1alpha1.CPU}).Draw(t, "device")
		v := gen.Variant(string(rune('a'+i)), device, gen.Detector(rapid.SampledFrom([]string{"", "vitdet", "yolo"}).Draw(t, "detector")))
		if limit := rapid.IntRange(0, 16).Draw(t, "limit"); limit > 0 {
			v.Resources = &v1alpha1.Resources{Limits: corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(int64(limit)*gib, resource.BinarySI)}}
			if most := rapid.IntRange(0, 32).Draw(t, "maxMemory"); most > 0 {
				v.MaxMemory = resource.NewQuantity(int64(most)*gib, resource.BinarySI)
			}
		}
		if rapid.Bool().Draw(t, "one image for several") {
			v.Image = "one"
		}
		if rapid.Bool().Draw(t, "estimated") {
			v.Estimate = &v1alpha1.Estimate{LoadSeconds: rapid.Int64Range(0, 300).Draw(t, "load"), MilliFPS: rapid.Int64Range(1, 30000).Draw(t, "milliFPS")}
		}
		v.Boxes = rapid.SampledFrom([]v1alpha1.BoxesUse{"", v1alpha1.BoxesOptional, v1alpha1.BoxesRequired}).Draw(t, "boxes")
		v.OnRequest = rapid.IntRange(0, 3).Draw(t, "on request") == 0
		b.Variants(v)
	}
	return b.Build()
}

func drawSpec(t *rapid.T, e *v1alpha1.PoseEngine) *v1alpha1.PoseJobSpec {
	return &gen.Job("j").Spec(func(s *v1alpha1.PoseJobSpec) {
		s.Device = rapid.SampledFrom([]v1alpha1.DevicePreference{"", v1alpha1.DeviceAuto, v1alpha1.DeviceGPU, v1alpha1.DeviceCPU}).Draw(t, "spec.device")
		allow := rapid.SampledFrom([]v1alpha1.Permission{v1alpha1.Allow, v1alpha1.Deny})
		s.Fallback = v1alpha1.Fallback{Device: allow.Draw(t, "fallback.device"), Detector: allow.Draw(t, "fallback.detector")}
		if rapid.IntRange(0, 2).Draw(t, "has boxes") == 0 {
			s.Video.Boxes = &v1alpha1.BoxesSource{URI: "s3://b/boxes.json"}
		}
		if rapid.Bool().Draw(t, "has a Secret") {
			s.Video.CredentialsSecretRef = &v1alpha1.SecretReference{Name: "keys"}
		}
		s.BackoffLimit = new(rapid.Int32Range(0, 5).Draw(t, "backoffLimit"))
		if rapid.Bool().Draw(t, "own order") {
			names := make([]string, 0, len(e.Spec.Variants))
			for _, v := range e.Spec.Variants {
				names = append(names, v.Name)
			}
			names = rapid.Permutation(names).Draw(t, "spec.variants")
			s.Variants = names[:rapid.IntRange(1, len(names)).Draw(t, "of them")]
		}
		if rapid.IntRange(0, 3).Draw(t, "has deadline") == 0 {
			d := rapid.Int64Range(1, 20000).Draw(t, "deadline")
			s.ActiveDeadlineSeconds = &d
		}
		if rapid.Bool().Draw(t, "has pending timeout") {
			s.PendingTimeoutSeconds = new(rapid.Int64Range(1, 2000).Draw(t, "pending timeout"))
		}
		if rapid.Bool().Draw(t, "own resources") {
			limit := *resource.NewQuantity(rapid.Int64Range(1, 40).Draw(t, "own limit")*gib, resource.BinarySI)
			r := &v1alpha1.Resources{Limits: corev1.ResourceList{corev1.ResourceMemory: limit}}
			s.PodTemplate = &v1alpha1.PodTemplate{Resources: &v1alpha1.DeviceResources{GPU: r}}
		}
	}).Build().Spec
}
