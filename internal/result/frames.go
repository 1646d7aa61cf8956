package result

import "math"

func (v *validator) readPeople() error {
	last := int64(0)
	_, err := v.array(v.limits.People, func(int64) error {
		var t Track
		err := v.object([]string{"id", "firstFrame", "lastFrame", "framesSeen"}, nil, func(name string) (bool, error) {
			var err error
			switch name {
			case "id":
				t.ID, err = v.integer(1, maxID)
			case "firstFrame":
				t.FirstFrame, err = v.integer(0, maxFrames-1)
			case "lastFrame":
				t.LastFrame, err = v.integer(0, maxFrames-1)
			case "framesSeen":
				t.FramesSeen, err = v.integer(1, maxFrames)
			default:
				return false, nil
			}
			return true, err
		})
		if err != nil {
			return err
		}
		if t.ID <= last {
			return v.fail("id %d follows id %d: ids must ascend and occur once (R3)", t.ID, last)
		}
		last = t.ID
		v.tracks[t.ID] = &track{announced: t, first: -1, last: -1, lastSeen: -1}
		return nil
	})
	return err
}

func (v *validator) readFrames() error {
	n, err := v.array(maxFrames, func(i int64) error {
		if i >= v.video.Frames {
			return v.fail("video.frames announces %d frames only (R2)", v.video.Frames)
		}
		return v.part(func() error { return v.readFrame(i) })
	})
	if err != nil {
		return err
	}
	if n != v.video.Frames {
		return v.fail("%d frames of %d (R2)", n, v.video.Frames)
	}
	for id, t := range v.tracks {
		got := Track{ID: id, FirstFrame: t.first, LastFrame: t.last, FramesSeen: t.seen}
		switch {
		case t.first < 0:
			return v.fail("people announces id %d, which occurs in no frame (R4)", id)
		case got != t.announced:
			return v.fail("id %d occurs from frame %d to %d and is seen in %d, people says %d to %d and %d (R5)",
				id, got.FirstFrame, got.LastFrame, got.FramesSeen, t.announced.FirstFrame, t.announced.LastFrame, t.announced.FramesSeen)
		case t.lastGuessed:
			return v.fail("id %d is not observed in its last frame %d (R12)", id, t.last)
		}
	}
	return v.checkQuality()
}

func (v *validator) readFrame(i int64) error {
	v.frameSeen, v.frameTimed = false, false
	err := v.object([]string{"index", "people"}, []string{"time"}, func(name string) (bool, error) {
		switch name {
		case "time":
			v.frameTimed = true
			return true, v.readTime(i)
		case "index":
			index, err := v.integer(0, maxFrames-1)
			if err == nil && index != i {
				err = v.fail("it is %d, frame %d has index %d (R2)", index, i, i)
			}
			return true, err
		case "people":
			last := int64(0)
			_, err := v.array(maxPerFrame, func(int64) error {
				id, err := v.readPerson(i, last)
				last = id
				return err
			})
			return true, err
		}
		return false, nil
	})
	if err == nil && v.frameTimed != v.timed {
		return v.fail("every frame has a time, or none (R13)")
	}
	if v.frameSeen {
		v.seenFrames++
	}
	return err
}

// seenPerson collects what rules relate to each other.
type seenPerson struct {
	id       int64
	observed bool
	visible  bool // some joint has a visibility above 0
	has3D    bool
	placed   bool // has a translation
}

func (v *validator) readPerson(frame, last int64) (int64, error) {
	p := seenPerson{observed: true}
	err := v.object([]string{"id", "bbox", "score", "joints2d"}, []string{"observed", "joints3d", "translation"}, func(name string) (bool, error) {
		var err error
		switch name {
		case "id":
			p.id, err = v.integer(1, maxID)
		case "bbox":
			err = v.readBox()
		case "score":
			_, err = v.number(0, 1)
		case "observed":
			p.observed, err = v.boolean()
		case "joints2d":
			err = v.readJoints2D(&p)
		case "joints3d":
			p.has3D = true
			err = v.readJoints3D()
		case "translation":
			p.placed = true
			err = v.readTranslation()
		default:
			return false, nil
		}
		return true, err
	})
	if err != nil {
		return 0, err
	}
	return p.id, v.relate(p, frame, last)
}

// relate checks the rules between the members of a person, and its track.
func (v *validator) relate(p seenPerson, frame, last int64) error {
	t := v.tracks[p.id]
	switch {
	case p.id <= last:
		return v.fail("id %d follows id %d: ids must ascend and occur once (R3)", p.id, last)
	case t == nil:
		return v.fail("id %d is not announced in people (R4)", p.id)
	case p.has3D != v.has3D:
		return v.fail("joints3d are announced: %t, given: %t (R7)", v.has3D, p.has3D)
	case p.placed != v.hasTranslation:
		return v.fail("a translation is announced: %t, given: %t (R14)", v.hasTranslation, p.placed)
	case !p.observed && p.visible:
		return v.fail("a joint of a person that is not observed has a visibility above 0 (R12)")
	case !p.observed && t.first < 0:
		return v.fail("id %d is not observed in its first frame (R12)", p.id)
	}
	if t.first < 0 {
		t.first = frame
	}
	t.last, t.lastGuessed = frame, !p.observed
	if p.observed {
		t.seen++
		if t.lastSeen >= 0 && frame > t.lastSeen+1 {
			v.gaps++
		}
		t.lastSeen, v.frameSeen = frame, true
	}
	if v.entry != nil {
		if err := v.entry(frame, p); err != nil {
			return v.fail("%v", err)
		}
	}
	return nil
}

// numbers reads an array of exactly len(into) numbers.
func (v *validator) numbers(into []float64) error {
	n, err := v.array(int64(len(into)), func(i int64) (err error) {
		into[i], err = v.number(-math.MaxFloat64, math.MaxFloat64)
		return err
	})
	if err == nil && n != int64(len(into)) {
		return v.fail("%d numbers instead of %d", n, len(into))
	}
	return err
}

func (v *validator) readBox() error {
	var b [4]float64
	if err := v.numbers(b[:]); err != nil {
		return err
	}
	w, h := float64(v.video.Width), float64(v.video.Height)
	switch {
	case b[2] <= 0 || b[3] <= 0:
		return v.fail("width and height %v x %v must be greater than 0", b[2], b[3])
	case b[2] > 3*w || b[3] > 3*h || b[0] >= w || b[1] >= h || b[0]+b[2] <= 0 || b[1]+b[3] <= 0:
		return v.fail("box %v does not touch the frame of %vx%v, or is too large (R9)", b, w, h)
	}
	return nil
}

func (v *validator) readJoints2D(p *seenPerson) error {
	w, h := float64(v.video.Width), float64(v.video.Height)
	return v.readJoints(func() error {
		var j [3]float64
		if err := v.numbers(j[:]); err != nil {
			return err
		}
		switch {
		case j[0] < -2*w || j[0] > 3*w || j[1] < -2*h || j[1] > 3*h:
			return v.fail("joint at %v, %v lies too far from the frame of %vx%v (R10)", j[0], j[1], w, h)
		case j[2] < 0 || j[2] > 1:
			return v.fail("visibility %v is not between 0 and 1", j[2])
		}
		p.visible = p.visible || j[2] > 0
		return nil
	})
}

func (v *validator) readJoints3D() error {
	return v.readJoints(func() error {
		var j [3]float64
		if err := v.numbers(j[:]); err != nil {
			return err
		}
		for _, x := range j {
			if math.Abs(x) > 10 {
				return v.fail("joint at %v lies more than 10 m from its origin (R11)", j)
			}
		}
		return nil
	})
}

func (v *validator) readJoints(one func() error) error {
	n, err := v.array(v.joints, func(int64) error { return one() })
	if err == nil && n != v.joints {
		return v.fail("%d joints instead of %d (R6)", n, v.joints)
	}
	return err
}
