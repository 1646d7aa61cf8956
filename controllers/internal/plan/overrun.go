package plan

import (
	"fmt"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
)

// attemptDeadline is when the live attempt must have ended by its variant's own
// bound, and that bound; zero where it has none or its pod has no node yet.
func (in Input) attemptDeadline(live *attempt.Attempt) (time.Time, time.Duration) {
	if in.Engine == nil || live.Pod.ScheduledAt.IsZero() {
		return time.Time{}, 0
	}
	rungs, i := in.rungOf(live.Variant)
	if i < 0 || rungs[i].Variant.ActiveDeadlineSeconds == nil {
		return time.Time{}, 0
	}
	bound := seconds(*rungs[i].Variant.ActiveDeadlineSeconds)
	return live.Pod.ScheduledAt.Add(bound), bound
}

// overrun ends an attempt that took longer than its variant may. A faster variant
// may be left; the same one would take as long again.
func overrun(live *attempt.Attempt, bound time.Duration) Decision {
	return Decision{
		Kind: KindEndPod, Reason: v1alpha1.ReasonDeadlineExceeded, Action: v1alpha1.ActionNextVariant,
		Message: fmt.Sprintf("variant %s ran for %s, the most that its engine gives one attempt (activeDeadlineSeconds of the variant). Cut the video with spec.video.frames, or have the bound raised", live.Variant, bound),
	}
}
