package lookup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// maxCandidates bounds the results of other jobs that are looked at.
const maxCandidates = 16

// found is a result that may do, or why there is none to look at.
type found struct {
	uri string // that was looked at
	// own says that it was found at the root of the job's own output.
	own    bool
	store  storage.Sink
	result *verify.Found
	err    error
}

// folder is the URI of the result's own folder.
func (f *found) folder() string {
	return strings.TrimRight(storage.Join(f.uri, f.result.Folder), "/")
}

var options = verify.Options{Policy: policy}

// find reads the manifests of all results that may do, the job's own first.
func (k *look) find(ctx context.Context) []found {
	all := []found{{uri: k.cfg.URI, own: true, store: k.sink}}
	refs := k.cfg.Candidates[:min(len(k.cfg.Candidates), maxCandidates)]
	for _, c := range refs {
		f := found{uri: c.URI}
		if report.Claim(c.URI) != report.Claim(k.cfg.URI) {
			f.err = errors.New("it lies on another claim, which is not mounted here")
		} else {
			f.store, f.err = storage.OpenSink(c.URI, k.output())
		}
		all = append(all, f)
	}
	var wait sync.WaitGroup
	for i := range all {
		f, want := &all[i], ""
		if i > 0 {
			want = refs[i-1].ManifestSHA256
		}
		if f.err != nil {
			continue
		}
		if i > 0 && want == "" {
			f.err = errors.New("the digest of its manifest is not recorded")
			continue
		}
		wait.Go(func() { f.result, f.err = verify.Find(ctx, f.store, want, options) })
	}
	wait.Wait()
	return all
}

// reuse takes the first result that will do, or says why none does. Its error is of
// a result that would do and could not be made the job's.
func (k *look) reuse(ctx context.Context, all []found) (*report.ReusedResult, string, error) {
	defer func() {
		for _, f := range all {
			if !f.own && f.store != nil {
				_ = f.store.Close()
			}
		}
	}()
	if k.inPlaceOnly() {
		all = all[:1] // the others would have to be copied here
	}
	if !k.comparable() {
		return nil, "what a result of this job is made of is not known, for not all of its images are pinned by digest", nil
	}
	var reasons []string
	for i := range all {
		f := &all[i]
		why := k.unfit(f)
		if why == "" {
			var id string
			var err error
			id, why, err = k.take(ctx, f)
			if err != nil {
				return nil, "", err
			}
			if why == "" {
				return k.reused(f, id), "", nil
			}
		}
		place := "a result of another job: "
		if f.own {
			place = ""
		}
		fmt.Fprintf(k.log, "pose-runner: %s: %s\n", clean.URL(f.uri), clean.Line(why, maxWhy))
		reasons = append(reasons, place+why)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, sum(reasons), k.refused
}

// sum tells in one line why none of several results will do. Nothing lies at the own
// place of most jobs, which says less than what is wrong with another's result.
func sum(reasons []string) string {
	if len(reasons) > 1 && reasons[0] == nothing {
		reasons = reasons[1:]
	}
	if n := len(reasons) - 1; n > 0 {
		return fmt.Sprintf("%s; and %d more that will not do", reasons[0], n)
	}
	return reasons[0]
}

const nothing = "no result lies at the job's output yet"

// unfit says why a result will not do, as far as its manifest tells.
func (k *look) unfit(f *found) string {
	switch problems, damaged := verify.IsDamage(f.err); {
	case f.err == nil:
	case damaged && len(problems) > 0:
		return "it is damaged: " + problems[0]
	case storage.KindOf(f.err) == storage.NotFound && f.own:
		return nothing
	case storage.KindOf(f.err) == storage.NotFound:
		return "it is there no more"
	default:
		return "it cannot be read: " + f.err.Error()
	}
	m := f.result.Manifest
	// The operator offers results of other namespaces where its policy allows them.
	// What merely lies at a place is no offer.
	if f.own && !k.mine(f.result) && m.Job.Namespace != k.job.Namespace {
		return "it is of a job in another namespace"
	}
	return k.want.fits(m)
}

// mine says whether the pointer by which a result was found is the job's own, or
// that of a job of its name that was deleted before.
func (k *look) mine(r *verify.Found) bool { return r.Pointer != nil && k.job.Continues(r.Pointer.Job) }

// take makes a result the job's own: it checks every file, copies them below the
// job's output where they are another's, and sets the root's pointer. A neighbour's
// stays as and where it is: its pointer leads to what the job asks for. It gives the
// attempt's folder, or says why the result will not do after all.
func (k *look) take(ctx context.Context, f *found) (id, why string, err error) {
	switch folder, below := k.below(f); {
	case k.inPlaceOnly():
		return f.result.Pointer.AttemptID, k.check(ctx, f.store, f.result), nil
	case f.own && k.mine(f.result):
		id, why = f.result.Pointer.AttemptID, k.check(ctx, f.store, f.result)
	case below && k.job.Continues(f.result.Manifest.Job):
		id, why = folder, k.check(ctx, f.store, f.result)
	default:
		id = k.cfg.AttemptID
		why, err = k.copy(ctx, f)
	}
	if why != "" || err != nil {
		return "", why, err
	}
	if k.mine(f.result) && f.own && f.result.Pointer.Job.UID == k.job.UID {
		return id, "", nil // it leads there already
	}
	err = retry(ctx, func(ctx context.Context) error {
		return verify.SetPointer(ctx, k.sink, k.pointer(id, f.result.SHA256), k.cfg.Overwrite, k.log)
	})
	return id, "", k.unusable(err)
}

// below gives the name of an attempt's folder that lies below the job's own output.
func (k *look) below(f *found) (string, bool) {
	id, ok := strings.CutPrefix(strings.TrimRight(f.uri, "/"), storage.Join(k.cfg.URI, result.AttemptsDir)+"/")
	return id, ok && result.ValidAttemptID(id) && f.result.Folder == ""
}

// check reads every file of a result; it says what is wrong.
func (k *look) check(ctx context.Context, store storage.Sink, r *verify.Found) string {
	rep, err := verify.Check(ctx, store, r, options)
	switch {
	case err != nil:
		return "it cannot be read: " + err.Error()
	case len(rep.Problems) > 0:
		return "it is damaged: " + rep.Problems[0]
	}
	return ""
}

// reused tells of a result that is the job's now.
func (k *look) reused(f *found, id string) *report.ReusedResult {
	m := f.result.Manifest
	to := storage.Join(k.cfg.URI, result.AttemptsDir, id)
	out := &report.ReusedResult{
		Result: report.DeliveryReport{URI: to, ManifestSHA256: f.result.SHA256, People: m.People, Frames: m.Frames, Quality: m.Quality.Report()},
		Video:  m.Video, From: m.Job, URI: f.folder(),
		Engine: clean.Line(m.Provenance.Engine, 63), Variant: clean.Line(m.Provenance.Variant, 63), Device: clean.Line(m.Provenance.Device, 16),
		Image: clean.Line(m.Provenance.Image, 512), CompletedAt: m.CompletedAt.UTC().Format(time.RFC3339),
	}
	for _, r := range m.Files {
		out.Result.Files = append(out.Result.Files, report.DeliveredFile{Name: r.Name, Path: r.Path, Size: r.Size, SHA256: r.SHA256})
	}
	return out
}
