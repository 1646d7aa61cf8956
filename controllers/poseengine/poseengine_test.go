package poseengine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	testingclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/learn"
	"github.com/pose-dev/pose-operator/controllers/poseengine"
)

var ctx = context.Background()

const (
	rtx    = "NVIDIA-GeForce-RTX-4060"
	driver = "550.54"
	image  = "sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"
)

// bench is a reconciler on a client without an API server.
type bench struct {
	*testing.T
	name   string
	client client.Client
	clock  *testingclock.FakePassiveClock
	events *events.FakeRecorder
	r      *poseengine.Reconciler
	// refuse, if set, is what the next patch answers.
	refuse error
	// during a patch, this happens.
	during  func()
	patches int
}

func newBench(t *testing.T, objects ...client.Object) *bench {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	// Metrics are the process's: each test has an engine of its own.
	b := &bench{T: t, name: "engine-" + strings.ToLower(t.Name()), clock: testingclock.NewFakePassiveClock(gen.Now)}
	engine := gen.Engine(b.name).Variants(gen.Variant("gpu", v1alpha1.GPU), gen.Variant("cpu", v1alpha1.CPU)).Build()
	b.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(append(objects, engine)...).
		WithStatusSubresource(&v1alpha1.PoseEngine{}, &v1alpha1.PoseJob{}).
		WithInterceptorFuncs(interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if data, err := p.Data(o); err != nil || !strings.Contains(string(data), `"resourceVersion"`) {
				t.Errorf("a patch without the resourceVersion that was read: %s %v", data, err)
			}
			if err := b.refuse; err != nil {
				b.refuse = nil
				return err
			}
			b.patches++
			if b.during != nil {
				b.during()
				b.during = nil
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		}}).Build()
	b.restart()
	return b
}

// restart the manager: what it remembered is gone.
func (b *bench) restart() {
	b.events = events.NewFakeRecorder(100)
	b.r = &poseengine.Reconciler{Client: b.client, Memory: &poseengine.Memory{}, Recorder: b.events, Clock: b.clock}
}

func (b *bench) reconcile() ctrl.Result {
	b.Helper()
	result, err := b.r.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Name: b.name}})
	if err != nil {
		b.Fatal(err)
	}
	return result
}

func (b *bench) engine() *v1alpha1.PoseEngine {
	b.Helper()
	var e v1alpha1.PoseEngine
	if err := b.client.Get(ctx, client.ObjectKey{Name: b.name}, &e); err != nil {
		b.Fatal(err)
	}
	return &e
}

func (b *bench) observe(obs ...learn.Observation) {
	for _, o := range obs {
		b.r.Memory.Observe(b.name, o)
	}
}

func (b *bench) pass(d time.Duration) { b.clock.SetTime(b.clock.Now().Add(d)) }

// told gives the events since the last call, each as type and reason.
func (b *bench) told() []string {
	var out []string
	for {
		select {
		case e := <-b.events.Events:
			out = append(out, strings.Join(strings.SplitN(e, " ", 3)[:2], " "))
		default:
			return out
		}
	}
}

func (b *bench) crashes() (crashes int64) {
	b.Helper()
	for _, e := range b.engine().Status.Learned {
		crashes += e.Crashes
	}
	return crashes
}

// gauge by name and labels of the engine; absent is -1.
func (b *bench) gauge(name string) float64 {
	b.Helper()
	families, err := metrics.Registry.(prometheus.Gatherer).Gather()
	if err != nil {
		b.Fatal(err)
	}
	sum, found := 0.0, false
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == "engine" && l.GetValue() == b.name {
					sum, found = sum+m.GetGauge().GetValue(), true
				}
			}
		}
	}
	if !found {
		return -1
	}
	return sum
}

func crash(id string, at time.Time) learn.Observation {
	return learn.Observation{
		ID: id, Namespace: "team-" + id, Video: "video-" + id, Variant: "gpu", Device: v1alpha1.GPU, ImageID: "registry.example/gpu@" + image,
		GPUProduct: rtx, GPUDriver: driver, Node: "node-1", Kind: learn.Crash, Reason: "DetectorLoadCrash", At: at,
	}
}

func success(id, product, node string, at time.Time) learn.Observation {
	o := crash(id, at)
	o.Kind, o.Reason, o.GPUProduct, o.Node = learn.Success, "", product, node
	return o
}

// against the variant, and a success elsewhere.
func against(at time.Time) []learn.Observation {
	return []learn.Observation{crash("1", at), crash("2", at), crash("3", at), success("4", "A100", "node-9", at)}
}

// job with an attempt that crashed so many seconds after gen.Now.
func job(namespace, name, engine string, seconds int64) *v1alpha1.PoseJob {
	at, code := gen.At(seconds), int32(1)
	j := gen.Job(name).Namespace(namespace).UID(namespace + "-" + name).Attempts(gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Failed("DetectorLoadCrash"), func(a *v1alpha1.Attempt) {
		a.Stage = v1alpha1.StageDetectorLoad
		a.FinishTime, a.Container, a.ExitCode, a.Node, a.GPUProduct, a.GPUDriver = &at, "engine", &code, "node-1", rtx, driver
	})).Build()
	j.Status.EngineName = engine
	return j
}

func TestAnEngineNeedsNoMemory(t *testing.T) {
	b := newBench(t)
	b.r = &poseengine.Reconciler{Client: b.client}
	if result := b.reconcile(); result.RequeueAfter != 0 {
		t.Errorf("looks again after %s", result.RequeueAfter)
	}
	if !meta.IsStatusConditionTrue(b.engine().Status.Conditions, v1alpha1.ConditionReady) {
		t.Error("the engine is not ready")
	}
	b.reconcile()
	if b.patches != 1 {
		t.Errorf("%d patches, want 1", b.patches)
	}
	var none *poseengine.Memory
	none.Observe(b.name, crash("1", gen.Now))
	none.Probe(b.name, "gpu", []learn.GPU{{}}, "uid", gen.Now)
	e := b.engine()
	if a := none.Advise(e, &e.Spec.Variants[0], nil, "uid", gen.Now); a.Skip {
		t.Error("a nil memory skips")
	}
}

func TestWhatIsLearnedIsWrittenAtOnceThenEveryTenSeconds(t *testing.T) {
	b := newBench(t)
	b.observe(crash("1", gen.Now))
	if result := b.reconcile(); result.RequeueAfter != 0 || b.crashes() != 1 {
		t.Fatalf("%d crashes, again after %s; want 1 at once", b.crashes(), result.RequeueAfter)
	}
	b.pass(4 * time.Second)
	b.observe(crash("2", gen.Now), crash("3", gen.Now))
	if result := b.reconcile(); result.RequeueAfter != 6*time.Second || b.crashes() != 1 {
		t.Errorf("%d crashes, again after %s; want 1 and 6s", b.crashes(), result.RequeueAfter)
	}
	b.pass(6 * time.Second)
	if b.reconcile(); b.crashes() != 3 {
		t.Errorf("%d crashes, want 3", b.crashes())
	}
	b.pass(time.Minute)
	if b.reconcile(); b.crashes() != 3 || b.patches != 2 {
		t.Errorf("%d crashes after %d patches, want 3 after 2", b.crashes(), b.patches)
	}
}

func TestTheIntervalOfWritesCanBeSet(t *testing.T) {
	b := newBench(t)
	b.r.Memory.Interval = time.Second
	b.observe(crash("1", gen.Now))
	b.reconcile()
	b.pass(400 * time.Millisecond)
	b.observe(crash("2", gen.Now))
	if result := b.reconcile(); result.RequeueAfter != 600*time.Millisecond || b.crashes() != 1 {
		t.Errorf("%d crashes, again after %s; want 1 and 600ms", b.crashes(), result.RequeueAfter)
	}
	b.pass(600 * time.Millisecond)
	if b.reconcile(); b.crashes() != 2 {
		t.Errorf("%d crashes, want 2", b.crashes())
	}
}

func TestAFailedWriteLosesNothing(t *testing.T) {
	b := newBench(t)
	b.observe(against(gen.Now)...)
	b.refuse = apierrors.NewConflict(schema.GroupResource{Resource: "poseengines"}, b.name, errors.New("newer"))
	if _, err := b.r.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Name: b.name}}); err == nil {
		t.Fatal("a conflict is no error")
	}
	if told := b.told(); told != nil {
		t.Errorf("told %v of what was not written", told)
	}
	b.observe(crash("5", gen.Now))
	if b.reconcile(); b.crashes() != 4 {
		t.Errorf("%d crashes, want 4", b.crashes())
	}
	if told := b.told(); len(told) != 1 {
		t.Errorf("told %v, want one skip", told)
	}
}

func TestWhatComesDuringAWriteIsWrittenNext(t *testing.T) {
	b := newBench(t)
	b.observe(crash("1", gen.Now))
	b.during = func() { b.observe(crash("2", gen.Now)) }
	if b.reconcile(); b.crashes() != 1 {
		t.Fatalf("%d crashes, want 1", b.crashes())
	}
	b.pass(10 * time.Second)
	if b.reconcile(); b.crashes() != 2 {
		t.Errorf("%d crashes, want 2", b.crashes())
	}
}

func TestAManagerThatStartsReadsWhatItMissed(t *testing.T) {
	b := newBench(t)
	for i, seconds := range []int64{-100, -50, 0} {
		if err := b.client.Create(ctx, job(fmt.Sprint("team-", i), "j", b.name, seconds)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.client.Create(ctx, job("team-x", "j", "another", 0)); err != nil {
		t.Fatal(err)
	}
	e := b.engine()
	e.Status.LearnedThrough = new(gen.At(-100))
	if err := b.client.Status().Update(ctx, e); err != nil {
		t.Fatal(err)
	}
	// One of them is seen by its job's controller as well.
	twice := job("team-2", "j", b.name, 0)
	o, ok := learn.Observe(twice, &twice.Status.Attempts[0])
	if !ok {
		t.Fatal("nothing observed")
	}
	b.observe(o)
	if b.reconcile(); b.crashes() != 2 {
		t.Errorf("%d crashes, want 2: the later ones of this engine", b.crashes())
	}
	b.observe(o)
	b.pass(time.Minute)
	if b.reconcile(); b.crashes() != 2 {
		t.Errorf("%d crashes: one was counted twice", b.crashes())
	}
	b.restart()
	if b.reconcile(); b.crashes() != 2 {
		t.Errorf("%d crashes after another start, want 2", b.crashes())
	}
}

func TestTheAnnotationClears(t *testing.T) {
	b := newBench(t)
	if err := b.client.Create(ctx, job("team-a", "j", b.name, 0)); err != nil {
		t.Fatal(err)
	}
	b.observe(against(gen.Now)...)
	if b.reconcile(); b.crashes() != 4 || len(b.told()) != 1 {
		t.Fatalf("%d crashes, want 4 and a skip", b.crashes())
	}
	e := b.engine()
	e.Annotations = map[string]string{v1alpha1.AnnotationClearLearned: "new driver"}
	if err := b.client.Update(ctx, e); err != nil {
		t.Fatal(err)
	}
	b.pass(time.Second)
	b.observe(crash("9", gen.Now))
	b.reconcile()
	if s := b.engine().Status; len(s.Learned)+len(s.LearnedNodes) != 0 || s.Cleared != "new driver" {
		t.Errorf("after clearing: %+v", s)
	}
	if diff := cmp.Diff([]string{"Normal VariantTriedAgain"}, b.told()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got := b.gauge("pose_learned_skips"); got != -1 {
		t.Errorf("pose_learned_skips is %v", got)
	}
	b.pass(time.Minute)
	if b.reconcile(); b.crashes() != 0 {
		t.Errorf("%d crashes: what waited was learned after all", b.crashes())
	}
	b.restart()
	if b.reconcile(); b.crashes() != 0 {
		t.Errorf("%d crashes: old attempts were learned from again", b.crashes())
	}
}

func TestPeopleAreToldOfSkips(t *testing.T) {
	b := newBench(t)
	expect := func(what string, skips, nodes float64, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, b.told()); diff != "" {
			t.Errorf("%s: events (-want +got):\n%s", what, diff)
		}
		if got := [2]float64{b.gauge("pose_learned_skips"), b.gauge("pose_learned_nodes_avoided")}; got != [2]float64{skips, nodes} {
			t.Errorf("%s: skips and nodes are %v, want %v", what, got, [2]float64{skips, nodes})
		}
	}
	b.observe(against(gen.Now)...)
	if result := b.reconcile(); result.RequeueAfter != time.Hour {
		t.Errorf("looks again after %s, want the end of the skip", result.RequeueAfter)
	}
	expect("a skip begins", 1, 0, "Warning VariantSkipped")
	b.reconcile()
	expect("nothing new", 1, 0)
	b.restart()
	b.reconcile()
	expect("another manager", 1, 0)
	b.pass(time.Hour)
	b.reconcile()
	expect("a skip ends by its time", -1, 0, "Normal VariantTriedAgain")
	b.observe(crash("5", b.clock.Now()))
	b.reconcile()
	expect("the try failed", 1, 0, "Warning VariantSkipped")
	b.pass(time.Minute)
	b.observe(success("6", rtx, "node-2", b.clock.Now()))
	b.reconcile()
	expect("a success ends it", -1, 0, "Normal VariantTriedAgain")
	b.pass(time.Minute)
	b.r.Nodes = func() map[string]bool { return map[string]bool{"node-1": true, "node-2": true, "node-9": true} }
	for i := range 3 {
		o := crash(fmt.Sprint("node-", i), b.clock.Now())
		o.Kind, o.Reason = learn.NodeFailure, "GPUHardwareFault"
		b.observe(o)
	}
	b.reconcile()
	expect("a node is avoided", -1, 1, "Warning NodeAvoided")
	b.pass(13 * time.Hour)
	b.reconcile()
	expect("it is avoided no longer", -1, 0)
}

func TestAnEngineThatIsGoneIsForgotten(t *testing.T) {
	b := newBench(t)
	b.observe(against(gen.Now)...)
	b.reconcile()
	if got := b.gauge("pose_learned_skips"); got != 1 {
		t.Fatalf("pose_learned_skips is %v, want 1", got)
	}
	if err := b.client.Delete(ctx, b.engine()); err != nil {
		t.Fatal(err)
	}
	b.observe(crash("9", gen.Now))
	if result := b.reconcile(); result.RequeueAfter != 0 {
		t.Errorf("looks again after %s", result.RequeueAfter)
	}
	if skips, nodes := b.gauge("pose_learned_skips"), b.gauge("pose_learned_nodes_avoided"); skips != -1 || nodes != -1 {
		t.Errorf("metrics of a deleted engine: %v and %v", skips, nodes)
	}
}

func TestOneJobTriesAgainForAll(t *testing.T) {
	b := newBench(t)
	b.observe(against(gen.Now)...)
	b.reconcile()
	kinds, m := []learn.GPU{{Product: rtx, Driver: driver}}, b.r.Memory
	advise := func(job types.UID) learn.Advice {
		e := b.engine()
		return m.Advise(e, &e.Spec.Variants[0], kinds, job, b.clock.Now())
	}
	if a := advise("first"); !a.Skip || a.Probes != nil {
		t.Fatalf("advice %+v, want a skip", a)
	}
	b.pass(time.Hour)
	a := advise("first")
	if a.Skip || len(a.Probes) != 1 {
		t.Fatalf("advice %+v, want one try", a)
	}
	m.Probe(b.name, "gpu", a.Probes, "first", b.clock.Now())
	if a := advise("first"); a.Skip {
		t.Errorf("the job that tries is told to skip: %+v", a)
	}
	if a := advise("second"); !a.Skip || !strings.Contains(a.Message, "another job tries it again now") {
		t.Errorf("advice %+v, want a skip while the first job tries", a)
	}
	m.Probe(b.name, "gpu", kinds, "second", b.clock.Now().Add(14*time.Minute))
	b.pass(15 * time.Minute)
	if a := advise("second"); a.Skip {
		t.Errorf("advice %+v: the first job is not heard of any more", a)
	}
}

func TestMemoryHoldsWhatMayComeAtOnce(t *testing.T) {
	b := newBench(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for j := range 50 {
				b.observe(crash(fmt.Sprint(i, "/", j), gen.Now))
			}
		})
	}
	all.Go(func() {
		for range 20 {
			b.reconcile()
			b.pass(10 * time.Second)
		}
	})
	all.Wait()
	b.pass(10 * time.Second)
	if b.reconcile(); b.crashes() != 1000 {
		t.Errorf("%d crashes, want 1000", b.crashes())
	}
}

func TestMemoryIsBounded(t *testing.T) {
	b := newBench(t)
	for i := range 6000 {
		b.observe(crash(fmt.Sprint(i), gen.Now))
	}
	if b.reconcile(); b.crashes() != 4096 {
		t.Errorf("%d crashes, want the last 4096", b.crashes())
	}
}

func TestAPatchOfAnEngineThatIsGoneIsNoError(t *testing.T) {
	b := newBench(t)
	b.refuse = apierrors.NewNotFound(schema.GroupResource{Resource: "poseengines"}, b.name)
	b.reconcile()
}
