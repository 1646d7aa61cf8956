package batch

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
)

// State of a clip.
type State byte

// States.
const (
	Pending   State = '.'
	Alone     State = 'a'
	Queued    State = 'q'
	Running   State = 'r'
	Succeeded State = 'S'
	Failed    State = 'F'
	Cancelled State = 'C'
)

var states = []State{Pending, Alone, Queued, Running, Succeeded, Failed, Cancelled}

// Ended says that the state never changes again.
func (s State) Ended() bool { return s == Succeeded || s == Failed || s == Cancelled }

// Record is what became of the clips of one chunk.
type Record struct {
	States []State
	Totals Totals
	// Failures by the clip's place in the chunk.
	Failures map[int]Failure
	// Digests are the report.ShortDigest of what clips that are S delivered, by their
	// places; none where it is not known.
	Digests map[int]string
	// Queues are the pods of many clips that are, or are about to be, by number, and
	// LastQueue is the highest number so far.
	Queues    map[int32]Queue
	LastQueue int32
}

// Totals are sums over the clips of a record that succeeded or failed, and over the
// pods of many clips.
type Totals struct {
	// Reused of those that succeeded.
	Reused int64 `json:"reused,omitempty"`
	// Seconds from the creation of PoseJobs that computed and of pods of many clips to
	// their ends, and of engines by device.
	Seconds    int64 `json:"seconds,omitempty"`
	GPUSeconds int64 `json:"gpuSeconds,omitempty"`
	CPUSeconds int64 `json:"cpuSeconds,omitempty"`
	// UsefulPods of many clips had a result of at least one clip, EmptyPods had none.
	UsefulPods int64 `json:"usefulPods,omitempty"`
	EmptyPods  int64 `json:"emptyPods,omitempty"`
}

func (t *Totals) add(o Totals) {
	t.Reused += o.Reused
	t.Seconds += o.Seconds
	t.GPUSeconds += o.GPUSeconds
	t.CPUSeconds += o.CPUSeconds
	t.UsefulPods += o.UsefulPods
	t.EmptyPods += o.EmptyPods
}

// Failure is why a clip failed.
type Failure struct {
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

// Bounds of what a record keeps of failures: every reason, and the messages of the
// first few, for the status shows no more.
const (
	maxReason      = 64
	maxMessage     = 256
	messagesKept   = 20
	maxRecordBytes = 256 << 10
	maxSum         = int64(1) << 50 // no sum of seconds gets there
)

// NewRecord of a chunk for which nothing was done yet.
func NewRecord(n int) *Record {
	return &Record{States: slices.Repeat([]State{Pending}, n)}
}

// Keys of a record's ConfigMap.
const (
	KeyStates   = "states"
	KeyTotals   = "totals"
	KeyFailures = "failures"
	KeyDigests  = "digests"
	KeyQueues   = "queues"
)

// queues as they are written.
type queues struct {
	Last int32           `json:"last,omitempty"`
	Pods map[int32]Queue `json:"pods,omitempty"`
}

// Encode the record as the data of its ConfigMap.
func (r *Record) Encode() (map[string]string, error) {
	marks := make([]byte, len(r.States))
	for i, s := range r.States {
		marks[i] = byte(s)
	}
	totals, err := json.Marshal(r.Totals)
	if err != nil {
		return nil, fmt.Errorf("encode the sums of a record: %w", err)
	}
	failed := r.Failures
	if failed == nil {
		failed = map[int]Failure{} // the key is always there, to be mounted
	}
	failures, err := json.Marshal(failed)
	if err != nil {
		return nil, fmt.Errorf("encode the failures of a record: %w", err)
	}
	digests := make([]string, len(r.States))
	for i, d := range r.Digests {
		digests[i] = d
	}
	data := map[string]string{
		KeyStates: string(marks), KeyTotals: string(totals), KeyFailures: string(failures), KeyDigests: report.EncodeDigests(digests),
	}
	if r.LastQueue > 0 {
		pods, err := json.Marshal(queues{Last: r.LastQueue, Pods: r.Queues})
		if err != nil {
			return nil, fmt.Errorf("encode the pods of a record: %w", err)
		}
		data[KeyQueues] = string(pods)
	}
	return data, nil
}

// DecodeRecord reads and checks the data of a record's ConfigMap: people can write
// to it.
func DecodeRecord(data map[string]string) (*Record, error) {
	text := data[KeyStates]
	if len(text) == 0 || len(text) > clips.MaxChunkClips || len(data[KeyTotals])+len(data[KeyFailures])+len(data[KeyQueues]) > maxRecordBytes {
		return nil, fmt.Errorf("it has %d states, 1 to %d are possible, or is too large", len(text), clips.MaxChunkClips)
	}
	r := &Record{States: make([]State, len(text))}
	for i := range len(text) {
		s := State(text[i])
		if !slices.Contains(states, s) {
			return nil, fmt.Errorf("state %d is %q", i, string(text[i]))
		}
		r.States[i] = s
	}
	if err := json.Unmarshal([]byte(data[KeyTotals]), &r.Totals); err != nil {
		return nil, fmt.Errorf("its sums cannot be read: %w", err)
	}
	for _, n := range []int64{r.Totals.Reused, r.Totals.Seconds, r.Totals.GPUSeconds, r.Totals.CPUSeconds, r.Totals.UsefulPods, r.Totals.EmptyPods} {
		if n < 0 || n > maxSum {
			return nil, fmt.Errorf("a sum of it is %d", n)
		}
	}
	if text := data[KeyFailures]; text != "" {
		if err := json.Unmarshal([]byte(text), &r.Failures); err != nil {
			return nil, fmt.Errorf("its failures cannot be read: %w", err)
		}
	}
	if err := r.decodeDigests(data[KeyDigests]); err != nil {
		return nil, err
	}
	return r, r.decodeQueues(data[KeyQueues])
}

func (r *Record) decodeDigests(text string) error {
	digests, err := report.DecodeDigests(text, len(r.States))
	if err != nil {
		return fmt.Errorf("its digests cannot be read: %w", err)
	}
	for i, d := range digests {
		r.digest(i, d)
	}
	return nil
}

func (r *Record) decodeQueues(text string) error {
	var q queues
	if text != "" {
		if err := json.Unmarshal([]byte(text), &q); err != nil {
			return fmt.Errorf("its pods cannot be read: %w", err)
		}
	}
	r.LastQueue, r.Queues = q.Last, q.Pods
	return r.checkQueues()
}

// clone a record; what is never changed in place is shared.
func (r *Record) clone() *Record {
	c := *r
	c.States = slices.Clone(r.States)
	c.Failures, c.Digests, c.Queues = maps.Clone(r.Failures), maps.Clone(r.Digests), maps.Clone(r.Queues)
	return &c
}

// digest of what the clip at place i delivered, if it is known.
func (r *Record) digest(i int, d string) {
	if !report.IsShortDigest(d) {
		return
	}
	if r.Digests == nil {
		r.Digests = map[int]string{}
	}
	r.Digests[i] = d
}

// fail keeps why the clip at place i failed.
func (r *Record) fail(i int, reason, message string) {
	if r.Failures == nil {
		r.Failures = map[int]Failure{}
	}
	f := Failure{Reason: failure.Clean(reason, maxReason)}
	if len(r.Failures) < messagesKept {
		f.Message = failure.Clean(message, maxMessage)
	}
	r.Failures[i] = f
}

// Refuse marks the clip at place i as failed because its PoseJob can never be made.
// It is false where that is not the record's to say any more.
func (r *Record) Refuse(i int, reason, message string) (*Record, bool) {
	if i < 0 || i >= len(r.States) || r.States[i] != Running {
		return r, false
	}
	c := r.clone()
	c.States[i] = Failed
	c.fail(i, reason, message)
	return c, true
}

// Bytes of the record as it is stored, without the object around it.
func (r *Record) Bytes() int {
	data, err := r.Encode()
	if err != nil {
		return 0
	}
	n := 0
	for k, v := range data {
		n += len(k) + len(v)
	}
	return n
}

// Index of a clip in a batch made of its chunk and its place there.
type offsets []int

// offsetsOf the chunks: of chunk i the first clip is at [i].
func offsetsOf(records []*Record) offsets {
	out := make(offsets, len(records)+1)
	for i, r := range records {
		out[i+1] = out[i] + len(r.States)
	}
	return out
}

// FirstOf a chunk is the number of its first clip.
func FirstOf(records []*Record, chunk int) int { return offsetsOf(records)[chunk] }

// find the chunk and the place of a clip.
func (o offsets) find(clip int) (chunk, place int, ok bool) {
	if clip < 0 || clip >= o[len(o)-1] {
		return 0, 0, false
	}
	i, exact := slices.BinarySearch(o, clip)
	if !exact {
		i--
	}
	return i, clip - o[i], true
}

// Locate a clip among the records.
func Locate(records []*Record, clip int) (chunk, place int, ok bool) {
	return offsetsOf(records).find(clip)
}
