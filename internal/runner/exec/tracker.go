package exec

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

const (
	// maxLine bounds one line of the engine's log as it is matched, in bytes.
	maxLine = 4096
	// maxTail bounds the log tail of a report, in bytes.
	maxTail = 1200
	// maxTailLine bounds one line of it.
	maxTailLine = 300
	// maxFrames bounds what an engine may claim.
	maxFrames = 1 << 40
)

// tracker follows an engine by its log. Pure: the time is given.
type tracker struct {
	stages []stagePattern
	frames *regexp.Regexp // nil without one

	stage   string
	since   time.Time
	took    map[string]time.Duration
	done    int64
	total   int64
	moved   time.Time // when stage, frame or log last moved
	tail    []string
	tailLen int
}

type stagePattern struct {
	name string
	re   *regexp.Regexp
}

// newTracker compiles the patterns of cfg.
func newTracker(cfg report.ExecConfig, now time.Time) (*tracker, error) {
	t := &tracker{since: now, moved: now, took: map[string]time.Duration{}}
	for _, s := range cfg.Stages {
		re, err := regexp.Compile(s.Pattern)
		if err != nil {
			return nil, fmt.Errorf("the pattern of stage %q is no RE2: %w", s.Name, err)
		}
		t.stages = append(t.stages, stagePattern{s.Name, re})
	}
	if cfg.ProgressPattern != "" {
		re, err := regexp.Compile(cfg.ProgressPattern)
		if err != nil {
			return nil, fmt.Errorf("the progress pattern is no RE2: %w", err)
		}
		if re.SubexpIndex("frame") < 0 {
			return nil, fmt.Errorf("the progress pattern %q has no group named frame", cfg.ProgressPattern)
		}
		t.frames = re
	}
	return t, nil
}

// Line takes one line and says whether the stage changed.
func (t *tracker) Line(now time.Time, raw string) bool {
	t.moved = now
	line := clean.Line(raw, maxLine)
	if strings.TrimSpace(line) == "" {
		return false
	}
	t.remember(clean.Head(line, maxTailLine))
	t.progress(line)
	for _, s := range t.stages {
		if s.name != t.stage && s.re.MatchString(line) {
			t.enter(now, s.name)
			return true
		}
	}
	return false
}

func (t *tracker) progress(line string) {
	if t.frames == nil {
		return
	}
	m := t.frames.FindStringSubmatch(line)
	if m == nil {
		return
	}
	if n, ok := number(m, t.frames.SubexpIndex("frame")); ok {
		t.done = n
	}
	if n, ok := number(m, t.frames.SubexpIndex("total")); ok && n > 0 {
		t.total = n
	}
}

func number(match []string, group int) (int64, bool) {
	if group < 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(match[group], 10, 64)
	return n, err == nil && n >= 0 && n <= maxFrames
}

func (t *tracker) enter(now time.Time, stage string) {
	t.took[t.current()] += now.Sub(t.since)
	t.stage, t.since = stage, now
}

// current is the stage for time keeping, which has a name before the first.
func (t *tracker) current() string {
	if t.stage == "" {
		return report.StageStart
	}
	return t.stage
}

func (t *tracker) remember(line string) {
	t.tail = append(t.tail, line)
	t.tailLen += len(line) + 1
	for t.tailLen > maxTail && len(t.tail) > 1 {
		t.tailLen -= len(t.tail[0]) + 1
		t.tail = t.tail[1:]
	}
}

// Idle is how long nothing moved.
func (t *tracker) Idle(now time.Time) time.Duration { return now.Sub(t.moved) }

// Fill writes what is known into r.
func (t *tracker) Fill(now time.Time, r *report.EngineReport) {
	r.Stage, r.Frames, r.Total = t.stage, t.done, t.total
	r.StageSeconds = make(map[string]float64, len(t.took)+1)
	for name, d := range t.took {
		r.StageSeconds[name] = tenths(d)
	}
	r.StageSeconds[t.current()] = tenths(t.took[t.current()] + now.Sub(t.since))
	r.LogTail = clean.Redact(strings.Join(t.tail, "\n"))
}

// tenths gives seconds with one digit: the termination message is short.
func tenths(d time.Duration) float64 {
	return float64(d.Round(100*time.Millisecond)/(100*time.Millisecond)) / 10
}

// splitter cuts a stream into lines of bounded length. A carriage return ends
// one too: progress bars rewrite theirs.
type splitter struct {
	buf  []byte
	line func(string)
}

func (s *splitter) Write(p []byte) {
	for _, c := range p {
		switch {
		case c == '\n' || c == '\r':
			s.Flush()
		case len(s.buf) < maxLine:
			s.buf = append(s.buf, c)
		}
	}
}

// Flush ends a line that has no end yet.
func (s *splitter) Flush() {
	if len(s.buf) > 0 {
		s.line(string(s.buf))
		s.buf = s.buf[:0]
	}
}
