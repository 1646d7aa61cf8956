package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/storage"
)

const (
	// progressSpread is the time over which running jobs push first.
	progressSpread = 30 * time.Second
	// progressFor is how long they are watched.
	progressFor = time.Minute
)

// rates of progress traffic.
type rates struct {
	Seconds float64 `json:"seconds"`
	// Pushes that were taken, and writes of the manager, a second.
	Pushes float64 `json:"pushes_per_s"`
	Writes float64 `json:"writes_per_s"`
	// CPU of one core, in percent.
	Controller float64 `json:"controller_cpu_percent"`
	APIServer  float64 `json:"apiserver_cpu_percent"`
	// Refused pushes, and requests about tokens, in all.
	Refused     int64     `json:"refused_pushes"`
	TokenChecks int       `json:"token_checks"`
	Latency     quantiles `json:"push"`
}

// pushers are the deliver containers of pods that run, as far as the manager sees them:
// each pushes with its own token, and no sooner than it was told to.
type pushers struct {
	http     *http.Client
	config   *report.ProgressConfig
	refused  atomic.Int64
	mu       sync.Mutex
	latency  []time.Duration
	lastWord string // of a push that was refused
}

// progress traffic of many running jobs.
func progress(ctx context.Context, w *world, z sizes) ([]*row, error) {
	if err := w.warmUp(ctx, z.warm); err != nil {
		return nil, err
	}
	const name = "progress-000000"
	w.player.follow(plan{hold: true})
	if err := w.create(ctx, name); err != nil {
		return nil, err
	}
	if err := w.untilHeld(ctx, 1, slack); err != nil {
		return nil, err
	}
	if err := w.quiet(ctx); err != nil {
		return nil, err
	}
	// The manager must not see a pod without its job, nor a job without its pod.
	thaw, err := w.controller.freeze()
	if err != nil {
		return nil, err
	}
	pods, err := w.runningCopies(ctx, name, w.player.heldPods()[0], z.progress)
	if err := errors.Join(err, thaw()); err != nil {
		return nil, err
	}
	tokens, err := w.tokens(ctx, pods)
	if err != nil {
		return nil, err
	}
	p, err := newPushers(pods[0])
	if err != nil {
		return nil, err
	}
	if err := w.quiet(ctx); err != nil {
		return nil, err
	}
	r, err := w.push(ctx, p, tokens)
	if err != nil {
		return nil, err
	}
	return []*row{r}, nil
}

// push for a while, and count.
func (w *world) push(ctx context.Context, p *pushers, tokens []string) (*row, error) {
	if _, err := w.audit.next(); err != nil {
		return nil, err
	}
	before, err := w.account()
	if err != nil {
		return nil, err
	}
	pushing, cancel := context.WithTimeout(ctx, progressFor)
	defer cancel()
	began := time.Now()
	var all sync.WaitGroup
	for i, token := range tokens {
		all.Go(func() { p.run(pushing, token, time.Duration(i)*progressSpread/time.Duration(len(tokens))) })
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	after, err := w.account()
	if err != nil {
		return nil, err
	}
	counted, err := w.audit.next()
	if err != nil {
		return nil, err
	}
	took := time.Since(began).Seconds()
	own := counted.of(userController)
	r := &row{Scenario: scenarioProgress, Contender: w.contender.name, Units: len(tokens), Pods: len(tokens), TokenChecks: own.tokenChecks, Refused: own.refused}
	r.Progress = &rates{
		Seconds: rounded(took, 1), Pushes: rounded(float64(len(p.latency))/took, 1), Writes: rounded(float64(own.written())/took, 1),
		Controller: rounded((after.controller-before.controller)/took*100, 1), APIServer: rounded((after.apiserver-before.apiserver)/took*100, 1),
		Refused: p.refused.Load(), TokenChecks: own.tokenChecks, Latency: newQuantiles(p.latency),
	}
	if r.Progress.Refused > 0 {
		r.Note = fmt.Sprintf("%d pushes were refused, as: %s", r.Progress.Refused, p.lastWord)
	}
	return r, nil
}

// tokens of pods, as the kubelet asks for them.
func (w *world) tokens(ctx context.Context, pods []*corev1.Pod) ([]string, error) {
	out := make([]string, len(pods))
	errs := make([]error, creators)
	var all sync.WaitGroup
	for k := range creators {
		all.Go(func() {
			for i := k; i < len(pods) && errs[k] == nil; i += creators {
				out[i], errs[k] = w.token(ctx, pods[i])
			}
		})
	}
	all.Wait()
	return out, errors.Join(errs...)
}

func (w *world) token(ctx context.Context, pod *corev1.Pod) (string, error) {
	hour := int64(3600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: []string{report.ProgressAudience}, ExpirationSeconds: &hour,
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	got, err := w.pods.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("ask for the token of pod %s: %w", pod.Name, err)
	}
	return got.Status.Token, nil
}

// newPushers by what the manager told a pod.
func newPushers(pod *corev1.Pod) (*pushers, error) {
	for _, c := range pod.Spec.Containers {
		for _, e := range c.Env {
			if e.Name != report.ConfigEnv {
				continue
			}
			config, err := report.ParseConfig(e.Value)
			if err != nil {
				return nil, err
			}
			if config.Progress == nil {
				continue
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM([]byte(config.Progress.CAPEM))
			return &pushers{config: config.Progress, http: &http.Client{
				Timeout: 10 * time.Second,
				// Some connections for all: what a pod's own first one costs is not measured.
				Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 64},
			}}, nil
		}
	}
	return nil, fmt.Errorf("pod %s is not told where to push progress", pod.Name)
}

// run one pod's pushes.
func (p *pushers) run(ctx context.Context, token string, wait time.Duration) {
	for frames := int64(1); storage.Sleep(ctx, wait) == nil; frames++ {
		began := time.Now()
		next, err := p.push(ctx, token, frames)
		switch {
		case err == nil:
			p.mu.Lock()
			p.latency = append(p.latency, time.Since(began))
			p.mu.Unlock()
		case ctx.Err() == nil:
			p.refused.Add(1)
			p.mu.Lock()
			p.lastWord = err.Error()
			p.mu.Unlock()
		}
		wait = max(next, time.Duration(p.config.IntervalSeconds)*time.Second)
	}
}

func (p *pushers) push(ctx context.Context, token string, done int64) (time.Duration, error) {
	body, err := json.Marshal(report.Progress{Version: report.Version, Role: report.RoleDeliver, Stage: "Tracking", Frames: done, Total: 1 << 20, MilliFPS: 12000})
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.config.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := p.http.Do(request)
	if err != nil {
		return 0, fmt.Errorf("push progress: %w", err)
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 200))
	if answer.StatusCode != http.StatusNoContent {
		return 0, fmt.Errorf("push progress: %s: %s", answer.Status, bytes.TrimSpace(said))
	}
	seconds, _ := strconv.Atoi(answer.Header.Get(report.HeaderNext))
	return time.Duration(seconds) * time.Second, nil
}
