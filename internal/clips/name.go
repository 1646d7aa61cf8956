package clips

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// reserved parts of a path mean something in a folder of results.
var reserved = map[string]bool{"attempts": true, "manifest.json": true, "batch.json": true}

// videoEndings are those of files that are taken for videos.
var videoEndings = map[string]bool{
	".3gp": true, ".avi": true, ".flv": true, ".m2ts": true, ".m4v": true, ".mkv": true, ".mov": true, ".mp4": true, ".mpeg": true,
	".mpg": true, ".mts": true, ".mxf": true, ".ogv": true, ".ts": true, ".webm": true, ".wmv": true,
}

func isVideo(p string) bool {
	return videoEndings[strings.ToLower(path.Ext(p))] && !strings.HasPrefix(path.Base(p), ".")
}

// digestDigits of the URI's digest tell clips apart whose paths cannot.
const digestDigits = 10

// folder makes a name of a path: no empty parts, none that means something, and not
// too long. What is cut off is what the digest stands for.
func folder(p, digest string) string {
	var parts []string
	for part := range strings.SplitSeq(p, "/") {
		if part == "" {
			continue
		}
		if reserved[part] {
			part += "_"
		}
		parts = append(parts, part)
	}
	name := escape(strings.Join(parts, "/"))
	room := MaxNameBytes
	if digest != "" {
		digest = "-" + digest
	}
	room -= len(digest)
	if len(name) > room {
		name = cut(name, room)
	}
	return name + digest
}

// cut a name to n bytes, but in no letter, no percent-encoded one and not behind a
// slash.
func cut(name string, n int) string {
	for n > 0 && !utf8.RuneStart(name[n]) {
		n--
	}
	name = name[:n]
	if i := strings.LastIndexByte(name, '%'); i >= 0 && i > len(name)-3 {
		name = name[:i]
	}
	return strings.TrimRight(name, "/.")
}

// Name the things found and sort them by their names. The name is the path, with its
// ending: what lies beside a video does not change the name of its results. Where
// several would have the same, for what a path of results cannot hold, all but those
// whose own it is end with a digest of their URI.
//
// Things that are there twice, by the same URI, become one clip. left counts those
// that got no name; only who tries hard gets there.
func Name(found []Found) (clips []Clip, left int) {
	found = slices.Clone(found)
	slices.SortFunc(found, func(a, b Found) int { return cmp.Compare(a.URI, b.URI) })
	found = slices.CompactFunc(found, func(a, b Found) bool { return a.URI == b.URI })
	name := make([]string, len(found))
	for i, f := range found {
		name[i] = folder(f.Path, "")
	}
	again := twice(name, func(i int) bool { return len(found[i].Path) <= MaxNameBytes && name[i] == escape(found[i].Path) })
	for n := digestDigits; n <= 60 && len(again) > 0; n += digestDigits {
		for _, i := range again {
			sum := sha256.Sum256([]byte(found[i].URI))
			name[i] = folder(found[i].Path, hex.EncodeToString(sum[:])[:n])
		}
		mine := map[int]bool{}
		for _, i := range again {
			mine[i] = true
		}
		again = slices.DeleteFunc(twice(name, func(i int) bool { return !mine[i] }), func(i int) bool { return !mine[i] })
	}
	drop := map[int]bool{}
	for _, i := range again {
		drop[i] = true
	}
	for i, f := range found {
		if drop[i] || CheckName(name[i]) != nil {
			left++
			continue
		}
		clips = append(clips, Clip{URI: f.URI, Name: name[i], Bytes: f.Bytes})
	}
	slices.SortFunc(clips, func(a, b Clip) int { return cmp.Compare(a.Name, b.Name) })
	return clips, left
}

// twice gives the indexes of names that are not their owner's alone. Of those that
// share one, the first that keeps it is left out.
func twice(name []string, keeps func(int) bool) []int {
	count := make(map[string]int, len(name))
	for _, n := range name {
		count[n]++
	}
	kept := map[string]bool{}
	var out []int
	for i, n := range name {
		if count[n] < 2 {
			continue
		}
		if keeps != nil && keeps(i) && !kept[n] {
			kept[n] = true
			continue
		}
		out = append(out, i)
	}
	return out
}
