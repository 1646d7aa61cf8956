package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PoseBatchStatus is what became of a PoseBatch. Only the operator writes it. Its
// size does not grow with the number of clips: what became of each stands in
// ConfigMaps while the batch runs, and in batch.json at the output after it.
type PoseBatchStatus struct {
	// ObservedGeneration is the generation that this status speaks of; -1 until
	// the operator has seen the batch.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, Reconciling, Stalled (kstatus), Listed, Complete, Failed,
	// Finished, Suspended.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase sums the conditions up for a person. Programs read conditions.
	// +optional
	Phase BatchPhase `json:"phase,omitempty"`
	// Progress for a person, as "12% 1203/10000".
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Progress string `json:"progress,omitempty"`
	// Percent of the clips that ended, 0 to 100.
	// +optional
	Percent int32 `json:"percent,omitempty"`

	// Listing is how the list of clips was made.
	// +optional
	Listing *BatchListing `json:"listing,omitempty"`
	// Counts of the clips; absent until they are listed.
	// +optional
	Counts *BatchCounts `json:"counts,omitempty"`
	// Failures are the first clips of the list that failed. batch.json at the
	// output has all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Failures []BatchFailure `json:"failures,omitempty"`

	// GPUSeconds and CPUSeconds are the engine's time of all attempts that ended,
	// by the device that they asked for.
	// +optional
	GPUSeconds int64 `json:"gpuSeconds,omitempty"`
	// +optional
	CPUSeconds int64 `json:"cpuSeconds,omitempty"`
	// Average of the clips that ended, well or not.
	// +optional
	Average *BatchAverage `json:"average,omitempty"`
	// EstimatedCompletionTime of the last clip, by the average of those that ended.
	// +optional
	EstimatedCompletionTime *metav1.Time `json:"estimatedCompletionTime,omitempty"`
	// EstimatedGPUSeconds and EstimatedCPUSeconds that the clips still take that
	// have not ended, by the same average.
	// +optional
	EstimatedGPUSeconds int64 `json:"estimatedGPUSeconds,omitempty"`
	// +optional
	EstimatedCPUSeconds int64 `json:"estimatedCPUSeconds,omitempty"`

	// Stopping says why no new PoseJobs are made any more, although clips are
	// left. It stands here before anything is ended.
	// +optional
	Stopping *BatchStop `json:"stopping,omitempty"`
	// Index is the list of all results.
	// +optional
	Index *BatchIndex `json:"index,omitempty"`

	// StartTime is when the operator took the batch up.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// CompletionTime is when the batch ended, well or not.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
	// SuspendedAt is when the current suspension began.
	// +optional
	SuspendedAt *metav1.Time `json:"suspendedAt,omitempty"`
	// SuspendedSeconds is the sum of past suspensions, which the deadline leaves
	// out.
	// +optional
	SuspendedSeconds int64 `json:"suspendedSeconds,omitempty"`
}

// BatchPhase sums up where a batch stands.
//
// +kubebuilder:validation:Enum=Pending;Listing;Running;Stopping;Indexing;Succeeded;Failed;Suspended;Deleting
type BatchPhase string

// Phases of a batch.
const (
	BatchPhasePending   BatchPhase = "Pending"
	BatchPhaseListing   BatchPhase = "Listing"  // the list of clips is being made
	BatchPhaseRunning   BatchPhase = "Running"  // PoseJobs run
	BatchPhaseStopping  BatchPhase = "Stopping" // it was given up; what runs is being ended
	BatchPhaseIndexing  BatchPhase = "Indexing" // batch.json is being written
	BatchPhaseSucceeded BatchPhase = "Succeeded"
	BatchPhaseFailed    BatchPhase = "Failed"
	BatchPhaseSuspended BatchPhase = "Suspended"
	BatchPhaseDeleting  BatchPhase = "Deleting" // its results are being removed, and it goes then
)

// BatchListing is how the list of clips was made.
type BatchListing struct {
	// Attempt counts the pods that were to make it, from 1; 0 for a list that
	// stands in the spec.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`
	// NotBefore is when the next of them may be made.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
	// Message says why the last of them made none.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// Chunks is how many ConfigMaps hold the list, Clips how many clips it has. Both
	// are set once, when it is whole.
	// +optional
	Chunks int32 `json:"chunks,omitempty"`
	// +optional
	Clips int32 `json:"clips,omitempty"`
	// Skipped is how many entries were found that no PoseJob can name, as a key
	// with a part .. in it.
	// +optional
	Skipped int32 `json:"skipped,omitempty"`
	// CompletionTime is when the list was whole.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}

// BatchCounts are the clips of a batch by what became of them. Pending, running,
// succeeded, failed and cancelled sum up to total.
type BatchCounts struct {
	Total   int32 `json:"total"`
	Pending int32 `json:"pending"`
	// Running clips have a PoseJob that is not suspended, or are in a pod of many clips.
	Running   int32 `json:"running"`
	Succeeded int32 `json:"succeeded"`
	Failed    int32 `json:"failed"`
	// Cancelled clips have no result because the batch was ended.
	Cancelled int32 `json:"cancelled"`
	// Reused of those that succeeded were computed before.
	Reused int32 `json:"reused"`
}

// BatchFailure is a clip that failed.
type BatchFailure struct {
	// Name of the clip: its folder below output.uri.
	Name string `json:"name"`
	// Index of the clip in the list, which ends the name of its PoseJob.
	Index int32 `json:"index"`
	// Reason as the PoseJob gave it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// Message as the PoseJob gave it, cut.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
}

// BatchAverage is what a clip takes, of those that were computed.
type BatchAverage struct {
	// Seconds from its PoseJob's creation to its end, or its share of the pod of many
	// clips.
	Seconds int64 `json:"seconds"`
	// GPUMilliseconds and CPUMilliseconds of engines.
	// +optional
	GPUMilliseconds int64 `json:"gpuMilliseconds,omitempty"`
	// +optional
	CPUMilliseconds int64 `json:"cpuMilliseconds,omitempty"`
}

// BatchStop is why a batch was given up.
type BatchStop struct {
	// Reason: TooManyFailed, BudgetExhausted or DeadlineExceeded.
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
	// Message for a person.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// Time when it was decided.
	Time metav1.Time `json:"time"`
}

// BatchIndex is the list of all results of a batch.
type BatchIndex struct {
	// Attempt counts the pods that were to write it, from 1.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`
	// NotBefore is when the next of them may be made.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
	// Message says why the last of them wrote none.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// URI of batch.json, and its digest; empty until it is written.
	// +optional
	URI string `json:"uri,omitempty"`
	// +optional
	SHA256 string `json:"sha256,omitempty"`
	// Missing is how many clips succeeded and had no readable result when it was
	// written.
	// +optional
	Missing int32 `json:"missing,omitempty"`
}

// Conditions of a PoseBatch, beside Ready, Reconciling, Stalled, Complete, Failed,
// Finished and Suspended, which mean what they mean of a PoseJob.
const (
	// ConditionListed is True once the list of clips is whole, which it then stays.
	ConditionListed = "Listed"
)

// Reasons of a PoseBatch's conditions, beside those of a PoseJob.
const (
	// ReasonListing: the list of clips is being made.
	ReasonListing = "Listing"
	// ReasonIndexing: all clips ended, and batch.json is being written.
	ReasonIndexing = "Indexing"
	// ReasonListFailed: the list of clips cannot be made.
	ReasonListFailed = "ListFailed"
	// ReasonNoVideos: the place, or the list, has no video of the kind asked for.
	ReasonNoVideos = "NoVideos"
	// ReasonListLost: a part of the list was deleted by somebody.
	ReasonListLost = "ListLost"
	// ReasonClipsFailed: every clip was tried, and some failed.
	ReasonClipsFailed = "ClipsFailed"
	// ReasonTooManyFailed: more clips failed than spec.failurePolicy admits.
	ReasonTooManyFailed = "TooManyFailed"
	// ReasonBudgetExhausted: spec.budget is used up.
	ReasonBudgetExhausted = "BudgetExhausted"
	// ReasonIndexFailed: the results are there, and batch.json cannot be written.
	ReasonIndexFailed = "IndexFailed"
	// ReasonResultsMissing: every clip succeeded, and not all results were there any
	// more when batch.json was written.
	ReasonResultsMissing = "ResultsMissing"
	// ReasonJobRefused: the API server refused the PoseJob of a clip.
	ReasonJobRefused = "JobRefused"
)

// Labels of what belongs to a PoseBatch.
const (
	// LabelBatch carries the name of the PoseBatch, cut to 63 characters,
	// LabelBatchUID its UID.
	LabelBatch    = "pose.dev/batch"
	LabelBatchUID = "pose.dev/batch-uid"
	// LabelBatchPart says what a ConfigMap of a batch holds: a chunk of its list, or
	// the record of what became of the clips of a chunk.
	LabelBatchPart = "pose.dev/batch-part"
	PartClips      = "clips"
	PartRecord     = "record"
	// PurposeList, PurposeIndex and PurposeQueue are the LabelPurpose of a batch's own
	// pods: those that list, that index, and that work through many clips.
	PurposeList  = "list"
	PurposeIndex = "index"
	PurposeQueue = "queue"
)
