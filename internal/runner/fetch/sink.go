package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
)

// dirtyStep is how much is written before the kernel is told to bring it to disk.
// What is not there yet is memory of the container, which has little.
const dirtyStep = 8 << 20

// sink writes in any order, and hashes and counts in order: a storage.Placer.
type sink struct {
	file  *os.File
	push  func(report.Progress)
	done  int64
	total int64
	// flushed is where the last write-back that was asked for ends.
	flushed int64
	digest  hash.Hash
}

func newSink(f *os.File, push func(report.Progress)) *sink {
	return &sink{file: f, push: push, digest: sha256.New()}
}

func (s *sink) Place(p []byte, offset int64) error {
	_, err := s.file.WriteAt(p, offset)
	return err
}

// Write takes note of what was placed.
func (s *sink) Write(p []byte) (int, error) {
	s.digest.Write(p)
	s.done += int64(len(p))
	err := s.flush()
	if s.push != nil {
		s.push(report.Progress{Stage: report.StageFetch, Bytes: s.done, TotalBytes: s.total})
	}
	return len(p), err
}

// sum gives the digest of what was written, which is of use only where no write
// failed.
func (s *sink) sum() string { return hex.EncodeToString(s.digest.Sum(nil)) }

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
