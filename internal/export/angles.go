package export

import "math"

// measure is one joint angle of a person.
type measure struct {
	name string
	side string // left, right or none
	uses []joint
	of   func(b body) (degrees float64, ok bool)
}

// body gives the joints of one person in one frame, Y up, in metres.
type body struct {
	layout *layout
	joints []vec
}

func (b body) at(j joint) vec { return b.layout.point(b.joints, j) }

func (b body) to(from, to joint) vec { return b.at(to).sub(b.at(from)) }

// minProjection is the share of a segment's length that must be left when it is
// seen along an axis; with less, its direction there means nothing.
const minProjection = 0.2

// measures lists all angles that the skeleton has the joints for. Conventions:
//
//   - flexion of knee and elbow: 180° minus the angle between the two segments; 0
//     is straight. Hyperextension cannot be told from flexion.
//   - trunk frame: up from the middle of the hips to the middle of the shoulders;
//     left from right to left hip (for hips) or shoulder (for arms), square to up;
//     forward = left x up.
//   - hip flexion and shoulder flexion: turn of thigh or upper arm from straight
//     down about the trunk's left axis, forward positive, -180..180.
//   - hip and shoulder abduction: the same about the trunk's forward axis, away from
//     the body positive.
//   - shoulder elevation: angle between upper arm and straight down, 0..180.
//   - ankle dorsiflexion: 90° minus the angle between the shank (ankle to knee) and
//     the foot (heel to big toe); toes up is positive.
//   - trunk inclination: angle between the trunk and the picture's vertical.
func measures(l *layout) []measure {
	all := []measure{{name: "trunk_inclination", side: "none", uses: []joint{leftHip, rightHip, leftShoulder, rightShoulder}, of: func(b body) (float64, bool) {
		return angle(b.trunk(), vec{0, 1, 0})
	}}}
	all = append(all, sideMeasures("left", leftHip, leftKnee, leftAnkle, leftHeel, leftBigToe, leftShoulder, leftElbow, leftWrist, 1)...)
	all = append(all, sideMeasures("right", rightHip, rightKnee, rightAnkle, rightHeel, rightBigToe, rightShoulder, rightElbow, rightWrist, -1)...)
	var out []measure
	for _, m := range all {
		if l.has(m.uses...) {
			out = append(out, m)
		}
	}
	return out
}

// sideMeasures are the angles of one side; outwards is +1 where the trunk's left
// axis points away from the body.
func sideMeasures(side string, hip, knee, ankle, heel, toe, shoulder, elbow, wrist joint, outwards float64) []measure {
	trunk := []joint{leftHip, rightHip, leftShoulder, rightShoulder}
	bend := func(a, b, c joint) func(body) (float64, bool) {
		return func(q body) (float64, bool) {
			d, ok := angle(q.to(b, a), q.to(b, c))
			return 180 - d, ok
		}
	}
	flexion := func(right, left, from, to joint) func(body) (float64, bool) {
		return func(b body) (float64, bool) {
			f, ok := b.frame(right, left)
			return turned(b.to(from, to), f[2], f[1], ok)
		}
	}
	abduction := func(right, left, from, to joint) func(body) (float64, bool) {
		return func(b body) (float64, bool) {
			f, ok := b.frame(right, left)
			return turned(b.to(from, to), f[0].times(outwards), f[1], ok)
		}
	}
	return []measure{
		{"hip_flexion", side, append([]joint{knee}, trunk...), flexion(rightHip, leftHip, hip, knee)},
		{"hip_abduction", side, append([]joint{knee}, trunk...), abduction(rightHip, leftHip, hip, knee)},
		{"knee_flexion", side, []joint{hip, knee, ankle}, bend(hip, knee, ankle)},
		{"ankle_dorsiflexion", side, []joint{knee, ankle, heel, toe}, func(b body) (float64, bool) {
			d, ok := angle(b.to(ankle, knee), b.to(heel, toe))
			return 90 - d, ok
		}},
		{"shoulder_flexion", side, append([]joint{elbow}, trunk...), flexion(rightShoulder, leftShoulder, shoulder, elbow)},
		{"shoulder_abduction", side, append([]joint{elbow}, trunk...), abduction(rightShoulder, leftShoulder, shoulder, elbow)},
		{"shoulder_elevation", side, append([]joint{elbow}, trunk...), func(b body) (float64, bool) {
			return angle(b.to(shoulder, elbow), b.trunk().times(-1))
		}},
		{"elbow_flexion", side, []joint{shoulder, elbow, wrist}, bend(shoulder, elbow, wrist)},
	}
}

// trunk points from the middle of the hips to the middle of the shoulders. The
// neck of a skeleton that has one lies elsewhere and is not used.
func (b body) trunk() vec {
	return b.at(leftShoulder).add(b.at(rightShoulder)).sub(b.at(leftHip)).sub(b.at(rightHip)).times(0.5)
}

// frame gives left, up and forward of the trunk.
func (b body) frame(right, left joint) ([3]vec, bool) {
	m, ok := frameOf(b.to(right, left), b.trunk(), false)
	if !ok {
		return [3]vec{}, false
	}
	return [3]vec{{m[0], m[3], m[6]}, {m[1], m[4], m[7]}, {m[2], m[5], m[8]}}, true
}

// turned is how far a segment is turned from straight down towards a direction.
func turned(segment, towards, up vec, ok bool) (float64, bool) {
	if !ok {
		return 0, false
	}
	t, d := segment.dot(towards), -segment.dot(up)
	if math.Hypot(t, d) < max(tiny, minProjection*segment.length()) {
		return 0, false
	}
	return degree(math.Atan2(t, d)), true
}
