package exec

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/report"
)

// noise is a log of n bytes or more that holds no cause.
func noise(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "frame %d, nothing of interest here\n", i)
	}
	return b.String()
}

const traceback = `Traceback (most recent call last):
  File "/app/run.py", line 9, in <module>
    main()
  File "/app/run.py", line 4, in main
    raise KeyError("x")
`

func TestLogErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		log  string
		want []string
	}{
		"still in the tail":     {"RuntimeError: x", nil},
		"fallen out":            {"RuntimeError: x\nall is well\n" + noise(2000), []string{"RuntimeError: x"}},
		"the last four":         {"error 1\nerror 2\nerror 3\nerror 4\nerror 5\n" + noise(2000), []string{"error 2", "error 3", "error 4", "error 5"}},
		"a repeated one":        {"RuntimeError: x\n" + strings.Repeat("error: again\n", 500) + noise(2000), []string{"RuntimeError: x", "error: again"}},
		"the warnings are not":  {"WARNING: cannot do\n[INFO] - no errors\n" + noise(2000), nil},
		"an odd exception":      {traceback + "Exhausted: it\n" + noise(5000), []string{"Exhausted: it"}},
		"after many errors":     {traceback + "Exhausted: it\nerror 1\nerror 2\nerror 3\nerror 4\nerror 5\n" + noise(2000), []string{"Exhausted: it", "error 3", "error 4", "error 5"}},
		"after nearly a MiB":    {traceback + "Exhausted: it\n" + noise(keepException-2000), []string{"Exhausted: it"}},
		"after more than a MiB": {traceback + "Exhausted: it\n" + noise(keepException+2000), nil},
		"of a frame":            {"╭─── Traceback (most recent call last) ───╮\n│ raise KeyError │\n╰──────╯\nExhausted: it\n" + noise(2000), []string{"Exhausted: it"}},
		"the last of a chain":   {traceback + "KeyError: 'x'\n\nDuring handling of the above exception, another exception occurred:\n\n" + traceback + "Exhausted: it\n" + noise(3000), []string{"KeyError: 'x'", "Exhausted: it"}},
		"a line that is cut":    {"error " + strings.Repeat("x", 900) + "\n" + noise(2000), []string{"error " + strings.Repeat("x", maxTailLine-6)}},
		"a secret":              {"error: get https://u:p@h/a?sig=1\n" + noise(2000), []string{"error: get https://h/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, track(t, tc.log).LogErrors); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestStallLimit(t *testing.T) {
	cfg := phalp
	cfg.StallTimeoutSeconds = 10
	cfg.Stages = append([]report.StagePattern{}, cfg.Stages...)
	cfg.Stages[1].StallTimeoutSeconds = 90
	tr, err := newTracker(cfg, t0)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		line string
		want time.Duration
	}{
		{"", 10 * time.Second},
		{"Loading Predictor model", 10 * time.Second},
		{"Loading Detection model", 90 * time.Second},
		{"still loading", 90 * time.Second},
		{"stage=track", 10 * time.Second},
	} {
		tr.Line(t0, step.line)
		if got := tr.StallLimit(); got != step.want {
			t.Errorf("after %q: %s", step.line, got)
		}
	}
}

// BenchmarkLine is the cost of an ordinary line.
func BenchmarkLine(b *testing.B) {
	for name, line := range map[string]string{
		"ordinary": "[2026-01-01 00:00:02,000][phalp.trackers.PHALP][INFO] - frame shape is 1080x1920",
		"frame":    "pose-engine: frame=120 total=795 people=6",
		"colour":   "\x1b[32m[INFO]\x1b[0m - Setting up \x1b[1mthings\x1b[0m of all kinds",
		"error":    "RuntimeError: one of the inputs is on the wrong device",
		"bar":      "Loading: 45%|█████████           | 9/20 [00:03<00:04,  2.51it/s]",
	} {
		b.Run(name, func(b *testing.B) {
			tr, err := newTracker(phalp, t0)
			if err != nil {
				b.Fatal(err)
			}
			s := splitter{line: func(l string) { tr.Line(t0, l) }}
			raw := []byte(line + "\n")
			for b.Loop() {
				s.Write(raw)
			}
		})
	}
}
