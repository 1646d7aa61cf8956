package exec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/queue"
)

const (
	// farewell is how long an engine may take to end after its last clip.
	farewell = 60 * time.Second
	// maxForeign bounds the notes on answers for clips that are not at work.
	maxForeign = 5
)

// work is a queue in the hands of one engine. One clip is at work at a time: what the
// engine says, how long it takes and how it ends belongs to that clip.
type work struct {
	q    *queue.Queue
	next chan queue.Clip // closed when no clip comes any more
	gone error           // why no clip comes any more before the last one; after next is closed
	over bool            // it was seen to be closed

	stdin   *os.File // nil when it is closed
	closed  time.Time
	told    bool // to end, after farewell
	first   bool // the first clip is at work: its time has the loading
	at      *atWork
	answers []report.ClipAnswer
	full    []queue.Clip // that are answered and whose outputs are still there
	foreign int
}

// atWork is the clip that the engine has.
type atWork struct {
	queue.Clip
	begun bool
	since time.Time // when it was begun, or else given
}

// RunQueue runs the engine for many clips, as they come. An engine that is not
// needed is not started.
func RunQueue(ctx context.Context, cfg report.ExecConfig, q *queue.Queue, l layout.Layout, stdout io.Writer, term *outcome.Writer) (Result, error) {
	w := &work{q: q, next: make(chan queue.Clip)}
	feed, stop := context.WithCancel(ctx)
	defer stop()
	go w.feed(feed)
	return whole(ctx, &runner{cfg: cfg, l: l, stdout: stdout, term: term, work: w})
}

// feed offers the clips that have a video, in their order.
func (w *work) feed(ctx context.Context) {
	defer close(w.next)
	// Nothing is computed that nobody will take.
	w.gone = w.q.Await(ctx, report.RoleDeliver, func() bool { return w.q.Started(report.RoleDeliver) })
	if w.gone != nil {
		return
	}
	for _, c := range w.q.Clips {
		var seen queue.Seen
		w.gone = w.q.Await(ctx, report.RolePrepare, func() bool {
			seen = c.Seen()
			return seen.Over() || seen.Prepared
		})
		if w.gone != nil {
			return
		}
		if seen.Over() {
			continue
		}
		select {
		case w.next <- c:
		case <-ctx.Done():
			w.gone = context.Cause(ctx)
			return
		}
	}
}

// queue waits for the first clip, and then runs the engine.
func (r *runner) queue(ctx context.Context) (Result, error) {
	r.write(time.Now())
	c, ok := <-r.work.next
	for ok && c.Seen().Over() {
		c, ok = <-r.work.next
	}
	if !ok {
		return r.unused(ctx)
	}
	in, out, err := os.Pipe()
	if err != nil {
		return Result{ExitCode: 1}, fmt.Errorf("make the engine's stdin: %w", err)
	}
	defer in.Close()
	r.work.stdin, r.work.first = out, true
	defer r.work.close(time.Now())
	r.track.begin(time.Now())
	r.hand(time.Now(), c, true)
	res, err := r.engine(ctx, in)
	return r.queueEnd(ctx, res, err)
}

// unused is the end without an engine.
func (r *runner) unused(ctx context.Context) (Result, error) {
	res := Result{Report: r.snapshot(time.Now())}
	switch {
	case r.work.left() == 0:
	case ctx.Err() != nil:
		res.ExitCode = terminated
		return res, fmt.Errorf("the engine was not started: %w", context.Cause(ctx))
	case r.work.gone != nil:
		return res, fmt.Errorf("the engine was not started: no clip came: %w", r.work.gone)
	}
	fmt.Fprintln(r.stdout, "pose-runner: no clip needs the engine, it is not started")
	return res, nil
}

// queueEnd judges how the engine ended: with its work done, however it went then, or
// before.
func (r *runner) queueEnd(ctx context.Context, res Result, err error) (Result, error) {
	w := r.work
	if a := w.at; a != nil && a.begun {
		how := fmt.Sprintf("%s in stage %s at frame %d", ended(res.Report), r.stage(), r.track.done)
		if r.stalled != "" {
			how = r.stalled
		}
		w.add(report.ClipAnswer{Clip: a.Number, Code: report.CodeEnded, Message: how, StageSeconds: res.Report.StageSeconds})
	}
	w.at = nil
	w.fill(&res.Report)
	left := w.left()
	switch {
	case left == 0:
		if err != nil || res.ExitCode != 0 {
			fmt.Fprintf(r.stdout, "pose-runner: every clip was answered, %s\n", ended(res.Report))
		}
		res.ExitCode = 0
		return res, nil
	case err != nil:
		return res, err
	case ctx.Err() != nil:
		if res.ExitCode == 0 {
			res.ExitCode = terminated // one that ends well on the signal has not done its work
		}
		return res, nil
	case w.over && w.gone != nil:
		return res, fmt.Errorf("%d clips did not come to the engine: %w", left, w.gone)
	}
	if res.ExitCode == 0 {
		res.ExitCode = 1
		err = fmt.Errorf("the engine ended with exit code 0 and had not answered %d clips", left)
	}
	return res, err
}

// ended describes an end.
func ended(r report.EngineReport) string {
	switch {
	case r.Signal != "":
		return "the engine was ended by " + r.Signal
	case r.ExitCode != nil:
		return fmt.Sprintf("the engine ended with exit code %d", *r.ExitCode)
	}
	return "the engine ended without saying how"
}

// left counts the clips that wait for an answer.
func (w *work) left() int {
	answered := map[int32]bool{}
	for _, a := range w.answers {
		answered[a.Clip] = true
	}
	n := 0
	for _, c := range w.q.Clips {
		if !answered[c.Number] && !c.Seen().Over() {
			n++
		}
	}
	return n
}

// offered is where the next clip comes from, while the engine can take one.
func (r *runner) offered(able bool) <-chan queue.Clip {
	if w := r.work; w != nil && able && r.pre == nil && r.stalled == "" && w.at == nil && w.stdin != nil {
		return w.next
	}
	return nil
}

// idle says that nothing is asked of the engine.
func (r *runner) idle() bool { return r.work != nil && r.work.at == nil && r.pre == nil }

// hand gives the engine a clip; not ok says that there is none any more.
func (r *runner) hand(now time.Time, c queue.Clip, ok bool) {
	w := r.work
	if !ok {
		w.over = true
		w.close(now)
		return
	}
	if c.Seen().Over() {
		return // while it waited
	}
	if !w.first {
		r.track.clip(now)
	}
	r.track.total = plannedFrames(c.Layout.FactsFile)
	err := makeFolder(c.Layout.OutputDir)
	if err == nil {
		err = w.write(c)
	}
	if err != nil {
		fmt.Fprintf(r.stdout, "pose-runner: clip %d cannot be given to the engine: %v\n", c.Number, err)
		w.close(now)
		return
	}
	fmt.Fprintf(r.stdout, "pose-runner: clip %d goes to the engine\n", c.Number)
	w.at = &atWork{Clip: c, since: now}
	r.late = true
}

// started says that the engine runs: a clip that waited for the preflight begins to
// take time.
func (w *work) started(now time.Time) {
	if w.at != nil {
		w.at.since = now
	}
}

// makeFolder for the outputs of one clip. What the engine put there is its own.
func makeFolder(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("make room for its outputs: %w", err)
	}
	if err := os.Mkdir(dir, 0o770); err != nil {
		return fmt.Errorf("make the folder for its outputs: %w", err)
	}
	if err := os.Chmod(dir, 0o770|os.ModeSetgid); err != nil {
		return fmt.Errorf("open the folder for its outputs: %w", err)
	}
	return nil
}

// writeTime bounds the writing of a line. It fits into the pipe, which is empty
// unless the engine answers what it has not read.
const writeTime = 5 * time.Second

func (w *work) write(c queue.Clip) error {
	line, err := json.Marshal(w.q.Line(c))
	if err != nil {
		return err
	}
	_ = w.stdin.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := w.stdin.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write to its stdin: %w", err)
	}
	return nil
}

// close says to the engine that no clip comes any more.
func (w *work) close(now time.Time) {
	if w.stdin != nil {
		_ = w.stdin.Close()
		w.stdin, w.closed = nil, now
	}
}

// checkFarewell ends an engine that does not end by itself.
func (r *runner) checkFarewell(now time.Time) {
	w := r.work
	if w == nil || w.closed.IsZero() || w.at != nil || r.pre != nil {
		return
	}
	switch since := now.Sub(w.closed); {
	case since >= farewell && !w.told:
		w.told = true
		fmt.Fprintf(r.stdout, "pose-runner: the engine does not end %s after its last clip, telling it (SIGTERM)\n", farewell)
		r.process.signal(syscall.SIGTERM)
	case since >= farewell+killAfter(r.cfg.GraceSeconds):
		r.process.signal(syscall.SIGKILL)
	}
}

// clipTooLong says that a clip has had its time; "" when it has not.
func (r *runner) clipTooLong(now time.Time) string {
	w := r.work
	if w == nil || w.at == nil || r.pre != nil || w.q.Config.ClipSeconds <= 0 {
		return ""
	}
	limit := seconds(w.q.Config.ClipSeconds)
	if now.Sub(w.at.since) < limit {
		return ""
	}
	return fmt.Sprintf("the engine worked on clip %d for longer than %s, in stage %s at frame %d, and was ended", w.at.Number, limit, r.stage(), r.track.done)
}

// answer reads what the engine says of a clip. A word on another clip than the one at
// work counts for nothing.
func (r *runner) answer(now time.Time, line string) {
	w := r.work
	if w == nil || r.pre != nil {
		return
	}
	s := parseAnswer(line)
	if s.word == wordNone {
		return
	}
	if w.at == nil || s.clip != w.at.Number && (s.clip >= 0 || s.word != wordError) {
		if w.foreign++; w.foreign <= maxForeign {
			fmt.Fprintln(r.stdout, "pose-runner: the engine spoke of a clip that it was not given to work on, which counts for nothing")
		}
		return
	}
	if s.word == wordBegin {
		if !w.at.begun {
			w.at.begun, w.at.since = true, now
			r.tell(now) // its first act may be the last
		}
		return
	}
	// The engine lives on, and deliver reads meanwhile.
	share(w.at.Layout.OutputDir)
	w.add(report.ClipAnswer{Clip: w.at.Number, Code: s.code, Message: s.message, StageSeconds: r.track.stageSeconds(now)})
	w.full = append(w.full, w.at.Clip)
	w.at, w.first = nil, false
	r.tell(now)
}

// tell deliver at once.
func (r *runner) tell(now time.Time) {
	r.sent = now
	r.server.publish(r.snapshot(now))
}

// fill writes into a report what the engine said of its clips.
func (w *work) fill(rep *report.EngineReport) {
	rep.Answers = w.answers[:len(w.answers):len(w.answers)]
	if w.at != nil && w.at.begun {
		rep.Clip = new(w.at.Number)
	}
}

func (w *work) add(a report.ClipAnswer) { w.answers = append(w.answers, a) }

// makeRoom removes the outputs of clips that deliver has finished with; they are the
// engine's, whose user this is.
func (r *runner) makeRoom() {
	if r.work == nil {
		return
	}
	kept := r.work.full[:0]
	for _, c := range r.work.full {
		if !c.Seen().Done {
			kept = append(kept, c)
			continue
		}
		go func() {
			if err := os.RemoveAll(c.Layout.OutputDir); err != nil && !errors.Is(err, os.ErrNotExist) {
				fmt.Fprintf(r.stdout, "pose-runner: the outputs of clip %d stay: %v\n", c.Number, err)
			}
		}()
	}
	r.work.full = kept
}
