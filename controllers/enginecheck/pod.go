// Package enginecheck makes the pod in which `kubectl pose engines check` looks at
// an engine's image and weights, and reads what the pod said. The pod is a job's
// own, by the same renderer: the same image, user, volumes, memory, node selector
// and refusal of network sockets, but with no video, no results and another command.
package enginecheck

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/errand"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/engine"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Container is the one of the pod whose log holds the findings.
const Container = attempt.ContainerEngine

// LabelEngine carries the name of the engine that a pod checks.
const LabelEngine = "pose.dev/checked-engine"

// Request is one check of one variant.
type Request struct {
	Engine    *v1alpha1.PoseEngine
	Variant   *v1alpha1.Variant
	Namespace string
	// Capabilities of GPUs that the variant may run on, as 8.9.
	Capabilities []string
	// Digests reads every file of weights whole.
	Digests bool
	// DeadlineSeconds ends the pod, whatever becomes of who made it.
	DeadlineSeconds int64
	// Settings' RunnerImage may be empty where NeedsRunner is false.
	Settings errand.Settings
}

// Choose the variant to check: the named one, or the first. The error says why
// there is none that could run.
func Choose(e *v1alpha1.PoseEngine, name string) (*v1alpha1.Variant, error) {
	i := 0
	if name != "" {
		i = slices.IndexFunc(e.Spec.Variants, func(v v1alpha1.Variant) bool { return v.Name == name })
	}
	if i < 0 {
		var names []string
		for _, v := range e.Spec.Variants {
			names = append(names, v.Name)
		}
		return nil, fmt.Errorf("engine %s has no variant %q; it has %s", e.Name, name, strings.Join(names, ", "))
	}
	v := &e.Spec.Variants[i]
	if v.Image == "" {
		r := engine.Check(e)
		return nil, fmt.Errorf("engine %s has no image to check: %s: %s", e.Name, r.Reason, r.Message)
	}
	return v, nil
}

// Whole says whether the engine's adapter knows how to look at image and weights.
// Of other engines it can only be said that the image starts.
func (r Request) Whole() bool { return launcher(r.Variant) >= 0 }

// NeedsRunner says whether the pod needs pose-runner's image.
func (r Request) NeedsRunner() bool {
	return r.Variant.Runner != v1alpha1.RunnerNone || r.Variant.Adapter != nil
}

// launcher is the place in a variant's command of an adapter's program that is
// told to `run`, or -1. By convention such a program also knows `check`.
func launcher(v *v1alpha1.Variant) int {
	if v.Adapter == nil {
		return -1
	}
	i := slices.IndexFunc(v.Command, func(arg string) bool { return strings.HasPrefix(arg, report.AdapterDir+"/") })
	if i < 0 || i+1 >= len(v.Command) || v.Command[i+1] != "run" {
		return -1
	}
	return i
}

// command of the check.
func (r Request) command() []string {
	argv := r.Variant.Command
	i := launcher(r.Variant)
	if i < 0 {
		return append(program(argv), "--help")
	}
	out := append(slices.Clone(argv[:i+1]), "check", "--json", "--output-dir=$(OUTPUT_DIR)")
	for _, arg := range argv[i+2:] {
		if strings.HasPrefix(arg, "--detector=") || strings.HasPrefix(arg, "--device=") {
			out = append(out, arg)
		}
	}
	for _, c := range r.Capabilities {
		out = append(out, "--expect-capability="+c)
	}
	if r.Digests {
		out = append(out, "--digests")
	}
	return out
}

// program is the part of a command that names what runs, without its options.
func program(argv []string) []string {
	python := strings.HasPrefix(path.Base(argv[0]), "python")
	switch {
	case python && len(argv) > 2 && argv[1] == "-m":
		return slices.Clone(argv[:3])
	case python && len(argv) > 1 && strings.HasSuffix(argv[1], ".py"):
		return slices.Clone(argv[:2])
	}
	return slices.Clone(argv[:1])
}

// Pod of the check. The API server makes its name.
func (r Request) Pod() (*corev1.Pod, error) {
	if r.NeedsRunner() && r.Settings.RunnerImage == "" {
		return nil, errors.New("the image of pose-runner is not known")
	}
	e := r.Engine.DeepCopy()
	// What watches a job's engine has nothing to watch here.
	e.Spec.Stages, e.Spec.ProgressPattern = nil, ""
	v := r.Variant.DeepCopy()
	v.Command, v.Preflight = r.command(), nil
	job := &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: "check-" + r.Engine.Name, UID: "00000"},
		Spec:       v1alpha1.PoseJobSpec{Output: v1alpha1.Output{Overlay: v1alpha1.OverlayNone}},
	}
	pod, err := render.Pod(job, e, v, &v1alpha1.Attempt{Number: 1}, "", render.Settings{
		RunnerImage: r.Settings.RunnerImage, ImagePullPolicy: r.Settings.PullPolicy, PullSecrets: r.Settings.PullSecrets,
	})
	if err != nil {
		return nil, err
	}
	pod.ObjectMeta = r.meta()
	r.strip(&pod.Spec)
	return pod, nil
}

func (r Request) meta() metav1.ObjectMeta {
	name := "pose-check-" + r.Engine.Name
	labels := Labels(r.Engine.Name)
	labels[v1alpha1.LabelVariant], labels[v1alpha1.LabelDevice] = r.Variant.Name, string(r.Variant.Device)
	return metav1.ObjectMeta{
		Namespace:    r.Namespace,
		GenerateName: strings.TrimRight(name[:min(len(name), 57)], "-.") + "-",
		Labels:       labels,
	}
}

// Labels that the pods of all checks of an engine have.
func Labels(engine string) map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":       "pose-engine-check",
		"app.kubernetes.io/managed-by": "kubectl-pose",
		LabelEngine:                    strings.TrimRight(engine[:min(len(engine), 63)], "-."),
	}
}

// strip leaves what starts the engine. All of a job's volumes that are left without
// its places are the engine's.
func (r Request) strip(spec *corev1.PodSpec) {
	var inits, mains []corev1.Container
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		switch c.Name {
		case attempt.ContainerCopy, attempt.ContainerAdapter:
			inits = append(inits, c)
		case attempt.ContainerEngine:
			mains = append(mains, c)
		}
	}
	if r.Variant.Runner == v1alpha1.RunnerNone && r.Variant.Adapter == nil {
		inits = nil
	}
	spec.InitContainers, spec.Containers = inits, mains
	spec.ActiveDeadlineSeconds = &r.DeadlineSeconds
}

// Labels of nodes with NVIDIA's GPUs, by its feature discovery.
const (
	labelComputeMajor = "nvidia.com/gpu.compute.major"
	labelComputeMinor = "nvidia.com/gpu.compute.minor"
	labelGPUProduct   = "nvidia.com/gpu.product"
)

// GPUs of the nodes that a variant may run on: for each compute capability, as
// 8.9, what has it. A CPU variant has none.
func GPUs(v *v1alpha1.Variant, nodes []corev1.Node) map[string]string {
	found := map[string]map[string]int{}
	for i := range nodes {
		l := nodes[i].Labels
		major, minor := l[labelComputeMajor], l[labelComputeMinor]
		if v.Device != v1alpha1.GPU || !number(major) || !number(minor) || !selects(v.NodeSelector, l) {
			continue
		}
		capability := major + "." + minor
		if found[capability] == nil {
			found[capability] = map[string]int{}
		}
		found[capability][l[labelGPUProduct]]++
	}
	out := map[string]string{}
	for capability, products := range found {
		var parts []string
		for _, p := range slices.Sorted(maps.Keys(products)) {
			if p == "" {
				parts = append(parts, fmt.Sprintf("%d nodes", products[p]))
				continue
			}
			parts = append(parts, fmt.Sprintf("%s on %d nodes", p, products[p]))
		}
		out[capability] = strings.Join(parts, ", ")
	}
	return out
}

func number(s string) bool {
	return s != "" && len(s) < 4 && strings.Trim(s, "0123456789") == ""
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}
