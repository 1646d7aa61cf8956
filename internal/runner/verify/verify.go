// Package verify is the role that checks a result against its manifest.
package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

const (
	// maxProblems bounds what is reported; the log has them all.
	maxProblems = 8
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
		fmt.Fprintf(log, "pose-runner: damaged: %s\n", p)
	}
	first := rep.Problems[0]
	if n > maxProblems {
		rep.Problems = append(rep.Problems[:maxProblems-1:maxProblems-1], fmt.Sprintf("and %d more", n-maxProblems+1))
	}
	return rep, outcome.Failf(report.ReasonOutputInvalid, "%s is not whole, %d problems: %s", rep.URI, n, first)
}
