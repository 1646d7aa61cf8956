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
	// maxFrames bounds what an engine may claim.
	maxFrames = 1 << 40
)

// tracker follows an engine by its log. Pure: the time is given.
type tracker struct {
	stages []stagePattern
	frames *regexp.Regexp // nil without one
	stall  time.Duration  // 0 is never
	first  string         // name of the time before the first stage

	stage string
	since time.Time
	took  map[string]time.Duration
	done  int64
	total int64
	moved time.Time // when stage, frame or log last moved
	tail  tail
	crash crash
}

type stagePattern struct {
	name  string
	re    *regexp.Regexp
	stall time.Duration // 0 leaves the tracker's
}

// newTracker compiles the patterns of cfg.
func newTracker(cfg report.ExecConfig, now time.Time) (*tracker, error) {
	t := &tracker{first: report.StageStart, stall: seconds(cfg.StallTimeoutSeconds), took: map[string]time.Duration{}}
	t.begin(now)
	for _, s := range cfg.Stages {
		re, err := regexp.Compile(s.Pattern)
		if err != nil {
			return nil, fmt.Errorf("the pattern of stage %q is no RE2: %w", s.Name, err)
		}
		t.stages = append(t.stages, stagePattern{s.Name, re, seconds(s.StallTimeoutSeconds)})
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

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// begin starts the time.
func (t *tracker) begin(now time.Time) { t.since, t.moved = now, now }

// clip begins another clip of an engine that has loaded.
func (t *tracker) clip(now time.Time) {
	t.begin(now)
	t.stage, t.done, t.took = "", 0, map[string]time.Duration{}
}

// Line takes one line and says whether the stage changed.
func (t *tracker) Line(now time.Time, raw string) bool {
	t.moved = now
	line := clean.Line(raw, maxLine)
	if strings.TrimSpace(line) == "" {
		return false
	}
	if t.crash.Line(line) {
		return false
	}
	t.tail.Add(line, len(raw)+1)
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
		return t.first
	}
	return t.stage
}

// Idle is how long nothing moved.
func (t *tracker) Idle(now time.Time) time.Duration { return now.Sub(t.moved) }

// StallLimit is how long nothing may move in the current stage, 0 without one.
func (t *tracker) StallLimit() time.Duration { return t.stallLimitOf(t.stage) }

func (t *tracker) stallLimitOf(stage string) time.Duration {
	limit := t.stall
	for _, s := range t.stages {
		if s.name == stage && s.stall > 0 {
			limit = s.stall
		}
	}
	return limit
}

// Fill writes what is known into r.
func (t *tracker) Fill(now time.Time, r *report.EngineReport) {
	r.Stage, r.Frames, r.Total, r.StageSeconds = t.stage, t.done, t.total, t.stageSeconds(now)
	r.LogTail, r.LogErrors = t.tail.Text(), t.tail.Errors()
	r.Crash = t.crash.Report()
}

// stageSeconds is how long each stage took, the current one included.
func (t *tracker) stageSeconds(now time.Time) map[string]float64 {
	all := make(map[string]float64, len(t.took)+1)
	for name, d := range t.took {
		all[name] = tenths(d)
	}
	all[t.current()] = tenths(t.took[t.current()] + now.Sub(t.since))
	return all
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
	for len(p) > 0 {
		i := lineEnd(p)
		if i < 0 {
			s.add(p)
			return
		}
		s.add(p[:i])
		s.Flush()
		p = p[i+1:]
	}
}

func lineEnd(p []byte) int {
	for i, c := range p {
		if c == '\n' || c == '\r' {
			return i
		}
	}
	return -1
}

func (s *splitter) add(p []byte) {
	s.buf = append(s.buf, p[:min(len(p), maxLine-len(s.buf))]...)
}

// Flush ends a line that has no end yet.
func (s *splitter) Flush() {
	if len(s.buf) > 0 {
		s.line(string(s.buf))
		s.buf = s.buf[:0]
	}
}
