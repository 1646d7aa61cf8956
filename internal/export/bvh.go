package export

import (
	"bufio"
	"io"
	"strings"
)

// centimetres in a metre: BVH says no unit, centimetres are its custom.
const centimetres = 100

// rig is a skeleton of rigid bones. Parents stand before their children; joint 0
// is the root. An offset is where the joint is in its parent's frame at rest, in
// metres; end is where the last bone of a leaf ends.
type rig struct {
	names   []string
	parents []int
	offsets []vec
	ends    []vec
}

// stance is a rig's place and rotations at one moment: the root in metres, Y up, and
// each joint's rotation relative to its parent, the root's to the world.
type stance struct {
	root  vec
	turns []quat
}

// between goes from a to b: the root in a line, rotations along the shortest arc.
func between(a, b stance, t float64) stance {
	out := stance{root: a.root.times(1 - t).add(b.root.times(t)), turns: make([]quat, len(a.turns))}
	for i := range out.turns {
		out.turns[i] = slerp(a.turns[i], b.turns[i], t)
	}
	return out
}

// performance is a rig in motion: frames with a stance, which at computes.
type performance struct {
	rig    rig
	frames []int64
	at     func(k int) stance
}

// writeBVH writes a file a person: of SMPL's own rotations where the result has
// them, else of rotations derived from the 3D joints.
func writeBVH(j *job) error {
	if j.src.SMPL != nil {
		return j.bvhOfSMPL()
	}
	all, err := j.motions()
	if err != nil {
		return err
	}
	for _, m := range all {
		p, err := j.perform(m)
		if err != nil {
			return err
		}
		if err := j.bvhFile(m.track.ID, p); err != nil {
			return err
		}
		j.describeGaps(m, bvhGaps)
	}
	j.describeTimes(false)
	return j.readme(aboutBVH, aboutDerivedRotations)
}

// bvhGaps says what stands where a person is absent.
const bvhGaps = "motion goes in a line from the frame before to the frame after, rotations along the shortest arc"

func (j *job) bvhFile(id int64, p performance) error {
	return j.file(j.personFile(id), func(to io.Writer) error {
		w := bufio.NewWriterSize(to, 1<<16)
		if err := j.bvh(w, p); err != nil {
			return err
		}
		return w.Flush()
	})
}

func (j *job) bvh(w *bufio.Writer, p performance) error {
	order := p.rig.order()
	var out line
	out.text("HIERARCHY\n")
	p.rig.hierarchy(&out, 0, 0)
	out.text("MOTION\nFrames: ").int(p.frames[len(p.frames)-1] - p.frames[0] + 1)
	out.text("\nFrame Time: ").fixed(1/j.rate, 9).text("\n")
	if err := out.flush(w); err != nil {
		return err
	}
	last := make([]vec, len(p.rig.names)) // angles of the frame before
	next, before := 0, stance{}
	var after stance
	return j.rows(p.frames, func(frame int64, k int) error {
		var s stance
		switch {
		case k >= 0:
			if k == next && k > 0 && after.turns != nil {
				s = after // computed for the gap before it
			} else {
				s = p.at(k)
			}
			before, next, after = s, k+1, stance{}
		default:
			if after.turns == nil {
				after = p.at(next)
			}
			from := p.frames[next-1]
			s = between(before, after, float64(frame-from)/float64(p.frames[next]-from))
		}
		for _, x := range s.root {
			out.fixed(x*centimetres, 4).text(" ")
		}
		for i, joint := range order {
			last[joint] = follow(last[joint], s.turns[joint].matrix().eulerZXY())
			if i > 0 {
				out.text(" ")
			}
			out.fixed(last[joint][0], 4).text(" ").fixed(last[joint][1], 4).text(" ").fixed(last[joint][2], 4)
		}
		return out.text("\n").flush(w)
	})
}

// children of a joint in the rig's order.
func (r *rig) children(joint int) []int {
	var out []int
	for i, p := range r.parents {
		if p == joint && i != joint {
			out = append(out, i)
		}
	}
	return out
}

// order of the joints in a file: depth first, as the hierarchy is written.
func (r *rig) order() []int {
	var out []int
	var visit func(joint int)
	visit = func(joint int) {
		out = append(out, joint)
		for _, c := range r.children(joint) {
			visit(c)
		}
	}
	visit(0)
	return out
}

func (r *rig) hierarchy(out *line, joint, depth int) {
	tab := strings.Repeat("  ", depth)
	if joint == 0 {
		out.text("ROOT ")
	} else {
		out.text(tab + "JOINT ")
	}
	out.text(r.names[joint] + "\n" + tab + "{\n" + tab + "  OFFSET")
	offset(out, r.offsets[joint])
	out.text(tab + "  CHANNELS ")
	if joint == 0 {
		out.text("6 Xposition Yposition Zposition ")
	} else {
		out.text("3 ")
	}
	out.text("Zrotation Xrotation Yrotation\n")
	children := r.children(joint)
	for _, c := range children {
		r.hierarchy(out, c, depth+1)
	}
	if len(children) == 0 {
		out.text(tab + "  End Site\n" + tab + "  {\n" + tab + "    OFFSET")
		offset(out, r.ends[joint])
		out.text(tab + "  }\n")
	}
	out.text(tab + "}\n")
}

func offset(out *line, v vec) {
	for _, x := range v {
		out.text(" ").fixed(x*centimetres, 4)
	}
	out.text("\n")
}
