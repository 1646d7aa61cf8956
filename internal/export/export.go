// Package export turns a result (docs/pose-json.md) into the files that other
// programs read. docs/export.md says what each format holds.
//
// It is pure: a document and a body model's parameters in, bytes out. Rules:
//
//   - pose.json is read as a stream. COCO, OpenPose and CSV hold one frame at a
//     time, of which a valid document bounds the bytes; BVH, TRC and C3D, which want one file a person, hold the 3D joints of
//     the chosen people in 32-bit floats, at most a third of pose.json's size.
//   - Nothing is invented in silence: what was interpolated, derived or left out is
//     said in the README that goes with every format that cannot say it itself.
//   - Names of files are made here, of numbers and of the caller's own stem: no
//     text of the document gets into one.
//   - A number is written the same way wherever it stands, so the same result gives
//     the same bytes.
package export

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pose-dev/pose-operator/internal/result"
)

// Format is one kind of file to export to.
type Format struct {
	Name      string
	Extension string // of its files, with the dot
	About     string // one line
	// PerPerson formats have one file a person.
	PerPerson bool
	// UsesSMPL formats are better with Source.SMPL; others never look at it.
	UsesSMPL bool

	write func(*job) error
}

// Formats lists what Export can write.
func Formats() []Format {
	return []Format{
		{Name: "coco", Extension: ".json", About: "COCO keypoints: a dataset and detection results, 17 joints, 2D", write: writeCOCO},
		{Name: "openpose", Extension: ".json", About: "OpenPose BODY_25: a file a frame, 2D, and 3D where there is", write: writeOpenPose},
		{Name: "bvh", Extension: ".bvh", About: "Biovision motion: a skeleton with rotations a person, needs 3D", PerPerson: true, UsesSMPL: true, write: writeBVH},
		{Name: "trc", Extension: ".trc", About: "OpenSim markers: 3D joints a person, needs 3D", PerPerson: true, write: writeTRC},
		{Name: "c3d", Extension: ".c3d", About: "C3D motion capture: 3D joints a person, needs 3D", PerPerson: true, write: writeC3D},
		{Name: "csv", Extension: ".csv", About: "joint angles, a row a frame, person and angle, needs 3D", write: writeCSV},
	}
}

// Find gives the format of a name.
func Find(name string) (Format, error) {
	var names []string
	for _, f := range Formats() {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return Format{}, fmt.Errorf("format %q is unknown: use one of %s", name, strings.Join(names, ", "))
}

// Options of an export.
type Options struct {
	// People are the ids to export; none means all.
	People []int64
	// CaptureFPS is the rate at which the scene was recorded, in frames a second of
	// the world; 0 means what the result says.
	CaptureFPS float64
	// Stem is the first part of the names of the files; empty means the format's own.
	Stem string
	// Progress, if not nil, is called for each frame that was done, of the total of
	// all passes. Its error ends the export and is given back.
	Progress func(done, total int64) error
}

// Create makes one file of an export; the name is a plain file name. The file
// counts once it was closed without an error.
type Create func(name string) (io.WriteCloser, error)

// Export writes the result in a format. Files that were made before an error are
// not complete: the caller throws them away.
func Export(src *Source, f Format, o Options, create Create) error {
	j := &job{src: src, format: f, Options: o, create: create, layout: newLayout(src.Head.Skeleton.Joints)}
	j.rate = src.Head.Video.WorldFPS()
	if o.CaptureFPS != 0 {
		if !(o.CaptureFPS > 0) || o.CaptureFPS > 1e6 {
			return fmt.Errorf("a capture rate of %v frames a second makes no sense: give one between 0 and 1000000", o.CaptureFPS)
		}
		j.rate = o.CaptureFPS
	}
	if err := j.choose(); err != nil {
		return err
	}
	if f.PerPerson && len(j.tracks) == 0 {
		return nil // nobody, no files
	}
	return f.write(j)
}

// job is one export under way.
type job struct {
	Options
	src    *Source
	format Format
	create Create
	layout layout
	rate   float64 // frames a second of the world
	tracks []result.Track
	chosen map[int64]bool // nil: everybody
	notes  []string       // what the README has to say beside the format's own words

	start       float64 // timestamp of the first frame
	done, total int64
}

// maxListed bounds how many ids an error lists.
const maxListed = 20

// choose finds the people that were asked for.
func (j *job) choose() error {
	all := j.src.Head.People
	if len(j.People) == 0 {
		j.tracks = all
		return nil
	}
	j.chosen = make(map[int64]bool, len(j.People))
	for _, id := range j.People {
		if !slices.ContainsFunc(all, func(t result.Track) bool { return t.ID == id }) {
			return fmt.Errorf("nobody in the result has id %d: %s", id, whoIs(all))
		}
		j.chosen[id] = true
	}
	for _, t := range all {
		if j.chosen[t.ID] {
			j.tracks = append(j.tracks, t)
		}
	}
	return nil
}

func whoIs(all []result.Track) string {
	if len(all) == 0 {
		return "it holds no people"
	}
	var ids []string
	for _, t := range all[:min(len(all), maxListed)] {
		ids = append(ids, fmt.Sprint(t.ID))
	}
	more := ""
	if n := len(all) - len(ids); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return "choose from " + strings.Join(ids, ", ") + more
}

// need3D refuses a result without three-dimensional joints.
func (j *job) need3D() error {
	if j.src.has3D() {
		return nil
	}
	return fmt.Errorf("format %s needs 3D joints, and this result of engine %q (skeleton %q) has 2D ones only: use coco or openpose, or run an engine that gives 3D (phalp, mediapipe)",
		j.format.Name, j.src.Head.Engine.Name, j.src.Head.Skeleton.Name)
}

// frames reads the document once, with progress.
func (j *job) frames(each func(*result.Frame) error) error {
	j.total += j.src.Head.Video.Frames
	return j.src.Frames(func(f *result.Frame) error {
		if j.chosen != nil {
			f.People = slices.DeleteFunc(f.People, func(p result.Person) bool { return !j.chosen[p.ID] })
		}
		if err := each(f); err != nil {
			return err
		}
		return j.step()
	})
}

func (j *job) step() error {
	j.done++
	if j.Progress == nil {
		return nil
	}
	return j.Progress(j.done, j.total)
}

// seconds of the world since the first frame: by the times of the source's frames
// where the result has them, else by those of the video that the engine was given,
// else by the frame's number, all at the capture rate.
func (j *job) seconds(f *result.Frame) float64 {
	if f.Time == nil || j.src.Times != nil {
		return j.worldTime(f.Index)
	}
	if f.Index == 0 {
		j.start = *f.Time
	}
	return (*f.Time - j.start) * j.src.Head.Video.FPS / j.rate
}

// name of a file of this export. Part is put behind the caller's stem, own is the
// whole name if there is no stem.
func (j *job) name(part, own string) string {
	if j.Stem == "" {
		return own
	}
	return j.Stem + part
}

// personFile names the file of one person.
func (j *job) personFile(id int64) string {
	if j.Stem != "" && len(j.tracks) == 1 {
		return j.Stem + j.format.Extension
	}
	return j.name(fmt.Sprintf("-person-%d", id), fmt.Sprintf("person-%d", id)) + j.format.Extension
}

// file makes a file, lets write fill it, and closes it.
func (j *job) file(name string, write func(io.Writer) error) error {
	w, err := j.create(name)
	if err != nil {
		return err
	}
	if err := write(w); err != nil {
		_ = w.Close() // the first error counts
		return err
	}
	return w.Close()
}
