package result

import (
	"fmt"
	"io"
	"math"
)

// rateSlack is how far two rates may differ by rounding, as a share.
const rateSlack = 1e-5

// ValidatePair is Validate, and checks too that parameters has exactly the entries
// of the document, in its order. Memory beside parameters does not grow.
func ValidatePair(pose io.Reader, limits Limits, wantFrames int64, parameters *SMPL) (Summary, error) {
	next := 0
	s, err := validate(pose, limits, wantFrames, func(frame int64, p seenPerson) error {
		if next >= len(parameters.Frame) {
			return fmt.Errorf("smpl.npz has %d entries only", next)
		}
		if int64(parameters.Frame[next]) != frame || int64(parameters.ID[next]) != p.id || parameters.Observed[next] != p.observed {
			return fmt.Errorf("entry %d of smpl.npz is of frame %d, id %d, observed %t, pose.json has frame %d, id %d, observed %t",
				next, parameters.Frame[next], parameters.ID[next], parameters.Observed[next], frame, p.id, p.observed)
		}
		next++
		return nil
	})
	switch {
	case err != nil:
		return Summary{}, err
	case next != len(parameters.Frame):
		return Summary{}, &Invalid{Place: "frames", What: fmt.Sprintf("smpl.npz has %d entries, pose.json has %d", len(parameters.Frame), next)}
	case !same(parameters.FPS, s.Video.FPS) || !same(parameters.CaptureFPS, s.Video.WorldFPS()):
		return Summary{}, &Invalid{Place: "video", What: fmt.Sprintf("smpl.npz has %v and %v frames a second, pose.json has %v and %v",
			parameters.FPS, parameters.CaptureFPS, s.Video.FPS, s.Video.WorldFPS())}
	}
	return s, nil
}

func same(a, b float64) bool { return math.Abs(a-b) <= rateSlack*math.Max(a, b) }
