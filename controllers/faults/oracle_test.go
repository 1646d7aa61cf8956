package faults

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// oracle knows what the API says and nothing else: the objects as the watches show
// them, and what they once said that must not change any more.
type oracle struct {
	pods    map[types.UID]*corev1.Pod
	jobs    map[types.UID]*v1alpha1.PoseJob
	batches map[types.UID]*v1alpha1.PoseBatch
	// made are the attempts' pods that there ever were, by job and then uid.
	made map[types.UID]map[types.UID]string
	// proven are the pods in which deliver, or the look, showed a result.
	proven map[types.UID]bool
	// clips are the PoseJobs that a batch ever made for a video.
	clips map[string]map[types.UID]bool
	// purged are the jobs whose results a pod removed.
	purged map[types.UID]bool

	broken []string
}

func newOracle() *oracle {
	return &oracle{
		pods: map[types.UID]*corev1.Pod{}, jobs: map[types.UID]*v1alpha1.PoseJob{}, batches: map[types.UID]*v1alpha1.PoseBatch{},
		made: map[types.UID]map[types.UID]string{}, proven: map[types.UID]bool{}, clips: map[string]map[types.UID]bool{},
		purged: map[types.UID]bool{},
	}
}

func (o *oracle) breaks(format string, args ...any) {
	o.broken = append(o.broken, fmt.Sprintf(format, args...))
}

// take an event of a watch.
func (o *oracle) take(e watch.Event) {
	gone := e.Type == watch.Deleted
	switch obj := e.Object.(type) {
	case *corev1.Pod:
		track(o.pods, obj, gone)
		o.pod(obj)
	case *v1alpha1.PoseJob:
		before := o.jobs[obj.UID]
		track(o.jobs, obj, gone)
		o.job(before, obj)
		if gone && obj.Spec.Output.DeletionPolicy == v1alpha1.DeletionDelete && len(obj.Status.Attempts) > 0 && !o.purged[obj.UID] {
			o.breaks("PoseJob %s went and left its results", obj.Name)
		}
	case *v1alpha1.PoseBatch:
		before := o.batches[obj.UID]
		track(o.batches, obj, gone)
		if before != nil {
			o.terminal("PoseBatch "+obj.Name, before.Status.Conditions, obj.Status.Conditions)
		}
	case *metav1.Status:
		o.breaks("the oracle's own watch failed: %s", obj.Message)
	}
}

func track[T client.Object](all map[types.UID]T, o T, gone bool) {
	if gone {
		delete(all, o.GetUID())
		return
	}
	all[o.GetUID()] = o
}

func terminal(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// live: it runs, or may yet. A pod that is being deleted and has no node gets none any
// more: the API server refuses to bind it.
func live(p *corev1.Pod) bool {
	return !terminal(p) && (p.DeletionTimestamp == nil || p.Spec.NodeName != "")
}

// pod changed: never two live ones of a job.
func (o *oracle) pod(p *corev1.Pod) {
	job := types.UID(p.Labels[v1alpha1.LabelJobUID])
	if n := p.Labels[v1alpha1.LabelAttempt]; n != "" && p.Labels[v1alpha1.LabelPurpose] == "" {
		if o.made[job] == nil {
			o.made[job] = map[types.UID]string{}
		}
		o.made[job][p.UID] = n
	}
	var names []string
	for _, other := range o.pods {
		if types.UID(other.Labels[v1alpha1.LabelJobUID]) == job && live(other) {
			names = append(names, other.Name)
		}
	}
	if len(names) > 1 {
		slices.Sort(names)
		o.breaks("two live pods of a job: %v", names)
	}
}

// job changed: attempts stay, verdicts stay, ends stay, and success has its proof.
func (o *oracle) job(before, after *v1alpha1.PoseJob) {
	name := "PoseJob " + after.Name
	if metav1.GetControllerOf(after) != nil {
		uri := after.Spec.Video.URI
		if o.clips[uri] == nil {
			o.clips[uri] = map[types.UID]bool{}
		}
		if o.clips[uri][after.UID] = true; len(o.clips[uri]) > 1 {
			o.breaks("two PoseJobs for the clip %s", uri)
		}
	}
	if meta.IsStatusConditionTrue(after.Status.Conditions, v1alpha1.ConditionComplete) && !o.proof(after) {
		o.breaks("%s is Complete without a pod that proved a result", name)
	}
	if before == nil {
		return
	}
	for _, was := range before.Status.Attempts {
		i := slices.IndexFunc(after.Status.Attempts, func(a v1alpha1.Attempt) bool { return a.Number == was.Number })
		if i < 0 {
			o.breaks("%s lost attempt %d", name, was.Number)
			continue
		}
		if is := after.Status.Attempts[i]; was.FinishTime != nil && (verdict(was) != verdict(is) || !was.FinishTime.Equal(is.FinishTime)) {
			o.breaks("%s changed the verdict of attempt %d from %s to %s", name, was.Number, verdict(was), verdict(is))
		}
	}
	o.terminal(name, before.Status.Conditions, after.Status.Conditions)
}

// verdict of an attempt that ended.
func verdict(a v1alpha1.Attempt) string {
	code := "none"
	if a.ExitCode != nil {
		code = fmt.Sprint(*a.ExitCode)
	}
	return fmt.Sprintf("%s/%s/%s/%s/%s", a.State, a.Reason, a.Action, code, a.Signal)
}

// proof: a pod of an attempt that succeeded, or of the look, showed the result.
func (o *oracle) proof(j *v1alpha1.PoseJob) bool {
	if l := j.Status.Lookup; l != nil && l.State == v1alpha1.LookupFound && o.proven[types.UID(l.PodUID)] {
		return true
	}
	return slices.ContainsFunc(j.Status.Attempts, func(a v1alpha1.Attempt) bool {
		return a.State == v1alpha1.AttemptSucceeded && o.proven[types.UID(a.PodUID)]
	})
}

// terminal conditions do not flip, nor change their reason.
func (o *oracle) terminal(name string, before, after []metav1.Condition) {
	for _, kind := range []string{v1alpha1.ConditionComplete, v1alpha1.ConditionFailed, v1alpha1.ConditionFinished} {
		if !meta.IsStatusConditionTrue(before, kind) {
			continue
		}
		was, is := meta.FindStatusCondition(before, kind), meta.FindStatusCondition(after, kind)
		if is == nil || is.Status != was.Status || is.Reason != was.Reason {
			o.breaks("%s: condition %s/%s flipped to %v", name, kind, was.Reason, is)
		}
	}
}

// end: no pod is left that waits for us, and no attempt was lost.
func (o *oracle) end() {
	for _, p := range o.pods {
		if slices.Contains(p.Finalizers, v1alpha1.FinalizerOutcome) {
			o.breaks("pod %s is left with the finalizer", p.Name)
		}
	}
	for uid, pods := range o.made {
		job := o.jobs[uid]
		if job == nil {
			continue // deleted, with all it knew
		}
		for pod, number := range pods {
			// An attempt that ended before anybody saw its pod has the number alone.
			if !slices.ContainsFunc(job.Status.Attempts, func(a v1alpha1.Attempt) bool {
				return a.PodUID == string(pod) || (a.PodUID == "" && fmt.Sprint(a.Number) == number)
			}) {
				o.breaks("PoseJob %s knows nothing of the pod of attempt %s", job.Name, number)
			}
		}
	}
}
