package poseengine

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/learn"
)

// Reasons of events.
const (
	// EventVariantSkipped: jobs skip a variant on a kind of GPU from now on.
	EventVariantSkipped = "VariantSkipped"
	// EventVariantTriedAgain: they skip it no longer.
	EventVariantTriedAgain = "VariantTriedAgain"
	// EventNodeAvoided: jobs would rather run on other nodes from now on.
	EventNodeAvoided = "NodeAvoided"
)

var (
	learnedSkips = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "pose_learned_skips",
		Help: "1 while jobs skip a variant on a product of GPU because it crashed there again and again.",
	}, []string{"engine", "variant", "gpu_product"})
	learnedNodesAvoided = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "pose_learned_nodes_avoided",
		Help: "Nodes that jobs of an engine avoid because attempts failed there again and again.",
	}, []string{"engine"})
)

func init() { metrics.Registry.MustRegister(learnedSkips, learnedNodesAvoided) }

func forgetMetrics(engine string) {
	of := prometheus.Labels{"engine": engine}
	learnedSkips.DeletePartialMatch(of)
	learnedNodesAvoided.DeletePartialMatch(of)
}

// tell events and metrics, after the status is persisted.
func (r *Reconciler) tell(old, e *v1alpha1.PoseEngine, now time.Time) {
	learnedSkips.DeletePartialMatch(prometheus.Labels{"engine": e.Name})
	for _, s := range learn.Skipped(&e.Status, now) {
		learnedSkips.WithLabelValues(e.Name, s.Variant, s.GPUProduct).Set(1)
	}
	learnedNodesAvoided.WithLabelValues(e.Name).Set(float64(len(learn.Avoided(&e.Status, now))))
	current := notes(&e.Status, now)
	before := r.Memory.tell(e.Name, notes(&old.Status, now), current)
	for _, k := range slices.Sorted(maps.Keys(current)) {
		if _, known := before[k]; known {
			continue
		}
		if strings.HasPrefix(k, ofNode) {
			r.event(e, corev1.EventTypeWarning, EventNodeAvoided, "Avoid", current[k])
		} else {
			r.event(e, corev1.EventTypeWarning, EventVariantSkipped, "Skip", current[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(before)) {
		if _, still := current[k]; !still && !strings.HasPrefix(k, ofNode) {
			r.event(e, corev1.EventTypeNormal, EventVariantTriedAgain, "Try", strings.TrimPrefix(k, ofVariant)+" is tried again")
		}
	}
}

// What a note is of.
const (
	ofVariant = "variant "
	ofNode    = "node "
)

// notes on every skip and avoidance that holds, by what it is of.
func notes(s *v1alpha1.PoseEngineStatus, now time.Time) map[string]string {
	out := map[string]string{}
	for _, e := range learn.Skipped(s, now) {
		k := ofVariant + e.Variant + " on " + learn.Where(e)
		if e.ImageID != "" {
			k += " with image " + e.ImageID
		}
		out[k] = learn.Describe(e, now)
	}
	for _, n := range learn.Avoided(s, now) {
		out[ofNode+n.Node] = "attempts on node " + n.Node + " failed again and again, last with " + n.Reason + "; other nodes are preferred until " + n.AvoidUntil.UTC().Format(time.RFC3339)
	}
	return out
}

func (r *Reconciler) event(e *v1alpha1.PoseEngine, kind, reason, action, note string) {
	if r.Recorder != nil {
		r.Recorder.Eventf(e, nil, kind, reason, action, "%s", note)
	}
}
