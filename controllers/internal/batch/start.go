package batch

// start the next clips, and look for those whose PoseJob is not to be seen.
func (d *decider) start() {
	t := d.tally()
	s := starter{decider: d, free: int(d.spec.Parallelism - t.Slots), room: maxCreate}
	s.missing = int(t.Slots-t.Queues) - t.Jobs
	if d.spec.Suspend || d.exhausted(t) != "" {
		s.free = 0
	}
	if s.free > 0 && t.Counts.Pending > 0 {
		s.offer = d.queue(t)
	}
	for chunk := 0; chunk < len(d.records) && (s.free > 0 || s.missing > 0); chunk++ {
		for place := range d.records[chunk].States {
			if !s.clip(chunk, place) {
				return
			}
		}
	}
}

// starter of the next clips.
type starter struct {
	*decider
	free, missing, room int
	offer               *Offer
}

// clip at a place; false where the plan has enough.
func (s *starter) clip(chunk, place int) bool {
	clip, state := s.at[chunk]+place, s.records[chunk].States[place]
	mine := state == Running && s.jobs[clip] == nil && !s.spec.Suspend
	if next := (state == Pending || state == Alone) && s.free > 0; !mine && !next {
		return true
	}
	if s.room == 0 {
		s.plan.More = true
		return false
	}
	if mine {
		s.room--
		s.missing--
		s.later = append(s.later, Step{Kind: StepLook, Clip: clip})
		return true
	}
	if s.offer != nil && state == Pending {
		done, ok := s.enqueue(s.offer, chunk, place)
		if done {
			s.room--
			s.free--
		}
		if done || !ok {
			return ok
		}
	}
	r := s.edit(chunk)
	if r == nil {
		return false
	}
	r.States[place], s.begins[chunk] = Running, true
	s.room--
	s.free--
	s.later = append(s.later, Step{Kind: StepCreate, Clip: clip})
	return true
}
