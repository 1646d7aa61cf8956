// Package lookup is the role that looks at the places of a job before any attempt.
package lookup

import (
	"context"
	"errors"
	"io"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
)

// Run looks at the places of a job.
func Run(context.Context, report.LookupConfig, report.JobRef, layout.Layout, io.Writer) (*report.LookupReport, error) {
	return nil, errors.New("not made yet")
}
