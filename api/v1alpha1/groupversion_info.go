// Package v1alpha1 is the public API of the pose operator, group pose.dev.
//
// It holds types, and the names of conditions and reasons, and no behaviour.
// +kubebuilder:object:generate=true
// +groupName=pose.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion of every type in this package.
	GroupVersion = schema.GroupVersion{Group: "pose.dev", Version: "v1alpha1"}

	schemeBuilder = runtime.NewSchemeBuilder(func(s *runtime.Scheme) error {
		s.AddKnownTypes(GroupVersion, &PoseJob{}, &PoseJobList{}, &PoseEngine{}, &PoseEngineList{}, &PoseBatch{}, &PoseBatchList{})
		metav1.AddToGroupVersion(s, GroupVersion)
		return nil
	})

	// AddToScheme registers the types of this package.
	AddToScheme = schemeBuilder.AddToScheme
)
