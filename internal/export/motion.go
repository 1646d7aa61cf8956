package export

import (
	"fmt"
	"slices"

	"github.com/pose-dev/pose-operator/internal/result"
)

// motion is one person's joints over time, Y up, in metres.
type motion struct {
	track  result.Track
	joints int       // of the skeleton
	frames []int64   // at which there is something, ascending
	seen   []bool    // observed rather than guessed, one each of frames
	points []float32 // x, y, z of each joint of each of frames
}

// at gives the joints at the k-th of frames.
func (m *motion) at(k int) []vec {
	out := make([]vec, m.joints)
	p := m.points[3*m.joints*k:]
	for i := range out {
		out[i] = vec{float64(p[3*i]), float64(p[3*i+1]), float64(p[3*i+2])}
	}
	return out
}

// length is the number of frames from the first to the last.
func (m *motion) length() int64 { return m.frames[len(m.frames)-1] - m.frames[0] + 1 }

// maxRows bounds what is written for frames in which a person is absent: a short
// document can announce somebody at its first and last of millions of frames.
const maxRows = 20_000_000

// motions collects the chosen people. Memory: 12 bytes a joint and observation.
func (j *job) motions() ([]*motion, error) {
	if err := j.need3D(); err != nil {
		return nil, err
	}
	if err := j.checkRows(); err != nil {
		return nil, err
	}
	of := make(map[int64]*motion, len(j.tracks))
	all := make([]*motion, 0, len(j.tracks))
	for _, t := range j.tracks {
		m := &motion{track: t, joints: len(j.src.Head.Skeleton.Joints)}
		of[t.ID] = m
		all = append(all, m)
	}
	err := j.frames(func(f *result.Frame) error {
		for i := range f.People {
			p := &f.People[i]
			m := of[p.ID]
			if m == nil {
				return errChanged
			}
			m.frames = append(m.frames, f.Index)
			m.seen = append(m.seen, observed(p))
			for _, v := range cameraJoints(p) {
				u := v.yUp()
				m.points = append(m.points, float32(u[0]), float32(u[1]), float32(u[2]))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(all, func(m *motion) bool { return len(m.frames) == 0 }) {
		return nil, errChanged
	}
	if !j.src.placed() {
		j.note("The result does not say where people stand: the middle of the hips is the origin in every frame, and walking shows on the spot.")
	}
	return all, nil
}

func (j *job) checkRows() error {
	rows := int64(0)
	for _, t := range j.tracks {
		rows += t.LastFrame - t.FirstFrame + 1
	}
	if rows > maxRows {
		return fmt.Errorf("the %d people span %d frames in all, more than the %d that one export writes: choose fewer with --person", len(j.tracks), rows, maxRows)
	}
	j.total += rows
	return nil
}

// rows calls each for every frame from the first to the last of a person; k is the
// entry of frames, or -1 where the person is absent.
func (j *job) rows(frames []int64, each func(frame int64, k int) error) error {
	k := 0
	for f := frames[0]; f <= frames[len(frames)-1]; f++ {
		at := -1
		if frames[k] == f {
			at = k
			k++
		}
		if err := each(f, at); err != nil {
			return err
		}
		if err := j.step(); err != nil {
			return err
		}
	}
	return nil
}

// note adds a sentence to the README, once.
func (j *job) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(j.notes, s) {
		j.notes = append(j.notes, s)
	}
}

// gaps describes the runs of frames in which a person is absent, and those that
// the engine guessed; at most a few of them.
func (m *motion) gaps() (absent, guessed []string) {
	return runsBetween(m.frames), runsOf(m.frames, m.seen)
}

func runsBetween(frames []int64) []string {
	var out []string
	for k := 1; k < len(frames); k++ {
		if frames[k] > frames[k-1]+1 {
			out = append(out, span(frames[k-1]+1, frames[k]-1))
		}
	}
	return out
}

func runsOf(frames []int64, seen []bool) []string {
	var out []string
	for k := 0; k < len(frames); k++ {
		if seen[k] {
			continue
		}
		start := k
		for k+1 < len(frames) && !seen[k+1] && frames[k+1] == frames[k]+1 {
			k++
		}
		out = append(out, span(frames[start], frames[k]))
	}
	return out
}

func span(from, to int64) string {
	if from == to {
		return fmt.Sprint(from)
	}
	return fmt.Sprintf("%d-%d", from, to)
}
