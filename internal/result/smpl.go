package result

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// SMPLFormat is the value of the array "format" in smpl.npz.
const SMPLFormat = "pose.dev/smpl/v1alpha1"

const (
	maxEntries     = 10_000_000
	maxBeta        = 100.0
	orthonormality = 0.01 // how far R·Rᵀ may be from the identity
)

// SMPL is what smpl.npz holds (docs/pose-json.md): N entries, those of
// frames[].people[] of the pose.json beside it in the same order, and P people.
type SMPL struct {
	Frame    []int32 // N frame indices
	ID       []int32 // N ids
	Observed []bool  // N
	// GlobalOrient and BodyPose are rotation matrices, row by row: of the pelvis in
	// the camera's frame, and of joints 1..23 relative to their parents.
	GlobalOrient [][9]float32
	BodyPose     [][23][9]float32
	Betas        [][10]float32
	// Translation in metres brings the posed model into the camera's frame.
	Translation [][3]float32

	PersonID   []int32          // P ids, ascending
	RestJoints [][24][3]float32 // P, metres
	Parents    [24]int32        // -1 for the root
	JointNames [24]string

	FPS, CaptureFPS float64 // frames a second, of the file and in the world

	light bool // numbers are checked and dropped
}

// CheckSMPL reads a smpl.npz of size bytes to its end and checks it: types and
// shapes, finite numbers, rotations, and entries in order. It keeps only which
// entry is of whom and when, for ValidatePair: poses, shapes, places and rest joints
// stay nil. It takes about 9 bytes an entry, and half as much again while that
// grows. Errors say which array is wrong.
func CheckSMPL(r io.ReaderAt, size int64) (*SMPL, error) {
	s := &SMPL{light: true}
	if err := s.read(r, size, s.readScalars, s.readOrder, s.readPoses, s.readPeople); err != nil {
		return nil, err
	}
	return s, nil
}

// Load reads what CheckSMPL dropped, from the same file. It takes about 1.1 kB an
// entry, and a small file can announce millions that all look alike: call it once
// ValidatePair has found no more entries than the document has. After an error s is
// of no use.
func (s *SMPL) Load(r io.ReaderAt, size int64) error {
	s.light = false
	return s.read(r, size, s.readPoses, s.readPeople)
}

func (s *SMPL) read(r io.ReaderAt, size int64, steps ...func(map[string]*zip.File) error) error {
	files, err := openArchive(r, size)
	if err != nil {
		return fmt.Errorf("smpl.npz: %w", err)
	}
	for _, step := range steps {
		if err := step(files); err != nil {
			return fmt.Errorf("smpl.npz: %w", err)
		}
	}
	return nil
}

// count is how many items an array may have: at least and at most.
type count [2]int64

func exactly(n int) count { return count{int64(n), int64(n)} }

func atMost(n int64) count { return count{0, n} }

// into reads the items of a numeric array of the given type and inner shape into a
// slice that grows with what is read, or checks and drops them.
func into[T any](files map[string]*zip.File, name, descr string, n count, inner []int64, drop bool, item func([]byte) (T, error)) ([]T, error) {
	a, err := openArray(files, name)
	if err != nil {
		return nil, err
	}
	defer a.data.Close()
	got, err := a.expect(descr, append([]int64{-1}, inner...)...)
	if err != nil {
		return nil, err
	}
	switch {
	case n[0] == n[1] && got != n[0]:
		return nil, fmt.Errorf("array %q has %d entries, %d expected", name, got, n[0])
	case got > n[1]:
		return nil, fmt.Errorf("array %q has %d entries, at most %d are read", name, got, n[1])
	}
	size := int64(width(descr))
	for _, d := range inner {
		size *= d
	}
	var out []T
	at := 0
	err = a.items(got, int(size), func(b []byte) error {
		for ; len(b) > 0; b = b[size:] {
			v, err := item(b[:size])
			if err != nil {
				return fmt.Errorf("array %q, entry %d: %w", name, at, err)
			}
			if at++; !drop {
				out = append(out, v)
			}
		}
		return nil
	})
	return out, err
}

func width(descr string) int {
	switch descr {
	case "|b1":
		return 1
	case "<f8":
		return 8
	}
	return 4
}

func (s *SMPL) readScalars(files map[string]*zip.File) error {
	format, err := text(files, "format")
	if err != nil {
		return err
	}
	if len(format) != 1 || format[0] != SMPLFormat {
		return fmt.Errorf("array \"format\" says %q, %q is known", clip(fmt.Sprint(format)), SMPLFormat)
	}
	names, err := text(files, "joint_names", 24)
	if err != nil {
		return err
	}
	copy(s.JointNames[:], names)
	if s.FPS, err = scalar(files, "fps"); err == nil {
		s.CaptureFPS, err = scalar(files, "capture_fps")
	}
	return err
}

func text(files map[string]*zip.File, name string, dims ...int64) ([]string, error) {
	a, err := openArray(files, name)
	if err != nil {
		return nil, err
	}
	defer a.data.Close()
	return a.texts(dims...)
}

// scalar reads a number greater than 0.
func scalar(files map[string]*zip.File, name string) (float64, error) {
	a, err := openArray(files, name)
	if err != nil {
		return 0, err
	}
	defer a.data.Close()
	if _, err := a.expect("<f8"); err != nil {
		return 0, err
	}
	var f float64
	err = a.items(1, 8, func(b []byte) error {
		f = math.Float64frombits(binary.LittleEndian.Uint64(b))
		return nil
	})
	if err == nil && (!(f > 0) || f > maxCaptureFPS) { // not f <= 0: NaN is refused, too
		err = fmt.Errorf("array %q is %v, a rate greater than 0 expected", name, f)
	}
	return f, err
}

// readOrder reads which entry is whom and when; entries ascend by frame, then id.
func (s *SMPL) readOrder(files map[string]*zip.File) error {
	var err error
	if s.Frame, err = into(files, "frame", "<i4", atMost(maxEntries), nil, false, whole(0, maxFrames-1)); err != nil {
		return err
	}
	n := exactly(len(s.Frame))
	if s.ID, err = into(files, "id", "<i4", n, nil, false, whole(1, maxID)); err != nil {
		return err
	}
	for i := 1; i < len(s.Frame); i++ {
		if s.Frame[i] < s.Frame[i-1] || s.Frame[i] == s.Frame[i-1] && s.ID[i] <= s.ID[i-1] {
			return fmt.Errorf("entry %d (frame %d, id %d) follows frame %d, id %d: entries must ascend", i, s.Frame[i], s.ID[i], s.Frame[i-1], s.ID[i-1])
		}
	}
	s.Observed, err = into(files, "observed", "|b1", n, nil, false, func(b []byte) (bool, error) {
		if b[0] > 1 {
			return false, fmt.Errorf("%d is neither true nor false", b[0])
		}
		return b[0] == 1, nil
	})
	return err
}

func (s *SMPL) readPoses(files map[string]*zip.File) error {
	n := exactly(len(s.Frame))
	var err error
	if s.GlobalOrient, err = into(files, "global_orient", "<f4", n, []int64{3, 3}, s.light, rotation); err != nil {
		return err
	}
	s.BodyPose, err = into(files, "body_pose", "<f4", n, []int64{23, 3, 3}, s.light, func(b []byte) (out [23][9]float32, err error) {
		for j := range out {
			if out[j], err = rotation(b[36*j:]); err != nil {
				return out, fmt.Errorf("joint %d: %w", j+1, err)
			}
		}
		return out, nil
	})
	if err != nil {
		return err
	}
	s.Betas, err = into(files, "betas", "<f4", n, []int64{10}, s.light, func(b []byte) (out [10]float32, err error) {
		return out, floats(out[:], b, maxBeta)
	})
	if err != nil {
		return err
	}
	s.Translation, err = into(files, "translation", "<f4", n, []int64{3}, s.light, func(b []byte) (out [3]float32, err error) {
		return out, floats(out[:], b, maxDistance)
	})
	return err
}

func (s *SMPL) readPeople(files map[string]*zip.File) error {
	var err error
	// A document has no more people either; and the table below is far larger than
	// the array.
	if s.PersonID, err = into(files, "person_id", "<i4", atMost(defaultPeople), nil, false, whole(1, maxID)); err != nil {
		return err
	}
	known := make(map[int32]bool, len(s.PersonID))
	for i, id := range s.PersonID {
		if i > 0 && id <= s.PersonID[i-1] {
			return fmt.Errorf("array \"person_id\": %d follows %d: ids must ascend", id, s.PersonID[i-1])
		}
		known[id] = false
	}
	for i, id := range s.ID {
		if _, ok := known[id]; !ok {
			return fmt.Errorf("entry %d is of id %d, which is not in \"person_id\"", i, id)
		}
		known[id] = true
	}
	for id, met := range known {
		if !met {
			return fmt.Errorf("array \"person_id\" names id %d, which has no entry", id)
		}
	}
	s.RestJoints, err = into(files, "rest_joints", "<f4", exactly(len(s.PersonID)), []int64{24, 3}, s.light, func(b []byte) (out [24][3]float32, err error) {
		for j := range out {
			if err := floats(out[j][:], b[12*j:], 10); err != nil {
				return out, err
			}
		}
		return out, nil
	})
	if err != nil {
		return err
	}
	parents, err := into(files, "parents", "<i4", exactly(24), nil, false, whole(-1, 23))
	if err != nil {
		return err
	}
	for j, p := range parents {
		if int(p) >= j || (p < 0) != (j == 0) {
			return fmt.Errorf("array \"parents\": the parent of joint %d cannot be %d", j, p)
		}
		s.Parents[j] = p
	}
	return nil
}

func whole(low, high int32) func([]byte) (int32, error) {
	return func(b []byte) (int32, error) {
		v := int32(binary.LittleEndian.Uint32(b)) //nolint:gosec // the bits of a signed number
		if v < low || v > high {
			return 0, fmt.Errorf("%d is not between %d and %d", v, low, high)
		}
		return v, nil
	}
}

// floats reads len(out) finite numbers of at most limit.
func floats(out []float32, b []byte, limit float64) error {
	for i := range out {
		f := math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		if !(math.Abs(float64(f)) <= limit) { // NaN is refused, too
			return fmt.Errorf("%v is not between %v and %v", f, -limit, limit)
		}
		out[i] = f
	}
	return nil
}

// rotation reads a matrix and checks that R·Rᵀ is the identity and that it does
// not mirror.
func rotation(b []byte) (m [9]float32, err error) {
	if err := floats(m[:], b, 1+orthonormality); err != nil {
		return m, err
	}
	for i := 0; i < 3; i++ {
		for j := i; j < 3; j++ {
			want := 0.0
			if i == j {
				want = 1
			}
			var dot float64
			for k := 0; k < 3; k++ {
				dot += float64(m[3*i+k]) * float64(m[3*j+k])
			}
			if math.Abs(dot-want) > orthonormality {
				return m, fmt.Errorf("%v is no rotation: its rows are not orthonormal", m)
			}
		}
	}
	det := m[0]*(m[4]*m[8]-m[5]*m[7]) - m[1]*(m[3]*m[8]-m[5]*m[6]) + m[2]*(m[3]*m[7]-m[4]*m[6])
	if det < 0 {
		return m, fmt.Errorf("%v is no rotation: it mirrors", m)
	}
	return m, nil
}
