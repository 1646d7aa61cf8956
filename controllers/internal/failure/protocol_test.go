package failure_test

import (
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
)

// What an engine cannot write is neither the video's fault, nor an image's, nor worth
// the load of all models on the same disk again.
func TestAnEngineThatCannotWriteItsResults(t *testing.T) {
	const traceback = "Traceback (most recent call last):\n  File \"result.py\", line 9, in write\nOSError: [Errno 5] Input/output error\n"
	full := failure.Finding{Reason: v1alpha1.ReasonScratchSpaceExceeded}
	elsewhere := failure.Finding{Reason: v1alpha1.ReasonEngineError, Action: v1alpha1.ActionRetryElsewhere}
	shared := failure.Finding{Reason: v1alpha1.ReasonSharedMemoryTooSmall}
	for message, want := range map[string]failure.Finding{
		"cannot write at /dev/shm/torch_4711: No space left on device; give the output volume more room": shared,
		"cannot write pose.json in /out: No space left on device":                                        full,
		"cannot write at /out/pose.json: Disk quota exceeded; give the output volume more room":          full,
		"cannot write: File too large; give the output volume more room":                                 full,
		"ffmpeg cannot write overlay.mp4: av_interleaved_write_frame(): No space left on device":         full,
		"cannot write in /out: Read-only file system":                                                    elsewhere,
		"cannot write in /out: Permission denied; the folder must exist and be writable":                 elsewhere,
		"cannot write smpl.npz in /out: Input/output error":                                              elsewhere,
		"cannot write in /out: No such file or directory":                                                elsewhere,
		"ffmpeg cannot write overlay.mp4: Input/output error":                                            elsewhere,
		"cannot write at /out/models/smpl.npz: Operation not permitted; CUDA error: out of memory too":   elsewhere,
	} {
		for _, before := range []string{"", "loading\n", traceback} {
			f := failure.Classify(failure.Evidence{Stage: "Writing", Log: before + `pose-engine: error code=OUTPUT_NOT_WRITABLE message="` + message + `"`}, nil)
			if f.Reason != want.Reason || f.Action != want.Action || !strings.Contains(f.Culprit, "OUTPUT_NOT_WRITABLE") {
				t.Errorf("%q after %q: %s %s by %q, want %s %s", message, before, f.Reason, f.Action, f.Culprit, want.Reason, want.Action)
			}
			if want.Action != "" && (!strings.Contains(f.Explanation, "write its results") || !strings.Contains(f.Remedy, "node")) {
				t.Errorf("%q: %q, %q do not say what to look at", message, f.Explanation, f.Remedy)
			}
		}
	}
}

// An engine's own rule still comes first.
func TestAnEnginesRuleForWhatItCannotWrite(t *testing.T) {
	own, err := failure.Compile([]v1alpha1.FailureRule{{LogPattern: "error code=OUTPUT_NOT_WRITABLE", Reason: "Mine", Action: v1alpha1.ActionFail}})
	if err != nil {
		t.Fatal(err)
	}
	f := failure.Classify(failure.Evidence{Log: `pose-engine: error code=OUTPUT_NOT_WRITABLE message="cannot write: Read-only file system"`}, own)
	if f.Reason != "Mine" || f.Action != v1alpha1.ActionFail {
		t.Errorf("%s %s, want the engine's own", f.Reason, f.Action)
	}
}
