package posebatch_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/controllers/pace"
	"github.com/pose-dev/pose-operator/controllers/posebatch"
	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
)

// TestTenThousandClips drives the reconciler by hand, on an API server in memory,
// so that the size costs no time: every clip gets one PoseJob, and the batch ends.
func TestTenThousandClips(t *testing.T) {
	t.Parallel()
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	api := newMemory()
	r := &posebatch.Reconciler{
		Client: api, Reader: api, Recorder: events.NewFakeRecorder(1 << 16), Clock: clock.RealClock{},
		Settings: render.Settings{RunnerImage: "runner:v1", Progress: &report.ProgressConfig{URL: "https://localhost" + report.ProgressPath}},
		Pace:     &pace.Pacer{},
	}
	key := client.ObjectKey{Namespace: "team-a", Name: "many"}
	b := &v1alpha1.PoseBatch{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Spec: v1alpha1.PoseBatchSpec{
		Videos: v1alpha1.BatchVideos{Prefix: "s3://videos/in/", MaxVideos: clips.MaxClips}, Output: v1alpha1.BatchOutput{URI: "s3://results/team-a/many"}, Parallelism: 250,
	}}
	if err := api.Create(ctx, b); err != nil {
		t.Fatal(err)
	}
	clear(api.writes)
	rounds, slowest := 0, time.Duration(0)
	reconcile := func() *v1alpha1.PoseBatch {
		t.Helper()
		begun := time.Now()
		if _, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: key}); err != nil {
			t.Fatal(err)
		}
		rounds, slowest = rounds+1, max(slowest, time.Since(begun))
		var b v1alpha1.PoseBatch
		if err := api.Get(ctx, key, &b); err != nil {
			t.Fatal(err)
		}
		return &b
	}
	reconcile()
	reconcile()
	pod := podOf(t, api, v1alpha1.PurposeList)
	var found []clips.Found
	for i := range n {
		f, _ := clips.At("s3://videos/in/", fmt.Sprintf("camera-%02d/clip-%06d.mp4", i%7, i), 1<<20)
		found = append(found, f)
	}
	list, _ := clips.Name(found)
	pages := clips.Chunks(list)
	for i, page := range pages {
		if err := r.TakeClips(ctx, pod, report.ClipsPage{Page: int32(i), Clips: page}); err != nil {
			t.Fatal(err)
		}
	}
	ends(t, api, pod, report.Termination{Result: report.ResultOK, List: &report.ListReport{Pages: int32(len(pages)), Clips: int32(n)}})

	made := map[string]bool{}
	for {
		b = reconcile()
		if c := b.Status.Counts; c != nil && c.Running > 250 {
			t.Fatalf("%d clips run", c.Running)
		}
		if b.Status.Phase == v1alpha1.BatchPhaseIndexing {
			break
		}
		if rounds > 20*n {
			t.Fatalf("no end: %+v", b.Status)
		}
		var jobs v1alpha1.PoseJobList
		if err := api.List(ctx, &jobs, client.InNamespace("team-a")); err != nil {
			t.Fatal(err)
		}
		for i := range jobs.Items {
			j := &jobs.Items[i]
			if made[string(j.UID)] {
				continue
			}
			made[string(j.UID)] = true
			now := metav1.Now()
			j.Status.CompletionTime, j.Status.Attempts = &now, []v1alpha1.Attempt{{Number: 1, Device: v1alpha1.GPU, FinishTime: &now, Seconds: &v1alpha1.AttemptSeconds{Engine: 20}}}
			if err := finishIn(api, j); err != nil {
				t.Fatal(err)
			}
		}
	}
	reconcile()
	ends(t, api, podOf(t, api, v1alpha1.PurposeIndex), report.Termination{Result: report.ResultOK, Index: &report.IndexReport{URI: "s3://results/team-a/many/batch.json", SHA256: strings.Repeat("a", 64), Clips: int32(n)}})
	b = reconcile()
	if !meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionComplete) || int(b.Status.Counts.Succeeded) != n || len(made) != n || int(b.Status.GPUSeconds) != 20*n {
		t.Errorf("%d PoseJobs, status %+v", len(made), b.Status)
	}
	total := 0
	for kind, k := range api.writes {
		if !strings.Contains(kind, "status *v1alpha1.PoseJob") && !strings.Contains(kind, "status *v1.Pod") { // the test's own
			t.Logf("%-28s %6d", kind, k)
			total += k
		}
	}
	t.Logf("%d clips in %d chunks by %d reconciles, the slowest took %s; %.2f writes a clip", n, len(pages), rounds, slowest.Round(time.Millisecond), float64(total)/float64(n))
	if api.writes["create *v1alpha1.PoseJob"] != n || total > 4*n {
		t.Errorf("%d writes for %d clips: %v", total, n, api.writes)
	}
}

// TestAManagerWithOldCopies makes nothing again, and writes nothing over what is newer.
func TestAManagerWithOldCopies(t *testing.T) {
	t.Parallel()
	api := newMemory()
	reconciler := func(c client.Client) *posebatch.Reconciler {
		return &posebatch.Reconciler{Client: c, Reader: api, Recorder: events.NewFakeRecorder(1 << 10), Clock: clock.RealClock{}, Settings: render.Settings{RunnerImage: "runner:v1"}, Pace: &pace.Pacer{}}
	}
	b := &v1alpha1.PoseBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "many"}, Spec: v1alpha1.PoseBatchSpec{
		Videos:      v1alpha1.BatchVideos{URIs: []string{"s3://videos/a.mp4", "s3://videos/b.mp4", "s3://videos/c.mp4"}, MaxVideos: 10},
		Output:      v1alpha1.BatchOutput{URI: "s3://results/team-a/many"},
		Parallelism: 2,
	}}
	if err := api.Create(ctx, b); err != nil {
		t.Fatal(err)
	}
	request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(b)}
	reconcile := func(r *posebatch.Reconciler) {
		t.Helper()
		if _, err := r.Reconcile(ctx, request); err != nil {
			t.Fatal(err)
		}
	}
	records := func() []corev1.ConfigMap {
		var maps corev1.ConfigMapList
		if err := api.List(ctx, &maps); err != nil {
			t.Fatal(err)
		}
		return maps.Items
	}
	old := map[string][]corev1.ConfigMap{}
	r := reconciler(api)
	for range 8 {
		reconcile(r)
		now := records()
		for _, m := range now {
			old[m.Data["states"]] = now
		}
		var jobs v1alpha1.PoseJobList
		if err := api.List(ctx, &jobs); err != nil {
			t.Fatal(err)
		}
		for i := range min(1, len(jobs.Items)) {
			if err := finishIn(api, &jobs.Items[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	end := records()[0]
	if end.Data["states"] != "SSS" || len(old) < 4 {
		t.Fatalf("states %s, %d copies", end.Data["states"], len(old))
	}
	made := api.writes["create *v1alpha1.PoseJob"]
	for states, copies := range old {
		second := reconciler(&stale{api, copies})
		reconcile(second)
		reconcile(second)
		if now := records()[0]; now.ResourceVersion != end.ResourceVersion {
			t.Errorf("by the copy %s the record became %s", states, now.Data["states"])
		}
	}
	if n := api.writes["create *v1alpha1.PoseJob"]; n != made || made != 3 {
		t.Errorf("%d PoseJobs were made, then %d", made, n)
	}
}

// TestPoseJobsThatAQuotaRefuses: the batch says where it stands, and goes on when
// there is room again.
func TestPoseJobsThatAQuotaRefuses(t *testing.T) {
	t.Parallel()
	api := newMemory()
	r := &posebatch.Reconciler{Client: api, Reader: api, Recorder: events.NewFakeRecorder(1 << 10), Clock: clock.RealClock{}, Settings: render.Settings{RunnerImage: "runner:v1"}, Pace: &pace.Pacer{}}
	b := &v1alpha1.PoseBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "many"}, Spec: v1alpha1.PoseBatchSpec{
		Videos: v1alpha1.BatchVideos{URIs: []string{"s3://videos/a.mp4", "s3://videos/b.mp4"}, MaxVideos: 10}, Output: v1alpha1.BatchOutput{URI: "s3://results/team-a/many"}, Parallelism: 2,
	}}
	if err := api.Create(ctx, b); err != nil {
		t.Fatal(err)
	}
	request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(b)}
	if _, err := r.Reconcile(ctx, request); err != nil {
		t.Fatal(err)
	}
	api.refuses = apierrors.NewForbidden(resource(&v1alpha1.PoseJob{}), "x", errors.New("exceeded quota"))
	if _, err := r.Reconcile(ctx, request); !apierrors.IsForbidden(err) {
		t.Fatalf("Reconcile = %v, want to come again", err)
	}
	if err := api.Get(ctx, request.NamespacedName, b); err != nil || b.Status.Counts == nil || b.Status.Counts.Running != 2 {
		t.Errorf("%v, status %+v", err, b.Status)
	}
	api.refuses = nil
	if _, err := r.Reconcile(ctx, request); err != nil {
		t.Fatal(err)
	}
	if n := api.writes["create *v1alpha1.PoseJob"]; n != 2 {
		t.Errorf("%d PoseJobs", n)
	}
}

func finishIn(api client.Client, j *v1alpha1.PoseJob) error {
	for _, k := range []string{v1alpha1.ConditionFinished, v1alpha1.ConditionComplete} {
		meta.SetStatusCondition(&j.Status.Conditions, metav1.Condition{Type: k, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSucceeded})
	}
	return api.Status().Update(ctx, j)
}

func podOf(t *testing.T, api client.Client, purpose string) *corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	if err := api.List(ctx, &pods, client.MatchingLabels{v1alpha1.LabelPurpose: purpose}); err != nil || len(pods.Items) != 1 {
		t.Fatalf("%d pods to %s, %v", len(pods.Items), purpose, err)
	}
	return &pods.Items[0]
}

func ends(t *testing.T, api client.Client, pod *corev1.Pod, term report.Termination) {
	t.Helper()
	purpose := pod.Labels[v1alpha1.LabelPurpose]
	term.Role = report.Role(purpose)
	pod.Status.Phase = corev1.PodSucceeded
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: purpose, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: string(term.Marshal())}}}}
	if err := api.Status().Update(ctx, pod); err != nil {
		t.Fatal(err)
	}
}
