// Package gen builds the objects that tests of the pure packages and of the
// controllers speak of. It is used by tests alone.
//
// A builder starts from the ordinary case (a job as the API server would have
// defaulted it, a pod that was just created) and says only what differs.
package gen

import (
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	corev1 "k8s.io/api/core/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Now is the time at which tests of pure code live.
var Now = time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)

// At is Now and so many seconds.
func At(seconds int64) metav1.Time {
	return metav1.NewTime(Now.Add(time.Duration(seconds) * time.Second))
}

// JobUID is the UID that Job gives.
const JobUID = types.UID("0f5a7c1e-1111-4222-8333-abcdefabcdef")

// JobBuilder builds a PoseJob.
type JobBuilder struct{ job v1alpha1.PoseJob }

// Job with the API server's defaults, from S3 to S3.
func Job(name string) *JobBuilder {
	return &JobBuilder{job: v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team-a", Name: name, UID: JobUID, Generation: 1,
			CreationTimestamp: At(-60),
		},
		Spec: v1alpha1.PoseJobSpec{
			Video:                      v1alpha1.VideoSource{URI: "s3://videos/run.mp4"},
			Output:                     v1alpha1.Output{URI: "s3://results/team-a/" + name, Overlay: v1alpha1.OverlayNone},
			Device:                     v1alpha1.DeviceAuto,
			Fallback:                   v1alpha1.Fallback{Device: v1alpha1.Allow, Detector: v1alpha1.Allow, Engine: v1alpha1.Deny},
			StartTimeoutSeconds:        600,
			StallTimeoutSeconds:        900,
			DeliveryTimeoutSeconds:     900,
			BackoffLimit:               new(int32(2)),
			PodTTLSecondsAfterFinished: new(int32(600)),
			ScratchSize:                new(resource.MustParse("20Gi")),
		},
		Status: v1alpha1.PoseJobStatus{ObservedGeneration: -1},
	}}
}

// With changes anything.
func (b *JobBuilder) With(change func(*v1alpha1.PoseJob)) *JobBuilder {
	change(&b.job)
	return b
}

// Spec changes the spec.
func (b *JobBuilder) Spec(change func(*v1alpha1.PoseJobSpec)) *JobBuilder {
	change(&b.job.Spec)
	return b
}

// UID of another life of the job.
func (b *JobBuilder) UID(uid string) *JobBuilder {
	b.job.UID = types.UID(uid)
	return b
}

// Namespace of the job.
func (b *JobBuilder) Namespace(namespace string) *JobBuilder {
	b.job.Namespace = namespace
	return b
}

// Engine that the job names.
func (b *JobBuilder) Engine(name string) *JobBuilder {
	b.job.Spec.EngineName = name
	return b
}

// Device that the job may run on.
func (b *JobBuilder) Device(d v1alpha1.DevicePreference) *JobBuilder {
	b.job.Spec.Device = d
	return b
}

// Variants that the job orders.
func (b *JobBuilder) Variants(names ...string) *JobBuilder {
	b.job.Spec.Variants = names
	return b
}

// Suspend the job.
func (b *JobBuilder) Suspend() *JobBuilder {
	b.job.Spec.Suspend = true
	return b
}

// BackoffLimit of the job.
func (b *JobBuilder) BackoffLimit(n int32) *JobBuilder {
	b.job.Spec.BackoffLimit = &n
	return b
}

// Deadline of the job in seconds.
func (b *JobBuilder) Deadline(seconds int64) *JobBuilder {
	b.job.Spec.ActiveDeadlineSeconds = &seconds
	return b
}

// Template of the job's pods.
func (b *JobBuilder) Template(t v1alpha1.PodTemplate) *JobBuilder {
	b.job.Spec.PodTemplate = &t
	return b
}

// Attempts that the status holds.
func (b *JobBuilder) Attempts(as ...v1alpha1.Attempt) *JobBuilder {
	b.job.Status.Attempts = as
	b.job.Status.AttemptCount = int32(len(as)) //nolint:gosec // a handful
	return b
}

// Build the job.
func (b *JobBuilder) Build() *v1alpha1.PoseJob { return b.job.DeepCopy() }

// EngineBuilder builds a PoseEngine.
type EngineBuilder struct{ engine v1alpha1.PoseEngine }

// Engine with the outputs that every engine needs, and no variant yet.
func Engine(name string) *EngineBuilder {
	return &EngineBuilder{engine: v1alpha1.PoseEngine{
		ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1},
		Spec: v1alpha1.PoseEngineSpec{
			Outputs: []v1alpha1.EngineOutput{{Name: "pose", Path: "pose.json", Format: "PoseJSON", Required: true}},
		},
	}}
}

// With changes anything.
func (b *EngineBuilder) With(change func(*v1alpha1.PoseEngine)) *EngineBuilder {
	change(&b.engine)
	return b
}

// Default marks the engine as the default.
func (b *EngineBuilder) Default() *EngineBuilder {
	b.engine.Annotations = map[string]string{v1alpha1.AnnotationDefaultEngine: "true"}
	return b
}

// Rules of the engine's own.
func (b *EngineBuilder) Rules(rules ...v1alpha1.FailureRule) *EngineBuilder {
	b.engine.Spec.FailureRules = rules
	return b
}

// Variants of the engine.
func (b *EngineBuilder) Variants(vs ...v1alpha1.Variant) *EngineBuilder {
	b.engine.Spec.Variants = append(b.engine.Spec.Variants, vs...)
	return b
}

// Build the engine.
func (b *EngineBuilder) Build() *v1alpha1.PoseEngine { return b.engine.DeepCopy() }

// Variant on a device, with an image and a command.
func Variant(name string, device v1alpha1.Device, options ...func(*v1alpha1.Variant)) v1alpha1.Variant {
	v := v1alpha1.Variant{
		Name: name, Device: device,
		Image:   "registry.example/" + name + "@sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865",
		Command: []string{"python3", "-m", "engine", "--video", "$(VIDEO)", "--out", "$(OUTPUT_DIR)"},
	}
	for _, o := range options {
		o(&v)
	}
	return v
}

// Detector of a variant.
func Detector(name string) func(*v1alpha1.Variant) {
	return func(v *v1alpha1.Variant) { v.Detector = name }
}

// NoImage leaves a variant without an image.
func NoImage() func(*v1alpha1.Variant) {
	return func(v *v1alpha1.Variant) { v.Image = "" }
}

// Memory limit of a variant, and how far it may be raised; an empty most means
// not at all.
func Memory(limit, most string) func(*v1alpha1.Variant) {
	return func(v *v1alpha1.Variant) {
		v.Resources = &v1alpha1.Resources{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limit)}}
		if most != "" {
			q := resource.MustParse(most)
			v.MaxMemory = &q
		}
	}
}

// Boxes says how a variant takes boxes, and where they go.
func Boxes(use v1alpha1.BoxesUse) func(*v1alpha1.Variant) {
	return func(v *v1alpha1.Variant) {
		v.Boxes, v.Command = use, append(v.Command, "--boxes=$(BOXES)")
	}
}

// OnRequest makes a variant run only where a job names it.
func OnRequest() func(*v1alpha1.Variant) {
	return func(v *v1alpha1.Variant) { v.OnRequest = true }
}
