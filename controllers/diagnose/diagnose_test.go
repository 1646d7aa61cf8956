package diagnose_test

import (
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/config/engines"
	"github.com/pose-dev/pose-operator/controllers/diagnose"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
)

func phalp() *v1alpha1.PoseEngine {
	return gen.Engine("phalp").With(func(e *v1alpha1.PoseEngine) {
		e.Spec.Stages = []v1alpha1.StageRule{
			{Name: "ModelLoad", Pattern: "Loading Predictor model"}, {Name: "DetectorLoad", Pattern: "Loading Detection model"}, {Name: "Tracking", Pattern: "Number of frames"},
		}
	}).Variants(
		gen.Variant("gpu", v1alpha1.GPU, gen.Detector("vitdet"), gen.Memory("12Gi", "24Gi")),
		gen.Variant("gpu-light", v1alpha1.GPU, gen.Detector("maskrcnn")),
		gen.Variant("cpu", v1alpha1.CPU, gen.Detector("maskrcnn")),
	).Build()
}

const loading = "[2026-03-04 12:00:00,000][phalp.trackers.PHALP][INFO] - Loading Predictor model...\n[2026-03-04 12:01:35,000][phalp.trackers.PHALP][INFO] - Loading Detection model...\n"

func TestAsk(t *testing.T) {
	code := func(n int32) *int32 { return &n }
	for name, c := range map[string]struct {
		q       diagnose.Question
		reason  string
		stage   string
		action  v1alpha1.Action
		culprit string
		signal  string
		next    string
	}{
		"the report that began it all: exit 1, no exception, the detector loads": {
			q:      diagnose.Question{Log: loading, ExitCode: code(1), Engine: phalp()},
			reason: v1alpha1.ReasonDetectorLoadCrash, stage: "DetectorLoad", action: v1alpha1.ActionNextVariant,
			culprit: "Loading Detection model", next: "variant gpu-light (GPU)",
		},
		"a signal by the container's exit code": {
			q:      diagnose.Question{Log: loading, ExitCode: code(139), Engine: phalp(), Variant: "gpu-light"},
			reason: v1alpha1.ReasonDetectorLoadCrash, stage: "DetectorLoad", action: v1alpha1.ActionNextVariant, signal: "SIGSEGV", next: "variant cpu (CPU)",
		},
		"a shell's word for the kernel's kill": {
			q:      diagnose.Question{Log: loading + "Killed\n", Engine: phalp()},
			reason: v1alpha1.ReasonOutOfMemory, stage: "DetectorLoad", action: v1alpha1.ActionRetry, culprit: "Killed", signal: "SIGKILL", next: "variant gpu (GPU) with 18432 MiB",
		},
		"the same with memory that was measured and free is a crash": {
			q:      diagnose.Question{Log: loading + "Killed\n", Engine: phalp(), Memory: v1alpha1.MemoryBelowLimit},
			reason: v1alpha1.ReasonDetectorLoadCrash, stage: "DetectorLoad", action: v1alpha1.ActionNextVariant, signal: "SIGKILL",
		},
		"memory at its limit needs no log": {
			q:      diagnose.Question{ExitCode: code(137), Memory: v1alpha1.MemoryAtLimit},
			reason: v1alpha1.ReasonOutOfMemory, action: v1alpha1.ActionRetry, signal: "SIGKILL",
		},
		"a stage that the person names counts before the log's": {
			q:      diagnose.Question{Log: loading, Stage: "ModelLoad", Signal: "SIGSEGV", Engine: phalp()},
			reason: v1alpha1.ReasonModelLoadCrash, stage: "ModelLoad", action: v1alpha1.ActionRetryElsewhere, signal: "SIGSEGV", next: "variant gpu (GPU)",
		},
		"without an engine the known ones tell the stage": {
			q:      diagnose.Question{Log: loading, ExitCode: code(1), Known: []v1alpha1.PoseEngine{*phalp()}},
			reason: v1alpha1.ReasonDetectorLoadCrash, stage: "DetectorLoad", action: v1alpha1.ActionNextVariant, next: "the engine's next variant",
		},
		"an exception while loading is no silent crash": {
			q:      diagnose.Question{Log: loading + "Traceback (most recent call last):\n  File \"x.py\", line 1, in f\n    g()\nKeyError: 'person'\n", ExitCode: code(1), Engine: phalp()},
			reason: v1alpha1.ReasonEngineError, stage: "DetectorLoad", action: v1alpha1.ActionRetry, culprit: "KeyError: 'person'",
		},
		"a bad video ends the job": {
			q:      diagnose.Question{Log: "[mov,mp4 @ 0x1] moov atom not found\n", ExitCode: code(1), Engine: phalp()},
			reason: v1alpha1.ReasonInputInvalid, action: v1alpha1.ActionFail, culprit: "moov atom", next: "the job fails",
		},
		"exit code 0 is no death: what it wrote is judged": {
			q:      diagnose.Question{Log: loading + "Traceback (most recent call last):\n  File \"x.py\", line 1, in f\n    g()\nKeyError: 'person'\n", ExitCode: code(0), Engine: phalp()},
			reason: v1alpha1.ReasonOutputInvalid, stage: "DetectorLoad", action: v1alpha1.ActionNextVariant, culprit: "KeyError",
		},
		"exit code 0 in detector load is no crash": {
			q:      diagnose.Question{Log: loading, ExitCode: code(0), Engine: phalp()},
			reason: v1alpha1.ReasonOutputInvalid, stage: "DetectorLoad", action: v1alpha1.ActionNextVariant,
		},
		"an exception that was swallowed is named all the same": {
			q:      diagnose.Question{Log: loading + "Traceback (most recent call last):\n  File \"x.py\", line 1, in f\n    g()\nRuntimeError: CUDA out of memory\n", ExitCode: code(0), Engine: phalp()},
			reason: v1alpha1.ReasonCUDAOutOfMemory, stage: "DetectorLoad", action: v1alpha1.ActionNextVariant,
		},
		"a variant on request was asked for by its job": {
			q: diagnose.Question{Log: loading, ExitCode: code(1), Variant: "slow", Engine: gen.Engine("e").Variants(
				gen.Variant("gpu", v1alpha1.GPU), gen.Variant("slow", v1alpha1.CPU, gen.OnRequest())).Build()},
			reason: v1alpha1.ReasonEngineError, action: v1alpha1.ActionRetry, next: "attempt 2 runs variant slow",
		},
		"a variant that needs boxes had them": {
			q: diagnose.Question{Log: "CUDA out of memory\n", ExitCode: code(1), Variant: "boxes", Engine: gen.Engine("e").Variants(
				gen.Variant("gpu", v1alpha1.GPU), gen.Variant("boxes", v1alpha1.GPU, gen.Boxes(v1alpha1.BoxesRequired)), gen.Variant("cpu-boxes", v1alpha1.CPU, gen.Boxes(v1alpha1.BoxesOptional))).Build()},
			reason: v1alpha1.ReasonCUDAOutOfMemory, action: v1alpha1.ActionNextVariant, next: "attempt 2 runs variant cpu-boxes",
		},
		"nothing is known": {
			q: diagnose.Question{}, reason: v1alpha1.ReasonEngineError, action: v1alpha1.ActionRetry,
		},
		"an engine's own rule counts first": {
			q: diagnose.Question{Log: "CUDA out of memory\n", ExitCode: code(7), Engine: gen.Engine("e").Variants(gen.Variant("gpu", v1alpha1.GPU)).
				Rules(v1alpha1.FailureRule{ExitCodes: []int32{7}, Reason: "NoLicence", Action: v1alpha1.ActionFail, Explanation: "No licence was free"}).Build()},
			reason: "NoLicence", action: v1alpha1.ActionFail, culprit: "CUDA out of memory",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := diagnose.Ask(c.q)
			if err != nil {
				t.Fatal(err)
			}
			if a.Reason != c.reason || a.Stage != c.stage || a.Action != c.action || a.Signal != c.signal {
				t.Errorf("Ask = %s in %q by %q, %s; want %s in %q by %q, %s", a.Reason, a.Stage, a.Signal, a.Action, c.reason, c.stage, c.signal, c.action)
			}
			if !strings.Contains(a.Culprit, c.culprit) || !strings.Contains(a.Next, c.next) {
				t.Errorf("culprit %q, next %q; want %q and %q in them", a.Culprit, a.Next, c.culprit, c.next)
			}
			if a.Explanation == "" || a.Next == "" {
				t.Errorf("no explanation or nothing next: %+v", a)
			}
		})
	}
}

func TestBuiltinEnginesCanBeAsked(t *testing.T) {
	known, err := engines.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for i := range known {
		if _, err := diagnose.Ask(diagnose.Question{Log: loading, Engine: &known[i]}); err != nil {
			t.Errorf("%s: %v", known[i].Name, err)
		}
	}
	a, err := diagnose.Ask(diagnose.Question{Log: loading, Known: known})
	if err != nil || a.Stage != v1alpha1.StageDetectorLoad {
		t.Errorf("Ask = %+v, %v; want the stage by the built-in engine phalp", a, err)
	}
}

func TestABadRuleIsNamed(t *testing.T) {
	e := gen.Engine("e").Rules(v1alpha1.FailureRule{LogPattern: "(", Reason: "X"}).Build()
	if _, err := diagnose.Ask(diagnose.Question{Engine: e}); err == nil || !strings.Contains(err.Error(), "failureRules[0]") {
		t.Errorf("Ask = %v, want an error that names the rule", err)
	}
}
