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
	"k8s.io/apimachinery/pkg/util/intstr"
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

// pin of an image.
const pin = "@sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"

type golden struct {
	job     *gen.JobBuilder
	variant string
	request string
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
		"boxes-secrets": {variant: "cpu", job: gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Video.CredentialsSecretRef = ref("in-keys")
			s.Video.Boxes = &v1alpha1.BoxesSource{URI: "https://files.example/run.boxes.csv", SHA256: strings.Repeat("cd", 32), CredentialsSecretRef: ref("box-keys")}
			s.Video.Frames = &v1alpha1.FrameRange{Start: 10, End: 130}
			s.Video.CaptureFPS, s.Video.FocalLengthPx = new(intstr.FromString("239.76")), new(int64(1480))
			s.People = &v1alpha1.PeopleSelection{Max: 3}
		}), change: everyPlaceholder},
		"boxes-on-a-claim": {variant: "cpu", job: gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Video.URI, s.Video.Boxes = "pvc://footage/day1/run.mp4", &v1alpha1.BoxesSource{URI: "pvc://found/run.json"}
		})},
		"boxes-on-the-videos-claim": {variant: "cpu", job: gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Video.URI, s.Video.Boxes = "pvc://footage/day1/run.mp4", &v1alpha1.BoxesSource{URI: "pvc://footage/day1/run.json"}
		})},
		"all-on-one-claim": {variant: "cpu", job: gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Video.URI, s.Video.Boxes, s.Output.URI = "pvc://footage/day1/run.mp4", &v1alpha1.BoxesSource{URI: "pvc://footage/day1/run.json"}, "pvc://footage/results"
		})},
		"images-in": {variant: "cpu", job: gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Video.URI, s.Video.Boxes = "oci://registry.example:5000/footage/day1"+pin+"//clips/run.mp4", &v1alpha1.BoxesSource{URI: "oci://registry.example:5000/footage/day1" + pin + "//clips/run.json"}
		})},
		"two-images-in": {variant: "cpu", job: gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Video.URI, s.Video.Boxes = "oci://registry.example/footage"+pin+"//run.mp4", &v1alpha1.BoxesSource{URI: "oci://registry.example/boxes" + pin + "//run.json"}
		})},
		"second-attempt-of-all-parameters": {variant: "gpu", request: "sha256:" + strings.Repeat("9", 64), job: gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Output.Overwrite, s.Output.Overlay = v1alpha1.Allow, v1alpha1.OverlayFull
			s.Video.Frames = &v1alpha1.FrameRange{Start: 10, End: 130}
			s.Video.CaptureFPS, s.Video.FocalLengthPx = new(intstr.FromInt32(240)), new(int64(1480))
			s.People = &v1alpha1.PeopleSelection{Max: 3}
		}).Attempts(gen.Attempt(1, "gpu", v1alpha1.GPU, gen.Failed("CUDAError")), gen.Attempt(2, "gpu", v1alpha1.GPU)), attempt: func(a *v1alpha1.Attempt) { a.Number = 2 }, change: func(v *v1alpha1.Variant) {
			v.Adapter = &v1alpha1.Adapter{Image: "registry.example/pose-phalp" + pin}
		}},
		"identity": {variant: "gpu", job: gen.Job("run").Template(v1alpha1.PodTemplate{
			ServiceAccountName: "pose", Labels: map[string]string{"azure.workload.identity/use": "true"},
			Annotations: map[string]string{"eks.amazonaws.com/skip-containers": "none", "azure.workload.identity/skip-containers": "none", "azure.workload.identity/inject-proxy-sidecar": "true", "eks.amazonaws.com/token-expiration": "3600"},
		}), change: func(v *v1alpha1.Variant) { v.Runner, v.Adapter = v1alpha1.RunnerNone, &v1alpha1.Adapter{Image: "a"} }},
		"adapter": {variant: "gpu", job: gen.Job("run"), change: func(v *v1alpha1.Variant) {
			v.Adapter = &v1alpha1.Adapter{Image: "registry.example/pose-phalp@sha256:bb", ImagePullPolicy: corev1.PullAlways}
			everyPlaceholder(v)
		}},
		"no-runner-adapter": {variant: "cpu", job: gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) {
			s.Video.Boxes = &v1alpha1.BoxesSource{URI: "s3://videos/run.json"}
		}), change: func(v *v1alpha1.Variant) {
			v.Runner = v1alpha1.RunnerNone
			v.Adapter = &v1alpha1.Adapter{Image: "registry.example/pose-phalp@sha256:bb"}
			everyPlaceholder(v)
		}},
		"no-runner-cpu-root": {variant: "cpu", job: gen.Job("run"), change: func(v *v1alpha1.Variant) {
			v.Runner = v1alpha1.RunnerNone
			v.SecurityContext = &v1alpha1.EngineSecurityContext{RunAsUser: &root, ReadOnlyRootFilesystem: &yes}
			v.SharedMemorySize = new(resource.MustParse("1Gi"))
			v.Models = []v1alpha1.ModelVolume{{Name: "smpl", MountPath: "/models/smpl", PersistentVolumeClaim: "smpl-weights"}}
		}},
	}
}

func everyPlaceholder(v *v1alpha1.Variant) {
	v.Command = []string{
		"python", "/pose/adapter/run", "--video", "$(VIDEO)", "--boxes", "$(BOXES)", "--boxes=$(BOXES)", "--capture-fps", "$(CAPTURE_FPS)",
		"--focal-length-px", "$(FOCAL_LENGTH_PX)", "--max-people", "$(MAX_PEOPLE)", "--source-start", "$(START_FRAME)",
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
	pod, err := render.Pod(g.job.Build(), e, &e.Spec.Variants[i], &a, g.request, s)
	if err != nil {
		t.Fatal(err)
	}
	return pod, e
}

func TestGolden(t *testing.T) {
	for name, c := range cases() {
		t.Run(name, func(t *testing.T) {
			pod, _ := c.render(t)
			matchesGolden(t, name, pod)
		})
	}
}

func matchesGolden(t *testing.T, name string, pod *corev1.Pod) {
	t.Helper()
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
}

func TestGoldenFilesAreAllUsed(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		_, attempt := cases()[name]
		_, queue := queueCases()[name]
		if _, places := placesCases()[name]; !attempt && !places && !queue {
			t.Errorf("%s belongs to no case", f)
		}
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
		pod, err := render.Pod(gen.Job("j").Build(), e, &e.Spec.Variants[0], &a, "", settings())
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
			pod, err := render.Pod(gen.Job("run").Build(), e, &e.Spec.Variants[0], &a, "", settings())
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

// TestPlaceholders: numbers as any program reads them, and nothing lost.
func TestPlaceholders(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.PoseJobSpec)
		arg    string
		want   string
	}{
		"no boxes":                 {arg: "$(BOXES)", want: ""},
		"no boxes, in an option":   {arg: "--boxes=$(BOXES)", want: "--boxes="},
		"boxes":                    {func(s *v1alpha1.PoseJobSpec) { s.Video.Boxes = &v1alpha1.BoxesSource{URI: "s3://b/$(VIDEO).csv"} }, "--boxes=$(BOXES)", "--boxes=/pose/in/boxes.json"},
		"no rate":                  {arg: "$(CAPTURE_FPS)", want: "0"},
		"a rate":                   {func(s *v1alpha1.PoseJobSpec) { s.Video.CaptureFPS = new(intstr.FromInt32(240)) }, "$(CAPTURE_FPS)", "240"},
		"a broken rate":            {func(s *v1alpha1.PoseJobSpec) { s.Video.CaptureFPS = new(intstr.FromString("239.76")) }, "$(CAPTURE_FPS)", "239.76"},
		"the largest rate":         {func(s *v1alpha1.PoseJobSpec) { s.Video.CaptureFPS = new(intstr.FromInt32(100000)) }, "$(CAPTURE_FPS)", "100000"},
		"no focal length":          {arg: "$(FOCAL_LENGTH_PX)", want: "0"},
		"the largest focal length": {func(s *v1alpha1.PoseJobSpec) { s.Video.FocalLengthPx = new(int64(1000000)) }, "$(FOCAL_LENGTH_PX)", "1000000"},
		"everybody":                {arg: "$(MAX_PEOPLE)", want: "0"},
		"some people":              {func(s *v1alpha1.PoseJobSpec) { s.People = &v1alpha1.PeopleSelection{Max: 1000} }, "$(MAX_PEOPLE)", "1000"},
		"the first frame":          {func(s *v1alpha1.PoseJobSpec) { s.Video.Frames = &v1alpha1.FrameRange{Start: 10000000} }, "$(START_FRAME)", "10000000"},
		"what is no placeholder":   {arg: "$(CAPTURE_FPS $(BOX) $(nproc)", want: "$(CAPTURE_FPS $(BOX) $(nproc)"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.change == nil {
				c.change = func(*v1alpha1.PoseJobSpec) {}
			}
			e := engine(func(v *v1alpha1.Variant) { v.Command = []string{"run", c.arg, "last"} })
			e.Spec.Variants[0].Preflight = &v1alpha1.Preflight{Command: []string{c.arg}}
			a := gen.Attempt(1, "gpu", v1alpha1.GPU)
			pod, err := render.Pod(gen.Job("run").Spec(c.change).Build(), e, &e.Spec.Variants[0], &a, "", settings())
			if err != nil {
				t.Fatal(err)
			}
			env := pod.Spec.Containers[0].Env
			cfg, err := report.ParseConfig(expand(env[len(env)-1].Value))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"run", c.want, "last"}, cfg.Exec.Command) + cmp.Diff([]string{c.want}, cfg.Exec.Preflight.Command); diff != "" {
				t.Errorf("argv (-want +got):\n%s", diff)
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
		pod, err := render.Pod(job, e, &e.Spec.Variants[0], &a, "", settings())
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
	job := gen.Job("run").Spec(func(s *v1alpha1.PoseJobSpec) { s.Video.CaptureFPS = new(intstr.FromString("239.76")) }).Template(v1alpha1.PodTemplate{Labels: map[string]string{"a": "b"}, Resources: &v1alpha1.DeviceResources{GPU: &v1alpha1.Resources{Limits: corev1.ResourceList{"memory": resource.MustParse("1Gi")}}}}).Build()
	a := gen.Attempt(1, "gpu", v1alpha1.GPU, func(a *v1alpha1.Attempt) { a.MemoryBytes = 5 << 30 })
	wantEngine, wantJob := e.DeepCopy(), job.DeepCopy()
	first, err := render.Pod(job, e, &e.Spec.Variants[0], &a, "", settings())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantEngine, e) + cmp.Diff(wantJob, job); diff != "" {
		t.Errorf("the input changed:\n%s", diff)
	}
	second, err := render.Pod(job, e, &e.Spec.Variants[0], &a, "", settings())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the same input gives another pod:\n%s", diff)
	}
}
