//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

// rowEngine is an engine whose one variant is the STAGED engine, on the CPU so
// that many can run side by side, with the arguments given.
func rowEngine(t *testing.T, name string, args []string, change ...func(*v1alpha1.PoseEngine)) string {
	t.Helper()
	name = "row-" + name
	only := func(e *v1alpha1.PoseEngine) {
		v := e.Spec.Variants[0]
		v.Name, v.Device, v.NodeSelector, v.Tolerations = "staged", v1alpha1.CPU, nil, nil
		v.Command = append([]string{"/staged-engine", "--load", "200ms"}, args...)
		v.Resources = &v1alpha1.Resources{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
		}
		e.Spec.Variants = []v1alpha1.Variant{v}
	}
	if _, err := env.StagedEngine(t.Context(), name, "exit1", append([]func(*v1alpha1.PoseEngine){only}, change...)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = env.Client.Delete(t.Context(), &v1alpha1.PoseEngine{ObjectMeta: metav1.ObjectMeta{Name: name}})
	})
	return name
}

// once: no repetition of what failed, a row is about one attempt.
func once(j *v1alpha1.PoseJob) { j.Spec.BackoffLimit = new(int32(0)) }

// withoutRunner runs the image as it is.
func withoutRunner(e *v1alpha1.PoseEngine) {
	for i := range e.Spec.Variants {
		v := &e.Spec.Variants[i]
		v.Runner, v.ClipsCommand = v1alpha1.RunnerNone, nil // who starts the engine hands it clips
	}
}

// TestEveryRowOfTheLog: what an engine's own last words mean, on a real kubelet,
// under pose-runner and in an image that runs as it is.
func TestEveryRowOfTheLog(t *testing.T) {
	for name, c := range map[string]struct {
		say  []string
		exit int
		want string
		// tries that the job makes of its only variant.
		tries int
	}{
		"cuda-oom":     {say: []string{"Traceback (most recent call last):", `  File "track.py", line 5, in main`, "    x = m(y)", "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 7.79 GiB total capacity)"}, exit: 1, want: v1alpha1.ReasonCUDAOutOfMemory, tries: 1},
		"no-driver":    {say: []string{"RuntimeError: Found no NVIDIA driver on your system."}, exit: 1, want: v1alpha1.ReasonDeviceUnusable, tries: 2},
		"xid":          {say: []string{"NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."}, exit: 1, want: v1alpha1.ReasonGPUHardwareFault, tries: 2},
		"illegal":      {say: []string{"RuntimeError: CUDA error: an illegal memory access was encountered"}, exit: 1, want: v1alpha1.ReasonCUDAError, tries: 2},
		"memory-error": {say: []string{"numpy.core._exceptions._ArrayMemoryError: Unable to allocate 9.00 GiB for an array with shape (1, 2)"}, exit: 1, want: v1alpha1.ReasonOutOfMemory, tries: 1},
		"shm":          {say: []string{"RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory."}, exit: 1, want: v1alpha1.ReasonSharedMemoryTooSmall, tries: 1},
		"disk":         {say: []string{"OSError: [Errno 28] No space left on device"}, exit: 1, want: v1alpha1.ReasonScratchSpaceExceeded, tries: 1},
		"smpl":         {say: []string{"AssertionError: Path models/smpl/SMPL_NEUTRAL.pkl does not exist!"}, exit: 1, want: v1alpha1.ReasonWeightsMissing, tries: 1},
		"corrupt":      {say: []string{"RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory"}, exit: 1, want: v1alpha1.ReasonWeightsInvalid, tries: 1},
		"egl":          {say: []string{"OpenGL.raw.EGL._errors.EGLError: EGLError( err = EGL_NOT_INITIALIZED )"}, exit: 1, want: v1alpha1.ReasonRenderingUnavailable, tries: 1},
		"symbol":       {say: []string{"ImportError: /opt/_C.so: undefined symbol: _ZN2at4_ops"}, exit: 1, want: v1alpha1.ReasonImageIncompatible, tries: 1},
		"network":      {say: []string{"urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>"}, exit: 1, want: v1alpha1.ReasonNetworkUnavailable, tries: 1},
		"source":       {say: []string{"Exception: Invalid source path: /pose/in/video.MOV"}, exit: 1, want: v1alpha1.ReasonInputInvalid, tries: 1},
		"unknown":      {say: []string{"UserWarning: CUDA initialization: Found no NVIDIA driver on your system.", "KeyError: 'person'"}, exit: 3, want: v1alpha1.ReasonEngineError, tries: 1},
	} {
		args := []string{"--die", "exit", "--exit", strconv.Itoa(c.exit), "--in", "start"}
		for _, line := range c.say {
			args = append(args, "--say", line)
		}
		for kind, change := range map[string][]func(*v1alpha1.PoseEngine){"runner": nil, "bare": {withoutRunner}} {
			if kind == "bare" && !slices.Contains([]string{"cuda-oom", "no-driver", "unknown"}, name) {
				continue // the rules are the same: a few show that the words arrive
			}
			t.Run(name+"-"+kind, func(t *testing.T) {
				t.Parallel()
				j := finish(t, job("row-"+name+"-"+kind, rowEngine(t, name+"-"+kind, args, change...), "good.mp4", once))
				failed(t, j, c.want, c.tries)
				a := j.Status.Attempts[0]
				if a.Reason != c.want || a.ExitCode == nil || *a.ExitCode != int32(c.exit) || a.Container != "engine" {
					t.Errorf("want %s of the engine with exit code %d, have\n%s", c.want, c.exit, describe(j))
				}
				if last := c.say[len(c.say)-1]; a.Evidence == nil || a.Evidence.Culprit != last {
					t.Errorf("want the culprit %q, have %+v", last, a.Evidence)
				}
			})
		}
	}
}

func TestASuccessWithoutTheRunner(t *testing.T) {
	t.Parallel()
	name := "bare-mediapipe"
	bare := func(e *v1alpha1.PoseEngine) {
		e.Spec.Variants = e.Spec.Variants[1:]
		withoutRunner(e)
	}
	if _, err := env.StagedEngine(t.Context(), name, "exit1", bare); err != nil {
		t.Fatal(err)
	}
	complete(t, finish(t, job("bare", name, "good.mp4")), 12)
}

func TestThePreflightSparesTheLoad(t *testing.T) {
	t.Parallel()
	name := "staged-preflight"
	first := func(e *v1alpha1.PoseEngine) {
		v := &e.Spec.Variants[0]
		v.Preflight = &v1alpha1.Preflight{Command: []string{"/staged-engine", "--die", "sigsegv", "--in", "start"}, Stage: v1alpha1.StageDetectorLoad, TimeoutSeconds: 60}
		v.Command = []string{"/staged-engine", "--die", "hang"}
	}
	if _, err := env.StagedEngine(t.Context(), name, "hang", first); err != nil {
		t.Fatal(err)
	}
	j := finish(t, job("preflight", name, "good.mp4", func(j *v1alpha1.PoseJob) { j.Spec.Variants = []string{"gpu"} }))
	failed(t, j, v1alpha1.ReasonDetectorLoadCrash, 1, "SIGSEGV")
	if a := j.Status.Attempts[0]; a.Evidence == nil || !a.Evidence.Preflight {
		t.Errorf("want the death told as the preflight's, have %+v", a.Evidence)
	}
}

// TestASilentCrashSpeaks: a real Python interpreter dies by SIGSEGV while it loads,
// and the plugin tells where it stood.
func TestASilentCrashSpeaks(t *testing.T) {
	t.Parallel()
	name := "python-crash"
	const program = `
import ctypes, sys
import numpy
print("Loading Detection model...", flush=True)
def load_detector():
    ctypes.string_at(0)
load_detector()
`
	crash := func(e *v1alpha1.PoseEngine) {
		gpu, cpu := e.Spec.Variants[0], e.Spec.Variants[1]
		gpu.Name, gpu.Device, gpu.NodeSelector, gpu.Tolerations = "python", v1alpha1.CPU, nil, nil
		gpu.Image, gpu.ImagePullPolicy = cpu.Image, cpu.ImagePullPolicy
		gpu.Command = []string{"python3", "-c", program}
		gpu.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")}
		e.Spec.Variants = []v1alpha1.Variant{gpu}
	}
	if _, err := env.StagedEngine(t.Context(), name, "hang", crash); err != nil {
		t.Fatal(err)
	}
	j := finish(t, job("python-crash", name, "good.mp4", once))
	failed(t, j, v1alpha1.ReasonDetectorLoadCrash, 1, "SIGSEGV")
	e := j.Status.Attempts[0].Evidence
	if e == nil || !slices.ContainsFunc(e.PythonStack, func(l string) bool { return strings.Contains(l, "load_detector") }) {
		t.Errorf("want the Python stack down to load_detector, have %+v", e)
	}
	for _, args := range [][]string{{"describe"}, {"describe", "--bug-report"}} {
		out, err := env.Run(t.Context(), "bin/kubectl-pose", append(args, "-n", namespace, j.Name)...)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"DetectorLoadCrash", "SIGSEGV", "load_detector", "512 MiB"} {
			if !strings.Contains(out, want) {
				t.Errorf("%v: want %q in\n%s", args, want, out)
			}
		}
	}
	if out, err := env.Run(t.Context(), "bin/kubectl-pose", "describe", "-n", namespace, "no-such-job"); err == nil || !strings.Contains(out, `there is no PoseJob "no-such-job"`) {
		t.Errorf("want an error that names the job, have %v", err)
	}
}

func TestAGPUThatIsNotUsedIsTold(t *testing.T) {
	t.Parallel()
	name := "idle-gpu"
	idle := func(e *v1alpha1.PoseEngine) {
		gpu, cpu := e.Spec.Variants[0], e.Spec.Variants[1]
		gpu.Image, gpu.Command, gpu.ImagePullPolicy = cpu.Image, cpu.Command, cpu.ImagePullPolicy
		gpu.Resources.Limits[corev1.ResourceMemory] = resource.MustParse("2Gi")
		e.Spec.Variants = []v1alpha1.Variant{gpu}
	}
	if _, err := env.StagedEngine(t.Context(), name, "hang", idle); err != nil {
		t.Fatal(err)
	}
	j := finish(t, job("idle", name, "good.mp4"))
	complete(t, j, 12)
	a := j.Status.Attempts[0]
	c := meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionDeviceMismatch)
	if a.DeviceUsed != v1alpha1.CPU || c == nil || c.Status != metav1.ConditionTrue {
		t.Fatalf("want a condition that the GPU was idle, have device %s used and\n%s", a.DeviceUsed, describe(j))
	}
}

func TestNoGPUFreeMovesToTheCPU(t *testing.T) {
	t.Parallel()
	name := "no-room"
	greedy := func(e *v1alpha1.PoseEngine) {
		e.Spec.Variants[0].Resources.Limits["nvidia.com/gpu"] = resource.MustParse("64")
	}
	if _, err := env.StagedEngine(t.Context(), name, "hang", greedy); err != nil {
		t.Fatal(err)
	}
	j := finish(t, job("no-room", name, "good.mp4", func(j *v1alpha1.PoseJob) { j.Spec.PendingTimeoutSeconds = new(int64(5)) }))
	complete(t, j, 12)
	if have, want := attempts(j), "gpu/Failed/NoCapacity cpu/Succeeded/"; have != want {
		t.Fatalf("want attempts %q, have %q\n%s", want, have, describe(j))
	}
	if a := j.Status.Attempts[0]; !strings.Contains(a.Message, "Insufficient nvidia.com/gpu") {
		t.Errorf("want the scheduler's own words, have %q", a.Message)
	}
}

func TestAnImageThatCannotBePulledMovesOn(t *testing.T) {
	t.Parallel()
	name := "no-image"
	broken := func(e *v1alpha1.PoseEngine) {
		v := &e.Spec.Variants[0]
		v.Image, v.ImagePullPolicy = "localhost/nowhere:none", corev1.PullNever
	}
	if _, err := env.StagedEngine(t.Context(), name, "hang", broken); err != nil {
		t.Fatal(err)
	}
	j := finish(t, job("no-pull", name, "good.mp4", func(j *v1alpha1.PoseJob) { j.Spec.StartTimeoutSeconds = 3 }))
	complete(t, j, 12)
	if have, want := attempts(j), "gpu/Failed/PodNotStartable cpu/Succeeded/"; have != want {
		t.Fatalf("want attempts %q, have %q\n%s", want, have, describe(j))
	}
	if a := j.Status.Attempts[0]; !strings.Contains(a.Message, "ErrImageNeverPull") {
		t.Errorf("want the kubelet's own words, have %q", a.Message)
	}
}

func TestAProgramThatIsNotThereIsNotStartable(t *testing.T) {
	t.Parallel()
	engine := rowEngine(t, "no-program", nil, withoutRunner, func(e *v1alpha1.PoseEngine) { e.Spec.Variants[0].Command = []string{"/no/such/program"} })
	j := finish(t, job("no-program", engine, "good.mp4", once))
	failed(t, j, v1alpha1.ReasonPodNotStartable, 1, "/no/such/program")
}

// TestAWholeContainerThatIsKilledAtItsLimit: on cgroup v2 the kernel's kill takes
// pose-runner along with the engine. Here both are killed at once, from outside,
// with the memory near its limit; only the termination message is left.
func TestAWholeContainerThatIsKilledAtItsLimit(t *testing.T) {
	if os.Getenv("KUBECONFIG") != "" {
		t.Skip("the processes of a pod can be killed from this machine on the clone's own cluster alone")
	}
	for name, c := range map[string]struct{ mib, want string }{
		"full":  {"118", v1alpha1.ReasonOutOfMemory},
		"empty": {"8", v1alpha1.ReasonDetectorLoadCrash},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := start(t, job("group-"+name, rowEngine(t, "group-"+name, []string{"--die", "hold", "--hold-mib", c.mib}), "good.mp4", once))
			j := await(t, key, func(j *v1alpha1.PoseJob) bool {
				return len(j.Status.Attempts) == 1 && j.Status.Attempts[0].Stage == v1alpha1.StageDetectorLoad
			})
			time.Sleep(3 * time.Second) // the message is rewritten every second
			killEngine(t, j.Status.Attempts[0].PodUID)
			j = await(t, key, harness.Finished)
			failed(t, j, c.want, 1)
			if a := j.Status.Attempts[0]; a.Signal != "SIGKILL" || a.LimitMemoryBytes != 128<<20 {
				t.Errorf("want a death by SIGKILL with the limit known, have\n%s", describe(j))
			}
		})
	}
}

// killEngine kills every process of the engine's container at once: those of the
// pod's cgroup that are pose-runner's exec or the staged engine.
func killEngine(t *testing.T, podUID string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		group, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup"))
		argv, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if !strings.Contains(strings.ReplaceAll(string(group), "_", "-"), podUID) {
			continue
		}
		if strings.Contains(string(argv), "staged-engine") || strings.Contains(string(environ), `"role":"exec"`) {
			pids = append(pids, pid)
		}
	}
	if len(pids) < 2 {
		t.Fatalf("want pose-runner and the engine, have %d processes of pod %s", len(pids), podUID)
	}
	slices.Sort(pids) // the runner first, so that it reports nothing more
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestAPaceThatCannotMeetTheDeadlineEndsEarly(t *testing.T) {
	j := finish(t, job("too-slow", "mediapipe", "good.mp4", func(j *v1alpha1.PoseJob) {
		j.Spec.Video.Frames = nil
		// The video has some hundred frames at a few a second: enough to see the
		// pace, and far too little for all.
		j.Spec.ActiveDeadlineSeconds = new(int64(75))
	}))
	failed(t, j, v1alpha1.ReasonDeadlineExceeded, 1, "at its best pace")
	if took := j.Status.CompletionTime.Sub(j.Status.StartTime.Time); took >= 75*time.Second {
		t.Errorf("it was ended at the deadline, after %s, and not as soon as it was certain", took)
	}
}

func TestPreemptionIsADisruption(t *testing.T) {
	class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "e2e-high"}, Value: 1000000}
	if err := env.Client.Create(t.Context(), class); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	defer func() { _ = env.Client.Delete(t.Context(), class) }()
	key := start(t, job("preempted", stage(t, "hang"), "good.mp4", func(j *v1alpha1.PoseJob) { j.Spec.Variants = []string{"gpu"} }))
	await(t, key, func(j *v1alpha1.PoseJob) bool { return j.Status.Stage == v1alpha1.StageDetectorLoad })
	a := await(t, key, func(j *v1alpha1.PoseJob) bool { return j.Status.Attempts[0].Node != "" }).Status.Attempts[0]
	node := &corev1.Node{}
	if err := env.Client.Get(t.Context(), client.ObjectKey{Name: a.Node}, node); err != nil {
		t.Fatal(err)
	}
	other := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "e2e-preemptor"},
		Spec: corev1.PodSpec{
			PriorityClassName: class.Name, RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: new(int64(0)),
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{
				Name: "c", Image: harness.ImageStaged, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/staged-engine", "--die", "pass", "--in", "start"},
				// All of them, so that room must be made.
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": node.Status.Allocatable["nvidia.com/gpu"]}},
			}},
		},
	}
	if err := env.Client.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = env.Client.Delete(t.Context(), other) }()
	j := await(t, key, func(j *v1alpha1.PoseJob) bool {
		return len(j.Status.Attempts) == 2 && j.Status.Attempts[1].Stage == v1alpha1.StageDetectorLoad
	})
	if a := j.Status.Attempts[0]; a.Reason != v1alpha1.ReasonDisrupted || !strings.Contains(a.Message, "PreemptionByScheduler") {
		t.Fatalf("want a preemption told as a disruption, have\n%s", describe(j))
	}
}

// TestJobsLearnFromEachOther: three videos of two teams crash on the same kind of
// GPU; the next job does not try it there.
func TestJobsLearnFromEachOther(t *testing.T) {
	const other = "pose-e2e-2"
	if err := env.Namespace(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if err := env.Secret(t.Context(), other, "store", store); err != nil {
		t.Fatal(err)
	}
	name := "staged-learned"
	// What an earlier run taught is gone with the engine.
	if err := env.Client.Delete(t.Context(), &v1alpha1.PoseEngine{ObjectMeta: metav1.ObjectMeta{Name: name}}); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	if _, err := env.StagedEngine(t.Context(), name, "sigsegv"); err != nil {
		t.Fatal(err)
	}
	in := func(namespace string) func(*v1alpha1.PoseJob) {
		return func(j *v1alpha1.PoseJob) {
			j.Namespace = namespace
			j.Spec.Output.URI = fmt.Sprintf("s3://%s/%s/%s", bucket, namespace, j.Name)
			j.Spec.Video.Frames = &v1alpha1.FrameRange{Start: 10, End: 12}
		}
	}
	for i, c := range []struct{ video, namespace string }{{"good.mp4", namespace}, {"good.mov", namespace}, {"good.avi", other}} {
		j := finish(t, job(fmt.Sprintf("learn-%d", i), name, c.video, in(c.namespace)))
		complete(t, j, 2)
		if have, want := attempts(j), "gpu/Failed/DetectorLoadCrash cpu/Succeeded/"; have != want {
			t.Fatalf("want attempts %q, have %q\n%s", want, have, describe(j))
		}
		if p := j.Status.Attempts[0].GPUProduct; p == "" && os.Getenv("KUBECONFIG") == "" {
			t.Error("the attempt does not say on what kind of GPU it ran")
		}
	}
	engine := &v1alpha1.PoseEngine{}
	deadline := time.Now().Add(time.Minute)
	for {
		if err := env.Client.Get(t.Context(), client.ObjectKey{Name: name}, engine); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(engine.Status.Learned, func(l v1alpha1.LearnedVariant) bool { return l.SkipUntil != nil }) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing is skipped: %+v", engine.Status.Learned)
		}
		time.Sleep(time.Second)
	}
	j := finish(t, job("learnt", name, "good.mp4", in(namespace)))
	complete(t, j, 2)
	if have, want := attempts(j), "cpu/Succeeded/"; have != want {
		t.Fatalf("want attempts %q, have %q\n%s", want, have, describe(j))
	}
	if len(j.Status.SkippedVariants) != 1 || !strings.Contains(j.Status.SkippedVariants[0].Message, "3 of 3 times") {
		t.Errorf("want the counts told, have %+v", j.Status.SkippedVariants)
	}
	clear := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"again"}}}`, v1alpha1.AnnotationClearLearned))
	if err := env.Client.Patch(t.Context(), engine, clear); err != nil {
		t.Fatal(err)
	}
	j = finish(t, job("learnt-no-more", name, "good.mp4", in(namespace)))
	if have, want := attempts(j), "gpu/Failed/DetectorLoadCrash cpu/Succeeded/"; have != want {
		t.Fatalf("after clearing want attempts %q, have %q\n%s", want, have, describe(j))
	}
}
