// Package verify is the role that checks a result against its manifest, or all of a
// batch against its index.
package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

const (
	// maxProblems bounds what is reported; the log has them all.
	maxProblems = 8
	// maxLine bounds a line of the log, in bytes.
	maxLine = 1024
	// pace of the lines that say how far the check is.
	pace = 5 * time.Second
)

// Run checks the result that the configuration names. A result that is not whole is
// a report with problems and an error of reason OutputInvalid.
func Run(ctx context.Context, cfg report.VerifyConfig, l layout.Layout, log io.Writer) (*report.VerifyReport, error) {
	if cfg.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(cfg.TimeoutSeconds)*time.Second)
		defer cancel()
	}
	sink, err := storage.OpenSink(cfg.URI, storage.Options{Store: cfg.Store, CredentialsDir: l.CredentialsDir, PVCMount: cfg.PVCMount})
	if err != nil {
		return nil, outcome.Failf(report.ReasonInputUnavailable, "the result cannot be looked at: %w", err)
	}
	defer func() { _ = sink.Close() }()
	if cfg.Batch {
		return batch(ctx, cfg, sink, log)
	}
	last := time.Now()
	rep, found, err := verify.Whole(ctx, sink, cfg.ManifestSHA256, verify.Options{Progress: func(done, total int64) {
		if now := time.Now(); now.Sub(last) >= pace {
			last = now
			fmt.Fprintf(log, "stage=Verify read=%s of=%s\n", progress.Bytes(done), progress.Bytes(total))
		}
	}})
	if err != nil {
		return nil, outcome.Failf(report.ReasonInputUnavailable, "the result cannot be looked at: %w", err).MayPass(storage.Temporary(err))
	}
	if found != nil {
		if b, err := json.Marshal(verify.Describe(found.Manifest)); err == nil {
			fmt.Fprintf(log, "%s%s\n", verify.MadePrefix, b)
		}
	}
	n := len(rep.Problems)
	if n == 0 {
		fmt.Fprintf(log, "pose-runner: %s is whole: %d files, %d bytes, manifest %s\n", rep.URI, rep.Files, rep.Bytes, rep.ManifestSHA256)
		return rep, nil
	}
	for _, p := range rep.Problems {
		sayDamage(log, p)
	}
	return rep, damaged(rep, n)
}

func sayDamage(log io.Writer, problem string) {
	fmt.Fprintf(log, "pose-runner: damaged: %s\n", clean.Line(problem, maxLine))
}

// damaged is the error of a result with n problems, of which the report keeps a few.
func damaged(rep *report.VerifyReport, n int) error {
	first := rep.Problems[0]
	if n > maxProblems {
		rep.Problems = append(rep.Problems[:maxProblems-1:maxProblems-1], fmt.Sprintf("and %d more", n-maxProblems+1))
	}
	return outcome.Failf(report.ReasonOutputInvalid, "%s is not whole, %d problems: %s", rep.URI, n, first)
}

// batch checks the index of a batch and all results that it names.
func batch(ctx context.Context, cfg report.VerifyConfig, sink storage.Sink, log io.Writer) (*report.VerifyReport, error) {
	last, problems := time.Now(), 0
	rep, head, err := verify.Batch(ctx, sink, cfg.ManifestSHA256, verify.BatchOptions{
		Problem: func(p string) {
			problems++
			sayDamage(log, p)
		},
		Progress: func(p verify.BatchProgress) {
			if now := time.Now(); now.Sub(last) >= pace {
				last = now
				fmt.Fprintf(log, "stage=Verify clips=%d of=%d read=%s\n", p.Results, p.Total, progress.Bytes(p.Bytes))
			}
		},
	})
	if head != nil {
		if b, err := json.Marshal(head); err == nil {
			fmt.Fprintf(log, "%s%s\n", verify.BatchPrefix, b)
		}
	}
	switch {
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		err = outcome.Failf(report.ReasonInputUnavailable, "not all of the batch was looked at within %d s; last: %w", cfg.TimeoutSeconds, err)
	case err != nil:
		err = outcome.Failf(report.ReasonInputUnavailable, "the batch cannot be looked at: %w", err).MayPass(storage.Temporary(err))
	case problems > 0:
		err = damaged(rep, problems)
	default:
		fmt.Fprintf(log, "pose-runner: %s is whole: %d results, %d files, %d bytes, index %s\n", rep.URI, rep.Results, rep.Files, rep.Bytes, rep.ManifestSHA256)
	}
	return rep, err
}
