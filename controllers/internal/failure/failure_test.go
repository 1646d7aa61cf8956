package failure_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/internal/report"
)

const gib = int64(1) << 30

const traceback = "Loading checkpoint\nTraceback (most recent call last):\n  File \"track.py\", line 7, in <module>\nRuntimeError: no kernel image"

func code(n int32) *int32 { return &n }

// outcome is a verdict without its message.
type outcome struct {
	Succeeded bool
	Reason    string
	Action    v1alpha1.Action
	Container string
	ExitCode  *int32
	Signal    string
}

func judge(t *testing.T, record v1alpha1.Attempt, pod *corev1.Pod, rules ...v1alpha1.FailureRule) (failure.Verdict, bool) {
	t.Helper()
	compiled, err := failure.Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	var pods []corev1.Pod
	if pod != nil {
		pods = append(pods, *pod)
	}
	return failure.Judge(attempt.Join([]v1alpha1.Attempt{record}, pods)[0], compiled)
}

func TestJudge(t *testing.T) {
	pod := func() *gen.PodBuilder { return gen.Pod("p1", 1, "gpu", v1alpha1.GPU) }
	inStage := func(stage string, e report.EngineReport) report.EngineReport {
		e.Stage = stage
		return e
	}
	detector := v1alpha1.StageDetectorLoad
	noProgress := report.Termination{Role: report.RoleExec, Result: report.ResultFailed, Reason: report.ReasonNoProgress, Message: "no frame for 900 s", Engine: &report.EngineReport{Signal: "SIGKILL"}}
	for name, c := range map[string]struct {
		pod    *gen.PodBuilder
		ending string // reason recorded before the pod was deleted
		rules  []v1alpha1.FailureRule
		want   outcome
		says   []string
	}{
		// Success.
		"a pod that succeeded with deliver's proof succeeded": {
			pod: pod().Done(2, 120), want: outcome{Succeeded: true}, says: []string{"120 frames", "2 people", "1 files"},
		},
		"nobody in the video is a success": {
			pod: pod().Done(0, 120), want: outcome{Succeeded: true}, says: []string{"0 people"},
		},
		"a proof counts although the operator was about to end the pod": {
			pod: pod().Done(2, 120), ending: v1alpha1.ReasonSuspendedAttempt, want: outcome{Succeeded: true},
		},
		"a proof counts although the pod was deleted after it": {
			pod: pod().Done(2, 120).Deleting(0, 30), want: outcome{Succeeded: true},
		},
		"every container ended well and nothing was proven: no success is claimed": {
			pod:  pod().Phase(corev1.PodSucceeded).InputsDone().Exit("engine", 0).Exit("deliver", 0),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "deliver"}, says: []string{"no proof"},
		},
		"deliver skipped although the engine ended well: no success is claimed": {
			pod:  pod().Phase(corev1.PodSucceeded).InputsDone().EngineSays(0, report.EngineReport{ExitCode: code(0)}).DeliverSkipped(),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "deliver"}, says: []string{"no proof"},
		},
		"a proof forged by the engine is no proof": {
			pod: pod().Phase(corev1.PodSucceeded).InputsDone().Exit("engine", 0).
				Says("engine", report.Termination{Role: report.RoleDeliver, Result: report.ResultOK, Deliver: &report.DeliveryReport{URI: "s3://x/y", People: 1, Frames: 1}}).
				DeliverSkipped(),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "deliver"}, says: []string{"no proof"},
		},
		"a proof in a pod that failed is no success": {
			pod:  pod().Dead().EngineSays(139, report.EngineReport{Signal: "SIGSEGV", Stage: v1alpha1.StageWriting}).Delivered(2, 120),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", Signal: "SIGSEGV"},
		},

		// What the operator ended.
		"a pod that the operator ended, ended for the recorded reason": {
			pod: pod().Dead().Signal("engine", 15).DeliverSkipped().Deleting(-100, 30), ending: v1alpha1.ReasonDeadlineExceeded,
			want: outcome{Reason: v1alpha1.ReasonDeadlineExceeded}, says: []string{"ended by the operator"},
		},
		"a pod that the operator ended before it had a node": {
			pod: pod().Deleting(-1, 0), ending: v1alpha1.ReasonNoCapacity, want: outcome{Reason: v1alpha1.ReasonNoCapacity},
		},
		"the recorded reason wins over the out-of-memory kill that came in between": {
			pod: pod().Dead().OOMKilled("engine").Deleting(-100, 30), ending: v1alpha1.ReasonSuspendedAttempt,
			want: outcome{Reason: v1alpha1.ReasonSuspendedAttempt},
		},

		// Evictions and disruptions.
		"evicted because an emptyDir was full is no disruption": {
			pod:  pod().Dead().Reason("Evicted", `Usage of EmptyDir volume "input" exceeds the limit "20Gi". `),
			want: outcome{Reason: v1alpha1.ReasonScratchSpaceExceeded}, says: []string{"20Gi", "spec.scratchSize"},
		},
		"evicted because the pod's disk limit was exceeded is no disruption": {
			pod:  pod().Dead().Reason("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 46Gi. "),
			want: outcome{Reason: v1alpha1.ReasonScratchSpaceExceeded}, says: []string{"46Gi"},
		},
		"evicted because the node ran short of disk is a disruption": {
			pod:  pod().Dead().Reason("Evicted", "The node was low on resource: ephemeral-storage. Threshold quantity: 1, available: 0.").Disrupted("TerminationByKubelet", "low on resource", -60),
			want: outcome{Reason: v1alpha1.ReasonDisrupted}, says: []string{"TerminationByKubelet"},
		},
		"evicted under memory pressure with the engine over its request is out of memory, although the node disrupted the pod": {
			pod:  pod().Dead().Reason("Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 0. Container engine was using 9Gi, request is 8Gi, has larger consumption of memory. ").Disrupted("TerminationByKubelet", "low on resource", -60),
			want: outcome{Reason: v1alpha1.ReasonOutOfMemory, Container: "engine"}, says: []string{"9Gi"},
		},
		"evicted under memory pressure with another container over its request is a disruption": {
			pod:  pod().Dead().Reason("Evicted", "The node was low on resource: memory. Container deliver was using 1Gi, request is 256Mi.").Disrupted("TerminationByKubelet", "low on resource", -60),
			want: outcome{Reason: v1alpha1.ReasonDisrupted},
		},
		"evicted for a cause that nobody knows, with the disruption's condition": {
			pod:  pod().Dead().Reason("Evicted", "The node had condition: [DiskPressure]. ").Disrupted("TerminationByKubelet", "disk pressure", -60),
			want: outcome{Reason: v1alpha1.ReasonDisrupted},
		},
		"preempted while the engine was killed by SIGTERM": {
			pod:  pod().Dead().Signal("engine", 15).Disrupted("PreemptionByScheduler", "preempted by team-b/x", -62),
			want: outcome{Reason: v1alpha1.ReasonDisrupted}, says: []string{"PreemptionByScheduler", "team-b/x"},
		},
		"preempted while it loaded its detector is not the detector's fault": {
			pod:  pod().Dead().EngineSays(143, inStage(detector, report.EngineReport{Signal: "SIGTERM"})).Disrupted("EvictionByEvictionAPI", "drained", -61),
			want: outcome{Reason: v1alpha1.ReasonDisrupted},
		},
		"deleted by somebody while the engine ran": {
			pod:  pod().Dead().Signal("engine", 15).Deleting(-80, 30),
			want: outcome{Reason: v1alpha1.ReasonDisrupted}, says: []string{"somebody else"},
		},
		"deleted by somebody before it had a node": {
			pod: pod().Deleting(-1, 0), want: outcome{Reason: v1alpha1.ReasonDisrupted},
		},
		"deleted a minute after the engine crashed: the crash is the truth": {
			pod:  pod().Dead().EngineSays(139, inStage(detector, report.EngineReport{Signal: "SIGSEGV"})).DeliverSkipped().Deleting(0, 0),
			want: outcome{Reason: v1alpha1.ReasonDetectorLoadCrash, Container: "engine", Signal: "SIGSEGV"},
		},
		"drained a minute after the engine crashed: the crash is the truth": {
			pod:  pod().Dead().EngineSays(139, inStage(detector, report.EngineReport{Signal: "SIGSEGV"})).DeliverSkipped().Disrupted("EvictionByEvictionAPI", "drained", 0),
			want: outcome{Reason: v1alpha1.ReasonDetectorLoadCrash, Container: "engine", Signal: "SIGSEGV"},
		},
		"deleted a minute after every container ended well without a proof": {
			pod:  pod().Phase(corev1.PodSucceeded).InputsDone().Exit("engine", 0).Exit("deliver", 0).Deleting(0, 0),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "deliver"},
		},
		"deleted in the second of the crash: in doubt for the engine": {
			pod:  pod().Dead().Signal("engine", 9).Deleting(-60, 0),
			want: outcome{Reason: v1alpha1.ReasonDisrupted},
		},
		"a container ended at an unknown time and the pod was deleted: in doubt for the engine": {
			pod:  pod().Dead().Exit("engine", 137).With(func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State.Terminated.FinishedAt.Reset() }).Deleting(0, 0),
			want: outcome{Reason: v1alpha1.ReasonDisrupted},
		},
		"the node shut down": {
			pod:  pod().Dead().Reason("Terminated", "Pod was terminated in response to imminent node shutdown."),
			want: outcome{Reason: v1alpha1.ReasonDisrupted}, says: []string{"node shutdown"},
		},
		"the node was lost": {
			pod: pod().Phase(corev1.PodFailed).Reason("NodeLost", "Node node-1 which was running pod p1 is unresponsive"), want: outcome{Reason: v1alpha1.ReasonDisrupted},
		},
		"the kubelet's device manager refused the pod": {
			pod:  pod().Phase(corev1.PodFailed).Reason("UnexpectedAdmissionError", "Allocate failed due to no GPU"),
			want: outcome{Reason: v1alpha1.ReasonDeviceUnusable}, says: []string{"UnexpectedAdmissionError", "no GPU"},
		},
		"the pod failed and shows nothing at all": {
			pod: pod().Phase(corev1.PodFailed), want: outcome{Reason: v1alpha1.ReasonEngineError}, says: []string{"no container says why"},
		},

		// Inputs.
		"the video does not exist": {
			pod: pod().Phase(corev1.PodFailed).Exit("copy", 0).Exit("fetch", 1).
				Says("fetch", report.Termination{Role: report.RoleFetch, Result: report.ResultFailed, Reason: report.ReasonInputUnavailable, Message: "s3://videos/run.mp4 does not exist"}),
			want: outcome{Reason: v1alpha1.ReasonInputUnavailable, Container: "fetch", ExitCode: code(1)}, says: []string{"does not exist"},
		},
		"the file is no video": {
			pod: pod().Phase(corev1.PodFailed).Exit("copy", 0).Exit("fetch", 0).Exit("prepare", 1).
				Says("prepare", report.Termination{Role: report.RolePrepare, Result: report.ResultFailed, Reason: report.ReasonInputInvalid, Message: "no video stream"}),
			want: outcome{Reason: v1alpha1.ReasonInputInvalid, Container: "prepare", ExitCode: code(1)}, says: []string{"no video stream"},
		},
		"the scratch is too small for the video": {
			pod: pod().Phase(corev1.PodFailed).Exit("copy", 0).Exit("fetch", 1).
				Says("fetch", report.Termination{Role: report.RoleFetch, Result: report.ResultFailed, Reason: report.ReasonScratchExceeded, Message: "needs 30 GiB"}),
			want: outcome{Reason: v1alpha1.ReasonScratchSpaceExceeded, Container: "fetch", ExitCode: code(1)},
		},
		"fetch fails before the engine, whatever later containers show": {
			pod: pod().Phase(corev1.PodFailed).Exit("fetch", 1).
				Says("fetch", report.Termination{Role: report.RoleFetch, Result: report.ResultFailed, Reason: report.ReasonInputUnavailable}).
				OOMKilled("engine").Exit("deliver", 1),
			want: outcome{Reason: v1alpha1.ReasonInputUnavailable, Container: "fetch", ExitCode: code(1)},
		},
		"decoding took too much memory": {
			pod:  pod().Phase(corev1.PodFailed).Exit("copy", 0).Exit("fetch", 0).OOMKilled("prepare"),
			want: outcome{Reason: v1alpha1.ReasonInputInvalid, Container: "prepare", Signal: "SIGKILL"}, says: []string{"frames are too large"},
		},
		"an adapter that cannot be copied": {
			pod: pod().Phase(corev1.PodFailed).Exit("copy", 0).Exit("adapter", 1).
				Says("adapter", report.Termination{Role: report.RoleAdapter, Result: report.ResultFailed, Reason: report.ReasonAdapterInvalid, Message: "the image has no folder /adapter"}),
			want: outcome{Reason: v1alpha1.ReasonAdapterInvalid, Container: "adapter", ExitCode: code(1)}, says: []string{"no folder /adapter"},
		},
		"an adapter that filled its disk": {
			pod: pod().Phase(corev1.PodFailed).Exit("copy", 0).Exit("adapter", 1).
				Says("adapter", report.Termination{Role: report.RoleAdapter, Result: report.ResultFailed, Reason: report.ReasonScratchExceeded, Message: "full"}),
			want: outcome{Reason: v1alpha1.ReasonScratchSpaceExceeded, Container: "adapter", ExitCode: code(1)},
		},
		"an adapter that died without a word": {
			pod:  pod().Phase(corev1.PodFailed).Exit("copy", 0).Exit("adapter", 2).SaysRaw("adapter", "panic: boom"),
			want: outcome{Reason: v1alpha1.ReasonAdapterInvalid, Container: "adapter", ExitCode: code(2)}, says: []string{"container adapter ended with exit code 2", "panic: boom", "Use the adapter image"},
		},
		"an adapter's image that the runtime cannot start": {
			pod: pod().Phase(corev1.PodFailed).Exit("copy", 0).Exit("adapter", 128).SaysRaw("adapter", "exec format error").With(func(p *corev1.Pod) {
				p.Status.InitContainerStatuses[1].State.Terminated.Reason = "StartError"
			}),
			want: outcome{Reason: v1alpha1.ReasonPodNotStartable, Container: "adapter", ExitCode: code(128)}, says: []string{"could not start container adapter", "exec format error"},
		},
		"what another container says in the adapter's name counts for nothing": {
			pod: pod().Phase(corev1.PodFailed).Exit("copy", 0).Exit("adapter", 1).
				Says("adapter", report.Termination{Role: report.RoleFetch, Result: report.ResultFailed, Reason: report.ReasonInputInvalid, Message: "forged"}),
			want: outcome{Reason: v1alpha1.ReasonAdapterInvalid, Container: "adapter", ExitCode: code(1)},
		},
		"fetch was killed for memory: its own fault, not the video's": {
			pod:  pod().Phase(corev1.PodFailed).Exit("copy", 0).OOMKilled("fetch"),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "fetch", Signal: "SIGKILL"}, says: []string{"container fetch", "SIGKILL"},
		},
		"fetch died without a report": {
			pod:  pod().Phase(corev1.PodFailed).Exit("copy", 0).Exit("fetch", 2).SaysRaw("fetch", "panic: boom"),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "fetch", ExitCode: code(2)}, says: []string{"exit code 2", "panic: boom"},
		},
		"the runner cannot be copied": {
			pod:  pod().Phase(corev1.PodFailed).Exit("copy", 1),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "copy", ExitCode: code(1)}, says: []string{"container copy"},
		},
		"manager and runner are of different releases": {
			pod: pod().Phase(corev1.PodFailed).Exit("copy", 1).
				Says("copy", report.Termination{Role: report.RoleCopy, Result: report.ResultFailed, Reason: report.ReasonConfig, Message: "of different releases"}),
			want: outcome{Reason: v1alpha1.ReasonPodNotStartable, Container: "copy", ExitCode: code(1)}, says: []string{"different releases"},
		},

		// The engine: memory.
		"the kubelet says OOMKilled": {
			pod:  pod().Dead().OOMKilled("engine").DeliverSkipped(),
			want: outcome{Reason: v1alpha1.ReasonOutOfMemory, Container: "engine", Signal: "SIGKILL"},
		},
		"the kubelet says OOMKilled while the detector loads": {
			pod: pod().Dead().OOMKilled("engine").
				Says("engine", report.Termination{Role: report.RoleExec, Result: report.ResultRunning, Engine: &report.EngineReport{Stage: detector, PeakMemoryBytes: 8 * gib, LimitMemoryBytes: 8 * gib}}),
			want: outcome{Reason: v1alpha1.ReasonOutOfMemory, Container: "engine", Signal: "SIGKILL"},
			says: []string{"in stage DetectorLoad", "peak of 8192 MiB", "limit of 8192 MiB"},
		},
		"the cgroup counted an OOM kill of a child, and the engine then ended with a traceback": {
			pod:  pod().Dead().EngineSays(1, report.EngineReport{ExitCode: code(1), OOMKills: 1, LogTail: traceback}),
			want: outcome{Reason: v1alpha1.ReasonOutOfMemory, Container: "engine", ExitCode: code(1)},
		},
		"killed by SIGKILL with the memory at its limit while the detector loads": {
			pod:  pod().Dead().EngineSays(137, inStage(detector, report.EngineReport{Signal: "SIGKILL", PeakMemoryBytes: 8*gib - 1, LimitMemoryBytes: 8 * gib})),
			want: outcome{Reason: v1alpha1.ReasonOutOfMemory, Container: "engine", Signal: "SIGKILL"},
		},
		"killed by SIGKILL with the memory at 95 % of its limit": {
			pod:  pod().Dead().EngineSays(137, report.EngineReport{Signal: "SIGKILL", PeakMemoryBytes: 950, LimitMemoryBytes: 1000}),
			want: outcome{Reason: v1alpha1.ReasonOutOfMemory, Container: "engine", Signal: "SIGKILL"},
		},
		"killed by SIGKILL with the memory just below 95 % of its limit": {
			pod:  pod().Dead().EngineSays(137, report.EngineReport{Signal: "SIGKILL", PeakMemoryBytes: 949, LimitMemoryBytes: 1000}),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", Signal: "SIGKILL"},
		},
		"killed by SIGSEGV with the memory at its limit is not out of memory": {
			pod:  pod().Dead().EngineSays(139, report.EngineReport{Signal: "SIGSEGV", PeakMemoryBytes: 1000, LimitMemoryBytes: 1000}),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", Signal: "SIGSEGV"},
		},
		"killed by SIGKILL with no limit known": {
			pod:  pod().Dead().EngineSays(137, report.EngineReport{Signal: "SIGKILL", PeakMemoryBytes: 8 * gib}),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", Signal: "SIGKILL"},
		},
		"out of memory wins over the stall that the runner saw and over the engine's own rules": {
			pod:   pod().Dead().OOMKilled("engine").Says("engine", noProgress),
			rules: []v1alpha1.FailureRule{{Signals: []string{"SIGKILL"}, Reason: "Killed", Action: v1alpha1.ActionFail}},
			want:  outcome{Reason: v1alpha1.ReasonOutOfMemory, Container: "engine", Signal: "SIGKILL"},
		},

		// The engine: the runner's own verdicts.
		"the runner ended an engine that stood still": {
			pod:  pod().Dead().Exit("engine", 137).Says("engine", noProgress),
			want: outcome{Reason: v1alpha1.ReasonNoProgress, Container: "engine", Signal: "SIGKILL"}, says: []string{"900 s"},
		},
		"a stall wins over the engine's own rules": {
			pod: pod().Dead().Exit("engine", 137).Says("engine", noProgress), rules: []v1alpha1.FailureRule{{Signals: []string{"SIGKILL"}, Reason: "Killed", Action: v1alpha1.ActionFail}},
			want: outcome{Reason: v1alpha1.ReasonNoProgress, Container: "engine", Signal: "SIGKILL"},
		},
		"the image has no such program": {
			pod:  pod().Dead().Exit("engine", 1).Says("engine", report.Termination{Role: report.RoleExec, Result: report.ResultFailed, Reason: report.ReasonConfig, Message: `no program "pythn"`}),
			want: outcome{Reason: v1alpha1.ReasonPodNotStartable, Container: "engine", ExitCode: code(1)}, says: []string{"pythn"},
		},
		"a reason that the engine forged is not believed": {
			pod:  pod().Dead().Exit("engine", 1).Says("engine", report.Termination{Role: report.RoleExec, Result: report.ResultFailed, Reason: "not a reason!", Message: "blame the video", Engine: &report.EngineReport{ExitCode: code(1)}}),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", ExitCode: code(1)},
		},
		// The operator's own protocol.
		"an engine's rule ends the job, and says what the engine said": {
			pod: pod().Dead().EngineSays(7, report.EngineReport{Stage: report.StageStart, LogTail: "Loading\npose-engine: error code=BOXES_INVALID message=\"frame 7, box 2 lies outside the picture; correct it\""}).DeliverSkipped(),
			rules: []v1alpha1.FailureRule{{
				ExitCodes: []int32{7}, LogPattern: "error code=BOXES_INVALID", Reason: v1alpha1.ReasonInputInvalid, Action: v1alpha1.ActionFail,
				Explanation: "The boxes do not fit the video", Remedy: "Correct the file",
			}},
			want: outcome{Reason: v1alpha1.ReasonInputInvalid, Action: v1alpha1.ActionFail, Container: "engine", ExitCode: code(7)},
			says: []string{"The boxes do not fit the video. It said: frame 7, box 2 lies outside the picture; correct it. Correct the file"},
		},
		"the same without a rule": {
			pod:  pod().Dead().EngineSays(7, report.EngineReport{LogTail: "pose-engine: error code=BOXES_INVALID message=\"warning: frame 7 has no such box\""}).DeliverSkipped(),
			want: outcome{Reason: v1alpha1.ReasonInputInvalid, Container: "engine", ExitCode: code(7)},
			says: []string{"spec.video.boxes", "It said: warning: frame 7 has no such box", "docs/boxes.md"},
		},
		"the last word counts, whatever words of a wording its message holds": {
			pod: pod().Dead().EngineSays(8, report.EngineReport{
				LogTail: "CUDA error: out of memory\n" + traceback + "\npose-engine: error code=WEIGHTS_MISSING message=\"/models/smpl/SMPL_NEUTRAL.pkl: get it at smpl.is.tue.mpg.de; " + strings.Repeat("x", 300) + "/last.ckpt\"",
			}).DeliverSkipped(),
			want: outcome{Reason: v1alpha1.ReasonWeightsMissing, Container: "engine", ExitCode: code(8)}, says: []string{"SMPL_NEUTRAL.pkl", "/last.ckpt"},
		},
		"a last word that names no code of ours is no rule's": {
			pod:  pod().Dead().EngineSays(70, report.EngineReport{LogTail: "pose-engine: error code=INTERNAL message=\"KeyError: 'x'\""}).DeliverSkipped(),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", ExitCode: code(70)}, says: []string{"KeyError: 'x'"},
		},
		"what a log quotes of the protocol is not its last word": {
			pod:  pod().Dead().EngineSays(1, report.EngineReport{LogTail: "I saw pose-engine: error code=WEIGHTS_MISSING somewhere"}).DeliverSkipped(),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", ExitCode: code(1)},
		},
		"a reason of fetch in the engine's message is not believed": {
			pod:  pod().Dead().Exit("engine", 1).Says("engine", report.Termination{Role: report.RoleExec, Result: report.ResultFailed, Reason: report.ReasonInputInvalid, Engine: &report.EngineReport{ExitCode: code(1)}}),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", ExitCode: code(1)},
		},

		// The engine: detector and model load.
		"died by SIGSEGV while loading its detector": {
			pod:  pod().Dead().EngineSays(139, inStage(detector, report.EngineReport{Signal: "SIGSEGV", LogTail: "Loading checkpoint\nLoading detector"})).DeliverSkipped(),
			want: outcome{Reason: v1alpha1.ReasonDetectorLoadCrash, Container: "engine", Signal: "SIGSEGV"},
			says: []string{"SIGSEGV", "in stage DetectorLoad", "another detector or device", "Last words: Loading checkpoint | Loading detector"},
		},
		"died by SIGKILL far below its memory limit while loading its detector": {
			pod:  pod().Dead().EngineSays(137, inStage(detector, report.EngineReport{Signal: "SIGKILL", PeakMemoryBytes: 2 * gib, LimitMemoryBytes: 16 * gib})),
			want: outcome{Reason: v1alpha1.ReasonDetectorLoadCrash, Container: "engine", Signal: "SIGKILL"},
		},
		"ended with exit code 1 and without a word while loading its detector": {
			pod:  pod().Dead().EngineSays(1, inStage(detector, report.EngineReport{ExitCode: code(1)})),
			want: outcome{Reason: v1alpha1.ReasonDetectorLoadCrash, Container: "engine", ExitCode: code(1)},
		},
		"ended with a traceback while loading its detector is not a silent crash": {
			pod:  pod().Dead().EngineSays(1, inStage(detector, report.EngineReport{ExitCode: code(1), LogTail: traceback})),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", ExitCode: code(1)}, says: []string{"RuntimeError: no kernel image"},
		},
		"ended with the last line of a traceback whose head was cut off": {
			pod:  pod().Dead().EngineSays(1, inStage(detector, report.EngineReport{ExitCode: code(1), LogTail: "    raise x\ntorch.cuda.OutOfMemoryError: CUDA out of memory"})),
			want: outcome{Reason: v1alpha1.ReasonCUDAOutOfMemory, Container: "engine", ExitCode: code(1)},
		},
		"ended with words about an error that are no exception": {
			pod:  pod().Dead().EngineSays(1, inStage(detector, report.EngineReport{ExitCode: code(1), LogTail: "there was some Error: maybe"})),
			want: outcome{Reason: v1alpha1.ReasonDetectorLoadCrash, Container: "engine", ExitCode: code(1)},
		},
		"the runner died with the engine and left its stage": {
			pod: pod().Dead().Exit("engine", 139).
				Says("engine", report.Termination{Role: report.RoleExec, Result: report.ResultRunning, Engine: &report.EngineReport{Stage: detector}}),
			want: outcome{Reason: v1alpha1.ReasonDetectorLoadCrash, Container: "engine", Signal: "SIGSEGV"},
		},
		"died silently while loading a model": {
			pod:  pod().Dead().EngineSays(134, inStage(v1alpha1.StageModelLoad, report.EngineReport{Signal: "SIGABRT"})),
			want: outcome{Reason: v1alpha1.ReasonModelLoadCrash, Container: "engine", Signal: "SIGABRT"},
		},
		"died silently while tracking": {
			pod:  pod().Dead().EngineSays(139, inStage(v1alpha1.StageTracking, report.EngineReport{Signal: "SIGSEGV"})),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", Signal: "SIGSEGV"}, says: []string{"No rule knows"},
		},
		"died in a stage that nobody knows": {
			pod:  pod().Dead().EngineSays(1, inStage("Warmup", report.EngineReport{ExitCode: code(1)})),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", ExitCode: code(1)}, says: []string{"in stage Warmup"},
		},

		// The engine: exit codes and signals without the runner.
		"exit code 139 without a report is SIGSEGV": {
			pod: pod().Dead().Exit("engine", 139), want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", Signal: "SIGSEGV"},
		},
		"exit code 137 without a report is SIGKILL, and of memory nothing is known": {
			pod: pod().Dead().Exit("engine", 137), want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", Signal: "SIGKILL"},
		},
		"a signal that the runtime reports itself": {
			pod: pod().Dead().Signal("engine", 11), want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", Signal: "SIGSEGV"},
		},
		"exit code 128 is an exit code": {
			pod: pod().Dead().Exit("engine", 128), want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", ExitCode: code(128)},
		},
		"exit code 255 is an exit code": {
			pod: pod().Dead().Exit("engine", 255), want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", ExitCode: code(255)},
		},
		"a signal without a name has its number": {
			pod: pod().Dead().Exit("engine", 128+34), want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", Signal: "signal 34"},
		},
		"the runner's exit code 1 for an engine that a signal ended is the signal": {
			pod:  pod().Dead().EngineSays(1, report.EngineReport{Signal: "SIGBUS"}),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", Signal: "SIGBUS"},
		},
		"the last words of a stock image are quoted": {
			pod:  pod().Dead().Exit("engine", 3).SaysRaw("engine", "no licence was free"),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", ExitCode: code(3)}, says: []string{"exit code 3", "Last words: no licence was free"},
		},
		"an engine that died is the culprit, although deliver failed too": {
			pod: pod().Dead().EngineSays(139, inStage(detector, report.EngineReport{Signal: "SIGSEGV"})).Exit("deliver", 1).
				Says("deliver", report.Termination{Role: report.RoleDeliver, Result: report.ResultFailed, Reason: report.ReasonOutputInvalid, Message: "no pose.json"}),
			want: outcome{Reason: v1alpha1.ReasonDetectorLoadCrash, Container: "engine", Signal: "SIGSEGV"},
		},

		// The engine's own rules.
		"an engine's rule comes before the built-in ones": {
			pod:   pod().Dead().EngineSays(139, inStage(detector, report.EngineReport{Signal: "SIGSEGV"})),
			rules: []v1alpha1.FailureRule{{Stages: []string{detector}, Signals: []string{"SIGSEGV"}, Reason: "DriverBug", Action: v1alpha1.ActionRetryElsewhere, Explanation: "Known with driver 550."}},
			want:  outcome{Reason: "DriverBug", Action: v1alpha1.ActionRetryElsewhere, Container: "engine", Signal: "SIGSEGV"}, says: []string{"Known with driver 550"},
		},
		"the first of two rules that match counts": {
			pod: pod().Dead().EngineSays(7, report.EngineReport{ExitCode: code(7)}),
			rules: []v1alpha1.FailureRule{
				{ExitCodes: []int32{7}, Reason: "First", Action: v1alpha1.ActionFail},
				{ExitCodes: []int32{7}, Reason: "Second", Action: v1alpha1.ActionRetry},
			},
			want: outcome{Reason: "First", Action: v1alpha1.ActionFail, Container: "engine", ExitCode: code(7)},
		},
		"a rule holds only when all of its conditions hold": {
			pod: pod().Dead().EngineSays(7, inStage("Tracking", report.EngineReport{ExitCode: code(7), LogTail: "CUDA out of memory"})),
			rules: []v1alpha1.FailureRule{
				{Stages: []string{"ModelLoad"}, ExitCodes: []int32{7}, Reason: "OtherStage", Action: v1alpha1.ActionFail},
				{ExitCodes: []int32{8}, LogPattern: "CUDA", Reason: "OtherCode", Action: v1alpha1.ActionFail},
				{Signals: []string{"SIGSEGV"}, LogPattern: "CUDA", Reason: "OtherSignal", Action: v1alpha1.ActionFail},
				{ExitCodes: []int32{7}, LogPattern: "^CUDA error", Reason: "OtherLog", Action: v1alpha1.ActionFail},
				{Stages: []string{"ModelLoad", "Tracking"}, ExitCodes: []int32{1, 7}, LogPattern: "CUDA out of (GPU )?memory", Reason: "CUDAOutOfMemory", Action: v1alpha1.ActionNextVariant},
			},
			want: outcome{Reason: "CUDAOutOfMemory", Action: v1alpha1.ActionNextVariant, Container: "engine", ExitCode: code(7)},
		},
		"a rule for exit code 0 does not make a success of a signal": {
			pod:   pod().Dead().EngineSays(139, report.EngineReport{Signal: "SIGSEGV"}),
			rules: []v1alpha1.FailureRule{{ExitCodes: []int32{0, 139}, Reason: "Other", Action: v1alpha1.ActionFail}},
			want:  outcome{Reason: v1alpha1.ReasonEngineError, Container: "engine", Signal: "SIGSEGV"},
		},
		"a rule reads the words of a stock image": {
			pod:   pod().Dead().Exit("engine", 1).SaysRaw("engine", "fatal: weights missing"),
			rules: []v1alpha1.FailureRule{{LogPattern: "weights missing", Reason: "NoWeights", Action: v1alpha1.ActionFail}},
			want:  outcome{Reason: "NoWeights", Action: v1alpha1.ActionFail, Container: "engine", ExitCode: code(1)},
		},

		// Delivery.
		"the engine ended well and its outputs are short": {
			pod: pod().Dead().EngineSays(0, report.EngineReport{ExitCode: code(0)}).Exit("deliver", 1).
				Says("deliver", report.Termination{Role: report.RoleDeliver, Result: report.ResultFailed, Reason: report.ReasonOutputInvalid, Message: "90 of 120 frames"}),
			want: outcome{Reason: v1alpha1.ReasonOutputInvalid, Container: "deliver", ExitCode: code(1)}, says: []string{"90 of 120"},
		},
		"the upload failed": {
			pod: pod().Dead().EngineSays(0, report.EngineReport{ExitCode: code(0)}).Exit("deliver", 1).
				Says("deliver", report.Termination{Role: report.RoleDeliver, Result: report.ResultFailed, Reason: report.ReasonDeliveryFailed, Message: "403 from https://s3.example/b/k?X-Amz-Signature=abc"}),
			want: outcome{Reason: v1alpha1.ReasonDeliveryFailed, Action: v1alpha1.ActionFail, Container: "deliver", ExitCode: code(1)}, says: []string{"https://s3.example/b/k?redacted"},
		},
		"a container of ours gives a reason that is none": {
			pod: pod().Phase(corev1.PodFailed).Exit("prepare", 1).
				Says("prepare", report.Termination{Role: report.RolePrepare, Result: report.ResultFailed, Reason: "not a reason!\x1b[31m", Message: "boo"}),
			want: outcome{Reason: v1alpha1.ReasonEngineError, Container: "prepare", ExitCode: code(1)}, says: []string{"boo"},
		},
		"the pod failed with more words than a status takes": {
			pod:  pod().Phase(corev1.PodFailed).Reason("Strange", strings.Repeat("\x1bx", 6000)),
			want: outcome{Reason: v1alpha1.ReasonEngineError},
		},
		"a rule on an empty log holds for one": {
			pod:   pod().Dead().EngineSays(1, report.EngineReport{ExitCode: code(1)}),
			rules: []v1alpha1.FailureRule{{LogPattern: `(?s)\A\s*\z`, Reason: "SaidNothing", Action: v1alpha1.ActionFail}},
			want:  outcome{Reason: "SaidNothing", Action: v1alpha1.ActionFail, Container: "engine", ExitCode: code(1)},
		},
		"the engine swallowed its exception and ended with 0": {
			pod: pod().Dead().EngineSays(0, inStage("Tracking", report.EngineReport{ExitCode: code(0), LogTail: "Traceback (most recent call last):\n  File \"PHALP.py\", line 270, in track\n    self.f()\ntorch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"})).
				Exit("deliver", 1).Says("deliver", report.Termination{Role: report.RoleDeliver, Result: report.ResultFailed, Reason: report.ReasonOutputInvalid, Message: "pose.json is missing"}),
			want: outcome{Reason: v1alpha1.ReasonCUDAOutOfMemory, Container: "engine", ExitCode: code(0)}, says: []string{"exit code 0 although", "CUDA out of memory", "pose.json is missing"},
		},
		"the engine swallowed an exception that no rule knows": {
			pod: pod().Dead().EngineSays(0, inStage("Tracking", report.EngineReport{ExitCode: code(0), LogTail: "Traceback (most recent call last):\n  File \"PHALP.py\", line 270, in track\n    self.f()\nKeyError: 'smpl'"})).
				Exit("deliver", 1).Says("deliver", report.Termination{Role: report.RoleDeliver, Result: report.ResultFailed, Reason: report.ReasonOutputInvalid, Message: "pose.json is missing"}),
			want: outcome{Reason: v1alpha1.ReasonOutputInvalid, Container: "engine", ExitCode: code(0)}, says: []string{"KeyError: 'smpl'", "pose.json is missing"},
		},
		"the upload failed for now": {
			pod: pod().Dead().EngineSays(0, report.EngineReport{ExitCode: code(0)}).Exit("deliver", 1).
				Says("deliver", report.Termination{Role: report.RoleDeliver, Result: report.ResultFailed, Reason: report.ReasonDeliveryFailed, Message: "503", Temporary: true}),
			want: outcome{Reason: v1alpha1.ReasonDeliveryFailed, Container: "deliver", ExitCode: code(1)},
		},
		"the store of the video does not answer for now": {
			pod: pod().Phase(corev1.PodFailed).Exit("fetch", 1).
				Says("fetch", report.Termination{Role: report.RoleFetch, Result: report.ResultFailed, Reason: report.ReasonInputUnavailable, Message: "connection refused", Temporary: true}),
			want: outcome{Reason: v1alpha1.ReasonInputUnavailable, Action: v1alpha1.ActionRetry, Container: "fetch", ExitCode: code(1)},
		},
		"deliver died without a report": {
			pod:  pod().Dead().EngineSays(0, report.EngineReport{ExitCode: code(0)}).OOMKilled("deliver"),
			want: outcome{Reason: v1alpha1.ReasonDeliveryFailed, Container: "deliver", Signal: "SIGKILL"}, says: []string{"container deliver", "SIGKILL"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			record := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), func(a *v1alpha1.Attempt) {
				if c.ending != "" {
					a.Reason, a.Message = c.ending, "ended by the operator"
				}
			})
			p := c.pod.Build()
			v, ok := judge(t, record, &p, c.rules...)
			if !ok {
				t.Fatal("Judge says that the attempt has not ended")
			}
			got := outcome{v.Succeeded, v.Reason, v.Action, v.Container, v.ExitCode, v.Signal}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("verdict (-want +got):\n%s\nmessage: %s", diff, v.Message)
			}
			for _, s := range c.says {
				if !strings.Contains(v.Message, s) {
					t.Errorf("message %q does not say %q", v.Message, s)
				}
			}
			agree(t, v)
		})
	}
}

// agree: message, reason and culprit speak of the same container.
func agree(t *testing.T, v failure.Verdict) {
	t.Helper()
	if v.Message == "" && v.Reason != v1alpha1.ReasonInputUnavailable {
		t.Error("the verdict has no message")
	}
	if len(v.Message) > 1000 || strings.ContainsAny(v.Message, "\n\x1b") {
		t.Errorf("message %q is too long or not one line", v.Message)
	}
	if v.ExitCode != nil && v.Signal != "" {
		t.Errorf("both exit code %d and signal %s", *v.ExitCode, v.Signal)
	}
	if (v.ExitCode != nil || v.Signal != "") && v.Container == "" {
		t.Error("an exit code or signal of no container")
	}
	if v.Signal != "" && v.Container != "engine" && strings.Contains(v.Message, "the engine was killed") {
		t.Errorf("message %q blames the engine, the culprit is %s", v.Message, v.Container)
	}
	for _, other := range append(append([]string{}, gen.Inits...), gen.Mains...) {
		if other != v.Container && strings.Contains(v.Message, "container "+other+" ended") {
			t.Errorf("message %q speaks of container %s, the culprit is %s", v.Message, other, v.Container)
		}
	}
}

func TestJudgeBeforeTheEnd(t *testing.T) {
	pod := func() *gen.PodBuilder { return gen.Pod("p1", 1, "gpu", v1alpha1.GPU) }
	running := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"))
	for name, c := range map[string]struct {
		record v1alpha1.Attempt
		pod    *gen.PodBuilder
	}{
		"an intent without a pod": {record: gen.Attempt(1, "gpu", v1alpha1.GPU)},
		"a pending pod":           {running, pod()},
		"a running pod":           {running, pod().Phase(corev1.PodRunning).Node("n")},
		"an engine that died while deliver still works":             {running, pod().Phase(corev1.PodRunning).Node("n").InputsDone().OOMKilled("engine").Runs("deliver")},
		"a pod that is being deleted and may still run":             {running, pod().Phase(corev1.PodRunning).Node("n").Deleting(-60, 30)},
		"a pod of unknown phase":                                    {running, pod().Phase(corev1.PodUnknown).Node("n")},
		"a recorded failure is not judged again":                    {gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Failed("Disrupted")), pod().Done(1, 1)},
		"a recorded success is not judged again, though it is gone": {record: gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Succeeded())},
	} {
		t.Run(name, func(t *testing.T) {
			var p *corev1.Pod
			if c.pod != nil {
				built := c.pod.Build()
				p = &built
			}
			if v, ok := judge(t, c.record, p); ok {
				t.Errorf("Judge = %+v, want no verdict yet", v)
			}
		})
	}
}

func TestHopeless(t *testing.T) {
	failed := report.Termination{Role: report.RoleDeliver, Result: report.ResultFailed, Reason: report.ReasonDeliveryFailed, Message: "no such bucket"}
	running := func() *gen.PodBuilder {
		return gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Phase(corev1.PodRunning).Node("n").InputsDone().Runs("engine")
	}
	record := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"))
	for name, c := range map[string]struct {
		record v1alpha1.Attempt
		pod    *gen.PodBuilder
		want   bool
	}{
		"deliver refused while the engine runs":         {record, running().Exit("deliver", 1).Says("deliver", failed), true},
		"both run":                                      {record, running().Runs("deliver"), false},
		"the engine has ended as well":                  {record, running().Exit("engine", 0).Exit("deliver", 1).Says("deliver", failed), false},
		"deliver ended well, whatever that means":       {record, running().DeliverSkipped(), false},
		"the pod is being deleted":                      {record, running().Exit("deliver", 1).Says("deliver", failed).Deleting(-1, 30), false},
		"the outcome is recorded":                       {gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Failed("Disrupted")), running().Exit("deliver", 1).Says("deliver", failed), false},
		"deliver died without a word, and is not alone": {record, running().OOMKilled("deliver"), true},
	} {
		t.Run(name, func(t *testing.T) {
			a := attempt.Join([]v1alpha1.Attempt{c.record}, []corev1.Pod{c.pod.Build()})[0]
			v, ok := failure.Hopeless(a)
			if ok != c.want || (ok && v.Reason != v1alpha1.ReasonDeliveryFailed) {
				t.Errorf("Hopeless = %+v, %v; want %v", v, ok, c.want)
			}
		})
	}
}

func TestJudgeAVanishedPod(t *testing.T) {
	v, ok := judge(t, gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1")), nil)
	if !ok || v.Reason != v1alpha1.ReasonDisrupted || !strings.Contains(v.Message, "gone") {
		t.Errorf("Judge = %+v, %v; want Disrupted", v, ok)
	}
	ending := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), func(a *v1alpha1.Attempt) { a.Reason, a.Message = v1alpha1.ReasonDeadlineExceeded, "too late" })
	v, ok = judge(t, ending, nil)
	if !ok || v.Reason != v1alpha1.ReasonDeadlineExceeded || v.Message != "too late" {
		t.Errorf("Judge = %+v, %v; want the reason that was recorded before the pod was deleted", v, ok)
	}
}

// FuzzClassify: no pattern that admission takes and no log makes it panic, and what
// it says fits into a status.
func FuzzClassify(f *testing.F) {
	f.Add(`(?s)\A\s*\z`, "")
	f.Add(`(?s)foo|\z`, "Traceback (most recent call last):\n  File \"x\", line 1\nKeyError: 1\n")
	f.Add(`(?s).*`, "UserWarning: x\n\n")
	f.Add(`x*`, "\r\x00\xff\r\nDuring handling of the above exception, another exception occurred:\nTraceback (most recent call last):")
	f.Fuzz(func(t *testing.T, pattern, log string) {
		rules, err := failure.Compile([]v1alpha1.FailureRule{{LogPattern: pattern, Reason: "Mine", Action: v1alpha1.ActionFail}})
		if err != nil || len(pattern) > 1024 {
			return
		}
		for _, own := range [][]failure.Rule{nil, rules} {
			got := failure.Classify(failure.Evidence{Log: log}, own)
			if got.Reason == "" || len(got.Culprit) > 512 || len(got.LastWords) > 8 {
				t.Fatalf("%+v", got)
			}
		}
	})
}

func TestCompile(t *testing.T) {
	_, err := failure.Compile([]v1alpha1.FailureRule{{LogPattern: "fine", Reason: "A"}, {LogPattern: "(", Reason: "B"}})
	if err == nil || !strings.Contains(err.Error(), "failureRules[1].logPattern") {
		t.Errorf("Compile = %v, want an error that names failureRules[1].logPattern", err)
	}
	rules, err := failure.Compile(nil)
	if err != nil || len(rules) != 0 {
		t.Errorf("Compile(nil) = %v, %v", rules, err)
	}
}

func TestClean(t *testing.T) {
	for name, c := range map[string]struct {
		in, want string
		limit    int
	}{
		"plain words stay":                            {in: "no such file", want: "no such file"},
		"nothing stays nothing":                       {},
		"lines become one":                            {in: "a\r\nb\n\tc", want: "a b c"},
		"Unicode's line separators too":               {in: "a\u2028b\u2029c", want: "a b c"},
		"terminal escapes lose their escape":          {in: "\x1b[31mred\x1b[0m", want: "[31mred[0m"},
		"C1 control characters go":                    {in: "a\u009b31mb", want: "a31mb"},
		"NUL and DEL go":                              {in: "a\x00b\x7fc", want: "abc"},
		"bidirectional overrides go":                  {in: "\u202egnp.exe\u202c\u2066x\u2069\u200e\u200f\u061c", want: "gnp.exex"},
		"invalid UTF-8 goes":                          {in: "a\xffb", want: "ab"},
		"accents and other scripts stay":              {in: "Ärger mit 映像", want: "Ärger mit 映像"},
		"the query of a signed URL is redacted":       {in: "get https://b.s3.example/k?X-Amz-Signature=abc&X=1 failed", want: "get https://b.s3.example/k?redacted failed"},
		"a quoted signed URL is redacted":             {in: `Get "https://h/p?sig=a": 403`, want: `Get "https://h/p?redacted": 403`},
		"user and password are removed":               {in: "https://me:secret@host/p", want: "https://host/p"},
		"a password with an at sign is removed whole": {in: "https://me:se@cret@host/p", want: "https://host/p"},
		"upper-case schemes hide no password":         {in: "HTTPS://me:secret@host/p?sig=1", want: "HTTPS://host/p?redacted"},
		"an address in a path is no user":             {in: "s3://bucket/me@example.com", want: "s3://bucket/me@example.com"},
		"a question is no query":                      {in: "really? yes", want: "really? yes"},
		"too long is cut with an ellipsis":            {in: "abcdefghij", limit: 8, want: "abcde…"},
		"the cut breaks no character":                 {in: "abcdéfghij", limit: 8, want: "abcd…"},
		"exactly the limit stays":                     {in: "abcdefgh", limit: 8, want: "abcdefgh"},
		"what is redacted is redacted before the cut": {in: "https://h/p?secretsecretsecret", limit: 25, want: "https://h/p?redacted"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.limit == 0 {
				c.limit = 1000
			}
			if got := failure.Clean(c.in, c.limit); got != c.want {
				t.Errorf("Clean(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func TestCleanHoldsForAnyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "in")
		limit := rapid.IntRange(3, 200).Draw(t, "limit")
		got := failure.Clean(in, limit)
		if len(got) > limit {
			t.Fatalf("%d bytes, want at most %d", len(got), limit)
		}
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		for _, r := range got {
			if r < 0x20 || (r >= 0x7f && r < 0xa0) {
				t.Fatalf("%q holds %U", got, r)
			}
		}
		if again := failure.Clean(got, limit); again != got {
			t.Fatalf("cleaning twice gives %q after %q", again, got)
		}
	})
}
