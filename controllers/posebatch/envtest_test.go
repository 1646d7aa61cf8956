package posebatch_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
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
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	controllerconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/event"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/apitest"
	"github.com/pose-dev/pose-operator/controllers/cached"
	"github.com/pose-dev/pose-operator/controllers/internal/policy"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/controllers/posebatch"
	"github.com/pose-dev/pose-operator/controllers/posejob"
	"github.com/pose-dev/pose-operator/controllers/progress"
	"github.com/pose-dev/pose-operator/internal/report"
)

// The real API server of this package's tests. There is no kubelet, no garbage
// collector and no PoseJob controller: the tests play them.
var (
	config *rest.Config
	scheme = runtime.NewScheme()
	api    client.Client
	ctx    = context.Background()
)

func TestMain(m *testing.M) { os.Exit(apitest.Main(m, connect)) }

func connect(c *rest.Config) (err error) {
	config = c
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	SetDefaultEventuallyTimeout(30 * time.Second)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	SetDefaultConsistentlyDuration(700 * time.Millisecond)
	api, err = client.New(config, client.Options{Scheme: scheme})
	return err
}

func TestTheAPIServerIsNamed(t *testing.T) { apitest.Named(t) }

// place is a namespace of a test's own, with a manager that sees nothing else.
type place struct {
	*testing.T
	g         Gomega
	namespace string
	settings  render.Settings
	policy    policy.Policy
	reuse     posejob.Reuse
	address   string // of the progress server
	ca        string // of the manager that runs
	writes    *writes
	cancel    context.CancelFunc
	ended     chan error
}

func newPlace(t *testing.T) *place {
	t.Helper()
	t.Parallel()
	p := &place{T: t, g: NewWithT(t), writes: &writes{left: -1}}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	p.must(api.Create(ctx, ns))
	p.namespace = ns.Name
	p.settings = render.Settings{RunnerImage: "runner:v1", MediaImage: "media:v1", OperatorVersion: "test"}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	p.must(err)
	p.address = l.Addr().String()
	l.Close()
	t.Cleanup(p.stop)
	return p
}

func (p *place) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// start the manager with the caches that cmd/manager is to have.
func (p *place) start() {
	p.Helper()
	cfg := rest.CopyConfig(config)
	cfg.Wrap(p.writes.wrap)
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:     scheme,
		Cache:      cached.Options(p.namespace),
		NewClient:  cached.NewClient,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: controllerconfig.Controller{SkipNameValidation: new(true)},
	})
	p.must(err)
	reviews, err := authenticationclient.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	p.must(err)
	certificate, err := progress.NewCertificate([]string{"localhost"}, time.Now())
	p.must(err)
	server := &progress.Server{
		Address: p.address, Client: mgr.GetClient(), Clock: clock.RealClock{}, Store: &progress.Store{},
		Tokens:  &progress.Tokens{Reviews: reviews, Clock: clock.RealClock{}},
		Changed: make(chan event.GenericEvent, 16), Certificate: certificate, ServerName: "localhost",
	}
	p.ca = string(certificate.CertPEM)
	settings := p.settings
	_, port, _ := net.SplitHostPort(p.address)
	settings.Progress = &report.ProgressConfig{URL: "https://localhost:" + port + report.ProgressPath, CAPEM: p.ca, IntervalSeconds: 1}
	p.must(mgr.Add(server))
	jobs := &posejob.Reconciler{Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Clock: clock.RealClock{}, Policy: p.policy, Reuse: p.reuse}
	p.must(posebatch.Setup(mgr, posebatch.Options{Policy: p.policy, Settings: settings, Progress: server, Jobs: jobs}))
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

// submit a batch.
func (p *place) submit(change ...func(*v1alpha1.PoseBatch)) *v1alpha1.PoseBatch {
	p.Helper()
	b := &v1alpha1.PoseBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "many"},
		Spec: v1alpha1.PoseBatchSpec{
			Output:   v1alpha1.BatchOutput{URI: "s3://results/" + p.namespace + "/many"},
			Template: v1alpha1.BatchTemplate{EngineName: "mediapipe"},
		},
	}
	for _, c := range change {
		c(b)
	}
	p.must(api.Create(ctx, b))
	return b
}

// uris of so many videos.
func uris(n int) func(*v1alpha1.PoseBatch) {
	return func(b *v1alpha1.PoseBatch) {
		for i := range n {
			b.Spec.Videos.URIs = append(b.Spec.Videos.URIs, fmt.Sprintf("s3://videos/cam/%05d.mp4", i))
		}
	}
}

func parallelism(n int32) func(*v1alpha1.PoseBatch) {
	return func(b *v1alpha1.PoseBatch) { b.Spec.Parallelism = n }
}

func (p *place) batch() *v1alpha1.PoseBatch {
	p.Helper()
	var b v1alpha1.PoseBatch
	p.must(api.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: "many"}, &b))
	return &b
}

// change the batch's spec.
func (p *place) change(edit func(*v1alpha1.PoseBatch)) {
	p.Helper()
	p.g.Eventually(func() error {
		b := p.batch()
		edit(b)
		return api.Update(ctx, b)
	}).Should(Succeed())
}

// eventually the batch is as the check wants it.
func (p *place) eventually(check func(g Gomega, b *v1alpha1.PoseBatch)) *v1alpha1.PoseBatch {
	p.Helper()
	b := &v1alpha1.PoseBatch{}
	p.g.Eventually(func(g Gomega) {
		g.Expect(api.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: "many"}, b)).To(Succeed())
		check(g, b)
	}).Should(Succeed())
	return b
}

// counts wants the counts of the batch.
func (p *place) counts(want v1alpha1.BatchCounts) *v1alpha1.PoseBatch {
	p.Helper()
	return p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(b.Status.Counts).NotTo(BeNil())
		g.Expect(*b.Status.Counts).To(Equal(want))
	})
}

// jobs of the namespace by their names' end.
func (p *place) jobs() []v1alpha1.PoseJob {
	p.Helper()
	var list v1alpha1.PoseJobList
	p.must(api.List(ctx, &list, client.InNamespace(p.namespace)))
	slices.SortFunc(list.Items, func(a, b v1alpha1.PoseJob) int { return strings.Compare(a.Spec.Video.URI, b.Spec.Video.URI) })
	return list.Items
}

// someJobs waits for so many PoseJobs that have not ended.
func (p *place) someJobs(n int) []v1alpha1.PoseJob {
	p.Helper()
	var out []v1alpha1.PoseJob
	p.g.Eventually(func(g Gomega) {
		out = nil
		for _, j := range p.jobs() {
			if !meta.IsStatusConditionTrue(j.Status.Conditions, v1alpha1.ConditionFinished) {
				out = append(out, j)
			}
		}
		g.Expect(out).To(HaveLen(n))
	}).Should(Succeed())
	return out
}

// finish a PoseJob as its controller would: well, or for a reason.
func (p *place) finish(j *v1alpha1.PoseJob, reason string, gpuSeconds int64) {
	p.Helper()
	p.must(finish(j, reason, gpuSeconds, false))
}

func finish(j *v1alpha1.PoseJob, reason string, gpuSeconds int64, reused bool) error {
	now := metav1.Now()
	before := j.DeepCopy()
	s := &j.Status
	a := v1alpha1.Attempt{Number: 1, State: v1alpha1.AttemptSucceeded, Variant: "gpu", Device: v1alpha1.GPU, FinishTime: &now, Seconds: &v1alpha1.AttemptSeconds{Engine: gpuSeconds}}
	kind := v1alpha1.ConditionComplete
	if reason != v1alpha1.ReasonSucceeded {
		kind, a.State, a.Reason = v1alpha1.ConditionFailed, v1alpha1.AttemptFailed, reason
	}
	s.CompletionTime, s.AttemptCount, s.Attempts = &now, 1, []v1alpha1.Attempt{a}
	if reused {
		s.Attempts, s.ReusedFrom = nil, &v1alpha1.ReusedResult{URI: "s3://results/other"}
	}
	for _, k := range []string{v1alpha1.ConditionFinished, kind} {
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: k, Status: metav1.ConditionTrue, Reason: reason, Message: "why it is so"})
	}
	return client.IgnoreNotFound(api.Status().Patch(ctx, j, client.MergeFrom(before)))
}

// pod of the batch's own, once it is there.
func (p *place) pod(purpose string, attempt int) *corev1.Pod {
	p.Helper()
	var found *corev1.Pod
	p.g.Eventually(func(g Gomega) {
		var list corev1.PodList
		g.Expect(api.List(ctx, &list, client.InNamespace(p.namespace), client.MatchingLabels{v1alpha1.LabelPurpose: purpose, v1alpha1.LabelAttempt: fmt.Sprint(attempt)})).To(Succeed())
		g.Expect(list.Items).To(HaveLen(1))
		found = &list.Items[0]
	}).Should(Succeed())
	return found
}

// says: the kubelet tells of the pod's end.
func (p *place) says(pod *corev1.Pod, t report.Termination) {
	p.Helper()
	var fresh corev1.Pod
	p.must(api.Get(ctx, client.ObjectKeyFromObject(pod), &fresh))
	t.Role = report.Role(pod.Labels[v1alpha1.LabelPurpose])
	fresh.Status.Phase = corev1.PodSucceeded
	if t.Result != report.ResultOK {
		fresh.Status.Phase = corev1.PodFailed
	}
	fresh.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: string(t.Role), State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: string(t.Marshal())}}}}
	p.must(api.Status().Update(ctx, &fresh))
}

// indexed: the index pod says that it did its work.
func (p *place) indexed(clips int32) {
	p.Helper()
	pod := p.pod(v1alpha1.PurposeIndex, 1)
	p.says(pod, report.Termination{Result: report.ResultOK, Index: &report.IndexReport{URI: "s3://results/" + p.namespace + "/many/batch.json", SHA256: strings.Repeat("a", 64), Clips: clips}})
}

// condition as status/reason, empty when absent.
func condition(b *v1alpha1.PoseBatch, kind string) string {
	c := meta.FindStatusCondition(b.Status.Conditions, kind)
	if c == nil {
		return ""
	}
	return string(c.Status) + "/" + c.Reason
}

// writes counts what a manager writes, by kind, and cuts it off.
type writes struct {
	mu    sync.Mutex
	count map[string]int
	// left is how many writes it may still make; the one after them is its last,
	// and is done without its knowing where late is true. Negative: no end.
	left int
	late bool
}

// dies after so many writes.
func (w *writes) dies(after int, late bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.late = after, late
}

// dead says that the last write was made.
func (w *writes) dead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left == 0
}

// allows the next write to reach the server, and its answer to come back.
func (w *writes) allows() (request, answer bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.left < 0:
		return true, true
	case w.left == 0:
		return false, false
	}
	w.left--
	return w.left > 0 || w.late, w.left > 0
}

var errDead = errors.New("the manager is dead")

func (w *writes) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet {
			parts := strings.Split(r.URL.Path, "/")
			for _, kind := range []string{"posejobs", "posebatches", "configmaps", "pods"} {
				if slices.Contains(parts, kind) {
					w.mu.Lock()
					if w.count == nil {
						w.count = map[string]int{}
					}
					w.count[r.Method+" "+kind]++
					w.mu.Unlock()
				}
			}
			if !strings.Contains(r.URL.Path, "/events") {
				request, answer := w.allows()
				if !request {
					return nil, errDead
				}
				resp, err := next.RoundTrip(r)
				if err == nil && !answer {
					resp.Body.Close()
					return nil, errDead
				}
				return resp, err
			}
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
