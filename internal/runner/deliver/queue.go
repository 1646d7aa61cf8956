package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/queue"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// maxWhy bounds QueueReport.Why, in bytes.
const maxWhy = 320

// Queue is one run of the role for many clips: a verdict for each, as its answer
// comes, while the engine works on.
type Queue struct {
	// Role has what the clips have in common. Its Job is the pod's.
	Role
	Queue *queue.Queue
	// Tell is given every new state of the report.
	Tell func(report.QueueReport)

	clips []*clip
	why   string
	last  time.Time // when the engine's last answer came
	// broken is why the other containers cannot be told of a verdict any more: they
	// would wait for it as long as this one lives.
	broken error
}

// clip is one clip, as deliver sees it.
type clip struct {
	queue.Clip
	name    string
	role    Role // that delivers this clip alone
	checked bool // its place was looked at
	mark    byte
	digest  string // of the manifest, short
}

// Run gives every clip a verdict, or as many as there can be. The termination has the
// Queue that was reached, whatever the error is.
func (r *Queue) Run(ctx context.Context) (*report.Termination, error) {
	t := &report.Termination{}
	list, err := r.Queue.List()
	if err != nil {
		return t, err
	}
	if !result.ValidAttemptID(r.Config.AttemptID) {
		return t, outcome.Failf(report.ReasonConfig, "attempt id %q cannot be a folder's name", r.Config.AttemptID)
	}
	for i, c := range r.Queue.Clips {
		r.clips = append(r.clips, r.clip(c, list[i]))
	}
	e := r.listen(ctx)
	defer e.stop()
	for r.waiting() > 0 && ctx.Err() == nil && r.broken == nil {
		// In this order: what was answered before the end is seen after.
		over := e.over()
		if r.step(ctx, e) {
			continue
		}
		if over {
			break
		}
		e.wait(ctx)
	}
	rep := r.report()
	t.Queue = &rep
	if n := r.waiting(); n > 0 {
		return t, r.unfinished(ctx, e, n)
	}
	return t, nil
}

// clip makes of the pod's role that of one clip.
func (r *Queue) clip(q queue.Clip, listed clips.Clip) *clip {
	c := &clip{Clip: q, name: listed.Name, mark: report.QueueWaiting, role: r.Role}
	c.role.Job = r.Queue.Job(r.Job, q)
	c.role.Log = q.Log(r.Log)
	c.role.Push = func(report.Progress) {} // what is shown is the engine's progress
	c.role.Config.URI = listed.Output(r.Config.URI)
	c.role.Config.Provenance.VideoURI = listed.URI
	c.role.Layout = q.Layout
	return c
}

// waiting counts the clips without a verdict.
func (r *Queue) waiting() int {
	n := 0
	for _, c := range r.clips {
		if c.mark == report.QueueWaiting {
			n++
		}
	}
	return n
}

// report of the verdicts so far.
func (r *Queue) report() report.QueueReport {
	rep := report.QueueReport{Why: r.why}
	for _, c := range r.clips {
		rep.States += string(rune(c.mark))
		rep.Digests += c.digest
	}
	return rep
}

// unfinished says why clips have no verdict.
func (r *Queue) unfinished(ctx context.Context, e *engine, n int) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case r.broken != nil:
		return r.broken
	}
	rep, ok, err := e.end()
	how := ending(rep, ok)
	if err != nil {
		how = err.Error()
	}
	return fmt.Errorf("%d of %d clips were not begun, or nobody can say what became of them: %s", n, len(r.clips), how)
}

// step does the next thing that there is to do: it says what others found out, judges
// and delivers one answer, or looks at one clip's place. It is false when there is
// nothing.
func (r *Queue) step(ctx context.Context, e *engine) bool {
	for _, c := range r.clips {
		if c.mark == report.QueueWaiting && r.known(ctx, c) {
			return true
		}
	}
	for _, a := range e.answers() {
		if c := r.find(a.Clip); c != nil && c.mark == report.QueueWaiting {
			r.answered(ctx, c, a, e)
			return true
		}
	}
	for _, c := range r.clips {
		// Where somebody looks, a result of a neighbour may do as it is.
		// One that has come to its end since it was looked at above is for the next step.
		if seen := c.Seen(); c.mark == report.QueueWaiting && !c.checked && !seen.Over() && (!r.Queue.Config.Look || seen.Look != nil) {
			r.check(ctx, c)
			return true
		}
	}
	return false
}

func (r *Queue) find(number int32) *clip {
	for _, c := range r.clips {
		if c.Number == number {
			return c
		}
	}
	return nil
}

// known gives the verdict on a clip that does not come to the engine.
func (r *Queue) known(ctx context.Context, c *clip) bool {
	s := c.Seen()
	switch {
	case s.Failed != nil:
		r.failed(ctx, c, errors.New(s.Failed.Message))
	case s.Look == nil:
		return false
	case s.Look.Refused != nil:
		r.failed(ctx, c, errors.New(s.Look.Refused.Message))
	case s.Look.Reused() != nil:
		sum := s.Look.Reused().Result.ManifestSHA256
		if err := c.confirm(ctx, sum); err != nil {
			r.failed(ctx, c, err)
			break
		}
		r.verdict(c, report.QueueReused, sum)
	default:
		return false
	}
	return true
}

// confirm that a result which was found stands where the clip's belongs. The word of
// it came over a volume on which a decoder of hostile videos writes too.
func (c *clip) confirm(ctx context.Context, sum string) error {
	u, err := c.role.uploader(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = u.sink.Close() }()
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	err = u.retry(ctx, func(ctx context.Context) error {
		_, err := verify.Find(ctx, u.sink, sum, verify.Options{})
		return err
	})
	if err != nil {
		return fmt.Errorf("the result that was found before is not at its place: %w", err)
	}
	return nil
}

// check a clip's place before the engine has cost anything.
func (r *Queue) check(ctx context.Context, c *clip) {
	c.checked = true
	m := result.Manifest{Job: c.role.Job, AttemptID: c.role.Config.AttemptID, StartedAt: stamp(time.Now())}
	if err := c.role.refused(ctx, m); err != nil {
		r.failed(ctx, c, err)
	}
}

// answered judges what the engine said of a clip, and delivers.
func (r *Queue) answered(ctx context.Context, c *clip, a report.ClipAnswer, e *engine) {
	at := e.when(a.Clip)
	begun := r.last
	r.last = at
	if a.Code != "" {
		r.failed(ctx, c, answerError(a))
		if a.Code == report.CodeEnded {
			c.role.diagnostics(ctx)
		}
		return
	}
	rep, err := c.deliver(ctx, begun, at, a, e.latest())
	if err != nil {
		r.failed(ctx, c, err)
		return
	}
	r.verdict(c, report.QueueDelivered, rep.ManifestSHA256)
}

func answerError(a report.ClipAnswer) error {
	message := clean.Line(a.Message, maxWhy)
	if a.Code == report.CodeEnded {
		return errors.New(message)
	}
	return fmt.Errorf("the engine says %s: %s", clean.Line(a.Code, 64), message)
}

// deliver one clip as if it were alone.
func (c *clip) deliver(ctx context.Context, begun, at time.Time, a report.ClipAnswer, seenOf report.EngineReport) (*report.DeliveryReport, error) {
	m, err := c.role.manifest()
	if err != nil {
		return nil, err
	}
	// The engine works on one clip at a time: on this one since it is prepared and
	// the last one was answered.
	m.StartedAt, m.EngineEndedAt = stamp(begun), stamp(at)
	if m.PreparedAt != nil && m.PreparedAt.After(m.StartedAt) {
		m.StartedAt = *m.PreparedAt
	}
	seenOf.StageSeconds = a.StageSeconds
	m.Run = seen(seenOf)
	taken := c.takenDir()
	if err := take(ctx, c.role.Config, c.outputs(), taken); err != nil {
		return nil, err
	}
	one := c.role
	one.Layout.OutputDir = taken
	return one.result(ctx, m)
}

// failed is the verdict on a clip without a result, unless the pod is to end: then
// nobody can say.
func (r *Queue) failed(ctx context.Context, c *clip, err error) {
	if ctx.Err() != nil {
		return
	}
	r.why = clean.Head(fmt.Sprintf("clip %d (%s): %s", c.Number, clean.Line(c.name, 120), outcome.Text(err)), maxWhy)
	fmt.Fprintf(r.Log, "pose-runner: %s\n", r.why)
	r.verdict(c, report.QueueFailed, "")
}

// verdict is given once, and told before anything of the clip is removed.
func (r *Queue) verdict(c *clip, mark byte, sum string) {
	c.mark, c.digest = mark, report.ShortDigest(sum)
	r.Tell(r.report())
	fmt.Fprintf(r.Log, "pose-runner: clip %d: %s; %d clips are left\n", c.Number, marks[mark], r.waiting())
	r.broken = c.Finish()
}

var marks = map[byte]string{
	report.QueueDelivered: "delivered", report.QueueReused: "had its result already", report.QueueFailed: "failed",
}
