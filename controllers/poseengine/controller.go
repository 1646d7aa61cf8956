// Package poseengine tells platform admins whether their engines can be used, and
// keeps in their status what the attempts of all jobs taught about them.
//
// What was learned is written at most once in Memory.Interval per engine, under the
// resourceVersion that was read. What a failed write holds stays queued. A manager
// that starts reads what attempts taught since status.learnedThrough from the
// jobs themselves, so that a manager that dies loses nothing that was recorded.
package poseengine

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/engine"
	"github.com/pose-dev/pose-operator/controllers/internal/learn"
)

// Reconciler writes the status of PoseEngines. Only Client is needed: without a
// Memory nothing is learned.
type Reconciler struct {
	Client   client.Client
	Memory   *Memory
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
	Options  learn.Options
	// Nodes that exist; its result is nil while that is not known.
	Nodes func() map[string]bool
}

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("poseengine").For(&v1alpha1.PoseEngine{}).
		Watches(&v1alpha1.PoseEngine{}, handler.EnqueueRequestsFromMapFunc(r.fallingBackTo), builder.WithPredicates(predicate.GenerationChangedPredicate{}))
	if r.Memory != nil {
		b = b.WatchesRawSource(source.Channel(r.Memory.announced(), &handler.EnqueueRequestForObject{}))
	}
	if err := b.Complete(r); err != nil {
		return fmt.Errorf("build the PoseEngine controller: %w", err)
	}
	return nil
}

// Reconcile one engine.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var e v1alpha1.PoseEngine
	if err := r.Client.Get(ctx, req.NamespacedName, &e); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.Memory.forget(req.Name)
			forgetMetrics(req.Name)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read PoseEngine %s: %w", req.Name, err)
	}
	if err := r.recover(ctx, &e); err != nil {
		return ctrl.Result{}, err
	}
	now := r.now()
	old := e.DeepCopy()
	ready(&e)
	if err := r.fallback(ctx, &e, now); err != nil {
		return ctrl.Result{}, err
	}
	taken := r.remember(&e, now)
	if !equality.Semantic.DeepEqual(old.Status, e.Status) {
		patch := client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})
		if err := r.Client.Status().Patch(ctx, e.DeepCopy(), patch); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(fmt.Errorf("patch status of PoseEngine %s: %w", e.Name, err))
		}
	}
	r.Memory.done(e.Name, taken, now)
	r.tell(old, &e, now)
	return ctrl.Result{RequeueAfter: next(taken.wait, learn.Ends(&e.Status, now), now)}, nil
}

// ready says whether jobs can use the engine.
func ready(e *v1alpha1.PoseEngine) {
	is := engine.Check(e)
	status := metav1.ConditionFalse
	if is.Ready {
		status = metav1.ConditionTrue
	}
	e.Status.ObservedGeneration = e.Generation
	meta.SetStatusCondition(&e.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: status, Reason: is.Reason, Message: is.Message, ObservedGeneration: e.Generation,
	})
}

// fallback says whether jobs have another engine to fall back to. Ready does not
// depend on it: GitOps applies in any order, and few jobs ever need it.
func (r *Reconciler) fallback(ctx context.Context, e *v1alpha1.PoseEngine, now time.Time) error {
	if e.Spec.FallbackEngineName == "" {
		meta.RemoveStatusCondition(&e.Status.Conditions, v1alpha1.ConditionFallbackResolved)
		return nil
	}
	var engines v1alpha1.PoseEngineList
	if err := r.Client.List(ctx, &engines); err != nil {
		return fmt.Errorf("list PoseEngines for the fallback engine of PoseEngine %s: %w", e.Name, err)
	}
	c := metav1.Condition{
		Type: v1alpha1.ConditionFallbackResolved, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonEngineResolved,
		Message: "jobs that allow it fall back to PoseEngine " + e.Spec.FallbackEngineName, ObservedGeneration: e.Generation,
		LastTransitionTime: metav1.NewTime(now).Rfc3339Copy(),
	}
	if is := engine.Fallback(e, engines.Items); is.Engine == nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, is.Reason, is.Message
	}
	meta.SetStatusCondition(&e.Status.Conditions, c)
	return nil
}

// fallingBackTo gives the engines that fall back to one that changed.
func (r *Reconciler) fallingBackTo(ctx context.Context, changed client.Object) []ctrl.Request {
	var engines v1alpha1.PoseEngineList
	if err := r.Client.List(ctx, &engines); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "List PoseEngines for a changed PoseEngine", "engine", changed.GetName())
		return nil
	}
	var out []ctrl.Request
	for i := range engines.Items {
		if e := &engines.Items[i]; e.Spec.FallbackEngineName == changed.GetName() && e.Name != changed.GetName() {
			out = append(out, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(e)})
		}
	}
	return out
}

// remember what attempts taught, and forget what the platform admin cleared.
func (r *Reconciler) remember(e *v1alpha1.PoseEngine, now time.Time) taken {
	status, cleared := learn.Clear(e.Status, e.Annotations[v1alpha1.AnnotationClearLearned], now)
	if cleared {
		r.Memory.drop(e.Name)
	}
	t := r.Memory.take(e.Name, now)
	options := r.Options
	if r.Nodes != nil {
		options.Nodes = r.Nodes()
	}
	e.Status = learn.Fold(status, t.obs, options, now)
	return t
}

// recover what attempts taught that ended under an earlier manager.
func (r *Reconciler) recover(ctx context.Context, e *v1alpha1.PoseEngine) error {
	if r.Memory == nil || r.Memory.recovered(e.Name) {
		return nil
	}
	var jobs v1alpha1.PoseJobList
	if err := r.Client.List(ctx, &jobs); err != nil {
		return fmt.Errorf("list PoseJobs to learn from for PoseEngine %s: %w", e.Name, err)
	}
	var obs []learn.Observation
	for i := range jobs.Items {
		obs = append(obs, since(&jobs.Items[i], e)...)
	}
	r.Memory.recover(e.Name, obs)
	return nil
}

// since what the engine has learned through, what the attempts of a job taught of
// it. An attempt may have run another engine than the job's own.
func since(job *v1alpha1.PoseJob, e *v1alpha1.PoseEngine) []learn.Observation {
	var obs []learn.Observation
	through := e.Status.LearnedThrough
	for i := range job.Status.Attempts {
		a := &job.Status.Attempts[i]
		if attempt.EngineOf(a.Variant, job.Status.EngineName) != e.Name || (through != nil && a.FinishTime != nil && !a.FinishTime.After(through.Time)) {
			continue
		}
		if o, ok := learn.Observe(job, a); ok {
			obs = append(obs, o)
		}
	}
	return obs
}

func (r *Reconciler) now() time.Time {
	if r.Clock == nil {
		return clock.RealClock{}.Now()
	}
	return r.Clock.Now()
}

// next look: what waits, or the end of a skip; zero means never.
func next(wait time.Duration, ends, now time.Time) time.Duration {
	if ends.IsZero() {
		return wait
	}
	end := max(ends.Sub(now), time.Millisecond)
	if wait > 0 {
		return min(wait, end)
	}
	return end
}
