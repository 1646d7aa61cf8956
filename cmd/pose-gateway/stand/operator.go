package stand

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// Operator plays what becomes of jobs, and runs none: a job whose video is named
// "...fail..." fails after two attempts, "...fallback..." succeeds with its second, and
// every other succeeds with its first.
type Operator struct {
	Client client.Client
	Store  storage.Options
	// Step is how long each step takes.
	Step time.Duration
	// Files of every result, by their path in it.
	Files map[string][]byte
	// Log is told what cannot be played.
	Log func(error)

	seen map[string]bool
}

// Run until ctx ends.
func (o *Operator) Run(ctx context.Context) {
	o.seen = map[string]bool{}
	for ctx.Err() == nil {
		var all v1alpha1.PoseJobList
		if err := o.Client.List(ctx, &all); err != nil {
			o.Log(err)
		}
		for i := range all.Items {
			job := &all.Items[i]
			if o.seen[string(job.UID)] {
				continue
			}
			o.seen[string(job.UID)] = true
			go func() {
				if err := o.play(ctx, job); err != nil && client.IgnoreNotFound(err) != nil {
					o.Log(err)
				}
			}()
		}
		wait(ctx, 100*time.Millisecond)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (o *Operator) play(ctx context.Context, job *v1alpha1.PoseJob) error {
	name := job.Annotations["pose.dev/upload-name"]
	fails, falls := strings.Contains(name, "fail"), strings.Contains(name, "fallback")
	if err := o.attempt(ctx, job, 1, v1alpha1.GPU, !fails && !falls); err != nil {
		return err
	}
	if fails || falls {
		if err := o.attempt(ctx, job, 2, v1alpha1.CPU, !fails); err != nil {
			return err
		}
	}
	if job.Spec.Suspend {
		return nil
	}
	if !fails {
		return Succeed(ctx, o.Client, o.Store, job, o.Files)
	}
	return Write(ctx, o.Client, job, func(s *v1alpha1.PoseJobStatus) {
		now := metav1.Now()
		const why = "The engine died while it loaded its detector, on both variants."
		s.Phase, s.Stage, s.CompletionTime, s.Progress = v1alpha1.PhaseFailed, "", &now, nil
		ready := condition(v1alpha1.ConditionReady, v1alpha1.ReasonDetectorLoadCrash, why)
		ready.Status = metav1.ConditionFalse
		s.Conditions = []metav1.Condition{ready, condition(v1alpha1.ConditionStalled, v1alpha1.ReasonDetectorLoadCrash, why), condition(v1alpha1.ConditionFailed, v1alpha1.ReasonDetectorLoadCrash, why), condition(v1alpha1.ConditionFinished, v1alpha1.ReasonDetectorLoadCrash, why)}
	})
}

// frames of the video that is played.
const frames = 120

func (o *Operator) attempt(ctx context.Context, job *v1alpha1.PoseJob, number int32, device v1alpha1.Device, ends bool) error {
	stages := []string{"Fetch", "Prepare", "ModelLoad", "DetectorLoad"}
	if ends {
		stages = append(stages, "Tracking", "Tracking", "Tracking", "Tracking", "Writing", "Deliver")
	}
	done := int64(0)
	for i, stage := range stages {
		wait(ctx, o.Step)
		err := Write(ctx, o.Client, job, func(s *v1alpha1.PoseJobStatus) {
			now := metav1.Now()
			if i == 0 {
				s.Attempts = append(s.Attempts, v1alpha1.Attempt{Number: number, State: v1alpha1.AttemptRunning, Variant: strings.ToLower(string(device)), Device: device, StartTime: &now})
				if s.StartTime == nil {
					s.StartTime = &now
				}
			}
			s.Phase, s.Stage, s.Device, s.AttemptCount, s.EngineName, s.Progress = v1alpha1.PhaseRunning, stage, device, number, "mediapipe", nil
			s.Attempts[number-1].Stage = stage
			ready := condition(v1alpha1.ConditionReady, v1alpha1.ReasonProgressing, "Attempt "+fmt.Sprint(number)+" is in stage "+stage+".")
			ready.Status = metav1.ConditionFalse
			s.Conditions = []metav1.Condition{ready}
			if stage == "Tracking" {
				done += frames / 4
				end := metav1.NewTime(now.Add(o.Step * time.Duration(len(stages)-i)))
				s.Progress = &v1alpha1.JobProgress{
					Summary: fmt.Sprintf("%d%% %d/%d", done*100/frames, done, frames), Frames: done, TotalFrames: frames,
					Percent: int32(done * 100 / frames), MilliFPS: 12500, EstimatedCompletionTime: &end, //nolint:gosec // at most 100
				}
			}
		})
		if err != nil || job.Spec.Suspend {
			return err
		}
	}
	if ends {
		return nil
	}
	wait(ctx, o.Step)
	return Write(ctx, o.Client, job, func(s *v1alpha1.PoseJobStatus) {
		now := metav1.Now()
		a := &s.Attempts[number-1]
		a.State, a.Reason, a.Action, a.FinishTime, a.Signal = v1alpha1.AttemptFailed, v1alpha1.ReasonDetectorLoadCrash, v1alpha1.ActionNextVariant, &now, "SIGSEGV"
		a.Message = "The engine was ended by SIGSEGV while it loaded its detector."
	})
}
