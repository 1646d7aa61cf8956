package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// crashed is a report with all its parts, as long as exec makes them.
func crashed() *EngineReport {
	tail := strings.Repeat("[2026-01-01 00:00:02,000][phalp][INFO] - an ordinary line\n", 10) +
		"RuntimeError: the cause\n" + strings.Repeat("[2026-01-01 00:00:02,000][phalp][INFO] - \"later\"\n", 10) + "the last line"
	e := &EngineReport{
		Stage: "DetectorLoad", Signal: "SIGSEGV", PeakMemoryBytes: 8 << 30, LimitMemoryBytes: 9 << 30, OOMKills: 2, Preflight: true, DeviceUsed: DeviceGPU,
		GPU: "NVIDIA H100 80GB HBM3", Driver: "550.54.15", GPUMemoryBytes: 80 << 30, GPUUsedBytes: 7 << 30,
		StageSeconds: map[string]float64{"Preflight": 3.1, "EngineStart": 2, "ModelLoad": 80.2, "DetectorLoad": 14.5},
		Versions:     map[string]string{"python": "3.10", "torch": "2.1.2+cu121", "cuda": "12.1", "cudnn": "8.9.2", "detectron2": "0.6", "phalp": "0.1.3"},
		Crash:        &CrashReport{NativeLibrary: "libtorch_cuda.so", FatalError: "Fatal Python error: Segmentation fault"},
		LogTail:      tail,
	}
	for i := range MaxStackDepth {
		e.Crash.PythonStack = append(e.Crash.PythonStack, fmt.Sprintf("%s/%d.py:1 f", strings.Repeat("p", 140), i))
	}
	for i := range MaxLogErrors {
		e.LogErrors = append(e.LogErrors, fmt.Sprintf("error %d %s", i, strings.Repeat("e", 290)))
	}
	return e
}

// TestMarshalKeepsWhatMatters: of the longest report a person still reads why.
func TestMarshalKeepsWhatMatters(t *testing.T) {
	m := Termination{Role: RoleExec, Result: ResultFailed, Message: "the engine was ended by SIGSEGV", Engine: crashed()}
	got, err := ParseTermination(string(m.Marshal()))
	if err != nil {
		t.Fatal(err)
	}
	e := got.Engine
	if len(e.Crash.PythonStack) < 3 || e.Crash.FatalError == "" || e.Crash.NativeLibrary == "" || !strings.HasSuffix(e.LogTail, "the last line") {
		t.Errorf("%+v", e)
	}
	if !strings.Contains(e.LogTail+strings.Join(e.LogErrors, "\n"), "RuntimeError: the cause") {
		t.Errorf("the exception is gone: %q %q", e.LogErrors, e.LogTail)
	}
	if d := cmp.Diff(crashed(), m.Engine); d != "" {
		t.Errorf("Marshal changed its receiver: %s", d)
	}
}

// TestMarshalKeepsTheException: later lines that look like a cause are often its
// consequences.
func TestMarshalKeepsTheException(t *testing.T) {
	e := crashed()
	e.LogErrors[0] = "KeyError: 'x'"
	e.LogTail = "error: the pipe is broken\nerror: no peer\n" + strings.Repeat("error: no peer left\n", 20) + strings.Repeat("[2026-01-01][phalp][INFO] - well\n", 20)
	m := Termination{Role: RoleExec, Result: ResultFailed, Engine: e}
	got, err := ParseTermination(string(m.Marshal()))
	if err != nil || len(got.Engine.LogErrors) < 2 || got.Engine.LogErrors[0] != "KeyError: 'x'" {
		t.Errorf("%v %q", err, got.Engine.LogErrors)
	}
}

// TestMarshalKeepsTheCore: whatever else there is.
func TestMarshalKeepsTheCore(t *testing.T) {
	e := crashed()
	e.GPU, e.Driver, e.Crash.FatalError = strings.Repeat("\"", 900), strings.Repeat("\\", 900), strings.Repeat("\x00", 900)
	m := Termination{Role: RoleExec, Result: ResultFailed, Reason: ReasonNoProgress, Message: strings.Repeat("\x01", 900), Engine: e}
	got, err := ParseTermination(string(m.Marshal()))
	if err != nil {
		t.Fatal(err)
	}
	want := &EngineReport{
		Stage: "DetectorLoad", Signal: "SIGSEGV", PeakMemoryBytes: 8 << 30, LimitMemoryBytes: 9 << 30, OOMKills: 2, Preflight: true, DeviceUsed: DeviceGPU,
	}
	if d := cmp.Diff(want, got.Engine); d != "" || got.Reason != ReasonNoProgress {
		t.Error(d)
	}
}

// TestShrinksInOrder: each step drops no more than it says, so a message that is
// a little too long loses little.
func TestShrinksInOrder(t *testing.T) {
	for n := range 1200 {
		e := &EngineReport{
			Signal: "SIGSEGV", LogTail: strings.Repeat("l", 800), StageSeconds: map[string]float64{"A": 1}, Versions: map[string]string{"torch": "2"},
			Crash: &CrashReport{PythonStack: []string{strings.Repeat("a", 160), strings.Repeat("b", 160), strings.Repeat("c", 160), strings.Repeat("d", 160)}},
		}
		m := Termination{Role: RoleExec, Result: ResultFailed, Message: strings.Repeat("m", n), Engine: e}
		b := m.Marshal()
		got, err := ParseTermination(string(b))
		if err != nil {
			t.Fatal(err)
		}
		g := got.Engine
		switch {
		case g.StageSeconds == nil && len(g.LogTail) > 600, g.Versions == nil && g.StageSeconds != nil, len(g.Crash.PythonStack) < 4 && g.Versions != nil,
			len(g.Crash.PythonStack) < 3:
			t.Fatalf("message of %d: %s", n, b)
		}
	}
}

// FuzzMarshal: whatever an engine says, the message fits, parses, and keeps
// role, result, reason, and an engine's exit.
func FuzzMarshal(f *testing.F) {
	f.Add("message", "log", 3, 1.5, int32(3))
	f.Add(strings.Repeat("ä\x00\"", 900), strings.Repeat("\x1b\\", 2000), 200, 1e300, int32(-1))
	f.Add("m", strings.Repeat("RuntimeError: x\n\n", 99), 7, 0.0, int32(139))
	f.Fuzz(func(t *testing.T, message, log string, n int, seconds float64, code int32) {
		n = min(max(n, 0), 200)
		lines := strings.Split(log, "\n")
		m := Termination{
			Role: RoleDeliver, Result: ResultFailed, Reason: ReasonOutputInvalid, Message: message, Seconds: seconds,
			Engine: &EngineReport{
				LogTail: log, StageSeconds: map[string]float64{log: 1}, ExitCode: &code, Stage: log, Signal: log, GPU: log, Driver: log, OOMKills: 3,
				LogErrors: lines, Versions: map[string]string{log: message}, Crash: &CrashReport{PythonStack: lines, NativeLibrary: log, FatalError: message},
				DeviceUsed: DeviceCPU,
			},
			Deliver: &DeliveryReport{URI: "s3://b/k"},
		}
		for i := range n {
			m.Deliver.Files = append(m.Deliver.Files, DeliveredFile{Name: "n", Path: strings.Repeat("p", i), SHA256: strings.Repeat("0", 64)})
		}
		before := encode(&m)
		b := m.Marshal()
		if len(b) > MaxTerminationBytes {
			t.Fatalf("%d bytes", len(b))
		}
		got, err := ParseTermination(string(b))
		if err != nil || got.Role != m.Role || got.Result != m.Result || got.Reason != m.Reason {
			t.Fatalf("%q: %v", b, err)
		}
		if e := got.Engine; e == nil && seconds == seconds || e != nil && (*e.ExitCode != code || e.OOMKills != 3 || e.DeviceUsed != DeviceCPU) {
			t.Fatalf("%q", b)
		}
		if !bytes.Equal(before, encode(&m)) {
			t.Fatal("Marshal changed its receiver")
		}
	})
}

// TestMarshalKeepsAFoundResult: a hit whose report does not fit would be computed
// again.
func TestMarshalKeepsAFoundResult(t *testing.T) {
	long := "s3://" + strings.Repeat("b", 1019)
	r := &ReusedResult{
		Result: DeliveryReport{URI: long + "/attempts/12345-0", ManifestSHA256: strings.Repeat("a", 64), People: 2, Frames: 100},
		Video:  VideoFacts{Width: 1, Frames: 100, SourceSHA256: strings.Repeat("b", 64), SourceVersion: strings.Repeat("v", 128), Source: &SourceFacts{Bytes: 1, Why: strings.Repeat("w", 128)}},
		From:   JobRef{Namespace: strings.Repeat("n", 63), Name: strings.Repeat("j", 253), UID: strings.Repeat("u", 36)}, URI: long + "/attempts/54321-1",
		Engine: "phalp", Variant: "gpu", Device: DeviceGPU, Image: strings.Repeat("i", 250), CompletedAt: "2026-01-01T00:00:00Z",
	}
	for i := range 16 {
		r.Result.Files = append(r.Result.Files, DeliveredFile{Name: fmt.Sprint(i), Path: fmt.Sprint(i), SHA256: strings.Repeat("c", 64)})
	}
	m := Termination{Role: RoleLookup, Result: ResultOK, Lookup: &LookupReport{Reused: r}}
	got, err := ParseTermination(string(m.Marshal()))
	if err != nil || got.Lookup == nil || got.Lookup.Reused == nil {
		t.Fatalf("%v %+v", err, got)
	}
	if f := got.Lookup.Reused; f.Result.URI != r.Result.URI || f.Result.ManifestSHA256 == "" || f.From != r.From || f.Video.SourceSHA256 == "" || f.Variant != "gpu" {
		t.Errorf("%+v", f)
	}
	if len(r.Result.Files) != 16 || r.URI == "" || r.Video.Source == nil || r.Result.Files[0].SHA256 == "" {
		t.Error("Marshal changed its receiver")
	}
}

// TestMarshalKeepsCounts: what a person reads is cut before what a program counts.
func TestMarshalKeepsCounts(t *testing.T) {
	lines := slices.Repeat([]string{strings.Repeat("k", 400)}, 10)
	m := Termination{Role: RolePurge, Result: ResultFailed, Message: strings.Repeat("m", 1000), Purge: &PurgeReport{Objects: 7, Kept: lines}}
	got, err := ParseTermination(string(m.Marshal()))
	if err != nil || got.Purge == nil || got.Purge.Objects != 7 || len(got.Purge.Kept) == 0 || len(lines[0]) != 400 {
		t.Errorf("%v %+v", err, got)
	}
	m = Termination{Role: RoleVerify, Result: ResultFailed, Verify: &VerifyReport{Files: 7, Problems: lines}}
	if got, err = ParseTermination(string(m.Marshal())); err != nil || got.Verify == nil || got.Verify.Files != 7 || len(got.Verify.Problems) == 0 {
		t.Errorf("%v %+v", err, got)
	}
}

// TestMarshalKeepsTheQueue: what the clips of a pod are counted by is never cut.
func TestMarshalKeepsTheQueue(t *testing.T) {
	q := &QueueReport{
		States: strings.Repeat("S", MaxQueueClips), Digests: strings.Repeat("A", MaxQueueClips*ShortDigestLen), Why: strings.Repeat(`"`, 320),
	}
	for _, message := range []string{"", strings.Repeat(`"`, 1024)} {
		m := Termination{Role: RoleDeliver, Result: ResultFailed, Reason: ReasonConfig, Message: message, Queue: q}
		b := m.Marshal()
		got, err := ParseTermination(string(b))
		if err != nil || len(b) > MaxQueueMessageBytes {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		if got.Queue.States != q.States || got.Queue.Digests != q.Digests || got.Result != ResultFailed {
			t.Errorf("%+v %+v", got, got.Queue)
		}
	}
}

// TestMarshalLeavesAnswersOut: they may be many, and deliver has them elsewhere.
func TestMarshalLeavesAnswersOut(t *testing.T) {
	m := Termination{Role: RoleExec, Result: ResultOK, Engine: &EngineReport{Stage: "Tracking", Answers: []ClipAnswer{{Clip: 3, Message: "secret"}}}}
	if b := m.Marshal(); bytes.Contains(b, []byte("secret")) || len(m.Engine.Answers) != 1 {
		t.Errorf("%s", b)
	}
}
