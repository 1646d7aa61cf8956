package failure

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Evidence is what is known of a dead engine.
type Evidence struct {
	Stage    string
	ExitCode *int32
	Signal   string
	// Log is its end, bounded by the runner.
	Log string
}

// Rule turns evidence into a reason. Every condition that is set must hold.
type Rule struct {
	Stages    []string
	ExitCodes []int32
	Signals   []string
	// Log is contained in the end of the log.
	Log *regexp.Regexp
	// Silent asks that the log ends without a Python exception.
	Silent  bool
	Reason  string
	Action  v1alpha1.Action
	Message string
}

// exception is how CPython's traceback begins, and the line that ends one.
var exception = regexp.MustCompile(`Traceback \(most recent call last\)|(?m)^[A-Za-z_][A-Za-z0-9_.]*(Error|Exception|Interrupt): `)

// Builtin are the rules that hold for every engine, after its own.
func Builtin() []Rule {
	return []Rule{
		{
			Stages: []string{v1alpha1.StageDetectorLoad}, Silent: true,
			Reason:  v1alpha1.ReasonDetectorLoadCrash,
			Message: "It died while loading its detector, without an exception: a variant with another detector or device may get past it",
		},
		{
			Stages: []string{v1alpha1.StageModelLoad}, Silent: true,
			Reason:  v1alpha1.ReasonModelLoadCrash,
			Message: "It died while loading a model, without an exception",
		},
	}
}

// Compile makes rules of an engine's own. An error names the rule.
func Compile(specs []v1alpha1.FailureRule) ([]Rule, error) {
	rules := make([]Rule, 0, len(specs))
	for i, s := range specs {
		r := Rule{
			Stages: s.Stages, ExitCodes: s.ExitCodes, Signals: s.Signals,
			Reason: s.Reason, Action: s.Action, Message: s.Message,
		}
		if s.LogPattern != "" {
			re, err := regexp.Compile(s.LogPattern)
			if err != nil {
				return nil, fmt.Errorf("failureRules[%d].logPattern: %w", i, err)
			}
			r.Log = re
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func (r Rule) matches(ev Evidence) bool {
	if len(r.Stages) > 0 && !slices.Contains(r.Stages, ev.Stage) {
		return false
	}
	if len(r.ExitCodes) > 0 && (ev.ExitCode == nil || !slices.Contains(r.ExitCodes, *ev.ExitCode)) {
		return false
	}
	if len(r.Signals) > 0 && !slices.Contains(r.Signals, ev.Signal) {
		return false
	}
	if r.Log != nil && !r.Log.MatchString(ev.Log) {
		return false
	}
	return !r.Silent || !exception.MatchString(ev.Log)
}

// signals by number on Linux, all architectures that Kubernetes runs on.
var signals = map[int32]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT",
	7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM",
	15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}

func signalName(n int32) string {
	if name, ok := signals[n]; ok {
		return name
	}
	return fmt.Sprintf("signal %d", n)
}

// Clean makes text from outside fit for a status, an event and a terminal: one
// line, no control characters, at most limit bytes.
func Clean(s string, limit int) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0):
			return -1
		case unicode.Is(unicode.Bidi_Control, r):
			return -1 // bidirectional overrides turn a message around
		}
		return r
	}, s)
	s = query.ReplaceAllString(s, "$1?redacted")
	s = userinfo.ReplaceAllString(s, "$1")
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-len("…")], "") + "…"
}

// query finds the query of a URL, for a signed one is a credential; userinfo
// finds the user and password before its host.
var (
	query    = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://[^\s?"']+)\?[^\s"']+`)
	userinfo = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)[^\s/"']+@`)
)
