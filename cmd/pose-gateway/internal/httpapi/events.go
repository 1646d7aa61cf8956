package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/jobs"
)

const (
	// heartbeat keeps proxies from ending a quiet stream.
	heartbeat = 15 * time.Second
	// askAgain is how long a stream goes on without asking who it is for, and whether
	// they may.
	askAgain = time.Minute
	// streamFor is how long a stream lives: then the client comes again, perhaps to
	// another replica.
	streamFor = time.Hour
	// maxInitial jobs are sent when a stream begins.
	maxInitial  = 500
	eventStream = "text/event-stream"
)

// watch sends changes as server-sent events:
// https://html.spec.whatwg.org/multipage/server-sent-events.html
func (s *Server) watch(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	name := ""
	if r.PathValue("job") != "" {
		var err error
		if name, err = jobName(r); err != nil {
			return err
		}
	}
	ns, err := s.may(r, u, "watch", name)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", eventStream)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	stream, err := s.Hub.Open(u.Name, ns, name)
	if err != nil {
		return err
	}
	defer stream.Close()
	// After the stream was opened, so that no change falls between the two.
	current, err := s.current(r.Context(), ns, name)
	if err != nil {
		return err
	}
	e := &events{Server: s, w: w, r: r, user: u, namespace: ns, name: name}
	if e.rights, err = s.rights(r, u, ns, name); err != nil {
		return err
	}
	e.begin(current)
	ctx, cancel := context.WithTimeout(r.Context(), streamFor)
	defer cancel()
	go func() {
		select {
		case <-s.Stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	e.follow(ctx, stream)
	return nil
}

func (s *Server) current(ctx context.Context, ns, name string) ([]*v1alpha1.PoseJob, error) {
	if name == "" {
		page, _, err := s.Jobs.Page(ctx, ns, maxInitial, "")
		return page, err
	}
	job, err := s.Jobs.Get(ctx, ns, name)
	return []*v1alpha1.PoseJob{job}, err
}

// events of one client.
type events struct {
	*Server
	w               http.ResponseWriter
	r               *http.Request
	user            *auth.User
	namespace, name string
	rights          jobs.Rights
	failed          bool
}

// begin with the current state: what the client has not seen, and what there is.
func (e *events) begin(current []*v1alpha1.PoseJob) {
	h := e.w.Header()
	h.Set("Content-Type", eventStream)
	h.Set("X-Accel-Buffering", "no") // nginx holds answers back otherwise
	e.w.WriteHeader(http.StatusOK)
	e.write("retry: 3000\n\n")
	seen := jobs.Version(e.r.Header.Get("Last-Event-ID"))
	ids := []string{}
	// By version, as the changes come that follow: else a client whose connection ends
	// here would say that it has seen what it has not.
	slices.SortFunc(current, func(a, b *v1alpha1.PoseJob) int {
		return cmp.Compare(jobs.Version(a.ResourceVersion), jobs.Version(b.ResourceVersion))
	})
	for _, job := range current {
		ids = append(ids, job.Name)
		if v := jobs.Version(job.ResourceVersion); v == 0 || v > seen {
			e.job(job)
		}
	}
	e.event("sync", "", map[string]any{"ids": ids})
	e.flush()
}

func (e *events) follow(ctx context.Context, stream *jobs.Stream) {
	asked := now()
	for !e.failed {
		changes, err := stream.Next(ctx, heartbeat)
		if err != nil {
			return
		}
		if now().Sub(asked) > askAgain {
			if !e.still() {
				return
			}
			asked = now()
		}
		for _, c := range changes {
			if c.Job == nil {
				e.event("deleted", "", map[string]string{"id": c.Name})
				continue
			}
			e.job(c.Job)
		}
		if len(changes) == 0 {
			e.write(": \n\n")
		}
		e.flush()
	}
}

// still says whether the client is who it was and may still watch.
func (e *events) still() bool {
	u, err := e.Auth.Identify(e.r)
	if err != nil || u.Name != e.user.Name {
		return false
	}
	ok, err := e.Authorizer.Allowed(e.r.Context(), u, auth.Action{Verb: "watch", Resource: "posejobs", Namespace: e.namespace, Name: e.name})
	if err != nil || !ok {
		return false
	}
	e.rights, err = e.Server.rights(e.r, u, e.namespace, e.name)
	return err == nil
}

func (e *events) job(job *v1alpha1.PoseJob) {
	e.event("job", job.ResourceVersion, e.Jobs.View(job, e.rights))
}

// event of one line of JSON, which has no line break in it.
func (e *events) event(name, id string, data any) {
	raw, err := json.Marshal(data)
	if err != nil {
		e.Log.Error(err, "Could not write an event")
		return
	}
	if id != "" {
		e.write("id: " + id + "\n")
	}
	e.write(fmt.Sprintf("event: %s\ndata: %s\n\n", name, raw))
}

func (e *events) write(s string) {
	if _, err := e.w.Write([]byte(s)); err != nil { //nolint:gosec // an event stream, whose data is JSON
		e.failed = true
	}
}

func (e *events) flush() {
	if err := http.NewResponseController(e.w).Flush(); err != nil {
		e.failed = true
	}
}
