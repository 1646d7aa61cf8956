package jobs

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	toolscache "k8s.io/client-go/tools/cache"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
)

// Hub passes changes of PoseJobs on from one watch of the cluster to many clients. A
// client that reads slowly gets the latest state of each job and not all between: what
// waits for it is bounded by the number of jobs.
type Hub struct {
	// Max streams at a time, of all users and of one.
	Max, MaxPerUser int

	mu      sync.Mutex
	streams map[*Stream]struct{}
	users   map[string]int
}

// Change of one job; Job is nil for one that is gone.
type Change struct {
	Name string
	Job  *v1alpha1.PoseJob
}

// Stream of one client.
type Stream struct {
	hub             *Hub
	user            string
	namespace, name string

	mu      sync.Mutex
	pending map[string]*v1alpha1.PoseJob
	order   []string
	wake    chan struct{}
}

// Open a stream of the changes of one job, or of all of a namespace where name is
// empty. It begins with the next change.
func (h *Hub) Open(user, namespace, name string) (*Stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.streams) >= h.Max || h.users[user] >= h.MaxPerUser {
		p := problem.New(http.StatusTooManyRequests, "too many event streams are open: close some, or ask for the job now and then")
		p.RetryAfter = 10 * time.Second
		return nil, p
	}
	s := &Stream{hub: h, user: user, namespace: namespace, name: name, pending: map[string]*v1alpha1.PoseJob{}, wake: make(chan struct{}, 1)}
	if h.streams == nil {
		h.streams, h.users = map[*Stream]struct{}{}, map[string]int{}
	}
	h.streams[s] = struct{}{}
	h.users[user]++
	return s, nil
}

// Close the stream.
func (s *Stream) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if _, ok := s.hub.streams[s]; !ok {
		return
	}
	delete(s.hub.streams, s)
	if s.hub.users[s.user]--; s.hub.users[s.user] == 0 {
		delete(s.hub.users, s.user)
	}
}

// Len is how many streams are open.
func (h *Hub) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.streams)
}

// Next waits for changes and gives all that there are, in the order of their versions:
// who has seen one has seen all before it, which Last-Event-ID relies on. It gives none
// when wait has passed.
func (s *Stream) Next(ctx context.Context, wait time.Duration) ([]Change, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		if c := s.take(); len(c) > 0 {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err() //nolint:wrapcheck // the caller's own
		case <-timer.C:
			return nil, nil
		case <-s.wake:
		}
	}
}

func (s *Stream) take() []Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Change, 0, len(s.order))
	for _, n := range s.order {
		out = append(out, Change{n, s.pending[n]})
	}
	s.order = nil
	clear(s.pending)
	slices.SortStableFunc(out, func(a, b Change) int { return cmp.Compare(a.version(), b.version()) })
	return out
}

// version of the job; 0, and so first, of one that is gone.
func (c Change) version() uint64 {
	if c.Job == nil {
		return 0
	}
	return Version(c.Job.ResourceVersion)
}

// Version of an object as a number, as Kubernetes has them comparable; 0 for none.
func Version(s string) uint64 {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return v
}

func (s *Stream) put(name string, job *v1alpha1.PoseJob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.pending[name]; !ok {
		s.order = append(s.order, name)
	}
	s.pending[name] = job
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Handler of an informer of PoseJobs.
func (h *Hub) Handler() toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { h.publish(o, false) },
		UpdateFunc: func(_, o any) { h.publish(o, false) },
		DeleteFunc: func(o any) { h.publish(o, true) },
	}
}

func (h *Hub) publish(o any, gone bool) {
	if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	job, ok := o.(*v1alpha1.PoseJob)
	if !ok {
		return
	}
	state := job
	if gone {
		state = nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		if s.namespace == job.Namespace && (s.name == "" || s.name == job.Name) {
			s.put(job.Name, state)
		}
	}
}
