//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// clip puts some frames of the real video into the store.
func clip(t *testing.T, key string, from, frames int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), filepath.Base(key))
	if _, err := env.Run(t.Context(), "ffmpeg", "-v", "error", "-ss", fmt.Sprint(float64(from)/10), "-i", videos.MP4, "-frames:v", fmt.Sprint(frames),
		"-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", file); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), bucket, key, file); err != nil {
		t.Fatal(err)
	}
}

// batch runs to its end.
func batch(t *testing.T, name, engine, prefix string) *v1alpha1.PoseBatch {
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
	index(t, b)

	t.Run("another one finds what is done", func(t *testing.T) {
		again := batch(t, "clips-again", engine, "clips")
		if c := again.Status.Counts; c == nil || c.Failed != 1 || c.Succeeded != 2 || c.Reused != 2 {
			t.Fatalf("counts %+v\nconditions %+v", c, again.Status.Conditions)
		}
	})
}

// index of a batch leads to every result.
func index(t *testing.T, b *v1alpha1.PoseBatch) {
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
	if fmt.Sprint(frames) != "map[a/one.mp4:5 a/two.mov:6]" {
		t.Errorf("the index has %v\n%s", frames, raw)
	}
}
