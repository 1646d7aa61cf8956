package media

import (
	"context"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// Found gives the verified manifest of a job's result, where the gateway serves it. It
// is shared: callers change nothing in it.
func (s *Service) Found(ctx context.Context, job *v1alpha1.PoseJob) (*verify.Found, error) {
	return s.found(ctx, job)
}
