package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"reflect"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pose-dev/pose-operator/internal/report"
)

// MaxManifestBytes bounds a manifest or pointer, in bytes.
const MaxManifestBytes = 1 << 20

// Bounds of a manifest.
const (
	maxManifestDepth  = 16
	maxManifestValues = 20_000
	maxManifestFiles  = 1000
	maxManifestPath   = 512
	maxManifestText   = 2048
	maxManifestSize   = int64(1) << 50 // of one file and of all together
)

// ErrForeign says that a document is none of ours: no JSON object, or one of
// another kind or version.
var ErrForeign = errors.New("it is no document of the pose operator")

var attemptID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// ValidAttemptID says whether id may be the name of an attempt's folder.
func ValidAttemptID(id string) bool { return attemptID.MatchString(id) }

// KindOf gives the kind of a document of ours that lies in an output folder, or "".
func KindOf(raw []byte) string {
	var d struct{ APIVersion, Kind string }
	if len(raw) > MaxManifestBytes || json.Unmarshal(raw, &d) != nil || d.APIVersion != APIVersion {
		return ""
	}
	return d.Kind
}

// ReadManifest reads a manifest that anybody may have written. What it accepts leads
// to files below the manifest's own folder, each of them once. An error is
// ErrForeign, or an *Invalid that names the place. Members that this release does
// not know are passed over: newer releases add some.
func ReadManifest(raw []byte) (*Manifest, error) {
	var m Manifest
	if err := read(raw, KindManifest, &m); err != nil {
		return nil, err
	}
	if m.Version != ManifestVersion {
		return nil, fmt.Errorf("%w: its format has version %d, this release reads %d", ErrForeign, m.Version, ManifestVersion)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return &m, nil
}

// ReadPointer reads a pointer in the same way.
func ReadPointer(raw []byte) (*Pointer, error) {
	var p Pointer
	if err := read(raw, KindPointer, &p); err != nil {
		return nil, err
	}
	switch {
	case !ValidAttemptID(p.AttemptID):
		return nil, invalidAt("attemptID", "%q cannot be a folder's name", clip(p.AttemptID))
	case !digest.MatchString(p.ManifestSHA256):
		return nil, invalidAt("manifestSHA256", "64 lower-case hex digits expected")
	case p.Attempt < 0:
		return nil, invalidAt("attempt", "%d is negative", p.Attempt)
	}
	return &p, checkJob(p.Job)
}

func invalidAt(place, format string, args ...any) error {
	return &Invalid{Place: place, What: fmt.Sprintf(format, args...)}
}

func (m *Manifest) check() error {
	if err := checkJob(m.Job); err != nil {
		return err
	}
	switch {
	case !ValidAttemptID(m.AttemptID):
		return invalidAt("attemptID", "%q cannot be a folder's name", clip(m.AttemptID))
	case m.Frames < 0 || m.Frames > maxFrames:
		return invalidAt("frames", "%d is out of range", m.Frames)
	case m.People < 0 || m.People > maxID:
		return invalidAt("people", "%d is out of range", m.People)
	case len(m.Files) == 0:
		return invalidAt("files", "there are none")
	case len(m.Files) > maxManifestFiles:
		return invalidAt("files", "more than %d entries", maxManifestFiles)
	}
	seen := map[string]bool{ManifestFile: true}
	var sum int64
	for i, f := range m.Files {
		if err := f.check(); err != nil {
			err.Place = fmt.Sprintf("files[%d].%s", i, err.Place)
			return err
		}
		if seen[f.Path] {
			return invalidAt(fmt.Sprintf("files[%d].path", i), "%q occurs twice, or is the manifest itself", clip(f.Path))
		}
		seen[f.Path] = true
		if sum += f.Size; sum > maxManifestSize {
			return invalidAt("files", "together they have more than %d bytes", maxManifestSize)
		}
	}
	return nil
}

func (f *ManifestFileRef) check() *Invalid {
	bad := func(place, format string, args ...any) *Invalid {
		return &Invalid{Place: place, What: fmt.Sprintf(format, args...)}
	}
	switch {
	case f.Path == "" || len(f.Path) > maxManifestPath || path.Clean(f.Path) != f.Path || path.IsAbs(f.Path) ||
		f.Path == "." || f.Path == ".." || strings.HasPrefix(f.Path, "../") || strings.ContainsRune(f.Path, '\\') || !printable(f.Path):
		return bad("path", "%q does not name a file below the manifest's folder", clip(f.Path))
	case f.Size < 0 || f.Size > maxManifestSize:
		return bad("size", "%d is out of range", f.Size)
	case !digest.MatchString(f.SHA256):
		return bad("sha256", "64 lower-case hex digits expected")
	case len(f.Name) > maxFileName || !printable(f.Name):
		return bad("name", "it is too long, or not printable")
	case len(f.MediaType) > maxFileName || !printable(f.MediaType):
		return bad("mediaType", "it is too long, or not printable")
	}
	return nil
}

func checkJob(j report.JobRef) error {
	for place, s := range map[string]string{"job.namespace": j.Namespace, "job.name": j.Name, "job.uid": j.UID} {
		if len(s) > 253 || !printable(s) {
			return invalidAt(place, "it is too long, or not printable")
		}
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// read takes a document of kind into v.
func read(raw []byte, kind string, v any) error {
	if len(raw) > MaxManifestBytes {
		return fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrForeign, len(raw), MaxManifestBytes)
	}
	if KindOf(raw) != kind {
		return fmt.Errorf("%w of kind %s", ErrForeign, kind)
	}
	if err := plain(raw, names(reflect.TypeOf(v))); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return &Invalid{What: "it does not have the members of a " + kind + ": " + err.Error()}
	}
	return nil
}

// names gives the names of all members of t and of what is in it, by what fold makes
// of them.
func names(t reflect.Type) map[string]string {
	out := map[string]string{}
	var walk func(reflect.Type)
	walk = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(t.Elem())
		case reflect.Struct:
			for f := range t.Fields() {
				if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
					out[fold(name)] = name
					walk(f.Type)
				}
			}
		}
	}
	walk(t)
	return out
}

// fold makes one text of all that encoding/json takes for the same member's name.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			least = min(least, o)
		}
		return least
	}, s)
}

// plain refuses what two readers of JSON would take for two different documents,
// and what would cost one of them much: members that occur twice or differ by case
// only, deep nesting, many or long values, and text that is not UTF-8.
func plain(raw []byte, known map[string]string) error {
	if !utf8.Valid(raw) {
		return &Invalid{What: "it is not UTF-8"}
	}
	p := plainReader{dec: json.NewDecoder(bytes.NewReader(raw)), known: known}
	p.dec.UseNumber()
	if err := p.value(0); err != nil {
		return err
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return &Invalid{What: "it goes on behind its end"}
	}
	return nil
}

type plainReader struct {
	dec    *json.Decoder
	known  map[string]string
	values int
}

func (p *plainReader) fail(format string, args ...any) error {
	return &Invalid{Place: fmt.Sprintf("byte %d", p.dec.InputOffset()), What: fmt.Sprintf(format, args...)}
}

func (p *plainReader) value(depth int) error {
	if p.values++; p.values > maxManifestValues {
		return p.fail("more than %d values", maxManifestValues)
	}
	if depth > maxManifestDepth {
		return p.fail("nested deeper than %d", maxManifestDepth)
	}
	t, err := p.dec.Token()
	if err != nil {
		return p.fail("no JSON: %v", err)
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return p.object(depth)
		}
		return p.array(depth)
	case string:
		if len(t) > maxManifestText {
			return p.fail("a text of more than %d bytes", maxManifestText)
		}
	case json.Number:
		if f, err := t.Float64(); err != nil || math.IsInf(f, 0) || len(t) > 40 {
			return p.fail("a number that is out of range")
		}
	}
	return nil
}

func (p *plainReader) object(depth int) error {
	seen := map[string]bool{}
	for p.dec.More() {
		t, err := p.dec.Token()
		if err != nil {
			return p.fail("no JSON: %v", err)
		}
		name, ok := t.(string)
		if !ok || len(name) > maxManifestText {
			return p.fail("a member's name is expected")
		}
		low := fold(name)
		if seen[low] {
			return p.fail("member %q occurs twice", clip(name))
		}
		if k, ok := p.known[low]; ok && k != name {
			return p.fail("member %q differs from %q by case only", clip(name), k)
		}
		seen[low] = true
		if err := p.value(depth + 1); err != nil {
			return err
		}
	}
	_, err := p.dec.Token() // the end, which More has seen
	if err != nil {
		return p.fail("no JSON: %v", err)
	}
	return nil
}

func (p *plainReader) array(depth int) error {
	for p.dec.More() {
		if err := p.value(depth + 1); err != nil {
			return err
		}
	}
	if _, err := p.dec.Token(); err != nil {
		return p.fail("no JSON: %v", err)
	}
	return nil
}
