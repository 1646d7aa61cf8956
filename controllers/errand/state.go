package errand

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pose-dev/pose-operator/internal/report"
)

// Progress is how far a pod is.
type Progress struct {
	// Step in words, for a person who waits.
	Step string
	// Ended: the container that is waited for has ended, its log can be read.
	Ended bool
	// Stuck says why the pod can never run; empty while it may.
	Stuck string
}

// hopeless are reasons of waiting containers that no patience changes.
var hopeless = []string{
	"ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
	"CrashLoopBackOff",
}

// Look at a pod whose container is waited for.
func Look(pod *corev1.Pod, container string) Progress {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return Progress{Step: "waiting for a node: " + c.Message}
		}
	}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if p, telling := look(s, s.Name == container); telling {
			return p
		}
	}
	switch {
	case pod.Status.Phase == corev1.PodFailed:
		return Progress{Step: "failed", Stuck: fmt.Sprintf("the pod failed: %s %s", pod.Status.Reason, pod.Status.Message)}
	case pod.Spec.NodeName != "":
		return Progress{Step: "on node " + pod.Spec.NodeName + ", pulling images and mounting volumes" + needs(pod)}
	}
	return Progress{Step: "made"}
}

// look says what a container's state means for the pod, if anything.
func look(s corev1.ContainerStatus, awaited bool) (Progress, bool) {
	if w := s.State.Waiting; w != nil && slices.Contains(hopeless, w.Reason) {
		return Progress{Step: w.Reason, Stuck: fmt.Sprintf("container %s cannot start: %s: %s (image %s)", s.Name, w.Reason, w.Message, s.Image)}, true
	}
	if t := s.State.Terminated; t != nil {
		switch {
		case awaited:
			return Progress{Step: "ended", Ended: true}, true
		case t.ExitCode != 0:
			return Progress{Step: "failed", Stuck: fmt.Sprintf("container %s ended with exit code %d: %s", s.Name, t.ExitCode, Said(t))}, true
		}
	}
	if s.State.Running != nil && awaited {
		return Progress{Step: "running"}, true
	}
	return Progress{}, false
}

// Ended is the end of a container, nil while it has none.
func Ended(pod *corev1.Pod, container string) *corev1.ContainerStateTerminated {
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == container {
			return s.State.Terminated
		}
	}
	return nil
}

// Said is what a container left for a person: pose-runner's own words, or the
// message as it is.
func Said(t *corev1.ContainerStateTerminated) string {
	if r, err := report.ParseTermination(t.Message); err == nil && r.Message != "" {
		return r.Message
	}
	return strings.TrimSpace(t.Reason + " " + t.Message)
}

// needs names what a pod cannot start without, and what nothing in its status tells
// of where it is missing.
func needs(pod *corev1.Pod) string {
	var names []string
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.Secret != nil:
			names = append(names, "Secret "+v.Secret.SecretName)
		case v.PersistentVolumeClaim != nil:
			names = append(names, "PersistentVolumeClaim "+v.PersistentVolumeClaim.ClaimName)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ". If it stays so: do these exist in the namespace: " + strings.Join(names, ", ") + "?"
}
