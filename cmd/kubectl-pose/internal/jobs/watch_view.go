package jobs

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
)

// event is what -o json prints of a change.
type event struct {
	Kind        string       `json:"kind"`
	Namespace   string       `json:"namespace"`
	Name        string       `json:"name"`
	Phase       string       `json:"phase"`
	Stage       string       `json:"stage,omitempty"`
	Attempt     int32        `json:"attempt,omitempty"`
	Variant     string       `json:"variant,omitempty"`
	Device      string       `json:"device,omitempty"`
	Percent     int32        `json:"percent"`
	Frames      int64        `json:"frames,omitempty"`
	TotalFrames int64        `json:"totalFrames,omitempty"`
	FPS         float64      `json:"fps,omitempty"`
	EndsAt      *metav1.Time `json:"estimatedCompletionTime,omitempty"`
	Finished    bool         `json:"finished"`
	Succeeded   bool         `json:"succeeded"`
	Message     string       `json:"message,omitempty"`
	Output      string       `json:"output,omitempty"`
}

func changeOf(o client.Object, s standing) event {
	e := event{Kind: s.kind(), Namespace: s.namespace, Name: s.name, Phase: s.phase, Finished: s.over(), Succeeded: s.ok, Message: s.message}
	switch o := o.(type) {
	case *v1alpha1.PoseJob:
		st := o.Status
		e.Stage, e.Attempt, e.Variant, e.Device = st.Stage, st.AttemptCount, st.Variant, string(st.Device)
		if p := st.Progress; p != nil {
			e.Percent, e.Frames, e.TotalFrames, e.FPS, e.EndsAt = p.Percent, p.Frames, p.TotalFrames, float64(p.MilliFPS)/1000, p.EstimatedCompletionTime
		}
		if st.Output != nil {
			e.Output = st.Output.URI
		}
	case *v1alpha1.PoseBatch:
		e.Percent, e.EndsAt = o.Status.Percent, o.Status.EstimatedCompletionTime
		if o.Status.Index != nil {
			e.Output = o.Status.Index.URI
		}
	}
	return e
}

// rowOf a job or batch that has not ended.
func rowOf(o client.Object, s standing) term.Row {
	r := term.Row{Name: s.name, Doing: s.phase, Percent: -1}
	switch o := o.(type) {
	case *v1alpha1.PoseJob:
		st := o.Status
		r.Doing = cmp.Or(st.Stage, s.phase)
		var facts []string
		if p := st.Progress; p != nil {
			r.Percent = int(p.Percent)
			if p.TotalFrames > 0 {
				facts = append(facts, fmt.Sprintf("%d/%d frames", p.Frames, p.TotalFrames))
			}
			if p.MilliFPS > 0 {
				facts = append(facts, fmt.Sprintf("%.1f fps", float64(p.MilliFPS)/1000))
			}
			r.Ends = ends(p.EstimatedCompletionTime)
		}
		if n := len(st.Attempts); n > 0 {
			a := &st.Attempts[n-1]
			facts = append(facts, fmt.Sprintf("attempt %d: %s", a.Number, variantOf(a)))
			if n > 1 && st.Attempts[n-2].Reason != "" {
				facts = append(facts, "after "+st.Attempts[n-2].Reason)
			}
		} else if s.message != "" && st.Progress == nil {
			facts = append(facts, s.message)
		}
		r.Facts = strings.Join(facts, ", ")
	case *v1alpha1.PoseBatch:
		r.Name = s.String()
		if c := o.Status.Counts; c != nil {
			r.Percent = int(o.Status.Percent)
			r.Facts = fmt.Sprintf("%d of %d clips, %d run, %d failed", c.Succeeded+c.Failed+c.Cancelled, c.Total, c.Running, c.Failed)
		}
		r.Ends = ends(o.Status.EstimatedCompletionTime)
	}
	return r
}

func ends(t *metav1.Time) *time.Time {
	if t == nil {
		return nil
	}
	return &t.Time
}

func variantOf(a *v1alpha1.Attempt) string {
	if strings.EqualFold(a.Variant, string(a.Device)) {
		return a.Variant
	}
	return fmt.Sprintf("%s (%s)", a.Variant, a.Device)
}

// endings says of attempts that failed since the last look why, and what follows.
func (w *watcher) endings(o client.Object, s standing) (out []string) {
	job, ok := o.(*v1alpha1.PoseJob)
	if !ok {
		return nil
	}
	for i := w.told[s.ref]; i < len(job.Status.Attempts); i++ {
		a := &job.Status.Attempts[i]
		switch a.State {
		case v1alpha1.AttemptFailed:
			next := ""
			if a.Action != "" {
				next = "; next: " + string(a.Action)
			}
			out = append(out, fmt.Sprintf("%s: attempt %d, %s, failed: %s: %s%s", s.name, a.Number, variantOf(a), a.Reason, term.Cut(term.OneLine(a.Message), 300), next))
		case v1alpha1.AttemptSucceeded:
		default:
			return out
		}
		w.told[s.ref] = i + 1
	}
	return out
}

// lastWords of a job or batch that is over.
func lastWords(o client.Object, s standing) string {
	words := []string{fmt.Sprintf("%s %s", s.ref, s.phase)}
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	switch o := o.(type) {
	case *v1alpha1.PoseJob:
		st := o.Status
		if out := st.Output; s.ok && out != nil {
			add("%d people in %d frames", out.People, out.Frames)
			if st.ReusedFrom != nil {
				add("computed before by %s", cmp.Or(st.ReusedFrom.Job, "another job"))
			} else {
				if st.Variant != "" {
					add("variant %s", st.Variant)
				}
				add("attempts: %d", st.AttemptCount)
			}
		}
		if d := took(st.StartTime, st.CompletionTime); d != "" {
			add("%s", d)
		}
		for _, c := range st.Conditions {
			if c.Type == v1alpha1.ConditionDegraded && c.Status == metav1.ConditionTrue {
				add("degraded: %s", c.Message)
			}
		}
		if s.ok && st.Output != nil && st.Output.URI != "" { // a gateway names no place
			return strings.Join(words, ", ") + " -> " + st.Output.URI
		}
	case *v1alpha1.PoseBatch:
		if c := o.Status.Counts; c != nil {
			add("%d succeeded, %d failed, %d cancelled of %d", c.Succeeded, c.Failed, c.Cancelled, c.Total)
		}
		if s.ok && o.Status.Index != nil {
			return strings.Join(words, ", ") + " -> " + o.Status.Index.URI
		}
	}
	if s.message == "" {
		return strings.Join(words, ", ")
	}
	return strings.Join(words, ", ") + ": " + s.message
}
