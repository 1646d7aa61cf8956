package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PoseJob turns one video into one set of tracked human poses.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=pj,categories=pose
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Stage",type=string,JSONPath=`.status.stage`
// +kubebuilder:printcolumn:name="Progress",type=string,JSONPath=`.status.progress.summary`
// +kubebuilder:printcolumn:name="Device",type=string,JSONPath=`.status.device`
// +kubebuilder:printcolumn:name="Attempts",type=integer,JSONPath=`.status.attemptCount`
// +kubebuilder:printcolumn:name="Output",type=string,JSONPath=`.status.output.uri`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Variant",type=string,priority=1,JSONPath=`.status.variant`
// +kubebuilder:printcolumn:name="People",type=integer,priority=1,JSONPath=`.status.output.people`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type PoseJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the user asks for. The operator never writes it.
	Spec PoseJobSpec `json:"spec"`
	// Status is what became of it.
	// +kubebuilder:default={observedGeneration:-1}
	Status PoseJobStatus `json:"status,omitempty"`
}

// PoseJobList is a list of PoseJobs.
//
// +kubebuilder:object:root=true
type PoseJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PoseJob `json:"items"`
}

// PoseJobSpec is what the user asks for.
//
// What decides the result (video, output, engine, variants, device, people,
// managedBy) cannot be changed later: another result is another PoseJob. The rules stand
// here on the parent because a rule on an optional field does not run when the
// field is added or removed.
//
// +kubebuilder:validation:XValidation:rule="self.video == oldSelf.video",message="spec.video cannot be changed: create another PoseJob for another video"
// +kubebuilder:validation:XValidation:rule="self.output.uri == oldSelf.output.uri && self.output.overlay == oldSelf.output.overlay && self.output.overwrite == oldSelf.output.overwrite && has(self.output.credentialsSecretRef) == has(oldSelf.output.credentialsSecretRef) && (!has(self.output.credentialsSecretRef) || self.output.credentialsSecretRef == oldSelf.output.credentialsSecretRef)",message="spec.output cannot be changed, but for deletionPolicy: create another PoseJob for another place"
// +kubebuilder:validation:XValidation:rule="self.device == oldSelf.device",message="spec.device cannot be changed: create another PoseJob"
// +kubebuilder:validation:XValidation:rule="has(self.engineName) == has(oldSelf.engineName) && (!has(self.engineName) || self.engineName == oldSelf.engineName)",message="spec.engineName cannot be set, unset or changed later: create another PoseJob"
// +kubebuilder:validation:XValidation:rule="has(self.variants) == has(oldSelf.variants) && (!has(self.variants) || self.variants == oldSelf.variants)",message="spec.variants cannot be set, unset or changed later: create another PoseJob"
// +kubebuilder:validation:XValidation:rule="has(self.people) == has(oldSelf.people) && (!has(self.people) || self.people == oldSelf.people)",message="spec.people cannot be set, unset or changed later: create another PoseJob"
// +kubebuilder:validation:XValidation:rule="has(self.managedBy) == has(oldSelf.managedBy) && (!has(self.managedBy) || self.managedBy == oldSelf.managedBy)",message="spec.managedBy cannot be set, unset or changed later"
// +kubebuilder:validation:XValidation:rule="self.suspend || oldSelf.suspend || (has(self.podTemplate) == has(oldSelf.podTemplate) && (!has(self.podTemplate) || self.podTemplate == oldSelf.podTemplate))",message="spec.podTemplate can be changed only while spec.suspend is true"
type PoseJobSpec struct {
	// Video is what to look at.
	Video VideoSource `json:"video"`

	// Output is where the results go.
	Output Output `json:"output"`

	// EngineName names the PoseEngine. Unset means the engine that the platform
	// admin made the default (annotation pose.dev/is-default-engine: "true").
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="engineName must be the name of a PoseEngine: lower-case letters, digits, '-' and '.', with a letter or digit at both ends, as phalp"
	EngineName string `json:"engineName,omitempty"`

	// Device that the job may run on. Auto means the engine's variants in
	// their order, so a GPU where the engine prefers one and the CPU after it.
	// +optional
	// +kubebuilder:default=Auto
	Device DevicePreference `json:"device,omitempty"`

	// Variants is the job's own order of the engine's variants, by name. Unset
	// means all of them in the engine's order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.all(x, self.exists_one(y, x == y))",message="spec.variants must not name a variant twice"
	Variants []string `json:"variants,omitempty"`

	// Fallback says what may change between attempts.
	// +optional
	// +kubebuilder:default={}
	Fallback Fallback `json:"fallback,omitempty"`

	// People says who of the video belongs into the result. Unset means
	// everybody.
	// +optional
	People *PeopleSelection `json:"people,omitempty"`

	// Reuse says whether a verified result that was computed before, from the same
	// video with the same images, variant and parameters, will do. Unset means what
	// the platform admin chose.
	// +optional
	Reuse ReusePolicy `json:"reuse,omitempty"`

	// Suspend stops the job: a live pod is ended, and no new one is made until
	// it is false again. Attempts already made are kept.
	// +optional
	// +kubebuilder:default=false
	Suspend bool `json:"suspend"`

	// ActiveDeadlineSeconds bounds the job from its start to its end, all
	// attempts and the time between them included. Suspended time does not
	// count.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`

	// PendingTimeoutSeconds is how long an attempt may stay unschedulable
	// before another variant is tried. Unset means that it waits.
	// +optional
	// +kubebuilder:validation:Minimum=1
	PendingTimeoutSeconds *int64 `json:"pendingTimeoutSeconds,omitempty"`

	// StartTimeoutSeconds is how long a scheduled pod may fail to start
	// (image pull, configuration) before the attempt is given up.
	// +optional
	// +kubebuilder:default=600
	// +kubebuilder:validation:Minimum=1
	StartTimeoutSeconds int64 `json:"startTimeoutSeconds,omitempty"`

	// StallTimeoutSeconds is how long the engine may say nothing before the
	// attempt is given up. PHALP loads its first model for more than a minute
	// without a word.
	// +optional
	// +kubebuilder:default=900
	// +kubebuilder:validation:Minimum=10
	StallTimeoutSeconds int64 `json:"stallTimeoutSeconds,omitempty"`

	// DeliveryTimeoutSeconds bounds checking and uploading the results.
	// +optional
	// +kubebuilder:default=900
	// +kubebuilder:validation:Minimum=10
	DeliveryTimeoutSeconds int64 `json:"deliveryTimeoutSeconds,omitempty"`

	// BackoffLimit is how many times a failed attempt is repeated on the same
	// variant. Moving to another variant and disruptions do not count.
	// +optional
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=5
	BackoffLimit *int32 `json:"backoffLimit,omitempty"`

	// TTLSecondsAfterFinished deletes the PoseJob so long after its end, as in
	// a Job. Unset keeps it. Results go with it only where output.deletionPolicy
	// says so.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`

	// PodTTLSecondsAfterFinished deletes an attempt's pod so long after its
	// end; its outcome stays in status.attempts.
	// +optional
	// +kubebuilder:default=600
	// +kubebuilder:validation:Minimum=0
	PodTTLSecondsAfterFinished *int32 `json:"podTTLSecondsAfterFinished,omitempty"`

	// ManagedBy names the controller that acts on this job. Unset or
	// "pose.dev/operator" is this operator; it leaves every other job alone.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	ManagedBy string `json:"managedBy,omitempty"`

	// ScratchSize bounds the disk that video and results take while the job
	// runs; input and output each get so much.
	// +optional
	// +kubebuilder:default="20Gi"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self))",message="scratchSize must be a number and its unit without a space, as 500Mi or 20Gi; the units are Ki, Mi, Gi, Ti (powers of 1024) and k, M, G, T (powers of 1000), without a B"
	// +kubebuilder:validation:XValidation:rule="!isQuantity(string(self)) || quantity(string(self)).compareTo(quantity('1Mi')) >= 0",message="scratchSize must be at least 1Mi, as it holds the whole video: write a number and its unit, as 20Gi; without a unit it is bytes, and m is a thousandth of a byte"
	ScratchSize *resource.Quantity `json:"scratchSize,omitempty"`

	// PodTemplate adjusts the pods of the attempts.
	// +optional
	PodTemplate *PodTemplate `json:"podTemplate,omitempty"`
}

// DevicePreference is where a job may run.
//
// +kubebuilder:validation:Enum=Auto;GPU;CPU
type DevicePreference string

// Device preferences.
const (
	DeviceAuto DevicePreference = "Auto"
	DeviceGPU  DevicePreference = "GPU"
	DeviceCPU  DevicePreference = "CPU"
)

// Device is where a variant runs.
//
// +kubebuilder:validation:Enum=GPU;CPU
type Device string

// Devices.
const (
	GPU Device = "GPU"
	CPU Device = "CPU"
)

// Output is where the results go.
type Output struct {
	// URI is s3://bucket/prefix, gs://bucket/prefix, azblob://container/prefix or
	// pvc://claim/path. By default its path must begin with the namespace of the
	// PoseJob.
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^(s3|gs|azblob|pvc)://')",message="unknown scheme: results go to s3://bucket/prefix, gs://bucket/prefix, azblob://container/prefix or pvc://claim/path"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^/]*//[^/]*@')",message="no user or password in a URI: put them into the Secret that credentialsSecretRef names"
	// +kubebuilder:validation:XValidation:rule="!self.contains('?') && !self.contains('#')",message="no query or fragment in a URI"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^/]*//[^/]+/.')",message="the URI names no folder: write scheme://bucket-or-claim/path"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(/|^)[.][.]?(/|$)') && !self.matches('%2[EeFf]')",message="no . or .. in the path of a URI, and no percent-encoded dot or slash"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:][:space:]]')",message="no white space or control characters in a URI: write them percent-encoded"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('pvc:') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/')",message="pvc://claim/path must name a PersistentVolumeClaim of this namespace"
	URI string `json:"uri"`

	// CredentialsSecretRef names a Secret in this namespace, with the keys of
	// video.credentialsSecretRef. Only the container that uploads sees it.
	// +optional
	CredentialsSecretRef *SecretReference `json:"credentialsSecretRef,omitempty"`

	// Overlay asks for a video with the skeletons drawn in: Full shows the
	// people as they are, Blurred hides their faces.
	// +optional
	// +kubebuilder:default=None
	Overlay Overlay `json:"overlay,omitempty"`

	// Overwrite allows the result to take the place of another job's, and of a
	// foreign file, at this URI. Denied by default: the job fails instead.
	// +optional
	// +kubebuilder:default=Deny
	Overwrite Permission `json:"overwrite,omitempty"`

	// DeletionPolicy says what becomes of the results when the PoseJob is deleted,
	// also by its ttlSecondsAfterFinished. Delete removes all that its attempts
	// wrote before the object goes. It can be changed at any time.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// DeletionPolicy is what becomes of results when their job is deleted.
//
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// Deletion policies.
const (
	DeletionRetain DeletionPolicy = "Retain"
	DeletionDelete DeletionPolicy = "Delete"
)

// ReusePolicy says whether a job may have a result that was computed before.
//
// +kubebuilder:validation:Enum=IfVerified;Never
type ReusePolicy string

// Reuse policies.
const (
	// ReuseIfVerified takes a result of the same video, images, variant and
	// parameters whose files are all there and unchanged.
	ReuseIfVerified ReusePolicy = "IfVerified"
	ReuseNever      ReusePolicy = "Never"
)

// Overlay is what the overlay video shows.
//
// +kubebuilder:validation:Enum=None;Blurred;Full
type Overlay string

// Overlays.
const (
	OverlayNone    Overlay = "None"
	OverlayBlurred Overlay = "Blurred"
	OverlayFull    Overlay = "Full"
)

// PeopleSelection says who belongs into the result.
type PeopleSelection struct {
	// Max keeps so many people: those with the largest sum of box heights over
	// the frames in which they were seen, so the nearest and longest seen.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Max int32 `json:"max"`
}

// Permission allows or denies one kind of change between attempts.
//
// +kubebuilder:validation:Enum=Allow;Deny
type Permission string

// Permissions.
const (
	Allow Permission = "Allow"
	Deny  Permission = "Deny"
)

// Fallback says what may change between attempts.
type Fallback struct {
	// Device allows a variant on the other device after the first.
	// +optional
	// +kubebuilder:default=Allow
	Device Permission `json:"device,omitempty"`
	// Detector allows a variant with another detector than the first.
	// +optional
	// +kubebuilder:default=Allow
	Detector Permission `json:"detector,omitempty"`
	// Engine allows the engine's fallbackEngineName as the last rung. Denied by
	// default: 33 landmarks are not a body model.
	// +optional
	// +kubebuilder:default=Deny
	Engine Permission `json:"engine,omitempty"`
}

// PodTemplate is the short list of what a job may set on its pods. Names that
// reach beyond the namespace need the platform admin's permission.
//
// +kubebuilder:validation:XValidation:rule="!has(self.labels) || self.labels.all(k, !k.startsWith('pose.dev/') && !k.startsWith('app.kubernetes.io/'))",message="podTemplate.labels: the prefixes pose.dev/ and app.kubernetes.io/ belong to the operator"
// +kubebuilder:validation:XValidation:rule="!has(self.annotations) || self.annotations.all(k, !k.startsWith('pose.dev/'))",message="podTemplate.annotations: the prefix pose.dev/ belongs to the operator"
type PodTemplate struct {
	// Labels added to the pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations added to the pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Annotations map[string]string `json:"annotations,omitempty"`
	// NodeSelector is joined with the variant's; the variant's wins.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Tolerations are added to the variant's. Denied unless the policy allows.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// ServiceAccountName of the pods. Denied unless the policy allows it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// PriorityClassName of the pods. Denied unless the policy allows it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// RuntimeClassName of the pods. Denied unless the policy allows it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RuntimeClassName string `json:"runtimeClassName,omitempty"`
	// ImagePullSecrets are added to the operator's.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	ImagePullSecrets []SecretReference `json:"imagePullSecrets,omitempty"`
	// Resources change the variant's for the engine container, by device: those
	// that are named here win, the others stay.
	// +optional
	Resources *DeviceResources `json:"resources,omitempty"`
}

// DeviceResources are the engine container's resources by device.
type DeviceResources struct {
	// CPU is for variants that run on the CPU.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.limits) || self.limits.all(k, (type(self.limits[k]) == int ? quantity('0').add(self.limits[k]) : quantity(self.limits[k])).compareTo(quantity('0')) >= (k in ['cpu', 'memory'] ? 1 : 0))",message="podTemplate.resources: a limit of cpu or memory must be greater than zero, as memory: 4Gi, and none may be negative"
	// +kubebuilder:validation:XValidation:rule="!has(self.requests) || self.requests.all(k, (type(self.requests[k]) == int ? quantity('0').add(self.requests[k]) : quantity(self.requests[k])).compareTo(quantity('0')) >= (k in ['cpu', 'memory'] ? 1 : 0))",message="podTemplate.resources: a request of cpu or memory must be greater than zero, as cpu: \"2\", and none may be negative"
	// +kubebuilder:validation:XValidation:rule="!has(self.limits) || !has(self.requests) || !('memory' in self.limits) || !('memory' in self.requests) || quantity(string(self.limits['memory'])).compareTo(quantity(string(self.requests['memory']))) == 0",message="podTemplate.resources: memory is always requested as much as it is limited: leave the request out"
	// +kubebuilder:validation:XValidation:rule="['nvidia.com/gpu', 'amd.com/gpu', 'gpu.intel.com/i915', 'gpu.intel.com/xe'].all(g, (!has(self.limits) || !(g in self.limits)) && (!has(self.requests) || !(g in self.requests)))",message="podTemplate.resources.cpu is for variants that run on the CPU, which have no GPU: put a GPU into podTemplate.resources.gpu"
	CPU *Resources `json:"cpu,omitempty"`
	// GPU is for variants that run on a GPU.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.limits) || self.limits.all(k, (type(self.limits[k]) == int ? quantity('0').add(self.limits[k]) : quantity(self.limits[k])).compareTo(quantity('0')) >= (k in ['cpu', 'memory'] ? 1 : 0))",message="podTemplate.resources: a limit of cpu or memory must be greater than zero, as memory: 4Gi, and none may be negative"
	// +kubebuilder:validation:XValidation:rule="!has(self.requests) || self.requests.all(k, (type(self.requests[k]) == int ? quantity('0').add(self.requests[k]) : quantity(self.requests[k])).compareTo(quantity('0')) >= (k in ['cpu', 'memory'] ? 1 : 0))",message="podTemplate.resources: a request of cpu or memory must be greater than zero, as cpu: \"2\", and none may be negative"
	// +kubebuilder:validation:XValidation:rule="!has(self.limits) || !has(self.requests) || !('memory' in self.limits) || !('memory' in self.requests) || quantity(string(self.limits['memory'])).compareTo(quantity(string(self.requests['memory']))) == 0",message="podTemplate.resources: memory is always requested as much as it is limited: leave the request out"
	GPU *Resources `json:"gpu,omitempty"`
}

// Resources are a container's requests and limits.
type Resources struct {
	// Requests. Memory is always requested as much as it is limited.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	Requests corev1.ResourceList `json:"requests,omitempty"`
	// Limits.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	Limits corev1.ResourceList `json:"limits,omitempty"`
}
