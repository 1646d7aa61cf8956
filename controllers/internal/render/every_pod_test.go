package render_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/internal/report"
)

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
					runsAsItIs(t, c.job.Build(), pod, ctr, e)
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
			oneVolumePerClaim(t, pod)
			noIdentity(t, pod)
			delivers(t, pod, e.Spec.Variants[slices.IndexFunc(e.Spec.Variants, func(v v1alpha1.Variant) bool { return v.Name == c.variant })])
		})
	}
}

// oneVolumePerClaim: two of one claim hang in some releases of Kubernetes.
func oneVolumePerClaim(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	seen, names := map[string]bool{}, map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		names[v.Name] = true
		if i := v.Image; i != nil && strings.HasSuffix(v.Name, "-claim") {
			if seen[i.Reference] {
				t.Errorf("two volumes for the image %s", i.Reference)
			}
			if seen[i.Reference] = true; i.PullPolicy != corev1.PullIfNotPresent || !strings.Contains(i.Reference, "@sha256:") || strings.Contains(i.Reference, "//") {
				t.Errorf("image volume %+v", i)
			}
		}
		if c := v.PersistentVolumeClaim; c != nil {
			if seen[c.ClaimName] {
				t.Errorf("two volumes for the claim %s", c.ClaimName)
			}
			seen[c.ClaimName] = true
		}
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, m := range c.VolumeMounts {
			if !names[m.Name] {
				t.Errorf("container %s mounts %s, which the pod has not", c.Name, m.Name)
			}
		}
	}
}

// noIdentity: the clouds' webhooks leave every container alone that handles no
// place, and above all the engine.
func noIdentity(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	var others []string
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if !slices.Contains([]string{"fetch", "deliver", "lookup", "purge"}, c.Name) {
			others = append(others, c.Name)
		}
	}
	for annotation, separator := range map[string]string{"eks.amazonaws.com/skip-containers": ",", "azure.workload.identity/skip-containers": ";"} {
		if got := pod.Annotations[annotation]; got != strings.Join(others, separator) {
			t.Errorf("%s: %q, want %q", annotation, got, others)
		}
	}
	if _, proxied := pod.Annotations["azure.workload.identity/inject-proxy-sidecar"]; proxied {
		t.Error("a sidecar would serve the identity to every container")
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
	allowed := map[string][]string{
		"fetch": {"input-credentials", "boxes-credentials", "progress-token"}, "deliver": {"output-credentials", "progress-token"},
		"lookup": {"input-credentials", "output-credentials"},
	}
	claims := map[string][]string{"/pose/claims/in": {"fetch", "lookup"}, "/pose/claims/boxes": {"fetch"}, "/pose/claims/out": {"deliver", "lookup"}}
	for _, m := range c.VolumeMounts {
		if secrets[m.Name] && !slices.Contains(allowed[c.Name], m.Name) {
			t.Errorf("container %s mounts %s", c.Name, m.Name)
		}
		if secrets[m.Name] && !m.ReadOnly {
			t.Errorf("container %s mounts %s writable", c.Name, m.Name)
		}
		if strings.HasSuffix(m.Name, "-claim") && (!slices.Contains(claims[m.MountPath], c.Name) || m.ReadOnly != (m.MountPath != "/pose/claims/out")) {
			t.Errorf("container %s mounts %s as %s, read-only %t", c.Name, m.Name, m.MountPath, m.ReadOnly)
		}
		if c.Name == "engine" && (m.MountPath == report.BinDir || m.MountPath == report.InputDir || m.MountPath == report.AdapterDir) && !m.ReadOnly {
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
	if v.Adapter != nil {
		inits = slices.Insert(inits, 1, "adapter")
	}
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
	if want := map[string]report.Role{"copy": "copy", "adapter": "adapter", "fetch": "fetch", "prepare": "prepare", "engine": "exec", "deliver": "deliver", "lookup": "lookup"}[c.Name]; cfg.Role != want {
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
func runsAsItIs(t *testing.T, job *v1alpha1.PoseJob, pod *corev1.Pod, c corev1.Container, e *v1alpha1.PoseEngine) {
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
	watched, err := render.Pod(job, under, &under.Spec.Variants[0], &a, "", settings())
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
