// Package controllers wires the controllers of the pose operator to a manager.
package controllers

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/pose-dev/pose-operator/controllers/internal/learn"
	"github.com/pose-dev/pose-operator/controllers/internal/policy"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/controllers/pace"
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
	// Progress of pods; without an Address none is taken.
	Progress Progress
	Clock    clock.PassiveClock
	Learning Learning
	// Batches runs PoseBatches too, for which the manager needs the rights to keep
	// ConfigMaps.
	Batches bool
}

// Progress is how pods tell how far they are.
type Progress struct {
	// Address is where it is taken, as ":8443"; empty for not at all. Host is the name
	// by which pods reach it.
	Address, Host string
	// WritesPerSecond of status that tell progress alone, of all objects together; 0
	// is pace.DefaultBudget.
	WritesPerSecond float64
	// Secret keeps the server's certificate, in the namespace of the manager's own; with
	// an empty name each process makes its own, and pods of an earlier one report to
	// nobody.
	Namespace, Secret string
	// Lease of the leader's election, by which other replicas find the leader; empty
	// where there are none.
	Lease string
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
	store, paced := &progress.Store{}, &pace.Pacer{Budget: o.Progress.WritesPerSecond}
	server, err := listen(mgr, &o, &progress.Server{Store: store, Changed: changed, Pace: paced})
	if err != nil {
		return err
	}
	nodes := posejob.Nodes{Client: mgr.GetClient()}
	recorder := mgr.GetEventRecorder("pose-operator")
	jobs := &posejob.Reconciler{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Recorder: recorder,
		Clock: o.Clock, Policy: o.Policy, Settings: o.Settings, Progress: store, Nodes: nodes, Reuse: o.Reuse, Pace: paced,
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
	if err := posebatch.Setup(mgr, posebatch.Options{Policy: o.Policy, Settings: o.Settings, Progress: server, Clock: o.Clock, Pace: paced, Jobs: jobs}); err != nil {
		return fmt.Errorf("set up the PoseBatch controller: %w", err)
	}
	return nil
}

// ReplicaIdentity of a replica in the lease of the leader's election, with the
// address of its pod.
func ReplicaIdentity(name, address string) string {
	return progress.Identity(name, address, string(uuid.NewUUID()))
}

// setupTime bounds what is asked of the API server before the manager begins.
const setupTime = 30 * time.Second

// listen adds the server that takes progress, and tells the pods of it; nil where
// there is to be none.
func listen(mgr ctrl.Manager, o *Options, server *progress.Server) (*progress.Server, error) {
	p := o.Progress
	if p.Address == "" {
		return nil, nil
	}
	cluster, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("make the client for progress: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTime)
	defer cancel()
	names := []string{p.Host}
	if p.Secret == "" {
		server.Certificate, err = progress.NewCertificate(names, o.Clock.Now())
	} else {
		server.Certificate, err = progress.SharedCertificate(ctx, cluster.CoreV1().Secrets(p.Namespace), p.Secret, names, o.Clock.Now())
	}
	if err != nil {
		return nil, fmt.Errorf("set up progress: %w", err)
	}
	if p.Lease != "" {
		server.Leader = &progress.Leader{Leases: cluster.CoordinationV1().Leases(p.Namespace), Name: p.Lease, Clock: o.Clock}
	}
	server.Address, server.ServerName, server.Client, server.Clock, server.Elected = p.Address, p.Host, mgr.GetClient(), o.Clock, mgr.Elected()
	server.Tokens = &progress.Tokens{
		Reviews: cluster.AuthenticationV1(), Server: strings.TrimRight(mgr.GetConfig().Host, "/"), HTTP: mgr.GetHTTPClient(), Clock: o.Clock,
	}
	o.Settings.Progress = &report.ProgressConfig{
		URL:   "https://" + p.Host + ":" + progressPort(p.Address) + report.ProgressPath,
		CAPEM: string(server.Certificate.CertPEM), IntervalSeconds: progressIntervalSeconds,
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
