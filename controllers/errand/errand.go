// Package errand makes the pod in which pose-runner runs one role for a person: to
// remove what a job wrote, or to check its results. Such a pod has the places,
// Secrets and claims of the job that it serves, one container, no engine, no
// service account token, and is restricted as Kubernetes' pod security standards
// have it. It is pure.
package errand

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/internal/report"
)

// labelPurpose says what a pod is for: the value is its role.
const labelPurpose = "pose.dev/errand"

var (
	memory = resource.MustParse("128Mi")
	cpu    = resource.MustParse("50m")
)

// Settings of the operator that the pods of its jobs have.
type Settings struct {
	// RunnerImage is pose-runner's.
	RunnerImage string
	PullPolicy  corev1.PullPolicy
	PullSecrets []string
	Store       report.StoreConfig
}

// Place is one that the pod reaches.
type Place struct {
	URI    string
	Secret *v1alpha1.SecretReference
	// Credentials is the folder that the Secret's keys lie in.
	Credentials string
	// Mount is where the claim of a pvc:// URI is mounted.
	Mount    string
	ReadOnly bool
}

// Request is one errand.
type Request struct {
	// Config of the role, whose name the container has.
	Config report.Config
	Places []Place
	// Template of the job's own pods, for what lets them run in its namespace.
	Template v1alpha1.PodTemplate
	// DeadlineSeconds ends the pod, whatever becomes of who made it.
	DeadlineSeconds int64
	Settings        Settings
}

// AttemptPrefix begins the names of all attempts' folders of a job.
func AttemptPrefix(job *v1alpha1.PoseJob) string {
	return strings.TrimSuffix(render.AttemptID(job, 0), "0")
}

// Labels that the pods of a role's errands for one job have. They are none of those
// by which the operator knows the pods of jobs.
func Labels(role report.Role, job string) map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":       "pose-errand",
		"app.kubernetes.io/managed-by": "kubectl-pose",
		labelPurpose:                   string(role),
		v1alpha1.LabelJob:              strings.TrimRight(job[:min(len(job), 63)], "-."),
	}
}

// Abandoned says whether nobody waits for a pod any more: who made it gave up
// before the deadline that it gave the pod. The deadline itself ends no pod before
// a node has it, and deletes none.
func Abandoned(pod *corev1.Pod, now time.Time) bool {
	d := pod.Spec.ActiveDeadlineSeconds
	return d != nil && pod.DeletionTimestamp == nil && now.Sub(pod.CreationTimestamp.Time) > time.Duration(*d)*time.Second
}

// Pod of the errand. The API server makes its name.
func (r Request) Pod() (*corev1.Pod, error) {
	if r.Settings.RunnerImage == "" {
		return nil, errors.New("the image of pose-runner is not known")
	}
	r.Config.Version = report.Version
	raw, err := json.Marshal(r.Config)
	if err != nil {
		return nil, fmt.Errorf("encode the configuration of pose-runner: %w", err)
	}
	volumes, mounts := r.volumes()
	labels, annotations := map[string]string{}, map[string]string{}
	maps.Copy(labels, r.Template.Labels)
	maps.Copy(labels, Labels(r.Config.Role, r.Config.Job.Name))
	maps.Copy(annotations, r.Template.Annotations)
	name := fmt.Sprintf("pose-%s-%s", r.Config.Role, r.Config.Job.Name)
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Config.Job.Namespace, GenerateName: strings.TrimRight(name[:min(len(name), 57)], "-.") + "-",
			Labels: labels, Annotations: annotations,
		},
		Spec: r.spec(volumes, corev1.Container{
			Name: string(r.Config.Role), Image: r.Settings.RunnerImage, ImagePullPolicy: r.Settings.PullPolicy,
			Args: []string{"run"},
			// The kubelet expands $(NAME); a doubled dollar sign is one.
			Env:                      []corev1.EnvVar{{Name: report.ConfigEnv, Value: strings.ReplaceAll(string(raw), "$", "$$")}},
			VolumeMounts:             mounts,
			TerminationMessagePolicy: corev1.TerminationMessageReadFile,
			SecurityContext: &corev1.SecurityContext{
				RunAsUser: new(int64(render.RunnerUser)), RunAsGroup: new(int64(render.FSGroup)), RunAsNonRoot: new(true),
				ReadOnlyRootFilesystem: new(true), AllowPrivilegeEscalation: new(false),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: memory},
			},
		}),
	}, nil
}

func (r Request) spec(volumes []corev1.Volume, c corev1.Container) corev1.PodSpec {
	t := r.Template
	spec := corev1.PodSpec{
		RestartPolicy:                corev1.RestartPolicyNever,
		ActiveDeadlineSeconds:        &r.DeadlineSeconds,
		AutomountServiceAccountToken: new(false),
		EnableServiceLinks:           new(false),
		ServiceAccountName:           t.ServiceAccountName,
		PriorityClassName:            t.PriorityClassName,
		NodeSelector:                 t.NodeSelector,
		Tolerations:                  t.Tolerations,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), FSGroup: new(int64(render.FSGroup)), FSGroupChangePolicy: new(corev1.FSGroupChangeOnRootMismatch),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Volumes:    volumes,
		Containers: []corev1.Container{c},
	}
	for _, name := range r.Settings.PullSecrets {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	for _, ref := range t.ImagePullSecrets {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: ref.Name})
	}
	return spec
}

// volumes of the places. A claim has one volume, however many places lie on it: a
// pod with two of one claim never starts in some releases of Kubernetes.
func (r Request) volumes() ([]corev1.Volume, []corev1.VolumeMount) {
	var volumes []corev1.Volume
	var mounts []corev1.VolumeMount
	for i, p := range r.Places {
		if p.Secret != nil {
			name := fmt.Sprintf("credentials-%d", i)
			volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
				Secret: &corev1.SecretVolumeSource{SecretName: p.Secret.Name, DefaultMode: new(int32(0o440))},
			}})
			mounts = append(mounts, corev1.VolumeMount{Name: name, MountPath: p.Credentials, ReadOnly: true})
		}
		claim := report.Claim(p.URI)
		if claim == "" {
			continue
		}
		at := slices.IndexFunc(volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim
		})
		if at < 0 {
			at = len(volumes)
			volumes = append(volumes, corev1.Volume{Name: fmt.Sprintf("claim-%d", i), VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim, ReadOnly: p.ReadOnly},
			}})
		}
		source := volumes[at].PersistentVolumeClaim
		source.ReadOnly = source.ReadOnly && p.ReadOnly
		mounts = append(mounts, corev1.VolumeMount{Name: volumes[at].Name, MountPath: p.Mount, ReadOnly: p.ReadOnly})
	}
	return volumes, mounts
}
