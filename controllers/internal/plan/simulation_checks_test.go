package plan_test

import (
	"slices"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
)

// admitted checks that the job may use the attempt's variant.
func (w *world) admitted(a *v1alpha1.Attempt) {
	t, v := w.t, w.variant(a.Variant)
	other := w.engineOf(a) != w.engine
	if other && w.fallback == nil {
		t.Fatalf("attempt of %s, and no other engine is allowed", a.Variant)
	}
	named := slices.Contains(w.spec.Variants, a.Variant)
	if v.OnRequest && !named {
		t.Fatalf("variant %s runs on request, and nobody asked", a.Variant)
	}
	if !other && len(w.spec.Variants) > 0 && !named {
		t.Fatalf("variant %s is not in spec.variants %v", a.Variant, w.spec.Variants)
	}
	if boxes := w.spec.Video.Boxes != nil; boxes && v.Boxes == "" || !boxes && v.Boxes == v1alpha1.BoxesRequired {
		t.Fatalf("variant %s with boxes %q, and the job has boxes: %v", a.Variant, v.Boxes, boxes)
	}
	if !other {
		return
	}
	own, _, err := plan.Rungs(w.spec, w.engine)
	if err != nil {
		t.Fatalf("attempt of %s, and the job's own engine has no rung: %v", a.Variant, err)
	}
	for _, r := range own {
		if _, skipped := w.skipped[r.Name()]; !w.tried(r.Name()) && !skipped {
			t.Fatalf("attempt of %s, and %s of the job's own engine was neither tried nor left out", a.Variant, r.Name())
		}
	}
}

func (w *world) tried(variant string) bool {
	return slices.ContainsFunc(w.records, func(a v1alpha1.Attempt) bool { return a.Variant == variant })
}

// launchable checks what must hold for every pod that is about to be made.
func (w *world) launchable(a *v1alpha1.Attempt) {
	t := w.t
	if w.pod != nil || w.lookPod != nil {
		t.Fatalf("a pod is made while one is live")
	}
	if w.look != nil && w.look.State == v1alpha1.LookupRunning || len(w.records) == 1 && w.looks && w.look == nil {
		t.Fatalf("an attempt is made and the look has not ended: %+v", w.look)
	}
	if w.spec.Suspend {
		t.Fatalf("a pod is made while the job is suspended")
	}
	if w.spec.Device == v1alpha1.DeviceGPU || w.spec.Device == v1alpha1.DeviceCPU {
		if string(a.Device) != string(w.spec.Device) {
			t.Fatalf("attempt on %s, spec.device is %s", a.Device, w.spec.Device)
		}
	}
	w.admitted(a)
	if w.spec.Fallback.Device == v1alpha1.Deny && a.Device != w.records[0].Device {
		t.Fatalf("device changed from %s to %s, which spec.fallback.device denies", w.records[0].Device, a.Device)
	}
	if w.spec.Fallback.Detector == v1alpha1.Deny && w.engineOf(a) == w.engine && a.Detector != w.records[0].Detector {
		t.Fatalf("detector changed from %s to %s, which spec.fallback.detector denies", w.records[0].Detector, a.Detector)
	}
	if small, ok := w.tooSmall[a.Variant]; ok && w.limitOf(a) <= small {
		t.Fatalf("variant %s gets %d bytes, and %d proved too small", a.Variant, w.limitOf(a), small)
	}
	if a.Detector != "" && w.crashed[[3]string{w.engineOf(a).Name, a.Detector, string(a.Device)}] {
		t.Fatalf("detector %s crashed on %s and is loaded there again by %s", a.Detector, a.Device, a.Variant)
	}
	if len(a.AvoidNodes) > 8 {
		t.Fatalf("%d nodes to avoid, the API admits 8", len(a.AvoidNodes))
	}
	if a.NotBefore != nil && a.NotBefore.Sub(w.now) > 6*time.Minute {
		t.Fatalf("backoff until %s at %s", a.NotBefore, w.now)
	}
}
