package export

import "math"

// vec is a point or direction in three dimensions.
type vec [3]float64

func (a vec) add(b vec) vec       { return vec{a[0] + b[0], a[1] + b[1], a[2] + b[2]} }
func (a vec) sub(b vec) vec       { return vec{a[0] - b[0], a[1] - b[1], a[2] - b[2]} }
func (a vec) times(k float64) vec { return vec{a[0] * k, a[1] * k, a[2] * k} }
func (a vec) dot(b vec) float64   { return a[0]*b[0] + a[1]*b[1] + a[2]*b[2] }
func (a vec) length() float64     { return math.Sqrt(a.dot(a)) }

func (a vec) cross(b vec) vec {
	return vec{a[1]*b[2] - a[2]*b[1], a[2]*b[0] - a[0]*b[2], a[0]*b[1] - a[1]*b[0]}
}

// tiny is a length in metres below which a direction means nothing: the format's
// coordinates are rounded to a millimetre.
const tiny = 1e-4

// unit gives the direction of a; ok is false where a is too short to have one.
func (a vec) unit() (direction vec, ok bool) {
	n := a.length()
	if n < tiny {
		return vec{}, false
	}
	return a.times(1 / n), true
}

// without takes the part of a that is parallel to the unit vector b away.
func (a vec) without(b vec) vec { return a.sub(b.times(a.dot(b))) }

// yUp turns a point of the camera's frame (x right, y down, z forward) by 180°
// about x: x right, y up, z towards the camera. Both frames are right-handed.
func (a vec) yUp() vec { return vec{a[0], -a[1], -a[2]} }

// angle between two directions, in degrees, exact also near 0 and 180.
func angle(a, b vec) (degrees float64, ok bool) {
	if a.length() < tiny || b.length() < tiny {
		return 0, false
	}
	return degree(math.Atan2(a.cross(b).length(), a.dot(b))), true
}

func degree(radians float64) float64 { return radians * 180 / math.Pi }

// mat is a 3x3 matrix, row by row; rotations act on column vectors.
type mat [9]float64

var identity = mat{1, 0, 0, 0, 1, 0, 0, 0, 1}

// columns makes a matrix of its three columns.
func columns(x, y, z vec) mat {
	return mat{x[0], y[0], z[0], x[1], y[1], z[1], x[2], y[2], z[2]}
}

func (m mat) apply(v vec) vec {
	return vec{
		m[0]*v[0] + m[1]*v[1] + m[2]*v[2],
		m[3]*v[0] + m[4]*v[1] + m[5]*v[2],
		m[6]*v[0] + m[7]*v[1] + m[8]*v[2],
	}
}

func (m mat) times(n mat) mat {
	var out mat
	for r := range 3 {
		for c := range 3 {
			out[3*r+c] = m[3*r]*n[c] + m[3*r+1]*n[3+c] + m[3*r+2]*n[6+c]
		}
	}
	return out
}

func (m mat) transposed() mat {
	return mat{m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]}
}

// yUp changes the frame in which a rotation's results are seen, as vec.yUp does.
func (m mat) yUp() mat {
	return mat{m[0], m[1], m[2], -m[3], -m[4], -m[5], -m[6], -m[7], -m[8]}
}

// quat is a unit quaternion: w, x, y, z.
type quat [4]float64

// quaternion of a rotation matrix, normalised: a matrix that an engine rounded
// becomes a proper rotation. It takes the largest of the four components first
// (Shepperd, 1978), which is stable for every rotation.
func (m mat) quaternion() quat {
	trace := m[0] + m[4] + m[8]
	var q quat
	switch {
	case trace >= m[0] && trace >= m[4] && trace >= m[8]:
		q = quat{1 + trace, m[7] - m[5], m[2] - m[6], m[3] - m[1]}
	case m[0] >= m[4] && m[0] >= m[8]:
		q = quat{m[7] - m[5], 1 + m[0] - m[4] - m[8], m[1] + m[3], m[2] + m[6]}
	case m[4] >= m[8]:
		q = quat{m[2] - m[6], m[1] + m[3], 1 - m[0] + m[4] - m[8], m[5] + m[7]}
	default:
		q = quat{m[3] - m[1], m[2] + m[6], m[5] + m[7], 1 - m[0] - m[4] + m[8]}
	}
	return q.normalised()
}

func (q quat) normalised() quat {
	n := math.Sqrt(q[0]*q[0] + q[1]*q[1] + q[2]*q[2] + q[3]*q[3])
	if n < 1e-12 || math.IsNaN(n) {
		return quat{1, 0, 0, 0}
	}
	return quat{q[0] / n, q[1] / n, q[2] / n, q[3] / n}
}

func (q quat) matrix() mat {
	w, x, y, z := q[0], q[1], q[2], q[3]
	return mat{
		1 - 2*(y*y+z*z), 2 * (x*y - w*z), 2 * (x*z + w*y),
		2 * (x*y + w*z), 1 - 2*(x*x+z*z), 2 * (y*z - w*x),
		2 * (x*z - w*y), 2 * (y*z + w*x), 1 - 2*(x*x+y*y),
	}
}

// slerp goes from a (t = 0) to b (t = 1) at constant angular speed, the short way.
func slerp(a, b quat, t float64) quat {
	cos := a[0]*b[0] + a[1]*b[1] + a[2]*b[2] + a[3]*b[3]
	if cos < 0 {
		cos, b = -cos, quat{-b[0], -b[1], -b[2], -b[3]}
	}
	ka, kb := 1-t, t
	if cos < 1-1e-9 {
		theta := math.Acos(cos)
		ka, kb = math.Sin((1-t)*theta)/math.Sin(theta), math.Sin(t*theta)/math.Sin(theta)
	}
	var q quat
	for i := range q {
		q[i] = ka*a[i] + kb*b[i]
	}
	return q.normalised()
}

// swing is the smallest rotation that takes the unit vector a to the unit vector
// b: it turns about their normal and does not twist. Opposite vectors have no
// single normal; then it is half a turn about an axis across a.
func swing(a, b vec) mat {
	axis, cos := a.cross(b), a.dot(b)
	if cos < -1+1e-9 {
		side := vec{1, 0, 0}
		if math.Abs(a[0]) > 0.9 {
			side = vec{0, 0, 1}
		}
		side, _ = side.without(a).unit()
		return quat{0, side[0], side[1], side[2]}.matrix()
	}
	return quat{1 + cos, axis[0], axis[1], axis[2]}.normalised().matrix()
}

// eulerZXY gives degrees about z, x and y with m = Rz·Rx·Ry. At x = ±90°, where z
// and y turn about one axis, y is 0.
func (m mat) eulerZXY() vec {
	sin := max(-1, min(1, m[7]))
	if math.Abs(sin) > 1-1e-10 {
		return vec{degree(math.Atan2(m[3], m[0])), math.Copysign(90, sin), 0}
	}
	return vec{degree(math.Atan2(-m[1], m[4])), degree(math.Asin(sin)), degree(math.Atan2(-m[6], m[8]))}
}

// follow gives the angles of the same rotation that are nearest to those of the
// frame before, so that curves have no jumps: either of the two solutions, and
// whole turns.
func follow(before, now vec) vec {
	other := vec{now[0] + 180, 180 - now[1], now[2] + 180}
	best, far := now, math.Inf(1)
	for _, e := range []vec{now, other} {
		sum := 0.0
		for i := range e {
			e[i] -= 360 * math.Round((e[i]-before[i])/360)
			sum += math.Abs(e[i] - before[i])
		}
		if sum < far-1e-9 {
			best, far = e, sum
		}
	}
	return best
}
