package render

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Queue is what a pod works through: clips of one chunk of a batch's list.
type Queue struct {
	// PodName of the pod, and its number among the pods of its chunk.
	PodName string
	Number  int32
	// Clips by their numbers in the batch's list, First that of the chunk's first.
	Clips []int32
	First int32
	// ConfigMap of the chunk, and the key in it that becomes report.QueueFile.
	ConfigMap, Key string
	// JobPrefix, "-" and a clip's number are the name of the clip's PoseJob.
	JobPrefix string
	// Look for results that were computed before; nil looks for none.
	Look *Wanted
}

// volumeChunk is the chunk of the batch's list.
const volumeChunk = "clips"

// inQueue are the roles that work through the queue, side by side.
var inQueue = map[report.Role]bool{
	report.RoleLookup: true, report.RoleFetch: true, report.RolePrepare: true, report.RoleExec: true, report.RoleDeliver: true,
}

// Queues says whether a variant's engine can work through many clips: it has a
// command for that, and no preflight that would need a video.
func Queues(v *v1alpha1.Variant) bool {
	if len(v.ClipsCommand) == 0 || v.Runner == v1alpha1.RunnerNone {
		return false
	}
	return v.Preflight == nil || !slices.ContainsFunc(v.Preflight.Command, func(arg string) bool {
		return strings.Contains(strings.ReplaceAll(arg, "$(DEVICE)", ""), "$(")
	})
}

// QueuePod works through many clips of a batch with an engine that is loaded once. The
// job stands for all of them: it belongs to the batch and has its uid, its video lies
// on the claim or image that all clips share, if any, and its output is the batch's.
// Places and names of each clip come from the list, in the pod.
func QueuePod(job *v1alpha1.PoseJob, engine *v1alpha1.PoseEngine, variant *v1alpha1.Variant, a *v1alpha1.Attempt, request string, q Queue, s Settings) (*corev1.Pod, error) {
	s.Progress = nil // nobody shows the progress of a clip that has no PoseJob
	r := renderer{job: job, engine: engine, variant: variant, attempt: a, request: request, settings: s, places: allPlaces(job)}
	r.queue = &report.QueueConfig{
		Clips: q.Clips, First: q.First, JobPrefix: q.JobPrefix, Look: q.Look != nil,
		ClipSeconds: clipSeconds(job, variant), Line: r.line(),
	}
	pod := &corev1.Pod{ObjectMeta: r.meta(), Spec: r.spec()}
	pod.APIVersion, pod.Kind = "v1", "Pod"
	pod.Name, pod.OwnerReferences = q.PodName, job.OwnerReferences
	delete(pod.Labels, v1alpha1.LabelJob)
	for k, v := range job.Labels {
		pod.Labels[k] = v
	}
	pod.Labels[v1alpha1.LabelPurpose], pod.Labels["app.kubernetes.io/name"] = v1alpha1.PurposeQueue, "pose-job"
	pod.Spec.Volumes = append(r.volumes(), corev1.Volume{Name: volumeChunk, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: q.ConfigMap}, DefaultMode: new(int32(0o440)),
		Items: []corev1.KeyToPath{{Key: q.Key, Path: strings.TrimPrefix(report.QueueFile, report.BatchDir+"/")}},
	}}})
	if err := r.queueContainers(&pod.Spec, q); err != nil {
		return nil, fmt.Errorf("render pod %s: %w", pod.Name, err)
	}
	withoutIdentity(pod)
	return pod, nil
}

// queueContainers: what is done once comes first, and the others run side by side.
func (r *renderer) queueContainers(spec *corev1.PodSpec, q Queue) error {
	inits := []func() (corev1.Container, error){r.copy}
	if r.variant.Adapter != nil {
		inits = append(inits, r.adapter)
	}
	mains := []func() (corev1.Container, error){r.fetch, r.prepare, r.watchedEngine, r.deliver}
	if q.Look != nil {
		mains = slices.Insert(mains, 0, func() (corev1.Container, error) { return r.queueLookup(*q.Look) })
	}
	if err := fillIn(spec, inits, mains); err != nil {
		return err
	}
	for i := range spec.Containers {
		if c := &spec.Containers[i]; handlesPlaces[c.Name] {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volumeChunk, MountPath: report.BatchDir, ReadOnly: true})
		}
	}
	return nil
}

// queueLookup looks at the places of one clip after the other, ahead of fetch.
func (r *renderer) queueLookup(want Wanted) (corev1.Container, error) {
	c, err := r.runner(attempt.ContainerLookup, r.settings.RunnerImage, r.lookupConfig(want), smallMemory, smallCPU)
	c.VolumeMounts = append([]corev1.VolumeMount{{Name: volumeInput, MountPath: report.InputDir}}, r.lookupMounts()...)
	return c, err
}

// line is what the lines of all clips to the engine have in common.
func (r *renderer) line() report.ClipLine {
	v := r.job.Spec.Video
	l := report.ClipLine{Overlay: strings.ToLower(string(r.job.Spec.Output.Overlay))}
	if l.Overlay == "" {
		l.Overlay = strings.ToLower(string(v1alpha1.OverlayNone))
	}
	if v.CaptureFPS != nil {
		l.CaptureFPS, _ = strconv.ParseFloat(v.CaptureFPS.String(), 64) // the API server takes numbers alone
	}
	if v.FocalLengthPx != nil {
		l.FocalLengthPx = *v.FocalLengthPx
	}
	if p := r.job.Spec.People; p != nil {
		l.MaxPeople = p.Max
	}
	return l
}

// clipSeconds that the engine may take for one clip: the job's own bound or that of
// the variant, whichever is less. Both bound an attempt of one video.
func clipSeconds(job *v1alpha1.PoseJob, variant *v1alpha1.Variant) int64 {
	var out int64
	for _, bound := range []*int64{job.Spec.ActiveDeadlineSeconds, variant.ActiveDeadlineSeconds} {
		if bound != nil && (out == 0 || *bound < out) {
			out = *bound
		}
	}
	return out
}

// bounded is a role's time for one clip. In a pod of many a clip that is slow to come
// holds the GPU, so that the bound of the engine's work on it is that of the others, too.
func (r *renderer) bounded(seconds int64) int64 {
	if r.queue != nil && r.queue.ClipSeconds > 0 {
		return min(seconds, r.queue.ClipSeconds)
	}
	return seconds
}

// command that starts the engine: of one video, or of many.
func (r *renderer) command() []string {
	if r.queue == nil {
		return r.resolve(r.variant.Command)
	}
	device := strings.ToLower(string(r.variant.Device))
	out := make([]string, len(r.variant.ClipsCommand))
	for i, arg := range r.variant.ClipsCommand {
		out[i] = strings.ReplaceAll(arg, "$(DEVICE)", device)
	}
	return out
}
