// Package lookup is the role that looks at the places of a job before any attempt:
// whether its video is there and its results can be put where they belong, and
// whether they are there already. It writes only where it found a result: that
// result's copy, and the pointer at the output's root.
package lookup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/runner/input"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// policy is impatient: a look that fails costs the job nothing but itself.
var policy = storage.Policy{Idle: 20 * time.Second, FirstDelay: 200 * time.Millisecond, MaxDelay: 2 * time.Second, Tries: 3}

// maxWhy bounds LookupReport.Why, in bytes.
const maxWhy = 480

// look is one run of the role.
type look struct {
	cfg  report.LookupConfig
	job  report.JobRef
	lay  layout.Layout
	log  io.Writer
	sink storage.Sink
	now  time.Time
	want want
	// refused is why the job may not deliver here, where a result of a neighbour (of
	// another job of the namespace) lies at the output that may do as it is.
	refused error
}

// Run looks at the places of a job. An error of type *outcome.Failure that is not
// temporary is what no attempt could mend.
func Run(ctx context.Context, cfg report.LookupConfig, job report.JobRef, l layout.Layout, log io.Writer) (*report.LookupReport, error) {
	if cfg.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(cfg.TimeoutSeconds)*time.Second)
		defer cancel()
	}
	k := &look{
		cfg: cfg, job: job, lay: l, log: log, now: time.Now().UTC().Truncate(time.Millisecond),
		want: want{job: job, request: cfg.Request, recipes: cfg.Recipes, first: cfg.First, video: seen{uri: cfg.Video.URI, sha256: cfg.Video.SHA256}},
	}
	if !result.ValidAttemptID(cfg.AttemptID) {
		return nil, outcome.Failf(report.ReasonConfig, "attempt id %q cannot be a folder's name", cfg.AttemptID)
	}
	rep, err := k.run(ctx)
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) && (err != nil || rep.Reused == nil) {
		// Told to end: what was not found may be there.
		err = context.Cause(ctx)
	}
	return rep, err
}

func (k *look) run(ctx context.Context) (*report.LookupReport, error) {
	var err error
	k.sink, err = storage.OpenSink(k.cfg.URI, k.output())
	if err != nil {
		return &report.LookupReport{VideoBytes: -1}, k.unusable(err)
	}
	defer func() { _ = k.sink.Close() }()
	results, err := k.first(ctx)
	rep := &report.LookupReport{VideoBytes: -1}
	if v := k.want.video.info; err == nil {
		rep.VideoBytes, rep.VideoVersion = v.Size, clean.Line(v.Version, 256)
	}
	if err != nil {
		return rep, err
	}
	var why string
	rep.Reused, why, err = k.reuse(ctx, results)
	if rep.Reused == nil {
		rep.Why = clean.Line(why, maxWhy)
		fmt.Fprintf(k.log, "pose-runner: no result is reused: %s\n", rep.Why)
	} else {
		fmt.Fprintf(k.log, "pose-runner: %s is the result of this job, computed by %s/%s at %s\n", rep.Reused.Result.URI, rep.Reused.From.Namespace, rep.Reused.From.Name, rep.Reused.CompletedAt)
	}
	return rep, err
}

// first makes all looks that need nothing of each other at once: each is a request
// or two, and a hit is to be quick.
func (k *look) first(ctx context.Context) ([]found, error) {
	var (
		wait                 sync.WaitGroup
		video, boxes, output error
		results              []found
	)
	wait.Go(func() { video = k.input(ctx, input.Video, k.cfg.Video, k.lay.CredentialsDir, &k.want.video.info) })
	if b := k.cfg.Boxes; b != nil {
		k.want.boxes = &seen{uri: b.URI, sha256: b.SHA256}
		wait.Go(func() { boxes = k.input(ctx, input.Boxes, *b, k.lay.BoxesCredentials, &k.want.boxes.info) })
	}
	wait.Go(func() { output = k.place(ctx) })
	if k.comparable() {
		wait.Go(func() { results = k.find(ctx) })
	}
	wait.Wait()
	if f := (*outcome.Failure)(nil); errors.As(output, &f) && !f.Temporary && k.neighbour(results) {
		k.refused, output = output, nil
	}
	// What cannot pass comes before what may.
	for _, err := range []error{video, boxes, output} {
		var f *outcome.Failure
		if errors.As(err, &f) && !f.Temporary {
			return nil, err
		}
	}
	for _, err := range []error{video, boxes, output} {
		if err != nil {
			return nil, err
		}
	}
	return results, nil
}

// neighbour says whether another job of the namespace has its result at the output.
func (k *look) neighbour(results []found) bool {
	if len(results) == 0 || results[0].err != nil || results[0].result.Pointer == nil {
		return false
	}
	owner := results[0].result.Pointer.Job
	return owner.Namespace == k.job.Namespace && !k.job.Continues(owner)
}

// inPlaceOnly says that the job may have what lies at its output, and write nothing.
func (k *look) inPlaceOnly() bool { return k.refused != nil }

// comparable says whether the job knows what its result is made of.
func (k *look) comparable() bool { return k.cfg.Request != "" || len(k.cfg.Recipes) > 0 }

// input looks at a file that the job reads.
func (k *look) input(ctx context.Context, what input.Input, in report.LookupInput, credentials string, info *storage.Info) error {
	what.ScratchBound = in.ScratchBound
	source, err := storage.OpenSource(in.URI, storage.Options{Store: k.cfg.Store, CredentialsDir: credentials, PVCMount: in.PVCMount})
	if err != nil {
		return what.Failure(err)
	}
	defer func() { _ = source.Close() }()
	err = retry(ctx, func(ctx context.Context) (err error) {
		*info, err = source.Stat(ctx)
		return err
	})
	switch {
	case err != nil:
	case info.Size == 0:
		return what.Empty(source.String())
	case in.MaxBytes > 0 && info.Size > in.MaxBytes:
		err = fmt.Errorf("%s has %d bytes: %w of %d bytes", source, info.Size, storage.ErrTooLarge, in.MaxBytes)
	}
	return what.Failure(err)
}

// output is how the place of the results is reached.
func (k *look) output() storage.Options {
	return storage.Options{Store: k.cfg.Store, CredentialsDir: k.lay.OutputCredentials, PVCMount: k.cfg.PVCMount}
}

// place says why nothing can ever be delivered: no such bucket, no right to it, or a
// place of somebody else's.
func (k *look) place(ctx context.Context) error {
	return k.unusable(retry(ctx, func(ctx context.Context) error {
		if err := k.sink.Check(ctx); err != nil {
			return err
		}
		return verify.MayPoint(ctx, k.sink, k.pointer(k.cfg.AttemptID, ""), k.cfg.Overwrite)
	}))
}

// unusable gives an error of the place of the results the reason that deliver gives.
func (k *look) unusable(err error) error {
	var f *outcome.Failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	return outcome.Failf(report.ReasonDeliveryFailed, "the result cannot be uploaded: %w", err).MayPass(storage.Temporary(err))
}

// pointer that leads to a folder of an attempt below the job's output.
func (k *look) pointer(id, sha256 string) result.Pointer {
	return result.Pointer{
		APIVersion: result.APIVersion, Kind: result.KindPointer, Job: k.job, Attempt: k.job.Attempt, AttemptID: id,
		URI: storage.Join(k.cfg.URI, result.AttemptsDir, id), ManifestSHA256: sha256, StartedAt: &k.now,
	}
}

// retry after what may pass, a few times.
func retry(ctx context.Context, f func(context.Context) error) error {
	return storage.RetryFew(ctx, policy, nil, f)
}
