package posejob

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/controllers/internal/status"
	"github.com/pose-dev/pose-operator/controllers/removal"
)

// read the job and every pod whose controller has its name, whatever its uid.
func (r *Reconciler) read(ctx context.Context, req ctrl.Request) (*v1alpha1.PoseJob, []corev1.Pod, error) {
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.InNamespace(req.Namespace), client.MatchingFields{ownerIndex: req.Name}); err != nil {
		return nil, nil, fmt.Errorf("list pods of PoseJob %s: %w", req, err)
	}
	var job v1alpha1.PoseJob
	if err := r.Client.Get(ctx, req.NamespacedName, &job); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, pods.Items, nil
		}
		return nil, nil, fmt.Errorf("get PoseJob %s: %w", req, err)
	}
	return &job, pods.Items, nil
}

// split the job's own pods from those of an earlier job of the same name.
func split(job *v1alpha1.PoseJob, pods []corev1.Pod) (own, others []corev1.Pod) {
	for _, p := range pods {
		if job != nil && belongs(&p, job) {
			own = append(own, p)
		} else {
			others = append(others, p)
		}
	}
	return own, others
}

// belongs says whether a pod is the job's own. The pod that removes its results is
// so without being controlled by it.
func belongs(p *corev1.Pod, job *v1alpha1.PoseJob) bool {
	return slices.ContainsFunc(p.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == job.UID })
}

// release pods whose owner is gone or going: nobody records their outcome.
func (r *Reconciler) release(ctx context.Context, pods []corev1.Pod) error {
	for i := range pods {
		if err := removal.Release(ctx, r.Client, &pods[i]); err != nil {
			return err
		}
	}
	return nil
}

// act carries the decision out; the status says so already.
func (r *Reconciler) act(ctx context.Context, o *observation, d plan.Decision, next v1alpha1.PoseJobStatus) error {
	switch d.Kind {
	case plan.KindLaunch:
		if d.Next.NotBefore == nil || !o.now.Before(d.Next.NotBefore.Time) {
			if err := r.create(ctx, o, &d.Next, next); err != nil {
				return err
			}
		}
	case plan.KindCreate:
		if err := r.create(ctx, o, &next.Attempts[len(next.Attempts)-1], next); err != nil {
			return err
		}
	case plan.KindLook, plan.KindCreateLook:
		if err := r.createLook(ctx, o); err != nil {
			return err
		}
	case plan.KindEndLook:
		if err := r.endLook(ctx, o); err != nil {
			return err
		}
	case plan.KindEndPod:
		if err := r.endPod(ctx, o); err != nil {
			return err
		}
	}
	return r.releaseRecorded(ctx, o.pods, next.Attempts)
}

func (r *Reconciler) create(ctx context.Context, o *observation, a *v1alpha1.Attempt, next v1alpha1.PoseJobStatus) error {
	e := o.engine.Engine
	other, variant := attempt.SplitVariant(a.Variant)
	if other != "" {
		e = o.fallback.Engine
	}
	if e == nil || (other != "" && e.Name != other) {
		return r.abandon(ctx, o, a, fmt.Sprintf("variant %s of PoseEngine %s got no pod: %s", variant, other, o.withoutFallback(other)))
	}
	i := slices.IndexFunc(e.Spec.Variants, func(v v1alpha1.Variant) bool { return v.Name == variant })
	if i < 0 {
		return r.abandon(ctx, o, a, fmt.Sprintf("variant %s was removed from PoseEngine %s before its pod was made", variant, e.Name))
	}
	if why := r.Policy.DeniedVariant(&e.Spec.Variants[i]); why != "" {
		return r.abandon(ctx, o, a, why)
	}
	// The job as it is after the write; nothing of the cache's own is changed.
	after := v1alpha1.PoseJob{TypeMeta: o.job.TypeMeta, ObjectMeta: o.job.ObjectMeta, Spec: o.job.Spec, Status: next}
	pod, err := render.Pod(&after, e, &e.Spec.Variants[i], a, o.ask().Request, r.Settings)
	if err != nil {
		return fmt.Errorf("attempt %d of PoseJob %s: %w", a.Number, client.ObjectKeyFromObject(o.job), err)
	}
	err = r.Client.Create(ctx, pod)
	switch {
	case err == nil:
		log.FromContext(ctx).Info("Pod created", "pod", pod.Name, "attempt", a.Number, "variant", a.Variant, "device", a.Device)
		return nil
	case apierrors.IsAlreadyExists(err):
		return r.adopt(ctx, o.job, pod)
	case apierrors.IsInvalid(err):
		return r.abandon(ctx, o, a, "the API server refuses the pod: "+err.Error())
	}
	r.warn(o.job, "PodCreateFailed", "Create", err.Error())
	return fmt.Errorf("create pod %s/%s: %w", pod.Namespace, pod.Name, err)
}

// errAbandoned says that an attempt was just recorded as failed: there is
// something new to decide, and no pod whose events would bring the job back.
var errAbandoned = errors.New("the attempt's pod can never be made")

// abandon an attempt whose pod can never be made.
func (r *Reconciler) abandon(ctx context.Context, o *observation, a *v1alpha1.Attempt, why string) error {
	updated := &v1alpha1.PoseJob{}
	if err := r.Reader.Get(ctx, client.ObjectKeyFromObject(o.job), updated); err != nil {
		return client.IgnoreNotFound(err)
	}
	before := updated.DeepCopy()
	for i := range updated.Status.Attempts {
		if t := &updated.Status.Attempts[i]; t.Number == a.Number && t.State == v1alpha1.AttemptIntended {
			now := metav1.NewTime(o.now)
			t.State, t.FinishTime = v1alpha1.AttemptFailed, &now
			t.Reason, t.Action = v1alpha1.ReasonPodNotStartable, plan.ActionFor(v1alpha1.ReasonPodNotStartable)
			t.Message = status.Message(why)
		}
	}
	if err := r.Client.Status().Patch(ctx, updated, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("record that attempt %d cannot start: %w", a.Number, err)
	}
	r.warn(o.job, v1alpha1.ReasonPodNotStartable, string(plan.ActionFor(v1alpha1.ReasonPodNotStartable)), why)
	return errAbandoned
}

// adopt a pod that exists already: it must be this very job's.
func (r *Reconciler) adopt(ctx context.Context, job *v1alpha1.PoseJob, want *corev1.Pod) error {
	var have corev1.Pod
	if err := r.Reader.Get(ctx, client.ObjectKeyFromObject(want), &have); err != nil {
		return fmt.Errorf("read pod %s/%s that exists already: %w", want.Namespace, want.Name, err)
	}
	if !belongs(&have, job) {
		err := fmt.Errorf("pod %s/%s exists and does not belong to PoseJob %s (uid %s): delete it, or give the PoseJob another name", have.Namespace, have.Name, job.Name, job.UID)
		r.warn(job, "PodNameTaken", "Create", err.Error())
		return err
	}
	return nil
}

// endPod deletes the live pod, by uid, and never by force.
func (r *Reconciler) endPod(ctx context.Context, o *observation) error {
	for _, a := range o.attempts {
		if !a.Live() || a.Pod.Deleting {
			continue
		}
		if err := removal.DeletePod(ctx, r.Client, o.job.Namespace, a.Pod.Name, a.Pod.UID); err != nil {
			return err
		}
		log.FromContext(ctx).Info("Pod ended", "pod", a.Pod.Name, "attempt", a.Number)
	}
	return nil
}

// releaseRecorded lets pods go whose outcome is written.
func (r *Reconciler) releaseRecorded(ctx context.Context, pods []corev1.Pod, records []v1alpha1.Attempt) error {
	for i := range pods {
		if recorded(&pods[i], records) == nil {
			continue
		}
		if err := removal.Release(ctx, r.Client, &pods[i]); err != nil {
			return err
		}
	}
	return nil
}

// recorded gives the attempt of an ended pod whose outcome stands, or nil.
func recorded(pod *corev1.Pod, records []v1alpha1.Attempt) *v1alpha1.Attempt {
	if view := attempt.View(pod); view.Live() {
		return nil
	}
	i := slices.IndexFunc(records, func(a v1alpha1.Attempt) bool {
		return a.PodUID == string(pod.UID) && a.FinishTime != nil
	})
	if i < 0 {
		return nil
	}
	return &records[i]
}

// withoutFallback says why an attempt of the other engine cannot be made any more.
func (o *observation) withoutFallback(other string) string {
	switch {
	case o.job.Spec.Fallback.Engine != v1alpha1.Allow:
		return "spec.fallback.engine denies another engine by now"
	case o.engine.Engine != nil && o.engine.Engine.Spec.FallbackEngineName != other:
		return fmt.Sprintf("PoseEngine %s falls back to another engine by now", o.engine.Engine.Name)
	}
	return "that engine is no longer there or not ready"
}

// afterEnd looks after what is left of a finished job: its pods and itself.
func (r *Reconciler) afterEnd(ctx context.Context, job *v1alpha1.PoseJob, pods []corev1.Pod) (ctrl.Result, error) {
	now := r.Clock.Now()
	for i := range pods {
		view := attempt.View(&pods[i])
		if !view.Live() {
			// Recorded or not: nothing more is recorded.
			if err := removal.Release(ctx, r.Client, &pods[i]); err != nil {
				return ctrl.Result{}, err
			}
			continue
		}
		// A creation that timed out here may still have happened there.
		if !view.Deleting {
			if err := removal.DeletePod(ctx, r.Client, job.Namespace, view.Name, view.UID); err != nil {
				return ctrl.Result{}, err
			}
		}
	}
	again, err := r.reap(ctx, job, pods, &job.Status, now)
	if err != nil {
		return ctrl.Result{}, err
	}
	if job.Spec.TTLSecondsAfterFinished == nil || job.Status.CompletionTime == nil {
		return ctrl.Result{RequeueAfter: again}, nil
	}
	left := job.Status.CompletionTime.Add(time.Duration(*job.Spec.TTLSecondsAfterFinished) * time.Second).Sub(now)
	if left <= 0 {
		return ctrl.Result{}, r.expire(ctx, job)
	}
	return ctrl.Result{RequeueAfter: sooner(again, left)}, nil
}

// reap deletes the pods of recorded attempts, and of a recorded look, whose time is
// over and says when the next one's is; zero means never.
func (r *Reconciler) reap(ctx context.Context, job *v1alpha1.PoseJob, pods []corev1.Pod, s *v1alpha1.PoseJobStatus, now time.Time) (time.Duration, error) {
	var again time.Duration
	ttl := time.Duration(ptr.Deref(job.Spec.PodTTLSecondsAfterFinished, 0)) * time.Second
	for i := range pods {
		end := endedAt(&pods[i], s)
		if end == nil || pods[i].DeletionTimestamp != nil {
			continue
		}
		if left := end.Add(ttl).Sub(now); left > 0 {
			again = sooner(again, left)
			continue
		}
		if err := removal.DeletePod(ctx, r.Client, job.Namespace, pods[i].Name, string(pods[i].UID)); err != nil {
			return 0, err
		}
	}
	return again, nil
}

// endedAt is when the outcome of an ended pod was recorded; nil where it was not.
func endedAt(pod *corev1.Pod, s *v1alpha1.PoseJobStatus) *metav1.Time {
	if a := recorded(pod, s.Attempts); a != nil {
		return a.FinishTime
	}
	if l := s.Lookup; l != nil && l.PodUID == string(pod.UID) && l.State != v1alpha1.LookupRunning {
		if view := attempt.View(pod); !view.Live() {
			return l.FinishTime
		}
	}
	return nil
}

// sooner of two waits, where zero means never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// expire deletes a finished job after a last look past the cache: its TTL may
// just have been raised.
func (r *Reconciler) expire(ctx context.Context, job *v1alpha1.PoseJob) error {
	var fresh v1alpha1.PoseJob
	if err := r.Reader.Get(ctx, client.ObjectKeyFromObject(job), &fresh); err != nil {
		return client.IgnoreNotFound(err)
	}
	if fresh.UID != job.UID || fresh.ResourceVersion != job.ResourceVersion {
		return nil // the newer version comes by the watch
	}
	err := r.Client.Delete(ctx, &fresh, client.Preconditions{UID: &fresh.UID, ResourceVersion: &fresh.ResourceVersion},
		client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete PoseJob %s after its TTL: %w", client.ObjectKeyFromObject(job), err)
	}
	return nil
}
