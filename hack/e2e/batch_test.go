//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// cut some frames of the real video into a file whose name ends as name does.
func cut(t *testing.T, name string, from, frames int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), filepath.Base(name))
	if _, err := env.Run(t.Context(), "ffmpeg", "-v", "error", "-ss", fmt.Sprint(float64(from)/10), "-i", videos.MP4, "-frames:v", fmt.Sprint(frames),
		"-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", file); err != nil {
		t.Fatal(err)
	}
	return file
}

// clip puts some frames of the real video into the store.
func clip(t *testing.T, key string, from, frames int) {
	t.Helper()
	if err := store.Put(t.Context(), bucket, key, cut(t, key, from, frames)); err != nil {
		t.Fatal(err)
	}
}

// batch runs to its end.
func batch(t *testing.T, name, engine, prefix string, change ...func(*v1alpha1.PoseBatch)) *v1alpha1.PoseBatch {
	t.Helper()
	creds := &v1alpha1.SecretReference{Name: "store"}
	b := &v1alpha1.PoseBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.PoseBatchSpec{
			Videos:      v1alpha1.BatchVideos{Prefix: "s3://" + bucket + "/" + prefix + "/", CredentialsSecretRef: creds},
			Output:      v1alpha1.BatchOutput{URI: "s3://" + bucket + "/" + namespace + "/" + prefix, CredentialsSecretRef: creds},
			Template:    v1alpha1.BatchTemplate{EngineName: engine, Reuse: v1alpha1.ReuseIfVerified},
			Parallelism: 2,
		},
	}
	for _, c := range change {
		c(b)
	}
	if err := env.Client.Create(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = env.Client.Delete(context.Background(), b, client.PropagationPolicy(metav1.DeletePropagationForeground))
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionFinished) {
		if err := env.Client.Get(ctx, client.ObjectKeyFromObject(b), b); err != nil {
			t.Fatalf("%v; status %+v", err, b.Status)
		}
		time.Sleep(500 * time.Millisecond)
	}
	return b
}

func TestABatchOfVideos(t *testing.T) {
	t.Parallel()
	engine := pinnedEngine(t, "pinned-batch")
	clip(t, "clips/a/one.mp4", 0, 5)
	clip(t, "clips/a/two.mov", 100, 6)
	if err := store.Put(t.Context(), bucket, "clips/broken.mp4", videos.Text); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), bucket, "clips/notes.txt", videos.Text); err != nil {
		t.Fatal(err)
	}
	b := batch(t, "clips", engine, "clips")
	c := b.Status.Counts
	if c == nil || c.Total != 3 || c.Succeeded != 2 || c.Failed != 1 || c.Reused != 0 {
		t.Fatalf("counts %+v\nconditions %+v", c, b.Status.Conditions)
	}
	if f := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionFailed); f == nil || f.Status != metav1.ConditionTrue {
		t.Errorf("one video failed, and the batch says %+v", f)
	}
	if len(b.Status.Failures) != 1 || b.Status.Failures[0].Name != "broken.mp4" || b.Status.Failures[0].Reason != v1alpha1.ReasonInputInvalid {
		t.Errorf("failures %+v", b.Status.Failures)
	}
	if b.Status.CPUSeconds == 0 || b.Status.Average == nil {
		t.Errorf("it cost nothing: %+v", b.Status)
	}
	index(t, b, map[string]int64{"a/one.mp4": 5, "a/two.mov": 6})

	t.Run("another one finds what is done", func(t *testing.T) {
		again := batch(t, "clips-again", engine, "clips")
		if c := again.Status.Counts; c == nil || c.Failed != 1 || c.Succeeded != 2 || c.Reused != 2 {
			t.Fatalf("counts %+v\nconditions %+v", c, again.Status.Conditions)
		}
	})
	t.Run("its results go with it", func(t *testing.T) {
		if err := env.Client.Patch(t.Context(), b, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"output":{"deletionPolicy":"Delete"}}}`))); err != nil {
			t.Fatal(err)
		}
		for !controllerutil.ContainsFinalizer(b, v1alpha1.FinalizerResults) {
			time.Sleep(200 * time.Millisecond)
			if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(b), b); err != nil {
				t.Fatal(err)
			}
		}
		if err := env.Client.Delete(t.Context(), b, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for !apierrors.IsNotFound(env.Client.Get(ctx, client.ObjectKeyFromObject(b), b)) {
			if ctx.Err() != nil {
				t.Fatalf("it is still there: %+v", b.Status.Conditions)
			}
			time.Sleep(500 * time.Millisecond)
		}
		// The other batch wrote its own batch.json over this one's, or did not: what is
		// left is of none of the clips.
		left, err := store.Keys(t.Context(), bucket, namespace+"/clips/a/")
		if err != nil || len(left) > 0 {
			t.Errorf("of a batch that was deleted with its results these are left: %v (%v)", left, err)
		}
	})
}

// index of a batch leads to every result, which has so many frames by the clip's name.
func index(t *testing.T, b *v1alpha1.PoseBatch, want map[string]int64) {
	t.Helper()
	if b.Status.Index == nil {
		t.Fatalf("there is no index; conditions %+v", b.Status.Conditions)
	}
	raw := object(t, key(t, b.Status.Index.URI))
	if digest(raw) != b.Status.Index.SHA256 {
		t.Error("the index is not the one that status names")
	}
	var doc struct {
		Clips []struct {
			Name, State, Result, ManifestSHA256, Reason string
			Frames                                      int64
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	frames := map[string]int64{}
	for _, c := range doc.Clips {
		if c.State == "Succeeded" {
			frames[c.Name] = c.Frames
			if digest(object(t, key(t, c.Result)+"/manifest.json")) != c.ManifestSHA256 {
				t.Errorf("%s: another manifest lies at %s", c.Name, c.Result)
			}
		}
	}
	if !maps.Equal(frames, want) {
		t.Errorf("the index has %v, want %v\n%s", frames, want, raw)
	}
}
