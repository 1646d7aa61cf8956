package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

const reuses = 9

// reuse makes a job, and then the same job again and again, and prints how long
// it takes from its creation to its end when its result is found.
func reuse(ctx context.Context, env *harness.Env) error {
	if _, err := env.PinnedEngine(ctx, "pinned-figures"); err != nil {
		return err
	}
	computed, err := once(ctx, env, v1alpha1.ReuseNever)
	if err != nil {
		return err
	}
	var took []time.Duration
	for range reuses {
		again, err := once(ctx, env, v1alpha1.ReuseIfVerified)
		if err != nil {
			return err
		}
		if len(again.job.Status.Attempts) > 0 {
			return fmt.Errorf("PoseJob %s was computed anew: %+v", again.job.Name, again.job.Status.Lookup)
		}
		took = append(took, again.took)
	}
	slices.Sort(took)
	fmt.Printf("a job of 2 frames computed in %s; found again, %d times, in: min %s, median %s, max %s\n", computed.took.Round(time.Millisecond),
		reuses, took[0].Round(time.Millisecond), took[reuses/2].Round(time.Millisecond), took[reuses-1].Round(time.Millisecond))
	return nil
}

type ended struct {
	job  *v1alpha1.PoseJob
	took time.Duration
}

// once runs the job and gives the time from its creation to its end as a watch
// shows it.
func once(ctx context.Context, env *harness.Env, policy v1alpha1.ReusePolicy) (ended, error) {
	creds := &v1alpha1.SecretReference{Name: "store"}
	job := &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reuse"},
		Spec: v1alpha1.PoseJobSpec{
			EngineName: "pinned-figures", Reuse: policy,
			Video:  v1alpha1.VideoSource{URI: "s3://" + bucket + "/video.mp4", CredentialsSecretRef: creds, Frames: &v1alpha1.FrameRange{End: 2}},
			Output: v1alpha1.Output{URI: "s3://" + bucket + "/" + namespace + "/reuse", CredentialsSecretRef: creds},
		},
	}
	key := client.ObjectKeyFromObject(job)
	if err := env.Remove(ctx, key); err != nil {
		return ended{}, err
	}
	w, err := env.Client.Watch(ctx, &v1alpha1.PoseJobList{}, client.InNamespace(namespace), client.MatchingFields{"metadata.name": job.Name})
	if err != nil {
		return ended{}, fmt.Errorf("watch PoseJobs: %w", err)
	}
	defer w.Stop()
	start := time.Now()
	if err := env.Client.Create(ctx, job); err != nil {
		return ended{}, fmt.Errorf("create PoseJob %s: %w", key, err)
	}
	for {
		select {
		case <-ctx.Done():
			return ended{}, ctx.Err()
		case e, ok := <-w.ResultChan():
			if !ok {
				return ended{}, fmt.Errorf("the watch of PoseJob %s ended early", key)
			}
			seen, isJob := e.Object.(*v1alpha1.PoseJob)
			if isJob && seen.UID == job.UID && harness.Finished(seen) {
				if seen.Status.Phase != v1alpha1.PhaseSucceeded {
					return ended{}, fmt.Errorf("PoseJob %s ended as %s: %+v", key, seen.Status.Phase, seen.Status.Conditions)
				}
				return ended{seen, time.Since(start)}, nil
			}
		}
	}
}
