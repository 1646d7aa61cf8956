// Package upload brings videos into the store: at once as multipart/form-data, or
// resumable by tus 1.0.0 (https://tus.io/protocols/resumable-upload).
//
// Memory is bounded whatever the size: one piece for each request that sends, some
// parts for each that is joined, and a bound on how many do.
package upload

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/jobs"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/place"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// Service takes videos.
type Service struct {
	Places *place.Places
	Jobs   *jobs.Service
	Now    func() time.Time
	// MaxBytes of a video.
	MaxBytes int64
	// Expires is how long a resumable upload may take.
	Expires time.Duration
	// Sending bounds requests that send bytes at a time, Joining those that join pieces.
	Sending, Joining chan struct{}
	// Pace that a client must keep.
	Pace Pace
	// Received is told of bytes as they come, Note of what failed and changes nothing.
	Received func(bytes int)
	Note     func(err error, what string)

	locks locks
}

// finishing is what a job is made of beside its video.
type finishing struct {
	namespace, id string
	user          *auth.User
	settings      jobs.Settings
	resumable     bool // it has a state beside its pieces
}

func (s *Service) tooLarge() error {
	return problem.New(http.StatusRequestEntityTooLarge, "the video is larger than the %d bytes that this service takes: cut it, or encode it smaller", s.MaxBytes)
}

// enter a bounded place, or say that there is none.
func enter(c chan struct{}) (func(), error) {
	select {
	case c <- struct{}{}:
		return func() { <-c }, nil
	default:
		p := problem.New(http.StatusTooManyRequests, "too many uploads are under way: try again in a moment")
		p.RetryAfter = 5 * time.Second
		return nil, p
	}
}

// await a bounded place.
func await(ctx context.Context, c chan struct{}) (func(), error) {
	select {
	case c <- struct{}{}:
		return func() { <-c }, nil
	case <-ctx.Done():
		return nil, place.Failure(ctx.Err())
	}
}

// finish makes of pieces a video, and of that a job.
func (s *Service) finish(ctx context.Context, sink storage.Sink, f finishing, pieces []piece) (*v1alpha1.PoseJob, error) {
	leave, err := await(ctx, s.Joining)
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx = context.WithoutCancel(ctx)
	v, err := join(ctx, sink, pieces)
	if err != nil {
		return nil, err
	}
	if _, _, err := sink.Get(ctx, stateFile, maxState); f.resumable && storage.KindOf(err) == storage.NotFound {
		// Somebody removed the upload while it was joined.
		if rerr := s.remove(ctx, f.namespace, f.id); rerr != nil {
			s.Note(rerr, "remove an upload that was given up")
		}
		return nil, problem.New(http.StatusGone, "the upload was removed: begin a new one")
	}
	return s.job(ctx, f, v)
}

// errOtherVideo says that the whole video is another than was announced.
var errOtherVideo = errors.New("another digest than was announced")

func (s *Service) job(ctx context.Context, f finishing, v *joined) (*v1alpha1.PoseJob, error) {
	if want := f.settings.SHA256; want != "" && want != v.sha256 {
		return nil, problem.Because(errOtherVideo, http.StatusUnprocessableEntity, "the video arrived with the sha256 %s and not the one that was announced: send it again", v.sha256)
	}
	// The job's pods then check that they get what was sent here.
	f.settings.SHA256 = v.sha256
	return s.Jobs.Create(ctx, f.user, f.namespace, f.id, s.Places.Upload(f.namespace, f.id)+"/"+v.key, f.settings)
}

// removeFor bounds clearing up, which goes on when the client is gone.
const removeFor = time.Minute

func (s *Service) remove(ctx context.Context, namespace, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeFor)
	defer cancel()
	return s.Places.Remove(ctx, s.Places.Upload(namespace, id))
}

// ofBody says what a failure while reading a request's body is.
func (s *Service) ofBody(err error) error {
	var (
		p   *problem.Problem
		max *http.MaxBytesError
	)
	switch {
	case errors.As(err, &p):
		return err
	case errors.As(err, &max):
		return s.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem.Because(err, http.StatusRequestTimeout, "the bytes came too slowly: go on where HEAD of a resumable upload says, or try again with a better connection")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return problem.Because(err, http.StatusBadRequest, "the request's body ended too early: send it again")
	}
	return problem.Because(err, http.StatusBadRequest, "the request's body broke off or is not well formed: send it again")
}

// locks let one request at a time work on an upload in this process. A newer one asks
// the older to end: that is mostly one whose client is gone.
type locks struct {
	mu   sync.Mutex
	held map[string]*holder
}

type holder struct {
	ask  context.CancelFunc
	done chan struct{}
}

// lockFor is how long a request waits for an older one.
const lockFor = 3 * time.Second

func (l *locks) lock(ctx context.Context, key string) (context.Context, func(), error) {
	until := time.NewTimer(lockFor)
	defer until.Stop()
	for {
		l.mu.Lock()
		h := l.held[key]
		if h == nil {
			own, cancel := context.WithCancel(ctx)
			h = &holder{ask: cancel, done: make(chan struct{})}
			if l.held == nil {
				l.held = map[string]*holder{}
			}
			l.held[key] = h
			l.mu.Unlock()
			return own, func() {
				l.mu.Lock()
				delete(l.held, key)
				l.mu.Unlock()
				cancel()
				close(h.done)
			}, nil
		}
		l.mu.Unlock()
		h.ask()
		select {
		case <-h.done:
		case <-until.C:
			return nil, nil, problem.New(http.StatusLocked, "another request works on this upload: ask again in a moment")
		case <-ctx.Done():
			return nil, nil, place.Failure(ctx.Err())
		}
	}
}
