package exports

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"time"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/place"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/internal/export"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// opened is a result that is ready to be exported.
type opened struct {
	source *export.Source
	files  []*os.File
}

// Close removes what was kept. The names are gone already.
func (o *opened) Close() {
	for _, f := range o.files {
		_ = f.Close() // they were only read
	}
}

// open copies what a format needs into temporary files, compares it with the manifest,
// and checks it.
func (s *Service) open(ctx context.Context, r *found, f export.Format) (*opened, error) {
	sink, err := s.Places.Sink(r.job.Spec.Output.URI)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sink.Close() }()
	o := &opened{}
	if err := s.fill(ctx, o, sink, r, f); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

func (s *Service) fill(ctx context.Context, o *opened, store verify.Store, r *found, f export.Format) error {
	left := s.Limits.Bytes
	pose, err := s.spool(ctx, o, store, r, *r.pose, &left)
	if err != nil {
		return err
	}
	limits := result.Limits{Bytes: s.maxPose(abouts[f.Name])}
	if o.source, err = export.NewSource(pose, limits); err != nil {
		return unusable(ctx, err)
	}
	if i := slices.IndexFunc(r.Manifest.Files, export.IsTimes); i >= 0 {
		times, err := s.spool(ctx, o, store, r, r.Manifest.Files[i], &left)
		if err != nil {
			return err
		}
		if err := o.source.AttachTimes(times); err != nil {
			return unusable(ctx, err)
		}
	}
	parameters := o.source.Head.Parametric
	if parameters == nil || !f.UsesSMPL {
		return nil
	}
	name := path.Join(path.Dir(r.pose.Path), parameters.File)
	i := slices.IndexFunc(r.Manifest.Files, func(m result.ManifestFileRef) bool { return m.Path == name })
	if i < 0 {
		return problem.New(http.StatusUnprocessableEntity, "pose.json names a file with the body model's parameters that the result does not have: retry the job")
	}
	smpl, err := s.spool(ctx, o, store, r, r.Manifest.Files[i], &left)
	if err != nil {
		return err
	}
	if err := o.source.Attach(smpl, r.Manifest.Files[i].Size, limits); err != nil {
		return unusable(ctx, err)
	}
	return nil
}

// spool copies a file of a result into a temporary one. left is what may still be
// copied.
func (s *Service) spool(ctx context.Context, o *opened, store verify.Store, r *found, want result.ManifestFileRef, left *int64) (*kept, error) {
	if *left -= want.Size; *left < 0 {
		return nil, problem.New(http.StatusUnprocessableEntity, "the result has more than the %d MiB that this service reads for an export: download it and use kubectl pose export", s.Limits.Bytes>>20)
	}
	file, err := nameless(s.Dir)
	if err != nil {
		return nil, err
	}
	o.files = append(o.files, file)
	err = verify.Copy(ctx, store, r.Key(want.Path), want, file, nil)
	_, damaged := verify.IsDamage(err)
	var local *os.PathError
	switch {
	case damaged:
		return nil, problem.Because(err, http.StatusBadGateway, "%s of job %s is gone or not the one that was delivered: retry the job", path.Base(want.Path), r.job.Name)
	case errors.As(err, &local):
		return nil, noRoom(err)
	case err != nil:
		return nil, place.Failure(err)
	}
	k := &kept{ctx: ctx, File: file}
	if _, err = k.Seek(0, io.SeekStart); err != nil {
		return nil, noRoom(err)
	}
	return k, nil
}

func noRoom(err error) error {
	p := problem.Because(err, http.StatusServiceUnavailable, "the service has no room for an export now: try again in a while")
	p.RetryAfter = time.Minute
	return p
}

// kept is a temporary file whose reading ends with the request.
type kept struct {
	ctx context.Context //nolint:containedctx // io.Reader has none
	*os.File
}

func (k *kept) Read(p []byte) (int, error) {
	if err := k.ctx.Err(); err != nil {
		return 0, err //nolint:wrapcheck // late looks for it
	}
	return k.File.Read(p) //nolint:wrapcheck // io.EOF, or the file's own error
}

func (k *kept) ReadAt(p []byte, at int64) (int, error) {
	if err := k.ctx.Err(); err != nil {
		return 0, err //nolint:wrapcheck // late looks for it
	}
	return k.File.ReadAt(p, at) //nolint:wrapcheck // io.EOF, or the file's own error
}

// WriteTo hides that of os.File, which would not look at the request.
func (k *kept) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(w, struct{ io.Reader }{k})
	return n, err //nolint:wrapcheck // the reader's or the writer's own
}
