package plan_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
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

// world plays the cluster against plan.Next until the job has ended.
type world struct {
	t      *rapid.T
	engine *v1alpha1.PoseEngine
	// fallback engine, nil where the job allows none; fallbackAway while it is
	// missing, fallbackLeft once it went away.
	fallback     *v1alpha1.PoseEngine
	fallbackAway bool
	fallbackLeft bool
	spec         *v1alpha1.PoseJobSpec
	now          time.Time
	started      time.Time
	records      []v1alpha1.Attempt
	pod          *attempt.Pod // live, or nil
	done         bool
	// looks: the job wants a look at its places. What is recorded of it, its live pod,
	// and how many were decided and forgotten again.
	looks              bool
	look               *v1alpha1.LookupStatus
	lookPod            *attempt.Pod
	looked, lookForgot int
	// fickle users suspend and resume without end.
	fickle bool
	// engineAway while the engine is missing.
	engineAway int
	// limits that proved too small, by variant.
	tooSmall map[string]int64
	// detectors that crashed while loading, by engine and device.
	crashed map[[3]string]bool
	// variants that are left out, with the newest reason, as a status has them.
	skipped map[string]v1alpha1.SkippedVariant
	// learned from other jobs, frames of the video, pace of the live attempt.
	learned map[string]plan.Advice
	frames  int64
	pace    *plan.Pace
}

func (w *world) input() plan.Input {
	in := plan.Input{Spec: w.spec, Engine: w.engine, Started: w.started, Now: w.now, Done: w.done, Learned: w.learned, Frames: w.frames}
	for _, name := range slices.Sorted(maps.Keys(w.skipped)) {
		in.Skipped = append(in.Skipped, w.skipped[name])
	}
	if w.pod != nil {
		in.Pace = w.pace
	}
	in.Look = plan.Look{Wanted: w.looks, Status: w.look.DeepCopy()}
	if w.lookPod != nil {
		p := *w.lookPod
		in.Look.Pod = &p
	}
	if w.fallback != nil {
		in.Fallback = plan.Fallback{Name: w.fallback.Name, Engine: w.fallback}
		if w.fallbackAway {
			in.Fallback.Engine, in.Fallback.Message = nil, "it is away"
		}
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
	if v := w.variant(a.Variant); v.Resources != nil {
		return v.Resources.Limits.Memory().Value()
	}
	return 0
}

// engineOf an attempt.
func (w *world) engineOf(a *v1alpha1.Attempt) *v1alpha1.PoseEngine {
	if name, _ := attempt.SplitVariant(a.Variant); name != "" {
		return w.fallback
	}
	return w.engine
}

// variant by its name in a record.
func (w *world) variant(name string) v1alpha1.Variant {
	e, bare := w.engine, name
	if engine, of := attempt.SplitVariant(name); engine != "" {
		e, bare = w.fallback, of
	}
	for _, v := range e.Spec.Variants {
		if v.Name == bare {
			return v
		}
	}
	w.t.Fatalf("there is no variant %s", name)
	return v1alpha1.Variant{}
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
// where nothing else of its engine was left.
func (w *world) followed(d plan.Decision) {
	other := w.engineOf(&d.Next) != w.engine
	if !w.learned[d.Next.Variant].Skip || (len(w.spec.Variants) > 0 && !other) || slices.ContainsFunc(w.records, func(a v1alpha1.Attempt) bool { return a.Variant == d.Next.Variant }) {
		return
	}
	rungs := w.names(other)
	from := 0
	if len(w.records) > 0 {
		from = slices.Index(rungs, w.last().Variant) + 1
	}
	for _, name := range rungs[from:] {
		tried := slices.ContainsFunc(w.records, func(a v1alpha1.Attempt) bool { return a.Variant == name })
		left := slices.ContainsFunc(d.Skipped, func(s v1alpha1.SkippedVariant) bool { return s.Variant == name })
		if name != d.Next.Variant && !tried && !left {
			w.t.Fatalf("variant %s is tried although other jobs teach to skip it and %s is left", d.Next.Variant, name)
		}
	}
}

// names of the rungs of one engine, in order.
func (w *world) names(other bool) []string {
	own, _, err := plan.Rungs(w.spec, w.engine)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	if !other {
		for _, r := range own {
			out = append(out, r.Name())
		}
		return out
	}
	for _, v := range w.fallback.Spec.Variants {
		device := w.spec.Device == "" || w.spec.Device == v1alpha1.DeviceAuto || string(w.spec.Device) == string(v.Device)
		stays := w.spec.Fallback.Device != v1alpha1.Deny || v.Device == own[0].Variant.Device
		boxes := v.Boxes == v1alpha1.BoxesOptional || (w.spec.Video.Boxes != nil) == (v.Boxes == v1alpha1.BoxesRequired)
		if device && stays && boxes && !v.OnRequest {
			out = append(out, attempt.VariantName(w.fallback.Name, v.Name))
		}
	}
	return out
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
		w.crashed[[3]string{w.engineOf(a).Name, a.Detector, string(a.Device)}] = true
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
// engine's image that may have more.
func (w *world) sameImage(a *v1alpha1.Attempt, limit int64) {
	image := w.variant(a.Variant).Image
	e := w.engineOf(a)
	engine, _ := attempt.SplitVariant(a.Variant)
	for _, v := range e.Spec.Variants {
		if v.Image == image && v.MaxMemory != nil && v.MaxMemory.Value() > limit && v.Resources != nil {
			name := attempt.VariantName(engine, v.Name)
			w.tooSmall[name] = max(w.tooSmall[name], limit)
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
	case n == 18 && len(w.learned) > 0: // a skip begins, or ends
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(w.learned))).Draw(w.t, "learned")
		w.learned[name] = plan.Advice{Skip: !w.learned[name].Skip, Message: "taught"}
	case n == 17: // the platform admin changes the default
		w.looks = !w.looks
	case n == 19:
		w.fallbackAway = !w.fallbackAway
		w.fallbackLeft = w.fallbackLeft || w.fallbackAway
	case w.spec.Suspend:
		w.spec.Suspend = false
	case n == 1 || w.fickle && n < 15 && w.pod != nil && !w.pod.Deleting:
		w.spec.Suspend = true
	case w.lookPod != nil && n < 16:
		w.lookEvent()
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
	w.noPodForLong()
	in := w.input()
	d := plan.Next(in)
	if w.lookPod != nil && d.Kind != plan.KindWait && d.Kind != plan.KindEndLook {
		t.Fatalf("%s while a look is live", d.Kind)
	}
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
	w.nothingUntried(in, d)
	for _, v := range d.Skipped {
		w.skipped[v.Variant] = v
	}
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
		delete(w.skipped, d.Next.Variant)
		if len(w.records) > v1alpha1.MaxAttempts {
			t.Fatalf("%d attempts", len(w.records))
		}
		if d.Next.NotBefore == nil {
			w.create()
		}
	case plan.KindCreate:
		w.create()
	case plan.KindLook:
		if w.looked++; !w.looks || w.look != nil || w.looked > w.lookForgot+1 {
			t.Fatalf("look %d, wanted: %t, recorded: %+v", w.looked, w.looks, w.look)
		}
		w.look = &v1alpha1.LookupStatus{State: v1alpha1.LookupRunning, StartTime: new(metav1.NewTime(w.now))}
		w.beginLook()
	case plan.KindCreateLook:
		if w.look == nil || w.look.State != v1alpha1.LookupRunning {
			t.Fatalf("a look's pod is made, and recorded is %+v", w.look)
		}
		if w.beginLook(); w.lookPod == nil {
			w.now = w.now.Add(time.Second)
		}
	case plan.KindEndLook:
		if w.lookPod == nil || w.lookPod.Deleting {
			t.Fatalf("a look is ended and has no pod")
		}
		if w.look.State == v1alpha1.LookupRunning && w.look.Reason == "" {
			w.look.Reason, w.look.Message = d.Reason, d.Message
		}
		if w.lookPod.Deleting, w.lookPod.DeletingSince = true, w.now; w.lookPod.Node == "" {
			w.endLook(v1alpha1.LookupSkipped)
		}
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
	// An engine that goes away takes its rungs along, after a disruption too.
	if n := len(in.Attempts); n == 0 || free(in.Attempts[n-1]) || w.fallbackLeft {
		return
	}
	without := in
	without.Attempts = slices.DeleteFunc(slices.Clone(in.Attempts), free)
	other := plan.Next(without)
	if other.Kind != d.Kind || other.Next.Variant != d.Next.Variant || other.Next.MemoryBytes != d.Next.MemoryBytes || !other.Next.NotBefore.Equal(d.Next.NotBefore) {
		w.t.Fatalf("with disruptions %+v follows, without them %+v", d.Next, other.Next)
	}
}

// names of an engine's variants, as records have them.
func names(engine string, e *v1alpha1.PoseEngine) []string {
	var out []string
	for _, v := range e.Spec.Variants {
		out = append(out, attempt.VariantName(engine, v.Name))
	}
	return out
}

func TestEveryHistoryEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, now: gen.Now, started: gen.Now, tooSmall: map[string]int64{}, crashed: map[[3]string]bool{}, skipped: map[string]v1alpha1.SkippedVariant{}}
		w.looks = rapid.Bool().Draw(t, "looks")
		w.fickle = rapid.IntRange(0, 3).Draw(t, "fickle") == 0
		w.engine = drawEngine(t, "e")
		if rapid.Bool().Draw(t, "falls back to another engine") {
			w.fallback = drawEngine(t, "other")
			w.fallbackAway = rapid.IntRange(0, 2).Draw(t, "away") == 0
		}
		w.spec = drawSpec(t, w.engine)
		if rapid.Bool().Draw(t, "frames are known") {
			w.frames = rapid.Int64Range(1, 200000).Draw(t, "frames")
		}
		w.learned = map[string]plan.Advice{}
		variants := names("", w.engine)
		if w.fallback != nil {
			variants = append(variants, names(w.fallback.Name, w.fallback)...)
		}
		for _, name := range variants {
			w.learned[name] = plan.Advice{Skip: rapid.IntRange(0, 2).Draw(t, "taught") == 0, Message: "taught"}
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
