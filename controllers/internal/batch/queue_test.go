package batch_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
)

const digestOne, digestTwo = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"

// inPods has clips in pods: their places, by number. A pod of an even number has been
// seen as "uid-<number>".
func inPods(states string, pods ...[]int) *batch.Record {
	r := record(states)
	r.Queues = map[int32]batch.Queue{}
	for i, places := range pods {
		q := batch.Queue{Places: places}
		if r.LastQueue = int32(i + 1); r.LastQueue%2 == 0 {
			q.UID = fmt.Sprint("uid-", r.LastQueue)
		}
		if places != nil {
			r.Queues[r.LastQueue] = q
		}
	}
	return r
}

// seen pod of the first chunk: it lives and runs; the changes say what became of it.
func seen(number int32, change ...func(*batch.QueuePod)) batch.QueuePod {
	p := batch.QueuePod{
		Number: number, Name: fmt.Sprint("q", number), UID: fmt.Sprint("uid-", number), Live: true, Held: true, Running: true,
		Device: v1alpha1.GPU, Made: gen.Now.Add(-100 * time.Second), End: gen.Now.Add(-10 * time.Second),
	}
	for _, f := range change {
		f(&p)
	}
	return p
}

func said(states, digests string) func(*batch.QueuePod) {
	return func(p *batch.QueuePod) {
		p.Live, p.Running, p.Used.GPUSeconds = false, false, 50
		p.Report = &report.QueueReport{States: states, Digests: digests, Why: "no frames"}
		p.Reason, p.Message = "EngineError", "it died"
	}
}

func died(reason string) func(*batch.QueuePod) {
	return func(p *batch.QueuePod) { p.Live, p.Running, p.Reason, p.Message = false, false, reason, "so it is" }
}

func perPod(n int32) func(*v1alpha1.PoseBatch) {
	return func(b *v1alpha1.PoseBatch) { b.Spec.ClipsPerPod = n }
}

func offered(mounts ...string) func() batch.Offer {
	return func() batch.Offer {
		return batch.Offer{Mount: func(_, place int) (string, bool) {
			if place >= len(mounts) {
				return "", true
			}
			return mounts[place], mounts[place] != "denied"
		}}
	}
}

func TestQueues(t *testing.T) {
	suspended := func(b *v1alpha1.PoseBatch) { b.Spec.Suspend = true }
	stopped := func(b *v1alpha1.PoseBatch) {
		b.Status.Stopping = &v1alpha1.BatchStop{Reason: v1alpha1.ReasonTooManyFailed}
	}
	budget := func(b *v1alpha1.PoseBatch) { b.Spec.Budget = &v1alpha1.BatchBudget{GPUSeconds: new(int64(40))} }
	deleting := func(p *batch.QueuePod) { p.Deleting = true }
	stuck := func(p *batch.QueuePod) { p.Reason, p.Message = v1alpha1.ReasonPodNotStartable, "no image" }
	none := func() batch.Offer { return batch.Offer{Why: "it cannot"} }
	empties := func(n, useful int64, r *batch.Record) *batch.Record {
		r.Totals.EmptyPods, r.Totals.UsefulPods = n, useful
		return r
	}
	ending := func(r *batch.Record) *batch.Record {
		q := r.Queues[2]
		q.Reason = v1alpha1.ReasonSuspendedAttempt
		r.Queues[2] = q
		return r
	}
	for name, c := range map[string]struct {
		batch    *v1alpha1.PoseBatch
		records  []*batch.Record
		pods     []batch.QueuePod
		children []batch.Child
		offer    func() batch.Offer
		want     []string
	}{
		"as many clips as fit into a pod":         {many(perPod(3)), []*batch.Record{record(".....")}, nil, nil, offered(), []string{"record 0 qqqqq", "pod 0-1", "pod 0-2"}},
		"pods count for parallelism":              {many(perPod(2)), []*batch.Record{record("r......")}, nil, []batch.Child{child(0)}, offered(), []string{"record 0 rqq....", "pod 0-1"}},
		"pods of one chunk each":                  {many(perPod(3)), []*batch.Record{record("SS.."), record("...")}, nil, nil, offered(), []string{"record 0 SSqq", "record 1 qqq", "pod 0-1", "pod 1-1"}},
		"a clip alone gets a PoseJob":             {many(perPod(3)), []*batch.Record{record("."), record("..")}, nil, nil, offered(), []string{"record 0 r", "record 1 qq", "create 0", "pod 1-1"}},
		"clips of one claim alone":                {many(perPod(3)), []*batch.Record{record("....")}, nil, nil, offered("", "a", "", "a"), []string{"record 0 qqqq", "pod 0-1", "pod 0-2"}},
		"a clip that the policy denies":           {many(perPod(3)), []*batch.Record{record("...")}, nil, nil, offered("denied"), []string{"record 0 rqq", "create 0", "pod 0-1"}},
		"clips that failed in a pod":              {many(perPod(3)), []*batch.Record{record("aaa..")}, nil, nil, offered(), []string{"record 0 rra..", "create 0", "create 1"}},
		"one clip in a pod is none":               {many(perPod(1)), []*batch.Record{record("..")}, nil, nil, offered(), []string{"record 0 rr", "create 0", "create 1"}},
		"an engine that cannot":                   {many(perPod(3)), []*batch.Record{record("..")}, nil, nil, none, []string{"record 0 rr", "create 0", "create 1"}},
		"too many pods were empty":                {many(perPod(3)), []*batch.Record{empties(2, 0, record("SS")), empties(1, 0, record(".."))}, nil, nil, offered(), []string{"record 1 rr", "create 2", "create 3"}},
		"empty ones among useful ones":            {many(perPod(3)), []*batch.Record{empties(2, 1, record("SS")), empties(1, 0, record(".."))}, nil, nil, offered(), []string{"record 1 qq", "pod 1-1"}},
		"a pod that was never seen":               {many(perPod(3)), []*batch.Record{inPods("qq.", []int{0, 1})}, nil, nil, none, []string{"record 0 qqr", "create 2", "pod 0-1 unless it is there"}},
		"a pod that is seen for the first time":   {many(perPod(3)), []*batch.Record{inPods("qq", []int{0, 1})}, []batch.QueuePod{seen(1)}, nil, nil, []string{"record 0 qq"}},
		"a pod that works":                        {many(perPod(3)), []*batch.Record{inPods("qq", nil, []int{0, 1})}, []batch.QueuePod{seen(2)}, nil, nil, nil},
		"a pod that did all":                      {many(perPod(3)), []*batch.Record{inPods("qq", nil, []int{0, 1})}, []batch.QueuePod{seen(2, said("SR", digestOne+digestTwo))}, nil, nil, []string{"record 0 SS", "free pod q2 and delete it", "ended"}},
		"a pod that crashed":                      {many(perPod(3)), []*batch.Record{inPods("qqqq", nil, []int{0, 1, 2, 3})}, []batch.QueuePod{seen(2, said("SF..", digestOne))}, nil, offered(), []string{"record 0 Srqq", "create 1", "pod 0-3", "free pod q2"}},
		"a pod that crashed at once":              {many(perPod(3)), []*batch.Record{inPods("qqq", nil, []int{0, 1, 2})}, []batch.QueuePod{seen(2, died("EngineError"))}, nil, offered(), []string{"record 0 rqq", "create 0", "pod 0-3", "free pod q2"}},
		"a pod that was disrupted at once":        {many(perPod(3)), []*batch.Record{inPods("qqq", nil, []int{0, 1, 2})}, []batch.QueuePod{seen(2, died(v1alpha1.ReasonDisrupted))}, nil, offered(), []string{"record 0 qqq", "pod 0-3", "free pod q2"}},
		"a pod that is gone":                      {many(perPod(3)), []*batch.Record{inPods("qqq", nil, []int{0, 1, 2})}, nil, nil, offered(), []string{"record 0 rqq", "create 0", "pod 0-3"}},
		"another pod of its name":                 {many(perPod(3)), []*batch.Record{inPods("qqq", nil, []int{0, 1, 2})}, []batch.QueuePod{seen(2, func(p *batch.QueuePod) { p.UID = "another" })}, nil, offered(), []string{"record 0 rqq", "create 0", "pod 0-3", "free pod q2 after a look and delete it"}},
		"a pod that no record speaks of":          {many(perPod(3)), []*batch.Record{record("SS")}, []batch.QueuePod{seen(2)}, nil, nil, []string{"free pod q2 after a look and delete it"}},
		"a pod that is kept for its log":          {many(perPod(3)), []*batch.Record{record("SS")}, []batch.QueuePod{seen(2, died("EngineError"), func(p *batch.QueuePod) { p.Held = false })}, nil, nil, []string{"ended"}},
		"a pod that was kept long enough":         {many(perPod(3)), []*batch.Record{record("SS")}, []batch.QueuePod{seen(2, died("EngineError"), func(p *batch.QueuePod) { p.Held, p.End = false, gen.Now.Add(-time.Hour) })}, nil, nil, []string{"free pod q2 after a look and delete it", "ended"}},
		"a pod that cannot start":                 {many(perPod(3)), []*batch.Record{inPods("qq", nil, []int{0, 1})}, []batch.QueuePod{seen(2, stuck)}, nil, nil, []string{"record 0 qq", "end pod q2"}},
		"suspended":                               {many(perPod(3), suspended), []*batch.Record{inPods("qq", nil, []int{0, 1})}, []batch.QueuePod{seen(2)}, nil, nil, []string{"record 0 qq", "end pod q2"}},
		"suspended, and why is written":           {many(perPod(3), suspended), []*batch.Record{ending(inPods("qq", nil, []int{0, 1}))}, []batch.QueuePod{seen(2)}, nil, nil, []string{"end pod q2"}},
		"suspended, and it ends":                  {many(perPod(3), suspended), []*batch.Record{ending(inPods("qq", nil, []int{0, 1}))}, []batch.QueuePod{seen(2, deleting)}, nil, nil, nil},
		"suspended, and it ended":                 {many(perPod(3), suspended), []*batch.Record{ending(inPods("qqq", nil, []int{0, 1, 2}))}, []batch.QueuePod{seen(2, said("S..", digestOne))}, nil, nil, []string{"record 0 S..", "free pod q2"}},
		"suspended before it did anything":        {many(perPod(3), suspended), []*batch.Record{ending(inPods("qqq", nil, []int{0, 1, 2}))}, []batch.QueuePod{seen(2, died("EngineError"))}, nil, nil, []string{"record 0 ...", "free pod q2"}},
		"suspended before it was made":            {many(perPod(3), suspended), []*batch.Record{inPods("qq", []int{0, 1})}, nil, nil, nil, []string{"record 0 .."}},
		"stopped":                                 {many(perPod(3), stopped), []*batch.Record{inPods("qq.r", nil, []int{0, 1})}, []batch.QueuePod{seen(2)}, nil, nil, []string{"record 0 qqCC", "end pod q2"}},
		"stopped, and it ended":                   {many(perPod(3), stopped), []*batch.Record{inPods("qqqC", nil, []int{0, 1, 2})}, []batch.QueuePod{seen(2, said("SF.", digestOne))}, nil, nil, []string{"record 0 SCCC", "free pod q2", "ended"}},
		"a budget that a pod used up":             {many(perPod(3), budget), []*batch.Record{inPods("qq", nil, []int{0, 1})}, []batch.QueuePod{seen(2, func(p *batch.QueuePod) { p.Used.GPUSeconds = 40 })}, nil, nil, []string{"record 0 qq", "end pod q2"}},
		"a PoseJob that a person made for a clip": {many(perPod(3)), []*batch.Record{inPods("qq", nil, []int{0, 1})}, []batch.QueuePod{seen(2)}, []batch.Child{child(0)}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			in := batch.Input{Batch: c.batch, Records: c.records, Children: c.children, Queues: c.pods, Offer: c.offer, Now: gen.Now}
			p := batch.Decide(in)
			if diff := cmp.Diff(c.want, words(p)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			for _, s := range p.Steps {
				if s.Kind != batch.StepRecord {
					continue
				}
				data, err := s.Record.Encode()
				if err != nil {
					t.Fatal(err)
				}
				if got, err := batch.DecodeRecord(data); err != nil || got.LastQueue != s.Record.LastQueue {
					t.Errorf("record %s cannot be read again: %v", stateWords(s.Record), err)
				}
			}
		})
	}
}

// TestWhatAPodLeaves: verdicts, digests and sums in one write.
func TestWhatAPodLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		report  *report.QueueReport
		want    string
		digests map[int]string
		totals  batch.Totals
		event   string
	}{
		"each verdict": {
			&report.QueueReport{States: "SRF.", Digests: digestOne + digestTwo, Why: "no frames"}, "SSa.", map[int]string{0: digestOne, 1: digestTwo},
			batch.Totals{Reused: 1, Seconds: 90, GPUSeconds: 50, UsefulPods: 1},
			"pod many-0f5a7-q0-2: 1 clip was delivered, 1 had a result before, 1 failed and gets a PoseJob of its own, 1 was not reached. no frames. EngineError: it died",
		},
		"reused ones alone tell no time": {
			&report.QueueReport{States: "RRRR", Digests: strings.Repeat(digestOne, 4)}, "SSSS", map[int]string{0: digestOne, 1: digestOne, 2: digestOne, 3: digestOne},
			batch.Totals{Reused: 4, GPUSeconds: 50, UsefulPods: 1}, "pod many-0f5a7-q0-2: 0 clips were delivered, 4 had a result before. EngineError: it died",
		},
		"digests that do not fit are none":   {&report.QueueReport{States: "S...", Digests: digestOne + "b"}, "S...", nil, batch.Totals{Seconds: 90, GPUSeconds: 50, UsefulPods: 1}, ""},
		"a digest that is none":              {&report.QueueReport{States: "S...", Digests: strings.Repeat(" ", 16)}, "S...", nil, batch.Totals{Seconds: 90, GPUSeconds: 50, UsefulPods: 1}, ""},
		"a report of other clips is none":    {&report.QueueReport{States: "SSSSS", Digests: strings.Repeat(digestOne, 5)}, "a...", nil, batch.Totals{Seconds: 90, GPUSeconds: 50, EmptyPods: 1}, ""},
		"a report of unknown words is none":  {&report.QueueReport{States: "SXSS"}, "a...", nil, batch.Totals{Seconds: 90, GPUSeconds: 50, EmptyPods: 1}, ""},
		"a pod whose first clip failed":      {&report.QueueReport{States: "F..."}, "a...", nil, batch.Totals{Seconds: 90, GPUSeconds: 50, EmptyPods: 1}, ""},
		"a pod that said nothing of itself":  {nil, "a...", nil, batch.Totals{Seconds: 90, GPUSeconds: 50, EmptyPods: 1}, ""},
		"a pod that was killed in the midst": {&report.QueueReport{States: "SS..", Digests: digestOne + digestTwo}, "SS..", map[int]string{0: digestOne, 1: digestTwo}, batch.Totals{Seconds: 90, GPUSeconds: 50, UsefulPods: 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			pod := seen(2, said("", ""), func(p *batch.QueuePod) { p.Report = c.report })
			in := batch.Input{Batch: many(perPod(4)), Records: []*batch.Record{inPods("qqqq", nil, []int{0, 1, 2, 3})}, Queues: []batch.QueuePod{pod}, Now: gen.Now}
			in.Batch.Spec.Parallelism = 0 // nothing begins
			s := batch.Decide(in).Steps[0]
			if got := stateWords(s.Record); got != c.want {
				t.Errorf("states %s, want %s", got, c.want)
			}
			if diff := cmp.Diff(c.digests, s.Record.Digests) + cmp.Diff(c.totals, s.Record.Totals); diff != "" {
				t.Errorf("digests and sums (-want +got):\n%s", diff)
			}
			if len(s.Ends) != 1 || (c.event != "" && s.Ends[0].String() != c.event) {
				t.Errorf("ends %v", s.Ends)
			}
		})
	}
}

func TestRecordsWithPods(t *testing.T) {
	r := inPods("qqS.aqq", []int{0, 1}, []int{5, 6})
	r.Digests, r.Failures = map[int]string{2: digestOne}, map[int]batch.Failure{}
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := batch.DecodeRecord(data)
	if err != nil || cmp.Diff(r, got) != "" {
		t.Fatalf("%v %s", err, cmp.Diff(r, got))
	}
	for name, change := range map[string]func(map[string]string){
		"a clip in no pod": func(d map[string]string) { d[batch.KeyQueues] = `{"last":2,"pods":{"1":{"places":[0,1]}}}` },
		"a clip in two pods": func(d map[string]string) {
			d[batch.KeyQueues] = strings.Replace(d[batch.KeyQueues], "[5,6]", "[1,5,6]", 1)
		},
		"a clip that is not q": func(d map[string]string) {
			d[batch.KeyQueues] = strings.Replace(d[batch.KeyQueues], "[5,6]", "[3,5,6]", 1)
		},
		"a place that is not": func(d map[string]string) {
			d[batch.KeyQueues] = strings.Replace(d[batch.KeyQueues], "[5,6]", "[5,6,7]", 1)
		},
		"a place below zero": func(d map[string]string) {
			d[batch.KeyQueues] = strings.Replace(d[batch.KeyQueues], "[5,6]", "[-1,5,6]", 1)
		},
		"a pod beyond the last": func(d map[string]string) {
			d[batch.KeyQueues] = strings.Replace(d[batch.KeyQueues], `"last":2`, `"last":1`, 1)
		},
		"a pod without clips": func(d map[string]string) {
			d[batch.KeyQueues] = `{"last":3,"pods":{"1":{"places":[0,1]},"2":{"places":[5,6]},"3":{"places":[]}}}`
		},
		"no pods at all":           func(d map[string]string) { delete(d, batch.KeyQueues) },
		"pods that are no JSON":    func(d map[string]string) { d[batch.KeyQueues] = "x" },
		"digests of another chunk": func(d map[string]string) { d[batch.KeyDigests] = strings.Repeat(digestOne+"\n", 8) },
		"a digest that is none":    func(d map[string]string) { d[batch.KeyDigests] = "short" },
	} {
		data, _ := r.Encode()
		change(data)
		if _, err := batch.DecodeRecord(data); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	// A record of an earlier release has neither.
	old := record("S.r")
	old.Failures = map[int]batch.Failure{}
	data, _ = old.Encode()
	delete(data, batch.KeyDigests)
	if got, err := batch.DecodeRecord(data); err != nil || cmp.Diff(old, got) != "" {
		t.Errorf("%v %s", err, cmp.Diff(old, got))
	}
}

func TestQueueNames(t *testing.T) {
	long := many(func(b *v1alpha1.PoseBatch) { b.Name = strings.Repeat("a", 60) + "." + strings.Repeat("b", 192) })
	for _, b := range []*v1alpha1.PoseBatch{many(), long} {
		name := batch.QueueName(b, 99, 2147483647)
		if chunk, n, ok := batch.QueueOf(b, name); !ok || chunk != 99 || n != 2147483647 || len(name) > 63 {
			t.Errorf("%q is pod %d-%d, %t", name, chunk, n, ok)
		}
	}
	for _, name := range []string{"", "many-0f5a7-q", "many-0f5a7-q1", "many-0f5a7-q01-1", "many-0f5a7-q1-0", "many-0f5a7-q-1-1", "many-0f5a7-q1-1-1", "many-11111-q1-1", batch.JobName(many(), 1)} {
		if c, n, ok := batch.QueueOf(many(), name); ok {
			t.Errorf("%q is pod %d-%d", name, c, n)
		}
	}
}

// TestQueuePodOf reads what the kubelet says of a pod.
func TestQueuePodOf(t *testing.T) {
	b := many()
	e := gen.Engine("phalp").Variants(gen.Variant("gpu", v1alpha1.GPU), gen.Variant("cpu", v1alpha1.CPU)).Build()
	pod := func() *gen.PodBuilder { return gen.Pod(batch.QueueName(b, 3, 2), 2, "gpu", v1alpha1.GPU) }
	all := report.Termination{Role: report.RoleDeliver, Result: report.ResultOK, Queue: &report.QueueReport{States: "SS", Digests: digestOne + digestTwo}}
	some := report.Termination{Role: report.RoleDeliver, Result: report.ResultFailed, Message: "the engine ended", Queue: &report.QueueReport{States: "SF"}}
	for name, c := range map[string]struct {
		pod    *gen.PodBuilder
		change func(*v1alpha1.PoseBatch)
		want   func(*batch.QueuePod)
	}{
		"just made": {pod(), nil, func(p *batch.QueuePod) { p.Live, p.Held = true, true }},
		"its engine works": {pod().Phase("Running").Node("n").Runs("engine"), nil, func(p *batch.QueuePod) {
			p.Live, p.Held, p.Running, p.Used.GPUSeconds = true, true, true, 100
		}},
		"no node takes it, and that is bounded": {pod().Unschedulable("no GPU", -400), func(b *v1alpha1.PoseBatch) { b.Spec.Template.PendingTimeoutSeconds = new(int64(300)) }, func(p *batch.QueuePod) {
			p.Live, p.Held, p.Reason, p.Message = true, true, v1alpha1.ReasonNoCapacity, "no node took the pod within 5m0s: no GPU"
		}},
		"no node takes it": {pod().Unschedulable("no GPU", -400), nil, func(p *batch.QueuePod) {
			p.Live, p.Held, p.Waits = true, true, "attempt 2 waits for a node: no GPU"
		}},
		"no image, for a while": {pod().Node("n").Waiting("engine", "ErrImagePull", "no such"), nil, func(p *batch.QueuePod) {
			p.Live, p.Held, p.Until, p.Waits = true, true, gen.At(300).Time, "container engine cannot start: ErrImagePull: no such"
		}},
		"no image, for too long": {pod().Node("n").Waiting("engine", "ErrImagePull", "no such"), func(b *v1alpha1.PoseBatch) { b.Spec.Template.StartTimeoutSeconds = 200 }, func(p *batch.QueuePod) {
			p.Live, p.Held, p.Reason, p.Message = true, true, v1alpha1.ReasonPodNotStartable, "container engine cannot start: ErrImagePull: no such"
		}},
		"deliver has just ended": {pod().Phase("Running").Node("n").Runs("engine").Exit("deliver", 0).FinishedAt("deliver", -10), nil, func(p *batch.QueuePod) {
			p.Live, p.Held, p.Running, p.Used.GPUSeconds, p.End, p.Until = true, true, true, 100, gen.At(-10).Time, gen.At(50).Time
		}},
		"deliver has long ended": {pod().Phase("Running").Node("n").Runs("engine").Exit("deliver", 0).FinishedAt("deliver", -70), nil, func(p *batch.QueuePod) {
			p.Live, p.Held, p.Running, p.Used.GPUSeconds, p.End, p.Until = true, true, true, 100, gen.At(-70).Time, gen.At(-10).Time
			p.Reason, p.Message = v1alpha1.ReasonDeliveryFailed, "deliver ended, and other containers of the pod went on"
		}},
		"it did all": {pod().Phase("Succeeded").Node("n").EngineSays(0, report.EngineReport{}).Exit("deliver", 0).Says("deliver", all), nil, func(p *batch.QueuePod) {
			p.Held, p.Used.GPUSeconds, p.End, p.Report = true, 40, gen.At(-60).Time, all.Queue
		}},
		"somebody else speaks in deliver's name": {pod().Phase("Succeeded").Node("n").Exit("engine", 0).Says("engine", all).Exit("deliver", 0), nil, func(p *batch.QueuePod) {
			p.Held, p.Used.GPUSeconds, p.End = true, 40, gen.At(-60).Time
		}},
		"its engine died": {pod().Phase("Failed").Node("n").EngineSays(139, report.EngineReport{Signal: "SIGSEGV", Clip: new(int32(7))}).Exit("deliver", 0).Says("deliver", some), nil, func(p *batch.QueuePod) {
			p.Held, p.Used.GPUSeconds, p.End, p.Report = true, 40, gen.At(-60).Time, some.Queue
			p.Reason = v1alpha1.ReasonEngineError
		}},
		"its node went": {pod().Phase("Failed").Node("n").Disrupted("DeletionByTaintManager", "gone", -30), nil, func(p *batch.QueuePod) {
			p.Held, p.Reason, p.Message = true, v1alpha1.ReasonDisrupted, "the pod was disrupted: DeletionByTaintManager: gone"
		}},
		"released": {pod().Phase("Succeeded").With(func(p *corev1.Pod) { p.Finalizers = nil }).Exit("deliver", 0).Says("deliver", all), nil, func(p *batch.QueuePod) {
			p.End, p.Report = gen.At(-60).Time, all.Queue
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := many()
			if c.change != nil {
				c.change(b)
			}
			raw := c.pod.Build()
			raw.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(b, v1alpha1.GroupVersion.WithKind("PoseBatch"))}
			want := batch.QueuePod{Chunk: 3, Number: 2, Name: raw.Name, UID: string(raw.UID), Device: v1alpha1.GPU, Made: gen.At(-300).Time, End: gen.At(-300).Time}
			c.want(&want)
			got, ok := batch.QueuePodOf(b, &raw, attempt.View(&raw), e, gen.Now)
			if want.Reason == v1alpha1.ReasonEngineError && strings.HasPrefix(got.Message, "at clip 7: ") && strings.Contains(got.Message, "SIGSEGV") {
				want.Message = got.Message
			}
			if diff := cmp.Diff(want, got); !ok || diff != "" {
				t.Errorf("pod (-want +got):\n%s", diff)
			}
			raw.OwnerReferences = nil
			if _, ok := batch.QueuePodOf(b, &raw, attempt.View(&raw), e, gen.Now); ok {
				t.Error("a pod of nobody is the batch's")
			}
		})
	}
}

// TestBudgetOfPods: a pod uses the budget up without a word, so that is looked at in time.
func TestBudgetOfPods(t *testing.T) {
	b := many(perPod(3), func(b *v1alpha1.PoseBatch) { b.Spec.Budget = &v1alpha1.BatchBudget{GPUSeconds: new(int64(100))} })
	runs := func(p *batch.QueuePod) { p.Used.GPUSeconds = 30 }
	p := batch.Decide(batch.Input{Batch: b, Records: []*batch.Record{inPods("qqqq", []int{0, 1}, []int{2, 3})}, Queues: []batch.QueuePod{seen(1, runs), seen(2, runs)}, Now: gen.Now})
	if want := gen.Now.Add(20 * time.Second); !p.Until.Equal(want) || p.Tally.Used.GPUSeconds != 60 || p.Tally.Counts.Running != 4 || p.Tally.Slots != 2 {
		t.Errorf("until %s, want %s; %+v", p.Until, want, p.Tally)
	}
}

// TestABatchThatEndedBeginsNothing whatever its records say: its list may be lost.
func TestABatchThatEndedBeginsNothing(t *testing.T) {
	in := batch.Input{
		Batch: many(perPod(3)), Records: []*batch.Record{inPods("qqqqqq..", []int{0, 1}, []int{2, 3}, []int{4, 5})},
		Queues: []batch.QueuePod{seen(2)}, Offer: offered(), Now: gen.Now,
	}
	begins := func() (out []batch.StepKind) {
		for _, s := range batch.Decide(in).Steps {
			if s.Kind == batch.StepCreate || s.Kind == batch.StepLook || s.Kind == batch.StepQueue {
				out = append(out, s.Kind)
			}
		}
		return out
	}
	if len(begins()) == 0 {
		t.Fatal("a batch that goes on begins nothing")
	}
	in.Finished = true
	if got := begins(); len(got) > 0 {
		t.Errorf("it begins %v", got)
	}
	ends := false
	for _, s := range batch.Decide(in).Steps {
		ends = ends || s.Kind == batch.StepEndQueue && s.Pod.Number == 2
	}
	if !ends {
		t.Error("its pod of many clips goes on")
	}
}

// TestAPodIsNotMadeOnceTheBudgetIsUsedUp although it was intended before.
func TestAPodIsNotMadeOnceTheBudgetIsUsedUp(t *testing.T) {
	b := many(perPod(3), func(b *v1alpha1.PoseBatch) { b.Spec.Budget = &v1alpha1.BatchBudget{GPUSeconds: new(int64(100))} })
	r := inPods("qqqq", []int{0, 1, 2, 3})
	r.Totals.GPUSeconds = 100
	p := batch.Decide(batch.Input{Batch: b, Records: []*batch.Record{r}, Offer: offered(), Now: gen.Now})
	for _, s := range p.Steps {
		if s.Kind == batch.StepQueue {
			t.Errorf("it is made: %+v", s)
		}
	}
	if p.Stop == nil || p.Stop.Reason != v1alpha1.ReasonBudgetExhausted {
		t.Errorf("the batch goes on: %+v", p.Stop)
	}
}

// What a pod used that is kept after it was accounted for stands in the sums alone.
func TestAPodThatIsKeptIsNotCountedAgain(t *testing.T) {
	r := record("SS")
	r.Totals.GPUSeconds = 50
	p := batch.Decide(batch.Input{Batch: many(perPod(3)), Records: []*batch.Record{r}, Queues: []batch.QueuePod{seen(1, said("SS", ""))}, Now: gen.Now})
	if p.Tally.Used.GPUSeconds != 50 {
		t.Errorf("%d GPU seconds, want 50", p.Tally.Used.GPUSeconds)
	}
}

// A suspended batch in which nothing runs says so.
func TestNothingRunsInASuspendedBatch(t *testing.T) {
	b := many(func(b *v1alpha1.PoseBatch) { b.Spec.Suspend = true })
	rests := func(c *batch.Child) { c.Suspended, c.Resting = true, true }
	p := batch.Decide(batch.Input{Batch: b, Records: []*batch.Record{record("rr.aS")}, Children: []batch.Child{child(0, rests)}, Now: gen.Now})
	if want := (v1alpha1.BatchCounts{Total: 5, Pending: 4, Succeeded: 1}); p.Tally.Counts != want || p.Tally.Begun != 2 || p.Stop != nil {
		t.Errorf("%+v, want %+v", p.Tally, want)
	}
}

func TestQueueJobHasDefaults(t *testing.T) {
	b := many()
	b.Spec.Template.StallTimeoutSeconds = 30
	job := batch.QueueJob(b, 0, clips.Clip{URI: "s3://videos/a.mp4", Name: "a"})
	if s := job.Spec; s.StallTimeoutSeconds != 30 || s.StartTimeoutSeconds != 600 || s.Output.URI != b.Spec.Output.URI || job.UID != b.UID || s.Fallback.Engine != v1alpha1.Deny {
		t.Errorf("%+v", s)
	}
}
