package export

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
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
	if err := attach(t, open(t, "mediapipe"), "smpl/smpl.npz"); err == nil || !strings.Contains(err.Error(), "not of one result") {
		t.Error(err)
	}
}

// inflated is testdata/smpl/smpl.npz with n equal entries, in which each person is
// seen once in a frame. It has a few hundred kilobytes, whatever n is.
func inflated(t *testing.T, n int) []byte {
	t.Helper()
	old, err := zip.OpenReader(filepath.Join("testdata", "smpl", "smpl.npz"))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	identity := func(joints int) []byte {
		return bytes.Repeat(floats(1, 0, 0, 0, 1, 0, 0, 0, 1), joints)
	}
	inner := map[string]struct {
		descr, shape string
		item         []byte
	}{
		"observed": {"|b1", "", []byte{1}}, "global_orient": {"<f4", "3, 3", identity(1)}, "body_pose": {"<f4", "23, 3, 3", identity(23)},
		"betas": {"<f4", "10", floats(make([]float32, 10)...)}, "translation": {"<f4", "3", floats(0, 0, 5)}, "id": {}, "frame": {},
	}
	for _, f := range old.File {
		w, err := z.Create(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(f.Name, ".npy")
		a, again := inner[name]
		switch {
		case !again:
			r, err := f.Open()
			if err == nil {
				_, err = io.Copy(w, r)
			}
			if err != nil {
				t.Fatal(err)
			}
			continue
		case a.descr == "":
			a.descr = "<i4"
		}
		header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%d, %s), }\n", a.descr, n, a.shape)
		_, _ = w.Write(append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), 0)) // to memory, as all that follows
		_, _ = io.WriteString(w, header)
		for i := range n {
			switch name { // two people in each frame
			case "frame":
				a.item = binary.LittleEndian.AppendUint32(nil, uint32(i/2))
			case "id":
				a.item = binary.LittleEndian.AppendUint32(nil, uint32(i%2+1))
			}
			_, _ = w.Write(a.item)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func floats(values ...float32) []byte {
	var out []byte
	for _, f := range values {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(f))
	}
	return out
}

// TestSMPLIsComparedBeforeItIsLoaded: a small file that unpacks to far more than the
// document has entries for is refused without the memory that it asks for.
func TestSMPLIsComparedBeforeItIsLoaded(t *testing.T) {
	const entries = 100_000 // 108 MB once they are loaded
	b := inflated(t, entries)
	s := open(t, "smpl")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := s.Attach(bytes.NewReader(b), int64(len(b)), roomy)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "not of one result") {
		t.Fatalf("error %v", err)
	}
	if taken := after.TotalAlloc - before.TotalAlloc; len(b) > 2<<20 || taken > 32<<20 {
		t.Errorf("a file of %d bytes took %d bytes of memory", len(b), taken)
	}
}

// TestAPersonWithoutParameters: what was checked may be another file by now.
func TestAPersonWithoutParameters(t *testing.T) {
	for name, change := range map[string]func(*Source){
		"an id that is not in smpl.npz": func(s *Source) { s.Head.People[0].ID = 77 },
		"an id without entries":         func(s *Source) { s.SMPL.ID = make([]int32, len(s.SMPL.ID)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, "smpl")
			change(s)
			if _, err := run(t, s, "bvh", Options{}); !errors.Is(err, errChanged) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestNamesThatDifferByCase: encoding/json, which reads frames here, would take the
// second for the first, and the last for the truth.
func TestNamesThatDifferByCase(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "smpl", "pose.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, twin := range []string{`"FRAMES":3000000,"frames":`, `"frames":12,"Frames":`} {
		text := strings.Replace(string(b), `"frames":`, twin, 1)
		if _, err := NewSource(strings.NewReader(text), roomy); err == nil || !strings.Contains(err.Error(), "by case only") {
			t.Errorf("%s: error %v", twin, err)
		}
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
