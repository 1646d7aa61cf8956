package render

import (
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

var defaultScratch = resource.MustParse("20Gi")

const (
	volumeBin               = "bin"
	volumeAdapter           = "adapter"
	volumeInput             = "input"
	volumeOutput            = "output"
	volumeRun               = "run"
	volumeTmp               = "tmp"
	volumeSharedMemory      = "shared-memory"
	volumeProgress          = "progress-token"
	volumeInputCredentials  = "input-credentials"  //nolint:gosec // a volume's name
	volumeBoxesCredentials  = "boxes-credentials"  //nolint:gosec // a volume's name
	volumeOutputCredentials = "output-credentials" //nolint:gosec // a volume's name
	volumeInputClaim        = "input-claim"
	volumeBoxesClaim        = "boxes-claim"
	volumeOutputClaim       = "output-claim"

	pvcInputMount  = "/pose/claims/in"
	pvcBoxesMount  = "/pose/claims/boxes"
	pvcOutputMount = "/pose/claims/out"

	// progressTokenSeconds is the life of the projected token; the kubelet
	// renews it.
	progressTokenSeconds = 3600
)

func (r *renderer) volumes() []corev1.Volume {
	v := []corev1.Volume{
		emptyDir(volumeBin, binSize),
		emptyDir(volumeInput, r.inputSize()),
		emptyDir(volumeOutput, r.outputSize()),
	}
	if r.variant.Adapter != nil {
		v = append(v, emptyDir(volumeAdapter, adapterSize))
	}
	if r.watched() {
		v = append(v, emptyDir(volumeRun, runSize))
	}
	v = append(v, emptyDir(volumeTmp, tmpSize))
	if size := r.variant.SharedMemorySize; size != nil {
		v = append(v, sharedMemory(*size))
	}
	if r.settings.Progress != nil {
		v = append(v, corev1.Volume{Name: volumeProgress, VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
				ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
					Audience: report.ProgressAudience, ExpirationSeconds: new(int64(progressTokenSeconds)), Path: path.Base(report.ProgressTokenFile),
				},
			}}},
		}})
	}
	v = append(v, r.placeVolumes()...)
	for _, m := range r.variant.Models {
		v = append(v, corev1.Volume{Name: modelVolume(m), VolumeSource: modelSource(m)})
	}
	return v
}

// scratch is the disk that the job may use; the CRD's default sets it on every
// job that went through the API server.
func (r *renderer) scratch() *resource.Quantity {
	if r.job.Spec.ScratchSize == nil {
		return new(defaultScratch)
	}
	return r.job.Spec.ScratchSize
}

func (r *renderer) progressMount() []corev1.VolumeMount {
	if r.settings.Progress == nil {
		return nil
	}
	return []corev1.VolumeMount{{Name: volumeProgress, MountPath: path.Dir(report.ProgressTokenFile), ReadOnly: true}}
}

// inputSize holds the source and what prepare makes of it: of one video, or of as
// many as lie in the pod of a queue at once, where deliver copies what one clip's
// engine wrote beside them before it judges that.
func (r *renderer) inputSize() resource.Quantity {
	size := times(2, *r.scratch())
	if r.queue != nil {
		size = times(2*report.QueueWindow+1, *r.scratch())
	}
	if r.job.Spec.Video.Boxes != nil {
		size.Add(boxesSize)
	}
	return size
}

func (r *renderer) outputSize() resource.Quantity {
	if r.queue != nil {
		return times(report.QueueWindow, *r.scratch())
	}
	return *r.scratch()
}

func times(n int, q resource.Quantity) resource.Quantity {
	sum := q.DeepCopy()
	for range n - 1 {
		sum.Add(q)
	}
	return sum
}

func emptyDir(name string, limit resource.Quantity) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}
}

// sharedMemory is a tmpfs, made no larger than its limit. What lies in it is
// memory of the container that wrote it, so it counts against the engine's limit
// and adds nothing to it, and it counts as no disk.
func sharedMemory(size resource.Quantity) corev1.Volume {
	v := emptyDir(volumeSharedMemory, size)
	v.EmptyDir.Medium = corev1.StorageMediumMemory
	return v
}

func secret(name string, ref *v1alpha1.SecretReference) []corev1.Volume {
	if ref == nil {
		return nil
	}
	return []corev1.Volume{{Name: name, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: ref.Name, DefaultMode: new(int32(0o440))},
	}}}
}

// image that an oci:// URI names, or "": what stands before the path in it.
func image(uri string) string {
	rest, ok := strings.CutPrefix(uri, "oci://")
	if !ok {
		return ""
	}
	reference, _, _ := strings.Cut(rest, "//")
	return reference
}

// place that a pod reads or writes.
type place struct {
	uri         string
	secret      *v1alpha1.SecretReference
	secretName  string // of its volume
	claimVolume string // of its claim or image
	readOnly    bool
}

func videoPlace(job *v1alpha1.PoseJob) place {
	v := job.Spec.Video
	return place{v.URI, v.CredentialsSecretRef, volumeInputCredentials, volumeInputClaim, true}
}

// outputPlace is written by all who have it.
func outputPlace(job *v1alpha1.PoseJob) place {
	o := job.Spec.Output
	return place{o.URI, o.CredentialsSecretRef, volumeOutputCredentials, volumeOutputClaim, false}
}

func allPlaces(job *v1alpha1.PoseJob) []place {
	out := []place{videoPlace(job)}
	if b := job.Spec.Video.Boxes; b != nil {
		out = append(out, place{b.URI, b.CredentialsSecretRef, volumeBoxesCredentials, volumeBoxesClaim, true})
	}
	return append(out, outputPlace(job))
}

// placeVolumes are the Secrets of the places, and one volume for each claim or image,
// whatever lies on it: a pod with two volumes of one claim never starts in some
// releases of Kubernetes (kubernetes/kubernetes issue 132921). Who only reads has a
// read-only mount all the same.
func (r *renderer) placeVolumes() []corev1.Volume {
	var out []corev1.Volume
	for _, p := range r.places {
		out = append(out, secret(p.secretName, p.secret)...)
	}
	claims, images := map[string]*corev1.PersistentVolumeClaimVolumeSource{}, map[string]bool{}
	for _, p := range r.places {
		if reference := image(p.uri); reference != "" && !images[reference] {
			images[reference] = true
			out = append(out, corev1.Volume{Name: p.claimVolume, VolumeSource: corev1.VolumeSource{
				Image: &corev1.ImageVolumeSource{Reference: reference, PullPolicy: corev1.PullIfNotPresent},
			}})
		}
		name := report.Claim(p.uri)
		if name == "" {
			continue
		}
		if c := claims[name]; c != nil {
			c.ReadOnly = c.ReadOnly && p.readOnly
			continue
		}
		claims[name] = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name, ReadOnly: p.readOnly}
		out = append(out, corev1.Volume{Name: p.claimVolume, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: claims[name]}})
	}
	return out
}

// secretMount of a place's Secret; nothing where it has none.
func secretMount(p place, path string) []corev1.VolumeMount {
	if p.secret == nil {
		return nil
	}
	return []corev1.VolumeMount{{Name: p.secretName, MountPath: path, ReadOnly: true}}
}

// mounted says whether what uri names is mounted rather than asked for over the
// network.
func mounted(uri string) bool { return Mount(uri) != "" }

// claimMount of the claim or image that uri lies on; nothing where it lies on none.
func (r *renderer) claimMount(uri, path string, readOnly bool) []corev1.VolumeMount {
	for _, p := range r.places {
		if mounted(uri) && Mount(p.uri) == Mount(uri) {
			return []corev1.VolumeMount{{Name: p.claimVolume, MountPath: path, ReadOnly: readOnly}}
		}
	}
	return nil
}

func modelVolume(m v1alpha1.ModelVolume) string { return "model-" + m.Name }

func modelSource(m v1alpha1.ModelVolume) corev1.VolumeSource {
	if m.Image != "" {
		return corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: m.Image}}
	}
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: m.PersistentVolumeClaim, ReadOnly: true}}
}

// Mount names the claim or image that uri lies on; empty where it lies on none.
func Mount(uri string) string {
	if claim := report.Claim(uri); claim != "" {
		return "claim " + claim
	}
	if reference := image(uri); reference != "" {
		return "image " + reference
	}
	return ""
}
