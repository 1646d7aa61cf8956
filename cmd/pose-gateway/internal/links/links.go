// Package links opens the sealed links by which browsers fetch what belongs to a job:
// video tags and downloads send no headers.
package links

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/seal"
)

// Bearer is what every link says: of which job it is, by name and life, and for whom.
// What else a link says stands beside it.
type Bearer struct {
	Namespace string `json:"n"`
	Job       string `json:"j"`
	JobUID    string `json:"i"`
	User      string `json:"u"`
}

// For a user and a job.
func For(user *auth.User, job *v1alpha1.PoseJob) Bearer {
	return Bearer{Namespace: job.Namespace, Job: job.Name, JobUID: string(job.UID), User: user.Name}
}

// Get finds a job.
type Get func(ctx context.Context, namespace, name string) (*v1alpha1.PoseJob, error)

// Open a link that was sealed for a purpose into link, of which bearer is a part, and give
// its job, which must be there still. user is who is signed in by a cookie, nil for
// nobody: whoever has a link may use it, but not as somebody else.
func Open(ctx context.Context, keys *seal.Keys, purpose, text string, now time.Time, link any, bearer *Bearer, user *auth.User, get Get) (*v1alpha1.PoseJob, error) {
	switch err := keys.Open(purpose, text, link, now); {
	case errors.Is(err, seal.ErrExpired):
		return nil, problem.New(http.StatusForbidden, "the link has expired: ask for the job's results again")
	case err != nil:
		return nil, problem.Because(err, http.StatusForbidden, "the link is not one of this service: ask for the job's results again")
	case user != nil && user.Name != bearer.User:
		return nil, problem.New(http.StatusForbidden, "the link was made for another user: ask for the job's results yourself")
	}
	job, err := get(ctx, bearer.Namespace, bearer.Job)
	if err != nil {
		return nil, err
	}
	if string(job.UID) != bearer.JobUID || job.DeletionTimestamp != nil {
		return nil, problem.New(http.StatusNotFound, "the job of this link was removed")
	}
	return job, nil
}
