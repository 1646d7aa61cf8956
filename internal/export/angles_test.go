package export

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// person is a body in metres, Y up, that stands upright facing +z; left is +x.
func person() map[joint]vec {
	return map[joint]vec{
		leftHip: {0.1, 1, 0}, rightHip: {-0.1, 1, 0},
		leftKnee: {0.1, 0.55, 0}, rightKnee: {-0.1, 0.55, 0},
		leftAnkle: {0.1, 0.1, 0}, rightAnkle: {-0.1, 0.1, 0},
		leftHeel: {0.1, 0, -0.05}, rightHeel: {-0.1, 0, -0.05},
		leftBigToe: {0.1, 0, 0.15}, rightBigToe: {-0.1, 0, 0.15},
		leftShoulder: {0.2, 1.5, 0}, rightShoulder: {-0.2, 1.5, 0},
		leftElbow: {0.2, 1.2, 0}, rightElbow: {-0.2, 1.2, 0},
		leftWrist: {0.2, 0.9, 0}, rightWrist: {-0.2, 0.9, 0},
	}
}

// angled gives all angles of a body, rounded to a hundredth of a degree.
func angled(at map[joint]vec) map[string]float64 {
	var l layout
	joints := make([]vec, jointCount)
	for j := range l {
		l[j] = -1
		if p, ok := at[joint(j)]; ok {
			l[j], joints[j] = j, p
		}
	}
	out := map[string]float64{}
	for _, m := range measures(&l) {
		if v, ok := m.of(body{layout: &l, joints: joints}); ok {
			out[m.side+" "+m.name] = math.Round(v*100)/100 + 0 // no negative zero
		}
	}
	return out
}

func upright() map[string]float64 {
	want := map[string]float64{"none trunk_inclination": 0}
	for _, side := range []string{"left", "right"} {
		for _, a := range []string{
			"hip_flexion", "hip_abduction", "knee_flexion", "ankle_dorsiflexion",
			"shoulder_flexion", "shoulder_abduction", "shoulder_elevation", "elbow_flexion",
		} {
			want[side+" "+a] = 0
		}
	}
	return want
}

func TestAngles(t *testing.T) {
	const gone = -1000 // no such angle
	for name, tc := range map[string]struct {
		move map[joint]vec
		want map[string]float64
	}{
		"upright: all angles are 0": {nil, nil},
		"heel to the back: knee bent square, foot with the shank": {
			map[joint]vec{leftAnkle: {0.1, 0.55, -0.45}, leftHeel: {0.1, 0.60, -0.55}, leftBigToe: {0.1, 0.40, -0.55}},
			map[string]float64{"left knee_flexion": 90},
		},
		"thigh level to the front, shank down": {
			map[joint]vec{rightKnee: {-0.1, 1, 0.45}, rightAnkle: {-0.1, 0.55, 0.45}, rightHeel: {-0.1, 0.45, 0.4}, rightBigToe: {-0.1, 0.45, 0.6}},
			map[string]float64{"right hip_flexion": 90, "right knee_flexion": 90, "right hip_abduction": gone},
		},
		"leg 45 degrees to the back": {
			map[joint]vec{leftKnee: {0.1, 0.7, -0.3}, leftAnkle: {0.1, 0.4, -0.6}, leftHeel: {0.1, 0.4, -0.65}, leftBigToe: {0.1, 0.2, -0.45}},
			map[string]float64{"left hip_flexion": -45, "left ankle_dorsiflexion": 0},
		},
		"legs spread by 30 degrees each": {
			map[joint]vec{
				leftKnee: {0.1 + 0.225, 1 - 0.225*math.Sqrt(3), 0}, rightKnee: {-0.1 - 0.225, 1 - 0.225*math.Sqrt(3), 0},
				leftAnkle: {0.1 + 0.45, 1 - 0.45*math.Sqrt(3), 0}, rightAnkle: {-0.1 - 0.45, 1 - 0.45*math.Sqrt(3), 0},
			},
			map[string]float64{"left hip_abduction": 30, "right hip_abduction": 30},
		},
		"toes up by 20 degrees": {
			map[joint]vec{leftBigToe: {0.1, 0.2 * math.Sin(20*math.Pi/180), -0.05 + 0.2*math.Cos(20*math.Pi/180)}},
			map[string]float64{"left ankle_dorsiflexion": 20},
		},
		"toes down by 20 degrees": {
			map[joint]vec{leftBigToe: {0.1, -0.2 * math.Sin(20*math.Pi/180), -0.05 + 0.2*math.Cos(20*math.Pi/180)}},
			map[string]float64{"left ankle_dorsiflexion": -20},
		},
		"forearm level to the front": {
			map[joint]vec{leftWrist: {0.2, 1.2, 0.3}},
			map[string]float64{"left elbow_flexion": 90},
		},
		"right arm level to the side": {
			map[joint]vec{rightElbow: {-0.5, 1.5, 0}, rightWrist: {-0.8, 1.5, 0}},
			map[string]float64{"right shoulder_abduction": 90, "right shoulder_elevation": 90, "right shoulder_flexion": gone},
		},
		"left arm overhead": {
			map[joint]vec{leftElbow: {0.2, 1.8, 0}, leftWrist: {0.2, 2.1, 0}},
			map[string]float64{"left shoulder_elevation": 180, "left shoulder_flexion": 180, "left shoulder_abduction": 180},
		},
		"an elbow on its shoulder has no direction": {
			map[joint]vec{leftElbow: {0.2, 1.5, 0}, leftWrist: {0.2, 1.2, 0}},
			map[string]float64{"left shoulder_elevation": gone, "left shoulder_flexion": gone, "left shoulder_abduction": gone, "left elbow_flexion": gone},
		},
	} {
		t.Run(name, func(t *testing.T) {
			at, want := person(), upright()
			for j, p := range tc.move {
				at[j] = p
			}
			for k, v := range tc.want {
				if want[k] = v; v == gone {
					delete(want, k)
				}
			}
			if d := cmp.Diff(want, angled(at)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAnglesDoNotDependOnWhereAPersonFaces(t *testing.T) {
	at := person()
	at[leftKnee], at[leftAnkle] = vec{0.15, 0.7, 0.3}, vec{0.2, 0.3, 0.2}
	at[rightElbow], at[rightWrist] = vec{-0.4, 1.3, 0.1}, vec{-0.5, 1.4, 0.3}
	want := angled(at)
	turned := map[joint]vec{}
	for j, p := range at {
		turned[j] = ry(123).apply(p).add(vec{3, -1, -5})
	}
	if d := cmp.Diff(want, angled(turned)); d != "" {
		t.Error(d)
	}
	bent := map[joint]vec{}
	for j, p := range at {
		bent[j] = rx(30).apply(p)
	}
	want["none trunk_inclination"] = 30
	if d := cmp.Diff(want, angled(bent)); d != "" {
		t.Error(d)
	}
}

func TestAnglesThatASkeletonHasNoJointsFor(t *testing.T) {
	at := person()
	delete(at, leftHeel)
	got := angled(at)
	if _, ok := got["left ankle_dorsiflexion"]; ok || len(got) != len(upright())-1 {
		t.Errorf("%v", got)
	}
}
