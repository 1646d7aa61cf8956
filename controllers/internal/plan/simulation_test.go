package plan_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
)

// reasons that an attempt may end with, an unknown one and none included.
var reasons = []string{
	v1alpha1.ReasonDetectorLoadCrash, v1alpha1.ReasonModelLoadCrash, v1alpha1.ReasonOutOfMemory, v1alpha1.ReasonScratchSpaceExceeded,
	v1alpha1.ReasonDisrupted, v1alpha1.ReasonPodNotStartable, v1alpha1.ReasonInputUnavailable, v1alpha1.ReasonInputInvalid,
	v1alpha1.ReasonOutputInvalid, v1alpha1.ReasonDeliveryFailed, v1alpha1.ReasonNoProgress, v1alpha1.ReasonEngineError, "Custom", "",
	v1alpha1.ReasonCUDAOutOfMemory, v1alpha1.ReasonCUDAError, v1alpha1.ReasonDeviceUnusable, v1alpha1.ReasonGPUHardwareFault,
	v1alpha1.ReasonSharedMemoryTooSmall, v1alpha1.ReasonRenderingUnavailable, v1alpha1.ReasonWeightsMissing, v1alpha1.ReasonImageIncompatible,
}

// kind ones keep a job going; drawn more often, so that histories get long.
var kind = []string{v1alpha1.ReasonDisrupted, v1alpha1.ReasonEngineError, v1alpha1.ReasonOutOfMemory, v1alpha1.ReasonModelLoadCrash, "Custom"}

var terminal = []string{v1alpha1.ReasonScratchSpaceExceeded, v1alpha1.ReasonInputUnavailable, v1alpha1.ReasonInputInvalid}

func drawEngine(t *rapid.T) *v1alpha1.PoseEngine {
	n := rapid.IntRange(1, 6).Draw(t, "variants")
	b := gen.Engine("e")
	for i := range n {
		device := rapid.SampledFrom([]v1alpha1.Device{v1alpha1.GPU, v1alpha1.CPU}).Draw(t, "device")
		v := gen.Variant(string(rune('a'+i)), device, gen.Detector(rapid.SampledFrom([]string{"", "vitdet", "yolo"}).Draw(t, "detector")))
		if limit := rapid.IntRange(0, 16).Draw(t, "limit"); limit > 0 {
			v.Resources = &v1alpha1.Resources{Limits: corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(int64(limit)*gib, resource.BinarySI)}}
			if most := rapid.IntRange(0, 32).Draw(t, "maxMemory"); most > 0 {
				v.MaxMemory = resource.NewQuantity(int64(most)*gib, resource.BinarySI)
			}
		}
		if rapid.Bool().Draw(t, "one image for several") {
			v.Image = "one"
		}
		if rapid.Bool().Draw(t, "estimated") {
			v.Estimate = &v1alpha1.Estimate{LoadSeconds: rapid.Int64Range(0, 300).Draw(t, "load"), MilliFPS: rapid.Int64Range(1, 30000).Draw(t, "milliFPS")}
		}
		b.Variants(v)
	}
	return b.Build()
}

func drawSpec(t *rapid.T, e *v1alpha1.PoseEngine) *v1alpha1.PoseJobSpec {
	return &gen.Job("j").Spec(func(s *v1alpha1.PoseJobSpec) {
		s.Device = rapid.SampledFrom([]v1alpha1.DevicePreference{"", v1alpha1.DeviceAuto, v1alpha1.DeviceGPU, v1alpha1.DeviceCPU}).Draw(t, "spec.device")
		allow := rapid.SampledFrom([]v1alpha1.Permission{v1alpha1.Allow, v1alpha1.Deny})
		s.Fallback = v1alpha1.Fallback{Device: allow.Draw(t, "fallback.device"), Detector: allow.Draw(t, "fallback.detector")}
		s.BackoffLimit = new(rapid.Int32Range(0, 5).Draw(t, "backoffLimit"))
		if rapid.Bool().Draw(t, "own order") {
			names := make([]string, 0, len(e.Spec.Variants))
			for _, v := range e.Spec.Variants {
				names = append(names, v.Name)
			}
			names = rapid.Permutation(names).Draw(t, "spec.variants")
			s.Variants = names[:rapid.IntRange(1, len(names)).Draw(t, "of them")]
		}
		if rapid.IntRange(0, 3).Draw(t, "has deadline") == 0 {
			d := rapid.Int64Range(1, 20000).Draw(t, "deadline")
			s.ActiveDeadlineSeconds = &d
		}
		if rapid.Bool().Draw(t, "has pending timeout") {
			s.PendingTimeoutSeconds = new(rapid.Int64Range(1, 2000).Draw(t, "pending timeout"))
		}
		if rapid.Bool().Draw(t, "own resources") {
			limit := *resource.NewQuantity(rapid.Int64Range(1, 40).Draw(t, "own limit")*gib, resource.BinarySI)
			r := &v1alpha1.Resources{Limits: corev1.ResourceList{corev1.ResourceMemory: limit}}
			s.PodTemplate = &v1alpha1.PodTemplate{Resources: &v1alpha1.DeviceResources{GPU: r}}
		}
	}).Build().Spec
}

// world plays the cluster against plan.Next until the job has ended.
type world struct {
	t       *rapid.T
	engine  *v1alpha1.PoseEngine
	spec    *v1alpha1.PoseJobSpec
	now     time.Time
	started time.Time
	records []v1alpha1.Attempt
	pod     *attempt.Pod // live, or nil
	done    bool
	// fickle users suspend and resume without end.
	fickle bool
	// engineAway while the engine is missing.
	engineAway int
	// limits that proved too small, by variant.
	tooSmall map[string]int64
	// detectors that crashed while loading.
	crashed map[[2]string]bool
	// learned from other jobs, frames of the video, pace of the live attempt.
	learned map[string]plan.Advice
	frames  int64
	pace    *plan.Pace
}

func (w *world) input() plan.Input {
	in := plan.Input{Spec: w.spec, Engine: w.engine, Started: w.started, Now: w.now, Done: w.done, Learned: w.learned, Frames: w.frames}
	if w.pod != nil {
		in.Pace = w.pace
	}
	if w.engineAway > 0 {
		in.Engine, in.EngineReason = nil, v1alpha1.ReasonEngineNotReady
	}
	for i := range w.records {
		a := attempt.Attempt{Attempt: *w.records[i].DeepCopy()}
		if i == len(w.records)-1 && w.pod != nil {
			p := *w.pod
			a.Pod = &p
		}
		in.Attempts = append(in.Attempts, a)
	}
	return in
}

func (w *world) last() *v1alpha1.Attempt { return &w.records[len(w.records)-1] }

// limitOf the memory that the attempt's pod gets, as render gives it; 0 is none.
func (w *world) limitOf(a *v1alpha1.Attempt) int64 {
	if a.MemoryBytes > 0 {
		return a.MemoryBytes
	}
	if t := w.spec.PodTemplate; t != nil && a.Device == v1alpha1.GPU {
		return t.Resources.GPU.Limits.Memory().Value()
	}
	for _, v := range w.engine.Spec.Variants {
		if v.Name == a.Variant && v.Resources != nil {
			return v.Resources.Limits.Memory().Value()
		}
	}
	return 0
}

// launchable checks what must hold for every pod that is about to be made.
func (w *world) launchable(a *v1alpha1.Attempt) {
	t := w.t
	if w.pod != nil {
		t.Fatalf("a pod is made while one is live")
	}
	if w.spec.Suspend {
		t.Fatalf("a pod is made while the job is suspended")
	}
	if w.spec.Device == v1alpha1.DeviceGPU || w.spec.Device == v1alpha1.DeviceCPU {
		if string(a.Device) != string(w.spec.Device) {
			t.Fatalf("attempt on %s, spec.device is %s", a.Device, w.spec.Device)
		}
	}
	if len(w.spec.Variants) > 0 && !slices.Contains(w.spec.Variants, a.Variant) {
		t.Fatalf("variant %s is not in spec.variants %v", a.Variant, w.spec.Variants)
	}
	if w.spec.Fallback.Device == v1alpha1.Deny && a.Device != w.records[0].Device {
		t.Fatalf("device changed from %s to %s, which spec.fallback.device denies", w.records[0].Device, a.Device)
	}
	if w.spec.Fallback.Detector == v1alpha1.Deny && a.Detector != w.records[0].Detector {
		t.Fatalf("detector changed from %s to %s, which spec.fallback.detector denies", w.records[0].Detector, a.Detector)
	}
	if small, ok := w.tooSmall[a.Variant]; ok && w.limitOf(a) <= small {
		t.Fatalf("variant %s gets %d bytes, and %d proved too small", a.Variant, w.limitOf(a), small)
	}
	if a.Detector != "" && w.crashed[[2]string{a.Detector, string(a.Device)}] {
		t.Fatalf("detector %s crashed on %s and is loaded there again by %s", a.Detector, a.Device, a.Variant)
	}
	if len(a.AvoidNodes) > 8 {
		t.Fatalf("%d nodes to avoid, the API admits 8", len(a.AvoidNodes))
	}
	if a.NotBefore != nil && a.NotBefore.Sub(w.now) > 6*time.Minute {
		t.Fatalf("backoff until %s at %s", a.NotBefore, w.now)
	}
}

func (w *world) create() {
	w.launchable(w.last())
	w.last().State, w.last().PodUID = v1alpha1.AttemptRunning, "uid"
	w.pod = &attempt.Pod{Name: "p", UID: "uid", Attempt: w.last().Number, Node: rapid.SampledFrom([]string{"n1", "n2", "n3"}).Draw(w.t, "node"), Phase: corev1.PodRunning, Created: metav1.NewTime(w.now)}
	w.pace = nil
	if w.pod.Attempt > 0 && rapid.IntRange(0, 4).Draw(w.t, "no node takes it") == 0 {
		w.pod.Phase, w.pod.Node, w.pod.Unschedulable = corev1.PodPending, "", "0/3 nodes are available"
		w.last().UnschedulableSince = &metav1.Time{Time: w.now}
		return
	}
	if total := w.frames; total > 1 && rapid.Bool().Draw(w.t, "tells its pace") {
		w.pace = &plan.Pace{Total: total, Frames: rapid.Int64Range(0, total).Draw(w.t, "frames done"), BestMilliFPS: rapid.Int64Range(1, 60000).Draw(w.t, "pace"), Tracked: time.Duration(rapid.IntRange(0, 600).Draw(w.t, "tracked")) * time.Second}
	}
}

// followed says whether a variant that other jobs teach to skip is tried only
// where nothing else was left.
func (w *world) followed(d plan.Decision) {
	if !w.learned[d.Next.Variant].Skip || len(w.spec.Variants) > 0 || slices.ContainsFunc(w.records, func(a v1alpha1.Attempt) bool { return a.Variant == d.Next.Variant }) {
		return
	}
	rungs, _, err := plan.Rungs(w.spec, w.engine)
	if err != nil {
		w.t.Fatal(err)
	}
	from := 0
	if len(w.records) > 0 {
		from = slices.IndexFunc(rungs, func(v v1alpha1.Variant) bool { return v.Name == w.last().Variant }) + 1
	}
	for _, v := range rungs[from:] {
		tried := slices.ContainsFunc(w.records, func(a v1alpha1.Attempt) bool { return a.Variant == v.Name })
		left := slices.ContainsFunc(d.Skipped, func(s v1alpha1.SkippedVariant) bool { return s.Variant == v.Name })
		if v.Name != d.Next.Variant && !tried && !left {
			w.t.Fatalf("variant %s is tried although other jobs teach to skip it and %s is left", d.Next.Variant, v.Name)
		}
	}
}

// finish the live pod in some way.
func (w *world) finish(reason string) {
	a := w.last()
	a.Node, a.FinishTime = w.pod.Node, &metav1.Time{Time: w.now}
	if a.State, a.Reason = v1alpha1.AttemptFailed, reason; a.Action == "" {
		a.Action = plan.ActionFor(reason)
	}
	w.pod = nil
	a.GPUShared = a.Device == v1alpha1.GPU && rapid.Bool().Draw(w.t, "shared")
	switch reason {
	case "Custom":
		a.Action = rapid.SampledFrom([]v1alpha1.Action{v1alpha1.ActionRetry, v1alpha1.ActionRetryElsewhere, v1alpha1.ActionNextVariant, v1alpha1.ActionFail}).Draw(w.t, "action")
	case v1alpha1.ReasonOutOfMemory:
		limit := w.limitOf(a)
		w.tooSmall[a.Variant] = max(w.tooSmall[a.Variant], limit)
		w.sameImage(a, limit)
		if rapid.Bool().Draw(w.t, "measured") {
			a.LimitMemoryBytes = limit
			a.PeakMemoryBytes = rapid.Int64Range(0, 1<<40).Draw(w.t, "peak")
		}
	case v1alpha1.ReasonDetectorLoadCrash:
		w.crashed[[2]string{a.Detector, string(a.Device)}] = true
	}
}

// end the pod: one that has no node is gone at once.
func (w *world) end() {
	if w.pod.Deleting, w.pod.DeletingSince = true, w.now; w.pod.Node != "" {
		return
	}
	reason := w.last().Reason
	if reason == "" {
		reason = v1alpha1.ReasonDisrupted
	}
	w.finish(reason)
}

// sameImage: what ran out proves the limit too small for every variant of the
// image that may have more.
func (w *world) sameImage(a *v1alpha1.Attempt, limit int64) {
	image := ""
	for _, v := range w.engine.Spec.Variants {
		if v.Name == a.Variant {
			image = v.Image
		}
	}
	for _, v := range w.engine.Spec.Variants {
		if v.Image == image && v.MaxMemory != nil && v.MaxMemory.Value() > limit && v.Resources != nil {
			w.tooSmall[v.Name] = max(w.tooSmall[v.Name], limit)
		}
	}
}

// event outside of the job's own doing.
func (w *world) event() {
	w.now = w.now.Add(time.Duration(rapid.IntRange(1, 600).Draw(w.t, "seconds")) * time.Second)
	switch n := rapid.IntRange(0, 19).Draw(w.t, "event"); {
	case w.engineAway > 0:
		w.engineAway--
	case n == 0:
		w.engineAway = 2
	case w.spec.Suspend:
		w.spec.Suspend = false
	case n == 1 || w.fickle && n < 15 && w.pod != nil && !w.pod.Deleting:
		w.spec.Suspend = true
	case w.pod == nil:
	case w.pod.Deleting:
		reason := w.last().Reason
		if reason == "" {
			reason = v1alpha1.ReasonDisrupted
		}
		w.finish(reason)
	case n == 2: // somebody deletes it
		w.end()
	case n == 3:
		w.done = true
		w.pod = nil
		w.last().State = v1alpha1.AttemptSucceeded
	case n < 12:
		w.finish(rapid.SampledFrom(kind).Draw(w.t, "reason"))
	default:
		w.finish(rapid.SampledFrom(reasons).Draw(w.t, "reason"))
	}
}

// step decides once and does what was decided. It says whether the job ended.
func (w *world) step() bool {
	t := w.t
	in := w.input()
	d := plan.Next(in)
	if diff := cmp.Diff(d, plan.Next(w.input())); diff != "" {
		t.Fatalf("the same input gives another decision:\n%s", diff)
	}
	if n := len(w.records); n > 0 && w.records[n-1].State == v1alpha1.AttemptFailed && w.pod == nil &&
		slices.Contains(terminal, w.records[n-1].Reason) && d.Kind == plan.KindLaunch {
		t.Fatalf("another attempt after %s", w.records[n-1].Reason)
	}
	if w.pod != nil && d.Kind != plan.KindWait && d.Kind != plan.KindEndPod && d.Kind != plan.KindSucceed {
		t.Fatalf("%s while a pod is live", d.Kind)
	}
	if w.done != (d.Kind == plan.KindSucceed) {
		t.Fatalf("%s, done is %v", d.Kind, w.done)
	}
	w.disruptionsAreFree(in, d)
	switch d.Kind {
	case plan.KindSucceed:
		return true
	case plan.KindFail:
		if d.Message == "" && len(w.records) > 0 && w.last().Message != "" {
			t.Fatalf("the job fails without a message")
		}
		return true
	case plan.KindLaunch:
		w.followed(d)
		w.records = append(w.records, d.Next)
		if len(w.records) > v1alpha1.MaxAttempts {
			t.Fatalf("%d attempts", len(w.records))
		}
		if d.Next.NotBefore == nil {
			w.create()
		}
	case plan.KindCreate:
		w.create()
	case plan.KindEndPod:
		if d.Reason == "" {
			t.Fatalf("a pod is ended for no reason")
		}
		if w.last().Reason == "" {
			w.last().Reason, w.last().Action = d.Reason, d.Action
		}
		w.end()
	case plan.KindWait:
		if d.Until.IsZero() || rapid.Bool().Draw(t, "something happens first") {
			w.event()
		} else {
			if !d.Until.After(w.now) {
				t.Fatalf("wait until %s at %s", d.Until, w.now)
			}
			w.now = d.Until
		}
	default:
		t.Fatalf("unknown decision %q", d.Kind)
	}
	return false
}

// disruptionsAreFree: without the disrupted and suspended attempts the same
// variant follows, with the same memory and after the same backoff.
func (w *world) disruptionsAreFree(in plan.Input, d plan.Decision) {
	if d.Kind != plan.KindLaunch {
		return
	}
	free := func(a attempt.Attempt) bool {
		return a.Reason == v1alpha1.ReasonDisrupted || a.Reason == v1alpha1.ReasonSuspendedAttempt
	}
	if n := len(in.Attempts); n == 0 || free(in.Attempts[n-1]) {
		return
	}
	without := in
	without.Attempts = slices.DeleteFunc(slices.Clone(in.Attempts), free)
	other := plan.Next(without)
	if other.Kind != d.Kind || other.Next.Variant != d.Next.Variant || other.Next.MemoryBytes != d.Next.MemoryBytes || !other.Next.NotBefore.Equal(d.Next.NotBefore) {
		w.t.Fatalf("with disruptions %+v follows, without them %+v", d.Next, other.Next)
	}
}

func TestEveryHistoryEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, now: gen.Now, started: gen.Now, tooSmall: map[string]int64{}, crashed: map[[2]string]bool{}}
		w.fickle = rapid.IntRange(0, 3).Draw(t, "fickle") == 0
		w.engine = drawEngine(t)
		w.spec = drawSpec(t, w.engine)
		if rapid.Bool().Draw(t, "frames are known") {
			w.frames = rapid.Int64Range(1, 200000).Draw(t, "frames")
		}
		w.learned = map[string]plan.Advice{}
		for _, v := range w.engine.Spec.Variants {
			w.learned[v.Name] = plan.Advice{Skip: rapid.IntRange(0, 2).Draw(t, "taught") == 0, Message: "taught"}
		}
		// Each attempt takes a few steps; suspensions and waits for the engine
		// lie in between and are bounded by the attempts as well.
		const steps = 4000
		for range steps {
			if w.step() {
				return
			}
		}
		t.Fatalf("no end after %d steps and %d attempts", steps, len(w.records))
	})
}
