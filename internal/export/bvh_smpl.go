package export

import (
	"slices"

	"github.com/pose-dev/pose-operator/internal/result"
)

// smplJoints is the number of SMPL's joints: the pelvis and 23 that turn.
const smplJoints = 24

// bvhOfSMPL writes the rotations of the body model as they are. SMPL's rest pose
// stands upright with Y up, so offsets and rotations between joints need no change;
// only the root is turned from the camera's frame to Y up:
//
//	root position = yUp(rest[0] + translation), root rotation = yUp · global_orient
func (j *job) bvhOfSMPL() error {
	if err := j.checkRows(); err != nil {
		return err
	}
	for _, t := range j.tracks {
		m, p, err := j.smplPerson(t)
		if err != nil {
			return err
		}
		if err := j.bvhFile(t.ID, p); err != nil {
			return err
		}
		j.describeGaps(m, bvhGaps)
	}
	j.describeTimes(false)
	return j.readme(aboutBVH, aboutSMPLRotations)
}

// smplPerson gathers the entries of one person; Source.Attach has checked that they
// are those of the document, as it was then.
func (j *job) smplPerson(t result.Track) (*motion, performance, error) {
	s := j.src.SMPL
	m := &motion{track: t}
	var entries []int
	for i, id := range s.ID {
		if int64(id) == t.ID {
			entries = append(entries, i)
			m.frames = append(m.frames, int64(s.Frame[i]))
			m.seen = append(m.seen, s.Observed[i])
		}
	}
	at := slices.Index(s.PersonID, int32(t.ID)) //nolint:gosec // ids are below 2³¹
	if at < 0 || len(entries) == 0 {
		return nil, performance{}, errChanged
	}
	r, rest := j.smplRig(at)
	return m, performance{rig: r, frames: m.frames, at: func(k int) stance {
		i := entries[k]
		out := stance{turns: make([]quat, smplJoints)}
		out.root = rest.add(widen(s.Translation[i])).yUp()
		out.turns[0] = rotation(s.GlobalOrient[i]).yUp().quaternion()
		for b := range smplJoints - 1 {
			out.turns[b+1] = rotation(s.BodyPose[i][b]).quaternion()
		}
		return out
	}}, nil
}

// smplRig makes a rig of a person's rest pose, and gives the pelvis there.
func (j *job) smplRig(person int) (rig, vec) {
	s := j.src.SMPL
	r := rig{
		names: labels(s.JointNames[:]), parents: make([]int, smplJoints),
		offsets: make([]vec, smplJoints), ends: make([]vec, smplJoints),
	}
	at := func(i int) vec { return widen(s.RestJoints[person][i]) }
	for i, p := range s.Parents {
		r.parents[i] = int(p)
		if p < 0 {
			continue // the root's place is in its channels
		}
		r.offsets[i] = at(i).sub(at(int(p)))
		r.ends[i] = r.offsets[i].times(0.5)
	}
	return r, at(0)
}

func widen(v [3]float32) vec { return vec{float64(v[0]), float64(v[1]), float64(v[2])} }

// rotation widens a matrix of 32-bit floats, row by row.
func rotation(m [9]float32) mat {
	var out mat
	for i, x := range m {
		out[i] = float64(x)
	}
	return out
}
