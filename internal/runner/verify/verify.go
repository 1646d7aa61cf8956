// Package verify is the role that checks a result against its manifest.
package verify

import (
	"context"
	"errors"
	"io"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
)

// Run checks the result that the configuration names.
func Run(context.Context, report.VerifyConfig, layout.Layout, io.Writer) (*report.VerifyReport, error) {
	return nil, errors.New("not made yet")
}
