package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	controllerconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers"
	"github.com/pose-dev/pose-operator/controllers/cached"
	"github.com/pose-dev/pose-operator/controllers/poseengine"
)

const (
	labelFleet = "fleet"
	gpuProduct = "NVIDIA-GeForce-RTX-4060"
	gpuDriver  = "550.54.15"
	teams      = 4 // namespaces that jobs come from
)

// fleet is one scenario: namespaces, an engine and nodes of its own, and a manager
// that sees nothing else.
type fleet struct {
	name                 string
	preflight, remembers bool

	clock      clock
	namespaces []string
	manager    ctrl.Manager
}

// setUp what the fleet has, and its manager.
func (f *fleet) setUp(ctx context.Context, config *rest.Config, api client.Client, c clock) error {
	f.clock = c
	objects := []client.Object{f.engine(), f.node("gpu-0", true), f.node("gpu-1", true), f.node("cpu-0", false)}
	for i := range teams {
		name := fmt.Sprintf("%s-team-%c", f.name, 'a'+i)
		f.namespaces = append(f.namespaces, name)
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	for _, o := range objects {
		if err := api.Create(ctx, o); err != nil {
			return fmt.Errorf("create %s: %w", o.GetName(), err)
		}
	}
	mine := labels.SelectorFromSet(labels.Set{labelFleet: f.name})
	options := cache.Options{
		DefaultNamespaces: map[string]cache.Config{},
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Node{}:         {Label: mine},
			&v1alpha1.PoseEngine{}: {Field: fields.OneTermEqualSelector("metadata.name", f.name)},
		},
	}
	for _, n := range f.namespaces {
		options.DefaultNamespaces[n] = cache.Config{}
	}
	var err error
	f.manager, err = ctrl.NewManager(config, ctrl.Options{
		Scheme: api.Scheme(), Cache: options,
		NewClient:  cached.NewClient,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: controllerconfig.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		return fmt.Errorf("make the manager of fleet %s: %w", f.name, err)
	}
	err = controllers.Setup(f.manager, controllers.Options{
		Settings: controllers.Settings{
			RunnerImage: "registry.example/pose-runner:fleet", MediaImage: "registry.example/media:fleet", OperatorVersion: "fleet",
			MaxVideoBytes: 1 << 30, MaxPixels: 1 << 24, MaxFrames: 1 << 16,
		},
		Clock: c,
		// The manager measures it by the simulated clock and waits for it by the
		// real one: as short as this, it never has to wait.
		Learning: controllers.Learning{Disabled: !f.remembers, FlushInterval: c.real(poseengine.FlushInterval)},
	})
	if err != nil {
		return fmt.Errorf("set up the manager of fleet %s: %w", f.name, err)
	}
	return nil
}

// engine with a GPU variant whose detector always crashes, then a CPU one.
func (f *fleet) engine() *v1alpha1.PoseEngine {
	limits := func(memory, gpus string) *v1alpha1.Resources {
		r := &v1alpha1.Resources{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}}
		if gpus != "" {
			r.Limits[gpuResource] = resource.MustParse(gpus)
		}
		return r
	}
	variant := func(name string, device v1alpha1.Device, detector string, r *v1alpha1.Resources) v1alpha1.Variant {
		return v1alpha1.Variant{
			Name: name, Device: device, Detector: detector, Resources: r,
			Image:   "registry.example/phalp-" + name + "@sha256:" + strings.Repeat("4a", 32),
			Command: []string{"python", "track.py", "video.source=$(VIDEO)", "video.output_dir=$(OUTPUT_DIR)"},
		}
	}
	gpu := variant("gpu", v1alpha1.GPU, "vitdet", limits("12Gi", "1"))
	if f.preflight {
		gpu.Preflight = &v1alpha1.Preflight{Command: []string{"python", "preflight.py"}, TimeoutSeconds: 60}
	}
	return &v1alpha1.PoseEngine{
		ObjectMeta: metav1.ObjectMeta{Name: f.name},
		Spec: v1alpha1.PoseEngineSpec{
			Variants: []v1alpha1.Variant{gpu, variant("cpu", v1alpha1.CPU, "maskrcnn", limits("2Gi", ""))},
			Outputs:  []v1alpha1.EngineOutput{{Name: "pose", Path: "pose.json", Format: "PoseJSON", Required: true}},
		},
	}
}

func (f *fleet) node(name string, gpu bool) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: f.name + "-" + name, Labels: map[string]string{labelFleet: f.name}}}
	n.Labels[corev1.LabelHostname] = n.Name
	if gpu {
		n.Labels["nvidia.com/gpu.product"], n.Labels["nvidia.com/cuda.driver-version.full"] = gpuProduct, gpuDriver
	}
	return n
}

// run the manager and the scheduler, and submit the jobs from the given time of
// the simulated clock on, until all have ended.
func (f *fleet) run(ctx context.Context, start time.Time) (result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	changed := make(chan struct{}, 1)
	if err := f.watchPods(ctx, changed); err != nil {
		return result{}, fmt.Errorf("watch the pods of fleet %s: %w", f.name, err)
	}
	s := scheduler{
		client: f.manager.GetClient(), clock: f.clock,
		gpuNodes: []string{f.name + "-gpu-0", f.name + "-gpu-1"}, cpuNode: f.name + "-cpu-0",
	}
	var parts sync.WaitGroup
	for _, part := range []func() error{
		func() error { return f.manager.Start(ctx) },
		func() error { return s.run(ctx, changed) },
	} {
		parts.Go(func() {
			if err := part(); err != nil {
				cancel(err)
			}
		})
	}
	all, err := f.submit(ctx, start)
	cancel(nil)
	parts.Wait()
	if err != nil {
		return result{}, fmt.Errorf("fleet %s: %w", f.name, err)
	}
	return count(f.name, all), nil
}

func (f *fleet) watchPods(ctx context.Context, changed chan<- struct{}) error {
	pods, err := f.manager.GetCache().GetInformer(ctx, &corev1.Pod{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	wake := func() {
		select {
		case changed <- struct{}{}:
		default: // it is about to look anyway
		}
	}
	_, err = pods.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { wake() }, UpdateFunc: func(any, any) { wake() }, DeleteFunc: func(any) { wake() },
	})
	return err
}

// submit the jobs one by one, and wait until all have ended.
func (f *fleet) submit(ctx context.Context, start time.Time) ([]v1alpha1.PoseJob, error) {
	if !f.manager.GetCache().WaitForCacheSync(ctx) {
		return nil, context.Cause(ctx)
	}
	for i := range jobs {
		at := start.Add(time.Duration(i) * every)
		if err := sleep(ctx, f.clock.real(at.Sub(f.clock.Now()))); err != nil {
			return nil, err
		}
		if err := f.manager.GetClient().Create(ctx, f.job(i)); err != nil {
			return nil, fmt.Errorf("create a PoseJob: %w", err)
		}
	}
	for {
		var all v1alpha1.PoseJobList
		if err := f.manager.GetClient().List(ctx, &all); err != nil {
			return nil, fmt.Errorf("list PoseJobs: %w", err)
		}
		left := slices.ContainsFunc(all.Items, func(j v1alpha1.PoseJob) bool { return !hasEnded(&j) })
		if !left && len(all.Items) == jobs {
			return all.Items, nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, fmt.Errorf("not all of %d jobs have ended: %w", len(all.Items), err)
		}
	}
}

// job of the next team in turn, with a video of its own.
func (f *fleet) job(i int) *v1alpha1.PoseJob {
	name, namespace := fmt.Sprintf("job-%03d", i), f.namespaces[i%teams]
	return &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.PoseJobSpec{
			EngineName: f.name,
			Video:      v1alpha1.VideoSource{URI: "s3://videos/" + name + ".mp4"},
			Output:     v1alpha1.Output{URI: "s3://results/" + namespace + "/" + name},
			// The API server's clock, which stamps pods, is not the simulated one.
			StartTimeoutSeconds: 24 * 3600,
		},
	}
}

func hasEnded(j *v1alpha1.PoseJob) bool {
	return j.Status.Phase == v1alpha1.PhaseSucceeded || j.Status.Phase == v1alpha1.PhaseFailed
}

// sleep for a real time, or until the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// result of a fleet.
type result struct {
	name string
	// attempts on a GPU, the seconds that their engines ran by the times of their
	// containers, and what they ended with.
	attempts, seconds int64
	reasons           map[string]int
	// skipped is how many jobs did not try the GPU, because of others; succeeded
	// how many succeeded, all on the CPU.
	skipped, succeeded int
}

func count(name string, all []v1alpha1.PoseJob) result {
	r := result{name: name, reasons: map[string]int{}}
	for _, j := range all {
		for _, a := range j.Status.Attempts {
			if a.Device != v1alpha1.GPU {
				continue
			}
			r.attempts++
			r.reasons[a.Reason]++
			if a.Seconds != nil {
				r.seconds += a.Seconds.Engine
			}
		}
		if slices.ContainsFunc(j.Status.SkippedVariants, func(v v1alpha1.SkippedVariant) bool { return v.Reason == v1alpha1.ReasonLearnedSkip }) {
			r.skipped++
		}
		if j.Status.Phase == v1alpha1.PhaseSucceeded {
			r.succeeded++
		}
	}
	return r
}

// endedWith says the reasons of the attempts.
func (r result) endedWith() string {
	var out []string
	for _, reason := range slices.Sorted(maps.Keys(r.reasons)) {
		out = append(out, fmt.Sprintf("%s %d", reason, r.reasons[reason]))
	}
	return strings.Join(out, ", ")
}
