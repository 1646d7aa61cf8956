package posejob

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/engine"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/controllers/internal/reuse"
)

// First is how a job starts that has had no attempt.
type First struct {
	// Attempt that the ladder gives it, with the engine and the variant of that; nil
	// where Why says why it cannot start now.
	Attempt *v1alpha1.Attempt
	Engine  *v1alpha1.PoseEngine
	Variant *v1alpha1.Variant
	Why     string
	// Request is the digest of what it asks for.
	Request string
	// Look at its places for such results comes before the attempt; nil where the
	// job takes none.
	Look *render.Wanted
}

// First says how a job would start that need not exist, by engines, policy and what
// other jobs taught as they are now. Nothing is made or written.
func (r *Reconciler) First(ctx context.Context, job *v1alpha1.PoseJob) (First, error) {
	var engines v1alpha1.PoseEngineList
	if err := r.Client.List(ctx, &engines); err != nil {
		return First{}, fmt.Errorf("list PoseEngines: %w", err)
	}
	o := &observation{job: job, now: r.Clock.Now(), engines: engines.Items, engine: engine.Resolve(job, engines.Items)}
	o.fallback = engine.ResolveFallback(job, o.engine.Engine, engines.Items)
	in, err := r.planInput(ctx, o)
	if err != nil {
		return First{}, err
	}
	in.Look.Wanted = false // the question is what comes after it
	d := plan.Next(in)
	if d.Kind != plan.KindLaunch {
		return First{Why: d.Message}, nil
	}
	_, name := attempt.SplitVariant(d.Next.Variant)
	e := o.named(attempt.EngineOf(d.Next.Variant, o.engine.Name))
	i := slices.IndexFunc(e.Spec.Variants, func(v v1alpha1.Variant) bool { return v.Name == name })
	if i < 0 {
		return First{}, fmt.Errorf("the ladder of PoseJob %s gives variant %s, which PoseEngine %s has not", client.ObjectKeyFromObject(job), d.Next.Variant, e.Name)
	}
	first := First{Attempt: &d.Next, Engine: e, Variant: &e.Spec.Variants[i], Request: o.ask().Request}
	if reuse.Wanted(job, r.Reuse.Default) {
		want := o.wanted()
		first.Look = &want
	}
	return first, nil
}
