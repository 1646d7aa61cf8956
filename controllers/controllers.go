// Package controllers wires the controllers of the pose operator to a manager.
package controllers

import (
	"fmt"
	"net"
	"time"

	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/pose-dev/pose-operator/controllers/internal/learn"
	"github.com/pose-dev/pose-operator/controllers/internal/policy"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/controllers/posebatch"
	"github.com/pose-dev/pose-operator/controllers/poseengine"
	"github.com/pose-dev/pose-operator/controllers/posejob"
	"github.com/pose-dev/pose-operator/controllers/progress"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Policy is what PoseJobs may ask for.
type Policy = policy.Policy

// Settings of the pods of attempts.
type Settings = render.Settings

// Reuse of results that were computed before.
type Reuse = posejob.Reuse

// Options of the controllers.
type Options struct {
	Policy   Policy
	Settings Settings
	Reuse    Reuse
	// ProgressAddress is where progress is taken, as ":8443"; empty for not at
	// all. ProgressHost is the name by which pods reach it.
	ProgressAddress, ProgressHost string
	Clock                         clock.PassiveClock
	Learning                      Learning
	// Batches runs PoseBatches too, for which the manager needs the rights to keep
	// ConfigMaps.
	Batches bool
}

// Learning across jobs.
type Learning struct {
	// Disabled learns nothing, and skips nothing.
	Disabled bool
	// SingleTenant lets one namespace alone teach: on a cluster where all
	// namespaces trust each other.
	SingleTenant bool
	// FlushInterval is the least time between two writes of what was learned of
	// one engine; zero is poseengine.FlushInterval.
	FlushInterval time.Duration
}

// progressIntervalSeconds is how often a pod reports at most.
const progressIntervalSeconds = 2

// announcements that may wait for the work queue.
const announcements = 1024

// Setup registers every controller with the manager.
func Setup(mgr ctrl.Manager, o Options) error {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	changed := make(chan event.GenericEvent, announcements)
	store := &progress.Store{}
	server, err := listen(mgr, &o, store, changed)
	if err != nil {
		return err
	}
	nodes := posejob.Nodes{Client: mgr.GetClient()}
	recorder := mgr.GetEventRecorder("pose-operator")
	jobs := &posejob.Reconciler{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Recorder: recorder,
		Clock: o.Clock, Policy: o.Policy, Settings: o.Settings, Progress: store, Nodes: nodes, Reuse: o.Reuse,
	}
	engines := &poseengine.Reconciler{Client: mgr.GetClient(), Recorder: recorder, Clock: o.Clock, Options: learn.Options{SingleTenant: o.Learning.SingleTenant}}
	if !o.Learning.Disabled {
		memory := &poseengine.Memory{Interval: o.Learning.FlushInterval}
		jobs.Memory, engines.Memory, engines.Nodes = memory, memory, nodes.Known
	}
	if o.Policy.EnginesWithoutRunner {
		pods, err := corev1client.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
		if err != nil {
			return fmt.Errorf("make the client for logs: %w", err)
		}
		jobs.Logs = posejob.APILogs{Pods: pods}
	}
	if err := jobs.SetupWithManager(mgr, changed); err != nil {
		return fmt.Errorf("set up the PoseJob controller: %w", err)
	}
	if err := engines.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the PoseEngine controller: %w", err)
	}
	if !o.Batches {
		return nil
	}
	if err := posebatch.Setup(mgr, posebatch.Options{Policy: o.Policy, Settings: o.Settings, Progress: server, Clock: o.Clock}); err != nil {
		return fmt.Errorf("set up the PoseBatch controller: %w", err)
	}
	return nil
}

// listen adds the server that takes progress, and tells the pods of it; nil where
// there is to be none.
func listen(mgr ctrl.Manager, o *Options, store *progress.Store, changed chan event.GenericEvent) (*progress.Server, error) {
	if o.ProgressAddress == "" {
		return nil, nil
	}
	reviews, err := authenticationclient.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("make the client for token reviews: %w", err)
	}
	server := &progress.Server{Address: o.ProgressAddress, Client: mgr.GetClient(), Reviews: reviews, Clock: o.Clock, Store: store, Changed: changed}
	ca, err := server.Certify([]string{o.ProgressHost})
	if err != nil {
		return nil, err
	}
	o.Settings.Progress = &report.ProgressConfig{
		URL:   "https://" + o.ProgressHost + ":" + progressPort(o.ProgressAddress) + report.ProgressPath,
		CAPEM: ca, IntervalSeconds: progressIntervalSeconds,
	}
	if err := mgr.Add(server); err != nil {
		return nil, fmt.Errorf("add the progress server: %w", err)
	}
	return server, nil
}

// progressPort is the port of an address such as ":8443".
func progressPort(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "443"
	}
	return port
}
