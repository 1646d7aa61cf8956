package batch

import (
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Tally is the sum over all clips.
type Tally struct {
	Counts   v1alpha1.BatchCounts
	Totals   Totals // of clips that ended
	Used     Totals // Totals, and what PoseJobs that run have used so far
	Failures []Place
	// Live PoseJobs and pods of many clips, and those PoseJobs of them that are
	// suspended and have no pod.
	Live, Resting int
	// Ages is the sum of the ages of what lives.
	Ages time.Duration
	// Jobs are the PoseJobs among the Live.
	Jobs int
	// Begun clips are r or q, whatever their PoseJobs do. Slots of spec.parallelism are
	// taken by PoseJobs and by Queues, the pods of many clips.
	Begun, Slots, Queues int32
}

// tally of the records as they will be.
func (d *decider) tally() Tally {
	var t Tally
	c := &t.Counts
	for chunk, r := range d.records {
		t.Totals.add(r.Totals)
		t.Queues += int32(len(r.Queues)) //nolint:gosec // at most the number of clips
		for place, s := range r.States {
			c.Total++
			switch s {
			case Pending, Alone:
				c.Pending++
			case Queued:
				t.Begun++
				c.Running++
			case Running:
				t.Begun++
				t.Slots++
				d.running(c, d.at[chunk]+place)
			case Succeeded:
				c.Succeeded++
			case Cancelled:
				c.Cancelled++
			case Failed:
				c.Failed++
				if len(t.Failures) < MaxFailures {
					t.Failures = append(t.Failures, Place{Clip: d.at[chunk] + place, Chunk: chunk, Place: place, Failure: r.Failures[place]})
				}
			}
		}
	}
	t.Slots += t.Queues
	c.Reused = int32(min(t.Totals.Reused, int64(c.Total))) //nolint:gosec // at most the number of clips
	t.Used = t.Totals
	d.tallyChildren(&t)
	d.tallyQueues(&t)
	return t
}

// running clips whose PoseJob is suspended and has no pod do not run.
func (d *decider) running(c *v1alpha1.BatchCounts, clip int) {
	child := d.jobs[clip]
	if (child == nil && d.spec.Suspend) || (child != nil && child.live() && child.Suspended && child.Resting) {
		c.Pending++
		return
	}
	c.Running++
}

func (d *decider) tallyChildren(t *Tally) {
	for i := range d.Children {
		child := &d.Children[i]
		s, ok := d.state(child.Clip)
		if !ok || !child.live() {
			continue
		}
		t.Live++
		t.Jobs++
		t.Ages += max(0, d.Now.Sub(child.Made))
		if child.Suspended && child.Resting {
			t.Resting++
		}
		if s == Running {
			t.Used.GPUSeconds += child.Used.GPUSeconds
			t.Used.CPUSeconds += child.Used.CPUSeconds
		}
	}
}

// tallyQueues: what a pod used that was accounted for stands in its record.
func (d *decider) tallyQueues(t *Tally) {
	for i := range d.Queues {
		p := &d.Queues[i]
		if p.Chunk >= len(d.records) {
			continue
		}
		if _, open := d.records[p.Chunk].Queues[p.Number]; open {
			t.Used.GPUSeconds += p.Used.GPUSeconds
			t.Used.CPUSeconds += p.Used.CPUSeconds
		}
		if p.Live {
			t.Live++
			t.Ages += max(0, d.Now.Sub(p.Made))
		}
	}
}
