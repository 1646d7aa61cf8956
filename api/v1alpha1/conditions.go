package v1alpha1

// Condition types of a PoseJob.
//
// Ready, Reconciling and Stalled follow kstatus
// (sigs.k8s.io/cli-utils/pkg/kstatus): a job that runs is Reconciling, a job
// that failed is Stalled, a job whose verified results lie at their place is
// Ready. Complete, Failed and Finished are set to True only once no pod of the
// job is live.
const (
	// ConditionReady is True when verified results lie at status.output.uri,
	// False otherwise. Its message is the one sentence a person wants.
	ConditionReady = "Ready"
	// ConditionReconciling is True while the operator works on the job. It is
	// absent otherwise: kstatus reads it with negative polarity.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when the job cannot go on without a person: it
	// failed. It is absent otherwise.
	ConditionStalled = "Stalled"
	// ConditionComplete is True when the results were verified and uploaded.
	ConditionComplete = "Complete"
	// ConditionFailed is True when no attempt is left to make.
	ConditionFailed = "Failed"
	// ConditionFinished is True at any end, so that one `kubectl wait
	// --for=condition=Finished` serves whatever the end is. Its reason says
	// which: Succeeded or the reason of ConditionFailed.
	ConditionFinished = "Finished"
	// ConditionSuspended is True while spec.suspend holds the job and no pod
	// is live, False once it was resumed, absent if it never was suspended.
	ConditionSuspended = "Suspended"
	// ConditionEngineResolved is False while the PoseEngine is missing or not
	// ready, or a variant that the job names does not exist.
	ConditionEngineResolved = "EngineResolved"
	// ConditionDegraded is True when the result is of a lesser kind than asked
	// for and says what changed. Absent otherwise.
	ConditionDegraded = "Degraded"
	// ConditionNoPeople is True when the video was covered and nobody was seen
	// in it: a result, and one that a person wants to know of. Absent otherwise.
	ConditionNoPeople = "NoPeople"
	// ConditionPeopleFiltered is True when people were detected and left out of
	// the result, all of them or some, as too small or too short in view: a
	// result, and not one of an empty video. Absent otherwise.
	ConditionPeopleFiltered = "PeopleFiltered"
	// ConditionDeviceMismatch is True when an engine ran on the CPU while its
	// attempt held a GPU: the GPU was paid for and idle. Absent otherwise.
	ConditionDeviceMismatch = "DeviceMismatch"
	// ConditionReused is True when the result was computed before and found again;
	// the message says by which job and where. Absent otherwise.
	ConditionReused = "Reused"
	// ConditionResultsDeleted stands on a job that is being deleted with
	// output.deletionPolicy Delete: False while its results are being removed, and
	// why that takes long; True once they are, while a finalizer of somebody else
	// keeps the object. Ready says the same then, and no longer how the job ended;
	// Complete, Failed and Finished do.
	ConditionResultsDeleted = "ResultsDeleted"
)

// Reasons of Ready, Reconciling, Finished and their kin.
const (
	// ReasonProgressing: an attempt runs, or the next one is on its way.
	ReasonProgressing = "Progressing"
	// ReasonSucceeded: verified results lie at status.output.uri.
	ReasonSucceeded = "Succeeded"
	// ReasonSuspended: spec.suspend is true.
	ReasonSuspended = "Suspended"
	// ReasonResumed: spec.suspend was true and is false again.
	ReasonResumed = "Resumed"
	// ReasonWaitingForEngine: the PoseEngine is missing or not ready yet.
	ReasonWaitingForEngine = "WaitingForEngine"
	// ReasonWaitingForTermination: a pod must end first, and has not; the
	// operator never deletes by force, as the process may still run.
	ReasonWaitingForTermination = "WaitingForTermination"
	// ReasonBackingOff: the next attempt waits for its time.
	ReasonBackingOff = "BackingOff"
	// ReasonFallback: a later variant than the first gave the result.
	ReasonFallback = "Fallback"
	// ReasonVerifiedResult: a result that was computed before was found whole.
	ReasonVerifiedResult = "VerifiedResult"
	// ReasonDeleting: the results of a job that is being deleted are being removed.
	ReasonDeleting = "Deleting"
	// ReasonResultsRemoved: they are removed.
	ReasonResultsRemoved = "ResultsRemoved"
	// ReasonResultsStay: they stay where they are, and the object is let go.
	ReasonResultsStay = "ResultsStay"
	// ReasonDeletionFailed: that failed, and is tried again.
	ReasonDeletionFailed = "DeletionFailed"
	// ReasonNobodySeen: every frame was looked at and held no person.
	ReasonNobodySeen = "NobodySeen"
	// ReasonDetectedButFiltered: people were seen, and were too small or too short
	// in view for the engine to keep.
	ReasonDetectedButFiltered = "DetectedButFiltered"
	// ReasonGPUUnused: the engine held a GPU and never opened it.
	ReasonGPUUnused = "GPUUnused"
	// ReasonLearnedSkip: the variant crashed again and again for other jobs on
	// the GPUs that there are.
	ReasonLearnedSkip = "LearnedSkip"
	// ReasonTooSlow: by the variant's own estimate it cannot end before the
	// deadline.
	ReasonTooSlow = "TooSlow"
	// ReasonFallbackEngineNotReady: the engine that spec.fallback.engine allows
	// is missing or not ready, so its variants are no rungs.
	ReasonFallbackEngineNotReady = "FallbackEngineNotReady"
)

// Reasons of EngineResolved.
const (
	// ReasonEngineResolved: the engine exists and is ready.
	ReasonEngineResolved = "EngineResolved"
	// ReasonEngineNotFound: no PoseEngine of that name exists.
	ReasonEngineNotFound = "EngineNotFound"
	// ReasonNoDefaultEngine: the job names no engine and none is the default.
	ReasonNoDefaultEngine = "NoDefaultEngine"
	// ReasonSeveralDefaultEngines: more than one engine is marked the default.
	ReasonSeveralDefaultEngines = "SeveralDefaultEngines"
	// ReasonEngineNotReady: the engine exists and is not ready; the message
	// says why.
	ReasonEngineNotReady = "EngineNotReady"
	// ReasonVariantNotFound: spec.variants names none of the engine's.
	ReasonVariantNotFound = "VariantNotFound"
	// ReasonNoVariantForDevice: no variant of the engine is left under
	// spec.device.
	ReasonNoVariantForDevice = "NoVariantForDevice"
	// ReasonNoVariantForBoxes: spec.video.boxes is set and no variant takes
	// boxes, or it is not set and every variant needs them.
	ReasonNoVariantForBoxes = "NoVariantForBoxes"
)

// Reasons why an attempt, and after the last one a job, failed.
const (
	// ReasonDetectorLoadCrash: the engine died while loading its detector, by
	// a signal or without an exception.
	ReasonDetectorLoadCrash = "DetectorLoadCrash"
	// ReasonModelLoadCrash: the engine died while loading another model.
	ReasonModelLoadCrash = "ModelLoadCrash"
	// ReasonOutOfMemory: the engine was killed with its memory at the limit,
	// or evicted for using more memory than it asked for.
	ReasonOutOfMemory = "OutOfMemory"
	// ReasonCUDAOutOfMemory: the memory of the GPU is too small, or shared.
	ReasonCUDAOutOfMemory = "CUDAOutOfMemory"
	// ReasonCUDAError: a computation on the GPU failed (illegal memory access,
	// device-side assert, cuDNN, cuBLAS). The GPU may be sound.
	ReasonCUDAError = "CUDAError"
	// ReasonDeviceUnusable: no GPU that the engine can use: no driver, one too
	// old, or an image that was not built for this kind of GPU.
	ReasonDeviceUnusable = "DeviceUnusable"
	// ReasonGPUHardwareFault: the GPU reports a fault of its own (ECC, Xid,
	// fallen off the bus).
	ReasonGPUHardwareFault = "GPUHardwareFault"
	// ReasonSharedMemoryTooSmall: /dev/shm is too small for the engine.
	ReasonSharedMemoryTooSmall = "SharedMemoryTooSmall"
	// ReasonRenderingUnavailable: the engine needs a GL context and gets none.
	ReasonRenderingUnavailable = "RenderingUnavailable"
	// ReasonWeightsMissing: a file with weights or a body model is not there.
	ReasonWeightsMissing = "WeightsMissing"
	// ReasonWeightsInvalid: such a file is there and broken, or not of this model.
	ReasonWeightsInvalid = "WeightsInvalid"
	// ReasonImageIncompatible: the engine's image is broken in itself: a library
	// is missing or does not fit another.
	ReasonImageIncompatible = "ImageIncompatible"
	// ReasonNetworkUnavailable: the engine wanted the network, which it has not.
	ReasonNetworkUnavailable = "NetworkUnavailable"
	// ReasonScratchSpaceExceeded: the disk that the job may use is too small.
	ReasonScratchSpaceExceeded = "ScratchSpaceExceeded"
	// ReasonDisrupted: the pod was preempted, drained, deleted or lost with
	// its node. Nothing is known against the video or the engine.
	ReasonDisrupted = "Disrupted"
	// ReasonNoCapacity: no node could take the pod for
	// spec.pendingTimeoutSeconds.
	ReasonNoCapacity = "NoCapacity"
	// ReasonPodNotStartable: an image cannot be pulled or the pod's
	// configuration is wrong.
	ReasonPodNotStartable = "PodNotStartable"
	// ReasonSecretMissing: a Secret that the job names does not exist in its
	// namespace.
	ReasonSecretMissing = "SecretMissing"
	// ReasonAdapterInvalid: the variant's adapter image holds no adapter that can
	// be copied into the pod.
	ReasonAdapterInvalid = "AdapterInvalid"
	// ReasonInputUnavailable: the video, or its boxes, are missing, forbidden or
	// not reachable.
	ReasonInputUnavailable = "InputUnavailable"
	// ReasonInputInvalid: what was fetched is no usable video, or not the one
	// whose digest was named, or its boxes do not fit it.
	ReasonInputInvalid = "InputInvalid"
	// ReasonOutputInvalid: the engine ended well and its results are missing,
	// short or broken.
	ReasonOutputInvalid = "OutputInvalid"
	// ReasonDeliveryFailed: the results are good and could not be uploaded.
	ReasonDeliveryFailed = "DeliveryFailed"
	// ReasonNoProgress: the engine stood still for spec.stallTimeoutSeconds.
	ReasonNoProgress = "NoProgress"
	// ReasonDeadlineExceeded: spec.activeDeadlineSeconds is over.
	ReasonDeadlineExceeded = "DeadlineExceeded"
	// ReasonEngineError: the engine failed in a way that no rule knows. The
	// message quotes its last words and guesses nothing.
	ReasonEngineError = "EngineError"
	// ReasonSuspendedAttempt: the attempt was ended by spec.suspend.
	ReasonSuspendedAttempt = "SuspendedAttempt"
	// ReasonPolicyDenied: the job asks for something that the platform admin
	// has not allowed. No pod is made.
	ReasonPolicyDenied = "PolicyDenied"
	// ReasonAttemptsExhausted: the bound on all attempts of a job is reached.
	ReasonAttemptsExhausted = "AttemptsExhausted"
)

// Action is what follows from a failed attempt.
//
// +kubebuilder:validation:Enum=Retry;RetryElsewhere;NextVariant;Fail
type Action string

// Actions.
const (
	// ActionRetry repeats the same variant.
	ActionRetry Action = "Retry"
	// ActionRetryElsewhere repeats the same variant and avoids the node.
	ActionRetryElsewhere Action = "RetryElsewhere"
	// ActionNextVariant moves on to the next variant.
	ActionNextVariant Action = "NextVariant"
	// ActionFail ends the job.
	ActionFail Action = "Fail"
)

// Condition types and reasons of a PoseEngine.
const (
	// ConditionFallbackResolved is False while spec.fallbackEngineName names an
	// engine that is missing, not ready, or the engine itself: jobs then have no
	// other engine to fall back to. Ready does not depend on it. Absent where no
	// fallback engine is named.
	ConditionFallbackResolved = "FallbackResolved"
	// ReasonFallbackIsItself: spec.fallbackEngineName names the engine itself.
	ReasonFallbackIsItself = "FallbackIsItself"
	// ReasonEngineReady: every variant can run.
	ReasonEngineReady = "Ready"
	// ReasonImageNotSet: a variant has no image; jobs that name the engine
	// wait, and no pods are made. PHALP's image is the user's own to bring.
	ReasonImageNotSet = "ImageNotSet"
	// ReasonInvalidRules: a pattern that admission could not refuse (an engine
	// written before an upgrade, say) does not compile.
	ReasonInvalidRules = "InvalidRules"
)

// Labels, annotations and finalizers.
const (
	// LabelJob carries the name of the PoseJob, cut to 63 characters.
	LabelJob = "pose.dev/job"
	// LabelJobUID carries the UID of the PoseJob.
	LabelJobUID = "pose.dev/job-uid"
	// LabelAttempt carries the attempt's number.
	LabelAttempt = "pose.dev/attempt"
	// LabelDevice carries the device that the attempt asked for.
	LabelDevice = "pose.dev/device"
	// LabelVariant carries the variant's name.
	LabelVariant = "pose.dev/variant"
	// AnnotationVariant on the pod of an attempt of another engine than the job's
	// own carries what its record calls the variant, as mediapipe/cpu: a label can
	// hold no slash.
	AnnotationVariant = "pose.dev/attempt-variant"
	// FinalizerOutcome keeps a finished pod until its outcome is recorded.
	FinalizerOutcome = "pose.dev/outcome"
	// FinalizerResults keeps a deleted PoseJob until its results are removed. Only
	// jobs with output.deletionPolicy Delete have it.
	FinalizerResults = "pose.dev/results"
	// LabelPurpose carries what a pod of a job is for that is no attempt:
	// PurposeLookup or PurposePurge.
	LabelPurpose  = "pose.dev/purpose"
	PurposeLookup = "lookup"
	PurposePurge  = "purge"
	// AnnotationClearLearned on a PoseEngine empties status.learned and
	// status.learnedNodes each time its value changes.
	AnnotationClearLearned = "pose.dev/clear-learned"
	// AnnotationDefaultEngine set to "true" makes a PoseEngine the default.
	AnnotationDefaultEngine = "pose.dev/is-default-engine"
	// ManagedByOperator is the value of spec.managedBy that names this
	// operator, as does an unset one.
	ManagedByOperator = "pose.dev/operator"
)

// MaxAttempts bounds all attempts of a job, whatever their cause. It keeps the
// status small; the ladder's own bounds end almost every job long before.
const MaxAttempts = 40
