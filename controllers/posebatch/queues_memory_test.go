package posebatch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/controllers/pace"
	"github.com/pose-dev/pose-operator/controllers/posebatch"
	"github.com/pose-dev/pose-operator/controllers/posejob"
	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
)

// starter lets every clip start with a variant that works through many.
type starter struct{}

func (starter) First(context.Context, *v1alpha1.PoseJob) (posejob.First, error) {
	e := gen.Engine("mediapipe").Variants(gen.Variant("cpu", v1alpha1.CPU, func(v *v1alpha1.Variant) { v.ClipsCommand = []string{"engine"} })).Build()
	a := gen.Attempt(1, "cpu", v1alpha1.CPU)
	return posejob.First{Attempt: &a, Engine: e, Variant: &e.Spec.Variants[0]}, nil
}

// inMemory is a batch that its reconciler works on without a server.
type inMemory struct {
	*testing.T
	api   *memory
	batch *v1alpha1.PoseBatch
}

func newInMemory(t *testing.T, n int, change ...func(*v1alpha1.PoseBatch)) *inMemory {
	t.Helper()
	t.Parallel()
	b := &v1alpha1.PoseBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "many"}, Spec: v1alpha1.PoseBatchSpec{
		Videos: v1alpha1.BatchVideos{MaxVideos: clips.MaxClips}, Output: v1alpha1.BatchOutput{URI: "s3://results/team-a/many"}, Parallelism: 1, ClipsPerPod: 3,
	}}
	uris(n)(b)
	for _, c := range change {
		c(b)
	}
	m := &inMemory{T: t, api: newMemory(), batch: b}
	m.must(m.api.Create(ctx, b))
	return m
}

func (m *inMemory) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

func (m *inMemory) reconciler(c client.Client) *posebatch.Reconciler {
	return &posebatch.Reconciler{
		Client: c, Reader: m.api, Recorder: events.NewFakeRecorder(1 << 10), Clock: clock.RealClock{}, Jobs: starter{}, Pace: &pace.Pacer{},
		Settings: render.Settings{RunnerImage: "runner:v1", MediaImage: "media:v1"},
	}
}

func (m *inMemory) reconcile(c client.Client, n int) {
	m.Helper()
	r := m.reconciler(c)
	for range n {
		_, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(m.batch)})
		m.must(err)
	}
}

func (m *inMemory) suspend(suspend bool) {
	m.Helper()
	m.must(m.api.Get(ctx, client.ObjectKeyFromObject(m.batch), m.batch))
	m.batch.Spec.Suspend = suspend
	m.must(m.api.Update(ctx, m.batch))
}

func (m *inMemory) records() []corev1.ConfigMap {
	m.Helper()
	var list corev1.ConfigMapList
	m.must(m.api.List(ctx, &list))
	return list.Items
}

func (m *inMemory) pods() []corev1.Pod {
	m.Helper()
	var list corev1.PodList
	m.must(m.api.List(ctx, &list, client.MatchingLabels{v1alpha1.LabelPurpose: v1alpha1.PurposeQueue}))
	return list.Items
}

// finish a pod: every clip of it was delivered.
func (m *inMemory) finish(pod *corev1.Pod, n int) {
	m.Helper()
	t := report.Termination{Role: report.RoleDeliver, Result: report.ResultOK, Queue: &report.QueueReport{States: strings.Repeat("S", n), Digests: strings.Repeat("0123456789abcdef", n)}}
	pod.Status.Phase = corev1.PodSucceeded
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "deliver", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: string(t.Marshal())}}}}
	m.must(m.api.Status().Update(ctx, pod))
}

// TestOldCopiesWithPods: whatever older copy of a record a manager reads, it makes no pod
// again, lets none go that works, and writes nothing over what is newer.
func TestOldCopiesWithPods(t *testing.T) {
	m := newInMemory(t, 6)
	var copies [][]corev1.ConfigMap
	keep := func() { copies = append(copies, m.records()) }
	m.reconcile(m.api, 1) // the list
	keep()
	m.reconcile(m.api, 1)
	keep()
	m.reconcile(m.api, 1)
	pods := m.pods()
	if len(pods) != 1 || m.records()[0].Data["states"] != "qqq..." {
		t.Fatalf("%d pods, %v", len(pods), m.records()[0].Data)
	}
	keep()
	// While a pod works, the manager reads that nothing was begun.
	for i, old := range copies {
		m.reconcile(&stale{m.api, old}, 2)
		if i < 2 {
			m.suspend(true) // so that it has nothing to begin
			m.reconcile(&stale{m.api, old}, 2)
			m.suspend(false)
		}
		if now := m.pods(); len(now) != 1 || now[0].UID != pods[0].UID || len(now[0].Finalizers) != 1 || now[0].DeletionTimestamp != nil {
			t.Fatalf("by copy %d: %d pods, %+v", i, len(now), now)
		}
	}
	m.finish(&pods[0], 3)
	m.reconcile(m.api, 2)
	pods = m.pods()
	if len(pods) != 1 || m.records()[0].Data["states"] != "SSSqqq" {
		t.Fatalf("%d pods, %v", len(pods), m.records()[0].Data)
	}
	keep()
	m.finish(&pods[0], 3)
	m.reconcile(m.api, 2)
	end := m.records()[0]
	if len(m.pods()) != 0 || end.Data["states"] != "SSSSSS" {
		t.Fatalf("%d pods, %v", len(m.pods()), end.Data)
	}
	// When all is over, it reads that something is to be done.
	for i, old := range copies {
		m.reconcile(&stale{m.api, old}, 2)
		if now := m.records()[0]; now.ResourceVersion != end.ResourceVersion || len(m.pods()) != 0 {
			t.Errorf("by copy %d the record became %s, with %d pods", i, now.Data["states"], len(m.pods()))
		}
	}
}

// TestTenThousandClipsInPods: pods of fifty, and few writes a clip.
func TestTenThousandClipsInPods(t *testing.T) {
	const n = 10_000
	m := newInMemory(t, 500, func(b *v1alpha1.PoseBatch) { b.Spec.Parallelism, b.Spec.ClipsPerPod = 20, 50 })
	m.many(n)
	rounds, slowest := 0, time.Duration(0)
	for ; rounds < 2000; rounds++ {
		start := time.Now()
		m.reconcile(m.api, 1)
		slowest = max(slowest, time.Since(start))
		pods := m.pods()
		for i := range pods {
			if pods[i].Status.Phase == "" {
				m.finish(&pods[i], 50)
			}
		}
		if len(pods) == 0 && rounds > 10 {
			break
		}
	}
	total := 0
	for _, k := range m.api.writes {
		total += k
	}
	t.Logf("%d clips by %d reconciles, the slowest took %s; %.3f writes a clip: %v", n, rounds, slowest.Round(time.Millisecond), float64(total)/n, m.api.writes)
	if pods := m.api.writes["create *v1.Pod"]; pods < n/50 || pods > n/50+3 || m.api.writes["create *v1alpha1.PoseJob"] != 0 || total > n/2 {
		t.Errorf("%d writes for %d clips: %v", total, n, m.api.writes)
	}
}

// TestPodsThatAreRefused: those that can never be made are given up, and every clip goes
// alone; a quota may have room again.
func TestPodsThatAreRefused(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	for name, c := range map[string]struct {
		err    error
		states string
		empty  int64
	}{
		"a LimitRange":       {apierrors.NewForbidden(pods, "p", errors.New("maximum ephemeral-storage usage per Container is 100Gi, but limit is 206Gi")), "SSSSSS", 3},
		"a pod that is none": {apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "p", nil), "SSSSSS", 3},
		"a quota":            {apierrors.NewForbidden(pods, "p", errors.New("exceeded quota: small, requested: pods=1")), "qqq...", 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := newInMemory(t, 6)
			m.api.refusesPods = c.err
			r := m.reconciler(m.api)
			for range 40 {
				_, _ = r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(m.batch)}) // a quota is an error
				var jobs v1alpha1.PoseJobList
				m.must(m.api.List(ctx, &jobs))
				for i := range jobs.Items {
					m.must(finishIn(m.api, &jobs.Items[i]))
				}
			}
			record, err := batch.DecodeRecord(m.records()[0].Data)
			m.must(err)
			if got := m.records()[0].Data["states"]; got != c.states || len(m.pods()) != 0 || record.Totals.EmptyPods != c.empty {
				t.Errorf("states %s, want %s; %d pods, %d empty ones", got, c.states, len(m.pods()), record.Totals.EmptyPods)
			}
		})
	}
}

// TestTheIndexSeesDigests of every chunk, where its record has them.
func TestTheIndexSeesDigests(t *testing.T) {
	m := newInMemory(t, 3)
	m.reconcile(m.api, 3)
	m.finish(&m.pods()[0], 3)
	m.reconcile(m.api, 4)
	var list corev1.PodList
	m.must(m.api.List(ctx, &list, client.MatchingLabels{v1alpha1.LabelPurpose: v1alpha1.PurposeIndex}))
	for _, v := range list.Items[0].Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if i := s.ConfigMap.Items[0]; i.Path == report.DigestsFile+"0" && i.Key == batch.KeyDigests && *s.ConfigMap.Optional && s.ConfigMap.Name == m.records()[0].Name {
				return
			}
		}
	}
	t.Errorf("the index pod sees no digests: %+v", list.Items[0].Spec.Volumes)
}

// many makes the batch one of n clips, as a pod that lists would.
func (m *inMemory) many(n int) {
	m.Helper()
	var found []clips.Found
	for i := range n {
		f, err := clips.ParseURI(fmt.Sprintf("s3://videos/cam/%06d.mp4", i))
		m.must(err)
		found = append(found, f)
	}
	list, _ := clips.Name(found)
	chunks := clips.Chunks(list)
	for i, chunk := range chunks {
		raw, err := clips.Encode(chunk)
		m.must(err)
		data, err := batch.NewRecord(len(chunk)).Encode()
		m.must(err)
		owner := []metav1.OwnerReference{*metav1.NewControllerRef(m.batch, v1alpha1.GroupVersion.WithKind("PoseBatch"))}
		m.must(m.api.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: batch.ChunkName(m.batch, 1, i), OwnerReferences: owner}, BinaryData: map[string][]byte{"clips.json.gz": raw}}))
		m.must(m.api.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: batch.RecordName(m.batch, 1, i), OwnerReferences: owner, Labels: map[string]string{v1alpha1.LabelBatchPart: v1alpha1.PartRecord}}, Data: data}))
	}
	m.batch.Status.Listing = &v1alpha1.BatchListing{Attempt: 1, Chunks: int32(len(chunks)), Clips: int32(n), CompletionTime: new(metav1.Now())}
	m.must(m.api.Status().Update(ctx, m.batch))
	m.api.writes = map[string]int{}
}
