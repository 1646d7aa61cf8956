package engine_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

func fallsBack(name string) func(*v1alpha1.PoseEngine) {
	return func(e *v1alpha1.PoseEngine) { e.Spec.FallbackEngineName = name }
}

func TestResolveFallback(t *testing.T) {
	allow := func() *gen.JobBuilder {
		return gen.Job("j").Spec(func(s *v1alpha1.PoseJobSpec) { s.Fallback.Engine = v1alpha1.Allow })
	}
	others := []v1alpha1.PoseEngine{
		*ready("b").With(fallsBack("c")).Build(), *ready("c").Build(),
		*gen.Engine("bare").Variants(gen.Variant("cpu", v1alpha1.CPU, gen.NoImage())).Build(),
	}
	for name, c := range map[string]struct {
		job    *gen.JobBuilder
		engine *v1alpha1.PoseEngine
		want   string // engine
		named  string
		reason string
		says   string
	}{
		"the engine that it names":                {job: allow(), engine: ready("a").With(fallsBack("b")).Build(), want: "b", named: "b"},
		"the next one of that is not followed":    {job: allow(), engine: ready("a").With(fallsBack("bare")).Build(), named: "bare", reason: v1alpha1.ReasonEngineNotReady, says: "PoseEngine bare, which PoseEngine a falls back to, is not ready: ImageNotSet"},
		"a job that allows no other engine":       {job: gen.Job("j"), engine: ready("a").With(fallsBack("b")).Build()},
		"an engine that names none":               {job: allow(), engine: ready("a").Build()},
		"an engine that names itself":             {job: allow(), engine: ready("a").With(fallsBack("a")).Build(), reason: v1alpha1.ReasonFallbackIsItself, says: "names the engine itself"},
		"an engine that is not there":             {job: allow(), engine: ready("a").With(fallsBack("x")).Build(), named: "x", reason: v1alpha1.ReasonEngineNotFound, says: `there is no PoseEngine "x", which PoseEngine a falls back to; there are: b, bare, c`},
		"a job whose own engine is not to be had": {job: allow()},
	} {
		t.Run(name, func(t *testing.T) {
			r := engine.ResolveFallback(c.job.Build(), c.engine, others)
			got := ""
			if r.Engine != nil {
				got = r.Engine.Name
			}
			if got != c.want || r.Name != c.named || r.Reason != c.reason || !strings.Contains(r.Message, c.says) {
				t.Errorf("ResolveFallback = %+v, want engine %q of name %q, %q saying %q", r, c.want, c.named, c.reason, c.says)
			}
		})
	}
}

func TestLacks(t *testing.T) {
	with := func(outputs ...v1alpha1.EngineOutput) *v1alpha1.PoseEngine {
		return ready("e").With(func(e *v1alpha1.PoseEngine) { e.Spec.Outputs = outputs }).Build()
	}
	pose := v1alpha1.EngineOutput{Name: "pose", Path: "pose.json", Format: "PoseJSON", Required: true}
	smpl := v1alpha1.EngineOutput{Name: "smpl", Path: "smpl.npz", Format: "SMPLNPZ", Required: true}
	raw := v1alpha1.EngineOutput{Name: "raw", Path: "raw.bin", Format: "Opaque", Required: true}
	film := v1alpha1.EngineOutput{Name: "overlay", Path: "overlay.mp4", Format: "MP4"}
	named := func(o v1alpha1.EngineOutput, name string) v1alpha1.EngineOutput {
		o.Name = name
		return o
	}
	optional := smpl
	optional.Required = false
	for name, c := range map[string]struct {
		own, other *v1alpha1.PoseEngine
		want       []string
	}{
		"the same":                              {with(pose, smpl), with(pose, smpl), nil},
		"no body model":                         {with(pose, smpl), with(pose), []string{"the SMPL body model (smpl.npz)"}},
		"a body model that may be missing":      {with(pose, smpl), with(pose, optional), []string{"the SMPL body model (smpl.npz)"}},
		"a body model of another name":          {with(pose, smpl), with(pose, named(smpl, "body")), nil},
		"what nobody promised is not missed":    {with(pose, film), with(pose), nil},
		"a file of its own":                     {with(pose, raw), with(pose), []string{"raw.bin"}},
		"a file of another name is another one": {with(pose, raw), with(pose, named(raw, "other")), []string{"raw.bin"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, engine.Lacks(c.own, c.other)); diff != "" {
				t.Errorf("Lacks (-want +got):\n%s", diff)
			}
		})
	}
}
