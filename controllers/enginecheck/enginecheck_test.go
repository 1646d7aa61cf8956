package enginecheck_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/config/engines"
	"github.com/pose-dev/pose-operator/controllers/enginecheck"
	"github.com/pose-dev/pose-operator/controllers/errand"
	"github.com/pose-dev/pose-operator/internal/report"
)

// phalp is the built-in engine with an image and weights.
func phalp(t *testing.T) *v1alpha1.PoseEngine { return builtin(t, "phalp") }

func builtin(t *testing.T, name string) *v1alpha1.PoseEngine {
	t.Helper()
	all, err := engines.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(e v1alpha1.PoseEngine) bool { return e.Name == name })
	e := all[i].DeepCopy()
	for i := range e.Spec.Variants {
		v := &e.Spec.Variants[i]
		v.Image = "registry.example/" + name
		v.Models = []v1alpha1.ModelVolume{{Name: "weights", MountPath: "/home/phalp/.cache", PersistentVolumeClaim: "phalp-weights"}}
	}
	return e
}

func request(t *testing.T, e *v1alpha1.PoseEngine, variant string) enginecheck.Request {
	t.Helper()
	v, err := enginecheck.Choose(e, variant)
	if err != nil {
		t.Fatal(err)
	}
	return enginecheck.Request{
		Engine: e, Variant: v, Namespace: "team-a", DeadlineSeconds: 600,
		Settings: errand.Settings{RunnerImage: "registry.example/pose-runner", PullPolicy: corev1.PullIfNotPresent, PullSecrets: []string{"pull"}},
	}
}

func pod(t *testing.T, r enginecheck.Request) *corev1.Pod {
	t.Helper()
	p, err := r.Pod()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// argv that pose-runner would start in the pod, or that the kubelet does.
func argv(t *testing.T, c corev1.Container) []string {
	t.Helper()
	for _, e := range c.Env {
		if e.Name == report.ConfigEnv {
			var cfg report.Config
			if err := json.Unmarshal([]byte(e.Value), &cfg); err != nil {
				t.Fatal(err)
			}
			if cfg.Exec.Preflight != nil || len(cfg.Exec.Stages) > 0 || cfg.Exec.StallTimeoutSeconds != 0 {
				t.Errorf("a job's watch is left: %+v", cfg.Exec)
			}
			return cfg.Exec.Command
		}
	}
	return c.Command
}

func names(cs []corev1.Container) string {
	var out []string
	for _, c := range cs {
		out = append(out, c.Name)
	}
	return strings.Join(out, " ")
}

func TestPodIsAJobsWithoutItsVideo(t *testing.T) {
	r := request(t, phalp(t), "")
	r.Capabilities, r.Digests = []string{"8.9", "12.0"}, true
	p := pod(t, r)
	engine := p.Spec.Containers[0]
	if names(p.Spec.Containers) != "engine" || names(p.Spec.InitContainers) != "copy adapter" {
		t.Errorf("containers %s, init %s", names(p.Spec.Containers), names(p.Spec.InitContainers))
	}
	want := []string{"python", "/pose/adapter/pose-phalp", "check", "--json", "--output-dir=/pose/out", "--detector=vitdet", "--device=gpu",
		"--expect-capability=8.9", "--expect-capability=12.0", "--digests"}
	if diff := cmp.Diff(want, argv(t, engine)); diff != "" {
		t.Errorf("argv (-want +got):\n%s", diff)
	}
	if len(p.OwnerReferences)+len(p.Finalizers) > 0 || p.Labels[v1alpha1.LabelJobUID] != "" {
		t.Errorf("it looks like a job's: %+v", p.ObjectMeta)
	}
	if *p.Spec.ActiveDeadlineSeconds != 600 || p.Namespace != "team-a" || !strings.HasPrefix(p.GenerateName, "pose-check-phalp-") {
		t.Errorf("%+v", p.ObjectMeta)
	}
	if *engine.SecurityContext.RunAsUser != 65533 || engine.Resources.Limits["nvidia.com/gpu"] != resource.MustParse("1") || len(p.Spec.Tolerations) == 0 {
		t.Errorf("user, GPU or toleration is not the variant's: %+v", engine)
	}
	for _, v := range p.Spec.Volumes {
		if v.Name == "input-credentials" || v.Name == "progress-token" {
			t.Errorf("volume %s has no place here", v.Name)
		}
	}
	if !slices.ContainsFunc(engine.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/home/phalp/.cache" && m.ReadOnly }) {
		t.Error("the weights are not mounted read-only")
	}
	if !slices.ContainsFunc(engine.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/pose/adapter" && m.ReadOnly }) {
		t.Error("the adapter is not mounted read-only")
	}
	if p.Spec.ImagePullSecrets[0].Name != "pull" || !r.Whole() {
		t.Error("pull secrets, or what kind of check it is, are wrong")
	}
}

func TestVolumesAreThoseOfMounts(t *testing.T) {
	p := pod(t, request(t, phalp(t), "cpu"))
	used := map[string]bool{}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, m := range c.VolumeMounts {
			used[m.Name] = true
		}
	}
	for _, v := range p.Spec.Volumes {
		if !used[v.Name] {
			t.Errorf("volume %s is used by nobody", v.Name)
		}
		delete(used, v.Name)
	}
	if len(used) > 0 {
		t.Errorf("mounts without a volume: %v", used)
	}
}

func TestCommand(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.Variant)
		want   string
		whole  bool
	}{
		"conda in front": {func(v *v1alpha1.Variant) {
			v.Command = append([]string{"conda", "run", "-n", "x"}, v.Command...)
		}, "conda run -n x python /pose/adapter/pose-phalp check --json --output-dir=/pose/out --detector=maskrcnn --device=cpu", true},
		"no adapter": {func(v *v1alpha1.Variant) {
			v.Adapter, v.Command = nil, []string{"pose-mediapipe", "--video", "$(VIDEO)"}
		}, "pose-mediapipe --help", false},
		"a module of Python": {func(v *v1alpha1.Variant) {
			v.Adapter, v.Command = nil, []string{"/opt/bin/python3.11", "-m", "yolo.pose", "$(VIDEO)"}
		}, "/opt/bin/python3.11 -m yolo.pose --help", false},
		"a file of Python": {func(v *v1alpha1.Variant) {
			v.Adapter, v.Command = nil, []string{"python", "track.py", "x=1"}
		}, "python track.py --help", false},
		"an adapter of another kind": {func(v *v1alpha1.Variant) { v.Command = []string{"/pose/adapter/wrap", "$(VIDEO)"} }, "/pose/adapter/wrap --help", false},
		"without pose-runner": {func(v *v1alpha1.Variant) {
			v.Runner, v.Adapter, v.Command = v1alpha1.RunnerNone, nil, []string{"openpose", "$(VIDEO)"}
		}, "openpose --help", false},
	} {
		t.Run(name, func(t *testing.T) {
			e := phalp(t)
			i := slices.IndexFunc(e.Spec.Variants, func(v v1alpha1.Variant) bool { return v.Name == "cpu" })
			c.change(&e.Spec.Variants[i])
			r := request(t, e, "cpu")
			p := pod(t, r)
			if got := strings.Join(argv(t, p.Spec.Containers[0]), " "); got != c.want || r.Whole() != c.whole {
				t.Errorf("%s (whole %v), want %s", got, r.Whole(), c.want)
			}
			if !r.NeedsRunner() && len(p.Spec.InitContainers) > 0 {
				t.Errorf("init containers %s need pose-runner's image", names(p.Spec.InitContainers))
			}
		})
	}
}

func TestChoose(t *testing.T) {
	e := phalp(t)
	if v, err := enginecheck.Choose(e, ""); err != nil || v.Name != e.Spec.Variants[0].Name {
		t.Errorf("%v %v", v, err)
	}
	if _, err := enginecheck.Choose(e, "tpu"); err == nil || !strings.Contains(err.Error(), "it has gpu, ") {
		t.Errorf("%v", err)
	}
	e.Spec.Variants[0].Image = ""
	if _, err := enginecheck.Choose(e, ""); err == nil || !strings.Contains(err.Error(), "ImageNotSet") || !strings.Contains(err.Error(), "engines.phalp.image") {
		t.Errorf("%v", err)
	}
	r := request(t, phalp(t), "")
	r.Settings.RunnerImage = ""
	if _, err := r.Pod(); err == nil {
		t.Error("a pod without pose-runner's image was made")
	}
}

func TestGPUs(t *testing.T) {
	node := func(labels ...string) corev1.Node {
		l := map[string]string{}
		for i := 0; i < len(labels); i += 2 {
			l[labels[i]] = labels[i+1]
		}
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: l}}
	}
	major, minor, product := "nvidia.com/gpu.compute.major", "nvidia.com/gpu.compute.minor", "nvidia.com/gpu.product"
	nodes := []corev1.Node{
		node(major, "8", minor, "9", product, "NVIDIA-L4"), node(major, "8", minor, "9", product, "NVIDIA-L4"),
		node(major, "12", minor, "0", product, "NVIDIA-B", "zone", "b"), node(), node(major, "8"), node(major, "x;y", minor, "1"),
	}
	v := &v1alpha1.Variant{Device: v1alpha1.GPU}
	if diff := cmp.Diff(map[string]string{"8.9": "NVIDIA-L4 on 2 nodes", "12.0": "NVIDIA-B on 1 nodes"}, enginecheck.GPUs(v, nodes)); diff != "" {
		t.Error(diff)
	}
	v.NodeSelector = map[string]string{"zone": "b"}
	if got := enginecheck.GPUs(v, nodes); len(got) != 1 || got["12.0"] == "" {
		t.Errorf("the node selector does not count: %v", got)
	}
	v.Device = v1alpha1.CPU
	if got := enginecheck.GPUs(v, nodes); len(got) != 0 {
		t.Errorf("a CPU variant has GPUs: %v", got)
	}
}

func TestLook(t *testing.T) {
	waiting := func(name, reason string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, Image: "img", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "m"}}}
	}
	ended := func(name string, code int32, message string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: message}}}
	}
	for name, c := range map[string]struct {
		status corev1.PodStatus
		step   string
		stuck  string
		ended  bool
	}{
		"new": {step: "made"},
		"no node": {status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes: no GPU"}}},
			step: "waiting for a node: 0/3 nodes: no GPU"},
		"image cannot be pulled": {status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("engine", "ImagePullBackOff")}}, step: "ImagePullBackOff", stuck: "img"},
		"image is pulled":        {status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("engine", "PodInitializing")}}, step: "made"},
		"adapter without files": {status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{ended("adapter", 1, "no folder")}},
			step: "failed", stuck: "/adapter must hold"},
		"running":                  {status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "engine", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}, step: "running"},
		"ended badly is ended too": {status: corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{ended("engine", 8, "")}}, step: "ended", ended: true},
		"evicted":                  {status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "low on disk"}, step: "failed", stuck: "Evicted low on disk"},
	} {
		t.Run(name, func(t *testing.T) {
			got := enginecheck.Look(&corev1.Pod{Status: c.status})
			if got.Step != c.step || got.Ended != c.ended || !strings.Contains(got.Stuck, c.stuck) || (got.Stuck == "") != (c.stuck == "") {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestSilentAndStarted(t *testing.T) {
	pod := func(code int32, reason string) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "engine", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason},
		}}}}}
	}
	if f := enginecheck.Started(pod(0, ""), "usage"); f.Level != enginecheck.LevelOK {
		t.Errorf("%+v", f)
	}
	if f := enginecheck.Started(pod(127, ""), "not found\n"); f.Level != enginecheck.LevelError || !strings.Contains(f.What, "127: not found") {
		t.Errorf("%+v", f)
	}
	for want, p := range map[string]*corev1.Pod{"out of memory": pod(137, "OOMKilled"), "exit code 1": pod(1, "Error"), "did not run": {}} {
		if f := enginecheck.Silent(p, "log"); f.Level != enginecheck.LevelError || !strings.Contains(f.What, want) || f.Remedy == "" {
			t.Errorf("%+v", f)
		}
	}
}
