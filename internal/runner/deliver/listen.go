package deliver

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
)

// engine is what is heard of the engine while deliver does something else.
type engine struct {
	stop    context.CancelFunc
	changed chan struct{}

	mu       sync.Mutex
	rep      report.EngineReport
	answered map[int32]time.Time
	ended    bool
	ok       bool
	err      error
}

// listen follows the engine until it ends or stop is called.
func (r *Queue) listen(ctx context.Context) *engine {
	ctx, stop := context.WithCancel(ctx)
	e := &engine{stop: stop, changed: make(chan struct{}, 1), answered: map[int32]time.Time{}}
	r.last = time.Now()
	pace := &progress.Pace{}
	go func() {
		rep, ok, err := follow(ctx, r.Layout.SocketFile, r.Layout.EngineFile, r.wait(), func(rep report.EngineReport) {
			r.Push(engineProgress(rep, 0, pace, time.Now()))
			e.hear(time.Now(), rep)
		})
		if !ok && rep.Clip != nil && ctx.Err() == nil {
			// The whole container was killed, as for its memory: exec could not say so.
			rep.Answers = append(rep.Answers, report.ClipAnswer{Clip: *rep.Clip, Code: report.CodeEnded, Message: ending(rep, ok), StageSeconds: rep.StageSeconds})
		}
		e.hear(time.Now(), rep)
		e.mu.Lock()
		e.ended, e.ok, e.err = true, ok, err
		e.mu.Unlock()
		e.notify()
	}()
	return e
}

func (e *engine) hear(now time.Time, rep report.EngineReport) {
	e.mu.Lock()
	if len(rep.Answers) > report.MaxQueueClips {
		rep.Answers = rep.Answers[:report.MaxQueueClips]
	}
	more := len(rep.Answers) > len(e.rep.Answers)
	if len(rep.Answers) < len(e.rep.Answers) {
		rep.Answers = e.rep.Answers // a report that was left out of order takes no answer back
	}
	e.rep = rep
	for _, a := range rep.Answers {
		if _, ok := e.answered[a.Clip]; !ok {
			e.answered[a.Clip] = now
		}
	}
	e.mu.Unlock()
	if more {
		e.notify()
	}
}

func (e *engine) notify() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// wait until something may have changed.
func (e *engine) wait(ctx context.Context) {
	t := time.NewTimer(poll)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-e.changed:
	case <-t.C:
	}
}

func (e *engine) latest() report.EngineReport {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rep
}

func (e *engine) answers() []report.ClipAnswer { return e.latest().Answers }

// when the answer of a clip came.
func (e *engine) when(number int32) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.answered[number]
}

// over says that nothing more is heard of the engine.
func (e *engine) over() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ended
}

// end is the engine's last report, whether it says how it ended, and why it was not
// heard.
func (e *engine) end() (rep report.EngineReport, ok bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if errors.Is(e.err, context.Canceled) {
		return e.rep, false, nil
	}
	return e.rep, e.ok, e.err
}
