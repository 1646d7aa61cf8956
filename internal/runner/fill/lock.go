package fill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockFile is locked while a run works. It stays: a run that waits has it open,
	// and would else hold a lock on a file that the next one does not find.
	lockFile  = ".pose-fill.lock"
	lockEvery = time.Second
)

// lock keeps other runs off the volume until unlock, and waits for one that is at
// work: both would replace the record and the digests, and each would take the
// other's folder for a killed run's. held is false where the file system has no
// locks. A process that dies loses its lock.
func (f *filler) lock(ctx context.Context) (unlock func(), held bool, err error) {
	file, err := f.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, false, explain(err)
	}
	unlock = func() { _ = file.Close() }
	tick := time.NewTicker(lockEvery)
	defer tick.Stop()
	for said := false; ; said = true {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return unlock, true, nil
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOLCK):
			fmt.Fprintf(f.Log, "pose-runner: warning: the volume's file system has no locks (%v): let no two runs fill it at once; what killed runs left (%s*) stays\n", err, stagingPrefix)
			return unlock, false, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			unlock()
			return nil, false, err
		}
		if !said {
			fmt.Fprintln(f.Log, "pose-runner: another run fills this volume; waiting for its end")
		}
		select {
		case <-ctx.Done():
			unlock()
			return nil, false, context.Cause(ctx)
		case <-tick.C:
		}
	}
}
