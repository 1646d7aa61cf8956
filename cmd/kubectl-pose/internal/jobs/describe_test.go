package jobs

import (
	"bytes"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

func TestDeviceSaysWhatItRanOn(t *testing.T) {
	for want, a := range map[string]v1alpha1.Attempt{
		"GPU":              {Device: v1alpha1.GPU, DeviceUsed: v1alpha1.CPU, Stage: v1alpha1.StageDetectorLoad, State: v1alpha1.AttemptFailed},
		"GPU (ran on CPU)": {Device: v1alpha1.GPU, DeviceUsed: v1alpha1.CPU, State: v1alpha1.AttemptSucceeded},
		"CPU":              {Device: v1alpha1.CPU, DeviceUsed: v1alpha1.CPU, State: v1alpha1.AttemptSucceeded},
	} {
		if got := device(&a); got != want {
			t.Errorf("device = %q, want %q", got, want)
		}
	}
}

func TestDescribe(t *testing.T) {
	job := &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "run"},
		Spec:       v1alpha1.PoseJobSpec{Video: v1alpha1.VideoSource{URI: "s3://videos/run.mp4"}},
		Status: v1alpha1.PoseJobStatus{
			Phase: v1alpha1.PhaseSucceeded, EngineName: "phalp",
			Output: &v1alpha1.OutputStatus{URI: "s3://results/run", Quality: &v1alpha1.ResultQuality{CoveragePercent: 97, Gaps: 3, IDSwitchesSuspected: 1, PeopleFiltered: 14}},
			Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonProgressing, Message: "attempt 2 runs variant cpu (CPU). On the CPU 795 frames at 0.08 frames/s take about 2 h 46 min"},
				{Type: v1alpha1.ConditionPeopleFiltered, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonDetectedButFiltered, Message: "14 sightings were left out"},
			},
			SkippedVariants: []v1alpha1.SkippedVariant{{Variant: "gpu-half", Reason: v1alpha1.ReasonLearnedSkip, Message: "died 3 of 3 times"}},
			Attempts: []v1alpha1.Attempt{
				{
					Number: 1, State: v1alpha1.AttemptFailed, Variant: "gpu", Device: v1alpha1.GPU, Node: "gpu-0", Stage: "DetectorLoad",
					Reason: v1alpha1.ReasonDetectorLoadCrash, Signal: "SIGSEGV", Action: v1alpha1.ActionNextVariant,
					PeakMemoryBytes: 9 << 30, LimitMemoryBytes: 12 << 30, GPUProduct: "NVIDIA-GeForce-RTX-4060", GPUDriver: "550.54",
					Evidence: &v1alpha1.Evidence{
						Culprit: "Loading Detection model...", PythonStack: []string{"detectron2/layers/wrappers.py:31 nms"}, NativeLibrary: "libtorch_cuda.so",
						Versions: map[string]string{"torch": "2.1.2", "cuda": "11.8"}, LastLines: []string{"Fatal Python error: Segmentation fault"},
					},
				},
				{Number: 2, State: v1alpha1.AttemptSucceeded, Variant: "cpu", Device: v1alpha1.CPU},
			},
		},
	}
	var people, report bytes.Buffer
	describe(&people, job)
	bugReport(&report, job)
	for _, want := range []string{"gpu-0", "SIGSEGV", "9216 MiB/12288 MiB", "libtorch_cuda.so", "cuda 11.8, torch 2.1.2", "wrappers.py:31 nms", "gpu-half (LearnedSkip) died 3 of 3 times", "550.54",
		"On the CPU 795 frames at 0.08 frames/s take about 2 h 46 min", "True (DetectedButFiltered) 14 sightings were left out", "97 % of the frames, 3 gaps, 1 suspected", "14 sightings left out (the engine"} {
		if !strings.Contains(people.String(), want) {
			t.Errorf("want %q in\n%s", want, people.String())
		}
	}
	for _, want := range []string{"### Engine phalp", "- Ended by: SIGSEGV", "- Stage: DetectorLoad", "- Driver: 550.54", "    Python stack", "wrappers.py:31 nms"} {
		if !strings.Contains(report.String(), want) {
			t.Errorf("want %q in\n%s", want, report.String())
		}
	}
	for _, secret := range []string{"gpu-0", "s3://", "team-a"} {
		if strings.Contains(report.String(), secret) {
			t.Errorf("the bug report names %q\n%s", secret, report.String())
		}
	}
}

func TestDescribeSaysEachThingOnce(t *testing.T) {
	const long = "the engine died by SIGSEGV while it loaded its detector: give the node more memory"
	job := &v1alpha1.PoseJob{Status: v1alpha1.PoseJobStatus{
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "Failed", Message: "no variant is left: " + long}},
		Attempts:   []v1alpha1.Attempt{{Number: 1, State: v1alpha1.AttemptFailed, Message: long}},
	}}
	var out bytes.Buffer
	describe(&out, job)
	if n := strings.Count(out.String(), long); n != 1 || !strings.Contains(out.String(), "no variant is left: (attempt 1, below)") {
		t.Errorf("it is said %d times in\n%s", n, out.String())
	}
}

func TestDescribeOfAResultFromBefore(t *testing.T) {
	job := &v1alpha1.PoseJob{Status: v1alpha1.PoseJobStatus{
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReused, Status: metav1.ConditionTrue, Reason: "VerifiedResult", Message: "team-a/run computed it"}},
		Lookup:     &v1alpha1.LookupStatus{State: v1alpha1.LookupFound, Message: "a verified result lies there"},
		Video: &v1alpha1.VideoStatus{Width: 640, Height: 360, MilliFPS: 29970, Frames: 120, StartFrame: 7,
			Source: &v1alpha1.VideoSourceStatus{Bytes: 12 << 20, Codec: "hevc", Container: "mov", Reencoded: "codec hevc"}},
	}}
	var out bytes.Buffer
	describe(&out, job)
	for _, want := range []string{
		"Found a verified result lies there", "True (VerifiedResult) team-a/run computed it",
		"120 of 640x360 at 29.970 a second, from frame 7 of the source; fetched 12 MiB of hevc in mov, re-encoded (codec hevc)",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in\n%s", want, out.String())
		}
	}
}
