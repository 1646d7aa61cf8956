package batch

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Queue is a pod of many clips, as the record of their chunk has it.
type Queue struct {
	// Places of its clips in the chunk, in the order in which it works on them.
	Places []int `json:"places"`
	// UID of the pod, once it was seen.
	UID string `json:"uid,omitempty"`
	// Reason and Message why it is ended before its own end; empty while it is not.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// checkQueues: every clip that is q is in just one pod.
func (r *Record) checkQueues() error {
	in := map[int]bool{}
	for number, q := range r.Queues {
		if number < 1 || number > r.LastQueue || len(q.Places) < 1 || len(q.Places) > report.MaxQueueClips || len(q.Message) > maxMessage || len(q.Reason) > maxReason {
			return fmt.Errorf("its pod %d of %d clips cannot be", number, len(q.Places))
		}
		for _, place := range q.Places {
			if place < 0 || place >= len(r.States) || r.States[place] != Queued || in[place] {
				return fmt.Errorf("its pod %d has clip %d, which is not to be in it", number, place)
			}
			in[place] = true
		}
	}
	for place, s := range r.States {
		if s == Queued && !in[place] {
			return fmt.Errorf("clip %d is in no pod", place)
		}
	}
	return nil
}

// QueueName of a pod of many clips.
func QueueName(b *v1alpha1.PoseBatch, chunk int, number int32) string {
	return fmt.Sprintf("%s-q%d-%d", prefix(b), chunk, number)
}

// QueueOf gives chunk and number that the name of a pod of many clips ends with.
func QueueOf(b *v1alpha1.PoseBatch, pod string) (chunk int, number int32, ok bool) {
	rest, ok := strings.CutPrefix(pod, prefix(b)+"-q")
	first, second, cut := strings.Cut(rest, "-")
	chunk, err := strconv.Atoi(first)
	n, errN := strconv.ParseInt(second, 10, 32)
	ok = ok && cut && err == nil && errN == nil && chunk >= 0 && n > 0 && QueueName(b, chunk, int32(n)) == pod
	return chunk, int32(n), ok
}

// QueuePod is a pod of many clips as the cluster shows it.
type QueuePod struct {
	Chunk     int
	Number    int32
	Name, UID string
	// Live: a process of it may run. Deleting: it is going. Held: it waits for us to
	// take down what became of it.
	Live, Deleting, Held bool
	// Report is deliver's; nil where it said nothing. While the pod lives nothing of it
	// is final.
	Report *report.QueueReport
	// Used by its engine so far, and Device that it asked for; Running says that the
	// engine runs now.
	Used    Totals
	Device  v1alpha1.Device
	Running bool
	// Reason and Message of its end, by the failure that a PoseJob's attempt would
	// have; while it lives, why it is to be ended, or empty.
	Reason, Message string
	// Waits says what it waits for that has not begun, and Until when it is to be looked
	// at again.
	Waits string
	Until time.Time
	// Made and End are when it was created and when it ended.
	Made, End time.Time
}

// Offer says whether pods of many clips can be made now.
type Offer struct {
	// Why not, for a person; empty where they can.
	Why string
	// Mount of a clip's video, empty for what comes over the network: clips of one pod
	// share it. It is false for a clip that no such pod may have.
	Mount func(chunk, place int) (string, bool)
}

// QueueEnd is what came of a pod of many clips, for a person.
type QueueEnd struct {
	Name                            string
	Delivered, Reused, Failed, Left int
	Reason, Message                 string
	// Why the last clip failed that failed.
	Why string
}

func (e QueueEnd) String() string {
	s := fmt.Sprintf("pod %s: %s", e.Name, of(e.Delivered, "clip was delivered", "clips were delivered"))
	for _, x := range []struct {
		n         int
		one, many string
	}{
		{e.Reused, "had a result before", "had a result before"},
		{e.Failed, "failed and gets a PoseJob of its own", "failed and get PoseJobs of their own"},
		{e.Left, "was not reached", "were not reached"},
	} {
		if x.n > 0 {
			s += ", " + of(x.n, x.one, x.many)
		}
	}
	for _, more := range []string{e.Why, strings.Trim(e.Reason+": "+e.Message, ": ")} {
		if more != "" {
			s += ". " + whole(more, maxSaid)
		}
	}
	return s
}

// maxSaid bounds what is said of one cause in an event: its log says the rest.
const maxSaid = 400

// whole words of a text, at most so many bytes.
func whole(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	s = s[:limit]
	if i := strings.LastIndexByte(s, ' '); i > 0 {
		s = s[:i]
	}
	return strings.ToValidUTF8(s, "") + " ..."
}

func of(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Whole says that every clip of the pod got its result.
func (e QueueEnd) Whole() bool { return e.Failed+e.Left == 0 }

// marks of deliver for the clips of a pod, and the digests of those that have one. A
// report that does not fit its pod says nothing.
func marks(rep *report.QueueReport, clips int) (states string, digests []string) {
	none := strings.Repeat(string(rune(report.QueueWaiting)), clips)
	if rep == nil || len(rep.States) != clips || strings.Trim(rep.States, ".SRF") != "" {
		return none, make([]string, clips)
	}
	digests = make([]string, clips)
	text := rep.Digests
	whole := len(text) == report.ShortDigestLen*(strings.Count(rep.States, "S")+strings.Count(rep.States, "R"))
	for i := range rep.States {
		if whole && (rep.States[i] == report.QueueDelivered || rep.States[i] == report.QueueReused) {
			digests[i], text = text[:report.ShortDigestLen], text[report.ShortDigestLen:]
		}
	}
	return rep.States, digests
}

// queueKey names a pod of many clips.
type queueKey struct {
	chunk  int
	number int32
}

// watchQueues: those that ended are accounted for, those that are to end are ended,
// those that were not made are made.
func (d *decider) watchQueues() {
	if slices.ContainsFunc(d.records, func(r *Record) bool { return len(r.Queues) > 0 }) {
		d.watchBudget()
	}
	pods := map[queueKey]*QueuePod{}
	for i := range d.Queues {
		p := &d.Queues[i]
		pods[queueKey{p.Chunk, p.Number}] = p
	}
	for chunk := range d.records {
		before := d.records[chunk]
		for _, number := range slices.Sorted(maps.Keys(before.Queues)) {
			key := queueKey{chunk, number}
			p := pods[key]
			if p != nil && before.Queues[number].UID != "" && p.UID != before.Queues[number].UID {
				p = nil // its name was taken by another one
			}
			if d.watchQueue(key, before.Queues[number], p); p != nil {
				delete(pods, key)
			}
		}
	}
	for _, p := range d.Queues {
		if pods[queueKey{p.Chunk, p.Number}] == nil {
			continue
		}
		d.free(p, true, false)
	}
}

// watchQueue decides about one pod of a record; p is nil where there is none.
func (d *decider) watchQueue(key queueKey, q Queue, p *QueuePod) {
	stopping := d.Batch.Status.Stopping != nil
	switch {
	case p == nil && q.UID == "" && !stopping && !d.Finished && !d.spec.Suspend && d.broke == "" && q.Reason == "":
		if d.made++; d.made > maxCreate {
			d.plan.More = true
			return
		}
		d.later = append(d.later, Step{Kind: StepQueue, Chunk: key.chunk, Queue: key.number})
		return
	case p == nil, !p.Live:
		d.settle(key, q, p)
		return
	case q.UID == "":
		if r := d.edit(key.chunk); r != nil {
			q.UID = p.UID
			r.Queues[key.number] = q
		}
	}
	if q.Reason == "" {
		if q.Reason, q.Message = d.endsQueue(p, stopping); q.Reason == "" {
			d.until(p.Until)
			return
		}
		r := d.edit(key.chunk)
		if r == nil {
			return
		}
		r.Queues[key.number] = q
	}
	if !p.Deleting {
		d.later = append(d.later, Step{Kind: StepEndQueue, Pod: *p})
	}
}

// watchBudget: pods of many clips are ended once the budget is used up, and nothing
// tells when that is.
func (d *decider) watchBudget() {
	b := d.spec.Budget
	if b == nil {
		return
	}
	t := d.tally()
	if d.broke = d.exhausted(t); d.broke != "" {
		return
	}
	at := func(budget *int64, used int64, device v1alpha1.Device) {
		n := int64(0)
		for i := range d.Queues {
			if d.Queues[i].Live && d.Queues[i].Running && (d.Queues[i].Device == v1alpha1.GPU) == (device == v1alpha1.GPU) {
				n++
			}
		}
		if budget != nil && n > 0 {
			left := min((*budget-used+n-1)/n, int64(queueLook/time.Second))
			d.until(d.Now.Add(time.Duration(left) * time.Second))
		}
	}
	at(b.GPUSeconds, t.Used.GPUSeconds, v1alpha1.GPU)
	at(b.CPUSeconds, t.Used.CPUSeconds, v1alpha1.CPU)
}

// queueLook is the longest time between two looks at pods that use up a budget.
const queueLook = time.Hour

// endsQueue says why a pod that lives is to be ended; empty where it is not.
func (d *decider) endsQueue(p *QueuePod, stopping bool) (reason, message string) {
	switch {
	case stopping:
		return d.Batch.Status.Stopping.Reason, "the batch was stopped"
	case d.Finished:
		return v1alpha1.ReasonDisrupted, "the batch has ended"
	case d.spec.Suspend:
		return v1alpha1.ReasonSuspendedAttempt, "ended by spec.suspend"
	}
	if p.Reason == "" && d.broke != "" {
		return v1alpha1.ReasonBudgetExhausted, d.broke
	}
	return p.Reason, failure.Clean(p.Message, maxMessage)
}

// settle accounts for a pod that ended or is gone: verdicts, sums and its entry in one
// write.
func (d *decider) settle(key queueKey, q Queue, p *QueuePod) {
	r := d.edit(key.chunk)
	if r == nil {
		return
	}
	end := QueueEnd{Name: QueueName(d.Batch, key.chunk, key.number), Reason: q.Reason, Message: q.Message}
	made := p != nil || q.UID != ""
	var rep *report.QueueReport
	if p != nil {
		rep = p.Report
		end.Reason, end.Message = cmp.Or(q.Reason, p.Reason), cmp.Or(q.Message, p.Message)
	} else if end.Reason == "" {
		end.Reason, end.Message = v1alpha1.ReasonDisrupted, "the pod is gone: it was deleted, or its node was removed"
	}
	r.leave(key.number, d.Batch.Status.Stopping != nil, rep, &end)
	if !made {
		return
	}
	ours := end.Reason == v1alpha1.ReasonSuspendedAttempt || end.Reason == v1alpha1.ReasonBudgetExhausted || d.Batch.Status.Stopping != nil
	switch {
	case end.Delivered+end.Reused > 0:
		r.Totals.UsefulPods++
	case !ours:
		r.Totals.EmptyPods++
		// Somebody has to be to blame, or the same pod would be made again for ever.
		if end.Failed == 0 && (p == nil || end.Reason != v1alpha1.ReasonDisrupted) {
			r.States[q.Places[0]] = Alone
			end.Failed, end.Left = 1, end.Left-1
		}
	}
	r.pay(p, &end)
	d.ends[key.chunk] = append(d.ends[key.chunk], end)
	if p != nil {
		d.free(*p, false, end.Whole())
	}
}

// leave takes a pod off the record, and gives its clips what deliver said of them.
func (r *Record) leave(number int32, stopped bool, rep *report.QueueReport, end *QueueEnd) {
	q := r.Queues[number]
	states, digests := marks(rep, len(q.Places))
	for i, place := range q.Places {
		s := Pending
		switch states[i] {
		case report.QueueDelivered:
			s = Succeeded
			end.Delivered++
		case report.QueueReused:
			s = Succeeded
			end.Reused++
		case report.QueueFailed:
			s = Alone
			end.Failed++
		default:
			end.Left++
		}
		if stopped && s != Succeeded {
			s = Cancelled
		}
		r.States[place] = s
		r.digest(place, digests[i])
	}
	if rep != nil && end.Failed > 0 {
		end.Why = failure.Clean(rep.Why, maxMessage)
	}
	delete(r.Queues, number)
}

// pay for what a pod used.
func (r *Record) pay(p *QueuePod, end *QueueEnd) {
	t := Totals{Reused: int64(end.Reused)}
	if p != nil {
		t.GPUSeconds, t.CPUSeconds = p.Used.GPUSeconds, p.Used.CPUSeconds
		if end.Delivered+end.Failed > 0 {
			t.Seconds = max(0, int64(p.End.Sub(p.Made).Seconds()))
		}
	}
	r.Totals.add(t)
}

// queuePodTTL is how long a pod is kept whose clips did not all get their results, as
// long as that of a PoseJob's attempt.
const queuePodTTL = 600 * time.Second

// free lets a pod go that no record speaks of, or that was accounted for just now. With
// look, the record is asked past the cache first.
func (d *decider) free(p QueuePod, look, whole bool) {
	s := Step{Kind: StepFreeQueue, Chunk: p.Chunk, Queue: p.Number, Pod: p, Look: look}
	if s.Delete = whole || p.Live; !p.Live && !whole {
		over := p.End.Add(queuePodTTL)
		if s.Delete = !d.Now.Before(over); !s.Delete {
			d.until(over)
		}
	}
	s.Delete = s.Delete && !p.Deleting
	if !p.Held && !s.Delete {
		return
	}
	if d.freed++; d.freed > maxDelete {
		d.plan.More = true
		return
	}
	d.later = append(d.later, s)
}

// emptyBefore so many pods of many clips more had no result than had one, they are
// given up.
const emptyBefore = 3

// queue says how pods of many clips can be made now; nil where they cannot.
func (d *decider) queue(t Tally) *Offer {
	if d.spec.ClipsPerPod < 2 || d.Offer == nil || t.Totals.EmptyPods >= emptyBefore+t.Totals.UsefulPods {
		return nil
	}
	if o := d.Offer(); o.Why == "" {
		return &o
	}
	return nil
}

// enqueue gives the clip at a place, and those behind it that share its mount, a pod.
// It is false where it would be the only one.
func (d *decider) enqueue(o *Offer, chunk, place int) (done, ok bool) {
	mount, ok := o.Mount(chunk, place)
	if !ok {
		return false, true
	}
	var places []int
	for i := place; i < len(d.records[chunk].States) && len(places) < int(min(d.spec.ClipsPerPod, report.MaxQueueClips)); i++ {
		if d.records[chunk].States[i] != Pending || d.jobs[d.at[chunk]+i] != nil {
			continue
		}
		if m, ok := o.Mount(chunk, i); ok && m == mount {
			places = append(places, i)
		}
	}
	if len(places) < 2 {
		return false, true
	}
	r := d.edit(chunk)
	if r == nil {
		return false, false
	}
	d.begins[chunk] = true
	r.LastQueue++
	if r.Queues == nil {
		r.Queues = map[int32]Queue{}
	}
	r.Queues[r.LastQueue] = Queue{Places: places}
	for _, i := range places {
		r.States[i] = Queued
	}
	d.later = append(d.later, Step{Kind: StepQueue, Chunk: chunk, Queue: r.LastQueue, Fresh: true})
	return true, true
}

// WithoutQueue is the record without a pod that was not made: nobody can, for the reason
// that end says. With blame, its first clip goes alone from now on.
func (r *Record) WithoutQueue(number int32, blame bool) (*Record, bool) {
	q, ok := r.Queues[number]
	if !ok || q.UID != "" {
		return r, false
	}
	c := r.clone()
	c.leave(number, false, nil, &QueueEnd{})
	if blame {
		c.States[q.Places[0]] = Alone
		c.Totals.EmptyPods++
	}
	return c, true
}

// Intends says whether the record has a pod that nobody has seen yet.
func (r *Record) Intends(number int32) bool {
	q, ok := r.Queues[number]
	return ok && q.UID == "" && q.Reason == ""
}
