package attempt_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/internal/report"
)

func TestJoin(t *testing.T) {
	type seen struct {
		Number                       int32
		State                        v1alpha1.AttemptState
		Variant                      string
		HasPod, Live, Lost, Recorded bool
	}
	intended := gen.Attempt(1, "gpu", v1alpha1.GPU)
	running := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"))
	failed := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Failed(v1alpha1.ReasonDetectorLoadCrash))
	pod := func(number int32) *gen.PodBuilder { return gen.Pod("p1", number, "gpu", v1alpha1.GPU) }
	for name, c := range map[string]struct {
		records []v1alpha1.Attempt
		pods    []corev1.Pod
		want    []seen
	}{
		"no record and no pod is no attempt": {want: []seen{}},
		"an intent without a pod stays an intent": {
			records: []v1alpha1.Attempt{intended},
			want:    []seen{{1, v1alpha1.AttemptIntended, "gpu", false, false, false, false}},
		},
		"an intent whose pod is there runs": {
			records: []v1alpha1.Attempt{intended}, pods: []corev1.Pod{pod(1).Build()},
			want: []seen{{1, v1alpha1.AttemptRunning, "gpu", true, true, false, false}},
		},
		"a record that had a pod and has none any more is lost": {
			records: []v1alpha1.Attempt{running},
			want:    []seen{{1, v1alpha1.AttemptRunning, "gpu", false, false, true, false}},
		},
		"a finished pod is not live": {
			records: []v1alpha1.Attempt{running}, pods: []corev1.Pod{pod(1).Phase(corev1.PodFailed).Build()},
			want: []seen{{1, v1alpha1.AttemptRunning, "gpu", true, false, false, false}},
		},
		"a succeeded pod is not live": {
			records: []v1alpha1.Attempt{running}, pods: []corev1.Pod{pod(1).Phase(corev1.PodSucceeded).Build()},
			want: []seen{{1, v1alpha1.AttemptRunning, "gpu", true, false, false, false}},
		},
		"a pod that is being deleted is live until its phase is terminal": {
			records: []v1alpha1.Attempt{running}, pods: []corev1.Pod{pod(1).Phase(corev1.PodRunning).Node("node-1").Deleting(-90, 30).Build()},
			want: []seen{{1, v1alpha1.AttemptRunning, "gpu", true, true, false, false}},
		},
		"a pod that is pending on a node and being deleted is live: its kubelet may just start it": {
			records: []v1alpha1.Attempt{running}, pods: []corev1.Pod{pod(1).Node("node-1").Deleting(-90, 30).Build()},
			want: []seen{{1, v1alpha1.AttemptRunning, "gpu", true, true, false, false}},
		},
		"a pod that is deleted before it had a node never runs": {
			records: []v1alpha1.Attempt{running}, pods: []corev1.Pod{pod(1).Deleting(-1, 0).Build()},
			want: []seen{{1, v1alpha1.AttemptRunning, "gpu", true, false, false, false}},
		},
		"a pod that has no node yet is live": {
			records: []v1alpha1.Attempt{running}, pods: []corev1.Pod{pod(1).Build()},
			want: []seen{{1, v1alpha1.AttemptRunning, "gpu", true, true, false, false}},
		},
		"a pod of unknown phase is live: its node may be cut off and still run it": {
			records: []v1alpha1.Attempt{running}, pods: []corev1.Pod{pod(1).Phase(corev1.PodUnknown).Build()},
			want: []seen{{1, v1alpha1.AttemptRunning, "gpu", true, true, false, false}},
		},
		"a pod without a phase is live": {
			records: []v1alpha1.Attempt{running}, pods: []corev1.Pod{pod(1).Phase("").Build()},
			want: []seen{{1, v1alpha1.AttemptRunning, "gpu", true, true, false, false}},
		},
		"a pod that no record knows is adopted as a record of its own": {
			pods: []corev1.Pod{gen.Pod("p3", 3, "cpu", v1alpha1.CPU).Phase(corev1.PodRunning).Build()},
			want: []seen{{3, v1alpha1.AttemptRunning, "cpu", true, true, false, false}},
		},
		"an adopted pod stands beside the records, in the order of numbers": {
			records: []v1alpha1.Attempt{failed, gen.Attempt(3, "cpu", v1alpha1.CPU)},
			pods:    []corev1.Pod{gen.Pod("p2", 2, "gpu-small", v1alpha1.GPU).Build()},
			want: []seen{
				{1, v1alpha1.AttemptFailed, "gpu", false, false, false, true},
				{2, v1alpha1.AttemptRunning, "gpu-small", true, true, false, false},
				{3, v1alpha1.AttemptIntended, "cpu", false, false, false, false},
			},
		},
		"a pod without a number in its label is no attempt": {
			pods: []corev1.Pod{pod(0).Build(), pod(1).With(func(p *corev1.Pod) { p.Labels = nil }).Build(),
				pod(1).With(func(p *corev1.Pod) { p.Labels[v1alpha1.LabelAttempt] = "first" }).Build()},
			want: []seen{},
		},
		"a pod with a purpose of its own is no attempt, whatever its labels say": {
			records: []v1alpha1.Attempt{intended}, pods: []corev1.Pod{pod(1).With(purpose("lookup")).Build(), gen.Pod("p9", 9, "gpu", v1alpha1.GPU).With(purpose("purge")).Build()},
			want: []seen{{1, v1alpha1.AttemptIntended, "gpu", false, false, false, false}},
		},
		"but one that its record knows is": {
			records: []v1alpha1.Attempt{running}, pods: []corev1.Pod{pod(1).Node("n").With(purpose("lookup")).Build()},
			want: []seen{{1, v1alpha1.AttemptRunning, "gpu", true, true, false, false}},
		},
		"a recorded outcome stays although its pod is still there": {
			records: []v1alpha1.Attempt{failed}, pods: []corev1.Pod{pod(1).Done(2, 120).Build()},
			want: []seen{{1, v1alpha1.AttemptFailed, "gpu", true, false, false, true}},
		},
		"a recorded success without a pod is not lost": {
			records: []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Succeeded())},
			want:    []seen{{1, v1alpha1.AttemptSucceeded, "gpu", false, false, false, true}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := []seen{}
			for _, a := range attempt.Join(c.records, c.pods) {
				got = append(got, seen{a.Number, a.State, a.Variant, a.Pod != nil, a.Live(), a.Lost(), a.Recorded()})
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("attempts (-want +got):\n%s", diff)
			}
		})
	}
}

func purpose(p string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Labels[v1alpha1.LabelPurpose] = p }
}

func TestJoinLeavesARecordedOutcomeUntouched(t *testing.T) {
	recorded := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Failed(v1alpha1.ReasonDetectorLoadCrash), func(a *v1alpha1.Attempt) {
		a.Stage, a.Node, a.PeakMemoryBytes, a.PodUID = v1alpha1.StageDetectorLoad, "node-7", 5, "another"
	})
	pod := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Done(2, 120).Build()
	got := attempt.Records(attempt.Join([]v1alpha1.Attempt{recorded}, []corev1.Pod{pod}))
	if diff := cmp.Diff([]v1alpha1.Attempt{recorded}, got); diff != "" {
		t.Errorf("the record changed (-want +got):\n%s", diff)
	}
}

func TestJoinDoesNotWriteIntoItsInput(t *testing.T) {
	records := []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU)}
	before := *records[0].DeepCopy()
	attempt.Join(records, []corev1.Pod{gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Done(1, 1).Build()})
	if diff := cmp.Diff(before, records[0]); diff != "" {
		t.Errorf("the record that was passed in changed (-before +after):\n%s", diff)
	}
}

func TestJoinCopiesWhatThePodShows(t *testing.T) {
	code := int32(1)
	pod := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Dead().
		EngineSays(1, report.EngineReport{
			Stage: v1alpha1.StageDetectorLoad, ExitCode: &code, GPU: "NVIDIA H200",
			PeakMemoryBytes: 9_000, LimitMemoryBytes: 16_000,
			StageSeconds: map[string]float64{"EngineStart": 1.4, v1alpha1.StageModelLoad: 30.2, v1alpha1.StageDetectorLoad: 5},
		}).Image("engine", "registry.example/gpu@sha256:aa").DeliverSkipped().Build()
	got := attempt.Records(attempt.Join([]v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU)}, []corev1.Pod{pod}))
	created := gen.At(-300)
	want := []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), func(a *v1alpha1.Attempt) {
		a.Node, a.ImageID, a.GPU = "node-1", "registry.example/gpu@sha256:aa", "NVIDIA H200"
		a.Stage, a.PeakMemoryBytes, a.LimitMemoryBytes = v1alpha1.StageDetectorLoad, 9_000, 16_000
		a.StartTime = &created
		a.Seconds = &v1alpha1.AttemptSeconds{Fetch: 40, Prepare: 40, Load: 36, Engine: 40}
	})}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

func TestJoinKeepsWhatAPoorerViewNoLongerShows(t *testing.T) {
	known := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), func(a *v1alpha1.Attempt) {
		start := gen.At(-200)
		a.Node, a.GPU, a.ImageID, a.Stage, a.PeakMemoryBytes, a.StartTime = "node-1", "H200", "sha", v1alpha1.StageTracking, 77, &start
	})
	got := attempt.Records(attempt.Join([]v1alpha1.Attempt{known}, []corev1.Pod{gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Build()}))
	if diff := cmp.Diff([]v1alpha1.Attempt{known}, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

func TestAReportCountsOnlyFromItsOwnContainer(t *testing.T) {
	proof := report.Termination{
		Role: report.RoleDeliver, Result: report.ResultOK,
		Deliver: &report.DeliveryReport{URI: "s3://elsewhere/x", ManifestSHA256: "00", People: 1, Frames: 1},
	}
	stage := report.Termination{Role: report.RoleExec, Result: report.ResultFailed, Engine: &report.EngineReport{Stage: "Tracking"}}
	video := report.Termination{Role: report.RolePrepare, Result: report.ResultOK, Video: &report.VideoFacts{Frames: 1}}
	dead := func() *gen.PodBuilder {
		return gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Phase(corev1.PodFailed).Exit("copy", 0).Exit("fetch", 0).Exit("prepare", 0).Exit("engine", 1).Exit("deliver", 1)
	}
	for name, c := range map[string]struct {
		pod                     corev1.Pod
		delivery, engine, video bool
		raw                     string
	}{
		"deliver's proof from deliver": {pod: dead().Says("deliver", proof).Build(), delivery: true},
		"deliver's proof forged by the engine is ignored": {
			pod: dead().Says("engine", proof).Build(), raw: string(proof.Marshal()),
		},
		"deliver's proof forged by the engine beside deliver's own refusal is ignored": {
			pod: dead().Says("engine", proof).Says("deliver", report.Termination{Role: report.RoleDeliver, Result: report.ResultFailed, Reason: report.ReasonOutputInvalid}).Build(),
			raw: string(proof.Marshal()),
		},
		"deliver's proof that says Failed is no proof": {
			pod: dead().Says("deliver", report.Termination{Role: report.RoleDeliver, Result: report.ResultFailed, Deliver: proof.Deliver}).Build(),
		},
		"deliver's proof that is still Running is no proof": {
			pod: dead().Says("deliver", report.Termination{Role: report.RoleDeliver, Result: report.ResultRunning, Deliver: proof.Deliver}).Build(),
		},
		"the engine's report from the engine":                   {pod: dead().Says("engine", stage).Build(), engine: true},
		"the engine's report from deliver is ignored":           {pod: dead().Says("deliver", stage).Build()},
		"the video's facts from prepare":                        {pod: dead().Says("prepare", video).Build(), video: true},
		"the video's facts forged by the engine are ignored":    {pod: dead().Says("engine", video).Build(), raw: string(video.Marshal())},
		"no message at all":                                     {pod: dead().Build()},
		"the words of a stock image are kept as they are":       {pod: dead().SaysRaw("engine", "Segmentation fault").Build(), raw: "Segmentation fault"},
		"a report of another version is no report":              {pod: dead().SaysRaw("engine", `{"v":2,"role":"exec","result":"Failed"}`).Build(), raw: `{"v":2,"role":"exec","result":"Failed"}`},
		"a report that was cut by the kubelet is no report":     {pod: dead().SaysRaw("engine", `{"v":1,"role":"exec","resu`).Build(), raw: `{"v":1,"role":"exec","resu`},
		"a container without a name that we know has no report": {pod: dead().Exit("istio-proxy", 0).Says("istio-proxy", stage).Build()},
	} {
		t.Run(name, func(t *testing.T) {
			v := attempt.View(&c.pod)
			if got := v.Delivery() != nil; got != c.delivery {
				t.Errorf("Delivery() present = %v, want %v", got, c.delivery)
			}
			if got := v.Engine() != nil; got != c.engine {
				t.Errorf("Engine() present = %v, want %v", got, c.engine)
			}
			if got := v.Video() != nil; got != c.video {
				t.Errorf("Video() present = %v, want %v", got, c.video)
			}
			if got := v.Container("engine").RawMessage; got != c.raw {
				t.Errorf("engine's raw message = %q, want %q", got, c.raw)
			}
		})
	}
}

func TestStage(t *testing.T) {
	pod := func() *gen.PodBuilder { return gen.Pod("p1", 1, "gpu", v1alpha1.GPU) }
	for name, c := range map[string]struct {
		pod  corev1.Pod
		want string
	}{
		"nothing has started":                        {pod().Build(), ""},
		"the first container waits":                  {pod().Waiting("copy", "PodInitializing", "").Build(), ""},
		"the runner is copied":                       {pod().Runs("copy").Build(), ""},
		"the video is fetched":                       {pod().Exit("copy", 0).Runs("fetch").Waiting("engine", "PodInitializing", "").Build(), "Fetch"},
		"fetch failed":                               {pod().Exit("copy", 0).Exit("fetch", 1).Build(), "Fetch"},
		"the video is prepared":                      {pod().Exit("fetch", 0).Runs("prepare").Build(), "Prepare"},
		"the engine's image is pulled":               {pod().InputsDone().Waiting("engine", "ContainerCreating", "").Build(), "Prepare"},
		"the engine runs":                            {pod().InputsDone().Runs("engine").Runs("deliver").Build(), "EngineStart"},
		"the engine died without a word":             {pod().InputsDone().Exit("engine", 139).Runs("deliver").Build(), "EngineStart"},
		"the engine died in a stage":                 {pod().InputsDone().EngineSays(139, report.EngineReport{Stage: "DetectorLoad"}).Build(), "DetectorLoad"},
		"the engine died before it named a stage":    {pod().InputsDone().EngineSays(1, report.EngineReport{}).Build(), "EngineStart"},
		"the engine ended well and deliver works":    {pod().InputsDone().EngineSays(0, report.EngineReport{Stage: "Writing"}).Runs("deliver").Build(), "Deliver"},
		"an engine without our runner ended well":    {pod().InputsDone().Exit("engine", 0).Build(), "Deliver"},
		"deliver alone runs, the engine is not seen": {pod().InputsDone().Runs("deliver").Build(), "Prepare"},
	} {
		t.Run(name, func(t *testing.T) {
			v := attempt.View(&c.pod)
			if got := v.Stage(); got != c.want {
				t.Errorf("Stage() = %q, want %q", got, c.want)
			}
		})
	}
}

func TestSeconds(t *testing.T) {
	pod := func() *gen.PodBuilder { return gen.Pod("p1", 1, "gpu", v1alpha1.GPU) }
	for name, c := range map[string]struct {
		pod  corev1.Pod
		want *v1alpha1.AttemptSeconds
	}{
		"nothing ended": {pod().Runs("fetch").Build(), nil},
		"fetch ended":   {pod().Exit("fetch", 0).Runs("prepare").Build(), &v1alpha1.AttemptSeconds{Fetch: 40}},
		"deliver's own time begins when the engine ends": {
			pod().Done(1, 1).With(func(p *corev1.Pod) {
				for i := range p.Status.ContainerStatuses {
					if c := &p.Status.ContainerStatuses[i]; c.Name == "deliver" {
						c.State.Terminated.FinishedAt = metav1.NewTime(c.State.Terminated.FinishedAt.Add(3 * time.Second))
					}
				}
			}).Build(),
			&v1alpha1.AttemptSeconds{Fetch: 40, Prepare: 40, Engine: 40, Deliver: 3},
		},
		"stages are summed into load and track": {
			pod().EngineSays(0, report.EngineReport{StageSeconds: map[string]float64{"Mine": 0.6, "ModelLoad": 10, "Tracking": 20.4, "Writing": 1.6}}).Build(),
			&v1alpha1.AttemptSeconds{Load: 11, Track: 22, Engine: 40},
		},
		"deliver without a report took an unknown time": {pod().Exit("deliver", 1).Build(), nil},
		"times that were never set are no time at all": {
			pod().Exit("fetch", 1).With(func(p *corev1.Pod) {
				p.Status.InitContainerStatuses[0].State.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1}
			}).Build(), nil,
		},
		"an end that is known without its start is no time": {
			pod().Exit("fetch", 1).With(func(p *corev1.Pod) {
				p.Status.InitContainerStatuses[0].State.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: gen.At(0)}
			}).Build(), nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			joined := attempt.Join([]v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU)}, []corev1.Pod{c.pod})
			if diff := cmp.Diff(c.want, joined[0].Seconds); diff != "" {
				t.Errorf("seconds (-want +got):\n%s", diff)
			}
		})
	}
}

func TestView(t *testing.T) {
	pod := func() *gen.PodBuilder { return gen.Pod("p1", 2, "gpu", v1alpha1.GPU) }
	t.Run("what a pending pod shows", func(t *testing.T) {
		p := pod().Unschedulable("0/3 nodes are available", -50).Build()
		v := attempt.View(&p)
		want := attempt.Pod{
			Name: "p1", UID: "uid-p1", Attempt: 2, Variant: "gpu", Device: v1alpha1.GPU, Phase: corev1.PodPending,
			Created: gen.At(-300), Finalizer: true,
			Unschedulable: "0/3 nodes are available", UnschedulableSince: gen.Now.Add(-50 * time.Second),
		}
		if diff := cmp.Diff(want, v); diff != "" {
			t.Errorf("view (-want +got):\n%s", diff)
		}
	})
	t.Run("a pod behind a scheduling gate is not unschedulable", func(t *testing.T) {
		p := pod().Condition(corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonSchedulingGated, "gated", -50).Build()
		if v := attempt.View(&p); v.Unschedulable != "" {
			t.Errorf("Unschedulable = %q, want none", v.Unschedulable)
		}
	})
	t.Run("a disruption that did not come is none", func(t *testing.T) {
		p := pod().Condition(corev1.DisruptionTarget, corev1.ConditionFalse, "PreemptionByScheduler", "", 0).Build()
		if v := attempt.View(&p); v.Disruption != "" {
			t.Errorf("Disruption = %q, want none", v.Disruption)
		}
	})
	t.Run("the finalizers of others are not ours", func(t *testing.T) {
		p := pod().With(func(p *corev1.Pod) { p.Finalizers = []string{"example.com/other"} }).Build()
		if v := attempt.View(&p); v.Finalizer {
			t.Error("Finalizer = true, want false")
		}
	})
	t.Run("a container that is absent", func(t *testing.T) {
		p := pod().Build()
		v := attempt.View(&p)
		if v.Container("engine") != nil || v.Report("engine") != nil || v.Engine() != nil || v.Delivery() != nil || v.Video() != nil {
			t.Error("a pod without container states shows something of them")
		}
	})
}

// What an engine writes is not trusted: it becomes part of a status that people
// read on a terminal, so it is short, on one line and without control characters.
func TestClaimsOfTheEngineAreCleaned(t *testing.T) {
	code := int32(1)
	p := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Dead().EngineSays(1, report.EngineReport{
		Stage: "Evil\x1b[2J\u202eegatS" + string(make([]byte, 200)), GPU: "H200\nfake\x07", Signal: "", ExitCode: &code,
	}).Image("engine", "sha").Build()
	got := attempt.Join([]v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU)}, []corev1.Pod{p})[0]
	for field, s := range map[string]string{"stage": got.Stage, "gpu": got.GPU} {
		if len(s) > 128 {
			t.Errorf("%s has %d bytes, want at most 128", field, len(s))
		}
		for _, r := range s {
			if r < 0x20 || r == 0x7f || (r >= 0x202a && r <= 0x202e) {
				t.Errorf("%s = %q holds %U", field, s, r)
			}
		}
	}
}

// TestAnEngineWithoutARunnerReportsNothing: among the init containers it runs as it
// is, so that what looks like a report is its own words.
func TestAnEngineWithoutARunnerReportsNothing(t *testing.T) {
	forged := report.Termination{Role: report.RoleExec, Result: report.ResultFailed, Engine: &report.EngineReport{Stage: "DetectorLoad", Signal: "SIGSEGV"}}
	pod := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Dead().Exit("engine", 1).Says("engine", forged).Build()
	pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...)
	pod.Status.ContainerStatuses = nil
	view := attempt.View(&pod)
	if c := view.Container("engine"); c == nil || c.Report != nil || c.RawMessage == "" {
		t.Errorf("engine = %+v, want its words and no report", c)
	}
}

// TestWhatPrepareMeasuredIsBounded: it decodes hostile videos, and what it says
// reaches the status.
func TestWhatPrepareMeasuredIsBounded(t *testing.T) {
	facts := report.VideoFacts{Width: -1, Height: 1 << 62, Frames: -5, FPS: -30, SourceSHA256: "\x1b[31mno digest"}
	pod := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Dead().
		Says("prepare", report.Termination{Role: report.RolePrepare, Result: report.ResultOK, Video: &facts}).
		EngineSays(1, report.EngineReport{PeakMemoryBytes: -7, StageSeconds: map[string]float64{"Tracking": -1e300, "ModelLoad": 3}}).Build()
	view := attempt.View(&pod)
	v := view.Video()
	if v == nil || v.Width != 0 || v.Frames != 0 || v.FPS != 0 || v.SourceSHA256 != "" || v.Height > 1<<41 {
		t.Errorf("video = %+v", v)
	}
	e := view.Engine()
	if _, kept := e.StageSeconds["Tracking"]; kept || e.PeakMemoryBytes != 0 || e.StageSeconds["ModelLoad"] != 3 {
		t.Errorf("engine = %+v", e)
	}
}

// TestWhatALookFoundIsBounded, as what prepare measured; and it counts from the look's
// own container alone.
func TestWhatALookFoundIsBounded(t *testing.T) {
	found := report.Termination{Role: report.RoleLookup, Result: report.ResultOK, Lookup: &report.LookupReport{Reused: &report.ReusedResult{
		Video: report.VideoFacts{Width: -1, Height: 1 << 62, FPS: 1e300, DurationSec: -4, SourceSHA256: "none", Source: &report.SourceFacts{Bytes: 1 << 62}},
	}}}
	pod := gen.Pod("look", 0, "", "").With(purpose("lookup")).Exit("lookup", 0).Says("lookup", found).Exit("deliver", 0).Says("deliver", found).Build()
	view := attempt.View(&pod)
	if view.Purpose != "lookup" || view.Report("deliver") != nil {
		t.Errorf("view %+v", view)
	}
	v := view.Report("lookup").Lookup.Reused.Video
	if v.Width != 0 || v.Height > 1<<41 || v.FPS != 0 || v.DurationSec != 0 || v.SourceSHA256 != "" || v.Source.Bytes > 1<<41 {
		t.Errorf("video %+v", v)
	}
}

func TestVariantNames(t *testing.T) {
	for name, c := range map[string]struct{ engine, variant, record string }{
		"of the job's own engine": {"", "gpu", "gpu"},
		"of another engine":       {"mediapipe", "cpu", "mediapipe/cpu"},
		"of an engine with dots":  {"team.pose", "cpu-2", "team.pose/cpu-2"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := attempt.VariantName(c.engine, c.variant); got != c.record {
				t.Errorf("VariantName = %q, want %q", got, c.record)
			}
			if e, v := attempt.SplitVariant(c.record); e != c.engine || v != c.variant {
				t.Errorf("SplitVariant = %q, %q, want %q, %q", e, v, c.engine, c.variant)
			}
			want := c.engine
			if want == "" {
				want = "own"
			}
			if got := attempt.EngineOf(c.record, "own"); got != want {
				t.Errorf("EngineOf = %q, want %q", got, want)
			}
		})
	}
}

// A pod without a record, after a restored status, says by itself which engine it
// runs.
func TestAnAdoptedPodOfAnotherEngineKeepsItsName(t *testing.T) {
	pod := gen.Pod("p1", 1, "cpu", v1alpha1.CPU).With(func(p *corev1.Pod) {
		p.Annotations = map[string]string{v1alpha1.AnnotationVariant: "mediapipe/cpu"}
	}).Build()
	if got := attempt.Join(nil, []corev1.Pod{pod}); len(got) != 1 || got[0].Variant != "mediapipe/cpu" {
		t.Errorf("Join = %+v, want one attempt of mediapipe/cpu", got)
	}
}
