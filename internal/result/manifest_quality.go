package result

import (
	"math"

	"github.com/pose-dev/pose-operator/internal/report"
)

// Report gives the quality in the whole numbers of a report, bounded; what the engine
// does not count is 0. All of the frames are 100 percent, and nothing less is.
func (q *Quality) Report() *report.ResultQuality {
	if q == nil {
		return nil
	}
	count := func(n *int64) int64 {
		if n == nil {
			return 0
		}
		return min(max(0, *n), report.MaxQualityCount)
	}
	const rounding = 1e-9 // 0.29 * 100 is below 29
	return &report.ResultQuality{
		CoveragePercent: int32(min(max(0, math.Floor(q.Coverage*100+rounding)), 100)),
		Gaps:            count(&q.Gaps), IDSwitchesSuspected: count(q.IDSwitchesSuspected), PeopleFiltered: count(q.PeopleFiltered),
	}
}
