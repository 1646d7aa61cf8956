package failure_test

import (
	"os"
	"path/filepath"
	"slices"
	"sort"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/controllers/internal/failure"
)

// sample is a log that a real process printed, found in public, with the reason
// that an expert gives it.
type sample struct {
	Name   string   `json:"name"`
	Source string   `json:"source"`
	Want   string   `json:"want"`
	Accept []string `json:"accept"`
	Why    string   `json:"why"`
	Log    string   `json:"log"`

	ExitCode *int32 `json:"exitCode"`
	Signal   string `json:"signal"`
	Stage    string `json:"stage"`
	// Miss is what the rules say instead, where they are known to be wrong.
	Miss string `json:"miss"`
}

func samples(t *testing.T, folder string) []sample {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "logs", folder, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(paths)
	var out []sample
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		var s sample
		if err := yaml.UnmarshalStrict(raw, &s); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		t.Fatalf("no samples in %s", folder)
	}
	return out
}

func (s sample) classify() failure.Finding {
	ev := failure.Evidence{Log: s.Log, Signal: s.Signal, Stage: s.Stage, ExitCode: s.ExitCode}
	if ev.ExitCode != nil && ev.Signal == "" {
		ev.ExitCode, ev.Signal = failure.Ending(*ev.ExitCode)
	}
	return failure.Classify(ev, nil)
}

// TestRealLogs: the rules were written with the samples of dev in sight, and
// those of held and second out of sight; see docs/failures.md for the figures.
func TestRealLogs(t *testing.T) {
	for _, folder := range []string{"dev", "held", "second"} {
		right := 0
		all := samples(t, folder)
		for _, s := range all {
			f := s.classify()
			ok := f.Reason == s.Want || slices.Contains(s.Accept, f.Reason)
			if ok {
				right++
			}
			if ok == (s.Miss != "") || (s.Miss != "" && s.Miss != f.Reason) {
				t.Errorf("%s/%s (%s): %s, want %s\n  line %d: %s\n  why: %s", folder, s.Name, s.Source, f.Reason, s.Want, f.Line, f.Culprit, s.Why)
			}
			if f.Culprit == "" {
				t.Errorf("%s/%s: no line is named", folder, s.Name)
			}
		}
		t.Logf("%s: %d of %d right", folder, right, len(all))
	}
}
