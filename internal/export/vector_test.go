package export

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func rx(d float64) mat {
	s, c := math.Sincos(d * math.Pi / 180)
	return mat{1, 0, 0, 0, c, -s, 0, s, c}
}

func ry(d float64) mat {
	s, c := math.Sincos(d * math.Pi / 180)
	return mat{c, 0, s, 0, 1, 0, -s, 0, c}
}

func rz(d float64) mat {
	s, c := math.Sincos(d * math.Pi / 180)
	return mat{c, -s, 0, s, c, 0, 0, 0, 1}
}

func far(a, b mat) float64 {
	worst := 0.0
	for i := range a {
		worst = max(worst, math.Abs(a[i]-b[i]))
	}
	return worst
}

func anyRotation(t *rapid.T) mat {
	turn := rapid.Float64Range(-180, 180)
	return rz(turn.Draw(t, "z")).times(rx(turn.Draw(t, "x"))).times(ry(turn.Draw(t, "y")))
}

func TestEulerAnglesGiveTheRotationBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyRotation(t)
		before := vec{rapid.Float64Range(-400, 400).Draw(t, "bz"), rapid.Float64Range(-400, 400).Draw(t, "bx"), rapid.Float64Range(-400, 400).Draw(t, "by")}
		for _, e := range []vec{m.eulerZXY(), follow(before, m.eulerZXY())} {
			if d := far(m, rz(e[0]).times(rx(e[1])).times(ry(e[2]))); d > 1e-6 {
				t.Fatalf("%v gives a matrix that differs by %v", e, d)
			}
		}
	})
}

func TestEulerAnglesWhereTwoAxesFallTogether(t *testing.T) {
	for _, x := range []float64{90, -90} {
		m := rz(30).times(rx(x)).times(ry(20))
		e := m.eulerZXY()
		if d := far(m, rz(e[0]).times(rx(e[1])).times(ry(e[2]))); d > 1e-6 || e[2] != 0 {
			t.Errorf("x = %v: %v differs by %v", x, e, d)
		}
	}
}

func TestAnglesDoNotJump(t *testing.T) {
	last := vec{}
	for i := range 200 {
		now := follow(last, rz(float64(3*i)).times(rx(float64(2*i))).eulerZXY())
		if i > 0 {
			for k := range now {
				if math.Abs(now[k]-last[k]) > 4 {
					t.Fatalf("step %d: from %v to %v", i, last, now)
				}
			}
		}
		last = now
	}
	if last[0] < 500 {
		t.Errorf("after three turns about z the angle is %v", last[0])
	}
}

func TestQuaternionsGiveTheRotationBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyRotation(t)
		if d := far(m, m.quaternion().matrix()); d > 1e-9 {
			t.Fatalf("differs by %v", d)
		}
	})
	for _, m := range []mat{identity, rx(180), ry(180), rz(180)} {
		if d := far(m, m.quaternion().matrix()); d > 1e-9 {
			t.Errorf("half a turn: differs by %v", d)
		}
	}
}

func TestSlerpTurnsEvenlyTheShortWay(t *testing.T) {
	a, b := rz(170).quaternion(), rz(-170).quaternion() // 20 degrees apart across 180
	for _, k := range []float64{0, 0.25, 0.5, 1} {
		if d := far(slerp(a, b, k).matrix(), rz(170+20*k)); d > 1e-9 {
			t.Errorf("at %v it differs by %v", k, d)
		}
	}
	if q := slerp(a, a, 0.3); far(q.matrix(), rz(170)) > 1e-9 {
		t.Errorf("between equal rotations: %v", q)
	}
}

func TestSwingTakesOneDirectionToTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := anyRotation(t).apply(vec{0, 1, 0})
		b := anyRotation(t).apply(vec{1, 0, 0})
		got := swing(a, b).apply(a)
		if got.sub(b).length() > 1e-5 {
			t.Fatalf("%v to %v gives %v", a, b, got)
		}
		axis, ok := a.cross(b).unit()
		if ok && swing(a, b).apply(axis).sub(axis).length() > 1e-5 {
			t.Fatalf("it twists: the axis %v moves", axis)
		}
	})
	for _, a := range []vec{{1, 0, 0}, {0, 1, 0}, {0, 0, -1}} {
		if got := swing(a, a.times(-1)).apply(a); got.add(a).length() > 1e-9 {
			t.Errorf("%v to its opposite gives %v", a, got)
		}
	}
}

func TestYUpIsARotation(t *testing.T) {
	x, y, z := vec{1, 0, 0}.yUp(), vec{0, 1, 0}.yUp(), vec{0, 0, 1}.yUp()
	if x.cross(y) != z {
		t.Error("it mirrors")
	}
	if got := rx(10).yUp(); far(got, rx(180).times(rx(10))) > 1e-12 {
		t.Errorf("a rotation becomes %v", got)
	}
}
