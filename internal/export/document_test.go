package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/result"
)

func TestFramesOnceAndAgain(t *testing.T) {
	s := source(t, document(5, 2))
	for range 2 {
		var people []int
		err := s.Frames(func(f *result.Frame) error {
			people = append(people, len(f.People))
			return nil
		})
		if err != nil || len(people) != 5 || people[2] != 0 || people[4] != 1 {
			t.Fatalf("%v %v", people, err)
		}
	}
	if len(s.Head.Frames) != 0 || s.Head.Video.Frames != 5 || s.Head.People[0].ID != 3 {
		t.Errorf("head is %+v", s.Head)
	}
}

func TestAnInvalidDocumentIsRefused(t *testing.T) {
	if _, err := NewSource(strings.NewReader(`{"apiVersion":"pose.dev/v1alpha1"}`), roomy); err == nil || !strings.Contains(err.Error(), "pose.json is not valid") {
		t.Error(err)
	}
}

func TestUnknownMembersOfAnySizeAreSkipped(t *testing.T) {
	b, err := json.Marshal(document(2))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), `"kind":`, `"new":{"a":[`+strings.Repeat("1,", 1000)+`{"b":null}]},"kind":`, 1)
	s, err := NewSource(strings.NewReader(text), roomy)
	if err != nil {
		t.Fatal(err)
	}
	if out := must(t, s, "csv", Options{}); out["angles.csv"].Len() < 500 {
		t.Error(out["angles.csv"].String())
	}
}

// swapped is a file that is another one when it is read again.
type swapped struct {
	now   *bytes.Reader
	later []byte
	seeks int
}

func (s *swapped) Read(p []byte) (int, error) { return s.now.Read(p) }

func (s *swapped) Seek(int64, int) (int64, error) {
	if s.seeks++; s.seeks == 2 { // the first is for the head
		s.now = bytes.NewReader(s.later)
	} else {
		_, _ = s.now.Seek(0, io.SeekStart)
	}
	return 0, nil
}

func TestADocumentThatChangesWhileItIsRead(t *testing.T) {
	good, err := json.Marshal(document(3))
	if err != nil {
		t.Fatal(err)
	}
	longer, fewerJoints := document(4), document(3)
	for i := range fewerJoints.Frames {
		p := &fewerJoints.Frames[i].People[0]
		p.Joints2D, p.Joints3D = p.Joints2D[:2], p.Joints3D[:2]
	}
	other := document(3)
	other.Frames[1].People[0].ID = 99
	render := func(d *result.Document) []byte {
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, later := range map[string][]byte{
		"cut":            good[:len(good)/2],
		"empty":          nil,
		"another kind":   []byte("[1,2,3]"),
		"longer":         render(longer),
		"fewer joints":   render(fewerJoints),
		"another person": render(other),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := NewSource(&swapped{now: bytes.NewReader(good), later: later}, roomy)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := run(t, s, "trc", Options{}); !errors.Is(err, errChanged) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestSMPLOfAnotherResult(t *testing.T) {
	s := open(t, "smpl")
	if err := open(t, "mediapipe").Attach(s.SMPL, roomy); err == nil || !strings.Contains(err.Error(), "not of one result") {
		t.Error(err)
	}
}

func TestJointsOfEveryEngine(t *testing.T) {
	for name, names := range map[string][]string{
		"coco-17 and mediapipe-33": {"nose", "left_eye", "right_ear", "left_shoulder", "right_wrist", "left_hip", "right_knee", "left_ankle", "left_heel", "left_foot_index"},
		"body-25":                  {"Nose", "LEye", "REar", "LShoulder", "RWrist", "LHip", "RKnee", "LAnkle", "LHeel", "LBigToe"},
		"smpl-45":                  {"OP Nose", "OP LEye", "OP REar", "OP LShoulder", "OP RWrist", "OP LHip", "OP RKnee", "OP LAnkle", "OP LHeel", "OP LBigToe"},
		"with words":               {"Nose", "Left Eye", "Right Ear", "left-shoulder", "rightWrist", "leftHip", "right knee", "Left-Ankle", "left heel", "left big toe"},
	} {
		l := newLayout(names)
		for i, j := range []joint{nose, leftEye, rightEar, leftShoulder, rightWrist, leftHip, rightKnee, leftAnkle, leftHeel, leftBigToe} {
			if l[j] != i {
				t.Errorf("%s: %q is at %d, found at %d", name, names[i], i, l[j])
			}
		}
		if l.has(neck) || l.has(rightHip) || l.has(midHip) {
			t.Errorf("%s: it has joints that are not there", name)
		}
	}
}

func TestLabelsAreOfOneWordAndDiffer(t *testing.T) {
	got := labels([]string{"a b", "a_b", "a\tb", "ä", ""})
	want := []string{"a_b", "a_b_2", "a_b_3", "_", "__2"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%q, want %q", got, want)
			break
		}
	}
}

func TestNumbers(t *testing.T) {
	for want, f := range map[string]float64{"0": -0.00001, "1.5": 1.5, "100": 100, "-2.001": -2.0011} {
		var l line
		if got := string(l.fixed(f, 3).b); got != want {
			t.Errorf("%v is %s, want %s", f, got, want)
		}
	}
}

func TestTheMiddleOfTwoJointsIsAsVisibleAsTheWorse(t *testing.T) {
	l := newLayout([]string{"right_shoulder", "left_shoulder"})
	p := result.Person{Joints2D: [][3]float64{{10, 20, 0.9}, {30, 40, 0.3}}}
	if x, y, visibility, ok := l.pixel(&p, neck); !ok || x != 20 || y != 30 || visibility != 0.3 {
		t.Errorf("%v, %v, %v, %t", x, y, visibility, ok)
	}
	if _, _, _, ok := l.pixel(&p, midHip); ok {
		t.Error("it has hips")
	}
}
