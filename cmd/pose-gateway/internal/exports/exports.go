// Package exports gives results in the formats of other programs: internal/export,
// fed from the store and sent as one zip.
//
// Nothing is sent before the whole of pose.json, and what belongs to it, was compared
// with the manifest and checked: it is kept in a temporary file meanwhile, as it is read
// several times. How much one export may take of disk, memory and time is bounded, and
// how many run at once.
package exports

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/links"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/media"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/place"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/seal"
	"github.com/pose-dev/pose-operator/internal/export"
)

// Limits of exports.
type Limits struct {
	// AtOnce is how many run at a time. A few more wait for them, for Wait at most.
	AtOnce int
	Wait   time.Duration
	// Bytes of a result that are read for one export. It takes as much of Dir, and at
	// most as much again for files that wait for others to end.
	Bytes int64
	// MotionBytes of pose.json in formats that hold the motion of people in memory.
	MotionBytes int64
	// Time that one export may take, the sending included.
	Time time.Duration
}

// Service gives exports.
type Service struct {
	Media  *media.Service
	Places *place.Places
	Keys   *seal.Keys
	Now    func() time.Time
	Limits Limits
	// Dir is for temporary files; empty is the system's own folder for them.
	Dir string

	once    sync.Once
	running chan struct{}
	waiting chan struct{}
	heads   heads
}

// about says of a format what it is called and for whom it is.
type about struct {
	title, use string
	// flat formats need no three-dimensional joints, motion formats hold the joints of
	// all chosen people in memory, and files of perFrame formats are one a frame.
	flat, motion, perFrame bool
}

// abouts of the formats of internal/export; a test compares the two.
var abouts = map[string]about{
	"coco":     {title: "COCO keypoints", use: "training and evaluation of detectors, annotation tools", flat: true},
	"openpose": {title: "OpenPose", use: "programs that read the output of OpenPose", flat: true, perFrame: true},
	"bvh":      {title: "BVH", use: "animation: Blender, MotionBuilder, Maya, Unity", motion: true},
	"trc":      {title: "TRC", use: "OpenSim", motion: true},
	"c3d":      {title: "C3D", use: "biomechanics: OpenSim, Mokka, Visual3D", motion: true},
	"csv":      {title: "Joint angles (CSV)", use: "statistics: R, pandas, a spreadsheet"},
}

// Export is a format in which a result can be had.
type Export struct {
	Format string `json:"format"`
	Title  string `json:"title"`
	// For whom it is.
	For  string `json:"for"`
	Name string `json:"name"` // of the file
	URL  string `json:"url"`
}

// Missing is a format in which a result cannot be had, and why.
type Missing struct {
	Format string `json:"format"`
	Title  string `json:"title"`
	For    string `json:"for"`
	Reason string `json:"reason"`
}

// List is what a result can be turned into, and what not.
type List struct {
	Exports []Export  `json:"exports"`
	Missing []Missing `json:"exportsMissing"`
}

const purposeLink = "export"

// link is what a signed link says: one format of one job's result, for one user.
type link struct {
	links.Bearer
	Format string `json:"f"`
	Name   string `json:"t"`
}

// List the formats of a job's result, with links for this user until expires. title
// is what the user calls the job.
func (s *Service) List(ctx context.Context, user *auth.User, job *v1alpha1.PoseJob, title string, expires time.Time) (*List, error) {
	found, err := s.Media.Found(ctx, job)
	if err != nil {
		return nil, err
	}
	r := s.result(job, found)
	h := s.head(ctx, r)
	out := &List{Exports: []Export{}, Missing: []Missing{}}
	for _, f := range export.Formats() {
		a := abouts[f.Name]
		if why := s.unfit(r, f, h); why != "" {
			out.Missing = append(out.Missing, Missing{Format: f.Name, Title: a.title, For: a.use, Reason: why})
			continue
		}
		l := link{Bearer: links.For(user, job), Format: f.Name, Name: FileName(title, job.Name, f.Name)}
		text, err := s.Keys.Seal(purposeLink, l, expires)
		if err != nil {
			return nil, fmt.Errorf("make a link: %w", err)
		}
		out.Exports = append(out.Exports, Export{Format: f.Name, Title: a.title, For: a.use, Name: l.Name, URL: "/api/pose/exports/" + text + "/" + l.Name})
	}
	return out, nil
}

// Serve a job's result in a format.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, job *v1alpha1.PoseJob, title, format string) error {
	return s.serve(w, r, job, format, FileName(title, job.Name, format))
}

// ServeLink is Serve by a link of List.
func (s *Service) ServeLink(w http.ResponseWriter, r *http.Request, text string, user *auth.User, get links.Get) error {
	var l link
	job, err := links.Open(r.Context(), s.Keys, purposeLink, text, s.Now(), &l, &l.Bearer, user, get)
	if err != nil {
		return err
	}
	return s.serve(w, r, job, l.Format, l.Name)
}

var unsafeName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// maxStem bounds what comes before the format in a file's name.
const maxStem = 80

// FileName of an export: the title's name without its extension, or the job's name
// where nothing of it is left.
func FileName(title, job, format string) string {
	stem := strings.Trim(unsafeName.ReplaceAllString(strings.TrimSuffix(title, path.Ext(title)), "-"), "-")
	if len(stem) > maxStem {
		stem = strings.TrimRight(stem[:maxStem], "-")
	}
	if stem == "" {
		stem = unsafeName.ReplaceAllString(job[:min(len(job), maxStem)], "-")
	}
	return stem + "-" + format + ".zip"
}

// enter waits for a place among those that run.
func (s *Service) enter(ctx context.Context) (func(), error) {
	s.once.Do(func() {
		s.running = make(chan struct{}, s.Limits.AtOnce)
		s.waiting = make(chan struct{}, 4*s.Limits.AtOnce)
	})
	leave := func() { <-s.running }
	select {
	case s.running <- struct{}{}:
		return leave, nil
	default:
	}
	busy := problem.New(http.StatusTooManyRequests, "the service makes as many exports as it can: try again in a moment")
	busy.RetryAfter = 15 * time.Second
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return nil, busy
	}
	end := time.NewTimer(s.Limits.Wait)
	defer end.Stop()
	select {
	case s.running <- struct{}{}:
		return leave, nil
	case <-end.C:
		return nil, busy
	case <-ctx.Done():
		return nil, problem.Because(ctx.Err(), http.StatusServiceUnavailable, "the request ended before its turn came")
	}
}
