package attempt

import (
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Names of the containers of an attempt's pod.
const (
	ContainerCopy    = "copy"
	ContainerAdapter = "adapter"
	ContainerFetch   = "fetch"
	ContainerPrepare = "prepare"
	ContainerEngine  = "engine"
	ContainerDeliver = "deliver"
)

// Names of the only containers of a job's pods that are no attempts.
const (
	ContainerLookup = "lookup"
	ContainerPurge  = "purge"
)

// Pod is what an attempt's pod shows.
type Pod struct {
	Name, UID string
	Attempt   int32
	// Purpose of a pod that is no attempt, as v1alpha1.PurposeLookup; else empty.
	Purpose string
	Variant string
	Device  v1alpha1.Device
	Node    string
	Phase   corev1.PodPhase
	// Reason and Message are the kubelet's own on the pod, as Evicted.
	Reason, Message string
	Created         metav1.Time
	Deleting        bool
	// DeletingSince is when the pod should have ended, DeletionAsked when its
	// deletion was asked for.
	DeletingSince, DeletionAsked time.Time
	Finalizer                    bool
	// Disruption is the message of the condition DisruptionTarget, with its
	// reason before it; empty without one.
	Disruption  string
	DisruptedAt time.Time
	// Unschedulable is the scheduler's message while no node takes the pod,
	// since UnschedulableSince. A pod behind a scheduling gate is not.
	Unschedulable      string
	UnschedulableSince time.Time
	// ScheduledAt is when the pod got its node; zero before.
	ScheduledAt time.Time
	// Unprepared says that the node has not yet prepared the pod's volumes and
	// network, without which no container starts.
	Unprepared bool
	// Unmounted is what events say of that, where the manager may read them: the pod
	// itself never says why.
	Unmounted  Unmounted
	Containers []Container
	// EngineLog is the end of the engine's log, read by the manager where no
	// runner watched it; empty otherwise.
	EngineLog string
}

// Container is what one container shows.
type Container struct {
	Name    string
	Init    bool
	ImageID string
	Running bool
	// Waiting is the reason while it waits, as ImagePullBackOff.
	Waiting, WaitingMessage string
	Terminated              bool
	// TerminatedReason is the kubelet's, as OOMKilled.
	TerminatedReason string
	ExitCode         int32
	// Signal number as the runtime reports it; often 0 with ExitCode 128+n.
	Signal     int32
	StartedAt  time.Time
	FinishedAt time.Time
	// Report is the runner's termination message; nil when it left none.
	Report *report.Termination
	// RawMessage is a termination message that is not the runner's.
	RawMessage string
}

// View reads a pod.
func View(p *corev1.Pod) Pod {
	v := Pod{
		Name: p.Name, UID: string(p.UID),
		Attempt: number(p.Labels), Purpose: p.Labels[v1alpha1.LabelPurpose], Variant: first(p.Annotations[v1alpha1.AnnotationVariant], p.Labels[v1alpha1.LabelVariant]),
		Device: v1alpha1.Device(p.Labels[v1alpha1.LabelDevice]),
		Node:   p.Spec.NodeName, Phase: p.Status.Phase,
		Reason: p.Status.Reason, Message: p.Status.Message,
		Created: p.CreationTimestamp,
	}
	if p.DeletionTimestamp != nil {
		v.Deleting, v.DeletingSince, v.DeletionAsked = true, p.DeletionTimestamp.Time, p.DeletionTimestamp.Time
		if g := p.DeletionGracePeriodSeconds; g != nil {
			v.DeletionAsked = v.DeletionAsked.Add(-time.Duration(*g) * time.Second)
		}
	}
	for _, f := range p.Finalizers {
		v.Finalizer = v.Finalizer || f == v1alpha1.FinalizerOutcome
	}
	for _, c := range p.Status.Conditions {
		switch {
		case c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue:
			v.Disruption, v.DisruptedAt = strings.TrimSpace(c.Reason+": "+c.Message), c.LastTransitionTime.Time
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable:
			v.Unschedulable, v.UnschedulableSince = c.Message, c.LastTransitionTime.Time
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue:
			v.ScheduledAt = c.LastTransitionTime.Time
		case c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionFalse:
			v.Unprepared = true
		}
	}
	for _, s := range p.Status.InitContainerStatuses {
		v.Containers = append(v.Containers, container(s, true))
	}
	for _, s := range p.Status.ContainerStatuses {
		v.Containers = append(v.Containers, container(s, false))
	}
	return v
}

func container(s corev1.ContainerStatus, init bool) Container {
	c := Container{Name: s.Name, Init: init, ImageID: s.ImageID}
	switch {
	case s.State.Waiting != nil:
		c.Waiting, c.WaitingMessage = s.State.Waiting.Reason, s.State.Waiting.Message
	case s.State.Running != nil:
		c.Running, c.StartedAt = true, s.State.Running.StartedAt.Time
	case s.State.Terminated != nil:
		t := s.State.Terminated
		c.Terminated, c.TerminatedReason = true, t.Reason
		c.ExitCode, c.Signal = t.ExitCode, t.Signal
		c.StartedAt, c.FinishedAt = t.StartedAt.Time, t.FinishedAt.Time
		// A report counts only from the container whose role it names: an
		// engine that forges deliver's verdict writes it into its own message. An
		// engine among the init containers has no runner, so nobody to report.
		bare := init && s.Name == ContainerEngine
		if r, err := report.ParseTermination(t.Message); err == nil && r.Role == role[s.Name] && !bare {
			c.Report = r
			clean(r.Engine)
			bound(r.Video)
			if l := r.Lookup; l != nil && l.Reused != nil {
				bound(&l.Reused.Video)
			}
		} else {
			c.RawMessage = t.Message
		}
	}
	return c
}

// word is what a stage or a signal's name can be.
var word = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,39}$`)

// maxFact bounds a number that a container reports: beyond it is nonsense, and
// would overflow what is computed from it.
const maxFact = 1 << 40

func within(n int64) int64 { return min(max(0, n), maxFact) }

// sha256Hex is a digest; a forged one could be anything.
var sha256Hex = regexp.MustCompile(`^[0-9a-f]{0,64}$`)

// bound what prepare measured: it decodes hostile videos.
func bound(v *report.VideoFacts) {
	if v == nil {
		return
	}
	v.Width, v.Height, v.Frames, v.StartFrame = within(v.Width), within(v.Height), within(v.Frames), within(v.StartFrame)
	if !(v.FPS >= 0 && v.FPS <= maxRate) { // NaN is neither
		v.FPS = 0
	}
	if !(v.DurationSec >= 0 && v.DurationSec <= maxSeconds) {
		v.DurationSec = 0
	}
	if !sha256Hex.MatchString(v.SourceSHA256) {
		v.SourceSHA256 = ""
	}
	if s := v.Source; s != nil {
		s.Bytes, s.Width, s.Height = within(s.Bytes), within(s.Width), within(s.Height)
	}
}

// maxSeconds bounds the length of a video: a year.
const maxSeconds = 366 * 24 * 3600

// maxRate bounds frames per second.
const maxRate = 1e6

// maxGPU bounds the name of a GPU.
const maxGPU = 128

// clean what the engine can forge: its process may write the termination
// message of its container, and these words reach a status and a terminal.
func clean(e *report.EngineReport) {
	if e == nil {
		return
	}
	if !word.MatchString(e.Stage) {
		e.Stage = ""
	}
	if !word.MatchString(e.Signal) {
		e.Signal = ""
	}
	if e.DeviceUsed != report.DeviceGPU && e.DeviceUsed != report.DeviceCPU {
		e.DeviceUsed = ""
	}
	e.PeakMemoryBytes, e.LimitMemoryBytes = max(0, e.PeakMemoryBytes), max(0, e.LimitMemoryBytes)
	for stage, sec := range e.StageSeconds {
		if !(sec >= 0 && sec <= maxFact) {
			delete(e.StageSeconds, stage)
		}
	}
	e.GPU = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, e.GPU)
	e.GPU = e.GPU[:min(len(e.GPU), maxGPU)]
}

// role of each container; what a container says in another's name is ignored.
var role = map[string]report.Role{
	ContainerCopy:    report.RoleCopy,
	ContainerAdapter: report.RoleAdapter,
	ContainerFetch:   report.RoleFetch,
	ContainerPrepare: report.RolePrepare,
	ContainerEngine:  report.RoleExec,
	ContainerDeliver: report.RoleDeliver,
	ContainerLookup:  report.RoleLookup,
	ContainerPurge:   report.RolePurge,
}

// Live says whether a process of the pod may run, now or later. A pod that is
// being deleted and has no node never runs: the API server binds no such pod,
// and no kubelet will ever make its phase terminal.
func (p *Pod) Live() bool { return !p.Terminal() && (!p.Deleting || p.Node != "") }

// Terminal says whether every container has ended for good.
func (p *Pod) Terminal() bool {
	return p.Phase == corev1.PodSucceeded || p.Phase == corev1.PodFailed
}

// Container by name, or nil.
func (p *Pod) Container(name string) *Container {
	for i := range p.Containers {
		if p.Containers[i].Name == name {
			return &p.Containers[i]
		}
	}
	return nil
}

// Report of the named container, or nil.
func (p *Pod) Report(name string) *report.Termination {
	if c := p.Container(name); c != nil {
		return c.Report
	}
	return nil
}

// Engine is what exec saw of the engine, or nil.
func (p *Pod) Engine() *report.EngineReport {
	if r := p.Report(ContainerEngine); r != nil {
		return r.Engine
	}
	return nil
}

// Delivery is deliver's proof of success, or nil.
func (p *Pod) Delivery() *report.DeliveryReport {
	if r := p.Report(ContainerDeliver); r != nil && r.Result == report.ResultOK {
		return r.Deliver
	}
	return nil
}

// Video is what prepare measured, or nil.
func (p *Pod) Video() *report.VideoFacts {
	if r := p.Report(ContainerPrepare); r != nil && r.Result == report.ResultOK {
		return r.Video
	}
	return nil
}

// Stage that the pod is in, as far as container states and reports tell. Empty
// before the first container runs.
func (p *Pod) Stage() string {
	stage := ""
	for i := range p.Containers {
		c := &p.Containers[i]
		if !c.Running && !c.Terminated {
			continue
		}
		switch c.Name {
		case ContainerFetch:
			stage = report.StageFetch
		case ContainerPrepare:
			stage = report.StagePrepare
		case ContainerEngine:
			stage = report.StageStart
			if c.Report != nil && c.Report.Engine != nil && c.Report.Engine.Stage != "" {
				stage = c.Report.Engine.Stage
			}
			if c.Terminated && c.ExitCode == 0 {
				stage = report.StageDeliver
			}
		}
	}
	return stage
}

// seconds that the parts took, nil before the first ended.
func (p *Pod) seconds() *v1alpha1.AttemptSeconds {
	s := v1alpha1.AttemptSeconds{}
	whole := func(f float64) int64 { return int64(f + 0.5) }
	for i := range p.Containers {
		c := &p.Containers[i]
		if !c.Terminated || c.StartedAt.IsZero() {
			continue
		}
		took := whole(c.FinishedAt.Sub(c.StartedAt).Seconds())
		switch c.Name {
		case ContainerFetch:
			s.Fetch = took
		case ContainerPrepare:
			s.Prepare = took
		case ContainerEngine:
			s.Engine = took
			if e := p.Engine(); e != nil {
				for stage, sec := range e.StageSeconds {
					if stage == v1alpha1.StageTracking || stage == v1alpha1.StageWriting {
						s.Track += whole(sec)
					} else {
						s.Load += whole(sec)
					}
				}
			}
		case ContainerDeliver:
			// It waits for the engine first; its own time begins at that end.
			if e := p.Container(ContainerEngine); e != nil && e.Terminated {
				s.Deliver = whole(max(0, c.FinishedAt.Sub(e.FinishedAt).Seconds()))
			}
		}
	}
	if s == (v1alpha1.AttemptSeconds{}) {
		return nil
	}
	return &s
}
