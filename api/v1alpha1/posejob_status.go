package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PoseJobStatus is what became of a PoseJob. Only the operator writes it.
type PoseJobStatus struct {
	// ObservedGeneration is the generation that this status speaks of; -1 until
	// the operator has seen the job.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, Reconciling, Stalled (kstatus), Complete, Failed,
	// Finished, Suspended, EngineResolved, Degraded, NoPeople, PeopleFiltered,
	// DeviceMismatch, Reused, ResultsDeleted.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase sums the conditions up for a person. Programs read conditions.
	// +optional
	Phase Phase `json:"phase,omitempty"`
	// Stage that the live attempt is in.
	// +optional
	Stage string `json:"stage,omitempty"`
	// Device of the live or last attempt.
	// +optional
	Device Device `json:"device,omitempty"`
	// Variant of the live or last attempt.
	// +optional
	Variant string `json:"variant,omitempty"`
	// EngineName that the job runs with, resolved once.
	// +optional
	EngineName string `json:"engineName,omitempty"`
	// Progress of the live attempt.
	// +optional
	Progress *JobProgress `json:"progress,omitempty"`

	// AttemptCount is the number of attempts made.
	// +optional
	AttemptCount int32 `json:"attemptCount,omitempty"`
	// Attempts, oldest first. An attempt stands here before its pod is made,
	// and is never removed by a later one.
	// +optional
	// +listType=map
	// +listMapKey=number
	// +kubebuilder:validation:MaxItems=64
	Attempts []Attempt `json:"attempts,omitempty"`

	// SkippedVariants were not tried, and why.
	// +optional
	// +listType=map
	// +listMapKey=variant
	// +kubebuilder:validation:MaxItems=16
	SkippedVariants []SkippedVariant `json:"skippedVariants,omitempty"`

	// Video is what was measured on the video.
	// +optional
	Video *VideoStatus `json:"video,omitempty"`
	// Lookup is what the job's places showed before any attempt.
	// +optional
	Lookup *LookupStatus `json:"lookup,omitempty"`
	// Output is the accepted, verified result.
	// +optional
	Output *OutputStatus `json:"output,omitempty"`
	// ReusedFrom says where Output comes from when it was computed before, and not
	// by an attempt of this job.
	// +optional
	ReusedFrom *ReusedResult `json:"reusedFrom,omitempty"`

	// StartTime is when the operator took the job up; a resumed job keeps it.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// CompletionTime is when the job ended, well or not.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
	// SuspendedAt is when the current suspension began.
	// +optional
	SuspendedAt *metav1.Time `json:"suspendedAt,omitempty"`
	// SuspendedSeconds is the sum of past suspensions, which the deadline
	// leaves out.
	// +optional
	SuspendedSeconds int64 `json:"suspendedSeconds,omitempty"`
}

// Phase sums up where a job stands.
//
// +kubebuilder:validation:Enum=Pending;Running;Succeeded;Failed;Suspended;Deleting
type Phase string

// Phases.
const (
	PhasePending   Phase = "Pending"   // no attempt runs yet, or the next one waits
	PhaseRunning   Phase = "Running"   // an attempt's pod runs
	PhaseSucceeded Phase = "Succeeded" // verified results lie at status.output.uri
	PhaseFailed    Phase = "Failed"    // no attempt is left to make
	PhaseSuspended Phase = "Suspended" // spec.suspend, no pod is live
	PhaseDeleting  Phase = "Deleting"  // the object was deleted and waits for the removal of its results
)

// JobProgress is how far the live attempt is.
type JobProgress struct {
	// Summary is for people, as "35% 42/120".
	// +optional
	Summary string `json:"summary,omitempty"`
	// Frames done.
	// +optional
	Frames int64 `json:"frames,omitempty"`
	// TotalFrames of the video, 0 while not known.
	// +optional
	TotalFrames int64 `json:"totalFrames,omitempty"`
	// Percent of the current stage, 0 to 100.
	// +optional
	Percent int32 `json:"percent,omitempty"`
	// MilliFPS is the pace in thousandths of frames per second.
	// +optional
	MilliFPS int64 `json:"milliFPS,omitempty"`
	// EstimatedCompletionTime of the stage at the current pace.
	// +optional
	EstimatedCompletionTime *metav1.Time `json:"estimatedCompletionTime,omitempty"`
}

// AttemptState is how far an attempt is.
//
// +kubebuilder:validation:Enum=Intended;Running;Succeeded;Failed
type AttemptState string

// Attempt states.
const (
	// AttemptIntended stands in status before the pod is created, so that a
	// manager that dies in between finds its own plan again.
	AttemptIntended  AttemptState = "Intended"
	AttemptRunning   AttemptState = "Running"
	AttemptSucceeded AttemptState = "Succeeded"
	AttemptFailed    AttemptState = "Failed"
)

// Attempt is one run of one variant in one pod.
type Attempt struct {
	// Number counts from 1.
	// +kubebuilder:validation:Minimum=1
	Number int32 `json:"number"`
	// State of the attempt.
	State AttemptState `json:"state"`
	// Variant of the engine; of a fallback engine written engine/variant, as
	// mediapipe/cpu.
	Variant string `json:"variant"`
	// Device that was asked for.
	Device Device `json:"device"`
	// EngineGeneration is the generation of the PoseEngine that was used.
	// +optional
	EngineGeneration int64 `json:"engineGeneration,omitempty"`
	// Detector of the variant.
	// +optional
	Detector string `json:"detector,omitempty"`
	// AvoidNodes is where this attempt would rather not run, because an
	// earlier one failed there.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	AvoidNodes []string `json:"avoidNodes,omitempty"`
	// AvoidGPUProducts is the kinds of GPU on which this attempt would rather not
	// run, because the variant crashed on them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	AvoidGPUProducts []string `json:"avoidGPUProducts,omitempty"`
	// MemoryBytes that this attempt asks for instead of the variant's, chosen
	// after an earlier one ran out of memory.
	// +optional
	MemoryBytes int64 `json:"memoryBytes,omitempty"`
	// UnschedulableSince is when the operator first saw that no node takes the
	// pod. Time behind a scheduling gate is before it.
	// +optional
	UnschedulableSince *metav1.Time `json:"unschedulableSince,omitempty"`
	// NotBefore is when the pod may be created, for a retry with backoff.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`

	// PodName and PodUID of the attempt's pod.
	// +optional
	PodName string `json:"podName,omitempty"`
	// +optional
	PodUID string `json:"podUID,omitempty"`
	// Node that the pod ran on.
	// +optional
	Node string `json:"node,omitempty"`
	// GPU that the driver showed inside the engine's container.
	// +optional
	GPU string `json:"gpu,omitempty"`
	// GPUProduct and GPUDriver are what the node's labels say of its GPUs.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	GPUProduct string `json:"gpuProduct,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=64
	GPUDriver string `json:"gpuDriver,omitempty"`
	// GPUShared says that the node shares its GPUs between pods (time slices, MPS).
	// +optional
	GPUShared bool `json:"gpuShared,omitempty"`
	// DeviceUsed is what the engine really ran on, where pose-runner could tell.
	// +optional
	DeviceUsed Device `json:"deviceUsed,omitempty"`
	// ImageID is the digest of the engine's image, as the node reports it.
	// +optional
	ImageID string `json:"imageID,omitempty"`

	// Stage last reached.
	// +optional
	Stage string `json:"stage,omitempty"`
	// Reason why it failed; see the Reason constants.
	// +optional
	Reason string `json:"reason,omitempty"`
	// Action that followed from it.
	// +optional
	Action Action `json:"action,omitempty"`
	// Container that failed.
	// +optional
	Container string `json:"container,omitempty"`
	// ExitCode of that container's process, absent when a signal ended it.
	// +optional
	ExitCode *int32 `json:"exitCode,omitempty"`
	// Signal that ended it, as SIGSEGV.
	// +optional
	Signal string `json:"signal,omitempty"`
	// PeakMemoryBytes against LimitMemoryBytes of the engine's container.
	// +optional
	PeakMemoryBytes int64 `json:"peakMemoryBytes,omitempty"`
	// +optional
	LimitMemoryBytes int64 `json:"limitMemoryBytes,omitempty"`
	// Message says what happened and what can be done, in one or two sentences.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// Evidence is what a bug report needs, of an engine that died.
	// +optional
	Evidence *Evidence `json:"evidence,omitempty"`

	// StartTime is when the pod was created, FinishTime when its outcome was
	// recorded.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// +optional
	FinishTime *metav1.Time `json:"finishTime,omitempty"`
	// Seconds says how long each part took.
	// +optional
	Seconds *AttemptSeconds `json:"seconds,omitempty"`
}

// Evidence is what was seen of an engine that died. All of it comes from its
// image and its log: words for a person, and proof of nothing.
type Evidence struct {
	// Culprit is the line of the log that decided the reason.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Culprit string `json:"culprit,omitempty"`
	// Preflight says that it died in the variant's first step.
	// +optional
	Preflight bool `json:"preflight,omitempty"`
	// PythonStack, innermost call first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	PythonStack []string `json:"pythonStack,omitempty"`
	// NativeLibrary on top of the stack, where the log tells.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	NativeLibrary string `json:"nativeLibrary,omitempty"`
	// Versions of what the engine had loaded, as torch or cuda.
	// +optional
	// +kubebuilder:validation:MaxProperties=8
	Versions map[string]string `json:"versions,omitempty"`
	// GPUDriver that the driver's own tool showed in the container.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	GPUDriver string `json:"gpuDriver,omitempty"`
	// GPUMemoryBytes of the GPU, and the most that was seen in use on it.
	// +optional
	GPUMemoryBytes int64 `json:"gpuMemoryBytes,omitempty"`
	// +optional
	GPUUsedBytes int64 `json:"gpuUsedBytes,omitempty"`
	// LastLines of the log.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	LastLines []string `json:"lastLines,omitempty"`
}

// SkippedVariant is a variant that a job did not try.
type SkippedVariant struct {
	// Variant of the engine.
	Variant string `json:"variant"`
	// Reason: LearnedSkip, TooSlow, PolicyDenied, DetectorLoadCrash, OutOfMemory,
	// FallbackEngineNotReady, NoVariantForBoxes or NoVariantForDevice.
	Reason string `json:"reason"`
	// Message for a person, with the counts behind it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
}

// AttemptSeconds is how long the parts of an attempt took, in seconds.
type AttemptSeconds struct {
	// +optional
	Fetch int64 `json:"fetch,omitempty"`
	// +optional
	Prepare int64 `json:"prepare,omitempty"`
	// Load is the engine's time before its first frame.
	// +optional
	Load int64 `json:"load,omitempty"`
	// Track is the engine's time from its first frame to its end.
	// +optional
	Track int64 `json:"track,omitempty"`
	// +optional
	Deliver int64 `json:"deliver,omitempty"`
	// Engine is the whole life of the engine's container: how long a GPU was
	// held where one was asked for.
	// +optional
	Engine int64 `json:"engine,omitempty"`
}

// VideoStatus is what was measured on the video that the engine read.
type VideoStatus struct {
	// SHA256 of the source as fetched.
	// +optional
	SHA256 string `json:"sha256,omitempty"`
	// +optional
	Codec string `json:"codec,omitempty"`
	// Width and Height in pixels, after rotation.
	// +optional
	Width int64 `json:"width,omitempty"`
	// +optional
	Height int64 `json:"height,omitempty"`
	// MilliFPS is the frame rate in thousandths of frames per second.
	// +optional
	MilliFPS int64 `json:"milliFPS,omitempty"`
	// Frames that the result covers.
	// +optional
	Frames int64 `json:"frames,omitempty"`
	// StartFrame of the source that is the result's frame 0.
	// +optional
	StartFrame int64 `json:"startFrame,omitempty"`
	// DurationMilliseconds of the part that the engine read.
	// +optional
	DurationMilliseconds int64 `json:"durationMilliseconds,omitempty"`
	// Source is the video as it was fetched.
	// +optional
	Source *VideoSourceStatus `json:"source,omitempty"`
}

// VideoSourceStatus is a video as it was fetched.
type VideoSourceStatus struct {
	// Bytes of the file.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
	// Version of the object at its place, as an ETag.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Version string `json:"version,omitempty"`
	// Container and Codec as ffprobe names them.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Container string `json:"container,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Codec string `json:"codec,omitempty"`
	// Reencoded says why the video was encoded again; empty when it was not.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reencoded string `json:"reencoded,omitempty"`
}

// LookupState is how far a look at the places of a job is.
//
// +kubebuilder:validation:Enum=Running;Found;NotFound;Refused;Skipped
type LookupState string

// Lookup states.
const (
	LookupRunning  LookupState = "Running"
	LookupFound    LookupState = "Found"    // a result that will do
	LookupNotFound LookupState = "NotFound" // none, and nothing against the job
	LookupRefused  LookupState = "Refused"  // a place that no attempt could use
	LookupSkipped  LookupState = "Skipped"  // it could not be made; attempts go on without
)

// LookupStatus is a look at the places of a job before any attempt: at its video,
// and at its output for a result that was computed before.
type LookupStatus struct {
	// State of the look.
	State LookupState `json:"state"`
	// Reason of a refusal, one of those of attempts.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// Message for a person.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// PodName and PodUID of the pod that looks.
	// +optional
	PodName string `json:"podName,omitempty"`
	// +optional
	PodUID string `json:"podUID,omitempty"`
	// StartTime is when the look was decided, FinishTime when its end was recorded.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// +optional
	FinishTime *metav1.Time `json:"finishTime,omitempty"`
}

// ReusedResult says where a result comes from that was computed before.
type ReusedResult struct {
	// URI of the result as it was computed; status.output.uri unless it was copied.
	URI string `json:"uri"`
	// Job that computed it, as namespace/name.
	// +optional
	// +kubebuilder:validation:MaxLength=320
	Job string `json:"job,omitempty"`
	// Variant, Device and Image that it was computed with.
	// +optional
	Variant string `json:"variant,omitempty"`
	// +optional
	Device Device `json:"device,omitempty"`
	// +optional
	Image string `json:"image,omitempty"`
	// CompletionTime is when it was computed.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}

// OutputStatus is an accepted, verified result.
type OutputStatus struct {
	// URI of the folder that holds the files of the accepted attempt.
	URI string `json:"uri"`
	// ManifestSHA256 is the digest of manifest.json in that folder, which
	// lists every file with its size and digest.
	ManifestSHA256 string `json:"manifestSHA256"`
	// Files of the result, the largest results cut to the first 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Files []OutputFile `json:"files,omitempty"`
	// People is how many different people were tracked. Zero is a result.
	People int64 `json:"people"`
	// Frames that the result covers.
	Frames int64 `json:"frames"`
	// Quality is what the engine says of its own result, where it does.
	// +optional
	Quality *ResultQuality `json:"quality,omitempty"`
}

// ResultQuality is an engine's own account of a result: docs/pose-json.md has
// the formulas. All of it is a claim.
type ResultQuality struct {
	// CoveragePercent is the share of frames in which somebody was seen.
	// +optional
	CoveragePercent int32 `json:"coveragePercent,omitempty"`
	// Gaps is how many times a person was lost and found again.
	// +optional
	Gaps int64 `json:"gaps,omitempty"`
	// IDSwitchesSuspected is how many times one person may have become another.
	// +optional
	IDSwitchesSuspected int64 `json:"idSwitchesSuspected,omitempty"`
	// PeopleFiltered is how many sightings were left out as too small or too
	// short.
	// +optional
	PeopleFiltered int64 `json:"peopleFiltered,omitempty"`
}

// OutputFile is one file of a result.
type OutputFile struct {
	// Name of the output in the engine's list.
	Name string `json:"name"`
	// URI of the file.
	URI string `json:"uri"`
	// Size in bytes.
	Size int64 `json:"size"`
	// SHA256 in lower-case hex.
	// +optional
	SHA256 string `json:"sha256,omitempty"`
}
