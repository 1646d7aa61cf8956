// Package attempt turns pods into facts and joins them with the attempts that
// a PoseJob's status already holds.
//
// Rules
//
//   - A recorded attempt is never dropped, and a recorded outcome never changed.
//   - A pod that belongs to the job and to no record (a status that was restored
//     from a backup, say) is adopted as a record of its own.
//   - A pod is live while its object exists and its phase is not terminal. A
//     pod that is being deleted is live until then: its process may still run.
//     Only one that is deleted before it had a node is not: it never runs.
//   - A record that had a pod and has none any more was disrupted.
//   - A pod with a purpose of its own (a look at the job's places, the removal of
//     its results) is no attempt, unless a record knows it as its own: labels can
//     be edited.
//
// The package is pure: it reads values and returns values.
package attempt

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Attempt is one attempt as the record and the cluster show it together.
type Attempt struct {
	v1alpha1.Attempt
	// Pod is nil while there is none.
	Pod *Pod
}

// Live says whether a process of this attempt may still run.
func (a Attempt) Live() bool { return a.Pod != nil && a.Pod.Live() }

// Recorded says whether the outcome stands in the record.
func (a Attempt) Recorded() bool {
	return a.State == v1alpha1.AttemptSucceeded || a.State == v1alpha1.AttemptFailed
}

// Lost says whether the attempt once had a pod, has none now and has no
// recorded outcome.
func (a Attempt) Lost() bool {
	return a.Pod == nil && a.State == v1alpha1.AttemptRunning
}

// Join pairs the records with the pods of the job, oldest attempt first. All
// pods must belong to the job's own UID.
func Join(records []v1alpha1.Attempt, pods []corev1.Pod) []Attempt {
	byNumber, byUID := make(map[int32]*Pod, len(pods)), make(map[string]*Pod, len(pods))
	for i := range pods {
		p := View(&pods[i])
		if byUID[p.UID] = &p; p.Purpose == "" {
			byNumber[p.Attempt] = &p
		}
	}
	joined := make([]Attempt, 0, len(records)+1)
	for _, r := range records {
		// By uid first: labels can be edited, and the record knows its pod.
		pod := byUID[r.PodUID]
		if pod == nil {
			pod = byNumber[r.Number]
		}
		a := Attempt{Attempt: *r.DeepCopy(), Pod: pod}
		if pod != nil {
			delete(byNumber, pod.Attempt)
		}
		if a.Pod != nil && !a.Recorded() {
			a.observe()
		}
		joined = append(joined, a)
	}
	for number, p := range byNumber {
		if number < 1 {
			continue
		}
		a := Attempt{
			Attempt: v1alpha1.Attempt{Number: number, State: v1alpha1.AttemptRunning, Variant: p.Variant, Device: p.Device},
			Pod:     p,
		}
		a.observe()
		joined = append(joined, a)
	}
	slices.SortFunc(joined, func(a, b Attempt) int { return int(a.Number - b.Number) })
	return joined
}

// observe copies what the pod shows into the record.
func (a *Attempt) observe() {
	p := a.Pod
	a.State = v1alpha1.AttemptRunning
	a.PodName, a.PodUID = p.Name, p.UID
	if a.StartTime == nil {
		a.StartTime = p.Created.DeepCopy()
	}
	a.Node = first(p.Node, a.Node)
	if e := p.Container(ContainerEngine); e != nil {
		a.ImageID = first(e.ImageID, a.ImageID)
	}
	if s := p.Stage(); s != "" {
		a.Stage = s
	}
	if e := p.Engine(); e != nil {
		a.GPU = first(e.GPU, a.GPU)
		if e.DeviceUsed != "" {
			a.DeviceUsed = v1alpha1.Device(e.DeviceUsed)
		}
		a.PeakMemoryBytes = max(a.PeakMemoryBytes, e.PeakMemoryBytes)
		a.LimitMemoryBytes = max(a.LimitMemoryBytes, e.LimitMemoryBytes)
	}
	a.Seconds = p.seconds()
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Live gives the attempt whose pod is live, or nil.
func Live(attempts []Attempt) *Attempt {
	for i := range attempts {
		if attempts[i].Live() {
			return &attempts[i]
		}
	}
	return nil
}

// Records gives the attempts as status stores them.
func Records(attempts []Attempt) []v1alpha1.Attempt {
	out := make([]v1alpha1.Attempt, len(attempts))
	for i, a := range attempts {
		out[i] = a.Attempt
	}
	return out
}

// number reads an attempt's number from its label; 0 when it has none.
func number(labels map[string]string) int32 {
	n, err := strconv.ParseInt(labels[v1alpha1.LabelAttempt], 10, 32)
	if err != nil || n < 1 {
		return 0
	}
	return int32(n)
}
