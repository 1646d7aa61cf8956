package errand_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/controllers/errand"
)

func TestAbandoned(t *testing.T) {
	made := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	pod := func(seconds *int64) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(made)}, Spec: corev1.PodSpec{ActiveDeadlineSeconds: seconds}}
	}
	deleted := pod(new(int64(600)))
	deleted.DeletionTimestamp = &metav1.Time{Time: made}
	for name, c := range map[string]struct {
		pod   *corev1.Pod
		after time.Duration
		want  bool
	}{
		"somebody may wait": {pod(new(int64(600))), 10 * time.Minute, false},
		"nobody waits":      {pod(new(int64(600))), 10*time.Minute + time.Second, true},
		"a clock that lags": {pod(new(int64(600))), -time.Hour, false},
		"it goes already":   {deleted, time.Hour, false},
		"none that we made": {pod(nil), time.Hour, false},
	} {
		if got := errand.Abandoned(c.pod, made.Add(c.after)); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
