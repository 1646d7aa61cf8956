package batch_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/internal/report"
)

// follows are the states that may follow one.
var follows = map[batch.State]string{
	batch.Pending: "qrC", batch.Alone: "rC", batch.Queued: ".arSC", batch.Running: "SFC",
}

// queues are the pods of many clips of a world.
type queues struct {
	pods      map[podKey]*queuePod
	seenPods  map[podKey]queuePod
	mounts    []string // of the videos, by clip
	able      bool     // the engine can work through many clips
	delivered map[int]bool
	paid      int64               // GPU seconds of pods that were accounted for
	last      map[podKey]queuePod // as the manager saw them for its last decision
}

type podKey struct {
	chunk  int
	number int32
}

// queuePod as the API server has it. It works through its clips in order.
type queuePod struct {
	uid                  int
	clips                []int
	marks                string
	live, deleting, held bool
	used                 int64
	made, ended          time.Time
	disrupted            bool
}

func (w *world) newQueues() {
	w.queues = queues{pods: map[podKey]*queuePod{}, seenPods: map[podKey]queuePod{}, delivered: map[int]bool{}}
	w.able = rapid.IntRange(0, 5).Draw(w.t, "able") > 0
	for range w.clips() {
		w.mounts = append(w.mounts, rapid.SampledFrom([]string{"", "", "claim a"}).Draw(w.t, "mount"))
	}
}

// podOf a clip, if one lives.
func (w *world) podOf(clip int) *queuePod {
	for _, p := range w.pods {
		if p.live && slices.Contains(p.clips, clip) {
			return p
		}
	}
	return nil
}

func (w *world) keys() []podKey {
	return slices.SortedFunc(maps.Keys(w.pods), func(a, b podKey) int { return 1000*(a.chunk-b.chunk) + int(a.number-b.number) })
}

// happenToPods: they deliver, fail, die, are deleted, and vanish.
func (w *world) happenToPods() {
	for _, key := range w.keys() {
		p := w.pods[key]
		switch {
		case p.live && p.deleting:
			p.end(w.now) // the kubelet has ended it
		case p.live:
			w.happenToPod(p)
		}
		if !p.live && p.deleting && !p.held || w.chaos && rapid.IntRange(0, 40).Draw(w.t, "vanishes") == 0 {
			delete(w.pods, key)
		}
	}
}

func (p *queuePod) end(now time.Time) { p.live, p.ended = false, now }

func (w *world) happenToPod(p *queuePod) {
	what := rapid.IntRange(0, 9).Draw(w.t, "pod")
	switch i := strings.IndexByte(p.marks, report.QueueWaiting); {
	case i < 0 || what == 0: // all done, or it dies
		p.end(w.now)
	case what == 1 && w.chaos:
		p.deleting, p.disrupted = true, true // by others
	case what < 7:
		mark := rapid.SampledFrom([]string{"S", "S", "R", "F"}).Draw(w.t, "mark")
		p.marks = p.marks[:i] + mark + p.marks[i+1:]
		p.used += 2
	default:
		p.used++
	}
}

func (w *world) lookAtPods() {
	w.seenPods = map[podKey]queuePod{}
	for key, p := range w.pods {
		w.seenPods[key] = *p
	}
}

// observed pods: those of the cache, and of those that a record has and the cache has
// not, what the API server has.
func (w *world) observed(records []*batch.Record) []batch.QueuePod {
	seen := maps.Clone(w.seenPods)
	for chunk, r := range records {
		for number := range r.Queues {
			key := podKey{chunk, number}
			if _, ok := seen[key]; ok {
				continue
			}
			if p := w.pods[key]; p != nil {
				seen[key] = *p
			}
		}
	}
	w.last = seen
	var out []batch.QueuePod
	for _, key := range slices.SortedFunc(maps.Keys(seen), func(a, b podKey) int { return 1000*(a.chunk-b.chunk) + int(a.number-b.number) }) {
		p := seen[key]
		v := batch.QueuePod{
			Chunk: key.chunk, Number: key.number, Name: fmt.Sprint(key), UID: fmt.Sprint(p.uid), Live: p.live, Deleting: p.deleting, Held: p.held,
			Used: batch.Totals{GPUSeconds: p.used}, Device: v1alpha1.GPU, Running: p.live, Made: p.made, End: p.ended,
		}
		if !p.live {
			v.Report, v.Reason = &report.QueueReport{States: p.marks, Digests: strings.Repeat("0123456789abcdef", strings.Count(p.marks, "S")+strings.Count(p.marks, "R"))}, "EngineError"
		}
		if p.disrupted {
			v.Reason = v1alpha1.ReasonDisrupted
		}
		out = append(out, v)
	}
	return out
}

func (w *world) offer() batch.Offer {
	if !w.able {
		return batch.Offer{Why: "it cannot"}
	}
	return batch.Offer{Mount: func(chunk, place int) (string, bool) {
		mount := w.mounts[w.first(chunk)+place]
		return mount, place != 3 // which the policy denies, say
	}}
}

func (w *world) first(chunk int) int {
	n := 0
	for _, size := range w.sizes[:chunk] {
		n += size
	}
	return n
}

func (w *world) createQueue(s batch.Step) {
	key := podKey{s.Chunk, s.Queue}
	record := w.decode(w.records[s.Chunk])
	if !record.Intends(s.Queue) {
		if s.Fresh {
			w.t.Fatalf("the record that was written just now does not intend pod %v", key)
		}
		return
	}
	if w.pods[key] != nil {
		return // it exists already
	}
	if w.chaos && rapid.IntRange(0, 9).Draw(w.t, "refused") == 0 {
		w.without(s, rapid.Bool().Draw(w.t, "for good"))
		return
	}
	p := &queuePod{live: true, held: true, made: w.now}
	for _, place := range record.Queues[s.Queue].Places {
		clip := w.first(s.Chunk) + place
		if other := w.podOf(clip); other != nil {
			w.t.Fatalf("pod %v is created for clip %d, which pod %d works on", key, clip, other.uid)
		}
		if j := w.jobs[clip]; j != nil && !j.ended {
			w.t.Fatalf("pod %v is created for clip %d, which has a PoseJob", key, clip)
		}
		p.clips = append(p.clips, clip)
	}
	for _, clip := range p.clips {
		if w.mounts[clip] != w.mounts[p.clips[0]] {
			w.t.Fatalf("clips %v of pod %v lie on several mounts", p.clips, key)
		}
	}
	if n := len(p.clips); n < 2 || n > int(w.batch.Spec.ClipsPerPod) {
		w.t.Fatalf("pod %v has %d clips, %d are asked for", key, n, w.batch.Spec.ClipsPerPod)
	}
	w.uids++
	p.uid, p.marks = w.uids, strings.Repeat(".", len(p.clips))
	w.pods[key] = p
}

// without a pod that nobody can make: the manager writes what it read.
func (w *world) without(s batch.Step, blame bool) {
	record, ok := w.decode(w.records[s.Chunk]).WithoutQueue(s.Queue, blame)
	if !ok {
		w.t.Fatalf("pod %d of chunk %d is intended and cannot be taken back", s.Queue, s.Chunk)
	}
	data, err := record.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	w.records[s.Chunk] = stored{data: data, version: w.records[s.Chunk].version + 1}
}

func (w *world) endQueue(p batch.QueuePod) {
	have := w.pods[podKey{p.Chunk, p.Number}]
	if have == nil || fmt.Sprint(have.uid) != p.UID {
		return
	}
	record := w.decode(w.records[p.Chunk])
	if q, open := record.Queues[p.Number]; open && q.Reason == "" {
		w.t.Fatalf("pod %s is ended before the record says why", p.Name)
	}
	have.deleting = true
}

func (w *world) freeQueue(s batch.Step) {
	have := w.pods[podKey{s.Chunk, s.Queue}]
	if have == nil || fmt.Sprint(have.uid) != s.Pod.UID {
		return
	}
	if _, open := w.decode(w.records[s.Chunk]).Queues[s.Queue]; open {
		if !s.Look {
			w.t.Fatalf("pod %s is let go and was not accounted for", s.Pod.Name)
		}
		return
	}
	have.held = false
	if s.Delete {
		have.deleting = true
	}
}

// accounted: what a write takes off a record is what pods had to say that have ended,
// and none of it is lost.
func (w *world) accounted(chunk int, before, after *batch.Record) {
	for number, q := range before.Queues {
		if _, open := after.Queues[number]; open {
			continue
		}
		if p := w.pods[podKey{chunk, number}]; p != nil && p.live {
			w.t.Fatalf("pod %d of chunk %d lives and is accounted for", number, chunk)
		}
		p, seen := w.last[podKey{chunk, number}]
		w.paid += p.used
		for i, place := range q.Places {
			proven := seen && strings.ContainsRune("SR", rune(p.marks[i]))
			if proven != (after.States[place] == batch.Succeeded) || proven != (after.Digests[place] != "") {
				w.t.Fatalf("clip %d of pod %d, which delivered it: %t, becomes %c with digest %q", place, number, proven, after.States[place], after.Digests[place])
			}
			if proven {
				w.delivered[w.first(chunk)+place] = true
			}
		}
	}
}
