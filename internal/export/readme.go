package export

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/pose-dev/pose-operator/internal/result"
)

// What the README of a format says; docs/export.md says it at length.
const (
	aboutTRC = `TRC marker files for OpenSim, one a person. These are MONOCULAR ESTIMATES of joint centres by a pose
engine, not measured skin markers: no marker set of a laboratory fits them as it is.
Unit: millimetres. Axes: x right as the camera sees it, y up, z towards the camera; right-handed.
Row Frame# is the frame of pose.json plus 1. Time is that frame divided by the rate, or, where the source's rate
varies, when its player shows the frame; DataRate then is the rate on average.`

	aboutC3D = `C3D files, one a person. These are MONOCULAR ESTIMATES of joint centres by a pose engine, not measured
markers; POINT:DESCRIPTIONS and POSE:METHOD say so in the files.
Unit: millimetres. Axes: x right as the camera sees it, y up, z towards the camera; right-handed.
Frame numbers are those of pose.json plus 1. Residual 0 is an estimate, -1 an absent point.`

	aboutBVH = `BVH files, one a person, of MONOCULAR ESTIMATES by a pose engine.
Unit: centimetres and degrees. Axes: x right as the camera sees it, y up, z towards the camera; right-handed.
Rotations are written Z, X, Y: R = Rz*Rx*Ry on column vectors, each joint relative to its parent. Angles go on
beyond 180 degrees rather than jump. Offsets of the root are zero: its place is in its position channels.`

	aboutSMPLRotations = `Rotations are SMPL's own, of the engine's smpl.npz; bones have the length of the person's mean shape.
End sites are half as long as the bone before them and carry no information.`

	aboutDerivedRotations = `The engine gives positions only. Rotations are derived from them: hips from the hip axis and the trunk, spine
from the trunk and the shoulder axis, limbs by the shortest turn to where they point, without any twist about
their own length. The rest pose is a T-pose facing +z. Bones have their mean length over the frames in which
the person was observed, so joints differ from pose.json by how much its bones change length.`

	aboutCSV = `Joint angles in tidy form: a row a frame, person and angle. MONOCULAR ESTIMATES, computed from the 3D joints
of pose.json, not clinical measurements.

column        meaning
frame         frame of pose.json, from 0
source_frame  the same in the source video, from 0
time_s        seconds of the world since frame 0 of the result
person_id     id of the person
observed      false: the engine guessed the person in this frame
side          left, right (the person's own) or none
angle         see below
value_deg     degrees
visibility    smallest visibility (0..1) of the joints that the angle is computed from

angle               convention
knee_flexion        180 minus the angle hip-knee-ankle: 0 straight, 90 bent square; hyperextension shows as flexion
elbow_flexion       the same of shoulder-elbow-wrist
ankle_dorsiflexion  90 minus the angle between ankle-to-knee and heel-to-big-toe: 0 square, toes up positive
hip_flexion         turn of the thigh from straight down about the trunk's left axis: 0 in line, forward positive
hip_abduction       the same about the trunk's forward axis: away from the body positive
shoulder_flexion    as hip_flexion, of the upper arm
shoulder_abduction  as hip_abduction, of the upper arm
shoulder_elevation  angle between the upper arm and straight down along the trunk: 0 hanging, 180 overhead
trunk_inclination   angle between the trunk and the picture's vertical: 0 upright; wrong by the camera's own tilt

The trunk goes from the middle of the hips to the middle of the shoulders; its left axis from the right to the
left hip (for hips) or shoulder (for arms), square to the trunk; forward is left x up. An angle has no row where
a segment points along the axis that it is seen from, or has no length.`
)

// maxRuns bounds how many gaps of a person the README lists.
const maxRuns = 20

// describeGaps notes the frames of a person that hold no observation.
func (j *job) describeGaps(m *motion, instead string) {
	absent, guessed := m.gaps()
	if len(absent) > 0 {
		j.note("Person %d is absent in frames %s: %s.", m.track.ID, listed(absent), instead)
	}
	if len(guessed) > 0 {
		j.note("Person %d was not observed in frames %s: the engine's guess is written.", m.track.ID, listed(guessed))
	}
}

func listed(runs []string) string {
	if n := len(runs) - maxRuns; n > 0 {
		return fmt.Sprintf("%s and %d more runs", strings.Join(runs[:maxRuns], ", "), n)
	}
	return strings.Join(runs, ", ")
}

// readme writes what the format itself has no place for.
func (j *job) readme(about ...string) error {
	return j.file(j.name("-README.txt", j.format.Name+"-README.txt"), func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Join(about, "\n\n")+"\n\n"+j.facts()+j.remarks())
		return err
	})
}

// facts of the source. Names of the document are reduced to plain signs: it is
// another program's text.
func (j *job) facts() string {
	h := j.src.Head
	v := h.Video
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-13s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("engine", "%s %s", ascii(h.Engine.Name), ascii(h.Engine.Version))
	row("skeleton", "%s, %d joints", ascii(h.Skeleton.Name), len(h.Skeleton.Joints))
	row("video", "%dx%d pixels, %d frames from source frame %d, plays at %s frames/s", v.Width, v.Height, v.Frames, v.StartFrame, short(v.FPS))
	row("rate", "%s frames a second of the world, %s", short(j.rate), j.rateOrigin(v))
	if c := h.Camera; c != nil {
		row("camera", "%s, focal length %s pixels (%s)", ascii(c.Model), short(c.FocalLengthPx), ascii(c.FocalLengthOrigin))
	}
	if q := h.Quality; q != nil {
		row("coverage", "somebody was observed in %s %% of the frames", short(100*q.Coverage))
	}
	return b.String()
}

func (j *job) rateOrigin(v result.Video) string {
	switch {
	case j.CaptureFPS > 0:
		return "as asked for at export"
	case v.CaptureFPS > 0:
		return "the job's capture rate"
	}
	return "as the video plays"
}

func short(f float64) string { return strconv.FormatFloat(f, 'g', 6, 64) }

func (j *job) remarks() string {
	var b strings.Builder
	if j.src.placed() {
		b.WriteString("\nPlaces and sizes come from one camera: distance and size cannot be told apart, see docs/pose-json.md.\n")
	}
	for _, n := range j.notes {
		b.WriteString("\n" + n + "\n")
	}
	return b.String()
}
