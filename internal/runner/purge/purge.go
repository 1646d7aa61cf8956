// Package purge is the role that removes what a job wrote.
package purge

import (
	"context"
	"errors"
	"io"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
)

// Run removes what the configuration names.
func Run(context.Context, report.PurgeConfig, report.JobRef, layout.Layout, io.Writer) (*report.PurgeReport, error) {
	return nil, errors.New("not made yet")
}
