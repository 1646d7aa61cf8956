// Package fetch is the role that streams the video, and the boxes that a job
// brings, into the pod. It never decodes what it fetches.
package fetch

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/input"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
	"github.com/pose-dev/pose-operator/internal/runner/queue"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// item is one file to fetch.
type item struct {
	input.Input
	uri     string
	sha256  string
	most    int64 // bytes
	target  string
	options storage.Options
	push    func(report.Progress)
	log     io.Writer
}

// Run fetches cfg's video to the layout's source file, and its boxes beside it.
// The boxes come first: they are small, and what is wrong with their place is
// known before hours of transfer.
func Run(ctx context.Context, cfg report.FetchConfig, l layout.Layout, push func(report.Progress), log io.Writer) (*report.FetchReport, error) {
	if cfg.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(cfg.TimeoutSeconds)*time.Second)
		defer cancel()
	}
	rep := &report.FetchReport{}
	if cfg.Boxes != nil {
		facts, err := boxesOf(cfg, l, log).fetch(ctx)
		if err != nil {
			return nil, err
		}
		rep.Boxes = &facts
	}
	video := videoOf(cfg, l, log)
	video.push = push
	facts, err := video.fetch(ctx)
	rep.Bytes, rep.SHA256, rep.Version = facts.Bytes, facts.SHA256, facts.Version
	if err == nil {
		err = video.Failure(queue.Write(l.SourceFacts, rep, 0o640))
	}
	if err != nil {
		_ = os.Remove(l.SourceFile)
		_ = os.Remove(l.BoxesSource)
		return nil, err
	}
	return rep, nil
}

func videoOf(cfg report.FetchConfig, l layout.Layout, log io.Writer) item {
	in := input.Video
	in.ScratchBound = cfg.ScratchBound
	return item{
		Input: in, uri: cfg.URI, sha256: cfg.SHA256, most: cfg.MaxBytes, target: l.SourceFile, log: log,
		options: storage.Options{Store: cfg.Store, CredentialsDir: l.CredentialsDir, PVCMount: cfg.PVCMount},
	}
}

func boxesOf(cfg report.FetchConfig, l layout.Layout, log io.Writer) item {
	return item{
		Input: input.Boxes, uri: cfg.Boxes.URI, sha256: cfg.Boxes.SHA256, most: cfg.Boxes.MaxBytes, target: l.BoxesSource, log: log,
		options: storage.Options{Store: cfg.Store, CredentialsDir: l.BoxesCredentials, PVCMount: cfg.Boxes.PVCMount},
	}
}

// fetch one file; a target that is there is whole and what was asked for.
func (i item) fetch(ctx context.Context) (report.FileFacts, error) {
	source, err := storage.OpenSource(i.uri, i.options)
	if err != nil {
		return report.FileFacts{}, i.Failure(err)
	}
	defer func() { _ = source.Close() }()
	fmt.Fprintf(i.log, "pose-runner: fetching %s from %s\n", i.What, source)
	facts, err := i.download(ctx, source)
	if err != nil {
		return facts, i.Failure(err)
	}
	if err := i.check(source.String(), facts); err != nil {
		_ = os.Remove(i.target)
		return facts, err
	}
	fmt.Fprintf(i.log, "pose-runner: fetched %s, sha256 %s\n", progress.Bytes(facts.Bytes), facts.SHA256)
	return facts, nil
}

// download streams into a temporary file and renames it when it is whole.
func (i item) download(ctx context.Context, source storage.Source) (report.FileFacts, error) {
	temp := i.target + ".part"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return report.FileFacts{}, err
	}
	w := newSink(f, i.push)
	d := storage.Download{
		Source: source, Policy: storage.DefaultPolicy(), MaxBytes: i.most,
		Begin: func(size int64) error {
			w.total = max(0, size)
			return i.checkSpace(size)
		},
		Retry: func(err error, delay time.Duration) {
			fmt.Fprintf(i.log, "pose-runner: %v; trying again in %s\n", err, delay.Round(100*time.Millisecond))
		},
	}
	info, err := d.Run(ctx, w)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		// prepare and the engine run as other users of the pod's group.
		err = os.Chmod(temp, 0o640)
	}
	if err == nil {
		err = os.Rename(temp, i.target)
	}
	if err != nil {
		_ = os.Remove(temp)
		return report.FileFacts{}, err
	}
	return report.FileFacts{Bytes: info.Size, SHA256: w.sum(), Version: info.Version}, nil
}

// checkSpace fails early when the volume cannot hold the file.
func (i item) checkSpace(size int64) error {
	var st unix.Statfs_t
	if size <= 0 {
		return nil
	}
	dir := filepath.Dir(i.target)
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at the scratch volume %s: %w", dir, err)
	}
	free := int64(st.Bavail) * st.Bsize //nolint:gosec // block counts fit
	if size > free {
		return outcome.Failf(report.ReasonScratchExceeded, "%s has %s and the scratch volume %s left: give the job a scratchSize of at least %s", i.What, progress.Bytes(size), progress.Bytes(free), progress.Bytes(2*size))
	}
	return nil
}

// check judges what was fetched.
func (i item) check(place string, facts report.FileFacts) error {
	if facts.Bytes == 0 {
		return i.Empty(place)
	}
	if i.sha256 != "" && !strings.EqualFold(i.sha256, facts.SHA256) {
		return outcome.Failf(report.ReasonInputInvalid, "%s%s has sha256 %s, the job asks for %s: it is another file, or damaged", i.Prefix, place, facts.SHA256, strings.ToLower(i.sha256))
	}
	return nil
}
