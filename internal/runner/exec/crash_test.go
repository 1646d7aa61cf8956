package exec

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/report"
)

// python39 is the dump of Python 3.9 to 3.13, with a second thread.
const python39 = `Loading Detection model...
Fatal Python error: Segmentation fault

Thread 0x00007f53d26c6700 (most recent call first):
  File "/usr/lib/python3.9/threading.py", line 312 in wait
  File "/usr/lib/python3.9/threading.py", line 973 in _bootstrap

Current thread 0x00007f53e1a2b080 (most recent call first):
  File "/opt/conda/lib/python3.9/site-packages/detectron2/layers/deform.py", line 101 in forward
  File "/usr/local/lib/python3.9/dist-packages/torch/nn/modules/module.py", line 1501 in _call_impl
  File "<string>", line 1 in <module>
  File ???, line ??? in ???

Extension modules: numpy.core._multiarray_umath, torch._C (total: 2)`

// python314 has thread names and a native stack.
const python314 = `Fatal Python error: Aborted
<Cannot show all threads while the GIL is disabled>
Current thread 0x00007f53e1a2b080 [python3] (most recent call first):
  Garbage-collecting
  File "/app/run.py", line 9 in main
  ...

Current thread's C stack trace (most recent call first):
  Binary file "/usr/bin/python3.14", at _Py_DumpStack+0x42 [0x5b27f7d7147e]
  Binary file "/usr/bin/python3.14", at +0x32df8a [0x5b27f7d85f8a]
  Binary file "/usr/lib/libc.so.6", at +0x3def0 [0x77b73226bef0]
  Binary file "/usr/lib/libc.so.6", at gsignal+0x12 [0x77b7323acf9c]
  Binary file "/opt/site-packages/torch/lib/libtorch_cuda.so", at +0xcdf6 [0x77b7315dddf6]
  Binary file "/usr/bin/python3.14", at Py_RunMain+0x31 [0x5b27f7d82ebe]
  <truncated rest of calls>

Extension modules: torch._C (total: 1)`

const thrown = `terminate called after throwing an instance of 'c10::Error'
  what():  CUDA error: an illegal memory access was encountered
Exception raised from c10_cuda_check_implementation at CUDAException.cpp:44 (most recent call first):
frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x57 (0x7f1 in /opt/site-packages/torch/lib/libc10.so)
frame #1: c10::detail::torchCheckFail(char const*) + 0x64 (0x7f2 in /opt/site-packages/torch/lib/libc10.so)
frame #2: c10::cuda::c10_cuda_check_implementation(int) + 0x118 (0x7f3 in /opt/site-packages/torch/lib/libc10_cuda.so)
frame #3: <unknown function> + 0xd44a3 (0x7f4 in /lib/x86_64-linux-gnu/libstdc++.so.6)
Fatal Python error: Aborted

Current thread 0x00007f53e1a2b080 (most recent call first):
  File "a.py", line 3 in load`

func TestCrash(t *testing.T) {
	for name, tc := range map[string]struct {
		log  string
		want *report.CrashReport
		tail string
	}{
		"nothing": {"Loading\nRuntimeError: no\n  File \"a.py\", line 3, in load", nil, "Loading\nRuntimeError: no\n  File \"a.py\", line 3, in load"},
		"Python 3.9 to 3.13": {python39, &report.CrashReport{
			FatalError:  "Fatal Python error: Segmentation fault",
			PythonStack: []string{"detectron2/layers/deform.py:101 forward", "torch/nn/modules/module.py:1501 _call_impl", "<string>:1 <module>", "???:??? ???"},
		}, "Loading Detection model...\nFatal Python error: Segmentation fault"},
		"Python 3.14": {python314, &report.CrashReport{
			FatalError: "Fatal Python error: Aborted", PythonStack: []string{"/app/run.py:9 main"}, NativeLibrary: "libtorch_cuda.so",
		}, "Fatal Python error: Aborted"},
		"C++": {thrown, &report.CrashReport{
			FatalError:    "terminate called after throwing an instance of 'c10::Error'; what():  CUDA error: an illegal memory access was encountered",
			PythonStack:   []string{"a.py:3 load"},
			NativeLibrary: "libc10_cuda.so",
		}, "terminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error: an illegal memory access was encountered\nFatal Python error: Aborted"},
		"behind a progress bar": {"45%|###   | Fatal Python error: Bus error\n\nCurrent thread 0x1 (most recent call first):\n  File \"a.py\", line 3 in load",
			&report.CrashReport{FatalError: "Fatal Python error: Bus error", PythonStack: []string{"a.py:3 load"}}, "45%|###   | Fatal Python error: Bus error"},
		"other lines in between": {"Fatal Python error: Aborted\nCurrent thread 0x1 (most recent call first):\nworker 2 done\n  File \"a.py\", line 3 in load\n  File \"a.py\", line 9 in main\nworker 3 done",
			&report.CrashReport{FatalError: "Fatal Python error: Aborted", PythonStack: []string{"a.py:3 load", "a.py:9 main"}}, "Fatal Python error: Aborted\nworker 2 done\nworker 3 done"},
		"a thread without Python": {"Fatal Python error: Segmentation fault\nThread 0x1 (most recent call first):\n  File \"a.py\", line 3 in load",
			&report.CrashReport{FatalError: "Fatal Python error: Segmentation fault"}, "Fatal Python error: Segmentation fault"},
		"the newest of two": {python314 + "\nworker died, going on\n" + "Fatal Python error: Segmentation fault\nCurrent thread 0x1 (most recent call first):\n  File \"b.py\", line 1 in f",
			&report.CrashReport{FatalError: "Fatal Python error: Segmentation fault", PythonStack: []string{"b.py:1 f"}}, "Fatal Python error: Aborted\nworker died, going on\nFatal Python error: Segmentation fault"},
		"no Python state": {"Fatal Python error: none_dealloc: bad\nPython runtime state: initialized\nCurrent thread 0x1 (most recent call first):\n  <no Python frame>",
			&report.CrashReport{FatalError: "Fatal Python error: none_dealloc: bad"}, "Fatal Python error: none_dealloc: bad"},
		"a secret in a forged file": {"Fatal Python error: x\nCurrent thread 0x1 (most recent call first):\n  File \"https://u:p@h/a?s=1\", line 3 in load",
			&report.CrashReport{FatalError: "Fatal Python error: x", PythonStack: []string{"https://h/a load"}}, "Fatal Python error: x"},
	} {
		t.Run(name, func(t *testing.T) {
			r := track(t, tc.log)
			if d := cmp.Diff(tc.want, r.Crash); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tc.tail, r.LogTail); d != "" {
				t.Error(d)
			}
		})
	}
}

// track gives what a tracker makes of a log.
func track(t *testing.T, log string) report.EngineReport {
	t.Helper()
	tr, err := newTracker(report.ExecConfig{}, t0)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(log, "\n") {
		tr.Line(t0, line)
	}
	var r report.EngineReport
	tr.Fill(t0, &r)
	return r
}

func TestCrashIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("Fatal Python error: " + strings.Repeat("x", 5000) + "\nCurrent thread 0x1 (most recent call first):\n")
	for i := range 2 * maxDump {
		fmt.Fprintf(&b, "  File \"/%s/%d.py\", line %d in %s\n", strings.Repeat("ä", 300), i, i, strings.Repeat("f", 300))
	}
	b.WriteString("Current thread's C stack trace (most recent call first):\n")
	r := track(t, b.String())
	if len(r.Crash.FatalError) > maxFatal || len(r.Crash.PythonStack) != report.MaxStackDepth {
		t.Errorf("%+v", r.Crash)
	}
	for _, f := range r.Crash.PythonStack {
		if len(f) > report.MaxFrameBytes || !strings.Contains(f, ".py:") {
			t.Errorf("%d bytes: %q", len(f), f)
		}
	}
	// A dump that does not end does not hide the log for ever.
	if !strings.Contains(r.LogTail, "most recent call first") {
		t.Errorf("tail %q", r.LogTail)
	}
}

func FuzzTracker(f *testing.F) {
	f.Add(python39 + "\n" + thrown)
	f.Add(python314)
	f.Add("Traceback (most recent call last)\n\x1b[31m\xff\xfe  File \"\", line  in \nE: \r\x00")
	f.Fuzz(func(t *testing.T, log string) {
		tr, err := newTracker(phalp, t0)
		if err != nil {
			t.Fatal(err)
		}
		s := splitter{line: func(l string) { tr.Line(t0, l) }}
		s.Write([]byte(log))
		s.Flush()
		var r report.EngineReport
		tr.Fill(t0, &r)
		if len(r.LogTail) > maxTail || len(r.LogErrors) > report.MaxLogErrors {
			t.Errorf("%d bytes, %d errors", len(r.LogTail), len(r.LogErrors))
		}
		for _, e := range r.LogErrors {
			if len(e) > maxTailLine {
				t.Errorf("%q", e)
			}
		}
		if r.Crash != nil {
			for _, e := range append(r.Crash.PythonStack, r.Crash.NativeLibrary) {
				if len(e) > report.MaxFrameBytes {
					t.Errorf("%q", e)
				}
			}
		}
	})
}
