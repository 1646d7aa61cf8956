package plan_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
)

func TestLook(t *testing.T) {
	job := func() *gen.JobBuilder { return gen.Job("j") }
	pod := func() *gen.PodBuilder {
		return gen.Pod("look", 0, "", "").With(func(p *corev1.Pod) { p.Labels[v1alpha1.LabelPurpose] = v1alpha1.PurposeLookup })
	}
	status := func(state v1alpha1.LookupState, since int64) *v1alpha1.LookupStatus {
		at := gen.At(since)
		return &v1alpha1.LookupStatus{State: state, StartTime: &at, Reason: map[v1alpha1.LookupState]string{v1alpha1.LookupRefused: "InputUnavailable"}[state], Message: "as said"}
	}
	running := func(since int64) *v1alpha1.LookupStatus {
		s := status(v1alpha1.LookupRunning, since)
		s.Message = ""
		return s
	}
	hanging := func(since int64) *gen.PodBuilder {
		return pod().Node("n").Waiting("lookup", "ContainerCreating", "").
			Condition(corev1.PodScheduled, corev1.ConditionTrue, "", "", since).Condition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, "", "", since)
	}
	said := func(u attempt.Unmounted) func(*plan.Input) {
		return func(in *plan.Input) { in.Look.Pod.Unmounted = u }
	}
	begun := func(since int64) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].State.Running.StartedAt = gen.At(since)
		}
	}
	keyed := func() *gen.JobBuilder {
		return job().Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Video.CredentialsSecretRef, s.Output.CredentialsSecretRef = &v1alpha1.SecretReference{Name: "keys"}, &v1alpha1.SecretReference{Name: "keys"}
		})
	}
	intended := []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU)}
	live := []v1alpha1.Attempt{gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"))}
	for name, c := range map[string]struct {
		job     *gen.JobBuilder
		records []v1alpha1.Attempt
		pods    []*gen.PodBuilder // of attempts
		unasked bool
		status  *v1alpha1.LookupStatus
		pod     *gen.PodBuilder
		change  func(*plan.Input)

		want  plan.Kind
		why   string
		says  string
		until int64
	}{
		"a job that does not want it":               {unasked: true, want: plan.KindLaunch},
		"before the first attempt":                  {want: plan.KindLook, says: "looking at the places", until: 30},
		"until the deadline":                        {job: job().Deadline(1010), want: plan.KindLook, until: 10},
		"not while it is suspended":                 {job: job().Suspend(), want: plan.KindWait, why: v1alpha1.ReasonSuspended},
		"not where the policy denies the job":       {change: func(in *plan.Input) { in.Denied = []string{"no"} }, want: plan.KindFail, why: v1alpha1.ReasonPolicyDenied},
		"not after the deadline":                    {job: job().Deadline(1000), want: plan.KindFail, why: v1alpha1.ReasonDeadlineExceeded},
		"not without an engine":                     {change: func(in *plan.Input) { in.Engine, in.EngineReason = nil, v1alpha1.ReasonEngineNotReady }, want: plan.KindWait, why: v1alpha1.ReasonEngineNotReady},
		"not where the ladder has nothing":          {job: job().Variants("none"), want: plan.KindFail, why: v1alpha1.ReasonVariantNotFound},
		"not beside an attempt that is intended":    {records: intended, want: plan.KindCreate},
		"not beside an attempt that runs":           {records: live, pods: []*gen.PodBuilder{gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Phase(corev1.PodRunning)}, want: plan.KindWait, says: "attempt 1 runs"},
		"not after an attempt":                      {records: []v1alpha1.Attempt{failed(1, "gpu", "OutputInvalid")}, want: plan.KindLaunch},
		"a pod that was not made yet":               {status: running(-3), want: plan.KindCreateLook, until: 27},
		"a pod that was not made for long":          {status: running(-40), want: plan.KindCreateLook, until: 1},
		"a pod that was made is waited for":         {status: running(-3), pod: pod().Phase(corev1.PodRunning).Node("n"), want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "looking", until: 117},
		"a pod that nobody wants any more too":      {unasked: true, status: running(-3), pod: pod().Phase(corev1.PodRunning).Node("n"), want: plan.KindWait, why: v1alpha1.ReasonProgressing, until: 117},
		"a pod without an engine too":               {change: func(in *plan.Input) { in.Engine = nil }, status: running(-3), pod: pod().Node("n"), want: plan.KindWait, why: v1alpha1.ReasonProgressing, until: 117},
		"until the deadline of the job":             {job: job().Deadline(1020), status: running(-3), pod: pod().Node("n"), want: plan.KindWait, until: 20},
		"a pod that no node takes, for a while":     {status: running(-3), pod: pod().Unschedulable("0/1 nodes", -3), want: plan.KindWait, says: "no node took the pod: 0/1 nodes", until: 27},
		"a pod that no node takes":                  {status: running(-30), pod: pod().Unschedulable("0/1 nodes", -30), want: plan.KindEndLook, why: v1alpha1.ReasonNoCapacity, says: "0/1 nodes"},
		"an image that cannot be pulled":            {status: running(-30), pod: pod().Node("n").Waiting("lookup", "ErrImagePull", "no"), want: plan.KindEndLook, why: v1alpha1.ReasonPodNotStartable, says: "ErrImagePull: no"},
		"an image that is being pulled":             {status: running(-30), pod: pod().Node("n").Waiting("lookup", "ContainerCreating", ""), want: plan.KindWait, until: 90},
		"a node that does not prepare it":           {status: running(-30), pod: pod().Node("n").Condition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, "", "", -30), want: plan.KindWait, says: "node n has not yet prepared", until: 90},
		"a node that does not prepare it, and why":  {status: running(-30), pod: hanging(-30), change: said(attempt.Unmounted{Words: "attach timed out"}), want: plan.KindWait, says: "The kubelet says: attach timed out", until: 90},
		"a Secret that is missing is waited for":    {job: keyed(), status: running(-300), pod: hanging(-300), change: said(attempt.Unmounted{Secret: "keys", Words: "w"}), want: plan.KindWait, why: v1alpha1.ReasonProgressing, says: "Secret keys (spec.video.credentialsSecretRef, spec.output.credentialsSecretRef) does not exist in the job's namespace", until: 300},
		"but not beyond the deadline":               {job: keyed().Deadline(1010), status: running(-30), pod: hanging(-30), change: said(attempt.Unmounted{Secret: "keys"}), want: plan.KindWait, until: 10},
		"a Secret that is missing for too long":     {job: keyed(), status: running(-600), pod: hanging(-600), change: said(attempt.Unmounted{Secret: "keys"}), want: plan.KindEndLook, why: v1alpha1.ReasonSecretMissing, says: "Secret keys"},
		"a Secret that the job does not name":       {job: keyed(), status: running(-120), pod: hanging(-120), change: said(attempt.Unmounted{Secret: "other", Words: "w"}), want: plan.KindEndLook, why: v1alpha1.ReasonNoProgress, says: "The kubelet says: w"},
		"a Secret that came late":                   {job: keyed(), status: running(-300), pod: pod().Node("n").Phase(corev1.PodRunning).Runs("lookup").With(begun(-20)), want: plan.KindWait, until: 100},
		"a Secret that was missing before":          {job: keyed(), status: running(-100), pod: pod().Node("n").Phase(corev1.PodRunning).Runs("lookup"), change: said(attempt.Unmounted{Secret: "keys"}), want: plan.KindWait, says: "looking", until: 20},
		"a look that takes too long":                {status: running(-120), pod: pod().Phase(corev1.PodRunning).Node("n"), want: plan.KindEndLook, why: v1alpha1.ReasonNoProgress, says: "2m0s"},
		"suspend ends it":                           {job: job().Suspend(), status: running(-200), pod: pod().Phase(corev1.PodRunning).Node("n"), want: plan.KindEndLook, why: v1alpha1.ReasonSuspendedAttempt},
		"the deadline ends it":                      {job: job().Deadline(1000), status: running(-3), pod: pod().Phase(corev1.PodRunning).Node("n"), want: plan.KindEndLook, why: v1alpha1.ReasonDeadlineExceeded},
		"what was intended is done":                 {status: &v1alpha1.LookupStatus{State: v1alpha1.LookupRunning, Reason: "NoCapacity", Message: "no node"}, pod: pod().Phase(corev1.PodRunning).Node("n"), want: plan.KindEndLook, why: "NoCapacity", says: "no node"},
		"a pod that ends is waited for":             {status: running(-200), pod: pod().Phase(corev1.PodRunning).Node("n").Deleting(-10, 30), want: plan.KindWait, says: "the look at the job's places ends", until: 80},
		"a pod that does not end is waited for":     {status: running(-900), pod: pod().Phase(corev1.PodRunning).Node("n").Deleting(-300, 30), want: plan.KindWait, why: v1alpha1.ReasonWaitingForTermination, says: "never deleted by force"},
		"even where it is settled":                  {status: status(v1alpha1.LookupSkipped, -900), pod: pod().Phase(corev1.PodRunning).Node("n").Deleting(-300, 30), want: plan.KindWait, why: v1alpha1.ReasonWaitingForTermination},
		"a suspended pod's remains":                 {status: &v1alpha1.LookupStatus{State: v1alpha1.LookupRunning, Reason: "SuspendedAttempt"}, pod: pod().Phase(corev1.PodFailed).Node("n"), want: plan.KindEndLook, why: v1alpha1.ReasonSuspendedAttempt},
		"a settled look that lives on is ended":     {status: status(v1alpha1.LookupNotFound, -3), pod: pod().Phase(corev1.PodRunning).Node("n"), want: plan.KindEndLook, says: "over"},
		"a live one beside an intent is ended":      {records: intended, status: running(-3), pod: pod().Phase(corev1.PodRunning).Node("n"), want: plan.KindEndLook},
		"one that found nothing":                    {status: status(v1alpha1.LookupNotFound, -3), pod: pod().Phase(corev1.PodSucceeded), want: plan.KindLaunch},
		"one that was skipped":                      {status: status(v1alpha1.LookupSkipped, -3), want: plan.KindLaunch},
		"one that refuses":                          {status: status(v1alpha1.LookupRefused, -3), want: plan.KindFail, why: "InputUnavailable", says: "as said"},
		"one that refuses, without an engine":       {status: status(v1alpha1.LookupRefused, -3), change: func(in *plan.Input) { in.Engine = nil }, want: plan.KindFail, why: "InputUnavailable"},
		"one that refuses a job that is suspended":  {job: job().Suspend(), status: status(v1alpha1.LookupRefused, -3), want: plan.KindWait, why: v1alpha1.ReasonSuspended},
		"one that refused, beside attempts":         {records: intended, status: status(v1alpha1.LookupRefused, -3), want: plan.KindCreate},
		"one that found a result is the end":        {status: status(v1alpha1.LookupFound, -3), change: func(in *plan.Input) { in.Done = true }, want: plan.KindSucceed},
		"a fallback engine adds nothing to the end": {job: job().Variants("none"), status: running(-3), want: plan.KindFail, why: v1alpha1.ReasonVariantNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			if c.job == nil {
				c.job = job()
			}
			in := input(c.job, c.records, c.pods...)
			in.Look = plan.Look{Wanted: !c.unasked, Status: c.status}
			if c.pod != nil {
				p := c.pod.Build()
				v := attempt.View(&p)
				in.Look.Pod = &v
			}
			if c.change != nil {
				c.change(&in)
			}
			d := plan.Next(in)
			if d.Kind != c.want || (c.why != "" && d.Reason != c.why) || !strings.Contains(d.Message, c.says) {
				t.Fatalf("Next = %s %s (%s), want %s %s saying %q", d.Kind, d.Reason, d.Message, c.want, c.why, c.says)
			}
			if c.until != 0 && !d.Until.Equal(gen.Now.Add(gen.Seconds(c.until))) {
				t.Errorf("until %s, want %s", d.Until, gen.Now.Add(gen.Seconds(c.until)))
			}
		})
	}
}
