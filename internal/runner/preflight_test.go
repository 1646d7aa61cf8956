package runner_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
)

// preflight is an engine that would end well, after a first step.
func (p *pod) preflight(pre report.PreflightConfig) report.Config {
	cfg := p.engineConfig("exit3")
	cfg.Exec.Preflight = &pre
	return cfg
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	self := func(how string) []string { return []string{os.Args[0], "engine=" + how} }
	for _, tc := range []struct {
		name    string
		pre     report.PreflightConfig
		exit    int
		signal  string
		stage   string
		reason  string
		message string
		passed  bool
	}{
		{"crashes", report.PreflightConfig{Command: self("segv")}, 139, "SIGSEGV", "DetectorLoad", "", "preflight, counted as stage DetectorLoad, was ended by SIGSEGV", false},
		{"is killed in a stage of its own", report.PreflightConfig{Command: self("kill"), Stage: "ModelLoad"}, 137, "SIGKILL", "ModelLoad", "", "stage ModelLoad", false},
		{"fails", report.PreflightConfig{Command: self("exit3")}, 3, "", "DetectorLoad", "", "exit code 3", false},
		{"takes too long", report.PreflightConfig{Command: self("deaf"), TimeoutSeconds: 1}, 137, "SIGKILL", "DetectorLoad", report.ReasonNoProgress, "did not end within 1s", false},
		{"cannot be started", report.PreflightConfig{Command: []string{"no-such-program"}}, 1, "", "DetectorLoad", report.ReasonConfig, "no-such-program", false},
		{"passes", report.PreflightConfig{Command: self("")}, 3, "", "Tracking", "", "the engine ended with exit code 3", true},
		{"asks nothing", report.PreflightConfig{}, 3, "", "Tracking", "", "the engine ended with exit code 3", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			m, exit, out := p.run(p.preflight(tc.pre))
			e := m.Engine
			if exit != tc.exit || m.Result != report.ResultFailed || m.Reason != tc.reason || !strings.Contains(m.Message, tc.message) {
				t.Fatalf("exit %d, %+v\n%s", exit, m, out)
			}
			if e.Signal != tc.signal || e.Stage != tc.stage || e.Preflight == tc.passed {
				t.Errorf("report %+v", e)
			}
			if _, ok := e.StageSeconds[report.StagePreflight]; !ok {
				t.Errorf("stage times %v", e.StageSeconds)
			}
			if started := strings.Contains(out, "stage=track"); started != tc.passed && tc.name != "fails" {
				t.Errorf("the engine ran: %t\n%s", started, out)
			}
			// The stages of the preflight are not the engine's.
			if _, ok := e.StageSeconds["Load"]; ok != tc.passed {
				t.Errorf("stage times %v", e.StageSeconds)
			}
		})
	}
}

// TestPreflightStall: the limit of the stage that it counts for holds, and its
// stacks are told.
func TestPreflightStall(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	cfg := p.preflight(report.PreflightConfig{Command: python(t, hanging), Stage: "Detector"})
	cfg.Exec.Stages[1].StallTimeoutSeconds = 5
	m, _, out := p.run(cfg)
	if m.Reason != report.ReasonNoProgress || !strings.Contains(m.Message, "the preflight showed no progress for 5s in stage Detector") || !m.Engine.Preflight {
		t.Fatalf("%+v\n%s", m, out)
	}
	checkStack(t, m.Engine, "Fatal Python error: Aborted", "wait_for_weights", "<module>")
}

// TestPreflightCrash: its stack is the attempt's.
func TestPreflightCrash(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	m, code, out := p.run(p.preflight(report.PreflightConfig{Command: python(t, crashing)}))
	if code != 139 || m.Engine.Stage != "DetectorLoad" || !m.Engine.Preflight {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	checkStack(t, m.Engine, "Fatal Python error: Segmentation fault", "string_at", "load")
}

// TestPreflightIsTold: a runner that is killed with its preflight has left word
// of it, and one that is told to end starts no engine.
func TestPreflightIsTold(t *testing.T) {
	t.Parallel()
	stop := filepath.Join(t.TempDir(), "stop")
	p := newPod(t)
	c := p.start(p.preflight(report.PreflightConfig{Command: []string{os.Args[0], "engine=go", stop}}))
	c.await("a frame", func() bool { return strings.Contains(c.out.String(), "frame=3") })
	_ = c.cmd.Process.Kill()
	m, _, out := c.wait()
	if m.Result != report.ResultRunning || !m.Engine.Preflight || m.Engine.Stage != "DetectorLoad" {
		t.Fatalf("%+v\n%s", m, out)
	}

	p = newPod(t)
	c = p.start(p.preflight(report.PreflightConfig{Command: []string{os.Args[0], "engine=polite-pass"}}))
	c.await("its start", func() bool { return strings.Contains(c.out.String(), "stage=load") })
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	m, code, out := c.wait()
	if code != 143 || !m.Engine.Preflight || strings.Contains(out, "stage=track") || !strings.Contains(m.Message, "SIGTERM") {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
}

// stageTool puts a staged nvidia-smi into PATH: there is no GPU here.
func stageTool(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// TestStagedGPUMemory asks a staged nvidia-smi, as an ordinary process and as
// PID 1, where whoever waits for the engine could take the tool's end.
func TestStagedGPUMemory(t *testing.T) {
	const gib = 1 << 30
	for _, tc := range []struct {
		name, script string
		exit         int
		reason       string
		message      string
		gpu          string
		as           *syscall.SysProcAttr
	}{
		{"enough", `echo "NVIDIA H100, 550.54.15, 81559, 559, 81000"`, 3, "", "exit code 3", "NVIDIA H100", nil},
		{"enough, as PID 1", `echo "NVIDIA H100, 550.54.15, 81559, 559, 81000"`, 3, "", "exit code 3", "NVIDIA H100", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}},
		{"too little", `echo "NVIDIA H100, 550.54.15, 81559, 78487, 3072"`, 1, report.ReasonCUDAOutOfMemory, "wants 12.0GiB of free GPU memory, and NVIDIA H100 has 3.0GiB of 79.6GiB free", "NVIDIA H100", nil},
		{"no GPU", `echo "No devices were found"; exit 6`, 1, report.ReasonDeviceUnusable, `nvidia-smi shows no GPU (exit code 6, it says "No devices were found")`, "", nil},
		{"no GPU, as PID 1", `echo "No devices were found"; exit 6`, 1, report.ReasonDeviceUnusable, "exit code 6", "", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}},
		{"does not tell", `kill -9 $$`, 3, "", "exit code 3", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stageTool(t, tc.script)
			p := newPod(t)
			m, exit, out := p.startAs(p.preflight(report.PreflightConfig{GPUMemoryBytes: 12 * gib}), tc.as).wait()
			if exit != tc.exit || m.Reason != tc.reason || !strings.Contains(m.Message, tc.message) {
				t.Fatalf("exit %d, %+v\n%s", exit, m, out)
			}
			e := m.Engine
			if e.GPU != tc.gpu || tc.gpu != "" && (e.Driver != "550.54.15" || e.GPUMemoryBytes != 81559<<20 || e.GPUUsedBytes == 0) {
				t.Errorf("report %+v", e)
			}
			if failed := tc.reason != ""; e.Preflight != failed || failed && (e.Stage != "DetectorLoad" || e.ExitCode != nil) {
				t.Errorf("report %+v", e)
			}
		})
	}
}
