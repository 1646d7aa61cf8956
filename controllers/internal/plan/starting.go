package plan

import "github.com/pose-dev/pose-operator/controllers/internal/attempt"

// Starting decides on a live pod that has not begun its work, by the bounds that the
// job has for that: no node takes it, its node cannot prepare it, or a container
// cannot start. It is false where nothing keeps the pod from its work. Of the input it
// needs Spec, Attempts (with the live one), Engine, and Now.
func (in Input) Starting(live *attempt.Attempt) (Decision, bool) {
	for _, check := range []func(Input, *attempt.Attempt) (Decision, bool){unschedulable, unprepared, unstartable} {
		if d, ok := check(in, live); ok {
			return d, true
		}
	}
	return Decision{}, false
}
