// Package term writes for people at a terminal and for programs in a pipe. Nothing
// that others wrote, as a status or a log, moves the cursor, changes a colour or turns
// the text around.
package term

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	xterm "golang.org/x/term"

	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

// Safe writes lines to w without anything that moves its cursor.
func Safe(w io.Writer) io.Writer {
	if s, ok := w.(*safe); ok {
		return s
	}
	return &safe{w}
}

type safe struct{ to io.Writer }

func (s *safe) Write(p []byte) (int, error) {
	lines := strings.Split(string(p), "\n")
	for i, l := range lines {
		// Spaces align, also those at the end of what is a part of a line.
		bare := strings.Trim(l, " ")
		indent := strings.Index(l, bare)
		lines[i] = l[:indent] + clean.Line(bare, len(l)) + l[indent+len(bare):]
	}
	if _, err := io.WriteString(s.to, strings.Join(lines, "\n")); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	return len(p), nil
}

// Table aligns the cells of rows, which tabs separate.
func Table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// JSON writes v for a program. What json.Marshal leaves of control characters is
// escaped by it.
func JSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// IsTerminal says whether somebody sees what is written to, or types what is read
// from, v.
func IsTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && xterm.IsTerminal(int(f.Fd()))
}

// Size of the terminal that w writes to, in characters; 80x24 where it does not tell.
func Size(w any) (width, height int) {
	if f, ok := w.(*os.File); ok {
		if w, h, err := xterm.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			return w, h
		}
	}
	return 80, 24
}

// OneLine keeps what others said within its cell.
func OneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Clean is OneLine of what may move the cursor.
func Clean(s string) string { return OneLine(clean.Line(OneLine(s), 4096)) }

// Dash stands for nothing in a table.
func Dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Known says of nothing that it is unknown.
func Known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// Clipped is the end of a long name.
func Clipped(s string) string {
	if r := []rune(s); len(r) > 60 {
		return "..." + string(r[len(r)-57:])
	}
	return s
}

// Cut is s in at most width characters, with dots where it was cut.
func Cut(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	if width <= 1 {
		return string(r[:max(0, width)])
	}
	return string(r[:width-1]) + "…"
}

// UntilTold ends a context with the terminal too, for a pod is to be deleted, unless
// nohup has it that the command outlives its terminal.
func UntilTold(ctx context.Context) (context.Context, context.CancelFunc) {
	signals := []os.Signal{syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signal.NotifyContext(ctx, signals...)
}

// UntilEnded ends a context, too, when the process is told to end or its terminal
// goes: what was begun is taken away then, as after an interrupt.
func UntilEnded(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}
