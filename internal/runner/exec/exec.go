// Package exec is the role that runs the engine: as PID 1 of the user's image it
// starts the engine as its child, without network, watches log, memory and
// stalls, and says truthfully how the engine ended.
package exec

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/queue"
)

const (
	sampleEvery  = 250 * time.Millisecond
	publishEvery = 500 * time.Millisecond
	// writeEvery bounds how often the termination message is rewritten.
	writeEvery = time.Second
	// drain is how long output is awaited after the engine ended: children that
	// it left behind may hold the pipe open.
	drain = 2 * time.Second
	// lastWords is how long a stalled engine has to print its stacks.
	lastWords = 5 * time.Second
	// defaultGrace is Kubernetes' default terminationGracePeriodSeconds.
	defaultGrace = 30 * time.Second
	// maxHurried bounds the messages that new stages cause between two samples: a
	// log that jumps between stages must not keep the loop busy with writing.
	maxHurried = 5
	// terminated is the exit code of who was told to end.
	terminated = 128 + int(syscall.SIGTERM)
)

// Result is how the role ended.
type Result struct {
	Report   report.EngineReport
	ExitCode int
}

// runner is one run of an engine.
type runner struct {
	cfg    report.ExecConfig
	l      layout.Layout
	stdout io.Writer
	term   *outcome.Writer

	track   *tracker
	meter   *meter
	server  *server
	log     *logFile
	process *process
	obs     *observer
	pre     *preflight // nil while it is the engine that runs
	work    *work      // nil where there is one video

	started time.Time
	sent    time.Time // last report to deliver
	written time.Time // last termination message
	hurried int       // messages written for new stages since the last tick
	late    bool      // a message is due
	stalled string    // why the engine was ended, "" if it was not
}

// Run runs the engine until it ends. Cancelling ctx is the pod's SIGTERM.
func Run(ctx context.Context, cfg report.ExecConfig, l layout.Layout, stdout io.Writer, term *outcome.Writer) (Result, error) {
	return whole(ctx, &runner{cfg: cfg, l: l, stdout: stdout, term: term})
}

// whole is one run, from the first word to deliver to the last.
func whole(ctx context.Context, r *runner) (Result, error) {
	// The engine runs as the same user; it must not read or write our memory,
	// from where the network could be reached.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	now := time.Now()
	r.started, r.meter, r.obs = now, newMeter(), newObserver("/", askTool(r.cfg))
	r.obs.start()
	res, err := r.run(ctx, now)
	r.obs.close()
	r.leave(res.Report)
	if r.server != nil {
		r.server.publish(res.Report)
		r.server.close()
	}
	r.log.Close()
	return res, err
}

func (r *runner) run(ctx context.Context, now time.Time) (Result, error) {
	failed := Result{ExitCode: 1}
	_ = os.Remove(r.l.EngineFile)
	var err error
	if r.track, err = newTracker(r.cfg, now); err != nil {
		return failed, outcome.Failf(report.ReasonConfig, "%w: correct the PoseEngine", err)
	}
	r.track.total = plannedFrames(r.l.FactsFile)
	if r.server, err = serve(r.l.SocketFile); err != nil {
		return failed, err
	}
	if r.log, err = openLog(r.l.Diagnostics, keepLog); err != nil {
		fmt.Fprintf(r.stdout, "pose-runner: the engine's log is not kept for upload: %v\n", err)
	}
	if r.work != nil {
		return r.queue(ctx)
	}
	return r.engine(ctx, nil)
}

// engine runs the preflight and then the engine itself.
func (r *runner) engine(ctx context.Context, stdin *os.File) (Result, error) {
	if p := r.cfg.Preflight; p != nil {
		if res, passed, err := r.preflight(ctx, *p); !passed {
			return res, err
		}
	}
	r.write(time.Now())
	if err := r.start(r.cfg.Command, stdin); err != nil {
		fmt.Fprintf(r.stdout, "pose-runner: %v\n", err)
		return Result{ExitCode: 1}, err
	}
	if stdin != nil {
		stdin.Close() // it is the engine's now: one that closes it is seen
		r.work.started(time.Now())
	}
	return r.follow(ctx)
}

// start starts the engine, or its preflight.
func (r *runner) start(command []string, stdin *os.File) error {
	p, err := start(r.cfg, command, engineEnv(os.Environ()), stdin)
	if err != nil {
		return err
	}
	r.process, r.meter.pgid = p, p.pid
	r.obs.watch(p.pid)
	return nil
}

// follow watches the engine until it has ended.
func (r *runner) follow(ctx context.Context) (Result, error) {
	chunks := make(chan []byte, 16)
	go readChunks(r.process.out, chunks)
	last := r.watch(ctx, chunks, r.process.ended)
	if last.err != nil {
		return Result{ExitCode: 1}, last.err
	}
	// Whatever the engine left behind goes with it.
	r.process.signal(syscall.SIGKILL)
	share(r.l.OutputDir)
	r.meter.sample()
	r.meter.peak = max(r.meter.peak, last.end.maxRSS)
	rep := r.snapshot(time.Now())
	r.obs.fillEnd(&rep)
	last.end.fill(&rep)
	res := Result{Report: rep, ExitCode: last.end.exitCode()}
	if r.stalled != "" {
		// One that ends well on the signal was ended all the same.
		res.ExitCode = max(1, res.ExitCode)
		return res, outcome.Failf(report.ReasonNoProgress, "%s", r.stalled)
	}
	return res, nil
}

// watch is the event loop. It returns when the engine has ended and its output
// is read.
func (r *runner) watch(ctx context.Context, chunks <-chan []byte, ended <-chan waited) waited {
	lines := &splitter{line: func(s string) {
		now := time.Now()
		if r.track.Line(now, s) {
			r.stageChanged(now)
		}
		r.answer(now, s)
	}}
	defer lines.Flush()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	var (
		last    waited
		killAt  <-chan time.Time
		drained <-chan time.Time
		stop    = ctx.Done()
		begun   time.Time // of a stall's end
	)
	for {
		select {
		case b, ok := <-chunks:
			if !ok {
				chunks = nil
				if drained != nil {
					return last
				}
				continue
			}
			r.take(b, lines)
		case c, ok := <-r.offered(ended != nil && stop != nil):
			r.hand(time.Now(), c, ok)
		case last = <-ended:
			if chunks == nil || last.err != nil {
				return last
			}
			ended, drained = nil, time.After(drain)
		case <-drained:
			return last
		case <-stop:
			stop, killAt = nil, time.After(killAfter(r.cfg.GraceSeconds))
			fmt.Fprintln(r.stdout, "pose-runner: the pod is to end, telling the engine (SIGTERM)")
			r.process.signal(syscall.SIGTERM)
		case <-killAt:
			r.process.signal(syscall.SIGKILL)
		case now := <-tick.C:
			if ended != nil {
				begun = r.checkStall(now, begun)
				r.checkFarewell(now)
			}
			r.tick(now)
		}
	}
}

// tick samples, and tells whom it concerns.
func (r *runner) tick(now time.Time) {
	r.meter.sample()
	if now.Sub(r.sent) >= publishEvery {
		r.sent = now
		r.server.publish(r.snapshot(now))
	}
	grown := r.meter.peak > 0 && now.Sub(r.written) >= writeEvery && r.meter.grown()
	if r.hurried = 0; grown || r.late {
		r.write(now)
	}
	r.makeRoom()
}

// stageChanged leaves word of a new stage at once: its first act may be the last.
func (r *runner) stageChanged(now time.Time) {
	r.obs.stageChanged()
	if r.hurried++; r.hurried > maxHurried {
		r.late = true
		return
	}
	r.write(now)
}

// take passes output on unchanged, keeps it and reads its lines.
func (r *runner) take(b []byte, lines *splitter) {
	_, _ = r.stdout.Write(b)
	r.log.Write(b)
	r.track.moved = time.Now()
	lines.Write(b)
}

// checkStall ends an engine that stands still, or a preflight whose time is over:
// SIGABRT first, on which Python's faulthandler prints where every thread stands,
// then SIGKILL.
func (r *runner) checkStall(now, begun time.Time) time.Time {
	if !begun.IsZero() {
		if now.Sub(begun) >= lastWords {
			r.process.signal(syscall.SIGKILL)
		}
		return begun
	}
	limit := r.track.StallLimit()
	switch {
	case r.idle():
		return begun
	case limit > 0 && r.track.Idle(now) >= limit:
		r.stalled = fmt.Sprintf("the %s showed no progress for %s in stage %s at frame %d and was ended", r.what(), limit, r.stage(), r.track.done)
	case r.pre != nil && !now.Before(r.pre.deadline):
		r.stalled = fmt.Sprintf("the preflight did not end within %s in stage %s and was ended", r.pre.deadline.Sub(r.track.since).Round(time.Second), r.stage())
	case r.clipTooLong(now) != "":
		r.stalled = r.clipTooLong(now)
	default:
		return begun
	}
	fmt.Fprintf(r.stdout, "pose-runner: %s\n", r.stalled)
	_ = syscall.Kill(r.process.pid, syscall.SIGABRT)
	return now
}

func (r *runner) what() string {
	if r.pre != nil {
		return "preflight"
	}
	return "engine"
}

func (r *runner) stage() string {
	if r.pre != nil {
		return r.pre.stage
	}
	return r.track.current()
}

// killAfter is when a told engine is killed: early enough to report it.
func killAfter(graceSeconds int64) time.Duration {
	grace := defaultGrace
	if graceSeconds > 0 {
		grace = time.Duration(graceSeconds) * time.Second
	}
	return max(grace-5*time.Second, grace/2)
}

func (r *runner) snapshot(now time.Time) report.EngineReport {
	rep := report.EngineReport{PeakMemoryBytes: r.meter.peak, LimitMemoryBytes: r.meter.limit, OOMKills: r.meter.kills}
	r.obs.fill(&rep)
	r.track.Fill(now, &rep)
	if r.pre != nil {
		rep.Stage, rep.Preflight = r.pre.stage, true
	}
	if r.work != nil {
		r.work.fill(&rep)
		if len(rep.Answers) > 0 {
			// An engine that has answered has loaded and worked: a GPU would be open.
			r.obs.fillEnd(&rep)
		}
	}
	return rep
}

// write rewrites the termination message: whoever is killed without a word has
// left one.
func (r *runner) write(now time.Time) {
	rep := r.snapshot(now)
	r.written, r.late = now, false
	t := &report.Termination{Role: report.RoleExec, Result: report.ResultRunning, Seconds: tenths(now.Sub(r.started)), Engine: &rep, InQueue: r.work != nil}
	if err := r.term.Update(t); err != nil {
		fmt.Fprintf(r.stdout, "pose-runner: %v\n", err)
	}
}

// leave writes the last report to a file, for a deliver that connects late.
func (r *runner) leave(rep report.EngineReport) {
	err := queue.Write(r.l.EngineFile, rep, 0o660)
	if err != nil {
		fmt.Fprintf(r.stdout, "pose-runner: leave the last report: %v\n", err)
	}
}

func readChunks(f *os.File, chunks chan<- []byte) {
	defer close(chunks)
	defer f.Close()
	for {
		buf := make([]byte, 32<<10)
		n, err := f.Read(buf)
		if n > 0 {
			chunks <- buf[:n]
		}
		if err != nil {
			return
		}
	}
}

// plannedFrames is what prepare counted, 0 when it cannot be read.
func plannedFrames(path string) int64 {
	var facts report.VideoFacts
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &facts) != nil {
		return 0
	}
	return facts.Frames
}
