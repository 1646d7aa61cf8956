package lookup

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// want is what a result must have been made of to be the one that the job asks for.
type want struct {
	job     report.JobRef
	request string
	recipes []string
	// first is what a result of the first recipe says of how it came to be; nil where
	// that is not known.
	first *report.Provenance
	video seen
	boxes *seen
}

// seen is a file that the job reads, as its spec and its place tell of it now.
type seen struct {
	uri, sha256 string
	info        storage.Info
}

// used is a file that a result was made of, as its manifest tells.
type used struct {
	uri, sha256, version string
	bytes                int64 // -1 where it is not known
	// local says that the result is of the job's own namespace.
	local bool
}

// fits says why a result is not the one that the job asks for, "" when it is. Pure.
//
// The video and the boxes must be the same, which is proven by
//
//   - the digest, where the spec names one; or
//   - the same URI with the same size and the same version at its place: an ETag or
//     generation of a store, a strong ETag of a web server, or the inode, size and
//     time of change of a file, to the nanosecond, on a claim of the same namespace.
//
// A weak ETag and a web server's modification time are no proof: both may stay the
// same while bytes change. An object's own note of its digest is none either, for
// whoever uploads writes it; where it is another, the video is another.
//
// And it must have been made as this job would make it: for the same request, by
// whichever of its variants it came to, or by the variant that this job would begin
// with.
func (w want) fits(m *result.Manifest) string {
	local := m.Job.Namespace == w.job.Namespace
	bytes := int64(-1)
	if m.Video.Source != nil {
		bytes = m.Video.Source.Bytes
	}
	if why := w.video.is(used{m.Provenance.VideoURI, m.Video.SourceSHA256, m.Video.SourceVersion, bytes, local}); why != "" {
		return "it is of another video: " + why
	}
	b := m.Video.Boxes
	switch {
	case w.boxes == nil && b != nil:
		return "it was made with boxes that were given, this job has none"
	case w.boxes != nil && b == nil:
		return "it was made without the boxes that this job gives"
	case w.boxes != nil:
		if why := w.boxes.is(used{m.Provenance.BoxesURI, b.SourceSHA256, b.SourceVersion, -1, local}); why != "" {
			return "it was made with other boxes: " + why
		}
	}
	return w.recipe(m.Provenance)
}

// is says why a file need not be the one that was used, "" when it is.
func (s seen) is(u used) string {
	if s.sha256 != "" {
		if u.sha256 == "" || !strings.EqualFold(s.sha256, u.sha256) {
			return fmt.Sprintf("its sha256 is %.16s, the job asks for %.16s", orNone(u.sha256), strings.ToLower(s.sha256))
		}
		// The file at the job's URI is not read: what shows that it cannot be the one
		// that its sha256 names is for fetch to judge.
		if s.info.Size >= 0 && u.bytes >= 0 && s.info.Size != u.bytes {
			return fmt.Sprintf("a file of that sha256 has %d bytes, the one at the job's URI %d", u.bytes, s.info.Size)
		}
		if s.info.SHA256 != "" && !strings.EqualFold(s.info.SHA256, s.sha256) {
			return "the digest that the store notes of the file at the job's URI is another"
		}
		return ""
	}
	const remedy = "; a sha256 in the job's spec would prove it"
	scheme, _, _ := strings.Cut(s.uri, "://")
	web := scheme == "http" || scheme == "https"
	switch {
	case s.uri != u.uri:
		return "its URI is another" + remedy
	case scheme == "pvc" && !u.local:
		return "a claim of another namespace has the same name" + remedy
	case s.info.Version == "":
		return "its place does not tell whether it changed" + remedy
	case web && !strings.HasPrefix(s.info.Version, `"`):
		return "its server has no strong ETag, so it may have changed" + remedy
	case u.version == "":
		return "its version was not recorded" + remedy
	case s.info.Version != u.version:
		return "it was changed or uploaded again since" + remedy
	case s.info.Size >= 0 && u.bytes >= 0 && s.info.Size != u.bytes:
		return fmt.Sprintf("it had %d bytes and has %d", u.bytes, s.info.Size)
	case s.info.SHA256 != "" && u.sha256 != "" && !strings.EqualFold(s.info.SHA256, u.sha256):
		return "the digest that the store notes of it is another"
	}
	return ""
}

// recipe says why a result was made otherwise than this job would make it.
func (w want) recipe(p report.Provenance) string {
	switch at := slices.Index(w.recipes, p.Recipe); {
	case p.Request != "" && p.Request == w.request:
		return ""
	case p.Recipe == "":
		return "it was made by an image that is not pinned by its digest, so nobody can know of what"
	case at == 0:
		return ""
	case at > 0:
		return fmt.Sprintf("it was made by variant %s, which is not the first that this job would try", orNone(p.Variant))
	}
	return "it was made otherwise than this job would make it: " + differs(p, w.first)
}

// orNone is text of a manifest, fit to show.
func orNone(s string) string {
	if s = clean.Line(s, 200); s == "" {
		return "none"
	}
	return s
}
