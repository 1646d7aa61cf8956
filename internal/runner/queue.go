package runner

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/deliver"
	"github.com/pose-dev/pose-operator/internal/runner/exec"
	"github.com/pose-dev/pose-operator/internal/runner/fetch"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/lookup"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/prepare"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
	"github.com/pose-dev/pose-operator/internal/runner/queue"
)

// runQueue does a role's work in a pod of many clips.
func runQueue(ctx context.Context, cfg *report.Config, l layout.Layout, stdout io.Writer, term *outcome.Writer) (*report.Termination, int, error) {
	q, err := queue.New(*cfg.Queue, l)
	if cfg.Role != report.RoleExec { // whose end is that of its socket: it cannot write there
		err = errors.Join(q.Hold(cfg.Role), err)
	}
	if err != nil {
		return &report.Termination{}, 1, err
	}
	if cfg.Role == report.RoleDeliver {
		return deliverQueue(ctx, cfg, q, l, stdout, term)
	}
	pod := ctx
	ctx, stop := q.While(ctx, report.RoleDeliver)
	defer stop()
	t := &report.Termination{}
	switch cfg.Role {
	case report.RoleExec:
		t.InQueue = true
		res, err := exec.RunQueue(ctx, *cfg.Exec, q, l, stdout, term)
		return engineEnd(ctx, t, res, err)
	case report.RoleLookup:
		t.Message, err = lookup.RunQueue(ctx, *cfg.Lookup, cfg.Job, q, l, stdout)
	case report.RoleFetch:
		p := progress.Start(cfg.Progress, l.ProgressToken, cfg.Role, stdout)
		t.Message, err = fetch.RunQueue(ctx, *cfg.Fetch, q, p.Update, stdout)
		p.Close()
	case report.RolePrepare:
		t.Message, err = prepare.RunQueue(ctx, *cfg.Prepare, q, stdout)
	default:
		return t, 1, outcome.Failf(report.ReasonConfig, "the role %s knows no queue", cfg.Role)
	}
	var gone *queue.GoneError
	if pod.Err() == nil && errors.As(err, &gone) {
		// Nothing went wrong here: there is nothing more to do.
		t.Result, t.Message = report.ResultSkipped, fmt.Sprintf("%s; no more, as %v", t.Message, err)
		err = nil
	}
	if t.Message != "" {
		fmt.Fprintf(stdout, "pose-runner: %s\n", t.Message)
	}
	code, err := codeOf(pod, cfg.Role, err)
	return t, code, err
}

// deliverQueue leaves word of every verdict: a pod that is killed has said what was
// proven before.
func deliverQueue(ctx context.Context, cfg *report.Config, q *queue.Queue, l layout.Layout, stdout io.Writer, term *outcome.Writer) (*report.Termination, int, error) {
	p := progress.Start(cfg.Progress, l.ProgressToken, cfg.Role, stdout)
	role := deliver.Queue{
		Role:  deliver.Role{Config: *cfg.Deliver, Job: cfg.Job, Layout: l, Push: p.Update, Log: stdout},
		Queue: q,
		Tell: func(rep report.QueueReport) {
			if err := term.Update(&report.Termination{Role: cfg.Role, Result: report.ResultRunning, Queue: &rep}); err != nil {
				fmt.Fprintf(stdout, "pose-runner: %v\n", err)
			}
		},
	}
	t, err := role.Run(ctx)
	p.Close()
	code, err := codeOf(ctx, cfg.Role, err)
	return t, code, err
}
