package result

import (
	"errors"
	"fmt"
	"time"
)

// PointerDecision says what is to become of the pointer at an output's root.
type PointerDecision struct {
	// Write says that the next pointer is to be written.
	Write bool
	// Replaces names what is lost by that and was not the job's own, for the log.
	Replaces string
	// Same says that what lies there is the next pointer already.
	Same bool
	// Later says that a later attempt, or a job of the same name that began later,
	// has its own there, which stays.
	Later bool
	// Refused says why it may not be written, for a person; empty when it may.
	Refused string
}

// clockSlack is how much later than now an attempt can have begun by a clock that
// is not quite right. What began later than that began at no time one can go by.
const clockSlack = time.Hour

// DecidePointer judges the file raw that lies in the place of the root's pointer,
// nil when there is none. The rules:
//
//  1. Nothing there: written.
//  2. A pointer of the same job (uid): the highest attempt stays. Of one attempt the
//     newer manifest counts.
//  3. A pointer of a job of the same namespace and name, with another uid: such a job
//     was deleted and made again, and continues the output of its predecessor. So
//     does a job of a batch, where that is of a batch of the same name. The
//     one whose attempt began later stays, whichever is written first; a pointer
//     that does not say when is the predecessor's.
//  4. Anything else is somebody else's, and is replaced with overwrite only.
//
// Pure. A decision to write holds for raw alone: it is to be written with the
// condition that raw still lies there, and decided again if not.
func DecidePointer(raw []byte, next Pointer, overwrite bool, now time.Time) PointerDecision {
	if raw == nil {
		return PointerDecision{Write: true}
	}
	p, err := ReadPointer(raw)
	switch {
	case err != nil && overwrite:
		return PointerDecision{Write: true, Replaces: "a file of somebody else"}
	case errors.Is(err, ErrForeign):
		return PointerDecision{Refused: "is a file of somebody else"}
	case err != nil:
		return PointerDecision{Refused: fmt.Sprintf("is a broken pointer (%v)", err)}
	}
	own := next.Job.Continues(p.Job)
	switch {
	case !own && overwrite:
		return PointerDecision{Write: true, Replaces: fmt.Sprintf("the result %s of the job %s/%s", p.AttemptID, p.Job.Namespace, p.Job.Name)}
	case !own:
		return PointerDecision{Refused: fmt.Sprintf("belongs to the job %s/%s", p.Job.Namespace, p.Job.Name)}
	case p.Job.UID != next.Job.UID && began(p.StartedAt, now).After(began(next.StartedAt, now)),
		p.Job.UID == next.Job.UID && p.Attempt > next.Attempt:
		return PointerDecision{Later: true}
	case p.Job.UID == next.Job.UID && p.Attempt == next.Attempt && p.AttemptID == next.AttemptID && p.ManifestSHA256 == next.ManifestSHA256:
		return PointerDecision{Same: true}
	}
	return PointerDecision{Write: true}
}

// began is the zero time where a pointer does not say when, or cannot be right.
func began(t *time.Time, now time.Time) time.Time {
	if t == nil || t.After(now.Add(clockSlack)) {
		return time.Time{}
	}
	return *t
}
