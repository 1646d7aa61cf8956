// Package runner runs the role that a container has, and writes its termination
// message.
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/adapter"
	copyrole "github.com/pose-dev/pose-operator/internal/runner/copy"
	"github.com/pose-dev/pose-operator/internal/runner/deliver"
	"github.com/pose-dev/pose-operator/internal/runner/exec"
	"github.com/pose-dev/pose-operator/internal/runner/fetch"
	"github.com/pose-dev/pose-operator/internal/runner/index"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/list"
	"github.com/pose-dev/pose-operator/internal/runner/lookup"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/prepare"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
	"github.com/pose-dev/pose-operator/internal/runner/purge"
	"github.com/pose-dev/pose-operator/internal/runner/send"
	"github.com/pose-dev/pose-operator/internal/runner/verify"
)

// ErrTerminated is the cause of a context that SIGTERM cancelled.
var ErrTerminated = errors.New("the pod was told to end (SIGTERM)")

// terminatedCode is the exit code of a role that SIGTERM stopped.
const terminatedCode = 128 + 15

// Main runs the role of the raw configuration and gives the exit code.
func Main(ctx context.Context, raw string, l layout.Layout, stdout io.Writer) int {
	term := outcome.NewWriter(l.Termination)
	cfg, err := report.ParseConfig(raw)
	if err != nil {
		t := &report.Termination{Role: roleOf(cfg), Result: report.ResultFailed}
		outcome.Apply(t, outcome.Failf(report.ReasonConfig, "%w", err))
		return finish(t, err, 1, term, stdout)
	}
	started := time.Now()
	_ = term.Update(&report.Termination{Role: cfg.Role, Result: report.ResultRunning})
	role := run
	if cfg.Queue != nil {
		role = runQueue
	}
	t, code, err := role(ctx, cfg, l, stdout, term)
	t.Role = cfg.Role
	t.Seconds = float64(time.Since(started).Round(10*time.Millisecond)) / float64(time.Second)
	outcome.Apply(t, err)
	return finish(t, err, code, term, stdout)
}

// roleOf names the role of a configuration that could not be read.
func roleOf(cfg *report.Config) report.Role {
	if cfg == nil || cfg.Role == "" {
		return "unknown"
	}
	return cfg.Role
}

// run does the role's work. code is used as it is for exec, whose exit code is
// the engine's.
func run(ctx context.Context, cfg *report.Config, l layout.Layout, stdout io.Writer, term *outcome.Writer) (t *report.Termination, code int, err error) {
	t = &report.Termination{}
	switch cfg.Role {
	case report.RoleCopy:
		err = copyrole.Run(l.RunnerBinary)
	case report.RoleAdapter:
		err = adapter.Run(ctx, l.AdapterSource, l.AdapterDir, stdout)
	case report.RoleFetch:
		p := progress.Start(cfg.Progress, l.ProgressToken, cfg.Role, stdout)
		t.Fetch, err = fetch.Run(ctx, *cfg.Fetch, l, p.Update, stdout)
		p.Close()
	case report.RolePrepare:
		t.Video, err = prepare.Run(ctx, *cfg.Prepare, l, stdout)
	case report.RoleExec:
		var res exec.Result
		res, err = exec.Run(ctx, *cfg.Exec, l, stdout, term)
		return engineEnd(ctx, t, res, err)
	case report.RoleDeliver:
		p := progress.Start(cfg.Progress, l.ProgressToken, cfg.Role, stdout)
		role := deliver.Role{Config: *cfg.Deliver, Job: cfg.Job, Layout: l, Push: p.Update, Log: stdout}
		t, err = role.Run(ctx)
		p.Close()
	case report.RoleLookup:
		t.Lookup, err = lookup.Run(ctx, *cfg.Lookup, cfg.Job, l, stdout)
	case report.RolePurge:
		t.Purge, err = purge.Run(ctx, *cfg.Purge, cfg.Job, l, stdout)
	case report.RoleVerify:
		t.Verify, err = verify.Run(ctx, *cfg.Verify, l, stdout)
	case report.RoleList:
		t.List, err = list.Run(ctx, *cfg.List, l, stdout)
	case report.RoleIndex:
		t.Index, err = index.Run(ctx, *cfg.Index, cfg.Job, l, stdout)
	case report.RoleSend:
		err = send.Hold(ctx, *cfg.Send)
	}
	code, err = codeOf(ctx, cfg.Role, err)
	return t, code, err
}

// codeOf gives the exit code of a role that is not exec.
func codeOf(ctx context.Context, role report.Role, err error) (int, error) {
	switch {
	case err == nil:
		return 0, nil
	case errors.Is(err, ErrTerminated), ctx.Err() != nil:
		return terminatedCode, fmt.Errorf("%s did not finish: %w", role, err)
	}
	return 1, err
}

// engineEnd makes exec's result of the engine's. A failed engine has no reason
// here: the controller gives it one, from the evidence.
func engineEnd(ctx context.Context, t *report.Termination, res exec.Result, err error) (*report.Termination, int, error) {
	t.Engine = &res.Report
	if err != nil {
		return t, max(1, res.ExitCode), err
	}
	what := "the engine"
	if res.Report.Preflight {
		what = "the engine's preflight, counted as stage " + res.Report.Stage + ","
	}
	switch {
	case res.ExitCode == 0:
		return t, 0, nil
	case ctx.Err() != nil:
		return t, res.ExitCode, fmt.Errorf("%s was ended: %w", what, context.Cause(ctx))
	case res.Report.Signal != "":
		return t, res.ExitCode, fmt.Errorf("%s was ended by %s", what, res.Report.Signal)
	}
	return t, res.ExitCode, fmt.Errorf("%s ended with exit code %d", what, res.ExitCode)
}

func finish(t *report.Termination, err error, code int, term *outcome.Writer, stdout io.Writer) int {
	if err != nil {
		fmt.Fprintf(stdout, "pose-runner: %s\n", outcome.Text(err))
	}
	if werr := term.Final(t); werr != nil {
		fmt.Fprintf(stdout, "pose-runner: %v\n", werr)
	}
	return code
}
