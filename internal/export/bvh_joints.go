package export

import "fmt"

// bone is one joint of the rig for results that have positions and no rotations.
type bone struct {
	name   string
	parent string // empty for the root
	at     joint
	// aim is the joint at which the bone points, along rest in its own frame. A
	// bone whose frame comes from two directions has across instead: the joints
	// from right to left.
	aim    joint
	rest   vec
	across [2]joint
}

// The rest pose is a T-pose that faces +z: left is +x, arms to the sides, legs
// down, feet forward.
var bones = []bone{
	{name: "hips", at: midHip, across: [2]joint{rightHip, leftHip}},
	{name: "spine", parent: "hips", at: midHip, across: [2]joint{rightShoulder, leftShoulder}},
	{name: "neck", parent: "spine", at: neck, aim: head, rest: vec{0, 1, 0}},
	{name: "left_shoulder", parent: "spine", at: leftShoulder, aim: leftElbow, rest: vec{1, 0, 0}},
	{name: "left_elbow", parent: "left_shoulder", at: leftElbow, aim: leftWrist, rest: vec{1, 0, 0}},
	{name: "left_wrist", parent: "left_elbow", at: leftWrist, aim: leftHand, rest: vec{1, 0, 0}},
	{name: "right_shoulder", parent: "spine", at: rightShoulder, aim: rightElbow, rest: vec{-1, 0, 0}},
	{name: "right_elbow", parent: "right_shoulder", at: rightElbow, aim: rightWrist, rest: vec{-1, 0, 0}},
	{name: "right_wrist", parent: "right_elbow", at: rightWrist, aim: rightHand, rest: vec{-1, 0, 0}},
	{name: "left_hip", parent: "hips", at: leftHip, aim: leftKnee, rest: vec{0, -1, 0}},
	{name: "left_knee", parent: "left_hip", at: leftKnee, aim: leftAnkle, rest: vec{0, -1, 0}},
	{name: "left_ankle", parent: "left_knee", at: leftAnkle, aim: leftBigToe, rest: vec{0, 0, 1}},
	{name: "right_hip", parent: "hips", at: rightHip, aim: rightKnee, rest: vec{0, -1, 0}},
	{name: "right_knee", parent: "right_hip", at: rightKnee, aim: rightAnkle, rest: vec{0, -1, 0}},
	{name: "right_ankle", parent: "right_knee", at: rightAnkle, aim: rightBigToe, rest: vec{0, 0, 1}},
}

// puppet derives rotations from positions.
type puppet struct {
	layout  *layout
	bones   []bone
	parents []int
}

// newPuppet takes the bones that the skeleton has. Hips, shoulders and what lies
// between must be there; limbs may end early.
func (j *job) newPuppet() (*puppet, error) {
	if !j.layout.has(leftHip, rightHip, leftShoulder, rightShoulder) {
		return nil, fmt.Errorf("format bvh needs hips and shoulders, and skeleton %q has none of these names: use trc or c3d, which take any joints", j.src.Head.Skeleton.Name)
	}
	p := &puppet{layout: &j.layout}
	index := map[string]int{}
	for _, b := range bones {
		parent, known := index[b.parent]
		if b.parent != "" && !known {
			continue
		}
		if !p.layout.has(b.at) || (b.across[0] == b.across[1] && !p.layout.has(b.aim)) {
			continue
		}
		if b.parent == "" {
			parent = -1
		}
		index[b.name] = len(p.bones)
		p.bones = append(p.bones, b)
		p.parents = append(p.parents, parent)
	}
	return p, nil
}

// world gives each bone's rotation in the world. Hips and spine have a full frame
// (the hip or shoulder axis and the trunk); other bones swing from their parent's
// frame the short way to where they point: a twist about their own length cannot be
// seen from positions and is left at none.
func (p *puppet) world(joints []vec) []mat {
	at := func(j joint) vec { return p.layout.point(joints, j) }
	trunk := at(neck).sub(at(midHip))
	out := make([]mat, len(p.bones))
	for i, b := range p.bones {
		parent := identity
		if p.parents[i] >= 0 {
			parent = out[p.parents[i]]
		}
		out[i] = parent
		if b.across[0] != b.across[1] {
			axis := at(b.across[1]).sub(at(b.across[0]))
			// The hips follow their own axis, the spine the trunk: each keeps one
			// direction exactly and turns the other square to it.
			if m, ok := frameOf(axis, trunk, b.parent == ""); ok {
				out[i] = m
			}
			continue
		}
		if to, ok := at(b.aim).sub(at(b.at)).unit(); ok {
			out[i] = swing(parent.apply(b.rest), to).times(parent)
		}
	}
	return out
}

// frameOf makes a frame of the direction to the person's left and of up; z is
// forward. One of both is kept as it is.
func frameOf(left, up vec, keepLeft bool) (mat, bool) {
	x, okX := left.unit()
	y, okY := up.unit()
	if !okX || !okY {
		return mat{}, false
	}
	var ok bool
	if keepLeft {
		y, ok = y.without(x).unit()
	} else {
		x, ok = x.without(y).unit()
	}
	if !ok {
		return mat{}, false
	}
	return columns(x, y, x.cross(y)), true
}

// perform measures a person's bones and turns positions into rotations. A bone is
// as long as on average over the frames in which the person was observed.
func (j *job) perform(m *motion) (performance, error) {
	p, err := j.newPuppet()
	if err != nil {
		return performance{}, err
	}
	r := rig{parents: p.parents, offsets: make([]vec, len(p.bones)), ends: make([]vec, len(p.bones))}
	for _, b := range p.bones {
		r.names = append(r.names, b.name)
	}
	n := 0.0
	for k := range m.frames {
		if !m.seen[k] {
			continue
		}
		n++
		joints := m.at(k)
		world := p.world(joints)
		for i, b := range p.bones {
			here := p.layout.point(joints, b.at)
			if parent := p.parents[i]; parent >= 0 {
				from := p.layout.point(joints, p.bones[parent].at)
				r.offsets[i] = r.offsets[i].add(world[parent].transposed().apply(here.sub(from)))
			}
			if b.across[0] == b.across[1] {
				end := p.layout.point(joints, b.aim)
				r.ends[i] = r.ends[i].add(world[i].transposed().apply(end.sub(here)))
			}
		}
	}
	if n == 0 {
		return performance{}, errChanged // the format has everybody observed once
	}
	for i := range r.offsets {
		r.offsets[i], r.ends[i] = r.offsets[i].times(1/n), r.ends[i].times(1/n)
	}
	return performance{rig: r, frames: m.frames, at: func(k int) stance {
		joints := m.at(k)
		world := p.world(joints)
		out := stance{root: p.layout.point(joints, midHip), turns: make([]quat, len(world))}
		for i, w := range world {
			if parent := p.parents[i]; parent >= 0 {
				w = world[parent].transposed().times(w)
			}
			out.turns[i] = w.quaternion()
		}
		return out
	}}, nil
}
