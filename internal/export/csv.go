package export

import (
	"bufio"
	"fmt"
	"io"

	"github.com/pose-dev/pose-operator/internal/result"
)

// csvHead names the columns. One row is one angle of one person in one frame.
const csvHead = "frame,source_frame,time_s,person_id,observed,side,angle,value_deg,visibility\n"

// writeCSV writes joint angles in tidy form. An angle that has no meaning in a frame
// (a segment of no length, or seen end on) has no row there.
func writeCSV(j *job) error {
	if err := j.need3D(); err != nil {
		return err
	}
	angles := measures(&j.layout)
	if len(angles) == 0 {
		return fmt.Errorf("skeleton %q has the joints of none of the angles: knee, hip, ankle, elbow, shoulder and trunk need joints of these names", j.src.Head.Skeleton.Name)
	}
	err := j.file(j.name(".csv", "angles.csv"), func(to io.Writer) error {
		w := bufio.NewWriterSize(to, 1<<16)
		if _, err := io.WriteString(w, csvHead); err != nil {
			return err
		}
		var out line
		err := j.frames(func(f *result.Frame) error {
			for i := range f.People {
				j.csvPerson(&out, f, &f.People[i], angles)
			}
			return out.flush(w)
		})
		if err != nil {
			return err
		}
		return w.Flush()
	})
	if err != nil {
		return err
	}
	j.describeTimes(true)
	return j.readme(aboutCSV)
}

func (j *job) csvPerson(out *line, f *result.Frame, p *result.Person, angles []measure) {
	b := body{layout: &j.layout, joints: make([]vec, len(p.Joints3D))}
	for i, q := range p.Joints3D {
		b.joints[i] = vec(q).yUp()
	}
	seconds := j.seconds(f)
	for _, m := range angles {
		value, ok := m.of(b)
		if !ok {
			continue
		}
		visibility := 1.0
		for _, u := range m.uses {
			_, _, v, _ := j.layout.pixel(p, u)
			visibility = min(visibility, v)
		}
		out.int(f.Index).text(",").int(j.src.Head.Video.StartFrame+f.Index).text(",").fixed(seconds, 6)
		out.text(",").int(p.ID).text(",").text(boolean(observed(p))).text(",").text(m.side).text(",").text(m.name)
		out.text(",").fixed(value, 2).text(",").fixed(visibility, 2).text("\n")
	}
}
