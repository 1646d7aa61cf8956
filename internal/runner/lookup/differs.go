package lookup

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pose-dev/pose-operator/internal/report"
)

// parameter of a job, as a person finds it in its spec.
type parameter struct {
	name string // in a manifest's provenance
	path string // below spec
	none string // what it means where it is not set
}

// parameters in the order in which they are told.
var parameters = []parameter{
	{"overlay", "output.overlay", "None"},
	{"frames.start", "video.frames.start", "0"},
	{"frames.end", "video.frames.end", "unset, which is the end"},
	{"people.max", "people.max", "unset, which is everybody"},
	{"captureFPS", "video.captureFPS", "unset"},
	{"focalLengthPx", "video.focalLengthPx", "unset"},
}

// maxDifferences bounds how many are told: a manifest may claim any number.
const maxDifferences = 5

// differs tells what a result was made with that a result of the job's first variant
// would not be, as far as their manifests say so. Where the job's own is not known, it
// tells what that result was made with. Pure; manifests are hostile.
func differs(have report.Provenance, want *report.Provenance) string {
	if want == nil {
		return madeWith(have)
	}
	var all []string
	tell := func(what, here, there string) {
		if here != there {
			all = append(all, fmt.Sprintf("%s is %s there, %s here", what, orNone(there), orNone(here)))
		}
	}
	for _, p := range parameters {
		tell(p.path, cmp.Or(want.Parameters[p.name], p.none), cmp.Or(have.Parameters[p.name], p.none))
	}
	for _, name := range slices.Sorted(maps.Keys(have.Parameters)) {
		if !slices.ContainsFunc(parameters, func(p parameter) bool { return p.name == name }) {
			tell("parameter "+orNone(name), want.Parameters[name], have.Parameters[name])
		}
	}
	if tell("the engine", want.Engine, have.Engine); have.Engine == want.Engine {
		tell("the variant", want.Variant, have.Variant)
	}
	here, there := images(want.Image, have.Image)
	tell("the engine's image", here, there)
	here, there = images(want.AdapterImage, have.AdapterImage)
	tell("the adapter's image", here, there)
	switch n := len(all); {
	case n == 0:
		return unnamed(have, want)
	case n > maxDifferences:
		return strings.Join(all[:maxDifferences], "; ") + fmt.Sprintf("; and %d more differences", n-maxDifferences)
	}
	return strings.Join(all, "; ")
}

// unnamed is what a recipe has that no manifest spells out.
func unnamed(have report.Provenance, want *report.Provenance) string {
	what := fmt.Sprintf("variant %s of PoseEngine %s had another command, environment, weights, detector or outputs", orNone(have.Variant), orNone(have.Engine))
	if have.EngineGeneration != want.EngineGeneration {
		what += fmt.Sprintf(" (generation %d of it there, %d here)", have.EngineGeneration, want.EngineGeneration)
	}
	return what
}

// images gives two images short enough to compare by eye: their digests where they
// differ in nothing else.
func images(here, there string) (string, string) {
	a, hereDigest, _ := strings.Cut(here, "@")
	b, thereDigest, _ := strings.Cut(there, "@")
	if a != b || hereDigest == "" || thereDigest == "" || hereDigest == thereDigest {
		return here, there
	}
	return short(hereDigest), short(thereDigest)
}

// short digest, with its kind: digits enough to tell two apart.
func short(digest string) string {
	const kept = len("sha256:") + 12
	return digest[:min(len(digest), kept)]
}

func madeWith(have report.Provenance) string {
	made := fmt.Sprintf("engine %s, variant %s, image %s", orNone(have.Engine), orNone(have.Variant), orNone(have.Image))
	names := slices.Sorted(maps.Keys(have.Parameters))
	for _, k := range names[:min(len(names), maxDifferences)] {
		made += fmt.Sprintf(", %s %s", orNone(k), orNone(have.Parameters[k]))
	}
	return made
}
