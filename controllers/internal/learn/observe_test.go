package learn_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/learn"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
	"github.com/pose-dev/pose-operator/internal/report"
)

const rtx, driver = "NVIDIA-GeForce-RTX-4060", "550.54"

// onGPU is an attempt of the variant gpu that failed on node-1.
func onGPU(reason string, change ...func(*v1alpha1.Attempt)) v1alpha1.Attempt {
	return gen.Attempt(1, "gpu", v1alpha1.GPU, append([]func(*v1alpha1.Attempt){gen.Running("p1"), gen.Failed(reason), func(a *v1alpha1.Attempt) {
		a.Node, a.GPUProduct, a.GPUDriver, a.ImageID = "node-1", rtx, driver, "registry.example/gpu@sha256:aa"
		a.Stage = strings.TrimSuffix(reason, "Crash") // DetectorLoadCrash is of DetectorLoad
	}}, change...)...)
}

func signal(name string) func(*v1alpha1.Attempt) {
	return func(a *v1alpha1.Attempt) { a.Container, a.Signal = attempt.ContainerEngine, name }
}

func exit(code int32) func(*v1alpha1.Attempt) {
	return func(a *v1alpha1.Attempt) { a.Container, a.ExitCode = attempt.ContainerEngine, &code }
}

func onCPU(a *v1alpha1.Attempt) { a.Device = v1alpha1.CPU }

func says(message string) func(*v1alpha1.Attempt) {
	return func(a *v1alpha1.Attempt) { a.Message = message }
}

func TestObserve(t *testing.T) {
	memory := &v1alpha1.Resources{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}}
	ownGPU := v1alpha1.PodTemplate{Resources: &v1alpha1.DeviceResources{GPU: memory}}
	ownCPU := v1alpha1.PodTemplate{Resources: &v1alpha1.DeviceResources{CPU: memory}}
	for name, c := range map[string]struct {
		template *v1alpha1.PodTemplate
		attempt  v1alpha1.Attempt
		want     learn.Kind // empty for nothing
	}{
		"a signal in detector load is a crash":                           {attempt: onGPU("DetectorLoadCrash", signal("SIGSEGV")), want: learn.Crash},
		"an exit code in detector load is a crash":                       {attempt: onGPU("DetectorLoadCrash", exit(1)), want: learn.Crash},
		"a signal in model load is a crash":                              {attempt: onGPU("ModelLoadCrash", signal("SIGABRT")), want: learn.Crash},
		"a crash on an unknown node is one":                              {attempt: onGPU("ModelLoadCrash", exit(3), func(a *v1alpha1.Attempt) { a.Node = "" }), want: learn.Crash},
		"a crash on the CPU speaks of the node alone":                    {attempt: onGPU("DetectorLoadCrash", signal("SIGILL"), onCPU), want: learn.NodeFailure},
		"on the CPU of no known node it speaks of nothing":               {attempt: onGPU("DetectorLoadCrash", exit(1), onCPU, func(a *v1alpha1.Attempt) { a.Node = "" })},
		"a crash by an engine's own rule in another stage is the node's": {attempt: onGPU("DetectorLoadCrash", exit(1), func(a *v1alpha1.Attempt) { a.Stage = "Tracking" }), want: learn.NodeFailure},
		"a crash that only the log tells of is none":                     {attempt: onGPU("DetectorLoadCrash")},
		"a crash with exit code 0 is none":                               {attempt: onGPU("DetectorLoadCrash", exit(0))},
		"a crash of another container is none":                           {attempt: onGPU("DetectorLoadCrash", exit(1), func(a *v1alpha1.Attempt) { a.Container = "deliver" })},
		"a SIGKILL is memory, or a person":                               {attempt: onGPU("DetectorLoadCrash", signal("SIGKILL"))},
		"a SIGTERM comes from outside":                                   {attempt: onGPU("ModelLoadCrash", signal("SIGTERM"))},
		"a crash while it runs is not recorded yet":                      {attempt: onGPU("DetectorLoadCrash", exit(1), func(a *v1alpha1.Attempt) { a.FinishTime = nil })},
		"a fault of the GPU speaks of the node":                          {attempt: onGPU("GPUHardwareFault", exit(1)), want: learn.NodeFailure},
		"a fault of the GPU without a death is a log's word":             {attempt: onGPU("GPUHardwareFault")},
		"a CUDA error speaks of the node":                                {attempt: onGPU("CUDAError", exit(1)), want: learn.NodeFailure},
		"an unusable GPU speaks of the node":                             {attempt: onGPU("DeviceUnusable", exit(1)), want: learn.NodeFailure},
		"so does a kubelet that has no device for the pod":               {attempt: onGPU("DeviceUnusable"), want: learn.NodeFailure},
		"but not one that has no name":                                   {attempt: onGPU("DeviceUnusable", func(a *v1alpha1.Attempt) { a.Node = "" })},
		"an unknown death speaks of the node":                            {attempt: onGPU("EngineError", exit(1)), want: learn.NodeFailure},
		"an unknown death before the engine does not":                    {attempt: onGPU("EngineError", exit(1), func(a *v1alpha1.Attempt) { a.Container = "fetch" })},
		"a pod that failed without a container's word does not":          {attempt: onGPU("EngineError")},
		"a runtime that cannot start a container speaks of the node":     {attempt: onGPU("PodNotStartable", says("container copy cannot start: RunContainerError: no such device")), want: learn.NodeFailure},
		"an image that cannot be pulled does not":                        {attempt: onGPU("PodNotStartable", says("container engine cannot start: ImagePullBackOff: RunContainerError"))},
		"a Secret that is not there does not":                            {attempt: onGPU("PodNotStartable", says(`container fetch cannot start: CreateContainerConfigError: secret "x" not found`))},
		"a pod that the API server refused does not":                     {attempt: onGPU("PodNotStartable", says("the API server refuses the pod: x"))},
		"out of memory teaches nothing":                                  {attempt: onGPU("OutOfMemory", exit(1))},
		"a GPU out of memory teaches nothing":                            {attempt: onGPU("CUDAOutOfMemory", exit(1))},
		"a full scratch disk teaches nothing":                            {attempt: onGPU("ScratchSpaceExceeded", exit(1))},
		"a small /dev/shm teaches nothing":                               {attempt: onGPU("SharedMemoryTooSmall", signal("SIGBUS"))},
		"a broken video teaches nothing":                                 {attempt: onGPU("InputInvalid", exit(1))},
		"a missing video teaches nothing":                                {attempt: onGPU("InputUnavailable", exit(1))},
		"short results teach nothing":                                    {attempt: onGPU("OutputInvalid", exit(1))},
		"a failed upload teaches nothing":                                {attempt: onGPU("DeliveryFailed", exit(1))},
		"a disruption teaches nothing":                                   {attempt: onGPU("Disrupted", exit(1))},
		"a suspension teaches nothing":                                   {attempt: onGPU("SuspendedAttempt", exit(1))},
		"a full cluster teaches nothing":                                 {attempt: onGPU("NoCapacity")},
		"a deadline teaches nothing":                                     {attempt: onGPU("DeadlineExceeded", exit(1))},
		"a standstill teaches nothing":                                   {attempt: onGPU("NoProgress", exit(1))},
		"missing weights teach nothing":                                  {attempt: onGPU("WeightsMissing", exit(1))},
		"broken weights teach nothing":                                   {attempt: onGPU("WeightsInvalid", exit(1))},
		"a broken image teaches nothing":                                 {attempt: onGPU("ImageIncompatible", exit(1))},
		"a reason of the engine's own teaches nothing":                   {attempt: onGPU("Custom", exit(1))},
		"a crash with the job's own resources teaches nothing":           {template: &ownGPU, attempt: onGPU("DetectorLoadCrash", exit(1))},
		"its resources for the other device do not matter":               {template: &ownCPU, attempt: onGPU("DetectorLoadCrash", exit(1)), want: learn.Crash},
		"a crash on the CPU with the job's own resources is not taken":   {template: &ownCPU, attempt: onGPU("EngineError", exit(1), onCPU)},
		"a crash under the job's own runtime class teaches nothing":      {template: &v1alpha1.PodTemplate{RuntimeClassName: "mine"}, attempt: onGPU("DetectorLoadCrash", exit(1))},
		"a crash with raised memory teaches nothing":                     {attempt: onGPU("DetectorLoadCrash", exit(1), func(a *v1alpha1.Attempt) { a.MemoryBytes = 1 << 30 })},
		"a success is one":                                               {attempt: onGPU("", gen.Succeeded()), want: learn.Success},
		"a success on the CPU is one":                                    {attempt: onGPU("", gen.Succeeded(), onCPU), want: learn.Success},
		"a success with raised memory and own resources is one":          {template: &ownGPU, attempt: onGPU("", gen.Succeeded(), func(a *v1alpha1.Attempt) { a.MemoryBytes = 1 }), want: learn.Success},
		"a success of a GPU variant on the CPU says nothing of GPUs":     {attempt: onGPU("", gen.Succeeded(), func(a *v1alpha1.Attempt) { a.DeviceUsed = v1alpha1.CPU })},
	} {
		t.Run(name, func(t *testing.T) {
			job := gen.Job("j")
			if c.template != nil {
				job.Template(*c.template)
			}
			o, ok := learn.Observe(job.Build(), &c.attempt)
			if ok != (c.want != "") || (ok && o.Kind != c.want) {
				t.Errorf("Observe = %q %v, want %q", o.Kind, ok, c.want)
			}
		})
	}
}

func TestObserveNamesWhatItSaw(t *testing.T) {
	a := onGPU("DetectorLoadCrash", signal("SIGSEGV"))
	job := gen.Job("j").Build()
	want := learn.Observation{
		ID: string(gen.JobUID) + "/1", Namespace: "team-a", Video: "s3://videos/run.mp4", Variant: "gpu", Device: v1alpha1.GPU,
		ImageID: "registry.example/gpu@sha256:aa", GPUProduct: rtx, GPUDriver: driver, Node: "node-1",
		Kind: learn.Crash, Reason: "DetectorLoadCrash", At: gen.Now,
	}
	check := func(change string) {
		t.Helper()
		got, _ := learn.Observe(job, &a)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", change, diff)
		}
	}
	check("by URI")
	job.Spec.Video.SHA256, want.Video = "spec", "spec"
	check("by the digest that was asked for")
	job.Status.Video = &v1alpha1.VideoStatus{SHA256: "measured"}
	want.Video = "measured"
	check("by the digest that was measured")
	a.Device, a.Reason = v1alpha1.CPU, "EngineError"
	want.Device, want.Kind, want.Reason, want.GPUProduct, want.GPUDriver = v1alpha1.CPU, learn.NodeFailure, "EngineError", "", ""
	check("a CPU has no product")
}

// The words and fields that Observe relies on are those that the judges write.
func TestObserveUnderstandsTheJudges(t *testing.T) {
	judged := func(t *testing.T, b *gen.PodBuilder) v1alpha1.Attempt {
		t.Helper()
		joined := attempt.Join([]v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU)}, []corev1.Pod{b.Build()})
		v, ended := failure.Judge(joined[0], nil)
		if !ended {
			t.Fatal("the attempt has not ended")
		}
		a := joined[0].Attempt
		at := gen.At(0)
		a.State, a.Reason, a.Container, a.ExitCode, a.Signal, a.Message, a.FinishTime = v1alpha1.AttemptFailed, v.Reason, v.Container, v.ExitCode, v.Signal, v.Message, &at
		return a
	}
	pod := func() *gen.PodBuilder { return gen.Pod("p1", 1, "gpu", v1alpha1.GPU) }
	for name, c := range map[string]struct {
		pod  *gen.PodBuilder
		want learn.Kind
	}{
		"a silent death in detector load": {
			pod().Dead().EngineSays(1, report.EngineReport{Stage: v1alpha1.StageDetectorLoad, Signal: "SIGSEGV"}).DeliverSkipped(), learn.Crash,
		},
		"the same by the memory's limit": {
			pod().Dead().InputsDone().OOMKilled("engine").DeliverSkipped(), "",
		},
		"an admission that the kubelet refused": {
			pod().Phase(corev1.PodFailed).Node("node-1").Reason("UnexpectedAdmissionError", "Allocate failed due to no healthy devices present"), learn.NodeFailure,
		},
		"a container that its runtime could not start": {
			pod().Dead().Exit("engine", 128).With(func(p *corev1.Pod) {
				for i := range p.Status.ContainerStatuses {
					p.Status.ContainerStatuses[i].State.Terminated.Reason = "StartError"
					p.Status.ContainerStatuses[i].State.Terminated.Message = "failed to create task: exec format"
				}
			}), learn.NodeFailure,
		},
		"a video that cannot be fetched": {
			pod().Phase(corev1.PodFailed).Node("node-1").Exit("copy", 0).Exit("fetch", 1).Says("fetch", report.Termination{Role: report.RoleFetch, Result: report.ResultFailed, Reason: report.ReasonInputUnavailable}), "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := judged(t, c.pod)
			o, _ := learn.Observe(gen.Job("j").Build(), &a)
			if o.Kind != c.want {
				t.Errorf("Observe = %q, want %q; the attempt is %s of %q: %s", o.Kind, c.want, a.Reason, a.Container, a.Message)
			}
		})
	}
}

// plan ends a pod whose container cannot start with words of its own.
func TestObserveUnderstandsThePlan(t *testing.T) {
	for waiting, want := range map[string]learn.Kind{
		"RunContainerError": learn.NodeFailure, "CreateContainerError": learn.NodeFailure, "ImagePullBackOff": "", "CreateContainerConfigError": "",
	} {
		job := gen.Job("j").Build()
		pod := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Node("node-1").Waiting("copy", waiting, "words").Build()
		attempts := attempt.Join([]v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU)}, []corev1.Pod{pod})
		d := plan.Next(plan.Input{
			Spec: &job.Spec, Attempts: attempts, Engine: gen.Engine("e").Variants(gen.Variant("gpu", v1alpha1.GPU)).Build(),
			Started: gen.Now, Now: gen.Now.Add(time.Hour),
		})
		if d.Kind != plan.KindEndPod {
			t.Fatalf("%s: plan says %s", waiting, d.Kind)
		}
		a := onGPU(d.Reason, says(d.Message))
		if o, _ := learn.Observe(job, &a); o.Kind != want {
			t.Errorf("%s: Observe = %q, want %q: %s", waiting, o.Kind, want, d.Message)
		}
	}
}

func TestAnAttemptOfAnotherEngineIsKnownByItsBareVariant(t *testing.T) {
	a := onGPU("DetectorLoadCrash", signal("SIGSEGV"), func(a *v1alpha1.Attempt) { a.Variant = "mediapipe/gpu" })
	o, ok := learn.Observe(gen.Job("j").Attempts(a).Build(), &a)
	if !ok || o.Variant != "gpu" || o.Kind != learn.Crash {
		t.Errorf("Observe = %+v, %v; want a crash of gpu", o, ok)
	}
}
