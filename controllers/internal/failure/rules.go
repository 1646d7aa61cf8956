package failure

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Evidence is what is known of a dead engine.
type Evidence struct {
	Stage    string
	ExitCode *int32
	Signal   string
	// Memory of its container; empty counts as unknown.
	Memory v1alpha1.MemoryEvidence
	// Log is its end.
	Log string
}

// Finding is what a rule, or the absence of one, makes of evidence.
type Finding struct {
	Reason string
	// Action of an engine's own rule; empty means plan's table.
	Action v1alpha1.Action
	// Culprit is the line that decided, Line its number in the log from 1; of
	// the end of the log where no line did.
	Culprit string
	Line    int
	// Said is true when that line is what the rule looked for; Exception when the
	// log ends with a Python exception.
	Said, Exception bool
	// Explanation and Remedy are for a person.
	Explanation, Remedy string
	// LastWords are the last lines of the log.
	LastWords []string
}

// Rule is a failure rule that compiled.
type Rule struct {
	v1alpha1.FailureRule
	log *regexp.Regexp
	// whole patterns, those that begin with (?s), are matched against the last
	// exception with its frames as one text.
	whole bool
}

// Compile makes rules of their written form. An error names the rule.
func Compile(specs []v1alpha1.FailureRule) ([]Rule, error) {
	rules := make([]Rule, 0, len(specs))
	for i, s := range specs {
		r := Rule{FailureRule: s}
		if s.LogPattern != "" {
			re, err := regexp.Compile(s.LogPattern)
			if err != nil {
				return nil, fmt.Errorf("failureRules[%d].logPattern: %w", i, err)
			}
			r.log, r.whole = re, wholeFlag.MatchString(s.LogPattern)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// wholeFlag: the pattern itself asks that a dot matches a line's end.
var wholeFlag = regexp.MustCompile(`^\(\?[imU]*s`)

// builtin rules, compiled once. They are constants of this package, and a test
// compiles them.
var builtin = func() []Rule {
	rules, err := Compile(Builtin())
	if err != nil {
		panic(err)
	}
	return rules
}()

// Classify says what evidence means: by the engine's own rules, then by the
// built-in ones, each list in its order. What no rule knows is an EngineError
// with its last words, and never a guess.
func Classify(ev Evidence, own []Rule) Finding {
	if ev.Memory == "" {
		ev.Memory = v1alpha1.MemoryUnknown
	}
	text := readLog(ev.Log)
	// Memory at its limit is a fact of the kernel's: only a rule that names it
	// comes before it.
	aware := slices.DeleteFunc(slices.Clone(own), func(r Rule) bool { return r.Memory == "" })
	for _, rules := range [][]Rule{aware, builtin[:len(memoryRules)], own, builtin} {
		if r, l, ok := firstMatch(rules, ev, &text); ok {
			return found(r, l, &text)
		}
	}
	l := text.culprit()
	cause, remedy := Meaning(v1alpha1.ReasonEngineError)
	return Finding{
		Reason: v1alpha1.ReasonEngineError, Culprit: Clean(l.text, maxCulprit), Line: l.number,
		Explanation: cause, Remedy: remedy, LastWords: text.lastWords(maxLastWords), Exception: !text.silent(),
	}
}

// maxCulprit bounds the line that decided, in bytes; the API allows 512.
const maxCulprit = 500

// maxLastWords bounds the lines that are kept of a log.
const maxLastWords = 8

func found(r Rule, l line, text *logText) Finding {
	f := Finding{Reason: r.Reason, Action: r.Action, Explanation: r.Explanation, Remedy: r.Remedy, LastWords: text.lastWords(maxLastWords), Exception: !text.silent()}
	cause, remedy := Meaning(r.Reason)
	if f.Explanation == "" {
		f.Explanation = cause
	}
	if f.Remedy == "" {
		f.Remedy = remedy
	}
	if f.Said = l.number > 0; !f.Said {
		l = text.culprit()
	}
	f.Culprit, f.Line = Clean(l.text, maxCulprit), l.number
	return f
}

// firstMatch tries the rules in their order on the best lines, then on the next
// best: a line of the last exception decides before one above it, whatever the
// order of their rules. A rule that looks at no line waits for all lines, and
// keeps its place: rules behind it are not asked.
func firstMatch(rules []Rule, ev Evidence, text *logText) (Rule, line, bool) {
	fit := slices.DeleteFunc(slices.Clone(rules), func(r Rule) bool { return !r.holds(ev, text) })
	if i := slices.IndexFunc(fit, func(r Rule) bool { return r.log == nil }); i >= 0 {
		fit = fit[:i+1]
	}
	parts := text.candidates()
	for i, part := range parts {
		for _, r := range fit {
			if r.log == nil {
				if i == len(parts)-1 {
					return r, line{}, true
				}
			} else if l, ok := r.in(part, text, i == 0); ok {
				return r, l, true
			}
		}
	}
	return Rule{}, line{}, false
}

// holds: everything but the log.
func (r Rule) holds(ev Evidence, text *logText) bool {
	switch {
	case len(r.Stages) > 0 && !slices.Contains(r.Stages, ev.Stage):
		return false
	case len(r.ExitCodes) > 0 && (ev.ExitCode == nil || !slices.Contains(r.ExitCodes, *ev.ExitCode)):
		return false
	case len(r.Signals) > 0 && !slices.Contains(r.Signals, ev.Signal):
		return false
	case r.Memory != "" && r.Memory != ev.Memory:
		return false
	}
	return !r.Silent || text.silent()
}

// in gives the last of the lines that the pattern matches.
func (r Rule) in(lines []line, text *logText, first bool) (line, bool) {
	if r.whole {
		if !first {
			return line{}, false
		}
		block, kept := text.block()
		at := r.log.FindStringIndex(block)
		if at == nil {
			return line{}, false
		}
		if len(kept) == 0 {
			return line{}, true // it asked for nothing, and nothing is there
		}
		i := strings.Count(block[:max(at[0], at[1]-1)], "\n")
		return kept[min(i, len(kept)-1)], true
	}
	for i := len(lines) - 1; i >= 0; i-- {
		if r.log.MatchString(lines[i].text) {
			return lines[i], true
		}
	}
	return line{}, false
}

// signals by number on Linux, all architectures that Kubernetes runs on.
var signals = map[int32]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT",
	7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM",
	15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}

// SignalName of a number, as SIGSEGV; empty for one that Linux has not.
func SignalName(n int32) string { return signals[n] }

func signalName(n int32) string {
	if name := SignalName(n); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", n)
}
