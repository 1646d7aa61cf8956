//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

// stage makes the engine whose GPU variant dies as told.
func stage(t *testing.T, die string) string {
	t.Helper()
	name := "staged-" + die
	if _, err := env.StagedEngine(t.Context(), name, die); err != nil {
		t.Fatal(err)
	}
	return name
}

func patch(t *testing.T, key client.ObjectKey, merge string) {
	t.Helper()
	j := &v1alpha1.PoseJob{}
	j.Namespace, j.Name = key.Namespace, key.Name
	if err := env.Client.Patch(t.Context(), j, client.RawPatch(types.MergePatchType, []byte(merge))); err != nil {
		t.Fatal(err)
	}
}

// livePods of a job: the object exists and its phase is not terminal.
func livePods(t *testing.T, key client.ObjectKey) int {
	t.Helper()
	var pods corev1.PodList
	if err := env.Client.List(t.Context(), &pods, client.InNamespace(key.Namespace), client.MatchingLabels{v1alpha1.LabelJob: key.Name}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range pods.Items {
		if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			n++
		}
	}
	return n
}

// serve on the address that pods reach.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(harness.Host(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
	})
	return "http://" + l.Addr().String()
}

// verify reads the store alone: the root manifest points to the attempt's, whose
// digest is the one in status, and every file has the size and digest it names.
func verify(t *testing.T, j *v1alpha1.PoseJob) {
	t.Helper()
	out := j.Status.Output
	prefix := key(t, out.URI)
	manifest := object(t, prefix+"/manifest.json")
	if have := digest(manifest); have != out.ManifestSHA256 {
		t.Errorf("manifest.json has digest %s, status says %s", have, out.ManifestSHA256)
	}
	var m struct {
		Files []struct {
			Name, Path, SHA256 string
			Size               int64
		}
		Frames int64
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatalf("manifest.json: %v", err)
	}
	if m.Frames != out.Frames || len(m.Files) == 0 {
		t.Errorf("the manifest names %d files and %d frames, status %d frames", len(m.Files), m.Frames, out.Frames)
	}
	for _, f := range m.Files {
		content := object(t, prefix+"/"+f.Path)
		if int64(len(content)) != f.Size || digest(content) != f.SHA256 {
			t.Errorf("%s differs from its manifest", f.Path)
		}
	}
	var pointer struct{ URI, ManifestSHA256 string }
	if err := json.Unmarshal(object(t, key(t, j.Spec.Output.URI)+"/manifest.json"), &pointer); err != nil {
		t.Fatalf("root manifest.json: %v", err)
	}
	if pointer.URI != out.URI || pointer.ManifestSHA256 != out.ManifestSHA256 {
		t.Errorf("the root manifest points to %s (%s), status to %s (%s)", pointer.URI, pointer.ManifestSHA256, out.URI, out.ManifestSHA256)
	}
}

func key(t *testing.T, uri string) string {
	t.Helper()
	k, ok := strings.CutPrefix(uri, "s3://"+bucket+"/")
	if !ok {
		t.Fatalf("unexpected URI %s", uri)
	}
	return k
}

func object(t *testing.T, k string) []byte {
	t.Helper()
	b, err := store.Get(t.Context(), bucket, k)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
