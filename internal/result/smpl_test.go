package result

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// golden reads a file of the Python writer's small result (testdata/README.md).
func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "phalp", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(b []byte) (*SMPL, error) {
	s, err := CheckSMPL(bytes.NewReader(b), int64(len(b)))
	if err == nil {
		err = s.Load(bytes.NewReader(b), int64(len(b)))
	}
	return s, err
}

func TestGoldenOfThePythonWriter(t *testing.T) {
	parameters, err := parse(golden(t, "smpl.npz"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ValidatePair(bytes.NewReader(golden(t, "pose.json")), Limits{Bytes: 1 << 20}, 12, parameters)
	if err != nil {
		t.Fatal(err)
	}
	if s.People != 2 || s.Seen != 12 || s.Video.WorldFPS() != 120 || s.Quality.Gaps != 1 || *s.Quality.PeopleFiltered != 2 ||
		s.Camera.FocalLengthOrigin != FocalLengthEngineDefault || s.Parametric.File != "smpl.npz" {
		t.Errorf("%+v", s)
	}
	if len(parameters.Frame) != 21 || parameters.JointNames[0] != "pelvis" || parameters.Parents[23] != 21 || parameters.CaptureFPS != 120 {
		t.Errorf("%d entries, %v, %v, %v", len(parameters.Frame), parameters.JointNames, parameters.Parents, parameters.CaptureFPS)
	}
}

// TestGoldenPosesAreTheJoints poses the rest joints of smpl.npz by its rotations:
// the model's joints must be where pose.json has them.
func TestGoldenPosesAreTheJoints(t *testing.T) {
	s, err := parse(golden(t, "smpl.npz"))
	if err != nil {
		t.Fatal(err)
	}
	var d Document
	if err := json.Unmarshal(golden(t, "pose.json"), &d); err != nil {
		t.Fatal(err)
	}
	// Joints 1 to 14 of BODY_25 are joints of the model, in this order.
	model := []int{12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7}
	entry := 0
	for _, f := range d.Frames {
		for _, p := range f.People {
			at := 0
			for s.PersonID[at] != int32(p.ID) {
				at++
			}
			if s.Observed[entry] {
				places := kinematics(s, entry, at)
				for i, j := range model {
					for k := range 3 {
						want := p.Joints3D[i+1][k] + p.Translation[k]
						if math.Abs(places[j][k]-want) > 0.002 { // two numbers rounded to 0.001
							t.Fatalf("frame %d, id %d, %s: %v, pose.json has %v", f.Index, p.ID, d.Skeleton.Joints[i+1], places[j], want)
						}
					}
				}
			}
			entry++
		}
	}
}

// kinematics gives the model's 24 joints in the camera's frame, metres.
func kinematics(s *SMPL, entry, person int) (places [24][3]float64) {
	var frames [24][9]float64
	rest := s.RestJoints[person]
	for j := range 24 {
		r := s.GlobalOrient[entry]
		var local [9]float64
		if j > 0 {
			r = s.BodyPose[entry][j-1]
		}
		for i, v := range r {
			local[i] = float64(v)
		}
		if j == 0 {
			frames[0] = local
			for k := range 3 {
				places[0][k] = float64(rest[0][k]) + float64(s.Translation[entry][k])
			}
			continue
		}
		p := s.Parents[j]
		for a := range 3 {
			places[j][a] = places[p][a]
			for b := range 3 {
				places[j][a] += frames[p][3*a+b] * float64(rest[j][b]-rest[p][b])
				for c := range 3 {
					frames[j][3*a+c] += frames[p][3*a+b] * local[3*b+c]
				}
			}
		}
	}
	return places
}

// member is one array of an archive that a test builds.
type member struct {
	descr, shape string
	data         []byte
}

func npy(m member) []byte {
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", m.descr, m.shape)
	header += strings.Repeat(" ", 63-(10+len(header))%64) + "\n"
	out := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	return append(append(out, header...), m.data...)
}

func numbers[T any](values ...T) []byte {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, values); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func wide(width int, words ...string) []byte {
	var out []byte
	for _, w := range words {
		cell := make([]uint32, width)
		for i, r := range w {
			cell[i] = uint32(r)
		}
		out = append(out, numbers(cell...)...)
	}
	return out
}

func repeatFloats(n int, values ...float32) []byte {
	var out []byte
	for range n {
		out = append(out, numbers(values...)...)
	}
	return out
}

// small is two entries of one person at rest.
func small() map[string]member {
	identity := []float32{1, 0, 0, 0, 1, 0, 0, 0, 1}
	return map[string]member{
		"format":        {"<U22", "", wide(22, SMPLFormat)},
		"frame":         {"<i4", "2,", numbers[int32](0, 1)},
		"id":            {"<i4", "2,", numbers[int32](3, 3)},
		"observed":      {"|b1", "2,", []byte{1, 1}},
		"global_orient": {"<f4", "2, 3, 3", repeatFloats(2, identity...)},
		"body_pose":     {"<f4", "2, 23, 3, 3", repeatFloats(46, identity...)},
		"betas":         {"<f4", "2, 10", repeatFloats(20, 0.5)},
		"translation":   {"<f4", "2, 3", repeatFloats(2, 0, 0, 5)},
		"person_id":     {"<i4", "1,", numbers[int32](3)},
		"rest_joints":   {"<f4", "1, 24, 3", repeatFloats(24, 0, 0.1, 0)},
		"parents":       {"<i4", "24,", numbers[int32](-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)},
		"joint_names":   {"<U4", "24,", wide(4, strings.Split(strings.Repeat("hip ", 23)+"hip", " ")...)},
		"fps":           {"<f8", "", numbers(30.0)},
		"capture_fps":   {"<f8", "", numbers(30.0)},
	}
}

func archive(t testing.TB, method uint16, members map[string]member, extra ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	put := func(name string, data []byte) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, m := range members {
		put(name+".npy", npy(m))
	}
	for _, name := range extra {
		put(name, []byte("x"))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLoad(t *testing.T) {
	for name, method := range map[string]uint16{"stored": zip.Store, "deflated": zip.Deflate} {
		s, err := parse(archive(t, method, small(), "of a later version.npy"))
		if err != nil || len(s.Frame) != 2 || s.ID[1] != 3 || s.BodyPose[1][22][8] != 1 || s.Betas[1][9] != 0.5 ||
			s.Translation[0][2] != 5 || s.RestJoints[0][23][1] != 0.1 || s.FPS != 30 {
			t.Errorf("%s: %+v %v", name, s, err)
		}
	}
}

func TestLoadOfNobody(t *testing.T) {
	m := small()
	for name, shape := range map[string]string{"frame": "0,", "id": "0,", "observed": "0,", "global_orient": "0, 3, 3", "body_pose": "0, 23, 3, 3",
		"betas": "0, 10", "translation": "0, 3", "person_id": "0,", "rest_joints": "0, 24, 3"} {
		m[name] = member{descr: m[name].descr, shape: shape}
	}
	if s, err := parse(archive(t, zip.Store, m)); err != nil || len(s.Frame) != 0 || len(s.PersonID) != 0 {
		t.Errorf("%+v %v", s, err)
	}
}

// TestBrokenSMPL changes one array of the small archive each.
func TestBrokenSMPL(t *testing.T) {
	nan := float32(math.NaN())
	for name, tc := range map[string]struct {
		array string
		m     member
		want  string
	}{
		"a pickle":                {"betas", member{"|O", "2, 10", []byte("\x80\x04.")}, "not that of a plain"},
		"big-endian":              {"betas", member{">f4", "2, 10", repeatFloats(20, 0)}, "not that of a plain"},
		"double precision":        {"betas", member{"<f8", "2, 10", repeatFloats(40, 0)}, "type <f8"},
		"a structure":             {"betas", member{"[('a', '<f4')]", "2, 10", repeatFloats(20, 0)}, "not that of a plain"},
		"a name for a format":     {"format", member{"<U4", "", wide(4, "pose")}, "is known"},
		"a format of bytes":       {"format", member{"|S4", "", []byte("pose")}, "text of at most"},
		"endless text":            {"format", member{"<U9999", "", nil}, "text of at most"},
		"wrong shape":             {"betas", member{"<f4", "2, 11", repeatFloats(22, 0)}, "shape [2 11]"},
		"fewer entries":           {"betas", member{"<f4", "1, 10", repeatFloats(10, 0)}, "1 entries, 2 expected"},
		"more than can be":        {"frame", member{"<i4", "99999999999,", numbers[int32](0, 1)}, "at most 10000000"},
		"more people than can be": {"person_id", member{"<i4", "100001,", numbers[int32](3)}, "at most 100000"},
		"overflowing shape":       {"frame", member{"<i4", "99999999999999999999,", numbers[int32](0, 1)}, "is none"},
		"more than is there":      {"frame", member{"<i4", "9000000,", numbers[int32](0, 1)}, "ends before its last item"},
		"less than is there":      {"betas", member{"<f4", "2, 10", repeatFloats(21, 0)}, "goes on behind"},
		"not a number":            {"translation", member{"<f4", "2, 3", repeatFloats(2, 0, nan, 5)}, `"translation", entry 0: NaN`},
		"infinite":                {"betas", member{"<f4", "2, 10", repeatFloats(20, float32(math.Inf(1)))}, "+Inf is not between"},
		"no rotation":             {"body_pose", member{"<f4", "2, 23, 3, 3", repeatFloats(2*23*9, 0.5)}, "entry 0: joint 1:"},
		"mirrored":                {"global_orient", member{"<f4", "2, 3, 3", repeatFloats(2, 1, 0, 0, 0, 1, 0, 0, 0, -1)}, "mirrors"},
		"frames descend":          {"frame", member{"<i4", "2,", numbers[int32](1, 0)}, "entries must ascend"},
		"entry twice":             {"frame", member{"<i4", "2,", numbers[int32](1, 1)}, "entries must ascend"},
		"negative frame":          {"frame", member{"<i4", "2,", numbers[int32](-1, 0)}, "not between"},
		"id zero":                 {"id", member{"<i4", "2,", numbers[int32](0, 0)}, "not between"},
		"stranger":                {"id", member{"<i4", "2,", numbers[int32](3, 4)}, "id 4, which is not in"},
		"person without entries":  {"person_id", member{"<i4", "1,", numbers[int32](4)}, "which is not in"},
		"half observed":           {"observed", member{"|b1", "2,", []byte{1, 2}}, "neither true nor false"},
		"giant":                   {"rest_joints", member{"<f4", "1, 24, 3", repeatFloats(72, 11)}, "11 is not between"},
		"parent after child":      {"parents", member{"<i4", "24,", numbers[int32](-1, 2, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)}, "parent of joint 1"},
		"two roots":               {"parents", member{"<i4", "24,", numbers[int32](-1, -1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)}, "parent of joint 1"},
		"no rate":                 {"fps", member{"<f8", "", numbers(0.0)}, "a rate greater than 0"},
		"rate is not a number":    {"capture_fps", member{"<f8", "", numbers(math.NaN())}, "a rate greater than 0"},
		"rates":                   {"fps", member{"<f8", "2,", numbers(1.0, 2.0)}, "shape [2]"},
	} {
		t.Run(name, func(t *testing.T) {
			m := small()
			m[tc.array] = tc.m
			if _, err := parse(archive(t, zip.Deflate, m)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v", err)
			}
		})
	}
}

func TestPersonWithoutEntries(t *testing.T) {
	m := small()
	m["person_id"] = member{"<i4", "2,", numbers[int32](3, 4)}
	m["rest_joints"] = member{"<f4", "2, 24, 3", repeatFloats(48, 0, 0.1, 0)}
	if _, err := parse(archive(t, zip.Store, m)); err == nil || !strings.Contains(err.Error(), "id 4, which has no entry") {
		t.Errorf("error %v", err)
	}
}

// TestLongHeader: the length of a header is bounded before it is read.
func TestLongHeader(t *testing.T) {
	m := small()
	long := m["fps"]
	long.shape = strings.Repeat(" ", maxHeader)
	m["fps"] = long
	if _, err := parse(archive(t, zip.Deflate, m)); err == nil || !strings.Contains(err.Error(), "at most 4096 are read") {
		t.Errorf("error %v", err)
	}
}

func TestCheckSMPL(t *testing.T) {
	b := golden(t, "smpl.npz")
	s, err := CheckSMPL(bytes.NewReader(b), int64(len(b)))
	if err != nil || len(s.Frame) != 21 || s.BodyPose != nil || s.GlobalOrient != nil || s.Betas != nil || s.Translation != nil || s.RestJoints != nil {
		t.Fatalf("%+v %v", s, err)
	}
	if _, err := ValidatePair(bytes.NewReader(golden(t, "pose.json")), Limits{Bytes: 1 << 20}, 12, s); err != nil {
		t.Error(err)
	}
	m := small()
	m["body_pose"] = member{"<f4", "2, 23, 3, 3", repeatFloats(2*23*9, 0.5)}
	b = archive(t, zip.Store, m)
	if _, err := CheckSMPL(bytes.NewReader(b), int64(len(b))); err == nil {
		t.Error("what is not kept is not checked")
	}
}

func TestMissingArrays(t *testing.T) {
	for name := range small() {
		m := small()
		delete(m, name)
		if _, err := parse(archive(t, zip.Store, m)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q is missing", name)) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestBrokenArchives(t *testing.T) {
	whole := archive(t, zip.Store, small())
	end := len(whole) - endOfZip
	patched := func(at int, b ...byte) []byte {
		c := bytes.Clone(whole)
		copy(c[at:], b)
		return c
	}
	var many []string
	for i := range 60 {
		many = append(many, fmt.Sprint(i))
	}
	damaged := bytes.Clone(whole)
	damaged[bytes.Index(whole, []byte("\x93NUMPY"))+128] ^= 1 // in the first array's data
	for name, tc := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":                 {nil, "bytes expected"},
		"text":                  {bytes.Repeat([]byte("pose"), 100), "not end as a zip archive"},
		"cut off":               {whole[:len(whole)-1], "not end as a zip archive"},
		"only the end":          {whole[end:], "does not lie where its end says"},
		"claims 65535 files":    {patched(end+8, 255, 255, 255, 255), "at most 64 arrays"},
		"claims a zip64 list":   {patched(end+16, 255, 255, 255, 255), "at most 64 arrays"},
		"claims a long list":    {patched(end+12, 255, 255, 255, 0), "at most 64 arrays"},
		"claims files it lacks": {patched(end+8, 20, 0, 20, 0), "cannot be read"},
		"its parts differ":      {patched(end+8, 1, 0), "does not lie where its end says"},
		"a list that is short":  {patched(end+12, whole[end+12]-1), "does not lie where its end says"},
		"something before it":   {append([]byte("#!"), whole...), "does not lie where its end says"},
		"a list of 65550 files": {longList(whole), "does not lie where its end says"},
		"many files":            {archive(t, zip.Store, small(), many...), "at most 64 arrays"},
		"array twice":           {archive(t, zip.Store, small(), "fps.npy"), "twice"},
		"no array":              {archive(t, zip.Store, map[string]member{}, "format.npy"), "no array in NumPy's format"},
		"damaged":               {damaged, "smpl.npz"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(tc.b); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v", err)
			}
		})
	}
}

// longList adds 65 536 empty files to the list of an archive, whose end goes on
// claiming the old number and size: archive/zip takes them all.
func longList(whole []byte) []byte {
	end := len(whole) - endOfZip
	out := bytes.Clone(whole[:end])
	for i := range 1 << 16 {
		name := fmt.Sprintf("%05d", i)
		header := make([]byte, 46)
		copy(header, "PK\x01\x02")
		header[28] = byte(len(name))
		out = append(append(out, header...), name...)
	}
	return append(out, whole[end:]...)
}

func TestPairMustAgree(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*SMPL)
		want   string
	}{
		"other frame":       {func(s *SMPL) { s.Frame[20]++ }, "entry 20 of smpl.npz"},
		"other id":          {func(s *SMPL) { s.ID[0] = 9 }, "entry 0 of smpl.npz"},
		"observed or not":   {func(s *SMPL) { s.Observed[5] = !s.Observed[5] }, "entry 5 of smpl.npz"},
		"too few":           {func(s *SMPL) { s.Frame = s.Frame[:20] }, "20 entries only"},
		"too many":          {func(s *SMPL) { s.Frame = append(s.Frame, 11) }, "22 entries, pose.json has 21"},
		"other rate":        {func(s *SMPL) { s.FPS = 25 }, "frames a second"},
		"other world":       {func(s *SMPL) { s.CaptureFPS = 30 }, "frames a second"},
		"rounded, the same": {func(s *SMPL) { s.FPS = 30.0001 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := parse(golden(t, "smpl.npz"))
			if err != nil {
				t.Fatal(err)
			}
			tc.change(s)
			_, err = ValidatePair(bytes.NewReader(golden(t, "pose.json")), Limits{Bytes: 1 << 20}, 0, s)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v", err)
			}
		})
	}
}

// FuzzSMPL: no archive makes it panic, hang or take memory that the file does
// not hold, and what it accepts is consistent.
func FuzzSMPL(f *testing.F) {
	f.Add(archive(f, zip.Store, small()))
	f.Add(archive(f, zip.Deflate, small()))
	f.Add(golden(f, "smpl.npz"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parse(b)
		if err != nil {
			return
		}
		n, p := len(s.Frame), len(s.PersonID)
		if len(s.ID) != n || len(s.Observed) != n || len(s.GlobalOrient) != n || len(s.BodyPose) != n || len(s.Betas) != n ||
			len(s.Translation) != n || len(s.RestJoints) != p {
			t.Fatalf("accepted with different lengths: %d entries, %d people", n, p)
		}
	})
}

// FuzzArray works on one array inside an archive that is otherwise right, past the
// checksum that keeps FuzzSMPL from most inputs.
func FuzzArray(f *testing.F) {
	for name, m := range small() {
		f.Add(name, npy(m))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if _, ok := small()[name]; !ok {
			return
		}
		members := small()
		delete(members, name)
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for other, m := range members {
			w, _ := z.CreateHeader(&zip.FileHeader{Name: other + ".npy"})
			_, _ = w.Write(npy(m))
		}
		w, _ := z.CreateHeader(&zip.FileHeader{Name: name + ".npy"})
		_, _ = w.Write(data)
		_ = z.Close()
		if s, err := parse(b.Bytes()); err == nil && (len(s.Betas) != len(s.Frame) || len(s.RestJoints) != len(s.PersonID)) {
			t.Fatal("accepted with different lengths")
		}
	})
}
