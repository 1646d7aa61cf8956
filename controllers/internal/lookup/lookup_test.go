package lookup_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/lookup"
	"github.com/pose-dev/pose-operator/internal/report"
)

func pod(name string) *gen.PodBuilder {
	return gen.Pod(name, 0, "", "").With(func(p *corev1.Pod) { p.Labels[v1alpha1.LabelPurpose] = v1alpha1.PurposeLookup })
}

func ended(phase corev1.PodPhase, code int32, t report.Termination) *gen.PodBuilder {
	t.Role = report.RoleLookup
	return pod("look").Node("n").Phase(phase).Exit("lookup", code).Says("lookup", t)
}

func found(change ...func(*report.ReusedResult)) *gen.PodBuilder {
	r := &report.ReusedResult{Result: report.DeliveryReport{URI: "s3://results/team-a/j/attempts/0f5a7-0", ManifestSHA256: strings.Repeat("a", 64)}}
	for _, c := range change {
		c(r)
	}
	return ended(corev1.PodSucceeded, 0, report.Termination{Result: report.ResultOK, Lookup: &report.LookupReport{Reused: r}})
}

func failed(reason, message string, temporary bool) *gen.PodBuilder {
	return ended(corev1.PodFailed, 1, report.Termination{Result: report.ResultFailed, Reason: reason, Message: message, Temporary: temporary})
}

func TestJoin(t *testing.T) {
	running := func(since int64, change ...func(*v1alpha1.LookupStatus)) *v1alpha1.LookupStatus {
		at := gen.At(since)
		s := &v1alpha1.LookupStatus{State: v1alpha1.LookupRunning, StartTime: &at}
		for _, c := range change {
			c(s)
		}
		return s
	}
	known := func(s *v1alpha1.LookupStatus) { s.PodName, s.PodUID = "look", "uid-look" }
	because := func(reason, message string) func(*v1alpha1.LookupStatus) {
		return func(s *v1alpha1.LookupStatus) { s.Reason, s.Message = reason, message }
	}
	settled := &v1alpha1.LookupStatus{State: v1alpha1.LookupNotFound, PodUID: "uid-look", Message: "as it was"}
	for name, c := range map[string]struct {
		status  *v1alpha1.LookupStatus
		pods    []*gen.PodBuilder
		suspend bool
		records []v1alpha1.Attempt
		without string

		state  v1alpha1.LookupState // empty: no status
		reason string
		says   string
		fresh  bool
		live   bool
		found  bool
	}{
		"nothing at all":                         {},
		"an intent":                              {status: running(-3), state: v1alpha1.LookupRunning},
		"an intent that had no pod for long":     {status: running(-30), state: v1alpha1.LookupSkipped, fresh: true, says: "no pod could be made within 30s"},
		"an intent of a job that is suspended":   {status: running(-3), suspend: true},
		"a pod that lives":                       {status: running(-3), pods: []*gen.PodBuilder{pod("look")}, state: v1alpha1.LookupRunning, live: true},
		"a pod that ends":                        {status: running(-3, known), pods: []*gen.PodBuilder{pod("look").Node("n").Deleting(-1, 5)}, state: v1alpha1.LookupRunning, live: true},
		"a pod that vanished":                    {status: running(-3, known), state: v1alpha1.LookupSkipped, fresh: true, says: "the pod that looked is gone"},
		"a pod that vanished as was meant":       {status: running(-3, known, because("NoCapacity", "no node")), state: v1alpha1.LookupSkipped, fresh: true, reason: "NoCapacity", says: "no node"},
		"a pod whose Secret is missing":          {status: running(-600, known, because("SecretMissing", "Secret keys")), pods: []*gen.PodBuilder{pod("look").Node("n").Deleting(-1, 5)}, state: v1alpha1.LookupRunning, reason: "SecretMissing", says: "Secret keys", live: true},
		"one that ended for that":                {status: running(-600, known, because("SecretMissing", "Secret keys")), state: v1alpha1.LookupRefused, fresh: true, reason: "SecretMissing", says: "Secret keys"},
		"one that was ended for that":            {status: running(-600, known, because("SecretMissing", "Secret keys")), pods: []*gen.PodBuilder{pod("look").Node("n").Phase(corev1.PodFailed)}, state: v1alpha1.LookupRefused, fresh: true, reason: "SecretMissing", says: "Secret keys"},
		"one that had it in the end":             {status: running(-600, known, because("SecretMissing", "Secret keys")), pods: []*gen.PodBuilder{found()}, state: v1alpha1.LookupFound, fresh: true, found: true, says: "0f5a7-0"},
		"another pod of its kind is not its own": {status: running(-3, known), pods: []*gen.PodBuilder{pod("other")}, state: v1alpha1.LookupSkipped, fresh: true, says: "is gone"},
		"a suspended one that vanished":          {status: running(-3, known, because("SuspendedAttempt", "x"))},
		"a suspended one whose pod ended":        {status: running(-3, known, because("SuspendedAttempt", "x")), pods: []*gen.PodBuilder{pod("look").Node("n").Phase(corev1.PodFailed).Exit("lookup", 143)}, state: v1alpha1.LookupRunning, reason: "SuspendedAttempt", says: "x"},
		"a suspended one that found a result":    {status: running(-3, known, because("SuspendedAttempt", "x")), pods: []*gen.PodBuilder{found()}, state: v1alpha1.LookupFound, fresh: true, found: true, says: "0f5a7-0"},
		"a result":                               {status: running(-3), pods: []*gen.PodBuilder{found()}, state: v1alpha1.LookupFound, fresh: true, found: true, says: "a verified result lies at s3://results/team-a/j/attempts/0f5a7-0"},
		"a result in a pod that failed":          {status: running(-3), pods: []*gen.PodBuilder{found().Phase(corev1.PodFailed)}, state: v1alpha1.LookupSkipped, fresh: true},
		"a result elsewhere":                     {status: running(-3), pods: []*gen.PodBuilder{found(func(r *report.ReusedResult) { r.Result.URI = "s3://results/team-a/jj" })}, state: v1alpha1.LookupSkipped, fresh: true, says: "does not lie below"},
		"a result without a digest":              {status: running(-3), pods: []*gen.PodBuilder{found(func(r *report.ReusedResult) { r.Result.ManifestSHA256 = "" })}, state: v1alpha1.LookupSkipped, fresh: true},
		"a result of another container":          {status: running(-3), pods: []*gen.PodBuilder{pod("look").Node("n").Phase(corev1.PodSucceeded).Exit("deliver", 0).Says("deliver", report.Termination{Role: report.RoleLookup, Result: report.ResultOK, Lookup: &report.LookupReport{}})}, state: v1alpha1.LookupSkipped, fresh: true},
		"a result beside an attempt":             {status: running(-3), records: []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU)}, pods: []*gen.PodBuilder{found()}, state: v1alpha1.LookupSkipped, fresh: true, says: "had an attempt"},
		"nothing there": {status: running(-3), pods: []*gen.PodBuilder{ended(corev1.PodSucceeded, 0, report.Termination{Result: report.ResultOK, Lookup: &report.LookupReport{Why: "another\x1b[2J video"}})},
			state: v1alpha1.LookupNotFound, fresh: true, says: "another[2J video"},
		"nothing there, and no word why": {status: running(-3), pods: []*gen.PodBuilder{ended(corev1.PodSucceeded, 0, report.Termination{Result: report.ResultOK, Lookup: &report.LookupReport{}})},
			state: v1alpha1.LookupNotFound, fresh: true, says: "no result lies there"},
		"nothing there, as there is no recipe": {status: running(-3), without: "the image is not pinned", pods: []*gen.PodBuilder{ended(corev1.PodSucceeded, 0, report.Termination{Result: report.ResultOK, Lookup: &report.LookupReport{Why: "x"}})},
			state: v1alpha1.LookupNotFound, fresh: true, says: "the image is not pinned"},
		"a refusal":                                  {status: running(-3), pods: []*gen.PodBuilder{failed("InputUnavailable", "no such video", false)}, state: v1alpha1.LookupRefused, fresh: true, reason: "InputUnavailable", says: "no such video"},
		"a refusal without a word":                   {status: running(-3), pods: []*gen.PodBuilder{failed("DeliveryFailed", "", false)}, state: v1alpha1.LookupRefused, fresh: true, reason: "DeliveryFailed", says: "the look"},
		"a refusal, though suspended":                {status: running(-3, because("SuspendedAttempt", "x")), pods: []*gen.PodBuilder{failed("InputInvalid", "too large", false)}, state: v1alpha1.LookupRefused, fresh: true, reason: "InputInvalid", says: "too large"},
		"a video that is larger than the job's disk": {status: running(-3), pods: []*gen.PodBuilder{failed("ScratchSpaceExceeded", "raise it", false)}, state: v1alpha1.LookupRefused, fresh: true, reason: "ScratchSpaceExceeded", says: "raise it"},
		"what may pass":                              {status: running(-3), pods: []*gen.PodBuilder{failed("InputUnavailable", "503", true)}, state: v1alpha1.LookupSkipped, fresh: true, says: "503"},
		"what is no refusal":                         {status: running(-3), pods: []*gen.PodBuilder{failed("OutputInvalid", "what", false)}, state: v1alpha1.LookupSkipped, fresh: true, says: "what"},
		"a report that is still open":                {status: running(-3), pods: []*gen.PodBuilder{ended(corev1.PodFailed, 137, report.Termination{Result: report.ResultRunning})}, state: v1alpha1.LookupSkipped, fresh: true, says: "exit code 137"},
		"the kubelet's deadline":                     {status: running(-3), pods: []*gen.PodBuilder{pod("look").Node("n").Phase(corev1.PodFailed).Reason("DeadlineExceeded", "too long")}, state: v1alpha1.LookupSkipped, fresh: true, says: "DeadlineExceeded: too long"},
		"a pod that never ran":                       {status: running(-3), pods: []*gen.PodBuilder{pod("look").Deleting(-1, 0)}, state: v1alpha1.LookupSkipped, fresh: true, says: "deleted by somebody else"},
		"a settled look stays as it is":              {status: settled, pods: []*gen.PodBuilder{found()}, state: v1alpha1.LookupNotFound, says: "as it was"},
		"a settled look of a live pod":               {status: settled, pods: []*gen.PodBuilder{pod("look").Node("n").Phase(corev1.PodRunning)}, state: v1alpha1.LookupNotFound, says: "as it was", live: true},
		"a lost status":                              {pods: []*gen.PodBuilder{pod("look")}, state: v1alpha1.LookupRunning, live: true},
		"a lost status of a result":                  {pods: []*gen.PodBuilder{found()}, state: v1alpha1.LookupFound, fresh: true, found: true},
		"a pod beside attempts":                      {records: []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU)}, pods: []*gen.PodBuilder{pod("look")}, live: true},
		"an attempt's pod in its name":               {records: []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("look"))}, pods: []*gen.PodBuilder{pod("look")}},
		"an attempt's pod":                           {pods: []*gen.PodBuilder{gen.Pod("p1", 1, "gpu", v1alpha1.GPU)}},
	} {
		t.Run(name, func(t *testing.T) {
			job := gen.Job("j").Attempts(c.records...).Build()
			job.Status.Lookup, job.Spec.Suspend = c.status, c.suspend
			before := job.DeepCopy()
			var pods []corev1.Pod
			for _, p := range c.pods {
				pods = append(pods, p.Build())
			}
			l := lookup.Join(job, pods, c.without, gen.Now)
			if diff := cmp.Diff(before, job); diff != "" {
				t.Errorf("the job changed:\n%s", diff)
			}
			if (l.Status == nil) != (c.state == "") {
				t.Fatalf("status %+v, want %q", l.Status, c.state)
			}
			if l.Fresh != c.fresh || l.Live() != c.live || (l.Found != nil) != c.found {
				t.Errorf("fresh %t, live %t, found %v", l.Fresh, l.Live(), l.Found)
			}
			if l.Status == nil {
				return
			}
			if l.Status.State != c.state || l.Status.Reason != c.reason || !strings.Contains(l.Status.Message, c.says) {
				t.Errorf("status %+v, want %s %s saying %q", l.Status, c.state, c.reason, c.says)
			}
			if (l.Status.FinishTime != nil) != c.fresh {
				t.Errorf("finished at %v", l.Status.FinishTime)
			}
			if l.Pod != nil && l.Status.PodUID == "" {
				t.Error("the pod is not known by its UID")
			}
		})
	}
}

func TestMessagesAreBounded(t *testing.T) {
	job := gen.Job("j").Build()
	at := gen.At(-3)
	job.Status.Lookup = &v1alpha1.LookupStatus{State: v1alpha1.LookupRunning, StartTime: &at}
	p := pod("look").Node("n").Phase(corev1.PodFailed).Exit("lookup", 1).SaysRaw("lookup", "\x1b"+strings.Repeat("wild ", 5000)).Build()
	l := lookup.Join(job, []corev1.Pod{p}, "", gen.Now.Add(time.Second))
	if l.Status.State != v1alpha1.LookupSkipped || len(l.Status.Message) > 1024 || strings.Contains(l.Status.Message, "\x1b") {
		t.Errorf("status %+v", l.Status)
	}
}
