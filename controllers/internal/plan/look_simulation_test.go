package plan_test

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
)

// beginLook makes the look's pod.
func (w *world) beginLook() {
	t := w.t
	switch {
	case w.pod != nil || w.lookPod != nil || len(w.records) > 0:
		t.Fatalf("a look beside a pod, or after an attempt")
	case w.spec.Suspend:
		t.Fatalf("a look while the job is suspended")
	case rapid.IntRange(0, 9).Draw(t, "the API server fails") == 0:
		return
	}
	w.lookPod = &attempt.Pod{Name: "look", UID: "look", Node: "n1", Phase: corev1.PodRunning, Created: metav1.NewTime(w.now)}
	if rapid.IntRange(0, 4).Draw(t, "no node takes the look") == 0 {
		w.lookPod.Phase, w.lookPod.Node, w.lookPod.Unschedulable = corev1.PodPending, "", "0/3 nodes are available"
	} else if s := w.spec.Video.CredentialsSecretRef; s != nil && rapid.IntRange(0, 2).Draw(t, "the Secret is missing") == 0 {
		w.lookPod.Phase, w.lookPod.ScheduledAt, w.lookPod.Unprepared = corev1.PodPending, w.now, true
		w.lookPod.Unmounted = attempt.Unmounted{Secret: s.Name}
	}
}

// endLook of a pod that has gone, as package lookup judges it.
func (w *world) endLook(state v1alpha1.LookupState) {
	w.lookPod = nil
	if w.look.State != v1alpha1.LookupRunning {
		return
	}
	if state == v1alpha1.LookupSkipped && w.look.Reason == v1alpha1.ReasonSuspendedAttempt {
		w.look = nil
		w.lookForgot++
		return
	}
	if state == v1alpha1.LookupSkipped && w.look.Reason == v1alpha1.ReasonSecretMissing {
		w.look.State = v1alpha1.LookupRefused
		return
	}
	if w.look.State = state; state == v1alpha1.LookupRefused {
		w.look.Reason, w.look.Message = v1alpha1.ReasonInputUnavailable, "refused"
	}
	w.done = w.done || state == v1alpha1.LookupFound
}

// lookEvent: the look's pod ends in some way, or goes.
func (w *world) lookEvent() {
	if w.lookPod.Deleting {
		w.endLook(v1alpha1.LookupSkipped)
		return
	}
	w.endLook(rapid.SampledFrom([]v1alpha1.LookupState{v1alpha1.LookupNotFound, v1alpha1.LookupNotFound, v1alpha1.LookupSkipped, v1alpha1.LookupSkipped, v1alpha1.LookupRefused, v1alpha1.LookupFound}).Draw(w.t, "look ends"))
}

// noPodForLong: the look is given up, as package lookup does.
func (w *world) noPodForLong() {
	if w.look != nil && w.look.State == v1alpha1.LookupRunning && w.lookPod == nil {
		switch {
		case w.spec.Suspend || w.look.Reason == v1alpha1.ReasonSuspendedAttempt:
			w.look = nil
			w.lookForgot++
		case !w.now.Before(w.look.StartTime.Add(plan.LookPatience)):
			w.look.State = v1alpha1.LookupSkipped
		}
	}
}
