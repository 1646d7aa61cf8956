package batch_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
)

// many is a batch with the API server's defaults.
func many(change ...func(*v1alpha1.PoseBatch)) *v1alpha1.PoseBatch {
	start := gen.At(-100)
	b := &v1alpha1.PoseBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "many", UID: gen.JobUID, Generation: 1},
		Spec: v1alpha1.PoseBatchSpec{
			Output: v1alpha1.BatchOutput{URI: "s3://results/team-a/many/", DeletionPolicy: v1alpha1.DeletionRetain}, Parallelism: 2,
			FailedJobsHistoryLimit: new(int32(1)), SuccessfulJobsHistoryLimit: new(int32(0)),
		},
		Status: v1alpha1.PoseBatchStatus{ObservedGeneration: -1, StartTime: &start},
	}
	for _, c := range change {
		c(b)
	}
	return b
}

func record(states string) *batch.Record {
	r := batch.NewRecord(len(states))
	for i := range states {
		r.States[i] = batch.State(states[i])
	}
	return r
}

// child runs; the changes say what became of it.
func child(clip int, change ...func(*batch.Child)) batch.Child {
	c := batch.Child{Clip: clip, Name: fmt.Sprint("job-", clip), UID: fmt.Sprint("uid-", clip), Made: gen.Now.Add(-time.Minute)}
	for _, f := range change {
		f(&c)
	}
	return c
}

func done(at int64) func(*batch.Child) {
	return func(c *batch.Child) { c.Ended, c.Succeeded, c.End = true, true, gen.At(at).Time }
}

func failed(at int64) func(*batch.Child) {
	return func(c *batch.Child) {
		c.Ended, c.End, c.Reason, c.Message = true, gen.At(at).Time, "EngineError", "why"
	}
}

func used(gpu int64) func(*batch.Child) { return func(c *batch.Child) { c.Used.GPUSeconds = gpu } }

func stateWords(r *batch.Record) string {
	states := ""
	for _, st := range r.States {
		states += string(rune(st))
	}
	return states
}

// words of the steps of a plan.
func words(p batch.Plan) []string {
	var out []string
	for _, s := range p.Steps {
		switch s.Kind {
		case batch.StepRecord:
			out = append(out, fmt.Sprintf("record %d %s", s.Chunk, stateWords(s.Record)))
		case batch.StepCreate:
			out = append(out, fmt.Sprint("create ", s.Clip))
		case batch.StepLook:
			out = append(out, fmt.Sprint("look ", s.Clip))
		case batch.StepDelete:
			out = append(out, fmt.Sprint("delete ", s.Child.Clip))
		case batch.StepSuspend:
			out = append(out, fmt.Sprint("suspend ", s.Child.Clip, " ", s.Suspend))
		case batch.StepQueue:
			out = append(out, fmt.Sprintf("pod %d-%d", s.Chunk, s.Queue)+map[bool]string{true: "", false: " unless it is there"}[s.Fresh])
		case batch.StepEndQueue:
			out = append(out, "end pod "+s.Pod.Name)
		case batch.StepFreeQueue:
			out = append(out, "free pod "+s.Pod.Name+map[bool]string{true: " after a look"}[s.Look]+map[bool]string{true: " and delete it"}[s.Delete])
		}
	}
	if p.Stop != nil {
		out = append(out, "stop "+p.Stop.Reason)
	}
	if p.Ended {
		out = append(out, "ended")
	}
	if p.More {
		out = append(out, "more")
	}
	return out
}

func TestDecide(t *testing.T) {
	budget := func(n int64) func(*v1alpha1.PoseBatch) {
		return func(b *v1alpha1.PoseBatch) { b.Spec.Budget = &v1alpha1.BatchBudget{GPUSeconds: &n} }
	}
	most := func(n intstr.IntOrString) func(*v1alpha1.PoseBatch) {
		return func(b *v1alpha1.PoseBatch) { b.Spec.FailurePolicy = &v1alpha1.BatchFailurePolicy{MaxFailed: n} }
	}
	deadline := func(n int64) func(*v1alpha1.PoseBatch) {
		return func(b *v1alpha1.PoseBatch) { b.Spec.ActiveDeadlineSeconds = &n }
	}
	stopped := func(b *v1alpha1.PoseBatch) {
		b.Status.Stopping = &v1alpha1.BatchStop{Reason: v1alpha1.ReasonTooManyFailed}
	}
	suspended := func(b *v1alpha1.PoseBatch) { b.Spec.Suspend = true }
	deletes := func(b *v1alpha1.PoseBatch) { b.Spec.Output.DeletionPolicy = v1alpha1.DeletionDelete }
	resting := func(c *batch.Child) { c.Suspended, c.Resting = true, true }
	deleting := func(c *batch.Child) { c.Deleting = true }
	for name, c := range map[string]struct {
		batch    *v1alpha1.PoseBatch
		records  []string
		children []batch.Child
		want     []string
	}{
		"the first clips":                        {many(), []string{"...", ".."}, nil, []string{"record 0 rr.", "create 0", "create 1"}},
		"over the edge of a chunk":               {many(), []string{"SS.", ".."}, nil, []string{"record 0 SSr", "record 1 r.", "create 2", "create 3"}},
		"as many as may run":                     {many(), []string{"rr."}, []batch.Child{child(0), child(1)}, nil},
		"one ended, the next begins":             {many(), []string{"rr."}, []batch.Child{child(0, done(0)), child(1)}, []string{"record 0 Srr", "create 2", "delete 0"}},
		"one failed and is kept":                 {many(), []string{"rr."}, []batch.Child{child(0, failed(0)), child(1)}, []string{"record 0 Frr", "create 2"}},
		"the newest failures are kept":           {many(), []string{"FFr"}, []batch.Child{child(0, failed(5)), child(1, failed(9)), child(2)}, []string{"delete 0"}},
		"a PoseJob that is not to be seen":       {many(), []string{"rr."}, []batch.Child{child(1)}, []string{"look 0"}},
		"a PoseJob that goes is waited for":      {many(), []string{"rr."}, []batch.Child{child(0, deleting), child(1)}, nil},
		"a PoseJob of which no record speaks":    {many(), []string{"..."}, []batch.Child{child(0)}, []string{"record 0 rr.", "create 1"}},
		"a PoseJob of no clip":                   {many(), []string{"SS"}, []batch.Child{child(7)}, []string{"ended"}},
		"all ended":                              {many(), []string{"SF", "S"}, nil, []string{"ended"}},
		"results that go with the batch":         {many(deletes), []string{"S"}, []batch.Child{child(0, done(0))}, []string{"delete 0", "ended"}},
		"suspended":                              {many(suspended), []string{"rr."}, []batch.Child{child(0), child(1, resting)}, []string{"suspend 0 true"}},
		"suspended, and a PoseJob is missing":    {many(suspended), []string{"rr."}, []batch.Child{child(0, resting)}, nil},
		"resumed":                                {many(), []string{"r."}, []batch.Child{child(0, resting)}, []string{"record 0 rr", "create 1", "suspend 0 false"}},
		"too many failed":                        {many(most(intstr.FromInt(0))), []string{"rr."}, []batch.Child{child(0, failed(0)), child(1)}, []string{"record 0 Fr.", "stop TooManyFailed"}},
		"as many failed as may":                  {many(most(intstr.FromString("50%"))), []string{"Fr"}, []batch.Child{child(1)}, nil},
		"a percentage is rounded down":           {many(most(intstr.FromString("49%"))), []string{"Fr"}, []batch.Child{child(1)}, []string{"stop TooManyFailed"}},
		"too many failed, and all ended":         {many(most(intstr.FromInt(0))), []string{"FS"}, nil, []string{"ended"}},
		"stopped: what runs is ended":            {many(stopped), []string{"Fr", "."}, []batch.Child{child(1, used(7))}, []string{"record 0 FC", "record 1 C", "delete 1"}},
		"stopped: what ended just then counts":   {many(stopped), []string{"Fr", "."}, []batch.Child{child(1, done(0))}, []string{"record 0 FS", "record 1 C", "delete 1", "ended"}},
		"stopped: what is ended is waited for":   {many(stopped), []string{"FC"}, []batch.Child{child(1, deleting)}, nil},
		"stopped and suspended":                  {many(stopped, suspended), []string{"Fr"}, []batch.Child{child(1, resting)}, []string{"record 0 FC", "delete 1"}},
		"the deadline is over":                   {many(deadline(100)), []string{"r."}, []batch.Child{child(0)}, []string{"stop DeadlineExceeded"}},
		"the deadline is not over":               {many(deadline(101)), []string{"rr"}, []batch.Child{child(0), child(1)}, nil},
		"no deadline while it is suspended":      {many(deadline(1), suspended, func(b *v1alpha1.PoseBatch) { b.Status.SuspendedAt = b.Status.StartTime }), []string{"r."}, []batch.Child{child(0, resting)}, nil},
		"suspended time is left out":             {many(deadline(100), func(b *v1alpha1.PoseBatch) { b.Status.SuspendedSeconds = 1 }), []string{"rr"}, []batch.Child{child(0), child(1)}, nil},
		"the budget is used up by what runs":     {many(budget(10)), []string{"r.."}, []batch.Child{child(0, used(10))}, nil},
		"the budget is used up and nothing runs": {many(budget(10)), []string{"r.."}, []batch.Child{child(0, used(10), done(0))}, []string{"record 0 S..", "delete 0", "stop BudgetExhausted"}},
		"the budget is used up by the last":      {many(budget(10)), []string{"r"}, []batch.Child{child(0, used(10), done(0))}, []string{"record 0 S", "delete 0", "ended"}},
		"there is budget left":                   {many(budget(10)), []string{"r.."}, []batch.Child{child(0, used(9))}, []string{"record 0 rr.", "create 1"}},
		"fewer side by side than run":            {many(), []string{"rrr."}, []batch.Child{child(0), child(1), child(2)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			in := batch.Input{Batch: c.batch, Children: c.children, Now: gen.Now}
			for _, r := range c.records {
				in.Records = append(in.Records, record(r))
			}
			before := stateWords(in.Records[0])
			p := batch.Decide(in)
			if diff := cmp.Diff(c.want, words(p)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if after := stateWords(in.Records[0]); after != before {
				t.Error("Decide changed its input")
			}
		})
	}
}

// TestDecideIsBounded: a reconcile of a very large batch does a part of the work, and
// says that there is more.
func TestDecideIsBounded(t *testing.T) {
	b := many(func(b *v1alpha1.PoseBatch) { b.Spec.Parallelism = 1000 })
	in := batch.Input{Batch: b, Now: gen.Now}
	for range 100 {
		in.Records = append(in.Records, batch.NewRecord(1000))
	}
	p := batch.Decide(in)
	if len(p.Steps) > 60 || !p.More {
		t.Errorf("%d steps, more: %t", len(p.Steps), p.More)
	}
	b.Status.Stopping = &v1alpha1.BatchStop{}
	if p = batch.Decide(in); len(p.Steps) > 20 || !p.More || p.Tally.Counts.Cancelled != 20_000 {
		t.Errorf("%d steps, more: %t, %+v", len(p.Steps), p.More, p.Tally.Counts)
	}
}

func TestNextPod(t *testing.T) {
	says := func(r report.Termination) *batch.Pod { return &batch.Pod{Report: &r} }
	ended := func(reason string, temporary bool) *batch.Pod {
		return says(report.Termination{Result: report.ResultFailed, Reason: reason, Message: "why", Temporary: temporary})
	}
	for name, c := range map[string]struct {
		attempt   int32
		wait      bool
		pod       *batch.Pod
		suspended bool
		want      batch.PodAction
		next      int32
	}{
		"the first":                       {want: batch.PodIntend, next: 1},
		"written down":                    {attempt: 1, want: batch.PodCreate},
		"written down for later":          {attempt: 2, wait: true, want: batch.PodWait},
		"suspended before the first":      {suspended: true, want: batch.PodWait},
		"suspended before it was made":    {attempt: 1, suspended: true, want: batch.PodWait},
		"it runs":                         {attempt: 1, pod: &batch.Pod{Live: true}, want: batch.PodWait},
		"it trusts another manager":       {attempt: 1, pod: &batch.Pod{Live: true, Stale: true}, want: batch.PodEnd},
		"it trusts another, and goes":     {attempt: 1, pod: &batch.Pod{Live: true, Stale: true, Deleting: true}, want: batch.PodWait},
		"it trusted another, and is done": {attempt: 1, pod: &batch.Pod{Stale: true, Report: &report.Termination{Result: report.ResultOK}}, want: batch.PodDone},
		"done":                            {attempt: 1, pod: says(report.Termination{Result: report.ResultOK}), want: batch.PodDone},
		"refused":                         {attempt: 1, pod: ended(report.ReasonInputUnavailable, false), want: batch.PodGiveUp},
		"for the time being":              {attempt: 1, pod: ended(report.ReasonInputUnavailable, true), want: batch.PodIntend, next: 2},
		"without a reason":                {attempt: 1, pod: ended("", false), want: batch.PodIntend, next: 2},
		"without a word":                  {attempt: 4, pod: &batch.Pod{}, want: batch.PodIntend, next: 5},
		"once too often":                  {attempt: batch.MaxPodAttempts, pod: &batch.Pod{}, want: batch.PodGiveUp},
	} {
		t.Run(name, func(t *testing.T) {
			var before time.Time
			if c.wait {
				before = gen.Now.Add(time.Second)
			}
			got := batch.NextPod(c.attempt, before, c.pod, c.suspended, gen.Now)
			if got.Action != c.want || got.Attempt != c.next {
				t.Errorf("%+v", got)
			}
			if (got.Action == batch.PodGiveUp || got.Action == batch.PodEnd) && got.Message == "" {
				t.Error("it does not say why")
			}
			if got.Action == batch.PodIntend && c.next > 1 && !got.NotBefore.After(gen.Now) {
				t.Error("it does not wait")
			}
		})
	}
}

func TestRecord(t *testing.T) {
	r := record("S.rFC")
	r.Totals = batch.Totals{Reused: 1, GPUSeconds: 7}
	r.Failures = map[int]batch.Failure{3: {Reason: "InputInvalid", Message: "why"}}
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := batch.DecodeRecord(data)
	if err != nil || cmp.Diff(r, got) != "" {
		t.Errorf("%v %s", err, cmp.Diff(r, got))
	}
	for name, change := range map[string]func(map[string]string){
		"no states":          func(d map[string]string) { delete(d, batch.KeyStates) },
		"too many states":    func(d map[string]string) { d[batch.KeyStates] = strings.Repeat(".", clips.MaxChunkClips+1) },
		"another state":      func(d map[string]string) { d[batch.KeyStates] = "X" },
		"no sums":            func(d map[string]string) { delete(d, batch.KeyTotals) },
		"a sum below zero":   func(d map[string]string) { d[batch.KeyTotals] = `{"gpuSeconds":-1}` },
		"a sum out of range": func(d map[string]string) { d[batch.KeyTotals] = `{"gpuSeconds":9000000000000000000}` },
		"no failures":        func(d map[string]string) { d[batch.KeyFailures] = "[]" },
		"too large":          func(d map[string]string) { d[batch.KeyFailures] = strings.Repeat(" ", 1<<20) },
	} {
		data, _ := r.Encode()
		change(data)
		if _, err := batch.DecodeRecord(data); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	// The largest record is small, whatever the failures say.
	in := batch.Input{Batch: many(), Records: []*batch.Record{record(strings.Repeat("r", clips.MaxChunkClips))}, Now: gen.Now}
	for i := range clips.MaxChunkClips {
		in.Children = append(in.Children, child(i, failed(0), func(c *batch.Child) {
			c.Reason, c.Message = strings.Repeat("R", 300), strings.Repeat("\x00<ü\"", 2000)
		}))
	}
	if n := batch.Decide(in).Steps[0].Record.Bytes(); n > 128<<10 {
		t.Errorf("a record of %d bytes", n)
	}
}

func TestNames(t *testing.T) {
	long := many(func(b *v1alpha1.PoseBatch) { b.Name = strings.Repeat("a", 60) + "." + strings.Repeat("b", 192) })
	for _, b := range []*v1alpha1.PoseBatch{many(), long} {
		for _, n := range []int{0, 7, 99_999} {
			name := batch.JobName(b, n)
			if got, ok := batch.ClipOf(b, name); !ok || got != n || len(name) > 46 {
				t.Errorf("clip of %q: %d, %t", name, got, ok)
			}
		}
	}
	other := many(func(b *v1alpha1.PoseBatch) { b.UID = "11111-1" })
	for _, name := range []string{"", "many", batch.JobName(other, 1), batch.JobName(many(), 1) + "0x", strings.Replace(batch.JobName(many(), 1), "-1", "-01", 1), batch.JobName(many(), 1) + "-1"} {
		if n, ok := batch.ClipOf(many(), name); ok {
			t.Errorf("%q is the PoseJob of clip %d", name, n)
		}
	}
}

func TestChildOf(t *testing.T) {
	b := many()
	job := batch.Job(b, 3, clips.Clip{URI: "s3://videos/a.mp4", Name: "a"})
	job.CreationTimestamp = gen.At(-100)
	if job.Spec.Output.URI != "s3://results/team-a/many/a" {
		t.Errorf("output %s", job.Spec.Output.URI)
	}
	if c, ok := batch.ChildOf(b, job); !ok || c.Clip != 3 || c.Ended {
		t.Errorf("a new PoseJob: %+v", c)
	}
	end := gen.At(-40)
	job.Status = v1alpha1.PoseJobStatus{
		CompletionTime: &end, Output: &v1alpha1.OutputStatus{ManifestSHA256: strings.Repeat("ab", 32)},
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionFinished, Status: "True"}, {Type: v1alpha1.ConditionComplete, Status: "True"}, {Type: v1alpha1.ConditionFailed, Status: "False", Reason: "No"}},
		Attempts: []v1alpha1.Attempt{
			{Device: v1alpha1.GPU, FinishTime: &end, Seconds: &v1alpha1.AttemptSeconds{Engine: 30}},
			{Device: v1alpha1.CPU, FinishTime: &end, Seconds: &v1alpha1.AttemptSeconds{Engine: 9}},
			{Device: v1alpha1.GPU, Seconds: &v1alpha1.AttemptSeconds{Engine: 500}},
			{Device: v1alpha1.GPU, FinishTime: &end, Seconds: &v1alpha1.AttemptSeconds{Engine: -4}},
		},
	}
	c, ok := batch.ChildOf(b, job)
	want := batch.Totals{Seconds: 60, GPUSeconds: 30, CPUSeconds: 9}
	if !ok || !c.Succeeded || c.Reused || c.Reason != "" || cmp.Diff(want, c.Used) != "" || c.Digest != report.ShortDigest(strings.Repeat("ab", 32)) {
		t.Errorf("%+v", c)
	}
	// One that was there already says nothing of how long a clip takes.
	job.Status.ReusedFrom, job.Status.Attempts = &v1alpha1.ReusedResult{}, nil
	if c, _ := batch.ChildOf(b, job); !c.Reused || cmp.Diff(batch.Totals{Reused: 1}, c.Used) != "" {
		t.Errorf("%+v", c)
	}
	job.OwnerReferences = nil
	if _, ok := batch.ChildOf(b, job); ok {
		t.Error("a PoseJob of nobody is the batch's")
	}
}

func TestStatus(t *testing.T) {
	in := batch.Input{Batch: many(), Records: []*batch.Record{record("SSFr......")}, Children: []batch.Child{child(3)}, Now: gen.Now}
	in.Records[0].Totals = batch.Totals{Seconds: 240, GPUSeconds: 60, Reused: 1}
	in.Records[0].Failures = map[int]batch.Failure{2: {Reason: "InputInvalid", Message: "why"}}
	p := batch.Decide(in)
	whole := gen.At(-90)
	r := batch.Report{Batch: in.Batch, Now: gen.Now, Plan: &p, Listing: &v1alpha1.BatchListing{Chunks: 1, Clips: 10, CompletionTime: &whole}, Name: func(batch.Place) string { return "c" }}
	s := batch.Status(r)
	if s.Progress != "30% 3/10" || s.Percent != 30 || s.GPUSeconds != 60 || s.Counts.Running != 2 || s.Average.Seconds != 120 || s.Average.GPUMilliseconds != 30_000 || s.EstimatedGPUSeconds != 210 {
		t.Errorf("%+v", s)
	}
	// Seven clips of two minutes, two side by side, one of them half done.
	if want := gen.Now.Add(390 * time.Second); s.EstimatedCompletionTime == nil || !s.EstimatedCompletionTime.Time.Equal(want) {
		t.Errorf("estimated %s, want %s", s.EstimatedCompletionTime, want)
	}
	if len(s.Failures) != 1 || s.Failures[0].Name != "c" || s.Failures[0].Index != 2 {
		t.Errorf("failures %+v", s.Failures)
	}
	if !batch.Equal(s, batch.Status(batch.Report{Batch: withStatus(in.Batch, s), Now: gen.Now, Plan: &p, Listing: r.Listing, Name: r.Name})) {
		t.Error("the same again is another status")
	}
	more := *s.DeepCopy()
	more.Progress, more.Counts.Succeeded, more.Conditions[0].Message = "40% 4/10", 3, "other"
	if !batch.SoftEqual(s, more) {
		t.Error("progress is not soft")
	}
	more.Stopping = &v1alpha1.BatchStop{}
	if batch.SoftEqual(s, more) {
		t.Error("the end of a batch is soft")
	}
}

func withStatus(b *v1alpha1.PoseBatch, s v1alpha1.PoseBatchStatus) *v1alpha1.PoseBatch {
	c := b.DeepCopy()
	c.Status = s
	return c
}

// TestEnds: the worst reason is the batch's.
func TestEnds(t *testing.T) {
	stop := &v1alpha1.BatchStop{Reason: v1alpha1.ReasonBudgetExhausted, Message: "used up"}
	for name, c := range map[string]struct {
		states string
		stop   *v1alpha1.BatchStop
		index  string
		want   string
	}{
		"all succeeded":            {"SS", nil, "", v1alpha1.ReasonSucceeded},
		"one failed":               {"SF", nil, "", v1alpha1.ReasonClipsFailed},
		"one failed, and no index": {"SF", nil, "no right", v1alpha1.ReasonClipsFailed},
		"all succeeded, no index":  {"SS", nil, "no right", v1alpha1.ReasonIndexFailed},
		"stopped":                  {"SC", stop, "", v1alpha1.ReasonBudgetExhausted},
		"stopped, and one failed":  {"FC", stop, "", v1alpha1.ReasonBudgetExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			b := many(func(b *v1alpha1.PoseBatch) { b.Status.Stopping = c.stop })
			p := batch.Decide(batch.Input{Batch: b, Records: []*batch.Record{record(c.states)}, Now: gen.Now})
			whole := gen.At(-90)
			r := batch.Report{Batch: b, Now: gen.Now, Plan: &p, Listing: &v1alpha1.BatchListing{CompletionTime: &whole}, Name: func(batch.Place) string { return "c" }}
			r.End = batch.EndOf(&r, c.index)
			s := batch.Status(r)
			i := slices.IndexFunc(s.Conditions, func(k metav1.Condition) bool { return k.Type == v1alpha1.ConditionFinished })
			if s.Conditions[i].Reason != c.want || r.End.Failed != (c.want != v1alpha1.ReasonSucceeded) || !strings.Contains(s.Conditions[i].Message, "of 2 clips succeeded") {
				t.Errorf("%+v", s.Conditions[i])
			}
		})
	}
}
