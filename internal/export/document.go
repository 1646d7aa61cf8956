package export

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/pose-dev/pose-operator/internal/result"
)

// Source is a result to export: a validated pose.json that is read again frame by
// frame, and the body model's parameters and the times of frames where the result has
// them.
type Source struct {
	// Head is the document without its frames.
	Head result.Document
	// SMPL holds the parameters of smpl.npz; nil where the result has none.
	SMPL *result.SMPL
	// Times are when a player of the source shows each frame, in seconds since the
	// source's frame 0; nil where its rate is constant or was not kept. AttachTimes
	// sets them.
	Times []float64

	r io.ReadSeeker
}

// NewSource validates the pose.json that r holds and reads everything but its
// frames. The document is read anew by each export, so r stays open.
func NewSource(r io.ReadSeeker, limits result.Limits) (*Source, error) {
	if _, err := result.Validate(r, limits, 0); err != nil {
		return nil, fmt.Errorf("pose.json is not valid: %w", err)
	}
	s := &Source{r: r}
	return s, s.walk(nil)
}

// Attach adds the parameters that Head.Parametric names, a smpl.npz of size bytes.
// It checks them, then that they are those of this document, which it reads once
// more, and only then loads them: so their memory is bounded by the document's
// entries, not by what a file of a few megabytes unpacks to.
func (s *Source) Attach(smpl io.ReaderAt, size int64, limits result.Limits) error {
	parameters, err := result.CheckSMPL(smpl, size)
	if err != nil {
		return fmt.Errorf("read the body model's parameters: %w", err)
	}
	if _, err := s.r.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read pose.json again: %w", err)
	}
	if _, err := result.ValidatePair(s.r, limits, 0, parameters); err != nil {
		return fmt.Errorf("pose.json and smpl.npz are not of one result: %w", err)
	}
	if err := parameters.Load(smpl, size); err != nil {
		return fmt.Errorf("read the body model's parameters: %w", err)
	}
	s.SMPL = parameters
	return nil
}

// errStop ends a walk early without being an error.
var errStop = errors.New("stop")

// Frames calls each for every frame in order. The frame is the callee's to keep.
// An error of each ends the reading and is given back.
func (s *Source) Frames(each func(*result.Frame) error) error {
	return s.walk(each)
}

// walk reads the document from its begin; without each it stops before the frames,
// which a valid document has last, and keeps the rest in Head.
func (s *Source) walk(each func(*result.Frame) error) error {
	if _, err := s.r.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read pose.json again: %w", err)
	}
	d := json.NewDecoder(bufio.NewReaderSize(s.r, 1<<18))
	err := walkObject(d, func(name string) error {
		if name == "frames" {
			if each == nil {
				return errStop
			}
			return s.walkFrames(d, each)
		}
		if to := s.member(name); to != nil && each == nil {
			return d.Decode(to)
		}
		return skip(d)
	})
	switch {
	case err == nil, errors.Is(err, errStop):
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errChanged
	}
	return err
}

// errChanged is what a document that was valid a moment ago ends in.
var errChanged = errors.New("pose.json changed while it was read: export again when nothing writes to it")

// member gives the place of a member of the head; nil for those not needed.
func (s *Source) member(name string) any {
	h := &s.Head
	switch name {
	case "video":
		return &h.Video
	case "engine":
		return &h.Engine
	case "skeleton":
		return &h.Skeleton
	case "units":
		return &h.Units
	case "coordinates":
		return &h.Coordinates
	case "camera":
		return &h.Camera
	case "quality":
		return &h.Quality
	case "parametric":
		return &h.Parametric
	case "people":
		return &h.People
	}
	return nil
}

func (s *Source) walkFrames(d *json.Decoder, each func(*result.Frame) error) error {
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return orChanged(err)
	}
	joints := len(s.Head.Skeleton.Joints)
	for i := int64(0); d.More(); i++ {
		f := new(result.Frame)
		if err := d.Decode(f); err != nil {
			return fmt.Errorf("read frame %d of pose.json: %w", i, err)
		}
		// The file was checked before, and may be another by now.
		if f.Index != i || i >= s.Head.Video.Frames {
			return errChanged
		}
		for k := range f.People {
			p := &f.People[k]
			if len(p.Joints2D) != joints || (s.has3D() && len(p.Joints3D) != joints) || (s.placed() && p.Translation == nil) {
				return errChanged
			}
		}
		if err := each(f); err != nil {
			return err
		}
	}
	return errStop // nothing of interest stands behind the frames
}

func (s *Source) has3D() bool  { return s.Head.Units.Joints3D != "" }
func (s *Source) placed() bool { return s.has3D() && s.Head.Units.Translation != "" }

// observed says whether the person was seen in the frame, rather than guessed.
func observed(p *result.Person) bool { return p.Observed == nil || *p.Observed }

func walkObject(d *json.Decoder, member func(name string) error) error {
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return orChanged(err)
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok {
			return errChanged
		}
		if err := member(name); err != nil {
			return err
		}
	}
	return nil
}

func orChanged(err error) error {
	if err != nil {
		return err
	}
	return errChanged
}

// skip passes over a value without holding it.
func skip(d *json.Decoder) error {
	for depth := 0; ; {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}
