package main

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

const (
	engineName = "bench"
	gpuProduct = "NVIDIA-GeForce-RTX-4060"
	gpuDriver  = "550.54.15"
)

func nodeName(i int) string { return fmt.Sprintf("node-%02d", i%nodes) }

// benchEngine has a GPU variant, and a CPU one to fall back to.
func benchEngine() *v1alpha1.PoseEngine {
	variant := func(name string, device v1alpha1.Device, detector string, limits corev1.ResourceList) v1alpha1.Variant {
		return v1alpha1.Variant{
			Name: name, Device: device, Detector: detector, Resources: &v1alpha1.Resources{Limits: limits},
			Image:   "registry.example/phalp-" + name + "@sha256:" + strings.Repeat("4a", 32),
			Command: []string{"python", "track.py", "video.source=$(VIDEO)", "video.output_dir=$(OUTPUT_DIR)"},
		}
	}
	memory := func(q string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(q)}
	}
	gpu := memory("12Gi")
	gpu["nvidia.com/gpu"] = resource.MustParse("1")
	return &v1alpha1.PoseEngine{
		ObjectMeta: metav1.ObjectMeta{Name: engineName},
		Spec: v1alpha1.PoseEngineSpec{
			Variants: []v1alpha1.Variant{variant("gpu", v1alpha1.GPU, "vitdet", gpu), variant("cpu", v1alpha1.CPU, "maskrcnn", memory("2Gi"))},
			Outputs:  []v1alpha1.EngineOutput{{Name: "pose", Path: "pose.json", Format: "PoseJSON", Required: true}},
		},
	}
}

// bare gives a pod of ours without what binds it to its owner, so that others can make
// the very same.
func bare(pod *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{Spec: *pod.Spec.DeepCopy()}
	out.Spec.NodeName = ""
	out.Annotations = pod.Annotations
	out.Labels = map[string]string{}
	for k, v := range pod.Labels {
		if k != v1alpha1.LabelJobUID {
			out.Labels[k] = v
		}
	}
	return out
}

// phase of a pod's life that is played.
type phase int

const (
	running phase = iota
	succeeded
	crashed
)

// statusOf a pod as a kubelet would write it: all inputs are there, then the engine runs,
// then it has ended. What the containers say is what pose-runner says of such a run.
func statusOf(pod *corev1.Pod, p phase, now time.Time) corev1.PodStatus {
	s := corev1.PodStatus{Phase: corev1.PodRunning}
	ready := corev1.ConditionTrue
	switch p {
	case succeeded:
		s.Phase, ready = corev1.PodSucceeded, corev1.ConditionFalse
	case crashed:
		s.Phase, ready = corev1.PodFailed, corev1.ConditionFalse
	}
	at := metav1.NewTime(now)
	for _, c := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.ContainersReady, corev1.PodReady} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: c, Status: ready, LastTransitionTime: at})
	}
	if p == running {
		s.HostIP, s.PodIP, s.StartTime = "10.0.0.1", "10.244.0.2", &at
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: at})
		for i := range pod.Spec.InitContainers {
			s.InitContainerStatuses = append(s.InitContainerStatuses, containerStatus(pod, &pod.Spec.InitContainers[i], succeeded, at))
		}
	}
	for i := range pod.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, containerStatus(pod, &pod.Spec.Containers[i], p, at))
	}
	return s
}

func containerStatus(pod *corev1.Pod, c *corev1.Container, p phase, at metav1.Time) corev1.ContainerStatus {
	runs := p == running
	s := corev1.ContainerStatus{
		Name: c.Name, Image: c.Image, ImageID: c.Image, ContainerID: "containerd://" + string(pod.UID) + "-" + c.Name,
		Ready: runs, Started: &runs,
	}
	if !strings.Contains(c.Image, "@") {
		s.ImageID += "@sha256:" + strings.Repeat("5b", 32)
	}
	if runs {
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: at}
		return s
	}
	t := &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: at, FinishedAt: at, ContainerID: s.ContainerID}
	if p == crashed && c.Name == engineContainer {
		t.ExitCode, t.Reason = 128+int32(syscall.SIGSEGV), "Error"
	}
	t.Message = lastWords(pod, c.Name, p)
	s.State.Terminated = t
	return s
}

// engineContainer is the one whose name is not its role.
const engineContainer = "engine"

// lastWords of a container.
func lastWords(pod *corev1.Pod, container string, p phase) string {
	t := report.Termination{Role: report.Role(container), Result: report.ResultOK, Seconds: 1}
	switch container {
	case "fetch":
		t.Fetch = &report.FetchReport{Bytes: 5 << 20, SHA256: strings.Repeat("ab", 32)}
	case "prepare":
		t.Video = &report.VideoFacts{Codec: "h264", Width: 1280, Height: 720, FPS: 30, Frames: frames, SourceSHA256: strings.Repeat("ab", 32)}
	case engineContainer:
		t = engineWords(pod, p)
	case "deliver":
		if p == crashed {
			t.Result = report.ResultSkipped
			break
		}
		t.Deliver = &report.DeliveryReport{
			URI: "s3://results/" + namespace, ManifestSHA256: strings.Repeat("cd", 32), People: 1, Frames: frames,
			Files: []report.DeliveredFile{{Name: "pose", Path: "pose.json", Size: 1 << 16, SHA256: strings.Repeat("ef", 32)}},
		}
	}
	return string(t.Marshal())
}

const frames = 120

func engineWords(pod *corev1.Pod, p phase) report.Termination {
	e := &report.EngineReport{
		Stage: v1alpha1.StageWriting, Frames: frames, Total: frames, ExitCode: new(int32),
		DeviceUsed: report.DeviceCPU, PeakMemoryBytes: 1 << 30, LimitMemoryBytes: 2 << 30,
	}
	if pod.Labels[v1alpha1.LabelDevice] == string(v1alpha1.GPU) {
		e.DeviceUsed, e.GPU, e.Driver, e.LimitMemoryBytes = report.DeviceGPU, "NVIDIA GeForce RTX 4060", gpuDriver, 12<<30
		e.GPUMemoryBytes, e.GPUUsedBytes = 8<<30, 3<<30
	}
	t := report.Termination{Role: report.RoleExec, Result: report.ResultOK, Seconds: 1, Engine: e}
	if p == crashed {
		t.Result, t.Message = report.ResultFailed, "the engine was ended by SIGSEGV"
		e.Stage, e.Signal, e.ExitCode, e.Frames = v1alpha1.StageDetectorLoad, "SIGSEGV", nil, 0
		e.Crash = &report.CrashReport{FatalError: "Fatal Python error: Segmentation fault"}
		e.LogTail = "Loading Detection model...\nFatal Python error: Segmentation fault"
	}
	return t
}
