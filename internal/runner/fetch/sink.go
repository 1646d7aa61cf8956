package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
)

// dirtyStep is how much is written before the kernel is told to bring it to disk.
// What is not there yet is memory of the container, which has little.
const dirtyStep = 8 << 20

// sink writes, hashes and counts.
type sink struct {
	file  *os.File
	push  func(report.Progress)
	done  int64
	total int64
	// flushed is where the last write-back that was asked for ends.
	flushed int64

	// One chunk is hashed while it is written.
	chunks chan []byte
	hashed chan struct{}
	digest chan string
}

func newSink(f *os.File, push func(report.Progress)) *sink {
	s := &sink{file: f, push: push, chunks: make(chan []byte), hashed: make(chan struct{}), digest: make(chan string, 1)}
	go func() {
		h := sha256.New()
		for chunk := range s.chunks {
			h.Write(chunk)
			s.hashed <- struct{}{}
		}
		s.digest <- hex.EncodeToString(h.Sum(nil))
	}()
	return s
}

func (s *sink) Write(p []byte) (int, error) {
	s.chunks <- p
	n, err := s.file.Write(p)
	<-s.hashed // p is the caller's again
	s.done += int64(n)
	if err == nil {
		err = s.flush()
	}
	if s.push != nil {
		s.push(report.Progress{Stage: report.StageFetch, Bytes: s.done, TotalBytes: s.total})
	}
	return n, err
}

// close gives the digest of what was written, which is of use only where no write
// failed.
func (s *sink) close() string {
	close(s.chunks)
	return <-s.digest
}

// flush starts to bring to disk what was written, and waits for what was written
// before that. A file system that cannot do so does it in its own way.
func (s *sink) flush() error {
	if s.done-s.flushed < dirtyStep {
		return nil
	}
	fd := int(s.file.Fd())
	before := max(0, s.flushed-2*dirtyStep)
	err := unix.SyncFileRange(fd, before, s.flushed-before, unix.SYNC_FILE_RANGE_WAIT_BEFORE)
	if err == nil {
		err = unix.SyncFileRange(fd, s.flushed, s.done-s.flushed, unix.SYNC_FILE_RANGE_WRITE)
	}
	s.flushed = s.done
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("bring %s to disk: %w", s.file.Name(), err)
	}
	return nil
}
