package main

import "errors"

// exitError is an error with an exit code of its own; others have 1.
type exitError struct {
	error
	code int
}

func (e *exitError) Unwrap() error { return e.error }

// exit gives an error its exit code.
func exit(code int, err error) error { //nolint:unparam // the code is read at the call, and by name
	if err == nil {
		return nil
	}
	return &exitError{err, code}
}

// exitCode of an error that a command ended with.
func exitCode(err error) int {
	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}
	return 1
}
