package results

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/clitest"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

func build(s genericiooptions.IOStreams, f *genericclioptions.ConfigFlags) []*cobra.Command {
	return []*cobra.Command{VerifyCommand(s, f), PurgeCommand(s, f), ExportCommand(s, f)}
}

func say(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	return clitest.Say(t, build, stdin, args...)
}

// resultFiles of a small result in an output's folder, and its manifest's digest.
func resultFiles(t *testing.T) (files map[string][]byte, digest string) {
	t.Helper()
	sum := func(b []byte) string {
		s := sha256.Sum256(b)
		return hex.EncodeToString(s[:])
	}
	encode := func(v any) []byte {
		b, err := verify.Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	pose := []byte(`{"frames": []}`)
	job := report.JobRef{Namespace: "snow", Name: "run-42", UID: "u", Attempt: 2}
	m := encode(result.Manifest{
		APIVersion: result.APIVersion, Kind: result.KindManifest, Version: result.ManifestVersion, Job: job, AttemptID: "3f2c1-2",
		Provenance: report.Provenance{VideoURI: "s3://videos/run-42.mov", Engine: "phalp\x1b[2J", Variant: "gpu", Device: "GPU", Image: "phalp@sha256:1", OperatorVersion: "0.1"},
		Video:      report.VideoFacts{SourceSHA256: "5ec", StartFrame: 7}, Frames: 20, People: 2, CompletedAt: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC),
		Files: []result.ManifestFileRef{{Name: "pose", Path: "pose.json", Size: int64(len(pose)), SHA256: sum(pose)}},
	})
	p := encode(result.Pointer{APIVersion: result.APIVersion, Kind: result.KindPointer, Job: job, Attempt: 2, AttemptID: "3f2c1-2", ManifestSHA256: sum(m)})
	return map[string][]byte{"manifest.json": p, "attempts/3f2c1-2/manifest.json": m, "attempts/3f2c1-2/pose.json": pose}, sum(m)
}

func wholeResult(t *testing.T) (dir, digest string) {
	t.Helper()
	files, digest := resultFiles(t)
	dir = t.TempDir()
	for name, b := range files {
		path := filepath.Join(dir, name)
		if os.MkdirAll(filepath.Dir(path), 0o755) != nil || os.WriteFile(path, b, 0o600) != nil {
			t.Fatal("cannot write the result")
		}
	}
	return dir, digest
}

func TestVerifyFolder(t *testing.T) {
	dir, digest := wholeResult(t)
	attempt := filepath.Join(dir, "attempts/3f2c1-2")
	for name, c := range map[string]struct {
		args []string
		harm func()
		code int
		want []string
	}{
		"whole": {[]string{dir}, nil, 0, []string{
			"job snow/run-42, attempt 2 (3f2c1-2), of operator 0.1", "variant gpu, device GPU, image phalp@sha256:1", "2026-01-01T12:00:00Z",
			"s3://videos/run-42.mov, sha256 5ec, 20 frames from frame 7 on", "1 files, 14 bytes, manifest sha256 " + digest, "only its digest tells",
		}},
		"by its digest":    {[]string{dir, "--manifest-sha256", digest}, nil, 0, []string{"The result is whole."}},
		"of an attempt":    {[]string{attempt}, nil, 0, []string{"1 files"}},
		"by its manifest":  {[]string{filepath.Join(attempt, "manifest.json")}, nil, 0, []string{"1 files"}},
		"another digest":   {[]string{dir, "--manifest-sha256", strings.Repeat("0", 64)}, nil, 1, []string{"DAMAGED", "another result", "is damaged: 1 problems"}},
		"no such folder":   {[]string{filepath.Join(dir, "none")}, nil, 2, []string{"find the result"}},
		"no result":        {[]string{t.TempDir()}, nil, 2, []string{"there is no result"}},
		"a lost result":    {[]string{t.TempDir(), "--manifest-sha256", digest}, nil, 1, []string{"DAMAGED", "no such file"}},
		"no manifest":      {[]string{filepath.Join(attempt, "pose.json")}, nil, 2, []string{"neither a folder nor a manifest.json"}},
		"no digest":        {[]string{dir, "--manifest-sha256", "abc"}, nil, 2, []string{"is no sha256"}},
		"no argument":      {nil, nil, 2, []string{"accepts 1 arg"}},
		"an unknown flag":  {[]string{dir, "--fast"}, nil, 2, []string{"unknown flag"}},
		"an unknown form":  {[]string{dir, "-o", "xml"}, nil, 2, []string{"use json"}},
		"a claim":          {[]string{"pvc://results/run"}, nil, 2, []string{"job/NAME"}},
		"an unknown place": {[]string{"ftp://results/run"}, nil, 2, []string{"ftp"}},
		"two sources":      {[]string{"s3://results/run", "--credentials-dir", dir, "--credentials-from-env"}, nil, 2, []string{"leave one out"}},
	} {
		out, err := say(t, "", append([]string{"verify"}, c.args...)...)
		code := 0
		if err != nil {
			code, out = exit.Code(err), out+err.Error()
		}
		if code != c.code || strings.Contains(out, "\x1b") {
			t.Errorf("%s: code %d: %s", name, code, out)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: want %q in\n%s", name, want, out)
			}
		}
	}
}

func TestVerifyDamagedFolder(t *testing.T) {
	dir, digest := wholeResult(t)
	if err := os.WriteFile(filepath.Join(dir, "attempts/3f2c1-2/pose.json"), []byte(`{"frames": {}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := say(t, "", "verify", dir)
	if err == nil || exit.Code(err) != 1 || !strings.Contains(out, "DAMAGED  pose.json: its sha256 is") || strings.Contains(out, "The ") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = say(t, "", "verify", dir, "-o", "json")
	var v verified
	if exit.Code(err) != 1 || json.Unmarshal([]byte(out), &v) != nil || v.Whole || len(v.Problems) != 1 || v.ManifestSHA256 != digest || v.Made.Job.Name != "run-42" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestVerifyS3 checks a result in a real S3 server, with each source of credentials.
func TestVerifyS3(t *testing.T) {
	endpoint, keys, data, stop := clitest.S3(t, "results")
	sink, err := storage.OpenSink("s3://results/run-42", storage.Options{Store: report.StoreConfig{S3Endpoint: endpoint, S3PathStyle: true}, CredentialsDir: keys})
	if err != nil {
		t.Fatal(err)
	}
	files, digest := resultFiles(t)
	for name, b := range files {
		if err := sink.Put(t.Context(), storage.Object{Key: name, Size: int64(len(b))}, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"verify", "s3://results/run-42", "--s3-endpoint", endpoint, "--path-style", "--manifest-sha256", digest}
	run := func(more ...string) (string, int) {
		out, err := say(t, "", append(args, more...)...)
		if err != nil {
			return out + err.Error(), exit.Code(err)
		}
		return out, 0
	}
	if out, code := run("--credentials-dir", keys); code != 0 || !strings.Contains(out, "The result is whole.") {
		t.Errorf("code %d: %s", code, out)
	}
	if out, code := run(); code != 2 || !strings.Contains(out, "403") && !strings.Contains(out, "AccessDenied") {
		t.Errorf("anonymous: code %d: %s", code, out)
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	if out, code := run("--credentials-from-env"); code != 2 || !strings.Contains(out, "the environment has no credentials for s3://: set AWS_ACCESS_KEY_ID") {
		t.Errorf("an empty environment: code %d: %s", code, out)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "admin")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	if out, code := run("--credentials-from-env"); code != 2 || strings.Contains(out, "hunter2") {
		t.Errorf("a wrong key: code %d: %s", code, out)
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "admin-secret")
	if out, code := run("--credentials-from-env"); code != 0 {
		t.Errorf("the environment: code %d: %s", code, out)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left in the folder for temporary files: %v %v", left, err)
	}
	if err := os.Remove(filepath.Join(data, "results/run-42/attempts/3f2c1-2/pose.json")); err != nil {
		t.Fatal(err)
	}
	if out, code := run("--credentials-dir", keys); code != 1 || !strings.Contains(out, "pose.json: it is missing") {
		t.Errorf("a store that lost a file: code %d: %s", code, out)
	}
	stop()
	if out, code := run("--credentials-dir", keys, "--timeout", "2s"); code != 2 || !strings.Contains(out, "--timeout") {
		t.Errorf("a store that is down: code %d: %s", code, out)
	}
}

// TestVerifyJob checks the result of a PoseJob by a pod on a real API server.
func TestVerifyJob(t *testing.T) {
	c := clitest.APIServer(t).Client
	clitest.OperatorIn(t, c, "pose-system")
	clitest.Restricted(t, c, "default")
	digest := strings.Repeat("d", 64)
	status := func(uri string) func(*v1alpha1.PoseJob) {
		return func(j *v1alpha1.PoseJob) {
			j.Status.Output = &v1alpha1.OutputStatus{URI: uri, ManifestSHA256: digest}
			j.Spec.PodTemplate = &v1alpha1.PodTemplate{ServiceAccountName: "jobs"}
		}
	}
	endedJob(t, c, "good", "s3://results/default/good", metav1.ConditionTrue, status("s3://results/default/good/attempts/1"))
	endedJob(t, c, "bad", "pvc://results/bad", metav1.ConditionTrue, func(j *v1alpha1.PoseJob) {
		j.Spec.Output.CredentialsSecretRef = nil
		j.Status.Output = &v1alpha1.OutputStatus{URI: "pvc://results/bad/attempts/1", ManifestSHA256: digest}
	})
	endedJob(t, c, "down", "s3://results/default/down", metav1.ConditionTrue, status("s3://results/default/down/attempts/1"))
	endedJob(t, c, "none", "s3://results/default/none", metav1.ConditionTrue, nil)
	e := &clitest.Errands{T: t, Client: c, Answer: func(cfg report.Config) (report.Termination, string) {
		switch cfg.Job.Name {
		case "bad":
			return report.Termination{Result: report.ResultFailed, Verify: &report.VerifyReport{URI: cfg.Verify.URI, Problems: []string{"pose.json: it is \x1bmissing"}}}, ""
		case "down":
			return report.Termination{Result: report.ResultFailed, Message: "the result cannot be looked at: connection refused"}, ""
		}
		return report.Termination{Result: report.ResultOK, Verify: &report.VerifyReport{URI: cfg.Verify.URI, ManifestSHA256: digest, Files: 3, Bytes: 9}},
			"noise\n" + verify.MadePrefix + `{"job":{"namespace":"default","name":"good","attempt":1},"engine":"phalp"}` + "\n" + verify.MadePrefix + "{broken\n"
	}}
	pods := e.Start()
	f := verifyFlags{operator: "pose-system", timeout: time.Minute}

	v, err := verifyByPod(t.Context(), pods, f, "good")
	made := e.Made()
	if err != nil || len(v.Problems) > 0 || v.Files != 3 || !v.ManifestCompared || v.Made == nil || v.Made.Engine != "phalp" || len(made) != 1 {
		t.Fatalf("%+v %v", v, err)
	}
	var cfg report.Config
	if err := json.Unmarshal([]byte(made[0].Spec.Containers[0].Env[0].Value), &cfg); err != nil {
		t.Fatal(err)
	}
	want := &report.VerifyConfig{URI: "s3://results/default/good/attempts/1", PVCMount: claimMount, ManifestSHA256: digest, TimeoutSeconds: 60, Store: cfg.Verify.Store}
	if d := cmp.Diff(want, cfg.Verify); d != "" || cfg.Verify.Store.S3Endpoint != "http://store:9000" || cfg.Role != report.RoleVerify {
		t.Errorf("%+v\n%s", cfg, d)
	}
	s := made[0].Spec
	if len(s.Volumes) != 1 || s.Volumes[0].Secret.SecretName != "out" || s.Containers[0].VolumeMounts[0].MountPath != report.CredentialsDir || s.ServiceAccountName != "jobs" {
		t.Errorf("%+v", s)
	}

	v, err = verifyByPod(t.Context(), pods, f, "bad")
	var out bytes.Buffer
	if err != nil || v.print(&out, "") == nil || !strings.Contains(out.String(), "DAMAGED  pose.json: it is missing") && !strings.Contains(out.String(), "DAMAGED  pose.json: it is ") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%+v %v\n%s", v, err, out.String())
	}
	s = e.Made()[0].Spec
	if claim := s.Volumes[0].PersistentVolumeClaim; len(s.Volumes) != 1 || claim == nil || claim.ClaimName != "results" || !claim.ReadOnly || s.Containers[0].VolumeMounts[0].MountPath != claimMount {
		t.Errorf("%+v", s)
	}
	for name, want := range map[string]string{"down": "connection refused", "none": "has no result", "nobody": `there is no PoseJob "nobody"`} {
		if v, err := verifyByPod(t.Context(), pods, f, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v %v", name, v, err)
		}
	}
}

func TestJobName(t *testing.T) {
	for what, want := range map[string]string{
		"job/run-42": "run-42", "pj/run": "run", "posejob.pose.dev/run": "run", "job/": "", "job": "", "job/a/b": "", "./job/run": "", "jobs/run": "", "job/..": "",
	} {
		if got, ok := jobName(what); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q %v", what, got, ok)
		}
	}
}
