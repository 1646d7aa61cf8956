package batch

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Child is a PoseJob of the batch.
type Child struct {
	Clip int
	Name string
	UID  string
	// Ended, well or not: with Succeeded, else with Reason and Message.
	Ended, Succeeded, Reused bool
	Reason, Message          string
	// Deleting says that it is going already.
	Deleting bool
	// Suspended is its spec's; Resting says that no pod of it runs.
	Suspended, Resting bool
	// Used by its attempts that ended, and how long it took where it ended.
	Used Totals
	// Digest is the report.ShortDigest of its result, where it is known.
	Digest string
	// Made and End are when it was created and when it ended.
	Made, End time.Time
}

func (c *Child) live() bool { return !c.Ended }

// Input of a decision about a batch whose clips are listed.
type Input struct {
	Batch *v1alpha1.PoseBatch
	// Records of all chunks, in order. None is nil.
	Records  []*Record
	Children []Child
	// Queues are the pods of many clips that exist. One that a record has and that is
	// missing here is not there, as was asked past the cache.
	Queues []QueuePod
	// Offer says whether more of them can be made; nil is no. It is asked at most once.
	Offer func() Offer
	// Finished: the batch has ended, whatever became of its clips (its list was lost,
	// say). Nothing is begun any more, and pods of many clips end.
	Finished bool
	Now      time.Time
}

// StepKind is what a step does.
type StepKind int

// Kinds of steps, in the order in which a plan has them.
const (
	// StepRecord writes a record under the resourceVersion that was read. When that
	// fails, nothing that follows is done.
	StepRecord StepKind = iota
	// StepCreate creates the PoseJob of a clip whose record says r.
	StepCreate
	// StepLook reads record and PoseJob of a clip past the cache and creates the
	// PoseJob if it is not there and the record still says r.
	StepLook
	// StepDelete deletes a PoseJob, by its uid.
	StepDelete
	// StepSuspend changes a PoseJob's spec.suspend.
	StepSuspend
	// StepQueue creates a pod of many clips, unless the record, which is read past the
	// cache where the step is not Fresh, no longer intends it.
	StepQueue
	// StepEndQueue deletes such a pod that lives, by its uid. Why stands in the record.
	StepEndQueue
	// StepFreeQueue lets such a pod go, with its deletion if Delete says so: it was
	// accounted for, or no record speaks of it. With Look that is asked past the cache.
	StepFreeQueue
)

// Step is one write of a plan.
type Step struct {
	Kind    StepKind
	Chunk   int     // of StepRecord
	Record  *Record // of StepRecord
	Clip    int     // of StepCreate and StepLook
	Child   Child   // of StepDelete and StepSuspend
	Suspend bool    // of StepSuspend
	// Queue is the number of the pod of many clips of Chunk, of StepQueue and
	// StepFreeQueue; Pod is what was seen of it.
	Queue               int32
	Pod                 QueuePod
	Fresh, Look, Delete bool
	// Ends are pods of many clips that StepRecord accounts for.
	Ends []QueueEnd
}

// Plan is what to do now.
type Plan struct {
	// Steps in their order. What they do is right only after all steps before them.
	Steps []Step
	// Stop says that the batch is given up; it is written into the status before any
	// step of a later plan.
	Stop *v1alpha1.BatchStop
	// Ended: every clip is S, F or C, and no PoseJob runs.
	Ended bool
	// More: the bounds of a plan left something over.
	More bool
	// Until is when to look again; zero means only when something changes.
	Until time.Time
	// Tally of the batch as it is once the steps are done.
	Tally Tally
}

// Place of a clip that failed.
type Place struct {
	Clip, Chunk, Place int
	Failure            Failure
}

// MaxFailures that a tally lists.
const MaxFailures = 20

// Decide what to do with a batch whose clips are listed.
func Decide(in Input) Plan {
	d := decider{Input: in, spec: &in.Batch.Spec, at: offsetsOf(in.Records), records: slices.Clone(in.Records), written: map[int]bool{}, jobs: map[int]*Child{}, ends: map[int][]QueueEnd{}, begins: map[int]bool{}}
	for i := range d.Children {
		d.jobs[d.Children[i].Clip] = &d.Children[i]
	}
	d.watchQueues()
	d.account()
	if in.Batch.Status.Stopping == nil && !in.Finished {
		d.stop()
	}
	if d.plan.Stop == nil && !in.Finished {
		if in.Batch.Status.Stopping != nil {
			d.cancel()
		} else {
			d.start()
		}
	}
	d.drop()
	d.steer()
	return d.finish()
}

// decider collects a plan.
type decider struct {
	Input
	spec    *v1alpha1.PoseBatchSpec
	at      offsets
	records []*Record // as they will be
	written map[int]bool
	jobs    map[int]*Child
	plan    Plan
	later   []Step // what follows the records
	// ends of pods of many clips, by chunk, and the chunks of which clips begin.
	ends   map[int][]QueueEnd
	begins map[int]bool
	// made and freed count pods of many clips that are made and let go.
	made, freed int
	// broke says what of the budget is used up, where that concerns pods that live.
	broke string
}

// until says when to look again, at the latest.
func (d *decider) until(t time.Time) {
	if !t.IsZero() && (d.plan.Until.IsZero() || t.Before(d.plan.Until)) {
		d.plan.Until = t
	}
}

// edit gives a record to be changed; nil where the plan has enough of them.
func (d *decider) edit(chunk int) *Record {
	if !d.written[chunk] {
		if len(d.written) >= maxRecords {
			d.plan.More = true
			return nil
		}
		d.written[chunk] = true
		d.records[chunk] = d.records[chunk].clone()
	}
	return d.records[chunk]
}

func (d *decider) state(clip int) (State, bool) {
	chunk, place, ok := d.at.find(clip)
	if !ok {
		return 0, false
	}
	return d.records[chunk].States[place], true
}

// account for PoseJobs that ended, and take up those that nobody wrote down: their
// record was lost.
func (d *decider) account() {
	for i := range d.Children {
		c := &d.Children[i]
		chunk, place, ok := d.at.find(c.Clip)
		if !ok {
			continue
		}
		s := d.records[chunk].States[place]
		// One beside a pod of many clips is a person's doing, and waits for that.
		if s.Ended() || s == Queued || (s == Running && !c.Ended) {
			continue
		}
		r := d.edit(chunk)
		if r == nil {
			return
		}
		if !c.Ended {
			r.States[place] = Running
			continue
		}
		r.Totals.add(c.Used)
		if c.Succeeded {
			r.States[place] = Succeeded
			r.digest(place, c.Digest)
			continue
		}
		r.States[place] = Failed
		r.fail(place, c.Reason, c.Message)
	}
}

// stop says whether the batch is to be given up.
func (d *decider) stop() {
	t := d.tally()
	stop := func(reason, format string, args ...any) {
		d.plan.Stop = &v1alpha1.BatchStop{Reason: reason, Message: fmt.Sprintf(format, args...)}
		d.plan.Stop.Time.Time = d.Now
	}
	if t.Counts.Pending+t.Counts.Running == 0 {
		return
	}
	if p := d.spec.FailurePolicy; p != nil {
		if most := atMost(p.MaxFailed, t.Counts.Total); t.Counts.Failed > most {
			stop(v1alpha1.ReasonTooManyFailed, "%d of %d clips failed, and spec.failurePolicy.maxFailed (%s) admits %d", t.Counts.Failed, t.Counts.Total, p.MaxFailed.String(), most)
			return
		}
	}
	if end := d.deadline(); !end.IsZero() {
		if !d.Now.Before(end) {
			stop(v1alpha1.ReasonDeadlineExceeded, "the batch did not end within spec.activeDeadlineSeconds (%d s); suspended time is left out", *d.spec.ActiveDeadlineSeconds)
			return
		}
		d.until(end)
	}
	if what := d.exhausted(t); what != "" && t.Begun == 0 && t.Counts.Pending > 0 {
		stop(v1alpha1.ReasonBudgetExhausted, "%s, and %d clips were not begun", what, t.Counts.Pending)
	}
}

// atMost that a policy admits of so many clips.
func atMost(p intstr.IntOrString, total int32) int32 {
	n, err := intstr.GetScaledValueFromIntOrPercent(&p, int(total), false)
	if err != nil || n < 0 {
		return 0
	}
	return int32(min(n, int(total))) //nolint:gosec // at most total
}

// exhausted says which part of the budget is used up; empty is none.
func (d *decider) exhausted(t Tally) string {
	b := d.spec.Budget
	if b == nil {
		return ""
	}
	if b.GPUSeconds != nil && t.Used.GPUSeconds >= *b.GPUSeconds {
		return fmt.Sprintf("spec.budget.gpuSeconds is used up (%d of %d)", t.Used.GPUSeconds, *b.GPUSeconds)
	}
	if b.CPUSeconds != nil && t.Used.CPUSeconds >= *b.CPUSeconds {
		return fmt.Sprintf("spec.budget.cpuSeconds is used up (%d of %d)", t.Used.CPUSeconds, *b.CPUSeconds)
	}
	return ""
}

// deadline of the batch; zero where it has none, or while it is suspended.
func (d *decider) deadline() time.Time { return Deadline(d.Batch) }

// Deadline of a batch; zero where it has none, or stands still.
func Deadline(b *v1alpha1.PoseBatch) time.Time {
	s := &b.Status
	if b.Spec.ActiveDeadlineSeconds == nil || s.StartTime == nil || s.SuspendedAt != nil {
		return time.Time{}
	}
	return s.StartTime.Add(time.Duration(*b.Spec.ActiveDeadlineSeconds+s.SuspendedSeconds) * time.Second)
}

// cancel what has not ended.
func (d *decider) cancel() {
	for chunk := range d.records {
		for place, s := range d.records[chunk].States {
			if s.Ended() || s == Queued {
				continue // its pod is ended first, and may have delivered it
			}
			r := d.edit(chunk)
			if r == nil {
				return
			}
			r.States[place] = Cancelled
			if c := d.jobs[d.at[chunk]+place]; c != nil {
				r.Totals.add(Totals{GPUSeconds: c.Used.GPUSeconds, CPUSeconds: c.Used.CPUSeconds})
			}
		}
	}
}

// drop PoseJobs that are accounted for.
func (d *decider) drop() {
	var ended [2][]*Child // failed, succeeded
	var gone []*Child
	for i := range d.Children {
		c := &d.Children[i]
		s, ok := d.state(c.Clip)
		switch {
		case !ok || c.Deleting:
		case s == Cancelled:
			gone = append(gone, c)
		case s == Failed && c.Ended:
			ended[0] = append(ended[0], c)
		case s == Succeeded && c.Ended:
			ended[1] = append(ended[1], c)
		}
	}
	keep := [2]int32{ptr.Deref(d.spec.FailedJobsHistoryLimit, 20), ptr.Deref(d.spec.SuccessfulJobsHistoryLimit, 0)}
	for i, list := range ended {
		slices.SortFunc(list, func(a, b *Child) int {
			if n := b.End.Compare(a.End); n != 0 {
				return n
			}
			return cmp.Compare(b.Clip, a.Clip)
		})
		gone = append(gone, list[min(len(list), int(keep[i])):]...)
	}
	for i, c := range gone {
		if i == maxDelete {
			d.plan.More = true
			return
		}
		d.later = append(d.later, Step{Kind: StepDelete, Child: *c})
	}
}

// steer PoseJobs that live by what the batch says now.
func (d *decider) steer() {
	n := 0
	for i := range d.Children {
		c := &d.Children[i]
		s, ok := d.state(c.Clip)
		if !ok || c.Deleting || s == Cancelled {
			continue
		}
		if !c.live() || c.Suspended == d.spec.Suspend {
			continue
		}
		if n++; n > maxDelete {
			d.plan.More = true
			return
		}
		d.later = append(d.later, Step{Kind: StepSuspend, Child: *c, Suspend: d.spec.Suspend})
	}
}

func (d *decider) finish() Plan {
	// Records that begin nothing come first: where one of them was an old copy, what it
	// seemed to free is not taken.
	for _, begins := range []bool{false, true} {
		for chunk := range d.records {
			if d.written[chunk] && d.begins[chunk] == begins {
				d.plan.Steps = append(d.plan.Steps, Step{Kind: StepRecord, Chunk: chunk, Record: d.records[chunk], Ends: d.ends[chunk]})
			}
		}
	}
	slices.SortStableFunc(d.later, func(a, b Step) int { return cmp.Compare(a.Kind, b.Kind) })
	d.plan.Steps = append(d.plan.Steps, d.later...)
	d.plan.Tally = d.tally()
	c := d.plan.Tally.Counts
	d.plan.Ended = c.Pending+c.Running == 0 && d.plan.Tally.Live == 0 && d.plan.Stop == nil
	return d.plan
}
