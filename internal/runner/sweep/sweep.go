// Package sweep removes uploads that became older than they may: videos show
// people, and what nobody asks for any more is not to lie about. A CronJob of the
// chart runs it.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
	"github.com/pose-dev/pose-operator/internal/storage"
)

const (
	// maxSaid bounds the objects of one entry that are named.
	maxSaid = 1000
	// maxOld bounds what one run removes of one entry; the next goes on.
	maxOld  = 200_000
	maxLine = 512 // bytes
)

// Totals of one entry, or of all.
type Totals struct {
	Removed, Bytes int64 // would be removed, in a dry run
	Kept           int64 // by a glob
	Young          int64 // not old enough
	Left           int64 // could not be removed
	Broken         int64 // uploads that were never completed, whose parts were removed
}

func (t *Totals) add(o Totals) {
	t.Removed += o.Removed
	t.Bytes += o.Bytes
	t.Kept += o.Kept
	t.Young += o.Young
	t.Left += o.Left
	t.Broken += o.Broken
}

// Run removes what every entry names, and says so on out. What is wrong with one
// entry does not keep the others from theirs.
func Run(ctx context.Context, c *Config, now time.Time, out io.Writer) (Totals, error) {
	var all Totals
	var errs []error
	for i := range c.Entries {
		s := &sweeper{entry: &c.Entries[i], config: c, now: now, out: out}
		err := s.run(ctx)
		all.add(s.totals)
		if err != nil {
			fmt.Fprintf(out, "pose-runner: %v\n", err)
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			return all, context.Cause(ctx)
		}
	}
	if len(errs) > 0 {
		return all, fmt.Errorf("%d of %d entries could not be swept whole; the first: %w", len(errs), len(c.Entries), errs[0])
	}
	return all, nil
}

type sweeper struct {
	entry  *Entry
	config *Config
	now    time.Time
	out    io.Writer
	sink   storage.Sink
	totals Totals
	said   int
}

// errEnough ends a listing.
var errEnough = errors.New("enough for one run")

func (s *sweeper) run(ctx context.Context) error {
	e := s.entry
	sink, err := storage.OpenSink(e.URI, storage.Options{Store: s.config.Store, CredentialsDir: e.CredentialsDir, PVCMount: e.PVCMount})
	if err != nil {
		return err
	}
	defer func() { _ = sink.Close() }()
	s.sink = sink
	old, err := s.list(ctx)
	if err != nil {
		return err
	}
	var first error
	for _, o := range old {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := s.remove(ctx, o)
		if first == nil {
			first = err
		}
		if storage.Temporary(err) {
			break // the place does not answer; the next run goes on
		}
	}
	if !e.DryRun {
		s.abort(ctx)
	}
	s.say(len(old))
	if first != nil {
		return fmt.Errorf("%d uploads are left; the first: %w", s.totals.Left, first)
	}
	return nil
}

// abort ends uploads that began long ago and were never completed: no listing shows
// them. A store may not let everybody do so, which is no error.
func (s *sweeper) abort(ctx context.Context) {
	n, err := storage.AbortUploads(ctx, s.sink, "", s.now.Add(-time.Duration(s.entry.OlderThan)))
	s.totals.Broken = int64(n)
	if err != nil {
		fmt.Fprintf(s.out, "pose-runner: parts of broken uploads, if there are any, are left: %v\n", err)
	}
}

// say the totals of the entry, which had so many old objects.
func (s *sweeper) say(old int) {
	verb, more := "removed", ""
	if s.entry.DryRun {
		verb = "would remove"
	}
	if n := s.said - maxSaid; n > 0 {
		fmt.Fprintf(s.out, "pose-runner: and %d more\n", n)
	}
	if s.totals.Broken > 0 {
		more = fmt.Sprintf("; the parts of %d broken uploads were removed", s.totals.Broken)
	}
	if old == maxOld {
		more += "; there may be more, which the next run removes"
	}
	t := s.totals
	fmt.Fprintf(s.out, "pose-runner: %s: %s %d uploads older than %s, %s; %d are younger, %d are kept, %d are left%s\n",
		s.sink, verb, t.Removed, time.Duration(s.entry.OlderThan), progress.Bytes(t.Bytes), t.Young, t.Kept, t.Left, more)
}

// list gives what is too old. What does not say when it was written is kept, and so
// is what was written after now by the place's clock.
func (s *sweeper) list(ctx context.Context) ([]storage.Entry, error) {
	var old []storage.Entry
	var t Totals
	limit := s.now.Add(-time.Duration(s.entry.OlderThan))
	err := storage.RetryFew(ctx, storage.DefaultPolicy(), nil, func(ctx context.Context) error {
		old, t = nil, Totals{}
		return s.sink.List(ctx, "", func(o storage.Entry) error {
			switch {
			case o.ModTime.IsZero() || !o.ModTime.Before(limit):
				t.Young++
			case s.entry.keeps(o.Key):
				t.Kept++
			default:
				o.Version = s.version(ctx, o)
				if old = append(old, o); len(old) >= maxOld {
					return errEnough
				}
			}
			return nil
		})
	})
	s.totals = t
	if errors.Is(err, errEnough) {
		err = nil
	}
	return old, err
}

// version that an old object has, to be removed by: that of the listing. A claim's
// says none, and its file is asked at once; of one that cannot be asked the removal
// says why.
func (s *sweeper) version(ctx context.Context, o storage.Entry) string {
	if o.Version != "" || s.entry.DryRun {
		return o.Version
	}
	info, err := s.sink.Stat(ctx, o.Key)
	if err != nil {
		return ""
	}
	return info.Version
}

func (s *sweeper) remove(ctx context.Context, o storage.Entry) error {
	place := clean.Line(storage.Join(s.sink.String(), o.Key), maxLine)
	verb := "would remove"
	if !s.entry.DryRun {
		verb = "removed"
		err := storage.RetryFew(ctx, storage.DefaultPolicy(), nil, func(ctx context.Context) error {
			return storage.DeleteVersion(ctx, s.sink, o.Key, o.Version)
		})
		switch {
		case storage.KindOf(err) == storage.Changed:
			s.totals.Young++
			fmt.Fprintf(s.out, "pose-runner: %s was written anew meanwhile, and stays\n", place)
			return nil
		case err != nil:
			s.totals.Left++
			fmt.Fprintf(s.out, "pose-runner: %s is left: %v\n", place, err)
			return err
		}
	}
	s.totals.Removed++
	s.totals.Bytes += o.Size
	if s.said++; s.said <= maxSaid {
		fmt.Fprintf(s.out, "pose-runner: %s %s (%s, last written %s)\n", verb, place, progress.Bytes(o.Size), o.ModTime.UTC().Format(time.RFC3339))
	}
	return nil
}
