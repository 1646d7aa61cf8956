//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// several clips go into one pod.
func several(n int32) func(*v1alpha1.PoseBatch) {
	return func(b *v1alpha1.PoseBatch) {
		b.Spec.ClipsPerPod, b.Spec.Parallelism = n, 1
		b.Spec.Template.Reuse = v1alpha1.ReuseNever
	}
}

// engineStarts counts the pods with an engine that a watch of the batch's pods saw.
func engineStarts(t *testing.T, batch string) func() (queues, jobs int) {
	t.Helper()
	w, err := env.Client.Watch(t.Context(), &corev1.PodList{}, client.InNamespace(namespace))
	if err != nil {
		t.Fatal(err)
	}
	seen, stop := map[string]bool{}, make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case e := <-w.ResultChan():
				if p, ok := e.Object.(*corev1.Pod); ok && strings.HasPrefix(p.Name, batch+"-") && p.Labels[v1alpha1.LabelPurpose] != v1alpha1.PurposeList &&
					p.Labels[v1alpha1.LabelPurpose] != v1alpha1.PurposeIndex && p.Labels[v1alpha1.LabelPurpose] != v1alpha1.PurposeLookup {
					seen[p.Name] = p.Labels[v1alpha1.LabelPurpose] == v1alpha1.PurposeQueue
				}
			case <-stop:
				return
			}
		}
	}()
	return func() (queues, jobs int) {
		close(stop)
		<-done
		w.Stop()
		for _, queue := range seen {
			if queue {
				queues++
			} else {
				jobs++
			}
		}
		return queues, jobs
	}
}

// TestManyClipsInOnePod: the engine is loaded once for all clips; what cannot be done
// there is done, or refused, by a PoseJob of its own.
func TestManyClipsInOnePod(t *testing.T) {
	t.Parallel()
	engine := pinnedEngine(t, "pinned-queue")
	for i := range 4 {
		clip(t, fmt.Sprintf("queue/%d.mp4", i), 20*i, 4+i)
	}
	if err := store.Put(t.Context(), bucket, "queue/2-broken.mp4", videos.Text); err != nil {
		t.Fatal(err)
	}
	count := engineStarts(t, "queue")
	b := batch(t, "queue", engine, "queue", several(10))
	queues, jobs := count()
	if c := b.Status.Counts; c == nil || c.Total != 5 || c.Succeeded != 4 || c.Failed != 1 {
		t.Fatalf("counts %+v\nconditions %+v", c, b.Status.Conditions)
	}
	if len(b.Status.Failures) != 1 || b.Status.Failures[0].Name != "2-broken.mp4" || b.Status.Failures[0].Reason != v1alpha1.ReasonInputInvalid {
		t.Errorf("failures %+v", b.Status.Failures)
	}
	if queues != 1 || jobs != 1 {
		t.Errorf("want one pod for the clips and one for the broken one's own PoseJob, have %d and %d", queues, jobs)
	}
	if b.Status.CPUSeconds == 0 {
		t.Errorf("it cost nothing: %+v", b.Status)
	}
	index(t, b, map[string]int64{"0.mp4": 4, "1.mp4": 5, "2.mp4": 6, "3.mp4": 7})

	t.Run("a batch of the same clips takes what is there", func(t *testing.T) {
		again := batch(t, "queue-again", engine, "queue", several(10), func(b *v1alpha1.PoseBatch) { b.Spec.Template.Reuse = v1alpha1.ReuseIfVerified })
		if c := again.Status.Counts; c == nil || c.Failed != 1 || c.Succeeded != 4 || c.Reused != 4 {
			t.Fatalf("counts %+v\nconditions %+v", c, again.Status.Conditions)
		}
	})
	t.Run("a job alone takes what the pod of many made", func(t *testing.T) {
		j := job("queue-alone", engine, "queue/1.mp4", func(j *v1alpha1.PoseJob) {
			j.Spec.Reuse, j.Spec.Output.URI = v1alpha1.ReuseIfVerified, "s3://"+bucket+"/"+namespace+"/queue/1.mp4"
			j.Spec.Video.Frames = nil
		})
		j = finish(t, j)
		if !meta.IsStatusConditionTrue(j.Status.Conditions, v1alpha1.ConditionReused) || len(j.Status.Attempts) != 0 {
			t.Errorf("it was computed anew:\n%s", describe(j))
		}
	})
}

// dies at the clip with seven frames, before the real engine sees it.
const diesAtSeven = `
import json, os, pathlib, signal, subprocess, sys
engine = subprocess.Popen(["pose-mediapipe", "--clips", "-"], stdin=subprocess.PIPE, text=True)
for line in sys.stdin:
    clip = json.loads(line)
    facts = json.loads((pathlib.Path(clip["video"]).parent / "facts.json").read_text())
    if facts["frames"] == 7:
        print("pose-engine: clip=%d begin" % clip["clip"], flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    engine.stdin.write(line)
    engine.stdin.flush()
engine.stdin.close()
sys.exit(engine.wait())
`

// TestACrashCostsItsClipOnly: the engine really dies by SIGSEGV at one clip of many.
func TestACrashCostsItsClipOnly(t *testing.T) {
	t.Parallel()
	engine := "crash-queue"
	crashes := func(e *v1alpha1.PoseEngine) {
		e.Spec.Variants = e.Spec.Variants[1:] // the real engine on the CPU
		e.Spec.Variants[0].ClipsCommand = []string{"python3", "-c", diesAtSeven}
	}
	if _, err := env.StagedEngine(t.Context(), engine, "exit1", crashes); err != nil {
		t.Fatal(err)
	}
	for i, frames := range []int{4, 5, 7, 6, 3} {
		clip(t, fmt.Sprintf("crash-queue/%d.mp4", i), 20*i, frames)
	}
	count := engineStarts(t, "crash-queue")
	b := batch(t, "crash-queue", engine, "crash-queue", several(10))
	queues, jobs := count()
	if c := b.Status.Counts; c == nil || c.Total != 5 || c.Succeeded != 5 {
		t.Fatalf("counts %+v\nconditions %+v", c, b.Status.Conditions)
	}
	if ready := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady); ready == nil || ready.Status != metav1.ConditionTrue {
		t.Errorf("it ended well, and says %+v", ready)
	}
	if queues != 2 || jobs != 1 {
		t.Errorf("want two pods of many and one PoseJob for the clip that crashed, have %d and %d", queues, jobs)
	}
	index(t, b, map[string]int64{"0.mp4": 4, "1.mp4": 5, "2.mp4": 7, "3.mp4": 6, "4.mp4": 3})
}
