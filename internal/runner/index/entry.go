package index

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"sync"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// parallel is how many results are looked at side by side: each is two small
// requests, and waits for them.
const parallel = 16

// maxText bounds what an entry says, in bytes; maxFailures the file of a chunk's
// failures.
const (
	maxText     = 256
	maxFailures = 1 << 20
)

// chunk of the list with what became of its clips.
type chunk struct {
	list     []clips.Clip
	states   []byte
	failures map[int]struct{ Reason, Message string }
	// digests of the manifests that were recorded, as report.ShortDigest; empty where
	// none is known.
	digests []string
}

func (r *role) chunk(i int) (*chunk, error) {
	raw, err := r.file(report.ClipsFile, i, 2*clips.MaxChunkBytes)
	if err != nil {
		return nil, err
	}
	c := &chunk{}
	if c.list, err = clips.Decode(raw); err != nil {
		return nil, outcome.Failf(report.ReasonConfig, "chunk %d: %w", i, err)
	}
	if c.states, err = r.file(report.StatesFile, i, clips.MaxChunkClips); err != nil {
		return nil, err
	}
	if raw, err = r.file(report.FailuresFile, i, maxFailures); err != nil {
		return nil, err
	}
	if len(c.states) != len(c.list) || json.Unmarshal(raw, &c.failures) != nil {
		return nil, outcome.Failf(report.ReasonConfig, "the record of chunk %d does not fit its %d clips", i, len(c.list))
	}
	// A record of an older release has no digests.
	if raw, err = r.file(report.DigestsFile, i, clips.MaxChunkClips*int64(report.ShortDigestLen+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if c.digests, err = report.DecodeDigests(string(raw), len(c.list)); err != nil {
		return nil, outcome.Failf(report.ReasonConfig, "the digests of chunk %d do not fit: %w", i, err)
	}
	return c, nil
}

// entries of a chunk, in its order.
func (r *role) entries(ctx context.Context, c *chunk) ([]clips.IndexEntry, error) {
	out := make([]clips.IndexEntry, len(c.list))
	errs := make([]error, len(c.list))
	var wait sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i, clip := range c.list {
		e := &out[i]
		e.Name, e.Video = clip.Name, clip.URI
		switch c.states[i] {
		case 'S':
			e.State = clips.StateSucceeded
		case 'F':
			f := c.failures[i]
			e.State, e.Reason, e.Message = clips.StateFailed, clean.Line(f.Reason, maxText), clean.Line(f.Message, maxText)
			continue
		default:
			e.State = clips.StateCancelled
			continue
		}
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			errs[i] = r.result(ctx, e, c.digests[i])
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	for _, e := range out {
		if e.State == clips.StateSucceeded && e.Result == "" {
			r.missing++
		}
	}
	return out, nil
}

// result of a clip that succeeded, with the digest that was recorded then; empty for
// none. One that is not there, not whole or another is said in the entry; an error is
// a place that cannot be asked.
func (r *role) result(ctx context.Context, e *clips.IndexEntry, recorded string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	folder, err := url.PathUnescape(e.Name)
	if err != nil {
		return err
	}
	f, err := verify.Find(ctx, verify.Below(r.sink, folder), "", verify.Options{Policy: storage.DefaultPolicy()})
	_, damaged := verify.IsDamage(err)
	switch {
	case err == nil:
	case damaged, errors.Is(err, result.ErrForeign), storage.KindOf(err) == storage.NotFound:
		e.Message = clean.Head(clean.Redact(clean.Line(err.Error(), 2*maxText)), maxText)
		return nil
	default:
		return err
	}
	if recorded != "" && report.ShortDigest(f.SHA256) != recorded {
		// Whoever may write there can lead the pointer to what he likes.
		e.Message = clean.Head(clean.Line(fmt.Sprintf("another result than the one that was recorded lies there: manifest sha256 %s, of job %s/%s", f.SHA256, f.Manifest.Job.Namespace, f.Manifest.Job.Name), 2*maxText), maxText)
		return nil
	}
	e.Result = r.cfg.URI + "/" + e.Name
	if f.Folder != "" {
		e.Result += "/" + f.Folder
	}
	e.ManifestSHA256, e.People, e.Frames = f.SHA256, &f.Manifest.People, &f.Manifest.Frames
	e.Job = f.Manifest.Job.Namespace + "/" + f.Manifest.Job.Name
	return nil
}
