// Package poseengine tells platform admins whether their engines can be used.
package poseengine

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/engine"
)

// Reconciler writes the status of PoseEngines.
type Reconciler struct {
	Client client.Client
}

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if err := ctrl.NewControllerManagedBy(mgr).Named("poseengine").For(&v1alpha1.PoseEngine{}).Complete(r); err != nil {
		return fmt.Errorf("build the PoseEngine controller: %w", err)
	}
	return nil
}

// Reconcile one engine.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var e v1alpha1.PoseEngine
	if err := r.Client.Get(ctx, req.NamespacedName, &e); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	old := e.DeepCopy()
	ready := engine.Check(&e)
	status := metav1.ConditionFalse
	if ready.Ready {
		status = metav1.ConditionTrue
	}
	e.Status.ObservedGeneration = e.Generation
	meta.SetStatusCondition(&e.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: status, Reason: ready.Reason, Message: ready.Message, ObservedGeneration: e.Generation,
	})
	if equality.Semantic.DeepEqual(old.Status, e.Status) {
		return ctrl.Result{}, nil
	}
	if err := r.Client.Status().Patch(ctx, &e, client.MergeFrom(old)); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(fmt.Errorf("patch status of PoseEngine %s: %w", e.Name, err))
	}
	return ctrl.Result{}, nil
}
