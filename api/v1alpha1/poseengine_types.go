package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PoseEngine says how to run one pose engine. Only platform admins write it:
// it names images and commands that run in every namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=pe,categories=pose
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Variant",type=string,JSONPath=`.spec.variants[0].name`
// +kubebuilder:printcolumn:name="Default",type=string,JSONPath=`.metadata.annotations.pose\.dev/is-default-engine`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type PoseEngine struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec PoseEngineSpec `json:"spec"`
	// +kubebuilder:default={observedGeneration:-1}
	Status PoseEngineStatus `json:"status,omitempty"`
}

// PoseEngineList is a list of PoseEngines.
//
// +kubebuilder:object:root=true
type PoseEngineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PoseEngine `json:"items"`
}

// PoseEngineSpec says how to run one engine.
type PoseEngineSpec struct {
	// Variants in order of preference. A fallback may change image, arguments,
	// detector, memory and device together.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Variants []Variant `json:"variants"`

	// FallbackEngineName names the PoseEngine whose variants follow this one's
	// in jobs whose spec.fallback.engine allows it. Its results are of a lesser
	// kind, and say so: Degraded.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="fallbackEngineName must be the name of a PoseEngine: lower-case letters, digits, '-' and '.', with a letter or digit at both ends, as mediapipe"
	FallbackEngineName string `json:"fallbackEngineName,omitempty"`

	// Stages say which line of the engine's log enters which stage.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Stages []StageRule `json:"stages,omitempty"`

	// ProgressPattern is an RE2 over a log line with the named group frame
	// and, where the engine prints it, total.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="''.matches(self) in [true, false]",message="progressPattern must be a valid RE2"
	// +kubebuilder:validation:XValidation:rule="self.contains('(?P<frame>')",message="progressPattern needs the named group (?P<frame>...)"
	ProgressPattern string `json:"progressPattern,omitempty"`

	// FailureRules are tried before the built-in ones, in order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	FailureRules []FailureRule `json:"failureRules,omitempty"`

	// Outputs are the files that the engine writes.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.exists(o, o.format == 'PoseJSON' && o.required)",message="one output must be of format PoseJSON and required: it is what proves that every frame was covered"
	Outputs []EngineOutput `json:"outputs"`
}

// Variant is one way to run an engine.
//
// +kubebuilder:validation:XValidation:rule="self.device != 'CPU' || !has(self.resources) || !has(self.resources.limits) || (!('nvidia.com/gpu' in self.resources.limits) && !('amd.com/gpu' in self.resources.limits) && !('gpu.intel.com/i915' in self.resources.limits) && !('gpu.intel.com/xe' in self.resources.limits))",message="a CPU variant must not ask for a GPU"
// +kubebuilder:validation:XValidation:rule="!has(self.preflight) || !has(self.runner) || self.runner != 'None'",message="a preflight needs pose-runner: leave runner at Inject, or leave the preflight out"
// +kubebuilder:validation:XValidation:rule="!has(self.clipsCommand) || !has(self.runner) || self.runner != 'None'",message="a clipsCommand needs pose-runner: leave runner at Inject, or leave clipsCommand out"
// +kubebuilder:validation:XValidation:rule="self.device != 'CPU' || !has(self.preflight) || !has(self.preflight.gpuMemory)",message="a CPU variant has no GPU whose memory preflight.gpuMemory could ask for"
// +kubebuilder:validation:XValidation:rule="!has(self.maxMemory) || (has(self.resources) && has(self.resources.limits) && 'memory' in self.resources.limits)",message="maxMemory needs resources.limits.memory to start from"
// +kubebuilder:validation:XValidation:rule="!has(self.maxMemory) || !has(self.resources) || !has(self.resources.limits) || !('memory' in self.resources.limits) || quantity(string(self.maxMemory)).compareTo(type(self.resources.limits['memory']) == int ? quantity('0').add(self.resources.limits['memory']) : quantity(self.resources.limits['memory'])) >= 0",message="maxMemory must not be below resources.limits.memory: it is how far that limit may be raised"
// +kubebuilder:validation:XValidation:rule="has(self.adapter) || !self.command.exists(c, c.contains('/pose/adapter/'))",message="the command uses /pose/adapter, and the variant has no adapter: name the adapter's image in adapter.image"
// +kubebuilder:validation:XValidation:rule="has(self.adapter) || !has(self.clipsCommand) || !self.clipsCommand.exists(c, c.contains('/pose/adapter/'))",message="clipsCommand uses /pose/adapter, and the variant has no adapter: name the adapter's image in adapter.image"
// +kubebuilder:validation:XValidation:rule="!has(self.boxes) || self.command.exists(c, c.contains('$(BOXES)'))",message="the variant takes boxes, and its command does not say where they go: put $(BOXES) into command, or leave boxes out"
type Variant struct {
	// Name of the variant, unique within the engine.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`

	// Device that the variant runs on.
	Device Device `json:"device"`

	// Image of the engine, by digest in production. An empty image makes the
	// engine not ready: ImageNotSet.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`

	// ImagePullPolicy as in a pod.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// Command is the engine's argv. $(VIDEO), $(OUTPUT_DIR), $(OVERLAY) (none,
	// blurred or full), $(DEVICE) (gpu or cpu), $(START_FRAME), $(BOXES) (a file,
	// or nothing), $(CAPTURE_FPS), $(FOCAL_LENGTH_PX) and $(MAX_PEOPLE) (0 where
	// the job does not say) are replaced; there is no shell. The video is cut to
	// spec.video.frames before the engine sees it; $(START_FRAME) says where in
	// the source it begins.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=48
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:XValidation:rule="!self.replace('$(VIDEO)', ' ').replace('$(OUTPUT_DIR)', ' ').replace('$(OVERLAY)', ' ').replace('$(DEVICE)', ' ').replace('$(START_FRAME)', ' ').replace('$(BOXES)', ' ').replace('$(CAPTURE_FPS)', ' ').replace('$(FOCAL_LENGTH_PX)', ' ').replace('$(MAX_PEOPLE)', ' ').matches(r'[$][(]([A-Z]\\w*|video|output_dir|overlay|device)[)]')",message="unknown placeholder: the known ones are $(VIDEO), $(OUTPUT_DIR), $(OVERLAY), $(DEVICE), $(START_FRAME), $(BOXES), $(CAPTURE_FPS), $(FOCAL_LENGTH_PX) and $(MAX_PEOPLE)"
	// +listType=atomic
	Command []string `json:"command"`

	// ClipsCommand is the argv with which the engine loads once and works through many
	// clips, one JSON line on its standard input for each, as docs/clips.md says. Its
	// results must be those of command. $(DEVICE) is replaced. Unset: every clip of a
	// PoseBatch gets a pod of its own.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=48
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:XValidation:rule="!self.replace('$(DEVICE)', ' ').matches(r'[$][(]([A-Z]\\w*|video|output_dir|overlay|device)[)]')",message="clipsCommand knows the placeholder $(DEVICE) alone: what concerns one clip comes in its line"
	// +listType=atomic
	ClipsCommand []string `json:"clipsCommand,omitempty"`

	// Adapter is an image of files that help the engine's image, as a wrapper in
	// Python, so that the engine's own image stays as it is. Its folder /adapter
	// is copied into the pod, where the engine sees it as /pose/adapter,
	// read-only.
	// +optional
	Adapter *Adapter `json:"adapter,omitempty"`

	// Boxes says whether the variant takes spec.video.boxes of a job. Required:
	// it runs only jobs that have them. Optional: it runs any. Unset: it runs
	// only jobs without.
	// +optional
	Boxes BoxesUse `json:"boxes,omitempty"`

	// OnRequest leaves the variant out unless spec.variants of a job names it.
	// +optional
	OnRequest bool `json:"onRequest,omitempty"`

	// Env of the engine. Values only: engine code gets no Secrets.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Env []EnvVar `json:"env,omitempty"`

	// WorkingDir of the engine; the image's own when unset.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	WorkingDir string `json:"workingDir,omitempty"`

	// Detector that the variant loads, by any name. After a crash in detector
	// load, variants with the same detector on the same device are skipped.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Detector string `json:"detector,omitempty"`

	// Resources of the engine's container.
	// +optional
	Resources *Resources `json:"resources,omitempty"`

	// MaxMemory is how far the memory limit may be raised after an attempt ran
	// out of memory. Unset means not at all.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=32
	MaxMemory *resource.Quantity `json:"maxMemory,omitempty"`

	// NodeSelector of the pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// Tolerations of the pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// RuntimeClassName of the pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RuntimeClassName string `json:"runtimeClassName,omitempty"`

	// SecurityContext of the engine's container, for images that need their
	// own user or a writable root.
	// +optional
	SecurityContext *EngineSecurityContext `json:"securityContext,omitempty"`

	// AllowNetwork leaves network sockets to the engine. Unset, seccomp refuses
	// them.
	// +optional
	AllowNetwork bool `json:"allowNetwork,omitempty"`

	// Models are read-only volumes with weights.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Models []ModelVolume `json:"models,omitempty"`

	// SharedMemorySize is how large /dev/shm is, which PyTorch's data loaders
	// pass tensors through. It counts against the memory limit. Unset leaves the
	// container runtime's 64Mi.
	// +optional
	SharedMemorySize *resource.Quantity `json:"sharedMemorySize,omitempty"`

	// Runner says whether pose-runner starts the engine. None runs the image
	// exactly as it is, and gives up stages, progress, the stall watch, the true
	// signal and the refusal of network sockets. The platform admin must allow it.
	// Unset is Inject: a default in a list would look like drift to GitOps tools.
	// +optional
	Runner RunnerMode `json:"runner,omitempty"`

	// Preflight runs before the engine, so that a crash that was bound to come
	// costs seconds rather than the whole load.
	// +optional
	Preflight *Preflight `json:"preflight,omitempty"`

	// ActiveDeadlineSeconds bounds one attempt of the variant, from when its pod
	// has a node: a net for what neither stalls nor ends. The next variant
	// follows. Unset bounds nothing.
	// +optional
	// +kubebuilder:validation:Minimum=60
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`

	// Estimate of the variant's pace, for jobs with a deadline: a variant that
	// cannot end in time is not started.
	// +optional
	Estimate *Estimate `json:"estimate,omitempty"`
}

// Adapter is an image of files.
type Adapter struct {
	// Image with the folder /adapter, by digest in production.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image"`
	// ImagePullPolicy as in a pod.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
}

// BoxesUse says whether a variant takes boxes.
//
// +kubebuilder:validation:Enum=Required;Optional
type BoxesUse string

// Uses of boxes.
const (
	BoxesRequired BoxesUse = "Required"
	BoxesOptional BoxesUse = "Optional"
)

// RunnerMode says whether pose-runner starts the engine.
//
// +kubebuilder:validation:Enum=Inject;None
type RunnerMode string

// Runner modes.
const (
	RunnerInject RunnerMode = "Inject"
	RunnerNone   RunnerMode = "None"
)

// Preflight is a first step that loads only what tends to crash, or looks at the
// device.
//
// +kubebuilder:validation:XValidation:rule="has(self.command) || has(self.gpuMemory)",message="preflight needs a command, gpuMemory, or both"
type Preflight struct {
	// Command loads what tends to crash, as the detector alone, and exits with 0
	// when it could. Placeholders as in the variant's command.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=48
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:XValidation:rule="!self.replace('$(VIDEO)', ' ').replace('$(OUTPUT_DIR)', ' ').replace('$(OVERLAY)', ' ').replace('$(DEVICE)', ' ').replace('$(START_FRAME)', ' ').replace('$(BOXES)', ' ').replace('$(CAPTURE_FPS)', ' ').replace('$(FOCAL_LENGTH_PX)', ' ').replace('$(MAX_PEOPLE)', ' ').matches(r'[$][(]([A-Z]\\w*|video|output_dir|overlay|device)[)]')",message="unknown placeholder: the known ones are $(VIDEO), $(OUTPUT_DIR), $(OVERLAY), $(DEVICE), $(START_FRAME), $(BOXES), $(CAPTURE_FPS), $(FOCAL_LENGTH_PX) and $(MAX_PEOPLE)"
	// +listType=atomic
	Command []string `json:"command,omitempty"`
	// Stage that a death of the command counts for; DetectorLoad when unset.
	// +optional
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Za-z]*$`
	// +kubebuilder:validation:MaxLength=40
	Stage string `json:"stage,omitempty"`
	// TimeoutSeconds bounds the command; 300 when unset.
	// +optional
	// +kubebuilder:validation:Minimum=1
	TimeoutSeconds int64 `json:"timeoutSeconds,omitempty"`
	// GPUMemory that must be free on a GPU of the container. It is asked of
	// nvidia-smi.
	// +optional
	GPUMemory *resource.Quantity `json:"gpuMemory,omitempty"`
}

// Estimate is how fast a variant is, on the hardware that it is meant for. An
// optimistic one is the safe one: it only rules out what cannot end in time.
type Estimate struct {
	// LoadSeconds before the first frame.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=604800
	LoadSeconds int64 `json:"loadSeconds,omitempty"`
	// MilliFPS is the pace in thousandths of frames per second.
	// +kubebuilder:validation:Minimum=1
	MilliFPS int64 `json:"milliFPS"`
	// TypicalMilliFPS is the pace with the resources that the variant asks for. It
	// rules out nothing: people are told by it how long an attempt will take,
	// before it starts.
	// +optional
	// +kubebuilder:validation:Minimum=1
	TypicalMilliFPS int64 `json:"typicalMilliFPS,omitempty"`
}

// EnvVar is a name and its value.
type EnvVar struct {
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('POSE_')",message="names that begin with POSE_ belong to the operator"
	Name string `json:"name"`
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value,omitempty"`
}

// EngineSecurityContext is what an engine's image may need. Privileges cannot
// be asked for: capabilities stay dropped and no_new_privs stays set.
type EngineSecurityContext struct {
	// RunAsUser, 65533 when unset. 0 for images whose files need root: the
	// namespace's pod security level must allow it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	RunAsUser *int64 `json:"runAsUser,omitempty"`
	// ReadOnlyRootFilesystem, true when unset.
	// +optional
	ReadOnlyRootFilesystem *bool `json:"readOnlyRootFilesystem,omitempty"`
}

// ModelVolume is a read-only volume with weights.
//
// +kubebuilder:validation:XValidation:rule="has(self.persistentVolumeClaim) != has(self.image)",message="a model comes either from a persistentVolumeClaim or from an image"
type ModelVolume struct {
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=40
	Name string `json:"name"`
	// MountPath inside the engine's container.
	// +kubebuilder:validation:Pattern=`^/.+`
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self != '/pose' && !self.startsWith('/pose/')",message="mountPath must not lie in /pose, which is the operator's"
	MountPath string `json:"mountPath"`
	// PersistentVolumeClaim in the job's namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PersistentVolumeClaim string `json:"persistentVolumeClaim,omitempty"`
	// Image whose root is mounted (an image volume).
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`
}

// Names of stages that the built-in failure rules know. An engine may have
// others beside them.
const (
	StageModelLoad    = "ModelLoad"
	StageDetectorLoad = "DetectorLoad"
	StageTracking     = "Tracking"
	StageWriting      = "Writing"
)

// OutputFormat says how a file is checked.
//
// +kubebuilder:validation:Enum=PoseJSON;SMPLNPZ;MP4;PNG;Opaque
type OutputFormat string

// EngineOutput is one file that the engine writes below $(OUTPUT_DIR).
type EngineOutput struct {
	// Name of the output, as pose or overlay.
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=40
	Name string `json:"name"`
	// Path relative to $(OUTPUT_DIR).
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$`
	// +kubebuilder:validation:MaxLength=128
	Path string `json:"path"`
	// Format that the file must have.
	Format OutputFormat `json:"format"`
	// Required makes the file's absence a failure.
	// +optional
	// +kubebuilder:default=false
	Required bool `json:"required"`
}
