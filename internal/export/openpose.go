package export

import (
	"bufio"
	"fmt"
	"io"

	"github.com/pose-dev/pose-operator/internal/result"
)

// body25 are the joints of OpenPose's BODY_25 in its order.
var body25 = [...]joint{
	nose, neck,
	rightShoulder, rightElbow, rightWrist,
	leftShoulder, leftElbow, leftWrist,
	midHip,
	rightHip, rightKnee, rightAnkle,
	leftHip, leftKnee, leftAnkle,
	rightEye, leftEye, rightEar, leftEar,
	leftBigToe, leftSmallToe, leftHeel,
	rightBigToe, rightSmallToe, rightHeel,
}

// maxFiles bounds how many files one export makes.
const maxFiles = 1_000_000

// writeOpenPose writes what OpenPose's --write_json does: a file a frame. People
// who were not observed in a frame are left out, as OpenPose has no guesses; a
// joint that the skeleton lacks is 0, 0 with confidence 0, as there.
func writeOpenPose(j *job) error {
	if n := j.src.Head.Video.Frames; n > maxFiles {
		return fmt.Errorf("openpose needs a file for each of %d frames, more than %d: cut the video, or use coco, which is one file", n, maxFiles)
	}
	stem := j.name("", "pose")
	var out line
	return j.frames(func(f *result.Frame) error {
		return j.file(stem+"_"+frameName(f.Index, "_keypoints.json"), func(w io.Writer) error {
			b := bufio.NewWriter(w)
			out.text(`{"version":1.3,"people":[`)
			comma := ""
			for i := range f.People {
				if p := &f.People[i]; observed(p) {
					out.text(comma)
					comma = ","
					j.openPosePerson(&out, p)
				}
			}
			if err := out.text("]}\n").flush(b); err != nil {
				return err
			}
			return b.Flush()
		})
	})
}

func (j *job) openPosePerson(out *line, p *result.Person) {
	out.text(`{"person_id":[`).int(p.ID).text(`],"pose_keypoints_2d":[`)
	for i, k := range body25 {
		if i > 0 {
			out.text(",")
		}
		x, y, visibility, _ := j.layout.pixel(p, k)
		out.fixed(x, 3).text(",").fixed(y, 3).text(",").fixed(visibility, 4)
	}
	out.text(`],"face_keypoints_2d":[],"hand_left_keypoints_2d":[],"hand_right_keypoints_2d":[],"pose_keypoints_3d":[`)
	if j.src.has3D() {
		points := cameraJoints(p)
		for i, k := range body25 {
			if i > 0 {
				out.text(",")
			}
			v := j.layout.point(points, k)
			_, _, visibility, _ := j.layout.pixel(p, k)
			for _, x := range v {
				out.fixed(x, 4).text(",")
			}
			out.fixed(visibility, 4)
		}
	}
	out.text(`],"face_keypoints_3d":[],"hand_left_keypoints_3d":[],"hand_right_keypoints_3d":[]}`)
}

// cameraJoints are the 3D joints in metres in the camera's frame, at the person's
// place where the result has one, else around the middle of the hips.
func cameraJoints(p *result.Person) []vec {
	var origin vec
	if p.Translation != nil {
		origin = *p.Translation
	}
	out := make([]vec, len(p.Joints3D))
	for i, q := range p.Joints3D {
		out[i] = vec(q).add(origin)
	}
	return out
}
