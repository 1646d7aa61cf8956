package upload

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/jobs"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/place"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/internal/storage"
)

const (
	// maxFields of a form and maxField bytes of one that is no video.
	maxFields = 32
	maxField  = 1 << 10
	// formBytes is what a form may have beside its video: before it, and after it.
	// mime/multipart itself takes 10 MiB of headers of a part, and what comes before the
	// first part without an end.
	formBytes = 128 << 10
)

// form is one multipart upload.
type form struct {
	*Service
	finishing
	sink storage.Sink
	// whole is the video that was small enough to be stored at once; else it lies in
	// pieces of end bytes.
	seen  bool
	whole *joined
	end   int64
	// asked says that the cluster was asked for the job.
	asked bool
}

// metered ends a form that has more beside its video than it may.
type metered struct {
	body io.Reader
	left int64
	// video says that what is read now is the video's.
	video bool
}

func (m *metered) spent() bool { return !m.video && m.left <= 0 }

func errFormBytes() error {
	return problem.New(http.StatusBadRequest, "the form has more than %d bytes beside its video: send fewer and shorter fields and headers", formBytes)
}

func (m *metered) Read(p []byte) (int, error) {
	if m.spent() {
		return 0, errFormBytes()
	}
	n, err := m.body.Read(p)
	if !m.video {
		m.left -= int64(n)
	}
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}

// Form takes a video as multipart/form-data and makes its job. Of one that fails
// nothing is left.
func (s *Service) Form(w http.ResponseWriter, r *http.Request, user *auth.User, namespace string) (job *v1alpha1.PoseJob, err error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return nil, problem.New(http.StatusUnsupportedMediaType, "send the video as multipart/form-data in the field video")
	}
	if r.ContentLength > s.MaxBytes+formBytes {
		return nil, s.tooLarge()
	}
	leave, err := enter(s.Sending)
	if err != nil {
		return nil, err
	}
	defer leave()
	f := &form{Service: s, finishing: finishing{namespace: namespace, id: place.NewID(), user: user}}
	if f.sink, err = s.Places.Sink(s.Places.Upload(namespace, f.id)); err != nil {
		return nil, err
	}
	defer func() { _ = f.sink.Close() }()
	defer func() {
		if err == nil || !f.seen {
			return
		}
		if rerr := f.clear(r.Context()); rerr != nil {
			s.Note(rerr, "remove what is left of an upload that failed")
		}
	}()
	if err := f.receive(w, r, params["boundary"]); err != nil {
		return nil, s.ofBody(err)
	}
	return f.done(r.Context())
}

// clear what is left of a form that failed. Whether its job was made is not known where
// the answer of the cluster was lost: the video of a job that is there stays.
func (f *form) clear(ctx context.Context) error {
	if f.asked {
		job, err := f.Jobs.OfUpload(context.WithoutCancel(ctx), f.namespace, f.id)
		if err != nil || job != nil {
			return err
		}
	}
	return f.remove(ctx, f.namespace, f.id)
}

func (f *form) receive(w http.ResponseWriter, r *http.Request, boundary string) error {
	body, end := f.body(r.Context(), w, r)
	defer end()
	m := &metered{body: body, left: formBytes}
	if err := f.read(r.Context(), m, multipart.NewReader(m, boundary)); err != nil {
		return err
	}
	// What follows the form's end is nothing; it is read so that the body has ended.
	_, err := io.Copy(io.Discard, io.LimitReader(body, formBytes))
	return err //nolint:wrapcheck // ofBody says what it is
}

func (f *form) read(ctx context.Context, meter *metered, m *multipart.Reader) error {
	for range maxFields {
		p, err := m.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && meter.spent() {
			return errFormBytes() // the reader of headers has an error of its own for that
		}
		if err != nil {
			return err //nolint:wrapcheck // ofBody says what it is
		}
		meter.video = p.FormName() == "video" && !f.seen
		if err := f.part(ctx, p); err != nil {
			return err
		}
		if meter.video {
			meter.video, meter.left = false, formBytes
		}
	}
	return problem.New(http.StatusBadRequest, "the form has more than %d fields", maxFields)
}

func (f *form) part(ctx context.Context, p *multipart.Part) error {
	if p.FormName() != "video" {
		value, err := io.ReadAll(io.LimitReader(p, maxField+1))
		switch {
		case err != nil:
			return err //nolint:wrapcheck // ofBody says what it is
		case len(value) > maxField:
			return problem.New(http.StatusBadRequest, "field %.64q is longer than %d bytes", p.FormName(), maxField)
		}
		return f.settings.Set(p.FormName(), string(value))
	}
	if f.seen {
		return problem.New(http.StatusBadRequest, "the form has several videos: send each by itself")
	}
	if f.settings.FileName == "" {
		f.settings.FileName = jobs.CleanName(p.FileName())
	}
	// Before the long part: what is wrong with the fields so far.
	if err := f.Jobs.Try(ctx, f.user, f.namespace, f.settings); err != nil {
		return err
	}
	f.seen = true
	return f.video(ctx, p)
}

// video stores the field. Its size is not known before its end.
func (f *form) video(ctx context.Context, body io.Reader) error {
	buf := make([]byte, pieceSize)
	n, err := fill(body, buf)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case int64(n) > f.MaxBytes:
		return f.tooLarge()
	case n == 0:
		return problem.New(http.StatusBadRequest, "the field video is empty: choose a file")
	case Sniff(buf[:min(n, sniffBytes)]) == "":
		return errNotAVideo()
	case err != nil:
		f.whole, err = putVideo(ctx, f.sink, bytes.NewReader(buf[:n]), int64(n))
		return err
	}
	f.end, err = savePieces(ctx, f.sink, io.MultiReader(bytes.NewReader(buf), body), 0, f.MaxBytes)
	if errors.Is(err, errTooLong) {
		return f.tooLarge()
	}
	return err
}

func (f *form) done(ctx context.Context) (*v1alpha1.PoseJob, error) {
	if !f.seen {
		return nil, problem.New(http.StatusBadRequest, "the form has no field video with a file")
	}
	if f.whole != nil {
		f.asked = true
		// A client that leaves now has sent all: the job is made, or known not to be.
		return f.job(context.WithoutCancel(ctx), f.finishing, f.whole)
	}
	pieces, err := listPieces(ctx, f.sink, f.end)
	if err != nil {
		return nil, err
	}
	if end(pieces) != f.end {
		return nil, problem.Unavailable(errors.New("pieces that were stored are not listed"), "the store")
	}
	f.asked = true
	job, err := f.finish(ctx, f.sink, f.finishing, pieces)
	if err == nil {
		f.removePieces(ctx, f.namespace, f.id)
	}
	return job, err
}

// removePieces of an upload that is complete, those too that were not joined. Those that
// stay are swept with old uploads.
func (s *Service) removePieces(ctx context.Context, namespace, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeFor)
	defer cancel()
	if err := s.Places.Remove(ctx, s.Places.Upload(namespace, id)+"/"+piecesDir); err != nil {
		s.Note(err, "remove the pieces of an upload that is complete")
	}
}
