package exec

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

const (
	// lookEvery is the time between two looks for open device files; in the first
	// seconds, in which an engine may die, it is sampleEvery.
	lookEvery  = 2 * time.Second
	lookOften  = 10 * time.Second
	askEvery   = 10 * time.Second // for nvidia-smi
	maxFailed  = 3                // in a row, then nvidia-smi is left alone
	maxFDs     = 16_384           // of one process that are looked at
	maxWatched = 256              // processes that are looked at
)

// gpuFile is a device file that only work on a GPU opens. nvidiactl and
// nvidia-uvm are opened by who merely asks. dxg is the GPU of WSL2, nvhost and
// nvgpu are those of Jetson boards.
var gpuFile = regexp.MustCompile(`^(nvidia[0-9]+|kfd|dri/renderD[0-9]+|dxg|nvhost-gpu|nvhost-ctrl-gpu|nvgpu/.+)$`)

// observer looks at the engine from outside: the device files that it holds
// open, the libraries that it mapped, and the GPU's memory. It works in
// goroutines of its own: nothing that hangs in /proc or in a driver may hold up
// the event loop.
type observer struct {
	root string // of /proc, /dev and the packages
	ask  func() ([]gpu, error)
	rest time.Duration // between two questions
	stop chan struct{}
	news chan struct{} // the stage changed
	done sync.WaitGroup

	mu       sync.Mutex
	pid      int
	since    time.Time // of pid
	looked   bool      // at all its open files, at least once
	onGPU    bool
	gpu      gpuFacts
	versions map[string]string
	looks    int // for versions
}

func newObserver(root string, ask func() ([]gpu, error)) *observer {
	return &observer{
		root: root, ask: ask, rest: askEvery, stop: make(chan struct{}), news: make(chan struct{}, 1),
		gpu: gpuFacts{names: findGPU(root)}, versions: map[string]string{},
	}
}

// start begins to observe.
func (o *observer) start() {
	o.done.Go(o.lookAround)
	if hasGPUFiles(o.root) {
		o.done.Go(o.askAround)
	}
}

// close ends the observation. It does not wait for a look that hangs.
func (o *observer) close() {
	close(o.stop)
	done := make(chan struct{})
	go func() { o.done.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(100 * time.Millisecond):
	}
}

// watch makes pid and its family the ones to look at.
func (o *observer) watch(pid int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pid, o.since, o.looked, o.onGPU, o.looks = pid, time.Now(), false, false, 0
}

// stageChanged asks for a look at the versions soon.
func (o *observer) stageChanged() {
	select {
	case o.news <- struct{}{}:
	default:
	}
}

// fill writes what was seen into a report.
func (o *observer) fill(r *report.EngineReport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r.GPU, r.Driver, r.GPUMemoryBytes, r.GPUUsedBytes = o.gpu.names, o.gpu.driver, o.gpu.total, o.gpu.used
	if o.onGPU {
		r.DeviceUsed = report.DeviceGPU
	}
	if len(o.versions) > 0 {
		r.Versions = chosen(o.versions)
	}
}

// fillEnd does so when the engine has ended, or has answered for a clip: who was
// watched and opened no GPU's file used none.
func (o *observer) fillEnd(r *report.EngineReport) {
	o.fill(r)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.looked && !o.onGPU {
		r.DeviceUsed = report.DeviceCPU
	}
}

// lookAround looks at the engine's processes until stopped.
func (o *observer) lookAround() {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	var last time.Time
	for {
		news := false
		select {
		case <-o.stop:
			return
		case <-o.news:
			news = true
		case <-tick.C:
		}
		o.mu.Lock()
		pid, age, looks := o.pid, time.Since(o.since), o.looks
		o.mu.Unlock()
		if pid == 0 {
			continue
		}
		often := age < lookOften || time.Since(last) >= lookEvery
		versions := news || due(looks, age)
		if !often && !versions {
			continue
		}
		last = time.Now()
		pids := family(processes(filepath.Join(o.root, "proc")), pid)
		if often {
			o.look(pid, pids)
		}
		if versions && looks < maxLooks {
			o.lookVersions(pid, pids)
		}
	}
}

// look sees whether one of pids holds a GPU's file.
func (o *observer) look(leader int, pids []int) {
	o.mu.Lock()
	known := o.onGPU
	o.mu.Unlock()
	if known {
		return
	}
	seen, looked := false, false
	for _, pid := range pids[:min(len(pids), maxWatched)] {
		gpu, ok := holdsGPU(o.root, pid)
		seen, looked = seen || gpu, looked || ok
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pid == leader {
		o.onGPU, o.looked = o.onGPU || seen, o.looked || looked
	}
}

// holdsGPU looks at the open files of one process; ok is false when they cannot
// be read, or there are none as in a zombie.
func holdsGPU(root string, pid int) (gpu, ok bool) {
	dir := filepath.Join(root, "proc", strconv.Itoa(pid), "fd")
	d, err := os.Open(dir)
	if err != nil {
		return false, false
	}
	defer d.Close()
	names, err := d.Readdirnames(maxFDs)
	for _, name := range names {
		if target, err := os.Readlink(filepath.Join(dir, name)); err == nil && isGPUFile(root, target) {
			return true, true
		}
	}
	return false, len(names) > 0 && err == nil
}

// isGPUFile says whether an open file is a GPU's device file.
func isGPUFile(root, target string) bool {
	name, ok := strings.CutPrefix(target, filepath.Join(root, "dev")+"/")
	return ok && gpuFile.MatchString(name)
}

// askAround asks nvidia-smi now and then until stopped.
func (o *observer) askAround() {
	failed := 0
	for {
		gpus, err := o.ask()
		if err == nil {
			failed = 0
			o.add(gpus)
		} else if failed++; failed == maxFailed || err == errNoTool { //nolint:errorlint // given as it is
			return
		}
		select {
		case <-o.stop:
			return
		case <-time.After(o.rest):
		}
	}
}

func (o *observer) add(gpus []gpu) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gpu.add(gpus)
}
