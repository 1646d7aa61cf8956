// Command figures measures what the README and the release notes name: image
// sizes, how soon after a crash on the GPU node the next pod exists, how soon a
// result is found again, and what an engine that loads once for many clips saves.
// It prints figures and asserts nothing.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

const (
	namespace = "pose-figures"
	bucket    = "figures"
	rounds    = 15
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	err := run(ctx)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	env, err := harness.Connect()
	if err != nil {
		return err
	}
	sizes(env)
	store, err := env.StartStore(ctx, filepath.Join(env.Root, ".demo", "s3"))
	if err != nil {
		return err
	}
	defer store.Stop()
	if err := prepare(ctx, env, store); err != nil {
		return err
	}
	var gaps []time.Duration
	for i := range rounds {
		gap, err := fallback(ctx, env, i)
		if err != nil {
			return err
		}
		gaps = append(gaps, gap)
	}
	slices.Sort(gaps)
	fmt.Printf("GPU pod seen Failed to CPU pod created, %d jobs: min %s, median %s, max %s\n",
		rounds, gaps[0].Round(time.Millisecond), gaps[rounds/2].Round(time.Millisecond), gaps[rounds-1].Round(time.Millisecond))
	if err := reuse(ctx, env); err != nil {
		return err
	}
	return batches(ctx, env, store)
}

// sizes of the images as their archives hold them: the unpacked layers.
func sizes(env *harness.Env) {
	for _, name := range []string{"manager", "pose-runner", "media", "mediapipe", "staged-engine"} {
		info, err := os.Stat(filepath.Join(env.Root, ".cluster", "images", name+".tar"))
		if err != nil {
			fmt.Printf("image %-14s not built (make images)\n", name)
			continue
		}
		fmt.Printf("image %-14s %7.1f MB unpacked\n", name, float64(info.Size())/1e6)
	}
}

func prepare(ctx context.Context, env *harness.Env, s *harness.Store) error {
	videos, err := env.MakeVideos(ctx, filepath.Join(env.Root, ".demo", "videos"))
	if err != nil {
		return err
	}
	if err := s.Bucket(ctx, bucket); err != nil {
		return err
	}
	if err := s.Put(ctx, bucket, "video.mp4", videos.MP4); err != nil {
		return err
	}
	if err := env.Namespace(ctx, namespace); err != nil {
		return err
	}
	if err := env.Secret(ctx, namespace, "store", s); err != nil {
		return err
	}
	if err := env.InstallOperator(ctx, harness.Values(s)); err != nil {
		return err
	}
	_, err = env.StagedEngine(ctx, "staged-figures", "sigsegv")
	return err
}

// fallback runs one job until its second pod exists and gives the time between
// the first pod's failure and that, both as this process sees them by a watch.
func fallback(ctx context.Context, env *harness.Env, round int) (time.Duration, error) {
	creds := &v1alpha1.SecretReference{Name: "store"}
	job := &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("fallback-%d", round)},
		Spec: v1alpha1.PoseJobSpec{
			EngineName: "staged-figures",
			Video:      v1alpha1.VideoSource{URI: "s3://" + bucket + "/video.mp4", CredentialsSecretRef: creds, Frames: &v1alpha1.FrameRange{End: 2}},
			Output:     v1alpha1.Output{URI: "s3://" + bucket + "/" + namespace + "/" + fmt.Sprint(round), CredentialsSecretRef: creds},
		},
	}
	key := client.ObjectKeyFromObject(job)
	if err := env.Remove(ctx, key); err != nil {
		return 0, err
	}
	w, err := env.Client.Watch(ctx, &corev1.PodList{}, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelJob: job.Name})
	if err != nil {
		return 0, fmt.Errorf("watch pods: %w", err)
	}
	defer w.Stop()
	if err := env.Client.Create(ctx, job); err != nil {
		return 0, fmt.Errorf("create PoseJob %s: %w", key, err)
	}
	gap, err := between(ctx, w)
	if err != nil {
		return 0, fmt.Errorf("PoseJob %s: %w", key, err)
	}
	return gap, env.Remove(ctx, key)
}

func between(ctx context.Context, w watch.Interface) (time.Duration, error) {
	var failed time.Time
	for {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case e, ok := <-w.ResultChan():
			if !ok {
				return 0, fmt.Errorf("the watch ended early")
			}
			pod, isPod := e.Object.(*corev1.Pod)
			if !isPod {
				continue
			}
			switch attempt := pod.Labels[v1alpha1.LabelAttempt]; {
			case attempt == "1" && pod.Status.Phase == corev1.PodFailed && failed.IsZero():
				failed = time.Now()
			case attempt == "2" && e.Type == watch.Added && !failed.IsZero():
				return time.Since(failed), nil
			case attempt == "2" && e.Type == watch.Added:
				return 0, fmt.Errorf("the second pod came before the first was seen to fail")
			}
		}
	}
}
