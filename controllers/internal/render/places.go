package render

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Bounds of the pods that are no attempts, in seconds. The role gives up before the
// kubelet ends its pod, so that it can say why.
const (
	LookupTimeoutSeconds = 90
	lookupPodSeconds     = 120
	PurgeTimeoutSeconds  = 3600
	purgePodSeconds      = PurgeTimeoutSeconds + 60
	// placesGraceSeconds: neither holds anything that it must save.
	placesGraceSeconds = 5
)

// LookupName is the name of the pod that looks at a job's places.
func LookupName(job *v1alpha1.PoseJob) string { return purposeName(job, v1alpha1.PurposeLookup) }

// PurgeName is the name of the pod that removes a job's results, on the n-th try.
func PurgeName(job *v1alpha1.PoseJob, n int32) string {
	return fmt.Sprintf("%s-%d", purposeName(job, v1alpha1.PurposePurge), n)
}

// purposeName fits into 63 characters with a number behind it, as attempts' names.
func purposeName(job *v1alpha1.PoseJob, purpose string) string {
	name := job.Name
	if len(name) > 40 {
		name = strings.TrimRight(name[:40], "-.")
	}
	return fmt.Sprintf("%s-%s-%s", name, shortUID(job), purpose)
}

// AnnotationTry on the pod of a removal counts the tries.
const AnnotationTry = "pose.dev/purge-try"

// AttemptPrefix begins the names of all folders that the job writes below its output.
func AttemptPrefix(job *v1alpha1.PoseJob) string { return shortUID(job) + "-" }

// Wanted says which results a look may take.
type Wanted struct {
	Request string
	Recipes []string
	// First is what a result of the first variant would say of how it came to be.
	First      *report.Provenance
	Candidates []report.ResultRef
}

// Lookup is the pod that looks at the job's places before any attempt.
func Lookup(job *v1alpha1.PoseJob, want Wanted, s Settings) (*corev1.Pod, error) {
	r := renderer{job: job, settings: s, places: allPlaces(job)}
	return r.placesPod(LookupName(job), v1alpha1.PurposeLookup, attempt.ContainerLookup, r.lookupConfig(want), r.lookupMounts(), lookupPodSeconds+job.Spec.StartTimeoutSeconds)
}

func (r *renderer) lookupConfig(want Wanted) report.Config {
	out, v := r.job.Spec.Output, r.job.Spec.Video
	cfg := r.config(report.RoleLookup)
	cfg.Lookup = &report.LookupConfig{
		Video: report.LookupInput{URI: v.URI, SHA256: v.SHA256, MaxBytes: r.maxVideoBytes(), ScratchBound: r.scratchBound(), PVCMount: mountOf(v.URI, pvcInputMount)},
		URI:   strings.TrimRight(out.URI, "/"), PVCMount: mountOf(out.URI, pvcOutputMount),
		Overwrite: out.Overwrite == v1alpha1.Allow, MaxBytes: r.scratch().Value(), Store: r.settings.Store,
		AttemptID: AttemptID(r.job, 0), Request: want.Request, Recipes: want.Recipes, First: want.First, Candidates: want.Candidates,
		TimeoutSeconds: LookupTimeoutSeconds,
	}
	if b := v.Boxes; b != nil {
		cfg.Lookup.Boxes = &report.LookupInput{URI: b.URI, SHA256: b.SHA256, MaxBytes: MaxBoxesBytes, PVCMount: mountOf(b.URI, pvcBoxesMount)}
	}
	return cfg
}

// lookupMounts are all places of the job, those that are read and the one that is
// written.
func (r *renderer) lookupMounts() []corev1.VolumeMount {
	mounts := append(r.inputMounts(), secretMount(outputPlace(r.job), report.OutputCredentialsDir)...)
	return append(mounts, r.claimMount(r.job.Spec.Output.URI, pvcOutputMount, false)...)
}

// Purge is the pod that removes what the job wrote. It belongs to the job and yet is
// not controlled by it, nor does it block its deletion: the garbage collector deletes
// such pods at once of an owner that waits for them.
func Purge(job *v1alpha1.PoseJob, try int32, s Settings) (*corev1.Pod, error) {
	r := renderer{job: job, settings: s, places: []place{outputPlace(job)}}
	uri := job.Spec.Output.URI
	cfg := r.config(report.RolePurge)
	cfg.Purge = &report.PurgeConfig{
		URI: strings.TrimRight(uri, "/"), PVCMount: mountOf(uri, pvcOutputMount), Store: s.Store,
		AttemptPrefix: AttemptPrefix(job), TimeoutSeconds: PurgeTimeoutSeconds,
	}
	mounts := append(secretMount(outputPlace(job), report.OutputCredentialsDir), r.claimMount(uri, pvcOutputMount, false)...)
	pod, err := r.placesPod(PurgeName(job, try), v1alpha1.PurposePurge, attempt.ContainerPurge, cfg, mounts, purgePodSeconds)
	if err != nil {
		return nil, err
	}
	pod.Annotations[AnnotationTry] = strconv.Itoa(int(try))
	owner := &pod.OwnerReferences[0]
	owner.Controller, owner.BlockOwnerDeletion = nil, nil
	return pod, nil
}

func mountOf(uri, path string) string {
	if mounted(uri) {
		return path
	}
	return ""
}

// placesPod has one container, of ours, and no finalizer: it holds nothing that must
// not be lost.
func (r *renderer) placesPod(name, purpose, container string, cfg report.Config, mounts []corev1.VolumeMount, seconds int64) (*corev1.Pod, error) {
	c, err := r.runner(container, r.settings.RunnerImage, cfg, smallMemory, smallCPU)
	if err != nil {
		return nil, fmt.Errorf("render pod %s: %w", name, err)
	}
	c.VolumeMounts = mounts
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: r.job.Namespace, Labels: r.labels(), Annotations: r.annotations(container),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r.job, v1alpha1.GroupVersion.WithKind("PoseJob"))},
		},
		Spec: r.plainSpec(),
	}
	pod.Labels[v1alpha1.LabelPurpose] = purpose
	pod.Spec.TerminationGracePeriodSeconds = new(int64(placesGraceSeconds))
	pod.Spec.ActiveDeadlineSeconds = &seconds
	pod.Spec.Affinity = r.affinity()
	pod.Spec.Volumes = r.placeVolumes()
	pod.Spec.Containers = []corev1.Container{c}
	withoutIdentity(pod)
	return pod, nil
}

// maxVideoBytes that a job may read.
func (r *renderer) maxVideoBytes() int64 {
	return min(r.settings.MaxVideoBytes, r.scratch().Value())
}

// scratchBound: that is the job's own limit, and not the platform admin's.
func (r *renderer) scratchBound() bool { return r.scratch().Value() < r.settings.MaxVideoBytes }

// inputMounts of who reads the video and its boxes.
func (r *renderer) inputMounts() []corev1.VolumeMount {
	var out []corev1.VolumeMount
	for _, p := range r.places {
		credentials, mount := report.CredentialsDir, pvcInputMount
		switch p.secretName {
		case volumeBoxesCredentials:
			credentials, mount = report.BoxesCredentialsDir, pvcBoxesMount
		case volumeOutputCredentials:
			continue
		}
		out = append(out, secretMount(p, credentials)...)
		out = append(out, r.claimMount(p.uri, mount, true)...)
	}
	return out
}
