package results

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/clitest"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// endedJob makes a PoseJob on the server; state is the status of its condition
// Finished.
func endedJob(t *testing.T, c client.Client, name, output string, state metav1.ConditionStatus, change func(*v1alpha1.PoseJob)) {
	t.Helper()
	job := &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: v1alpha1.PoseJobSpec{
			Video:  v1alpha1.VideoSource{URI: "s3://videos/" + name + ".mp4", CredentialsSecretRef: &v1alpha1.SecretReference{Name: "in"}},
			Output: v1alpha1.Output{URI: output, CredentialsSecretRef: &v1alpha1.SecretReference{Name: "out"}},
		},
	}
	if change != nil {
		change(job)
	}
	status := job.Status
	if err := c.Create(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	job.Status = status
	job.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionFinished, Status: state, Reason: "Succeeded", LastTransitionTime: metav1.Now()}}
	if err := c.Status().Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
}

func TestPurgeOnACluster(t *testing.T) {
	c := clitest.APIServer(t).Client
	clitest.OperatorIn(t, c, "pose-system")
	clitest.Restricted(t, c, "default")
	endedJob(t, c, "run", "s3://results/default/run/", metav1.ConditionTrue, func(j *v1alpha1.PoseJob) {
		j.Spec.PodTemplate = &v1alpha1.PodTemplate{ServiceAccountName: "jobs"}
	})
	copyOf := func(name, from, at string) func(*v1alpha1.PoseJob) {
		return func(j *v1alpha1.PoseJob) {
			j.Spec.Video.URI = "s3://videos/" + name + ".mp4"
			j.Status.ReusedFrom = &v1alpha1.ReusedResult{URI: from, Job: "default/run"}
			j.Status.Output = &v1alpha1.OutputStatus{URI: at, ManifestSHA256: "x"}
		}
	}
	endedJob(t, c, "copy", "s3://results/default/copy", metav1.ConditionTrue, copyOf("run", "s3://results/default/run/attempts/1", "s3://results/default/copy/attempts/2"))
	endedJob(t, c, "in-place", "s3://results/default/run", metav1.ConditionTrue, copyOf("x", "s3://results/default/run/attempts/1", "s3://results/default/run/attempts/1"))
	endedJob(t, c, "unrelated", "s3://results/default/un", metav1.ConditionTrue, copyOf("x", "s3://results/default/run-2/attempts/1", "s3://results/default/un/attempts/1"))
	endedJob(t, c, "claim", "pvc://results/default/claim", metav1.ConditionTrue, func(j *v1alpha1.PoseJob) { j.Spec.Video.URI = "pvc://results/claim.mp4" })
	endedJob(t, c, "live", "s3://results/default/live", metav1.ConditionFalse, func(j *v1alpha1.PoseJob) { j.Spec.Video.URI = "s3://videos/shared.mp4" })
	endedJob(t, c, "shares", "s3://results/default/shares", metav1.ConditionTrue, func(j *v1alpha1.PoseJob) { j.Spec.Video.URI = "s3://videos/shared.mp4" })

	e := &clitest.Errands{T: t, Client: c, Answer: func(cfg report.Config) (report.Termination, string) {
		p := &report.PurgeReport{Results: 1, Objects: 3, Bytes: 10, Pointer: true, Video: cfg.Purge.Video != nil, Kept: []string{"attempts/9 is the result of job default/other"}}
		if cfg.Job.Name == "shares" {
			return report.Termination{Result: report.ResultFailed, Message: "1 objects are left; the first: \x1b[31mno", Purge: p}, ""
		}
		return report.Termination{Result: report.ResultOK, Purge: p}, "pose-runner: removed " + cfg.Purge.URI + "/manifest.json\nnoise\npose-runner: removed 1 results\npose-runner: would remove " + cfg.Purge.URI + "/manifest.json\n"
	}}
	pods := e.Start()
	// purge gives what the person is shown, the pods, the exit code and the error.
	purge := func(f purgeFlags, name, answer string) (string, []corev1.Pod, int, error) {
		t.Helper()
		if f.timeout == 0 {
			f.timeout = time.Minute
		}
		f.operator = "pose-system"
		if err := f.check(); err != nil {
			t.Fatal(err)
		}
		e.Notes.Reset()
		var out bytes.Buffer
		err := (&purger{PodRunner: pods, flags: f, in: strings.NewReader(answer), out: &out}).run(t.Context(), name)
		code := 0
		if err != nil {
			code = exit.Code(err)
		}
		return out.String(), e.Made(), code, err
	}
	config := func(p corev1.Pod) (cfg report.Config) {
		t.Helper()
		if err := json.Unmarshal([]byte(p.Spec.Containers[0].Env[0].Value), &cfg); err != nil {
			t.Fatal(err)
		}
		return cfg
	}

	t.Run("the results of a job", func(t *testing.T) {
		out, made, code, err := purge(purgeFlags{}, "run", "yes\n")
		if code != 0 || len(made) != 1 {
			t.Fatalf("code %d, %v, %d pods", code, err, len(made))
		}
		pod := made[0]
		cfg := config(pod)
		want := &report.PurgeConfig{
			URI: "s3://results/default/run", PVCMount: claimMount, TimeoutSeconds: 60, AttemptPrefix: strings.ReplaceAll(cfg.Job.UID, "-", "")[:5] + "-",
			Store: report.StoreConfig{
				S3Endpoint: "http://store:9000", S3Region: "here", S3PathStyle: true, GCSEndpoint: "http://gcs", AzureAccount: "acc", AzureEndpoint: "http://az",
				WorkloadIdentity: true, CAPEM: "PEM", HTTPAllowedHosts: []string{"h"},
			},
		}
		if d := cmp.Diff(want, cfg.Purge); d != "" || cfg.Role != report.RolePurge || cfg.Version != report.Version || cfg.Job.Name != "run" || cfg.Job.Namespace != "default" || cfg.Job.UID == "" {
			t.Errorf("%+v\n%s", cfg, d)
		}
		s := pod.Spec
		if s.ServiceAccountName != "jobs" || s.Containers[0].Image != "registry.example/runner@sha256:1" || s.ImagePullSecrets[0].Name != "regcred" || *s.AutomountServiceAccountToken {
			t.Errorf("%+v", s)
		}
		if len(s.Volumes) != 1 || s.Volumes[0].Secret.SecretName != "out" || s.Containers[0].VolumeMounts[0].MountPath != report.OutputCredentialsDir {
			t.Errorf("only the output's Secret is needed: %+v", s.Volumes)
		}
		for _, want := range []string{"removed s3://results/default/run/manifest.json", "kept attempts/9 is the result", "Job default/run: removed 1 results, 0 partial ones, 3 objects, 10 bytes\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("want %q in\n%s", want, out)
			}
		}
		if notes := e.Notes.String(); !strings.Contains(notes, "Remove this for good?") || !strings.Contains(notes, "PoseJob copy has a copy of this job's result at s3://results/default/copy/attempts/2; --copies") ||
			!strings.Contains(notes, "PoseJob in-place has this job's result as its own") || strings.Contains(notes, "unrelated") {
			t.Errorf("notes\n%s", notes)
		}
	})
	t.Run("everything, as JSON", func(t *testing.T) {
		out, made, code, err := purge(purgeFlags{video: true, copies: true, yes: true, output: "json"}, "run", "")
		if code != 0 || len(made) != 2 {
			t.Fatalf("code %d, %v, %d pods", code, err, len(made))
		}
		var answer struct{ Purged []purged }
		if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Purged) != 2 {
			t.Fatalf("%v\n%s", err, out)
		}
		first, second := answer.Purged[0], answer.Purged[1]
		if first.Job != "run" || !first.Video || len(first.Removed) != 1 || second.Job != "copy" || second.CopyOf != "run" || second.Video || second.URI != "s3://results/default/copy" {
			t.Errorf("%+v", answer)
		}
		if v := config(made[0]).Purge.Video; v == nil || v.URI != "s3://videos/run.mp4" || len(made[0].Spec.Volumes) != 2 {
			t.Errorf("%+v", made[0].Spec)
		}
		if notes := e.Notes.String(); strings.Contains(notes, "for good?") || !strings.Contains(notes, "PoseJob copy was made of the same video") {
			t.Errorf("notes\n%s", notes)
		}
	})
	t.Run("a dry run of a claim", func(t *testing.T) {
		out, made, code, err := purge(purgeFlags{video: true, dryRun: true}, "claim", "")
		if code != 0 || len(made) != 1 || !config(made[0]).Purge.DryRun || !strings.Contains(out, "Job default/claim: would remove 1 results") || !strings.Contains(out, "\nwould remove pvc://") && !strings.HasPrefix(out, "would remove pvc://") {
			t.Fatalf("code %d, %v, %d pods\n%s", code, err, len(made), out)
		}
		// One volume for both, and none of it can be written.
		s := made[0].Spec
		claims := slices.DeleteFunc(s.Volumes, func(v corev1.Volume) bool { return v.PersistentVolumeClaim == nil })
		if len(claims) != 1 || !claims[0].PersistentVolumeClaim.ReadOnly || len(s.Containers[0].VolumeMounts) != 4 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("a job that was deleted", func(t *testing.T) {
		_, made, code, err := purge(purgeFlags{yes: true, video: true, gone: goneJob{
			outputURI: "s3://results/default/gone", secret: "s", uid: "3f2c1aaa-0000", videoURI: "gs://v/v.mp4", videoSecret: "t", serviceAccount: "sa",
		}}, "gone", "")
		if code != 0 || len(made) != 1 {
			t.Fatalf("code %d, %v, %d pods", code, err, len(made))
		}
		if p := config(made[0]).Purge; p.URI != "s3://results/default/gone" || p.AttemptPrefix != "3f2c1-" || p.Video.URI != "gs://v/v.mp4" || made[0].Spec.ServiceAccountName != "sa" {
			t.Errorf("%+v", p)
		}
		_, made, _, _ = purge(purgeFlags{yes: true, gone: goneJob{outputURI: "s3://results/default/gone"}}, "gone", "")
		if p := config(made[0]).Purge; p.AttemptPrefix != "" || p.Video != nil || len(made[0].Spec.Volumes) != 0 {
			t.Errorf("%+v", p)
		}
	})
	t.Run("something is left", func(t *testing.T) {
		out, _, code, err := purge(purgeFlags{yes: true}, "shares", "")
		if code != 1 || err == nil || !strings.Contains(err.Error(), "1 objects are left") || !strings.Contains(out, "LEFT 1 objects") || strings.Contains(out, "\x1b") {
			t.Errorf("code %d, %v\n%s", code, err, out)
		}
	})
	for name, tc := range map[string]struct {
		flags     purgeFlags
		job, says string
		want      string
	}{
		"no":                            {purgeFlags{}, "run", "n\n", "nothing was removed"},
		"no answer":                     {purgeFlags{}, "run", "", "--yes"},
		"a job that runs":               {purgeFlags{yes: true}, "live", "", "has not ended"},
		"a video that another reads":    {purgeFlags{yes: true, video: true}, "shares", "", "PoseJob live reads the same video"},
		"no such job":                   {purgeFlags{yes: true}, "none", "", "--output-uri"},
		"a job that is there after all": {purgeFlags{yes: true, gone: goneJob{outputURI: "s3://x/y"}}, "run", "", "is there"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, made, code, err := purge(tc.flags, tc.job, tc.says); code != exit.Usage || err == nil || !strings.Contains(err.Error(), tc.want) || len(made) != 0 {
				t.Errorf("code %d, %v, %d pods; want %q", code, err, len(made), tc.want)
			}
		})
	}
}

func TestPurgeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no job":                {nil, "accepts 1 arg"},
		"an unknown output":     {[]string{"run", "-o", "xml"}, "use json"},
		"an unknown flag":       {[]string{"run", "--everything"}, "unknown flag"},
		"no time":               {[]string{"run", "--timeout", "1ms"}, "too short"},
		"a Secret alone":        {[]string{"run", "--credentials-secret", "s"}, "--output-uri"},
		"a video without a URI": {[]string{"run", "--output-uri", "s3://a/b", "--video"}, "--video-uri"},
		"a URI without a video": {[]string{"run", "--output-uri", "s3://a/b", "--video-uri", "s3://a/c"}, "--video"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := say(t, "", append([]string{"purge"}, c.args...)...)
			if err == nil || !strings.Contains(err.Error(), c.want) || exit.Code(err) != exit.Usage {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
}

// TestBatchOnACluster: a whole batch is checked and removed by one pod each.
func TestBatchOnACluster(t *testing.T) {
	c := clitest.APIServer(t).Client
	clitest.OperatorIn(t, c, "pose-system")
	batch := func(name string, change func(*v1alpha1.PoseBatch)) *v1alpha1.PoseBatch {
		b := &v1alpha1.PoseBatch{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec: v1alpha1.PoseBatchSpec{
				Videos: v1alpha1.BatchVideos{Prefix: "s3://videos/a/"}, Output: v1alpha1.BatchOutput{URI: "s3://results/default/" + name, CredentialsSecretRef: &v1alpha1.SecretReference{Name: "out"}},
			},
		}
		if err := c.Create(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		change(b)
		if err := c.Status().Update(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	finished := func(b *v1alpha1.PoseBatch) {
		b.Status.ObservedGeneration = 1
		b.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionFinished, Status: metav1.ConditionTrue, Reason: "Succeeded", LastTransitionTime: metav1.Now()}}
		b.Status.Index = &v1alpha1.BatchIndex{URI: b.Spec.Output.URI + "/batch.json", SHA256: strings.Repeat("c", 64)}
	}
	ended := batch("ended", finished)
	batch("live", func(b *v1alpha1.PoseBatch) { b.Status.ObservedGeneration = 1 })
	busy := batch("busy", finished)
	endedJob(t, c, "busy-1", "s3://results/default/busy/1", metav1.ConditionFalse, nil)
	var job v1alpha1.PoseJob
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "busy-1"}, &job); err != nil {
		t.Fatal(err)
	}
	job.Labels = map[string]string{v1alpha1.LabelBatchUID: string(busy.UID)}
	if err := c.Update(t.Context(), &job); err != nil {
		t.Fatal(err)
	}
	e := &clitest.Errands{T: t, Client: c, Answer: func(cfg report.Config) (report.Termination, string) {
		if cfg.Verify != nil {
			return report.Termination{Result: report.ResultFailed, Verify: &report.VerifyReport{URI: cfg.Verify.URI, Results: 10, Files: 20, Problems: []string{"clip\x1b 7: is missing"}}},
				verify.BatchPrefix + `{"batch":{"namespace":"default","name":"ended"},"counts":{"total":12,"succeeded":10,"failed":2}}` + "\n"
		}
		return report.Termination{Result: report.ResultOK, Purge: &report.PurgeReport{Results: 10, Objects: 31}}, "pose-runner: removed " + cfg.Purge.URI + "/batch.json\n"
	}}
	pods := e.Start()
	v, err := verifyBatchByPod(t.Context(), pods, verifyFlags{operator: "pose-system", timeout: time.Minute}, "ended")
	var out bytes.Buffer
	made := e.Made()
	if err != nil || v.print(&out, "") == nil || len(made) != 1 || !strings.Contains(out.String(), "batch default/ended") || !strings.Contains(out.String(), "12: 10 succeeded, 2 failed") || !strings.Contains(out.String(), "DAMAGED  clip 7: is missing") {
		t.Errorf("%v %d pods\n%s", err, len(made), out.String())
	}
	var cfg report.Config
	if err := json.Unmarshal([]byte(made[0].Spec.Containers[0].Env[0].Value), &cfg); err != nil || !cfg.Verify.Batch || cfg.Verify.ManifestSHA256 != ended.Status.Index.SHA256 || cfg.Verify.Store.S3Endpoint != "http://store:9000" {
		t.Errorf("%v %+v", err, cfg.Verify)
	}
	if _, err := verifyBatchByPod(t.Context(), pods, verifyFlags{operator: "pose-system", timeout: time.Minute}, "live"); err == nil || !strings.Contains(err.Error(), "has no batch.json yet") {
		t.Errorf("%v", err)
	}
	purge := func(f purgeFlags, name string) (string, error) {
		f.timeout, f.operator, f.yes = time.Minute, "pose-system", true
		var out bytes.Buffer
		err := (&purger{PodRunner: pods, flags: f, in: strings.NewReader(""), out: &out}).run(t.Context(), name)
		return out.String(), err
	}
	text, err := purge(purgeFlags{dryRun: true}, "pb/ended")
	made = e.Made()
	if err != nil || !strings.Contains(text, "Batch default/ended: would remove 10 results") || len(made) != 1 {
		t.Errorf("%v %s", err, text)
	}
	cfg = report.Config{}
	if err := json.Unmarshal([]byte(made[0].Spec.Containers[0].Env[0].Value), &cfg); err != nil || cfg.Purge.Batch != "ended" || !cfg.Purge.DryRun || cfg.Purge.Store.S3Endpoint != "http://store:9000" {
		t.Errorf("%v %+v", err, cfg.Purge)
	}
	if text, err := purge(purgeFlags{gone: goneJob{outputURI: "s3://results/default/lost", secret: "out", uid: "u"}}, "pb/lost"); err != nil || !strings.Contains(text, "Batch default/lost: removed 10 results") {
		t.Errorf("%v %s", err, text)
	}
	e.Made()
	for name, tc := range map[string]struct {
		flags purgeFlags
		want  string
	}{
		"pb/live": {purgeFlags{}, "has not ended"}, "pb/busy": {purgeFlags{}, "PoseJob busy-1 of the batch has not ended"}, "pb/nobody": {purgeFlags{}, "say --output-uri"}, "pb/ended": {purgeFlags{video: true}, "only its results can be removed"},
	} {
		if _, err := purge(tc.flags, name); err == nil || !strings.Contains(err.Error(), tc.want) || exit.Code(err) != exit.Usage || len(e.Made()) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
