package engines

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDiagnoseAsJSON(t *testing.T) {
	out, err := say(t, "x\nRuntimeError: CUDA out of memory\n", "diagnose", "--log", "-", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for field, want := range map[string]any{
		"reason": v1alpha1.ReasonCUDAOutOfMemory, "stage": "", "action": "NextVariant",
		"culprit": "RuntimeError: CUDA out of memory", "culpritLine": float64(2),
	} {
		if answer[field] != want {
			t.Errorf("%s = %v, want %v", field, answer[field], want)
		}
	}
	for _, field := range []string{"explanation", "remedy", "next"} {
		if s, ok := answer[field].(string); !ok || s == "" {
			t.Errorf("%s = %v, want words", field, answer[field])
		}
	}
}

func TestDiagnoseForPeople(t *testing.T) {
	log := "[phalp.trackers.PHALP][INFO] - Loading Predictor model...\n[phalp.trackers.PHALP][INFO] - Loading Detection model...\n"
	out, err := say(t, "", "diagnose", "--log", file(t, log), "--exit-code", "-11", "--engine", "phalp", "--variant", "gpu")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Reason:      DetectorLoadCrash", "Stage:       DetectorLoad", "Ended by:    SIGSEGV", "Line 2:", "NextVariant: attempt 2 runs variant"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
	if out, err = say(t, "who knows\n", "diagnose", "--log", "-"); err != nil || !strings.Contains(out, "EngineError") || !strings.Contains(out, "  who knows") {
		t.Errorf("want the last words of what nobody knows, have %v\n%s", err, out)
	}
}

func TestDiagnoseRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no log":                {nil, `"log" not set`},
		"a log that is not":     {[]string{"--log", "/no/such/file"}, "/no/such/file"},
		"a folder for a log":    {[]string{"--log", "/"}, "read the log /"},
		"an exit code in words": {[]string{"--log", "-", "--exit-code", "one"}, "is no number"},
		"a signal in words":     {[]string{"--log", "-", "--signal", "a b"}, "is no signal"},
		"a signal too high":     {[]string{"--log", "-", "--signal", "99"}, "no signal of Linux"},
		"an unknown engine":     {[]string{"--log", "-", "--engine", "openpose"}, "neither built in (phalp, mediapipe)"},
		"an unknown variant":    {[]string{"--log", "-", "--engine", "phalp", "--variant", "tpu"}, "it has gpu"},
		"a variant of nothing":  {[]string{"--log", "-", "--variant", "gpu"}, "needs --engine"},
		"an unknown output":     {[]string{"--log", "-", "-o", "xml"}, "use json or yaml"},
		"unknown memory":        {[]string{"--log", "-", "--memory", "Full"}, "AtLimit"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := say(t, "", append([]string{"diagnose"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
}

func TestSignalNames(t *testing.T) {
	for in, want := range map[string]string{"11": "SIGSEGV", "SIGSEGV": "SIGSEGV", "segv": "SIGSEGV", "": ""} {
		if got, err := signalName(in); err != nil || got != want {
			t.Errorf("signalName(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}
