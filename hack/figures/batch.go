package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

const (
	// batchClips of batchFrames each: clips so short that loading weighs.
	batchClips  = 12
	batchFrames = 5
	// clipsPerPod of the second batch; the first has a pod for each clip.
	clipsPerPod = 6
)

// batches runs the same clips as a batch with a pod for each, and as one whose
// engine loads once for several, and prints what a clip cost.
func batches(ctx context.Context, env *harness.Env, s *harness.Store) error {
	if err := putClips(ctx, env, s); err != nil {
		return err
	}
	var costs [2]float64
	for i, each := range []int32{1, clipsPerPod} {
		b, took, err := oneBatch(ctx, env, each)
		if err != nil {
			return err
		}
		costs[i] = float64(b.Status.CPUSeconds) / batchClips
		fmt.Printf("a batch of %d clips of %d frames, %d a pod, 2 pods side by side: %s, engine seconds on the CPU %d, %.2f a clip\n",
			batchClips, batchFrames, each, took.Round(time.Second), b.Status.CPUSeconds, costs[i])
	}
	if costs[1] > 0 {
		fmt.Printf("engine seconds a clip, one clip a pod against %d: %.2f times\n", clipsPerPod, costs[0]/costs[1])
	}
	return nil
}

// putClips cuts the real video into clips.
func putClips(ctx context.Context, env *harness.Env, s *harness.Store) error {
	videos, err := env.MakeVideos(ctx, filepath.Join(env.Root, ".demo", "videos"))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "clips-*")
	if err != nil {
		return fmt.Errorf("make a folder for clips: %w", err)
	}
	defer os.RemoveAll(dir)
	for i := range batchClips {
		file := filepath.Join(dir, fmt.Sprintf("%02d.mp4", i))
		if _, err := env.Run(ctx, "ffmpeg", "-v", "error", "-ss", fmt.Sprint(i), "-i", videos.MP4, "-frames:v", fmt.Sprint(batchFrames),
			"-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", file); err != nil {
			return err
		}
		if err := s.Put(ctx, bucket, "clips/"+filepath.Base(file), file); err != nil {
			return err
		}
	}
	return nil
}

func oneBatch(ctx context.Context, env *harness.Env, each int32) (*v1alpha1.PoseBatch, time.Duration, error) {
	creds := &v1alpha1.SecretReference{Name: "store"}
	name := fmt.Sprintf("clips-%d", each)
	b := &v1alpha1.PoseBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.PoseBatchSpec{
			Videos:      v1alpha1.BatchVideos{Prefix: "s3://" + bucket + "/clips/", CredentialsSecretRef: creds},
			Output:      v1alpha1.BatchOutput{URI: "s3://" + bucket + "/" + namespace + "/" + name, CredentialsSecretRef: creds},
			Template:    v1alpha1.BatchTemplate{EngineName: "pinned-figures", Reuse: v1alpha1.ReuseNever},
			Parallelism: 2, ClipsPerPod: each,
		},
	}
	start := time.Now()
	if err := env.Client.Create(ctx, b); err != nil {
		return nil, 0, fmt.Errorf("create PoseBatch %s: %w", name, err)
	}
	for !meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionFinished) {
		time.Sleep(200 * time.Millisecond)
		if err := env.Client.Get(ctx, client.ObjectKeyFromObject(b), b); err != nil {
			return nil, 0, fmt.Errorf("get PoseBatch %s: %w", name, err)
		}
	}
	took := time.Since(start)
	if b.Status.Phase != v1alpha1.BatchPhaseSucceeded {
		return nil, 0, fmt.Errorf("PoseBatch %s ended as %s: %+v", name, b.Status.Phase, b.Status.Conditions)
	}
	if err := env.Client.Delete(ctx, b); err != nil {
		return nil, 0, fmt.Errorf("delete PoseBatch %s: %w", name, err)
	}
	return b, took, nil
}
