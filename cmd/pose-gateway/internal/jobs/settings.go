package jobs

import (
	"encoding/hex"
	"net/http"
	"path"
	"strconv"
	"strings"
	"unicode"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
)

// Settings of an upload, as the client gives them. The API server has the last word on
// what they may be.
type Settings struct {
	Engine         string                    `json:"engine,omitempty"`
	Device         v1alpha1.DevicePreference `json:"device,omitempty"`
	Overlay        v1alpha1.Overlay          `json:"overlay,omitempty"`
	DeletionPolicy v1alpha1.DeletionPolicy   `json:"deletionPolicy,omitempty"`
	// People to keep at most; 0 means all.
	People int32 `json:"people,omitempty"`
	// FrameStart is the first frame, FrameEnd the first that is left out; 0 means to
	// the end.
	FrameStart int64 `json:"frameStart,omitempty"`
	FrameEnd   int64 `json:"frameEnd,omitempty"`
	// SHA256 that the video must have, in lower-case hex.
	SHA256 string `json:"sha256,omitempty"`
	// FileName is the video's own, cleaned: a label for people, and no part of any
	// place or command.
	FileName string `json:"fileName,omitempty"`
}

// maxFrame of a video whose frames a client counts.
const maxFrame = 1 << 32

// Set one setting by its name in a form or in Upload-Metadata. An empty value leaves
// it unset.
func (s *Settings) Set(key, value string) error {
	if value == "" && key != "filename" {
		return nil
	}
	var ok bool
	var want string
	switch key {
	case "engine":
		s.Engine, ok, want = value, len(value) <= 63, "the name of an engine"
	case "device":
		s.Device = v1alpha1.DevicePreference(value)
		ok, want = oneOf(s.Device, v1alpha1.DeviceAuto, v1alpha1.DeviceGPU, v1alpha1.DeviceCPU), "Auto, GPU or CPU"
	case "overlay":
		s.Overlay = v1alpha1.Overlay(value)
		ok, want = oneOf(s.Overlay, v1alpha1.OverlayNone, v1alpha1.OverlayBlurred, v1alpha1.OverlayFull), "None, Blurred or Full"
	case "deletionPolicy":
		s.DeletionPolicy = v1alpha1.DeletionPolicy(value)
		ok, want = oneOf(s.DeletionPolicy, v1alpha1.DeletionRetain, v1alpha1.DeletionDelete), "Retain or Delete"
	case "people":
		n, err := strconv.ParseInt(value, 10, 32)
		s.People, ok, want = int32(n), err == nil && n >= 1 && n <= 1000, "a number from 1 to 1000"
	case "frameStart":
		n, err := strconv.ParseInt(value, 10, 64)
		s.FrameStart, ok, want = n, err == nil && n >= 0 && n < maxFrame, "the number of a frame, counted from 0"
	case "frameEnd":
		n, err := strconv.ParseInt(value, 10, 64)
		s.FrameEnd, ok, want = n, err == nil && n >= 1 && n <= maxFrame, "the number of the first frame that is left out"
	case "sha256":
		b, err := hex.DecodeString(value)
		s.SHA256, ok, want = value, err == nil && len(b) == 32 && strings.ToLower(value) == value, "64 lower-case hex digits"
	case "filename", "name":
		s.FileName, ok = CleanName(value), true
	case "filetype", "type", "relativePath":
		ok = true // what clients say of the file is not believed: its bytes tell
	default:
		return problem.New(http.StatusBadRequest, "unknown field %.64q: the OpenAPI document has the known ones", key)
	}
	if !ok {
		return problem.New(http.StatusBadRequest, "%s is %.64q: it must be %s", key, value, want)
	}
	return nil
}

func oneOf[T comparable](v T, all ...T) bool {
	for _, x := range all {
		if v == x {
			return true
		}
	}
	return false
}

// maxName of a file, in characters.
const maxName = 100

// CleanName makes of a hostile file name a label: the last part of a path, without
// control characters, marks that turn text around, or anything but letters, digits,
// spaces and a few signs.
func CleanName(name string) string {
	name = path.Base(strings.ReplaceAll(strings.ToValidUTF8(name, ""), "\\", "/"))
	if name == "." || name == "/" {
		return ""
	}
	var b strings.Builder
	n := 0
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) || strings.ContainsRune(" ._-()+,@", r) {
			if n++; n > maxName {
				break
			}
			b.WriteRune(r)
		}
	}
	return strings.TrimSpace(b.String())
}
