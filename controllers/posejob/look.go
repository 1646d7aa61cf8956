package posejob

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/lookup"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/controllers/internal/reuse"
	"github.com/pose-dev/pose-operator/controllers/internal/status"
	"github.com/pose-dev/pose-operator/controllers/removal"
)

// Reuse is what the platform admin says of results that were computed before.
type Reuse struct {
	// Default for jobs that do not say; empty is Never.
	Default v1alpha1.ReusePolicy
	// CrossNamespace offers results of other namespaces.
	CrossNamespace bool
}

// ask is what the job asks for, by the engines as they are now.
func (o *observation) ask() reuse.Ask {
	return reuse.AskOf(o.job, o.engine.Name, o.rungs())
}

func (o *observation) rungs() []reuse.Rung {
	var rungs []reuse.Rung
	for _, r := range plan.Ladder(&o.job.Spec, o.engine.Engine, o.planFallback()) {
		rungs = append(rungs, reuse.Rung{Engine: r.Engine, Variant: &r.Variant})
	}
	return rungs
}

func (o *observation) planFallback() plan.Fallback {
	return plan.Fallback{Name: o.fallback.Name, Engine: o.fallback.Engine, Message: o.fallback.Message}
}

// joinLook with the pods, and judge its end.
func (o *observation) joinLook(pods []corev1.Pod) {
	without := ""
	if o.job.Status.Lookup != nil && o.engine.Engine != nil {
		if a := o.ask(); a.First() == "" {
			without = a.Why
		}
	}
	o.look = lookup.Join(o.job, pods, without, o.now)
}

// createLook makes the pod that looks. One that can never be made costs the job
// nothing but the look.
func (r *Reconciler) createLook(ctx context.Context, o *observation) error {
	want, err := r.wanted(ctx, o)
	if err != nil {
		return err
	}
	pod, err := render.Lookup(o.job, want, r.Settings)
	if err != nil {
		return fmt.Errorf("look for PoseJob %s: %w", client.ObjectKeyFromObject(o.job), err)
	}
	err = r.Client.Create(ctx, pod)
	switch {
	case err == nil:
		log.FromContext(ctx).Info("Pod created", "pod", pod.Name, "purpose", v1alpha1.PurposeLookup, "candidates", len(want.Candidates))
		return nil
	case apierrors.IsAlreadyExists(err):
		return r.adopt(ctx, o.job, pod)
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err):
		return r.abandonLook(ctx, o, "the API server refuses the pod: "+err.Error())
	}
	return fmt.Errorf("create pod %s/%s: %w", pod.Namespace, pod.Name, err)
}

// wanted results, and where they may lie.
func (r *Reconciler) wanted(ctx context.Context, o *observation) (render.Wanted, error) {
	want := o.wanted()
	if len(want.Recipes) == 0 {
		return want, nil
	}
	var jobs v1alpha1.PoseJobList
	var in []client.ListOption
	if !r.Reuse.CrossNamespace {
		in = append(in, client.InNamespace(o.job.Namespace))
	}
	if err := r.Client.List(ctx, &jobs, in...); err != nil {
		return want, fmt.Errorf("list PoseJobs for results that may do: %w", err)
	}
	want.Candidates = reuse.Candidates(o.job, o.engine.Name, jobs.Items, r.Reuse.CrossNamespace)
	return want, nil
}

// wanted results, wherever they lie.
func (o *observation) wanted() render.Wanted {
	rungs := o.rungs()
	ask := reuse.AskOf(o.job, o.engine.Name, rungs)
	want := render.Wanted{Request: ask.Request}
	for _, recipe := range ask.Recipes {
		if recipe == "" {
			break // an empty one could be taken for that of a result without
		}
		want.Recipes = append(want.Recipes, recipe)
	}
	if len(want.Recipes) > 0 {
		first := reuse.Made(o.job, rungs[0].Engine, rungs[0].Variant)
		want.First = &first
	}
	return want
}

// abandonLook whose pod can never be made.
func (r *Reconciler) abandonLook(ctx context.Context, o *observation, why string) error {
	updated := &v1alpha1.PoseJob{}
	if err := r.Reader.Get(ctx, client.ObjectKeyFromObject(o.job), updated); err != nil {
		return client.IgnoreNotFound(err)
	}
	l := updated.Status.Lookup
	if l == nil || l.State != v1alpha1.LookupRunning {
		return errAbandoned
	}
	before := updated.DeepCopy()
	now := metav1.NewTime(o.now).Rfc3339Copy()
	l.State, l.Reason, l.Message, l.FinishTime = v1alpha1.LookupSkipped, v1alpha1.ReasonPodNotStartable, status.Message(why), &now
	if err := r.Client.Status().Patch(ctx, updated, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("record that the look cannot start: %w", err)
	}
	lookupsTotal.WithLabelValues(string(v1alpha1.LookupSkipped)).Inc()
	return errAbandoned
}

// endLook deletes the look's pod, by uid, and never by force.
func (r *Reconciler) endLook(ctx context.Context, o *observation) error {
	p := o.look.Pod
	if p == nil || p.Deleting {
		return nil
	}
	return removal.DeletePod(ctx, r.Client, o.job.Namespace, p.Name, p.UID)
}
