package runner_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
)

// python writes a program and gives the command that runs it.
func python(t *testing.T, program string) []string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("SKIPPED: python3 is not installed (apt-get install python3)")
	}
	file := filepath.Join(t.TempDir(), "engine.py")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{path, file}
}

// crashing dies in native code, in a function that a thread of its own outlives.
const crashing = `
import ctypes, sys, threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("pose-engine: stage=detector", flush=True)
class Detector:
    def load(self):
        ctypes.string_at(0)
def build():
    Detector().load()
build()
`

// hanging stands still in a function of a name.
const hanging = `
import time
def wait_for_weights():
    time.sleep(3600)
print("pose-engine: stage=detector", flush=True)
wait_for_weights()
`

// TestPythonCrash: a real segmentation fault under a real faulthandler.
func TestPythonCrash(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	cfg := p.engineConfig("")
	cfg.Exec.Command = python(t, crashing)
	m, code, out := p.run(cfg)
	if code != 139 || m.Engine.Signal != "SIGSEGV" || m.Engine.Stage != "Detector" {
		t.Fatalf("code %d %+v\n%s", code, m.Engine, out)
	}
	checkStack(t, m.Engine, "Fatal Python error: Segmentation fault", "string_at", "load", "build", "<module>")
	if tail := m.Engine.LogTail; !strings.Contains(tail, "stage=detector") || strings.Contains(tail, "most recent call") || strings.Contains(tail, "threading.py") {
		t.Errorf("tail %q", tail)
	}
	// What was kept for upload has it all.
	if log, err := os.ReadFile(p.l.Diagnostics); err != nil || !strings.Contains(string(log), "threading.py") {
		t.Errorf("diagnostics: %q %v", log, err)
	}
}

// checkStack wants these functions, innermost first.
func checkStack(t *testing.T, e *report.EngineReport, fatal string, functions ...string) {
	t.Helper()
	if e.Crash == nil || e.Crash.FatalError != fatal || len(e.Crash.PythonStack) < len(functions) {
		t.Fatalf("crash %+v", e.Crash)
	}
	for i, f := range functions {
		if frame := e.Crash.PythonStack[i]; !strings.Contains(frame, ".py:") || !strings.HasSuffix(frame, " "+f) {
			t.Errorf("frame %d is %q, expected %s", i, frame, f)
		}
	}
}

// TestStalledPython: the abort makes it tell where it stands.
func TestStalledPython(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	cfg := p.engineConfig("")
	cfg.Exec.Command, cfg.Exec.StallTimeoutSeconds = python(t, hanging), 5
	m, code, out := p.run(cfg)
	if code == 0 || m.Reason != report.ReasonNoProgress || !strings.Contains(m.Message, "for 5s in stage Detector at frame 0") || m.Engine.Signal != "SIGABRT" {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	checkStack(t, m.Engine, "Fatal Python error: Aborted", "wait_for_weights", "<module>")
}

// TestStageStalls: a stage has a limit of its own, shorter or longer than the
// engine's.
func TestStageStalls(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		general, stage int64
		want           string
	}{
		"shorter":  {3600, 1, "no progress for 1s in stage Detector"},
		"the only": {0, 1, "no progress for 1s in stage Detector"},
		"longer":   {3, 5, "no progress for 5s in stage Detector"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			cfg := p.engineConfig("detector-hang")
			cfg.Exec.StallTimeoutSeconds, cfg.Exec.Stages[1].StallTimeoutSeconds = tc.general, tc.stage
			m, code, out := p.run(cfg)
			if code == 0 || m.Reason != report.ReasonNoProgress || !strings.Contains(m.Message, tc.want) {
				t.Fatalf("code %d %+v\n%s", code, m, out)
			}
		})
	}
}

// TestJumpingStages: a log that jumps between stages does not make the runner
// write a message a line, and word of the last stage is left all the same.
func TestJumpingStages(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	c := p.start(p.engineConfig("jumps"))
	c.await("the last stage", func() bool { return strings.Contains(c.out.String(), "stage=detector") })
	c.await("word of it", func() bool { return c.termination().Engine.Stage == "Detector" })
	_ = c.cmd.Process.Kill()
}

// TestVersionsOfPython: a process that maps files of a packages folder shows
// what is installed there, and its interpreter, without any code being run.
func TestVersionsOfPython(t *testing.T) {
	t.Parallel()
	site := filepath.Join(t.TempDir(), "lib/python3.9/site-packages")
	for _, name := range []string{"torch-2.1.2+cu121.dist-info", "phalp-0.1.3.dist-info", "torch"} {
		if err := os.MkdirAll(filepath.Join(site, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lib := filepath.Join(site, "torch/libtorch.so")
	if err := os.WriteFile(lib, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPod(t)
	cfg := p.engineConfig("")
	cfg.Exec.Command = append(python(t, `
import mmap, sys, time
f = open(sys.argv[1], "rb")
m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
print("pose-engine: stage=detector", flush=True)
time.sleep(3)
`), lib)
	m, code, out := p.run(cfg)
	v := m.Engine.Versions
	if code != 0 || v["torch"] != "2.1.2+cu121" || v["cuda"] != "12.1" || v["phalp"] != "0.1.3" || v["python"] == "" {
		t.Fatalf("code %d %+v\n%s", code, m.Engine, out)
	}
	if m.Engine.DeviceUsed != report.DeviceCPU {
		t.Errorf("device %q", m.Engine.DeviceUsed)
	}
}
