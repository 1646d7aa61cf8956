package engine_test

import (
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/engine"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
)

func ready(name string) *gen.EngineBuilder {
	return gen.Engine(name).Variants(gen.Variant("cpu", v1alpha1.CPU))
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		engine *gen.EngineBuilder
		reason string
		says   string
	}{
		"an engine with images is ready": {ready("phalp"), "", "1 variant, with an image"},
		"one variant without an image is enough to be not ready": {
			ready("phalp").Variants(gen.Variant("gpu", v1alpha1.GPU, gen.NoImage()), gen.Variant("gpu2", v1alpha1.GPU, gen.NoImage())),
			v1alpha1.ReasonImageNotSet, "variants without an image: gpu, gpu2. Set spec.variants[].image of PoseEngine phalp",
		},
		"a rule that does not compile": {
			ready("phalp").Rules(v1alpha1.FailureRule{LogPattern: "(", Reason: "X"}), v1alpha1.ReasonInvalidRules, "failureRules[0].logPattern",
		},
		"the image is said before the rule": {
			gen.Engine("phalp").Variants(gen.Variant("cpu", v1alpha1.CPU, gen.NoImage())).Rules(v1alpha1.FailureRule{LogPattern: "(", Reason: "X"}),
			v1alpha1.ReasonImageNotSet, "cpu",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := engine.Check(c.engine.Build())
			want := c.reason
			if want == "" {
				want = v1alpha1.ReasonEngineReady
			}
			if r.Ready != (c.reason == "") || r.Reason != want || !strings.Contains(r.Message, c.says) {
				t.Errorf("Check = %+v, want %s saying %q", r, want, c.says)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	list := func(bs ...*gen.EngineBuilder) []v1alpha1.PoseEngine {
		var out []v1alpha1.PoseEngine
		for _, b := range bs {
			out = append(out, *b.Build())
		}
		return out
	}
	status := func(name string) func(*v1alpha1.PoseJob) {
		return func(j *v1alpha1.PoseJob) { j.Status.EngineName = name }
	}
	for name, c := range map[string]struct {
		job     *gen.JobBuilder
		engines []v1alpha1.PoseEngine
		want    string // name
		reason  string // empty for one that can be used
		says    string
	}{
		"the engine that the job names": {job: gen.Job("j").Engine("b"), engines: list(ready("a").Default(), ready("b")), want: "b"},
		"the default engine":            {job: gen.Job("j"), engines: list(ready("a"), ready("b").Default()), want: "b"},
		"no engine at all":              {job: gen.Job("j"), reason: v1alpha1.ReasonNoDefaultEngine, says: "annotate an engine"},
		"no default engine":             {job: gen.Job("j"), engines: list(ready("a")), reason: v1alpha1.ReasonNoDefaultEngine},
		"a default that says false": {job: gen.Job("j"), engines: list(ready("a").With(func(e *v1alpha1.PoseEngine) {
			e.Annotations = map[string]string{v1alpha1.AnnotationDefaultEngine: "false"}
		})), reason: v1alpha1.ReasonNoDefaultEngine},
		"several defaults": {job: gen.Job("j"), engines: list(ready("a").Default(), ready("b").Default()), reason: v1alpha1.ReasonSeveralDefaultEngines, says: "a, b"},
		"several defaults do not matter to a job that names": {job: gen.Job("j").Engine("a"), engines: list(ready("a").Default(), ready("b").Default()), want: "a"},
		"a missing engine":                                    {job: gen.Job("j").Engine("x"), engines: list(ready("a"), ready("b")), want: "x", reason: v1alpha1.ReasonEngineNotFound, says: "there are: a, b"},
		"a missing engine where there is none":                {job: gen.Job("j").Engine("x"), want: "x", reason: v1alpha1.ReasonEngineNotFound, says: "there are: none"},
		"an engine that is not ready":                         {job: gen.Job("j").Engine("a"), engines: list(gen.Engine("a").Variants(gen.Variant("gpu", v1alpha1.GPU, gen.NoImage()))), want: "a", reason: v1alpha1.ReasonEngineNotReady, says: "ImageNotSet"},
		"a job keeps the default that it was started with":    {job: gen.Job("j").With(status("a")), engines: list(ready("a"), ready("b").Default()), want: "a"},
		"the job's own name wins over what the status says":   {job: gen.Job("j").Engine("b").With(status("a")), engines: list(ready("a"), ready("b")), want: "b"},
		"a default that is gone is missing, and not replaced": {job: gen.Job("j").With(status("a")), engines: list(ready("b").Default()), want: "a", reason: v1alpha1.ReasonEngineNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			r := engine.Resolve(c.job.Build(), c.engines)
			if (r.Engine != nil) != (c.reason == "") || r.Name != c.want || r.Reason != c.reason || !strings.Contains(r.Message, c.says) {
				t.Errorf("Resolve = %+v, want %q %q saying %q", r, c.want, c.reason, c.says)
			}
			if r.Engine != nil && r.Engine.Name != c.want {
				t.Errorf("engine %s, want %s", r.Engine.Name, c.want)
			}
		})
	}
}
