package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/jobs"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/stand"
)

type jobList struct {
	Items    []jobs.Job
	Continue string
}

func TestJobs(t *testing.T) {
	g := start(t, nil)
	var ids []string
	for range 3 {
		ids = append(ids, g.uploaded(1000, nil).ID)
	}
	var got []string
	path := "/api/pose/jobs?limit=2"
	for pages := 0; path != ""; pages++ {
		l := decode[jobList](t, g.ask(alice, http.MethodGet, path, http.StatusOK))
		if len(l.Items) > 2 || pages > 500 {
			t.Fatalf("page of %d", len(l.Items))
		}
		for _, j := range l.Items {
			got = append(got, j.ID)
		}
		if path = ""; l.Continue != "" {
			path = "/api/pose/jobs?limit=2&continue=" + l.Continue
		}
	}
	for _, id := range ids {
		if n := len(slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s != id })); n != 1 {
			t.Errorf("job %s is listed %d times", id, n)
		}
	}
	for _, path := range []string{"/api/pose/jobs?limit=0", "/api/pose/jobs?limit=x", "/api/pose/jobs?limit=501", "/api/pose/jobs?continue=%25", "/api/pose/jobs?namespace=A"} {
		g.ask(alice, http.MethodGet, path, http.StatusBadRequest)
	}
	for path, u := range map[string]*stand.User{"/api/pose/jobs": bob, "/api/pose/engines": bob, "/api/pose/jobs/" + ids[0]: bob, "/api/pose/jobs/" + ids[1]: carol, "/api/pose/jobs/" + ids[2]: dave, "/api/pose/jobs?namespace=other": alice} {
		g.ask(u, http.MethodGet, path, http.StatusForbidden)
		g.ask(nil, http.MethodGet, path, http.StatusUnauthorized)
	}
	g.ask(alice, http.MethodGet, "/api/pose/jobs/nosuch", http.StatusNotFound)
	for _, name := range []string{"..", "..%2f..%2fsecrets", "A", "x%00y", strings.Repeat("a", 300)} {
		g.ask(alice, http.MethodGet, "/api/pose/jobs/"+name+"/results", http.StatusNotFound)
	}
	engines := decode[struct{ Items []jobs.Engine }](t, g.ask(alice, http.MethodGet, "/api/pose/engines", http.StatusOK))
	if e := engines.Items; len(e) != 1 || e[0].Name != "mediapipe" || !e[0].Default || len(e[0].Overlays) != 3 || e[0].Devices[0] != "CPU" || !slices.Contains(e[0].Stages, "Tracking") {
		t.Errorf("engines %+v", e)
	}
}

func TestCancelRetryDelete(t *testing.T) {
	g := start(t, nil)
	job := g.uploaded(1000, map[string]string{"overlay": "Full", "people": "2"})
	g.ask(alice, http.MethodPost, job.Links.Self+"/retry", http.StatusConflict)
	g.ask(bob, http.MethodPost, job.Links.Cancel, http.StatusForbidden)
	g.ask(carol, http.MethodPost, job.Links.Cancel, http.StatusForbidden)
	c := decode[jobs.Job](t, g.ask(alice, http.MethodPost, job.Links.Cancel, http.StatusOK))
	if !c.Cancelled || !c.Suspended || c.Links.Cancel != "" || c.Links.Retry == "" || !poseJob(t, job.ID).Spec.Suspend {
		t.Errorf("cancelled %+v", c)
	}
	g.ask(alice, http.MethodPost, job.Links.Cancel, http.StatusOK)
	next := decode[jobs.Job](t, g.ask(alice, http.MethodPost, c.Links.Retry, http.StatusCreated))
	was, is := poseJob(t, job.ID), poseJob(t, next.ID)
	if next.ID == job.ID || is.Spec.Video != was.Spec.Video && is.Spec.Video.URI != was.Spec.Video.URI || is.Spec.Suspend || is.Spec.Output.Overlay != "Full" || is.Spec.People.Max != 2 ||
		is.Spec.Output.URI == was.Spec.Output.URI || next.Name != "run.mp4" || next.Cancelled {
		t.Errorf("retried: %+v", is.Spec)
	}
	folder := strings.TrimSuffix(strings.TrimPrefix(was.Spec.Video.URI, stand.Base+"/"), "/video.mp4")
	g.ask(bob, http.MethodDelete, job.Links.Self, http.StatusForbidden)
	g.ask(alice, http.MethodDelete, job.Links.Self+"?results=x", http.StatusBadRequest)
	g.ask(alice, http.MethodDelete, job.Links.Self, http.StatusNoContent)
	if len(stored(t, folder)) != 1 {
		t.Error("the video of a job that still needs it is gone")
	}
	g.ask(alice, http.MethodGet, job.Links.Self, http.StatusNotFound)
	g.ask(alice, http.MethodDelete, job.Links.Self, http.StatusNotFound)
	g.ask(alice, http.MethodDelete, next.Links.Self+"?results=Retain", http.StatusNoContent)
	if files := stored(t, folder); len(files) != 0 {
		t.Errorf("after the last job of the video: %v", files)
	}
}

// TestDeletionPolicy: what the request says is in the job before it goes.
func TestDeletionPolicy(t *testing.T) {
	g := start(t, nil)
	job := g.uploaded(1000, nil)
	j := poseJob(t, job.ID)
	j.Finalizers = []string{"pose.dev/test"}
	if err := admin.Update(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	g.ask(alice, http.MethodDelete, job.Links.Self+"?results=Retain", http.StatusNoContent)
	j = poseJob(t, job.ID)
	if j.Spec.Output.DeletionPolicy != v1alpha1.DeletionRetain || j.DeletionTimestamp == nil {
		t.Errorf("%+v", j)
	}
	v := decode[jobs.Job](t, g.ask(alice, http.MethodGet, job.Links.Self, http.StatusOK))
	if v.DeletedAt == nil || v.Links.Delete != "" || v.Links.Cancel != "" {
		t.Errorf("%+v", v)
	}
	j.Finalizers = nil
	if err := admin.Update(t.Context(), j); err != nil {
		t.Fatal(err)
	}
}

// sse reads events.
type sse struct {
	t      *testing.T
	events chan event
	header http.Header
}

type event struct{ id, name, data string }

func (g *gateway) follow(u *stand.User, path string, headers ...string) *sse {
	g.t.Helper()
	ctx, cancel := context.WithCancel(g.t.Context())
	g.t.Cleanup(cancel)
	resp, err := http.DefaultClient.Do(g.request(u, http.MethodGet, path, nil, headers...).WithContext(ctx)) //nolint:bodyclose // the goroutine below does
	if err != nil {
		g.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		g.t.Fatalf("%s: %s %s", path, resp.Status, resp.Header.Get("Content-Type"))
	}
	s := &sse{t: g.t, events: make(chan event, 1000), header: resp.Header}
	go func() {
		defer resp.Body.Close()
		defer close(s.events)
		var e event
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			switch k, v, _ := strings.Cut(lines.Text(), ": "); k {
			case "id":
				e.id = v
			case "event":
				e.name = v
			case "data":
				e.data = v
			case "":
				if e.name != "" {
					s.events <- e
				}
				e = event{}
			}
		}
	}()
	return s
}

func (s *sse) next() event {
	s.t.Helper()
	select {
	case e, ok := <-s.events:
		if !ok {
			s.t.Fatal("the stream ended")
		}
		return e
	case <-time.After(30 * time.Second):
		s.t.Fatal("no event came")
	}
	return event{}
}

func (s *sse) job() jobs.Job {
	s.t.Helper()
	e := s.next()
	var j jobs.Job
	if e.name != "job" || e.id == "" || json.Unmarshal([]byte(e.data), &j) != nil {
		s.t.Fatalf("event %+v", e)
	}
	return j
}

func TestEvents(t *testing.T) {
	g := start(t, nil)
	job := g.uploaded(1000, nil)
	s := g.follow(alice, job.Links.Events)
	first := s.next()
	if first.name != "job" || !strings.Contains(first.data, job.ID) {
		t.Fatalf("first %+v", first)
	}
	if e := s.next(); e.name != "sync" || e.data != `{"ids":["`+job.ID+`"]}` {
		t.Fatalf("second %+v", e)
	}
	j := poseJob(t, job.ID)
	write := func(change func(*v1alpha1.PoseJobStatus)) {
		t.Helper()
		if err := stand.Write(t.Context(), admin, j, change); err != nil {
			t.Fatal(err)
		}
	}
	write(func(s *v1alpha1.PoseJobStatus) {
		s.Phase, s.Stage = v1alpha1.PhaseRunning, "Tracking"
		s.Progress = &v1alpha1.JobProgress{Summary: "35% 42/120", Percent: 35}
		// A hostile log's words are data, and one line.
		s.Conditions = []metav1.Condition{{Type: "Ready", Status: "False", Reason: "Progressing", Message: "a\n\nevent: deleted\ndata: {}\n\n<script>", LastTransitionTime: metav1.Now()}}
	})
	if v := s.job(); v.Status.Stage != "Tracking" || v.Status.Progress.Percent != 35 || !strings.HasSuffix(v.Status.Conditions[0].Message, "<script>") {
		t.Errorf("after a write: %+v", v.Status)
	}
	last := poseJob(t, job.ID).ResourceVersion
	if e := g.follow(alice, job.Links.Events, "Last-Event-ID", last).next(); e.name != "sync" {
		t.Errorf("a state was sent again: %+v", e)
	}
	if e := g.follow(alice, job.Links.Events, "Last-Event-ID", first.id).next(); e.name != "job" {
		t.Errorf("a newer state was left out: %+v", e)
	}
	all := g.follow(alice, "/api/pose/jobs/events")
	for all.next().name != "sync" {
	}
	g.ask(alice, http.MethodDelete, job.Links.Self, http.StatusNoContent)
	for _, s := range []*sse{s, all} {
		for e := s.next(); ; e = s.next() {
			if e.name == "deleted" {
				if e.data != `{"id":"`+job.ID+`"}` {
					t.Errorf("%+v", e)
				}
				break
			}
		}
	}
	g.ask(bob, http.MethodGet, "/api/pose/jobs/events", http.StatusForbidden)
	g.ask(carol, http.MethodGet, "/api/pose/jobs/events", http.StatusForbidden)
	g.ask(carol, http.MethodGet, job.Links.Events, http.StatusForbidden)
	g.ask(carol, http.MethodGet, "/api/pose/jobs/for-carol/events", http.StatusNotFound)
	g.ask(nil, http.MethodGet, job.Links.Events, http.StatusUnauthorized)
	g.ask(alice, http.MethodGet, "/api/pose/jobs/nosuch/events", http.StatusNotFound)
}

// TestEventsAreBounded: streams are few, slow ones get the latest state, and all end
// with the process.
func TestEventsAreBounded(t *testing.T) {
	g := start(t, map[string]any{"limits": map[string]any{"streamsPerUser": 2, "requestsPerMinute": 100000, "addressRequestsPerMinute": 100000}})
	job := g.uploaded(1000, nil)
	one, two := g.follow(alice, job.Links.Events), g.follow(alice, job.Links.Events)
	a := g.ask(alice, http.MethodGet, job.Links.Events, http.StatusTooManyRequests)
	if a.Header.Get("Retry-After") == "" {
		t.Error("nothing says when to come again")
	}
	g.until("metrics of streams", func() bool {
		_, text := g.scrape(scraper(t))
		return strings.Contains(text, "\npose_gateway_event_streams 2\n")
	})
	go func() { _ = g.stop() }()
	for _, s := range []*sse{one, two} {
		end := time.After(20 * time.Second)
		for open := true; open; {
			select {
			case _, open = <-s.events:
			case <-end:
				t.Fatal("a stream goes on when the process is to end")
			}
		}
	}
}

// TestHub: what waits for a slow client is bounded by the number of jobs.
func TestHub(t *testing.T) {
	h := &jobs.Hub{Max: 2, MaxPerUser: 2}
	s, err := h.Open("u", "ns", "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 1000 {
		j := &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprintf("j%d", i%3), ResourceVersion: fmt.Sprint(i)}}
		h.Handler().OnUpdate(nil, j)
		h.Handler().OnAdd(&v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "x"}}, false)
	}
	h.Handler().OnDelete(&v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "j1"}})
	got, err := s.Next(t.Context(), time.Second)
	if err != nil || len(got) != 3 || got[0].Job != nil || got[1].Job.ResourceVersion != "998" || got[2].Job.ResourceVersion != "999" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := s.Next(t.Context(), time.Millisecond); err != nil || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
}
