// Package deliver is the trusted role that decides whether an attempt has a
// result: it watches the engine, checks what it wrote, uploads it and says so.
package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
	"github.com/pose-dev/pose-operator/internal/version"
)

// diagnosticsTime bounds the upload of a failed engine's log: the next attempt
// waits for this pod's end.
const diagnosticsTime = 30 * time.Second

// maxDiagnostics bounds that log, in bytes.
const maxDiagnostics = 4 << 20

// Role is one run of the role.
type Role struct {
	Config report.DeliverConfig
	Job    report.JobRef
	Layout layout.Layout
	Push   func(report.Progress)
	Log    io.Writer

	// readable says that the place let itself be looked at before the engine ran.
	readable bool
}

// Run follows the engine to its end and delivers its result. The termination
// has Result Skipped when there is nothing to judge.
func (r *Role) Run(ctx context.Context) (*report.Termination, error) {
	t := &report.Termination{}
	if !result.ValidAttemptID(r.Config.AttemptID) {
		return t, outcome.Failf(report.ReasonConfig, "attempt id %q cannot be a folder's name", r.Config.AttemptID)
	}
	m, err := r.manifest()
	if err != nil {
		return t, err
	}
	// Before the engine has cost anything: a place that refuses now refuses later.
	if err := r.refused(ctx, m); err != nil {
		return t, err
	}
	if !r.Config.EngineEnded {
		engine, why, err := r.await(ctx, m.Video)
		if why != "" || err != nil {
			if err == nil {
				t.Result, t.Message = report.ResultSkipped, why
			}
			return t, err
		}
		m.Run = seen(engine)
		fmt.Fprintln(r.Log, "pose-runner: the engine ended with exit code 0, checking its outputs")
	}
	m.EngineEndedAt = stamp(time.Now())
	t.Deliver, err = r.result(ctx, m)
	if err != nil && ctx.Err() == nil && !r.Config.EngineEnded {
		r.diagnostics(ctx)
	}
	return t, err
}

// manifest begins what is said of the result: all that is known before the engine
// has ended.
func (r *Role) manifest() (result.Manifest, error) {
	facts, err := readFacts(r.Layout.FactsFile)
	return result.Manifest{
		APIVersion: result.APIVersion, Kind: result.KindManifest, Version: result.ManifestVersion, Job: r.Job, AttemptID: r.Config.AttemptID,
		Video: facts, Provenance: r.Config.Provenance, RunnerVersion: version.Version, StartedAt: stamp(time.Now()),
		FetchedAt: modified(r.Layout.SourceFacts), PreparedAt: modified(r.Layout.FactsFile),
	}, err
}

// checkTime bounds the first look at the place of the results.
const checkTime = 30 * time.Second

// refused says why nothing can ever be uploaded: no such bucket, no right to it, or
// a folder of somebody else's. A place that does not answer may do so later.
func (r *Role) refused(ctx context.Context, m result.Manifest) error {
	u, err := r.uploader(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = u.sink.Close() }()
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	if err = u.sink.Check(ctx); err == nil {
		err = verify.MayPoint(ctx, u.sink, u.pointer(m, ""), r.Config.Overwrite)
	}
	r.readable = err == nil
	if err == nil {
		if raw, _, gerr := u.sink.Get(ctx, u.manifestKey(), result.MaxManifestBytes); gerr == nil {
			err = u.refusal(decideFolder(raw, m, r.Config.Overwrite))
		}
	}
	if err == nil || ctx.Err() != nil || storage.Temporary(err) {
		return nil
	}
	return u.failure(ctx, err)
}

// await follows the engine to its end. It says why there is nothing to judge, or
// nothing when the engine ended well.
func (r *Role) await(ctx context.Context, facts report.VideoFacts) (report.EngineReport, string, error) {
	pace := &progress.Pace{}
	engine, ok, err := follow(ctx, r.Layout.SocketFile, r.Layout.EngineFile, r.wait(), func(e report.EngineReport) {
		r.Push(engineProgress(e, facts.Frames, pace, time.Now()))
	})
	if err != nil && !errors.Is(err, errNoEngine) {
		return engine, "", err
	}
	if err == nil && ok && !engine.Preflight && engine.ExitCode != nil && *engine.ExitCode == 0 {
		return engine, "", nil
	}
	why := ending(engine, ok)
	if err != nil {
		why = err.Error()
	}
	fmt.Fprintf(r.Log, "pose-runner: %s, nothing to deliver\n", why)
	r.diagnostics(ctx)
	return engine, why, nil
}

func (r *Role) wait() time.Duration {
	if r.Config.EngineWaitSeconds > 0 {
		return time.Duration(r.Config.EngineWaitSeconds) * time.Second
	}
	return defaultWait
}

// engineProgress turns what exec saw into what is shown.
func engineProgress(e report.EngineReport, frames int64, pace *progress.Pace, now time.Time) report.Progress {
	p := report.Progress{Stage: e.Stage, Frames: e.Frames, Total: e.Total}
	if p.Stage == "" {
		p.Stage = report.StageStart
	}
	if p.Total == 0 {
		p.Total = frames
	}
	speed := pace.Add(now, e.Frames)
	p.MilliFPS, p.BestMilliFPS, p.TrackedSeconds = speed.Now, speed.Best, int64(speed.Tracked.Seconds())
	return p
}

// result judges and uploads.
func (r *Role) result(ctx context.Context, m result.Manifest) (*report.DeliveryReport, error) {
	r.Push(report.Progress{Stage: report.StageDeliver})
	j, err := judge(ctx, r.Config, r.Layout.OutputDir, m.Video)
	if err != nil {
		return nil, err
	}
	defer j.close()
	if err := j.addTimes(ctx, r.Layout.FrameTimes(), m.Video.Frames); err != nil {
		fmt.Fprintf(r.Log, "pose-runner: the times of the frames are left out: %s\n", clean.Line(err.Error(), 300))
	}
	if !j.proven {
		return nil, outcome.Failf(report.ReasonOutputInvalid, "no output proves that all %d frames were covered: an engine needs a required output of format %s", m.Video.Frames, report.FormatPoseJSON)
	}
	if r.Config.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(r.Config.TimeoutSeconds)*time.Second)
		defer cancel()
	}
	u, err := r.uploader(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = u.sink.Close() }()
	m.People, m.Frames, m.Quality, m.Engine = j.summary.People, j.summary.Frames, j.summary.Quality, &j.summary.Engine
	rep, err := u.deliver(ctx, j, m)
	if err == nil {
		fmt.Fprintf(r.Log, "pose-runner: delivered %d files to %s: %d frames, %d people\n", len(rep.Files), rep.URI, rep.Frames, rep.People)
	}
	return rep, err
}

func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// modified is when a role left its facts in a file, which it does at its end; nil
// where there is none.
func modified(path string) *time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return new(stamp(info.ModTime()))
}

// Bounds of what goes into the manifest of an engine's own words.
const (
	maxSeenText   = 128 // bytes
	maxSeenStages = 64
)

// seen is what exec saw of the engine, cut to what a manifest may hold.
func seen(e report.EngineReport) *result.EngineRun {
	run := &result.EngineRun{
		DeviceUsed: clean.Line(e.DeviceUsed, maxSeenText), GPU: clean.Line(e.GPU, maxSeenText), Driver: clean.Line(e.Driver, maxSeenText),
		PeakMemoryBytes: e.PeakMemoryBytes, StageSeconds: map[string]float64{}, Versions: map[string]string{},
	}
	for _, k := range slices.Sorted(maps.Keys(e.StageSeconds)) {
		if len(run.StageSeconds) < maxSeenStages {
			run.StageSeconds[clean.Line(k, maxSeenText)] = e.StageSeconds[k]
		}
	}
	for _, k := range slices.Sorted(maps.Keys(e.Versions)) {
		if len(run.Versions) < report.MaxVersions {
			run.Versions[clean.Line(k, maxSeenText)] = clean.Line(e.Versions[k], maxSeenText)
		}
	}
	return run
}

func (r *Role) uploader(ctx context.Context) (*uploader, error) {
	u := &uploader{cfg: r.Config, job: r.Job, log: r.Log, readable: r.readable, push: func(done, total int64) {
		r.Push(report.Progress{Stage: report.StageDeliver, Bytes: done, TotalBytes: total})
	}}
	var err error
	u.sink, err = storage.OpenSink(r.Config.URI, storage.Options{
		Store: r.Config.Store, CredentialsDir: r.Layout.CredentialsDir, PVCMount: r.Config.PVCMount,
	})
	return u, u.failure(ctx, err)
}

// diagnostics uploads the engine's log to the attempt's folder, best effort:
// the verdict does not depend on it.
func (r *Role) diagnostics(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, diagnosticsTime)
	defer cancel()
	err := func() error {
		f, err := os.Open(r.Layout.Diagnostics)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil || info.Size() == 0 || !info.Mode().IsRegular() {
			return err
		}
		u, err := r.uploader(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = u.sink.Close() }()
		if err := u.own(ctx); err != nil {
			return err
		}
		n := min(info.Size(), maxDiagnostics)
		o := storage.Object{Key: u.folder() + "/engine.log", Size: n, MediaType: "text/plain; charset=utf-8"}
		return u.retry(ctx, func(ctx context.Context) error {
			return u.sink.Put(ctx, o, io.NewSectionReader(f, info.Size()-n, n))
		})
	}()
	if err != nil {
		fmt.Fprintf(r.Log, "pose-runner: the engine's log is not uploaded: %v\n", err)
		return
	}
	fmt.Fprintln(r.Log, "pose-runner: the engine's log was uploaded as engine.log")
}
