package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PoseEngineStatus says whether jobs can use the engine.
type PoseEngineStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions: Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Learned is what the attempts of all jobs taught about variants on GPU
	// products. The annotation pose.dev/clear-learned empties it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Learned []LearnedVariant `json:"learned,omitempty"`
	// LearnedNodes is what they taught about nodes.
	// +optional
	// +listType=map
	// +listMapKey=node
	// +kubebuilder:validation:MaxItems=64
	LearnedNodes []LearnedNode `json:"learnedNodes,omitempty"`
	// LearnedThrough is the end of the last attempt that Learned and LearnedNodes
	// hold, so that a manager that starts again adds only later ones.
	// +optional
	LearnedThrough *metav1.Time `json:"learnedThrough,omitempty"`
	// Cleared is the last value of the annotation pose.dev/clear-learned that was
	// acted upon.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Cleared string `json:"cleared,omitempty"`
}

// LearnedVariant is what is known of one variant, with one image, on one GPU
// product with one driver.
type LearnedVariant struct {
	// Variant of the engine.
	Variant string `json:"variant"`
	// ImageID is the digest of the engine's image, as nodes report it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	ImageID string `json:"imageID,omitempty"`
	// GPUProduct as the node's label nvidia.com/gpu.product names it; empty for
	// nodes that do not say.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	GPUProduct string `json:"gpuProduct,omitempty"`
	// GPUDriver is the version that the node's labels name.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	GPUDriver string `json:"gpuDriver,omitempty"`
	// Reason of the last crash.
	// +optional
	Reason string `json:"reason,omitempty"`
	// MilliCrashes and MilliSuccesses count attempts in thousandths: old ones
	// weigh less.
	// +optional
	MilliCrashes int64 `json:"milliCrashes,omitempty"`
	// +optional
	MilliSuccesses int64 `json:"milliSuccesses,omitempty"`
	// Crashes and Attempts are the plain counts, for people.
	// +optional
	Crashes int64 `json:"crashes,omitempty"`
	// +optional
	Attempts int64 `json:"attempts,omitempty"`
	// Videos and Namespaces that crashed, as short digests: enough to tell
	// different ones apart, and not who has which.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	Videos []string `json:"videos,omitempty"`
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	Namespaces []string `json:"namespaces,omitempty"`
	// Since is the first crash that counts, Updated the last change.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// +optional
	Updated *metav1.Time `json:"updated,omitempty"`
	// SkipUntil is set while jobs skip the variant there. After it one job tries
	// again.
	// +optional
	SkipUntil *metav1.Time `json:"skipUntil,omitempty"`
	// Skips is how often SkipUntil was set in a row; each lasts longer.
	// +optional
	Skips int32 `json:"skips,omitempty"`
}

// LearnedNode is what is known of one node.
type LearnedNode struct {
	// Node by name.
	Node string `json:"node"`
	// Reason of the last failure.
	// +optional
	Reason string `json:"reason,omitempty"`
	// MilliFailures and MilliSuccesses count attempts in thousandths: old ones
	// weigh less.
	// +optional
	MilliFailures int64 `json:"milliFailures,omitempty"`
	// +optional
	MilliSuccesses int64 `json:"milliSuccesses,omitempty"`
	// Videos and Namespaces that failed there, as short digests.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	Videos []string `json:"videos,omitempty"`
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	Namespaces []string `json:"namespaces,omitempty"`
	// +optional
	Updated *metav1.Time `json:"updated,omitempty"`
	// AvoidUntil is set while jobs would rather run elsewhere.
	// +optional
	AvoidUntil *metav1.Time `json:"avoidUntil,omitempty"`
}
