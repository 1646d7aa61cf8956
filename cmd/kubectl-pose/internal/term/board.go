package term

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Row says how far one thing is.
type Row struct {
	// Name of it, and what it is at, as "Tracking".
	Name, Doing string
	// Percent done, 0 to 100; less than 0 where nobody knows.
	Percent int
	// Facts about it, as "42/120 frames, 12.3 fps".
	Facts string
	// Ends is when it is expected to; nil where nobody knows.
	Ends *time.Time
}

// Board shows how far several things are: with bars on a terminal, else by lines.
type Board interface {
	// Set a row, which is made where there is none of that id.
	Set(id string, r Row)
	// Done takes a row away; last stays in its place.
	Done(id, last string)
	// Say a line that stays.
	Say(format string, args ...any)
	// Close ends the board; what is left of bars is removed.
	Close()
}

// NewBoard for w, usually standard error. plain asks for lines on a terminal, too.
func NewBoard(ctx context.Context, w io.Writer, plain bool, now func() time.Time) Board {
	if plain || !IsTerminal(w) {
		return &lines{w: Safe(w), now: now, rows: map[string]*told{}}
	}
	return newBars(ctx, w, now)
}

// Bounds of what lines tell: a step of percents, and a pause after which anything new is
// told.
const (
	stepPercent = 10
	stepTime    = 30 * time.Second
)

// lines is a Board for a file, a pipe or a log.
type lines struct {
	mu   sync.Mutex
	w    io.Writer
	now  func() time.Time
	rows map[string]*told
}

type told struct {
	Row
	at time.Time
}

func (l *lines) Set(id string, r Row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, now := l.rows[id], l.now()
	if last != nil && last.Doing == r.Doing && r.Percent-last.Percent < stepPercent && r.Percent >= last.Percent &&
		(now.Sub(last.at) < stepTime || last.Percent == r.Percent && last.Facts == r.Facts) {
		return
	}
	l.rows[id] = &told{r, now}
	text := r.Name + ": " + r.Doing
	if r.Percent >= 0 {
		text += fmt.Sprintf(" %d%%", r.Percent)
	}
	if r.Facts != "" {
		text += ", " + r.Facts
	}
	fmt.Fprintln(l.w, OneLine(text+left(r.Ends, now)))
}

func (l *lines) Done(id, last string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.rows, id)
	if last != "" {
		fmt.Fprintln(l.w, OneLine(last))
	}
}

func (l *lines) Say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(l.w, OneLine(fmt.Sprintf(format, args...)))
}

func (*lines) Close() {}

// left says how long something still takes.
func left(ends *time.Time, now time.Time) string {
	if ends == nil || ends.Before(now) {
		return ""
	}
	return ", " + short(ends.Sub(now)) + " left"
}

func short(d time.Duration) string {
	switch {
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

// bars is a Board on a terminal. There are at most so many bars as it has lines; a row
// without one waits until one of the others is done.
type bars struct {
	mu      sync.Mutex // never taken while a bar is drawn, for it is held while bars are told
	w       io.Writer
	p       *mpb.Progress
	now     func() time.Time
	width   int
	most    int
	rows    map[string]*barRow
	waiting []string // ids of rows without a bar, in order
	shown   int
	more    *mpb.Bar // says how many wait; nil while none does
	left    atomic.Int64
}

// barRow is a row whose texts are asked for when its bar is drawn.
type barRow struct {
	mu  sync.Mutex // held for a moment only
	row Row
	bar *mpb.Bar
}

func (r *barRow) get() Row {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.row
}

// fullBar is more than a bar can come to: one that is full would be drawn no more.
const fullBar = 1001

func newBars(ctx context.Context, w io.Writer, now func() time.Time) *bars {
	width, height := Size(w)
	return &bars{
		w: w, now: now, width: width, most: max(1, height-3), rows: map[string]*barRow{},
		// Not of ctx: an interrupt ends the board by Close, after its last words.
		p: mpb.NewWithContext(context.WithoutCancel(ctx), mpb.WithOutput(w), mpb.WithWidth(width), mpb.WithRefreshRate(200*time.Millisecond)),
	}
}

func (b *bars) Set(id string, r Row) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.Name, r.Doing, r.Facts = Clean(r.Name), Clean(r.Doing), Clean(r.Facts)
	row := b.rows[id]
	if row == nil {
		row = &barRow{}
		b.rows[id] = row
		b.waiting = append(b.waiting, id)
	}
	row.mu.Lock()
	row.row = r
	row.mu.Unlock()
	b.fill()
	if row.bar != nil {
		row.bar.SetCurrent(int64(min(100, max(0, r.Percent)) * 10))
	}
}

// fill gives bars to rows that wait, as far as there is room.
func (b *bars) fill() {
	for b.shown < b.most && len(b.waiting) > 0 {
		row := b.rows[b.waiting[0]]
		b.waiting = b.waiting[1:]
		b.shown++
		row.bar = b.add(row)
	}
	b.left.Store(int64(len(b.waiting)))
	switch {
	case len(b.waiting) > 0 && b.more == nil:
		b.more = b.p.New(fullBar, mpb.NopStyle(), mpb.BarPriority(1<<30), mpb.PrependDecorators(decor.Any(func(decor.Statistics) string {
			return fmt.Sprintf("and %d more", b.left.Load())
		})))
	case len(b.waiting) == 0 && b.more != nil:
		b.more.Abort(true)
		b.more = nil
	}
}

// add a bar: name, what it does, the bar, percent, facts.
func (b *bars) add(row *barRow) *mpb.Bar {
	const doing = 14
	name, bar := min(28, max(12, b.width/6)), min(24, max(6, b.width/8))
	facts := max(0, b.width-name-doing-bar-len("  [] 100% "))
	style := mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]")
	return b.p.New(fullBar, style, mpb.BarFillerTrim(), mpb.BarWidth(bar),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string {
			r := row.get()
			return fmt.Sprintf("%-*s %-*s ", name, Cut(r.Name, name), doing, Cut(r.Doing, doing))
		})),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			r := row.get()
			percent := "    "
			if r.Percent >= 0 {
				percent = fmt.Sprintf("%3d%%", r.Percent)
			}
			// What is cut off on a narrow terminal comes last.
			text := strings.TrimPrefix(left(r.Ends, b.now())+", "+r.Facts, ", ")
			return Cut(" "+percent+" "+strings.TrimSuffix(text, ", "), facts+6)
		})))
}

func (b *bars) Done(id, last string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last != "" {
		b.Say("%s", last)
	}
	row := b.rows[id]
	if row == nil {
		return
	}
	delete(b.rows, id)
	b.waiting = slices.DeleteFunc(b.waiting, func(w string) bool { return w == id })
	if row.bar != nil {
		row.bar.Abort(true)
		b.shown--
	}
	b.fill()
}

func (b *bars) Say(format string, args ...any) {
	text := Clean(fmt.Sprintf(format, args...)) + "\n"
	if _, err := b.p.Write([]byte(text)); err != nil { // it was closed
		_, _ = io.WriteString(b.w, text) // the terminal is gone, too, if this fails
	}
}

func (b *bars) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, row := range b.rows {
		if row.bar != nil {
			row.bar.Abort(true)
		}
	}
	if b.more != nil {
		b.more.Abort(true)
	}
	b.p.Wait()
}
