package v1alpha1_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

func TestPoseJobImmutability(t *testing.T) {
	const (
		video    = "spec.video cannot be changed"
		output   = "spec.output cannot be changed"
		device   = "spec.device cannot be changed"
		engine   = "spec.engineName cannot be set, unset or changed later"
		variants = "spec.variants cannot be set, unset or changed later"
		people   = "spec.people cannot be set, unset or changed later"
		managed  = "spec.managedBy cannot be set, unset or changed later"
		template = "spec.podTemplate can be changed only while spec.suspend is true"
	)
	for name, c := range map[string]struct {
		path, before, after string
		suspend             string // before and after, as "true"; "true false" resumes in the same request
		refusal             string
	}{
		"the video's URI":                                 {path: "spec.video.uri", before: "s3://v/a.mp4", after: "s3://v/b.mp4", refusal: video},
		"the video's digest is set":                       {path: "spec.video.sha256", after: quoted(digest), refusal: video},
		"the video's digest is unset":                     {path: "spec.video.sha256", before: quoted(digest), refusal: video},
		"the video's frames are set":                      {path: "spec.video.frames", after: "{start: 1}", refusal: video},
		"the video's credentials are set":                 {path: "spec.video.credentialsSecretRef", after: "{name: x}", refusal: video},
		"the boxes are set":                               {path: "spec.video.boxes", after: "{uri: s3://v/a.csv}", refusal: video},
		"the boxes are unset":                             {path: "spec.video.boxes", before: "{uri: s3://v/a.csv}", refusal: video},
		"the boxes are others":                            {path: "spec.video.boxes.uri", before: "s3://v/a.csv", after: "s3://v/b.csv", refusal: video},
		"the boxes' digest is set":                        {path: "spec.video.boxes", before: "{uri: s3://v/a.csv}", after: "{uri: s3://v/a.csv, sha256: " + quoted(digest) + "}", refusal: video},
		"the capture rate is set":                         {path: "spec.video.captureFPS", after: "240", refusal: video},
		"the capture rate is unset":                       {path: "spec.video.captureFPS", before: "240", refusal: video},
		"the capture rate is changed":                     {path: "spec.video.captureFPS", before: "240", after: "120", refusal: video},
		"the focal length is set":                         {path: "spec.video.focalLengthPx", after: "1480", refusal: video},
		"the focal length is unset":                       {path: "spec.video.focalLengthPx", before: "1480", refusal: video},
		"the focal length is changed":                     {path: "spec.video.focalLengthPx", before: "1480", after: "1000", refusal: video},
		"the people are set":                              {path: "spec.people", after: "{max: 1}", refusal: people},
		"the people are unset":                            {path: "spec.people", before: "{max: 1}", refusal: people},
		"the people are more":                             {path: "spec.people.max", before: "1", after: "2", refusal: people},
		"the output's URI":                                {path: "spec.output.uri", before: "s3://o/default/a", after: "s3://o/default/b", refusal: output},
		"the output's overlay":                            {path: "spec.output.overlay", before: "None", after: "Full", refusal: output},
		"the output's overlay is unset, which is None":    {path: "spec.output.overlay", before: "Full", refusal: output},
		"the output's credentials are unset":              {path: "spec.output.credentialsSecretRef", before: "{name: x}", refusal: output},
		"the output's credentials are set":                {path: "spec.output.credentialsSecretRef", after: "{name: x}", refusal: output},
		"the output's credentials are others":             {path: "spec.output.credentialsSecretRef.name", before: "x", after: "z", refusal: output},
		"the output may replace another's":                {path: "spec.output.overwrite", after: "Allow", refusal: output},
		"the results go with their job from now on":       {path: "spec.output.deletionPolicy", after: "Delete"},
		"the results stay from now on":                    {path: "spec.output.deletionPolicy", before: "Delete", after: "Retain"},
		"the reuse":                                       {path: "spec.reuse", before: "IfVerified", after: "Never"},
		"the device":                                      {path: "spec.device", before: "GPU", after: "CPU", refusal: device},
		"the device is set from its default":              {path: "spec.device", after: "CPU", refusal: device},
		"the device is unset to its default":              {path: "spec.device", before: "CPU", refusal: device},
		"the device is set to its default":                {path: "spec.device", after: "Auto"},
		"the engine is set":                               {path: "spec.engineName", after: "a", refusal: engine},
		"the engine is unset":                             {path: "spec.engineName", before: "a", refusal: engine},
		"the engine is changed":                           {path: "spec.engineName", before: "a", after: "b", refusal: engine},
		"the variants are set":                            {path: "spec.variants", after: "[a]", refusal: variants},
		"the variants are unset":                          {path: "spec.variants", before: "[a]", refusal: variants},
		"the variants are changed":                        {path: "spec.variants", before: "[a]", after: "[b]", refusal: variants},
		"the variants are put into another order":         {path: "spec.variants", before: "[a, b]", after: "[b, a]", refusal: variants},
		"the manager is set":                              {path: "spec.managedBy", after: "a", refusal: managed},
		"the manager is unset":                            {path: "spec.managedBy", before: "a", refusal: managed},
		"the manager is changed":                          {path: "spec.managedBy", before: "a", after: "b", refusal: managed},
		"the pod template is set":                         {path: "spec.podTemplate", after: "{labels: {a: b}}", refusal: template},
		"the pod template is unset":                       {path: "spec.podTemplate", before: "{labels: {a: b}}", refusal: template},
		"the pod template is changed":                     {path: "spec.podTemplate.labels", before: "{a: b}", after: "{a: c}", refusal: template},
		"the pod template is set while suspended":         {path: "spec.podTemplate", after: "{labels: {a: b}}", suspend: "true"},
		"the pod template is unset while suspended":       {path: "spec.podTemplate", before: "{labels: {a: b}}", suspend: "true"},
		"the pod template is changed while suspended":     {path: "spec.podTemplate.labels", before: "{a: b}", after: "{a: c}", suspend: "true"},
		"the pod template is changed with the resumption": {path: "spec.podTemplate.labels", before: "{a: b}", after: "{a: c}", suspend: "true false"},
		"the video while suspended":                       {path: "spec.video.uri", before: "s3://v/a.mp4", after: "s3://v/b.mp4", suspend: "true", refusal: video},
		"suspend":                                         {path: "spec.suspend", before: "false", after: "true"},
		"the deadline":                                    {path: "spec.activeDeadlineSeconds", before: "10", after: "20"},
		"the deadline is unset":                           {path: "spec.activeDeadlineSeconds", before: "10"},
		"the backoff limit":                               {path: "spec.backoffLimit", before: "1", after: "3"},
		"the TTL":                                         {path: "spec.ttlSecondsAfterFinished", after: "3"},
		"the fallback":                                    {path: "spec.fallback.device", before: "Allow", after: "Deny"},
		"the fallback to another engine":                  {path: "spec.fallback.engine", before: "Deny", after: "Allow"},
	} {
		t.Run(name, func(t *testing.T) {
			o := parse(t, minimalJob)
			o.set(t, c.path, c.before)
			before, after, _ := strings.Cut(c.suspend, " ")
			if before != "" {
				o.set(t, "spec.suspend", before)
			}
			u, err := create(t, o)
			if err != nil {
				t.Fatal(err)
			}
			changed := object(u.Object).set(t, c.path, c.after)
			if after != "" {
				changed.set(t, "spec.suspend", after)
			}
			expect(t, api.Update(context.Background(), changed.unstructured()), c.refusal)
		})
	}
}

func TestPoseJobStatusBounds(t *testing.T) {
	for name, c := range map[string]struct{ status, refusal string }{
		"phases that exist":            {"{phase: Running}", ""},
		"a phase that does not":        {"{phase: Sleeping}", "Unsupported value"},
		"an attempt":                   {"{attempts: [{number: 1, state: Intended, variant: a, device: GPU}]}", ""},
		"attempt 0":                    {"{attempts: [{number: 0, state: Intended, variant: a, device: GPU}]}", "should be greater than or equal to 1"},
		"an attempt twice":             {"{attempts: [{number: 1, state: Intended, variant: a, device: GPU}, {number: 1, state: Failed, variant: a, device: GPU}]}", "Duplicate value"},
		"an attempt of unknown state":  {"{attempts: [{number: 1, state: Lost, variant: a, device: GPU}]}", "Unsupported value"},
		"an attempt of unknown device": {"{attempts: [{number: 1, state: Failed, variant: a, device: TPU}]}", "Unsupported value"},
		"an action that is none":       {"{attempts: [{number: 1, state: Failed, variant: a, device: CPU, action: Wait}]}", "Unsupported value"},
		"what is said of a result":     {`{output: {uri: "s3://r", manifestSHA256: ab, people: 0, frames: 3, quality: {coveragePercent: 0, gaps: 1, idSwitchesSuspected: 2, peopleFiltered: 3}}}`, ""},
		"a variant of another engine":  {"{attempts: [{number: 1, state: Failed, variant: mediapipe/cpu, device: CPU}]}", ""},
		"a condition's reason":         {`{conditions: [{type: Ready, status: "True", reason: "no reason!", message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}]}`, "reason in body should match"},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := create(t, parse(t, minimalJob))
			if err != nil {
				t.Fatal(err)
			}
			object(u.Object).set(t, "status", c.status)
			expect(t, api.Status().Update(context.Background(), u), c.refusal)
		})
	}
}

// Server-Side Apply of the same manifest again changes nothing: no default
// drifts, which a GitOps tool would fight over.
func TestApplyTwiceChangesNothing(t *testing.T) {
	for name, manifest := range map[string]string{"minimal-job": minimalJob, "full-job": fullJob, "engine": fullEngine} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			apply := func() *unstructured.Unstructured {
				u := parse(t, manifest).unstructured()
				u.SetName("apply-" + name)
				if u.GetKind() == "PoseJob" {
					u.SetNamespace("default")
				}
				if err := api.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("gitops"), client.ForceOwnership); err != nil {
					t.Fatal(err)
				}
				return u
			}
			first := apply()
			t.Cleanup(func() { _ = api.Delete(ctx, first) })
			second := apply()
			third := apply()
			// The first update after a creation writes the default of the status,
			// which the creation leaves out; it is there when read, all the same.
			if second.GetResourceVersion() != third.GetResourceVersion() || third.GetGeneration() != 1 {
				t.Errorf("resourceVersion %s after %s, generation %d", third.GetResourceVersion(), second.GetResourceVersion(), third.GetGeneration())
			}
			for _, u := range []*unstructured.Unstructured{first, second, third} {
				u.SetResourceVersion("")
				u.SetManagedFields(nil)
			}
			if diff := cmp.Diff(first.Object, second.Object) + cmp.Diff(second.Object, third.Object); diff != "" {
				t.Errorf("applying again changes the object:\n%s", diff)
			}
		})
	}
}

// A spec that passes through the Go types is the same: a client that reads and
// writes typed objects loses and invents nothing.
func TestRoundTripThroughGoTypes(t *testing.T) {
	ctx := context.Background()
	for name, manifest := range map[string]string{"minimal-job": minimalJob, "full-job": fullJob} {
		t.Run(name, func(t *testing.T) {
			u, err := create(t, parse(t, manifest))
			if err != nil {
				t.Fatal(err)
			}
			var typed v1alpha1.PoseJob
			if err := api.Get(ctx, client.ObjectKeyFromObject(u), &typed); err != nil {
				t.Fatal(err)
			}
			sameSpec(t, u, &typed)
			if err := api.Update(ctx, &typed); err != nil {
				t.Fatal(err)
			}
			if typed.Generation != 1 {
				t.Errorf("writing it back makes generation %d", typed.Generation)
			}
		})
	}
	t.Run("engine", func(t *testing.T) {
		u, err := create(t, parse(t, fullEngine))
		if err != nil {
			t.Fatal(err)
		}
		var typed v1alpha1.PoseEngine
		if err := api.Get(ctx, client.ObjectKeyFromObject(u), &typed); err != nil {
			t.Fatal(err)
		}
		sameSpec(t, u, &typed)
		if err := api.Update(ctx, &typed); err != nil {
			t.Fatal(err)
		}
		if typed.Generation != 1 {
			t.Errorf("writing it back makes generation %d", typed.Generation)
		}
	})
	t.Run("a typed job that sets nothing gets the defaults", func(t *testing.T) {
		job := v1alpha1.PoseJob{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "typed-"},
			Spec:       v1alpha1.PoseJobSpec{Video: v1alpha1.VideoSource{URI: "s3://videos/run.mp4"}, Output: v1alpha1.Output{URI: "s3://results/default/run"}},
		}
		if err := api.Create(ctx, &job); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = api.Delete(ctx, &job) })
		if job.Spec.BackoffLimit == nil || *job.Spec.BackoffLimit != 2 || job.Spec.ScratchSize == nil || job.Spec.ScratchSize.String() != "20Gi" ||
			job.Spec.Output.DeletionPolicy != v1alpha1.DeletionRetain || job.Spec.Output.Overwrite != v1alpha1.Deny || job.Spec.Reuse != "" ||
			job.Spec.PodTTLSecondsAfterFinished == nil || *job.Spec.PodTTLSecondsAfterFinished != 600 || job.Spec.Device != v1alpha1.DeviceAuto || job.Spec.Fallback.Detector != v1alpha1.Allow {
			t.Errorf("spec = %+v", job.Spec)
		}
	})
}

func sameSpec(t *testing.T, u *unstructured.Unstructured, typed runtime.Object) {
	t.Helper()
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain(t, u.Object["spec"]), plain(t, raw["spec"])); diff != "" {
		t.Errorf("spec (-API server +Go types):\n%s", diff)
	}
}

// plain JSON, so that numbers have one type.
func plain(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := yaml.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
