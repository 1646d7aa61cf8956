package deliver

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
)

// npz writes arrays as numpy.savez does.
func npz(t *testing.T, arrays map[string]array) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, a := range arrays {
		w, err := z.Create(name + ".npy")
		if err != nil {
			t.Fatal(err)
		}
		head := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }\n", a.descr, a.shape)
		out := append([]byte("\x93NUMPY\x01\x00"), byte(len(head)), byte(len(head)>>8))
		var data bytes.Buffer
		if err := binary.Write(&data, binary.LittleEndian, a.data); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(append(append(out, head...), data.Bytes()...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type array struct {
	descr, shape string
	data         any
}

// unicode is an array of strings of n characters.
func unicode(n int, shape string, texts ...string) array {
	var data []uint32
	for _, s := range texts {
		cell := make([]uint32, n)
		for i, r := range s {
			cell[i] = uint32(r)
		}
		data = append(data, cell...)
	}
	return array{fmt.Sprintf("<U%d", n), shape, data}
}

// smpl has one person with the id in frames 0 and 1, in the rest pose.
func smpl(t *testing.T, id int32, change func(map[string]array)) []byte {
	t.Helper()
	rest := func(n int) (out []float32) {
		for range n {
			out = append(out, 1, 0, 0, 0, 1, 0, 0, 0, 1)
		}
		return out
	}
	var names []string
	parents := make([]int32, 24)
	for i := range parents {
		parents[i] = int32(i) - 1
		names = append(names, fmt.Sprintf("joint%d", i))
	}
	arrays := map[string]array{
		"frame": {"<i4", "2,", []int32{0, 1}}, "id": {"<i4", "2,", []int32{id, id}}, "observed": {"|b1", "2,", []bool{true, true}},
		"global_orient": {"<f4", "2, 3, 3", rest(2)}, "body_pose": {"<f4", "2, 23, 3, 3", rest(46)},
		"betas": {"<f4", "2, 10", make([]float32, 20)}, "translation": {"<f4", "2, 3", []float32{0, 0, 4, 0, 0, 4}},
		"person_id": {"<i4", "1,", []int32{id}}, "rest_joints": {"<f4", "1, 24, 3", make([]float32, 72)}, "parents": {"<i4", "24,", parents},
		"joint_names": unicode(8, "24,", names...), "fps": {"<f8", "", 10.0}, "capture_fps": {"<f8", "", 10.0},
		"format": unicode(len(result.SMPLFormat), "", result.SMPLFormat),
	}
	if change != nil {
		change(arrays)
	}
	return npz(t, arrays)
}

// pose is a pose.json with the person 1 in its two frames.
func pose(t *testing.T, change func(*result.Document)) []byte {
	t.Helper()
	d := result.Document{
		APIVersion: result.APIVersion, Kind: result.KindResult,
		Video:    result.Video{Width: 64, Height: 48, FPS: 10, Frames: 2, DurationSeconds: 0.2},
		Engine:   result.Engine{Name: "test", Version: "1", Device: "CPU", Models: []result.Model{}},
		Skeleton: result.Skeleton{Name: "one", Joints: []string{"nose"}, Edges: [][2]int{}},
		Units:    result.Units{BBox: "pixels", Joints2D: "pixels"}, Coordinates: result.Coordinates{Image: "x-right-y-down"},
		People: []result.Track{{ID: 1, LastFrame: 1, FramesSeen: 2}},
	}
	for i := range int64(2) {
		d.Frames = append(d.Frames, result.Frame{Index: i, People: []result.Person{{ID: 1, BBox: [4]float64{1, 1, 5, 5}, Score: 1, Joints2D: [][3]float64{{2, 2, 1}}}}})
	}
	if change != nil {
		change(&d)
	}
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var parametric = func(d *result.Document) { d.Parametric = &result.Parametric{Model: "SMPL", File: "smpl.npz"} }

func TestJudgesBodyModels(t *testing.T) {
	poseOut := report.OutputFile{Name: "pose", Path: "pose.json", Format: report.FormatPoseJSON, Required: true}
	smplOut := report.OutputFile{Name: "smpl", Path: "smpl.npz", Format: report.FormatSMPLNPZ}
	needed := smplOut
	needed.Required = true
	for name, c := range map[string]struct {
		outputs []report.OutputFile
		pose    []byte
		smpl    []byte
		want    string // "" is valid
		files   int
	}{
		"both":                            {[]report.OutputFile{poseOut, smplOut}, pose(t, parametric), smpl(t, 1, nil), "", 2},
		"both, named the other way round": {[]report.OutputFile{smplOut, poseOut}, pose(t, parametric), smpl(t, 1, nil), "", 2},
		"a file that nobody announces":    {[]report.OutputFile{poseOut, smplOut}, pose(t, nil), smpl(t, 1, nil), "", 2},
		"no body model":                   {[]report.OutputFile{poseOut, smplOut}, pose(t, nil), nil, "", 1},
		"an engine that is not said to":   {[]report.OutputFile{poseOut}, pose(t, parametric), nil, "", 1},
		"announced and missing":           {[]report.OutputFile{poseOut, smplOut}, pose(t, parametric), nil, "output pose (pose.json): parametric: it names smpl.npz, and the engine wrote no such file", 0},
		"required and missing":            {[]report.OutputFile{poseOut, needed}, pose(t, nil), nil, "output smpl (smpl.npz): a SMPLNPZ file was expected", 0},
		"of somebody else":                {[]report.OutputFile{poseOut, smplOut}, pose(t, parametric), smpl(t, 2, nil), "output pose (pose.json): frames[0].people[0]", 0},
		"of more frames": {[]report.OutputFile{poseOut, smplOut}, pose(t, func(d *result.Document) {
			d.Frames[1].People = []result.Person{}
			d.People[0] = result.Track{ID: 1, FramesSeen: 1}
		}), smpl(t, 1, nil), "smpl.npz has 2 entries, pose.json has 1", 0},
		"a text":                            {[]report.OutputFile{poseOut, smplOut}, pose(t, parametric), []byte("no archive"), "output smpl (smpl.npz): smpl.npz:", 0},
		"empty":                             {[]report.OutputFile{poseOut, smplOut}, pose(t, parametric), []byte{}, "it is empty", 0},
		"a pickle":                          {[]report.OutputFile{poseOut, smplOut}, pose(t, parametric), smpl(t, 1, func(a map[string]array) { a["betas"] = array{"|O", "2, 10", make([]float32, 20)} }), "output smpl (smpl.npz): smpl.npz: array \"betas\"", 0},
		"without an array":                  {[]report.OutputFile{poseOut, smplOut}, pose(t, parametric), smpl(t, 1, func(a map[string]array) { delete(a, "betas") }), "betas", 0},
		"a bad pose with a good body model": {[]report.OutputFile{poseOut, smplOut}, pose(t, func(d *result.Document) { d.Frames[0].People[0].Score = 2 }), smpl(t, 1, nil), "output pose (pose.json): frames[0].people[0].score", 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, b := range map[string][]byte{"pose.json": c.pose, "smpl.npz": c.smpl} {
				if b != nil && os.WriteFile(filepath.Join(dir, file), b, 0o600) != nil {
					t.Fatal("cannot write the output")
				}
			}
			j, err := judge(context.Background(), report.DeliverConfig{Outputs: c.outputs}, dir, report.VideoFacts{Width: 64, Height: 48, Frames: 2})
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer j.close()
			if len(j.outputs) != c.files || !j.proven || j.outputs[0].sha256 == "" || mediaTypes[j.outputs[len(j.outputs)-1].spec.Format] == "" {
				t.Errorf("%+v", j)
			}
		})
	}
}

// A role that is told to end does not call the outputs invalid.
func TestJudgingEnds(t *testing.T) {
	dir := t.TempDir()
	if os.WriteFile(filepath.Join(dir, "smpl.npz"), smpl(t, 1, nil), 0o600) != nil {
		t.Fatal("cannot write the output")
	}
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(over)
	_, err := judge(ctx, report.DeliverConfig{Outputs: []report.OutputFile{{Name: "smpl", Path: "smpl.npz", Format: report.FormatSMPLNPZ}}}, dir, report.VideoFacts{Frames: 2})
	if !errors.Is(err, over) {
		t.Error(err)
	}
}
