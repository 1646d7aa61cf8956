package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// PoseBatch runs one PoseJob for each of many videos.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=pb,categories=pose,path=posebatches
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Progress",type=string,JSONPath=`.status.progress`
// +kubebuilder:printcolumn:name="Running",type=integer,JSONPath=`.status.counts.running`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.counts.failed`
// +kubebuilder:printcolumn:name="Estimated-End",type=string,priority=1,JSONPath=`.status.estimatedCompletionTime`
// +kubebuilder:printcolumn:name="GPU-Seconds",type=integer,JSONPath=`.status.gpuSeconds`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reused",type=integer,priority=1,JSONPath=`.status.counts.reused`
// +kubebuilder:printcolumn:name="Index",type=string,priority=1,JSONPath=`.status.index.uri`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type PoseBatch struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the user asks for. The operator never writes it.
	Spec PoseBatchSpec `json:"spec"`
	// Status is what became of it.
	// +kubebuilder:default={observedGeneration:-1}
	Status PoseBatchStatus `json:"status,omitempty"`
}

// PoseBatchList is a list of PoseBatches.
//
// +kubebuilder:object:root=true
type PoseBatchList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PoseBatch `json:"items"`
}

// PoseBatchSpec is what the user asks for. What decides the results (videos,
// output, template) cannot be changed later.
//
// +kubebuilder:validation:XValidation:rule="self.videos == oldSelf.videos",message="spec.videos cannot be changed: the list of clips is made once. Create another PoseBatch; results that are there already are found again"
// +kubebuilder:validation:XValidation:rule="self.output.uri == oldSelf.output.uri && self.output.overlay == oldSelf.output.overlay && self.output.overwrite == oldSelf.output.overwrite && has(self.output.credentialsSecretRef) == has(oldSelf.output.credentialsSecretRef) && (!has(self.output.credentialsSecretRef) || self.output.credentialsSecretRef == oldSelf.output.credentialsSecretRef)",message="spec.output cannot be changed, but for deletionPolicy: create another PoseBatch for another place"
// +kubebuilder:validation:XValidation:rule="self.template == oldSelf.template",message="spec.template cannot be changed: create another PoseBatch"
type PoseBatchSpec struct {
	// Videos are the clips, one PoseJob each.
	Videos BatchVideos `json:"videos"`

	// Output is where the results go.
	Output BatchOutput `json:"output"`

	// Template is what all PoseJobs of the batch have in common.
	// +optional
	// +kubebuilder:default={}
	Template BatchTemplate `json:"template,omitempty"`

	// Parallelism is how many PoseJobs, and pods of many clips, run side by side. A
	// smaller number ends none that runs.
	// +optional
	// +kubebuilder:default=4
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Parallelism int32 `json:"parallelism,omitempty"`

	// ClipsPerPod is how many clips one pod works through, its engine loaded once,
	// where the engine can (clipsCommand of a variant). parallelism then counts pods.
	// A clip that fails there gets a PoseJob of its own, with all retries and
	// fallbacks. It can be changed while the batch runs.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=50
	ClipsPerPod int32 `json:"clipsPerPod,omitempty"`

	// Suspend stops the batch: its PoseJobs are suspended, and no new ones are
	// made until it is false again.
	// +optional
	// +kubebuilder:default=false
	Suspend bool `json:"suspend"`

	// ActiveDeadlineSeconds bounds the batch from its start to its last clip.
	// Suspended time does not count. What runs then is ended.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`

	// FailurePolicy says when a batch whose clips fail is given up.
	// +optional
	FailurePolicy *BatchFailurePolicy `json:"failurePolicy,omitempty"`

	// Budget bounds what the batch may use up.
	// +optional
	Budget *BatchBudget `json:"budget,omitempty"`

	// FailedJobsHistoryLimit is how many PoseJobs of clips that failed are kept to
	// be looked at, the newest. What became of every clip stands in the batch's
	// index in any case.
	// +optional
	// +kubebuilder:default=20
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=200
	FailedJobsHistoryLimit *int32 `json:"failedJobsHistoryLimit,omitempty"`

	// SuccessfulJobsHistoryLimit is how many PoseJobs of clips that succeeded are
	// kept.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=200
	SuccessfulJobsHistoryLimit *int32 `json:"successfulJobsHistoryLimit,omitempty"`
}

// BatchVideos names many videos. The list is made once, when the batch starts.
//
// +kubebuilder:validation:XValidation:rule="[has(self.prefix), has(self.uris), has(self.list)].exists_one(x, x)",message="spec.videos needs exactly one of prefix, uris and list"
type BatchVideos struct {
	// Prefix is a folder, all of whose videos are meant, those in its folders too:
	// s3://bucket/folder/, gs://bucket/folder/, azblob://container/folder/ or
	// pvc://claim/folder/.
	// +optional
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=768
	// +kubebuilder:validation:XValidation:rule="self.matches('^(s3|gs|azblob|pvc)://')",message="unknown scheme: a prefix is s3://bucket/folder/, gs://bucket/folder/, azblob://container/folder/ or pvc://claim/folder/"
	// +kubebuilder:validation:XValidation:rule="self.endsWith('/')",message="a prefix must end with /, as s3://bucket/folder/: without, folder-2/ would be meant too"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]+://[^/?#@]+/([^?#]*)$') && !self.matches('[[:cntrl:][:space:]]')",message="a prefix has no user, password, query, fragment or white space"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(/|^)[.][.]?(/|$)') && !self.matches('%2[EeFf]')",message="no . or .. in the path of a URI, and no percent-encoded dot or slash"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('pvc:') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/')",message="pvc://claim/path must name a PersistentVolumeClaim of this namespace"
	Prefix string `json:"prefix,omitempty"`

	// URIs of the videos, with the schemes of a PoseJob's video. More than these
	// go into a file: list.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=500
	// +kubebuilder:validation:items:MinLength=8
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:Pattern=`^(s3|gs|azblob|https?|pvc|oci)://[^/?#@\s]+/[^?#\s]+$`
	URIs []string `json:"uris,omitempty"`

	// List is the URI of a text file with one URI on a line, or of a .csv file
	// whose first column, or column uri, holds them. Empty lines and lines that
	// begin with # are left out.
	// +optional
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^(s3|gs|azblob|https?|pvc|oci)://[^/?#@]+/[^?#]+$') && !self.matches('[[:cntrl:][:space:]]')",message="a list is s3://bucket/key, gs://bucket/key, azblob://container/key, https://host/path, http://host/path, pvc://claim/path or oci://image//path, without user, password, query, fragment or white space"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(/|^)[.][.]?(/|$)') && !self.matches('%2[EeFf]')",message="no . or .. in the path of a URI, and no percent-encoded dot or slash"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('pvc:') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/')",message="pvc://claim/path must name a PersistentVolumeClaim of this namespace"
	List string `json:"list,omitempty"`

	// Include keeps only the videos whose name one of these patterns fits: * is
	// any characters but /, ** any at all, ? one. A pattern with a / is held
	// against the whole path below the prefix (of a list: behind the bucket or
	// host), one without against the file's name. Unset: of a prefix the files
	// that end as videos do (.mp4, .mov and their like), of a list all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	Include []string `json:"include,omitempty"`

	// Exclude leaves out the videos whose name one of these patterns fits, after
	// include.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	Exclude []string `json:"exclude,omitempty"`

	// MaxVideos is the most that the batch may become: with more it fails before
	// any PoseJob is made.
	// +optional
	// +kubebuilder:default=100000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxVideos int32 `json:"maxVideos,omitempty"`

	// CredentialsSecretRef names a Secret in this namespace by which the list and
	// every video are read, with the keys of a PoseJob's
	// video.credentialsSecretRef.
	// +optional
	CredentialsSecretRef *SecretReference `json:"credentialsSecretRef,omitempty"`
}

// BatchOutput is where the results of a batch go.
type BatchOutput struct {
	// URI is s3://bucket/prefix, gs://bucket/prefix, azblob://container/prefix or
	// pvc://claim/path. The results of a video lie in the folder of its own path
	// there, without its ending; batch.json, written last, leads to all of them.
	// By default the path must begin with the namespace.
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^(s3|gs|azblob|pvc)://')",message="unknown scheme: results go to s3://bucket/prefix, gs://bucket/prefix, azblob://container/prefix or pvc://claim/path"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^/]*//[^/]*@')",message="no user or password in a URI: put them into the Secret that credentialsSecretRef names"
	// +kubebuilder:validation:XValidation:rule="!self.contains('?') && !self.contains('#')",message="no query or fragment in a URI"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^/]*//[^/]+/.')",message="the URI names no folder: write scheme://bucket-or-claim/path"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(/|^)[.][.]?(/|$)') && !self.matches('%2[EeFf]')",message="no . or .. in the path of a URI, and no percent-encoded dot or slash"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:][:space:]]')",message="no white space or control characters in a URI: write them percent-encoded"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('pvc:') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/')",message="pvc://claim/path must name a PersistentVolumeClaim of this namespace"
	URI string `json:"uri"`

	// CredentialsSecretRef, Overlay, Overwrite and DeletionPolicy as in a
	// PoseJob's output. With deletionPolicy Delete all results of the batch and its
	// batch.json go when it is deleted, by one pod. The PoseJobs themselves take
	// nothing along.
	// +optional
	CredentialsSecretRef *SecretReference `json:"credentialsSecretRef,omitempty"`
	// +optional
	// +kubebuilder:default=None
	Overlay Overlay `json:"overlay,omitempty"`
	// +optional
	// +kubebuilder:default=Deny
	Overwrite Permission `json:"overwrite,omitempty"`
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// BatchTemplate is what all PoseJobs of a batch have in common: the fields of a
// PoseJob's spec of the same names. What is unset is as if it were unset there.
type BatchTemplate struct {
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="engineName must be the name of a PoseEngine: lower-case letters, digits, '-' and '.', with a letter or digit at both ends, as phalp"
	EngineName string `json:"engineName,omitempty"`
	// +optional
	Device DevicePreference `json:"device,omitempty"`
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.all(x, self.exists_one(y, x == y))",message="variants must not name a variant twice"
	Variants []string `json:"variants,omitempty"`
	// +optional
	Fallback *Fallback `json:"fallback,omitempty"`
	// +optional
	People *PeopleSelection `json:"people,omitempty"`
	// +optional
	Reuse ReusePolicy `json:"reuse,omitempty"`
	// CaptureFPS and FocalLengthPx of every video.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 && self <= 100000 : self.matches('^[0-9]{1,6}([.][0-9]{1,6})?$') && double(self) >= 1.0 && double(self) <= 100000.0",message="captureFPS must be a number of frames a second from 1 to 100000, as 240 or \"239.76\""
	CaptureFPS *intstr.IntOrString `json:"captureFPS,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	FocalLengthPx *int64 `json:"focalLengthPx,omitempty"`
	// ActiveDeadlineSeconds of every PoseJob.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=1
	PendingTimeoutSeconds *int64 `json:"pendingTimeoutSeconds,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=1
	StartTimeoutSeconds int64 `json:"startTimeoutSeconds,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=10
	StallTimeoutSeconds int64 `json:"stallTimeoutSeconds,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=10
	DeliveryTimeoutSeconds int64 `json:"deliveryTimeoutSeconds,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=5
	BackoffLimit *int32 `json:"backoffLimit,omitempty"`
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self))",message="scratchSize must be a number and its unit without a space, as 500Mi or 20Gi; the units are Ki, Mi, Gi, Ti (powers of 1024) and k, M, G, T (powers of 1000), without a B"
	// +kubebuilder:validation:XValidation:rule="!isQuantity(string(self)) || quantity(string(self)).compareTo(quantity('1Mi')) >= 0",message="scratchSize must be at least 1Mi, as it holds the whole video: write a number and its unit, as 20Gi; without a unit it is bytes, and m is a thousandth of a byte"
	ScratchSize *resource.Quantity `json:"scratchSize,omitempty"`
	// +optional
	PodTemplate *PodTemplate `json:"podTemplate,omitempty"`
}

// BatchFailurePolicy says when a batch is given up.
type BatchFailurePolicy struct {
	// MaxFailed is how many clips may fail, as a number or a percentage of all
	// (rounded down). With one more the batch ends early: what runs is ended,
	// and the other clips are cancelled.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 && self <= 100000 : self.matches('^([0-9]|[1-9][0-9]|100)%$')",message="maxFailed must be a number from 0 or a percentage from 0% to 100%, as 10 or 5%"
	MaxFailed intstr.IntOrString `json:"maxFailed"`
}

// BatchBudget bounds the engine's time of all attempts of all PoseJobs by the device
// that they asked for. Once a bound is reached no PoseJob is made any more;
// those that run go on to their end. Pods of many clips are ended then, and what they
// delivered counts.
//
// +kubebuilder:validation:XValidation:rule="has(self.gpuSeconds) || has(self.cpuSeconds)",message="a budget needs gpuSeconds or cpuSeconds"
type BatchBudget struct {
	// GPUSeconds that attempts may hold GPUs.
	// +optional
	// +kubebuilder:validation:Minimum=1
	GPUSeconds *int64 `json:"gpuSeconds,omitempty"`
	// CPUSeconds that engines of attempts on the CPU may run, whatever their
	// number of cores.
	// +optional
	// +kubebuilder:validation:Minimum=1
	CPUSeconds *int64 `json:"cpuSeconds,omitempty"`
}
