package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/result"
)

// files is a folder in memory; its create is a Create.
type files map[string]*bytes.Buffer

type memory struct{ *bytes.Buffer }

func (memory) Close() error { return nil }

func (f files) create(name string) (io.WriteCloser, error) {
	if f[name] != nil {
		return nil, fmt.Errorf("%s twice", name)
	}
	f[name] = new(bytes.Buffer)
	return memory{f[name]}, nil
}

var roomy = result.Limits{Bytes: 1 << 30}

func open(t *testing.T, folder string) *Source {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", folder, "pose.json"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s, err := NewSource(f, roomy)
	if err != nil {
		t.Fatal(err)
	}
	if p := s.Head.Parametric; p != nil {
		if err := attach(t, s, folder+"/"+p.File); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// attach the parameters of a file in testdata.
func attach(t *testing.T, s *Source, file string) error {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	return s.Attach(bytes.NewReader(b), int64(len(b)), roomy)
}

func run(t *testing.T, s *Source, format string, o Options) (files, error) {
	t.Helper()
	f, err := Find(format)
	if err != nil {
		t.Fatal(err)
	}
	out := files{}
	err = Export(s, f, o, out.create)
	return out, err
}

func must(t *testing.T, s *Source, format string, o Options) files {
	t.Helper()
	out, err := run(t, s, format, o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// document has one person with the joints of person() who stands 4 m away, in all
// frames but the absent ones.
func document(frames int64, absent ...int64) *result.Document {
	d := &result.Document{
		APIVersion: result.APIVersion, Kind: result.KindResult,
		Video:       result.Video{Width: 640, Height: 480, FPS: 25, Frames: frames, StartFrame: 7},
		Engine:      result.Engine{Name: "e", Version: "1", Device: "CPU", Models: []result.Model{}},
		Skeleton:    result.Skeleton{Name: "test", Edges: [][2]int{}},
		Units:       result.Units{BBox: "pixels", Joints2D: "pixels", Joints3D: "metres"},
		Coordinates: result.Coordinates{Image: "x-right-y-down", Joints3D: "x-right-y-down-z-forward", Joints3DOrigin: "hip-centre"},
		People:      []result.Track{{ID: 3, LastFrame: frames - 1, FramesSeen: frames - int64(len(absent))}},
	}
	at := person()
	order := slices.Sorted(maps.Keys(at))
	names := map[joint]string{}
	for _, k := range cocoJoints {
		names[k.of] = k.name
	}
	names[leftHeel], names[rightHeel], names[leftBigToe], names[rightBigToe] = "LHeel", "RHeel", "LBigToe", "RBigToe"
	for _, j := range order {
		d.Skeleton.Joints = append(d.Skeleton.Joints, names[j])
	}
	for i := range frames {
		f := result.Frame{Index: i, People: []result.Person{}}
		if !slices.Contains(absent, i) {
			p := result.Person{ID: 3, BBox: [4]float64{100, 50, 80, 200}, Score: 0.75}
			for _, j := range order {
				q := at[j]
				p.Joints2D = append(p.Joints2D, [3]float64{100 + 10*float64(j), 200 + float64(i), 0.9})
				p.Joints3D = append(p.Joints3D, [3]float64{q[0], 1 - q[1], -q[2]})
			}
			f.People = append(f.People, p)
		}
		d.Frames = append(d.Frames, f)
	}
	return d
}

func source(t *testing.T, d *result.Document) *Source {
	t.Helper()
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSource(bytes.NewReader(b), roomy)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryFormatIsTheSameTwice(t *testing.T) {
	for _, folder := range []string{"mediapipe", "smpl"} {
		for _, f := range Formats() {
			s := open(t, folder)
			first, second := must(t, s, f.Name, Options{}), must(t, s, f.Name, Options{})
			if len(first) == 0 {
				t.Errorf("%s of %s: no files", f.Name, folder)
			}
			for name, b := range first {
				if !bytes.Equal(b.Bytes(), second[name].Bytes()) {
					t.Errorf("%s of %s: %s differs", f.Name, folder, name)
				}
			}
		}
	}
}

func TestCOCO(t *testing.T) {
	d := document(2)
	d.Frames[1].People[0].Joints2D[slices.Index(d.Skeleton.Joints, "left_knee")][2] = 0.4
	out := must(t, source(t, d), "coco", Options{})
	var dataset struct {
		Images      []map[string]any `json:"images"`
		Annotations []struct {
			ID, Num   int
			ImageID   int       `json:"image_id"`
			TrackID   int       `json:"track_id"`
			Keypoints []float64 `json:"keypoints"`
			Labelled  int       `json:"num_keypoints"`
			BBox      []float64 `json:"bbox"`
			Area      float64   `json:"area"`
		} `json:"annotations"`
	}
	if err := json.Unmarshal(out["coco.json"].Bytes(), &dataset); err != nil {
		t.Fatal(err)
	}
	if len(dataset.Images) != 2 || len(dataset.Annotations) != 2 || dataset.Images[1]["file_name"] != "000000000001.jpg" || dataset.Images[1]["source_frame"] != 8.0 {
		t.Fatalf("%+v", dataset)
	}
	a := dataset.Annotations[1]
	// The test's skeleton has no face: 5 of 17 are not labelled.
	if a.ID != 2 || a.ImageID != 2 || a.TrackID != 3 || a.Labelled != 12 || a.Area != 16000 || !slices.Equal(a.BBox, []float64{100, 50, 80, 200}) {
		t.Errorf("%+v", a)
	}
	for i, want := range map[int][]float64{0: {0, 0, 0}, 5: {180, 201, 2}, 13: {260, 201, 1}, 14: {270, 201, 2}} {
		if got := a.Keypoints[3*i : 3*i+3]; !slices.Equal(got, want) {
			t.Errorf("keypoint %d is %v, want %v", i, got, want)
		}
	}
}

func TestCOCOHasGuessesAsNotVisible(t *testing.T) {
	var dataset struct {
		Annotations []struct {
			Observed  bool      `json:"observed"`
			Keypoints []float64 `json:"keypoints"`
		} `json:"annotations"`
	}
	d := document(3)
	no := false
	d.Frames[1].People[0].Observed, d.People[0].FramesSeen = &no, 2
	for i := range d.Frames[1].People[0].Joints2D {
		d.Frames[1].People[0].Joints2D[i][2] = 0
	}
	if err := json.Unmarshal(must(t, source(t, d), "coco", Options{})["coco.json"].Bytes(), &dataset); err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{2, 1, 2} {
		if a := dataset.Annotations[i]; a.Observed != (want == 2) || a.Keypoints[3*5+2] != want {
			t.Errorf("frame %d: %+v", i, a)
		}
	}
}

func TestOpenPoseHasTheOrderOfBODY25(t *testing.T) {
	var f struct {
		People []struct {
			Keypoints []float64 `json:"pose_keypoints_2d"`
			Solid     []float64 `json:"pose_keypoints_3d"`
		} `json:"people"`
	}
	if err := json.Unmarshal(must(t, source(t, document(1)), "openpose", Options{})["pose_000000000000_keypoints.json"].Bytes(), &f); err != nil {
		t.Fatal(err)
	}
	p := f.People[0]
	if len(p.Keypoints) != 75 || len(p.Solid) != 100 {
		t.Fatalf("%d and %d numbers", len(p.Keypoints), len(p.Solid))
	}
	// A joint of the test's document stands at 100 + 10 times its number.
	for place, j := range map[int]joint{2: rightShoulder, 5: leftShoulder, 7: leftWrist, 9: rightHip, 14: leftAnkle, 19: leftBigToe, 24: rightHeel} {
		if want := 100 + 10*float64(j); p.Keypoints[3*place] != want {
			t.Errorf("place %d has x %v, want %v", place, p.Keypoints[3*place], want)
		}
	}
	if p.Keypoints[3*1] != 185 || p.Keypoints[3*1+2] != 0.9 || p.Keypoints[0] != 0 || p.Keypoints[2] != 0 {
		t.Errorf("neck and nose: %v", p.Keypoints[:6])
	}
	if got := p.Solid[4*5 : 4*5+4]; !slices.Equal(got, []float64{0.2, -0.5, 0, 0.9}) {
		t.Errorf("left shoulder in the camera's frame: %v", got)
	}
}

func TestOpenPoseLeavesOutWhoWasNotSeen(t *testing.T) {
	d := document(3)
	no := false
	p := &d.Frames[1].People[0]
	p.Observed = &no
	for i := range p.Joints2D {
		p.Joints2D[i][2] = 0
	}
	d.People[0].FramesSeen = 2
	out := must(t, source(t, d), "openpose", Options{Stem: "walk"})
	for i, want := range []string{`"person_id":[3]`, `{"version":1.3,"people":[]}`, `"person_id":[3]`} {
		if got := out[fmt.Sprintf("walk_%012d_keypoints.json", i)].String(); !strings.Contains(got, want) {
			t.Errorf("frame %d: want %s in %s", i, want, got)
		}
	}
}

func TestTRC(t *testing.T) {
	d := document(4, 1, 2)
	d.Skeleton.Joints[0] = "left\teye" // a name must not break the table
	out := must(t, source(t, d), "trc", Options{CaptureFPS: 50})
	lines := strings.Split(out["person-3.trc"].String(), "\n")
	want := []string{
		"PathFileType\t4\t(X/Y/Z)\tmonocular-estimate_person-3.trc",
		"DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
		"50\t50\t4\t16\tmm\t50\t1\t4",
	}
	if d := cmp.Diff(want, lines[:3]); d != "" {
		t.Error(d)
	}
	if !strings.HasPrefix(lines[3], "Frame#\tTime\tleft_eye\t\t\tright_shoulder\t\t\t") || !strings.HasPrefix(lines[4], "\t\tX1\tY1\tZ1\tX2") || lines[5] != "" {
		t.Errorf("%q", lines[3:6])
	}
	// Left shoulder: 0.2 m left, 0.5 m above the hips.
	if !strings.HasPrefix(lines[6], "1\t0\t200\t500\t0\t") || lines[7] != "2\t0.02"+strings.Repeat("\t", 48) || !strings.HasPrefix(lines[9], "4\t0.06\t200\t500\t0\t") {
		t.Errorf("%q", lines[6:])
	}
	if got := out["trc-README.txt"].String(); !strings.Contains(got, "Person 3 is absent in frames 1-2: fields are empty.") || !strings.Contains(got, "MONOCULAR ESTIMATES") || !strings.Contains(got, "as asked for at export") {
		t.Error(got)
	}
}

func TestBVHOfAStandingPersonHasNoTurns(t *testing.T) {
	d := document(3, 1)
	out := must(t, source(t, d), "bvh", Options{Stem: "stand"})
	text := out["stand.bvh"].String()
	hierarchy, motion, _ := strings.Cut(text, "MOTION\n")
	for _, want := range []string{
		"ROOT hips\n{\n  OFFSET 0 0 0\n  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n",
		"JOINT left_hip\n  {\n    OFFSET 10 0 0\n", "JOINT left_knee\n    {\n      OFFSET 0 -45 0\n", "JOINT right_elbow\n      {\n        OFFSET -30 0 0\n",
	} {
		if !strings.Contains(hierarchy, want) {
			t.Errorf("want %q in\n%s", want, hierarchy)
		}
	}
	lines := strings.Split(motion, "\n")
	if lines[0] != "Frames: 3" || lines[1] != "Frame Time: 0.04" || len(lines) != 6 {
		t.Fatalf("%q", lines)
	}
	for _, l := range lines[2:5] { // the absent frame is between two equal ones
		if l != lines[2] {
			t.Errorf("%s differs from %s", l, lines[2])
		}
		for i, f := range strings.Fields(l)[:9] { // root and spine
			if v, err := strconv.ParseFloat(f, 64); err != nil || v != 0 {
				t.Errorf("channel %d is %s", i, f)
			}
		}
	}
}

func TestTimesOfTheTable(t *testing.T) {
	times := func(d *result.Document, o Options) []string {
		var got []string
		for _, l := range strings.Split(strings.TrimSpace(must(t, source(t, d), "csv", o)["angles.csv"].String()), "\n")[1:] {
			if f := strings.Split(l, ","); f[6] == "trunk_inclination" {
				got = append(got, f[0]+" "+f[1]+" "+f[2])
			}
		}
		return got
	}
	d := document(3)
	if d := cmp.Diff([]string{"0 7 0", "1 8 0.04", "2 9 0.08"}, times(d, Options{})); d != "" {
		t.Error(d)
	}
	for i, s := range []float64{0.28, 0.33, 0.36} { // the source's clock, unsteady
		d.Frames[i].Time = &s
	}
	if d := cmp.Diff([]string{"0 7 0", "1 8 0.05", "2 9 0.08"}, times(d, Options{})); d != "" {
		t.Error(d)
	}
	d.Video.CaptureFPS = 250 // ten times slower than the world
	if d := cmp.Diff([]string{"0 7 0", "1 8 0.005", "2 9 0.008"}, times(d, Options{})); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"0 7 0", "1 8 0.01", "2 9 0.016"}, times(d, Options{CaptureFPS: 125})); d != "" {
		t.Error(d)
	}
}

func TestChosenPeople(t *testing.T) {
	s := open(t, "smpl")
	if out := must(t, s, "trc", Options{People: []int64{2, 2}, Stem: "x"}); len(out) != 2 || out["x.trc"] == nil || out["x-README.txt"] == nil {
		t.Errorf("%v", slices.Collect(maps.Keys(out)))
	}
	if got := must(t, s, "csv", Options{People: []int64{2}})["angles.csv"].String(); strings.Contains(got, ",1,true,") || !strings.Contains(got, ",2,true,") {
		t.Errorf("somebody else is in the table:\n%.300s", got)
	}
	if out := must(t, s, "bvh", Options{Stem: "x"}); out["x-person-1.bvh"] == nil || out["x-person-2.bvh"] == nil {
		t.Errorf("%v", slices.Collect(maps.Keys(out)))
	}
}

func TestNobody(t *testing.T) {
	d := document(1)
	d.People, d.Frames[0].People = []result.Track{}, []result.Person{}
	for _, f := range Formats() {
		if out := must(t, source(t, d), f.Name, Options{}); f.PerPerson != (len(out) == 0) {
			t.Errorf("%s: %d files", f.Name, len(out))
		}
	}
}

func TestRefusals(t *testing.T) {
	flat := document(2)
	flat.Units.Joints3D, flat.Coordinates.Joints3D, flat.Coordinates.Joints3DOrigin = "", "", ""
	for i := range flat.Frames {
		flat.Frames[i].People[0].Joints3D = nil
	}
	unnamed := document(1)
	for i := range unnamed.Skeleton.Joints {
		unnamed.Skeleton.Joints[i] = fmt.Sprintf("point %d", i)
	}
	for name, tc := range map[string]struct {
		doc    *result.Document
		format string
		o      Options
		want   string
	}{
		"an unknown person":         {document(1), "coco", Options{People: []int64{9}}, "nobody in the result has id 9: choose from 3"},
		"a rate of no sense":        {document(1), "csv", Options{CaptureFPS: -1}, "makes no sense"},
		"angles without 3D":         {flat, "csv", Options{}, "needs 3D joints"},
		"bvh without 3D":            {flat, "bvh", Options{}, "use coco or openpose"},
		"c3d without 3D":            {flat, "c3d", Options{}, "needs 3D joints"},
		"bvh without hips":          {unnamed, "bvh", Options{}, "needs hips and shoulders"},
		"angles without any joints": {unnamed, "csv", Options{}, "has the joints of none"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := run(t, source(t, tc.doc), tc.format, tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one that says %q", err, tc.want)
			}
		})
	}
	if _, err := Find("fbx"); err == nil || !strings.Contains(err.Error(), "coco, openpose, bvh") {
		t.Error(err)
	}
}

func TestAShortDocumentCannotFillTheDisk(t *testing.T) {
	j := &job{tracks: []result.Track{{ID: 1, LastFrame: maxRows / 2}, {ID: 2, LastFrame: maxRows / 2}}}
	if err := j.checkRows(); err == nil || !strings.Contains(err.Error(), "choose fewer with --person") {
		t.Error(err)
	}
}

// TestAFullDisk: the first error of a file is given back, whichever write it is.
func TestAFullDisk(t *testing.T) {
	full := errors.New("no space left on device")
	for _, f := range Formats() {
		for _, room := range []int{0, 100, 5000} {
			for _, folder := range []string{"mediapipe", "smpl"} {
				create := func(string) (io.WriteCloser, error) { return &disk{room: room, full: full}, nil }
				if err := Export(open(t, folder), f, Options{}, create); !errors.Is(err, full) && room < 5000 {
					t.Errorf("%s of %s with room for %d bytes: %v", f.Name, folder, room, err)
				}
			}
		}
	}
}

type disk struct {
	room int
	full error
}

func (d *disk) Write(p []byte) (int, error) {
	if d.room -= len(p); d.room < 0 {
		return 0, d.full
	}
	return len(p), nil
}

func (d *disk) Close() error { return nil }

func TestProgressCountsToItsTotalAndCanStop(t *testing.T) {
	for _, f := range Formats() {
		var done, total int64
		must(t, open(t, "smpl"), f.Name, Options{Progress: func(d, n int64) error {
			if d != done+1 || d > n {
				t.Fatalf("%s: %d of %d after %d", f.Name, d, n, done)
			}
			done, total = d, n
			return nil
		}})
		if done != total {
			t.Errorf("%s: ends at %d of %d", f.Name, done, total)
		}
		stop := errors.New("stop it")
		if _, err := run(t, open(t, "smpl"), f.Name, Options{Progress: func(int64, int64) error { return stop }}); !errors.Is(err, stop) {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}
