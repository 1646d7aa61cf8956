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
	scratch := *r.scratch()
	input := twice(scratch) // the source and what prepare makes of it
	if r.job.Spec.Video.Boxes != nil {
		input.Add(boxesSize)
	}
	v := []corev1.Volume{
		emptyDir(volumeBin, binSize),
		emptyDir(volumeInput, input),
		emptyDir(volumeOutput, scratch),
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
	v = append(v, secret(volumeInputCredentials, r.job.Spec.Video.CredentialsSecretRef)...)
	if b := r.job.Spec.Video.Boxes; b != nil {
		v = append(v, secret(volumeBoxesCredentials, b.CredentialsSecretRef)...)
	}
	v = append(v, secret(volumeOutputCredentials, r.job.Spec.Output.CredentialsSecretRef)...)
	v = append(v, r.claimVolumes()...)
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

func twice(q resource.Quantity) resource.Quantity {
	d := q.DeepCopy()
	d.Add(q)
	return d
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

// claim that a pvc:// URI names, or "".
func claim(uri string) string {
	rest, ok := strings.CutPrefix(uri, "pvc://")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// claimUse is one place of the job that may lie on a claim.
type claimUse struct {
	volume, uri string
	readOnly    bool
}

func (r *renderer) claimUses() []claimUse {
	uses := []claimUse{{volumeInputClaim, r.job.Spec.Video.URI, true}}
	if b := r.job.Spec.Video.Boxes; b != nil {
		uses = append(uses, claimUse{volumeBoxesClaim, b.URI, true})
	}
	return append(uses, claimUse{volumeOutputClaim, r.job.Spec.Output.URI, false})
}

// claimVolumes are one for each claim, whatever lies on it: a pod with two volumes
// of one claim never starts in some releases of Kubernetes (kubernetes/kubernetes
// issue 132921). Who only reads has a read-only mount all the same.
func (r *renderer) claimVolumes() []corev1.Volume {
	var out []corev1.Volume
	at := map[string]*corev1.PersistentVolumeClaimVolumeSource{}
	for _, u := range r.claimUses() {
		name := claim(u.uri)
		if name == "" {
			continue
		}
		if c := at[name]; c != nil {
			c.ReadOnly = c.ReadOnly && u.readOnly
			continue
		}
		at[name] = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name, ReadOnly: u.readOnly}
		out = append(out, corev1.Volume{Name: u.volume, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: at[name]}})
	}
	return out
}

// claimMount of the claim that uri lies on; nothing where it lies on none.
func (r *renderer) claimMount(uri, path string, readOnly bool) []corev1.VolumeMount {
	for _, u := range r.claimUses() {
		if name := claim(u.uri); name != "" && name == claim(uri) {
			return []corev1.VolumeMount{{Name: u.volume, MountPath: path, ReadOnly: readOnly}}
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
