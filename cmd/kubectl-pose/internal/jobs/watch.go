package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
)

type watchFlags struct {
	timeout time.Duration
	output  string
	plain   bool
	quiet   bool // only the end of each
}

// WatchCommand follows jobs until they end.
func WatchCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	var f watchFlags
	c := &cobra.Command{
		Use:   "watch [NAME|pb/NAME...]",
		Short: "Follow jobs and batches until they end, and say how",
		Long: `Follow jobs and batches until they end: stage, frames, frames a second, when they are
expected to end, which attempt it is, and why the ones before failed. Without names,
all of the namespace that have not ended.

On a terminal each has a bar; elsewhere there are lines. The exit code is 0 if all
succeeded, 1 if one failed, was cancelled or deleted, 6 after --timeout, and 130 after
Ctrl-C, which ends the watching and nothing else.`,
		Example: `  kubectl pose watch
  kubectl pose watch run-42 pb/archive --timeout 2h

  # One JSON object a change
  kubectl pose watch run-42 -o json | jq -r .stage`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(f.output, "json"); err != nil {
				return err
			}
			refs, err := parseRefs(args)
			if err != nil {
				return err
			}
			c, err := cluster.Connect(flags)
			if err != nil {
				return err
			}
			return watchJobs(cmd.Context(), streams, f, &clusterSource{c: c, refs: refs, open: len(refs) == 0}, refs)
		},
	}
	c.Flags().DurationVar(&f.timeout, "timeout", 0, "how long to watch; 0 is for ever")
	c.Flags().BoolVar(&f.plain, "plain", false, "lines instead of bars on a terminal, too")
	c.Flags().StringVarP(&f.output, "output", "o", "", "json prints one object for each change; for people if unset")
	return c
}

// source of the states of jobs.
type source interface {
	// follow calls seen for each state, and gone for each object that was deleted, one
	// call at a time, until ctx ends or either says that it is enough. all says that
	// every object that exists was seen once.
	follow(ctx context.Context, seen func(client.Object) (enough bool), gone func(ref) (enough bool), all func() (enough bool, err error)) error
}

// patience is how long a job may wait for an operator before the person is told.
const patience = 20 * time.Second

// watcher follows jobs. refs are those that are meant; without any, all that are live
// when it begins.
type watcher struct {
	refs  []ref
	board term.Board
	out   io.Writer // nil: for people
	now   func() time.Time

	last  map[ref]standing
	told  map[ref]int // attempts whose end was told
	since map[ref]time.Time
	alone bool // it was said that nobody takes jobs up
	ready bool // all that exist were seen
	fatal error
}

// watchJobs until all have ended, and give an error by how they did.
func watchJobs(ctx context.Context, streams genericiooptions.IOStreams, f watchFlags, from source, refs []ref) error {
	if f.timeout < 0 {
		return exit.Usagef("--timeout %s is negative", f.timeout)
	}
	if f.timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, f.timeout)
		defer stop()
	}
	w := &watcher{refs: refs, now: time.Now, last: map[ref]standing{}, told: map[ref]int{}, since: map[ref]time.Time{}}
	switch {
	case f.output == "json":
		w.out, w.board = streams.Out, silent{}
	case f.quiet:
		w.board = quiet{silent{}, term.Safe(streams.ErrOut)}
	default:
		w.board = term.NewBoard(ctx, streams.ErrOut, f.plain, time.Now)
	}
	err := from.follow(ctx, w.seen, w.gone, w.all)
	w.board.Close()
	switch {
	case w.fatal != nil:
		return w.fatal
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return exit.With(exit.Timeout, fmt.Errorf("%d of %d jobs had not ended after %s; they go on", w.open(), max(len(w.refs), len(w.last)), f.timeout))
	case ctx.Err() != nil:
		return exit.With(exit.Interrupted, fmt.Errorf("the watching was interrupted; %d jobs go on: %w", w.open(), context.Canceled))
	case err != nil:
		return err
	}
	return w.outcome()
}

// meant says whether the person wants to know of it.
func (w *watcher) meant(s standing) bool {
	if len(w.refs) > 0 {
		return slices.Contains(w.refs, s.ref)
	}
	_, known := w.last[s.ref]
	return known || !w.ready && !s.over()
}

func (w *watcher) seen(o client.Object) (enough bool) {
	s := standingOf(o)
	if !w.meant(s) {
		return w.enough()
	}
	before, known := w.last[s.ref]
	w.last[s.ref] = s
	if !known {
		w.since[s.ref] = w.now()
	}
	if known && before.over() {
		return w.enough()
	}
	w.tell(o, s)
	return w.enough()
}

func (w *watcher) gone(r ref) (enough bool) {
	s, known := w.last[r]
	if !known || s.over() {
		return w.enough()
	}
	s.deleted, s.phase, s.message = true, "Deleted", "it was deleted before it ended"
	w.last[r] = s
	w.board.Done(r.String(), fmt.Sprintf("%s was deleted before it ended", r))
	w.json(nil, s)
	return w.enough()
}

func (w *watcher) all() (enough bool, err error) {
	w.ready = true
	for _, r := range w.refs {
		if _, ok := w.last[r]; !ok {
			return true, exit.With(exit.NotFound, fmt.Errorf("there is no %s %q in the namespace: `kubectl pose list -A` lists all", r.kind(), r.name))
		}
	}
	if len(w.last) == 0 {
		w.board.Say("There is nothing to watch: every job of the namespace has ended.")
	}
	return w.enough(), nil
}

// open jobs, of which more is to come.
func (w *watcher) open() (n int) {
	for _, s := range w.last {
		if !s.over() {
			n++
		}
	}
	return n
}

func (w *watcher) enough() bool { return w.ready && w.open() == 0 && len(w.last) >= len(w.refs) }

// tell the person, or the program, what is new.
func (w *watcher) tell(o client.Object, s standing) {
	w.json(o, s)
	id := s.String()
	for _, line := range w.endings(o, s) {
		w.board.Say("%s", line)
	}
	if s.over() {
		w.board.Done(id, lastWords(o, s))
		return
	}
	w.board.Set(id, rowOf(o, s))
	if s.message == "" && w.now().Sub(w.since[s.ref]) > patience && !w.alone {
		w.alone = true
		w.board.Say("No operator has taken %s up: is it installed, and does it run? `kubectl pose version` looks for it.", id)
	}
}

// json writes a change for a program.
func (w *watcher) json(o client.Object, s standing) {
	if w.out == nil || w.fatal != nil {
		return
	}
	b, err := json.Marshal(changeOf(o, s))
	if err == nil {
		_, err = w.out.Write(append(b, '\n'))
	}
	if err != nil {
		w.fatal = fmt.Errorf("write: %w", err)
	}
}

// outcome of all: an error if not every job succeeded.
func (w *watcher) outcome() error {
	var failed []string
	for r, s := range w.last {
		if !s.ok {
			failed = append(failed, r.name)
		}
	}
	slices.Sort(failed)
	switch {
	case len(failed) == 0:
		return nil
	case len(w.last) == 1:
		for r, s := range w.last {
			return fmt.Errorf("%s did not succeed: %s", r, s.phase)
		}
	}
	return fmt.Errorf("%d of %d did not succeed: %s", len(failed), len(w.last), term.Cut(fmt.Sprint(failed), 500))
}

// silent is a Board for programs.
type silent struct{}

func (silent) Set(string, term.Row) {}
func (silent) Done(string, string)  {}
func (silent) Say(string, ...any)   {}
func (silent) Close()               {}

// quiet is a Board that says the ends only.
type quiet struct {
	silent
	w io.Writer
}

func (q quiet) Done(_, last string) { fmt.Fprintln(q.w, term.OneLine(last)) }
