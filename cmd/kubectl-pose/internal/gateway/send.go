package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/place"
)

const (
	// firstBytes go alone: what is wrong with the file is said before the long part,
	// on a connection that nobody has to cut.
	firstBytes = 256 << 10
	// partBytes of each further request. Proxies that keep requests, or bound them,
	// let so much pass, and the gateway says after each how much it has.
	partBytes = 64 << 20
	// patience is how many tries in a row may bring nothing.
	patience = 10
	// maxPause between two tries.
	maxPause = 30 * time.Second
	// stillFor is how long a connection may take nothing.
	stillFor = time.Minute
)

// Watch is told how an upload goes.
type Watch struct {
	// Went is told of bytes as they go, and of less than none where some go again.
	Went func(int64)
	// Had is told of bytes that went before this process.
	Had func(int64)
	// Say is told what a person wants to know meanwhile.
	Say func(format string, args ...any)
}

// Send a video, and give the job that the gateway made of it. The fields are those of
// the gateway's form. A connection that breaks is opened again and goes on where the
// gateway says. With resume it goes on with what an earlier process sent of the same
// content with the same fields, and a later one can go on with this. The job has a
// name, a namespace and a status, and no spec.
func (c *Client) Send(ctx context.Context, u *place.Upload, fields map[string]string, resume bool, w Watch) (*v1alpha1.PoseJob, error) {
	f, err := os.Open(u.Path) //nolint:gosec // the person's own file
	if err != nil {
		return nil, fmt.Errorf("open the video: %w", err)
	}
	defer f.Close()
	s := &sending{Client: c, u: u, file: f, fields: fields, w: w, resume: resume, own: c.noteOf(u, fields)}
	if s.was, err = f.Stat(); err != nil {
		return nil, fmt.Errorf("look at the video: %w", err)
	}
	if resume {
		s.recall(ctx)
	}
	name, err := s.run(ctx)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	c.forget(s.own)
	job, err := c.Job(ctx, name)
	if err != nil {
		// The job is made. Who may not look at it, or has no connection in this
		// moment, is told its name.
		return &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.namespace}}, nil
	}
	return job, nil
}

// sending is one upload under way.
type sending struct {
	*Client
	u      *place.Upload
	file   *os.File
	was    os.FileInfo // when it was opened
	fields map[string]string
	w      Watch
	resume bool
	own    note

	id string
	// at is where the gateway is, if known.
	at    int64
	known bool
	// told is what Went and Had were told of, best the farthest that the gateway was.
	told, best int64
	reached    bool // the gateway has answered
	again      bool // it was begun anew once
	tries      int  // in a row that brought nothing
}

// recall what an earlier process began.
func (s *sending) recall(ctx context.Context) {
	id, old := s.Client.recall(s.own)
	if s.id = id; id != "" || old == nil {
		return
	}
	why := "with other options"
	if old.SHA256 != s.u.SHA256 {
		why = "when its content was another"
	}
	s.w.Say("an upload of %s was begun %s: it begins anew", s.u.Path, why)
	s.terminate(ctx, old.Upload)
	s.forget(*old)
}

// run until there is a job.
func (s *sending) run(ctx context.Context) (job string, err error) {
	for {
		job, err := s.step(ctx)
		var answered *refusal
		s.reached = s.reached || err == nil || errors.As(err, &answered)
		switch {
		case job != "":
			return job, nil
		case err == nil:
			continue
		case ctx.Err() != nil:
			return "", err
		case s.id != "" && gone(err) && !s.again:
			s.w.Say("the gateway does not have the upload of %s any more: it begins anew", s.u.Path)
			s.begin()
			continue
		case !s.reached, final(err) && (s.id == "" || !s.known || !brokeOff(err)):
			return "", err
		}
		s.known = false
		if s.tries++; s.tries > patience {
			return "", fmt.Errorf("%w; given up after %d tries", err, patience)
		}
		if err := s.pause(ctx, err); err != nil {
			return "", err
		}
	}
}

// begin anew with an upload that the gateway does not know.
func (s *sending) begin() {
	s.forget(s.own)
	s.again, s.id, s.known, s.tries, s.best = true, "", false, 0, 0
	s.w.Went(-s.told)
	s.told = 0
}

// step is one request.
func (s *sending) step(ctx context.Context) (job string, err error) {
	switch {
	case s.id == "":
		return "", s.create(ctx)
	case !s.known:
		at, err := s.stands(ctx, s.id, s.u.Size)
		if err != nil {
			return "", err
		}
		return s.stood(at)
	}
	if err := s.unchanged(); err != nil {
		return "", err
	}
	n := min(s.u.Size-s.at, s.part)
	if s.at == 0 {
		n = min(n, firstBytes)
	}
	at, err := s.patch(ctx, s.id, s.file, s.at, n, s.u.Size, func(k int64) {
		s.told += k
		s.w.Went(k)
	})
	if err != nil {
		return "", err
	}
	return s.stood(at)
}

func (s *sending) create(ctx context.Context) error {
	if err := s.unchanged(); err != nil {
		return err
	}
	id, expires, err := s.Client.create(ctx, s.u, s.fields)
	if err != nil {
		return err
	}
	s.id, s.known, s.at = id, true, 0
	if !s.resume {
		return nil
	}
	n := s.own
	n.Upload, n.Expires = id, expires
	if err := s.remember(n); err != nil {
		s.w.Say("if this command ends before the upload does, it cannot go on: %v", err)
	}
	return nil
}

// stood takes what the gateway says: that counts, and not what was sent.
func (s *sending) stood(at standing) (job string, err error) {
	if at.offset > s.best {
		s.best, s.tries = at.offset, 0
	}
	switch ahead := at.offset - s.told; {
	case s.told == 0 && ahead > 0:
		s.w.Had(ahead)
	case ahead != 0:
		s.w.Went(ahead)
	}
	s.told, s.at, s.known = at.offset, at.offset, true
	if at.job == "" && at.offset == s.u.Size {
		return "", s.foreign() // the end counts with its job only
	}
	return at.job, nil
}

// errChanged is the error of a file that is not what it was.
var errChanged = errors.New("the file changed while it was sent: is it still being written?")

// unchanged looks whether the file is still the one whose digest was computed.
func (s *sending) unchanged() error {
	now, err := os.Stat(s.u.Path)
	if err != nil {
		return &unreadable{fmt.Errorf("look at the video: %w", err)}
	}
	if now.Size() != s.u.Size || !now.ModTime().Equal(s.was.ModTime()) || !os.SameFile(now, s.was) {
		return &unreadable{fmt.Errorf("%s: %w", s.u.Path, errChanged)}
	}
	return nil
}

// pause before another try: longer from try to try, and not all who lost the same
// gateway at once.
func (s *sending) pause(ctx context.Context, err error) error {
	d := min(time.Second<<(s.tries-1), maxPause)
	d = d/2 + rand.N(d/2+1) //nolint:gosec // no secret
	var r *refusal
	if errors.As(err, &r) {
		d = max(d, r.after)
	}
	s.w.Say("%s at %s: %v; goes on in %s", s.u.Path, percent(s.best, s.u.Size), err, d.Round(100*time.Millisecond))
	if err := s.wait(ctx, d); err != nil {
		return fmt.Errorf("wait for another try: %w", err)
	}
	return nil
}

func percent(n, of int64) string {
	if of <= 0 {
		return "0%"
	}
	return fmt.Sprintf("%d%%", int(float64(n)/float64(of)*100))
}

// failed says what can be done about an upload that ended without a job.
func (s *sending) failed(ctx context.Context, err error) error {
	switch {
	case s.id == "":
	case errors.Is(err, errChanged), !s.resume:
		// Nobody can go on with it.
		s.terminate(ctx, s.id)
		s.forget(s.own)
	case final(err) && exit.Code(err) == exit.Usage, gone(err):
		s.forget(s.own) // the gateway refuses the video itself, or has lost it
	case s.best > 0:
		err = fmt.Errorf("%w; the gateway has %s of it, and the same command goes on from there", err, percent(s.best, s.u.Size))
	default:
		err = fmt.Errorf("%w; the same command goes on with it", err)
	}
	if ctx.Err() != nil {
		return exit.With(exit.Interrupted, fmt.Errorf("interrupted: %w", err))
	}
	return err
}
