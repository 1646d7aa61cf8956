package export

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/result"
)

// pose places the joints of a BVH file in centimetres: by frame, then in the order of
// the hierarchy. It knows only what this package writes.
func pose(t *testing.T, text string) (names []string, places [][]vec) {
	t.Helper()
	number := func(s string) float64 {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	hierarchy, motion, _ := strings.Cut(text, "MOTION\n")
	var offsets []vec
	var parents, open []int
	end := false
	for _, l := range strings.Split(hierarchy, "\n") {
		switch f := strings.Fields(l); {
		case len(f) == 0:
		case f[0] == "ROOT" || f[0] == "JOINT":
			parent := -1
			if len(open) > 0 {
				parent = open[len(open)-1]
			}
			open, parents, names = append(open, len(names)), append(parents, parent), append(names, f[1])
		case f[0] == "End":
			end = true
		case f[0] == "OFFSET" && !end:
			offsets = append(offsets, vec{number(f[1]), number(f[2]), number(f[3])})
		case f[0] == "}" && end:
			end = false
		case f[0] == "}":
			open = open[:len(open)-1]
		}
	}
	for _, l := range strings.Split(strings.TrimSpace(motion), "\n")[2:] {
		var c []float64
		for _, f := range strings.Fields(l) {
			c = append(c, number(f))
		}
		place, turn := make([]vec, len(names)), make([]mat, len(names))
		for i := range names {
			r := c[3+3*i:]
			local := rz(r[0]).times(rx(r[1])).times(ry(r[2]))
			if p := parents[i]; p < 0 {
				place[i], turn[i] = vec{c[0], c[1], c[2]}, local
			} else {
				place[i], turn[i] = place[p].add(turn[p].apply(offsets[i])), turn[p].times(local)
			}
		}
		places = append(places, place)
	}
	return names, places
}

func TestSMPLPosedByItsBVHIsPoseJSON(t *testing.T) {
	s := open(t, "smpl")
	index := map[string]int{}
	for i, n := range s.Head.Skeleton.Joints {
		index[n] = i
	}
	for id, name := range map[int64]string{1: "person-1.bvh", 2: "person-2.bvh"} {
		names, places := pose(t, must(t, s, "bvh", Options{})[name].String())
		first := s.Head.People[id-1].FirstFrame
		err := s.Frames(func(f *result.Frame) error {
			for i := range f.People {
				if f.People[i].ID != id {
					continue
				}
				joints := cameraJoints(&f.People[i])
				for k, n := range names {
					want := joints[index[n]].yUp().times(centimetres)
					if d := places[f.Index-first][k].sub(want).length(); d > 0.1 {
						t.Fatalf("%s, frame %d, %s: %v cm away", name, f.Index, n, d)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAGapIsCrossedEvenly(t *testing.T) {
	// Person 1 of the made-up result is absent in frames 8 to 10.
	_, places := pose(t, must(t, open(t, "smpl"), "bvh", Options{})["person-1.bvh"].String())
	for i, k := range []float64{0.25, 0.5, 0.75} {
		want := places[7][0].times(1 - k).add(places[11][0].times(k))
		if d := places[8+i][0].sub(want).length(); d > 0.01 {
			t.Errorf("frame %d: the root is %v cm off the line", 8+i, d)
		}
	}
}

func TestCurvesOfBVHDoNotJump(t *testing.T) {
	d := document(40)
	for i := range d.Frames { // turns about its height, twice
		for k, p := range d.Frames[i].People[0].Joints3D {
			q := ry(18 * float64(i)).apply(vec(p).yUp()).yUp()
			d.Frames[i].People[0].Joints3D[k] = q
		}
	}
	text := must(t, source(t, d), "bvh", Options{})["person-3.bvh"].String()
	_, motion, _ := strings.Cut(text, "MOTION\n")
	last := 0.0
	for i, l := range strings.Split(strings.TrimSpace(motion), "\n")[2:] {
		y, err := strconv.ParseFloat(strings.Fields(l)[5], 64)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && math.Abs(y-last-18) > 0.1 {
			t.Fatalf("frame %d: the hips turn from %v to %v", i, last, y)
		}
		last = y
	}
}

func TestC3DMarksAbsentPoints(t *testing.T) {
	b := must(t, source(t, document(5, 1, 2)), "c3d", Options{})["person-3.c3d"].Bytes()
	le := binary.LittleEndian
	if b[0] != 2 || b[1] != 0x50 || le.Uint16(b[2:]) != 16 || le.Uint16(b[6:]) != 1 || le.Uint16(b[8:]) != 5 || len(b)%c3dBlock != 0 {
		t.Fatalf("header %v of %d bytes", b[:24], len(b))
	}
	if rate := math.Float32frombits(le.Uint32(b[20:])); rate != 25 {
		t.Errorf("rate %v", rate)
	}
	start := (int(le.Uint16(b[16:])) - 1) * c3dBlock
	if blocks := int(b[c3dBlock+2]); start != (1+blocks)*c3dBlock {
		t.Errorf("data begin at %d behind %d blocks of parameters", start, blocks)
	}
	for frame := range 5 {
		var p [4]float32
		for i := range p {
			p[i] = math.Float32frombits(le.Uint32(b[start+frame*16*16+4*i:]))
		}
		want := [4]float32{200, 500, 0, 0} // left shoulder in mm
		if frame == 1 || frame == 2 {
			want = [4]float32{3: -1}
		}
		if p != want {
			t.Errorf("frame %d: %v, want %v", frame, p, want)
		}
	}
}

func TestGapsAreNamed(t *testing.T) {
	m := motion{frames: []int64{2, 3, 7, 8, 9, 11}, seen: []bool{true, false, true, false, false, true}}
	absent, guessed := m.gaps()
	if a, g := listed(absent), listed(guessed); a != "4-6, 10" || g != "3, 8-9" {
		t.Errorf("absent %s, guessed %s", a, g)
	}
	if got := listed(make([]string, maxRuns+2)); !strings.HasSuffix(got, "and 2 more runs") {
		t.Error(got)
	}
}

func TestBonesAreMeasuredWhereAPersonWasSeen(t *testing.T) {
	d := document(3)
	no := false
	p := &d.Frames[1].People[0]
	p.Observed, d.People[0].FramesSeen = &no, 2
	for i := range p.Joints3D { // a guess of twice the size
		p.Joints2D[i][2] = 0
		p.Joints3D[i] = [3]float64(vec(p.Joints3D[i]).times(2))
	}
	text := must(t, source(t, d), "bvh", Options{})["person-3.bvh"].String()
	if !strings.Contains(text, "JOINT left_knee\n    {\n      OFFSET 0 -45 0\n") {
		t.Error(text)
	}
}

func TestTheSpineFollowsTheTrunk(t *testing.T) {
	d := document(2)
	p := &d.Frames[1].People[0] // the left shoulder goes up by 20 cm and to the front
	k := newLayout(d.Skeleton.Joints)[leftShoulder]
	p.Joints3D[k][1] -= 0.2
	p.Joints3D[k][2] -= 0.1
	names, places := pose(t, must(t, source(t, d), "bvh", Options{})["person-3.bvh"].String())
	neckAt := 0
	for i, n := range names {
		if n == "left_shoulder" || n == "right_shoulder" {
			neckAt = i
		}
	}
	// The test's skeleton has no head, so no neck bone: the middle of the shoulders.
	middle := places[1][neckAt].add(places[1][neckAt-2]).times(0.5)
	want := vec{0, 60, 5}
	if degrees, _ := angle(middle.sub(places[1][0]), want); degrees > 0.5 {
		t.Errorf("the trunk goes to %v, want along %v: %v degrees off", middle, want, degrees)
	}
}
