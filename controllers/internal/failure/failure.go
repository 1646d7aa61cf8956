// Package failure says what happened to an attempt. It knows nothing of what
// follows: limits, other variants and retries are the business of plan.
//
// # Rules, first match wins
//
//  1. A pod that succeeded with deliver's proof succeeded.
//  2. A pod that the operator itself is ending ended for the reason that was
//     recorded before it was deleted.
//  3. A disruption (the pod's DisruptionTarget condition, a deletion by others,
//     a vanished pod, a node that lost track of it, a promise of the scheduler's
//     that the kubelet did not keep) says nothing against the video or the engine.
//     An eviction for too much memory or disk is no disruption.
//  4. The kubelet's refusal of devices, and its end of the pod's time.
//  5. A container of ours that gave a typed reason (adapter, fetch, prepare,
//     deliver) is believed: its code is trusted. All but deliver come before the
//     engine.
//  6. The engine: a container that never ran, by the runtime's words; out of
//     memory by the kernel's or the cgroup's evidence; what the runner itself
//     found (a stall, a device that cannot be used); then the PoseEngine's own
//     rules, then the built-in rules, in their order; see Classify and Builtin.
//  7. Deliver's judgement of the outputs.
//  8. What is left is EngineError with the last words, and guesses nothing.
//
// Message, reason and culprit container always speak of the same container.
package failure

import (
	"fmt"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Verdict is the outcome of an attempt.
type Verdict struct {
	Succeeded bool
	// Reason is one of the API's, or an engine rule's own.
	Reason string
	// Action that an engine's own rule asks for; empty means plan's table.
	Action v1alpha1.Action
	// Container that failed, ExitCode and Signal of its process.
	Container string
	ExitCode  *int32
	Signal    string
	Message   string
	// Culprit is the line of the log that decided; LastWords are its last ones.
	Culprit   string
	LastWords []string
}

// Judge says how an attempt ended. ok is false while it has not.
func Judge(a attempt.Attempt, rules []Rule) (v Verdict, ok bool) {
	if a.Recorded() {
		return Verdict{}, false
	}
	if a.Lost() {
		return ended(a, "the pod is gone: it was deleted, or its node was removed"), true
	}
	if a.Pod == nil || a.Pod.Live() {
		return Verdict{}, false
	}
	for _, judge := range []func(attempt.Attempt, []Rule) (Verdict, bool){
		success, ownEnding, eviction, disruption, admission, input, engine, delivery,
	} {
		if v, ok := judge(a, rules); ok {
			v.Message = Clean(v.Message, maxMessage)
			return v, true
		}
	}
	v = unknown(a)
	v.Message = Clean(v.Message, maxMessage)
	return v, true
}

// maxMessage bounds a message in bytes; the API allows 1024.
const maxMessage = 1000

func success(a attempt.Attempt, _ []Rule) (Verdict, bool) {
	d := a.Pod.Delivery()
	if a.Pod.Phase != "Succeeded" || d == nil {
		return Verdict{}, false
	}
	return Verdict{
		Succeeded: true,
		Message:   fmt.Sprintf("%d frames covered, %d people tracked, %d files verified and uploaded", d.Frames, d.People, len(d.Files)),
	}, true
}

// ownEnding: the reason stands in the record since before the pod was deleted.
func ownEnding(a attempt.Attempt, _ []Rule) (Verdict, bool) {
	if a.Reason == "" {
		return Verdict{}, false
	}
	return Verdict{Reason: a.Reason, Action: a.Action, Message: a.Message}, true
}

// ended is the verdict on a pod that is gone.
func ended(a attempt.Attempt, message string) Verdict {
	if v, ok := ownEnding(a, nil); ok {
		return v
	}
	return Verdict{Reason: v1alpha1.ReasonDisrupted, Message: message}
}

// eviction by the kubelet for what the pod itself used too much of. The
// condition DisruptionTarget is set for node pressure, and not where a limit
// was exceeded (kubernetes: pkg/kubelet/eviction).
func eviction(a attempt.Attempt, _ []Rule) (Verdict, bool) {
	p := a.Pod
	if p.Reason != "Evicted" {
		return Verdict{}, false
	}
	words := strings.ToLower(p.Message)
	switch {
	case strings.Contains(words, "ephemeral") || strings.Contains(words, "emptydir"):
		if p.Disruption != "" {
			return Verdict{}, false
		}
		return Verdict{
			Reason:  v1alpha1.ReasonScratchSpaceExceeded,
			Message: fmt.Sprintf("the kubelet evicted the pod: %s. Raise spec.scratchSize, or cut the video with spec.video.frames", strings.TrimSuffix(p.Message, ".")),
		}, true
	case strings.Contains(words, "resource: memory") && strings.Contains(words, "container "+attempt.ContainerEngine+" was using"):
		return Verdict{
			Reason:    v1alpha1.ReasonOutOfMemory,
			Container: attempt.ContainerEngine,
			Message:   fmt.Sprintf("the node ran short of memory and the engine used more than it had asked for: %s", p.Message),
		}, true
	}
	return Verdict{}, false
}

func disruption(a attempt.Attempt, _ []Rule) (Verdict, bool) {
	p := a.Pod
	switch {
	case p.Disruption != "" && !endedBefore(p, p.DisruptedAt):
		return Verdict{Reason: v1alpha1.ReasonDisrupted, Message: "the pod was disrupted: " + p.Disruption}, true
	case p.Deleting && !endedBefore(p, p.DeletionAsked):
		return Verdict{Reason: v1alpha1.ReasonDisrupted, Message: "the pod was deleted by somebody else while it ran"}, true
	case disruptive[p.Reason] || strings.HasPrefix(p.Reason, "OutOf"):
		return Verdict{Reason: v1alpha1.ReasonDisrupted, Message: strings.TrimSpace(p.Reason + ": " + p.Message)}, true
	}
	for _, c := range p.Containers {
		// The node came back, or the pod was evicted, and its runtime knows the
		// container no more: 137 is the kubelet's filler, no signal.
		if c.TerminatedReason == "ContainerStatusUnknown" {
			return Verdict{Reason: v1alpha1.ReasonDisrupted, Container: c.Name, Message: fmt.Sprintf("the node lost track of container %s: ContainerStatusUnknown%s", c.Name, quote(c.RawMessage))}, true
		}
	}
	return Verdict{}, false
}

// disruptive are the kubelet's and the node controller's own reasons on a pod
// that say nothing of the pod. With those that begin with OutOf (OutOfcpu,
// OutOfnvidia.com/gpu) the kubelet refuses what the scheduler had promised.
var disruptive = map[string]bool{
	"NodeLost": true, "NodeShutdown": true, "Shutdown": true, "Terminated": true, "Preempting": true, "Preempted": true, "Evicted": true,
	"NodeAffinity": true, "NodeName": true, "NodePorts": true,
}

// admission: the kubelet took the pod's devices or its time away.
func admission(a attempt.Attempt, _ []Rule) (Verdict, bool) {
	p := a.Pod
	switch p.Reason {
	case "UnexpectedAdmissionError", "TopologyAffinityError":
		return Verdict{
			Reason:  v1alpha1.ReasonDeviceUnusable,
			Message: fmt.Sprintf("the node could not give the pod its devices: %s: %s. Look at the device plugin and the health of the node's GPUs", p.Reason, strings.TrimSuffix(p.Message, ".")),
		}, true
	case "DeadlineExceeded":
		return Verdict{
			Reason:  v1alpha1.ReasonDeadlineExceeded,
			Message: "the kubelet ended the pod: " + strings.TrimSpace(p.Message) + ". The pod's activeDeadlineSeconds is not the operator's: an admission webhook or a policy of the cluster set it",
		}, true
	}
	return Verdict{}, false
}

// clockSkew is by how much the clocks of a node and the API server may differ.
const clockSkew = 5 * time.Second

// endedBefore says whether the pod had clearly ended by itself before t. A drain
// or PodGC deletes finished pods as well, and that changes nothing about how
// they ended.
func endedBefore(p *attempt.Pod, t time.Time) bool {
	all := len(p.Containers) > 0
	for _, c := range p.Containers {
		before := c.Terminated && !c.FinishedAt.IsZero() && c.FinishedAt.Add(clockSkew).Before(t)
		if before && c.ExitCode != 0 {
			return true
		}
		all = all && before
	}
	return all
}

// input: the containers before the engine, so a failure there is the whole story.
// What the adapter's container cannot say itself is the adapter's all the same.
func input(a attempt.Attempt, _ []Rule) (Verdict, bool) {
	for _, name := range []string{attempt.ContainerCopy, attempt.ContainerAdapter, attempt.ContainerFetch, attempt.ContainerPrepare} {
		c := a.Pod.Container(name)
		if c == nil || !c.Terminated || c.ExitCode == 0 {
			continue
		}
		v := Verdict{Container: name}
		v.ExitCode, v.Signal = exitOf(c)
		switch {
		case c.Report != nil && c.Report.Reason != "":
			v.Reason, v.Message = typed(c.Report.Reason), c.Report.Message
			if c.Report.Temporary {
				v.Action = v1alpha1.ActionRetry
			}
		case name == attempt.ContainerAdapter:
			v = adapter(c, v)
		case c.TerminatedReason == "OOMKilled" && name == attempt.ContainerPrepare:
			v.Reason = v1alpha1.ReasonInputInvalid
			v.Message = "decoding the video took more memory than the prepare container has: its frames are too large"
		default:
			v.Reason = v1alpha1.ReasonEngineError
			v.Message = fmt.Sprintf("container %s ended with %s before the engine started%s", name, ending(c), quote(c.RawMessage))
		}
		return v, true
	}
	return Verdict{}, false
}

// adapter: the container that copies a variant's adapter out of its image died
// without a word, or its image cannot run at all.
func adapter(c *attempt.Container, v Verdict) Verdict {
	if n, ok := neverRan(c); ok {
		return n
	}
	_, remedy := Meaning(v1alpha1.ReasonAdapterInvalid)
	v.Reason = v1alpha1.ReasonAdapterInvalid
	v.Message = sentences([]string{fmt.Sprintf("container %s ended with %s before the engine started%s", c.Name, ending(c), quote(c.RawMessage)), remedy})
	return v
}

// delivery: the engine ended well and deliver did not.
func delivery(a attempt.Attempt, rules []Rule) (Verdict, bool) {
	c := a.Pod.Container(attempt.ContainerDeliver)
	if c == nil || !c.Terminated || c.ExitCode == 0 {
		return Verdict{}, false
	}
	v := Verdict{Container: c.Name, Reason: v1alpha1.ReasonDeliveryFailed}
	v.ExitCode, v.Signal = exitOf(c)
	v.Message = fmt.Sprintf("container %s ended with %s%s", c.Name, ending(c), quote(c.RawMessage))
	if c.Report != nil && c.Report.Reason != "" {
		v.Reason, v.Message = typed(c.Report.Reason), c.Report.Message
		if v.Reason == v1alpha1.ReasonDeliveryFailed && !c.Report.Temporary {
			// A bucket that is not there, or refuses, would cost the whole engine
			// run again for the same answer.
			v.Action = v1alpha1.ActionFail
		}
	}
	if v.Reason == v1alpha1.ReasonOutputInvalid {
		swallowed(&v, a, rules)
	}
	return v, true
}

// Hopeless says of an attempt whose pod is live why it cannot succeed any more:
// deliver has ended with a failure of its own, so that nobody takes the results
// for which the engine still works.
func Hopeless(a attempt.Attempt) (Verdict, bool) {
	if a.Recorded() || a.Pod == nil || !a.Pod.Live() || a.Pod.Deleting {
		return Verdict{}, false
	}
	e := a.Pod.Container(attempt.ContainerEngine)
	if e == nil || !e.Running {
		return Verdict{}, false
	}
	v, ok := delivery(a, nil)
	v.Message = Clean(v.Message, maxMessage)
	return v, ok
}

// swallowed: an engine that catches its own exception, prints it and ends with 0,
// as PHALP does. Its results are missing for the reason that it printed.
func swallowed(v *Verdict, a attempt.Attempt, rules []Rule) {
	c := a.Pod.Container(attempt.ContainerEngine)
	if c == nil || !c.Terminated || c.ExitCode != 0 {
		return
	}
	ev := evidence(a, c, engineReport(a))
	f := Classify(ev, rules)
	if !f.Exception {
		return
	}
	v.Container, v.ExitCode, v.Signal = c.Name, ev.ExitCode, ev.Signal
	v.Culprit, v.LastWords = f.Culprit, f.LastWords
	v.Message = sentences([]string{"the engine ended with exit code 0 although its log ends with an exception: " + Clean(f.Culprit, 300), v.Message})
	if f.Said {
		v.Reason, v.Action = f.Reason, f.Action
		v.Message = sentences([]string{v.Message, f.Explanation, f.Remedy})
	}
}

// typed is the API's reason for one of the runner's. What is none of them was
// written by somebody else: prepare decodes hostile videos.
func typed(reason string) string {
	switch reason {
	case report.ReasonConfig:
		return v1alpha1.ReasonPodNotStartable
	case report.ReasonInputUnavailable, report.ReasonInputInvalid, report.ReasonOutputInvalid, report.ReasonDeliveryFailed,
		report.ReasonAdapterInvalid, report.ReasonScratchExceeded, report.ReasonNoProgress, report.ReasonDeviceUnusable, report.ReasonCUDAOutOfMemory:
		return reason
	}
	return v1alpha1.ReasonEngineError
}

func unknown(a attempt.Attempt) Verdict {
	v := Verdict{Reason: v1alpha1.ReasonEngineError}
	if c := a.Pod.Container(attempt.ContainerDeliver); c != nil && c.Terminated && c.ExitCode == 0 && a.Pod.Phase == "Succeeded" {
		v.Container = c.Name
		v.Message = "every container ended well and deliver left no proof of a result, so none is claimed"
		return v
	}
	v.Message = strings.TrimSpace(fmt.Sprintf("the pod failed and no container says why. %s %s", a.Pod.Reason, a.Pod.Message))
	return v
}

// exitOf gives a container's own exit code, or the signal that ended it. The
// runtime reports a signal as 128 + its number (POSIX shells' custom).
func exitOf(c *attempt.Container) (*int32, string) {
	if c.Signal > 0 {
		return nil, signalName(c.Signal)
	}
	return Ending(c.ExitCode)
}

// Ending gives the exit code of a process, or the signal that ended it.
func Ending(code int32) (*int32, string) {
	if code > 128 && code <= 128+64 {
		return nil, signalName(code - 128)
	}
	return &code, ""
}

func ending(c *attempt.Container) string {
	code, signal := exitOf(c)
	if code == nil {
		return "signal " + signal
	}
	return fmt.Sprintf("exit code %d", *code)
}

func quote(words string) string {
	words = Clean(words, 300)
	if words == "" {
		return ""
	}
	return ": " + words
}

// engineReport of a terminated engine container, never nil.
func engineReport(a attempt.Attempt) report.EngineReport {
	if e := a.Pod.Engine(); e != nil {
		return *e
	}
	return report.EngineReport{}
}
