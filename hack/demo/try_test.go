package main

import (
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

// What the report says can be pasted: the job is a PoseJob that uses what the
// demo made, and nothing is left to be filled in.
func TestTryMore(t *testing.T) {
	got := tryMore(&harness.Env{Root: "/clone", Kubeconfig: "/kube/config"}, &harness.Store{Endpoint: "http://10.99.0.1:1234", Dir: "/clone/.demo/store"})
	_, rest, _ := strings.Cut(got, "<<'EOF'\n")
	manifest, _, found := strings.Cut(rest, "\nEOF\n")
	if !found {
		t.Fatalf("no job in:\n%s", got)
	}
	var job v1alpha1.PoseJob
	if err := yaml.UnmarshalStrict([]byte(manifest), &job); err != nil {
		t.Fatal(err)
	}
	if job.Namespace != namespace || job.Spec.Output.URI != "s3://demo/pose-demo/mine" || job.Spec.Video.URI != "s3://demo/videos/pedestrians.mp4" ||
		job.Spec.Video.CredentialsSecretRef.Name != "store" || job.Spec.Output.CredentialsSecretRef.Name != "store" {
		t.Errorf("job = %+v", job)
	}
	for _, want := range []string{
		"export KUBECONFIG=/kube/config PATH=/clone/bin:/clone/.tools/bin/kube-assets:/clone/.tools/bin:$PATH\n", "S3 itself: http://10.99.0.1:1234, keys in /clone/.demo/store.json",
		"/clone/.demo/store/demo/pose-demo/mine", "/clone/.demo/store/demo/videos", "make cluster-down",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if left := regexp.MustCompile(`\b(KUBECONFIG_FILE|BIN|KUBECTL_FOLDER|ENDPOINT|STORE|JOB)\b`).FindString(got); left != "" {
		t.Errorf("%s was not filled in", left)
	}
}
