package exec

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// waited is the end of a child, or why it is not known.
type waited struct {
	end end
	err error
}

// children of this process.
var children = &reaper{waiting: map[int]chan<- waited{}}

// reaper waits for children. As PID 1 a process gets all orphans of the
// container too: it waits for any child, and who else waited would lose his. So
// one place waits for all.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan<- waited
	running bool
}

// spawn makes a child and gives the channel on which its end comes, once.
func (r *reaper) spawn(fork func() (int, error)) (int, <-chan waited, error) {
	c := make(chan waited, 1)
	if os.Getpid() != 1 {
		pid, err := fork()
		if err == nil {
			go func() {
				_, w := wait(pid)
				c <- w
			}()
		}
		return pid, c, err
	}
	// The lock is held over the fork: the end of a child that nobody is known to
	// wait for would be dropped.
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := fork()
	if err != nil {
		return pid, nil, err
	}
	r.waiting[pid] = c
	if !r.running {
		r.running = true
		go r.reap()
	}
	return pid, c, nil
}

// reap runs while somebody waits.
func (r *reaper) reap() {
	for {
		pid, w := wait(-1)
		r.mu.Lock()
		if w.err != nil { // there are no children at all
			for p, c := range r.waiting {
				c <- w
				delete(r.waiting, p)
			}
		}
		if c, ok := r.waiting[pid]; ok {
			c <- w
			delete(r.waiting, pid)
		}
		if len(r.waiting) == 0 {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
	}
}

// wait blocks until the child pid ends, or any child for -1.
func wait(pid int) (int, waited) {
	for {
		var e end
		var usage syscall.Rusage
		got, err := syscall.Wait4(pid, &e.status, 0, &usage)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return -1, waited{err: fmt.Errorf("wait for the engine: %w", err)}
		default:
			e.maxRSS = usage.Maxrss * 1024
			return got, waited{end: e}
		}
	}
}
