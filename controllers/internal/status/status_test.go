package status_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
	posestatus "github.com/pose-dev/pose-operator/controllers/internal/status"
	"github.com/pose-dev/pose-operator/internal/report"
)

// input of a job with its records and pods, whose engine is ready.
func input(job *v1alpha1.PoseJob, d plan.Decision, pods ...corev1.Pod) posestatus.Input {
	return posestatus.Input{
		Job: job, Attempts: attempt.Join(job.Status.Attempts, pods), Decision: d,
		EngineName: "phalp", EngineReady: true, FirstVariant: "gpu", Now: gen.Now,
	}
}

// verdict of kstatus's own library on the job with that status.
func verdict(t *testing.T, job *v1alpha1.PoseJob, s v1alpha1.PoseJobStatus) status.Status {
	t.Helper()
	j := job.DeepCopy()
	j.Status = s
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(j)
	if err != nil {
		t.Fatal(err)
	}
	raw["apiVersion"], raw["kind"] = "pose.dev/v1alpha1", "PoseJob"
	result, err := status.Compute(&unstructured.Unstructured{Object: raw})
	if err != nil {
		t.Fatal(err)
	}
	return result.Status
}

// conditions as type=status/reason.
func conditions(s v1alpha1.PoseJobStatus) map[string]string {
	out := map[string]string{}
	for _, c := range s.Conditions {
		out[c.Type] = string(c.Status) + "/" + c.Reason
	}
	return out
}

func TestPhaseAndConditions(t *testing.T) {
	job := func() *gen.JobBuilder { return gen.Job("j") }
	pod := func() *gen.PodBuilder { return gen.Pod("p1", 1, "gpu", v1alpha1.GPU) }
	running := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"))
	dead := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Failed("DetectorLoadCrash"))
	succeeded := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Succeeded())
	second := gen.Attempt(2, "cpu", v1alpha1.CPU, gen.Running("p2"), gen.Succeeded())
	launch := plan.Decision{Kind: plan.KindLaunch, Next: gen.Attempt(2, "gpu-yolo", v1alpha1.GPU)}
	resolved := "True/EngineResolved"
	for name, c := range map[string]struct {
		in      posestatus.Input
		phase   v1alpha1.Phase
		kstatus status.Status
		want    map[string]string
		says    string // in Ready's message, or Suspended's
	}{
		"the first launch": {
			in:    input(job().Build(), plan.Decision{Kind: plan.KindLaunch, Next: gen.Attempt(1, "gpu", v1alpha1.GPU)}),
			phase: v1alpha1.PhasePending, kstatus: status.InProgressStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "False/Progressing", "Reconciling": "True/Progressing"},
			says: "attempt 1 with variant gpu (GPU) is being started",
		},
		"a launch after a failure says what failed": {
			in:    input(job().Attempts(dead).Build(), launch),
			phase: v1alpha1.PhasePending, kstatus: status.InProgressStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "False/Progressing", "Reconciling": "True/Progressing"},
			says: "after attempt 1 with gpu failed: DetectorLoadCrash",
		},
		"a creation that was not done yet": {
			in:    input(job().Attempts(gen.Attempt(1, "gpu", v1alpha1.GPU)).Build(), plan.Decision{Kind: plan.KindCreate}),
			phase: v1alpha1.PhasePending, kstatus: status.InProgressStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "False/Progressing", "Reconciling": "True/Progressing"},
			says: "attempt 1 with variant gpu",
		},
		"a pending pod": {
			in:    input(job().Attempts(running).Build(), plan.Decision{Kind: plan.KindWait, Reason: v1alpha1.ReasonProgressing, Message: "waits for a node"}, pod().Build()),
			phase: v1alpha1.PhasePending, kstatus: status.InProgressStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "False/Progressing", "Reconciling": "True/Progressing"},
			says: "waits for a node",
		},
		"a running pod": {
			in:    input(job().Attempts(running).Build(), plan.Decision{Kind: plan.KindWait, Reason: v1alpha1.ReasonProgressing}, pod().Phase(corev1.PodRunning).Build()),
			phase: v1alpha1.PhaseRunning, kstatus: status.InProgressStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "False/Progressing", "Reconciling": "True/Progressing"},
		},
		"a pod that fetches its video is running, though its phase is Pending": {
			in:    input(job().Attempts(running).Build(), plan.Decision{Kind: plan.KindWait, Reason: v1alpha1.ReasonProgressing}, pod().Runs("fetch").Build()),
			phase: v1alpha1.PhaseRunning, kstatus: status.InProgressStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "False/Progressing", "Reconciling": "True/Progressing"},
		},
		"a pod that is ended": {
			in:    input(job().Suspend().Attempts(running).Build(), plan.Decision{Kind: plan.KindEndPod, Reason: "SuspendedAttempt", Message: "ended by spec.suspend"}, pod().Phase(corev1.PodRunning).Build()),
			phase: v1alpha1.PhaseRunning, kstatus: status.InProgressStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "False/Progressing", "Reconciling": "True/Progressing"},
			says: "ending the pod: ended by spec.suspend",
		},
		"a pod that does not end": {
			in:    input(job().Attempts(running).Build(), plan.Decision{Kind: plan.KindWait, Reason: v1alpha1.ReasonWaitingForTermination, Message: "stuck"}, pod().Phase(corev1.PodRunning).Node("n").Deleting(-100, 30).Build()),
			phase: v1alpha1.PhaseRunning, kstatus: status.InProgressStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "False/WaitingForTermination", "Reconciling": "True/WaitingForTermination"},
		},
		"backing off": {
			in:    input(job().Attempts(dead, gen.Attempt(2, "gpu", v1alpha1.GPU)).Build(), plan.Decision{Kind: plan.KindWait, Reason: v1alpha1.ReasonBackingOff, Message: "waits"}),
			phase: v1alpha1.PhasePending, kstatus: status.InProgressStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "False/BackingOff", "Reconciling": "True/BackingOff"},
		},
		"suspended, and the pod is still live": {
			in:    input(job().Suspend().Attempts(running).Build(), plan.Decision{Kind: plan.KindWait, Reason: v1alpha1.ReasonProgressing}, pod().Phase(corev1.PodRunning).Node("n").Deleting(-1, 30).Build()),
			phase: v1alpha1.PhaseRunning, kstatus: status.InProgressStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "False/Progressing", "Reconciling": "True/Progressing"},
		},
		"suspended, and no pod is live": {
			in:    input(job().Suspend().Attempts(dead).Build(), plan.Decision{Kind: plan.KindWait, Reason: v1alpha1.ReasonSuspended}),
			phase: v1alpha1.PhaseSuspended, kstatus: status.CurrentStatus,
			want: map[string]string{"EngineResolved": resolved, "Suspended": "True/Suspended"},
			says: "no pod runs",
		},
		"suspended after it ran, with the conditions of that time": {
			in: input(job().Suspend().Attempts(dead).With(func(j *v1alpha1.PoseJob) {
				j.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "False", Reason: "Progressing"}, {Type: "Reconciling", Status: "True", Reason: "Progressing"}}
			}).Build(), plan.Decision{Kind: plan.KindWait, Reason: v1alpha1.ReasonSuspended}),
			phase: v1alpha1.PhaseSuspended, kstatus: status.CurrentStatus,
			want: map[string]string{"EngineResolved": resolved, "Suspended": "True/Suspended"},
		},
		"resumed": {
			in: input(job().With(func(j *v1alpha1.PoseJob) {
				j.Status.Conditions = []metav1.Condition{{Type: "Suspended", Status: "True", Reason: "Suspended"}}
			}).Build(), plan.Decision{Kind: plan.KindLaunch, Next: gen.Attempt(1, "gpu", v1alpha1.GPU)}),
			phase: v1alpha1.PhasePending, kstatus: status.InProgressStatus,
			want: map[string]string{"EngineResolved": resolved, "Suspended": "False/Resumed", "Ready": "False/Progressing", "Reconciling": "True/Progressing"},
		},
		"the engine is missing": {
			in: func() posestatus.Input {
				in := input(job().Build(), plan.Decision{Kind: plan.KindWait, Reason: v1alpha1.ReasonEngineNotFound, Message: "no PoseEngine phalp"})
				in.EngineReady, in.EngineReason, in.EngineMessage = false, v1alpha1.ReasonEngineNotFound, "no PoseEngine phalp"
				return in
			}(),
			phase: v1alpha1.PhasePending, kstatus: status.InProgressStatus,
			want: map[string]string{"EngineResolved": "False/EngineNotFound", "Ready": "False/WaitingForEngine", "Reconciling": "True/WaitingForEngine"},
			says: "no PoseEngine phalp",
		},
		"complete": {
			in:    input(job().Attempts(succeeded).Build(), plan.Decision{Kind: plan.KindSucceed}, pod().Done(2, 120).Build()),
			phase: v1alpha1.PhaseSucceeded, kstatus: status.CurrentStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "True/Succeeded", "Complete": "True/Succeeded", "Finished": "True/Succeeded"},
			says: "120 frames and 2 people, verified, at s3://results/",
		},
		"complete with nobody in the video": {
			in:    input(job().Attempts(succeeded).Build(), plan.Decision{Kind: plan.KindSucceed}, pod().Done(0, 120).Build()),
			phase: v1alpha1.PhaseSucceeded, kstatus: status.CurrentStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "True/Succeeded", "Complete": "True/Succeeded", "Finished": "True/Succeeded", "NoPeople": "True/NobodySeen"},
		},
		"complete by a later variant": {
			in:    input(job().Attempts(dead, second).Build(), plan.Decision{Kind: plan.KindSucceed}, gen.Pod("p2", 2, "cpu", v1alpha1.CPU).Done(1, 120).Build()),
			phase: v1alpha1.PhaseSucceeded, kstatus: status.CurrentStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "True/Succeeded", "Complete": "True/Succeeded", "Finished": "True/Succeeded", "Degraded": "True/Fallback"},
		},
		"complete although the engine is gone by now": {
			in: func() posestatus.Input {
				in := input(job().Attempts(succeeded).Build(), plan.Decision{Kind: plan.KindSucceed}, pod().Done(2, 120).Build())
				in.EngineReady, in.EngineReason, in.EngineMessage, in.FirstVariant = false, v1alpha1.ReasonEngineNotFound, "gone", ""
				return in
			}(),
			phase: v1alpha1.PhaseSucceeded, kstatus: status.CurrentStatus,
			want: map[string]string{"EngineResolved": "False/EngineNotFound", "Ready": "True/Succeeded", "Complete": "True/Succeeded", "Finished": "True/Succeeded"},
		},
		"failed": {
			in:    input(job().Attempts(dead).Build(), plan.Decision{Kind: plan.KindFail, Reason: "DetectorLoadCrash", Message: "it died"}),
			phase: v1alpha1.PhaseFailed, kstatus: status.FailedStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "False/DetectorLoadCrash", "Stalled": "True/DetectorLoadCrash", "Failed": "True/DetectorLoadCrash", "Finished": "True/DetectorLoadCrash"},
			says: "it died",
		},
		"failed by policy before any attempt": {
			in:    input(job().Build(), plan.Decision{Kind: plan.KindFail, Reason: v1alpha1.ReasonPolicyDenied, Message: "not allowed"}),
			phase: v1alpha1.PhaseFailed, kstatus: status.FailedStatus,
			want: map[string]string{"EngineResolved": resolved, "Ready": "False/PolicyDenied", "Stalled": "True/PolicyDenied", "Failed": "True/PolicyDenied", "Finished": "True/PolicyDenied"},
			says: "not allowed",
		},
		"failed while suspended before": {
			in: input(job().With(func(j *v1alpha1.PoseJob) {
				j.Status.Conditions = []metav1.Condition{{Type: "Suspended", Status: "True", Reason: "Suspended"}, {Type: "Reconciling", Status: "True", Reason: "Progressing"}}
			}).Build(), plan.Decision{Kind: plan.KindFail, Reason: "DeadlineExceeded", Message: "late"}),
			phase: v1alpha1.PhaseFailed, kstatus: status.FailedStatus,
			want: map[string]string{"EngineResolved": resolved, "Suspended": "False/Resumed", "Ready": "False/DeadlineExceeded", "Stalled": "True/DeadlineExceeded", "Failed": "True/DeadlineExceeded", "Finished": "True/DeadlineExceeded"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := posestatus.Compute(c.in)
			if s.Phase != c.phase {
				t.Errorf("phase = %s, want %s", s.Phase, c.phase)
			}
			if got := verdict(t, c.in.Job, s); got != c.kstatus {
				t.Errorf("kstatus = %s, want %s", got, c.kstatus)
			}
			if diff := cmp.Diff(c.want, conditions(s)); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			said := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
			if said == nil {
				said = meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionSuspended)
			}
			if !strings.Contains(said.Message, c.says) {
				t.Errorf("message %q does not say %q", said.Message, c.says)
			}
			for _, cond := range s.Conditions {
				if cond.ObservedGeneration != c.in.Job.Generation && cond.Type != "EngineResolved" {
					t.Errorf("condition %s has generation %d", cond.Type, cond.ObservedGeneration)
				}
				if cond.LastTransitionTime.IsZero() && cond.Type != "Suspended" {
					t.Errorf("condition %s has no time", cond.Type)
				}
			}
			finished := c.phase == v1alpha1.PhaseSucceeded || c.phase == v1alpha1.PhaseFailed
			if (s.CompletionTime != nil) != finished {
				t.Errorf("completionTime = %v", s.CompletionTime)
			}
			if finished && attempt.Live(c.in.Attempts) != nil {
				t.Error("finished while a pod is live")
			}
			if s.ObservedGeneration != c.in.Job.Generation || s.StartTime == nil {
				t.Errorf("observedGeneration = %d, startTime = %v", s.ObservedGeneration, s.StartTime)
			}
		})
	}
}

func TestAFreshJobIsNotCurrent(t *testing.T) {
	job := gen.Job("j").Build()
	if got := verdict(t, job, job.Status); got != status.InProgressStatus {
		t.Errorf("kstatus = %s, want InProgress", got)
	}
}

func TestFailureMessageCountsAttempts(t *testing.T) {
	dead := func(n int32) v1alpha1.Attempt {
		return gen.Attempt(n, "gpu", v1alpha1.GPU, gen.Running("p"), gen.Failed("EngineError"))
	}
	s := posestatus.Compute(input(gen.Job("j").Attempts(dead(1), dead(2)).Build(), plan.Decision{Kind: plan.KindFail, Reason: "EngineError", Message: "last words"}))
	if m := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionFailed).Message; m != "all 2 attempts failed. The last: last words" {
		t.Errorf("message = %q", m)
	}
}

func TestDegradedSaysWhatChangedAndWhy(t *testing.T) {
	dead := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Failed("OutOfMemory"))
	second := gen.Attempt(2, "cpu", v1alpha1.CPU, gen.Running("p2"), gen.Succeeded())
	s := posestatus.Compute(input(gen.Job("j").Attempts(dead, second).Build(), plan.Decision{Kind: plan.KindSucceed}, gen.Pod("p2", 2, "cpu", v1alpha1.CPU).Done(1, 120).Build()))
	want := "the result comes from variant cpu on CPU instead of gpu, because attempt 1 with gpu failed: OutOfMemory"
	if m := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionDegraded).Message; m != want {
		t.Errorf("message = %q, want %q", m, want)
	}
}

func TestTransitionTimesChangeWithTheStatusAlone(t *testing.T) {
	job := gen.Job("j").Build()
	job.Status = posestatus.Compute(input(job, plan.Decision{Kind: plan.KindLaunch, Next: gen.Attempt(1, "gpu", v1alpha1.GPU)}))
	later := input(job, plan.Decision{Kind: plan.KindWait, Reason: v1alpha1.ReasonProgressing, Message: "another message"}, gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Build())
	later.Now = gen.Now.Add(time.Hour)
	s := posestatus.Compute(later)
	for _, c := range s.Conditions {
		if !c.LastTransitionTime.Time.Equal(gen.Now) {
			t.Errorf("condition %s moved to %s", c.Type, c.LastTransitionTime)
		}
	}
	if !s.StartTime.Time.Equal(gen.Now) {
		t.Errorf("startTime moved to %s", s.StartTime)
	}
}

func TestComputeTwiceChangesNothing(t *testing.T) {
	dead := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Failed("OutOfMemory"))
	second := gen.Attempt(2, "cpu", v1alpha1.CPU, gen.Running("p2"), gen.Succeeded())
	for name, in := range map[string]posestatus.Input{
		"waiting":   input(gen.Job("j").Attempts(dead).Build(), plan.Decision{Kind: plan.KindWait, Reason: "Progressing", Message: "m"}),
		"ending":    input(gen.Job("j").Attempts(gen.Attempt(1, "gpu", v1alpha1.GPU)).Build(), plan.Decision{Kind: plan.KindEndPod, Reason: "NoCapacity", Message: "m"}, gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Build()),
		"suspended": input(gen.Job("j").Suspend().Attempts(dead).Build(), plan.Decision{Kind: plan.KindWait, Reason: "Suspended", Message: "m"}),
		"complete":  input(gen.Job("j").Attempts(dead, second).Build(), plan.Decision{Kind: plan.KindSucceed}, gen.Pod("p2", 2, "cpu", v1alpha1.CPU).Done(1, 120).Build()),
		"failed":    input(gen.Job("j").Attempts(dead).Build(), plan.Decision{Kind: plan.KindFail, Reason: "OutOfMemory", Message: "m"}),
	} {
		t.Run(name, func(t *testing.T) {
			once := posestatus.Compute(in)
			in.Job = in.Job.DeepCopy()
			in.Job.Status = once
			in.Now = in.Now.Add(time.Minute)
			twice := posestatus.Compute(in)
			if !posestatus.Equal(once, twice) {
				t.Errorf("a second look changes the status:\n%s", cmp.Diff(once, twice))
			}
		})
	}
}

func TestAnIntentThatIsNotCarriedOutEndsWithTheJob(t *testing.T) {
	s := posestatus.Compute(input(gen.Job("j").Attempts(gen.Attempt(1, "gpu", v1alpha1.GPU)).Build(), plan.Decision{Kind: plan.KindFail, Reason: "DeadlineExceeded", Message: "late"}))
	if a := s.Attempts[0]; a.State != v1alpha1.AttemptFailed || a.Reason != "DeadlineExceeded" || !strings.Contains(a.Message, "no pod was made") {
		t.Errorf("attempt = %+v, want it failed without a pod", a)
	}
}

func TestRecords(t *testing.T) {
	running := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"))
	pod := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Phase(corev1.PodRunning).Build()
	t.Run("a launch is recorded as an intent before anything is made", func(t *testing.T) {
		s := posestatus.Compute(input(gen.Job("j").Build(), plan.Decision{Kind: plan.KindLaunch, Next: gen.Attempt(1, "gpu", v1alpha1.GPU)}))
		if len(s.Attempts) != 1 || s.Attempts[0].State != v1alpha1.AttemptIntended || s.AttemptCount != 1 || s.Variant != "gpu" || s.Device != v1alpha1.GPU {
			t.Errorf("attempts = %+v, count %d, variant %s on %s", s.Attempts, s.AttemptCount, s.Variant, s.Device)
		}
	})
	t.Run("why a pod is ended is recorded before it is deleted", func(t *testing.T) {
		s := posestatus.Compute(input(gen.Job("j").Attempts(running).Build(), plan.Decision{Kind: plan.KindEndPod, Reason: "NoCapacity", Message: "no\x1bnode"}, pod))
		if a := s.Attempts[0]; a.Reason != "NoCapacity" || a.Message != "nonode" || a.State != v1alpha1.AttemptRunning {
			t.Errorf("attempt = %+v", a)
		}
	})
	t.Run("the first reason to end a pod stays", func(t *testing.T) {
		ending := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), func(a *v1alpha1.Attempt) { a.Reason, a.Message = "NoCapacity", "first" })
		s := posestatus.Compute(input(gen.Job("j").Attempts(ending).Build(), plan.Decision{Kind: plan.KindEndPod, Reason: "DeadlineExceeded", Message: "second"}, pod))
		if a := s.Attempts[0]; a.Reason != "NoCapacity" || a.Message != "first" {
			t.Errorf("attempt = %+v", a)
		}
	})
}

func TestRecordWritesAVerdict(t *testing.T) {
	code := int32(1)
	joined := func() attempt.Attempt {
		return attempt.Join([]v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), func(a *v1alpha1.Attempt) { a.Reason = "SuspendedAttempt" })}, nil)[0]
	}
	for name, c := range map[string]struct {
		v    failure.Verdict
		want func(*v1alpha1.Attempt)
	}{
		"a success takes back the intent to end it": {failure.Verdict{Succeeded: true, Message: "good"}, func(a *v1alpha1.Attempt) {
			a.State, a.Message = v1alpha1.AttemptSucceeded, "good"
		}},
		"a failure gets the action of its reason": {failure.Verdict{Reason: "OutputInvalid", Message: "short", Container: "deliver", ExitCode: &code}, func(a *v1alpha1.Attempt) {
			a.State, a.Reason, a.Action, a.Message, a.Container, a.ExitCode = v1alpha1.AttemptFailed, "OutputInvalid", v1alpha1.ActionNextVariant, "short", "deliver", &code
		}},
		"a rule's own action is kept": {failure.Verdict{Reason: "Own", Action: v1alpha1.ActionFail, Signal: "SIGSEGV"}, func(a *v1alpha1.Attempt) {
			a.State, a.Reason, a.Action, a.Signal = v1alpha1.AttemptFailed, "Own", v1alpha1.ActionFail, "SIGSEGV"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := joined()
			posestatus.Record(&a, c.v, gen.Now)
			end := gen.At(0)
			want := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), func(a *v1alpha1.Attempt) { a.FinishTime = &end }, c.want)
			if diff := cmp.Diff(want, a.Attempt); diff != "" {
				t.Errorf("attempt (-want +got):\n%s", diff)
			}
		})
	}
}

// No decision drops an attempt or rewrites a recorded one.
func TestAttemptsAreNeverDropped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, v1alpha1.MaxAttempts-1).Draw(t, "attempts")
		var records []v1alpha1.Attempt
		for i := range n {
			records = append(records, gen.Attempt(int32(i+1), rapid.SampledFrom([]string{"gpu", "cpu"}).Draw(t, "variant"), v1alpha1.GPU, gen.Running("p"), gen.Failed(rapid.SampledFrom([]string{"EngineError", "Disrupted"}).Draw(t, "reason"))))
		}
		d := plan.Decision{Kind: rapid.SampledFrom([]plan.Kind{plan.KindWait, plan.KindLaunch, plan.KindEndPod, plan.KindSucceed, plan.KindFail}).Draw(t, "kind"), Reason: "EngineError"}
		if d.Kind == plan.KindLaunch {
			d.Next = gen.Attempt(int32(n+1), "cpu", v1alpha1.CPU)
		}
		job := gen.Job("j").Attempts(records...).Build()
		s := posestatus.Compute(input(job, d))
		if len(s.Attempts) < n || int(s.AttemptCount) != len(s.Attempts) {
			t.Fatalf("%d attempts of %d are left, count %d", len(s.Attempts), n, s.AttemptCount)
		}
		if diff := cmp.Diff(records, s.Attempts[:n], cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("records changed:\n%s", diff)
		}
	})
}

func TestSuspendedTime(t *testing.T) {
	at := func(s int64) *metav1.Time {
		m := gen.At(s)
		return &m
	}
	for name, c := range map[string]struct {
		suspend  bool
		before   v1alpha1.PoseJobStatus
		decision plan.Kind
		at       *metav1.Time
		seconds  int64
	}{
		"never suspended":                         {decision: plan.KindWait},
		"suspended just now":                      {suspend: true, decision: plan.KindWait, at: at(0)},
		"suspended for a while":                   {suspend: true, before: v1alpha1.PoseJobStatus{SuspendedAt: at(-90)}, decision: plan.KindWait, at: at(-90)},
		"resumed":                                 {before: v1alpha1.PoseJobStatus{SuspendedAt: at(-90)}, decision: plan.KindWait, seconds: 90},
		"resumed a second time":                   {before: v1alpha1.PoseJobStatus{SuspendedAt: at(-10), SuspendedSeconds: 90}, decision: plan.KindWait, seconds: 100},
		"suspended in the moment of its success":  {suspend: true, decision: plan.KindSucceed},
		"suspended after a suspension of old":     {suspend: true, before: v1alpha1.PoseJobStatus{SuspendedSeconds: 5}, decision: plan.KindWait, at: at(0), seconds: 5},
		"suspended while its pod still ends":      {suspend: true, decision: plan.KindEndPod, at: at(0)},
		"a finished job keeps its suspended time": {before: v1alpha1.PoseJobStatus{SuspendedSeconds: 5}, decision: plan.KindFail, seconds: 5},
	} {
		t.Run(name, func(t *testing.T) {
			job := gen.Job("j").With(func(j *v1alpha1.PoseJob) { j.Spec.Suspend, j.Status = c.suspend, c.before }).Build()
			s := posestatus.Compute(input(job, plan.Decision{Kind: c.decision}))
			if diff := cmp.Diff(c.at, s.SuspendedAt); diff != "" || s.SuspendedSeconds != c.seconds {
				t.Errorf("suspendedAt (-want +got):\n%s\nsuspendedSeconds = %d, want %d", diff, s.SuspendedSeconds, c.seconds)
			}
		})
	}
}

func TestProgress(t *testing.T) {
	at := gen.At(30)
	for name, c := range map[string]struct {
		p     *report.Progress
		stage string
		want  *v1alpha1.JobProgress
	}{
		"nothing was reported":                  {stage: "EngineStart"},
		"frames with a pace":                    {&report.Progress{Stage: "Tracking", Frames: 42, Total: 120, MilliFPS: 2600}, "Tracking", &v1alpha1.JobProgress{Summary: "35% 42/120", Frames: 42, TotalFrames: 120, Percent: 35, MilliFPS: 2600, EstimatedCompletionTime: &at}},
		"frames without a pace":                 {&report.Progress{Stage: "Tracking", Frames: 1, Total: 3}, "Tracking", &v1alpha1.JobProgress{Summary: "33% 1/3", Frames: 1, TotalFrames: 3, Percent: 33}},
		"frames of an unknown total":            {&report.Progress{Stage: "Tracking", Frames: 42}, "Tracking", nil},
		"bytes":                                 {&report.Progress{Stage: "Fetch", Bytes: 50, TotalBytes: 200}, "Fetch", &v1alpha1.JobProgress{Summary: "25%", Percent: 25}},
		"more bytes than there are":             {&report.Progress{Stage: "Fetch", Bytes: 500, TotalBytes: 200}, "Fetch", &v1alpha1.JobProgress{Summary: "100%", Percent: 100}},
		"more frames than there are":            {&report.Progress{Stage: "Tracking", Frames: 500, Total: 120}, "Tracking", &v1alpha1.JobProgress{Summary: "100% 120/120", Frames: 120, TotalFrames: 120, Percent: 100}},
		"fewer frames than none":                {&report.Progress{Stage: "Tracking", Frames: -5, Total: 120}, "Tracking", nil},
		"a stage alone":                         {&report.Progress{Stage: "Deliver"}, "Deliver", nil},
		"a stage that is no word":               {&report.Progress{Stage: "De\x1bliver"}, "Deliver", nil},
		"fewer bytes than none":                 {&report.Progress{Stage: "Fetch", Bytes: -50, TotalBytes: 200}, "Fetch", nil},
		"a pace that would end after the stars": {&report.Progress{Stage: "Tracking", Frames: 0, Total: 1 << 40, MilliFPS: 1}, "Tracking", &v1alpha1.JobProgress{Summary: "0% 0/1099511627776", TotalFrames: 1 << 40, MilliFPS: 1}},
		"absurd numbers":                        {&report.Progress{Stage: "Tracking", Frames: 1 << 62, Total: 1 << 62}, "Tracking", nil},
		"a pace below nothing":                  {&report.Progress{Stage: "Tracking", Frames: 1, Total: 2, MilliFPS: -5}, "Tracking", nil},
	} {
		t.Run(name, func(t *testing.T) {
			pod := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Phase(corev1.PodRunning).InputsDone().Runs("engine").Runs("deliver").Build()
			in := input(gen.Job("j").Attempts(gen.Attempt(1, "gpu", v1alpha1.GPU)).Build(), plan.Decision{Kind: plan.KindWait, Reason: v1alpha1.ReasonProgressing}, pod)
			if c.p != nil {
				in.Progress = &posestatus.Progress{Progress: *c.p, At: gen.Now}
			}
			s := posestatus.Compute(in)
			if diff := cmp.Diff(c.want, s.Progress); diff != "" {
				t.Errorf("progress (-want +got):\n%s", diff)
			}
			if s.Stage != c.stage || s.Attempts[0].Stage != c.stage {
				t.Errorf("stage = %q, of the attempt %q, want %q", s.Stage, s.Attempts[0].Stage, c.stage)
			}
		})
	}
}

func TestProgressOfADeadPodIsNotShown(t *testing.T) {
	in := input(gen.Job("j").Attempts(gen.Attempt(1, "gpu", v1alpha1.GPU)).Build(), plan.Decision{Kind: plan.KindFail, Reason: "EngineError"}, gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Dead().Exit("engine", 1).Build())
	in.Progress = &posestatus.Progress{Progress: report.Progress{Stage: "Tracking", Frames: 1, Total: 2}, At: gen.Now}
	if s := posestatus.Compute(in); s.Progress != nil || s.Stage != "" {
		t.Errorf("progress = %+v, stage = %q, want none", s.Progress, s.Stage)
	}
}

func TestOutputAndVideo(t *testing.T) {
	succeeded := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Succeeded())
	pod := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Done(2, 120).Build()
	s := posestatus.Compute(input(gen.Job("j").Attempts(succeeded).Build(), plan.Decision{Kind: plan.KindSucceed}, pod))
	base := "s3://results/team-a/job/attempts/0f5a7-1"
	wantOutput := &v1alpha1.OutputStatus{
		URI: base, ManifestSHA256: "cd", People: 2, Frames: 120,
		Files: []v1alpha1.OutputFile{{Name: "pose", URI: base + "/pose.json", Size: 12, SHA256: "ef"}},
	}
	wantVideo := &v1alpha1.VideoStatus{SHA256: "ab", Codec: "h264", Width: 640, Height: 360, MilliFPS: 29970, Frames: 120}
	if diff := cmp.Diff(wantOutput, s.Output) + cmp.Diff(wantVideo, s.Video); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	t.Run("an output of an attempt that did not succeed is not accepted", func(t *testing.T) {
		dead := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Failed("EngineError"))
		if s := posestatus.Compute(input(gen.Job("j").Attempts(dead).Build(), plan.Decision{Kind: plan.KindFail}, pod)); s.Output != nil {
			t.Errorf("output = %+v", s.Output)
		}
	})
	t.Run("an accepted output is not replaced", func(t *testing.T) {
		job := gen.Job("j").Attempts(succeeded).With(func(j *v1alpha1.PoseJob) { j.Status.Output = &v1alpha1.OutputStatus{URI: "s3://first"} }).Build()
		if s := posestatus.Compute(input(job, plan.Decision{Kind: plan.KindSucceed}, pod)); s.Output.URI != "s3://first" {
			t.Errorf("output = %+v", s.Output)
		}
	})
	t.Run("it outlives its pod", func(t *testing.T) {
		job := gen.Job("j").Build()
		job.Status = *s.DeepCopy()
		if later := posestatus.Compute(input(job, plan.Decision{Kind: plan.KindSucceed})); later.Output == nil || later.Video == nil {
			t.Errorf("output = %+v, video = %+v", later.Output, later.Video)
		}
	})
	t.Run("files are cut to sixteen", func(t *testing.T) {
		many := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Done(1, 1)
		files := make([]report.DeliveredFile, 20)
		for i := range files {
			files[i] = report.DeliveredFile{Name: "f", Path: "p"}
		}
		many.Says("deliver", report.Termination{Role: report.RoleDeliver, Result: report.ResultOK, Deliver: &report.DeliveryReport{URI: "u", Files: files}})
		if s := posestatus.Compute(input(gen.Job("j").Attempts(succeeded).Build(), plan.Decision{Kind: plan.KindSucceed}, many.Build())); len(s.Output.Files) != 16 {
			t.Errorf("%d files", len(s.Output.Files))
		}
	})
}

func TestSoftEqual(t *testing.T) {
	base := func() v1alpha1.PoseJobStatus {
		s := v1alpha1.PoseJobStatus{ObservedGeneration: 1, Attempts: []v1alpha1.Attempt{
			gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"), gen.Failed("EngineError")),
			gen.Attempt(2, "gpu", v1alpha1.GPU),
		}}
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: "Ready", Status: "False", Reason: "Progressing", LastTransitionTime: gen.At(0)})
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: "EngineResolved", Status: "True", Reason: "EngineResolved", LastTransitionTime: gen.At(0)})
		return s
	}
	for name, c := range map[string]struct {
		change func(*v1alpha1.PoseJobStatus)
		soft   bool
	}{
		"nothing changed":                  {func(*v1alpha1.PoseJobStatus) {}, true},
		"progress may wait":                {func(s *v1alpha1.PoseJobStatus) { s.Progress = &v1alpha1.JobProgress{Percent: 3} }, true},
		"the stage may wait":               {func(s *v1alpha1.PoseJobStatus) { s.Stage, s.Attempts[1].Stage = "Tracking", "Tracking" }, true},
		"what the video is may wait":       {func(s *v1alpha1.PoseJobStatus) { s.Video = &v1alpha1.VideoStatus{Frames: 1} }, true},
		"the pod's name and node may wait": {func(s *v1alpha1.PoseJobStatus) { s.Attempts[1].PodName, s.Attempts[1].Node = "p2", "n" }, true},
		"Running and Ready may wait": {func(s *v1alpha1.PoseJobStatus) {
			s.Phase, s.Conditions[0].Message, s.Attempts[1].State = "Running", "x", "Running"
		}, true},
		"an outcome may not":               {func(s *v1alpha1.PoseJobStatus) { s.Attempts[1].State, s.Attempts[1].Reason = "Failed", "OutOfMemory" }, false},
		"an intent to end a pod may not":   {func(s *v1alpha1.PoseJobStatus) { s.Attempts[1].Reason = "NoCapacity" }, false},
		"a new attempt may not":            {func(s *v1alpha1.PoseJobStatus) { s.Attempts = append(s.Attempts, gen.Attempt(3, "cpu", v1alpha1.CPU)) }, false},
		"an attempt that vanished may not": {func(s *v1alpha1.PoseJobStatus) { s.Attempts = s.Attempts[:1] }, false},
		"a recorded attempt may not":       {func(s *v1alpha1.PoseJobStatus) { s.Attempts[0].Message = "other" }, false},
		"an accepted output may not":       {func(s *v1alpha1.PoseJobStatus) { s.Output = &v1alpha1.OutputStatus{URI: "u"} }, false},
		"the observed generation may not":  {func(s *v1alpha1.PoseJobStatus) { s.ObservedGeneration = 2 }, false},
		"a suspension may not":             {func(s *v1alpha1.PoseJobStatus) { now := gen.At(0); s.SuspendedAt = &now }, false},
		"the engine's condition may not":   {func(s *v1alpha1.PoseJobStatus) { s.Conditions[1].Status = "False" }, false},
		"the condition of an end may not": {func(s *v1alpha1.PoseJobStatus) {
			meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: "Finished", Status: "True", Reason: "X"})
		}, false},
		"the time of an end may not":         {func(s *v1alpha1.PoseJobStatus) { now := gen.At(0); s.CompletionTime = &now }, false},
		"an attempt's success may not":       {func(s *v1alpha1.PoseJobStatus) { s.Attempts[1].State = "Succeeded" }, false},
		"an attempt's other variant may not": {func(s *v1alpha1.PoseJobStatus) { s.Attempts[1].Variant = "cpu" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := base(), base()
			c.change(&b)
			if got := posestatus.SoftEqual(a, b); got != c.soft {
				t.Errorf("SoftEqual = %v, want %v", got, c.soft)
			}
			if got := posestatus.SoftEqual(b, a); got != c.soft {
				t.Errorf("SoftEqual the other way round = %v, want %v", got, c.soft)
			}
		})
	}
}

func TestAGPUThatWasHeldAndIdleIsACondition(t *testing.T) {
	ran := func(on v1alpha1.Device, change ...func(*v1alpha1.Attempt)) v1alpha1.Attempt {
		return gen.Attempt(1, "gpu", v1alpha1.GPU, append([]func(*v1alpha1.Attempt){gen.Running("p1"), gen.Succeeded(), func(a *v1alpha1.Attempt) { a.DeviceUsed, a.Node = on, "node-1" }}, change...)...)
	}
	for name, c := range map[string]struct {
		attempt v1alpha1.Attempt
		want    string
	}{
		"it ran on the CPU":                    {ran(v1alpha1.CPU), "True/GPUUnused"},
		"it ran on the GPU":                    {ran(v1alpha1.GPU), ""},
		"nobody could tell":                    {ran(""), ""},
		"a CPU variant holds no GPU":           {ran(v1alpha1.CPU, func(a *v1alpha1.Attempt) { a.Device = v1alpha1.CPU }), ""},
		"it failed before it could use it":     {ran(v1alpha1.CPU, gen.Failed("DetectorLoadCrash")), ""},
		"it failed while it tracked on no GPU": {ran(v1alpha1.CPU, gen.Failed("NoProgress"), func(a *v1alpha1.Attempt) { a.Stage = v1alpha1.StageTracking }), "True/GPUUnused"},
	} {
		t.Run(name, func(t *testing.T) {
			job := gen.Job("j").Attempts(c.attempt).Build()
			s := posestatus.Compute(input(job, plan.Decision{Kind: plan.KindSucceed}))
			if got := conditions(s)[v1alpha1.ConditionDeviceMismatch]; got != c.want {
				t.Errorf("DeviceMismatch = %q, want %q", got, c.want)
			}
		})
	}
}

func TestRecordKeepsTheEvidenceOfADeadEngine(t *testing.T) {
	record := gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"))
	pod := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Dead().EngineSays(139, report.EngineReport{
		Stage: v1alpha1.StageDetectorLoad, Signal: "SIGSEGV", Preflight: true, Driver: "550.54", GPUMemoryBytes: 8 << 30, GPUUsedBytes: 1 << 30,
		Crash:    &report.CrashReport{PythonStack: []string{"detectron2/x.py:1 load", "\x1b[31mtrack.py:2 main"}, NativeLibrary: "libtorch.so"},
		Versions: map[string]string{"torch": "2.1.2"}, LogTail: "Loading detector",
	}).DeliverSkipped().Build()
	a := attempt.Join([]v1alpha1.Attempt{record}, []corev1.Pod{pod})[0]
	v, ok := failure.Judge(a, nil)
	if !ok {
		t.Fatal("no verdict")
	}
	posestatus.Record(&a, v, gen.Now)
	want := &v1alpha1.Evidence{
		Culprit: "Loading detector", Preflight: true, PythonStack: []string{"detectron2/x.py:1 load", "[31mtrack.py:2 main"}, NativeLibrary: "libtorch.so",
		Versions: map[string]string{"torch": "2.1.2"}, GPUDriver: "550.54", GPUMemoryBytes: 8 << 30, GPUUsedBytes: 1 << 30, LastLines: []string{"Loading detector"},
	}
	if diff := cmp.Diff(want, a.Evidence); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
	inputs := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Phase(corev1.PodFailed).Exit("fetch", 1).Build()
	b := attempt.Join([]v1alpha1.Attempt{record}, []corev1.Pod{inputs})[0]
	v, _ = failure.Judge(b, nil)
	if posestatus.Record(&b, v, gen.Now); b.Evidence != nil {
		t.Errorf("a fetch that failed is no dead engine: %+v", b.Evidence)
	}
}
