//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/config/engines"
	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

// rectangles are the frames of the video of that name, one second of it.
const rectangles = 25

// phalp makes an engine of the built-in phalp's spec with the real adapter beside
// a STAGED image of PHALP.
func phalp(t *testing.T, name string, change ...func(*v1alpha1.Variant)) string {
	t.Helper()
	builtin, err := engines.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	e := &v1alpha1.PoseEngine{ObjectMeta: metav1.ObjectMeta{Name: "staged-phalp-" + name}}
	for _, b := range builtin {
		if b.Name == "phalp" {
			e.Spec = b.Spec
		}
	}
	for i := range e.Spec.Variants {
		v := &e.Spec.Variants[i]
		v.Image, v.Adapter.Image = harness.ImageStagedPHALP, harness.ImagePHALPAdapter
		v.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}
		v.Resources.Limits[corev1.ResourceMemory] = resource.MustParse("512Mi")
		if v.Device == v1alpha1.GPU {
			v.Env = append(v.Env, v1alpha1.EnvVar{Name: "STANDIN_GPU", Value: "1"})
		}
		for _, c := range change {
			c(v)
		}
	}
	_ = env.Client.Delete(t.Context(), e.DeepCopy())
	if err := env.Client.Create(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = env.Client.Delete(t.Context(), &v1alpha1.PoseEngine{ObjectMeta: metav1.ObjectMeta{Name: e.Name}})
	})
	return e.Name
}

func whole(j *v1alpha1.PoseJob) { j.Spec.Video.Frames = nil }

func onCPU(j *v1alpha1.PoseJob) { j.Spec.Device = v1alpha1.DeviceCPU }

func files(j *v1alpha1.PoseJob) string {
	var names []string
	for _, f := range j.Status.Output.Files {
		names = append(names, f.Name)
	}
	return strings.Join(names, " ")
}

// TestTheAdapterTravelsByItself: the image of PHALP knows nothing of the operator,
// and its attempt ends with bodies that were checked.
func TestTheAdapterTravelsByItself(t *testing.T) {
	t.Parallel()
	j := finish(t, job("phalp-cpu", phalp(t, "cpu"), "rectangles.mp4", whole, onCPU))
	complete(t, j, rectangles)
	if have := attempts(j); have != "cpu/Succeeded/" {
		t.Errorf("want one attempt of cpu, have %s", have)
	}
	if have := files(j); !strings.Contains(have, "pose") || !strings.Contains(have, "smpl") {
		t.Errorf("want pose and smpl among the files, have %s", have)
	}
	if j.Status.Output.People != 2 || j.Status.Output.Quality == nil || j.Status.Output.Quality.CoveragePercent != 100 {
		t.Errorf("want 2 people in all frames, have %d and %+v", j.Status.Output.People, j.Status.Output.Quality)
	}
	exported(t, j)
}

// exported: the results, downloaded, become a file that other programs read.
func exported(t *testing.T, j *v1alpha1.PoseJob) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"pose.json", "smpl.npz", "manifest.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), object(t, key(t, j.Status.Output.URI)+"/"+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := env.Run(t.Context(), "bin/kubectl-pose", "export", dir, "--format", "bvh", "--out", filepath.Join(dir, "bvh"))
	if err != nil {
		t.Fatal(err)
	}
	if made, _ := filepath.Glob(filepath.Join(dir, "bvh", "*.bvh")); len(made) != 2 {
		t.Errorf("want a BVH file for each of 2 people, have %v\n%s", made, out)
	}
}

// TestADetectorThatCrashesOnTheGPUCostsSeconds: both GPU detectors die in the
// preflight, and the CPU makes the result.
func TestADetectorThatCrashesOnTheGPUCostsSeconds(t *testing.T) {
	t.Parallel()
	engine := phalp(t, "crash", func(v *v1alpha1.Variant) {
		if v.Device == v1alpha1.GPU {
			v.Env = append(v.Env, v1alpha1.EnvVar{Name: "STANDIN_DIE", Value: "SIGSEGV"})
		}
	})
	j := finish(t, job("phalp-crash", engine, "rectangles.mp4", whole))
	complete(t, j, rectangles)
	if have := attempts(j); have != "gpu/Failed/DetectorLoadCrash gpu-light/Failed/DetectorLoadCrash cpu/Succeeded/" {
		t.Fatalf("have %s\n%s", have, describe(j))
	}
	for _, a := range j.Status.Attempts[:2] {
		if a.Signal != "SIGSEGV" || a.Evidence == nil || !a.Evidence.Preflight {
			t.Errorf("want a SIGSEGV in the preflight, have %s %+v", a.Signal, a.Evidence)
		}
	}
}

// TestBoxesAreUsedOrRefused: with boxes no detector is loaded, and boxes that do
// not fit the video end the job before any engine starts.
func TestBoxesAreUsedOrRefused(t *testing.T) {
	t.Parallel()
	engine := phalp(t, "boxes", func(v *v1alpha1.Variant) {
		v.Env = append(v.Env, v1alpha1.EnvVar{Name: "STANDIN_DIE", Value: "SIGSEGV"}) // any detector
	})
	boxes := func(name, csv string) func(*v1alpha1.PoseJob) {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(csv), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := store.Put(t.Context(), bucket, name, path); err != nil {
			t.Fatal(err)
		}
		return func(j *v1alpha1.PoseJob) {
			j.Spec.Video.Boxes = &v1alpha1.BoxesSource{URI: "s3://" + bucket + "/" + name, CredentialsSecretRef: j.Spec.Video.CredentialsSecretRef}
		}
	}
	good := "frame,x,y,w,h\n"
	for f := range rectangles {
		good += strings.ReplaceAll("N,40,60,60,130\n", "N", string(rune('0'+f/10))+string(rune('0'+f%10)))
	}
	t.Run("used", func(t *testing.T) {
		t.Parallel()
		j := finish(t, job("phalp-boxes", engine, "rectangles.mp4", whole, boxes("good.csv", good)))
		complete(t, j, rectangles)
		if have := attempts(j); have != "gpu-boxes/Succeeded/" || j.Status.Output.People != 1 {
			t.Errorf("want one person by gpu-boxes, have %s and %d people", have, j.Status.Output.People)
		}
	})
	t.Run("of a frame that is not there", func(t *testing.T) {
		t.Parallel()
		j := finish(t, job("phalp-boxes-beyond", engine, "rectangles.mp4", whole, boxes("beyond.csv", good+"25,40,60,60,130\n")))
		failed(t, j, v1alpha1.ReasonInputInvalid, 1, "frame 25")
	})
	t.Run("of an engine that takes none", func(t *testing.T) {
		t.Parallel()
		j := finish(t, job("no-boxes", rowEngine(t, "no-boxes", nil), "rectangles.mp4", whole, boxes("unused.csv", good)))
		failed(t, j, v1alpha1.ReasonNoVariantForBoxes, 0, "takes boxes")
	})
}

// TestTheLastRungIsAnotherEngine: with no weights no variant of PHALP runs, and
// what the job allows makes a result of a lesser kind that says so.
func TestTheLastRungIsAnotherEngine(t *testing.T) {
	t.Parallel()
	engine := phalp(t, "empty", func(v *v1alpha1.Variant) {
		for i := range v.Env {
			if v.Env[i].Name == "HOME" {
				v.Env[i].Value = "/home/nobody"
			}
		}
	})
	j := finish(t, job("phalp-fallback", engine, "good.mp4", onCPU, func(j *v1alpha1.PoseJob) { j.Spec.Fallback.Engine = v1alpha1.Allow }))
	complete(t, j, 12)
	if have := attempts(j); have != "cpu/Failed/WeightsMissing mediapipe/cpu/Succeeded/" {
		t.Fatalf("have %s\n%s", have, describe(j))
	}
	if m := j.Status.Attempts[0].Message; !strings.Contains(m, "/home/nobody") {
		t.Errorf("want the first missing file by its path, have %q", m)
	}
	c := meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionDegraded)
	if c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "mediapipe") || !strings.Contains(c.Message, "SMPL") {
		t.Errorf("want Degraded to name the engine and what its result lacks, have %+v", c)
	}
}

// TestEnginesCheckSaysWhatToMend: a pod as a job's looks at image and weights.
func TestEnginesCheckSaysWhatToMend(t *testing.T) {
	t.Parallel()
	engine := phalp(t, "check")
	out, err := env.Run(t.Context(), "bin/kubectl-pose", "engines", "check", engine, "-n", namespace, "--variant", "cpu")
	t.Log(out)
	// The stand-ins are no torch: the check must find that, and not fail to run.
	if err == nil {
		t.Error("want an exit code other than 0: the image is STAGED and lacks most of what PHALP needs")
	}
	for _, word := range []string{"detectron2", "smplx"} {
		if !strings.Contains(out, word) {
			t.Errorf("want %q among the findings", word)
		}
	}
}
