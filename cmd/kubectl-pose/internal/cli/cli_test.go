package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/clitest"
)

// shell runs the plugin as a person does.
type shell struct {
	t          *testing.T
	kubeconfig string
}

// answer is what a person sees.
type answer struct {
	out, err string
	code     int
}

func (a answer) String() string {
	return fmt.Sprintf("exit code %d\n--- stdout\n%s--- stderr\n%s", a.code, a.out, a.err)
}

func (s shell) say(args ...string) answer {
	s.t.Helper()
	var out, err bytes.Buffer
	code := run(s.t.Context(), genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &err}, append(args, "--kubeconfig", s.kubeconfig))
	a := answer{out.String(), err.String(), code}
	if os.Getenv("POSE_TEST_SHOW") != "" {
		fmt.Fprintf(os.Stderr, "$ kubectl pose %s\n%s\n", strings.Join(args, " "), a)
	}
	return a
}

// want a command's exit code, and words in what it says.
func (s shell) want(code int, words []string, args ...string) answer {
	s.t.Helper()
	a := s.say(args...)
	if a.code != code || strings.Contains(a.out+a.err, "\x1b") && !strings.Contains(strings.Join(args, " "), "always") {
		s.t.Errorf("%s: want exit code %d, have %s", args, code, a)
	}
	for _, w := range words {
		if !strings.Contains(a.out+a.err, w) {
			s.t.Errorf("%s: want %q in %s", args, w, a)
		}
	}
	return a
}

func TestOnACluster(t *testing.T) {
	server := clitest.Bare(t)
	t.Run("without the operator", func(t *testing.T) {
		sh := shell{t, server.Kubeconfig}
		for _, args := range [][]string{{"list"}, {"watch", "x"}, {"describe", "x"}, {"logs", "x"}, {"engines", "list"}, {"cancel", "x"}, {"run", "s3://v/a.mp4", "--output-uri", "s3://r/default/"}, {"version"}} {
			sh.want(3, []string{"install the pose operator"}, args...)
		}
		sh.want(0, []string{"kind: PoseJob", "uri: s3://v/a.mp4"}, "run", "s3://v/a.mp4", "--output-uri", "s3://r/default/", "--dry-run=client", "-o", "yaml")
	})
	server.InstallCRDs(t)
	c := server.Client
	w := &world{t, c}
	w.fill()
	server.Kubelet(t, "gpu-0", logs, nil)
	server.Pod(t, "gpu-0", "failed-1", corev1.PodFailed)
	// In this order: those that come first make no jobs.
	for _, test := range []struct {
		name string
		run  func(*testing.T, shell, *world)
	}{
		{"list", testList}, {"describe", testDescribe}, {"version and completion", testVersion}, {"watch", testWatch}, {"logs", testLogs}, {"run", testRun}, {"lifecycle", testLifecycle},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, shell{t, server.Kubeconfig}, &world{t, c}) })
	}
	t.Run("without rights", func(t *testing.T) { testRights(t, server) })
}

// world has jobs in every state.
type world struct {
	t *testing.T
	c client.WithWatch
}

const hostile = "evil\x1b[2J\x1b]0;title\a\u202e\nsecond line"

func condition(kind string, ok bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if ok {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.Now()}
}

// job as the operator would have left it.
func (w *world) job(name string, change func(*v1alpha1.PoseJob)) *v1alpha1.PoseJob {
	w.t.Helper()
	j := &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"project": "snow", "pose.dev/batch": "x"}},
		Spec:       v1alpha1.PoseJobSpec{Video: v1alpha1.VideoSource{URI: "s3://videos/" + name + ".mp4"}, Output: v1alpha1.Output{URI: "s3://results/default/" + name}, EngineName: "phalp"},
	}
	if err := w.c.Create(w.t.Context(), j); err != nil {
		w.t.Fatal(err)
	}
	w.status(j, change)
	return j
}

func (w *world) status(j *v1alpha1.PoseJob, change func(*v1alpha1.PoseJob)) {
	w.t.Helper()
	if change == nil {
		return
	}
	j.Status.ObservedGeneration = j.Generation
	change(j)
	if err := w.c.Status().Update(w.t.Context(), j); err != nil {
		w.t.Fatal(err)
	}
}

func running(percent int32) func(*v1alpha1.PoseJob) {
	return func(j *v1alpha1.PoseJob) {
		j.Status.Phase, j.Status.Stage, j.Status.EngineName, j.Status.Variant, j.Status.Device = v1alpha1.PhaseRunning, "Tracking", "phalp", "cpu", "CPU"
		j.Status.AttemptCount = 2
		j.Status.Attempts = []v1alpha1.Attempt{
			{Number: 1, State: v1alpha1.AttemptFailed, Variant: "gpu", Device: "GPU", Reason: "DetectorLoadCrash", Message: "the detector died: " + hostile, Action: v1alpha1.ActionNextVariant},
			{Number: 2, State: v1alpha1.AttemptRunning, Variant: "cpu", Device: "CPU"},
		}
		ends := metav1.NewTime(time.Now().Add(90*time.Second + 500*time.Millisecond))
		j.Status.Progress = &v1alpha1.JobProgress{Summary: fmt.Sprintf("%d%% %d/100", percent, percent), Frames: int64(percent), TotalFrames: 100, Percent: percent, MilliFPS: 12345, EstimatedCompletionTime: &ends}
		j.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionReady, false, "Progressing", "attempt 2 runs")}
	}
}

func succeeded(j *v1alpha1.PoseJob) {
	j.Status.Phase, j.Status.Stage, j.Status.EngineName, j.Status.Variant, j.Status.Device, j.Status.AttemptCount = v1alpha1.PhaseSucceeded, "", "phalp", "cpu", "CPU", 2
	j.Status.Conditions = []metav1.Condition{
		condition(v1alpha1.ConditionReady, true, "Succeeded", "3 people"), condition(v1alpha1.ConditionFinished, true, "Succeeded", ""), condition(v1alpha1.ConditionComplete, true, "Succeeded", ""),
	}
	j.Status.Output = &v1alpha1.OutputStatus{URI: j.Spec.Output.URI + "/attempts/abcde-2", ManifestSHA256: strings.Repeat("a", 64), People: 3, Frames: 100,
		Files: []v1alpha1.OutputFile{{Name: "pose", URI: j.Spec.Output.URI + "/attempts/abcde-2/pose.json", Size: 5000, SHA256: strings.Repeat("b", 64)}}}
	for i := range j.Status.Attempts {
		if j.Status.Attempts[i].State == v1alpha1.AttemptRunning {
			j.Status.Attempts[i].State = v1alpha1.AttemptSucceeded
		}
	}
}

func failed(j *v1alpha1.PoseJob) {
	j.Status.Phase, j.Status.EngineName, j.Status.AttemptCount = v1alpha1.PhaseFailed, "phalp", 1
	j.Status.Conditions = []metav1.Condition{
		condition(v1alpha1.ConditionReady, false, "Failed", "no variant is left: "+hostile), condition(v1alpha1.ConditionFinished, true, "DetectorLoadCrash", ""), condition(v1alpha1.ConditionFailed, true, "DetectorLoadCrash", ""),
	}
	code := int32(1)
	j.Status.Attempts = []v1alpha1.Attempt{{Number: 1, State: v1alpha1.AttemptFailed, Variant: "gpu", Device: "GPU", PodName: j.Name + "-1", Reason: "DetectorLoadCrash", Message: hostile, ExitCode: &code,
		Evidence: &v1alpha1.Evidence{LastLines: []string{"last words", hostile}}}}
}

func (w *world) fill() {
	w.t.Helper()
	w.job("fresh", nil)
	w.job("runs", running(42))
	// By age, too, which counts seconds, these come in the order of their names.
	w.job("failed", failed)
	w.job("done", succeeded)
	b := &v1alpha1.PoseBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "archive"},
		Spec:       v1alpha1.PoseBatchSpec{Videos: v1alpha1.BatchVideos{Prefix: "s3://videos/a/"}, Output: v1alpha1.BatchOutput{URI: "s3://results/default/a"}},
	}
	if err := w.c.Create(w.t.Context(), b); err != nil {
		w.t.Fatal(err)
	}
	b.Status = v1alpha1.PoseBatchStatus{
		ObservedGeneration: 1, Phase: v1alpha1.BatchPhaseFailed, Progress: "100% 10/10", Percent: 100, GPUSeconds: 77,
		Counts:   &v1alpha1.BatchCounts{Total: 10, Succeeded: 8, Failed: 2, Reused: 1},
		Failures: []v1alpha1.BatchFailure{{Name: "clip-7", Index: 7, Reason: "OutOfMemory", Message: hostile}},
		Index:    &v1alpha1.BatchIndex{URI: "s3://results/default/a/batch.json", SHA256: strings.Repeat("c", 64)},
		Conditions: []metav1.Condition{
			condition(v1alpha1.ConditionReady, false, "ClipsFailed", "2 of 10 clips failed"), condition(v1alpha1.ConditionFinished, true, "ClipsFailed", ""), condition(v1alpha1.ConditionFailed, true, "ClipsFailed", ""),
		},
	}
	if err := w.c.Status().Update(w.t.Context(), b); err != nil {
		w.t.Fatal(err)
	}
	e := &v1alpha1.PoseEngine{ObjectMeta: metav1.ObjectMeta{Name: "phalp"}, Spec: v1alpha1.PoseEngineSpec{
		Variants: []v1alpha1.Variant{{Name: "gpu", Device: "GPU", Image: "i"}, {Name: "cpu", Device: "CPU", Image: "i"}},
		Stages:   []v1alpha1.StageRule{{Name: "ModelLoad", Pattern: "Loading model"}, {Name: "Tracking", Pattern: "Tracking "}},
	}}
	raw, err := os.ReadFile(filepath.Join(clitest.Root(w.t), "config", "engines", "phalp.yaml"))
	if err == nil {
		err = yaml.UnmarshalStrict(raw, e)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range e.Spec.Variants {
		e.Spec.Variants[i].Image = "registry.example/phalp"
	}
	if err := w.c.Create(w.t.Context(), e); err != nil {
		w.t.Fatal(err)
	}
}

// logs of a container that wants to take the terminal over.
func logs(rw http.ResponseWriter, r *http.Request) {
	if r.PathValue("container") == "engine" {
		fmt.Fprint(rw, "starting \x1b[2Jup\n[phalp.trackers.PHALP][INFO] - Loading Predictor model...\n\x1b]0;owned\aline\u202e\r  50%|=====     |\rdone\n"+
			strings.Repeat("x", 40<<10)+"\n[phalp.trackers.PHALP][INFO] - Loading Detection model...\nSegmentation fault\n")
		return
	}
	fmt.Fprintf(rw, "%s of %s\n", r.PathValue("container"), r.PathValue("pod"))
}

func testList(t *testing.T, sh shell, _ *world) {
	a := sh.want(0, []string{"Tracking", "42% 42/100", "phalp", "done", "archive", "100% 10/10", "77"}, "list")
	if strings.Contains(a.out, "MESSAGE") || strings.Contains(a.out, "second line") {
		t.Errorf("%s", a)
	}
	a = sh.want(0, []string{"evil second line", "s3://results/default/done/attempts/abcde-2"}, "list", "-o", "wide", "--jobs-only", "--oldest-first")
	if strings.Contains(a.out, "archive") {
		t.Errorf("%s", a)
	}
	if a := sh.want(0, nil, "list", "--phase", "failed,succeeded", "-o", "name"); a.out != "posebatch.pose.dev/archive\nposejob.pose.dev/done\nposejob.pose.dev/failed\n" {
		t.Errorf("%s", a)
	}
	a = sh.want(0, nil, "list", "-A", "-l", "project=snow", "-o", "json", "--phase", "Running")
	var l struct {
		Kind  string
		Items []v1alpha1.PoseJob
	}
	if err := json.Unmarshal([]byte(a.out), &l); err != nil || l.Kind != "List" || len(l.Items) != 1 || l.Items[0].Kind != "PoseJob" || l.Items[0].Status.Attempts[0].Reason != "DetectorLoadCrash" {
		t.Errorf("%v %s", err, a)
	}
	sh.want(0, []string{"kind: PoseBatch", "kind: List"}, "list", "-o", "yaml")
	sh.want(0, []string{"NAMESPACE", "default"}, "list", "-A")
	sh.want(0, []string{"no such jobs in namespace elsewhere"}, "list", "-n", "elsewhere")
	sh.want(2, []string{"--phase"}, "list", "--phase", "dead")
	sh.want(2, []string{"use one of"}, "list", "-o", "xml")
	sh.want(2, []string{"--selector"}, "list", "-l", "a b")
	sh.want(2, []string{"unknown flag", "kubectl pose list --help"}, "list", "--fast")
	sh.want(2, []string{`no command "kubectl pose lst", did you mean list`}, "lst")
	sh.want(2, []string{`no command "kubectl pose engines lst"`}, "engines", "lst")
}

func testRun(t *testing.T, sh shell, w *world) {
	run := []string{"run", "s3://videos/Été 1.mov", "--output-uri", "s3://results/default/", "--engine", "phalp", "--device", "gpu", "--variant", "gpu,cpu", "--frames", "10:", "--people", "2", "--overlay", "blurred",
		"--reuse", "never", "--secret", "store", "--deadline", "1h", "--deletion-policy", "delete", "--label", "a=b", "--allow-engine-fallback", "--sha256", strings.Repeat("d", 64), "--name", "ete"}
	sh.want(2, []string{"no white space"}, run...)
	run[1] = "s3://videos/Ete_1.mov"
	clitest.Golden(t, "run.yaml", sh.want(0, nil, append(run, "--dry-run", "client", "-o", "yaml")...).out)
	sh.want(0, []string{"posejob.pose.dev/ete created (server dry run)"}, append(run, "--dry-run", "server")...)
	sh.want(4, nil, "describe", "ete")
	sh.want(0, []string{"posejob.pose.dev/ete created"}, run...)
	sh.want(2, []string{"already", "--name"}, run...)
	var j v1alpha1.PoseJob
	if err := w.c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "ete"}, &j); err != nil || j.Spec.Output.URI != "s3://results/default/ete" || j.Spec.Video.Frames.Start != 10 || j.Spec.Fallback.Engine != v1alpha1.Allow {
		t.Errorf("%v %+v", err, j.Spec)
	}
	if a := sh.want(0, nil, "run", "s3://videos/Ete_1.mov", "https://example.org/b.mp4", "--output-uri", "s3://results/default/many", "-o", "name"); !regexp.MustCompile(`^posejob.pose.dev/ete-1-[a-z0-9]{5}\nposejob.pose.dev/b-[a-z0-9]{5}\n$`).MatchString(a.out) {
		t.Errorf("%s", a)
	}
	for name, c := range map[string]struct {
		want string
		args []string
	}{
		"no output":           {"--output-uri", []string{"s3://v/a.mp4"}},
		"a bad device":        {"none of Auto, GPU, CPU", []string{"s3://v/a.mp4", "--output-uri", "s3://r/default/", "--device", "TPU"}},
		"bad frames":          {"100:400", []string{"s3://v/a.mp4", "--output-uri", "s3://r/default/", "--frames", "7"}},
		"frames that end":     {"after the start", []string{"s3://v/a.mp4", "--output-uri", "s3://r/default/", "--frames", "7:7"}},
		"one name for two":    {"--generate-name", []string{"s3://v/a.mp4", "s3://v/b.mp4", "--output-uri", "s3://r/default/", "--name", "a"}},
		"a bad name":          {"cannot be the name", []string{"s3://v/a.mp4", "--output-uri", "s3://r/default/", "--name", "A_B"}},
		"a bad scheme":        {"unknown scheme", []string{"ftp://v/a.mp4", "--output-uri", "s3://r/default/"}},
		"a local file":        {"--upload-to", []string{"a.mp4", "--output-uri", "s3://r/default/"}},
		"a path of Windows":   {"path of Windows", []string{`C:\Users\x\a.mp4`, "--output-uri", "s3://r/default/", "--upload-to", "s3://v"}},
		"a URI and a gateway": {"takes files of this machine only", []string{"s3://v/a.mp4", "--gateway", "https://pose.example"}},
		"wait for nothing":    {"--timeout", []string{"s3://v/a.mp4", "--output-uri", "s3://r/default/", "--timeout", "1s"}},
		"no video":            {"at least 1 arg", []string{"--output-uri", "s3://r/default/"}},
	} {
		if a := (shell{t, sh.kubeconfig}).say(append([]string{"run"}, c.args...)...); a.code != 2 || !strings.Contains(a.err, c.want) {
			t.Errorf("%s: want %q, have %s", name, c.want, a)
		}
	}
	if a := sh.say("run", "gone.mp4", "--output-uri", "s3://r/default/", "--upload-to", "s3://v"); a.code != 4 || !strings.Contains(a.err, "no file gone.mp4") {
		t.Errorf("%s", a)
	}
}

func testLifecycle(t *testing.T, sh shell, w *world) {
	w.job("life", running(1))
	get := func() (j v1alpha1.PoseJob) {
		t.Helper()
		if err := w.c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "life"}, &j); err != nil {
			t.Fatal(err)
		}
		return j
	}
	sh.want(2, []string{"has not ended", "cancel life"}, "retry", "life")
	sh.want(0, []string{"posejob.pose.dev/life suspended"}, "suspend", "life")
	if !get().Spec.Suspend {
		t.Error("it is not suspended")
	}
	sh.want(0, []string{"life resumed"}, "resume", "pj/life")
	sh.want(0, []string{"life cancelled"}, "cancel", "life")
	if j := get(); !j.Spec.Suspend || j.Annotations["pose.dev/cancelled"] != "true" {
		t.Errorf("%+v", j)
	}
	sh.want(0, []string{"life"}, "list", "--phase", "Cancelled")
	sh.want(1, []string{"pj/life Cancelled", "pj/life did not succeed: Cancelled"}, "watch", "life")
	a := sh.want(0, nil, "retry", "life", "--device", "cpu", "-o", "json")
	var r v1alpha1.PoseJob
	if err := json.Unmarshal([]byte(a.out), &r); err != nil || !strings.HasPrefix(r.Name, "life-r") || r.Spec.Suspend || r.Spec.Device != "CPU" || r.Annotations["pose.dev/retry-of"] != "life" || r.Labels["project"] != "snow" || r.Labels["pose.dev/batch"] != "" ||
		r.Spec.Output.URI != "s3://results/default/life" {
		t.Errorf("%v %s", err, a)
	}
	sh.want(0, []string{"life resumed"}, "resume", "life")
	if j := get(); j.Spec.Suspend || j.Annotations["pose.dev/cancelled"] != "" {
		t.Errorf("%+v", j)
	}
	sh.want(2, []string{"cannot be suspended: it has ended"}, "suspend", "done")
	sh.want(2, []string{"it has ended: `kubectl pose retry`"}, "resume", "failed")
	sh.want(2, []string{"PoseBatch default/archive", "ended already"}, "cancel", "pb/archive")
	sh.want(1, []string{"2 of 3 failed", "life cancelled", `no PoseJob "nobody"`, "has ended already"}, "cancel", "nobody", "life", "done")
	sh.want(2, []string{"succeeded, and its result lies at"}, "retry", "done")
	sh.want(0, []string{"created (server dry run)"}, "retry", "done", "--output-uri", "s3://results/default/again/", "--again", "--dry-run", "server")
	sh.want(2, []string{"is a batch"}, "retry", "pb/archive")
	sh.want(2, []string{"no kind of the pose operator"}, "cancel", "deploy/x")
	sh.want(4, []string{`no PoseBatch "x"`}, "suspend", "pb/x")
}

func testWatch(t *testing.T, sh shell, w *world) {
	j := w.job("watched", running(5))
	done := make(chan answer)
	go func() { done <- sh.say("watch", "watched", "done", "--timeout", "1m") }()
	go func() { done <- sh.say("watch", "watched", "-o", "json") }()
	for _, step := range []func(*v1alpha1.PoseJob){running(15), running(60), succeeded} {
		time.Sleep(700 * time.Millisecond)
		w.status(j, step)
	}
	for range 2 {
		a := <-done
		words := []string{"watched: attempt 1, gpu, failed: DetectorLoadCrash: the detector died: evil second line; next: NextVariant",
			"watched: Tracking 60%, 60/100 frames, 12.3 fps, attempt 2: cpu, after DetectorLoadCrash, 1m", "pj/watched Succeeded, 3 people in 100 frames, variant cpu, attempts: 2 -> s3://results/default/watched/attempts/abcde-2"}
		if strings.HasPrefix(a.out, "{") {
			words = []string{`"stage":"Tracking"`, `"percent":15`, `"succeeded":true`}
		}
		for _, want := range words {
			if !strings.Contains(a.out+a.err, want) {
				t.Errorf("want %q in %s", want, a)
			}
		}
		if a.code != 0 || strings.Contains(a.out+a.err, "\x1b") {
			t.Errorf("%s", a)
		}
	}
	sh.want(1, []string{"pj/failed Failed: no variant is left: evil second line"}, "watch", "failed")
	sh.want(1, []string{"2 of 10 clips failed", "8 succeeded, 2 failed"}, "watch", "pb/archive")
	sh.want(1, []string{"1 of 2 did not succeed: [failed]"}, "watch", "failed", "done")
	sh.want(4, []string{`no PoseJob "nobody"`}, "watch", "nobody", "runs")
	sh.want(6, []string{"1 of 1 jobs had not ended after 300ms"}, "watch", "runs", "--timeout", "300ms")
	sh.want(6, []string{"runs: Tracking 42%", "fresh: Pending"}, "watch", "--timeout", "500ms")
	sh.want(0, []string{"nothing to watch"}, "watch", "-n", "kube-public")
	gone := w.job("gone", running(5))
	go func() { done <- sh.say("watch", "gone") }()
	time.Sleep(500 * time.Millisecond)
	if err := w.c.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if a := <-done; a.code != 1 || !strings.Contains(a.err, "was deleted before it ended") {
		t.Errorf("%s", a)
	}
	ctx, stop := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	time.AfterFunc(300*time.Millisecond, cancel)
	var out bytes.Buffer
	if code := run(ctx, genericiooptions.IOStreams{Out: &out, ErrOut: &out}, []string{"watch", "runs", "--kubeconfig", sh.kubeconfig}); code != 130 || !strings.Contains(out.String(), "1 jobs go on") {
		t.Errorf("code %d: %s", code, out.String())
	}
}

func testLogs(t *testing.T, sh shell, w *world) {
	a := sh.want(0, []string{"starting up\n", "Segmentation fault\n", "done\n", "... (cut)\n"}, "logs", "failed")
	if len(a.out) > 20<<10 || strings.Contains(a.out, "50%") {
		t.Errorf("%d bytes: %.2000s", len(a.out), a.out)
	}
	a = sh.want(0, nil, "logs", "failed", "--color", "always")
	if !strings.Contains(a.out, "\x1b[2mStart") || !regexp.MustCompile(`\x1b\[3\dmModelLoad +\x1b\[0m \| \[phalp`).MatchString(a.out) || !regexp.MustCompile(`\x1b\[3\dmDetectorLoad +\x1b\[0m \| Segmentation fault\n`).MatchString(a.out) || strings.Contains(a.out, "\x1b[2J") || strings.Contains(a.out, "\x1b]") {
		t.Errorf("%.3000q", a.out)
	}
	if a := sh.want(0, nil, "logs", "failed", "--stage", "detectorload"); a.out != "[phalp.trackers.PHALP][INFO] - Loading Detection model...\nSegmentation fault\n" {
		t.Errorf("%s", a)
	}
	sh.want(0, []string{"== fetch", "fetch of failed-1", "== deliver", "Segmentation"}, "logs", "failed", "--all-containers", "--attempt", "1")
	sh.want(0, []string{"deliver of failed-1"}, "logs", "failed", "-c", "deliver", "-f")
	sh.want(2, []string{"the containers are copy, adapter"}, "logs", "failed", "-c", "nginx")
	sh.want(4, []string{"has no attempt 7"}, "logs", "failed", "--attempt", "7")
	sh.want(4, []string{"has made no attempt"}, "logs", "fresh")
	sh.want(2, []string{"it has Start, "}, "logs", "failed", "--stage", "Dreaming")
	sh.want(2, []string{"is a batch"}, "logs", "pb/archive")
	w.job("swept", failed)
	sh.want(0, []string{"The pod of attempt 1 is gone", "last words\nevil"}, "logs", "swept")
	w.job("swept2", func(j *v1alpha1.PoseJob) { failed(j); j.Status.Attempts[0].Evidence = nil })
	sh.want(4, []string{"is gone, 10m0s after its end", "engine.log"}, "logs", "swept2")
}

func testDescribe(t *testing.T, sh shell, _ *world) {
	clitest.Golden(t, "describe.txt", sh.want(0, []string{"DetectorLoadCrash", "exit 1"}, "describe", "failed").out)
	clitest.Golden(t, "describe-batch.txt", sh.want(0, []string{"clip-7", "OutOfMemory", "evil second line", "10: 0 pending"}, "describe", "pb/archive").out)
	sh.want(2, []string{"--bug-report is of one job"}, "describe", "pb/archive", "--bug-report")
	sh.want(0, []string{"3 people in 100 frames", "4.9 KiB", "pose.json"}, "results", "done")
	sh.want(1, []string{"has no result: its phase is Running"}, "results", "runs")
	sh.want(0, []string{"gpu-boxes"}, "engines", "list")
}

func testVersion(t *testing.T, sh shell, _ *world) {
	sh.want(0, []string{"Plugin:", "no Deployment of the chart", "pose.dev/v1alpha1"}, "version")
	sh.want(0, []string{`"platform"`}, "version", "--client", "-o", "json")
	for _, s := range []string{"bash", "zsh", "fish", "powershell"} {
		if a := sh.want(0, []string{"kubectl-pose"}, "completion", s); len(a.out) < 2000 {
			t.Errorf("%s: %s", s, a)
		}
	}
	sh.want(0, []string{"kubectl pose __complete"}, "completion", "kubectl")
	for args, want := range map[string]string{"logs f": "failed\nfresh", "watch pb/": "pb/archive", "run x --engine ": "phalp", "verify job/d": "job/done", "run x --device G": "GPU", "export x --format b": "bvh"} {
		words := strings.Split(args, " ")
		var out bytes.Buffer
		code := run(t.Context(), genericiooptions.IOStreams{Out: &out, ErrOut: &out}, append([]string{"__complete", "--kubeconfig", sh.kubeconfig}, words...))
		if code != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("%q: code %d: %s", args, code, out.String())
		}
	}
	sh.want(0, []string{"--as-group", "--insecure-skip-tls-verify"}, "options")
}

// testRights: RBAC says no, and the plugin says what to ask for.
func testRights(t *testing.T, server *clitest.Server) {
	sh := shell{t, server.User(t, "nobody")}
	sh.want(5, []string{"you may not list PoseJobs", "ask for a RoleBinding", "can-i list posejobs"}, "list")
	sh.want(5, []string{"you may not list PoseEngines", "rbac.engineViewers"}, "engines", "list")
	sh.want(5, []string{"you may not read PoseJob default/failed"}, "logs", "failed")
	sh.want(5, []string{"you may not create PoseJob"}, "run", "s3://v/a.mp4", "--output-uri", "s3://r/default/")
	sh.want(5, nil, "watch")
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "jobs"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"pose.dev"}, Resources: []string{"posejobs"}, Verbs: []string{"get", "list", "watch"}}}}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "jobs"}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "jobs"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "nobody"}}}
	for _, o := range []client.Object{role, binding} {
		if err := server.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(20 * time.Second); sh.say("list").code == 5 && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
	}
	sh.want(0, []string{"runs", "batches are left out: you may not list PoseBatches"}, "list")
	sh.want(6, []string{"runs: Tracking"}, "watch", "--timeout", "1s")
	sh.want(5, []string{"you may not read the log of pod default/failed-1"}, "logs", "failed")
	sh.want(5, []string{"you may not change PoseJob default/runs", "can-i patch posejobs"}, "cancel", "runs")
}

func TestNoCluster(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\nusers: [{name: u}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sh := shell{t, broken}
	sh.want(3, []string{"https://127.0.0.1:1 cannot be reached", "--context"}, "list")
	sh.want(3, []string{"cannot be reached"}, "watch", "x")
	sh.want(3, []string{"cannot be reached"}, "version")
	sh.want(0, []string{"Plugin:"}, "version", "--client")
	sh.want(3, []string{"read the kubeconfig"}, "list", "--context", "elsewhere")
	sh.want(0, []string{"kind: PoseJob"}, "run", "s3://v/a.mp4", "--output-uri", "s3://r/default/", "--dry-run=client", "-o", "yaml")
	shell{t, filepath.Join(dir, "none")}.want(3, []string{"read the kubeconfig"}, "list")
}
