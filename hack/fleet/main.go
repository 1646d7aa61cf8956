// Command fleet simulates what a hundred jobs lose on a kind of GPU where the
// detector always crashes, as the operator is by itself, with a preflight, with
// what jobs learn from each other, and with both. It prints a table and asserts
// nothing.
//
// Real are the API server, the operator's manager and its decisions. Nodes and
// kubelets are kwok's: it writes the statuses that a kubelet would write
// (stages.tmpl), after the times that containers are said to take; that it is some
// tens of milliseconds late does not count as a container's time. This program binds
// the pods. No container runs anywhere, and there is no GPU.
//
// Time is simulated too: an hour passes in a minute, for kwok and the managers
// alike, and the times of containers are in it. The API server alone keeps the real
// one. All four scenarios run at the same time, each with nodes, namespaces, an
// engine and a manager of its own. Everything listens on the loopback alone.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

const (
	jobs  = 100
	every = time.Minute // a job is submitted, of simulated time
	// factor by which simulated time is faster than the real one.
	factor = 60
	limit  = 5 * time.Minute // of real time, for everything
)

const (
	toolsBin = ".tools/bin"
	workDir  = ".demo/fleet"
)

// clock is the simulated time.
type clock struct {
	epoch  time.Time
	factor int64
}

// Now and Since are what a manager asks of a clock.
func (c clock) Now() time.Time {
	return c.epoch.Add(time.Since(c.epoch) * time.Duration(c.factor))
}

// Since a simulated time.
func (c clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// real time that a simulated one takes.
func (c clock) real(d time.Duration) time.Duration { return d / time.Duration(c.factor) }

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx)
	stop()
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	began := time.Now()
	if _, err := os.Stat("PROJECT"); err != nil {
		return errors.New("run this at the root of a clone of the pose operator, as `make fleet`")
	}
	dir, err := filepath.Abs(workDir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	logFile, err := os.Create(filepath.Join(dir, "manager.log"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	log.SetLogger(zap.New(zap.WriteTo(logFile), zap.UseDevMode(true)))

	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	server := &envtest.Environment{CRDDirectoryPaths: []string{"config/crd/bases"}, ErrorIfCRDPathMissing: true, BinaryAssetsDirectory: assets()}
	config, err := server.Start()
	if err != nil {
		return fmt.Errorf("start the API server: %w. Run `make fleet`", err)
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	config.QPS = -1
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}

	c := clock{epoch: time.Now(), factor: factor}
	admin, err := server.AddUser(envtest.User{Name: "kwok", Groups: []string{"system:masters"}}, config)
	if err != nil {
		return fmt.Errorf("let kwok in: %w", err)
	}
	kubeconfig, err := admin.KubeConfig()
	if err != nil {
		return fmt.Errorf("let kwok in: %w", err)
	}
	ctx, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	k, err := startKubelets(dir, kubeconfig, newStages(c), failed)
	if err != nil {
		return err
	}
	defer k.stop()

	fleets := []*fleet{
		{name: "nothing"},
		{name: "preflight", preflight: true},
		{name: "learned", remembers: true},
		{name: "both", preflight: true, remembers: true},
	}
	for _, f := range fleets {
		if err := f.setUp(ctx, config, api, c); err != nil {
			return err
		}
	}
	results, err := runAll(ctx, fleets, c.Now().Add(settle*factor))
	if err != nil {
		return fmt.Errorf("%w. Logs are in %s", err, workDir)
	}
	return table(results, time.Since(began))
}

// settle is how long managers and kwok have before the first job, of real time.
const settle = 3 * time.Second

// runAll fleets at the same time.
func runAll(ctx context.Context, fleets []*fleet, start time.Time) ([]result, error) {
	results, errs := make([]result, len(fleets)), make([]error, len(fleets))
	var all sync.WaitGroup
	for i, f := range fleets {
		all.Go(func() { results[i], errs[i] = f.run(ctx, start) })
	}
	all.Wait()
	return results, errors.Join(errs...)
}

// assets is where etcd and kube-apiserver are.
func assets() string {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return dir
	}
	return filepath.Join(toolsBin, "kube-assets")
}

func table(results []result, took time.Duration) error {
	title := map[string]string{
		"nothing": "without anything", "preflight": "preflight", "learned": "learned skip", "both": "preflight and learned skip",
	}
	fmt.Printf("%d jobs on GPUs whose detector always crashes, one submitted every %s, from %d namespaces:\n\n", jobs, every, teams)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tATTEMPTS ON GPU\tGPU SECONDS LOST\tPER CRASH\tENDED WITH\tJOBS THAT SKIPPED THE GPU\tJOBS THAT SUCCEEDED, ON CPU")
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%d\t%d\t%.1f\t%s\t%d\t%d\n", title[r.name], r.attempts, r.seconds, float64(r.seconds)/float64(max(1, r.attempts)), r.endedWith(), r.skipped, r.succeeded)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Printf(`
Measured is how many attempts the operator makes on a GPU. How long one takes is said:
%.0f s in the engine's container until it dies in detector load (%.0f s of them HMR2), %.0f s
with a preflight, and %.0f s on the CPU, where it succeeds. Fetching the video, when the
pod has its GPU too, is not counted.
Simulated: nodes (two with a GPU and one without for each row), kubelets and containers
(kwok writes their statuses), the scheduler, and the time, %d times as fast as the real one.
Real: the API server, the managers, what they made of every status, learned and skipped.
It took %s.
`, loadTime.Seconds(), modelTime.Seconds(), preflightTime.Seconds(), cpuTime.Seconds(), factor, took.Round(time.Second))
	return nil
}
