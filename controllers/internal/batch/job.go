package batch

import (
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Job of a clip. What the template leaves unset gets the PoseJob's own defaults. Its
// results never go with it: those of the whole batch go at once, with the batch.
func Job(b *v1alpha1.PoseBatch, n int, c clips.Clip) *v1alpha1.PoseJob {
	t, o := &b.Spec.Template, &b.Spec.Output
	labels := map[string]string{}
	maps.Copy(labels, Labels(b))
	delete(labels, "app.kubernetes.io/name")
	job := &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{
			Name: JobName(b, n), Namespace: b.Namespace, Labels: labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(b, v1alpha1.GroupVersion.WithKind("PoseBatch"))},
		},
		Spec: v1alpha1.PoseJobSpec{
			Video: v1alpha1.VideoSource{
				URI: c.URI, CredentialsSecretRef: b.Spec.Videos.CredentialsSecretRef,
				CaptureFPS: t.CaptureFPS, FocalLengthPx: t.FocalLengthPx,
			},
			Output: v1alpha1.Output{
				URI: c.Output(o.URI), CredentialsSecretRef: o.CredentialsSecretRef,
				Overlay: o.Overlay, Overwrite: o.Overwrite, DeletionPolicy: v1alpha1.DeletionRetain,
			},
			EngineName: t.EngineName, Device: t.Device, Variants: t.Variants, People: t.People, Reuse: t.Reuse,
			ActiveDeadlineSeconds: t.ActiveDeadlineSeconds, PendingTimeoutSeconds: t.PendingTimeoutSeconds,
			StartTimeoutSeconds: t.StartTimeoutSeconds, StallTimeoutSeconds: t.StallTimeoutSeconds,
			DeliveryTimeoutSeconds: t.DeliveryTimeoutSeconds, BackoffLimit: t.BackoffLimit,
			ScratchSize: t.ScratchSize, PodTemplate: t.PodTemplate,
		},
	}
	if t.Fallback != nil {
		job.Spec.Fallback = *t.Fallback
	}
	return job.DeepCopy()
}

// ChildOf gives what a decision needs to know of a PoseJob. It is false for one that
// is not the batch's.
func ChildOf(b *v1alpha1.PoseBatch, j *v1alpha1.PoseJob) (Child, bool) {
	clip, ok := ClipOf(b, j.Name)
	if !ok || !metav1.IsControlledBy(j, b) {
		return Child{}, false
	}
	c := Child{
		Clip: clip, Name: j.Name, UID: string(j.UID), Deleting: j.DeletionTimestamp != nil,
		Suspended: j.Spec.Suspend, Made: j.CreationTimestamp.Time,
	}
	for _, k := range j.Status.Conditions {
		if k.Status != metav1.ConditionTrue {
			continue
		}
		switch k.Type {
		case v1alpha1.ConditionFinished:
			c.Ended = true
		case v1alpha1.ConditionComplete:
			c.Succeeded = true
		case v1alpha1.ConditionFailed:
			c.Reason, c.Message = k.Reason, k.Message
		case v1alpha1.ConditionSuspended:
			c.Resting = true
		}
	}
	for i := range j.Status.Attempts {
		a := &j.Status.Attempts[i]
		if a.FinishTime == nil || a.Seconds == nil {
			continue
		}
		n := min(max(0, a.Seconds.Engine), maxSum/v1alpha1.MaxAttempts/clips.MaxClips)
		if a.Device == v1alpha1.GPU {
			c.Used.GPUSeconds += n
		} else {
			c.Used.CPUSeconds += n
		}
	}
	if !c.Ended {
		return c, true
	}
	c.End = c.Made
	if t := j.Status.CompletionTime; t != nil && t.After(c.Made) {
		c.End = t.Time
	}
	if o := j.Status.Output; o != nil && c.Succeeded {
		c.Digest = report.ShortDigest(o.ManifestSHA256)
	}
	if c.Reused = c.Succeeded && j.Status.ReusedFrom != nil; c.Reused {
		c.Used.Reused = 1
		return c, true // it says nothing of how long a clip takes
	}
	c.Used.Seconds = min(int64(c.End.Sub(c.Made).Seconds()), maxSum/clips.MaxClips)
	return c, true
}
