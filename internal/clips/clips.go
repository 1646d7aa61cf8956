// Package clips is the list of the videos of a batch: what may stand in it, which
// of the things at a place are videos, what the folders of their results are called,
// and how the list is cut into chunks and stored.
//
// It is pure: bytes and names in, bytes and names out. Names of objects and lists
// are made by anybody who may write to a bucket, and chunks may come from a pod;
// everything is checked, and bounded.
package clips

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds.
const (
	// MaxClips of one batch.
	MaxClips = 100_000
	// MaxURIBytes is what a PoseJob's video may have.
	MaxURIBytes = 1024
	// MaxNameBytes leaves room for a batch's output URI in front of it: a PoseJob's
	// output may have 1024 bytes, a batch's has at most 512.
	MaxNameBytes = 480
)

// Clip is one video of a batch.
type Clip struct {
	// URI of the video, as a PoseJob's spec takes it.
	URI string `json:"uri"`
	// Name is the folder of its results below the batch's output, as a URI spells
	// it: parts with / between them, percent-encoded where needed. No other clip of
	// the batch has it.
	Name string `json:"name"`
	// Bytes of the file; 0 where the place does not say.
	Bytes int64 `json:"bytes,omitempty"`
}

// Output is where the clip's results lie below the output of its batch.
func (c Clip) Output(batch string) string { return strings.TrimRight(batch, "/") + "/" + c.Name }

// Found is something that may become a clip.
type Found struct {
	URI string
	// Path of the thing below its prefix, or behind its bucket or host, decoded:
	// its name is made of it and patterns are held against it.
	Path  string
	Bytes int64
}

// The same as the rules of a PoseJob's spec.video.uri, without which the API server
// would refuse the clip's job. What every clip goes through is no expression: a
// hundred thousand of them are to take a second.
var (
	schemes  = map[string]bool{"s3": true, "gs": true, "azblob": true, "http": true, "https": true, "pvc": true}
	pvcShape = regexp.MustCompile(`^pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/`)
	ociShape = regexp.MustCompile(`^oci://[a-z0-9.-]+(:[0-9]+)?/[^@]+@sha256:[0-9a-f]{64}//[^/].*$`)
)

// wellFormed: scheme://host/path, without what does not belong there.
func wellFormed(uri string) bool {
	if strings.HasPrefix(uri, "oci:") {
		return noneOf(uri, "?#") && ociShape.MatchString(uri)
	}
	scheme, rest, ok1 := strings.Cut(uri, "://")
	host, key, ok2 := strings.Cut(rest, "/")
	return ok1 && ok2 && schemes[scheme] && host != "" && key != "" && !strings.Contains(host, "@") && noneOf(uri, "?#")
}

// noneOf says that s holds no white space, no control characters and none of bad.
func noneOf(s, bad string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f || strings.IndexByte(bad, s[i]) >= 0 {
			return false
		}
	}
	return true
}

// dotted says that a part of a path is . or .., or that a dot or slash hides behind
// a percent sign.
func dotted(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if part == "." || part == ".." {
			return true
		}
	}
	for rest := p; ; {
		_, after, ok := strings.Cut(rest, "%2")
		if !ok {
			return false
		}
		if after != "" && strings.IndexByte("eEfF", after[0]) >= 0 {
			return true
		}
		rest = after
	}
}

// CheckURI says why uri can be no PoseJob's video; nil is nothing.
func CheckURI(uri string) error {
	switch {
	case len(uri) > MaxURIBytes:
		return fmt.Errorf("it has %d bytes, at most %d are possible", len(uri), MaxURIBytes)
	case !utf8.ValidString(uri):
		return errors.New("it is not UTF-8: write the bytes percent-encoded")
	case !wellFormed(uri):
		return errors.New("it is not scheme://bucket-or-host/path with one of the schemes s3, gs, azblob, http, https, pvc and oci (an image by digest), without user, password, query, fragment and white space")
	case dotted(uri):
		return errors.New("it has . or .. in its path, or a percent-encoded dot or slash")
	case strings.HasPrefix(uri, "pvc:") && !pvcShape.MatchString(uri):
		return errors.New("pvc://claim/path must name a PersistentVolumeClaim")
	case strings.HasSuffix(uri, "/"):
		return errors.New("it names a folder")
	}
	u, err := url.Parse(uri)
	if err != nil {
		return errors.New("its percent-encoding is broken")
	}
	if !utf8.ValidString(u.Path) || strings.ContainsFunc(u.Path, unicode.IsControl) {
		return errors.New("its path holds, percent-encoded, a control character or what is not UTF-8")
	}
	return nil
}

// Check a clip that somebody else made.
func Check(c Clip) error {
	if err := CheckURI(c.URI); err != nil {
		return fmt.Errorf("URI %.80q: %w", c.URI, err)
	}
	if err := CheckName(c.Name); err != nil {
		return fmt.Errorf("name %.80q: %w", c.Name, err)
	}
	if c.Bytes < 0 {
		return fmt.Errorf("clip %.80q has %d bytes", c.Name, c.Bytes)
	}
	return nil
}

// CheckName says what is wrong with a name that somebody else made.
func CheckName(name string) error {
	decoded, err := url.PathUnescape(name)
	switch {
	case name == "" || len(name) > MaxNameBytes:
		return fmt.Errorf("it has %d bytes, 1 to %d are possible", len(name), MaxNameBytes)
	case !utf8.ValidString(name) || !noneOf(name, "?#") || err != nil:
		return errors.New("it is no path of a URI")
	case strings.HasPrefix(name, "/") || path.Clean(decoded) != decoded || dotted(name):
		return errors.New("it is no plain path")
	}
	for part := range strings.SplitSeq(decoded, "/") {
		if reserved[part] {
			return fmt.Errorf("the part %q has a meaning of its own", part)
		}
	}
	return nil
}

// escape writes a path as a URI spells it. Letters of all scripts stay readable.
func escape(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); {
		r, n := utf8.DecodeRuneInString(p[i:])
		if (r == utf8.RuneError && n == 1) || r <= ' ' || r == 0x7f || strings.ContainsRune("%?#\"<>\\^`{|}", r) {
			for _, c := range []byte(p[i : i+n]) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		} else {
			b.WriteString(p[i : i+n])
		}
		i += n
	}
	return b.String()
}

// At gives what was found under key below a prefix that ends with a slash. It is
// false for what cannot be named by a URI, and for folders.
func At(prefix, key string, bytes int64) (Found, bool) {
	f := Found{URI: prefix + escape(key), Path: key, Bytes: max(0, bytes)}
	return f, CheckURI(f.URI) == nil
}

// ParseURI gives what a line of a list names.
func ParseURI(uri string) (Found, error) {
	if err := CheckURI(uri); err != nil {
		return Found{}, err
	}
	_, rest, _ := strings.Cut(uri, "://")
	_, raw, _ := strings.Cut(rest, "/")
	if i := strings.LastIndex(raw, "//"); strings.HasPrefix(uri, "oci:") && i >= 0 {
		raw = raw[i+2:] // the path in the image
	}
	p, err := url.PathUnescape(raw)
	if err != nil {
		return Found{}, errors.New("its percent-encoding is broken")
	}
	return Found{URI: uri, Path: p}, nil
}
