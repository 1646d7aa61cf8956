package posejob

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
	"github.com/pose-dev/pose-operator/controllers/internal/status"
)

var (
	attemptsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pose_attempts_total",
		Help: "Attempts that ended, by engine, variant, device and reason (Succeeded for those that did).",
	}, []string{"engine", "variant", "device", "reason"})
	jobsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pose_jobs_finished_total",
		Help: "PoseJobs that ended, by engine and reason (Succeeded for those that did).",
	}, []string{"engine", "reason"})
	jobSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "pose_job_duration_seconds",
		Help:    "Time from taking a PoseJob up to its end.",
		Buckets: prometheus.ExponentialBuckets(5, 2, 14),
	}, []string{"engine", "outcome"})
	skippedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pose_variants_skipped_total",
		Help: "Variants that jobs did not try, by engine, variant and reason.",
	}, []string{"engine", "variant", "reason"})
	lookupsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pose_reuse_lookups_total",
		Help: "Looks at the places of jobs before any attempt, by result: Found, NotFound, Refused or Skipped.",
	}, []string{"result"})
)

func init() {
	metrics.Registry.MustRegister(attemptsTotal, jobsTotal, jobSeconds, skippedTotal, lookupsTotal)
}

// tell events and metrics, after the status is persisted. There is no event for
// what status says anyway: a success makes none.
func (r *Reconciler) tell(o *observation, d plan.Decision, next v1alpha1.PoseJobStatus) {
	for _, a := range next.Attempts {
		if !slices.Contains(o.fresh, a.Number) {
			continue
		}
		reason := a.Reason
		if a.State == v1alpha1.AttemptSucceeded {
			reason = v1alpha1.ReasonSucceeded
		} else {
			r.warn(o.job, a.Reason, string(a.Action), a.Message)
		}
		engine, variant := of(a.Variant, next.EngineName)
		attemptsTotal.WithLabelValues(engine, variant, string(a.Device), reason).Inc()
	}
	if o.look.Fresh {
		lookupsTotal.WithLabelValues(string(o.look.Status.State)).Inc()
	}
	r.tellCost(o, d)
	r.tellSkips(o, next)
	r.tellMismatch(o, next)
	if !finishedBy(d) {
		return
	}
	reason, outcome := v1alpha1.ReasonSucceeded, "Succeeded"
	if d.Kind == plan.KindFail {
		reason, outcome = d.Reason, "Failed"
	}
	jobsTotal.WithLabelValues(next.EngineName, reason).Inc()
	if next.StartTime != nil {
		jobSeconds.WithLabelValues(next.EngineName, outcome).Observe(o.now.Sub(next.StartTime.Time).Seconds())
	}
}

// of splits a variant's name in a record, for metrics by engine.
func of(name, own string) (engine, variant string) {
	_, variant = attempt.SplitVariant(name)
	return attempt.EngineOf(name, own), variant
}

// eventCPUAttempt: an attempt on the CPU begins, which takes its time.
const eventCPUAttempt = "CPUAttempt"

// tellCost of an attempt on the CPU, once, before its pod is made.
func (r *Reconciler) tellCost(o *observation, d plan.Decision) {
	if d.Kind == plan.KindLaunch && d.Cost != "" {
		r.event(o.job, corev1.EventTypeNormal, eventCPUAttempt, "Launch", status.OnCPU(d.Next, d.Cost))
	}
}

// tellSkips: variants that were left out just now.
func (r *Reconciler) tellSkips(o *observation, next v1alpha1.PoseJobStatus) {
	for _, v := range next.SkippedVariants {
		if slices.ContainsFunc(o.job.Status.SkippedVariants, func(b v1alpha1.SkippedVariant) bool { return b.Variant == v.Variant && b.Reason == v.Reason }) {
			continue
		}
		engine, variant := of(v.Variant, next.EngineName)
		skippedTotal.WithLabelValues(engine, variant, v.Reason).Inc()
		r.warn(o.job, v.Reason, "Skip", "variant "+v.Variant+" was skipped: "+v.Message)
	}
}

// tellMismatch: a GPU was held and idle.
func (r *Reconciler) tellMismatch(o *observation, next v1alpha1.PoseJobStatus) {
	c := meta.FindStatusCondition(next.Conditions, v1alpha1.ConditionDeviceMismatch)
	if c != nil && !meta.IsStatusConditionTrue(o.job.Status.Conditions, c.Type) {
		r.warn(o.job, c.Reason, "Run", c.Message)
	}
}

// maxNote bounds an event's note; the API allows 1024 bytes.
const maxNote = 900

func (r *Reconciler) warn(job *v1alpha1.PoseJob, reason, action, note string) {
	r.event(job, corev1.EventTypeWarning, reason, action, note)
}

func (r *Reconciler) event(job *v1alpha1.PoseJob, kind, reason, action, note string) {
	if r.Recorder == nil {
		return
	}
	note = failure.Clean(note, maxNote)
	if action == "" {
		action = "Reconcile"
	}
	r.Recorder.Eventf(job, nil, kind, reason, action, "%s", note)
}
