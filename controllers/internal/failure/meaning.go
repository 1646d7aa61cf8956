package failure

import "github.com/pose-dev/pose-operator/api/v1alpha1"

// meaning of a reason for a person.
type meaning struct{ reason, cause, remedy string }

// Meaning says what a reason means and what a person can do; empty for a reason
// that is a PoseEngine's own.
func Meaning(reason string) (cause, remedy string) {
	for _, m := range meanings {
		if m.reason == reason {
			return m.cause, m.remedy
		}
	}
	return "", ""
}

// Reasons that an attempt can fail with, in the order of the documents.
func Reasons() []string {
	out := make([]string, len(meanings))
	for i, m := range meanings {
		out[i] = m.reason
	}
	return out
}

var meanings = []meaning{
	{
		v1alpha1.ReasonDetectorLoadCrash,
		"It died while loading its detector, by a signal or without an exception: the native code of the detector, its driver or its memory gave way",
		"A variant with another detector or device, or with precomputed boxes, may get past it. Compare peak memory with the limit; report the stack of `kubectl pose describe` to the engine's authors",
	},
	{
		v1alpha1.ReasonModelLoadCrash,
		"It died while loading a model, by a signal or without an exception",
		"Compare peak memory with the limit, and check the weights and the driver",
	},
	{
		v1alpha1.ReasonCUDAOutOfMemory,
		"The memory of the GPU is too small for this model and video, or something else uses it",
		"Use a GPU with more memory, a variant with a lighter detector, or a GPU that is not shared; a smaller video helps where the engine works at full size",
	},
	{
		v1alpha1.ReasonCUDAError,
		"A computation on the GPU failed. The cause may be the engine's code, its libraries, the driver or the GPU",
		"If one node fails alone, look at its kernel log for Xid lines; if all do, try another image or driver. CUDA_LAUNCH_BLOCKING=1 in the variant's env names the true place",
	},
	{
		v1alpha1.ReasonDeviceUnusable,
		"The container sees no GPU that the engine can use: no driver, a driver too old for the image, or no access to the device",
		"Run nvidia-smi on the node, compare the driver with the image's CUDA, and check the device plugin and the variant's runtimeClassName",
	},
	{
		v1alpha1.ReasonGPUHardwareFault,
		"The GPU or its driver reports a fault of the hardware",
		"Drain the node, read its kernel log for Xid lines, reset or replace the GPU",
	},
	{
		v1alpha1.ReasonOutOfMemory,
		"Host memory ran out. Models are built there before they move to a GPU, so loading needs more than the GPU's memory tells",
		"Raise the variant's resources.limits.memory and maxMemory, or the job's podTemplate.resources; cut the video with spec.video.frames",
	},
	{
		v1alpha1.ReasonSharedMemoryTooSmall,
		"A page of shared or mapped memory could not be supplied: /dev/shm of the container is too small",
		"Set the variant's sharedMemorySize, or let the engine load data without worker processes",
	},
	{
		v1alpha1.ReasonScratchSpaceExceeded,
		"The disk that the job may use is full",
		"Raise spec.scratchSize, or cut the video with spec.video.frames; check the free disk of the node",
	},
	{
		v1alpha1.ReasonWeightsMissing,
		"A file with weights or a body model is not there, and there is no network to load it from",
		"Put the file that the line names into the image or a model volume. SMPL files need your own registration at smpl.is.tue.mpg.de",
	},
	{
		v1alpha1.ReasonWeightsInvalid,
		"A file with weights is broken, cut short, or belongs to another model or version",
		"Load the file again and compare its digest; check that image and weights belong together",
	},
	{
		v1alpha1.ReasonRenderingUnavailable,
		"The engine wants to draw and gets no GL context: no EGL or OSMesa library, no display, or no access to the GPU's driver for graphics",
		"Set NVIDIA_DRIVER_CAPABILITIES=all, or PYOPENGL_PLATFORM=osmesa with libosmesa6 or Mesa's EGL in the image, or switch rendering off",
	},
	{
		v1alpha1.ReasonImageIncompatible,
		"The engine's image is broken in itself: a library or module is missing, or two of them do not fit together",
		"Rebuild the image with versions that belong together; the line names the first that does not",
	},
	{
		v1alpha1.ReasonAdapterInvalid,
		"The variant's adapter could not be copied into the pod: its image has no folder /adapter, or one that is no plain tree of files",
		"Use the adapter image of the chart's release, or one whose folder /adapter holds regular files alone; the message names what is wrong",
	},
	{
		v1alpha1.ReasonNetworkUnavailable,
		"The engine wanted the network. Engines have none unless the variant says allowNetwork",
		"Bring what it loads in the image or a model volume; allowNetwork is the last resort",
	},
	{
		v1alpha1.ReasonInputUnavailable,
		"The video, or the file with its boxes, is missing, forbidden or not reachable",
		"Check spec.video.uri and spec.video.boxes.uri, the Secret that credentialsSecretRef names, and the operator's allowed hosts",
	},
	{
		v1alpha1.ReasonInputInvalid,
		"What was fetched is no usable video, or not the one whose digest was named, or the boxes do not fit it",
		"Play the file, run ffprobe on it, upload it again; a video that was cut off lacks its index (moov atom). For boxes, correct what the message names; docs/boxes.md has the format",
	},
	{
		v1alpha1.ReasonOutputInvalid,
		"The engine ended well and its results are missing, short or broken",
		"Read the engine's log for an exception that it swallowed",
	},
	{
		v1alpha1.ReasonDeliveryFailed,
		"The results are good and could not be uploaded",
		"Check spec.output.uri, its Secret, and the store",
	},
	{
		v1alpha1.ReasonNoProgress,
		"The engine stood still for the stall time-out and was ended; its stacks were taken first",
		"Read the stack in `kubectl pose describe`; raise spec.stallTimeoutSeconds or the stage's where it only is slow",
	},
	{
		v1alpha1.ReasonNoCapacity,
		"No node could take the pod for spec.pendingTimeoutSeconds",
		"The scheduler's own words are in the message; add nodes, free GPUs, or allow another device",
	},
	{
		v1alpha1.ReasonPodNotStartable,
		"An image cannot be pulled, or the pod's configuration is refused by the node",
		"The kubelet's own words are in the message; correct the image, the pull secret or the PoseEngine",
	},
	{
		v1alpha1.ReasonSecretMissing,
		"A Secret that the job names did not exist in its namespace for spec.startTimeoutSeconds",
		"Create the Secret that the message names, in the job's namespace, and the PoseJob again",
	},
	{
		v1alpha1.ReasonDisrupted,
		"The pod was preempted, drained, deleted or lost with its node. Nothing is known against the video or the engine",
		"Nothing: it is tried again and costs no retry",
	},
	{
		v1alpha1.ReasonDeadlineExceeded,
		"The job did not end within spec.activeDeadlineSeconds, or its own pace showed that it could not",
		"Raise the deadline, cut the video with spec.video.frames, or use a faster device",
	},
	{
		v1alpha1.ReasonSuspendedAttempt,
		"spec.suspend ended the attempt",
		"Set spec.suspend to false; it costs no retry",
	},
	{
		v1alpha1.ReasonEngineError,
		"No rule knows this failure; the last lines are the engine's own words",
		"Read them; add a failureRule to the PoseEngine when you know what they mean",
	},
}
