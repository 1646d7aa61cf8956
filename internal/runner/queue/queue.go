// Package queue holds what the containers of a pod of many clips have in common: the
// list of clips, the files by which one container tells the others how far a clip
// came, and how one waits for another without outliving it.
//
// Rules:
//
//  1. Every clip has a folder, named by its number in the batch's list. What is said
//     of a clip is a file in it, written under another name and renamed; it is never
//     changed, and only a clip that is done loses what it no longer needs.
//  2. Who waits for another container waits no longer than that one lives: a running
//     role holds a lock that ends with its process, however it dies. No pod may hold a
//     device for something that cannot come.
//  3. What can be wrong with one clip costs that clip, and the next is begun.
//
// The folder is closed to the engine, which reads there and cannot write.
package queue

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
)

// Clip is one clip of the queue.
type Clip struct {
	// Number in the batch's list, from 0.
	Number int32
	// Layout of its files.
	Layout layout.Layout
	dir    string
}

// Queue is the pod's queue as one of its containers sees it.
type Queue struct {
	Config report.QueueConfig
	Clips  []Clip

	dir  string // the folder with the clips' folders
	list string // the chunk of the batch's list
	from time.Time
}

// New checks the configuration of a queue.
func New(cfg report.QueueConfig, l layout.Layout) (*Queue, error) {
	q := &Queue{Config: cfg, dir: l.InputDir, list: filepath.Join(l.BatchDir, filepath.Base(report.QueueFile)), from: time.Now()}
	if n := len(cfg.Clips); n == 0 || n > report.MaxQueueClips {
		return q, outcome.Failf(report.ReasonConfig, "a queue has %d clips, 1 to %d are possible", n, report.MaxQueueClips)
	}
	seen := map[int32]bool{}
	for _, n := range cfg.Clips {
		if n < max(0, cfg.First) || n-cfg.First >= clips.MaxChunkClips || seen[n] {
			return q, outcome.Failf(report.ReasonConfig, "clip %d stands twice in the queue, or is not in the chunk of the list that begins with %d", n, cfg.First)
		}
		seen[n] = true
		c := Clip{Number: n, Layout: l.Clip(n)}
		c.dir = filepath.Dir(c.Layout.SourceFile)
		q.Clips = append(q.Clips, c)
	}
	return q, nil
}

// maxList bounds the stored chunk, in bytes: compressed text is not longer.
const maxList = 2 * clips.MaxChunkBytes

// List reads what the batch's list says of the clips, in the queue's order.
func (q *Queue) List() ([]clips.Clip, error) {
	f, err := os.Open(q.list)
	if err != nil {
		return nil, fmt.Errorf("the batch's list is not there: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxList))
	if err != nil {
		return nil, fmt.Errorf("read the batch's list: %w", err)
	}
	chunk, err := clips.Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("read the batch's list: %w", err)
	}
	var out []clips.Clip
	for _, c := range q.Clips {
		i := int(c.Number - q.Config.First)
		if i >= len(chunk) {
			return nil, outcome.Failf(report.ReasonConfig, "clip %d is not in the batch's list, whose part here begins with %d and has %d clips", c.Number, q.Config.First, len(chunk))
		}
		out = append(out, chunk[i])
	}
	return out, nil
}

// Job is the PoseJob of a clip: its result is that job's.
func (q *Queue) Job(pod report.JobRef, c Clip) report.JobRef {
	pod.Name = q.Config.JobPrefix + "-" + strconv.Itoa(int(c.Number))
	return pod
}

// Line is what the engine is told of a clip.
func (q *Queue) Line(c Clip) report.ClipLine {
	l := q.Config.Line
	l.Clip, l.Video, l.OutputDir = c.Number, c.Layout.VideoFile, c.Layout.OutputDir
	return l
}

// Log gives a log whose lines name a clip; it must be given whole lines.
func (c Clip) Log(log io.Writer) io.Writer { return prefixed{log, fmt.Sprintf("clip %d: ", c.Number)} }

type prefixed struct {
	w      io.Writer
	prefix string
}

func (p prefixed) Write(b []byte) (int, error) {
	if _, err := p.w.Write(append([]byte(p.prefix), b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Settled says what became of a role's work on a clip.
type Settled int

// What became of it.
const (
	Worked Settled = iota
	Failed
	// Left: deliver found the clip's place closed meanwhile, and its files went.
	Left
)

// Settle ends a role's work on a clip, which failed unless the error is nil: a failure
// is left for the others and said in the log, as "clip 3 is not WHAT". The error is
// that of ctx, or of a signal that cannot be left.
func (c Clip) Settle(ctx context.Context, failed error, what string, log io.Writer) (Settled, error) {
	switch {
	case ctx.Err() != nil:
		return Failed, context.Cause(ctx)
	case c.Seen().Done:
		return Left, c.Clear()
	case failed == nil:
		return Worked, nil
	}
	fmt.Fprintf(log, "pose-runner: clip %d is not %s: %s\n", c.Number, what, FailureOf(failed).Message)
	return Failed, c.Fail(failed)
}
