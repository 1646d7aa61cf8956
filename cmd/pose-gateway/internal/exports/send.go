package exports

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/internal/export"
)

// serve makes an export and sends it while it is made. An error before the first byte is
// an answer; a later one is the caller's to break the connection for.
func (s *Service) serve(w http.ResponseWriter, r *http.Request, job *v1alpha1.PoseJob, format, name string) error {
	f, err := export.Find(format)
	if err != nil {
		return problem.Because(err, http.StatusNotFound, "there is no such format: /api/pose/jobs/%s/results lists them", job.Name)
	}
	o, err := options(r.URL.Query())
	if err != nil {
		return err
	}
	listed, err := s.Media.Found(r.Context(), job)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Limits.Time)
	defer cancel()
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	res := s.result(job, listed)
	h := s.head(ctx, res)
	if res.pose != nil && h.unread != "" {
		h = head{threeD: true} // reading all of it will tell more
	}
	if why := s.unfit(res, f, h); why != "" {
		return problem.New(http.StatusUnprocessableEntity, "%s", why)
	}
	header(w.Header(), name)
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	ready, err := s.open(ctx, res, f)
	if err != nil {
		return late(ctx, err)
	}
	defer ready.Close()
	o.Progress = func(int64, int64) error { return ctx.Err() }
	return s.send(ctx, w, ready.source, f, o, strings.TrimSuffix(name, ".zip"))
}

func header(h http.Header, name string) {
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
}

// send writes the files of an export as a zip, in one folder.
func (s *Service) send(ctx context.Context, w io.Writer, src *export.Source, f export.Format, o export.Options, folder string) error {
	p := newPack(timed{ctx, w}, folder, s.Dir, s.Limits.Bytes)
	defer p.Close()
	if err := export.Export(src, f, o, p.create); err != nil {
		return unusable(ctx, err)
	}
	if p.count == 0 {
		return problem.New(http.StatusUnprocessableEntity, "nobody was seen in the video: there is nothing to write in this format")
	}
	return late(ctx, p.end())
}

// timed takes nothing more once the export's time is over: a client that reads slowly
// does not keep others waiting for longer.
type timed struct {
	ctx context.Context //nolint:containedctx // io.Writer has none
	to  io.Writer
}

func (t timed) Write(p []byte) (int, error) {
	if err := t.ctx.Err(); err != nil {
		return 0, err //nolint:wrapcheck // late looks for it
	}
	return t.to.Write(p) //nolint:wrapcheck // the connection's own error
}

const (
	maxPeople = 100
	maxQuery  = 2000
)

// options of a query: person, captureFPS.
func options(q url.Values) (export.Options, error) {
	var o export.Options
	if q.Has("person") {
		text := q.Get("person")
		ids := strings.Split(text[:min(len(text), maxQuery)], ",")
		if len(ids) > maxPeople || len(text) > maxQuery {
			return o, problem.New(http.StatusBadRequest, "person has more than %d ids: leave it out for everybody", maxPeople)
		}
		for _, id := range ids {
			n, err := strconv.ParseInt(id, 10, 64)
			if err != nil || n < 0 {
				return o, problem.New(http.StatusBadRequest, "person must be ids of people, as 1,2: %.32q is none", id)
			}
			o.People = append(o.People, n)
		}
	}
	if q.Has("captureFPS") {
		v, err := strconv.ParseFloat(q.Get("captureFPS"), 64)
		if err != nil || !(v > 0 && v <= 1e6) {
			return o, problem.New(http.StatusBadRequest, "captureFPS must be frames a second, more than 0 and at most 1000000")
		}
		o.CaptureFPS = v
	}
	return o, nil
}

// maxTold bounds what a client is told of a file's fault.
const maxTold = 500

// unusable is what a client is told of an error of internal/export. Its own are about
// what the result holds or was asked for; those of this machine are not told.
func unusable(ctx context.Context, err error) error {
	var local *os.PathError
	if ctx.Err() != nil || errors.As(err, &local) {
		return late(ctx, err)
	}
	text := err.Error()
	if len(text) > maxTold {
		text = strings.ToValidUTF8(text[:maxTold], "") + "..."
	}
	return problem.Because(err, http.StatusUnprocessableEntity, "the result cannot be exported: %s", text)
}

// late says that an export took too long, where it did.
func late(ctx context.Context, err error) error {
	if err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	p := problem.Because(err, http.StatusServiceUnavailable, "the export took longer than this service gives it: download the result and use kubectl pose export, or try again when there is less to do")
	p.RetryAfter = time.Minute
	return p
}
