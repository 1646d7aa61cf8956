package term

import (
	"fmt"
	"io"
	"time"
)

// Progress writes a line at most every two seconds; what is short says nothing.
type Progress struct {
	w     io.Writer
	quiet bool
	last  time.Time
}

// NewProgress writes to w, usually standard error.
func NewProgress(w io.Writer, quiet bool) *Progress {
	return &Progress{w: Safe(w), quiet: quiet, last: time.Now()}
}

// Line says how far something is.
func (p *Progress) Line(format string, args ...any) {
	if now := time.Now(); !p.quiet && now.Sub(p.last) >= 2*time.Second {
		p.last = now
		fmt.Fprintf(p.w, format+"\n", args...)
	}
}
