package exports

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sync"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/export"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/verify"
)

const poseFile = "pose.json"

// found is one result and its pose.json; nil where it has none.
type found struct {
	*verify.Found
	job  *v1alpha1.PoseJob
	pose *result.ManifestFileRef
}

func (s *Service) result(job *v1alpha1.PoseJob, f *verify.Found) *found {
	r := &found{Found: f, job: job}
	if i := slices.IndexFunc(f.Manifest.Files, func(m result.ManifestFileRef) bool { return path.Base(m.Path) == poseFile }); i >= 0 {
		r.pose = &f.Manifest.Files[i]
	}
	return r
}

// head is what the beginning of a pose.json says. It is a hint that costs one small
// read: the export itself checks all of the file.
type head struct {
	threeD bool
	// unread is why it is not known, for the user.
	unread string
}

const (
	// maxHead is how far into a pose.json its units are looked for.
	maxHead  = 1 << 20
	maxKnown = 1024
)

// heads that were read, by the sha256 of their pose.json.
type heads struct {
	mu    sync.Mutex
	known map[string]head
}

func (h *heads) get(key string) (head, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.known[key]
	return v, ok
}

func (h *heads) put(key string, v head) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil || len(h.known) >= maxKnown {
		h.known = map[string]head{}
	}
	h.known[key] = v
}

// head of a result's pose.json. A store that does not answer is no reason to withhold
// the list of files: then it is not known.
func (s *Service) head(ctx context.Context, r *found) head {
	if r.pose == nil {
		return head{unread: "The result has no pose.json."}
	}
	if h, ok := s.heads.get(r.pose.SHA256); ok {
		return h
	}
	threeD, err := s.readHead(ctx, r)
	if err != nil {
		return head{unread: "The beginning of pose.json could not be read: ask again, or retry the job."}
	}
	s.heads.put(r.pose.SHA256, head{threeD: threeD})
	return head{threeD: threeD}
}

func (s *Service) readHead(ctx context.Context, r *found) (bool, error) {
	if r.pose.Size == 0 {
		return false, errNoUnits
	}
	src, err := s.Places.Source(r.job.Spec.Output.URI, r.Key(r.pose.Path))
	if err != nil {
		return false, fmt.Errorf("open pose.json: %w", err)
	}
	defer func() { _ = src.Close() }()
	body, _, err := src.Open(ctx, 0, min(maxHead, r.pose.Size), "")
	if err != nil {
		return false, fmt.Errorf("read the beginning of pose.json: %w", err)
	}
	defer func() { _ = body.Close() }()
	return has3D(io.LimitReader(body, maxHead))
}

var errNoUnits = errors.New("no units before the frames")

// has3D says by units.joints3d, which stands before the frames, whether a document has
// three-dimensional joints.
func has3D(r io.Reader) (bool, error) {
	d := json.NewDecoder(bufio.NewReader(r))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false, errors.Join(errNoUnits, err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return false, fmt.Errorf("read pose.json: %w", err)
		}
		switch name {
		case "frames":
			return false, errNoUnits
		case "units":
			var u result.Units
			if err := d.Decode(&u); err != nil {
				return false, fmt.Errorf("read the units of pose.json: %w", err)
			}
			return u.Joints3D != "", nil
		}
		var skipped json.RawMessage // at most maxHead
		if err := d.Decode(&skipped); err != nil {
			return false, fmt.Errorf("read pose.json: %w", err)
		}
	}
	return false, errNoUnits
}

// maxFrameFiles bounds the files of a zip: its directory is held until its end, about
// half a kilobyte a file.
const maxFrameFiles = 100_000

// unfit says why a format cannot be made of a result; "" where it can.
func (s *Service) unfit(r *found, f export.Format, h head) string {
	a := abouts[f.Name]
	switch {
	case h.unread != "":
		return h.unread
	case !a.flat && !h.threeD:
		return "This needs joints in 3D, and the result has them in 2D only. Engines with 3D are phalp and mediapipe."
	case f.PerPerson && r.Manifest.People == 0:
		return "Nobody was seen in the video."
	case a.perFrame && r.Manifest.Frames > maxFrameFiles:
		return fmt.Sprintf("It would be a file for each of %d frames, more than the %d that this service makes. Download the result and use kubectl pose export.", r.Manifest.Frames, maxFrameFiles)
	case r.pose.Size > s.maxPose(a):
		return fmt.Sprintf("pose.json has %d MiB, more than the %d that this service turns into it. Download the result and use kubectl pose export.", r.pose.Size>>20, s.maxPose(a)>>20)
	}
	return ""
}

func (s *Service) maxPose(a about) int64 {
	if a.motion {
		return min(s.Limits.MotionBytes, s.Limits.Bytes)
	}
	return s.Limits.Bytes
}
