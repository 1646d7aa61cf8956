// Package cached makes what the operator's processes read from: caches that hold no more
// than is looked at, and clients whose reads show what they wrote themselves.
package cached

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Options of the manager's cache: only pods of PoseJobs, slim, and records of PoseBatches,
// all without managedFields. Without namespaces those of all are held.
func Options(namespaces ...string) cache.Options {
	ours, err := labels.NewRequirement(v1alpha1.LabelJobUID, selection.Exists, nil)
	if err != nil {
		panic(err) // the label is a constant
	}
	o := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: {Label: labels.NewSelector().Add(*ours), Transform: slim},
			// Of a batch's ConfigMaps the records alone: its lists are read when needed.
			&corev1.ConfigMap{}: {Label: labels.SelectorFromSet(labels.Set{v1alpha1.LabelBatchPart: v1alpha1.PartRecord})},
		},
	}
	if len(namespaces) > 0 {
		o.DefaultNamespaces = map[string]cache.Config{}
		for _, n := range namespaces {
			o.DefaultNamespaces[n] = cache.Config{}
		}
	}
	return o
}

// slim leaves of a pod what a decision looks at. Its containers and their configuration
// are two thirds of it, and nobody reads them again. Such a pod must never be PUT, which
// would ask the API server to take its containers away: pods are patched and deleted.
func slim(o any) (any, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	pod.ManagedFields = nil
	maps.DeleteFunc(pod.Annotations, func(key, _ string) bool { return !strings.HasPrefix(key, v1alpha1.GroupVersion.Group+"/") })
	spec := corev1.PodSpec{NodeName: pod.Spec.NodeName, ActiveDeadlineSeconds: pod.Spec.ActiveDeadlineSeconds}
	if pod.Labels[v1alpha1.LabelPurpose] != "" {
		spec.Volumes = pod.Spec.Volumes // of a pod that hangs it is told what it mounts
	}
	pod.Spec = spec
	return pod, nil
}
