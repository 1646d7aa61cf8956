// Package fetch is the role that streams the video into the pod. It never
// decodes what it fetches.
package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// Run fetches cfg's video to the layout's source file.
func Run(ctx context.Context, cfg report.FetchConfig, l layout.Layout, push func(report.Progress), log io.Writer) (*report.FetchReport, error) {
	if cfg.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(cfg.TimeoutSeconds)*time.Second)
		defer cancel()
	}
	source, err := storage.OpenSource(cfg.URI, storage.Options{
		Store: cfg.Store, CredentialsDir: l.CredentialsDir, PVCMount: cfg.PVCMount,
	})
	if err != nil {
		return nil, failure(cfg, err)
	}
	defer func() { _ = source.Close() }()
	fmt.Fprintf(log, "pose-runner: fetching %s\n", source)
	rep, err := download(ctx, cfg, source, l.SourceFile, push, log)
	if err != nil {
		return rep, failure(cfg, err)
	}
	if err := check(cfg, source.String(), rep); err != nil {
		_ = os.Remove(l.SourceFile)
		return rep, err
	}
	if err := writeFacts(l.SourceFacts, rep); err != nil {
		return rep, failure(cfg, err)
	}
	fmt.Fprintf(log, "pose-runner: fetched %s, sha256 %s\n", progress.Bytes(rep.Bytes), rep.SHA256)
	return rep, nil
}

// download streams into a temporary file and renames it when it is whole.
func download(ctx context.Context, cfg report.FetchConfig, source storage.Source, target string, push func(report.Progress), log io.Writer) (*report.FetchReport, error) {
	temp := target + ".part"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, err
	}
	w := &sink{file: f, hash: sha256.New(), push: push}
	d := storage.Download{
		Source: source, Policy: storage.DefaultPolicy(), MaxBytes: cfg.MaxBytes,
		Begin: func(size int64) error {
			w.total = max(0, size)
			return checkSpace(filepath.Dir(target), size)
		},
		Retry: func(err error, delay time.Duration) {
			fmt.Fprintf(log, "pose-runner: %v; trying again in %s\n", err, delay.Round(100*time.Millisecond))
		},
	}
	n, err := d.Run(ctx, w)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		// prepare and the engine run as other users of the pod's group.
		err = os.Chmod(temp, 0o640)
	}
	if err == nil {
		err = os.Rename(temp, target)
	}
	if err != nil {
		_ = os.Remove(temp)
		return nil, err
	}
	return &report.FetchReport{Bytes: n, SHA256: hex.EncodeToString(w.hash.Sum(nil))}, nil
}

// sink writes, hashes and counts.
type sink struct {
	file  io.Writer
	hash  hash.Hash
	push  func(report.Progress)
	done  int64
	total int64
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	s.hash.Write(p[:n])
	s.done += int64(n)
	if s.push != nil {
		s.push(report.Progress{Stage: report.StageFetch, Bytes: s.done, TotalBytes: s.total})
	}
	return n, err
}

// checkSpace fails early when the volume cannot hold the video.
func checkSpace(dir string, size int64) error {
	var st unix.Statfs_t
	if size <= 0 {
		return nil
	}
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at the scratch volume %s: %w", dir, err)
	}
	free := int64(st.Bavail) * st.Bsize //nolint:gosec // block counts fit
	if size > free {
		return outcome.Failf(report.ReasonScratchExceeded, "the video has %s and the scratch volume %s left: give the job a scratchSize of at least %s", progress.Bytes(size), progress.Bytes(free), progress.Bytes(2*size))
	}
	return nil
}

// check judges what was fetched.
func check(cfg report.FetchConfig, place string, rep *report.FetchReport) error {
	if rep.Bytes == 0 {
		return outcome.Failf(report.ReasonInputInvalid, "%s is empty: upload the video again", place)
	}
	if cfg.SHA256 != "" && !strings.EqualFold(cfg.SHA256, rep.SHA256) {
		return outcome.Failf(report.ReasonInputInvalid, "%s has sha256 %s, the job asks for %s: it is another file, or damaged", place, rep.SHA256, strings.ToLower(cfg.SHA256))
	}
	return nil
}

// failure gives an error of the transfer its reason.
func failure(cfg report.FetchConfig, err error) error {
	var f *outcome.Failure
	var se *storage.Error
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(err, storage.ErrTooLarge) && cfg.ScratchBound:
		return outcome.Failf(report.ReasonScratchExceeded, "%w that spec.scratchSize allows: raise it, or cut the video", err)
	case errors.Is(err, storage.ErrTooLarge):
		return outcome.Failf(report.ReasonInputInvalid, "%w that the operator accepts: cut or scale the video, or ask the platform admin", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return outcome.Failf(report.ReasonScratchExceeded, "the scratch volume is full: give the job a larger scratchSize (%w)", err)
	case errors.As(err, &se):
		return outcome.Failf(report.ReasonInputUnavailable, "%w", err).MayPass(se.Temporary)
	}
	return err
}

// writeFacts leaves the report for prepare, which has no other way to know it.
func writeFacts(path string, rep *report.FetchReport) error {
	b, err := json.Marshal(rep)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, b, 0o640); err != nil {
		return err
	}
	return os.Chmod(path, 0o640)
}
