package reuse_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/reuse"
	"github.com/pose-dev/pose-operator/internal/report"
)

const pin = "@sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"

func engine() *v1alpha1.PoseEngine {
	return gen.Engine("phalp").Variants(
		gen.Variant("gpu", v1alpha1.GPU, gen.Detector("vitdet"), func(v *v1alpha1.Variant) {
			v.Adapter = &v1alpha1.Adapter{Image: "registry.example/adapter" + pin}
			v.Env = []v1alpha1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}}
			v.Models = []v1alpha1.ModelVolume{
				{Name: "smpl", MountPath: "/models/smpl", PersistentVolumeClaim: "smpl"},
				{Name: "hmr2", MountPath: "/models/hmr2", Image: "registry.example/hmr2" + pin},
			}
		}),
		gen.Variant("cpu", v1alpha1.CPU),
	).Build()
}

func rungs(e *v1alpha1.PoseEngine) []reuse.Rung {
	var out []reuse.Rung
	for i := range e.Spec.Variants {
		out = append(out, reuse.Rung{Engine: e, Variant: &e.Spec.Variants[i]})
	}
	return out
}

func TestWanted(t *testing.T) {
	for _, c := range []struct {
		job, standard v1alpha1.ReusePolicy
		want          bool
	}{
		{"", "", false}, {"", v1alpha1.ReuseNever, false}, {"", v1alpha1.ReuseIfVerified, true},
		{v1alpha1.ReuseNever, v1alpha1.ReuseIfVerified, false}, {v1alpha1.ReuseIfVerified, v1alpha1.ReuseNever, true}, {v1alpha1.ReuseIfVerified, "", true},
	} {
		job := gen.Job("j").Spec(func(s *v1alpha1.PoseJobSpec) { s.Reuse = c.job }).Build()
		if got := reuse.Wanted(job, c.standard); got != c.want {
			t.Errorf("Wanted(%q, %q) = %t", c.job, c.standard, got)
		}
	}
}

func TestParameters(t *testing.T) {
	if diff := cmp.Diff(map[string]string{}, reuse.Parameters(gen.Job("j").Build())); diff != "" {
		t.Errorf("of a plain job (-want +got):\n%s", diff)
	}
	job := gen.Job("j").Spec(func(s *v1alpha1.PoseJobSpec) {
		s.Video.Frames = &v1alpha1.FrameRange{Start: 10, End: 130}
		s.People = &v1alpha1.PeopleSelection{Max: 3}
		s.Video.CaptureFPS, s.Video.FocalLengthPx = new(intstr.FromString("239.76")), new(int64(1480))
		s.Output.Overlay = v1alpha1.OverlayBlurred
	}).Build()
	want := map[string]string{"frames.start": "10", "frames.end": "130", "people.max": "3", "captureFPS": "239.76", "focalLengthPx": "1480", "overlay": "Blurred"}
	if diff := cmp.Diff(want, reuse.Parameters(job)); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
}

// changes of a job and its engine's first variant, and whether the result would be
// another one.
var changes = map[string]struct {
	job     func(*v1alpha1.PoseJob)
	engine  func(*v1alpha1.PoseEngine)
	another bool
}{
	"the engine's image":    {engine: variant(func(v *v1alpha1.Variant) { v.Image = "registry.example/other" + pin }), another: true},
	"the digest of it":      {engine: variant(func(v *v1alpha1.Variant) { v.Image = strings.Replace(v.Image, "4355", "5555", 1) }), another: true},
	"the adapter":           {engine: variant(func(v *v1alpha1.Variant) { v.Adapter.Image = "registry.example/other" + pin }), another: true},
	"no adapter":            {engine: variant(func(v *v1alpha1.Variant) { v.Adapter = nil }), another: true},
	"the command":           {engine: variant(func(v *v1alpha1.Variant) { v.Command = append(v.Command, "--fast") }), another: true},
	"where a word ends":     {engine: variant(func(v *v1alpha1.Variant) { v.Command = []string{"python3", "-m engine"} }), another: true},
	"an env":                {engine: variant(func(v *v1alpha1.Variant) { v.Env[0].Value = "3" }), another: true},
	"the order of env":      {engine: variant(func(v *v1alpha1.Variant) { v.Env[0], v.Env[1] = v.Env[1], v.Env[0] })},
	"the weights' claim":    {engine: variant(func(v *v1alpha1.Variant) { v.Models[0].PersistentVolumeClaim = "smpl-2" }), another: true},
	"the weights' image":    {engine: variant(func(v *v1alpha1.Variant) { v.Models[1].Image = "registry.example/hmr3" + pin }), another: true},
	"where weights lie":     {engine: variant(func(v *v1alpha1.Variant) { v.Models[0].MountPath = "/m" }), another: true},
	"the order of models":   {engine: variant(func(v *v1alpha1.Variant) { v.Models[0], v.Models[1] = v.Models[1], v.Models[0] })},
	"a volume's name":       {engine: variant(func(v *v1alpha1.Variant) { v.Models[0].Name = "x" })},
	"the detector":          {engine: variant(func(v *v1alpha1.Variant) { v.Detector = "yolo" }), another: true},
	"the device":            {engine: variant(func(v *v1alpha1.Variant) { v.Device = v1alpha1.CPU }), another: true},
	"the variant's name":    {engine: variant(func(v *v1alpha1.Variant) { v.Name = "gpu-2" }), another: true},
	"the working directory": {engine: variant(func(v *v1alpha1.Variant) { v.WorkingDir = "/x" }), another: true},
	"the engine's name":     {engine: func(e *v1alpha1.PoseEngine) { e.Name = "other" }, another: true},
	"an output":             {engine: func(e *v1alpha1.PoseEngine) { e.Spec.Outputs[0].Path = "x.json" }, another: true},
	"one more output": {engine: func(e *v1alpha1.PoseEngine) {
		e.Spec.Outputs = append(e.Spec.Outputs, v1alpha1.EngineOutput{Name: "o", Path: "o.mp4", Format: "MP4"})
	}, another: true},
	"the engine's generation": {engine: func(e *v1alpha1.PoseEngine) { e.Generation = 9 }},
	"rules, stages and progress": {engine: func(e *v1alpha1.PoseEngine) {
		e.Spec.ProgressPattern, e.Spec.Stages = "x", []v1alpha1.StageRule{{Name: "A", Pattern: "b"}}
	}},
	"resources": {engine: variant(gen.Memory("1Gi", "2Gi"))},
	"where it runs": {engine: variant(func(v *v1alpha1.Variant) {
		v.NodeSelector, v.Tolerations, v.RuntimeClassName = map[string]string{"a": "b"}, []corev1.Toleration{{}}, "x"
	})},
	"shared memory and deadlines": {engine: variant(func(v *v1alpha1.Variant) {
		v.SharedMemorySize, v.ActiveDeadlineSeconds = new(resource.MustParse("1Gi")), new(int64(60))
	})},
	"the preflight":           {engine: variant(func(v *v1alpha1.Variant) { v.Preflight = &v1alpha1.Preflight{Command: []string{"x"}} })},
	"the first frame":         {job: spec(func(s *v1alpha1.PoseJobSpec) { s.Video.Frames = &v1alpha1.FrameRange{Start: 1} }), another: true},
	"a range from the first":  {job: spec(func(s *v1alpha1.PoseJobSpec) { s.Video.Frames = &v1alpha1.FrameRange{} })},
	"people":                  {job: spec(func(s *v1alpha1.PoseJobSpec) { s.People = &v1alpha1.PeopleSelection{Max: 1} }), another: true},
	"the overlay":             {job: spec(func(s *v1alpha1.PoseJobSpec) { s.Output.Overlay = v1alpha1.OverlayFull }), another: true},
	"an unset overlay":        {job: spec(func(s *v1alpha1.PoseJobSpec) { s.Output.Overlay = "" })},
	"boxes":                   {job: spec(func(s *v1alpha1.PoseJobSpec) { s.Video.Boxes = &v1alpha1.BoxesSource{URI: "s3://b/x.json"} }), another: true},
	"the video and the place": {job: spec(func(s *v1alpha1.PoseJobSpec) { s.Video.URI, s.Output.URI = "s3://x/y", "s3://y/z" })},
	"the job's name":          {job: func(j *v1alpha1.PoseJob) { j.Name, j.UID, j.Namespace = "x", "y", "z" }},
	"timeouts and retries":    {job: spec(func(s *v1alpha1.PoseJobSpec) { s.StallTimeoutSeconds, s.BackoffLimit = 1, new(int32(0)) })},
}

func variant(change func(*v1alpha1.Variant)) func(*v1alpha1.PoseEngine) {
	return func(e *v1alpha1.PoseEngine) { change(&e.Spec.Variants[0]) }
}

func spec(change func(*v1alpha1.PoseJobSpec)) func(*v1alpha1.PoseJob) {
	return func(j *v1alpha1.PoseJob) { change(&j.Spec) }
}

func TestRecipeChangesWithTheResultAlone(t *testing.T) {
	base := engine()
	want, why := reuse.Recipe(gen.Job("j").Build(), base, &base.Spec.Variants[0])
	if !regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString(want) || why != "" {
		t.Fatalf("recipe %q, %q", want, why)
	}
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			j, e := gen.Job("j").Build(), engine()
			if c.job != nil {
				c.job(j)
			}
			if c.engine != nil {
				c.engine(e)
			}
			got, why := reuse.Recipe(j, e, &e.Spec.Variants[0])
			if got == "" || (got != want) != c.another {
				t.Errorf("another recipe: %t (%s)", got != want, why)
			}
			asked := reuse.AskOf(gen.Job("j").Build(), "phalp", rungs(base)).Request
			if request := reuse.AskOf(j, e.Name, rungs(e)).Request; (request != asked) != c.another {
				t.Errorf("another request: %t", request != asked)
			}
		})
	}
}

func TestNoRecipeWithoutPins(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.Variant)
		image  string
	}{
		"the engine's":         {func(v *v1alpha1.Variant) { v.Image = "r/e:v1" }, "r/e:v1"},
		"a tag with a digest":  {func(v *v1alpha1.Variant) { v.Image = "r/e:v1" + pin }, ""},
		"the adapter's":        {func(v *v1alpha1.Variant) { v.Adapter.Image = "r/a" }, "r/a"},
		"the weights'":         {func(v *v1alpha1.Variant) { v.Models[1].Image = "r/w:v1" }, "r/w:v1"},
		"a digest that is cut": {func(v *v1alpha1.Variant) { v.Image = "r/e@sha256:aa" }, "r/e@sha256:aa"},
		"a digest in the name": {func(v *v1alpha1.Variant) { v.Image = "r/e" + pin + "/x" }, "r/e" + pin + "/x"},
	} {
		t.Run(name, func(t *testing.T) {
			e := engine()
			c.change(&e.Spec.Variants[0])
			got, why := reuse.Recipe(gen.Job("j").Build(), e, &e.Spec.Variants[0])
			if (got == "") != (c.image != "") || !strings.Contains(why, c.image) {
				t.Errorf("recipe %q, %q", got, why)
			}
			ask := reuse.AskOf(gen.Job("j").Build(), "phalp", rungs(e))
			if (ask.Request == "") != (c.image != "") || ask.First() != got || ask.Why != why || len(ask.Recipes) != 2 || ask.Recipes[1] == "" {
				t.Errorf("asked %+v", ask)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	e := engine()
	job := func() *gen.JobBuilder { return gen.Job("j") }
	want := reuse.AskOf(job().Build(), "phalp", rungs(e)).Request
	other := map[string]string{
		"fewer rungs":         reuse.AskOf(job().Build(), "phalp", rungs(e)[:1]).Request,
		"another order":       reuse.AskOf(job().Build(), "phalp", []reuse.Rung{rungs(e)[1], rungs(e)[0]}).Request,
		"another engine":      reuse.AskOf(job().Build(), "other", rungs(e)).Request,
		"another device":      reuse.AskOf(job().Device(v1alpha1.DeviceGPU).Build(), "phalp", rungs(e)).Request,
		"no other detector":   reuse.AskOf(job().Spec(func(s *v1alpha1.PoseJobSpec) { s.Fallback.Detector = v1alpha1.Deny }).Build(), "phalp", rungs(e)).Request,
		"another engine last": reuse.AskOf(job().Spec(func(s *v1alpha1.PoseJobSpec) { s.Fallback.Engine = v1alpha1.Allow }).Build(), "phalp", rungs(e)).Request,
	}
	for name, got := range other {
		if got == want || got == "" {
			t.Errorf("%s: the same request", name)
		}
	}
	if got := reuse.AskOf(job().Spec(func(s *v1alpha1.PoseJobSpec) { s.Fallback, s.Device = v1alpha1.Fallback{}, "" }).Build(), "phalp", rungs(e)).Request; got != want {
		t.Error("what the API server defaults makes another request")
	}
	if none := reuse.AskOf(job().Build(), "phalp", nil); none.Request != "" || none.Why == "" || none.First() != "" {
		t.Errorf("without a rung: %+v", none)
	}
}

func done(name string, at int64, change ...func(*v1alpha1.PoseJob)) v1alpha1.PoseJob {
	j := gen.Job(name).UID("uid-" + name).Build()
	end := gen.At(at)
	j.Status = v1alpha1.PoseJobStatus{
		EngineName: "phalp", CompletionTime: &end,
		Output:     &v1alpha1.OutputStatus{URI: j.Spec.Output.URI + "/attempts/1", ManifestSHA256: "m-" + name},
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionComplete, Status: metav1.ConditionTrue}},
		Video:      &v1alpha1.VideoStatus{SHA256: strings.Repeat("a", 64)},
	}
	for _, c := range change {
		c(j)
	}
	return *j
}

func TestCandidates(t *testing.T) {
	elsewhere := func(j *v1alpha1.PoseJob) { j.Namespace = "team-b" }
	for name, c := range map[string]struct {
		job   *gen.JobBuilder
		all   []v1alpha1.PoseJob
		cross bool
		want  []string
	}{
		"newest first":      {all: []v1alpha1.PoseJob{done("a", 1), done("b", 3), done("c", 2)}, want: []string{"b", "c", "a"}},
		"not of itself":     {all: []v1alpha1.PoseJob{done("a", 1, func(j *v1alpha1.PoseJob) { j.UID = gen.JobUID })}},
		"not of the failed": {all: []v1alpha1.PoseJob{done("a", 1, func(j *v1alpha1.PoseJob) { j.Status.Conditions = nil })}},
		"not without a result": {all: []v1alpha1.PoseJob{done("a", 1, func(j *v1alpha1.PoseJob) { j.Status.Output = nil }),
			done("b", 1, func(j *v1alpha1.PoseJob) { j.Status.CompletionTime = nil }), done("c", 1, func(j *v1alpha1.PoseJob) { j.Status.Output.ManifestSHA256 = "" })}},
		"not of one that goes":                 {all: []v1alpha1.PoseJob{done("a", 1, func(j *v1alpha1.PoseJob) { j.DeletionTimestamp = new(gen.At(2)) })}},
		"not of another engine":                {all: []v1alpha1.PoseJob{done("a", 1, func(j *v1alpha1.PoseJob) { j.Status.EngineName = "mediapipe" })}},
		"not of another video":                 {all: []v1alpha1.PoseJob{done("a", 1, func(j *v1alpha1.PoseJob) { j.Spec.Video.URI = "s3://videos/other.mp4" })}},
		"not with boxes":                       {all: []v1alpha1.PoseJob{done("a", 1, func(j *v1alpha1.PoseJob) { j.Spec.Video.Boxes = &v1alpha1.BoxesSource{URI: "s3://b/x.json"} })}},
		"not from another kind of place":       {all: []v1alpha1.PoseJob{done("a", 1, func(j *v1alpha1.PoseJob) { j.Status.Output.URI = "gs://results/a/attempts/1" })}},
		"of another name by the digest":        {job: gen.Job("j").Spec(digest("a")), all: []v1alpha1.PoseJob{done("a", 1, func(j *v1alpha1.PoseJob) { j.Spec.Video.URI = "s3://videos/other.mp4" })}, want: []string{"a"}},
		"not of another digest":                {job: gen.Job("j").Spec(digest("b")), all: []v1alpha1.PoseJob{done("a", 1)}},
		"by the name where no digest is known": {job: gen.Job("j").Spec(digest("b")), all: []v1alpha1.PoseJob{done("a", 1, func(j *v1alpha1.PoseJob) { j.Status.Video = nil })}, want: []string{"a"}},
		"not of another namespace":             {all: []v1alpha1.PoseJob{done("a", 1, elsewhere)}},
		"of another namespace if allowed":      {cross: true, all: []v1alpha1.PoseJob{done("a", 1, elsewhere)}, want: []string{"a"}},
		"from the same claim": {job: gen.Job("j").Spec(func(s *v1alpha1.PoseJobSpec) { s.Output.URI = "pvc://results/j" }), all: []v1alpha1.PoseJob{
			done("a", 1, func(j *v1alpha1.PoseJob) { j.Status.Output.URI = "pvc://results/a/attempts/1" }), done("b", 2, func(j *v1alpha1.PoseJob) { j.Status.Output.URI = "pvc://results-2/a/attempts/1" }),
		}, want: []string{"a"}},
		"not from a namesake claim elsewhere": {cross: true, job: gen.Job("j").Spec(func(s *v1alpha1.PoseJobSpec) { s.Output.URI = "pvc://results/j" }), all: []v1alpha1.PoseJob{
			done("a", 1, elsewhere, func(j *v1alpha1.PoseJob) { j.Status.Output.URI = "pvc://results/a/attempts/1" }),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.job == nil {
				c.job = gen.Job("j")
			}
			var got []string
			for _, ref := range reuse.Candidates(c.job.Build(), "phalp", c.all, c.cross) {
				got = append(got, strings.TrimPrefix(ref.ManifestSHA256, "m-"))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("candidates (-want +got):\n%s", diff)
			}
		})
	}
}

func digest(c string) func(*v1alpha1.PoseJobSpec) {
	return func(s *v1alpha1.PoseJobSpec) { s.Video.SHA256 = strings.Repeat(c, 64) }
}

func TestCandidatesAreFew(t *testing.T) {
	var all []v1alpha1.PoseJob
	for i := range 50 {
		all = append(all, done(fmt.Sprintf("job-%d", i), int64(i)), done(fmt.Sprintf("again-%d", i), int64(i), func(j *v1alpha1.PoseJob) {
			j.UID = types.UID(fmt.Sprint("x", i))
			j.Status.Output = &v1alpha1.OutputStatus{URI: fmt.Sprintf("s3://results/team-a/job-%d/attempts/1", i), ManifestSHA256: fmt.Sprintf("m-job-%d", i)}
		}))
	}
	got := reuse.Candidates(gen.Job("j").Build(), "phalp", all, false)
	if len(got) != reuse.MaxCandidates || got[0] != (report.ResultRef{URI: "s3://results/team-a/job-49/attempts/1", ManifestSHA256: "m-job-49"}) || got[1].ManifestSHA256 != "m-job-48" {
		t.Errorf("candidates %+v, want the %d newest results, each once", got, reuse.MaxCandidates)
	}
}
