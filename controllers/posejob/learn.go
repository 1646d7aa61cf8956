package posejob

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/learn"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
)

// Memory learns from attempts across jobs, and advises.
type Memory interface {
	Observe(engine string, o learn.Observation)
	Advise(e *v1alpha1.PoseEngine, v *v1alpha1.Variant, candidates []learn.GPU, job types.UID, now time.Time) learn.Advice
	Probe(engine, variant string, kinds []learn.GPU, job types.UID, now time.Time)
}

// advise the plan by what other jobs' attempts taught. Nothing is looked up while
// a pod runs, nor for an engine that taught nothing.
func (r *Reconciler) advise(ctx context.Context, o *observation, in *plan.Input) error {
	live := attempt.Live(o.attempts)
	if r.Memory == nil || (live != nil && live.Pod.Unschedulable == "") {
		return nil
	}
	in.AvoidNodes, in.Learned = map[string][]string{}, map[string]plan.Advice{}
	o.advice = map[string]learn.Advice{}
	for _, e := range o.usable() {
		if len(e.Status.Learned)+len(e.Status.LearnedNodes) == 0 {
			continue
		}
		in.AvoidNodes[e.Name] = learn.Avoid(&e.Status, o.now)
		if t := o.job.Spec.PodTemplate; t != nil && t.Resources != nil && t.Resources.GPU != nil {
			continue // with resources of its own it is no case of what others learned
		}
		if err := r.adviseOn(ctx, o, e, in); err != nil {
			return err
		}
	}
	return nil
}

// adviseOn the variants of one engine.
func (r *Reconciler) adviseOn(ctx context.Context, o *observation, e *v1alpha1.PoseEngine, in *plan.Input) error {
	for i := range e.Spec.Variants {
		v := &e.Spec.Variants[i]
		if v.Device != v1alpha1.GPU || r.Nodes.Client == nil {
			continue
		}
		gpus, err := r.Nodes.GPUs(ctx, v)
		if err != nil {
			return err
		}
		candidates := make([]learn.GPU, len(gpus))
		for j, g := range gpus {
			candidates[j] = learn.GPU{Product: g.Product, Driver: g.Driver}
		}
		a := r.Memory.Advise(e, v, candidates, o.job.UID, o.now)
		o.advice[o.rung(e, v.Name)] = a
		in.Learned[o.rung(e, v.Name)] = plan.Advice{Skip: a.Skip, Message: a.Message, AvoidGPUProducts: a.AvoidProducts}
	}
	return nil
}

// learn from the attempts that ended just now, each for its own engine, and say
// which variant the job tries again for all.
func (r *Reconciler) learn(o *observation, d plan.Decision, next v1alpha1.PoseJobStatus) {
	if r.Memory == nil {
		return
	}
	// The job as it is after the write; nothing of the cache's own is changed.
	after := v1alpha1.PoseJob{ObjectMeta: o.job.ObjectMeta, Spec: o.job.Spec, Status: next}
	for i := range next.Attempts {
		a := &next.Attempts[i]
		if !slices.Contains(o.fresh, a.Number) {
			continue
		}
		if seen, ok := learn.Observe(&after, a); ok {
			r.Memory.Observe(attempt.EngineOf(a.Variant, next.EngineName), seen)
		}
	}
	if d.Kind == plan.KindLaunch {
		if a, ok := o.advice[d.Next.Variant]; ok && !a.Skip {
			_, variant := attempt.SplitVariant(d.Next.Variant)
			r.Memory.Probe(attempt.EngineOf(d.Next.Variant, next.EngineName), variant, a.Probes, o.job.UID, o.now)
		}
	}
}
