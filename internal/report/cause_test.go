package report

import (
	"strings"
	"testing"
)

func TestCauseLine(t *testing.T) {
	for line, want := range map[string]bool{
		"RuntimeError: CUDA error: out of memory":                             true,
		"[2026-01-01 00:00:02,000][phalp][ERROR] - no weights":                true,
		"Error: see the WARNING above":                                        true,
		"Killed":                                                              true,
		"terminate called after throwing an instance of 'c10::Error'":         true,
		"  what():  an illegal memory access was encountered":                 true,
		"NVRM: Xid (PCI:0000:17:00): 79, GPU has fallen off the bus.":         true,
		"Segmentation fault (core dumped)":                                    true,
		"free(): invalid pointer":                                             true,
		"double free or corruption (!prev)":                                   true,
		"OSError: [Errno 28] No space left on device":                         true,
		"cannot open shared object file":                                      true,
		"E0102 15:04:05.1 12 x.cc:1] failed":                                  true,
		"2026-01-02 15:04:05.1: E tensorflow/x.cc:1] failed call to cuInit":   true,
		strings.Repeat("x", 280) + " error":                                   true,
		"W0102 15:04:05.1 12 x.cc:1] failed":                                  false,
		"2026-01-02 15:04:05.1: W tensorflow/x.cc:1] cannot open":             false,
		"[2026-01-01 00:00:02,000][phalp][INFO] - error rate 0.1":             false,
		"WARNING: cannot find it":                                             false,
		"/x/image.py:13: UserWarning: Failed to load image Python extension":  false,
		"using default settings":                                              false,
		"taxid 7":                                                             false,
		"determination is 3":                                                  false,
		"all is well":                                                         false,
		"":                                                                    false,
		"    raise KeyError(\"x\")":                                           false,
		"  File \"/x/errors.py\", line 3, in fail":                            false,
		"During handling of the above exception, another exception occurred:": false,
		strings.Repeat("x", 400) + " error":                                   false,
		"default device fault":                                                true,
		"\xff\xfe error":                                                      true,
		"pose-engine: frame=120 total=795 people=6":                           false,
		"Traceback (most recent call last):":                                  false,
	} {
		if got := CauseLine(line); got != want {
			t.Errorf("%q: %t", line, got)
		}
	}
}

func TestExceptionLine(t *testing.T) {
	for line, want := range map[string]bool{
		"KeyError: 'x'": true, "KeyboardInterrupt": true, "torch.cuda.OutOfMemoryError: CUDA out of memory": true, "socket.gaierror: [Errno -2]": true,
		"Exhausted: it": true, "_pickle.UnpicklingError: x": true, "Ünknown: x": false, "WARNING: x": false, "x.UserWarning: y": false,
		"pose: x": false, "error: x": false, "pose-engine: stage=load": false, "an Error: x": false, "": false, ": x": false, "a.: x": false, strings.Repeat("A", 200): false,
		"  KeyError: x": false,
	} {
		if got := ExceptionLine(line); got != want {
			t.Errorf("%q: %t", line, got)
		}
	}
}

func BenchmarkCauseLine(b *testing.B) {
	for b.Loop() {
		CauseLine("[2026-01-01 00:00:02,000][phalp.trackers.PHALP][INFO] - Setting up of all kinds of things")
	}
}
