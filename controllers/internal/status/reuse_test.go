package status_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/lookup"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
	posestatus "github.com/pose-dev/pose-operator/controllers/internal/status"
	"github.com/pose-dev/pose-operator/internal/report"
)

func reused(change ...func(*report.ReusedResult)) *report.ReusedResult {
	r := &report.ReusedResult{
		Result: report.DeliveryReport{URI: "s3://results/team-a/j/attempts/0f5a7-0", ManifestSHA256: "ab", People: 1, Frames: 120},
		Video:  report.VideoFacts{Codec: "h264", Width: 640, Height: 360, FPS: 29.97, Frames: 120},
		From:   report.JobRef{Namespace: "team-a", Name: "first"}, URI: "s3://results/team-a/first/attempts/99999-2",
		Engine: "phalp", Variant: "gpu", Device: "GPU", CompletedAt: "2026-03-04T11:00:00Z",
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func TestLookInStatus(t *testing.T) {
	at := gen.At(-9)
	look := func(state v1alpha1.LookupState) lookup.Look {
		return lookup.Look{Status: &v1alpha1.LookupStatus{State: state, StartTime: &at, PodUID: "u", Reason: map[v1alpha1.LookupState]string{v1alpha1.LookupRefused: "InputUnavailable"}[state]}}
	}
	lives := func(l lookup.Look) lookup.Look {
		l.Pod = &attempt.Pod{UID: "u", Phase: corev1.PodRunning, Node: "n"}
		return l
	}
	found := func(change ...func(*report.ReusedResult)) lookup.Look {
		l := look(v1alpha1.LookupFound)
		l.Fresh, l.Found = true, reused(change...)
		return l
	}
	wait := plan.Decision{Kind: plan.KindWait, Reason: v1alpha1.ReasonProgressing, Message: "looking"}
	working := map[string]string{"EngineResolved": "True/EngineResolved", "Ready": "False/Progressing", "Reconciling": "True/Progressing"}
	complete := map[string]string{"EngineResolved": "True/EngineResolved", "Ready": "True/Succeeded", "Complete": "True/Succeeded", "Finished": "True/Succeeded", "Reused": "True/VerifiedResult"}
	degraded := map[string]string{"Degraded": "True/Fallback"}
	for k, v := range complete {
		degraded[k] = v
	}
	for name, c := range map[string]struct {
		job      *gen.JobBuilder
		look     lookup.Look
		decision plan.Decision
		phase    v1alpha1.Phase
		kstatus  status.Status
		want     map[string]string
		says     string
		state    v1alpha1.LookupState
		reason   string
	}{
		"the intent":               {decision: plan.Decision{Kind: plan.KindLook, Reason: v1alpha1.ReasonProgressing, Message: "looking"}, phase: v1alpha1.PhasePending, kstatus: status.InProgressStatus, want: working, says: "looking", state: v1alpha1.LookupRunning},
		"a pod that looks":         {look: lives(look(v1alpha1.LookupRunning)), decision: wait, phase: v1alpha1.PhasePending, kstatus: status.InProgressStatus, want: working, says: "looking", state: v1alpha1.LookupRunning},
		"a pod that is ended":      {look: lives(look(v1alpha1.LookupRunning)), decision: plan.Decision{Kind: plan.KindEndLook, Reason: "NoCapacity", Message: "no node"}, phase: v1alpha1.PhasePending, kstatus: status.InProgressStatus, want: working, says: "ending the pod: no node", state: v1alpha1.LookupRunning, reason: "NoCapacity"},
		"one of a settled look":    {look: lives(look(v1alpha1.LookupNotFound)), decision: plan.Decision{Kind: plan.KindEndLook, Reason: "", Message: "over"}, phase: v1alpha1.PhasePending, kstatus: status.InProgressStatus, want: working, says: "over", state: v1alpha1.LookupNotFound},
		"a refusal":                {look: look(v1alpha1.LookupRefused), decision: plan.Decision{Kind: plan.KindFail, Reason: "InputUnavailable", Message: "no video"}, phase: v1alpha1.PhaseFailed, kstatus: status.FailedStatus, want: map[string]string{"EngineResolved": "True/EngineResolved", "Ready": "False/InputUnavailable", "Stalled": "True/InputUnavailable", "Failed": "True/InputUnavailable", "Finished": "True/InputUnavailable"}, says: "no video", state: v1alpha1.LookupRefused, reason: "InputUnavailable"},
		"an end without a pod":     {look: look(v1alpha1.LookupRunning), decision: plan.Decision{Kind: plan.KindFail, Reason: "DeadlineExceeded", Message: "late"}, phase: v1alpha1.PhaseFailed, kstatus: status.FailedStatus, want: map[string]string{"EngineResolved": "True/EngineResolved", "Ready": "False/DeadlineExceeded", "Stalled": "True/DeadlineExceeded", "Failed": "True/DeadlineExceeded", "Finished": "True/DeadlineExceeded"}, says: "late", state: v1alpha1.LookupSkipped},
		"not suspended while live": {job: gen.Job("j").Suspend(), look: lives(look(v1alpha1.LookupRunning)), decision: plan.Decision{Kind: plan.KindEndLook, Reason: "SuspendedAttempt", Message: "by spec.suspend"}, phase: v1alpha1.PhasePending, kstatus: status.InProgressStatus, want: working, says: "by spec.suspend", state: v1alpha1.LookupRunning, reason: "SuspendedAttempt"},
		"a result":                 {look: found(), decision: plan.Decision{Kind: plan.KindSucceed}, phase: v1alpha1.PhaseSucceeded, kstatus: status.CurrentStatus, want: complete, says: "120 frames and 1 person, verified, at s3://results/team-a/j/attempts/0f5a7-0. It was computed before by PoseJob team-a/first on 2026-03-04T11:00:00Z and found again: no attempt was made", state: v1alpha1.LookupFound},
		"a result of nobody":       {look: found(func(r *report.ReusedResult) { r.From, r.CompletedAt = report.JobRef{}, "" }), decision: plan.Decision{Kind: plan.KindSucceed}, phase: v1alpha1.PhaseSucceeded, kstatus: status.CurrentStatus, want: complete, says: "It was computed before and found again", state: v1alpha1.LookupFound},
		"a result of a later rung": {look: found(func(r *report.ReusedResult) { r.Variant, r.Device = "cpu", "CPU" }), decision: plan.Decision{Kind: plan.KindSucceed}, phase: v1alpha1.PhaseSucceeded, kstatus: status.CurrentStatus, want: degraded, state: v1alpha1.LookupFound},
		"a result of another engine": {look: found(func(r *report.ReusedResult) { r.Engine, r.Variant = "mediapipe", "gpu" }), decision: plan.Decision{Kind: plan.KindSucceed}, phase: v1alpha1.PhaseSucceeded, kstatus: status.CurrentStatus,
			want: degraded, state: v1alpha1.LookupFound},
	} {
		t.Run(name, func(t *testing.T) {
			if c.job == nil {
				c.job = gen.Job("j")
			}
			in := input(c.job.Build(), c.decision)
			in.Look = c.look
			s := posestatus.Compute(in)
			if diff := cmp.Diff(c.want, conditions(s)); diff != "" || s.Phase != c.phase {
				t.Errorf("phase %s, conditions (-want +got):\n%s", s.Phase, diff)
			}
			if got := verdict(t, c.job.Build(), s); got != c.kstatus {
				t.Errorf("kstatus says %s", got)
			}
			for _, cond := range s.Conditions {
				if cond.Type == v1alpha1.ConditionReady && !strings.Contains(cond.Message, c.says) {
					t.Errorf("Ready says %q, want %q", cond.Message, c.says)
				}
			}
			if s.Lookup == nil || s.Lookup.State != c.state || s.Lookup.Reason != c.reason || len(s.Attempts) != 0 {
				t.Errorf("lookup %+v, attempts %+v", s.Lookup, s.Attempts)
			}
			if (s.ReusedFrom != nil) != (c.state == v1alpha1.LookupFound) || (s.Output != nil) != (s.ReusedFrom != nil) || (s.Video != nil) != (s.ReusedFrom != nil) {
				t.Errorf("reused from %+v, output %+v, video %+v", s.ReusedFrom, s.Output, s.Video)
			}
			// The next look changes nothing.
			after := c.job.Build()
			after.Status = s
			in = input(after, c.decision)
			if in.Look = c.look; c.decision.Kind == plan.KindLook {
				return
			}
			in.Look.Status, in.Look.Fresh, in.Look.Found = s.Lookup, false, nil
			if again := posestatus.Compute(in); !posestatus.Equal(s, again) {
				t.Errorf("it does not settle:\n%s", cmp.Diff(s, again))
			}
		})
	}
}

func TestFoundVariant(t *testing.T) {
	in := input(gen.Job("j").Build(), plan.Decision{})
	if got := posestatus.FoundVariant(in); got != "" {
		t.Errorf("of nothing: %q", got)
	}
	in.Look.Found = reused()
	if got := posestatus.FoundVariant(in); got != "gpu" {
		t.Errorf("of the job's engine: %q", got)
	}
	in.Look.Found = reused(func(r *report.ReusedResult) { r.Engine = "mediapipe" })
	if got := posestatus.FoundVariant(in); got != "mediapipe/gpu" {
		t.Errorf("of another engine: %q", got)
	}
}

// What prepare measured of a video reaches the status whole, and bounded.
func TestVideoStatus(t *testing.T) {
	wild := "\x1b[2J" + strings.Repeat("x", 300)
	for name, c := range map[string]struct {
		facts report.VideoFacts
		want  v1alpha1.VideoStatus
	}{
		"plain": {
			report.VideoFacts{Codec: "h264", Width: 640, Height: 360, FPS: 29.97, Frames: 120, SourceSHA256: "ab"},
			v1alpha1.VideoStatus{SHA256: "ab", Codec: "h264", Width: 640, Height: 360, MilliFPS: 29970, Frames: 120},
		},
		"all": {
			report.VideoFacts{Codec: "h264", Width: 640, Height: 360, FPS: 30, Frames: 120, StartFrame: 17, DurationSec: 4.004, SourceSHA256: "ab", SourceVersion: `"5d-2"`,
				Source: &report.SourceFacts{Bytes: 1 << 30, Container: "mov", Codec: "hevc", Why: "HEVC"}},
			v1alpha1.VideoStatus{SHA256: "ab", Codec: "h264", Width: 640, Height: 360, MilliFPS: 30000, Frames: 120, StartFrame: 17, DurationMilliseconds: 4004,
				Source: &v1alpha1.VideoSourceStatus{Bytes: 1 << 30, Version: `"5d-2"`, Container: "mov", Codec: "hevc", Reencoded: "HEVC"}},
		},
		"wild": {
			report.VideoFacts{Frames: 1, StartFrame: -4, DurationSec: 1e30, SourceVersion: "\x1b[2Jv", Source: &report.SourceFacts{Bytes: -1, Container: "\x1b" + strings.Repeat("x", 31), Codec: "a\nb", Why: "\x07w"}},
			v1alpha1.VideoStatus{Frames: 1, Source: &v1alpha1.VideoSourceStatus{Version: "[2Jv", Container: strings.Repeat("x", 31), Codec: "a b", Reencoded: "w"}},
		},
		"long": {
			report.VideoFacts{Frames: 1, Source: &report.SourceFacts{Container: wild, Codec: wild, Why: wild}},
			v1alpha1.VideoStatus{Frames: 1, Source: &v1alpha1.VideoSourceStatus{Container: cut(wild, 32), Codec: cut(wild, 32), Reencoded: cut(wild, 128)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := gen.Pod("p1", 1, "gpu", v1alpha1.GPU).Dead().Says("prepare", report.Termination{Role: report.RolePrepare, Result: report.ResultOK, Video: &c.facts}).Build()
			job := gen.Job("j").Attempts(gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Running("p1"))).Build()
			if diff := cmp.Diff(&c.want, posestatus.Compute(input(job, plan.Decision{Kind: plan.KindWait}, pod)).Video); diff != "" {
				t.Errorf("video (-want +got):\n%s", diff)
			}
		})
	}
}

func cut(s string, limit int) string {
	s = strings.ReplaceAll(s, "\x1b", "")
	return s[:limit-len("…")] + "…"
}
