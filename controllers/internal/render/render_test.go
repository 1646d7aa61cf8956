package render_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/internal/report"
)

var update = flag.Bool("update", false, "write the golden pods anew")

// tricky is text that the kubelet would expand if nobody took care.
const tricky = `^frame (?P<frame>\d+)$ $(HOME) $$ $(VIDEO)`

func settings() render.Settings {
	return render.Settings{
		RunnerImage: "ghcr.io/pose-dev/pose-runner:v1", MediaImage: "ghcr.io/pose-dev/media:v1",
		ImagePullPolicy: corev1.PullIfNotPresent, PullSecrets: []string{"operator-pull"},
		Store:           report.StoreConfig{S3Endpoint: "https://s3.example", S3Region: "eu-1", S3PathStyle: true},
		Progress:        &report.ProgressConfig{URL: "https://progress.pose-system.svc:8443/v1/progress", CAPEM: "PEM", IntervalSeconds: 2},
		OperatorVersion: "v1.2.3", MaxVideoBytes: 64 << 30, MaxPixels: 7680 * 4320, MaxFrames: 216000,
	}
}

func engine(change func(*v1alpha1.Variant)) *v1alpha1.PoseEngine {
	return gen.Engine("phalp").Variants(
		gen.Variant("gpu", v1alpha1.GPU, gen.Detector("vitdet"), gen.Memory("16Gi", "32Gi"), func(v *v1alpha1.Variant) {
			v.Resources.Limits["nvidia.com/gpu"] = resource.MustParse("1")
			v.Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("1Gi")}
			v.NodeSelector = map[string]string{"accelerator": "nvidia", "tier": "engine"}
			v.Tolerations = []corev1.Toleration{{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpExists}}
			v.RuntimeClassName = "nvidia"
			v.Env = []v1alpha1.EnvVar{{Name: "HF_HOME", Value: "/tmp/hf"}, {Name: "TRICKY", Value: tricky}}
			change(v)
		}),
		gen.Variant("cpu", v1alpha1.CPU, gen.Memory("8Gi", ""), change),
	).With(func(e *v1alpha1.PoseEngine) {
		e.Generation = 3
		e.Spec.Stages = []v1alpha1.StageRule{{Name: "DetectorLoad", Pattern: "Loading detector$"}}
		e.Spec.ProgressPattern = tricky
		e.Spec.Outputs = append(e.Spec.Outputs, v1alpha1.EngineOutput{Name: "overlay", Path: "overlay.mp4", Format: "MP4"})
	}).Build()
}

type golden struct {
	job     *gen.JobBuilder
	variant string
	attempt func(*v1alpha1.Attempt)
	change  func(*v1alpha1.Variant)
	engine  func(*v1alpha1.PoseEngine)
	set     func(*render.Settings)
}

func cases() map[string]golden {
	ref := func(name string) *v1alpha1.SecretReference { return &v1alpha1.SecretReference{Name: name} }
	yes, root := false, int64(0)
	return map[string]golden{
		"gpu-s3-secrets": {variant: "gpu", job: gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Video.CredentialsSecretRef, s.Output.CredentialsSecretRef = ref("in-keys"), ref("out-keys")
			s.Video.SHA256 = strings.Repeat("ab", 32)
			s.Video.Frames = &v1alpha1.FrameRange{Start: 10, End: 130}
			s.Output.Overlay = v1alpha1.OverlayBlurred
			s.Output.URI += "/"
		})},
		"cpu": {variant: "cpu", job: gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) { s.ScratchSize = new(resource.MustParse("1Gi")) })},
		"pvc-in-out": {variant: "cpu", job: gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Video.URI, s.Output.URI = "pvc://footage/day1/run.mp4", "pvc://results/run"
		})},
		"pod-template": {variant: "gpu", job: gen.Job("run").Template(v1alpha1.PodTemplate{
			Labels: map[string]string{"team": "a", v1alpha1.LabelJobUID: "forged"}, Annotations: map[string]string{"note": "x", "kubectl.kubernetes.io/default-container": "deliver"},
			NodeSelector: map[string]string{"tier": "job", "zone": "b"}, Tolerations: []corev1.Toleration{{Key: "batch"}},
			ServiceAccountName: "pose", PriorityClassName: "low", RuntimeClassName: "gvisor",
			ImagePullSecrets: []v1alpha1.SecretReference{{Name: "job-pull"}},
			Resources: &v1alpha1.DeviceResources{
				GPU: &v1alpha1.Resources{Limits: corev1.ResourceList{"memory": resource.MustParse("24Gi"), "example.com/gpu": resource.MustParse("2")}},
				CPU: &v1alpha1.Resources{Limits: corev1.ResourceList{"memory": resource.MustParse("1Gi")}},
			},
		})},
		"memory-and-avoided-nodes": {variant: "gpu", job: gen.Job("run"), attempt: func(a *v1alpha1.Attempt) {
			a.Number, a.MemoryBytes, a.AvoidNodes = 3, 24<<30, []string{"node-1", "node-2"}
		}},
		"models": {variant: "cpu", job: gen.Job("run"), change: func(v *v1alpha1.Variant) {
			v.Models = []v1alpha1.ModelVolume{
				{Name: "smpl", MountPath: "/models/smpl", PersistentVolumeClaim: "smpl-weights"},
				{Name: "hmr2", MountPath: "/models/hmr2", Image: "registry.example/hmr2-weights@sha256:aa"},
			}
		}},
		"allow-network": {variant: "cpu", job: gen.Job("run"), change: func(v *v1alpha1.Variant) { v.AllowNetwork = true }},
		"root-user": {variant: "cpu", job: gen.Job("run"), change: func(v *v1alpha1.Variant) {
			v.SecurityContext = &v1alpha1.EngineSecurityContext{RunAsUser: &root, ReadOnlyRootFilesystem: &yes}
			v.WorkingDir, v.ImagePullPolicy = "/opt/engine", corev1.PullAlways
		}},
		"no-progress-server": {variant: "cpu", job: gen.Job("run"), set: func(s *render.Settings) { s.Progress, s.PullSecrets = nil, nil }},
		"no-memory-limit":    {variant: "cpu", job: gen.Job("run"), change: func(v *v1alpha1.Variant) { v.Resources = nil }},
		"preflight": {variant: "gpu", job: gen.Job("run"), change: func(v *v1alpha1.Variant) {
			v.Preflight = &v1alpha1.Preflight{
				Command: []string{"python3", "-m", "engine.detector", "--device=$(DEVICE)", "--probe", "$(VIDEO)", tricky},
				Stage:   "DetectorLoad", TimeoutSeconds: 120, GPUMemory: new(resource.MustParse("6Gi")),
			}
		}},
		"preflight-of-gpu-memory": {variant: "gpu", job: gen.Job("run"), change: func(v *v1alpha1.Variant) {
			v.Preflight = &v1alpha1.Preflight{Stage: "DetectorLoad", TimeoutSeconds: 300, GPUMemory: new(resource.MustParse("1500M"))}
		}},
		"stage-stall-timeouts": {variant: "gpu", job: gen.Job("run"), engine: func(e *v1alpha1.PoseEngine) {
			e.Spec.Stages = append(e.Spec.Stages, v1alpha1.StageRule{Name: "Tracking", Pattern: "^frame 1$", StallTimeoutSeconds: 3600})
		}},
		"shared-memory": {variant: "cpu", job: gen.Job("run"), change: func(v *v1alpha1.Variant) { v.SharedMemorySize = new(resource.MustParse("2Gi")) }},
		"avoided-nodes-and-gpus": {variant: "gpu", job: gen.Job("run"), attempt: func(a *v1alpha1.Attempt) {
			a.Number, a.AvoidNodes, a.AvoidGPUProducts = 2, []string{"node-1"}, []string{"NVIDIA-GeForce-RTX-4060", "NVIDIA-L4"}
		}},
		"no-runner": {variant: "gpu", job: gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Video.CredentialsSecretRef, s.Output.CredentialsSecretRef = ref("in-keys"), ref("out-keys")
		}), change: func(v *v1alpha1.Variant) {
			v.Runner = v1alpha1.RunnerNone
			v.Command = append(v.Command, "--overlay=$(OVERLAY)", tricky)
			v.WorkingDir = "/opt/engine"
		}},
		"no-runner-cpu-root": {variant: "cpu", job: gen.Job("run"), change: func(v *v1alpha1.Variant) {
			v.Runner = v1alpha1.RunnerNone
			v.SecurityContext = &v1alpha1.EngineSecurityContext{RunAsUser: &root, ReadOnlyRootFilesystem: &yes}
			v.SharedMemorySize = new(resource.MustParse("1Gi"))
			v.Models = []v1alpha1.ModelVolume{{Name: "smpl", MountPath: "/models/smpl", PersistentVolumeClaim: "smpl-weights"}}
		}},
	}
}

func (g golden) render(t *testing.T) (*corev1.Pod, *v1alpha1.PoseEngine) {
	t.Helper()
	if g.change == nil {
		g.change = func(*v1alpha1.Variant) {}
	}
	e := engine(g.change)
	if g.engine != nil {
		g.engine(e)
	}
	i := slices.IndexFunc(e.Spec.Variants, func(v v1alpha1.Variant) bool { return v.Name == g.variant })
	a := gen.Attempt(1, g.variant, e.Spec.Variants[i].Device)
	if g.attempt != nil {
		g.attempt(&a)
	}
	s := settings()
	if g.set != nil {
		g.set(&s)
	}
	pod, err := render.Pod(g.job.Build(), e, &e.Spec.Variants[i], &a, s)
	if err != nil {
		t.Fatal(err)
	}
	return pod, e
}

func TestGolden(t *testing.T) {
	for name, c := range cases() {
		t.Run(name, func(t *testing.T) {
			pod, _ := c.render(t)
			got, err := yaml.Marshal(pod)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v (go test -update writes it)", err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("pod (-golden +got; go test -update if it is meant):\n%s", diff)
			}
		})
	}
}

func TestGoldenFilesAreAllUsed(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := cases()[strings.TrimSuffix(filepath.Base(f), ".yaml")]; !ok {
			t.Errorf("%s belongs to no case", f)
		}
	}
}

// TestEveryPod holds what the package promises for every pod.
func TestEveryPod(t *testing.T) {
	for name, c := range cases() {
		t.Run(name, func(t *testing.T) {
			pod, e := c.render(t)
			all := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
			secrets := secretVolumes(pod)
			for _, ctr := range all {
				mountsOnly(t, ctr, secrets)
				for _, env := range ctr.Env {
					if env.ValueFrom != nil {
						t.Errorf("container %s: env %s comes from elsewhere", ctr.Name, env.Name)
					}
				}
				if len(ctr.EnvFrom) > 0 {
					t.Errorf("container %s has envFrom", ctr.Name)
				}
				confined(t, pod, ctr)
				memory(t, ctr)
				if plain(pod, ctr) {
					runsAsItIs(t, pod, ctr, e)
				} else {
					configArrives(t, ctr, e)
				}
			}
			if pod.Spec.AutomountServiceAccountToken == nil || *pod.Spec.AutomountServiceAccountToken {
				t.Error("the service account's token is mounted")
			}
			if pod.Spec.RestartPolicy != corev1.RestartPolicyNever || pod.Spec.HostNetwork || pod.Spec.HostPID || pod.Spec.HostIPC {
				t.Error("the pod restarts or shares the host's namespaces")
			}
			if pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace {
				t.Error("containers see each other's processes")
			}
			if !slices.Contains(pod.Finalizers, v1alpha1.FinalizerOutcome) {
				t.Error("the pod has no finalizer")
			}
			if pod.Labels[v1alpha1.LabelJobUID] != string(gen.JobUID) {
				t.Error("a podTemplate overrides the operator's label")
			}
			diskSuffices(t, pod)
			delivers(t, pod, e.Spec.Variants[slices.IndexFunc(e.Spec.Variants, func(v v1alpha1.Variant) bool { return v.Name == c.variant })])
		})
	}
}

func secretVolumes(pod *corev1.Pod) map[string]bool {
	out := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil || v.Projected != nil {
			out[v.Name] = true
		}
		if v.HostPath != nil {
			out[v.Name] = true
		}
	}
	return out
}

// mountsOnly: a secret or token reaches exactly the container that needs it.
func mountsOnly(t *testing.T, c corev1.Container, secrets map[string]bool) {
	t.Helper()
	allowed := map[string][]string{"fetch": {"input-credentials", "progress-token"}, "deliver": {"output-credentials", "progress-token"}}
	claims := map[string]string{"input-claim": "fetch", "output-claim": "deliver"}
	for _, m := range c.VolumeMounts {
		if secrets[m.Name] && !slices.Contains(allowed[c.Name], m.Name) {
			t.Errorf("container %s mounts %s", c.Name, m.Name)
		}
		if secrets[m.Name] && !m.ReadOnly {
			t.Errorf("container %s mounts %s writable", c.Name, m.Name)
		}
		if owner, ok := claims[m.Name]; ok && owner != c.Name {
			t.Errorf("container %s mounts the claim of %s", c.Name, owner)
		}
		if c.Name == "engine" && (m.MountPath == report.BinDir || m.MountPath == report.InputDir) && !m.ReadOnly {
			t.Errorf("the engine can write to %s", m.MountPath)
		}
		if c.Name == "deliver" && (m.MountPath == report.OutputDir || m.MountPath == report.RunDir) && !m.ReadOnly {
			t.Errorf("deliver can write to %s", m.MountPath)
		}
	}
}

func confined(t *testing.T, pod *corev1.Pod, c corev1.Container) {
	t.Helper()
	s := c.SecurityContext
	switch {
	case s == nil || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0:
		t.Errorf("container %s: capabilities are not all dropped", c.Name)
	case s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.Privileged != nil && *s.Privileged:
		t.Errorf("container %s may gain privileges", c.Name)
	case c.Name != "engine" && (*s.RunAsUser == 0 || !*s.RunAsNonRoot || !*s.ReadOnlyRootFilesystem):
		t.Errorf("container %s of ours runs as root or with a writable root", c.Name)
	case *s.RunAsNonRoot == (*s.RunAsUser == 0):
		t.Errorf("container %s: runAsNonRoot contradicts its user", c.Name)
	}
	if c.Name == "engine" && *s.RunAsUser == render.RunnerUser {
		t.Error("the engine runs as deliver's user")
	}
	if p := pod.Spec.SecurityContext.SeccompProfile; p == nil || p.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Error("no seccomp profile")
	}
	if c.TerminationMessagePolicy != corev1.TerminationMessageReadFile && !plain(pod, c) {
		t.Errorf("container %s: its termination message may come from its log", c.Name)
	}
}

// plain says whether c is an engine that runs without pose-runner: an init
// container, as deliver waits for it.
func plain(pod *corev1.Pod, c corev1.Container) bool {
	return c.Name == "engine" && slices.ContainsFunc(pod.Spec.InitContainers, func(i corev1.Container) bool { return i.Name == c.Name })
}

// delivers: deliver judges what the engine left, after the engine ended well.
func delivers(t *testing.T, pod *corev1.Pod, v v1alpha1.Variant) {
	t.Helper()
	names := func(cs []corev1.Container) []string {
		var out []string
		for _, c := range cs {
			out = append(out, c.Name)
		}
		return out
	}
	inits, mains := []string{"copy", "fetch", "prepare"}, []string{"engine", "deliver"}
	if v.Runner == v1alpha1.RunnerNone {
		inits, mains = append(inits, "engine"), mains[1:]
	}
	if diff := cmp.Diff(inits, names(pod.Spec.InitContainers)) + cmp.Diff(mains, names(pod.Spec.Containers)); diff != "" {
		t.Fatalf("containers (-want +got):\n%s", diff)
	}
	deliver := pod.Spec.Containers[len(pod.Spec.Containers)-1]
	cfg, err := report.ParseConfig(expand(deliver.Env[len(deliver.Env)-1].Value))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Deliver.EngineEnded != (v.Runner == v1alpha1.RunnerNone) {
		t.Errorf("deliver is told that the engine has ended: %t, with runner %q", cfg.Deliver.EngineEnded, v.Runner)
	}
}

func memory(t *testing.T, c corev1.Container) {
	t.Helper()
	limit, request := c.Resources.Limits.Memory(), c.Resources.Requests.Memory()
	if !limit.IsZero() && limit.Cmp(*request) != 0 {
		t.Errorf("container %s requests %s of memory with a limit of %s", c.Name, request, limit)
	}
}

// diskSuffices: the kubelet counts the emptyDirs against the sum of the
// containers' limits, or an init container's where that is more, and evicts the
// pod beyond it. What is made of memory is no disk.
func diskSuffices(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	sum, limit := resource.Quantity{}, resource.Quantity{}
	for _, v := range pod.Spec.Volumes {
		if v.EmptyDir == nil || v.EmptyDir.Medium == corev1.StorageMediumMemory {
			continue
		}
		if v.EmptyDir.SizeLimit == nil {
			t.Errorf("volume %s has no size limit", v.Name)
			continue
		}
		sum.Add(*v.EmptyDir.SizeLimit)
	}
	for _, c := range pod.Spec.Containers {
		limit.Add(*c.Resources.Limits.StorageEphemeral())
	}
	for _, c := range pod.Spec.InitContainers {
		if of := c.Resources.Limits.StorageEphemeral(); limit.Cmp(*of) < 0 {
			limit = *of
		}
	}
	if sum.Cmp(limit) > 0 {
		t.Errorf("volumes may hold %s, the pod's limit is %s", &sum, &limit)
	}
}

// expand as the kubelet does (k8s.io/kubernetes/third_party/forked/golang/
// expansion): $$ is a dollar sign, $(NAME) the variable, and where there is no
// such variable it stays as it is. The variables here are hostile.
func expand(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i:], ')')
			if end < 0 {
				b.WriteString("$(")
				i++
				continue
			}
			b.WriteString("EXPANDED")
			i += end
		default:
			b.WriteString(s[i : i+2])
			i++
		}
	}
	return b.String()
}

// configArrives: what the runner reads after the kubelet's expansion is what was
// meant.
func configArrives(t *testing.T, c corev1.Container, e *v1alpha1.PoseEngine) {
	t.Helper()
	i := slices.IndexFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name == report.ConfigEnv })
	if i < 0 {
		t.Fatalf("container %s has no config", c.Name)
	}
	if i != len(c.Env)-1 {
		t.Errorf("container %s: env %s comes after the config and could be meant by it", c.Name, c.Env[len(c.Env)-1].Name)
	}
	cfg, err := report.ParseConfig(expand(c.Env[i].Value))
	if err != nil {
		t.Fatalf("container %s: %v", c.Name, err)
	}
	if want := map[string]report.Role{"copy": "copy", "fetch": "fetch", "prepare": "prepare", "engine": "exec", "deliver": "deliver"}[c.Name]; cfg.Role != want {
		t.Errorf("container %s has role %s", c.Name, cfg.Role)
	}
	if (cfg.Progress != nil) != slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "progress-token" }) {
		t.Errorf("container %s: progress is configured without its token, or the token mounted without use", c.Name)
	}
	if c.Name != "engine" {
		return
	}
	if cfg.Exec.ProgressPattern != e.Spec.ProgressPattern || cfg.Exec.Stages[0].Pattern != e.Spec.Stages[0].Pattern {
		t.Errorf("patterns arrive as %q and %q", cfg.Exec.ProgressPattern, cfg.Exec.Stages[0].Pattern)
	}
	for _, arg := range cfg.Exec.Command {
		if strings.Contains(arg, "$(") {
			t.Errorf("argument %q is not resolved", arg)
		}
	}
	envArrives(t, c, e)
	if p := e.Spec.Variants[0].Preflight; p != nil {
		got := cfg.Exec.Preflight
		if got == nil || got.Stage != p.Stage || got.TimeoutSeconds != p.TimeoutSeconds || got.GPUMemoryBytes != p.GPUMemory.Value() || len(got.Command) != len(p.Command) {
			t.Errorf("the preflight arrives as %+v, want %+v", got, p)
		}
	}
}

// envArrives: the engine sees its variant's values as they were written.
func envArrives(t *testing.T, c corev1.Container, e *v1alpha1.PoseEngine) {
	t.Helper()
	for _, v := range e.Spec.Variants[0].Env {
		for _, env := range c.Env {
			if env.Name == v.Name && expand(env.Value) != v.Value {
				t.Errorf("env %s arrives as %q, want %q", v.Name, expand(env.Value), v.Value)
			}
		}
	}
}

// runsAsItIs: an engine without pose-runner has nothing of the operator's, and
// the argv that pose-runner would have started.
func runsAsItIs(t *testing.T, pod *corev1.Pod, c corev1.Container, e *v1alpha1.PoseEngine) {
	t.Helper()
	for _, env := range c.Env {
		if strings.HasPrefix(env.Name, "POSE_") {
			t.Errorf("the engine has %s", env.Name)
		}
	}
	for _, m := range c.VolumeMounts {
		if m.MountPath == report.BinDir || m.MountPath == report.RunDir {
			t.Errorf("the engine mounts %s", m.MountPath)
		}
	}
	if slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "run" }) {
		t.Error("the pod has a volume for a socket that nobody listens to")
	}
	if c.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError {
		t.Errorf("the engine's last words are lost: terminationMessagePolicy %s", c.TerminationMessagePolicy)
	}
	envArrives(t, c, e)
	var argv []string
	for _, arg := range c.Command {
		argv = append(argv, expand(arg))
	}
	under := e.DeepCopy()
	under.Spec.Variants[0].Runner = v1alpha1.RunnerInject
	a := gen.Attempt(1, "gpu", v1alpha1.GPU)
	watched, err := render.Pod(gen.Job("run").Build(), under, &under.Spec.Variants[0], &a, settings())
	if err != nil {
		t.Fatal(err)
	}
	env := watched.Spec.Containers[0].Env
	cfg, err := report.ParseConfig(expand(env[len(env)-1].Value))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cfg.Exec.Command, argv); diff != "" {
		t.Errorf("argv (-under pose-runner +as it is):\n%s", diff)
	}
}

func TestExpandIsTheKubelets(t *testing.T) {
	for in, want := range map[string]string{"a": "a", "$": "$", "$$": "$", "$$$": "$$", "$(A)": "EXPANDED", "$$(A)": "$(A)", "$$$(A)": "$EXPANDED", "$(A": "$(A", "$A": "$A", "a$": "a$"} {
		if got := expand(in); got != want {
			t.Errorf("expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestAnyConfigSurvivesTheKubelet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pattern := rapid.StringMatching(`[$()a-z\\"]{0,12}`).Draw(rt, "pattern")
		e := engine(func(*v1alpha1.Variant) {})
		e.Spec.ProgressPattern = pattern
		a := gen.Attempt(1, "gpu", v1alpha1.GPU)
		pod, err := render.Pod(gen.Job("j").Build(), e, &e.Spec.Variants[0], &a, settings())
		if err != nil {
			rt.Fatal(err)
		}
		env := pod.Spec.Containers[0].Env
		cfg, err := report.ParseConfig(expand(env[len(env)-1].Value))
		if err != nil || cfg.Exec.ProgressPattern != pattern {
			rt.Fatalf("pattern %q arrives as %+v, %v", pattern, cfg, err)
		}
	})
}

// TestWishes: what an attempt avoids is never demanded, and nodes count for more
// than kinds of GPU.
func TestWishes(t *testing.T) {
	for name, c := range map[string]struct {
		device          v1alpha1.Device
		nodes, products []string
		want            map[string]int32 // label of the first expression, weight
	}{
		"a GPU's first attempt":    {device: v1alpha1.GPU},
		"a CPU's first attempt":    {device: v1alpha1.CPU, want: map[string]int32{"nvidia.com/gpu.present": 10}},
		"away from a node":         {device: v1alpha1.GPU, nodes: []string{"a"}, want: map[string]int32{"kubernetes.io/hostname": 100}},
		"away from a kind of GPU":  {device: v1alpha1.GPU, products: []string{"NVIDIA-L4"}, want: map[string]int32{"nvidia.com/gpu.product": 50}},
		"away from all of them":    {device: v1alpha1.CPU, nodes: []string{"a"}, products: []string{"b"}, want: map[string]int32{"kubernetes.io/hostname": 100, "nvidia.com/gpu.product": 50, "nvidia.com/gpu.present": 10}},
		"empty lists say no wish":  {device: v1alpha1.GPU, nodes: []string{}, products: []string{}},
		"a shared GPU is the same": {device: v1alpha1.GPU, products: []string{"NVIDIA-L4", "Tesla-T4"}, want: map[string]int32{"nvidia.com/gpu.product": 50}},
	} {
		t.Run(name, func(t *testing.T) {
			e := engine(func(v *v1alpha1.Variant) { v.Device = c.device })
			a := gen.Attempt(1, "gpu", c.device)
			a.AvoidNodes, a.AvoidGPUProducts = c.nodes, c.products
			pod, err := render.Pod(gen.Job("run").Build(), e, &e.Spec.Variants[0], &a, settings())
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]int32{}
			if pod.Spec.Affinity != nil {
				if pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
					t.Error("a wish became a demand")
				}
				for _, w := range pod.Spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
					first := w.Preference.MatchExpressions[0]
					got[first.Key] = w.Weight
					for _, p := range c.products {
						if first.Key == "nvidia.com/gpu.product" && (!slices.Contains(first.Values, p) || !slices.Contains(first.Values, p+"-SHARED")) {
							t.Errorf("%s is avoided as %q alone", p, first.Values)
						}
					}
				}
			}
			if c.want == nil {
				c.want = map[string]int32{}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("wishes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPodName(t *testing.T) {
	for name, c := range map[string]struct {
		job, uid string
		number   int32
		want     string
	}{
		"a short name":                    {"run", "0f5a7c1e-1111", 1, "run-0f5a7-1"},
		"another life of the job":         {"run", "99999c1e-1111", 1, "run-99999-1"},
		"a name of 46":                    {strings.Repeat("a", 46), "0f5a7c1e", 40, strings.Repeat("a", 46) + "-0f5a7-40"},
		"a longer one is cut":             {strings.Repeat("a", 253), "0f5a7c1e", 40, strings.Repeat("a", 46) + "-0f5a7-40"},
		"a cut behind a dash or a dot":    {strings.Repeat("a", 43) + ".-.bbbb", "0f5a7c1e", 1, strings.Repeat("a", 43) + "-0f5a7-1"},
		"a UID of few characters is used": {"run", "ab-c", 1, "run-abc-1"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := render.PodName(gen.Job(c.job).UID(c.uid).Build(), c.number); got != c.want {
				t.Errorf("PodName = %q, want %q", got, c.want)
			}
		})
	}
}

func TestPodNameIsValidForEveryJobName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?`).Filter(func(s string) bool {
			return len(validation.IsDNS1123Subdomain(s)) == 0
		}).Draw(t, "name")
		number := rapid.Int32Range(1, v1alpha1.MaxAttempts).Draw(t, "number")
		job := gen.Job(name).Build()
		got := render.PodName(job, number)
		if errs := validation.IsDNS1123Subdomain(got); len(errs) > 0 || len(got) > 63 {
			t.Fatalf("PodName(%q) = %q: %v", name, got, errs)
		}
		e := engine(func(*v1alpha1.Variant) {})
		a := gen.Attempt(number, "gpu", v1alpha1.GPU)
		pod, err := render.Pod(job, e, &e.Spec.Variants[0], &a, settings())
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range pod.Labels {
			if errs := validation.IsValidLabelValue(v); len(errs) > 0 {
				t.Fatalf("label %s = %q: %v", k, v, errs)
			}
		}
	})
}

func TestAttemptIDDiffersBetweenLivesOfAJob(t *testing.T) {
	a, b := gen.Job("run").Build(), gen.Job("run").UID("99999c1e-1111").Build()
	if render.AttemptID(a, 1) == render.AttemptID(b, 1) || render.AttemptID(a, 1) == render.AttemptID(a, 2) {
		t.Errorf("AttemptID: %s, %s, %s", render.AttemptID(a, 1), render.AttemptID(b, 1), render.AttemptID(a, 2))
	}
}

func TestRenderDoesNotWriteIntoItsInput(t *testing.T) {
	e := engine(func(*v1alpha1.Variant) {})
	job := gen.Job("run").Template(v1alpha1.PodTemplate{Labels: map[string]string{"a": "b"}, Resources: &v1alpha1.DeviceResources{GPU: &v1alpha1.Resources{Limits: corev1.ResourceList{"memory": resource.MustParse("1Gi")}}}}).Build()
	a := gen.Attempt(1, "gpu", v1alpha1.GPU, func(a *v1alpha1.Attempt) { a.MemoryBytes = 5 << 30 })
	wantEngine, wantJob := e.DeepCopy(), job.DeepCopy()
	first, err := render.Pod(job, e, &e.Spec.Variants[0], &a, settings())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantEngine, e) + cmp.Diff(wantJob, job); diff != "" {
		t.Errorf("the input changed:\n%s", diff)
	}
	second, err := render.Pod(job, e, &e.Spec.Variants[0], &a, settings())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the same input gives another pod:\n%s", diff)
	}
}
