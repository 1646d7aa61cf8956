package purge_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/purge"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/internal/report"
)

// pod of the n-th try, made 300 s ago.
func pod(n int) *gen.PodBuilder {
	return gen.Pod("purge-"+strconv.Itoa(n), 0, "", "").With(func(p *corev1.Pod) {
		p.Labels[v1alpha1.LabelPurpose] = v1alpha1.PurposePurge
		p.Annotations = map[string]string{render.AnnotationTry: strconv.Itoa(n)}
	})
}

func failed(n int, at int64) *gen.PodBuilder {
	return pod(n).Node("n").Phase(corev1.PodFailed).Exit("purge", 1).FinishedAt("purge", at).
		Says("purge", report.Termination{Role: report.RolePurge, Result: report.ResultFailed, Message: "AccessDenied.\x1b"})
}

func done(n int) *gen.PodBuilder {
	return pod(n).Node("n").Phase(corev1.PodSucceeded).Exit("purge", 0).
		Says("purge", report.Termination{Role: report.RolePurge, Result: report.ResultOK, Purge: &report.PurgeReport{Results: 2}})
}

func TestNext(t *testing.T) {
	attempt := func() *gen.PodBuilder { return gen.Pod("p1", 1, "gpu", v1alpha1.GPU) }
	look := func() *gen.PodBuilder {
		return gen.Pod("look", 0, "", "").With(func(p *corev1.Pod) { p.Labels[v1alpha1.LabelPurpose] = v1alpha1.PurposeLookup })
	}
	for name, c := range map[string]struct {
		retain, foreground, orphan, fresh bool
		secret                            string
		pods                              []*gen.PodBuilder

		want   purge.Kind
		reason string
		says   []string
		try    int32
		end    []string
		until  int64
		report bool
	}{
		"a job that never had a pod":               {fresh: true, want: purge.KindLetGo},
		"a pod though its record was lost":         {fresh: true, pods: []*gen.PodBuilder{attempt().Phase(corev1.PodSucceeded)}, want: purge.KindCreate, try: 1, reason: "Deleting"},
		"the first try":                            {want: purge.KindCreate, try: 1, reason: "Deleting", says: []string{"s3://results/team-a/j"}},
		"beside pods that have ended":              {pods: []*gen.PodBuilder{attempt().Phase(corev1.PodFailed), look().Phase(corev1.PodSucceeded)}, want: purge.KindCreate, try: 1, reason: "Deleting"},
		"an attempt that lives ends first":         {pods: []*gen.PodBuilder{attempt().Node("n").Phase(corev1.PodRunning), done(1)}, want: purge.KindEnd, end: []string{"p1"}, reason: "Deleting", says: []string{"pod p1 ends first"}},
		"a look that lives ends first":             {pods: []*gen.PodBuilder{look()}, want: purge.KindEnd, end: []string{"look"}, reason: "Deleting"},
		"all of them":                              {pods: []*gen.PodBuilder{look(), attempt()}, want: purge.KindEnd, end: []string{"look", "p1"}, reason: "Deleting"},
		"a pod that ends is waited for":            {pods: []*gen.PodBuilder{attempt().Node("n").Deleting(-5, 30)}, want: purge.KindWait, until: 85, reason: "Deleting"},
		"a pod that does not end":                  {pods: []*gen.PodBuilder{attempt().Node("n").Deleting(-500, 30)}, want: purge.KindWait, reason: v1alpha1.ReasonWaitingForTermination, says: []string{"never deleted by force", "delete the node object", "deletionPolicy to Retain"}},
		"in the foreground all else goes first":    {foreground: true, want: purge.KindWait, until: 2, reason: "Deleting", says: []string{"foreground"}},
		"orphans are let go first":                 {orphan: true, want: purge.KindWait, until: 2, reason: "Deleting", says: []string{"orphan"}},
		"in the foreground a live pod ends":        {foreground: true, pods: []*gen.PodBuilder{attempt()}, want: purge.KindEnd, end: []string{"p1"}, reason: "Deleting"},
		"a pod that removes is waited for":         {pods: []*gen.PodBuilder{pod(1).Node("n").Phase(corev1.PodRunning).Runs("purge")}, want: purge.KindWait, try: 1, reason: "Deleting"},
		"a pod that was just made":                 {pods: []*gen.PodBuilder{pod(1)}, want: purge.KindWait, try: 1, reason: "Deleting"},
		"a pod that no node takes":                 {pods: []*gen.PodBuilder{pod(1).Unschedulable("0/2 nodes", -9)}, want: purge.KindWait, try: 1, reason: "DeletionFailed", says: []string{"no node takes it: 0/2 nodes", "Retain"}},
		"an image that cannot be pulled":           {pods: []*gen.PodBuilder{pod(1).Node("n").Waiting("purge", "ErrImagePull", "no\nsuch")}, want: purge.KindWait, try: 1, reason: "DeletionFailed", says: []string{"ErrImagePull: no such", "Retain"}},
		"an image that is being pulled":            {pods: []*gen.PodBuilder{pod(1).Node("n").Waiting("purge", "ContainerCreating", "")}, want: purge.KindWait, try: 1, reason: "Deleting"},
		"a Secret that is gone":                    {secret: "keys", pods: []*gen.PodBuilder{pod(1).Node("n").Waiting("purge", "ContainerCreating", "").Condition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, "", "", -9)}, want: purge.KindWait, try: 1, reason: "DeletionFailed", says: []string{"Does Secret keys exist"}},
		"a claim that is gone":                     {pods: []*gen.PodBuilder{pod(1).Node("n").Condition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, "", "", -9)}, want: purge.KindWait, try: 1, reason: "DeletionFailed", says: []string{"node n has not prepared"}},
		"all is removed":                           {pods: []*gen.PodBuilder{failed(1, -60), done(2)}, want: purge.KindLetGo, try: 2, report: true},
		"a removal whose pod is ending already":    {pods: []*gen.PodBuilder{done(1).Deleting(-1, 5)}, want: purge.KindLetGo, try: 1, report: true},
		"a proof of a pod that failed is none":     {pods: []*gen.PodBuilder{done(1).Phase(corev1.PodFailed)}, want: purge.KindCreate, try: 2, end: []string{"purge-1"}, reason: "DeletionFailed"},
		"a proof of another container is none":     {pods: []*gen.PodBuilder{pod(1).Node("n").Phase(corev1.PodSucceeded).Exit("deliver", 0).Says("deliver", report.Termination{Role: report.RolePurge, Result: report.ResultOK, Purge: &report.PurgeReport{}})}, want: purge.KindCreate, try: 2, end: []string{"purge-1"}, reason: "DeletionFailed"},
		"a failure pauses":                         {pods: []*gen.PodBuilder{failed(1, -4)}, want: purge.KindWait, try: 1, until: 6, reason: "DeletionFailed", says: []string{"try 1", "AccessDenied. The next one comes at 2026-03-04T12:00:06Z", "Retain"}},
		"a second one longer":                      {pods: []*gen.PodBuilder{failed(1, -90), failed(2, -4)}, want: purge.KindWait, try: 2, until: 16, reason: "DeletionFailed", end: []string{"purge-1"}},
		"at most six minutes":                      {pods: []*gen.PodBuilder{failed(99, -4)}, want: purge.KindWait, try: 99, until: 356, reason: "DeletionFailed"},
		"then the next one follows":                {pods: []*gen.PodBuilder{failed(1, -90), failed(2, -20)}, want: purge.KindCreate, try: 3, reason: "DeletionFailed", end: []string{"purge-1", "purge-2"}},
		"the order of pods is not that of tries":   {pods: []*gen.PodBuilder{failed(10, -4), failed(9, -90)}, want: purge.KindWait, try: 10, until: 356, reason: "DeletionFailed", end: []string{"purge-9"}},
		"an eviction":                              {pods: []*gen.PodBuilder{pod(1).Node("n").Phase(corev1.PodFailed).Reason("Evicted", "low")}, want: purge.KindCreate, try: 2, end: []string{"purge-1"}, reason: "DeletionFailed", says: []string{"Evicted: low"}},
		"a disruption":                             {pods: []*gen.PodBuilder{pod(1).Node("n").Phase(corev1.PodFailed).Disrupted("Preemption", "by x", -9)}, want: purge.KindCreate, try: 2, end: []string{"purge-1"}, reason: "DeletionFailed", says: []string{"Preemption: by x"}},
		"a pod that was deleted before it had one": {pods: []*gen.PodBuilder{pod(1).Deleting(-1, 0)}, want: purge.KindCreate, try: 2, reason: "DeletionFailed"},
		"a try that does not say which":            {pods: []*gen.PodBuilder{failed(1, -90).With(func(p *corev1.Pod) { p.Annotations = nil })}, want: purge.KindCreate, try: 2, end: []string{"purge-1"}, reason: "DeletionFailed"},
		"retained, whatever runs":                  {retain: true, pods: []*gen.PodBuilder{attempt().Node("n").Phase(corev1.PodRunning), pod(2).Node("n").Phase(corev1.PodRunning), failed(1, -9).Deleting(-1, 5)}, want: purge.KindLetGo, end: []string{"purge-2"}},
		"retained, though nothing was removed":     {retain: true, foreground: true, want: purge.KindLetGo},
	} {
		t.Run(name, func(t *testing.T) {
			job := gen.Job("j").Build()
			if !c.fresh {
				job.Status.Attempts = []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Succeeded())}
			}
			job.Finalizers = []string{v1alpha1.FinalizerResults}
			if c.foreground {
				job.Finalizers = append(job.Finalizers, metav1.FinalizerDeleteDependents)
			}
			if c.orphan {
				job.Finalizers = append(job.Finalizers, metav1.FinalizerOrphanDependents)
			}
			if job.Spec.Output.DeletionPolicy = v1alpha1.DeletionDelete; c.retain {
				job.Spec.Output.DeletionPolicy = v1alpha1.DeletionRetain
			}
			if c.secret != "" {
				job.Spec.Output.CredentialsSecretRef = &v1alpha1.SecretReference{Name: c.secret}
			}
			var pods []corev1.Pod
			for _, p := range c.pods {
				pods = append(pods, p.Build())
			}
			d := purge.Next(purge.OfJob(job), pods, gen.Now)
			if d.Kind != c.want || d.Try != c.try || (c.want != purge.KindLetGo && d.Reason != c.reason) || (d.Report != nil) != c.report {
				t.Fatalf("Next = %s, try %d, %s (%s) %v, want %s, try %d, %s", d.Kind, d.Try, d.Reason, d.Message, d.Report, c.want, c.try, c.reason)
			}
			for _, words := range c.says {
				if !strings.Contains(d.Message, words) {
					t.Errorf("%q does not say %q", d.Message, words)
				}
			}
			if strings.Contains(d.Message, "\x1b") || len(d.Message) > 1000 {
				t.Errorf("message %q", d.Message)
			}
			if c.until != 0 && !d.Until.Equal(gen.Now.Add(gen.Seconds(c.until))) {
				t.Errorf("until %s, want %s", d.Until.Sub(gen.Now), gen.Seconds(c.until))
			}
			if d.Kind == purge.KindWait && !d.Until.IsZero() && !d.Until.After(gen.Now) {
				t.Error("it waits for what has come")
			}
			var end []string
			for _, p := range d.End {
				end = append(end, p.Name)
			}
			slices.Sort(end)
			if diff := cmp.Diff(c.end, end); diff != "" {
				t.Errorf("ends (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	if got := purge.Summary("s3://b/x", nil); !strings.Contains(got, "nothing was written to s3://b/x") {
		t.Error(got)
	}
	r := report.PurgeReport{Results: 2, Partials: 1, Objects: 9, Bytes: -5, Kept: []string{"notes\x1b.txt: not ours " + strings.Repeat("x", 999), "other"}}
	got := purge.Summary("s3://b/x", &r)
	if !strings.Contains(got, "removed 2 results, 1 partial ones, 9 objects and 0 bytes in all, below s3://b/x; kept 2, as notes.txt: not ours") || len(got) > 600 {
		t.Error(got)
	}
}

// TestItEndsOnceThePlaceAnswers: whatever fails before, and however often.
func TestItEndsOnceThePlaceAnswers(t *testing.T) {
	job := gen.Job("j").Attempts(gen.Attempt(1, "gpu", v1alpha1.GPU)).Build()
	job.Spec.Output.DeletionPolicy = v1alpha1.DeletionDelete
	now, pods := gen.Now, []corev1.Pod(nil)
	for range 200 {
		d := purge.Next(purge.OfJob(job), pods, now)
		switch d.Kind {
		case purge.KindLetGo:
			return
		case purge.KindCreate:
			if len(d.End) > 0 {
				pods = nil
			}
			p := failed(int(d.Try), 0).Build()
			if d.Try == 12 {
				p = done(12).Build()
			}
			if s := p.Status.ContainerStatuses[0].State.Terminated; s != nil {
				s.FinishedAt = metav1.NewTime(now.Add(3 * time.Second))
			}
			pods = append(pods, p)
		case purge.KindWait:
			if d.Until.IsZero() {
				t.Fatal("it waits for nothing")
			}
			now = d.Until
		}
	}
	t.Fatal("no end")
}
