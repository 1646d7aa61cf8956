package deliver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// maxDocument bounds a manifest or pointer that is read back, in bytes.
const maxDocument = 1 << 20

// uploader writes below the job's output URI.
type uploader struct {
	sink storage.Sink
	cfg  report.DeliverConfig
	job  report.JobRef
	log  io.Writer
	push func(done, total int64)

	done, total int64
}

// folder is the attempt's, relative to the output URI.
func (u *uploader) folder() string { return result.AttemptsDir + "/" + u.cfg.AttemptID }

// failure gives an error of the upload its reason.
func (u *uploader) failure(ctx context.Context, err error) error {
	var f *outcome.Failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return outcome.Failf(report.ReasonDeliveryFailed, "the upload to %s did not succeed within %d s; last: %w", u.cfg.URI, u.cfg.TimeoutSeconds, err).MayPass(true)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return outcome.Failf(report.ReasonDeliveryFailed, "the result cannot be uploaded: %w", err).MayPass(storage.Temporary(err))
}

// deliver uploads the outputs, then the manifest, then the pointer.
func (u *uploader) deliver(ctx context.Context, j *judgement, m result.Manifest) (*report.DeliveryReport, error) {
	// Before any upload: a foreign folder stays as it is.
	if _, err := u.mayPoint(ctx); err != nil {
		return nil, u.failure(ctx, err)
	}
	for _, o := range j.outputs {
		u.total += o.size
	}
	rep := &report.DeliveryReport{
		URI: storage.Join(u.cfg.URI, u.folder()), People: j.summary.People, Frames: j.summary.Frames,
		Quality: quality(j.summary.Quality),
	}
	for i := range j.outputs {
		o := &j.outputs[i]
		if err := u.file(ctx, o); err != nil {
			return nil, u.failure(ctx, err)
		}
		m.Files = append(m.Files, result.ManifestFileRef{
			Name: o.spec.Name, Path: o.spec.Path, Size: o.size, SHA256: o.sha256, MediaType: mediaTypes[o.spec.Format],
		})
		rep.Files = append(rep.Files, report.DeliveredFile{Name: o.spec.Name, Path: o.spec.Path, Size: o.size, SHA256: o.sha256})
	}
	m.CompletedAt = time.Now().UTC().Truncate(time.Millisecond)
	var err error
	if rep.ManifestSHA256, err = u.document(ctx, u.folder()+"/"+result.ManifestFile, m); err != nil {
		return nil, u.failure(ctx, err)
	}
	if err := u.point(ctx, rep); err != nil {
		return nil, u.failure(ctx, err)
	}
	return rep, nil
}

// file uploads one output and checks what arrived.
func (u *uploader) file(ctx context.Context, o *output) error {
	object := storage.Object{
		Key: u.folder() + "/" + o.spec.Path, Size: o.size, SHA256: o.sha256, MediaType: mediaTypes[o.spec.Format],
	}
	before := u.done
	return u.retry(ctx, func(ctx context.Context) error {
		u.done = before
		body := &digester{r: io.NewSectionReader(o.file, 0, o.size), h: sha256.New(), note: func(n int64) {
			u.done += n
			u.push(u.done, u.total)
		}}
		return u.put(ctx, object, body)
	})
}

// put writes one object and verifies it.
func (u *uploader) put(ctx context.Context, o storage.Object, body *digester) error {
	if err := u.sink.Put(ctx, o, body); err != nil {
		return err
	}
	if got := body.sum(); got != o.SHA256 {
		return outcome.Failf(report.ReasonDeliveryFailed, "%s changed between check and upload (sha256 %s, then %s)", o.Key, o.SHA256, got).MayPass(true)
	}
	info, err := u.sink.Stat(ctx, o.Key)
	if err != nil {
		return err
	}
	if info.Size != o.Size || info.SHA256 != "" && info.SHA256 != o.SHA256 {
		return &storage.Error{
			Kind: storage.Other, Place: storage.Join(u.cfg.URI, o.Key), Temporary: true,
			Cause: fmt.Sprintf("%d bytes were uploaded, the store has %d: it does not keep what it is given", o.Size, info.Size),
		}
	}
	return nil
}

// document uploads v as JSON and gives its digest.
func (u *uploader) document(ctx context.Context, key string, v any) (string, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return "", err
	}
	b = append(b, '\n')
	sum := sha256.Sum256(b)
	o := storage.Object{Key: key, Size: int64(len(b)), SHA256: hex.EncodeToString(sum[:]), MediaType: "application/json"}
	err = u.retry(ctx, func(ctx context.Context) error {
		return u.put(ctx, o, &digester{r: bytes.NewReader(b), h: sha256.New(), note: func(int64) {}})
	})
	return o.SHA256, err
}

// mayPoint says whether the root's pointer may be written: false when a later
// attempt of this job has its own there. Anything foreign is an error.
func (u *uploader) mayPoint(ctx context.Context) (bool, error) {
	var raw []byte
	err := u.retry(ctx, func(ctx context.Context) (err error) {
		raw, _, err = u.sink.Get(ctx, result.ManifestFile, maxDocument)
		return err
	})
	if storage.KindOf(err) == storage.NotFound {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return decidePointer(raw, u.job, storage.Join(u.cfg.URI, result.ManifestFile))
}

// decidePointer judges the pointer that is there. Pure.
func decidePointer(raw []byte, job report.JobRef, place string) (bool, error) {
	var p result.Pointer
	if json.Unmarshal(raw, &p) != nil || p.Kind != result.KindPointer {
		return false, outcome.Failf(report.ReasonDeliveryFailed, "%s is a file of somebody else and is not overwritten: choose another output URI, or remove it", place)
	}
	if p.Job.Namespace != job.Namespace || p.Job.Name != job.Name {
		return false, outcome.Failf(report.ReasonDeliveryFailed, "%s belongs to the job %s/%s and is not overwritten: choose another output URI, or remove it", place, p.Job.Namespace, p.Job.Name)
	}
	return p.Job.UID != job.UID || p.Attempt <= job.Attempt, nil
}

// point makes the root's pointer lead to this attempt, unless a later attempt
// was faster.
func (u *uploader) point(ctx context.Context, rep *report.DeliveryReport) error {
	may, err := u.mayPoint(ctx)
	if err != nil {
		return err
	}
	if !may {
		fmt.Fprintf(u.log, "pose-runner: a later attempt has delivered already, %s stays\n", storage.Join(u.cfg.URI, result.ManifestFile))
		return nil
	}
	_, err = u.document(ctx, result.ManifestFile, result.Pointer{
		APIVersion: result.APIVersion, Kind: result.KindPointer, Job: u.job, Attempt: u.job.Attempt,
		AttemptID: u.cfg.AttemptID, URI: rep.URI, ManifestSHA256: rep.ManifestSHA256,
	})
	return err
}

func (u *uploader) retry(ctx context.Context, f func(context.Context) error) error {
	return storage.Retry(ctx, storage.DefaultPolicy(), func(err error, delay time.Duration) {
		fmt.Fprintf(u.log, "pose-runner: %v; trying again in %s\n", err, delay.Round(100*time.Millisecond))
	}, f)
}

// digester hashes and counts what passes.
type digester struct {
	r    io.Reader
	h    hash.Hash
	note func(int64)
}

func (d *digester) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.h.Write(p[:n])
	d.note(int64(n))
	return n, err
}

func (d *digester) sum() string { return hex.EncodeToString(d.h.Sum(nil)) }
