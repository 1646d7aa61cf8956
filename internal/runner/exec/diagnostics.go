package exec

import (
	"io"
	"os"
)

// keepLog is how much of the engine's log is kept for deliver, in bytes. The
// file holds up to twice as much between two cuts.
const keepLog = 1 << 20

// logFile keeps the end of a log. Each write reaches the file at once, so that
// nothing is lost when the whole container is killed. A failure to write ends
// the keeping, not the engine.
type logFile struct {
	f    *os.File
	size int64
	keep int64
}

func openLog(path string, keep int64) (*logFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o660)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o660); err != nil {
		f.Close()
		return nil, err
	}
	return &logFile{f: f, keep: keep}, nil
}

func (l *logFile) Write(p []byte) {
	if l == nil || l.f == nil {
		return
	}
	n, err := l.f.WriteAt(p, l.size)
	l.size += int64(n)
	if err == nil && l.size > 2*l.keep {
		err = l.cut()
	}
	if err != nil {
		l.Close()
	}
}

// cut moves the last part to the front.
func (l *logFile) cut() error {
	tail := make([]byte, l.keep)
	if _, err := io.ReadFull(io.NewSectionReader(l.f, l.size-l.keep, l.keep), tail); err != nil {
		return err
	}
	if _, err := l.f.WriteAt(tail, 0); err != nil {
		return err
	}
	l.size = l.keep
	return l.f.Truncate(l.size)
}

func (l *logFile) Close() {
	if l != nil && l.f != nil {
		l.f.Close()
		l.f = nil
	}
}
