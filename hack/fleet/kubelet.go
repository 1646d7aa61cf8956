package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

// How long the simulated containers take.
const (
	inputTime     = 6 * time.Second // copy, fetch and prepare, two seconds each
	loadTime      = 97 * time.Second
	modelTime     = 95 * time.Second // of the load, before the detector's
	preflightTime = 8 * time.Second
	cpuTime       = time.Minute
)

const frames = 120

//go:embed stages.tmpl
var stagesText string

// stages is what stages.tmpl is filled in with.
type stages struct {
	// Epoch in milliseconds, and Factor, of the simulated clock.
	Epoch, Factor int64
	Inputs        inputs
	Ends          []end
}

// inputs of an attempt: how long its init containers take, and what they say.
type inputs struct {
	Delay, Seconds       int64
	Copy, Fetch, Prepare string
}

// end of an attempt on a device.
type end struct {
	Name, Device     string
	Preflight        bool
	Delay, Seconds   int64 // real milliseconds, simulated seconds
	Phase, PodReason string
	// ExitCode and Reason of the engine's container, as the kubelet says them.
	ExitCode int
	Reason   string
	// Engine and Deliver are the termination messages of pose-runner.
	Engine, Deliver string
}

func newStages(c clock) stages {
	ok := func(t report.Termination) string {
		t.Result = report.ResultOK
		return string(t.Marshal())
	}
	s := stages{
		Epoch: c.epoch.UnixMilli(), Factor: c.factor,
		Inputs: inputs{
			Delay: c.real(inputTime).Milliseconds(), Seconds: int64(inputTime.Seconds()),
			Copy:  ok(report.Termination{Role: report.RoleCopy}),
			Fetch: ok(report.Termination{Role: report.RoleFetch, Fetch: &report.FetchReport{Bytes: 5 << 20, SHA256: "VIDEO"}}),
			Prepare: ok(report.Termination{Role: report.RolePrepare, Video: &report.VideoFacts{
				Codec: "h264", Width: 1280, Height: 720, FPS: 30, Frames: frames, SourceSHA256: "VIDEO",
			}}),
		},
	}
	skipped := string((&report.Termination{Role: report.RoleDeliver, Result: report.ResultSkipped}).Marshal())
	whole, first := crash(loadTime), crash(preflightTime)
	whole.Message = "the engine was ended by SIGSEGV"
	whole.Engine.PeakMemoryBytes = 6 << 30
	whole.Engine.StageSeconds = map[string]float64{
		v1alpha1.StageModelLoad: modelTime.Seconds(), v1alpha1.StageDetectorLoad: (loadTime - modelTime).Seconds(),
	}
	first.Message = "the engine's preflight, counted as stage DetectorLoad, was ended by SIGSEGV"
	first.Engine.Preflight = true
	first.Engine.PeakMemoryBytes = 2 << 30
	first.Engine.StageSeconds = map[string]float64{report.StagePreflight: preflightTime.Seconds()}
	add := func(after time.Duration, e end) {
		e.Delay, e.Seconds = c.real(after).Milliseconds(), int64(after.Seconds())
		s.Ends = append(s.Ends, e)
	}
	died := end{
		Device: string(v1alpha1.GPU), Phase: "Failed", PodReason: "PodFailed",
		ExitCode: 128 + int(syscall.SIGSEGV), Reason: "Error", Deliver: skipped,
	}
	died.Name, died.Engine = "gpu-load-dies", string(whole.Marshal())
	add(loadTime, died)
	died.Name, died.Engine, died.Preflight = "gpu-preflight-dies", string(first.Marshal()), true
	add(preflightTime, died)
	add(cpuTime, end{
		Name: "cpu-succeeds", Device: string(v1alpha1.CPU), Phase: "Succeeded", PodReason: "PodCompleted", Reason: "Completed",
		Engine: ok(report.Termination{Role: report.RoleExec, Seconds: cpuTime.Seconds(), Engine: &report.EngineReport{
			Stage: v1alpha1.StageWriting, ExitCode: new(int32), Frames: frames, Total: frames,
			DeviceUsed: report.DeviceCPU, PeakMemoryBytes: 265 << 20, LimitMemoryBytes: 2 << 30,
		}}),
		Deliver: ok(report.Termination{Role: report.RoleDeliver, Deliver: &report.DeliveryReport{
			URI: "s3://results/simulated", ManifestSHA256: strings.Repeat("cd", 32), People: 1, Frames: frames,
			Files: []report.DeliveredFile{{Name: "pose", Path: "pose.json", Size: 1 << 16, SHA256: strings.Repeat("ef", 32)}},
		}}),
	})
	return s
}

// crash in detector load, as pose-runner tells of one.
func crash(after time.Duration) report.Termination {
	return report.Termination{
		Role: report.RoleExec, Result: report.ResultFailed, Seconds: after.Seconds(),
		Engine: &report.EngineReport{
			Stage: v1alpha1.StageDetectorLoad, Signal: "SIGSEGV", LimitMemoryBytes: 12 << 30,
			DeviceUsed: report.DeviceGPU, GPU: "NVIDIA GeForce RTX 4060", Driver: gpuDriver,
			GPUMemoryBytes: 8 << 30, GPUUsedBytes: 3 << 30,
			Crash:   &report.CrashReport{FatalError: "Fatal Python error: Segmentation fault"},
			LogTail: "Loading Detection model...\nFatal Python error: Segmentation fault",
		},
	}
}

// kubelets are the nodes' and pods' life: one process of kwok.
type kubelets struct {
	cmd  *exec.Cmd
	gone chan struct{}
}

// startKubelets in dir, where kwok finds its configuration and leaves its log. It
// listens nowhere. Failed is called if it ends by itself.
func startKubelets(dir string, kubeconfig []byte, s stages, failed func(error)) (*kubelets, error) {
	t, err := template.New("stages").Delims("[[", "]]").Parse(stagesText)
	if err != nil {
		return nil, fmt.Errorf("read stages.tmpl: %w", err)
	}
	var text bytes.Buffer
	if err := t.Execute(&text, s); err != nil {
		return nil, fmt.Errorf("fill in stages.tmpl: %w", err)
	}
	config, access := filepath.Join(dir, "stages.yaml"), filepath.Join(dir, "kubeconfig")
	if err := errors.Join(os.WriteFile(config, text.Bytes(), 0o600), os.WriteFile(access, kubeconfig, 0o600)); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "kwok.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	k := &kubelets{gone: make(chan struct{}), cmd: exec.Command(filepath.Join(toolsBin, "kwok"), "--config", config, "--kubeconfig", access, "--manage-nodes-with-label-selector", labelFleet)}
	// It reads ~/.kwok too, which is not to matter.
	k.cmd.Env = append(os.Environ(), "HOME="+dir, "KWOK_WORKDIR="+dir)
	k.cmd.Stdout, k.cmd.Stderr = log, log
	// It ends with this process, however that ends.
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := k.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start kwok: %w. Run `make fleet`", err)
	}
	go func() {
		defer close(k.gone)
		failed(errors.Join(errors.New("kwok ended, which it should not"), k.cmd.Wait()))
	}()
	return k, nil
}

func (k *kubelets) stop() {
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	<-k.gone
}
