package export

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
)

// millimetres in a metre: TRC and C3D are written in millimetres.
const millimetres = 1000

// writeTRC writes a marker file a person as OpenSim reads it: tabs, five lines of
// header, an empty line, Y up. Frames in which the person is absent have empty
// fields, which OpenSim takes for missing markers.
func writeTRC(j *job) error {
	all, err := j.motions()
	if err != nil {
		return err
	}
	for _, m := range all {
		name := j.personFile(m.track.ID)
		if err := j.file(name, func(w io.Writer) error { return j.trc(w, name, m) }); err != nil {
			return err
		}
		j.describeGaps(m, "fields are empty")
	}
	j.describeTimes(true)
	return j.readme(aboutTRC)
}

func (j *job) trc(to io.Writer, name string, m *motion) error {
	w := bufio.NewWriterSize(to, 1<<16)
	if _, err := io.WriteString(w, j.trcHead(name, m)); err != nil {
		return err
	}
	var out line
	err := j.rows(m.frames, func(frame int64, k int) error {
		out.int(frame+1).text("\t").fixed(j.worldTime(frame), 6)
		if k < 0 {
			for range 3 * m.joints {
				out.text("\t")
			}
		} else {
			for _, p := range m.at(k) {
				for _, x := range p {
					out.text("\t").fixed(x*millimetres, 3)
				}
			}
		}
		return out.text("\n").flush(w)
	})
	if err != nil {
		return err
	}
	return w.Flush()
}

// trcHead has the five lines and the empty one. The name in the first line is free
// text, the only place of the format for a remark.
func (j *job) trcHead(name string, m *motion) string {
	markers := labels(j.src.Head.Skeleton.Joints)
	rate := strconv.FormatFloat(j.rate, 'f', -1, 64)
	head := fmt.Sprintf("PathFileType\t4\t(X/Y/Z)\tmonocular-estimate_%s\n", ascii(name))
	head += "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames\n"
	head += fmt.Sprintf("%s\t%s\t%d\t%d\tmm\t%s\t%d\t%d\n", rate, rate, m.length(), len(markers), rate, m.frames[0]+1, m.length())
	names, axes := "Frame#\tTime", "\t"
	for i, n := range markers {
		names += "\t" + n
		if i < len(markers)-1 {
			names += "\t\t"
		}
		axes += fmt.Sprintf("\tX%d\tY%d\tZ%d", i+1, i+1, i+1)
	}
	return head + names + "\n" + axes + "\n\n"
}
