package result

import (
	"math"
	"regexp"
)

// Bounds of the optional members.
const (
	maxCaptureFPS = 1_000_000
	maxTime       = 1e9 // seconds
	maxFocal      = 1e7 // pixels
	maxDistance   = 1e5 // metres
	maxCaveats    = 16
	maxCaveat     = 400 // characters
	maxQualityFig = 1_000_000_000
	coverageSlack = 0.001 // writers round to that
	maxFileName   = 128
)

// extras is what the optional members say, and what frames show of it.
type extras struct {
	camera     *Camera
	quality    *Quality
	parametric *Parametric

	hasTranslation bool // announced by units

	timed      bool // the first frame has a time
	lastTime   float64
	frameTimed bool // the current frame has one
	frameSeen  bool // somebody is observed in the current frame
	seenFrames int64
	gaps       int64
}

// positive reads a number greater than 0.
func (v *validator) positive(high float64) (float64, error) {
	f, err := v.number(0, high)
	if err == nil && f == 0 {
		err = v.fail("it must be greater than 0")
	}
	return f, err
}

func (v *validator) readCamera() error {
	c := &Camera{}
	err := v.object([]string{"model", "focalLengthPx", "focalLengthOrigin", "principalPoint"}, []string{"caveats"}, func(name string) (bool, error) {
		var err error
		switch name {
		case "model":
			c.Model, err = v.choice(CameraPinhole, CameraWeakPerspective)
		case "focalLengthPx":
			c.FocalLengthPx, err = v.positive(maxFocal)
		case "focalLengthOrigin":
			c.FocalLengthOrigin, err = v.choice(FocalLengthGiven, FocalLengthEngineDefault, FocalLengthEstimated)
		case "principalPoint":
			err = v.numbers(c.PrincipalPoint[:])
		case "caveats":
			_, err = v.array(maxCaveats, func(int64) error {
				s, err := v.text(maxCaveat)
				c.Caveats = append(c.Caveats, s)
				return err
			})
		default:
			return false, nil
		}
		return true, err
	})
	v.camera = c
	return err
}

func (v *validator) readQuality() error {
	q := &Quality{}
	count := func(into **int64) error {
		n, err := v.integer(0, maxQualityFig)
		*into = &n
		return err
	}
	err := v.object([]string{"coverage", "gaps"}, []string{"idSwitchesSuspected", "peopleFiltered", "peopleNotSelected"}, func(name string) (bool, error) {
		var err error
		switch name {
		case "coverage":
			q.Coverage, err = v.number(0, 1)
		case "gaps":
			q.Gaps, err = v.integer(0, maxQualityFig)
		case "idSwitchesSuspected":
			err = count(&q.IDSwitchesSuspected)
		case "peopleFiltered":
			err = count(&q.PeopleFiltered)
		case "peopleNotSelected":
			err = count(&q.PeopleNotSelected)
		default:
			return false, nil
		}
		return true, err
	})
	v.quality = q
	return err
}

// plainName has no folder and nothing that a shell or a URL would treat apart.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (v *validator) readParametric() error {
	p := &Parametric{}
	err := v.object([]string{"model", "file"}, nil, func(name string) (bool, error) {
		var err error
		switch name {
		case "model":
			p.Model, err = v.choice("SMPL")
		case "file":
			p.File, err = v.text(maxFileName)
			if err == nil && (!plainName.MatchString(p.File) || p.File == "pose.json" || p.File == ManifestFile) {
				err = v.fail("%q is not a plain file name of its own beside pose.json (R16)", clip(p.File))
			}
		default:
			return false, nil
		}
		return true, err
	})
	v.parametric = p
	return err
}

// relateExtras checks, before frames are read, what the members above them say of
// each other.
func (v *validator) relateExtras() error {
	if !v.hasTranslation {
		return nil
	}
	switch {
	case !v.has3D:
		return v.fail("units announces a translation without joints3d, whose origin it would place (R14)")
	case v.camera == nil:
		return v.fail("units announces a translation, and there is no camera that it refers to (R14)")
	}
	return nil
}

func (v *validator) readTime(i int64) error {
	t, err := v.number(-maxTime, maxTime)
	if err != nil {
		return err
	}
	if i == 0 {
		v.timed = true
	} else if v.timed && t <= v.lastTime {
		return v.fail("frame %d is at %v s, the frame before it at %v s: times must ascend (R13)", i, t, v.lastTime)
	}
	v.lastTime = t
	return nil
}

func (v *validator) readTranslation() error {
	var t [3]float64
	if err := v.numbers(t[:]); err != nil {
		return err
	}
	if math.Abs(t[0]) > maxDistance || math.Abs(t[1]) > maxDistance || t[2] <= 0 || t[2] > maxDistance {
		return v.fail("a person at %v is not in front of the camera, within %v m (R14)", t, float64(maxDistance))
	}
	return nil
}

// checkQuality compares the announced figures with what frames showed.
func (v *validator) checkQuality() error {
	if v.quality == nil {
		return nil
	}
	coverage := float64(v.seenFrames) / float64(v.video.Frames)
	switch {
	case math.Abs(v.quality.Coverage-coverage) > coverageSlack:
		return v.fail("somebody is observed in %d of %d frames, quality.coverage says %v (R15)", v.seenFrames, v.video.Frames, v.quality.Coverage)
	case v.quality.Gaps != v.gaps:
		return v.fail("people are lost and found again %d times, quality.gaps says %d (R15)", v.gaps, v.quality.Gaps)
	}
	return nil
}
