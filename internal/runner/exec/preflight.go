package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
)

// preflightTime bounds a preflight that names no time.
const preflightTime = 300 * time.Second

// preflight does the first step; passed is false when the role ends with it.
func (r *runner) preflight(ctx context.Context, cfg report.PreflightConfig) (res Result, passed bool, err error) {
	begun := time.Now()
	r.pre = &preflight{stage: cfg.Stage}
	if r.pre.stage == "" {
		r.pre.stage = report.DefaultPreflightStage
	}
	engine := r.track
	// The engine's stages are not the preflight's: all its time is one stage's.
	r.track, err = newTracker(report.ExecConfig{}, begun)
	if err != nil {
		return Result{ExitCode: 1}, false, err
	}
	r.track.first = report.StagePreflight
	r.track.stall = engine.stallLimitOf(r.pre.stage)
	r.write(begun)
	if cfg.GPUMemoryBytes > 0 {
		if err := r.checkGPUs(cfg.GPUMemoryBytes); err != nil {
			return Result{Report: r.snapshot(time.Now()), ExitCode: 1}, false, err
		}
	}
	if len(cfg.Command) > 0 {
		if res, err := r.preflightCommand(ctx, cfg, begun); err != nil || res.ExitCode != 0 {
			return res, false, err
		}
	}
	now := time.Now()
	if ctx.Err() != nil {
		return Result{Report: r.snapshot(now), ExitCode: terminated}, false, fmt.Errorf("the engine was not started: %w", context.Cause(ctx))
	}
	fmt.Fprintf(r.stdout, "pose-runner: the preflight passed after %s\n", now.Sub(begun).Round(100*time.Millisecond))
	r.pre, r.track = nil, engine
	r.track.took[report.StagePreflight] = now.Sub(begun)
	r.track.begin(now)
	return Result{}, true, nil
}

// preflight is the state while the first step runs.
type preflight struct {
	stage    string // that a failure counts for
	deadline time.Time
}

// preflightCommand runs the command as the engine is run.
func (r *runner) preflightCommand(ctx context.Context, cfg report.PreflightConfig, begun time.Time) (Result, error) {
	limit := seconds(cfg.TimeoutSeconds)
	if limit <= 0 {
		limit = preflightTime
	}
	r.pre.deadline = begun.Add(limit)
	fmt.Fprintf(r.stdout, "pose-runner: preflight: %q\n", cfg.Command)
	if err := r.start(cfg.Command, nil); err != nil {
		return Result{Report: r.snapshot(time.Now()), ExitCode: 1}, err
	}
	return r.follow(ctx)
}

// checkGPUs asks whether a GPU has so much memory free. What nvidia-smi does not
// tell is for the engine to find out.
func (r *runner) checkGPUs(want int64) error {
	gpus, err := r.obs.ask()
	if err != nil && !errors.Is(err, errNoGPU) {
		fmt.Fprintf(r.stdout, "pose-runner: the GPU's free memory is not checked: %v\n", err)
		return nil
	}
	r.obs.add(gpus)
	if err == nil {
		err = enoughMemory(gpus, want)
	}
	if errors.Is(err, errNoGPU) {
		return outcome.Failf(report.ReasonDeviceUnusable, "%w: the node's driver or device plugin may be broken, or the container got no GPU", err)
	}
	return err
}

// enoughMemory judges what nvidia-smi showed. A GPU that does not say counts as
// one that has enough.
func enoughMemory(gpus []gpu, want int64) error {
	best := 0
	for i, g := range gpus {
		if g.free < 0 || g.free >= want {
			return nil
		}
		if g.free > gpus[best].free {
			best = i
		}
	}
	g := gpus[best]
	of, which := "", ""
	if g.total > 0 {
		of = " of " + progress.Bytes(g.total)
	}
	if len(gpus) > 1 {
		which = fmt.Sprintf(", the freest of %d GPUs,", len(gpus))
	}
	return outcome.Failf(report.ReasonCUDAOutOfMemory, "the preflight wants %s of free GPU memory, and %s%s has %s%s free: another process uses it, or the GPU is too small",
		progress.Bytes(want), g.name, which, progress.Bytes(g.free), of)
}

// askTool is what an observer asks with in a pod.
func askTool(cfg report.ExecConfig) func() ([]gpu, error) {
	return func() ([]gpu, error) { return askGPUs(!cfg.AllowNetwork, engineEnv(os.Environ()), toolTime) }
}
