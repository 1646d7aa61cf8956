package exec

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/report"
)

func TestParseGPUs(t *testing.T) {
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		out  string
		want []gpu
	}{
		"one":                   {"NVIDIA H100 80GB HBM3, 550.54.15, 81559, 1234, 79325\n", []gpu{{"NVIDIA H100 80GB HBM3", "550.54.15", 81559 * mib, 1234 * mib, 79325 * mib}}},
		"two":                   {"A, 1.2, 1, 2, 3\nB, 1.2, 4, 5, 6", []gpu{{"A", "1.2", mib, 2 * mib, 3 * mib}, {"B", "1.2", 4 * mib, 5 * mib, 6 * mib}}},
		"not told, as with MIG": {"A, 1.2, [N/A], [Insufficient Permissions], [Unknown Error]\n", []gpu{{"A", "1.2", -1, -1, -1}}},
		"a comma in the name":   {"A, the great, 1.2, 1, 2, 3\n", []gpu{{"A, the great", "1.2", mib, 2 * mib, 3 * mib}}},
		"nothing":               {"", nil},
		"a sentence":            {"NVIDIA-SMI has failed because it could not, well, talk, to, the driver\n", nil},
		"no devices":            {"No devices were found\n", nil},
		"hostile":               {"\x1b[31mA\x00, 1.2, 99999999999999999999, -5, 16777217\n, 1.2, 1, 2, 3\n", []gpu{{"A", "1.2", -1, -1, -1}}},
	} {
		if d := cmp.Diff(tc.want, parseGPUs(tc.out), cmp.AllowUnexported(gpu{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if n := len(parseGPUs(strings.Repeat("A, 1.2, 1, 2, 3\n", 1000))); n != maxGPUs {
		t.Errorf("%d GPUs", n)
	}
}

func TestGPUFacts(t *testing.T) {
	var f gpuFacts
	f.add([]gpu{{"A", "1.2", 100, 10, 90}, {"A", "1.2", 200, 20, 180}, {"B", "1.2", -1, -1, -1}})
	f.add([]gpu{{"A", "1.2", 100, 15, 85}, {"A", "1.2", 200, 5, 195}, {"B", "1.2", -1, -1, -1}})
	if want := (gpuFacts{"A, B", "1.2", 200, 20}); f != want {
		t.Errorf("%+v", f)
	}
}

// patience bounds waiting for what must happen.
const patience = 40 * time.Second

// tool puts a script named nvidia-smi first in PATH.
func tool(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// TestAskGPUs runs staged tools: there is no GPU here.
func TestAskGPUs(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		want   string // in the error; "" is none
		noGPU  bool
	}{
		"answers":             {`test "$2" = --format=csv,noheader,nounits && echo "A, 1.2, 100, 40, 60"`, "", false},
		"answers and fails":   {`echo "A, 1.2, 100, 40, 60"; exit 14`, "", false},
		"no driver":           {`echo "NVIDIA-SMI has failed: no driver https://u:p@h/"; exit 9`, `exit code 9, it says "NVIDIA-SMI has failed: no driver https://h/"`, true},
		"no devices":          {`echo "No devices were found"`, "shows no GPU", true},
		"crashes":             {`kill -SEGV $$`, "signal 11", false},
		"hangs":               {`echo "A, 1.2, 100, 40, 60"; sleep 60`, "did not answer", false},
		"floods":              {`yes "A, 1.2, 100, 40, 60"`, "without end", false},
		"leaves a child":      {`sleep 60 & echo "A, 1.2, 100, 40, 60"`, "did not answer", false},
		"closes and stays on": {`exec >&- 2>&-; sleep 60`, "did not answer", false},
		"no program":          {"", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			if tool(t, tc.script); name == "no program" {
				t.Setenv("PATH", t.TempDir())
				if _, err := askGPUs(true, os.Environ(), patience); !errors.Is(err, errNoTool) {
					t.Error(err)
				}
				return
			}
			limit := patience
			if strings.Contains(tc.want, "did not answer") {
				limit = time.Second
			}
			begun := time.Now()
			gpus, err := askGPUs(true, os.Environ(), limit)
			if tc.want == "" && (err != nil || len(gpus) != 1 || gpus[0].used != 40<<20) || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v %v", gpus, err)
			}
			if errors.Is(err, errNoGPU) != tc.noGPU {
				t.Errorf("says no GPU: %v", err)
			}
			if d := time.Since(begun); d > patience {
				t.Errorf("it took %s", d)
			}
		})
	}
}

// TestObserverAsks: the tool is asked where there are device files, and its word
// stands before the driver's folder.
func TestObserverAsks(t *testing.T) {
	for _, there := range []bool{true, false} {
		files := map[string]string{"proc/driver/nvidia/gpus/0/information": "Model: \t NVIDIA H200\n"}
		if there {
			files["dev/nvidia0"] = ""
		}
		asked := make(chan bool, 10)
		o := newObserver(tree(t, files), func() ([]gpu, error) {
			asked <- true
			return []gpu{{"NVIDIA H100", "550.1", 80, 5, 75}}, nil
		})
		var r report.EngineReport
		if o.fill(&r); (r.GPU == "NVIDIA H200") != there {
			t.Errorf("before: %+v", r)
		}
		o.start()
		if there {
			<-asked
		}
		o.close()
		want := report.EngineReport{}
		if there {
			want = report.EngineReport{GPU: "NVIDIA H100", Driver: "550.1", GPUMemoryBytes: 80, GPUUsedBytes: 5}
		}
		r = report.EngineReport{}
		o.fill(&r)
		if d := cmp.Diff(want, r); d != "" || len(asked) > 0 {
			t.Errorf("device file %t: %s", there, d)
		}
	}
}

// TestBrokenToolIsLeftAlone: three failures in a row, or no tool, are enough.
func TestBrokenToolIsLeftAlone(t *testing.T) {
	broken := errors.New("broken")
	for name, tc := range map[string]struct {
		answers []error
		want    int
	}{
		"no tool":              {[]error{errNoTool}, 1},
		"three times in a row": {[]error{broken, broken, nil, broken, broken, broken}, 6},
	} {
		n := 0
		o := newObserver(tree(t, map[string]string{"dev/nvidia0": ""}), nil)
		o.rest = time.Millisecond
		o.ask = func() ([]gpu, error) {
			n++
			if n > len(tc.answers) {
				close(o.stop)
				return nil, nil
			}
			return []gpu{{"A", "1", 2, 1, 1}}, tc.answers[n-1]
		}
		o.askAround()
		if n != tc.want {
			t.Errorf("%s: asked %d times", name, n)
		}
	}
}
