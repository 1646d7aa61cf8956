package faults

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	controllerconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pose-dev/pose-operator/controllers"
	"github.com/pose-dev/pose-operator/controllers/cached"
)

// shifted is a clock that a scenario moves on: nothing waits for the time to pass.
type shifted struct{ by atomic.Int64 }

func (c *shifted) Now() time.Time                  { return time.Now().Add(time.Duration(c.by.Load())) }
func (c *shifted) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// process is a manager with caches of its own, as cmd/manager makes it.
type process struct {
	*life
	cancel  context.CancelFunc
	started chan struct{}
	ended   chan error
	once    sync.Once
}

func newProcess(t *testing.T, w *wire, clock *shifted) *process {
	t.Helper()
	p := &process{life: &life{wire: w, killed: make(chan struct{})}, started: make(chan struct{}), ended: make(chan error, 1)}
	cfg := rest.CopyConfig(config)
	// The faults of watches read events line by line.
	cfg.ContentType, cfg.AcceptContentTypes = "application/json", "application/json"
	cfg.Wrap(p.wrap)
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:     scheme,
		Cache:      cached.Options(w.namespace),
		NewClient:  cached.NewClient,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: controllerconfig.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = controllers.Setup(mgr, controllers.Options{
		Settings: controllers.Settings{
			RunnerImage: "runner:v1", MediaImage: "media:v1", OperatorVersion: "test",
			MaxVideoBytes: 1 << 30, MaxPixels: 1 << 24, MaxFrames: 1 << 16,
		},
		Policy: controllers.Policy{OutputPrefixes: []string{""}},
		// What is learned is written to the engine, which all replays share.
		Learning: controllers.Learning{Disabled: true},
		Clock:    clock, Batches: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	begun := manager.RunnableFunc(func(context.Context) error { close(p.started); return nil })
	if err := mgr.Add(begun); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.ended <- mgr.Start(ctx) }()
	return p
}

// stop the process. Its errors are those of a manager that was cut off. One that is
// cancelled while its caches begin, and gets no answers, spins for ever (runnableGroup.Start
// of controller-runtime 0.25.2): it is left to begin first.
func (p *process) stop() {
	p.once.Do(func() {
		select {
		case <-p.started:
		case <-p.ended:
			return
		}
		p.kill()
		p.cancel()
		<-p.ended
	})
}
