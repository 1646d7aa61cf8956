package cached

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

func TestOptions(t *testing.T) {
	if all := Options(); all.DefaultNamespaces != nil || len(all.ByObject) != 2 {
		t.Errorf("Options() = %+v; want every namespace, and pods and ConfigMaps by label", all)
	}
	if two := Options("a", "b"); len(two.DefaultNamespaces) != 2 {
		t.Errorf("Options(a, b) = %+v; want two namespaces", two)
	}
}

func TestSlim(t *testing.T) {
	deadline := int64(60)
	pod := func(purpose string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: "x", UID: "u", Finalizers: []string{v1alpha1.FinalizerOutcome}, Labels: map[string]string{v1alpha1.LabelPurpose: purpose},
				Annotations: map[string]string{v1alpha1.AnnotationVariant: "gpu", "eks.amazonaws.com/skip-containers": "copy"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
			},
			Spec: corev1.PodSpec{
				NodeName: "n", ActiveDeadlineSeconds: &deadline, Volumes: []corev1.Volume{{Name: "v"}},
				Containers: []corev1.Container{{Name: "engine", Env: []corev1.EnvVar{{Name: "CONFIG", Value: "long"}}}},
			},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, Message: "kept"},
		}
	}
	for purpose, volumes := range map[string]int{"": 0, v1alpha1.PurposeLookup: 1} {
		got, err := slim(pod(purpose))
		if err != nil {
			t.Fatal(err)
		}
		want := pod(purpose)
		want.ManagedFields, want.Annotations = nil, map[string]string{v1alpha1.AnnotationVariant: "gpu"}
		want.Spec = corev1.PodSpec{NodeName: "n", ActiveDeadlineSeconds: &deadline}
		if volumes > 0 {
			want.Spec.Volumes = []corev1.Volume{{Name: "v"}}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("purpose %q (-want +got):\n%s", purpose, diff)
		}
	}
	if o, err := slim("no pod"); o != "no pod" || err != nil {
		t.Errorf("%v, %v", o, err)
	}
}
