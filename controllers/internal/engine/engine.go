// Package engine says whether a PoseEngine can be used. Both controllers ask it:
// one to tell the platform admin, one to let jobs wait with the same words.
package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
)

// Readiness of an engine.
type Readiness struct {
	Ready           bool
	Reason, Message string
}

// Check an engine's spec.
func Check(e *v1alpha1.PoseEngine) Readiness {
	var missing []string
	for _, v := range e.Spec.Variants {
		if v.Image == "" {
			missing = append(missing, v.Name)
		}
	}
	if len(missing) > 0 {
		return Readiness{
			Reason: v1alpha1.ReasonImageNotSet,
			Message: fmt.Sprintf("variants without an image: %s. Set spec.variants[].image of PoseEngine %s, or the chart's value engines.%s.image",
				strings.Join(missing, ", "), e.Name, e.Name),
		}
	}
	if _, err := failure.Compile(e.Spec.FailureRules); err != nil {
		return Readiness{Reason: v1alpha1.ReasonInvalidRules, Message: err.Error()}
	}
	return Readiness{Ready: true, Reason: v1alpha1.ReasonEngineReady, Message: variants(len(e.Spec.Variants))}
}

func variants(n int) string {
	if n == 1 {
		return "1 variant, with an image"
	}
	return fmt.Sprintf("%d variants, each with an image", n)
}

// Resolution is the engine that a job runs with.
type Resolution struct {
	// Engine is nil unless it exists and is ready.
	Engine *v1alpha1.PoseEngine
	// Name is empty while none is chosen.
	Name            string
	Reason, Message string
}

// Resolve the engine of a job among all engines. A job that has no engine of its
// own keeps the default that it was started with.
func Resolve(job *v1alpha1.PoseJob, engines []v1alpha1.PoseEngine) Resolution {
	name := job.Spec.EngineName
	if name == "" {
		name = job.Status.EngineName
	}
	if name == "" {
		var defaults []string
		for _, e := range engines {
			if e.Annotations[v1alpha1.AnnotationDefaultEngine] == "true" {
				defaults = append(defaults, e.Name)
			}
		}
		switch len(defaults) {
		case 0:
			return Resolution{Reason: v1alpha1.ReasonNoDefaultEngine, Message: "the job names no engine and no PoseEngine is the default. Create the PoseJob again with spec.engineName, or annotate an engine with " + v1alpha1.AnnotationDefaultEngine + "=true"}
		case 1:
			name = defaults[0]
		default:
			return Resolution{Reason: v1alpha1.ReasonSeveralDefaultEngines, Message: "several PoseEngines are marked as default: " + strings.Join(defaults, ", ") + ". Leave one, or create the PoseJob again with spec.engineName"}
		}
	}
	for i := range engines {
		if engines[i].Name != name {
			continue
		}
		r := Check(&engines[i])
		if !r.Ready {
			return Resolution{Name: name, Reason: v1alpha1.ReasonEngineNotReady, Message: fmt.Sprintf("PoseEngine %s is not ready: %s: %s", name, r.Reason, r.Message)}
		}
		return Resolution{Engine: &engines[i], Name: name}
	}
	return Resolution{Name: name, Reason: v1alpha1.ReasonEngineNotFound, Message: fmt.Sprintf("there is no PoseEngine %q; there are: %s. Create it, or create the PoseJob again with another engineName", name, engineNames(engines))}
}

func engineNames(engines []v1alpha1.PoseEngine) string {
	if len(engines) == 0 {
		return "none"
	}
	names := make([]string, len(engines))
	for i, e := range engines {
		names[i] = e.Name
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
