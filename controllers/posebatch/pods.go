package posebatch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/errand"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/internal/render"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Bounds of the batch's own pods. A role gives up before its pod's deadline, so that
// it can say why.
const (
	listSeconds  = 3600
	indexSeconds = 2 * 3600
	spareSeconds = 60
)

// Memory of the batch's own pods: the whole list, sorted, with room for 100,000 long
// URIs; and a chunk of it.
var (
	listMemory  = resource.MustParse("1Gi")
	indexMemory = resource.MustParse("256Mi")
	scratchSize = resource.MustParse("1Gi")
)

// Where claims and images are mounted.
const (
	videosMount = "/pose/claims/videos"
	outputMount = "/pose/claims/out"
)

// annotationTrusts tells by which certificate a list pod knows its manager: that of
// a process that is gone takes nothing any more.
const annotationTrusts = "pose.dev/trusts"

// tokenSeconds is the life of the projected token; the kubelet renews it.
const tokenSeconds = 3600

// trust names a certificate.
func trust(caPEM string) string {
	sum := sha256.Sum256([]byte(caPEM))
	return hex.EncodeToString(sum[:8])
}

// pod of one of the batch's own roles, with what all of them have in common.
func (r *Reconciler) pod(b *v1alpha1.PoseBatch, purpose string, attempt int32, q errand.Request, memory resource.Quantity) (*corev1.Pod, error) {
	q.Config.Version = report.Version
	q.Config.Job = report.JobRef{Namespace: b.Namespace, Name: b.Name, UID: string(b.UID), Attempt: attempt}
	if t := b.Spec.Template.PodTemplate; t != nil {
		q.Template = *t
	}
	s := r.Settings
	q.Settings = errand.Settings{RunnerImage: s.RunnerImage, PullPolicy: s.ImagePullPolicy, PullSecrets: s.PullSecrets, Store: s.Store}
	pod, err := q.Pod()
	if err != nil {
		return nil, fmt.Errorf("make the pod that is to %s for PoseBatch %s/%s: %w", purpose, b.Namespace, b.Name, err)
	}
	labels := map[string]string{}
	maps.Copy(labels, q.Template.Labels)
	maps.Copy(labels, batch.Labels(b))
	labels[v1alpha1.LabelPurpose], labels[v1alpha1.LabelAttempt] = purpose, strconv.Itoa(int(attempt))
	// By these the manager's cache knows pods, and a NetworkPolicy those that may reach
	// the manager.
	labels[v1alpha1.LabelJobUID], labels["app.kubernetes.io/name"] = string(b.UID), "pose-job"
	pod.ObjectMeta = metav1.ObjectMeta{
		Name: batch.PodName(b, purpose, attempt), Namespace: b.Namespace, Labels: labels, Annotations: pod.Annotations,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(b, v1alpha1.GroupVersion.WithKind("PoseBatch"))},
	}
	c := &pod.Spec.Containers[0]
	c.Resources.Requests[corev1.ResourceMemory], c.Resources.Limits[corev1.ResourceMemory] = memory, memory
	return pod, nil
}

func (r *Reconciler) listPod(b *v1alpha1.PoseBatch, attempt int32) (*corev1.Pod, error) {
	if r.Settings.Progress == nil {
		return nil, errors.New("the operator takes no lists, for it has no progress address")
	}
	v := &b.Spec.Videos
	push := *r.Settings.Progress
	push.URL = strings.TrimSuffix(push.URL, report.ProgressPath) + report.ClipsPath
	uri := v.Prefix
	if uri == "" {
		uri = v.List
	}
	cfg := &report.ListConfig{
		Prefix: v.Prefix, List: v.List, Include: v.Include, Exclude: v.Exclude, Output: b.Spec.Output.URI,
		MaxVideos: v.MaxVideos, Store: r.Settings.Store, Push: push, TimeoutSeconds: listSeconds,
	}
	image := strings.HasPrefix(uri, "oci://")
	if image || report.Claim(uri) != "" {
		cfg.PVCMount = videosMount
	}
	pod, err := r.pod(b, v1alpha1.PurposeList, attempt, errand.Request{
		Config:          report.Config{Role: report.RoleList, List: cfg},
		Places:          []errand.Place{{URI: uri, Secret: v.CredentialsSecretRef, Credentials: report.CredentialsDir, Mount: videosMount, ReadOnly: true}},
		DeadlineSeconds: listSeconds + spareSeconds,
	}, listMemory)
	if err != nil {
		return nil, err
	}
	pod.Annotations[annotationTrusts] = trust(push.CAPEM)
	mount(pod, "progress-token", path.Dir(report.ProgressTokenFile), true, corev1.VolumeSource{
		Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
			ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
				Audience: report.ProgressAudience, ExpirationSeconds: new(int64(tokenSeconds)), Path: path.Base(report.ProgressTokenFile),
			},
		}}},
	})
	if image {
		reference, _, _ := strings.Cut(strings.TrimPrefix(uri, "oci://"), "//")
		mount(pod, "videos-image", videosMount, true, corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: reference, PullPolicy: corev1.PullIfNotPresent}})
	}
	return pod, nil
}

func (r *Reconciler) indexPod(b *v1alpha1.PoseBatch, attempt int32) (*corev1.Pod, error) {
	o := &b.Spec.Output
	cfg := &report.IndexConfig{
		URI: o.URI, Store: r.Settings.Store, Overwrite: o.Overwrite == v1alpha1.Allow, Chunks: b.Status.Listing.Chunks,
		OperatorVersion: r.Settings.OperatorVersion, TimeoutSeconds: indexSeconds,
	}
	if t := b.Status.StartTime; t != nil {
		cfg.StartedAt = t.UTC().Format(time.RFC3339)
	}
	if s := b.Status.Stopping; s != nil {
		cfg.Stopped = s.Reason + ": " + s.Message
	}
	if report.Claim(o.URI) != "" {
		cfg.PVCMount = outputMount
	}
	pod, err := r.pod(b, v1alpha1.PurposeIndex, attempt, errand.Request{
		Config:          report.Config{Role: report.RoleIndex, Index: cfg},
		Places:          []errand.Place{{URI: o.URI, Secret: o.CredentialsSecretRef, Credentials: report.CredentialsDir, Mount: outputMount}},
		DeadlineSeconds: indexSeconds + spareSeconds,
	}, indexMemory)
	if err != nil {
		return nil, err
	}
	var sources []corev1.VolumeProjection
	project := func(name string, items ...corev1.KeyToPath) {
		sources = append(sources, corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items,
		}})
	}
	listed := b.Status.Listing.Attempt
	for i := range int(b.Status.Listing.Chunks) {
		project(batch.ChunkName(b, listed, i), corev1.KeyToPath{Key: keyClips, Path: fmt.Sprint(report.ClipsFile, i)})
		project(batch.RecordName(b, listed, i),
			corev1.KeyToPath{Key: batch.KeyStates, Path: fmt.Sprint(report.StatesFile, i)},
			corev1.KeyToPath{Key: batch.KeyFailures, Path: fmt.Sprint(report.FailuresFile, i)})
		project(batch.RecordName(b, listed, i), corev1.KeyToPath{Key: batch.KeyDigests, Path: fmt.Sprint(report.DigestsFile, i)})
		sources[len(sources)-1].ConfigMap.Optional = new(true) // records of earlier releases have none
	}
	mount(pod, "batch", report.BatchDir, true, corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources, DefaultMode: new(int32(0o440))}})
	mount(pod, "scratch", report.ScratchDir, false, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &scratchSize}})
	return pod, nil
}

// mount adds a volume to the pod's container.
func mount(pod *corev1.Pod, name, at string, readOnly bool, source corev1.VolumeSource) {
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	c := &pod.Spec.Containers[0]
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: at, ReadOnly: readOnly})
}

// view of the pod of an attempt; nil where there is none.
func (r *Reconciler) view(pods []corev1.Pod, b *v1alpha1.PoseBatch, purpose string, attempt int32) (*batch.Pod, *corev1.Pod) {
	for i := range pods {
		p := &pods[i]
		if p.Name != batch.PodName(b, purpose, attempt) || !metav1.IsControlledBy(p, b) {
			continue
		}
		v := &batch.Pod{
			Live:     p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed,
			Deleting: p.DeletionTimestamp != nil,
		}
		if trusts := p.Annotations[annotationTrusts]; purpose == v1alpha1.PurposeList && r.Settings.Progress != nil {
			v.Stale = trusts != trust(r.Settings.Progress.CAPEM)
		}
		look := errand.Look(p, purpose)
		v.Why = look.Step
		if look.Stuck != "" {
			v.Why = look.Stuck
		}
		for _, c := range p.Status.ContainerStatuses {
			if c.Name != purpose || c.State.Terminated == nil {
				continue
			}
			t, err := report.ParseTermination(c.State.Terminated.Message)
			if err == nil && string(t.Role) == purpose && t.Result != report.ResultRunning {
				v.Report = t
			} else {
				v.Why = fmt.Sprintf("the pod ended with exit code %d: %s %s", c.State.Terminated.ExitCode, c.State.Terminated.Reason, p.Status.Message)
			}
		}
		return v, p
	}
	return nil, nil
}

// settings of the pods of PoseJobs, which the batch's own share.
type settings = render.Settings
