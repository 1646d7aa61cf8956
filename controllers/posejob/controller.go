// Package posejob carries out what the pure packages decide about PoseJobs. It
// holds effects only: reading the cluster, one status patch, creating, deleting
// and releasing pods, events and metrics.
//
// One reconcile: observe, judge what ended, plan, compute the status, patch it
// (verdict of the last attempt and intent of the next one together, under the
// resourceVersion that was read), and only then act. A conflict ends the
// reconcile before any effect.
package posejob

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/engine"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/controllers/internal/learn"
	"github.com/pose-dev/pose-operator/controllers/internal/lookup"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
	"github.com/pose-dev/pose-operator/controllers/internal/policy"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/controllers/internal/reuse"
	"github.com/pose-dev/pose-operator/controllers/internal/status"
	"github.com/pose-dev/pose-operator/controllers/pace"
	"github.com/pose-dev/pose-operator/controllers/podevents"
	"github.com/pose-dev/pose-operator/internal/report"
)

// ProgressSource gives the last progress that a pod reported.
type ProgressSource interface {
	Latest(podUID string) (status.Progress, bool)
}

// Reconciler acts on PoseJobs.
type Reconciler struct {
	Client client.Client
	// Reader reads the API server itself, past the cache.
	Reader   client.Reader
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
	Policy   policy.Policy
	Settings render.Settings
	Progress ProgressSource
	// Nodes tells of GPUs; without a Client nothing is known of them.
	Nodes Nodes
	// Logs of engines that no runner watches; nil reads none.
	Logs Logs
	// Memory learns from every attempt that ends; nil learns nothing.
	Memory Memory
	// Reuse of results that were computed before.
	Reuse Reuse
	// Pace spaces writes that tell progress alone; nil writes them all.
	Pace *pace.Pacer

	podEvents podevents.Reader
}

// observation is one consistent look at a job.
type observation struct {
	job      *v1alpha1.PoseJob
	pods     []corev1.Pod
	attempts []attempt.Attempt
	// look at the job's places.
	look lookup.Look
	// fresh are the numbers of attempts whose verdict was reached just now.
	fresh []int32
	// unseen says that the cache does not show one of the pods, so that no event
	// will tell of its end.
	unseen bool
	// hangs is when to read again why the live pod hangs; zero where it does not.
	hangs  time.Duration
	engine engine.Resolution
	// fallback is the engine that follows it; the zero value where the job allows
	// none.
	fallback engine.Resolution
	// engines are all that there are.
	engines []v1alpha1.PoseEngine
	// advice from other jobs' attempts, by rung.
	advice map[string]learn.Advice
	now    time.Time
}

// Reconcile one PoseJob.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	job, pods, err := r.read(ctx, req)
	if err != nil {
		return ctrl.Result{}, err
	}
	own, others := split(job, pods)
	if err := r.release(ctx, others); err != nil {
		return ctrl.Result{}, err
	}
	switch {
	case job == nil:
		r.Pace.Forget(pace.Key{Kind: "PoseJob", NamespacedName: req.NamespacedName})
		return ctrl.Result{}, nil
	case job.Spec.ManagedBy != "" && job.Spec.ManagedBy != v1alpha1.ManagedByOperator:
		return ctrl.Result{}, nil
	case job.DeletionTimestamp != nil:
		return r.deleting(ctx, job, own)
	}
	if job, err = r.keepFinalizer(ctx, job); err != nil {
		return ctrl.Result{}, err
	}
	if finished(job) {
		return r.afterEnd(ctx, job, own)
	}
	o, err := r.observe(ctx, job, own)
	if err != nil {
		return ctrl.Result{}, err
	}
	return r.step(ctx, o)
}

// finished is latched: what ended does not start again because an engine or a
// policy changed since.
func finished(job *v1alpha1.PoseJob) bool {
	return meta.IsStatusConditionTrue(job.Status.Conditions, v1alpha1.ConditionFinished)
}

// step decides, writes and acts.
func (r *Reconciler) step(ctx context.Context, o *observation) (ctrl.Result, error) {
	input, err := r.planInput(ctx, o)
	if err != nil {
		return ctrl.Result{}, err
	}
	decision := plan.Next(input)
	next := status.Compute(r.statusInput(o, decision))
	wait, err := r.write(ctx, o, next)
	if err != nil || wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, err
	}
	// Before acting: an attempt is fresh once, and an act that fails must not make
	// that forgotten.
	r.learn(o, decision, next)
	r.tell(o, decision, next)
	switch err := r.act(ctx, o, decision, next); {
	case errors.Is(err, errAbandoned):
		return ctrl.Result{RequeueAfter: time.Millisecond}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	again, err := r.reap(ctx, o.job, o.pods, &next, o.now)
	if err != nil {
		return ctrl.Result{}, err
	}
	if o.unseen {
		again = sooner(again, lookAgain)
	}
	again = sooner(again, o.hangs)
	return ctrl.Result{RequeueAfter: sooner(again, r.nextLook(o, decision))}, nil
}

// write the status if it differs. A positive duration says that the difference
// is soft and may wait so long.
func (r *Reconciler) write(ctx context.Context, o *observation, next v1alpha1.PoseJobStatus) (time.Duration, error) {
	key := client.ObjectKeyFromObject(o.job)
	paced := pace.Key{Kind: "PoseJob", NamespacedName: key}
	if status.Equal(o.job.Status, next) {
		return 0, nil
	}
	if status.SoftEqual(o.job.Status, next) {
		if wait := r.Pace.Wait(paced, softInterval, o.now); wait > 0 {
			return wait, nil
		}
	}
	updated := o.job.DeepCopy()
	updated.Status = next
	patch := client.MergeFromWithOptions(o.job, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, updated, patch); err != nil {
		return 0, fmt.Errorf("patch status of PoseJob %s: %w", key, err)
	}
	r.Pace.Wrote(paced, o.now)
	log.FromContext(ctx).V(1).Info("Status written", "phase", next.Phase, "attempts", next.AttemptCount, "stage", next.Stage)
	return 0, nil
}

// observe judges what ended and resolves the engine.
func (r *Reconciler) observe(ctx context.Context, job *v1alpha1.PoseJob, pods []corev1.Pod) (*observation, error) {
	var engines v1alpha1.PoseEngineList
	if err := r.Client.List(ctx, &engines); err != nil {
		return nil, fmt.Errorf("list PoseEngines: %w", err)
	}
	all, err := r.hidden(ctx, job, pods)
	if err != nil {
		return nil, err
	}
	o := &observation{job: job, pods: all, unseen: len(all) > len(pods), now: r.Clock.Now(), engines: engines.Items, engine: engine.Resolve(job, engines.Items)}
	o.fallback = engine.ResolveFallback(job, o.engine.Engine, engines.Items)
	o.attempts = attempt.Join(job.Status.Attempts, all)
	o.joinLook(all)
	o.hangs = r.podEvents.Explain(ctx, r.Reader, job.Namespace, o.look.Pod, o.now)
	if live := attempt.Live(o.attempts); live != nil {
		o.hangs = sooner(o.hangs, r.podEvents.Explain(ctx, r.Reader, job.Namespace, live.Pod, o.now))
	}
	for i := range o.attempts {
		a := &o.attempts[i]
		if a.Recorded() {
			continue
		}
		if err := r.lastWords(ctx, job.Namespace, a); err != nil {
			log.FromContext(ctx).Error(err, "The engine's last words are not known")
		}
		if err := r.gpuOf(ctx, a); err != nil {
			log.FromContext(ctx).Error(err, "The GPU of the attempt's node is not known")
		}
		if v, ended := failure.Judge(*a, o.rules(a)); ended {
			status.Record(a, v, o.now)
			o.fresh = append(o.fresh, a.Number)
		}
	}
	return o, nil
}

// gpuOf fills in what the node of an attempt on a GPU says of it, once.
func (r *Reconciler) gpuOf(ctx context.Context, a *attempt.Attempt) error {
	if r.Nodes.Client == nil || a.Device != v1alpha1.GPU || a.Node == "" || a.GPUProduct != "" || a.Recorded() {
		return nil
	}
	gpu, err := r.Nodes.GPU(ctx, a.Node)
	if err != nil || gpu == nil {
		return err
	}
	a.GPUProduct, a.GPUDriver, a.GPUShared = failure.Clean(gpu.Product, 128), failure.Clean(gpu.Driver, 64), gpu.Shared
	return nil
}

// lookAgain is how often a pod is read that the cache does not show.
const lookAgain = 5 * time.Second

// hidden adds pods that the cache no longer shows although they exist: it holds
// pods by a label, and a label can be taken off a running pod. A pod is taken
// for gone only when the API server itself says so.
func (r *Reconciler) hidden(ctx context.Context, job *v1alpha1.PoseJob, pods []corev1.Pod) ([]corev1.Pod, error) {
	type known struct{ name, uid string }
	var running []known
	for _, a := range job.Status.Attempts {
		if a.State == v1alpha1.AttemptRunning {
			running = append(running, known{a.PodName, a.PodUID})
		}
	}
	if l := job.Status.Lookup; l != nil && l.State == v1alpha1.LookupRunning && l.PodUID != "" {
		running = append(running, known{l.PodName, l.PodUID})
	}
	for _, k := range running {
		if slices.ContainsFunc(pods, func(p corev1.Pod) bool { return string(p.UID) == k.uid }) {
			continue
		}
		var pod corev1.Pod
		err := r.Reader.Get(ctx, client.ObjectKey{Namespace: job.Namespace, Name: k.name}, &pod)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, fmt.Errorf("read pod %s/%s, which the cache does not show: %w", job.Namespace, k.name, err)
		case string(pod.UID) == k.uid:
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

// rules of the attempt's own engine, which need not be the job's; none where that
// is gone or not ready.
func (o *observation) rules(a *attempt.Attempt) []failure.Rule {
	if a.Live() {
		return nil // nothing is judged yet
	}
	e := o.engine.Engine
	if other, _ := attempt.SplitVariant(a.Variant); other != "" {
		e = o.named(other)
	}
	if e == nil {
		return nil
	}
	rules, err := failure.Compile(e.Spec.FailureRules)
	if err != nil {
		return nil
	}
	return rules
}

// named gives an engine, be it ready or not; nil where it is gone.
func (o *observation) named(name string) *v1alpha1.PoseEngine {
	i := slices.IndexFunc(o.engines, func(e v1alpha1.PoseEngine) bool { return e.Name == name })
	if i < 0 {
		return nil
	}
	return &o.engines[i]
}

// lacks says what a result by that variant has not, where it is another engine's
// than the job's own: the one that it was started with, whatever the job would fall
// back to by now. It is unknown where one of the two is gone.
func (o *observation) lacks(variant string) (what []string, unknown bool) {
	other, _ := attempt.SplitVariant(variant)
	if other == "" {
		return nil, false
	}
	own, made := o.named(o.engine.Name), o.named(other)
	if own == nil || made == nil {
		return nil, true
	}
	return engine.Lacks(own, made), false
}

// usable engines of the job: its own, then the one that follows it.
func (o *observation) usable() []*v1alpha1.PoseEngine {
	var out []*v1alpha1.PoseEngine
	for _, e := range []*v1alpha1.PoseEngine{o.engine.Engine, o.fallback.Engine} {
		if e != nil {
			out = append(out, e)
		}
	}
	return out
}

// rung names a variant of a usable engine as attempts record it.
func (o *observation) rung(e *v1alpha1.PoseEngine, variant string) string {
	if e == o.engine.Engine {
		return variant
	}
	return attempt.VariantName(e.Name, variant)
}

func (r *Reconciler) planInput(ctx context.Context, o *observation) (plan.Input, error) {
	in := plan.Input{
		Spec: &o.job.Spec, Attempts: o.attempts, Engine: o.engine.Engine,
		EngineReason: o.engine.Reason, EngineMessage: o.engine.Message,
		Fallback: o.planFallback(),
		Look:     plan.Look{Wanted: reuse.Wanted(o.job, r.Reuse.Default), Status: o.look.Status, Pod: o.look.Pod},
		Skipped:  o.job.Status.SkippedVariants,
		Denied:   r.Policy.Denied(o.job), Now: o.now,
		Suspended: time.Duration(o.job.Status.SuspendedSeconds) * time.Second,
	}
	if o.job.Status.StartTime != nil {
		in.Started = o.job.Status.StartTime.Time
	}
	if at := o.job.Status.SuspendedAt; at != nil {
		in.Suspended += o.now.Sub(at.Time)
	}
	if c := meta.FindStatusCondition(o.job.Status.Conditions, v1alpha1.ConditionEngineResolved); c != nil && c.Reason == o.engine.Reason {
		in.EngineMissingSince = c.LastTransitionTime.Time
	}
	for _, a := range o.attempts {
		in.Done = in.Done || a.State == v1alpha1.AttemptSucceeded
	}
	in.Done = in.Done || (o.look.Status != nil && o.look.Status.State == v1alpha1.LookupFound)
	in.Frames = o.frames()
	if live := attempt.Live(o.attempts); live != nil {
		in.Pace = r.paceOf(live, o.now)
		if v, ok := failure.Hopeless(*live); ok {
			in.Hopeless = &plan.Hopeless{Reason: v.Reason, Message: v.Message, Action: v.Action}
		}
	}
	in.Refused = r.refused(o)
	err := r.advise(ctx, o, &in)
	return in, err
}

// frames of the video, as the newest pod that counted them says, or the status; 0
// while nobody did.
func (o *observation) frames() int64 {
	for _, a := range slices.Backward(o.attempts) {
		if a.Pod == nil {
			continue
		}
		if v := a.Pod.Video(); v != nil {
			return v.Frames
		}
	}
	if v := o.job.Status.Video; v != nil {
		return v.Frames
	}
	return 0
}

// refused variants of the usable engines, by the policy.
func (r *Reconciler) refused(o *observation) map[string]string {
	out := map[string]string{}
	for _, e := range o.usable() {
		for i := range e.Spec.Variants {
			if why := r.Policy.DeniedVariant(&e.Spec.Variants[i]); why != "" {
				out[o.rung(e, e.Spec.Variants[i].Name)] = why
			}
		}
	}
	return out
}

// staleProgress is older than any pod that lives leaves it.
const staleProgress = time.Minute

// paceOf a live attempt that tracks; nil while it does something else, or says
// nothing.
func (r *Reconciler) paceOf(live *attempt.Attempt, now time.Time) *plan.Pace {
	if r.Progress == nil {
		return nil
	}
	p, ok := r.Progress.Latest(live.Pod.UID)
	if !ok || p.Role != report.RoleDeliver || p.Stage == report.StageDeliver || now.Sub(p.At) > staleProgress {
		return nil
	}
	tracked := time.Duration(min(max(0, p.TrackedSeconds), math.MaxInt32)) * time.Second
	return &plan.Pace{Frames: p.Frames, Total: p.Total, BestMilliFPS: p.BestMilliFPS, Tracked: tracked}
}

func (r *Reconciler) statusInput(o *observation, d plan.Decision) status.Input {
	in := status.Input{
		Job: o.job, Attempts: o.attempts, Decision: d, Now: o.now,
		EngineName: o.engine.Name, EngineReady: o.engine.Engine != nil,
		EngineReason: o.engine.Reason, EngineMessage: o.engine.Message,
		Look: o.look,
	}
	if o.engine.Engine != nil {
		rungs, reason, err := plan.Rungs(&o.job.Spec, o.engine.Engine)
		if err != nil {
			in.EngineReady, in.EngineReason, in.EngineMessage = false, reason, err.Error()
		} else {
			in.FirstVariant = rungs[0].Name()
		}
	}
	variant := status.FoundVariant(in)
	if n := len(o.attempts); n > 0 {
		variant = o.attempts[n-1].Variant
	}
	in.Lacks, in.LacksUnknown = o.lacks(variant)
	if live := attempt.Live(o.attempts); live != nil && r.Progress != nil {
		if p, ok := r.Progress.Latest(live.Pod.UID); ok {
			in.Progress = &p
		}
	}
	return in
}

// nextLook is when to reconcile without being told to.
func (r *Reconciler) nextLook(o *observation, d plan.Decision) time.Duration {
	at := d.Until
	if d.Kind == plan.KindLaunch && d.Next.NotBefore != nil && (at.IsZero() || d.Next.NotBefore.Time.Before(at)) {
		at = d.Next.NotBefore.Time
	}
	if at.IsZero() {
		if finishedBy(d) {
			return time.Second // to look after pods and the TTL
		}
		return 0
	}
	return max(at.Sub(o.now), time.Millisecond)
}

func finishedBy(d plan.Decision) bool {
	return d.Kind == plan.KindSucceed || d.Kind == plan.KindFail
}
