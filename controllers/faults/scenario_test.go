package faults

import (
	"encoding/json"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/internal/report"
)

// scenario is what happens in one world.
type scenario struct {
	name    string
	objects []client.Object
	// plays is what becomes of a pod that nobody deletes.
	plays func(w *world, p *corev1.Pod) says
	// operations in order, each when its state is there.
	operations []operation
	ended      func(w *world) bool
	// most writes that the undisturbed run may need.
	most int
	// wants are lines of the undisturbed end: a scenario that goes another way than it
	// is meant to tests something else.
	wants []string
}

type operation struct {
	when func(w *world) bool
	do   func(w *world) error
}

// says is what a kubelet or scheduler says of a pod, and whether that proves a result.
type says struct {
	*gen.PodBuilder
	proof bool
}

func (s says) nodeless() bool {
	status := s.Build().Status
	return status.Phase == corev1.PodPending && len(status.Conditions) > 0
}

// settles is how long nothing must move before the end is one.
func (scenario) settles() time.Duration { return 150 * time.Millisecond }

const engineName = "engine-of-the-faults"

// engine with a variant on the GPU, then one on the CPU. All replays share it.
func engine() *v1alpha1.PoseEngine {
	return gen.Engine(engineName).Variants(
		gen.Variant("gpu", v1alpha1.GPU, gen.Detector("vitdet"), gen.Memory("1Gi", "2Gi")),
		gen.Variant("cpu", v1alpha1.CPU),
	).Build()
}

func job(change ...func(*v1alpha1.PoseJobSpec)) []client.Object {
	j := &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{Name: "run"},
		Spec: v1alpha1.PoseJobSpec{
			Video: v1alpha1.VideoSource{URI: "s3://videos/run.mp4"}, Output: v1alpha1.Output{URI: "s3://results/run"}, EngineName: engineName,
		},
	}
	for _, c := range change {
		c(&j.Spec)
	}
	return []client.Object{j}
}

func pod() *gen.PodBuilder { return gen.Pod("x", 1, "gpu", v1alpha1.GPU) }

func running() says {
	return says{PodBuilder: pod().Phase(corev1.PodRunning).InputsDone().Runs("engine").Runs("deliver")}
}
func succeeded() says { return says{pod().Done(2, 120), true} }

// detectorCrash: killed by SIGSEGV while it loaded its detector.
func detectorCrash() says {
	return says{PodBuilder: pod().Dead().EngineSays(139, report.EngineReport{Stage: v1alpha1.StageDetectorLoad, Signal: "SIGSEGV"}).DeliverSkipped()}
}

// nothing: the engine ended with 0 and left no result.
func nothing() says {
	code := int32(0)
	return says{PodBuilder: pod().Dead().EngineSays(0, report.EngineReport{Stage: v1alpha1.StageWriting, ExitCode: &code}).
		Exit("deliver", 1).Says("deliver", report.Termination{Role: report.RoleDeliver, Result: report.ResultFailed, Reason: v1alpha1.ReasonOutputInvalid, Message: "no pose.json"})}
}

func unschedulable() says {
	return says{PodBuilder: pod().Unschedulable("0/2 nodes are available: 2 Insufficient nvidia.com/gpu", 0)}
}

// first gives attempt 1 one end and all others success.
func first(s says) func(*world, *corev1.Pod) says {
	return func(_ *world, p *corev1.Pod) says {
		if p.Labels[v1alpha1.LabelAttempt] == "1" {
			return s
		}
		return succeeded()
	}
}

func always(s says) func(*world, *corev1.Pod) says {
	return func(*world, *corev1.Pod) says { return s }
}

func finished(w *world) bool { return w.holds(v1alpha1.ConditionFinished) }

func gone(w *world) bool { return len(w.jobs) == 0 && len(w.pods) == 0 }

// runs: the pod of the attempt is running.
func runs(attempt int) func(*world) bool {
	return func(w *world) bool {
		p := w.attempt(attempt)
		return p != nil && p.Status.Phase == corev1.PodRunning
	}
}

func suspend(yes bool) func(*world) error {
	return func(w *world) error {
		j := w.only().DeepCopy()
		before := j.DeepCopy()
		j.Spec.Suspend = yes
		return api.Patch(ctx, j, client.MergeFrom(before))
	}
}

// later moves the clock on and lets the job be looked at.
func later(d time.Duration, attempt int) func(*world) error {
	return func(w *world) error {
		w.clock.by.Add(int64(d))
		return w.touch(w.attempt(attempt))
	}
}

// found is a look that found the result of an earlier job.
func found() says {
	r := report.ReusedResult{
		Result: report.DeliveryReport{
			URI: "s3://results/run/attempts/abcde-0", ManifestSHA256: strings.Repeat("c", 64), People: 2, Frames: 120,
			Files: []report.DeliveredFile{{Name: "pose", Path: "pose.json", Size: 12, SHA256: strings.Repeat("e", 64)}},
		},
		Video: report.VideoFacts{Codec: "h264", Width: 640, Height: 360, FPS: 30, Frames: 120, SourceSHA256: strings.Repeat("a", 64)},
		From:  report.JobRef{Namespace: "n", Name: "earlier"}, URI: "s3://results/earlier/attempts/vwxyz-1",
		Engine: engineName, Variant: "gpu", Device: "GPU", Image: "registry.example/gpu@sha256:aa", CompletedAt: "2026-03-04T12:00:00Z",
	}
	raw, err := json.Marshal(report.Termination{Version: report.Version, Role: report.RoleLookup, Result: report.ResultOK, Lookup: &report.LookupReport{VideoBytes: 7, Reused: &r}})
	if err != nil {
		panic(err)
	}
	return says{pod().Phase(corev1.PodSucceeded).Exit("lookup", 0).SaysRaw("lookup", string(raw)), true}
}

// notFound is a look that found nothing.
func notFound() says {
	return says{PodBuilder: pod().Phase(corev1.PodSucceeded).Exit("lookup", 0).Says("lookup", report.Termination{
		Role: report.RoleLookup, Result: report.ResultOK, Lookup: &report.LookupReport{VideoBytes: 7, Why: "nothing is there"},
	})}
}

func purged() says {
	return says{PodBuilder: pod().Phase(corev1.PodSucceeded).Exit("purge", 0).Says("purge", report.Termination{
		Role: report.RolePurge, Result: report.ResultOK, Purge: &report.PurgeReport{Results: 1, Objects: 3, Bytes: 9},
	})}
}

// byPurpose gives pods that are no attempts their end.
func byPurpose(ends map[string]says, attempts func(*world, *corev1.Pod) says) func(*world, *corev1.Pod) says {
	return func(w *world, p *corev1.Pod) says {
		if s, ok := ends[p.Labels[v1alpha1.LabelPurpose]]; ok {
			return s
		}
		return attempts(w, p)
	}
}

func reusing(s *v1alpha1.PoseJobSpec) { s.Reuse = v1alpha1.ReuseIfVerified }

// deleteJob in the background, as kubectl does.
func deleteJob(w *world) error {
	return client.IgnoreNotFound(api.Delete(ctx, w.only().DeepCopy(), client.PropagationPolicy(metav1.DeletePropagationBackground)))
}

func evict(w *world) error {
	p := w.attempt(1)
	return api.SubResource("eviction").Create(ctx, p.DeepCopy(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}})
}

// batch of three videos.
func batch() []client.Object {
	return []client.Object{&v1alpha1.PoseBatch{
		ObjectMeta: metav1.ObjectMeta{Name: "many"},
		Spec: v1alpha1.PoseBatchSpec{
			Videos:   v1alpha1.BatchVideos{URIs: []string{"s3://videos/a.mp4", "s3://videos/b.mp4", "s3://videos/c.mp4"}},
			Output:   v1alpha1.BatchOutput{URI: "s3://results/many"},
			Template: v1alpha1.BatchTemplate{EngineName: engineName},
		},
	}}
}

func indexed() says {
	return says{PodBuilder: pod().Phase(corev1.PodSucceeded).Exit("index", 0).Says("index", report.Termination{
		Role: report.RoleIndex, Result: report.ResultOK, Index: &report.IndexReport{URI: "s3://results/many/batch.json", SHA256: strings.Repeat("a", 64), Clips: 3},
	})}
}

// batchFinished: it has its end, and its PoseJobs are gone.
func batchFinished(w *world) bool {
	for _, b := range w.batches {
		return meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionFinished) && len(w.jobs) == 0
	}
	return false
}

// scenarios that are played.
func scenarios() []scenario {
	const hour = int64(3600)
	return []scenario{
		{name: "success", most: 5, objects: job(), plays: always(succeeded()), ended: finished, wants: []string{"Complete=True/", "attempts=1"}},
		{name: "crash and fallback", most: 9, objects: job(), plays: first(detectorCrash()), ended: finished, wants: []string{"Complete=True/", "attempt 1 gpu on GPU: Failed/DetectorLoadCrash", "attempt 2 cpu on CPU: Succeeded"}},
		{name: "no result and fallback", most: 9, objects: job(), plays: first(nothing()), ended: finished, wants: []string{"Complete=True/", "attempt 1 gpu on GPU: Failed/OutputInvalid"}},
		{name: "every variant crashes", most: 10, objects: job(), plays: always(detectorCrash()), ended: finished, wants: []string{"Failed=True/", "attempts=2"}},
		{
			name: "eviction", most: 12, objects: job(), plays: first(running()), ended: finished, wants: []string{"Complete=True/", "attempts=2"},
			operations: []operation{{runs(1), evict}},
		},
		{
			name: "suspend and resume", most: 13, objects: job(), plays: first(running()), ended: finished, wants: []string{"Complete=True/", "Suspended=False/", "attempts=2"},
			operations: []operation{
				{runs(1), suspend(true)},
				{func(w *world) bool { return w.holds(v1alpha1.ConditionSuspended) }, func(w *world) error {
					w.clock.by.Add(int64(time.Minute)) // an end that is judged again would have another time
					return suspend(false)(w)
				}},
			},
		},
		{
			name: "delete midway", most: 6, objects: job(), plays: always(running()), ended: gone,
			operations: []operation{{runs(1), deleteJob}},
		},
		{
			name: "delete with its results", most: 11, objects: job(func(s *v1alpha1.PoseJobSpec) { s.Output.DeletionPolicy = v1alpha1.DeletionDelete }),
			plays: byPurpose(map[string]says{v1alpha1.PurposePurge: purged()}, always(succeeded())), ended: func(w *world) bool { return len(w.jobs) == 0 },
			operations: []operation{{finished, deleteJob}},
		},
		{
			name: "deadline", most: 10, objects: job(func(s *v1alpha1.PoseJobSpec) { s.ActiveDeadlineSeconds = new(hour) }), plays: always(running()), ended: finished, wants: []string{"Failed=True/DeadlineExceeded"},
			operations: []operation{{runs(1), later(2*time.Hour, 1)}},
		},
		{
			name: "time to live", most: 11, objects: job(func(s *v1alpha1.PoseJobSpec) { s.TTLSecondsAfterFinished = new(int32(hour)) }), plays: always(succeeded()), ended: gone,
			operations: []operation{{func(w *world) bool { return finished(w) && w.attempt(1) != nil }, later(48*time.Hour, 1)}},
		},
		{
			name: "no capacity and fallback", most: 13, objects: job(func(s *v1alpha1.PoseJobSpec) { s.PendingTimeoutSeconds = new(hour) }), plays: first(unschedulable()), ended: finished, wants: []string{"Complete=True/", "attempt 2 cpu on CPU: Succeeded"},
			// The manager itself remembers since when: before that the clock must not move.
			operations: []operation{{func(w *world) bool {
				j := w.only()
				return j != nil && len(j.Status.Attempts) == 1 && j.Status.Attempts[0].UnschedulableSince != nil && w.attempt(1) != nil
			}, later(2*time.Hour, 1)}},
		},
		{name: "an earlier result", most: 6, objects: job(reusing), plays: byPurpose(map[string]says{v1alpha1.PurposeLookup: found()}, always(succeeded())), ended: finished, wants: []string{"Complete=True/", "attempts=0", "look Found"}},
		{name: "no earlier result", most: 10, objects: job(reusing), plays: byPurpose(map[string]says{v1alpha1.PurposeLookup: notFound()}, always(succeeded())), ended: finished, wants: []string{"Complete=True/", "attempts=1", "look NotFound"}},
		{name: "batch of three", most: 40, objects: batch(), plays: byPurpose(map[string]says{v1alpha1.PurposeIndex: indexed()}, always(succeeded())), ended: batchFinished, wants: []string{"Succeeded:3", "index=true"}},
	}
}
