package main

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

type kind = schema.GroupVersionKind

// floorUnits are the units of the floor, as floor-crd.yaml has them.
var floorUnits = kind{Group: "floor.pose.dev", Version: "v1", Kind: "Unit"}

// unitView is what is decoded here of a custom resource: this program shares the
// machine with those whom it measures.
type unitView struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Status            struct {
		Phase string `json:"phase,omitempty"`
	} `json:"status,omitzero"`
}

// unitViewList is a list of them.
type unitViewList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []unitView `json:"items"`
}

// DeepCopyObject is asked for by runtime.Object.
func (u *unitView) DeepCopyObject() runtime.Object {
	out := *u
	u.DeepCopyInto(&out.ObjectMeta)
	return &out
}

// DeepCopyObject is asked for by runtime.Object.
func (l *unitViewList) DeepCopyObject() runtime.Object {
	out := *l
	out.Items = nil
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopyObject().(*unitView))
	}
	return &out
}

// newViewClient reads and writes one kind as unitView.
func newViewClient(config *rest.Config, k kind) (client.WithWatch, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypeWithName(k, &unitView{})
	scheme.AddKnownTypeWithName(k.GroupVersion().WithKind(k.Kind+"List"), &unitViewList{})
	metav1.AddToGroupVersion(scheme, k.GroupVersion())
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", k.Kind, err)
	}
	return c, nil
}
