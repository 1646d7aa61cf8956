// Package media gives the files of results: those of the manifest whose digest stands
// in a job's status, below the gateway's own base and the job's namespace, and no
// others. A file that is read whole is compared with the manifest while it is sent.
package media

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/jobs"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/links"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/place"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/seal"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// Service gives results.
type Service struct {
	Places *place.Places
	Keys   *seal.Keys
	Now    func() time.Time
	// LinkFor is how long a link is good.
	LinkFor time.Duration

	mu    sync.Mutex
	known map[string]*verify.Found
}

// File of a result with its links.
type File struct {
	Name        string `json:"name"`
	Path        string `json:"path"`
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"`
	MediaType   string `json:"mediaType"`
	URL         string `json:"url"`
	DownloadURL string `json:"downloadURL"`
}

// Results of a job.
type Results struct {
	ManifestSHA256 string    `json:"manifestSHA256"`
	People         int64     `json:"people"`
	Frames         int64     `json:"frames"`
	ExpiresAt      time.Time `json:"expiresAt"`
	Files          []File    `json:"files"`
}

const purposeLink = "link"

// link is what a signed link says: one object, for one user.
type link struct {
	links.Bearer
	URI      string `json:"o"` // the job's output
	Key      string `json:"k"`
	Name     string `json:"f"`
	Size     int64  `json:"s"`
	SHA256   string `json:"d"`
	Attached bool   `json:"a,omitempty"`
}

// maxKnown manifests are kept; each is of a result that does not change.
const maxKnown = 128

// Found gives the verified manifest of a job's result, where the gateway serves it. It
// is shared: callers change nothing in it.
func (s *Service) Found(ctx context.Context, job *v1alpha1.PoseJob) (*verify.Found, error) {
	if !jobs.HasResults(job) {
		return nil, problem.New(http.StatusConflict, "job %s has no results: see its status", job.Name)
	}
	uri, want := job.Spec.Output.URI, job.Status.Output.ManifestSHA256
	// The spec's place and never the status': and that only below our own.
	if !s.Places.Serves(job.Namespace, uri) {
		return nil, problem.New(http.StatusForbidden, "the results of job %s do not lie where this service keeps what is its own: read them with kubectl pose results", job.Name)
	}
	key := uri + "\n" + want
	s.mu.Lock()
	f := s.known[key]
	s.mu.Unlock()
	if f != nil {
		return f, nil
	}
	sink, err := s.Places.Sink(uri)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sink.Close() }()
	f, err = verify.Find(ctx, sink, want, verify.Options{})
	_, damaged := verify.IsDamage(err)
	switch {
	case damaged, errors.Is(err, result.ErrForeign), storage.KindOf(err) == storage.NotFound:
		return nil, problem.Because(err, http.StatusBadGateway, "the results of job %s are gone or not those that were delivered: retry the job", job.Name)
	case err != nil:
		return nil, place.Failure(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxKnown {
		s.known = map[string]*verify.Found{}
	}
	s.known[key] = f
	return f, nil
}

// List the files of a job's result, with links for this user.
func (s *Service) List(ctx context.Context, user *auth.User, job *v1alpha1.PoseJob) (*Results, error) {
	f, err := s.Found(ctx, job)
	if err != nil {
		return nil, err
	}
	expires := s.Now().Add(s.LinkFor).Truncate(time.Second)
	out := &Results{ManifestSHA256: f.SHA256, People: f.Manifest.People, Frames: f.Manifest.Frames, ExpiresAt: expires.UTC(), Files: []File{}}
	for _, m := range f.Manifest.Files {
		file := File{Name: m.Name, Path: m.Path, Size: m.Size, SHA256: m.SHA256, MediaType: mediaType(m.Path)}
		for _, attached := range []bool{false, true} {
			l := linkTo(user, job, f, m)
			l.Attached = attached
			text, err := s.Keys.Seal(purposeLink, l, expires)
			if err != nil {
				return nil, fmt.Errorf("make a link: %w", err)
			}
			url := "/api/pose/media/" + text + "/" + path.Base(m.Path)
			if attached {
				file.DownloadURL = url
			} else {
				file.URL = url
			}
		}
		out.Files = append(out.Files, file)
	}
	return out, nil
}

func linkTo(user *auth.User, job *v1alpha1.PoseJob, f *verify.Found, m result.ManifestFileRef) link {
	return link{
		Bearer: links.For(user, job), URI: job.Spec.Output.URI,
		Key: f.Key(m.Path), Name: path.Base(m.Path), Size: m.Size, SHA256: m.SHA256,
	}
}

// Serve one file of a job's result by its name in the manifest.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, user *auth.User, job *v1alpha1.PoseJob, name string) error {
	f, err := s.Found(r.Context(), job)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(f.Manifest.Files, func(m result.ManifestFileRef) bool { return m.Name == name })
	if i < 0 {
		return problem.New(http.StatusNotFound, "the result of job %s has no file %.128q: /api/pose/jobs/%s/results lists them", job.Name, name, job.Name)
	}
	return s.send(w, r, linkTo(user, job, f, f.Manifest.Files[i]))
}

// ServeLink gives the file of a link of List.
func (s *Service) ServeLink(w http.ResponseWriter, r *http.Request, text string, user *auth.User, get links.Get) error {
	var l link
	if _, err := links.Open(r.Context(), s.Keys, purposeLink, text, s.Now(), &l, &l.Bearer, user, get); err != nil {
		return err
	}
	if !s.Places.Serves(l.Namespace, l.URI) {
		return problem.New(http.StatusForbidden, "the link leads to a place that this service no longer serves")
	}
	return s.send(w, r, l)
}

// rangePattern is one range of bytes. http.ServeContent would answer several, too, each
// with a request to the store.
var rangePattern = regexp.MustCompile(`^bytes=\s*[0-9]*\s*-\s*[0-9]*\s*$`)

func (s *Service) send(w http.ResponseWriter, r *http.Request, l link) error {
	src, err := s.Places.Source(l.URI, l.Key)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	info, err := src.Stat(r.Context())
	gone := storage.KindOf(err) == storage.NotFound
	if err != nil && !gone {
		return place.Failure(err)
	}
	if gone || info.Size != l.Size {
		return problem.Because(err, http.StatusBadGateway, "file %s of job %s is gone or not the one that was delivered: retry the job", l.Name, l.Job)
	}
	if v := r.Header.Get("Range"); v != "" && !rangePattern.MatchString(v) {
		r.Header.Del("Range")
	}
	h := w.Header()
	h.Set("Content-Type", mediaType(l.Key))
	h.Set("ETag", `"`+l.SHA256+`"`)
	if sum, err := hex.DecodeString(l.SHA256); err == nil && len(sum) == sha256.Size {
		h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":")
	}
	h.Set("Cache-Control", "private, max-age=300")
	// Whatever it is, it runs nothing.
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; media-src 'self'; style-src 'unsafe-inline'")
	if l.Attached {
		h.Set("Content-Disposition", `attachment; filename="`+safeFile(l.Name)+`"`)
	}
	body := &reader{ctx: r.Context(), source: src, version: info.Version, size: l.Size, want: l.SHA256}
	defer func() { _ = body.Close() }()
	http.ServeContent(w, r, "", time.Time{}, body)
	if body.err != nil {
		return fmt.Errorf("send %s of job %s/%s: %w", l.Name, l.Namespace, l.Job, body.err)
	}
	return nil
}

var unsafeFile = regexp.MustCompile(`[^A-Za-z0-9._-]`)

func safeFile(name string) string { return unsafeFile.ReplaceAllString(name, "_") }

// mediaType by the file's ending, of a few that browsers do nothing surprising with:
// what a manifest says is an engine's word.
func mediaType(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".json":
		return "application/json"
	case ".mp4":
		return "video/mp4"
	case ".webm":
		return "video/webm"
	case ".csv":
		return "text/csv; charset=utf-8"
	case ".txt", ".log", ".md":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}
