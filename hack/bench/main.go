// Command bench measures the operator's manager, Kubernetes' own controller of batch/v1
// Jobs and a bare client, the floor, on the same work in one run: units of one pod that
// runs to its end, on a real API server and etcd. See docs/benchmarks.
//
// Pods are played: nothing runs in them. Everything listens on the loopback alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

const workDir = ".demo/bench"

var self = os.Getpid()

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := dispatch(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context) error {
	if len(os.Args) == 4 && os.Args[1] == nameFloor {
		return runFloor(ctx, os.Args[2], os.Args[3])
	}
	var o options
	flag.BoolVar(&o.quick, "quick", false, "200 units, two minutes: shows that it works, and is no measurement")
	flag.StringVar(&o.manager, "manager", filepath.Join(workDir, "manager"), "our manager, built with pprof")
	flag.StringVar(&o.out, "out", "docs/benchmarks", "folder of the results; -quick writes to "+workDir)
	flag.StringVar(&o.only, "only", "", "one scenario alone, by its name; for finding out, nothing is written to the results")
	flag.BoolVar(&o.profiled, "profile", false, "save CPU profiles of controllers and API servers beside their logs in "+workDir+"; they cost a little")
	flag.StringVar(&o.with, "with", "", "one contender alone ("+nameOurs+", "+nameJob+", "+nameFloor+"), with -only")
	flag.Float64Var(&o.factor, "factor", 1, "how much of the full sizes is run, with -only")
	flag.Parse()
	return run(ctx, o)
}

type options struct {
	quick, profiled bool
	manager, out    string
	only, with      string
	factor          float64
}

func run(ctx context.Context, o options) error {
	if _, err := os.Stat("PROJECT"); err != nil {
		return errors.New("run this at the root of a clone of the pose operator, as `make bench-quick`")
	}
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	dir, err := filepath.Abs(workDir)
	if err != nil {
		return err
	}
	s := &setup{dir: dir, assets: assets(), profiled: o.profiled}
	if s.manager, err = filepath.Abs(o.manager); err != nil {
		return err
	}
	if s.self, err = os.Executable(); err != nil {
		return err
	}
	b := &bench{setup: s, sizes: full, began: time.Now()}
	if o.factor != 1 {
		if o.only == "" {
			return errors.New("-factor without -only: parts of a run are no results")
		}
		b.sizes = full.times(o.factor)
	}
	if o.quick {
		b.sizes, o.out = quick, workDir
	}
	err = b.all(ctx, o)
	return errors.Join(err, b.report(o))
}

// assets is where etcd, kube-apiserver and kube-controller-manager are.
func assets() string {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return dir
	}
	return filepath.Join(".tools", "bin", "kube-assets")
}

// bench is one run.
type bench struct {
	setup *setup
	sizes sizes
	began time.Time
	rows  []*row
	// failures of scenarios, as sentences.
	failures []string
}

// scenario runs in a world of its own for each contender.
type scenario struct {
	name string
	size int // 0: not in this run
	run  func(ctx context.Context, w *world, z sizes) ([]*row, error)
	// only these contenders have a part in it; all where nobody is named.
	only []string
}

func (b *bench) all(ctx context.Context, o options) error {
	contenders := []*contender{ours(b.setup), batchJob(b.setup), floor(b.setup)}
	if err := b.takePattern(ctx, contenders[0]); err != nil {
		return err
	}
	var crashing []string // all
	if o.quick {
		crashing = []string{nameOurs, nameFloor} // batch/v1 Job waits ten seconds each time
	}
	for i, s := range []scenario{
		{name: "steady", size: b.sizes.burst, run: steady},
		{name: scenarioCrash, size: b.sizes.crash, run: crash, only: crashing},
		// What a unit costs the floor does not depend on their number.
		{name: scenarioMany, size: b.sizes.many, run: many, only: []string{nameOurs, nameJob}},
		{name: scenarioScale, size: len(b.sizes.scale), run: scale, only: []string{nameOurs, nameJob}},
		{name: scenarioProgress, size: b.sizes.progress, run: progress, only: []string{nameOurs}},
	} {
		if s.size == 0 || (o.only != "" && s.name != o.only) {
			continue
		}
		// Another one goes first each time: a machine that grows slower favours nobody.
		for j := range contenders {
			c := contenders[(i+j)%len(contenders)]
			if s.only != nil && !slices.Contains(s.only, c.name) || o.only != "" && o.with != "" && c.name != o.with {
				continue
			}
			if err := b.one(ctx, s, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// one scenario with one contender. What fails there is noted, and the rest goes on.
func (b *bench) one(ctx context.Context, s scenario, c *contender) error {
	began := time.Now()
	rows, err := b.inWorld(ctx, c, s.name, func(w *world) ([]*row, error) { return s.run(ctx, w, b.sizes) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.rows = append(b.rows, rows...)
	for _, r := range rows {
		if r.Note != "" {
			b.failures = append(b.failures, fmt.Sprintf("%s, %s: %s", r.Scenario, c.title, r.Note))
		}
		b.say("%s %s: %d/%d ended, %.1f jobs/s, CPU %.1f ms own %.1f ms API server a job, %.2f writes a job, pod end to terminal p50/p99 %.0f/%.0f ms",
			r.Scenario, c.name, r.Finished, r.Units, r.UnitsPerSecond, r.ControllerCPU, r.APIServerCPU, r.WritesPerJob, r.PodToEnd.P50, r.PodToEnd.P99)
	}
	if err != nil {
		b.failures = append(b.failures, fmt.Sprintf("%s, %s: %v", s.name, c.title, err))
		b.say("%s %s: %v", s.name, c.name, err)
	}
	b.say("%s %s took %s", s.name, c.name, time.Since(began).Round(time.Second))
	return nil
}

func (b *bench) inWorld(ctx context.Context, c *contender, name string, do func(*world) ([]*row, error)) (rows []*row, err error) {
	dir := filepath.Join(b.setup.dir, name+"-"+c.name)
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	living, cancel := context.WithCancel(ctx)
	w, err := newWorld(living, dir, c)
	if err != nil {
		cancel()
		return nil, err
	}
	defer func() {
		cancel()
		err = errors.Join(err, w.stop())
	}()
	w.profiled = b.setup.profiled
	if err := w.startController(); err != nil {
		return nil, err
	}
	return do(w)
}

// takePattern of the pod that all contenders make.
func (b *bench) takePattern(ctx context.Context, ours *contender) error {
	_, err := b.inWorld(ctx, ours, "pattern", func(w *world) ([]*row, error) {
		var err error
		b.setup.pod, err = w.takePod(ctx)
		return nil, err
	})
	return err
}

// say how far it is.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// of a scenario and a contender, the rows.
func of(rows []*row, scenario, contender string) []*row {
	return slices.DeleteFunc(slices.Clone(rows), func(r *row) bool { return r.Scenario != scenario || r.Contender != contender })
}
