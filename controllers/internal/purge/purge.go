// Package purge decides how the results of a PoseJob or a PoseBatch that is being
// deleted are removed, where output.deletionPolicy says so. It is pure; its memory is
// the pods themselves, which count their tries.
//
// # Rules, first match wins
//
//  1. An object whose policy is Retain by now is let go, whatever runs.
//  2. Pods that may still write results end first, and are waited for.
//  3. A deletion in the foreground first takes all that belongs to the object, one
//     that orphans first lets go of it: until the garbage collector has done so, a new
//     pod of the object would be taken as well, or be its own no more.
//  4. An object that has written nothing, as it never had a pod that could, is let go.
//  5. The newest pod of the removal counts. While it lives it is waited for. When it
//     says that all is removed, the object is let go. When it failed, or vanished, the
//     next one follows after a pause that doubles with each try. It is never given
//     up: a person lets the object go by the policy Retain.
package purge

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Kind of a decision.
type Kind string

// Kinds.
const (
	// KindLetGo: take the finalizer off.
	KindLetGo Kind = "LetGo"
	// KindEnd the pods End, and wait.
	KindEnd Kind = "End"
	// KindWait until something changes or Until comes.
	KindWait Kind = "Wait"
	// KindCreate the pod of number Try, then delete the pods End.
	KindCreate Kind = "Create"
)

// Decision is what to do now.
type Decision struct {
	Kind            Kind
	Reason, Message string // of the condition, but for KindLetGo
	Try             int32
	End             []attempt.Pod
	// Report of what was removed, of KindLetGo; nil where nothing was.
	Report *report.PurgeReport
	// Until is when to look again; zero means only when something changes.
	Until time.Time
}

// Pauses between tries.
const (
	pauseBase = 10 * time.Second
	pauseMax  = 6 * time.Minute
	// foregroundLook is how often it is looked at whether the garbage collector is done.
	foregroundLook = 2 * time.Second
	// stuckTermination as plan.StuckTermination.
	stuckTermination = 60 * time.Second
)

// Owner of results that go with it, as a decision sees it.
type Owner struct {
	Kind string // PoseJob or PoseBatch
	URI  string // of its output
	// Policy of its output, which a person may change until it is gone.
	Policy     v1alpha1.DeletionPolicy
	Finalizers []string
	// Wrote says that it may have written something, even if no pod of it is left.
	Wrote bool
	// Secret by which its place is reached; empty where there is none.
	Secret string
}

const kindBatch = "PoseBatch"

// OfJob gives a PoseJob as an owner.
func OfJob(job *v1alpha1.PoseJob) Owner {
	return owner("PoseJob", job.Spec.Output.URI, job.Spec.Output.DeletionPolicy, job.Spec.Output.CredentialsSecretRef, job.Finalizers,
		len(job.Status.Attempts) > 0 || job.Status.Lookup != nil)
}

// OfBatch gives a PoseBatch as an owner. It makes no PoseJobs before its list of clips
// is whole.
func OfBatch(b *v1alpha1.PoseBatch) Owner {
	return owner(kindBatch, b.Spec.Output.URI, b.Spec.Output.DeletionPolicy, b.Spec.Output.CredentialsSecretRef, b.Finalizers,
		b.Status.Listing != nil && b.Status.Listing.CompletionTime != nil)
}

func owner(kind, uri string, policy v1alpha1.DeletionPolicy, secret *v1alpha1.SecretReference, finalizers []string, wrote bool) Owner {
	o := Owner{Kind: kind, URI: uri, Policy: policy, Finalizers: finalizers, Wrote: wrote}
	if secret != nil {
		o.Secret = secret.Name
	}
	return o
}

// WayOut is what a person can do about an object of that kind, as a sentence.
func WayOut(kind string) string {
	return "To let the " + kind + " go and keep its results, set spec.output.deletionPolicy to Retain"
}

// Next decides on an object that is being deleted, with all its pods that may write
// results or remove them.
func Next(o Owner, pods []corev1.Pod, now time.Time) Decision {
	var purges, writers []attempt.Pod
	for i := range pods {
		p := attempt.View(&pods[i])
		switch {
		case p.Purpose == v1alpha1.PurposePurge:
			purges = append(purges, p)
		case p.Live():
			writers = append(writers, p)
		}
	}
	switch {
	case o.Policy != v1alpha1.DeletionDelete:
		return Decision{Kind: KindLetGo, End: ending(purges)}
	case len(writers) > 0:
		return o.endWriters(writers, now)
	case slices.Contains(o.Finalizers, metav1.FinalizerDeleteDependents), slices.Contains(o.Finalizers, metav1.FinalizerOrphanDependents):
		return Decision{Kind: KindWait, Reason: v1alpha1.ReasonDeleting, Message: "the garbage collector deletes or orphans first what belongs to the " + o.Kind + ", as was asked for (foreground or orphan deletion)", Until: now.Add(foregroundLook)}
	case !o.Wrote && (o.Kind == kindBatch || len(pods) == 0):
		return Decision{Kind: KindLetGo}
	case len(purges) == 0:
		return Decision{Kind: KindCreate, Try: 1, Reason: v1alpha1.ReasonDeleting, Message: "the results at " + o.URI + " are being removed"}
	}
	slices.SortFunc(purges, func(a, b attempt.Pod) int { return int(try(pods, a) - try(pods, b)) })
	newest := purges[len(purges)-1]
	d := Decision{Try: try(pods, newest), End: ending(purges[:len(purges)-1])}
	if newest.Live() {
		d.Kind, d.Reason, d.Message = KindWait, v1alpha1.ReasonDeleting, "the results at "+o.URI+" are being removed"
		if why := notStarting(o, newest); why != "" {
			d.Reason, d.Message = v1alpha1.ReasonDeletionFailed, fmt.Sprintf("pod %s, which removes the results at %s, does not start: %s. %s", newest.Name, o.URI, why, WayOut(o.Kind))
		}
		return d
	}
	if t := newest.Report(attempt.ContainerPurge); t != nil && t.Result == report.ResultOK && t.Purge != nil && newest.Phase == corev1.PodSucceeded {
		d.Kind, d.Report, d.End = KindLetGo, t.Purge, nil
		return d
	}
	due := endOf(newest, now).Add(pause(d.Try))
	d.Reason = v1alpha1.ReasonDeletionFailed
	d.Message = fmt.Sprintf("try %d to remove the results at %s failed: %s. The next one comes at %s. %s", d.Try, o.URI, lastWords(newest), due.UTC().Format(time.RFC3339), WayOut(o.Kind))
	if now.Before(due) {
		d.Kind, d.Until = KindWait, due
		return d
	}
	d.Kind, d.Try, d.End = KindCreate, d.Try+1, ending(purges)
	return d
}

// ending leaves out what is being deleted already.
func ending(pods []attempt.Pod) []attempt.Pod {
	var out []attempt.Pod
	for _, p := range pods {
		if !p.Deleting {
			out = append(out, p)
		}
	}
	return out
}

func (o Owner) endWriters(writers []attempt.Pod, now time.Time) Decision {
	// Lists of the cache have no order, and the message names one.
	slices.SortFunc(writers, func(a, b attempt.Pod) int { return strings.Compare(a.Name, b.Name) })
	d := Decision{Kind: KindWait, Reason: v1alpha1.ReasonDeleting, Message: fmt.Sprintf("pod %s ends first, so that it writes nothing behind the removal", writers[0].Name)}
	if d.End = ending(writers); len(d.End) > 0 {
		d.Kind = KindEnd
		return d
	}
	for _, p := range writers {
		stuck := p.DeletingSince.Add(stuckTermination)
		if now.Before(stuck) {
			d.Until = stuck
			continue
		}
		d.Reason, d.Until = v1alpha1.ReasonWaitingForTermination, time.Time{}
		d.Message = fmt.Sprintf("pod %s on node %s should have ended by %s and may still write results; it is never deleted by force. If the node is gone for good, delete the node object. %s",
			p.Name, p.Node, p.DeletingSince.UTC().Format(time.RFC3339), WayOut(o.Kind))
		return d
	}
	return d
}

// try that a pod is; a pod that does not say is the first.
func try(pods []corev1.Pod, p attempt.Pod) int32 {
	for i := range pods {
		if string(pods[i].UID) == p.UID {
			n, err := strconv.ParseInt(pods[i].Annotations[render.AnnotationTry], 10, 32)
			if err == nil && n > 0 {
				return int32(n)
			}
		}
	}
	return 1
}

func pause(try int32) time.Duration {
	d := pauseBase
	for i := int32(1); i < try && d < pauseMax; i++ {
		d *= 2
	}
	return min(d, pauseMax)
}

// endOf a pod that is not live.
func endOf(p attempt.Pod, now time.Time) time.Time {
	for _, c := range p.Containers {
		if c.Terminated && !c.FinishedAt.IsZero() {
			return c.FinishedAt
		}
	}
	if !p.Created.IsZero() {
		return p.Created.Time
	}
	return now
}

// notStarting says why a live pod does not run, if it does not and somebody must
// mend that.
func notStarting(o Owner, p attempt.Pod) string {
	if p.Unschedulable != "" && p.Node == "" {
		return "no node takes it: " + failure.Clean(p.Unschedulable, 400)
	}
	for _, c := range p.Containers {
		if c.Running || c.Terminated {
			return ""
		}
		if c.Waiting != "" && c.Waiting != "ContainerCreating" && c.Waiting != "PodInitializing" {
			return failure.Clean(c.Waiting+": "+c.WaitingMessage, 400)
		}
	}
	if p.Node == "" || !p.Unprepared {
		return ""
	}
	why := fmt.Sprintf("node %s has not prepared its volumes or its network yet", p.Node)
	if o.Secret != "" {
		why += fmt.Sprintf(". Does Secret %s exist in the namespace?", o.Secret)
	}
	return strings.TrimSuffix(why, ".")
}

func lastWords(p attempt.Pod) string {
	c := p.Container(attempt.ContainerPurge)
	words := "its pod ended without a word"
	switch {
	case c != nil && c.Report != nil && c.Report.Message != "":
		words = c.Report.Message
	case p.Disruption != "":
		words = "its pod was disrupted: " + p.Disruption
	case p.Reason != "":
		words = p.Reason + ": " + p.Message
	case c != nil && c.Terminated:
		words = fmt.Sprintf("container %s ended with exit code %d (%s) %s", c.Name, c.ExitCode, c.TerminatedReason, c.RawMessage)
	}
	return strings.TrimRight(failure.Clean(words, 400), ". ")
}

// Summary of what was removed, for a person.
func Summary(uri string, r *report.PurgeReport) string {
	if r == nil {
		return "nothing was written to " + uri
	}
	count := func(n int64) int64 { return max(0, n) }
	words := fmt.Sprintf("removed %d results, %d partial ones, %d objects and %d bytes in all, below %s", count(r.Results), count(r.Partials), count(r.Objects), count(r.Bytes), uri)
	if len(r.Kept) > 0 {
		words += fmt.Sprintf("; kept %d, as %s", len(r.Kept), failure.Clean(r.Kept[0], 300))
	}
	return words
}
