package upload

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/jobs"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/place"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// Headers of tus.
const (
	tusVersion     = "1.0.0"
	hResumable     = "Tus-Resumable"
	hOffset        = "Upload-Offset"
	hLength        = "Upload-Length"
	hMetadata      = "Upload-Metadata"
	hExpires       = "Upload-Expires"
	hJob           = "Pose-Job-Id"
	patchMediaType = "application/offset+octet-stream"
)

const (
	stateFile   = "upload.json"
	maxState    = 64 << 10
	maxMetadata = 4 << 10
)

// state of a resumable upload, beside its pieces.
type state struct {
	Owner    string        `json:"owner"`
	Length   int64         `json:"length"`
	Settings jobs.Settings `json:"settings"`
	Created  time.Time     `json:"created"`
	Expires  time.Time     `json:"expires"`
	// Job that it became.
	Job string `json:"job,omitempty"`
}

// Describe answers OPTIONS.
func (s *Service) Describe(w http.ResponseWriter) {
	h := w.Header()
	h.Set(hResumable, tusVersion)
	h.Set("Tus-Version", tusVersion)
	h.Set("Tus-Extension", "creation,termination,expiration")
	h.Set("Tus-Max-Size", strconv.FormatInt(s.MaxBytes, 10))
	w.WriteHeader(http.StatusNoContent)
}

func speaksTus(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set(hResumable, tusVersion)
	if r.Header.Get(hResumable) != tusVersion {
		w.Header().Set("Tus-Version", tusVersion)
		return problem.New(http.StatusPreconditionFailed, "the header %s must be %s", hResumable, tusVersion)
	}
	return nil
}

// number of a header: decimal digits alone, as tus has it.
func number(r *http.Request, header string) (int64, error) {
	v := r.Header.Get(header)
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil || len(r.Header.Values(header)) != 1 {
		return 0, problem.New(http.StatusBadRequest, "the header %s is %.32q: it must be a number of bytes", header, v)
	}
	return int64(n), nil
}

// Create a resumable upload.
func (s *Service) Create(w http.ResponseWriter, r *http.Request, user *auth.User, namespace string) error {
	if err := speaksTus(w, r); err != nil {
		return err
	}
	length, err := number(r, hLength)
	switch {
	case err != nil:
		return err
	case length == 0:
		return problem.New(http.StatusBadRequest, "the video is empty: choose another file")
	case length > s.MaxBytes:
		return s.tooLarge()
	}
	settings, err := parseMetadata(r.Header.Get(hMetadata))
	if err != nil {
		return err
	}
	if err := s.Jobs.Try(r.Context(), user, namespace, *settings); err != nil {
		return err
	}
	id, now := place.NewID(), s.Now().UTC().Truncate(time.Second)
	st := &state{Owner: user.Name, Length: length, Settings: *settings, Created: now, Expires: now.Add(s.Expires)}
	sink, err := s.Places.Sink(s.Places.Upload(namespace, id))
	if err != nil {
		return err
	}
	defer func() { _ = sink.Close() }()
	if err := st.save(r.Context(), sink); err != nil {
		return err
	}
	w.Header().Set("Location", "/api/pose/uploads/"+id)
	w.Header().Set(hExpires, st.Expires.Format(http.TimeFormat))
	w.WriteHeader(http.StatusCreated)
	return nil
}

func parseMetadata(header string) (*jobs.Settings, error) {
	var s jobs.Settings
	if len(header) > maxMetadata {
		return nil, problem.New(http.StatusBadRequest, "the header %s is longer than %d bytes", hMetadata, maxMetadata)
	}
	if strings.TrimSpace(header) == "" {
		return &s, nil
	}
	for pair := range strings.SplitSeq(header, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), " ")
		raw, err := base64.StdEncoding.DecodeString(value)
		if err != nil || key == "" {
			return nil, problem.New(http.StatusBadRequest, "the header %s must be pairs of a key and a base64 value, separated by commas", hMetadata)
		}
		if err := s.Set(key, string(raw)); err != nil {
			return nil, err
		}
	}
	return &s, nil
}

func (st *state) save(ctx context.Context, sink storage.Sink) error {
	raw, err := json.Marshal(st)
	if err != nil {
		return problem.Because(err, http.StatusInternalServerError, "the service failed")
	}
	return place.Failure(sink.Put(ctx, storage.Object{Key: stateFile, Size: int64(len(raw)), MediaType: "application/json"}, bytes.NewReader(raw)))
}

// open an upload of this user; close the sink after use.
func (s *Service) open(ctx context.Context, user *auth.User, namespace, id string) (storage.Sink, *state, error) {
	none := problem.New(http.StatusNotFound, "there is no upload %.64q of yours: begin a new one", id)
	if !place.ValidID(id) {
		return nil, nil, none
	}
	sink, err := s.Places.Sink(s.Places.Upload(namespace, id))
	if err != nil {
		return nil, nil, err
	}
	raw, _, err := sink.Get(ctx, stateFile, maxState)
	var st state
	if err == nil && json.Unmarshal(raw, &st) != nil {
		err = errors.New("upload.json is broken")
	}
	switch {
	case storage.KindOf(err) == storage.NotFound, err == nil && st.Owner != user.Name:
		_ = sink.Close()
		return nil, nil, none
	case err != nil:
		_ = sink.Close()
		return nil, nil, place.Failure(err)
	case st.Job == "" && s.Now().After(st.Expires):
		defer func() { _ = sink.Close() }()
		if done, err := s.became(ctx, sink, &st, namespace, id); err != nil {
			return nil, nil, err
		} else if done {
			return nil, nil, problem.New(http.StatusGone, "the upload is complete: it is job %s", st.Job)
		}
		if err := s.remove(ctx, namespace, id); err != nil {
			s.Note(err, "remove an upload that has expired")
		}
		return nil, nil, problem.New(http.StatusGone, "the upload has expired: begin a new one")
	}
	return sink, &st, nil
}

// became says whether an upload is a job already, although nobody wrote that down: then
// its video is the job's, and is not removed with the upload.
func (s *Service) became(ctx context.Context, sink storage.Sink, st *state, namespace, id string) (bool, error) {
	job, err := s.Jobs.OfUpload(ctx, namespace, id)
	if err != nil || job == nil {
		return false, err
	}
	st.Job = job.Name
	return true, st.save(context.WithoutCancel(ctx), sink)
}

// tell how far an upload is. Its end counts only when its job exists: until then the
// last piece is asked for again, whose arrival finishes the upload.
func (st *state) tell(h http.Header, pieces []piece) int64 {
	offset := end(pieces)
	switch {
	case st.Job != "":
		offset = st.Length
		h.Set(hJob, st.Job)
	case offset >= st.Length:
		offset = pieces[len(pieces)-1].offset
	}
	h.Set(hOffset, strconv.FormatInt(offset, 10))
	h.Set(hLength, strconv.FormatInt(st.Length, 10))
	h.Set("Cache-Control", "no-store")
	if st.Job == "" {
		h.Set(hExpires, st.Expires.Format(http.TimeFormat))
	}
	return offset
}

// Head says how far an upload is.
func (s *Service) Head(w http.ResponseWriter, r *http.Request, user *auth.User, namespace, id string) error {
	if err := speaksTus(w, r); err != nil {
		return err
	}
	sink, st, err := s.open(r.Context(), user, namespace, id)
	if err != nil {
		return err
	}
	defer func() { _ = sink.Close() }()
	var pieces []piece
	if st.Job == "" {
		if pieces, err = listPieces(r.Context(), sink, st.Length); err != nil {
			return err
		}
	}
	st.tell(w.Header(), pieces)
	w.WriteHeader(http.StatusOK)
	return nil
}

// lockKey has the user in it: whoever's upload it is not has a lock of their own, and
// asks no request of the owner to end before it is known whose it is.
func lockKey(user *auth.User, namespace, id string) string {
	return namespace + "/" + id + "/" + user.Name
}

// Patch takes bytes of an upload, and with its last ones makes the job.
func (s *Service) Patch(w http.ResponseWriter, r *http.Request, user *auth.User, namespace, id string) error {
	if err := speaksTus(w, r); err != nil {
		return err
	}
	if r.Header.Get("Content-Type") != patchMediaType {
		return problem.New(http.StatusUnsupportedMediaType, "the header Content-Type must be %s", patchMediaType)
	}
	offset, err := number(r, hOffset)
	if err != nil {
		return err
	}
	leave, err := enter(s.Sending)
	if err != nil {
		return err
	}
	leave = sync.OnceFunc(leave)
	defer leave()
	ctx, unlock, err := s.locks.lock(r.Context(), lockKey(user, namespace, id))
	if err != nil {
		return err
	}
	defer unlock()
	sink, st, err := s.open(ctx, user, namespace, id)
	if err != nil {
		return err
	}
	defer func() { _ = sink.Close() }()
	if st.Job == "" {
		if err := s.receive(ctx, w, r, sink, st, offset); err != nil {
			return err
		}
	}
	leave() // what follows waits for a place among those who join
	return s.complete(ctx, w, sink, st, finishing{namespace: namespace, id: id, user: user, settings: st.Settings, resumable: true})
}

// receive the bytes of one request.
func (s *Service) receive(ctx context.Context, w http.ResponseWriter, r *http.Request, sink storage.Sink, st *state, offset int64) error {
	pieces, err := listPieces(ctx, sink, st.Length)
	if err != nil {
		return err
	}
	if want := st.tell(w.Header(), pieces); offset != want {
		return problem.New(http.StatusConflict, "the upload goes on at byte %d and not at %d: ask by HEAD", want, offset)
	}
	if int64(len(pieces)) > st.Length/pieceSize+sparePieces {
		return problem.New(http.StatusConflict, "the upload came in too many small pieces: begin a new one, and send at least some MiB at a time")
	}
	if r.ContentLength > st.Length-offset {
		return problem.New(http.StatusRequestEntityTooLarge, "%d bytes come and the upload lacks %d: is it another file than before?", r.ContentLength, st.Length-offset)
	}
	body, done := s.body(ctx, w, r)
	defer done()
	_, err = savePieces(ctx, sink, body, offset, st.Length)
	switch {
	case errors.Is(err, errTooLong):
		return problem.New(http.StatusRequestEntityTooLarge, "more bytes came than the upload lacks: is it another file than before?")
	case err != nil:
		return s.ofBody(err)
	}
	return nil
}

// complete an upload whose pieces are all there, and answer how far it is.
func (s *Service) complete(ctx context.Context, w http.ResponseWriter, sink storage.Sink, st *state, f finishing) error {
	var pieces []piece
	if st.Job == "" {
		var err error
		if pieces, err = listPieces(ctx, sink, st.Length); err != nil {
			return err
		}
		if end(pieces) == st.Length {
			job, err := s.finish(ctx, sink, f, pieces)
			// What was begun goes on when the client is gone: HEAD tells it later.
			ctx = context.WithoutCancel(ctx)
			if err != nil {
				return s.giveUp(ctx, f, err)
			}
			st.Job = job.Name
			if err := st.save(ctx, sink); err != nil {
				return err
			}
			s.removePieces(ctx, f.namespace, f.id)
		}
	}
	st.tell(w.Header(), pieces)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// giveUp what is no video, or another than was announced: it stays nowhere, for no
// repetition mends it. Anything else may be tried again.
func (s *Service) giveUp(ctx context.Context, f finishing, err error) error {
	if problem.Of(err).Status == http.StatusUnsupportedMediaType || errors.Is(err, errOtherVideo) {
		if rerr := s.remove(ctx, f.namespace, f.id); rerr != nil {
			s.Note(rerr, "remove an upload that is no video")
		}
	}
	return err
}

// Terminate an upload that is not complete.
func (s *Service) Terminate(w http.ResponseWriter, r *http.Request, user *auth.User, namespace, id string) error {
	if err := speaksTus(w, r); err != nil {
		return err
	}
	ctx, unlock, err := s.locks.lock(r.Context(), lockKey(user, namespace, id))
	if err != nil {
		return err
	}
	defer unlock()
	sink, st, err := s.open(ctx, user, namespace, id)
	if err != nil {
		return err
	}
	defer func() { _ = sink.Close() }()
	if st.Job == "" {
		if _, err := s.became(ctx, sink, st, namespace, id); err != nil {
			return err
		}
	}
	if st.Job != "" {
		return problem.New(http.StatusConflict, "the upload is complete: delete job %s, and the video goes with it", st.Job)
	}
	if err := s.remove(ctx, namespace, id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
