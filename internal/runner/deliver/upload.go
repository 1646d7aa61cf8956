package deliver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

const (
	// maxReadBack bounds what is read again of one file, in bytes, where the place
	// keeps no digest.
	maxReadBack = 16 << 30
	// maxLost is how often a store may keep other bytes than it was given.
	maxLost = 3
)

// uploader writes below the job's output URI.
//
// At every moment the attempt's folder has no manifest, or a manifest whose files
// are all there as it says; and the root's pointer leads to such a manifest, or is
// not there. So the order is: files, manifest, pointer; and what must be replaced
// goes in the other order first (see withdraw). A run that is killed anywhere leaves
// such a state, and the next run of the same attempt sends only what is missing.
type uploader struct {
	sink storage.Sink
	cfg  report.DeliverConfig
	job  report.JobRef
	log  io.Writer
	push func(done, total int64)
	// readable and written say that the place let us read and write before: who is
	// refused later holds credentials that expired or were changed meanwhile.
	readable, written bool

	done, total int64
}

// folder is the attempt's, relative to the output URI.
func (u *uploader) folder() string { return result.AttemptsDir + "/" + u.cfg.AttemptID }

func (u *uploader) manifestKey() string { return u.folder() + "/" + result.ManifestFile }

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
	if storage.KindOf(err) == storage.Forbidden && u.written {
		return outcome.Failf(report.ReasonDeliveryFailed, "the result cannot be uploaded whole: the place took files and then refused the same credentials, so they expired or were changed meanwhile; another attempt uses those that the Secret has then: %w", err).MayPass(true)
	}
	return outcome.Failf(report.ReasonDeliveryFailed, "the result cannot be uploaded: %w", err).MayPass(storage.Temporary(err))
}

// expired says of an error in looking at the place, which let itself be looked at
// before the engine ran, what it must mean.
func (u *uploader) expired(err error) error {
	if storage.KindOf(err) == storage.Forbidden && u.readable {
		return outcome.Failf(report.ReasonDeliveryFailed, "the result cannot be uploaded: the place knew these credentials when the engine started and refuses them now, so they expired or were changed meanwhile; another attempt uses those that the Secret has then: %w", err).MayPass(true)
	}
	return err
}

// deliver uploads the outputs, then the manifest, then the pointer.
func (u *uploader) deliver(ctx context.Context, j *judgement, m result.Manifest) (*report.DeliveryReport, error) {
	rep, err := u.all(ctx, j, m)
	if err != nil {
		return nil, u.failure(ctx, err)
	}
	return rep, nil
}

func (u *uploader) all(ctx context.Context, j *judgement, m result.Manifest) (*report.DeliveryReport, error) {
	rep := &report.DeliveryReport{
		URI: storage.Join(u.cfg.URI, u.folder()), People: j.summary.People, Frames: j.summary.Frames,
		Quality: j.summary.Quality.Report(),
	}
	for _, o := range j.outputs {
		u.total += o.size
		media := mediaTypes[o.spec.Format]
		m.Files = append(m.Files, result.ManifestFileRef{Name: o.spec.Name, Path: o.spec.Path, Size: o.size, SHA256: o.sha256, MediaType: media})
		rep.Files = append(rep.Files, report.DeliveredFile{Name: o.spec.Name, Path: o.spec.Path, Size: o.size, SHA256: o.sha256})
	}
	// Before any upload: what is somebody else's stays as it is.
	err := u.retry(ctx, func(ctx context.Context) error {
		return verify.MayPoint(ctx, u.sink, u.pointer(m, ""), u.cfg.Overwrite)
	})
	if err != nil {
		return nil, u.expired(err)
	}
	u.readable = true
	kept, err := u.before(ctx, m)
	if err != nil {
		return nil, u.expired(err)
	}
	if err := u.own(ctx); err != nil {
		return nil, err
	}
	for i := range j.outputs {
		if err := u.file(ctx, &j.outputs[i]); err != nil {
			return nil, err
		}
	}
	if rep.ManifestSHA256, err = u.manifest(ctx, m, kept); err != nil {
		return nil, err
	}
	err = u.retry(ctx, func(ctx context.Context) error {
		return verify.SetPointer(ctx, u.sink, u.pointer(m, rep.ManifestSHA256), u.cfg.Overwrite, u.log)
	})
	return rep, err
}

// own leaves word of whose the attempt's folder is before anything lies in it, where
// a batch is the owner's owner: what is removed with the batch must be known without a
// manifest.
func (u *uploader) own(ctx context.Context) error {
	if u.job.Batch == "" {
		return nil
	}
	return verify.Own(ctx, u.sink, u.folder(), u.job)
}

// pointer that leads to this attempt.
func (u *uploader) pointer(m result.Manifest, sha256 string) result.Pointer {
	return result.Pointer{
		APIVersion: result.APIVersion, Kind: result.KindPointer, Job: u.job, Attempt: u.job.Attempt, AttemptID: u.cfg.AttemptID,
		URI: storage.Join(u.cfg.URI, u.folder()), ManifestSHA256: sha256, StartedAt: &m.StartedAt,
	}
}

// before looks at the attempt's folder. It gives the bytes of a manifest that says
// what ours would: an earlier run of this attempt was killed after it had written
// it. Another manifest is withdrawn, or refused as somebody else's.
func (u *uploader) before(ctx context.Context, m result.Manifest) ([]byte, error) {
	raw, err := u.get(ctx, u.manifestKey())
	if err != nil || raw == nil {
		return nil, err
	}
	d := decideFolder(raw, m, u.cfg.Overwrite)
	if d.keep {
		fmt.Fprintln(u.log, "pose-runner: an earlier run of this attempt has written its manifest already, it stays")
		return raw, nil
	}
	if err := u.refusal(d); err != nil {
		return nil, err
	}
	fmt.Fprintf(u.log, "pose-runner: %s is %s, and is replaced\n", storage.Join(u.cfg.URI, u.manifestKey()), d.replaces)
	return nil, u.withdraw(ctx)
}

// refusal of a folder that holds another's result.
func (u *uploader) refusal(d folderDecision) error {
	if d.refused == "" {
		return nil
	}
	return outcome.Failf(report.ReasonDeliveryFailed, "%s %s and is not overwritten: choose another output URI, or remove it, or set output.overwrite", storage.Join(u.cfg.URI, u.manifestKey()), d.refused)
}

// withdraw makes the attempt's folder one without a result, before files of it are
// overwritten: first the pointer that leads there, then the manifest.
func (u *uploader) withdraw(ctx context.Context) error {
	raw, err := u.get(ctx, result.ManifestFile)
	if err != nil {
		return err
	}
	if p, err := result.ReadPointer(raw); err == nil && p.AttemptID == u.cfg.AttemptID {
		if err := u.remove(ctx, result.ManifestFile); err != nil {
			return err
		}
	}
	return u.remove(ctx, u.manifestKey())
}

func (u *uploader) remove(ctx context.Context, key string) error {
	return u.retry(ctx, func(ctx context.Context) error { return u.sink.Delete(ctx, key) })
}

// get a document; nil when there is none.
func (u *uploader) get(ctx context.Context, key string) (raw []byte, err error) {
	err = u.retry(ctx, func(ctx context.Context) error {
		body, _, err := verify.Alive(ctx, u.sink, key, storage.DefaultPolicy().Idle)
		if err != nil {
			return err
		}
		defer body.Close()
		raw, err = io.ReadAll(io.LimitReader(body, result.MaxManifestBytes+1)) // one more: too large shows
		return err
	})
	if storage.KindOf(err) == storage.NotFound {
		return nil, nil
	}
	return raw, err
}

// folderDecision says what is to become of a manifest that lies in the attempt's
// folder already.
type folderDecision struct {
	keep              bool
	replaces, refused string
}

// decideFolder judges it. Pure. A manifest of the same attempt that says the same but
// for times and what was seen of the run is as good as the one that would be written,
// and stays: readers may know its digest.
func decideFolder(raw []byte, mine result.Manifest, overwrite bool) folderDecision {
	m, err := result.ReadManifest(raw)
	if err != nil || m.Job.Namespace != mine.Job.Namespace || m.Job.Name != mine.Job.Name || m.Job.UID != mine.Job.UID || m.Job.Attempt != mine.Job.Attempt {
		d := folderDecision{refused: "is a file of somebody else"}
		if err == nil {
			d.refused = fmt.Sprintf("belongs to attempt %d of the job %s/%s", m.Job.Attempt, m.Job.Namespace, m.Job.Name)
		}
		if overwrite {
			d.replaces, d.refused = "a file of somebody else, as output.overwrite allows", ""
		}
		return d
	}
	other := *m
	other.RunnerVersion, other.Run = mine.RunnerVersion, mine.Run
	other.FetchedAt, other.PreparedAt = mine.FetchedAt, mine.PreparedAt
	other.StartedAt, other.EngineEndedAt, other.CompletedAt = mine.StartedAt, mine.EngineEndedAt, mine.CompletedAt
	a, errA := verify.Encode(other)
	b, errB := verify.Encode(mine)
	if errA == nil && errB == nil && bytes.Equal(a, b) {
		return folderDecision{keep: true}
	}
	return folderDecision{replaces: "that of an earlier run of this attempt, which had another result"}
}

// file uploads one output and checks what arrived. One that an earlier run of this
// attempt has uploaded is not sent again.
func (u *uploader) file(ctx context.Context, o *output) error {
	object := storage.Object{
		Key: u.folder() + "/" + o.spec.Path, Size: o.size, SHA256: o.sha256, MediaType: mediaTypes[o.spec.Format],
	}
	before := u.done
	there, err := u.there(ctx, object)
	if err != nil {
		return err
	}
	if there {
		fmt.Fprintf(u.log, "pose-runner: %s is there already, with its size and sha256\n", o.spec.Path)
		u.done += o.size
		u.push(u.done, u.total)
		return nil
	}
	return u.send(ctx, object, func() *digester {
		u.done = before
		return &digester{r: io.NewSectionReader(o.file, 0, o.size), h: sha256.New(), note: func(n int64) {
			u.done += n
			u.push(u.done, u.total)
		}}
	})
}

// there says whether an object lies in its place as it should be. One whose bytes
// nobody can vouch for is as good as none.
func (u *uploader) there(ctx context.Context, o storage.Object) (same bool, err error) {
	err = u.retry(ctx, func(ctx context.Context) error {
		var why string
		var proven bool
		why, proven, err = u.compare(ctx, o)
		same = why == "" && proven
		return err
	})
	if kind := storage.KindOf(err); err != nil && ctx.Err() == nil && (kind == storage.NotFound || kind == storage.Other) {
		return false, nil // the upload says what is wrong with the place
	}
	return same, err
}

// send uploads an object until the place has it whole. body makes what is read anew
// for each try.
func (u *uploader) send(ctx context.Context, o storage.Object, body func() *digester) error {
	lost := 0
	return u.retry(ctx, func(ctx context.Context) error {
		b := body()
		if err := u.sink.Put(ctx, o, b); err != nil {
			return err
		}
		u.written = true
		o.If = storage.Condition{} // what lies there now is ours
		if got := b.sum(); got != o.SHA256 {
			return outcome.Failf(report.ReasonDeliveryFailed, "%s changed between check and upload (sha256 %s, then %s)", o.Key, o.SHA256, got).MayPass(true)
		}
		why, proven, err := u.compare(ctx, o)
		if storage.KindOf(err) == storage.NotFound {
			why, err = "it has none of it", nil
		}
		if err != nil {
			return err
		}
		if why == "" {
			if !proven {
				fmt.Fprintf(u.log, "pose-runner: %s is larger than %d bytes, and the place keeps no digest: only its size was checked there\n", o.Key, int64(maxReadBack))
			}
			return nil
		}
		if lost++; lost >= maxLost {
			return outcome.Failf(report.ReasonDeliveryFailed, "%s was uploaded %d times, and each time the store did not keep what it was given: %s", storage.Join(u.cfg.URI, o.Key), lost, why).MayPass(true)
		}
		return &storage.Error{Kind: storage.Other, Place: storage.Join(u.cfg.URI, o.Key), Temporary: true, Cause: "the store does not keep what it is given: " + why}
	})
}

// compare says how what lies in the place differs from o, "" when it does not; not
// proven when only the sizes were compared. A place that keeps the digest that Put
// gave it is asked for it, of any other the object is read back.
func (u *uploader) compare(ctx context.Context, o storage.Object) (why string, proven bool, err error) {
	info, err := u.sink.Stat(ctx, o.Key)
	if err != nil {
		return "", false, err
	}
	if info.Size != o.Size {
		return fmt.Sprintf("it has %d bytes of %d", info.Size, o.Size), true, nil
	}
	sum := info.SHA256
	if sum == "" {
		if o.Size > maxReadBack {
			return "", false, nil
		}
		if sum, err = u.readBack(ctx, o); err != nil {
			return "", false, err
		}
	}
	if sum != o.SHA256 {
		return fmt.Sprintf("it has sha256 %s, not %s", sum, o.SHA256), true, nil
	}
	return "", true, nil
}

func (u *uploader) readBack(ctx context.Context, o storage.Object) (string, error) {
	body, _, err := verify.Alive(ctx, u.sink, o.Key, storage.DefaultPolicy().Idle)
	if err != nil {
		return "", err
	}
	defer body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(body, o.Size+1)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// manifest writes the attempt's manifest, unless kept has it already, and gives its
// digest.
func (u *uploader) manifest(ctx context.Context, m result.Manifest, kept []byte) (string, error) {
	if kept != nil {
		return digestOf(kept), nil
	}
	m.CompletedAt = stamp(time.Now())
	b, err := encode(&m)
	if err != nil {
		return "", err
	}
	// Nothing lies there, as was seen before. Who comes in between is another run
	// of this attempt, and what it wrote is as good if it says the same.
	o := storage.Object{Key: u.manifestKey(), Size: int64(len(b)), SHA256: digestOf(b), MediaType: "application/json", If: storage.Condition{Absent: true}}
	err = u.send(ctx, o, func() *digester { return &digester{r: bytes.NewReader(b), h: sha256.New(), note: func(int64) {}} })
	if storage.KindOf(err) != storage.Changed {
		return o.SHA256, err
	}
	raw, err := u.get(ctx, o.Key)
	if err != nil {
		return "", err
	}
	if raw != nil && (bytes.Equal(raw, b) || decideFolder(raw, m, false).keep) {
		return digestOf(raw), nil
	}
	return "", outcome.Failf(report.ReasonDeliveryFailed, "somebody else has written %s meanwhile: does another pod deliver the same attempt?", storage.Join(u.cfg.URI, o.Key)).MayPass(true)
}

// encode gives a manifest that our own reader takes. What was seen of the run is for
// people, and goes if the manifest would be none with it.
func encode(m *result.Manifest) ([]byte, error) {
	b, err := verify.Encode(m)
	if err == nil {
		_, err = result.ReadManifest(b)
	}
	if err != nil && m.Run != nil {
		m.Run = nil
		return encode(m)
	}
	if err != nil {
		return nil, outcome.Failf(report.ReasonConfig, "the manifest cannot be written: %w", err)
	}
	return b, nil
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
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
