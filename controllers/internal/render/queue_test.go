package render_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/internal/report"
)

// queueCase is a pod of many clips.
type queueCase struct {
	job    *gen.JobBuilder
	look   *render.Wanted
	change func(*v1alpha1.Variant)
}

// batchJob stands for all clips of a batch.
func batchJob(change func(*v1alpha1.PoseJobSpec)) *gen.JobBuilder {
	return gen.Job("many-0f5a7-7").With(func(j *v1alpha1.PoseJob) {
		b := &v1alpha1.PoseBatch{ObjectMeta: metav1.ObjectMeta{Name: "many", UID: gen.JobUID}}
		j.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(b, v1alpha1.GroupVersion.WithKind("PoseBatch"))}
		j.Labels = map[string]string{v1alpha1.LabelBatch: "many", v1alpha1.LabelBatchUID: string(gen.JobUID)}
		j.Spec.Output.URI = "s3://results/team-a/many/"
	}).Spec(change)
}

func queueCases() map[string]queueCase {
	ref := func(name string) *v1alpha1.SecretReference { return &v1alpha1.SecretReference{Name: name} }
	want := &render.Wanted{Request: "sha256:aa", Recipes: []string{"sha256:bb"}}
	return map[string]queueCase{
		"queue": {job: batchJob(func(*v1alpha1.PoseJobSpec) {})},
		"queue-all": {look: want, job: batchJob(func(s *v1alpha1.PoseJobSpec) {
			s.Video.CredentialsSecretRef, s.Output.CredentialsSecretRef = ref("in-keys"), ref("out-keys")
			s.Video.CaptureFPS, s.Video.FocalLengthPx = new(intstr.FromString("239.76")), new(int64(1480))
			s.People, s.Output.Overlay = &v1alpha1.PeopleSelection{Max: 3}, v1alpha1.OverlayBlurred
			s.ActiveDeadlineSeconds = new(int64(900))
			s.PodTemplate = &v1alpha1.PodTemplate{
				Labels:      map[string]string{"team": "a", v1alpha1.LabelPurpose: "forged", v1alpha1.LabelJobUID: "forged", "app.kubernetes.io/name": "forged", v1alpha1.LabelBatchUID: "forged"},
				Annotations: map[string]string{"eks.amazonaws.com/skip-containers": "none", "azure.workload.identity/inject-proxy-sidecar": "true"},
			}
		}), change: func(v *v1alpha1.Variant) {
			v.Adapter = &v1alpha1.Adapter{Image: "registry.example/pose-phalp" + pin}
			v.ActiveDeadlineSeconds = new(int64(600))
			v.SharedMemorySize = new(resource.MustParse("2Gi"))
			v.Models = []v1alpha1.ModelVolume{{Name: "smpl", MountPath: "/models/smpl", PersistentVolumeClaim: "smpl-weights"}}
			v.Preflight = &v1alpha1.Preflight{Command: []string{"engine", "preflight", "--device=$(DEVICE)"}, Stage: "DetectorLoad", TimeoutSeconds: 300, GPUMemory: new(resource.MustParse("6Gi"))}
		}},
		"queue-claim": {look: want, job: batchJob(func(s *v1alpha1.PoseJobSpec) {
			s.Video.URI, s.Output.URI = "pvc://footage/day1/run.mp4", "pvc://footage/results"
		})},
		"queue-image": {look: want, job: batchJob(func(s *v1alpha1.PoseJobSpec) {
			s.Video.URI = "oci://registry.example/footage" + pin + "//run.mp4"
		})},
	}
}

func (c queueCase) render(t *testing.T) (*corev1.Pod, *v1alpha1.PoseEngine) {
	t.Helper()
	e := engine(func(v *v1alpha1.Variant) {
		v.ClipsCommand = []string{"engine", "run", "--device=$(DEVICE)", "--clips", "-", "^$"}
		if c.change != nil {
			c.change(v)
		}
	})
	a := gen.Attempt(4, "gpu", v1alpha1.GPU, func(a *v1alpha1.Attempt) { a.AvoidNodes = []string{"node-1"} })
	q := render.Queue{
		PodName: "many-0f5a7-q1-4", Number: 4, Clips: []int32{1007, 1008, 1011}, First: 1000, ConfigMap: "many-0f5a7-clips-1-1", Key: "clips.json.gz",
		JobPrefix: "many-0f5a7", Look: c.look,
	}
	pod, err := render.QueuePod(c.job.Build(), e, &e.Spec.Variants[0], &a, "sha256:aa", q, settings())
	if err != nil {
		t.Fatal(err)
	}
	return pod, e
}

// TestQueuePods: they are as confined as the pod of one clip, and what differs from that
// is told to every container.
func TestQueuePods(t *testing.T) {
	for name, c := range queueCases() {
		t.Run(name, func(t *testing.T) {
			pod, e := c.render(t)
			matchesGolden(t, name, pod)
			all := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
			for _, ctr := range all {
				mountsOnly(t, ctr, secretVolumes(pod))
				confined(t, pod, ctr)
				memory(t, ctr)
				if len(ctr.EnvFrom) > 0 || slices.ContainsFunc(ctr.Env, func(e corev1.EnvVar) bool { return e.ValueFrom != nil }) {
					t.Errorf("container %s has env from elsewhere", ctr.Name)
				}
				configArrives(t, ctr, e)
			}
			oneVolumePerClaim(t, pod)
			noIdentity(t, pod)
			diskSuffices(t, pod)
			if *pod.Spec.AutomountServiceAccountToken || pod.Spec.RestartPolicy != corev1.RestartPolicyNever || pod.Spec.HostNetwork || pod.Spec.HostPID || pod.Spec.HostIPC || pod.Spec.ShareProcessNamespace != nil {
				t.Error("the pod is not closed")
			}
			l := pod.Labels
			if l[v1alpha1.LabelPurpose] != v1alpha1.PurposeQueue || l[v1alpha1.LabelJobUID] != string(gen.JobUID) || l[v1alpha1.LabelBatchUID] != string(gen.JobUID) || l["app.kubernetes.io/name"] != "pose-job" || l[v1alpha1.LabelAttempt] != "4" || !slices.Contains(pod.Finalizers, v1alpha1.FinalizerOutcome) || pod.OwnerReferences[0].Kind != "PoseBatch" {
				t.Errorf("pod %+v", pod.ObjectMeta)
			}
			c.queued(t, pod)
		})
	}
}

// queued: who works through the list, and who sees it.
func (c queueCase) queued(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	sees := map[string][]string{}
	for _, ctr := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		cfg, err := report.ParseConfig(expand(ctr.Env[len(ctr.Env)-1].Value))
		if err != nil {
			t.Fatal(err)
		}
		once := ctr.Name == "copy" || ctr.Name == "adapter"
		if (cfg.Queue == nil) != once || cfg.Progress != nil || cfg.Job.UID != string(gen.JobUID) || cfg.Job.Batch != "many" || cfg.Job.Attempt != 4 {
			t.Errorf("container %s is told %+v", ctr.Name, cfg)
		}
		if !once {
			c.list(t, cfg)
		}
		for _, m := range ctr.VolumeMounts {
			if m.Name == "clips" || m.Name == "input" {
				sees[ctr.Name] = append(sees[ctr.Name], m.MountPath+map[bool]string{true: " read-only"}[m.ReadOnly])
			}
		}
	}
	want := map[string][]string{
		"fetch": {"/pose/in", "/pose/batch read-only"}, "prepare": {"/pose/in"}, "engine": {"/pose/in read-only"}, "deliver": {"/pose/in", "/pose/batch read-only"},
	}
	if c.look != nil {
		want["lookup"] = []string{"/pose/in", "/pose/batch read-only"}
	}
	if diff := cmp.Diff(want, sees); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}

// list that a role works through, and its own part.
func (c queueCase) list(t *testing.T, cfg *report.Config) {
	t.Helper()
	q := cfg.Queue
	if !slices.Equal(q.Clips, []int32{1007, 1008, 1011}) || q.First != 1000 || q.JobPrefix != "many-0f5a7" || q.Look != (c.look != nil) {
		t.Errorf("queue %+v", q)
	}
	job := c.job.Build()
	line := report.ClipLine{Overlay: strings.ToLower(string(job.Spec.Output.Overlay))}
	var seconds int64
	if job.Spec.People != nil { // the case with everything
		line.CaptureFPS, line.FocalLengthPx, line.MaxPeople, seconds = 239.76, 1480, 3, 600
	}
	if diff := cmp.Diff(line, q.Line); diff != "" || q.ClipSeconds != seconds {
		t.Errorf("at most %d s a clip, line (-want +got):\n%s", q.ClipSeconds, diff)
	}
	place := strings.TrimRight(job.Spec.Output.URI, "/")
	switch {
	case cfg.Deliver != nil && (cfg.Deliver.URI != place || cfg.Deliver.AttemptID != "0f5a7-4" || cfg.Deliver.Provenance.Request != "sha256:aa" || cfg.Deliver.Provenance.Recipe == ""):
		t.Errorf("deliver %+v", cfg.Deliver)
	case cfg.Lookup != nil && (cfg.Lookup.URI != place || cfg.Lookup.Request != "sha256:aa"):
		t.Errorf("lookup %+v", cfg.Lookup)
	case cfg.Exec != nil && cmp.Diff([]string{"engine", "run", "--device=gpu", "--clips", "-", "^$"}, cfg.Exec.Command) != "":
		t.Errorf("argv %q", cfg.Exec.Command)
	}
}

func TestQueues(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.Variant)
		want   bool
	}{
		"no command for it": {func(v *v1alpha1.Variant) { v.ClipsCommand = nil }, false},
		"a command":         {func(*v1alpha1.Variant) {}, true},
		"no runner":         {func(v *v1alpha1.Variant) { v.Runner = v1alpha1.RunnerNone }, false},
		"a preflight": {func(v *v1alpha1.Variant) {
			v.Preflight = &v1alpha1.Preflight{Command: []string{"a", "--device=$(DEVICE)"}}
		}, true},
		"a preflight of memory":        {func(v *v1alpha1.Variant) { v.Preflight = &v1alpha1.Preflight{} }, true},
		"a preflight needs the video":  {func(v *v1alpha1.Variant) { v.Preflight = &v1alpha1.Preflight{Command: []string{"a", "$(VIDEO)"}} }, false},
		"a preflight needs its folder": {func(v *v1alpha1.Variant) { v.Preflight = &v1alpha1.Preflight{Command: []string{"--out=$(OUTPUT_DIR)"}} }, false},
	} {
		v := gen.Variant("gpu", v1alpha1.GPU, func(v *v1alpha1.Variant) { v.ClipsCommand = []string{"a"} }, c.change)
		if got := render.Queues(&v); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestMount(t *testing.T) {
	for uri, want := range map[string]string{
		"s3://a/b": "", "https://a/b": "", "pvc://a/b.mp4": "claim a", "pvc://a/c/d.mp4": "claim a", "oci://r/a" + pin + "//b": "image r/a" + pin,
	} {
		if got := render.Mount(uri); got != want {
			t.Errorf("Mount(%s) = %q, want %q", uri, got, want)
		}
	}
}
