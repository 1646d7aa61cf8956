// Package list is the role that finds the videos of a batch: it lists a folder or
// reads a file that lists them, and pushes what it found to the manager.
package list

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/input"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// videos words what is wrong with the place.
var videos = input.Input{What: "the list of videos", Prefix: "spec.videos: ", Remedy: "make it shorter, or more batches of it"}

// Run finds the videos and pushes them.
func Run(ctx context.Context, cfg report.ListConfig, l layout.Layout, log io.Writer) (*report.ListReport, error) {
	if cfg.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(cfg.TimeoutSeconds)*time.Second)
		defer cancel()
	}
	r := &role{cfg: cfg, log: log, most: int(min(max(1, cfg.MaxVideos), clips.MaxClips))}
	var err error
	if r.filter, err = clips.NewFilter(cfg.Include, cfg.Exclude, cfg.Prefix != ""); err != nil {
		return nil, outcome.Failf(report.ReasonInputInvalid, "spec.videos: %w", err)
	}
	r.place = storage.Options{Store: cfg.Store, CredentialsDir: l.CredentialsDir, PVCMount: cfg.PVCMount}
	if cfg.Prefix != "" {
		err = r.folder(ctx)
	} else {
		err = r.file(ctx)
	}
	if err != nil {
		return &r.report, r.failure(ctx, err)
	}
	found, left := clips.Name(r.found)
	r.found = nil
	r.report.Skipped += int32(left) //nolint:gosec // at most most
	r.say("%d videos among %d entries; %d entries cannot be named by a URI", len(found), r.report.Seen, r.report.Skipped)
	p := &pusher{poster: progress.NewPoster(cfg.Push, l.ProgressToken), log: log}
	for _, chunk := range clips.Chunks(found) {
		if err := p.push(ctx, report.ClipsPage{Version: report.Version, Page: r.report.Pages, Clips: chunk}); err != nil {
			return &r.report, err
		}
		r.report.Pages++
		r.report.Clips += int32(len(chunk)) //nolint:gosec // at most a chunk's
	}
	return &r.report, nil
}

type role struct {
	cfg    report.ListConfig
	log    io.Writer
	most   int
	filter *clips.Filter
	place  storage.Options
	found  []clips.Found
	report report.ListReport
	said   time.Time
}

func (r *role) say(format string, args ...any) {
	fmt.Fprintf(r.log, "pose-runner: "+format+"\n", args...)
}

// folder lists a prefix, once more from its beginning after a temporary error.
func (r *role) folder(ctx context.Context) error {
	sink, err := storage.OpenSink(r.cfg.Prefix, r.place)
	if err != nil {
		return err
	}
	defer func() { _ = sink.Close() }()
	if err := r.retry(ctx, sink.Check); err != nil {
		return err
	}
	own := ""
	if r.cfg.Output != "" {
		own = strings.TrimRight(r.cfg.Output, "/") + "/"
	}
	return r.retry(ctx, func(ctx context.Context) error {
		r.found, r.report = nil, report.ListReport{}
		return sink.List(ctx, "", func(e storage.Entry) error {
			r.report.Seen++
			r.tell()
			if strings.HasSuffix(e.Key, "/") || !r.filter.Keeps(e.Key) {
				return nil
			}
			f, ok := clips.At(r.cfg.Prefix, e.Key, e.Size)
			if own != "" && strings.HasPrefix(f.URI, own) {
				return nil
			}
			if !ok {
				r.report.Skipped++
				return nil
			}
			return r.add(f)
		})
	})
}

// tell how far a long listing is.
func (r *role) tell() {
	if r.report.Seen%1000 != 0 || time.Since(r.said) < 10*time.Second {
		return
	}
	r.said = time.Now()
	r.say("%d entries seen, %d videos found", r.report.Seen, len(r.found))
}

func (r *role) add(f clips.Found) error {
	if len(r.found) >= r.most {
		return outcome.Failf(report.ReasonInputInvalid, "spec.videos names more than %d videos, which is its maxVideos: make several batches of them, or narrow it by include and exclude", r.most)
	}
	r.found = append(r.found, f)
	return nil
}

// file reads a list.
func (r *role) file(ctx context.Context) error {
	source, err := storage.OpenSource(r.cfg.List, r.place)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	var raw []byte
	err = r.retry(ctx, func(ctx context.Context) error {
		body, _, err := source.Open(ctx, 0, -1, "")
		if err != nil {
			return err
		}
		defer body.Close()
		raw, err = io.ReadAll(io.LimitReader(storage.ContextReader(ctx, body), clips.MaxListBytes+1))
		return err
	})
	if err != nil {
		return err
	}
	found, err := clips.ParseList(raw, strings.HasSuffix(strings.ToLower(r.cfg.List), ".csv"))
	if err != nil {
		return outcome.Failf(report.ReasonInputInvalid, "spec.videos.list: %s: %w", r.cfg.List, err)
	}
	for _, f := range found {
		r.report.Seen++
		if !r.filter.Keeps(f.Path) {
			continue
		}
		if err := r.add(f); err != nil {
			return err
		}
	}
	return nil
}

func (r *role) retry(ctx context.Context, f func(context.Context) error) error {
	return storage.Retry(ctx, storage.DefaultPolicy(), func(err error, delay time.Duration) {
		r.say("%v; trying again in %s", err, delay.Round(100*time.Millisecond))
	}, f)
}

// failure gives an error of the place its reason.
func (r *role) failure(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return outcome.Failf(report.ReasonInputUnavailable, "spec.videos: the list was not made within %d s (%d entries were seen); last: %w", r.cfg.TimeoutSeconds, r.report.Seen, err).MayPass(true)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return videos.Failure(err)
}
