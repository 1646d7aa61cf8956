package runner_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watcher tells of changes to the folders below a folder.
type watcher struct {
	t   *testing.T
	fd  int
	end chan struct{}
	dir map[int32]string
	// pending changes that next has not told of.
	pending int
}

const watched = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE

func newWatcher(t *testing.T, dir string) *watcher {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Skipf("SKIPPED: inotify: %v", err)
	}
	w := &watcher{t: t, fd: fd, end: make(chan struct{}), dir: map[int32]string{}}
	t.Cleanup(func() { unix.Close(fd) })
	w.add(dir)
	return w
}

func (w *watcher) add(dir string) {
	id, err := unix.InotifyAddWatch(w.fd, dir, watched)
	if err == nil {
		w.dir[int32(id)] = dir
	}
}

func (w *watcher) stop() { close(w.end) }

// next waits for a change; false when there will be none.
func (w *watcher) next() bool {
	for w.pending == 0 {
		buf := make([]byte, 4096)
		if n, err := unix.Read(w.fd, buf); err == nil {
			w.take(buf[:n])
			continue
		}
		select {
		case <-w.end:
			return false
		case <-time.After(100 * time.Microsecond):
		}
	}
	w.pending--
	return true
}

// take events, and watch folders that were made.
func (w *watcher) take(buf []byte) {
	for len(buf) >= unix.SizeofInotifyEvent {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&buf[0]))
		end := unix.SizeofInotifyEvent + int(e.Len)
		name := string(bytes.TrimRight(buf[unix.SizeofInotifyEvent:end], "\x00"))
		buf = buf[end:]
		w.pending++
		if e.Mask&unix.IN_ISDIR == 0 {
			continue
		}
		path := filepath.Join(w.dir[e.Wd], name)
		w.add(path)
		if entries, _ := os.ReadDir(path); len(entries) > 0 { // made before we watched
			w.add(filepath.Join(path, entries[0].Name()))
		}
	}
}
