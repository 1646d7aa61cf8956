package stand

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// Write status of a job as the operator would.
func Write(ctx context.Context, c client.Client, job *v1alpha1.PoseJob, change func(*v1alpha1.PoseJobStatus)) error {
	if err := c.Get(ctx, client.ObjectKeyFromObject(job), job); err != nil {
		return fmt.Errorf("read job %s: %w", job.Name, err)
	}
	change(&job.Status)
	job.Status.ObservedGeneration = job.Generation
	if err := c.Status().Update(ctx, job); err != nil {
		return fmt.Errorf("write the status of job %s: %w", job.Name, err)
	}
	return nil
}

// condition is true from now on.
func condition(kind, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message, LastTransitionTime: metav1.Now()}
}

// Succeed writes files as the verified result of a job into the store, below its output,
// and the status that says so.
func Succeed(ctx context.Context, c client.Client, o storage.Options, job *v1alpha1.PoseJob, files map[string][]byte) error {
	out, err := Result(ctx, o, job, files)
	if err != nil {
		return err
	}
	return Write(ctx, c, job, func(s *v1alpha1.PoseJobStatus) {
		now := metav1.Now()
		s.Phase, s.Stage, s.Output, s.CompletionTime, s.Progress = v1alpha1.PhaseSucceeded, "", out, &now, nil
		for i := range s.Attempts {
			if s.Attempts[i].State == v1alpha1.AttemptRunning {
				s.Attempts[i].State, s.Attempts[i].FinishTime = v1alpha1.AttemptSucceeded, &now
			}
		}
		s.Conditions = []metav1.Condition{
			condition(v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded, "The results are verified."),
			condition(v1alpha1.ConditionComplete, v1alpha1.ReasonSucceeded, "The results are verified."),
			condition(v1alpha1.ConditionFinished, v1alpha1.ReasonSucceeded, "The results are verified."),
		}
	})
}

// Result writes files as the result of a job's first attempt.
func Result(ctx context.Context, o storage.Options, job *v1alpha1.PoseJob, files map[string][]byte) (*v1alpha1.OutputStatus, error) {
	id := string(job.UID[:5]) + "-1"
	m := result.Manifest{
		APIVersion: result.APIVersion, Kind: result.KindManifest, Version: result.ManifestVersion, AttemptID: id,
		Job: report.JobRef{Namespace: job.Namespace, Name: job.Name, UID: string(job.UID), Attempt: 1}, Frames: 3, People: 2,
	}
	sink, err := storage.OpenSink(job.Spec.Output.URI, o)
	if err != nil {
		return nil, fmt.Errorf("open the output: %w", err)
	}
	defer func() { _ = sink.Close() }()
	folder := result.AttemptsDir + "/" + id + "/"
	put := func(key string, b []byte) error {
		if err := sink.Put(ctx, storage.Object{Key: key, Size: int64(len(b))}, bytes.NewReader(b)); err != nil {
			return fmt.Errorf("write %s: %w", key, err)
		}
		return nil
	}
	for name, b := range files {
		if err := put(folder+name, b); err != nil {
			return nil, err
		}
		short := path.Base(name)
		short = short[:len(short)-len(path.Ext(short))]
		if name == result.FrameTimesFile {
			short = "frameTimes" // as pose-runner names it
		}
		m.Files = append(m.Files, result.ManifestFileRef{Name: short, Path: name, Size: int64(len(b)), SHA256: digest(b), MediaType: "text/html"})
	}
	raw, err := verify.Encode(m)
	if err != nil {
		return nil, fmt.Errorf("write the manifest: %w", err)
	}
	p, err := verify.Encode(result.Pointer{
		APIVersion: result.APIVersion, Kind: result.KindPointer, Job: m.Job, Attempt: 1, AttemptID: id,
		URI: storage.Join(job.Spec.Output.URI, result.AttemptsDir, id), ManifestSHA256: digest(raw),
	})
	if err != nil {
		return nil, fmt.Errorf("write the pointer: %w", err)
	}
	if err := put(folder+result.ManifestFile, raw); err != nil {
		return nil, err
	}
	if err := put(result.ManifestFile, p); err != nil {
		return nil, err
	}
	out := &v1alpha1.OutputStatus{URI: storage.Join(job.Spec.Output.URI, result.AttemptsDir, id), ManifestSHA256: digest(raw), People: m.People, Frames: m.Frames}
	for _, f := range m.Files {
		out.Files = append(out.Files, v1alpha1.OutputFile{Name: f.Name, URI: out.URI + "/" + f.Path, Size: f.Size, SHA256: f.SHA256})
	}
	return out, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
