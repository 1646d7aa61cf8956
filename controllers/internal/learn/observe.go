package learn

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
)

// Observe says what a recorded attempt teaches of its engine (attempt.EngineOf);
// false is nothing. The job is as it was after the attempt was recorded.
func Observe(job *v1alpha1.PoseJob, a *v1alpha1.Attempt) (Observation, bool) {
	if a.FinishTime == nil {
		return Observation{}, false
	}
	_, variant := attempt.SplitVariant(a.Variant)
	o := Observation{
		ID:        fmt.Sprintf("%s/%d", job.UID, a.Number),
		Namespace: job.Namespace, Video: video(job),
		Variant: variant, Device: a.Device, ImageID: a.ImageID,
		Node: a.Node, Reason: a.Reason, At: a.FinishTime.Time,
	}
	if a.Device == v1alpha1.GPU {
		o.GPUProduct, o.GPUDriver = a.GPUProduct, a.GPUDriver
	}
	switch {
	case a.State == v1alpha1.AttemptSucceeded:
		o.Kind = Success
		// A GPU variant that ran on the CPU says nothing of the GPU.
		return o, a.Device != v1alpha1.GPU || a.DeviceUsed != v1alpha1.CPU
	case a.State != v1alpha1.AttemptFailed || special(job, a):
		return Observation{}, false
	case a.Device == v1alpha1.GPU && died(a) && crashes[a.Reason] == a.Stage && a.Stage != "":
		o.Kind = Crash
		return o, true
	case a.Node != "" && nodeFailed(a):
		o.Kind = NodeFailure
		return o, true
	}
	return Observation{}, false
}

// video by the best name that there is: the digest that fetch measured, so that
// copies of one video are one.
func video(job *v1alpha1.PoseJob) string {
	switch {
	case job.Status.Video != nil && job.Status.Video.SHA256 != "":
		return job.Status.Video.SHA256
	case job.Spec.Video.SHA256 != "":
		return job.Spec.Video.SHA256
	}
	return job.Spec.Video.URI
}

// special: the attempt ran otherwise than those of other jobs do.
func special(job *v1alpha1.PoseJob, a *v1alpha1.Attempt) bool {
	t := job.Spec.PodTemplate
	switch {
	case a.MemoryBytes > 0:
		return true
	case t == nil:
		return false
	case t.RuntimeClassName != "":
		return true
	case t.Resources == nil:
		return false
	case a.Device == v1alpha1.GPU:
		return t.Resources.GPU != nil
	}
	return t.Resources.CPU != nil
}

// crashes of a variant, with the stage that each is of: an engine's own rule may
// give the reason to a death elsewhere, and that is no crash in loading.
var crashes = map[string]string{
	v1alpha1.ReasonDetectorLoadCrash: v1alpha1.StageDetectorLoad, v1alpha1.ReasonModelLoadCrash: v1alpha1.StageModelLoad,
}

// deaths that may be the node's fault. Which of them it was is the log's word,
// and does not matter here: the exit proves the death.
var deaths = []string{
	v1alpha1.ReasonDetectorLoadCrash, v1alpha1.ReasonModelLoadCrash, v1alpha1.ReasonDeviceUnusable,
	v1alpha1.ReasonGPUHardwareFault, v1alpha1.ReasonCUDAError, v1alpha1.ReasonEngineError,
}

// outside are signals that somebody else sends: the kernel for memory, the
// kubelet, a person.
var outside = []string{"SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"}

// died: the engine's container ended badly, and by itself.
func died(a *v1alpha1.Attempt) bool {
	if a.Container != attempt.ContainerEngine {
		return false
	}
	if a.Signal != "" {
		return !slices.Contains(outside, a.Signal)
	}
	return a.ExitCode != nil && *a.ExitCode != 0
}

// notStarted is what plan and failure say of a container that its runtime could
// not start. Waiting for an image, or for a Secret of the namespace, is nothing
// of the node's.
var notStarted = regexp.MustCompile(`^(?:container [a-z]+ cannot start|the container runtime could not start container [a-z]+): (?:CreateContainerError|RunContainerError|StartError|ContainerCannotRun)\b`)

func nodeFailed(a *v1alpha1.Attempt) bool {
	switch {
	case died(a) && slices.Contains(deaths, a.Reason):
		return true
	case a.Reason == v1alpha1.ReasonDeviceUnusable && a.Container == "" && a.ExitCode == nil && a.Signal == "":
		return true // the kubelet could not give the pod its devices
	}
	return a.Reason == v1alpha1.ReasonPodNotStartable && notStarted.MatchString(a.Message)
}
