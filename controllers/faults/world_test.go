package faults

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
)

// world of one replay: a namespace, the manager of the moment, and whoever else acts in
// a cluster. What is played reacts to what the API shows, never to the time.
type world struct {
	*testing.T
	*oracle
	scenario  scenario
	namespace string
	wire      *wire
	clock     *shifted
	process   *process
	events    chan watch.Event
	// ending says since when pods that are being deleted were seen to be.
	ending map[types.UID]time.Time
	done   int // operations
	lives  int
}

var ctx = context.Background()

// converges bounds a replay: what has not come to its end by then never does.
func converges() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("POSE_FAULTS_CONVERGE")); err == nil {
		return d
	}
	return 90 * time.Second
}

// lingers is how long a pod that is being deleted takes to end: nothing ends at once.
const lingers = 200 * time.Millisecond

// run a scenario under a fault and give what the API says at the end.
func run(t *testing.T, s scenario, f fault) (*world, string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "faults-"}}
	if err := api.Create(ctx, ns); err != nil {
		t.Fatal(err)
	}
	w := &world{
		T: t, oracle: newOracle(), scenario: s, namespace: ns.Name, clock: &shifted{},
		wire: &wire{namespace: ns.Name, fault: f}, events: make(chan watch.Event, 1024),
		ending: map[types.UID]time.Time{},
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, list := range []client.ObjectList{&corev1.PodList{}, &v1alpha1.PoseJobList{}, &v1alpha1.PoseBatchList{}} {
		w.observe(watching, list)
	}
	w.start()
	defer func() { w.process.stop() }()
	for _, o := range s.objects {
		o := o.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of its kind
		o.SetNamespace(w.namespace)
		if err := api.Create(ctx, o); err != nil {
			t.Fatalf("create %T %s: %v", o, o.GetName(), err)
		}
	}
	w.play()
	w.process.stop()
	w.drain()
	w.end()
	return w, w.snapshot()
}

// observe a kind for the oracle.
func (w *world) observe(watching context.Context, list client.ObjectList) {
	w.Helper()
	in, err := api.Watch(watching, list, client.InNamespace(w.namespace))
	if err != nil {
		w.Fatal(err)
	}
	go func() {
		for e := range in.ResultChan() {
			w.events <- e
		}
	}()
}

func (w *world) start() {
	w.Helper()
	w.lives++
	w.process = newProcess(w.T, w.wire, w.clock)
}

// play until the scenario has come to its end and nothing more moves.
func (w *world) play() {
	w.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(converges())
	var since time.Time
	for {
		select {
		case e := <-w.events:
			w.take(e)
			w.drain()
			since = time.Time{}
		case <-w.process.killed:
			w.process.stop()
			w.start()
			since = time.Time{}
		case <-tick.C:
		case <-late:
			judge(w.T, w)
			w.Fatalf("%s did not come to its end, after %d lives and these writes:\n%s\nThe API says:\n%s", w.scenario.name, w.lives, strings.Join(w.wire.record(), "\n"), w.snapshot())
		}
		for _, p := range w.pods {
			w.kubelet(p)
			w.collect(p)
		}
		w.operate()
		switch {
		case !w.over():
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > w.scenario.settles():
			return
		}
	}
}

// drain the events that are there.
func (w *world) drain() {
	for {
		select {
		case e := <-w.events:
			w.take(e)
		default:
			return
		}
	}
}

// over says whether the scenario has come to its end.
func (w *world) over() bool {
	select {
	case <-w.process.started:
	default:
		return false // a manager that has not begun could do no harm yet
	}
	if w.done < len(w.scenario.operations) || !w.scenario.ended(w) {
		return false
	}
	for _, p := range w.pods {
		if slices.Contains(p.Finalizers, v1alpha1.FinalizerOutcome) {
			return false
		}
	}
	return true
}

// kubelet and scheduler, for one pod as it was last seen.
func (w *world) kubelet(p *corev1.Pod) {
	switch {
	case terminal(p):
		if p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil && *p.DeletionGracePeriodSeconds > 0 {
			w.tolerate(api.Delete(ctx, p.DeepCopy(), client.GracePeriodSeconds(0), client.Preconditions{UID: &p.UID}))
		}
	case p.DeletionTimestamp != nil && p.Spec.NodeName == "":
	case p.DeletionTimestamp != nil:
		if since, ok := w.ending[p.UID]; !ok || time.Since(since) < lingers {
			if !ok {
				w.ending[p.UID] = time.Now()
			}
			return
		}
		w.status(p, pod().Phase(corev1.PodFailed).InputsDone().Signal("engine", 15).DeliverSkipped())
	default:
		says := w.scenario.plays(w, p)
		if says.nodeless() {
			if len(p.Status.Conditions) == 0 {
				w.status(p, says.PodBuilder)
			}
			return
		}
		if p.Spec.NodeName == "" {
			w.tolerate(api.SubResource("binding").Create(ctx, p.DeepCopy(), &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "node-1"}}))
			return
		}
		if want := says.Build().Status.Phase; want != p.Status.Phase {
			if says.proof {
				w.proven[p.UID] = true
			}
			if p.Labels[v1alpha1.LabelPurpose] == v1alpha1.PurposePurge {
				w.purged[types.UID(p.Labels[v1alpha1.LabelJobUID])] = true
			}
			w.status(p, says.PodBuilder)
		}
	}
}

// status of a pod as the kubelet writes it, with its times of now.
func (w *world) status(p *corev1.Pod, b *gen.PodBuilder) {
	fresh := p.DeepCopy()
	fresh.Status = b.Build().Status
	for _, list := range [][]corev1.ContainerStatus{fresh.Status.InitContainerStatuses, fresh.Status.ContainerStatuses} {
		for i := range list {
			if t := list[i].State.Terminated; t != nil {
				t.StartedAt, t.FinishedAt = metav1.NewTime(w.clock.Now().Add(-40*time.Second)), metav1.NewTime(w.clock.Now())
			}
		}
	}
	for i := range fresh.Status.Conditions {
		fresh.Status.Conditions[i].LastTransitionTime = metav1.NewTime(w.clock.Now())
	}
	w.tolerate(api.Status().Update(ctx, fresh))
}

// collect garbage: a pod whose owner is gone.
func (w *world) collect(p *corev1.Pod) {
	owner := metav1.GetControllerOf(p)
	if owner == nil || p.DeletionTimestamp != nil || w.jobs[owner.UID] != nil || w.batches[owner.UID] != nil {
		return
	}
	// The watches of pods and owners know nothing of each other: ask.
	var o client.Object = &v1alpha1.PoseJob{}
	if owner.Kind == "PoseBatch" {
		o = &v1alpha1.PoseBatch{}
	}
	err := api.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: owner.Name}, o)
	if apierrors.IsNotFound(err) || (err == nil && o.GetUID() != owner.UID) {
		w.tolerate(api.Delete(ctx, p.DeepCopy(), client.Preconditions{UID: &p.UID}))
	}
}

// tolerate what a newer state of the object explains: it is played again when that is
// seen.
func (w *world) tolerate(err error) {
	w.Helper()
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		w.Fatal(err)
	}
}

// operate: what a person or another program does, in order.
func (w *world) operate() {
	w.Helper()
	for w.done < len(w.scenario.operations) && w.scenario.operations[w.done].when(w) {
		err := w.scenario.operations[w.done].do(w)
		if apierrors.IsConflict(err) {
			return // again with the newer state
		}
		if err != nil {
			w.Fatalf("operation %d of %s: %v", w.done+1, w.scenario.name, err)
		}
		w.done++
	}
}

// attempt's pod that there is, by number; nil while there is none.
func (w *world) attempt(number int) *corev1.Pod {
	for _, p := range w.pods {
		if p.Labels[v1alpha1.LabelAttempt] == fmt.Sprint(number) && p.Labels[v1alpha1.LabelPurpose] == "" {
			return p
		}
	}
	return nil
}

// only job of the scenario; nil where there is none.
func (w *world) only() *v1alpha1.PoseJob {
	for _, j := range w.jobs {
		return j
	}
	return nil
}

// touch a pod, so that its job is looked at.
func (w *world) touch(p *corev1.Pod) error {
	return api.Patch(ctx, p.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"touched":"yes"}}}`)))
}

// snapshot of what the API says, without what differs from run to run: uids, times,
// names that hold them, and the namespace.
func (w *world) snapshot() string {
	w.Helper()
	var out []string
	var jobs v1alpha1.PoseJobList
	var batches v1alpha1.PoseBatchList
	var pods corev1.PodList
	for _, list := range []client.ObjectList{&jobs, &batches, &pods} {
		if err := api.List(ctx, list, client.InNamespace(w.namespace)); err != nil {
			w.Fatal(err)
		}
	}
	for _, j := range jobs.Items {
		s := j.Status
		out = append(out, fmt.Sprintf("PoseJob %s: %s variant=%s device=%s attempts=%d finalizers=%v", j.Name, s.Phase, s.Variant, s.Device, s.AttemptCount, j.Finalizers))
		for _, a := range s.Attempts {
			out = append(out, fmt.Sprintf("  attempt %d %s on %s: %s; stage %s, container %s, ended %t", a.Number, a.Variant, a.Device, verdict(a), a.Stage, a.Container, a.FinishTime != nil))
		}
		if l := s.Lookup; l != nil {
			out = append(out, fmt.Sprintf("  look %s %s", l.State, l.Reason))
		}
		if o := s.Output; o != nil {
			out = append(out, fmt.Sprintf("  output %s %s, %d files, people %d, frames %d", o.URI, o.ManifestSHA256, len(o.Files), o.People, o.Frames))
		}
		for _, v := range s.SkippedVariants {
			out = append(out, "  skipped "+v.Variant+" "+v.Reason)
		}
		out = append(out, conditions(s.Conditions)...)
	}
	for _, b := range batches.Items {
		out = append(out, fmt.Sprintf("PoseBatch %s: %s %+v index=%t", b.Name, b.Status.Phase, b.Status.Counts, b.Status.Index != nil && b.Status.Index.URI != ""))
		out = append(out, conditions(b.Status.Conditions)...)
	}
	var lines []string
	for _, p := range pods.Items {
		lines = append(lines, fmt.Sprintf("pod of %s, attempt %s, purpose %q: %s deleted=%t finalizers=%v", owner(&p), p.Labels[v1alpha1.LabelAttempt], p.Labels[v1alpha1.LabelPurpose], p.Status.Phase, p.DeletionTimestamp != nil, p.Finalizers))
	}
	slices.Sort(lines)
	// Whether a pod that ended before its engine began was ever seen is all the same.
	text := strings.ReplaceAll(strings.Join(append(out, lines...), "\n"), "stage EngineStart,", "stage ,")
	return strings.ReplaceAll(text, w.namespace, "NAMESPACE") + "\n"
}

func owner(p *corev1.Pod) string {
	if ref := metav1.GetControllerOf(p); ref != nil {
		return ref.Kind
	}
	return "nobody"
}

func conditions(all []metav1.Condition) []string {
	var out []string
	for _, c := range all {
		out = append(out, fmt.Sprintf("  %s=%s/%s", c.Type, c.Status, c.Reason))
	}
	slices.Sort(out)
	return out
}

// holds says whether a condition of the only job is True.
func (w *world) holds(kind string) bool {
	j := w.only()
	return j != nil && meta.IsStatusConditionTrue(j.Status.Conditions, kind)
}
