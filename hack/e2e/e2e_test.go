//go:build e2e

// Package e2e tests the operator on a real cluster: real kubelets, a real S3
// server, real videos, the real mediapipe engine. Only the GPU and the engine
// that dies on it are staged.
package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

const (
	namespace = "pose-e2e"
	bucket    = "e2e"
	// patience bounds one job; it is no assertion of speed.
	patience = 8 * time.Minute
)

var (
	env    *harness.Env
	store  *harness.Store
	videos *harness.Videos
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := setUp(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e set-up:", err)
		return 1
	}
	defer store.Stop()
	return m.Run()
}

func setUp(ctx context.Context) (err error) {
	if env, err = harness.Connect(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "pose-e2e-")
	if err != nil {
		return err
	}
	if videos, err = env.MakeVideos(ctx, filepath.Join(env.Root, ".demo", "videos")); err != nil {
		return err
	}
	if store, err = env.StartStore(ctx, filepath.Join(dir, "s3")); err != nil {
		return err
	}
	if err := store.Bucket(ctx, bucket); err != nil {
		return err
	}
	for key, path := range map[string]string{
		"good.mp4": videos.MP4, "good.mov": videos.MOV, "good.avi": videos.AVI,
		"truncated.mp4": videos.Truncated, "empty.mp4": videos.Empty, "text.mp4": videos.Text, "rectangles.mp4": videos.Rectangles,
	} {
		if err := store.Put(ctx, bucket, key, path); err != nil {
			return err
		}
	}
	if err := env.Namespace(ctx, namespace); err != nil {
		return err
	}
	if err := env.Secret(ctx, namespace, "store", store); err != nil {
		return err
	}
	if err := moreGPUs(ctx); err != nil {
		return err
	}
	values := harness.Values(store)
	if err := env.Gateway(ctx, values, store, namespace, "gateway"); err != nil {
		return err
	}
	return env.InstallOperator(ctx, values)
}

// moreGPUs lets tests that hold a staged GPU run side by side on the clone's own
// cluster.
func moreGPUs(ctx context.Context) error {
	if os.Getenv("KUBECONFIG") != "" {
		return nil
	}
	_, err := env.Run(ctx, env.Tool("kube-assets/kubectl"), "annotate", "node", "gpu-0", "pose-cluster/gpus=4", "--overwrite")
	return err
}

// job with sensible defaults; video names an object of the bucket or is a URI.
func job(name, engine, video string, change ...func(*v1alpha1.PoseJob)) *v1alpha1.PoseJob {
	creds := &v1alpha1.SecretReference{Name: "store"}
	if !strings.Contains(video, "://") {
		video = "s3://" + bucket + "/" + video
	}
	j := &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.PoseJobSpec{
			EngineName: engine,
			Video:      v1alpha1.VideoSource{URI: video, CredentialsSecretRef: creds, Frames: &v1alpha1.FrameRange{Start: 10, End: 22}},
			Output:     v1alpha1.Output{URI: "s3://" + bucket + "/" + namespace + "/" + name, CredentialsSecretRef: creds},
			// What is looked at before any attempt has tests of its own (data_test.go).
			Reuse: v1alpha1.ReuseNever,
		},
	}
	for _, c := range change {
		c(j)
	}
	return j
}

func start(t *testing.T, j *v1alpha1.PoseJob) client.ObjectKey {
	t.Helper()
	key := client.ObjectKeyFromObject(j)
	if err := env.Remove(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if err := env.Client.Create(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := env.Remove(ctx, key); err != nil {
			t.Errorf("remove: %v", err)
		}
	})
	return key
}

func await(t *testing.T, key client.ObjectKey, done func(*v1alpha1.PoseJob) bool) *v1alpha1.PoseJob {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	j, err := env.Await(ctx, key, nil, done)
	if err != nil {
		t.Fatalf("%v\n%s", err, describe(j))
	}
	return j
}

func finish(t *testing.T, j *v1alpha1.PoseJob) *v1alpha1.PoseJob {
	t.Helper()
	return await(t, start(t, j), harness.Finished)
}

func describe(j *v1alpha1.PoseJob) string {
	if j == nil {
		return ""
	}
	var b strings.Builder
	for _, a := range j.Status.Attempts {
		fmt.Fprintf(&b, "attempt %d %s %s %s %s: %s\n", a.Number, a.Variant, a.State, a.Stage, a.Reason, a.Message)
	}
	for _, c := range j.Status.Conditions {
		fmt.Fprintf(&b, "%s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	return b.String()
}

// complete checks all that "Complete" promises, in the store itself.
func complete(t *testing.T, j *v1alpha1.PoseJob, frames int64) {
	t.Helper()
	if j.Status.Phase != v1alpha1.PhaseSucceeded || !meta.IsStatusConditionTrue(j.Status.Conditions, v1alpha1.ConditionComplete) || j.Status.Output == nil {
		t.Fatalf("want a complete job, have phase %s\n%s", j.Status.Phase, describe(j))
	}
	out := j.Status.Output
	if out.Frames != frames {
		t.Errorf("want %d frames covered, have %d", frames, out.Frames)
	}
	verify(t, j)
}

func failed(t *testing.T, j *v1alpha1.PoseJob, reason string, attempts int, words ...string) {
	t.Helper()
	c := meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionFailed)
	if j.Status.Phase != v1alpha1.PhaseFailed || c == nil || c.Reason != reason || len(j.Status.Attempts) != attempts {
		t.Fatalf("want failure by %s after %d attempts, have\n%s", reason, attempts, describe(j))
	}
	for _, w := range words {
		if !strings.Contains(c.Message, w) {
			t.Errorf("want %q in the message, have %q", w, c.Message)
		}
	}
}

func attempts(j *v1alpha1.PoseJob) string {
	var parts []string
	for _, a := range j.Status.Attempts {
		parts = append(parts, fmt.Sprintf("%s/%s/%s", a.Variant, a.State, a.Reason))
	}
	return strings.Join(parts, " ")
}

func TestDetectorCrashMovesToTheCPUWhateverItsForm(t *testing.T) {
	for _, die := range []string{"sigsegv", "sigkill", "exit1"} {
		t.Run(die, func(t *testing.T) {
			t.Parallel()
			engine := stage(t, die)
			j := finish(t, job("crash-"+die, engine, "good.mov"))
			complete(t, j, 12)
			if have, want := attempts(j), "gpu/Failed/DetectorLoadCrash cpu/Succeeded/"; have != want {
				t.Fatalf("want attempts %q, have %q\n%s", want, have, describe(j))
			}
			first := j.Status.Attempts[0]
			if first.Node != "gpu-0" && os.Getenv("KUBECONFIG") == "" {
				t.Errorf("want the first attempt on the GPU node, have %q", first.Node)
			}
			if first.Stage != v1alpha1.StageDetectorLoad {
				t.Errorf("want stage DetectorLoad, have %q", first.Stage)
			}
			wantSignal := map[string]string{"sigsegv": "SIGSEGV", "sigkill": "SIGKILL", "exit1": ""}[die]
			if first.Signal != wantSignal {
				t.Errorf("want signal %q, have %q (exit code %v)", wantSignal, first.Signal, first.ExitCode)
			}
			if !meta.IsStatusConditionTrue(j.Status.Conditions, v1alpha1.ConditionDegraded) {
				t.Error("a result of the second variant must say so: want Degraded=True")
			}
		})
	}
}

func TestOutOfMemoryIsToldFromACrash(t *testing.T) {
	t.Parallel()
	j := finish(t, job("crash-oom", stage(t, "oom"), "good.mp4"))
	complete(t, j, 12)
	if have, want := attempts(j), "gpu/Failed/OutOfMemory cpu/Succeeded/"; have != want {
		t.Fatalf("want attempts %q, have %q\n%s", want, have, describe(j))
	}
	if a := j.Status.Attempts[0]; a.LimitMemoryBytes != 256<<20 || !strings.Contains(a.Message, "256 MiB") {
		t.Errorf("want the limit of 256 MiB told, have %d and %q", a.LimitMemoryBytes, a.Message)
	}
}

func TestExitZeroWithoutResultsIsNoSuccess(t *testing.T) {
	t.Parallel()
	j := finish(t, job("crash-empty", stage(t, "exit0-empty"), "good.mp4"))
	complete(t, j, 12)
	if have, want := attempts(j), "gpu/Failed/OutputInvalid cpu/Succeeded/"; have != want {
		t.Fatalf("want attempts %q, have %q\n%s", want, have, describe(j))
	}
}

func TestFallbackDenied(t *testing.T) {
	t.Parallel()
	j := finish(t, job("denied", stage(t, "sigsegv"), "good.mp4", func(j *v1alpha1.PoseJob) { j.Spec.Fallback.Device = v1alpha1.Deny }))
	failed(t, j, v1alpha1.ReasonDetectorLoadCrash, 1, "SIGSEGV")
}

func TestBadVideosFailOnceAndSayWhy(t *testing.T) {
	for name, want := range map[string]struct{ video, reason, word string }{
		"missing":   {"nothing.mp4", v1alpha1.ReasonInputUnavailable, "nothing.mp4"},
		"empty":     {"empty.mp4", v1alpha1.ReasonInputInvalid, "empty"},
		"truncated": {"truncated.mp4", v1alpha1.ReasonInputInvalid, "moov"},
		"text":      {"text.mp4", v1alpha1.ReasonInputInvalid, "video"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := finish(t, job("bad-"+name, "mediapipe", want.video))
			failed(t, j, want.reason, 1, want.word)
		})
	}
}

func TestAMissingSecretIsNamedAndEndsTheJob(t *testing.T) {
	t.Parallel()
	key := start(t, job("no-secret", "mediapipe", "good.mp4", func(j *v1alpha1.PoseJob) {
		j.Spec.Video.CredentialsSecretRef.Name = "stroe"
		j.Spec.StartTimeoutSeconds = 15
	}))
	await(t, key, func(j *v1alpha1.PoseJob) bool {
		c := meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Reason == v1alpha1.ReasonSecretMissing && strings.Contains(c.Message, "Secret stroe (spec.video.credentialsSecretRef")
	})
	failed(t, await(t, key, harness.Finished), v1alpha1.ReasonSecretMissing, 1, "Secret stroe (spec.video.credentialsSecretRef")
}

func TestAMissingClaimIsNamedAndEndsTheJob(t *testing.T) {
	t.Parallel()
	j := finish(t, job("no-claim", "mediapipe", "pvc://nope/walk.mp4", func(j *v1alpha1.PoseJob) {
		j.Spec.Video.CredentialsSecretRef = nil
		j.Spec.StartTimeoutSeconds = 5
	}))
	failed(t, j, v1alpha1.ReasonPodNotStartable, 1, "PersistentVolumeClaim nope does not exist")
}

func TestResultsWithoutABucketEndTheJobAtOnce(t *testing.T) {
	t.Parallel()
	// The engine would hang for a quarter of an hour: it is ended at once instead.
	j := finish(t, job("no-bucket", stage(t, "hang"), "good.mp4", func(j *v1alpha1.PoseJob) {
		j.Spec.Output.URI = "s3://no-such-bucket/" + namespace + "/x"
	}))
	failed(t, j, v1alpha1.ReasonDeliveryFailed, 1, "no-such-bucket")
}

func TestDigestMismatch(t *testing.T) {
	t.Parallel()
	j := finish(t, job("bad-digest", "mediapipe", "good.mp4", func(j *v1alpha1.PoseJob) {
		j.Spec.Video.SHA256 = strings.Repeat("0", 64)
	}))
	failed(t, j, v1alpha1.ReasonInputInvalid, 1, "sha256")
}

func TestVideoByHTTPAndAVI(t *testing.T) {
	t.Parallel()
	server := serve(t, http.FileServer(http.Dir(filepath.Dir(videos.AVI))))
	j := finish(t, job("by-http", "mediapipe", server+"/"+filepath.Base(videos.AVI), func(j *v1alpha1.PoseJob) { j.Spec.Video.CredentialsSecretRef = nil }))
	complete(t, j, 12)
}

func TestHTTPIntoTheClusterIsRefused(t *testing.T) {
	t.Parallel()
	j := finish(t, job("ssrf", "mediapipe", "http://10.96.0.1/video.mp4", func(j *v1alpha1.PoseJob) { j.Spec.Video.CredentialsSecretRef = nil }))
	failed(t, j, v1alpha1.ReasonInputUnavailable, 1)
}

func TestOutputOutsideTheNamespaceIsDenied(t *testing.T) {
	t.Parallel()
	j := finish(t, job("foreign", "mediapipe", "good.mp4", func(j *v1alpha1.PoseJob) { j.Spec.Output.URI = "s3://" + bucket + "/other/place" }))
	failed(t, j, v1alpha1.ReasonPolicyDenied, 0, namespace+"/")
}

func TestDeletedPodIsDisruptedAndRepeated(t *testing.T) {
	key := start(t, job("disrupted", stage(t, "hang"), "good.mp4", func(j *v1alpha1.PoseJob) { j.Spec.Variants = []string{"gpu"} }))
	running := func(n int) func(*v1alpha1.PoseJob) bool {
		return func(j *v1alpha1.PoseJob) bool {
			return len(j.Status.Attempts) == n && j.Status.Attempts[n-1].Stage == v1alpha1.StageDetectorLoad
		}
	}
	j := await(t, key, running(1))
	if _, err := env.Run(t.Context(), env.Tool("kube-assets/kubectl"), "-n", namespace, "delete", "pod", j.Status.Attempts[0].PodName, "--wait=false"); err != nil {
		t.Fatal(err)
	}
	j = await(t, key, running(2))
	if a := j.Status.Attempts[0]; a.Reason != v1alpha1.ReasonDisrupted || j.Status.Attempts[1].Variant != "gpu" {
		t.Fatalf("want a disruption and the same variant again, have\n%s", describe(j))
	}
}

func TestSuspendResumeAndDeadline(t *testing.T) {
	key := start(t, job("held", stage(t, "hang"), "good.mp4", func(j *v1alpha1.PoseJob) { j.Spec.Variants = []string{"gpu"} }))
	running := func(j *v1alpha1.PoseJob) bool { return j.Status.Stage == v1alpha1.StageDetectorLoad }
	await(t, key, running)
	patch(t, key, `{"spec":{"suspend":true}}`)
	j := await(t, key, func(j *v1alpha1.PoseJob) bool { return j.Status.Phase == v1alpha1.PhaseSuspended })
	if n := livePods(t, key); n != 0 {
		t.Fatalf("a suspended job has %d live pods", n)
	}
	if a := j.Status.Attempts[0]; a.Reason != v1alpha1.ReasonSuspendedAttempt {
		t.Fatalf("want the attempt ended by the suspension, have\n%s", describe(j))
	}
	patch(t, key, `{"spec":{"suspend":false}}`)
	await(t, key, running)
	patch(t, key, `{"spec":{"activeDeadlineSeconds":1}}`)
	j = await(t, key, harness.Finished)
	failed(t, j, v1alpha1.ReasonDeadlineExceeded, 2, "activeDeadlineSeconds")
	if n := livePods(t, key); n != 0 {
		t.Fatalf("a finished job has %d live pods", n)
	}
}

func TestStalledEngineMovesOn(t *testing.T) {
	j := finish(t, job("stalled", stage(t, "hang"), "good.mp4", func(j *v1alpha1.PoseJob) { j.Spec.StallTimeoutSeconds = 10 }))
	complete(t, j, 12)
	if have, want := attempts(j), "gpu/Failed/NoProgress cpu/Succeeded/"; have != want {
		t.Fatalf("want attempts %q, have %q\n%s", want, have, describe(j))
	}
}

func TestPHALPWithoutAnImageWaitsAndMakesNoPod(t *testing.T) {
	t.Parallel()
	key := start(t, job("no-image", "phalp", "good.mp4"))
	j := await(t, key, func(j *v1alpha1.PoseJob) bool {
		return meta.IsStatusConditionFalse(j.Status.Conditions, v1alpha1.ConditionEngineResolved)
	})
	c := meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionEngineResolved)
	if c.Reason != v1alpha1.ReasonEngineNotReady || !strings.Contains(c.Message, v1alpha1.ReasonImageNotSet) {
		t.Errorf("want ImageNotSet told, have %s: %s", c.Reason, c.Message)
	}
	if n := livePods(t, key); n != 0 || len(j.Status.Attempts) != 0 {
		t.Errorf("want no pod and no attempt, have %d and %d", n, len(j.Status.Attempts))
	}
}

func TestUnknownVariantFailsAndNamesTheOthers(t *testing.T) {
	t.Parallel()
	j := finish(t, job("no-variant", "mediapipe", "good.mp4", func(j *v1alpha1.PoseJob) { j.Spec.Variants = []string{"tpu"} }))
	failed(t, j, v1alpha1.ReasonVariantNotFound, 0, "tpu", "cpu")
}

func TestNobodyInTheVideoIsAResult(t *testing.T) {
	t.Parallel()
	blank := filepath.Join(t.TempDir(), "blank.mp4")
	if _, err := env.Run(t.Context(), "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=gray:size=320x240:rate=10:duration=2", "-pix_fmt", "yuv420p", blank); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), bucket, "blank.mp4", blank); err != nil {
		t.Fatal(err)
	}
	j := finish(t, job("nobody", "mediapipe", "blank.mp4", func(j *v1alpha1.PoseJob) { j.Spec.Video.Frames = nil }))
	complete(t, j, 20)
	if j.Status.Output.People != 0 || !meta.IsStatusConditionTrue(j.Status.Conditions, v1alpha1.ConditionNoPeople) {
		t.Fatalf("want a result without people that says so, have\n%s", describe(j))
	}
}

func TestProgressReachesStatus(t *testing.T) {
	key := start(t, job("seen", "mediapipe", "good.mp4", func(j *v1alpha1.PoseJob) { j.Spec.Video.Frames = &v1alpha1.FrameRange{Start: 0, End: 80} }))
	j := await(t, key, func(j *v1alpha1.PoseJob) bool {
		return harness.Finished(j) || j.Status.Progress != nil && j.Status.Progress.Frames > 0 && j.Status.Stage == v1alpha1.StageTracking
	})
	if harness.Finished(j) {
		t.Fatalf("the job ended and its status never told a frame\n%s", describe(j))
	}
	if p := j.Status.Progress; p.TotalFrames != 80 || p.Percent > 100 || j.Status.Phase != v1alpha1.PhaseRunning {
		t.Errorf("want progress towards 80 frames in phase Running, have %+v in %s", p, j.Status.Phase)
	}
}

func TestDeletingARunningJobLeavesNothing(t *testing.T) {
	t.Parallel()
	key := start(t, job("gone", stage(t, "hang"), "good.mp4"))
	await(t, key, func(j *v1alpha1.PoseJob) bool { return j.Status.Stage == v1alpha1.StageDetectorLoad })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := env.Remove(ctx, key); err != nil {
		t.Fatal(err)
	}
	if n := livePods(t, key); n != 0 {
		t.Fatalf("%d live pods are left of a deleted job", n)
	}
}
