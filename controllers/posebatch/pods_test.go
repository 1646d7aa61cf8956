package posebatch

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

// mounts of the pod's only container, as path and what is there.
func mounts(t *testing.T, pod *corev1.Pod) []string {
	t.Helper()
	var out []string
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		v := pod.Spec.Volumes[i]
		what := "?"
		switch {
		case v.Secret != nil:
			what = "Secret " + v.Secret.SecretName
		case v.PersistentVolumeClaim != nil:
			what = fmt.Sprintf("claim %s %t", v.PersistentVolumeClaim.ClaimName, v.PersistentVolumeClaim.ReadOnly)
		case v.Image != nil:
			what = "image " + v.Image.Reference
		case v.EmptyDir != nil:
			what = "disk"
		case v.Projected != nil && v.Projected.Sources[0].ServiceAccountToken != nil:
			what = "token " + v.Projected.Sources[0].ServiceAccountToken.Audience
		case v.Projected != nil:
			what = fmt.Sprintf("%d ConfigMaps", len(v.Projected.Sources))
		}
		out = append(out, m.MountPath+" "+what)
	}
	slices.Sort(out)
	return out
}

// TestThePodsOfABatch: each sees its own place and Secret, and nothing more.
func TestThePodsOfABatch(t *testing.T) {
	const digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	r := &Reconciler{Settings: settings{RunnerImage: "runner:v1", PullSecrets: []string{"pull"}, Progress: &report.ProgressConfig{URL: "https://manager:8443" + report.ProgressPath, CAPEM: "ca"}}}
	base := func(videos v1alpha1.BatchVideos, output string) *v1alpha1.PoseBatch {
		b := &v1alpha1.PoseBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "many", UID: "abcde-1"}}
		videos.CredentialsSecretRef = &v1alpha1.SecretReference{Name: "in"}
		b.Spec.Videos = videos
		b.Spec.Output = v1alpha1.BatchOutput{URI: output, CredentialsSecretRef: &v1alpha1.SecretReference{Name: "out"}}
		b.Spec.Template.PodTemplate = &v1alpha1.PodTemplate{NodeSelector: map[string]string{"zone": "a"}, ServiceAccountName: "pose", Labels: map[string]string{"team": "a"}}
		b.Status.Listing = &v1alpha1.BatchListing{Attempt: 1, Chunks: 3}
		b.Status.Stopping = &v1alpha1.BatchStop{Reason: "TooManyFailed", Message: "$(HOME)"}
		return b
	}
	const token = "/pose/progress token pose.dev/progress"
	for name, c := range map[string]struct {
		videos      v1alpha1.BatchVideos
		output      string
		list, index []string
	}{
		"in S3": {v1alpha1.BatchVideos{Prefix: "s3://videos/in/"}, "s3://results/x",
			[]string{"/pose/credentials Secret in", token}, []string{"/pose/batch 9 ConfigMaps", "/pose/credentials Secret out", "/pose/scratch disk"}},
		"in claims": {v1alpha1.BatchVideos{Prefix: "pvc://videos/in/"}, "pvc://results/x",
			[]string{"/pose/claims/videos claim videos true", "/pose/credentials Secret in", token}, []string{"/pose/batch 9 ConfigMaps", "/pose/claims/out claim results false", "/pose/credentials Secret out", "/pose/scratch disk"}},
		"a list in an image": {v1alpha1.BatchVideos{List: "oci://host/lists@sha256:" + digest + "//list.txt"}, "s3://results/x",
			[]string{"/pose/claims/videos image host/lists@sha256:" + digest, "/pose/credentials Secret in", token}, []string{"/pose/batch 9 ConfigMaps", "/pose/credentials Secret out", "/pose/scratch disk"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := base(c.videos, c.output)
			list, err := r.listPod(b, 1)
			if err != nil {
				t.Fatal(err)
			}
			index, err := r.indexPod(b, 2)
			if err != nil {
				t.Fatal(err)
			}
			for pod, want := range map[*corev1.Pod][]string{list: c.list, index: c.index} {
				if diff := cmp.Diff(want, mounts(t, pod)); diff != "" {
					t.Errorf("%s sees (-want +got):\n%s", pod.Name, diff)
				}
				restricted(t, pod)
			}
			if list.Name != "many-abcde-list-1" || index.Name != "many-abcde-index-2" {
				t.Errorf("names %s and %s", list.Name, index.Name)
			}
			cfg, err := report.ParseConfig(strings.ReplaceAll(list.Spec.Containers[0].Env[0].Value, "$$", "$"))
			if err != nil || cfg.List.Push.URL != "https://manager:8443"+report.ClipsPath || cfg.List.Output != c.output || (cfg.List.PVCMount != "") != !strings.HasPrefix(c.list[0], "/pose/credentials") {
				t.Errorf("%+v %v", cfg, err)
			}
			cfg, err = report.ParseConfig(strings.ReplaceAll(index.Spec.Containers[0].Env[0].Value, "$$", "$"))
			if err != nil || cfg.Index.Chunks != 3 || cfg.Index.Stopped != "TooManyFailed: $(HOME)" || cfg.Job.Name != "many" {
				t.Errorf("%+v %v", cfg, err)
			}
		})
	}
}

// restricted: what Kubernetes' pod security standard of that name asks, and no token
// of the service account.
func restricted(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	s, c := pod.Spec, pod.Spec.Containers[0]
	k := c.SecurityContext
	if len(s.Containers) != 1 || len(s.InitContainers) != 0 || s.HostNetwork || s.HostPID || *s.AutomountServiceAccountToken || s.RestartPolicy != corev1.RestartPolicyNever || s.ActiveDeadlineSeconds == nil ||
		!*k.RunAsNonRoot || !*k.ReadOnlyRootFilesystem || *k.AllowPrivilegeEscalation || k.Capabilities.Drop[0] != "ALL" || s.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("pod %s: %+v %+v", pod.Name, s, k)
	}
	memory, requested := c.Resources.Limits[corev1.ResourceMemory], c.Resources.Requests[corev1.ResourceMemory]
	if memory.Cmp(requested) != 0 || memory.IsZero() {
		t.Errorf("memory %s of %s", requested.String(), memory.String())
	}
	if s.NodeSelector["zone"] != "a" || s.ServiceAccountName != "pose" || pod.Labels["team"] != "a" || pod.Labels["app.kubernetes.io/name"] != "pose-job" || pod.Labels[v1alpha1.LabelJobUID] == "" || s.ImagePullSecrets[0].Name != "pull" {
		t.Errorf("pod %s: labels %v, %+v", pod.Name, pod.Labels, s)
	}
}
