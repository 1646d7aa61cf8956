// Package outcome is how a role says what became of it: a Failure with a reason
// of the contract, and the container's termination message.
package outcome

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

// maxMessage bounds the message for a person, in bytes.
const maxMessage = 1024

// Failure is an error with a reason of the contract.
type Failure struct {
	Reason  string
	Message string
	// Temporary says that another attempt may do better.
	Temporary bool
	err       error
}

// Failf makes a Failure. A %w in format is unwrapped as by fmt.Errorf.
func Failf(reason, format string, args ...any) *Failure {
	err := fmt.Errorf(format, args...)
	return &Failure{Reason: reason, Message: err.Error(), err: err}
}

// MayPass marks a Failure as one that another attempt may not meet.
func (f *Failure) MayPass(temporary bool) *Failure {
	f.Temporary = temporary
	return f
}

// Error is the message.
func (f *Failure) Error() string { return f.Message }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return errors.Unwrap(f.err) }

// Apply writes err into t: nothing for nil, reason and message for a Failure,
// the message alone for any other error.
func Apply(t *report.Termination, err error) {
	if err == nil {
		if t.Result == "" || t.Result == report.ResultRunning {
			t.Result = report.ResultOK
		}
		return
	}
	t.Result = report.ResultFailed
	var f *Failure
	if errors.As(err, &f) {
		t.Reason, t.Temporary = f.Reason, f.Temporary
	}
	t.Message = Text(err)
}

// Text is an error as it may be shown: one clean line without secrets in URLs.
func Text(err error) string {
	s := clean.Line(strings.ReplaceAll(err.Error(), "\n", " "), 4*maxMessage)
	return clean.Head(clean.Redact(s), maxMessage)
}

// Writer rewrites the termination message in place. Its zero value drops all.
type Writer struct {
	mu   sync.Mutex
	path string
	last int
}

// NewWriter writes to path, usually layout.TerminationLog.
func NewWriter(path string) *Writer { return &Writer{path: path} }

// Update rewrites the message while the role works. A shorter message is padded
// with blanks to the length of the one before: one write, no truncation, so that
// a SIGKILL at any moment leaves a message that parses.
func (w *Writer) Update(t *report.Termination) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := t.Marshal()
	for len(b) < w.last {
		b = append(b, ' ')
	}
	return w.write(b, false)
}

// Final writes the last message, without padding.
func (w *Writer) Final(t *report.Termination) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(t.Marshal(), true)
}

func (w *Writer) write(b []byte, truncate bool) error {
	if w.path == "" {
		return nil
	}
	// No rename: the kubelet mounts this one file, a new one would not be seen.
	f, err := os.OpenFile(w.path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write the termination message: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil {
		return fmt.Errorf("write the termination message: %w", err)
	}
	w.last = len(b)
	if truncate {
		if err := f.Truncate(int64(len(b))); err != nil {
			return fmt.Errorf("cut the termination message: %w", err)
		}
	}
	return nil
}
