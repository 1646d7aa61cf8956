package render_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/internal/report"
)

// placesCase is a pod that is no attempt.
type placesCase struct {
	job   *gen.JobBuilder
	want  render.Wanted
	purge bool
}

func placesCases() map[string]placesCase {
	ref := func(name string) *v1alpha1.SecretReference { return &v1alpha1.SecretReference{Name: name} }
	secrets := func() *gen.JobBuilder {
		return gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Video.CredentialsSecretRef, s.Output.CredentialsSecretRef = ref("in-keys"), ref("out-keys")
			s.Video.SHA256 = strings.Repeat("ab", 32)
			s.Video.Boxes = &v1alpha1.BoxesSource{URI: "https://files.example/$(HOME)/run.csv", SHA256: strings.Repeat("cd", 32), CredentialsSecretRef: ref("box-keys")}
			s.Output.URI += "/"
			s.Output.Overwrite = v1alpha1.Allow
		})
	}
	claims := func() *gen.JobBuilder {
		return gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Video.URI, s.Output.URI = "pvc://footage/day1/run.mp4", "pvc://footage/results"
			s.Video.Boxes = &v1alpha1.BoxesSource{URI: "oci://registry.example/boxes" + pin + "//run.json"}
		})
	}
	template := func() *gen.JobBuilder {
		return gen.Job("run").Template(v1alpha1.PodTemplate{
			Labels: map[string]string{"team": "a", v1alpha1.LabelPurpose: "forged", v1alpha1.LabelJobUID: "forged", "azure.workload.identity/use": "true"}, Annotations: map[string]string{"note": "x", "eks.amazonaws.com/skip-containers": "lookup,purge"},
			NodeSelector: map[string]string{"zone": "b"}, Tolerations: []corev1.Toleration{{Key: "batch"}},
			ServiceAccountName: "pose", PriorityClassName: "low", RuntimeClassName: "gvisor", ImagePullSecrets: []v1alpha1.SecretReference{{Name: "job-pull"}},
		})
	}
	return map[string]placesCase{
		"lookup": {job: gen.Job("run")},
		"lookup-all": {job: secrets(), want: render.Wanted{
			Request: "sha256:aa", Recipes: []string{"sha256:bb", "sha256:cc"},
			Candidates: []report.ResultRef{{URI: "s3://results/team-a/other/attempts/1", ManifestSHA256: "dd"}},
		}},
		"lookup-claims":   {job: claims()},
		"lookup-template": {job: template()},
		"purge":           {purge: true, job: gen.Job("run")},
		"purge-secrets":   {purge: true, job: secrets()},
		"purge-claims":    {purge: true, job: claims()},
		"purge-template":  {purge: true, job: template()},
	}
}

func (c placesCase) render(t *testing.T) *corev1.Pod {
	t.Helper()
	pod, err := render.Lookup(c.job.Build(), c.want, settings())
	if c.purge {
		pod, err = render.Purge(c.job.Build(), 3, settings())
	}
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// TestPlacesPods: they run our code alone, have what they need, and are as confined
// as any.
func TestPlacesPods(t *testing.T) {
	for name, c := range placesCases() {
		t.Run(name, func(t *testing.T) {
			pod, job := c.render(t), c.job.Build()
			matchesGolden(t, name, pod)
			oneVolumePerClaim(t, pod)
			noIdentity(t, pod)
			purpose := v1alpha1.PurposeLookup
			if c.purge {
				purpose = v1alpha1.PurposePurge
			}
			if len(pod.Spec.InitContainers) != 0 || len(pod.Spec.Containers) != 1 || pod.Spec.Containers[0].Name != purpose || pod.Spec.Containers[0].Image != settings().RunnerImage || len(pod.Spec.Containers[0].Command) != 0 {
				t.Fatalf("containers %+v %+v", pod.Spec.InitContainers, pod.Spec.Containers)
			}
			ctr := pod.Spec.Containers[0]
			confined(t, pod, ctr)
			memory(t, ctr)
			if !*pod.Spec.SecurityContext.RunAsNonRoot || *pod.Spec.AutomountServiceAccountToken || pod.Spec.RestartPolicy != corev1.RestartPolicyNever || pod.Spec.ActiveDeadlineSeconds == nil {
				t.Error("the pod is not restricted, or not bounded")
			}
			if l := pod.Labels; l[v1alpha1.LabelPurpose] != purpose || l[v1alpha1.LabelJobUID] != string(gen.JobUID) || l[v1alpha1.LabelAttempt] != "" {
				t.Errorf("labels %v", l)
			}
			if len(pod.Finalizers) > 0 {
				t.Errorf("finalizers %v", pod.Finalizers)
			}
			if owner := pod.OwnerReferences[0]; owner.UID != gen.JobUID || (owner.Controller != nil) == c.purge || (owner.BlockOwnerDeletion != nil) == c.purge {
				t.Errorf("owner %+v", owner)
			}
			cfg, err := report.ParseConfig(expand(ctr.Env[0].Value))
			if err != nil || string(cfg.Role) != purpose || cfg.Progress != nil || len(ctr.Env) != 1 || len(ctr.EnvFrom) != 0 {
				t.Fatalf("config %+v, %v", cfg, err)
			}
			var mounts []string
			for _, m := range ctr.VolumeMounts {
				mounts = append(mounts, m.MountPath)
				if m.ReadOnly != (m.MountPath != "/pose/claims/out") {
					t.Errorf("%s is mounted read-only: %t", m.MountPath, m.ReadOnly)
				}
			}
			if diff := cmp.Diff(c.mounts(job), mounts); diff != "" {
				t.Errorf("mounts (-want +got):\n%s", diff)
			}
			for _, v := range pod.Spec.Volumes {
				if !slices.ContainsFunc(ctr.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name }) {
					t.Errorf("volume %s is mounted nowhere", v.Name)
				}
			}
			c.told(t, job, cfg)
		})
	}
}

// mounts that the container needs, and no other.
func (c placesCase) mounts(job *v1alpha1.PoseJob) []string {
	var out []string
	add := func(uri string, secret *v1alpha1.SecretReference, credentials, mount string) {
		if secret != nil {
			out = append(out, credentials)
		}
		if strings.HasPrefix(uri, "pvc:") || strings.HasPrefix(uri, "oci:") {
			out = append(out, mount)
		}
	}
	v, o := job.Spec.Video, job.Spec.Output
	if !c.purge {
		add(v.URI, v.CredentialsSecretRef, report.CredentialsDir, "/pose/claims/in")
		if v.Boxes != nil {
			add(v.Boxes.URI, v.Boxes.CredentialsSecretRef, report.BoxesCredentialsDir, "/pose/claims/boxes")
		}
	}
	add(o.URI, o.CredentialsSecretRef, report.OutputCredentialsDir, "/pose/claims/out")
	return out
}

// told: what the role reads is what the job says.
func (c placesCase) told(t *testing.T, job *v1alpha1.PoseJob, cfg *report.Config) {
	t.Helper()
	v, o := job.Spec.Video, job.Spec.Output
	place := strings.TrimRight(o.URI, "/")
	if c.purge {
		p := cfg.Purge
		if p.URI != place || p.AttemptPrefix != "0f5a7-" || p.Video != nil || p.TimeoutSeconds != render.PurgeTimeoutSeconds {
			t.Errorf("purge %+v", p)
		}
		if !strings.HasPrefix(render.AttemptID(job, 0), p.AttemptPrefix) || !strings.HasPrefix(render.AttemptID(job, 17), p.AttemptPrefix) {
			t.Errorf("prefix %q is not that of the job's folders", p.AttemptPrefix)
		}
		return
	}
	l := cfg.Lookup
	if l.Video.URI != v.URI || l.Video.SHA256 != v.SHA256 || l.Video.MaxBytes != 20<<30 || !l.Video.ScratchBound || l.URI != place || l.Overwrite != (o.Overwrite == v1alpha1.Allow) || l.AttemptID != "0f5a7-0" {
		t.Errorf("lookup %+v", l)
	}
	if (l.Boxes != nil) != (v.Boxes != nil) || (l.Boxes != nil && (l.Boxes.URI != v.Boxes.URI || l.Boxes.SHA256 != v.Boxes.SHA256)) {
		t.Errorf("boxes %+v", l.Boxes)
	}
	if diff := cmp.Diff(c.want, render.Wanted{Request: l.Request, Recipes: l.Recipes, Candidates: l.Candidates}); diff != "" {
		t.Errorf("wanted (-want +got):\n%s", diff)
	}
	if (l.PVCMount != "") != strings.HasPrefix(o.URI, "pvc:") || (l.Video.PVCMount != "") != strings.HasPrefix(v.URI, "pvc:") {
		t.Errorf("claims at %q and %q", l.Video.PVCMount, l.PVCMount)
	}
}

func TestPlacesPodNamesAreValidForEveryJobName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?`).Filter(func(s string) bool {
			return len(validation.IsDNS1123Subdomain(s)) == 0
		}).Draw(t, "name")
		job := gen.Job(name).Build()
		names := []string{render.LookupName(job), render.PurgeName(job, rapid.Int32Range(1, 99999999).Draw(t, "try")), render.PodName(job, 1)}
		for i, got := range names {
			if errs := validation.IsDNS1123Subdomain(got); len(errs) > 0 || len(got) > 63 || slices.Contains(names[:i], got) {
				t.Fatalf("names of %q: %q: %v", name, names, errs)
			}
		}
	})
}

// The job that is made again under its name has other pods.
func TestPlacesPodNamesDifferBetweenLivesOfAJob(t *testing.T) {
	a, b := gen.Job("run").Build(), gen.Job("run").UID("99999c1e-1111").Build()
	if render.LookupName(a) == render.LookupName(b) || render.PurgeName(a, 1) == render.PurgeName(b, 1) || render.AttemptPrefix(a) == render.AttemptPrefix(b) {
		t.Error("two lives of a job share a name")
	}
	pod, err := render.Lookup(b, render.Wanted{}, settings())
	if err != nil || !metav1.IsControlledBy(pod, b) {
		t.Errorf("%v", err)
	}
}
