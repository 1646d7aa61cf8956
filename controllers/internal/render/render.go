// Package render makes the pods of a job: those of its attempts, the one that looks
// at its places before, and the one that removes its results; and the pod that works
// through many clips of a batch. It is a pure function:
// the same job, engine, attempt and settings give the same pod.
//
// # What holds for every pod
//
//   - The engine's container has no credentials, no service account token and no
//     added capabilities. Under pose-runner it has no network sockets either,
//     unless its variant allows them.
//   - Credentials are mounted as files into exactly the container that needs
//     them: the video's and the boxes' into fetch, the output's into deliver. The
//     look has all of them, the removal the output's; both run our code alone. So it
//     is in the pod of many clips, where the look is a container beside the others.
//   - What a cloud injects for the pod's service account is kept out of every
//     container that does not read or write a place, by the annotations that the
//     clouds' webhooks heed.
//   - User input becomes a value in a JSON document, never a path, an option or
//     a part of a shell command. Numbers of the job may become an option's value.
//   - Memory is requested as much as it is limited, so that a pod is not evicted
//     for memory that it was promised.
//   - deliver judges an engine's outputs after the engine ended well: it waits for
//     that itself, or, of an engine without pose-runner, the kubelet does.
package render

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Users of the containers. They differ, so that an engine cannot touch deliver's
// files; the shared group FSGroup lets them read each other's.
const (
	RunnerUser = 65532
	EngineUser = 65533
	FSGroup    = 65532
)

// GracePeriodSeconds is how long a pod may take to end: the engine is stopped
// and deliver says what it has.
const GracePeriodSeconds = 30

// Settings are the platform admin's and the operator's own.
type Settings struct {
	RunnerImage     string // pose-runner
	MediaImage      string // ffmpeg, for prepare
	ImagePullPolicy corev1.PullPolicy
	PullSecrets     []string
	Store           report.StoreConfig
	Progress        *report.ProgressConfig
	OperatorVersion string
	// MaxVideoBytes, MaxPixels (of one frame) and MaxFrames bound the input.
	MaxVideoBytes, MaxPixels, MaxFrames int64
}

// PodName is `<job, cut at 46>-<5 of its uid>-<attempt>`: a job that is created
// again under its old name cannot collide with pods of its former life.
func PodName(job *v1alpha1.PoseJob, number int32) string {
	name := job.Name
	if len(name) > 46 {
		name = strings.TrimRight(name[:46], "-.")
	}
	return fmt.Sprintf("%s-%s-%d", name, shortUID(job), number)
}

func shortUID(job *v1alpha1.PoseJob) string {
	uid := strings.ReplaceAll(string(job.UID), "-", "")
	return uid[:min(5, len(uid))]
}

// AttemptID names the attempt's folder below the output URI. It holds the job's
// uid, so that no two jobs that share an output URI share a folder.
func AttemptID(job *v1alpha1.PoseJob, number int32) string {
	return fmt.Sprintf("%s-%d", shortUID(job), number)
}

// Pod of one attempt. The variant must be one of the engine's. The job's status
// holds the attempts before this one; request is the digest of what the job asks
// for, or empty (see reuse.AskOf).
func Pod(job *v1alpha1.PoseJob, engine *v1alpha1.PoseEngine, variant *v1alpha1.Variant, a *v1alpha1.Attempt, request string, s Settings) (*corev1.Pod, error) {
	r := renderer{job: job, engine: engine, variant: variant, attempt: a, request: request, settings: s, places: allPlaces(job)}
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: r.meta(),
		Spec:       r.spec(),
	}
	if err := r.containers(&pod.Spec); err != nil {
		return nil, fmt.Errorf("render pod %s: %w", pod.Name, err)
	}
	withoutIdentity(pod)
	return pod, nil
}

// renderer of a pod; engine, variant and attempt are nil where it is no attempt's.
type renderer struct {
	job      *v1alpha1.PoseJob
	engine   *v1alpha1.PoseEngine
	variant  *v1alpha1.Variant
	attempt  *v1alpha1.Attempt
	request  string
	settings Settings
	// places that the pod reads and writes.
	places []place
	// queue of clips that the pod works through; nil where it has one video.
	queue *report.QueueConfig
}

// template is the job's own, never nil.
func (r *renderer) template() v1alpha1.PodTemplate {
	if t := r.job.Spec.PodTemplate; t != nil {
		return *t
	}
	return v1alpha1.PodTemplate{}
}

func (r *renderer) meta() metav1.ObjectMeta {
	labels := r.labels()
	maps.Copy(labels, map[string]string{
		v1alpha1.LabelAttempt: strconv.Itoa(int(r.attempt.Number)),
		v1alpha1.LabelVariant: r.variant.Name,
		v1alpha1.LabelDevice:  string(r.variant.Device),
	})
	annotations := r.annotations(attempt.ContainerEngine)
	// A label holds no slash: the variant of a fallback engine stands here, so that
	// its pod is known again when the status was lost.
	if r.attempt.Variant != r.variant.Name {
		annotations[v1alpha1.AnnotationVariant] = r.attempt.Variant
	}
	return metav1.ObjectMeta{
		Name:        PodName(r.job, r.attempt.Number),
		Namespace:   r.job.Namespace,
		Labels:      labels,
		Annotations: annotations,
		Finalizers:  []string{v1alpha1.FinalizerOutcome},
		OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(r.job, v1alpha1.GroupVersion.WithKind("PoseJob")),
		},
	}
}

// labels that every pod of the job has.
func (r *renderer) labels() map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, r.template().Labels)
	maps.Copy(labels, map[string]string{
		"app.kubernetes.io/name":       "pose-job",
		"app.kubernetes.io/managed-by": "pose-operator",
		v1alpha1.LabelJob:              label(r.job.Name),
		v1alpha1.LabelJobUID:           string(r.job.UID),
	})
	return labels
}

func (r *renderer) annotations(container string) map[string]string {
	annotations := map[string]string{}
	maps.Copy(annotations, r.template().Annotations)
	annotations["kubectl.kubernetes.io/default-container"] = container
	return annotations
}

// Annotations by which the clouds' webhooks leave containers alone. Amazon's takes
// init containers and containers with commas between them, Microsoft's with
// semicolons.
const (
	annotationSkipAWS   = "eks.amazonaws.com/skip-containers"
	annotationSkipAzure = "azure.workload.identity/skip-containers"
)

// annotationAzureProxy would serve the pod's identity to all of its containers.
const annotationAzureProxy = "azure.workload.identity/inject-proxy-sidecar"

// handlesPlaces are the containers that read or write places: they may have the
// identity of the pod's service account.
var handlesPlaces = map[string]bool{
	attempt.ContainerFetch: true, attempt.ContainerDeliver: true, attempt.ContainerLookup: true, attempt.ContainerPurge: true,
}

// withoutIdentity keeps a cloud's identity out of all other containers, whatever
// the job's own annotations say.
func withoutIdentity(pod *corev1.Pod) {
	var others []string
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if !handlesPlaces[c.Name] {
			others = append(others, c.Name)
		}
	}
	delete(pod.Annotations, annotationAzureProxy)
	for annotation, separator := range map[string]string{annotationSkipAWS: ",", annotationSkipAzure: ";"} {
		if delete(pod.Annotations, annotation); len(others) > 0 {
			pod.Annotations[annotation] = strings.Join(others, separator)
		}
	}
}

// label cuts a name to a label's length.
func label(name string) string {
	if len(name) <= 63 {
		return name
	}
	return strings.TrimRight(name[:63], "-.")
}

func (r *renderer) spec() corev1.PodSpec {
	spec := r.plainSpec()
	t := r.template()
	maps.Copy(spec.NodeSelector, r.variant.NodeSelector)
	spec.Tolerations = append(append([]corev1.Toleration{}, r.variant.Tolerations...), t.Tolerations...)
	spec.Affinity = r.affinity()
	spec.SecurityContext.RunAsNonRoot = new(r.engineUser() != 0)
	if rc := first(r.variant.RuntimeClassName, t.RuntimeClassName); rc != "" {
		spec.RuntimeClassName = &rc
	}
	return spec
}

// plainSpec is what every pod of the job has.
func (r *renderer) plainSpec() corev1.PodSpec {
	t := r.template()
	selector := map[string]string{}
	maps.Copy(selector, t.NodeSelector)
	spec := corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyNever,
		AutomountServiceAccountToken:  new(false),
		EnableServiceLinks:            new(false),
		TerminationGracePeriodSeconds: new(int64(GracePeriodSeconds)),
		ServiceAccountName:            t.ServiceAccountName,
		PriorityClassName:             t.PriorityClassName,
		NodeSelector:                  selector,
		Tolerations:                   append([]corev1.Toleration{}, t.Tolerations...),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:        new(true),
			FSGroup:             new(int64(FSGroup)),
			FSGroupChangePolicy: new(corev1.FSGroupChangeOnRootMismatch),
			SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	if t.RuntimeClassName != "" {
		spec.RuntimeClassName = &t.RuntimeClassName
	}
	for _, name := range r.settings.PullSecrets {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	for _, ref := range t.ImagePullSecrets {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: ref.Name})
	}
	return spec
}

// Weights of what the pods wish of their nodes. They count against each other
// alone: the scheduler scales the best node's sum to the same whole.
const (
	weightOtherNode = 100
	weightOtherGPU  = 50
	weightNoGPU     = 10
)

// Labels of GPU nodes, by NVIDIA's GPU operator and AMD's node labeller.
const (
	labelGPUPresent = "nvidia.com/gpu.present"
	labelGPUProduct = "nvidia.com/gpu.product"
	labelAMDProduct = "amd.com/gpu.product-name"
	// sharedProduct ends the product's name on a node that shares its GPUs.
	sharedProduct = "-SHARED"
)

// affinity holds wishes, not demands: a cluster with one node, or one kind of
// GPU, still retries.
func (r *renderer) affinity() *corev1.Affinity {
	type requirement = corev1.NodeSelectorRequirement
	var wishes []corev1.PreferredSchedulingTerm
	wish := func(weight int32, all ...requirement) {
		wishes = append(wishes, corev1.PreferredSchedulingTerm{Weight: weight, Preference: corev1.NodeSelectorTerm{MatchExpressions: all}})
	}
	if r.attempt == nil {
		wish(weightNoGPU, requirement{Key: labelGPUPresent, Operator: corev1.NodeSelectorOpDoesNotExist})
		return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: wishes}}
	}
	if nodes := r.attempt.AvoidNodes; len(nodes) > 0 {
		wish(weightOtherNode, requirement{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpNotIn, Values: nodes})
	}
	if products := r.attempt.AvoidGPUProducts; len(products) > 0 {
		var names []string
		for _, p := range products {
			names = append(names, p, p+sharedProduct)
		}
		wish(weightOtherGPU,
			requirement{Key: labelGPUProduct, Operator: corev1.NodeSelectorOpNotIn, Values: names},
			requirement{Key: labelAMDProduct, Operator: corev1.NodeSelectorOpNotIn, Values: products},
		)
	}
	if r.variant.Device == v1alpha1.CPU {
		// Its memory and cores are what the GPU's next job would lack.
		wish(weightNoGPU, requirement{Key: labelGPUPresent, Operator: corev1.NodeSelectorOpDoesNotExist})
	}
	if len(wishes) == 0 {
		return nil
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: wishes}}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// configEnv is the container's Config as its environment variable.
func configEnv(c report.Config) (corev1.EnvVar, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return corev1.EnvVar{}, fmt.Errorf("encode the runner's config: %w", err)
	}
	return corev1.EnvVar{Name: report.ConfigEnv, Value: literal(string(raw))}, nil
}

// literal keeps text as it is. The kubelet expands $(NAME) in commands and in
// values of the environment; a doubled dollar sign is one dollar sign.
func literal(s string) string { return strings.ReplaceAll(s, "$", "$$") }
