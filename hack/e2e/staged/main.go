// Command staged is a STAGED engine for end-to-end tests: it prints the log lines
// of PHALP's start and then really dies in the way that it is told to. It
// estimates no poses and no result of it is ever a result.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const deaths = "sigsegv|sigkill|sigbus|exit|exit1|oom|hold|exit0-empty|hang|none-partial|pass"

type options struct {
	die    string
	say    []string
	exit   int
	hold   int
	stage  string
	load   time.Duration
	output string
	frames int
}

func main() {
	var o options
	flag.StringVar(&o.die, "die", "sigsegv", "how to end: "+deaths)
	flag.Func("say", "print this line before the end; may be repeated", func(line string) error {
		o.say = append(o.say, line)
		return nil
	})
	flag.IntVar(&o.exit, "exit", 1, "exit code of --die exit")
	flag.IntVar(&o.hold, "hold-mib", 100, "memory that --die hold touches before it waits, in MiB")
	flag.StringVar(&o.stage, "in", "detector", "where to end: start, hmr2 or detector")
	flag.DurationVar(&o.load, "load", 2*time.Second, "time spent in \"HMR2 load\"")
	flag.StringVar(&o.output, "output-dir", "/pose/out", "folder for the partial result of none-partial")
	flag.IntVar(&o.frames, "frames", 100, "frames of the video; none-partial covers half of them")
	flag.Parse()
	if !slices.Contains(strings.Split(deaths, "|"), o.die) {
		fmt.Fprintf(os.Stderr, "staged: --die %q is none of %s\n", o.die, deaths)
		os.Exit(2)
	}
	fmt.Printf("STAGED engine: no real pose estimation; prints PHALP's log lines and ends by --die %s in %s\n", o.die, o.stage)
	load(o)
	for _, line := range o.say {
		fmt.Fprintln(os.Stderr, line)
	}
	os.Exit(end(o))
}

// load prints what PHALP prints until the detector loads.
func load(o options) {
	if o.stage == "start" {
		return
	}
	// HMR2 has no line of its own; these come from its libraries.
	fmt.Println("Lightning automatically upgraded your loaded checkpoint from v1.8.1 to v2.1.4.")
	fmt.Println("WARNING: You are using a SMPL model, with only 10 shape coefficients.")
	time.Sleep(o.load)
	if o.stage == "hmr2" {
		return
	}
	say("phalp.trackers.PHALP", "Loading Predictor model...")
	time.Sleep(200 * time.Millisecond)
	say("phalp.trackers.PHALP", "Loading Detection model...")
	time.Sleep(200 * time.Millisecond)
}

// say prints one line in Hydra's form.
func say(logger, message string) {
	fmt.Printf("[%s][%s][INFO] - %s\n", strings.Replace(time.Now().Format("2006-01-02 15:04:05.000"), ".", ",", 1), logger, message)
}

// end dies, or gives the exit code.
func end(o options) int {
	switch o.die {
	case "sigsegv":
		kill(syscall.SIGSEGV)
	case "sigkill":
		kill(syscall.SIGKILL)
	case "sigbus":
		kill(syscall.SIGBUS)
	case "oom":
		eat(0)
	case "hold":
		eat(o.hold)
		fmt.Println("staged: holding")
		time.Sleep(time.Duration(1<<63 - 1))
	case "exit":
		return o.exit
	case "hang":
		time.Sleep(time.Duration(1<<63 - 1))
	case "exit0-empty", "pass":
		return 0
	case "none-partial":
		return partial(o)
	}
	return 1
}

// kill sends this process the signal with its default effect. As PID 1 without a
// supervisor a signal to oneself is ignored; then the code a shell shows is given.
func kill(s syscall.Signal) {
	resetHandler(s)
	_ = syscall.Kill(os.Getpid(), s)
	time.Sleep(2 * time.Second)
	os.Exit(128 + int(s))
}

// kept is memory that was touched and is not given back.
var kept [][]byte

// eat touches so many MiB of memory; 0 is without end, until the kernel ends it.
func eat(mib int) {
	const step = 4 << 20
	for mib == 0 || len(kept)*step < mib<<20 {
		b := make([]byte, step)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		kept = append(kept, b)
		if len(kept)%64 == 0 {
			fmt.Printf("staged: %d MiB touched\n", len(kept)*step>>20)
		}
	}
}

// partial writes a well-formed pose.json of half the frames and exits with 0, as
// PHALP does when it swallowed an exception.
func partial(o options) int {
	n := max(1, o.frames/2)
	type frame struct {
		Index  int   `json:"index"`
		People []int `json:"people"`
	}
	frames := make([]frame, n)
	for i := range frames {
		frames[i] = frame{i, []int{}}
	}
	doc := struct {
		APIVersion  string            `json:"apiVersion"`
		Kind        string            `json:"kind"`
		Video       map[string]any    `json:"video"`
		Engine      map[string]any    `json:"engine"`
		Skeleton    map[string]any    `json:"skeleton"`
		Units       map[string]string `json:"units"`
		Coordinates map[string]string `json:"coordinates"`
		People      []int             `json:"people"`
		Frames      []frame           `json:"frames"`
	}{
		"pose.dev/v1alpha1", "PoseResult",
		map[string]any{"width": 768, "height": 576, "fps": 10, "frames": n, "startFrame": 0, "durationSeconds": float64(n) / 10},
		map[string]any{"name": "STAGED", "version": "0", "device": "CPU", "models": []int{}},
		map[string]any{"name": "staged-1", "joints": []string{"nose"}, "edges": []int{}},
		map[string]string{"bbox": "pixels", "joints2d": "pixels"},
		map[string]string{"image": "x-right-y-down"},
		[]int{}, frames,
	}
	b, err := json.Marshal(doc)
	if err == nil {
		err = os.WriteFile(filepath.Join(o.output, "pose.json"), b, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "staged:", err)
		return 1
	}
	return 0
}
