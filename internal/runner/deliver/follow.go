package deliver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

const (
	// defaultWait bounds the wait for the engine's container, image pull included.
	defaultWait = 30 * time.Minute
	// maxReport bounds one line from the socket, in bytes.
	maxReport = 1 << 20
	// poll is the pause between two looks for the socket.
	poll = 200 * time.Millisecond
	// settle is how long a refused connection is looked at again: the socket's
	// file appears a moment before its owner listens.
	settle = 2 * time.Second
)

// errNoEngine says that the engine's container did not appear.
var errNoEngine = errors.New("the engine's container did not start in time")

// follow gives each report of the engine to see and returns the last one when
// the engine has ended; ok is false when it never said how it ended.
func follow(ctx context.Context, socket, last string, limit time.Duration, see func(report.EngineReport)) (rep report.EngineReport, ok bool, err error) {
	conn, err := connect(ctx, socket, limit)
	if err != nil {
		return rep, false, err
	}
	if conn != nil {
		if rep, err = stream(ctx, conn, see); err != nil {
			return rep, false, err
		}
	}
	if !finished(rep) {
		// We came too late, or were dropped as too slow: the file has the rest.
		rep = lastReport(last, rep)
	}
	return rep, finished(rep), nil
}

// finished says that a report holds an end.
func finished(r report.EngineReport) bool { return r.ExitCode != nil || r.Signal != "" }

// connect waits for the socket. A nil connection means that the engine has been
// there and is gone.
func connect(ctx context.Context, socket string, limit time.Duration) (net.Conn, error) {
	deadline := time.Now().Add(limit)
	refused := time.Time{}
	for {
		c, err := dial(socket)
		switch {
		case err == nil:
			return c, nil
		case errors.Is(err, syscall.ECONNREFUSED):
			if refused.IsZero() {
				refused = time.Now()
			} else if time.Since(refused) > settle {
				return nil, nil //nolint:nilnil // documented
			}
		case errors.Is(err, fs.ErrNotExist):
			refused = time.Time{}
		default:
			return nil, fmt.Errorf("connect to the engine's runner on %s: %w (do both containers share the pod's group? set fsGroup)", socket, err)
		}
		if time.Now().After(deadline) {
			return nil, errNoEngine
		}
		t := time.NewTimer(poll)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, context.Cause(ctx)
		case <-t.C:
		}
	}
}

// dial works for paths that are longer than a socket's name may be, too.
func dial(path string) (net.Conn, error) {
	if len(path) < 108 {
		return net.Dial("unix", path) //nolint:noctx // returns at once
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))) //nolint:noctx // as above
}

// stream reads reports until the connection closes.
func stream(ctx context.Context, conn net.Conn, see func(report.EngineReport)) (report.EngineReport, error) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var rep report.EngineReport
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxReport)
	for lines.Scan() {
		var r report.EngineReport
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			continue // the last line of a killed runner may be cut
		}
		rep = r
		see(r)
	}
	if ctx.Err() != nil {
		return rep, context.Cause(ctx)
	}
	return rep, nil
}

// lastReport reads the file that exec leaves, or gives what is known otherwise.
func lastReport(path string, known report.EngineReport) report.EngineReport {
	f, err := os.Open(path)
	if err != nil {
		return known
	}
	defer f.Close()
	var r report.EngineReport
	lines := bufio.NewReaderSize(f, 4096)
	if json.NewDecoder(bounded(lines)).Decode(&r) != nil {
		return known
	}
	return r
}

// ending describes a failed end for the log.
func ending(r report.EngineReport, ok bool) string {
	stage := r.Stage
	if stage == "" {
		stage = report.StageStart
	}
	what, how := "the engine", "without saying how"
	if r.Preflight {
		what = "the engine's preflight"
	}
	switch {
	case ok && r.Signal != "":
		how = "by " + r.Signal
	case ok && r.ExitCode != nil:
		how = fmt.Sprintf("with exit code %d", *r.ExitCode)
	}
	return fmt.Sprintf("%s ended %s in stage %s", what, how, stage)
}
