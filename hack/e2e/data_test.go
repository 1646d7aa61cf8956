//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// pinnedEngine is the mediapipe engine with its image by digest, so that its
// results can be reused.
func pinnedEngine(t *testing.T, name string) string {
	t.Helper()
	e, err := env.PinnedEngine(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = env.Client.Delete(context.Background(), e) })
	return name
}

func reusing(j *v1alpha1.PoseJob) { j.Spec.Reuse = v1alpha1.ReuseIfVerified }

// into a folder that does not follow from the job's name.
func into(folder string) func(*v1alpha1.PoseJob) {
	return func(j *v1alpha1.PoseJob) {
		j.Spec.Output.URI = "s3://" + bucket + "/" + namespace + "/" + folder
	}
}

// reused checks a job that was complete without any attempt.
func reused(t *testing.T, j *v1alpha1.PoseJob, from string) {
	t.Helper()
	complete(t, j, 12)
	if len(j.Status.Attempts) != 0 || !meta.IsStatusConditionTrue(j.Status.Conditions, v1alpha1.ConditionReused) || j.Status.ReusedFrom == nil {
		t.Fatalf("want a reused result and no attempt, have\n%s", describe(j))
	}
	if have := j.Status.ReusedFrom.Job; have != namespace+"/"+from {
		t.Errorf("reused from %s, want %s", have, from)
	}
	var pods corev1.PodList
	if err := env.Client.List(t.Context(), &pods, client.InNamespace(j.Namespace), client.MatchingLabels{v1alpha1.LabelJobUID: string(j.UID)}); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		if p.Labels[v1alpha1.LabelPurpose] != v1alpha1.PurposeLookup {
			t.Errorf("pod %s was made for it", p.Name)
		}
	}
}

func TestNothingIsComputedTwice(t *testing.T) {
	t.Parallel()
	engine := pinnedEngine(t, "pinned-reuse")
	first := finish(t, job("reuse-a", engine, "good.mp4", reusing))
	complete(t, first, 12)
	if len(first.Status.Attempts) != 1 || first.Status.Lookup == nil || first.Status.Lookup.State != v1alpha1.LookupNotFound {
		t.Fatalf("want one attempt after a look that found nothing, have %+v\n%s", first.Status.Lookup, describe(first))
	}

	// While the first one is still there: it is what is offered.
	t.Run("a job of another name and place", func(t *testing.T) {
		reused(t, finish(t, job("reuse-b", engine, "good.mp4", reusing, into("elsewhere/b"))), "reuse-a")
	})
	t.Run("a job that is made again", func(t *testing.T) {
		again := finish(t, job("reuse-a", engine, "good.mp4", reusing))
		if again.UID == first.UID {
			t.Fatal("it is the same job")
		}
		reused(t, again, "reuse-a")
		if again.Status.Output.ManifestSHA256 != first.Status.Output.ManifestSHA256 {
			t.Error("it has another result")
		}
	})
	t.Run("not for other frames", func(t *testing.T) {
		j := finish(t, job("reuse-c", engine, "good.mp4", reusing, func(j *v1alpha1.PoseJob) { j.Spec.Video.Frames.End = 20 }))
		complete(t, j, 10)
		if len(j.Status.Attempts) != 1 {
			t.Errorf("want it computed, have\n%s", describe(j))
		}
	})
	t.Run("not when it is damaged", func(t *testing.T) {
		if err := store.Put(t.Context(), bucket, key(t, first.Status.Output.URI)+"/pose.json", videos.Text); err != nil {
			t.Fatal(err)
		}
		j := finish(t, job("reuse-a", engine, "good.mp4", reusing))
		complete(t, j, 12)
		if len(j.Status.Attempts) != 1 {
			t.Errorf("want it computed anew, have %+v\n%s", j.Status.Lookup, describe(j))
		}
	})
}

func TestWhatNoAttemptCouldMendCostsNone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*v1alpha1.PoseJob)
		reason string
		words  string
	}{
		"look-novideo":  {func(j *v1alpha1.PoseJob) { j.Spec.Video.URI = "s3://" + bucket + "/none.mp4" }, v1alpha1.ReasonInputUnavailable, "none.mp4"},
		"look-empty":    {func(j *v1alpha1.PoseJob) { j.Spec.Video.URI = "s3://" + bucket + "/empty.mp4" }, v1alpha1.ReasonInputInvalid, "empty"},
		"look-nobucket": {func(j *v1alpha1.PoseJob) { j.Spec.Output.URI = "s3://no-such-bucket/" + namespace + "/x" }, v1alpha1.ReasonDeliveryFailed, "no-such-bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failed(t, finish(t, job(name, "mediapipe", "good.mp4", reusing, c.change)), c.reason, 0, c.words)
		})
	}
}

// keys of the store below a folder of the namespace.
func keys(t *testing.T, folder string) []string {
	t.Helper()
	k, err := store.Keys(t.Context(), bucket, namespace+"/"+folder+"/")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestResultsGoWithTheirJob(t *testing.T) {
	t.Parallel()
	j := finish(t, job("goes", "mediapipe", "good.mp4", func(j *v1alpha1.PoseJob) { j.Spec.Output.DeletionPolicy = v1alpha1.DeletionDelete }))
	complete(t, j, 12)
	if len(keys(t, "goes")) == 0 {
		t.Fatal("there are no results")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := env.Remove(ctx, client.ObjectKeyFromObject(j)); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, "goes"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	object(t, "good.mp4") // the video is not the job's

	t.Run("also when the namespace goes", func(t *testing.T) {
		const doomed = "pose-e2e-doomed"
		if err := env.Namespace(t.Context(), doomed); err != nil {
			t.Fatal(err)
		}
		d := job("goes", "mediapipe", "good.mp4", func(j *v1alpha1.PoseJob) {
			j.Namespace, j.Spec.Suspend = doomed, true
			j.Spec.Output = v1alpha1.Output{URI: "s3://" + bucket + "/" + doomed + "/goes", DeletionPolicy: v1alpha1.DeletionDelete}
		})
		if err := env.Client.Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: doomed}}
		if err := env.Client.Delete(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
		for !apierrors.IsNotFound(env.Client.Get(ctx, client.ObjectKeyFromObject(ns), ns)) {
			if ctx.Err() != nil {
				t.Fatalf("the namespace hangs: %+v", ns.Status)
			}
			time.Sleep(time.Second)
		}
	})
}

// pluginCommand is kubectl-pose in the tests' namespace.
func pluginCommand(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(env.Root, "bin", "kubectl-pose"), append(args, "--kubeconfig", env.Kubeconfig, "-n", namespace)...)
}

// plugin runs kubectl-pose and gives what it printed and its exit code.
func plugin(t *testing.T, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := pluginCommand(ctx, args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("kubectl-pose: %v", err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestVerifyAndPurge(t *testing.T) {
	t.Parallel()
	j := finish(t, job("purge", "mediapipe", "good.mp4"))
	complete(t, j, 12)
	if out, code := plugin(t, "verify", "job/purge"); code != 0 {
		t.Errorf("verify ended with %d:\n%s", code, out)
	}
	if err := store.Put(t.Context(), bucket, key(t, j.Status.Output.URI)+"/pose.json", videos.Text); err != nil {
		t.Fatal(err)
	}
	if out, code := plugin(t, "verify", "job/purge"); code != 1 || !strings.Contains(out, "pose.json") {
		t.Errorf("verify of a damaged result ended with %d:\n%s", code, out)
	}
	if err := store.Put(t.Context(), bucket, namespace+"/purge/note.txt", videos.Text); err != nil {
		t.Fatal(err)
	}
	out, code := plugin(t, "purge", "purge", "--yes")
	if code != 0 || !strings.Contains(out, "removed 1 results") {
		t.Errorf("purge ended with %d:\n%s", code, out)
	}
	if left := keys(t, "purge"); fmt.Sprint(left) != fmt.Sprint([]string{namespace + "/purge/note.txt"}) {
		t.Errorf("left behind: %v", left)
	}
}
