package status

import (
	"fmt"
	"math"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
	"github.com/pose-dev/pose-operator/internal/report"
)

// look records the look, the intent to make it or to end it included, and what it
// found.
func look(s *v1alpha1.PoseJobStatus, in Input, now metav1.Time) {
	s.Lookup = in.Look.Status.DeepCopy()
	l := s.Lookup
	switch {
	case in.Decision.Kind == plan.KindLook:
		s.Lookup = &v1alpha1.LookupStatus{State: v1alpha1.LookupRunning, StartTime: &now}
	case l == nil || l.State != v1alpha1.LookupRunning:
	case in.Decision.Kind == plan.KindEndLook && l.Reason == "":
		l.Reason, l.Message = in.Decision.Reason, failure.Clean(in.Decision.Message, maxMessage)
	case finished(in.Decision):
		l.State, l.FinishTime = v1alpha1.LookupSkipped, &now
		l.Message = "the job ended before it could be made"
	}
	if r := in.Look.Found; r != nil && s.Output == nil {
		s.Output = output(&r.Result)
		s.Video = video(&r.Video)
		s.Variant, s.Device = foundVariant(r, in.EngineName), device(r.Device)
		s.ReusedFrom = reusedFrom(r)
	}
}

// foundVariant as attempts would record it.
func foundVariant(r *report.ReusedResult, engine string) string {
	variant := failure.Clean(r.Variant, maxName)
	if r.Engine == engine {
		return variant
	}
	return attempt.VariantName(failure.Clean(r.Engine, maxName), variant)
}

// FoundVariant is the variant that made a result that was found, as attempts would
// record it; empty where none was.
func FoundVariant(in Input) string {
	if r := in.Look.Found; r != nil {
		return foundVariant(r, in.EngineName)
	}
	if in.Job.Status.ReusedFrom != nil {
		return in.Job.Status.Variant
	}
	return ""
}

// maxName bounds a name in bytes.
const maxName = 128

func device(d string) v1alpha1.Device {
	if d == report.DeviceGPU {
		return v1alpha1.GPU
	}
	return v1alpha1.CPU
}

func reusedFrom(r *report.ReusedResult) *v1alpha1.ReusedResult {
	out := &v1alpha1.ReusedResult{
		URI: failure.Clean(r.URI, maxMessage), Variant: failure.Clean(r.Variant, maxName), Device: device(r.Device), Image: failure.Clean(r.Image, 512),
	}
	if out.URI == "" {
		out.URI = failure.Clean(r.Result.URI, maxMessage)
	}
	if r.From.Name != "" {
		out.Job = failure.Clean(r.From.Namespace+"/"+r.From.Name, 320)
	}
	if t, err := time.Parse(time.RFC3339, r.CompletedAt); err == nil {
		out.CompletionTime = new(metav1.NewTime(t).Rfc3339Copy())
	}
	return out
}

// video as prepare measured it.
func video(v *report.VideoFacts) *v1alpha1.VideoStatus {
	out := &v1alpha1.VideoStatus{
		SHA256: v.SourceSHA256, Codec: failure.Clean(v.Codec, 64),
		Width: v.Width, Height: v.Height, MilliFPS: int64(v.FPS * 1000), Frames: v.Frames,
		StartFrame: v.StartFrame, DurationMilliseconds: int64(math.Round(v.DurationSec * 1000)),
	}
	source := v1alpha1.VideoSourceStatus{Version: failure.Clean(v.SourceVersion, 256)}
	if s := v.Source; s != nil {
		source.Bytes = max(0, s.Bytes)
		source.Container, source.Codec = failure.Clean(s.Container, 32), failure.Clean(s.Codec, 32)
		source.Reencoded = failure.Clean(s.Why, 128)
	}
	if source != (v1alpha1.VideoSourceStatus{}) {
		out.Source = &source
	}
	return out
}

// byWhom, when and where a result was computed, as the end of a sentence.
func byWhom(r *v1alpha1.ReusedResult) string {
	words := "computed before"
	if r.Job != "" {
		words += " by PoseJob " + r.Job
	}
	if r.CompletionTime != nil {
		words += " on " + r.CompletionTime.UTC().Format(time.RFC3339)
	}
	return words
}

// reused says where the result comes from.
func reused(c setter) {
	r := c.s.ReusedFrom
	if r == nil {
		c.Remove(v1alpha1.ConditionReused)
		return
	}
	c.Set(v1alpha1.ConditionReused, metav1.ConditionTrue, v1alpha1.ReasonVerifiedResult,
		fmt.Sprintf("the result was %s with variant %s on %s, and lies at %s; every file of it was found unchanged", byWhom(r), r.Variant, r.Device, r.URI))
}
