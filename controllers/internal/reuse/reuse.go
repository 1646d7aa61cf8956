// Package reuse says when a result that was computed before may stand for one that
// a job asks for. It is pure: what lies at a place is found by pose-runner's role
// lookup, which compares what this package computes.
//
// # Rules
//
//   - A recipe is the digest of all that makes a result but the bytes of its
//     inputs: the engine's and the variant's name, the images of engine, adapter
//     and models, command, environment and working directory, where weights come
//     from, the detector, the outputs, the job's parameters, and whether it brings
//     boxes. What it costs is no part of it: resources, nodes, timeouts, the
//     preflight, the generation of the PoseEngine.
//   - An image that is not pinned by digest may be another one tomorrow. A variant
//     with such an image has no recipe, and its results are never offered again.
//     Weights on a claim go by the claim's name: who changes them in place gives the
//     claim, or the variant, another name.
//   - A request is the digest of what a job asks for: its engine, the recipes of
//     all rungs of its ladder in their order, and what may change on the way down.
//     A job one of whose rungs has no recipe makes no request.
//   - A result will do that was made for the same request, whichever variant made
//     it: the job asks for just what that job asked for, and got it then. Any other
//     will do only if it comes by the recipe of the job's first rung, the best that
//     it could get.
//   - The inputs are the same if their digests are: those that the job names, or
//     those of a place whose version is the same as then. Boxes are an input as the
//     video is. Pose-runner asks the places.
//   - The job's own place is looked at first. Results of other jobs may follow that
//     ended well, with the same engine and the same video by name or digest, in the
//     same namespace; of other namespaces only where the platform admin allows it.
//     The newest come first, and few.
package reuse

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

// format of what is digested. It changes when the same fields come to mean
// something else, or when results of older releases must not be taken.
const format = 1

// Wanted says whether a job takes a result that was computed before. The policy is
// the job's own, or else the platform admin's; none at all is Never.
func Wanted(job *v1alpha1.PoseJob, standard v1alpha1.ReusePolicy) bool {
	return cmp.Or(job.Spec.Reuse, standard) == v1alpha1.ReuseIfVerified
}

// Parameters of the job that its result depends on, as its spec writes them. What is
// unset, or is what unset means, is left out.
func Parameters(job *v1alpha1.PoseJob) map[string]string {
	out := map[string]string{}
	number := func(name string, n int64) {
		if n != 0 {
			out[name] = strconv.FormatInt(n, 10)
		}
	}
	s := &job.Spec
	if f := s.Video.Frames; f != nil {
		number("frames.start", f.Start)
		number("frames.end", f.End)
	}
	if s.People != nil {
		number("people.max", int64(s.People.Max))
	}
	if s.Video.CaptureFPS != nil {
		out["captureFPS"] = s.Video.CaptureFPS.String()
	}
	if s.Video.FocalLengthPx != nil {
		number("focalLengthPx", *s.Video.FocalLengthPx)
	}
	if o := s.Output.Overlay; o != "" && o != v1alpha1.OverlayNone {
		out["overlay"] = string(o)
	}
	return out
}

// recipe is what is digested. encoding/json writes fields in their order here and
// maps in the order of their keys, so that equal recipes are equal bytes.
type recipe struct {
	Format     int               `json:"format"`
	Engine     string            `json:"engine"`
	Variant    string            `json:"variant"`
	Device     string            `json:"device"`
	Image      string            `json:"image"`
	Adapter    string            `json:"adapter,omitempty"`
	Command    []string          `json:"command"`
	Env        map[string]string `json:"env,omitempty"`
	WorkingDir string            `json:"workingDir,omitempty"`
	Models     []model           `json:"models,omitempty"`
	Detector   string            `json:"detector,omitempty"`
	Outputs    []output          `json:"outputs"`
	Boxes      bool              `json:"boxes,omitempty"`
	Parameters map[string]string `json:"parameters,omitempty"`
}

type model struct {
	MountPath string `json:"mountPath"`
	Claim     string `json:"claim,omitempty"`
	Image     string `json:"image,omitempty"`
}

type output struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	Format   string `json:"format"`
	Required bool   `json:"required,omitempty"`
}

// Recipe of a job's result by one variant of an engine, as "sha256:" and 64 digits.
// It is empty where nobody can know what the variant runs, and why says so.
func Recipe(job *v1alpha1.PoseJob, engine *v1alpha1.PoseEngine, variant *v1alpha1.Variant) (digest, why string) {
	r := recipe{
		Format: format, Engine: engine.Name, Variant: variant.Name, Device: string(variant.Device),
		Image: variant.Image, Command: variant.Command, WorkingDir: variant.WorkingDir, Detector: variant.Detector,
		Boxes: job.Spec.Video.Boxes != nil, Parameters: Parameters(job),
	}
	if variant.Adapter != nil {
		r.Adapter = variant.Adapter.Image
	}
	for _, e := range variant.Env {
		if r.Env == nil {
			r.Env = map[string]string{}
		}
		r.Env[e.Name] = e.Value
	}
	for _, m := range variant.Models {
		r.Models = append(r.Models, model{MountPath: m.MountPath, Claim: m.PersistentVolumeClaim, Image: m.Image})
	}
	slices.SortFunc(r.Models, func(a, b model) int { return cmp.Compare(a.MountPath, b.MountPath) })
	for _, o := range engine.Spec.Outputs {
		r.Outputs = append(r.Outputs, output{Name: o.Name, Path: o.Path, Format: string(o.Format), Required: o.Required})
	}
	slices.SortFunc(r.Outputs, func(a, b output) int { return cmp.Compare(a.Name, b.Name) })
	for _, image := range images(r) {
		if !pinned.MatchString(image) {
			return "", fmt.Sprintf("image %s of variant %s of PoseEngine %s is not pinned by digest (@sha256:...), so nobody can know whether it is the one that made an earlier result", image, variant.Name, engine.Name)
		}
	}
	return digestOf(r), ""
}

// Made is what a result of the job by one variant of an engine says of how it came to
// be, as far as job and engine tell.
func Made(job *v1alpha1.PoseJob, engine *v1alpha1.PoseEngine, variant *v1alpha1.Variant) report.Provenance {
	p := report.Provenance{
		VideoURI: job.Spec.Video.URI, Engine: engine.Name, EngineGeneration: engine.Generation,
		Variant: variant.Name, Device: string(variant.Device), Image: variant.Image, Parameters: Parameters(job),
	}
	p.Recipe, _ = Recipe(job, engine, variant)
	if variant.Adapter != nil {
		p.AdapterImage = variant.Adapter.Image
	}
	if b := job.Spec.Video.Boxes; b != nil {
		p.BoxesURI = b.URI
	}
	return p
}

// pinned images are the same for ever.
var pinned = regexp.MustCompile(`@sha256:[0-9a-f]{64}$`)

func images(r recipe) []string {
	out := []string{r.Image}
	if r.Adapter != "" {
		out = append(out, r.Adapter)
	}
	for _, m := range r.Models {
		if m.Image != "" {
			out = append(out, m.Image)
		}
	}
	return out
}

// Rung of a job's ladder: a variant and its engine.
type Rung struct {
	Engine  *v1alpha1.PoseEngine
	Variant *v1alpha1.Variant
}

// Ask is what a job asks for.
type Ask struct {
	// Request is empty where a rung has no recipe.
	Request string
	// Recipes of the rungs in their order, each of which may be empty.
	Recipes []string
	// Why there is no request, for a person.
	Why string
}

// First is the recipe of the first rung; empty where it has none.
func (a Ask) First() string {
	if len(a.Recipes) == 0 {
		return ""
	}
	return a.Recipes[0]
}

// request is what is digested.
type request struct {
	Format   int               `json:"format"`
	Engine   string            `json:"engine"`
	Recipes  []string          `json:"recipes"`
	Device   string            `json:"device"`
	Fallback map[string]string `json:"fallback"`
}

// AskOf a job with the ladder of its engine.
func AskOf(job *v1alpha1.PoseJob, engine string, rungs []Rung) Ask {
	var a Ask
	for _, r := range rungs {
		digest, why := Recipe(job, r.Engine, r.Variant)
		a.Recipes = append(a.Recipes, digest)
		a.Why = cmp.Or(a.Why, why)
	}
	if len(a.Recipes) == 0 {
		a.Why = "the job has no variant to run"
	}
	if a.Why != "" {
		return a
	}
	a.Request = digestOf(request{
		Format: format, Engine: engine, Recipes: a.Recipes,
		Device: string(cmp.Or(job.Spec.Device, v1alpha1.DeviceAuto)),
		Fallback: map[string]string{
			"device":   string(cmp.Or(job.Spec.Fallback.Device, v1alpha1.Allow)),
			"detector": string(cmp.Or(job.Spec.Fallback.Detector, v1alpha1.Allow)),
			"engine":   string(cmp.Or(job.Spec.Fallback.Engine, v1alpha1.Deny)),
		},
	})
	return a
}

// digestOf a value of this package's own types, none of which can fail to encode.
func digestOf(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// MaxCandidates bounds the results of other jobs that a look goes through: each
// costs the place a few requests, and the pod's configuration has its bounds.
const MaxCandidates = 8

// Candidates are results of other jobs that may do, newest first. Whether they do,
// pose-runner finds out: it reads them with the credentials of the job's own output,
// so that what cannot be read with those is left out here.
func Candidates(job *v1alpha1.PoseJob, engine string, all []v1alpha1.PoseJob, crossNamespace bool) []report.ResultRef {
	var fit []*v1alpha1.PoseJob
	for i := range all {
		if other := &all[i]; offers(job, engine, other) && (crossNamespace || other.Namespace == job.Namespace) {
			fit = append(fit, other)
		}
	}
	slices.SortFunc(fit, func(a, b *v1alpha1.PoseJob) int {
		return cmp.Or(b.Status.CompletionTime.Compare(a.Status.CompletionTime.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	var out []report.ResultRef
	for _, other := range fit {
		ref := report.ResultRef{URI: other.Status.Output.URI, ManifestSHA256: other.Status.Output.ManifestSHA256}
		if len(out) < MaxCandidates && !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	return out
}

// offers says whether other may have the result that the job asks for.
func offers(job *v1alpha1.PoseJob, engine string, other *v1alpha1.PoseJob) bool {
	s := &other.Status
	switch {
	case other.UID == job.UID || other.DeletionTimestamp != nil:
		return false
	case s.Output == nil || s.Output.ManifestSHA256 == "" || s.CompletionTime == nil || !meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionComplete):
		return false
	case s.EngineName != engine:
		return false
	case (job.Spec.Video.Boxes == nil) != (other.Spec.Video.Boxes == nil):
		return false
	}
	return sameVideo(job, other) && readable(job.Spec.Output.URI, s.Output.URI) && (job.Namespace == other.Namespace || !isClaim(s.Output.URI))
}

// sameVideo by its digest where the job names one and the other's is known, else by
// its name. Neither proves anything yet.
func sameVideo(job, other *v1alpha1.PoseJob) bool {
	if want := job.Spec.Video.SHA256; want != "" {
		have := other.Spec.Video.SHA256
		if v := other.Status.Video; v != nil && v.SHA256 != "" {
			have = v.SHA256
		}
		if have != "" {
			return have == want
		}
	}
	return job.Spec.Video.URI == other.Spec.Video.URI
}

func isClaim(uri string) bool { return strings.HasPrefix(uri, "pvc://") }

// readable: a place of the same kind, and of claims the same one, for no other is
// mounted.
func readable(own, other string) bool {
	scheme, rest, _ := strings.Cut(own, "://")
	otherScheme, otherRest, _ := strings.Cut(other, "://")
	if scheme != otherScheme {
		return false
	}
	claim, _, _ := strings.Cut(rest, "/")
	otherClaim, _, _ := strings.Cut(otherRest, "/")
	return !isClaim(own) || claim == otherClaim
}
