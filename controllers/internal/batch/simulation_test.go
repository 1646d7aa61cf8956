package batch_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
)

// world is an API server with the records and PoseJobs of one batch, and a manager
// that may read old copies, die anywhere, and lose every race.
type world struct {
	t       *rapid.T
	batch   *v1alpha1.PoseBatch
	now     time.Time
	sizes   []int
	records []stored
	jobs    map[int]*job // by clip
	// seen are what the manager reads.
	seenRecords []stored
	seenJobs    map[int]job
	made        map[int]int   // PoseJobs created, by clip
	taken       map[int]int   // PoseJobs that a person deleted
	used        map[int]int64 // GPU seconds that the last PoseJob of a clip had used, by clip
	uids        int
	most        int32 // slots that are taken, as the manager last saw them
	stale       bool  // the last decision was made on an old copy
	chaos       bool
	queues
}

type stored struct {
	data    map[string]string
	version int
}

type job struct {
	uid                      int
	ended, succeeded, reused bool
	suspended                bool
	used                     int64
	made                     time.Time
}

func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, now: gen.Now, jobs: map[int]*job{}, seenJobs: map[int]job{}, made: map[int]int{}, taken: map[int]int{}, used: map[int]int64{}, chaos: true,
		sizes: rapid.SliceOfN(rapid.IntRange(1, 6), 1, 5).Draw(t, "chunks"),
	}
	w.newQueues()
	start := metav1.NewTime(w.now)
	w.batch = &v1alpha1.PoseBatch{ObjectMeta: metav1.ObjectMeta{Name: "many", Namespace: "team-a", UID: gen.JobUID}, Status: v1alpha1.PoseBatchStatus{StartTime: &start}}
	s := &w.batch.Spec
	s.Parallelism = int32(rapid.IntRange(1, 5).Draw(t, "parallelism"))
	s.ClipsPerPod = int32(rapid.IntRange(0, 4).Draw(t, "clips per pod"))
	s.FailedJobsHistoryLimit = new(int32(rapid.IntRange(0, 2).Draw(t, "failed kept")))
	if rapid.Bool().Draw(t, "bounded failures") {
		s.FailurePolicy = &v1alpha1.BatchFailurePolicy{MaxFailed: rapid.SampledFrom([]intstr.IntOrString{intstr.FromInt(0), intstr.FromInt(3), intstr.FromString("30%")}).Draw(t, "maxFailed")}
	}
	if rapid.Bool().Draw(t, "budget") {
		s.Budget = &v1alpha1.BatchBudget{GPUSeconds: new(rapid.Int64Range(1, 100).Draw(t, "gpuSeconds"))}
	}
	if rapid.IntRange(0, 3).Draw(t, "deadline") == 0 {
		s.ActiveDeadlineSeconds = new(rapid.Int64Range(100, 5000).Draw(t, "deadline seconds"))
	}
	for _, n := range w.sizes {
		data, err := batch.NewRecord(n).Encode()
		if err != nil {
			t.Fatal(err)
		}
		w.records = append(w.records, stored{data: data})
	}
	w.seenRecords = append([]stored(nil), w.records...)
	return w
}

func (w *world) clips() int {
	n := 0
	for _, s := range w.sizes {
		n += s
	}
	return n
}

func (w *world) decode(s stored) *batch.Record {
	r, err := batch.DecodeRecord(s.data)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// state of a clip as the API server has it.
func (w *world) state(clip int) batch.State {
	for chunk, n := range w.sizes {
		if clip < n {
			return w.decode(w.records[chunk]).States[clip]
		}
		clip -= n
	}
	w.t.Fatalf("no clip %d", clip)
	return 0
}

// happen: what goes on beside the manager.
func (w *world) happen() {
	w.now = w.now.Add(time.Duration(rapid.IntRange(0, 60).Draw(w.t, "later")) * time.Second)
	for clip := range w.clips() {
		j := w.jobs[clip]
		if j == nil || j.ended || j.suspended {
			continue
		}
		switch rapid.IntRange(0, 6).Draw(w.t, "job") {
		case 0, 1:
			j.ended, j.succeeded, j.reused = true, true, rapid.Bool().Draw(w.t, "reused")
			j.used += 7
		case 2:
			j.ended = true
			j.used += 3
		case 3:
			j.used++
		case 4:
			if w.chaos && rapid.IntRange(0, 5).Draw(w.t, "person") == 0 {
				delete(w.jobs, clip)
				w.taken[clip]++
			}
		}
		w.used[clip] = j.used
	}
	w.happenToPods()
	if w.chaos && rapid.IntRange(0, 9).Draw(w.t, "suspend") == 0 {
		w.batch.Spec.Suspend = !w.batch.Spec.Suspend
	}
}

// look: the manager's cache catches up, or not.
func (w *world) look() {
	if !w.chaos || rapid.Bool().Draw(w.t, "records seen") {
		w.seenRecords = append([]stored(nil), w.records...)
	}
	if !w.chaos || rapid.Bool().Draw(w.t, "pods seen") {
		w.lookAtPods()
	}
	if !w.chaos || rapid.Bool().Draw(w.t, "jobs seen") {
		w.seenJobs = map[int]job{}
		for clip, j := range w.jobs {
			w.seenJobs[clip] = *j
		}
	}
}

func (w *world) input() batch.Input {
	in := batch.Input{Batch: w.batch, Now: w.now}
	for _, s := range w.seenRecords {
		in.Records = append(in.Records, w.decode(s))
	}
	for clip := range w.clips() {
		j, ok := w.seenJobs[clip]
		if !ok {
			continue
		}
		c := batch.Child{Clip: clip, UID: fmt.Sprint(j.uid), Ended: j.ended, Succeeded: j.succeeded, Suspended: j.suspended, Resting: j.suspended, Made: j.made}
		c.Used.GPUSeconds = j.used
		if j.ended {
			c.End = w.now
			c.Reason = "EngineError"
			if j.succeeded && j.reused {
				c.Used.Reused = 1
			}
		}
		in.Children = append(in.Children, c)
	}
	in.Queues, in.Offer = w.observed(in.Records), w.offer
	return in
}

// manage: one reconcile, which may die after any step.
func (w *world) manage() batch.Plan {
	p := batch.Decide(w.input())
	w.sound(p)
	dies := len(p.Steps) + 1
	if w.chaos && rapid.IntRange(0, 3).Draw(w.t, "dies") == 0 {
		dies = rapid.IntRange(0, len(p.Steps)).Draw(w.t, "after step")
	}
	for i, s := range p.Steps {
		if i == dies || !w.do(s) {
			return p
		}
	}
	if dies > len(p.Steps) && p.Stop != nil {
		w.batch.Status.Stopping = p.Stop
	}
	return p
}

// sound: what must hold of every plan.
func (w *world) sound(p batch.Plan) {
	c := p.Tally.Counts
	if n := c.Pending + c.Running + c.Succeeded + c.Failed + c.Cancelled; n != c.Total || int(n) != w.clips() {
		w.t.Fatalf("the counts %+v do not sum up to %d", c, w.clips())
	}
	current := true
	for i := range w.records {
		current = current && w.records[i].version == w.seenRecords[i].version
	}
	slots := p.Tally.Slots
	if current && !w.stale && slots > max(w.most, w.batch.Spec.Parallelism) {
		w.t.Fatalf("%d PoseJobs and pods run, parallelism is %d", slots, w.batch.Spec.Parallelism)
	}
	// A manager that starts on an old copy of one record may begin too many clips of
	// another; it never begins more while they run.
	w.most = max(w.most, slots)
	if current {
		w.most = slots
	}
	w.stale = !current
	if p.Stop != nil && w.batch.Status.Stopping != nil {
		w.t.Fatal("a stopped batch is stopped again")
	}
}

// do one step. It is false when nothing may follow it.
func (w *world) do(s batch.Step) bool {
	switch s.Kind {
	case batch.StepRecord:
		return w.write(s)
	case batch.StepCreate:
		w.create(s.Clip)
	case batch.StepLook:
		if w.state(s.Clip) == batch.Running && w.jobs[s.Clip] == nil {
			w.create(s.Clip)
		}
	case batch.StepDelete:
		if j := w.jobs[s.Child.Clip]; j != nil && fmt.Sprint(j.uid) == s.Child.UID {
			if st := w.state(s.Child.Clip); !st.Ended() {
				w.t.Fatalf("the PoseJob of clip %d is deleted in state %c", s.Child.Clip, st)
			}
			delete(w.jobs, s.Child.Clip)
		}
	case batch.StepQueue:
		w.createQueue(s)
	case batch.StepEndQueue:
		w.endQueue(s.Pod)
	case batch.StepFreeQueue:
		w.freeQueue(s)
	case batch.StepSuspend:
		if j := w.jobs[s.Child.Clip]; j != nil {
			j.suspended = s.Suspend
		}
	}
	return true
}

func (w *world) write(s batch.Step) bool {
	if w.seenRecords[s.Chunk].version != w.records[s.Chunk].version {
		return false // the API server refuses an older copy
	}
	before := w.decode(w.records[s.Chunk])
	for i, st := range before.States {
		if after := s.Record.States[i]; after != st && !strings.ContainsRune(follows[st], rune(after)) {
			w.t.Fatalf("state %c becomes %c", st, after)
		}
	}
	w.accounted(s.Chunk, before, s.Record)
	data, err := s.Record.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	w.records[s.Chunk] = stored{data: data, version: w.records[s.Chunk].version + 1}
	return true
}

func (w *world) create(clip int) {
	if w.state(clip) != batch.Running {
		w.t.Fatalf("a PoseJob is created for clip %d in state %c", clip, w.state(clip))
	}
	if w.jobs[clip] != nil {
		return // it exists already
	}
	if p := w.podOf(clip); p != nil {
		w.t.Fatalf("a PoseJob is created for clip %d, which pod %d works on", clip, p.uid)
	}
	w.uids++
	w.jobs[clip] = &job{uid: w.uids, made: w.now}
	w.made[clip]++
}

// TestABatchPlayedToItsEnd: whatever dies, races or is deleted, every clip ends
// once, is made once, and is counted once.
func TestABatchPlayedToItsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(5, 60).Draw(t, "rounds") {
			w.happen()
			w.look()
			w.manage()
		}
		w.chaos, w.batch.Spec.Suspend = false, false
		var p batch.Plan
		for range 2000 {
			w.look()
			if p = w.manage(); p.Ended && len(p.Steps) == 0 {
				break
			}
			w.happen()
		}
		if !p.Ended {
			t.Fatalf("the batch does not end: %+v", p.Tally.Counts)
		}
		w.end(p)
	})
}

func (w *world) end(p batch.Plan) {
	c := p.Tally.Counts
	if w.batch.Status.Stopping == nil && c.Cancelled > 0 {
		w.t.Fatalf("%d clips were cancelled in a batch that was not stopped", c.Cancelled)
	}
	var used int64
	kept, touched := 0, false
	for clip := range w.clips() {
		touched = touched || w.taken[clip] > 0
		if w.made[clip] > 1+w.taken[clip] {
			w.t.Fatalf("clip %d was made %d times, a person deleted %d", clip, w.made[clip], w.taken[clip])
		}
		st := w.state(clip)
		if (st == batch.Failed || st == batch.Succeeded && !w.delivered[clip]) && w.made[clip] == 0 {
			w.t.Fatalf("clip %d is %c and was never made", clip, st)
		}
		if st != batch.Cancelled {
			used += w.used[clip]
		}
		if st == batch.Failed && w.jobs[clip] != nil {
			kept++
		}
	}
	if kept > int(*w.batch.Spec.FailedJobsHistoryLimit) {
		w.t.Fatalf("%d PoseJobs of failed clips are kept", kept)
	}
	if used += w.paid; !touched && c.Cancelled == 0 && p.Tally.Totals.GPUSeconds != used {
		w.t.Fatalf("%d GPU seconds were used, %d are counted", used, p.Tally.Totals.GPUSeconds)
	}
	for key, pod := range w.pods {
		if pod.live || pod.held {
			w.t.Fatalf("pod %v stays: %+v", key, pod)
		}
	}
}
