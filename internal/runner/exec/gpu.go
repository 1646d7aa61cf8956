package exec

import (
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pose-dev/pose-operator/internal/runner/child"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

const (
	// toolTime bounds one run of nvidia-smi, and toolCPU its processor time.
	toolTime = 5 * time.Second
	toolCPU  = 10
	// maxToolOutput bounds what is read of it, in bytes.
	maxToolOutput = 16 << 10
	// maxGPUs bounds how many it may show.
	maxGPUs = 64
	// maxMiB bounds a GPU's memory as it may claim it.
	maxMiB = 1 << 24
)

// gpu is one GPU as nvidia-smi shows it. Memory in bytes, -1 where the tool does
// not say.
type gpu struct {
	name, driver      string
	total, used, free int64
}

// Errors of asking nvidia-smi. Only errNoGPU says something of the GPU.
var (
	errNoTool = errors.New("the image has no nvidia-smi")
	errNoGPU  = errors.New("nvidia-smi shows no GPU")
)

// hasGPUFiles says whether the container was given device files of NVIDIA's.
func hasGPUFiles(root string) bool {
	devices, _ := filepath.Glob(filepath.Join(root, "dev/nvidia[0-9]*"))
	return len(devices) > 0
}

// findGPU says which GPUs the container can use, as the driver names them. The
// device files decide: the driver's folder in /proc shows the node's GPUs also to
// containers that were given none.
func findGPU(root string) string {
	devices, _ := filepath.Glob(filepath.Join(root, "dev/nvidia[0-9]*"))
	if len(devices) == 0 {
		return ""
	}
	infos, _ := filepath.Glob(filepath.Join(root, "proc/driver/nvidia/gpus/*/information"))
	var models []string
	for _, path := range infos {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "Model:"); ok {
				models = append(models, clean.Line(strings.TrimSpace(v), 64))
			}
		}
	}
	if len(models) == 0 {
		return fmt.Sprintf("%d NVIDIA", len(devices))
	}
	return clean.Head(strings.Join(models, ", "), 200)
}

// askGPUs runs the image's nvidia-smi as the engine is run, without its network.
// It is the image's program: what it prints is bounded and cleaned, and nobody
// waits for it for long.
func askGPUs(denyNetwork bool, env []string, limit time.Duration) ([]gpu, error) {
	path, err := osexec.LookPath("nvidia-smi")
	if err != nil {
		return nil, errNoTool
	}
	out, e, err := capture(child.Spec{
		Path: path, DenyNetwork: denyNetwork, CPUSeconds: toolCPU,
		Args: []string{"nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.used,memory.free", "--format=csv,noheader,nounits"},
	}, env, limit)
	if err != nil {
		return nil, err
	}
	if e.status.Signaled() {
		return nil, fmt.Errorf("nvidia-smi was ended by signal %d", int(e.status.Signal()))
	}
	gpus := parseGPUs(out)
	if len(gpus) == 0 {
		said := clean.Redact(clean.Line(firstLine(out), 200))
		return nil, fmt.Errorf("%w (exit code %d, it says %q)", errNoGPU, e.exitCode(), said)
	}
	return gpus, nil
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}

// capture runs a short program and gives what it printed. It returns even when
// the program cannot be killed, as one that hangs in a broken driver.
func capture(spec child.Spec, env []string, limit time.Duration) (string, end, error) {
	deadline := time.Now().Add(limit)
	p, err := launch(spec, env, nil)
	if err != nil {
		return "", end{}, err
	}
	_ = p.out.SetReadDeadline(deadline)
	out, rerr := io.ReadAll(io.LimitReader(p.out, maxToolOutput))
	if len(out) == maxToolOutput {
		rerr = errors.New("it prints without end")
		deadline = time.Now()
	}
	var last waited
	select {
	case last = <-p.ended:
	case <-time.After(time.Until(deadline)):
		if rerr == nil {
			rerr = os.ErrDeadlineExceeded
		}
	}
	p.signal(syscall.SIGKILL)
	p.out.Close()
	switch {
	case errors.Is(rerr, os.ErrDeadlineExceeded):
		return "", end{}, fmt.Errorf("%s did not answer within %s", filepath.Base(spec.Path), limit)
	case rerr != nil:
		return "", end{}, rerr
	}
	return string(out), last.end, last.err
}

// parseGPUs reads lines of "name, driver, total, used, free", memory in MiB.
func parseGPUs(out string) []gpu {
	var gpus []gpu
	for line := range strings.Lines(out) {
		fields := strings.Split(line, ",")
		n := len(fields)
		if n < 5 || len(gpus) == maxGPUs {
			continue
		}
		g := gpu{
			// A name may hold a comma, the others do not.
			name:   clean.Line(strings.TrimSpace(strings.Join(fields[:n-4], ",")), 64),
			driver: clean.Line(strings.TrimSpace(fields[n-4]), 32),
			total:  mebibytes(fields[n-3]), used: mebibytes(fields[n-2]), free: mebibytes(fields[n-1]),
		}
		// A driver's version is what tells a GPU's line from a sentence.
		if g.name != "" && strings.Trim(g.driver, "0123456789.") == "" && g.driver != "" {
			gpus = append(gpus, g)
		}
	}
	return gpus
}

// mebibytes reads a number of MiB; "[N/A]" and its like give -1.
func mebibytes(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 || n > maxMiB {
		return -1
	}
	return n << 20
}

// gpuFacts are what a report says of the GPUs.
type gpuFacts struct {
	names       string
	driver      string
	total, used int64
}

// add takes one look. The highest use seen counts, and the GPU that it was on.
func (f *gpuFacts) add(gpus []gpu) {
	var names []string
	for _, g := range gpus {
		if !slices.Contains(names, g.name) {
			names = append(names, g.name)
		}
		if g.used > f.used || f.total == 0 {
			f.total, f.used = max(g.total, 0), max(g.used, 0)
		}
	}
	if len(gpus) > 0 {
		f.names, f.driver = clean.Head(strings.Join(names, ", "), 128), gpus[0].driver
	}
}
