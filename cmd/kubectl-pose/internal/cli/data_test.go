package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/clitest"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/verify"
)

func digestOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// TestData uploads to a real store, and downloads, exports and verifies from it, with a
// real API server.
func TestData(t *testing.T) {
	endpoint, keys, data, _ := clitest.S3(t, "videos", "results")
	server := clitest.APIServer(t)
	sh := shell{t, server.Kubeconfig}
	w := &world{t, server.Client}
	store := []string{"--s3-endpoint", endpoint, "--path-style"}
	with := func(args ...string) []string { return append(args, append(store, "--credentials-dir", keys)...) }
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Run("upload", func(t *testing.T) { testUpload(t, shell{t, sh.kubeconfig}, w, data, with, store) })

	attempt := filepath.Join(data, "results", "default", "run", "attempts", "abcde-2")
	digest := delivered(t, attempt)
	j := w.job("run", func(j *v1alpha1.PoseJob) {
		succeeded(j)
		j.Status.Output.ManifestSHA256 = digest
	})
	w.job("other", func(j *v1alpha1.PoseJob) {
		succeeded(j)
		j.Status.Output.URI = "s3://results/default/run/attempts/abcde-2"
	})
	t.Run("download", func(t *testing.T) { testDownload(t, shell{t, sh.kubeconfig}, w, j, with, store) })
	t.Run("export", func(t *testing.T) {
		sh := shell{t, sh.kubeconfig}
		for _, from := range []string{"s3://results/default/run/attempts/abcde-2", "job/run"} {
			out := filepath.Join(t.TempDir(), "bvh")
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			sh.want(0, []string{"person-1.bvh"}, with("export", from, "--format", "bvh", "--out", out)...)
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("left in the folder for temporary files: %v %v", left, err)
			}
		}
		sh.want(1, []string{"not " + strings.Repeat("a", 64)}, with("export", "job/other", "--format", "csv", "--out", t.TempDir())...)
		sh.want(4, []string{`no PoseJob "nobody"`}, with("export", "job/nobody", "--format", "csv", "--out", t.TempDir())...)
		b, err := os.ReadFile(filepath.Join(attempt, "pose.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(attempt, "pose.json"), append(b[:len(b)-1:len(b)-1], ' '), 0o600); err != nil {
			t.Fatal(err)
		}
		sh.want(1, []string{"pose.json: its sha256 is"}, with("export", "job/run", "--format", "bvh", "--out", t.TempDir())...)
		sh.want(1, []string{"pose.json: its sha256 is"}, with("results", "run", "--download", t.TempDir())...)
		if err := os.WriteFile(filepath.Join(attempt, "pose.json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(attempt, "smpl.npz"), []byte("broken"), 0o600); err != nil {
			t.Fatal(err)
		}
		sh.want(1, []string{"smpl.npz: it has 6 bytes, the manifest says"}, with("export", "job/run", "--format", "bvh", "--out", t.TempDir())...)
		out := t.TempDir()
		sh.want(1, []string{"smpl.npz: it has 6 bytes"}, with("results", "run", "--download", out)...)
		if left, _ := os.ReadDir(out); len(left) > 0 {
			t.Errorf("a download that failed left %v", left)
		}
		sh.want(1, []string{"DAMAGED", "smpl.npz"}, with("verify", "s3://results/default/run/attempts/abcde-2")...)
	})
}

func testUpload(t *testing.T, sh shell, w *world, data string, with func(...string) []string, store []string) {
	video := filepath.Join(t.TempDir(), "Run 42 é.MOV")
	content := []byte(strings.Repeat("frame", 2_000_000))
	if err := os.WriteFile(video, content, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := digestOf(content)
	args := []string{"run", video, "--upload-to", "s3://videos/default/uploads", "--output-uri", "s3://results/default/", "--secret", "store"}
	uri := "s3://videos/default/uploads/" + sum[:16] + "/Run_42__.MOV"
	object := filepath.Join(data, "videos", "default", "uploads", sum[:16], "Run_42__.MOV")

	sh.want(0, []string{"uri: " + uri, "sha256: " + sum, "name: run-42-"}, with(append(args, "--dry-run", "client", "-o", "yaml")...)...)
	sh.want(2, []string{"spec.output.uri", "unknown scheme"}, with("run", video, "--upload-to", "s3://videos/default/uploads", "--output-uri", "ftp://results/default/")...)
	if _, err := os.Stat(object); err == nil {
		t.Error("what the API server refused was uploaded")
	}
	if a := sh.say(append(args, store...)...); a.code != 1 || !strings.Contains(a.err, "upload "+video+": s3://videos/default/uploads/") || !strings.Contains(a.err, "403") || !strings.Contains(a.err, "--credentials-from-env") {
		t.Errorf("without credentials: %s", a)
	}
	var jobs v1alpha1.PoseJobList
	if err := w.c.List(t.Context(), &jobs); err != nil || len(jobs.Items) != 0 {
		t.Errorf("%v: an upload that failed made %d jobs", err, len(jobs.Items))
	}
	a := sh.want(0, []string{"was uploaded to " + uri}, with(append(args, "-o", "name")...)...)
	if stored, err := os.ReadFile(object); err != nil || digestOf(stored) != sum {
		t.Errorf("%v: %d bytes were stored", err, len(stored))
	}
	name := strings.TrimSpace(strings.TrimPrefix(a.out, "posejob.pose.dev/"))
	var j v1alpha1.PoseJob
	if err := w.c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &j); err != nil || j.Spec.Video.URI != uri || j.Spec.Video.SHA256 != sum || j.Spec.Output.URI != "s3://results/default/"+name || j.Spec.Output.CredentialsSecretRef.Name != "store" {
		t.Errorf("%v %+v", err, j.Spec)
	}
	// The environment's credentials are used without being asked for.
	t.Setenv("AWS_ACCESS_KEY_ID", "admin")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "admin-secret")
	sh.want(0, []string{"lies at " + uri + " already"}, append(args, store...)...)
	sh.want(2, []string{"--upload-to pvc://x/y"}, "run", video, "--upload-to", "pvc://x/y", "--output-uri", "s3://results/default/")
	sh.want(2, []string{"is a folder"}, append([]string{"run", t.TempDir()}, args[2:]...)...)
	sh.want(2, []string{"and --sha256 says"}, append(args, "--sha256", strings.Repeat("0", 64))...)
}

// delivered puts a whole result into a folder, and gives its manifest's digest.
func delivered(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := result.Manifest{APIVersion: result.APIVersion, Kind: result.KindManifest, Version: result.ManifestVersion, AttemptID: "abcde-2", Job: report.JobRef{Namespace: "default", Name: "run", UID: "u", Attempt: 2}}
	put := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"pose.json", "smpl.npz"} {
		b, err := os.ReadFile(filepath.Join(clitest.Root(t), "internal/export/testdata/smpl", name))
		if err != nil {
			t.Fatal(err)
		}
		put(name, b)
		m.Files = append(m.Files, result.ManifestFileRef{Name: strings.Split(name, ".")[0], Path: name, Size: int64(len(b)), SHA256: digestOf(b)})
	}
	raw, err := verify.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	put("manifest.json", raw)
	return digestOf(raw)
}

func testDownload(t *testing.T, sh shell, w *world, j *v1alpha1.PoseJob, with func(...string) []string, store []string) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	sh.want(0, []string{"pose.json", "smpl.npz", "manifest.json"}, with("results", "run", "--download", dir)...)
	sh.want(0, []string{"The result is whole."}, "verify", dir, "--manifest-sha256", j.Status.Output.ManifestSHA256)
	sh.want(1, []string{"is there already", "--force"}, with("results", "run", "--download", dir)...)
	sh.want(0, nil, with("results", "job/run", "--download", dir, "--force")...)
	sh.want(1, []string{"it is another result, or it was changed"}, with("results", "other", "--download", t.TempDir())...)

	// The overlay only, and opened by a program of the person's.
	opened, opener := filepath.Join(t.TempDir(), "opened"), filepath.Join(t.TempDir(), "opener")
	if err := os.WriteFile(opener, fmt.Appendf(nil, "#!/bin/sh\necho \"$1\" > %s\n", opened), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("POSE_OPENER", opener)
	one := t.TempDir()
	a := sh.want(0, nil, with("results", "s3://results/default/run/attempts/abcde-2", "--download", one, "--only", "pose", "--open", "-o", "json")...)
	var said struct{ Files []struct{ Path string } }
	if err := json.Unmarshal([]byte(a.out), &said); err != nil || len(said.Files) != 1 {
		t.Errorf("%v %s", err, a)
	}
	if b, err := os.ReadFile(opened); err != nil || strings.TrimSpace(string(b)) != one {
		t.Errorf("%v: %q was opened", err, b)
	}
	sh.want(4, []string{`no file "overlay"; it has pose, smpl`}, with("results", "run", "--download", one, "--only", "overlay")...)
	sh.want(2, []string{"go with --download"}, "results", "run", "--open")

	// By the job's own Secret.
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "store"}, Data: map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("admin"), "AWS_SECRET_ACCESS_KEY": []byte("admin-secret")}}
	if err := w.c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	k := &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "secret"}, Spec: v1alpha1.PoseJobSpec{
		Video: v1alpha1.VideoSource{URI: "s3://videos/a.mp4"}, Output: v1alpha1.Output{URI: "s3://results/default/run", CredentialsSecretRef: &v1alpha1.SecretReference{Name: "store"}},
	}}
	if err := w.c.Create(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	w.status(k, func(j *v1alpha1.PoseJob) { succeeded(j) })
	k.Status.Output.ManifestSHA256 = j.Status.Output.ManifestSHA256
	w.status(k, func(*v1alpha1.PoseJob) {})
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	sh.want(0, []string{"manifest.json"}, append([]string{"results", "secret", "--download", t.TempDir(), "--credentials-from-job"}, store...)...)
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("credentials are left: %v %v", left, err)
	}
}
