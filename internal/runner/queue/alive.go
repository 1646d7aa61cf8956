package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
)

const (
	// poll is the pause between two looks at what another container did.
	poll = 100 * time.Millisecond
	// watch is the pause between two looks at whether another container lives.
	watch = time.Second
	// patience bounds the wait for a container to appear at all: its image may have
	// to be pulled.
	patience = 30 * time.Minute
)

// GoneError says that a container has ended whose work was awaited.
type GoneError struct {
	Role report.Role
	// Never says that it did not even start.
	Never bool
}

// Error names the container.
func (e *GoneError) Error() string {
	if e.Never {
		return fmt.Sprintf("the container %s did not start within %s", e.Role, patience)
	}
	return fmt.Sprintf("the container %s has ended", e.Role)
}

// held keeps the locks of this process: a file that nobody refers to is closed.
var held []*os.File

func (q *Queue) alive(role report.Role) string {
	return filepath.Join(q.dir, ".alive-"+string(role))
}

// Hold says that a role works, until its process ends.
//
// It is a record lock, which takes a descriptor that is open for writing: who may
// only read the folder can neither hold one in the place of a role that is dead nor
// keep one that lives from holding its own.
func (q *Queue) Hold(role report.Role) error {
	path := q.alive(role)
	f, err := os.OpenFile(path+".part", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("say that %s works: %w", role, err)
	}
	held = append(held, f)
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	lockErr := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock)
	// Without a lock too: nobody is to wait for who cannot say that he lives.
	err = errors.Join(os.Chmod(path+".part", 0o644), os.Rename(path+".part", path))
	if lockErr != nil {
		err = fmt.Errorf("lock it: %w (does the volume's file system have record locks?)", lockErr)
	}
	if err != nil {
		return fmt.Errorf("say that %s works: %w", role, err)
	}
	return nil
}

// Started says whether a role has begun to work.
func (q *Queue) Started(role report.Role) bool { return there(q.alive(role)) }

// gone says that nothing more comes from a role; nil while it may.
func (q *Queue) gone(role report.Role) error {
	f, err := os.Open(q.alive(role))
	if errors.Is(err, fs.ErrNotExist) {
		if time.Since(q.from) > patience {
			return &GoneError{Role: role, Never: true}
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("look whether %s works: %w", role, err)
	}
	defer f.Close()
	// Asks only: a read lock could be had where no write lock is held.
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return fmt.Errorf("look whether %s works: %w", role, err)
	}
	if lock.Type == unix.F_UNLCK {
		return &GoneError{Role: role}
	}
	return nil
}

// Await waits until ok, or gives a *GoneError when role has ended and it is not, or
// the cause of ctx.
func (q *Queue) Await(ctx context.Context, role report.Role, ok func() bool) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		// In this order: what a role did before it ended is seen after.
		err := q.gone(role)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case ok():
			return nil
		case err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// While gives a context that ends, with a *GoneError as its cause, when role has
// ended.
func (q *Queue) While(ctx context.Context, role report.Role) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(watch)
		defer tick.Stop()
		for {
			if err := q.gone(role); err != nil {
				cancel(err)
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}
