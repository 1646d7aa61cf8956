//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

// leader is the pod that holds the lease.
func leader(t *testing.T) string {
	t.Helper()
	var lease *coordinationv1.Lease
	lease, err := env.Clientset.CoordinationV1().Leases("pose-system").Get(t.Context(), "pose-operator.pose.dev", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		t.Fatalf("nobody leads: %v", err)
	}
	pod, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	return pod
}

// TestTheLeaderIsDeleted while a job runs: the other replica takes over, goes on showing
// the job's progress, which its pod reports to the same address, and the job notices
// nothing.
func TestTheLeaderIsDeleted(t *testing.T) {
	key := start(t, job("leader", "mediapipe", "good.mp4", func(j *v1alpha1.PoseJob) {
		j.Spec.Video.Frames = &v1alpha1.FrameRange{End: 120}
	}))
	frames := func(j *v1alpha1.PoseJob) int64 {
		if j.Status.Progress == nil {
			return 0
		}
		return j.Status.Progress.Frames
	}
	j := await(t, key, func(j *v1alpha1.PoseJob) bool { return frames(j) > 0 || harness.Finished(j) })
	if harness.Finished(j) {
		t.Fatalf("it ended before progress was seen:\n%s", describe(j))
	}
	before, seen := leader(t), frames(j)
	if err := env.Clientset.CoreV1().Pods("pose-system").Delete(t.Context(), before, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for leader(t) == before {
		if ctx.Err() != nil {
			t.Fatal("the lease stays with the replica that was deleted")
		}
		time.Sleep(200 * time.Millisecond)
	}
	j = await(t, key, func(j *v1alpha1.PoseJob) bool { return frames(j) > seen || harness.Finished(j) })
	if harness.Finished(j) {
		t.Fatalf("no progress was seen after %s took over from %s:\n%s", leader(t), before, describe(j))
	}
	j = await(t, key, harness.Finished)
	complete(t, j, 120)
	if len(j.Status.Attempts) != 1 {
		t.Errorf("the job noticed:\n%s", describe(j))
	}
}
