package result

import (
	"io"
	"regexp"
	"slices"
)

// Bounds of the format (docs/schema).
const (
	maxFrames     = 10_000_000
	maxID         = 1<<31 - 1
	maxPerFrame   = 1000
	maxSide       = 16384
	maxJoints     = 256
	maxEdges      = 1024
	maxModels     = 32
	defaultPeople = 100_000
)

// Limits on what Validate reads.
type Limits struct {
	Bytes  int64 // of the file
	People int64 // different ids; 0 means 100 000
}

// Summary is what a valid document holds.
type Summary struct {
	Frames int64
	People int64 // different ids
	Video  Video
	Engine Engine
	// Seen is the number of frames in which somebody was observed.
	Seen int64
	// Quality, Camera and Parametric as the document has them; nil where it has none.
	Quality    *Quality
	Camera     *Camera
	Parametric *Parametric
}

// Validate reads a pose.json to its end and checks every rule of the format, in
// memory that does not grow with the number of frames. The document must cover
// exactly wantFrames frames; 0 accepts any number. Errors of the document are of
// type *Invalid and name the place.
func Validate(r io.Reader, limits Limits, wantFrames int64) (Summary, error) {
	return validate(r, limits, wantFrames, nil)
}

// validate calls entry, if there is one, for each person of each frame in order.
func validate(r io.Reader, limits Limits, wantFrames int64, entry func(frame int64, p seenPerson) error) (Summary, error) {
	if limits.People <= 0 {
		limits.People = defaultPeople
	}
	v := &validator{cursor: newCursor(r, limits.Bytes), limits: limits, want: wantFrames, entry: entry, tracks: map[int64]*track{}}
	if err := v.document(); err != nil {
		return Summary{}, err
	}
	return Summary{
		Frames: v.video.Frames, People: int64(len(v.tracks)), Video: v.video, Engine: v.engine,
		Seen: v.seenFrames, Quality: v.quality, Camera: v.camera, Parametric: v.parametric,
	}, nil
}

// track is what people announces and frames shows of one id.
type track struct {
	announced   Track
	first, last int64 // -1 before the first
	seen        int64
	lastGuessed bool // the last frame was not observed
	lastSeen    int64
}

type validator struct {
	*cursor
	limits Limits
	want   int64
	entry  func(frame int64, p seenPerson) error // may be nil

	video  Video
	engine Engine
	joints int64
	edge   int64 // largest joint that an edge names, -1 without one
	tracks map[int64]*track
	has3D  bool // announced
	got    map[string]bool
	frames bool

	extras
}

var (
	topLevel         = []string{"apiVersion", "kind", "video", "engine", "skeleton", "units", "coordinates", "people", "frames"}
	topLevelOptional = []string{"camera", "quality", "parametric"}
)

func (v *validator) document() error {
	v.got = map[string]bool{}
	err := v.object(topLevel, topLevelOptional, func(name string) (bool, error) {
		switch {
		case v.frames:
			return true, v.fail("it stands behind frames, which must be the last member")
		case !slices.Contains(topLevel, name) && !slices.Contains(topLevelOptional, name):
			return false, nil // not noted either: a file can hold millions of such names
		}
		v.got[name] = true
		if name == "frames" {
			return true, v.member(name)
		}
		return true, v.part(func() error { return v.member(name) })
	})
	if err != nil {
		return err
	}
	// Anything but white space after the document is rubbish.
	v.in.value = maxValue
	if _, err := v.dec.Token(); err != io.EOF {
		return v.fail("the file goes on behind the document's end")
	}
	return nil
}

// member reads one that the format has at the top level.
func (v *validator) member(name string) error {
	var err error
	switch name {
	case "apiVersion":
		err = v.oneOf(APIVersion)
	case "kind":
		err = v.oneOf(KindResult)
	case "video":
		err = v.readVideo()
	case "engine":
		err = v.readEngine()
	case "skeleton":
		err = v.readSkeleton()
	case "units":
		err = v.readUnits()
	case "coordinates":
		err = v.readCoordinates()
	case "camera":
		err = v.readCamera()
	case "quality":
		err = v.readQuality()
	case "parametric":
		err = v.readParametric()
	case "people":
		err = v.readPeople()
	case "frames":
		v.frames = true
		for _, n := range topLevel[:len(topLevel)-1] {
			if !v.got[n] {
				return v.fail("member %q must stand before frames", n)
			}
		}
		if err = v.relateExtras(); err == nil {
			err = v.readFrames()
		}
	}
	return err
}

func (v *validator) readVideo() error {
	err := v.object([]string{"width", "height", "fps", "frames", "startFrame", "durationSeconds"}, []string{"captureFPS"}, func(name string) (bool, error) {
		var err error
		switch name {
		case "width":
			v.video.Width, err = v.integer(1, maxSide)
		case "height":
			v.video.Height, err = v.integer(1, maxSide)
		case "fps":
			v.video.FPS, err = v.positive(1000)
		case "frames":
			v.video.Frames, err = v.integer(1, maxFrames)
		case "startFrame":
			v.video.StartFrame, err = v.integer(0, maxID)
		case "durationSeconds":
			v.video.DurationSeconds, err = v.number(0, 1e12)
		case "captureFPS":
			v.video.CaptureFPS, err = v.positive(maxCaptureFPS)
		default:
			return false, nil
		}
		return true, err
	})
	if err == nil && v.want > 0 && v.video.Frames != v.want {
		return v.fail("it covers %d frames, the video has %d", v.video.Frames, v.want)
	}
	return err
}

var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (v *validator) readEngine() error {
	return v.object([]string{"name", "version", "device", "models"}, nil, func(name string) (bool, error) {
		var err error
		switch name {
		case "name":
			v.engine.Name, err = v.text(128)
		case "version":
			v.engine.Version, err = v.text(128)
		case "device":
			v.engine.Device, err = v.choice("CPU", "GPU")
		case "models":
			v.engine.Models = []Model{}
			_, err = v.array(maxModels, func(int64) error { return v.readModel() })
		default:
			return false, nil
		}
		return true, err
	})
}

func (v *validator) readModel() error {
	var m Model
	err := v.object([]string{"name", "sha256"}, nil, func(name string) (bool, error) {
		var err error
		switch name {
		case "name":
			m.Name, err = v.text(256)
		case "sha256":
			if m.SHA256, err = v.text(64); err == nil && !digest.MatchString(m.SHA256) {
				err = v.fail("64 lower-case hex digits expected")
			}
		default:
			return false, nil
		}
		return true, err
	})
	v.engine.Models = append(v.engine.Models, m)
	return err
}

func (v *validator) readSkeleton() error {
	v.edge = -1
	err := v.object([]string{"name", "joints", "edges"}, nil, func(name string) (bool, error) {
		var err error
		switch name {
		case "name":
			_, err = v.text(64)
		case "joints":
			err = v.readJointNames()
		case "edges":
			_, err = v.array(maxEdges, func(int64) error { return v.readEdge() })
		default:
			return false, nil
		}
		return true, err
	})
	if err == nil && v.edge >= v.joints {
		return v.fail("an edge names joint %d, there are %d", v.edge, v.joints)
	}
	return err
}

func (v *validator) readJointNames() error {
	names := map[string]bool{}
	n, err := v.array(maxJoints, func(int64) error {
		s, err := v.text(64)
		if err == nil && names[s] {
			err = v.fail("joint %q occurs twice", clip(s))
		}
		names[s] = true
		return err
	})
	if err == nil && n == 0 {
		return v.fail("at least one joint expected")
	}
	v.joints = n
	return err
}

func (v *validator) readEdge() error {
	var ends [2]int64
	n, err := v.array(2, func(i int64) (err error) {
		ends[i], err = v.integer(0, maxJoints-1)
		return err
	})
	if err == nil && (n != 2 || ends[0] == ends[1]) {
		return v.fail("an edge joins two different joints")
	}
	v.edge = max(v.edge, ends[0], ends[1])
	return err
}

func (v *validator) readUnits() error {
	announced := false
	err := v.object([]string{"bbox", "joints2d"}, []string{"joints3d", "translation"}, func(name string) (bool, error) {
		var err error
		switch name {
		case "bbox", "joints2d":
			err = v.oneOf("pixels")
		case "joints3d":
			announced = true
			err = v.oneOf("metres")
		case "translation":
			v.hasTranslation = true
			err = v.oneOf("metres")
		default:
			return false, nil
		}
		return true, err
	})
	return v.announce(announced, "units", "coordinates", err)
}

func (v *validator) readCoordinates() error {
	axes, origin := false, false
	err := v.object([]string{"image"}, []string{"joints3d", "joints3dOrigin"}, func(name string) (bool, error) {
		var err error
		switch name {
		case "image":
			err = v.oneOf("x-right-y-down")
		case "joints3d":
			axes = true
			err = v.oneOf("x-right-y-down-z-forward")
		case "joints3dOrigin":
			origin = true
			err = v.oneOf("hip-centre")
		default:
			return false, nil
		}
		return true, err
	})
	if err == nil && axes != origin {
		return v.fail("joints3d and joints3dOrigin must stand together (R7)")
	}
	return v.announce(axes, "coordinates", "units", err)
}

// announce notes that joints3d are announced, by one of two members that must
// agree whichever comes first.
func (v *validator) announce(announced bool, self, other string, err error) error {
	if err != nil {
		return err
	}
	if v.got[other] && announced != v.has3D {
		return v.fail("%s and %s must both announce joints3d, or neither (R7)", self, other)
	}
	v.has3D = announced
	return nil
}
