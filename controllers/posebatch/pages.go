package posebatch

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/progress"
	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
)

// TakeClips keeps one page of a list, as the pod that a token is bound to pushed it.
// It answers only once the page is stored.
func (r *Reconciler) TakeClips(ctx context.Context, pod *corev1.Pod, page report.ClipsPage) error {
	attempt, err := strconv.ParseInt(pod.Labels[v1alpha1.LabelAttempt], 10, 32)
	owner := metav1.GetControllerOf(pod)
	if err != nil || owner == nil || owner.Kind != "PoseBatch" || pod.Labels[v1alpha1.LabelPurpose] != v1alpha1.PurposeList {
		return fmt.Errorf("pod %s/%s lists no batch: %w", pod.Namespace, pod.Name, progress.ErrNoSuchPod)
	}
	var b v1alpha1.PoseBatch
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: owner.Name}, &b); err != nil {
		return fmt.Errorf("read PoseBatch %s/%s: %w", pod.Namespace, owner.Name, err)
	}
	l := b.Status.Listing
	current := l != nil && int64(l.Attempt) == attempt && pod.Name == batch.PodName(&b, v1alpha1.PurposeList, l.Attempt)
	if !controls(&b, pod) || b.DeletionTimestamp != nil || !current || batch.Whole(l) || finished(&b) {
		return fmt.Errorf("pod %s/%s does not list its batch now: %w", pod.Namespace, pod.Name, progress.ErrNoSuchPod)
	}
	if page.Page < 0 || page.Page >= clips.MaxChunks {
		return fmt.Errorf("page %d is out of range: %w", page.Page, progress.ErrRefused)
	}
	if err := clips.CheckChunk(page.Clips); err != nil {
		return fmt.Errorf("page %d: %w: %w", page.Page, err, progress.ErrRefused)
	}
	err = r.store(ctx, &b, l.Attempt, int(page.Page), page.Clips)
	var other *errOtherChunk
	if errors.As(err, &other) {
		return fmt.Errorf("page %d: %w: %w", page.Page, other, progress.ErrConflict)
	}
	return err
}
