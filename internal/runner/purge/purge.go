// Package purge is the role that removes what a job wrote, or a batch and its jobs.
//
// # Order
//
// The pointer at the output's root goes first, then of each folder the manifest,
// then its files. So whoever reads finds, at any moment, a result that is whole or
// none: no pointer leads to a manifest that is gone, and no manifest names a file
// that is gone. A run that broke off is taken up by the next: a folder is known by
// its name or by the owner in it after its manifest has gone.
package purge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

const (
	// maxKept bounds PurgeReport.Kept, in lines; maxLine each of them, in bytes.
	maxKept, maxLine = 6, 240
	// maxSaid bounds the objects that the log names.
	maxSaid = 2000
	// maxObjects bounds one run; the next goes on.
	maxObjects = 1_000_000
)

// run is what all places of one run have in common. What is left is named by its
// first error.
type run struct {
	cfg report.PurgeConfig
	job report.JobRef
	// mine says whether the job of that name is the one whose results go, or one of
	// the batch's.
	mine func(report.JobRef) bool
	log  io.Writer
	// abort the uploads that were begun below a key of the sink that the
	// configuration names, and never completed.
	abort func(ctx context.Context, prefix string) (int, error)

	mu      sync.Mutex // guards what follows, and lines of the log
	rep     *report.PurgeReport
	more    int // lines that Kept has no room for
	said    int
	left    int
	failure error
}

// purger is one place with results: a job's output.
type purger struct {
	*run
	sink storage.Sink
	// base is the place below the sink that the configuration names, with a slash at
	// its end; empty where it is that sink.
	base string
	// held is the folder to which the root's pointer leads as the result of another
	// job, the holder; empty where it leads to none.
	held   string
	holder report.JobRef
	// stays is how many objects of this place could not be removed.
	stays int
}

// Run removes what the configuration names. The report counts what was removed also
// when there is an error, which then says what is left.
func Run(ctx context.Context, cfg report.PurgeConfig, job report.JobRef, l layout.Layout, log io.Writer) (*report.PurgeReport, error) {
	if cfg.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(cfg.TimeoutSeconds)*time.Second)
		defer cancel()
	}
	r := &run{cfg: cfg, job: job, mine: job.Same, log: log, rep: &report.PurgeReport{}}
	if cfg.Batch != "" {
		r.job.Batch = cfg.Batch
		r.mine = func(j report.JobRef) bool { return j.Namespace == job.Namespace && j.Batch == cfg.Batch }
	}
	sink, err := storage.OpenSink(cfg.URI, storage.Options{Store: cfg.Store, CredentialsDir: l.OutputCredentials, PVCMount: cfg.PVCMount})
	if err == nil {
		r.abort = func(ctx context.Context, prefix string) (int, error) {
			return storage.AbortUploads(ctx, sink, prefix, time.Time{})
		}
		if cfg.Batch != "" {
			err = r.batch(ctx, sink)
		} else {
			err = known((&purger{run: r, sink: sink}).results(ctx))
		}
		_ = sink.Close()
	}
	if err == nil && cfg.Video != nil && r.failure == nil {
		err = (&purger{run: r}).video(ctx, l)
	}
	if r.more > 0 {
		r.rep.Kept = append(r.rep.Kept, fmt.Sprintf("and %d more", r.more))
	}
	fmt.Fprintf(log, "pose-runner: %s %s\n", r.verb(), r.sums())
	return r.rep, r.end(ctx, err)
}

// known leaves out an error that was counted already.
func known(err error) error {
	if errors.Is(err, errStays) {
		return nil
	}
	return err
}

// sums of what was removed, for a person.
func (p *run) sums() string {
	return fmt.Sprintf("%d results, %d partial ones, %d objects, %s", p.rep.Results, p.rep.Partials, p.rep.Objects, progress.Bytes(p.rep.Bytes))
}

// end gives an error of the role its words.
func (p *run) end(ctx context.Context, err error) error {
	switch {
	case err == nil && p.failure == nil:
		return nil
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		err = outcome.Failf("", "not all was removed within %d s; run it again to go on: %w", p.cfg.TimeoutSeconds, cmp.Or(err, p.failure)).MayPass(true)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.As(err, new(*outcome.Failure)):
	case err == nil:
		err = outcome.Failf("", "%d objects are left; the first: %w", p.left, p.failure).MayPass(storage.Temporary(p.failure))
	default:
		err = outcome.Failf("", "not all can be removed: %w", err).MayPass(storage.Temporary(err))
	}
	return err
}

func (p *run) verb() string {
	if p.cfg.DryRun {
		return "would remove"
	}
	return "removed"
}

// results removes the pointer and the attempts' folders.
func (p *purger) results(ctx context.Context) error {
	folders, err := p.list(ctx)
	if storage.KindOf(err) == storage.NotFound {
		return notFound(err)
	}
	if err != nil {
		return err
	}
	if err := p.pointer(ctx); err != nil {
		return err
	}
	for _, f := range folders {
		if err := p.folder(ctx, f); err != nil {
			return err
		}
	}
	if p.cfg.AttemptPrefix == "" {
		return nil
	}
	return p.uploads(ctx, result.AttemptsDir+"/"+p.cfg.AttemptPrefix)
}

// notFound: a bucket that is gone took its objects along. So says also a server that
// is the wrong one, and then the results are where they were.
func notFound(err error) error {
	return outcome.Failf("", "whether the results are gone is not known, for their place is not found: %w; if it was deleted, there is nothing to remove any more", err)
}

// list gives the folders of all attempts by name.
func (p *purger) list(ctx context.Context) ([]folder, error) {
	var byID map[string]*folder
	var strays, n int
	err := p.retry(ctx, func(ctx context.Context) error {
		byID, strays, n = map[string]*folder{}, 0, 0
		return p.sink.List(ctx, result.AttemptsDir, func(e storage.Entry) error {
			if n++; n > maxObjects {
				return fmt.Errorf("%s has more than %d objects", p.sink, maxObjects)
			}
			id, _, ok := strings.Cut(strings.TrimPrefix(e.Key, result.AttemptsDir+"/"), "/")
			if !ok {
				strays++
				return nil
			}
			if byID[id] == nil {
				byID[id] = &folder{id: id}
			}
			e.Version = "" // nobody else writes there: it is removed as it is
			byID[id].entries = append(byID[id].entries, e)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	if strays > 0 {
		p.keep("%d objects that lie in %s/ and in no attempt's folder", strays, result.AttemptsDir)
	}
	var all []folder
	for _, f := range byID {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b folder) int { return cmp.Compare(a.id, b.id) })
	return all, nil
}

// pointer removes that of the output's root where it is the job's.
func (p *purger) pointer(ctx context.Context) error {
	raw, version, err := p.document(ctx, result.ManifestFile)
	if err != nil || raw == nil {
		return err
	}
	pointer, err := result.ReadPointer(raw)
	switch {
	case result.KindOf(raw) != result.KindPointer:
		p.keep("%s is a file of somebody else", result.ManifestFile)
		return nil
	case err == nil && !p.mine(pointer.Job):
		p.held, p.holder = pointer.AttemptID, pointer.Job
		p.keep("%s leads to the result of job %s", result.ManifestFile, name(pointer.Job))
		return nil
	case err != nil:
		p.keep("%s cannot be read, so nobody knows whose it is: %v", result.ManifestFile, err)
		return nil
	}
	if !p.remove(ctx, p.sink, storage.Entry{Key: result.ManifestFile, Size: int64(len(raw)), Version: version}) {
		// Its result stays with it, for a pointer must not lead nowhere.
		return errStays
	}
	p.count(func(r *report.PurgeReport) { r.Pointer = true })
	return nil
}

// folder removes one attempt's, where it is the job's.
func (p *purger) folder(ctx context.Context, f folder) error {
	var err error
	if f.has(result.ManifestFile) {
		if f.manifest, _, err = p.document(ctx, f.key(result.ManifestFile)); err != nil {
			return err
		}
	}
	if f.has(result.OwnerFile) {
		if f.owner, _, err = p.document(ctx, f.key(result.OwnerFile)); err != nil {
			return err
		}
	}
	v := judge(f, p.mine, p.cfg.AttemptPrefix)
	if v.remove && f.id == p.held {
		v = verdict{why: "is what job " + name(p.holder) + " has by now as its own"}
	}
	if !v.remove {
		p.keep("%s/%s %s", result.AttemptsDir, f.id, v.why)
		return nil
	}
	owned := v.orphan && !p.cfg.DryRun && p.own(ctx, f)
	stays := p.stays
	for i, e := range f.order() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if e.Key == f.key(result.OwnerFile) && p.stays > stays {
			break // the next run knows by it whose the rest is
		}
		if !p.remove(ctx, p.sink, e) && i == 0 && f.manifest != nil {
			return nil // its files stay with it
		}
	}
	if owned && p.stays == stays {
		p.delete(ctx, p.sink, storage.Entry{Key: f.key(result.OwnerFile)})
	}
	if p.stays > stays {
		return nil
	}
	p.count(func(r *report.PurgeReport) {
		if v.whole {
			r.Results++
		} else {
			r.Partials++
		}
	})
	if p.cfg.Batch != "" && !v.whole {
		return p.uploads(ctx, f.key(""))
	}
	return nil
}

// own leaves a word of whose a folder is that nothing but its manifest tells, before
// that goes. Where it cannot be written, as on a full volume, the removal goes on: a
// run that breaks off then leaves files that the next does not know.
func (p *purger) own(ctx context.Context, f folder) bool {
	err := verify.Own(ctx, p.sink, result.AttemptsDir+"/"+f.id, p.job)
	if err != nil {
		p.say("%s is not marked as being removed: %v", p.base+f.id, err)
	}
	return err == nil
}

// uploads ends those below a prefix that a killed attempt began and never completed.
func (p *purger) uploads(ctx context.Context, prefix string) error {
	if p.cfg.DryRun {
		return nil
	}
	n, err := p.abort(ctx, p.base+prefix)
	if n > 0 {
		p.say("removed the parts of %d uploads that were not completed", n)
	}
	if err != nil {
		// A store may not let everybody list uploads. The parts are no objects.
		p.keep("parts of broken uploads, if there are any: %v", err)
	}
	return nil
}

// video removes the upload itself.
func (p *purger) video(ctx context.Context, l layout.Layout) error {
	parent, key, why := split(p.cfg.Video.URI)
	if why != "" {
		p.keep("the video %s: %s", clean.URL(p.cfg.Video.URI), why)
		return nil
	}
	sink, err := storage.OpenSink(parent, storage.Options{Store: p.cfg.Store, CredentialsDir: l.CredentialsDir, PVCMount: p.cfg.Video.PVCMount})
	if err != nil {
		return err
	}
	defer func() { _ = sink.Close() }()
	var info storage.Info
	err = p.retry(ctx, func(ctx context.Context) (err error) {
		info, err = sink.Stat(ctx, key)
		return err
	})
	if storage.KindOf(err) == storage.NotFound {
		p.keep("the video %s is not there any more", clean.URL(p.cfg.Video.URI))
		return nil
	}
	if err != nil {
		return err
	}
	if p.remove(ctx, sink, storage.Entry{Key: key, Size: max(0, info.Size)}) {
		p.count(func(r *report.PurgeReport) { r.Video = true })
	}
	return nil
}

// remove one object and count it.
func (p *purger) remove(ctx context.Context, sink storage.Sink, e storage.Entry) bool {
	if !p.cfg.DryRun && !p.delete(ctx, sink, e) {
		return false
	}
	p.mu.Lock()
	p.rep.Objects++
	p.rep.Bytes += e.Size
	p.said++
	tell := p.said <= maxSaid
	p.mu.Unlock()
	if tell {
		p.say("%s %s", p.verb(), place(sink, e.Key))
	}
	return true
}

// delete one object, if it has the version that is named; what stays is counted.
func (p *purger) delete(ctx context.Context, sink storage.Sink, e storage.Entry) bool {
	key := e.Key
	err := p.retry(ctx, func(ctx context.Context) error {
		if e.Version != "" {
			return storage.DeleteVersion(ctx, sink, key, e.Version)
		}
		return sink.Delete(ctx, key)
	})
	if err == nil {
		return true
	}
	p.stays++
	p.leave(err)
	p.say("%s is left: %v", place(sink, key), err)
	return false
}

func place(sink storage.Sink, key string) string {
	return clean.Line(storage.Join(sink.String(), key), 2*maxLine)
}

// errStays says that an object stays which was counted already.
var errStays = errors.New("an object stays")

// leave something behind, for that reason.
func (p *run) leave(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left++
	p.failure = cmp.Or(p.failure, why)
}

func (p *run) count(f func(*report.PurgeReport)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p.rep)
}

// say a line of the log.
func (p *run) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.log, "pose-runner: "+format+"\n", args...)
}

// keep says what is left alone.
func (p *purger) keep(format string, args ...any) {
	line := clean.Line(p.base+fmt.Sprintf(format, args...), maxLine)
	p.say("kept: %s", line)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.rep.Kept) >= maxKept {
		p.more++
		return
	}
	p.rep.Kept = append(p.rep.Kept, line)
}

// document reads a small one, nil where there is none. One that is too large is
// none of ours, and is given as no JSON.
func (p *purger) document(ctx context.Context, key string) (raw []byte, version string, err error) {
	err = p.retry(ctx, func(ctx context.Context) error {
		body, info, err := p.sink.Open(ctx, key)
		if err != nil {
			return err
		}
		defer body.Close()
		version = info.Version
		raw, err = io.ReadAll(io.LimitReader(body, result.MaxManifestBytes+1))
		return err
	})
	switch {
	case storage.KindOf(err) == storage.NotFound:
		return nil, "", nil
	case err == nil && raw == nil:
		raw = []byte{}
	}
	return raw, version, err
}

func (p *run) retry(ctx context.Context, f func(context.Context) error) error {
	return storage.Retry(ctx, storage.DefaultPolicy(), func(err error, delay time.Duration) {
		p.say("%v; trying again in %s", err, delay.Round(100*time.Millisecond))
	}, f)
}
