package exec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

// sendTimeout bounds one write to a peer: a slow one is dropped.
const sendTimeout = 2 * time.Second

// server gives every peer on the socket the newest report, as lines of JSON.
// Peers only read. The end of the connection is the end of the engine, however
// it came about: the kernel closes it even when this process is killed.
type server struct {
	listener *net.UnixListener
	mu       sync.Mutex
	latest   []byte
	version  int
	changed  chan struct{} // closed and replaced when there is a newer one
	ended    bool
	peers    sync.WaitGroup
}

// serve starts to listen at path.
func serve(path string) (*server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	l, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("listen for deliver on %s: %w (is the pod's run volume writable for the engine's user? set fsGroup)", path, err)
	}
	// deliver runs as another user of the pod's group.
	if err := os.Chmod(path, 0o660); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("open the socket to the pod's group: %w", err)
	}
	s := &server{listener: l, changed: make(chan struct{})}
	go s.accept()
	return s, nil
}

// listen works for paths that are longer than a socket's name may be, too.
func listen(path string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil || len(path) < 108 {
		return l, err
	}
	dir, derr := os.Open(filepath.Dir(path))
	if derr != nil {
		return nil, derr
	}
	defer dir.Close()
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	l, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err == nil {
		l.SetUnlinkOnClose(false)
	}
	return l, err
}

func (s *server) accept() {
	for {
		c, err := s.listener.AcceptUnix()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.ended {
			s.mu.Unlock()
			_ = c.Close()
			return
		}
		s.peers.Add(1)
		s.mu.Unlock()
		go s.feed(c)
	}
}

// feed sends one peer each report that is newer than its last.
func (s *server) feed(c *net.UnixConn) {
	defer s.peers.Done()
	defer func() { _ = c.Close() }()
	sent := 0
	for {
		s.mu.Lock()
		line, version, changed, ended := s.latest, s.version, s.changed, s.ended
		s.mu.Unlock()
		if version > sent {
			sent = version
			_ = c.SetWriteDeadline(time.Now().Add(sendTimeout))
			if _, err := c.Write(line); err != nil {
				return
			}
			continue
		}
		if ended {
			return
		}
		<-changed
	}
}

// publish makes r the newest report.
func (s *server) publish(r report.EngineReport) {
	b, err := json.Marshal(r)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b = append(b, '\n')
	s.latest, s.version = b, s.version+1
	close(s.changed)
	s.changed = make(chan struct{})
}

// close sends the last report to all peers and ends. The socket's file stays:
// it tells a late deliver that the engine has been here.
func (s *server) close() {
	s.listener.SetUnlinkOnClose(false)
	_ = s.listener.Close()
	s.mu.Lock()
	s.ended = true
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	s.peers.Wait()
}
