package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// shrinks are tried in this order until the message fits: first what merely
// rounds off the picture, last what a person and the controller judge by. What
// is never taken: role, result, reason, of an engine its stage, exit, memory and
// device, and of a queue the marks of its clips and their digests.
var shrinks = []func(*Termination) bool{
	onEngine(func(e *EngineReport) bool { return shrinkLog(e, len(e.LogTail)/4) }),
	onEngine(dropStageSeconds),
	onEngine(dropVersions),
	onEngine(func(e *EngineReport) bool { return shrinkLog(e, len(e.LogTail)/3) }),
	onEngine(func(e *EngineReport) bool { return shrinkLog(e, len(e.LogTail)/2) }),
	onEngine(func(e *EngineReport) bool { return keepErrors(e, 2) }),
	onEngine(func(e *EngineReport) bool { return keepStack(e, 3) }),
	onEngine(func(e *EngineReport) bool { return shrinkLog(e, len(e.LogTail)/2) }),
	onDelivery(dropDigests),
	fewerLines,
	onEngine(func(e *EngineReport) bool { return shrinkLog(e, len(e.LogTail)) }),
	cutMessage,
	cutWhy,
	onEngine(func(e *EngineReport) bool { return keepErrors(e, 1) }),
	onEngine(func(e *EngineReport) bool { return keepErrors(e, 0) }),
	onDelivery(dropFiles),
	onFound(func(r *ReusedResult) {
		r.Video.Source, r.Video.SourceVersion, r.Video.Container, r.Video.Codec = nil, "", "", ""
	}),
	onFound(func(r *ReusedResult) { r.Image = "" }),
	onFound(func(r *ReusedResult) { r.URI = "" }),
	onEngine(dropCrash),
	onEngine(coreOnly),
}

// Marshal gives the JSON of t in at most MaxTerminationBytes, without the least
// needed parts where it does not fit.
func (t *Termination) Marshal() []byte {
	c := *t
	c.Version = Version
	if c.Engine != nil && c.Engine.Answers != nil {
		e := *c.Engine
		e.Answers = nil // deliver has them from the socket
		c.Engine = &e
	}
	limit := MaxTerminationBytes
	if c.Queue != nil || c.InQueue {
		limit = MaxQueueMessageBytes
	}
	if b := encode(&c); len(b) <= limit {
		return b
	}
	for _, shrink := range shrinks {
		if !shrink(&c) {
			continue
		}
		if b := encode(&c); len(b) <= limit {
			return b
		}
	}
	bare := &Termination{Version: Version, Role: c.Role, Result: c.Result, Reason: c.Reason, Engine: c.Engine, Queue: c.Queue}
	if b := encode(bare); len(b) <= limit {
		return b
	}
	bare.Engine = nil
	return encode(bare)
}

func encode(t *Termination) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(t); err != nil {
		// Only a NaN can cause this; the verdict matters more than the number.
		return []byte(fmt.Sprintf(`{"v":%d,"role":%q,"result":%q,"reason":%q}`, Version, t.Role, t.Result, t.Reason))
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// onEngine makes a shrink of one that changes an engine's report; the caller's
// own report stays as it is.
func onEngine(change func(*EngineReport) bool) func(*Termination) bool {
	return func(t *Termination) bool {
		if t.Engine == nil {
			return false
		}
		e := *t.Engine
		if !change(&e) {
			return false
		}
		t.Engine = &e
		return true
	}
}

// shrinkLog takes at least n bytes from the log's beginning, up to a line's end
// if there is one. Lines that look like a cause go to LogErrors: what explains
// the end outlives the lines around it.
func shrinkLog(e *EngineReport, n int) bool {
	if e.LogTail == "" {
		return false
	}
	n = min(max(n, 1), len(e.LogTail))
	if i := strings.IndexByte(e.LogTail[n:], '\n'); i >= 0 && n > 0 && e.LogTail[n-1] != '\n' {
		n += i + 1
	}
	for n < len(e.LogTail) && !utf8.RuneStart(e.LogTail[n]) {
		n++
	}
	gone := e.LogTail[:n]
	e.LogTail = e.LogTail[n:]
	errors := slices.Clone(e.LogErrors)
	for line := range strings.SplitSeq(gone, "\n") {
		if CauseLine(line) && !slices.Contains(errors, line) {
			errors = append(errors, line)
		}
	}
	e.LogErrors = lastErrors(errors, MaxLogErrors)
	return true
}

// lastErrors keeps at most n lines, the newest. The last exception stays, even
// if it is older: later lines are often its consequences.
func lastErrors(lines []string, n int) []string {
	for len(lines) > n {
		drop := 0
		if n > 0 && drop == lastException(lines) {
			drop = 1
		}
		lines = append(lines[:drop:drop], lines[drop+1:]...)
	}
	if len(lines) == 0 {
		return nil
	}
	return lines
}

func lastException(lines []string) int {
	for i := len(lines) - 1; i >= 0; i-- {
		if ExceptionLine(lines[i]) {
			return i
		}
	}
	return -1
}

func keepErrors(e *EngineReport, n int) bool {
	if len(e.LogErrors) <= n {
		return false
	}
	e.LogErrors = lastErrors(slices.Clone(e.LogErrors), n)
	return true
}

func dropStageSeconds(e *EngineReport) bool {
	had := e.StageSeconds != nil
	e.StageSeconds = nil
	return had
}

func dropVersions(e *EngineReport) bool {
	had := e.Versions != nil
	e.Versions = nil
	return had
}

func keepStack(e *EngineReport, n int) bool {
	if e.Crash == nil || len(e.Crash.PythonStack) <= n {
		return false
	}
	c := *e.Crash
	c.PythonStack = c.PythonStack[:n:n]
	e.Crash = &c
	return true
}

func dropCrash(e *EngineReport) bool {
	had := e.Crash != nil
	e.Crash = nil
	return had
}

// coreOnly leaves what an end is judged by.
func coreOnly(e *EngineReport) bool {
	*e = EngineReport{
		Stage: head(e.Stage, 64), ExitCode: e.ExitCode, Signal: head(e.Signal, 16), Frames: e.Frames, Total: e.Total,
		PeakMemoryBytes: e.PeakMemoryBytes, LimitMemoryBytes: e.LimitMemoryBytes, OOMKills: e.OOMKills,
		Preflight: e.Preflight, DeviceUsed: head(e.DeviceUsed, 16), Clip: e.Clip,
	}
	return true
}

func head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// onDelivery makes a shrink of one that changes the files of a result, be it
// delivered or found; the caller's own report stays as it is.
func onDelivery(change func(*DeliveryReport)) func(*Termination) bool {
	return func(t *Termination) bool {
		if t.Deliver == nil {
			return onFound(func(r *ReusedResult) { change(&r.Result) })(t)
		}
		d := *t.Deliver
		change(&d)
		t.Deliver = &d
		return true
	}
}

// onFound makes a shrink of one that changes a result that was found.
func onFound(change func(*ReusedResult)) func(*Termination) bool {
	return func(t *Termination) bool {
		if t.Lookup == nil || t.Lookup.Reused == nil {
			return false
		}
		l, r := *t.Lookup, *t.Lookup.Reused
		change(&r)
		l.Reused = &r
		t.Lookup = &l
		return true
	}
}

func dropDigests(d *DeliveryReport) {
	files := make([]DeliveredFile, len(d.Files))
	for i, f := range d.Files {
		f.SHA256 = ""
		files[i] = f
	}
	d.Files = files
}

func cutMessage(t *Termination) bool {
	const keep = 512
	if len(t.Message) <= keep {
		return false
	}
	t.Message = strings.ToValidUTF8(t.Message[:keep], "") + "…"
	return true
}

// cutWhy leaves of a queue what its clips are counted by.
func cutWhy(t *Termination) bool {
	if t.Queue == nil || t.Queue.Why == "" {
		return false
	}
	q := *t.Queue
	q.Why = ""
	t.Queue = &q
	return true
}

func dropFiles(d *DeliveryReport) { d.Files = nil }

// fewerLines keeps the first lines of a report for a person, cut short.
func fewerLines(t *Termination) bool {
	const lines, each = 3, 160
	cut := func(all []string) []string {
		out := make([]string, 0, lines)
		for _, s := range all[:min(len(all), lines)] {
			out = append(out, head(s, each))
		}
		return out
	}
	switch {
	case t.Purge != nil:
		p := *t.Purge
		p.Kept = cut(p.Kept)
		t.Purge = &p
	case t.Verify != nil:
		v := *t.Verify
		v.Problems = cut(v.Problems)
		t.Verify = &v
	case t.Lookup != nil:
		l := *t.Lookup
		l.Why = head(l.Why, lines*each)
		t.Lookup = &l
	default:
		return false
	}
	return true
}
