// Package index is the role that writes the index of a batch whose clips all ended:
// one file that leads to every result, and says of every other clip why it has none.
package index

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// maxHead bounds what is read of an index that is there already.
const maxHead = 64 << 10

// mediaType of the index.
const mediaType = "application/json"

// role is one run.
type role struct {
	cfg  report.IndexConfig
	job  report.JobRef
	dir  string // of the chunks
	log  io.Writer
	sink storage.Sink
	head clips.IndexHead

	missing int32
	said    time.Time
}

// Run writes the index.
func Run(ctx context.Context, cfg report.IndexConfig, job report.JobRef, l layout.Layout, log io.Writer) (*report.IndexReport, error) {
	if cfg.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(cfg.TimeoutSeconds)*time.Second)
		defer cancel()
	}
	cfg.URI = strings.TrimRight(cfg.URI, "/")
	r := &role{cfg: cfg, job: job, dir: l.BatchDir, log: log}
	var err error
	r.sink, err = storage.OpenSink(cfg.URI, storage.Options{Store: cfg.Store, CredentialsDir: l.CredentialsDir, PVCMount: cfg.PVCMount})
	if err != nil {
		return nil, r.failure(ctx, err)
	}
	defer func() { _ = r.sink.Close() }()
	// Before any work: a foreign file stays as it is.
	if _, err := r.allowed(ctx); err != nil {
		return nil, r.failure(ctx, err)
	}
	if err := os.MkdirAll(l.ScratchDir, 0o755); err != nil {
		return nil, outcome.Failf("", "the pod's own disk cannot be used: %w", err).MayPass(true)
	}
	file, err := os.CreateTemp(l.ScratchDir, "index-*")
	if err != nil {
		return nil, outcome.Failf("", "the pod's own disk cannot be used: %w", err).MayPass(true)
	}
	defer func() {
		file.Close()
		_ = os.Remove(file.Name())
	}()
	o, err := r.write(ctx, file)
	if err != nil {
		return nil, r.failure(ctx, err)
	}
	if err := r.put(ctx, o, file); err != nil {
		return nil, r.failure(ctx, err)
	}
	c := r.head.Counts
	r.say("%s: %d clips, %d succeeded, %d failed, %d cancelled, %d results are missing", storage.Join(cfg.URI, report.BatchFile), c.Total, c.Succeeded, c.Failed, c.Cancelled, r.missing)
	return &report.IndexReport{
		URI: storage.Join(cfg.URI, report.BatchFile), SHA256: o.SHA256, Bytes: o.Size, Clips: c.Total, Missing: r.missing,
	}, nil
}

func (r *role) say(format string, args ...any) {
	fmt.Fprintf(r.log, "pose-runner: "+format+"\n", args...)
}

// write the index to file.
func (r *role) write(ctx context.Context, file io.Writer) (storage.Object, error) {
	chunks, err := r.count()
	if err != nil {
		return storage.Object{}, err
	}
	h, n := sha256.New(), &counter{}
	buffer := bufio.NewWriterSize(io.MultiWriter(file, h, n), 256<<10)
	w, err := clips.NewIndexWriter(buffer, r.head)
	if err != nil {
		return storage.Object{}, err
	}
	done := 0
	for i := range chunks {
		c, err := r.chunk(i)
		if err != nil {
			return storage.Object{}, err
		}
		entries, err := r.entries(ctx, c)
		if err != nil {
			return storage.Object{}, err
		}
		for _, e := range entries {
			if err := w.Add(e); err != nil {
				return storage.Object{}, err
			}
		}
		done += len(entries)
		if time.Since(r.said) > 10*time.Second {
			r.said = time.Now()
			r.say("%d of %d clips", done, r.head.Counts.Total)
		}
	}
	if err := w.Close(); err != nil {
		return storage.Object{}, err
	}
	if err := buffer.Flush(); err != nil {
		return storage.Object{}, err
	}
	return storage.Object{Key: report.BatchFile, Size: n.n, SHA256: hex.EncodeToString(h.Sum(nil)), MediaType: mediaType}, nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// count the clips for the head, which comes before them.
func (r *role) count() (chunks int, err error) {
	chunks = int(r.cfg.Chunks)
	if chunks < 0 || chunks > clips.MaxChunks {
		return 0, outcome.Failf(report.ReasonConfig, "a batch has no %d chunks", chunks)
	}
	r.head = clips.IndexHead{
		APIVersion: clips.APIVersion, Kind: clips.KindIndex, Version: clips.IndexVersion,
		Batch: clips.BatchRef{Namespace: r.job.Namespace, Name: r.job.Name, UID: r.job.UID},
		URI:   r.cfg.URI, StartedAt: r.cfg.StartedAt, Stopped: r.cfg.Stopped, OperatorVersion: r.cfg.OperatorVersion,
		CompletedAt: time.Now().UTC().Format(time.RFC3339),
	}
	n := &r.head.Counts
	for i := range chunks {
		c, err := r.chunk(i)
		if err != nil {
			return 0, err
		}
		for j := range c.list {
			n.Total++
			switch c.states[j] {
			case 'S':
				n.Succeeded++
			case 'F':
				n.Failed++
			case 'C':
				n.Cancelled++
			default:
				return 0, outcome.Failf("", "clip %s has not ended by the record that this pod has: it is an old copy", c.list[j].Name).MayPass(true)
			}
		}
	}
	return chunks, nil
}

// allowed says under which condition the index may be written.
func (r *role) allowed(ctx context.Context) (storage.Condition, error) {
	var condition storage.Condition
	err := r.retry(ctx, func(ctx context.Context) error {
		condition = storage.Condition{}
		body, info, err := r.sink.Open(ctx, report.BatchFile)
		if storage.KindOf(err) == storage.NotFound {
			condition.Absent = true
			return r.sink.Check(ctx)
		}
		if err != nil {
			return err
		}
		defer body.Close()
		condition.Version = info.Version
		head, err := clips.ReadIndexHead(io.LimitReader(body, maxHead))
		place := storage.Join(r.cfg.URI, report.BatchFile)
		switch {
		case r.cfg.Overwrite:
		case err != nil:
			return outcome.Failf(report.ReasonDeliveryFailed, "%s is a file of somebody else and is not overwritten: choose another output URI, remove it, or allow output.overwrite", place)
		case head.Batch.Namespace != r.job.Namespace || head.Batch.Name != r.job.Name:
			return outcome.Failf(report.ReasonDeliveryFailed, "%s belongs to the batch %s/%s and is not overwritten: choose another output URI, remove it, or allow output.overwrite", place, head.Batch.Namespace, head.Batch.Name)
		}
		return nil
	})
	return condition, err
}

// put the index, and look and decide again when somebody was faster.
func (r *role) put(ctx context.Context, o storage.Object, file *os.File) error {
	for tries := 0; ; tries++ {
		condition, err := r.allowed(ctx)
		if err != nil {
			return err
		}
		o.If = condition
		err = r.retry(ctx, func(ctx context.Context) error {
			return r.sink.Put(ctx, o, io.NewSectionReader(file, 0, o.Size))
		})
		if storage.KindOf(err) != storage.Changed || tries == 3 {
			return err
		}
	}
}

func (r *role) retry(ctx context.Context, f func(context.Context) error) error {
	return storage.Retry(ctx, storage.DefaultPolicy(), func(err error, delay time.Duration) {
		r.say("%v; trying again in %s", err, delay.Round(100*time.Millisecond))
	}, f)
}

// failure gives an error its reason.
func (r *role) failure(ctx context.Context, err error) error {
	var f *outcome.Failure
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return outcome.Failf(report.ReasonDeliveryFailed, "%s was not written within %d s; last: %w", storage.Join(r.cfg.URI, report.BatchFile), r.cfg.TimeoutSeconds, err).MayPass(true)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return outcome.Failf(report.ReasonDeliveryFailed, "%s cannot be written: %w", storage.Join(r.cfg.URI, report.BatchFile), err).MayPass(storage.Temporary(err))
}

// file of a chunk below the batch's folder.
func (r *role) file(kind string, chunk int, limit int64) ([]byte, error) {
	path := filepath.Join(r.dir, fmt.Sprint(kind, chunk))
	f, err := os.Open(path)
	if err != nil {
		return nil, outcome.Failf("", "the list of the batch is not there: %w", err).MayPass(true)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	if err != nil {
		return nil, outcome.Failf("", "the list of the batch cannot be read: %w", err).MayPass(true)
	}
	return b, nil
}
