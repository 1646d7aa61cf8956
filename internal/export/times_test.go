package export

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/result"
)

// timesFile of frames whose source's rate varies; they begin with frame 7.
func timesFile(seconds ...float64) string {
	b, _ := json.Marshal(result.FrameTimes{APIVersion: result.APIVersion, Kind: result.KindFrameTimes, StartFrame: 7, Seconds: seconds})
	return string(b)
}

// timed is a document of four frames at 25 frames a second, with the times of a source
// whose rate varies. Its engine saw a constant rate.
func timed(t *testing.T) *Source {
	t.Helper()
	d := document(4, 2)
	for i := range d.Frames {
		d.Frames[i].Time = new(float64(i) / 25)
	}
	s := source(t, d)
	if err := s.AttachTimes(strings.NewReader(timesFile(0.28, 0.3, 0.44, 0.46))); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTimesOfTheSource(t *testing.T) {
	s := timed(t)
	rows := strings.Split(must(t, s, "csv", Options{})["angles.csv"].String(), "\n")
	for _, want := range []string{"0,7,0,", "1,8,0.02,", "3,10,0.18,"} {
		if !strings.Contains(strings.Join(rows, "\n"), "\n"+want) {
			t.Errorf("no row %q in %q", want, rows[:3])
		}
	}
	// Recorded at four times the rate: all goes four times as fast.
	slow := must(t, s, "csv", Options{CaptureFPS: 100})
	if !strings.Contains(slow["angles.csv"].String(), "\n3,10,0.045,") || !strings.Contains(slow["csv-README.txt"].String(), "frame rate varies") {
		t.Errorf("%s", slow["csv-README.txt"])
	}

	trc := must(t, s, "trc", Options{})
	file := trc["person-3.trc"].String()
	for _, want := range []string{"\n1\t0\t", "\n2\t0.02\t", "\n3\t0.16\t\t", "\n4\t0.18\t"} {
		if !strings.Contains(file, want) {
			t.Errorf("no row %q in %.600s", want, file)
		}
	}
	if !strings.Contains(trc["trc-README.txt"].String(), "a player of the source shows each frame") {
		t.Errorf("%s", trc["trc-README.txt"])
	}

	coco := must(t, s, "coco", Options{})["coco.json"].String()
	if !strings.Contains(coco, `"source_frame":8,"time_s":0.02}`) {
		t.Errorf("%.400s", coco)
	}
	if strings.Contains(must(t, source(t, document(2)), "coco", Options{})["coco.json"].String(), "time_s") {
		t.Error("a constant rate has times")
	}
}

// TestTimesThatAFormatCannotSay: frame 2 stands at 0.08 s and is shown at 0.16 s.
func TestTimesThatAFormatCannotSay(t *testing.T) {
	s := timed(t)
	for _, format := range []string{"bvh", "c3d"} {
		if got := must(t, s, format, Options{})[format+"-README.txt"].String(); !strings.Contains(got, "up to 0.08 s (frame 2)") {
			t.Errorf("%s: %s", format, got)
		}
	}
	if got := must(t, source(t, document(4)), "bvh", Options{})["bvh-README.txt"].String(); strings.Contains(got, "rate varies") {
		t.Errorf("a constant rate: %s", got)
	}
}

// TestForeignTimes: those of another result, or none, are an error.
func TestForeignTimes(t *testing.T) {
	for name, c := range map[string]struct {
		file    string
		invalid bool
	}{
		"of more frames":       {timesFile(0, 1, 2, 3, 4), true},
		"that go back":         {timesFile(0, 2, 1, 3), true},
		"no document":          {"{", true},
		"too long":             {strings.Repeat(" ", 1<<20), true},
		"of another beginning": {strings.Replace(timesFile(0, 1, 2, 3), `"startFrame":7`, `"startFrame":8`, 1), false},
	} {
		s := source(t, document(4))
		err := s.AttachTimes(strings.NewReader(c.file))
		var invalid *result.Invalid
		if err == nil || errors.As(err, &invalid) != c.invalid || s.Times != nil || !strings.Contains(err.Error(), result.FrameTimesFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, f := range map[bool]result.ManifestFileRef{true: {Name: "frameTimes", Path: "frame-times.json"}, false: {Name: "frameTimes", Path: "engine/frame-times.json"}} {
		if IsTimes(f) != want {
			t.Errorf("%+v", f)
		}
	}
}
