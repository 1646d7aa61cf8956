package engine

import (
	"fmt"
	"slices"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Fallback says whether the engine that e falls back to can be used; the zero
// value where e names none. An engine that names itself has none.
func Fallback(e *v1alpha1.PoseEngine, engines []v1alpha1.PoseEngine) Resolution {
	name := e.Spec.FallbackEngineName
	if name == "" {
		return Resolution{}
	}
	if name == e.Name {
		return Resolution{Reason: v1alpha1.ReasonFallbackIsItself, Message: fmt.Sprintf("spec.fallbackEngineName of PoseEngine %s names the engine itself, so there is nothing to fall back to: name another engine, or leave it out", name)}
	}
	i := slices.IndexFunc(engines, func(o v1alpha1.PoseEngine) bool { return o.Name == name })
	if i < 0 {
		return Resolution{Name: name, Reason: v1alpha1.ReasonEngineNotFound, Message: fmt.Sprintf("there is no PoseEngine %q, which PoseEngine %s falls back to; there are: %s", name, e.Name, engineNames(engines))}
	}
	if r := Check(&engines[i]); !r.Ready {
		return Resolution{Name: name, Reason: v1alpha1.ReasonEngineNotReady, Message: fmt.Sprintf("PoseEngine %s, which PoseEngine %s falls back to, is not ready: %s: %s", name, e.Name, r.Reason, r.Message)}
	}
	return Resolution{Engine: &engines[i], Name: name}
}

// ResolveFallback of a job that runs with e; the zero value where the job allows
// no other engine.
func ResolveFallback(job *v1alpha1.PoseJob, e *v1alpha1.PoseEngine, engines []v1alpha1.PoseEngine) Resolution {
	if e == nil || job.Spec.Fallback.Engine != v1alpha1.Allow {
		return Resolution{}
	}
	return Fallback(e, engines)
}

// Formats that mean the same under every name.
const (
	smpl     = v1alpha1.OutputFormat(report.FormatSMPLNPZ)
	poseJSON = v1alpha1.OutputFormat(report.FormatPoseJSON)
)

// Lacks says in plain words what every result of e holds and none of the other
// engine needs to: outputs by format, files without one of ours by name.
func Lacks(e, other *v1alpha1.PoseEngine) []string {
	var out []string
	for _, o := range e.Spec.Outputs {
		if !o.Required || slices.ContainsFunc(other.Spec.Outputs, func(p v1alpha1.EngineOutput) bool { return p.Required && same(o, p) }) {
			continue
		}
		if o.Format == smpl {
			out = append(out, fmt.Sprintf("the SMPL body model (%s)", o.Path))
		} else {
			out = append(out, o.Path)
		}
	}
	return out
}

func same(a, b v1alpha1.EngineOutput) bool {
	structured := a.Format == smpl || a.Format == poseJSON
	return a.Format == b.Format && (structured || a.Name == b.Name)
}
