package verify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// BatchPrefix begins the line of pose-runner's log that holds the clips.IndexHead of a
// batch that was checked, as JSON, for whoever runs it.
const BatchPrefix = "pose-runner: batch "

const (
	// maxIndexBytes bounds a batch.json: that of clips.MaxClips with the longest names.
	maxIndexBytes = 1 << 30
	// maxProblems of a report on a batch; Problem is told of all.
	maxProblems = 1000
	// besides is how many results are checked side by side where nobody says.
	besides = 4
)

// BatchOptions of Batch; the zero value will do.
type BatchOptions struct {
	// Options of each result; its Progress is not asked.
	Options
	// Results are checked so many at a time; 0 means 4.
	Results int
	// Progress is told after each result, Problem of each problem, for a person: one
	// call at a time. nil: nobody asks.
	Progress func(BatchProgress)
	Problem  func(string)
}

// BatchProgress is how far the check of a batch is.
type BatchProgress struct {
	// Results of Total that were checked, with their Files and Bytes.
	Results, Total, Files, Bytes int64
}

// IsBatch says whether the index of a batch lies at the root of store. A file of
// somebody else under its name is none.
func IsBatch(ctx context.Context, store Store) (bool, error) {
	var o Options
	is := false
	err := o.retry(ctx, func(ctx context.Context) error {
		body, _, err := Alive(ctx, store, report.BatchFile, o.policy().Idle)
		if err != nil {
			return err
		}
		defer body.Close()
		_, err = clips.ReadIndexHead(body)
		is = err == nil
		return nil
	})
	if storage.KindOf(err) == storage.NotFound {
		err = nil
	}
	return is, err
}

// Batch checks the index of a batch that lies at the root of store, and every result
// that it names, as Whole does. The index must have the digest want, where that is not
// empty: all digests of results come from it. The report is complete also when there
// are problems. head is nil where there is no index that could be read; an index that
// is not there at all is an error of storage's kind NotFound, and a file of somebody
// else under its name result.ErrForeign.
func Batch(ctx context.Context, store Store, want string, o BatchOptions) (*report.VerifyReport, *clips.IndexHead, error) {
	b := &batch{store: store, options: o, rep: &report.VerifyReport{URI: storage.Join(store.String(), report.BatchFile)}}
	head, named, err := b.index(ctx)
	if err != nil {
		return nil, nil, err
	}
	if sum := b.rep.ManifestSHA256; want != "" && sum != want {
		b.problem("%s has sha256 %s, not %s: it was changed, or written anew", report.BatchFile, sum, want)
	}
	if head != nil {
		b.progress.Total = int64(len(named))
		err = b.results(ctx, named)
	}
	b.rep.Results, b.rep.Files, b.rep.Bytes = b.progress.Results, b.progress.Files, b.progress.Bytes
	if b.more > 0 {
		b.rep.Problems = append(b.rep.Problems, fmt.Sprintf("and %d more", b.more))
	}
	return b.rep, head, err
}

// named is a result by its index.
type named struct {
	clip, folder, sha256 string
	people, frames       *int64
}

type batch struct {
	store   Store
	options BatchOptions

	mu       sync.Mutex
	rep      *report.VerifyReport
	more     int // problems that the report has no room for
	progress BatchProgress
}

func (b *batch) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.options.Problem != nil {
		b.options.Problem(text)
	}
	if len(b.rep.Problems) >= maxProblems {
		b.more++
		return
	}
	b.rep.Problems = append(b.rep.Problems, text)
}

// index reads batch.json whole, before any result: a connection that is held for
// hours breaks. What is wrong with it is a problem.
func (b *batch) index(ctx context.Context) (head *clips.IndexHead, results []named, err error) {
	o := b.options.Options
	var list *lister
	err = o.retry(ctx, func(ctx context.Context) error {
		body, _, err := Alive(ctx, b.store, report.BatchFile, o.policy().Idle)
		if err != nil {
			return err
		}
		defer body.Close()
		list = &lister{}
		sum, read := sha256.New(), &countingReader{r: io.LimitReader(body, maxIndexBytes)}
		head, err = clips.ReadIndex(io.TeeReader(read, sum), list.add)
		if read.err != nil {
			return read.err
		}
		list.unfit = err
		// What follows the end of a broken one is part of its digest too.
		if _, err := io.Copy(sum, read); err != nil {
			return err
		}
		b.rep.ManifestSHA256 = hex.EncodeToString(sum.Sum(nil))
		return nil
	})
	switch {
	case err != nil:
		return nil, nil, err
	case errors.Is(list.unfit, clips.ErrNoIndex):
		return nil, nil, fmt.Errorf("%s: %w", b.rep.URI, result.ErrForeign)
	case list.unfit != nil:
		b.problem("%s cannot be right: %v", report.BatchFile, list.unfit)
	case list.counts != head.Counts:
		b.problem("%s counts %+v, and its clips are %+v", report.BatchFile, head.Counts, list.counts)
	}
	for _, p := range list.problems {
		b.problem("%s", p)
	}
	for i := range list.entries {
		e := &list.entries[i]
		n := named{clip: e.Name, sha256: e.ManifestSHA256, people: e.People, frames: e.Frames}
		if n.folder, err = folderOf(head.URI, e); err != nil {
			b.problem("%s: %v", e.Name, err)
			continue
		}
		results = append(results, n)
	}
	return head, results, nil
}

// countingReader keeps the reader's own error apart from what a parser makes of it.
type countingReader struct {
	r   io.Reader
	err error
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// lister takes the clips of an index, and says what is wrong with them.
type lister struct {
	counts   clips.IndexCounts
	last     string
	entries  []clips.IndexEntry // those with a result
	problems []string
	unfit    error
}

func (l *lister) add(e clips.IndexEntry) error {
	if e.Name == "" || e.Name <= l.last {
		return fmt.Errorf("clip %q does not follow %q: names go up, each once", e.Name, l.last)
	}
	l.last = e.Name
	l.counts.Total++
	switch e.State {
	case clips.StateSucceeded:
		l.counts.Succeeded++
	case clips.StateFailed:
		l.counts.Failed++
	case clips.StateCancelled:
		l.counts.Cancelled++
	default:
		return fmt.Errorf("clip %q has the state %q", e.Name, e.State)
	}
	switch {
	case e.State == clips.StateSucceeded && e.Result == "":
		l.problem("%s: it succeeded, and its result was not to be read when the index was written: %s", e.Name, e.Message)
	case e.State != clips.StateSucceeded && e.Result != "":
		l.problem("%s: it is %s, and has a result", e.Name, e.State)
	case e.Result != "":
		l.entries = append(l.entries, clips.IndexEntry{Name: e.Name, Result: e.Result, ManifestSHA256: e.ManifestSHA256, People: e.People, Frames: e.Frames})
	}
	return nil
}

func (l *lister) problem(format string, args ...any) {
	if len(l.problems) < clips.MaxClips {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}

// folderOf a result, relative to its index: the whole of a batch may have been copied
// to another place. Nothing else than the clip's own folder is believed.
func folderOf(uri string, e *clips.IndexEntry) (string, error) {
	rest, ok := strings.CutPrefix(e.Result, strings.TrimRight(uri, "/")+"/"+e.Name)
	name, err := url.PathUnescape(e.Name)
	if !ok || err != nil || clips.CheckName(e.Name) != nil {
		return "", fmt.Errorf("its result %s does not lie in its own folder", e.Result)
	}
	if e.ManifestSHA256 == "" {
		return "", errors.New("the index has no digest of its manifest")
	}
	if rest == "" {
		return name, nil
	}
	if id, ok := strings.CutPrefix(rest, "/"+result.AttemptsDir+"/"); ok && result.ValidAttemptID(id) {
		return name + rest, nil
	}
	return "", fmt.Errorf("its result %s is no folder of an attempt", e.Result)
}

// results checks all of them. A place that cannot be asked ends it.
func (b *batch) results(ctx context.Context, list []named) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan named)
	var wait sync.WaitGroup
	for range min(cmp.Or(max(0, b.options.Results), besides), len(list)) {
		wait.Go(func() {
			for n := range next {
				if err := b.result(ctx, n); err != nil {
					stop(fmt.Errorf("%s: %w", n.clip, err))
				}
			}
		})
	}
	for _, n := range list {
		select {
		case next <- n:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wait.Wait()
	return context.Cause(ctx)
}

// result of one clip.
func (b *batch) result(ctx context.Context, n named) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	o := b.options.Options
	o.Progress = nil
	rep, found, err := Whole(ctx, Below(b.store, n.folder), n.sha256, o)
	if err != nil {
		return err
	}
	for _, p := range rep.Problems {
		b.problem("%s: %s", n.clip, p)
	}
	if found != nil {
		b.compare(n.clip, "people", n.people, found.Manifest.People)
		b.compare(n.clip, "frames", n.frames, found.Manifest.Frames)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.progress.Results++
	b.progress.Files += rep.Files
	b.progress.Bytes += rep.Bytes
	if b.options.Progress != nil {
		b.options.Progress(b.progress)
	}
	return nil
}

func (b *batch) compare(clip, what string, index *int64, manifest int64) {
	if index != nil && *index != manifest {
		b.problem("%s: the index says %d %s, its manifest %d", clip, *index, what, manifest)
	}
}

// Below is a folder of a store.
func Below(store Store, folder string) Store { return below{store, folder} }

type below struct {
	store  Store
	folder string
}

func (b below) Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	return b.store.Open(ctx, b.folder+"/"+key)
}

func (b below) String() string { return storage.Join(b.store.String(), b.folder) }
