// Package problem is the error that a client is told.
package problem

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Problem is an error with its HTTP status. Its detail is for the client: it names no
// place in the store and no other user's things. Cause is for the log.
type Problem struct {
	Status int
	Detail string
	Cause  error
	// RetryAfter is when another try may help; 0 says nothing.
	RetryAfter time.Duration
}

func (p *Problem) Error() string {
	if p.Cause != nil {
		return fmt.Sprintf("%s: %v", p.Detail, p.Cause)
	}
	return p.Detail
}

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.Cause }

// New makes a Problem with a detail as by Sprintf.
func New(status int, format string, args ...any) *Problem {
	return &Problem{Status: status, Detail: fmt.Sprintf(format, args...)}
}

// Because is New with a cause for the log.
func Because(cause error, status int, format string, args ...any) *Problem {
	return &Problem{Status: status, Detail: fmt.Sprintf(format, args...), Cause: cause}
}

// Unavailable says that something behind the gateway does not answer.
func Unavailable(cause error, what string) *Problem {
	return &Problem{Status: http.StatusServiceUnavailable, Detail: what + " does not answer as it should: try again in a moment", Cause: cause, RetryAfter: 5 * time.Second}
}

// Of gives the Problem behind err; one that is none is the gateway's own failure,
// which the client is told nothing of.
func Of(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	return &Problem{Status: http.StatusInternalServerError, Detail: "the service failed: the administrator finds the cause in its log by the request's id", Cause: err}
}
