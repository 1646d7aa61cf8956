//go:build e2e

package e2e

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/errand"
	"github.com/pose-dev/pose-operator/internal/report"
)

func TestVideoAndResultsOnAClaim(t *testing.T) {
	t.Parallel()
	dir := claim(t, "films")
	copyFile(t, videos.MP4, filepath.Join(dir, "in", "walk.mp4"))
	if err := os.MkdirAll(filepath.Join(dir, "out"), 0o777); err != nil {
		t.Fatal(err)
	}
	openToPods(t, dir)
	j := finish(t, job("by-claim", "mediapipe", "pvc://films/in/walk.mp4", func(j *v1alpha1.PoseJob) {
		j.Spec.Video.CredentialsSecretRef, j.Spec.Output.CredentialsSecretRef = nil, nil
		j.Spec.Output.URI = "pvc://films/out/walk"
	}))
	if j.Status.Output == nil || j.Status.Output.Frames != 12 {
		t.Fatalf("want 12 frames on the claim, have\n%s", describe(j))
	}
	folder := filepath.Join(dir, strings.TrimPrefix(j.Status.Output.URI, "pvc://films/"))
	manifest, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if digest(manifest) != j.Status.Output.ManifestSHA256 {
		t.Error("manifest.json on the claim is not the one in status")
	}
	for _, f := range j.Status.Output.Files {
		content, err := os.ReadFile(filepath.Join(dir, strings.TrimPrefix(f.URI, "pvc://films/")))
		if err != nil {
			t.Fatal(err)
		}
		if digest(content) != f.SHA256 || int64(len(content)) != f.Size {
			t.Errorf("%s differs from status", f.URI)
		}
	}
	readOnAClaim(t, j)
}

// readOnAClaim does what a person does who cannot mount the claim: kubectl pose reads it
// through a pod, and leaves none behind.
func readOnAClaim(t *testing.T, j *v1alpha1.PoseJob) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "down")
	if out, code := plugin(t, "results", j.Name, "--download", dir); code != 0 {
		t.Fatalf("results --download ended with %d:\n%s", code, out)
	}
	if out, code := plugin(t, "verify", dir, "--manifest-sha256", j.Status.Output.ManifestSHA256); code != 0 {
		t.Errorf("what was downloaded is another result (%d):\n%s", code, out)
	}
	csv := filepath.Join(t.TempDir(), "csv")
	if out, code := plugin(t, "export", "job/"+j.Name, "--format", "csv", "--out", csv); code != 0 {
		t.Errorf("export ended with %d:\n%s", code, out)
	}
	if tables, err := filepath.Glob(filepath.Join(csv, "*.csv")); err != nil || len(tables) == 0 {
		t.Errorf("no table was exported: %v %v", tables, err)
	}
	awaitSenders(t, j.Name, "the end of the pods that read the claim", func(pods []corev1.Pod) bool { return len(pods) == 0 })

	// A command that is killed cannot clear up: its pod ends by itself, and goes with its job.
	ctx, cancel := context.WithCancel(t.Context())
	killed := pluginCommand(ctx, "results", j.Name, "--download", filepath.Join(t.TempDir(), "killed"), "--timeout", "20s")
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	awaitSenders(t, j.Name, "a pod that reads the claim", func(pods []corev1.Pod) bool { return len(pods) == 1 })
	cancel()
	_ = killed.Wait()
	awaitSenders(t, j.Name, "its end by its own deadline", func(pods []corev1.Pod) bool {
		return len(pods) == 1 && (pods[0].Status.Phase == corev1.PodFailed || pods[0].Status.Phase == corev1.PodSucceeded)
	})
	if err := env.Remove(t.Context(), client.ObjectKeyFromObject(j)); err != nil {
		t.Fatal(err)
	}
	awaitSenders(t, j.Name, "its going with its job", func(pods []corev1.Pod) bool { return len(pods) == 0 })
}

// senders are the pods that give files of a claim.
func senders(t *testing.T, job string) []corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	if err := env.Client.List(t.Context(), &pods, client.InNamespace(namespace), client.MatchingLabels(errand.Labels(report.RoleSend, job))); err != nil {
		t.Fatal(err)
	}
	return pods.Items
}

func awaitSenders(t *testing.T, job, what string, done func([]corev1.Pod) bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		pods := senders(t, job)
		if done(pods) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s; there are %d: %+v", what, len(pods), pods)
		}
	}
}

// claim makes a PersistentVolumeClaim of the default class and gives the folder
// on this machine that lies behind it.
func claim(t *testing.T, name string) string {
	t.Helper()
	if os.Getenv("KUBECONFIG") != "" {
		t.Skip("a claim's folder can be filled from this machine on the clone's own cluster alone")
	}
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	if err := env.Client.Create(t.Context(), c); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = env.Client.Delete(context.Background(), c) })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for c.Spec.VolumeName == "" || c.Status.Phase != corev1.ClaimBound {
		if err := env.Client.Get(ctx, client.ObjectKeyFromObject(c), c); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	var volume corev1.PersistentVolume
	if err := env.Client.Get(ctx, client.ObjectKey{Name: c.Spec.VolumeName}, &volume); err != nil {
		t.Fatal(err)
	}
	if volume.Spec.HostPath == nil {
		t.Skipf("volume %s is no folder of this machine", volume.Name)
	}
	return volume.Spec.HostPath.Path
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o666); err != nil {
		t.Fatal(err)
	}
}

// openToPods: hostPath volumes know no fsGroup, so the folders are opened to all.
func openToPods(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o777)
	})
	if err != nil {
		t.Fatal(err)
	}
}
