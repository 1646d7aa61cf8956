package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/pose-dev/pose-operator/internal/storage"
)

// row is what was measured of one contender in one scenario.
type row struct {
	Scenario  string `json:"scenario"`
	Contender string `json:"contender"`
	// Units asked for, those that ended, and those that ended well.
	Units     int `json:"units"`
	Finished  int `json:"finished"`
	Succeeded int `json:"succeeded"`
	Pods      int `json:"pods"`
	// Seconds from the first creation to the last end that was seen.
	Seconds        float64 `json:"seconds"`
	UnitsPerSecond float64 `json:"jobs_per_s"`

	// CPU in milliseconds a job.
	ControllerCPU float64 `json:"controller_cpu_ms_per_job"`
	APIServerCPU  float64 `json:"apiserver_cpu_ms_per_job"`
	EtcdCPU       float64 `json:"etcd_cpu_ms_per_job"`
	BenchCPU      float64 `json:"bench_cpu_ms_per_job"`

	// Writes of the controller a job, by verb and resource; those of units, pods and
	// events together; and those of all users.
	Writes       map[string]float64 `json:"writes_by_kind_per_job,omitempty"`
	WritesPerJob float64            `json:"writes_per_job"`
	AllWrites    float64            `json:"all_writes_per_job"`
	// OtherWrites are those that are made for many jobs together, as of what an engine has
	// learned, in all.
	OtherWrites int `json:"other_writes"`
	// Refused writes, reads and token checks of the controller, in all.
	Refused     int `json:"refused_writes"`
	Reads       int `json:"reads"`
	TokenChecks int `json:"token_checks"`

	UnitToPod  quantiles `json:"unit_to_pod"`
	PodToEnd   quantiles `json:"pod_end_to_terminal"`
	CrashToPod quantiles `json:"crash_to_next_pod,omitzero"`

	Memory *memory `json:"memory,omitempty"`
	// RestartMS is from the controller's start to the pod of a unit that was there.
	RestartMS float64 `json:"restart_ms,omitempty"`
	// Progress traffic, of jobs that go on running.
	Progress *rates `json:"progress,omitempty"`
	// Objects that lay there finished, beside the units.
	Objects int `json:"objects,omitempty"`
	// ObjectBytes is what one of them takes in etcd.
	ObjectBytes int `json:"object_bytes,omitempty"`
	// Note says what went wrong.
	Note string `json:"note,omitempty"`
}

// memory of a controller before and after a scenario, in bytes.
type memory struct {
	RSSBefore  float64 `json:"rss_before"`
	RSSAfter   float64 `json:"rss_after"`
	HeapBefore float64 `json:"heap_before,omitempty"`
	HeapAfter  float64 `json:"heap_after,omitempty"`
	// HeapPerUnit is what a finished unit takes of the heap after a collection.
	HeapPerUnit float64 `json:"heap_per_unit,omitempty"`
	RSSPerUnit  float64 `json:"rss_per_unit"`
	// APIServerHeap after a collection.
	APIServerHeap float64 `json:"apiserver_heap,omitempty"`
}

// account is what has been used until now.
type account struct{ controller, apiserver, etcd, bench float64 }

func (w *world) account() (a account, err error) {
	var errs [4]error
	a.controller, errs[0] = cpuOf(w.controller.pid())
	a.apiserver, errs[1] = cpuOf(w.apiserver)
	a.etcd, errs[2] = cpuOf(w.etcd)
	a.bench, errs[3] = cpuOf(self)
	return a, errors.Join(errs[:]...)
}

// settle is how long a controller has after the last unit's end for what it puts off.
const settle = 2 * time.Second

// measure n units whose names begin with prefix while work has them made and ended. It
// gives up when limit is over, and the row then tells of those that have ended.
func (w *world) measure(ctx context.Context, scenario, prefix string, n int, limit time.Duration, work func(context.Context) error) (*row, error) {
	if _, err := w.audit.next(); err != nil {
		return nil, err
	}
	before, err := w.account()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	r := &row{Scenario: scenario, Contender: w.contender.name, Units: n}
	w.profile(ctx, prefix)
	bounded, cancel := context.WithTimeout(ctx, limit)
	err = work(bounded)
	cancel()
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		r.Note = err.Error()
	} else if _, err := w.watched.until(ctx, prefix, n, limit-time.Since(began), terminal); err != nil {
		return nil, err
	}
	if err := storage.Sleep(ctx, settle); err != nil {
		return nil, err
	}
	if err := w.controller.dead(); err != nil {
		return nil, err
	}
	after, err := w.account()
	if err != nil {
		return nil, err
	}
	counted, err := w.audit.next()
	if err != nil {
		return nil, err
	}
	r.fill(w.watched.group(prefix), began)
	r.charge(before, after, counted)
	if r.Finished < n && r.Note == "" {
		r.Note = fmt.Sprintf("%d of %d have not ended within %s", n-r.Finished, n, limit)
	}
	return r, nil
}

// profile controller and API server from now on, if that was asked for.
func (w *world) profile(ctx context.Context, name string) {
	const seconds = 10
	save := func(c *http.Client, url, who string) {
		if err := saveProfile(ctx, c, url, filepath.Join(w.dir, name+who+".pprof"), seconds); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
	if !w.profiled {
		return
	}
	if w.contender.pprof != "" {
		go save(profiles, w.contender.pprof, "controller")
	}
	if c, err := rest.HTTPClientFor(w.config); err == nil {
		go save(c, strings.TrimRight(w.config.Host, "/"), "apiserver")
	}
}

func terminal(u *unit) bool { return !u.terminal.IsZero() }

// fill in what the watches told.
func (r *row) fill(units []unit, began time.Time) {
	var last time.Time
	var toPod, toEnd, toNext []time.Duration
	for _, u := range units {
		r.Pods += len(u.pods)
		if len(u.pods) > 0 && !u.seen.IsZero() {
			toPod = append(toPod, u.pods[0].seen.Sub(u.seen))
		}
		for i, p := range u.pods {
			if p.failed && i+1 < len(u.pods) {
				toNext = append(toNext, u.pods[i+1].seen.Sub(p.ended))
			}
		}
		if u.terminal.IsZero() {
			continue
		}
		r.Finished++
		if u.succeeded {
			r.Succeeded++
		}
		if u.terminal.After(last) {
			last = u.terminal
		}
		if len(u.pods) > 0 && !u.pods[len(u.pods)-1].ended.IsZero() {
			// The unit's watch may be ahead of the answer about the pod.
			toEnd = append(toEnd, max(0, u.terminal.Sub(u.pods[len(u.pods)-1].ended)))
		}
	}
	if r.Finished > 0 {
		r.Seconds = rounded(last.Sub(began).Seconds(), 3)
		r.UnitsPerSecond = rounded(float64(r.Finished)/r.Seconds, 2)
	}
	r.UnitToPod, r.PodToEnd, r.CrashToPod = newQuantiles(toPod), newQuantiles(toEnd), newQuantiles(toNext)
}

// charge what was used to the units.
func (r *row) charge(before, after account, counted auditCount) {
	n := float64(max(1, r.Finished))
	r.ControllerCPU = rounded((after.controller-before.controller)*1e3/n, 3)
	r.APIServerCPU = rounded((after.apiserver-before.apiserver)*1e3/n, 3)
	r.EtcdCPU = rounded((after.etcd-before.etcd)*1e3/n, 3)
	r.BenchCPU = rounded((after.bench-before.bench)*1e3/n, 3)
	own := counted.of(userController)
	r.Writes = map[string]float64{}
	jobs := 0
	for what, count := range own.writes {
		if isOther(what) {
			r.OtherWrites += count
			continue
		}
		jobs += count
		r.Writes[what] = rounded(float64(count)/n, 3)
	}
	r.WritesPerJob = rounded(float64(jobs)/n, 3)
	r.AllWrites = rounded(float64(counted.written())/n, 3)
	r.Refused, r.Reads, r.TokenChecks = own.refused, own.reads, own.tokenChecks
}

// isOther knows writes that are not about one job.
func isOther(what string) bool { return strings.HasSuffix(what, " poseengines/status") }

func rounded(x float64, digits int) float64 {
	unit := math.Pow10(digits)
	return math.Round(x*unit) / unit
}

// weigh the controller: resident memory, and heap after a collection.
func (w *world) weigh(ctx context.Context) (rss, heap float64, err error) {
	if w.contender.pprof != "" {
		if heap, err = liveHeap(ctx, profiles, w.contender.pprof); err != nil {
			return 0, 0, err
		}
	}
	rss, err = rssOf(w.controller.pid())
	return rss, heap, err
}

// apiserverHeap after a collection, in bytes.
func (w *world) apiserverHeap(ctx context.Context) (float64, error) {
	c, err := rest.HTTPClientFor(w.config)
	if err != nil {
		return 0, err
	}
	return liveHeap(ctx, c, strings.TrimRight(w.config.Host, "/"))
}

// weighed does work between two weighings, and charges the difference to n units.
func (w *world) weighed(ctx context.Context, n int, work func() (*row, error)) (*row, error) {
	m := &memory{}
	var err error
	if m.RSSBefore, m.HeapBefore, err = w.weigh(ctx); err != nil {
		return nil, err
	}
	r, err := work()
	if err != nil {
		return nil, err
	}
	if m.RSSAfter, m.HeapAfter, err = w.weigh(ctx); err != nil {
		return nil, err
	}
	m.HeapPerUnit = math.Round((m.HeapAfter - m.HeapBefore) / float64(n))
	m.RSSPerUnit = math.Round((m.RSSAfter - m.RSSBefore) / float64(n))
	r.Memory = m
	return r, nil
}

// creators create at a time.
const creators = 16

// createAll makes n units, so many a second; 0 is as fast as the API server takes them.
func (w *world) createAll(ctx context.Context, prefix string, n, perSecond int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	numbers := make(chan int)
	var all sync.WaitGroup
	for range creators {
		all.Go(func() {
			for i := range numbers {
				if err := w.create(ctx, fmt.Sprintf("%s%05d", prefix, i)); err != nil {
					cancel(err)
				}
			}
		})
	}
	began := time.Now()
	for i := 0; i < n && ctx.Err() == nil; i++ {
		if perSecond > 0 {
			_ = storage.Sleep(ctx, time.Until(began.Add(time.Duration(i)*time.Second/time.Duration(perSecond))))
		}
		select {
		case numbers <- i:
		case <-ctx.Done():
		}
	}
	close(numbers)
	all.Wait()
	return context.Cause(ctx)
}
