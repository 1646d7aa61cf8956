package export

import (
	"strings"

	"github.com/pose-dev/pose-operator/internal/result"
)

// joint is a point of the body that formats name differently.
type joint int

// Joints that exporters know. Left and right are the person's own.
const (
	nose   joint = iota
	neck         // middle of the shoulders where a skeleton has none
	midHip       // middle of the hips where a skeleton has none
	head         // middle of the ears where a skeleton has none
	leftEye
	rightEye
	leftEar
	rightEar
	leftShoulder
	rightShoulder
	leftElbow
	rightElbow
	leftWrist
	rightWrist
	leftHip
	rightHip
	leftKnee
	rightKnee
	leftAnkle
	rightAnkle
	leftHeel
	rightHeel
	leftBigToe
	rightBigToe
	leftSmallToe
	rightSmallToe
	leftHand
	rightHand
	jointCount
)

// aliases are the names of joints in the skeletons that engines write, without
// case, blanks, underscores and dashes: those of coco-17 and mediapipe-33
// ("left_eye"), of OpenPose's body-25 ("LEye") and of SMPL's mappings ("OP LEye").
// The first that a skeleton has counts.
var aliases = [jointCount][]string{
	nose:   {"nose"},
	neck:   {"neck"},
	midHip: {"midhip", "pelvis", "hipcentre", "hipcenter"},
	head:   {"head"},

	leftEye: sided("l", "eye"), rightEye: sided("r", "eye"),
	leftEar: sided("l", "ear"), rightEar: sided("r", "ear"),
	leftShoulder: sided("l", "shoulder"), rightShoulder: sided("r", "shoulder"),
	leftElbow: sided("l", "elbow"), rightElbow: sided("r", "elbow"),
	leftWrist: sided("l", "wrist"), rightWrist: sided("r", "wrist"),
	leftHip: sided("l", "hip"), rightHip: sided("r", "hip"),
	leftKnee: sided("l", "knee"), rightKnee: sided("r", "knee"),
	leftAnkle: sided("l", "ankle"), rightAnkle: sided("r", "ankle"),
	leftHeel: sided("l", "heel"), rightHeel: sided("r", "heel"),
	leftBigToe: sided("l", "bigtoe", "footindex", "toe"), rightBigToe: sided("r", "bigtoe", "footindex", "toe"),
	leftSmallToe: sided("l", "smalltoe", "littletoe"), rightSmallToe: sided("r", "smalltoe", "littletoe"),
	leftHand: sided("l", "hand", "index", "middle1"), rightHand: sided("r", "hand", "index", "middle1"),
}

func sided(side string, parts ...string) []string {
	long := map[string]string{"l": "left", "r": "right"}[side]
	var names []string
	for _, p := range parts {
		names = append(names, long+p, side+p)
	}
	return names
}

// plain takes from a joint's name what skeletons write differently.
func plain(name string) string {
	s := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return -1
	}, name)
	return strings.TrimPrefix(strings.TrimPrefix(s, "openpose"), "op")
}

// layout says where a skeleton has each joint.
type layout [jointCount]int

func newLayout(names []string) layout {
	at := make(map[string]int, len(names))
	for i := len(names) - 1; i >= 0; i-- { // of equal names the first counts
		at[plain(names[i])] = i
	}
	var l layout
	for j := range l {
		l[j] = -1
		for _, a := range aliases[j] {
			if i, ok := at[a]; ok {
				l[j] = i
				break
			}
		}
	}
	return l
}

// middle gives the two joints whose middle stands for j where a skeleton lacks it.
func middle(j joint) (a, b joint, ok bool) {
	switch j {
	case neck:
		return leftShoulder, rightShoulder, true
	case midHip:
		return leftHip, rightHip, true
	case head:
		return leftEar, rightEar, true
	}
	return 0, 0, false
}

// sources gives the one or two entries of a skeleton that make j; none where the
// skeleton has no such joint.
func (l *layout) sources(j joint) []int {
	if l[j] >= 0 {
		return []int{l[j]}
	}
	if a, b, ok := middle(j); ok && l[a] >= 0 && l[b] >= 0 {
		return []int{l[a], l[b]}
	}
	return nil
}

func (l *layout) has(joints ...joint) bool {
	for _, j := range joints {
		if l.sources(j) == nil {
			return false
		}
	}
	return true
}

// pixel is j in the picture with its visibility; that of a middle is the smaller one.
func (l *layout) pixel(p *result.Person, j joint) (x, y, visibility float64, ok bool) {
	from := l.sources(j)
	if from == nil {
		return 0, 0, 0, false
	}
	visibility = 1
	for _, i := range from {
		q := p.Joints2D[i]
		x, y, visibility = x+q[0]/float64(len(from)), y+q[1]/float64(len(from)), min(visibility, q[2])
	}
	return x, y, visibility, true
}

// point is j in metres, in whatever frame and origin the joints have; zero where
// the skeleton has no such joint.
func (l *layout) point(joints []vec, j joint) vec {
	from := l.sources(j)
	if from == nil {
		return vec{}
	}
	var sum vec
	for _, i := range from {
		sum = sum.add(joints[i])
	}
	return sum.times(1 / float64(len(from)))
}
