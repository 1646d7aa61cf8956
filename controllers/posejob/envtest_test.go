package posejob_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	controllerconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers"
	"github.com/pose-dev/pose-operator/controllers/apitest"
	"github.com/pose-dev/pose-operator/controllers/cached"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
)

// The real API server of this package's tests. There is no kubelet, no scheduler
// and no garbage collector: the tests play them.
var (
	config *rest.Config
	scheme = runtime.NewScheme()
	api    client.Client
)

func TestMain(m *testing.M) { os.Exit(apitest.Main(m, connect)) }

func connect(c *rest.Config) (err error) {
	config = c
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	SetDefaultEventuallyTimeout(20 * time.Second)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	SetDefaultConsistentlyDuration(700 * time.Millisecond)
	api, err = client.New(config, client.Options{Scheme: scheme})
	return err
}

func TestTheAPIServerIsNamed(t *testing.T) { apitest.Named(t) }

// place is a namespace of a test's own, with an engine of its own and a manager
// that sees nothing else.
type place struct {
	*testing.T
	g         Gomega
	namespace string
	engine    string
	options   controllers.Options
	also      []string // namespaces that the manager sees beside its own
	writes    *writes
	cached    client.Reader // what the manager that runs knows
	cancel    context.CancelFunc
	ended     chan error
}

var ctx = context.Background()

// newPlace makes the namespace; the manager is not started yet.
func newPlace(t *testing.T) *place {
	t.Helper()
	t.Parallel()
	p := &place{T: t, g: NewWithT(t), writes: &writes{}}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	p.must(api.Create(ctx, ns))
	p.namespace, p.engine = ns.Name, "engine-of-"+ns.Name
	p.options.Settings = controllers.Settings{
		RunnerImage: "runner:v1", MediaImage: "media:v1", OperatorVersion: "test",
		MaxVideoBytes: 1 << 30, MaxPixels: 1 << 24, MaxFrames: 1 << 16,
	}
	t.Cleanup(p.stop)
	return p
}

func (p *place) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// start the manager, as cmd/manager makes it.
func (p *place) start() {
	p.Helper()
	cfg := rest.CopyConfig(config)
	cfg.Wrap(p.writes.wrap)
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:     scheme,
		Cache:      cached.Options(append([]string{p.namespace}, p.also...)...),
		NewClient:  cached.NewClient,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: controllerconfig.Controller{SkipNameValidation: new(true)},
	})
	p.must(err)
	p.must(controllers.Setup(mgr, p.options))
	p.cached = mgr.GetClient()
	running, cancel := context.WithCancel(ctx)
	p.cancel, p.ended = cancel, make(chan error, 1)
	go func() { p.ended <- mgr.Start(running) }()
}

// stop the manager, as a crash would: it does nothing more.
func (p *place) stop() {
	if p.cancel == nil {
		return
	}
	p.cancel()
	if err := <-p.ended; err != nil {
		p.Errorf("manager: %v", err)
	}
	p.cancel = nil
}

func (p *place) restart() {
	p.Helper()
	p.stop()
	p.start()
}

// withEngine makes the place's engine: a GPU variant, then a CPU one.
func (p *place) withEngine() *place {
	p.Helper()
	p.must(api.Create(ctx, p.newEngine()))
	return p
}

// managerSees the place's engine as the check wants it. The API server knows it
// earlier than the manager's cache, and a job made in between is decided by the
// older state.
func (p *place) managerSees(check func(g Gomega, e *v1alpha1.PoseEngine)) {
	p.Helper()
	p.g.Eventually(func(g Gomega) {
		var e v1alpha1.PoseEngine
		g.Expect(p.cached.Get(ctx, client.ObjectKey{Name: p.engine}, &e)).To(Succeed())
		check(g, &e)
	}).Should(Succeed())
}

func (p *place) newEngine() *v1alpha1.PoseEngine {
	e := gen.Engine(p.engine).Variants(
		gen.Variant("gpu", v1alpha1.GPU, gen.Detector("vitdet"), gen.Memory("1Gi", "2Gi")),
		gen.Variant("cpu", v1alpha1.CPU),
	).Build()
	p.Cleanup(func() { _ = api.Delete(ctx, e) })
	return e
}

// submit a job that names the place's engine.
func (p *place) submit(name string, change ...func(*v1alpha1.PoseJob)) *v1alpha1.PoseJob {
	p.Helper()
	job := &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name},
		Spec: v1alpha1.PoseJobSpec{
			Video:      v1alpha1.VideoSource{URI: "s3://videos/run.mp4"},
			Output:     v1alpha1.Output{URI: "s3://results/" + p.namespace + "/" + name},
			EngineName: p.engine,
		},
	}
	for _, c := range change {
		c(job)
	}
	p.must(api.Create(ctx, job))
	return job
}

// job as it is now.
func (p *place) job(name string) *v1alpha1.PoseJob {
	p.Helper()
	var j v1alpha1.PoseJob
	p.must(api.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: name}, &j))
	return &j
}

// eventually the job is as the check wants it; check says what is amiss.
func (p *place) eventually(name string, check func(g Gomega, j *v1alpha1.PoseJob)) *v1alpha1.PoseJob {
	p.Helper()
	j := &v1alpha1.PoseJob{}
	p.g.Eventually(func(g Gomega) {
		g.Expect(api.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: name}, j)).To(Succeed())
		check(g, j)
	}).Should(Succeed())
	return j
}

// pods of the namespace, oldest attempt first.
func (p *place) pods() []corev1.Pod {
	p.Helper()
	var list corev1.PodList
	p.must(api.List(ctx, &list, client.InNamespace(p.namespace)))
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int {
		return strings.Compare(a.Labels[v1alpha1.LabelAttempt], b.Labels[v1alpha1.LabelAttempt])
	})
	return list.Items
}

// pod of an attempt, once it is there.
func (p *place) pod(attempt int) *corev1.Pod {
	p.Helper()
	var found corev1.Pod
	p.g.Eventually(func(g Gomega) {
		all := p.pods()
		i := slices.IndexFunc(all, func(pod corev1.Pod) bool {
			return pod.Labels[v1alpha1.LabelAttempt] == fmt.Sprint(attempt)
		})
		g.Expect(i).NotTo(Equal(-1), "no pod of attempt %d", attempt)
		found = all[i]
	}).Should(Succeed())
	return &found
}

// play the kubelet: bind the pod to a node unless it has one, and write the
// status that the builder gives, with ends of containers now.
func (p *place) play(pod *corev1.Pod, b *gen.PodBuilder) {
	p.Helper()
	p.must(api.Get(ctx, client.ObjectKeyFromObject(pod), pod))
	if pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil {
		binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "node-1"}}
		p.must(api.SubResource("binding").Create(ctx, pod, binding))
	}
	p.setStatus(pod, b)
}

func (p *place) setStatus(pod *corev1.Pod, b *gen.PodBuilder) {
	p.Helper()
	status := b.Build().Status
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses} {
		for i := range list {
			if t := list[i].State.Terminated; t != nil {
				t.StartedAt, t.FinishedAt = metav1.NewTime(time.Now().Add(-40*time.Second)), metav1.Now()
			}
		}
	}
	for i := range status.Conditions {
		status.Conditions[i].LastTransitionTime = metav1.Now()
	}
	// As a kubelet does: the manager may change the pod at the same time.
	p.must(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var fresh corev1.Pod
		if err := api.Get(ctx, client.ObjectKeyFromObject(pod), &fresh); err != nil {
			return err
		}
		fresh.Status = status
		return api.Status().Update(ctx, &fresh)
	}))
}

// gone: the kubelet has ended the pod's containers and lets the object go.
func (p *place) gone(pod *corev1.Pod) {
	p.Helper()
	p.must(client.IgnoreNotFound(api.Delete(ctx, pod, client.GracePeriodSeconds(0))))
}

// running, crashed and done are what a kubelet says of a pod.
func running() *gen.PodBuilder {
	return gen.Pod("x", 1, "gpu", v1alpha1.GPU).Phase(corev1.PodRunning).InputsDone().Runs("engine").Runs("deliver")
}

// released: the pod has lost its finalizer, or is gone.
func (p *place) released(pod *corev1.Pod) {
	p.Helper()
	p.g.Eventually(func(g Gomega) {
		var fresh corev1.Pod
		err := api.Get(ctx, client.ObjectKeyFromObject(pod), &fresh)
		g.Expect(client.IgnoreNotFound(err)).To(Succeed())
		g.Expect(fresh.UID == pod.UID && slices.Contains(fresh.Finalizers, v1alpha1.FinalizerOutcome)).To(BeFalse(), "pod %s still has its finalizer", pod.Name)
	}).Should(Succeed())
}

// condition as status/reason, empty when absent.
func condition(j *v1alpha1.PoseJob, kind string) string {
	c := meta.FindStatusCondition(j.Status.Conditions, kind)
	if c == nil {
		return ""
	}
	return string(c.Status) + "/" + c.Reason
}

// writes counts what a manager writes to jobs and pods.
type writes struct {
	mu    sync.Mutex
	count map[string]int
}

func (w *writes) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		parts := strings.Split(r.URL.Path, "/")
		if r.Method != http.MethodGet && (slices.Contains(parts, "posejobs") || slices.Contains(parts, "pods")) {
			kind := "pod"
			if slices.Contains(parts, "posejobs") {
				kind = "job"
			}
			w.mu.Lock()
			if w.count == nil {
				w.count = map[string]int{}
			}
			w.count[r.Method+" "+kind]++
			w.mu.Unlock()
		}
		return next.RoundTrip(r)
	})
}

func (w *writes) snapshot() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.count)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
