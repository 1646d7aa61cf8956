// Package exit has the exit codes of kubectl-pose, which are part of its interface:
// scripts branch on them.
package exit

import (
	"errors"
	"fmt"
)

// Exit codes. A command that has its own meaning for one of them says so in its help.
const (
	// OK: it is as it was asked for.
	OK = 0
	// Failed: a job failed, a check found something, or the command could not be
	// done for a reason that no other code names.
	Failed = 1
	// Usage: the command is wrong, or the API server refuses what it would make.
	// Nothing was tried. Of verify and purge: nothing can be said, or was tried.
	Usage = 2
	// Unreachable: the cluster cannot be reached, or has no pose operator.
	Unreachable = 3
	// NotFound: there is no such job, batch, engine or file.
	NotFound = 4
	// Forbidden: the cluster does not admit it to this person.
	Forbidden = 5
	// Timeout: --timeout ended first; what was waited for goes on.
	Timeout = 6
	// Interrupted: by Ctrl-C or a signal. What was waited for goes on.
	Interrupted = 130
)

// Error is an error with an exit code of its own; others have Failed.
type Error struct {
	error
	code int
}

func (e *Error) Unwrap() error { return e.error }

// With gives an error its exit code, unless it is nil.
func With(code int, err error) error {
	if err == nil {
		return nil
	}
	return &Error{err, code}
}

// Usagef is an error of a command that is wrong.
func Usagef(format string, args ...any) error { return With(Usage, fmt.Errorf(format, args...)) }

// Code of the error that a command ended with.
func Code(err error) int {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.code
	}
	return Failed
}
