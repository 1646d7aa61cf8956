package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
)

// many kinds of variants in one engine.
func boxed() *v1alpha1.PoseEngine {
	return gen.Engine("phalp").Variants(
		gen.Variant("gpu", v1alpha1.GPU, gen.Detector("vitdet")),
		gen.Variant("gpu-boxes", v1alpha1.GPU, gen.Detector("none"), gen.Boxes(v1alpha1.BoxesRequired)),
		gen.Variant("either", v1alpha1.CPU, gen.Detector("maskrcnn"), gen.Boxes(v1alpha1.BoxesOptional)),
		gen.Variant("slow", v1alpha1.CPU, gen.Detector("vitdet"), gen.OnRequest()),
		gen.Variant("slow-boxes", v1alpha1.CPU, gen.Detector("none"), gen.Boxes(v1alpha1.BoxesRequired), gen.OnRequest()),
	).Build()
}

func withBoxes(s *v1alpha1.PoseJobSpec) {
	s.Video.Boxes = &v1alpha1.BoxesSource{URI: "s3://videos/boxes.json"}
}

func TestRungs(t *testing.T) {
	only := func(names ...string) *v1alpha1.PoseEngine {
		e := boxed()
		e.Spec.Variants = slices.DeleteFunc(e.Spec.Variants, func(v v1alpha1.Variant) bool { return !slices.Contains(names, v.Name) })
		return e
	}
	for name, c := range map[string]struct {
		engine *v1alpha1.PoseEngine
		boxes  bool
		job    *gen.JobBuilder
		want   []string
		reason string
		says   []string
	}{
		"without boxes, all but those that need them or wait to be asked": {want: []string{"gpu", "either"}},
		"with boxes, those alone that take them":                          {boxes: true, want: []string{"gpu-boxes", "either"}},
		"what is on request runs where the job names it":                  {job: gen.Job("j").Variants("slow", "gpu"), want: []string{"slow", "gpu"}},
		"with boxes too": {boxes: true, job: gen.Job("j").Variants("slow-boxes"), want: []string{"slow-boxes"}},
		"the device counts among those that take boxes": {
			boxes: true, job: gen.Job("j").Device(v1alpha1.DeviceCPU), want: []string{"either"},
		},
		"a detector that must not change": {
			boxes: true, job: gen.Job("j").Spec(func(s *v1alpha1.PoseJobSpec) { s.Fallback.Detector = v1alpha1.Deny }), want: []string{"gpu-boxes"},
		},
		"no variant takes boxes": {
			engine: only("gpu", "slow-boxes"), boxes: true, reason: v1alpha1.ReasonNoVariantForBoxes,
			says: []string{"PoseEngine phalp", "boxes are never ignored", "without spec.video.boxes", "slow-boxes in spec.variants", "boxes: Required or Optional"},
		},
		"every variant needs boxes": {
			engine: only("gpu-boxes"), reason: v1alpha1.ReasonNoVariantForBoxes, says: []string{"gpu-boxes of PoseEngine phalp need boxes", "with spec.video.boxes, or add"},
		},
		"no variant that takes boxes runs on the device": {
			engine: only("gpu", "gpu-boxes"), boxes: true, job: gen.Job("j").Device(v1alpha1.DeviceCPU), reason: v1alpha1.ReasonNoVariantForDevice,
			says: []string{"gpu-boxes of PoseEngine phalp that the job's boxes leave", "device CPU"},
		},
		"a named variant that needs boxes is not dropped in silence": {
			job: gen.Job("j").Variants("gpu", "gpu-boxes"), reason: v1alpha1.ReasonNoVariantForBoxes, says: []string{"names gpu-boxes of PoseEngine phalp, which needs boxes", "again with spec.video.boxes"},
		},
		"a named variant that takes no boxes is not dropped either": {
			boxes: true, job: gen.Job("j").Variants("either", "slow"), reason: v1alpha1.ReasonNoVariantForBoxes, says: []string{"names slow", "takes no boxes", "again without spec.video.boxes"},
		},
		"a variant on request that does not run on the device": {
			job: gen.Job("j").Variants("slow").Device(v1alpha1.DeviceGPU), reason: v1alpha1.ReasonNoVariantForDevice, says: []string{"slow of PoseEngine phalp runs on device GPU"},
		},
		"an engine whose variants all wait to be asked": {
			engine: only("slow", "slow-boxes"), reason: v1alpha1.ReasonVariantNotFound, says: []string{"on request alone", "slow, slow-boxes in spec.variants"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.engine == nil {
				c.engine = boxed()
			}
			if c.job == nil {
				c.job = gen.Job("j")
			}
			if c.boxes {
				c.job.Spec(withBoxes)
			}
			rungs, reason, err := plan.Rungs(&c.job.Build().Spec, c.engine)
			var got []string
			for _, r := range rungs {
				got = append(got, r.Name())
			}
			if diff := cmp.Diff(c.want, got); diff != "" || reason != c.reason || (err != nil) != (c.reason != "") {
				t.Fatalf("Rungs: %s, %v (-want +got):\n%s", reason, err, diff)
			}
			for _, words := range c.says {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("%q does not say %q", err, words)
				}
			}
		})
	}
}

// lesser is the engine that another one falls back to.
func lesser() *v1alpha1.PoseEngine {
	e := gen.Engine("mediapipe").Variants(
		gen.Variant("gpu", v1alpha1.GPU, gen.Detector("vitdet"), gen.Memory("1Gi", "")),
		gen.Variant("asked", v1alpha1.CPU, gen.OnRequest()),
		gen.Variant("cpu", v1alpha1.CPU, gen.Detector("blazepose"), gen.Boxes(v1alpha1.BoxesOptional)),
	).Build()
	e.Generation = 7
	return e
}

func TestFallbackEngine(t *testing.T) {
	last := func(variant, reason string, change ...func(*v1alpha1.Attempt)) []v1alpha1.Attempt {
		return []v1alpha1.Attempt{failed(1, "cpu-yolo", v1alpha1.ReasonOutputInvalid), failed(2, variant, reason, change...)}
	}
	on := func(d v1alpha1.Device, detector string) func(*v1alpha1.Attempt) {
		return func(a *v1alpha1.Attempt) { a.Device, a.Detector = d, detector }
	}
	spec := func(change func(*v1alpha1.PoseJobSpec)) *gen.JobBuilder { return gen.Job("j").Spec(change) }
	for name, c := range map[string]struct {
		job      *gen.JobBuilder
		history  []v1alpha1.Attempt
		fallback plan.Fallback
		learned  map[string]plan.Advice
		refused  map[string]string
		change   func(own, other *v1alpha1.PoseEngine)

		want    string // variant of the launch; empty for a failure
		end     string
		says    string
		skipped []string
	}{
		"the job's own engine comes first":                         {want: "gpu"},
		"after its last rung comes the other engine":               {history: last("cpu-yolo", "OutputInvalid"), want: "mediapipe/gpu"},
		"where it is not allowed, the last attempt is the end":     {history: last("cpu-yolo", "OutputInvalid"), fallback: plan.Fallback{Name: ""}, end: "OutputInvalid", says: "it failed"},
		"its variants on request are never asked":                  {history: last("mediapipe/gpu", "OutputInvalid", on(v1alpha1.GPU, "vitdet")), want: "mediapipe/cpu"},
		"after its last rung too, the last attempt is the end":     {history: last("mediapipe/cpu", "NoProgress", on(v1alpha1.CPU, "blazepose")), end: "NoProgress"},
		"an end stays one":                                         {history: last("cpu-yolo", "InputInvalid"), end: "InputInvalid"},
		"a variant of it is repeated as any other":                 {history: last("mediapipe/cpu", "EngineError", on(v1alpha1.CPU, "blazepose")), want: "mediapipe/cpu"},
		"a variant of the same name is another one":                {history: []v1alpha1.Attempt{failed(1, "gpu", "EngineError"), failed(2, "gpu", "EngineError"), failed(3, "gpu", "EngineError"), failed(4, "mediapipe/gpu", "EngineError")}, want: "mediapipe/gpu"},
		"a detector that must not change is the own engine's":      {job: spec(func(s *v1alpha1.PoseJobSpec) { s.Fallback.Detector = v1alpha1.Deny }), history: []v1alpha1.Attempt{failed(1, "cpu", "OutputInvalid")}, want: "mediapipe/gpu"},
		"a device that must not change is one for all":             {job: spec(func(s *v1alpha1.PoseJobSpec) { s.Fallback.Device = v1alpha1.Deny }), history: last("mediapipe/gpu", "OutputInvalid", on(v1alpha1.GPU, "vitdet")), end: "OutputInvalid"},
		"spec.device holds":                                        {job: gen.Job("j").Device(v1alpha1.DeviceCPU), history: last("cpu-yolo", "OutputInvalid"), want: "mediapipe/cpu"},
		"a job that names its variants falls back all the same":    {job: gen.Job("j").Variants("cpu-yolo"), history: last("cpu-yolo", "OutputInvalid"), want: "mediapipe/gpu"},
		"spec.variants names none of the other engine":             {job: gen.Job("j").Variants("mediapipe/cpu"), end: v1alpha1.ReasonVariantNotFound, says: `no variant "mediapipe/cpu"`},
		"a job that its own engine cannot run at all fails":        {job: gen.Job("j").Variants("gpu").Device(v1alpha1.DeviceCPU), end: v1alpha1.ReasonNoVariantForDevice},
		"a crash of the own detector says nothing of the other's":  {job: gen.Job("j").Device(v1alpha1.DeviceGPU), history: []v1alpha1.Attempt{failed(1, "gpu", "DetectorLoadCrash"), failed(2, "gpu-yolo", "OutputInvalid")}, want: "mediapipe/gpu"},
		"a crash of the other's detector says nothing of the own":  {history: []v1alpha1.Attempt{failed(1, "mediapipe/gpu", "DetectorLoadCrash", on(v1alpha1.GPU, "vitdet"))}, want: "mediapipe/cpu"},
		"memory that proved too small for the own engine is its":   {history: []v1alpha1.Attempt{failed(1, "gpu", "OutOfMemory", func(a *v1alpha1.Attempt) { a.LimitMemoryBytes = 16 * gib }), failed(2, "cpu-yolo", "OutputInvalid")}, change: oneImage, want: "mediapipe/gpu"},
		"an own engine that proved too slow says nothing of it":    {job: gen.Job("j").Deadline(9000).Device(v1alpha1.DeviceCPU), history: last("cpu-yolo", "DeadlineExceeded", func(a *v1alpha1.Attempt) { a.Action = v1alpha1.ActionNextVariant }), want: "mediapipe/cpu"},
		"what is taught against the own engine is tried before it": {job: gen.Job("j").Device(v1alpha1.DeviceGPU), history: []v1alpha1.Attempt{failed(1, "gpu-half", "OutputInvalid")}, learned: map[string]plan.Advice{"gpu-yolo": {Skip: true}}, want: "gpu-yolo"},
		"what is taught against it is heeded, whoever names what":  {job: gen.Job("j").Variants("cpu-yolo"), history: last("cpu-yolo", "OutputInvalid"), learned: map[string]plan.Advice{"mediapipe/gpu": {Skip: true}}, want: "mediapipe/cpu", skipped: []string{"mediapipe/gpu=LearnedSkip"}},
		"what is taught against the own variant of the same name":  {job: gen.Job("j").Variants("cpu-yolo"), history: last("cpu-yolo", "OutputInvalid"), learned: map[string]plan.Advice{"cpu": {Skip: true}, "gpu": {Skip: true}}, want: "mediapipe/gpu"},
		"what the policy refuses is left out":                      {history: last("cpu-yolo", "OutputInvalid"), refused: map[string]string{"mediapipe/gpu": "no", "cpu": "no"}, want: "mediapipe/cpu", skipped: []string{"mediapipe/gpu=PolicyDenied"}},
		"an engine whose own rungs are all refused falls back":     {job: gen.Job("j").Variants("gpu"), refused: map[string]string{"gpu": "no"}, want: "mediapipe/gpu", skipped: []string{"gpu=PolicyDenied"}},
		"with boxes, those of it that take boxes": {
			job: spec(withBoxes), history: last("cpu-yolo", "OutputInvalid"), want: "mediapipe/cpu",
			change: func(own, _ *v1alpha1.PoseEngine) {
				for i := range own.Spec.Variants {
					own.Spec.Variants[i].Boxes = v1alpha1.BoxesRequired
				}
			},
		},
		"one that is missing is no error until it is needed": {fallback: plan.Fallback{Name: "mediapipe", Message: "there is no PoseEngine mediapipe"}, want: "gpu"},
		"one that is missing is said in the end": {
			fallback: plan.Fallback{Name: "mediapipe", Message: "there is no PoseEngine mediapipe"}, history: last("cpu-yolo", "OutputInvalid"),
			end: "OutputInvalid", says: "mediapipe/*: there is no PoseEngine mediapipe", skipped: []string{"mediapipe/*=FallbackEngineNotReady"},
		},
		"one that does not run on the job's device is said in the end": {
			job: gen.Job("j").Device(v1alpha1.DeviceCPU), history: last("cpu-yolo", "OutputInvalid"),
			change: func(_, other *v1alpha1.PoseEngine) { other.Spec.Variants = other.Spec.Variants[:1] },
			end:    "OutputInvalid", says: "no variant of PoseEngine mediapipe runs on the device", skipped: []string{"mediapipe/*=NoVariantForDevice"},
		},
		"one that takes no boxes is said in the end": {
			job: spec(withBoxes), history: last("cpu-yolo", "OutputInvalid"),
			change: func(own, other *v1alpha1.PoseEngine) {
				own.Spec.Variants[4].Boxes, other.Spec.Variants = v1alpha1.BoxesOptional, other.Spec.Variants[:1]
			},
			end: "OutputInvalid", says: "no variant of PoseEngine mediapipe takes boxes", skipped: []string{"mediapipe/*=NoVariantForBoxes"},
		},
		"one that went away after its attempt leaves what is untried": {
			fallback: plan.Fallback{Name: "mediapipe", Message: "gone"}, history: []v1alpha1.Attempt{failed(1, "cpu", "OutputInvalid"), failed(2, "mediapipe/cpu", "EngineError")}, want: "gpu",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.job == nil {
				c.job = gen.Job("j")
			}
			in := input(c.job, c.history)
			in.Learned, in.Refused, in.AvoidNodes = c.learned, c.refused, map[string][]string{"mediapipe": {"m1"}, "phalp": {"n7"}}
			in.Fallback = plan.Fallback{Name: "mediapipe", Engine: lesser()}
			if c.fallback != (plan.Fallback{}) || strings.Contains(name, "not allowed") {
				in.Fallback = c.fallback
			}
			if c.change != nil {
				c.change(in.Engine, in.Fallback.Engine)
			}
			d := plan.Next(in)
			var skipped []string
			for _, s := range d.Skipped {
				skipped = append(skipped, s.Variant+"="+s.Reason)
			}
			if diff := cmp.Diff(c.skipped, skipped, cmpopts.EquateEmpty()); c.skipped != nil && diff != "" {
				t.Errorf("skipped (-want +got):\n%s", diff)
			}
			if c.want == "" {
				if d.Kind != plan.KindFail || d.Reason != c.end || !strings.Contains(d.Message, c.says) {
					t.Fatalf("Next = %s %s (%s) %s, want Fail %s saying %q", d.Kind, d.Reason, d.Message, d.Next.Variant, c.end, c.says)
				}
				return
			}
			if d.Kind != plan.KindLaunch || d.Next.Variant != c.want {
				t.Fatalf("Next = %s %s (%s) of %s, want %s", d.Kind, d.Reason, d.Message, d.Next.Variant, c.want)
			}
			generation, node := int64(1), "n7"
			if strings.HasPrefix(c.want, "mediapipe/") {
				generation, node = 7, "m1"
			}
			if d.Next.EngineGeneration != generation || !slices.Contains(d.Next.AvoidNodes, node) || d.Next.MemoryBytes != 0 {
				t.Errorf("launch = %+v, want generation %d, node %s avoided, and no memory of its own", d.Next, generation, node)
			}
		})
	}
}

// TestAFallbackEngineThatIsAwayIsAwaited: an attempt of it is to be made, or made
// again, and no other is left.
func TestAFallbackEngineThatIsAwayIsAwaited(t *testing.T) {
	finished := func(seconds int64) func(*v1alpha1.Attempt) {
		return func(a *v1alpha1.Attempt) { at := gen.At(seconds); a.FinishTime = &at }
	}
	own := failed(1, "cpu-yolo", v1alpha1.ReasonOutputInvalid, finished(-30))
	intended := gen.Attempt(2, "mediapipe/cpu", v1alpha1.CPU)
	away := plan.Fallback{Name: "mediapipe", Message: "there is no PoseEngine mediapipe"}
	for name, c := range map[string]struct {
		history []v1alpha1.Attempt
		back    bool
		denied  bool
		want    plan.Kind
		until   int64
	}{
		"a disrupted attempt":                     {history: []v1alpha1.Attempt{own, failed(2, "mediapipe/cpu", v1alpha1.ReasonDisrupted, finished(-10))}, want: plan.KindWait, until: 590},
		"a suspended attempt":                     {history: []v1alpha1.Attempt{own, failed(2, "mediapipe/cpu", v1alpha1.ReasonSuspendedAttempt, finished(-10))}, want: plan.KindWait, until: 590},
		"an attempt that is to be retried":        {history: []v1alpha1.Attempt{own, failed(2, "mediapipe/cpu", v1alpha1.ReasonEngineError, finished(-10))}, want: plan.KindWait, until: 590},
		"an attempt that is not to be repeated":   {history: []v1alpha1.Attempt{own, failed(2, "mediapipe/cpu", v1alpha1.ReasonOutputInvalid, finished(-10))}, want: plan.KindFail},
		"too long":                                {history: []v1alpha1.Attempt{own, failed(2, "mediapipe/cpu", v1alpha1.ReasonDisrupted, finished(-600))}, want: plan.KindFail},
		"until it is back":                        {history: []v1alpha1.Attempt{own, failed(2, "mediapipe/cpu", v1alpha1.ReasonDisrupted, finished(-10))}, back: true, want: plan.KindLaunch},
		"an attempt that is intended":             {history: []v1alpha1.Attempt{own, intended}, want: plan.KindWait, until: 570},
		"an intended attempt of one that is back": {history: []v1alpha1.Attempt{own, intended}, back: true, want: plan.KindCreate},
		"where it is denied by now":               {history: []v1alpha1.Attempt{own, failed(2, "mediapipe/cpu", v1alpha1.ReasonDisrupted, finished(-10))}, denied: true, want: plan.KindFail},
		"an attempt of the job's own engine":      {history: []v1alpha1.Attempt{own}, want: plan.KindFail},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(gen.Job("j").Variants("cpu-yolo"), c.history)
			in.Fallback = away
			if c.back {
				in.Fallback = plan.Fallback{Name: "mediapipe", Engine: lesser()}
			}
			if c.denied {
				in.Fallback = plan.Fallback{}
			}
			d := plan.Next(in)
			if d.Kind != c.want || (c.until > 0 && !d.Until.Equal(gen.Now.Add(gen.Seconds(c.until)))) {
				t.Fatalf("Next = %s %s (%s) until %s, want %s", d.Kind, d.Reason, d.Message, d.Until, c.want)
			}
			if c.want == plan.KindWait && !strings.Contains(d.Message, away.Message) {
				t.Errorf("it does not say why it waits: %s", d.Message)
			}
		})
	}
}

func oneImage(own, other *v1alpha1.PoseEngine) {
	for _, e := range []*v1alpha1.PoseEngine{own, other} {
		for i := range e.Spec.Variants {
			e.Spec.Variants[i].Image = "one"
		}
	}
}

// A pod that no node takes waits for the other engine to come, and makes room when
// it is there.
func TestTheFallbackEngineEndsTheWaitForANode(t *testing.T) {
	since := gen.At(-500)
	stuck := []v1alpha1.Attempt{gen.Attempt(1, "cpu-yolo", v1alpha1.CPU, gen.Running("p1"), func(a *v1alpha1.Attempt) { a.UnschedulableSince = &since })}
	job := gen.Job("j").Spec(func(s *v1alpha1.PoseJobSpec) { s.PendingTimeoutSeconds = new(int64(100)) })
	in := input(job, stuck, gen.Pod("p1", 1, "cpu-yolo", v1alpha1.CPU).Unschedulable("0/2 nodes", -500))
	in.Fallback = plan.Fallback{Name: "mediapipe", Message: "there is no PoseEngine mediapipe"}
	if d := plan.Next(in); d.Kind != plan.KindWait || !strings.Contains(d.Message, "no other variant is left that the job may use: there is no PoseEngine mediapipe") {
		t.Errorf("Next = %s (%s), want Wait for the missing engine", d.Kind, d.Message)
	}
	in.Fallback = plan.Fallback{Name: "mediapipe", Engine: lesser()}
	if d := plan.Next(in); d.Kind != plan.KindEndPod || d.Reason != v1alpha1.ReasonNoCapacity {
		t.Errorf("Next = %s %s (%s), want EndPod NoCapacity", d.Kind, d.Reason, d.Message)
	}
}

func TestCost(t *testing.T) {
	estimate := func(load, milliFPS int64) *v1alpha1.Estimate {
		return &v1alpha1.Estimate{LoadSeconds: load, MilliFPS: 10 * milliFPS, TypicalMilliFPS: milliFPS}
	}
	wait := []v1alpha1.Attempt{gen.Attempt(1, "cpu", v1alpha1.CPU, gen.Running("p1"))}
	pod := func() *gen.PodBuilder {
		return gen.Pod("p1", 1, "cpu", v1alpha1.CPU).Phase(corev1.PodRunning).Node("n")
	}
	onCPU := func() *gen.JobBuilder { return gen.Job("j").Device(v1alpha1.DeviceCPU) }
	for name, c := range map[string]struct {
		job      *gen.JobBuilder
		history  []v1alpha1.Attempt
		pods     []*gen.PodBuilder
		estimate *v1alpha1.Estimate // of variant cpu
		frames   int64
		away     bool
		want     string
		kind     plan.Kind
	}{
		"counted frames":                 {history: []v1alpha1.Attempt{failed(1, "gpu-yolo", "OutputInvalid")}, job: gen.Job("j"), estimate: estimate(0, 80), frames: 795, want: "795 frames at 0.08 frames/s take about 2 h 46 min", kind: plan.KindLaunch},
		"how fast it is at best":         {job: onCPU(), estimate: &v1alpha1.Estimate{MilliFPS: 80}, frames: 795, want: "795 frames at 0.08 frames/s take about 2 h 46 min or longer", kind: plan.KindLaunch},
		"at best, for nobody knows what": {job: onCPU(), estimate: &v1alpha1.Estimate{MilliFPS: 80}, want: "each 1000 frames at 0.08 frames/s take about 3 h 28 min or longer", kind: plan.KindLaunch},
		"the load counts":                {job: onCPU(), estimate: estimate(3600, 80), frames: 795, want: "795 frames at 0.08 frames/s take about 3 h 46 min", kind: plan.KindLaunch},
		"frames that are asked for": {
			job: onCPU().Spec(func(s *v1alpha1.PoseJobSpec) { s.Video.Frames = &v1alpha1.FrameRange{Start: 100, End: 400} }), estimate: estimate(0, 12500),
			want: "at most 300 frames at 12.5 frames/s take about a minute", kind: plan.KindLaunch,
		},
		"a part without an end is not counted": {
			job: onCPU().Spec(func(s *v1alpha1.PoseJobSpec) { s.Video.Frames = &v1alpha1.FrameRange{Start: 100} }), estimate: estimate(0, 1000),
			want: "each 1000 frames at 1 frames/s take about 17 min", kind: plan.KindLaunch,
		},
		"frames that nobody knows":                   {job: onCPU(), estimate: estimate(60, 80), want: "each 1000 frames at 0.08 frames/s take about 3 h 28 min", kind: plan.KindLaunch},
		"days":                                       {job: onCPU(), estimate: estimate(0, 10), frames: 2000, want: "2000 frames at 0.01 frames/s take about 2 d 8 h", kind: plan.KindLaunch},
		"a whole hour":                               {job: onCPU(), estimate: estimate(0, 1000), frames: 3600, want: "3600 frames at 1 frames/s take about 1 h", kind: plan.KindLaunch},
		"an absurd count overflows nothing":          {job: onCPU(), estimate: estimate(0, 1), frames: 1 << 60, want: "1152921504606846976 frames at 0.001 frames/s take about 36500 d", kind: plan.KindLaunch},
		"no estimate, after rungs on a GPU":          {job: gen.Job("j"), history: []v1alpha1.Attempt{failed(1, "gpu-yolo", "OutputInvalid")}, want: "it may take far longer than on a GPU: the variant has no estimate", kind: plan.KindLaunch},
		"no estimate, and nothing to compare with":   {job: onCPU(), kind: plan.KindLaunch},
		"on a GPU nothing is said":                   {job: gen.Job("j"), estimate: estimate(0, 80), frames: 9, kind: plan.KindLaunch},
		"it is said again when the pod is made":      {job: onCPU(), history: []v1alpha1.Attempt{gen.Attempt(1, "cpu", v1alpha1.CPU)}, estimate: estimate(0, 80), frames: 9, want: "9 frames at 0.08 frames/s take about 2 min", kind: plan.KindCreate},
		"it is said while it runs":                   {job: onCPU(), history: wait, pods: []*gen.PodBuilder{pod()}, estimate: estimate(0, 80), frames: 9, want: "9 frames at 0.08 frames/s take about 2 min", kind: plan.KindWait},
		"while its pod ends, it is not":              {job: onCPU(), history: wait, pods: []*gen.PodBuilder{pod().Deleting(-1, 30)}, estimate: estimate(0, 80), frames: 9, kind: plan.KindWait},
		"an engine that is gone has no estimate":     {job: onCPU(), history: wait, pods: []*gen.PodBuilder{pod()}, estimate: estimate(0, 80), frames: 9, away: true, kind: plan.KindWait},
		"at the end of the ladder nothing is said":   {job: onCPU(), history: []v1alpha1.Attempt{failed(1, "cpu-yolo", "OutputInvalid")}, estimate: estimate(0, 80), frames: 9, kind: plan.KindFail},
		"a suspended job has nothing that would run": {job: onCPU().Suspend(), estimate: estimate(0, 80), frames: 9, kind: plan.KindWait},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(c.job, c.history, c.pods...)
			in.Frames = c.frames
			in.Engine.Spec.Variants[3].Estimate = c.estimate
			if c.away {
				in.Engine = nil
			}
			if d := plan.Next(in); d.Cost != c.want || d.Kind != c.kind {
				t.Errorf("%s, cost %q; want %s, %q", d.Kind, d.Cost, c.kind, c.want)
			}
		})
	}
}

func TestTheCostOfTheOtherEngineIsItsOwn(t *testing.T) {
	in := input(gen.Job("j").Device(v1alpha1.DeviceCPU), []v1alpha1.Attempt{failed(1, "cpu-yolo", "OutputInvalid")})
	in.Frames, in.Fallback = 795, plan.Fallback{Name: "mediapipe", Engine: lesser()}
	in.Fallback.Engine.Spec.Variants[2].Estimate = &v1alpha1.Estimate{MilliFPS: 20000, TypicalMilliFPS: 10000}
	if d := plan.Next(in); d.Next.Variant != "mediapipe/cpu" || d.Cost != "795 frames at 10 frames/s take about 1 min" {
		t.Errorf("%s: %q", d.Next.Variant, d.Cost)
	}
	in = input(gen.Job("j"), []v1alpha1.Attempt{failed(1, "cpu-yolo", "OutputInvalid")})
	in.Fallback = plan.Fallback{Name: "mediapipe", Engine: gen.Engine("mediapipe").Variants(gen.Variant("cpu", v1alpha1.CPU)).Build()}
	if d := plan.Next(in); d.Next.Variant != "mediapipe/cpu" || d.Cost != "" {
		t.Errorf("%s: %q, want nothing of an engine that has no GPU variant", d.Next.Variant, d.Cost)
	}
}
