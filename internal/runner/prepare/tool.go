package prepare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/child"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
)

const (
	// maxStderr bounds what is kept of a tool's messages, in bytes.
	maxStderr = 64 << 10
	// maxJSON bounds the answer of a header probe, in bytes.
	maxJSON = 4 << 20
	// dataSize is what a tool may have of memory of its own. The container has
	// 2 GiB: a tool that a bad file leads astray gets an error, which has a reason,
	// and not the whole container killed, which has none. addressSpace is for
	// kernels that do not count the former (gVisor).
	dataSize     = 1792 << 20
	addressSpace = 8 << 30
)

// tools runs ffprobe and ffmpeg under limits.
type tools struct {
	self    string // pose-runner's own file, for child.Entry
	seconds int64
	threads int
}

func newTools(timeoutSeconds int64) (*tools, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find pose-runner's own file: %w", err)
	}
	return &tools{self: self, seconds: timeoutSeconds, threads: min(4, runtime.GOMAXPROCS(0))}, nil
}

// toolError is a tool that ended badly.
type toolError struct {
	name   string
	stderr string
	signal syscall.Signal
	err    error
}

func (e *toolError) Error() string {
	if e.signal != 0 {
		return fmt.Sprintf("%s was ended by %s", e.name, unix.SignalName(e.signal))
	}
	return fmt.Sprintf("%s failed: %s", e.name, words(e.stderr, ""))
}

func (e *toolError) Unwrap() error { return e.err }

// full says that there was no room for what the tool wrote.
func (e *toolError) full() bool {
	return e.signal == unix.SIGXFSZ || strings.Contains(e.stderr, "No space left on device") || strings.Contains(e.stderr, "File too large")
}

// run starts a tool, gives its output to read and returns its messages. When
// read says that it has enough, the tool is killed, which is no error.
func (t *tools) run(ctx context.Context, fileSize uint64, read func(io.Reader) (bool, error), name string, args ...string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("the image has no %s: use the operator's media image for prepare (%w)", name, err)
	}
	spec := child.Spec{
		Path: path, Args: append([]string{name}, args...), DenyNetwork: true,
		AddressSpace: addressSpace, FileSize: fileSize,
		CPUSeconds: uint64(max(0, t.seconds)) * uint64(t.threads+1), //nolint:gosec // small positive
	}
	env, err := spec.Env([]string{"PATH=" + os.Getenv("PATH"), "LD_LIBRARY_PATH=" + os.Getenv("LD_LIBRARY_PATH"), "HOME=/nonexistent", "LANG=C", "AV_LOG_FORCE_NOCOLOR=1"})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.self, child.Entry)
	cmd.Env, cmd.WaitDelay = env, 5*time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr tailBuffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	// Pdeathsig follows the thread that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start %s: %w", name, err)
	}
	// From outside and not in child.Spec: limits pass through execve. A kernel
	// without it leaves the limit of addresses.
	limit := unix.Rlimit{Cur: dataSize, Max: dataSize}
	_ = unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_DATA, &limit, nil)
	enough, rerr := read(out)
	if enough || rerr != nil {
		cancel()
	}
	werr := cmd.Wait()
	if rerr != nil {
		return stderr.String(), rerr
	}
	if enough || werr == nil && !starved(stderr.String()) && !outgrown(stderr.String()) {
		return stderr.String(), nil
	}
	return stderr.String(), ended(name, stderr.String(), werr)
}

// starved says that a tool's words are those of one without memory: ffprobe goes
// on without the frame that did not fit, and ends well.
func starved(stderr string) bool {
	return strings.Contains(stderr, "Cannot allocate memory") || allocation.MatchString(stderr) ||
		// A broken frame of an impossible size gets no buffer either.
		strings.Contains(stderr, "get_buffer() failed") && !strings.Contains(stderr, "image parameters invalid")
}

// outgrown says that a frame had more pixels than decodeGuard lets through.
func outgrown(stderr string) bool {
	return strings.Contains(stderr, "exceeds specified max pixel count")
}

var allocation = regexp.MustCompile(`malloc of size \d+ failed`)

func ended(name, stderr string, err error) error {
	e := &toolError{name: name, stderr: stderr, err: err}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			e.signal = ws.Signal()
		}
	}
	return e
}

// failure gives a tool's end its reason. place is the file in its messages.
func failure(ctx context.Context, cfg report.PrepareConfig, err error, place string) error {
	var te *toolError
	var f *outcome.Failure
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return outcome.Failf(report.ReasonInputInvalid, "the video was not prepared within %d s: cut it, scale it down, or ask the platform admin for more time", cfg.TimeoutSeconds)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return outcome.Failf(report.ReasonScratchExceeded, "the scratch volume is full: give the job a larger scratchSize")
	case !errors.As(err, &te):
		return err
	case te.full():
		return outcome.Failf(report.ReasonScratchExceeded, "the scratch volume is full while the video is prepared: give the job a larger scratchSize")
	case te.signal == unix.SIGXCPU:
		return outcome.Failf(report.ReasonInputInvalid, "preparing the video used up its CPU time: cut it or scale it down")
	case outgrown(te.stderr):
		return outcome.Failf(report.ReasonInputInvalid, "the video has frames of more pixels than the operator accepts (%d) and than its headers say: scale the video down", cfg.MaxPixels)
	case starved(te.stderr):
		return outcome.Failf(report.ReasonInputInvalid, "%s needs more than %d MiB of memory for this video: scale the video down or re-encode it as H.264", te.name, dataSize>>20)
	case te.signal == unix.SIGKILL:
		return fmt.Errorf("%s ran out of memory while preparing the video: scale the video down, or ask the platform admin for more memory for prepare", te.name)
	case te.signal != 0:
		return outcome.Failf(report.ReasonInputInvalid, "%s crashed with %s on this video: re-encode it", te.name, unix.SignalName(te.signal))
	}
	if m := otherFormat.FindStringSubmatch(te.stderr); m != nil {
		return outcome.Failf(report.ReasonInputInvalid, "the file is not a video of an accepted kind (ffmpeg takes it for %s): convert it to MP4 with H.264", m[1])
	}
	if m := otherCodec.FindStringSubmatch(te.stderr); m != nil {
		return outcome.Failf(report.ReasonInputInvalid, "the video's codec is %s, which is not accepted: re-encode it as H.264 in MP4", m[1])
	}
	if m := badSize.FindStringSubmatch(te.stderr); m != nil {
		return outcome.Failf(report.ReasonInputInvalid, "the video's frames have %s pixels, the operator accepts %d: scale the video down", m[1], cfg.MaxPixels)
	}
	return outcome.Failf(report.ReasonInputInvalid, "the file is not a video that can be read (%s): check that it plays and was uploaded whole", words(te.stderr, place))
}

// slurp reads a bounded answer.
func slurp(into *[]byte) func(io.Reader) (bool, error) {
	return func(r io.Reader) (bool, error) {
		b, err := io.ReadAll(io.LimitReader(r, maxJSON+1))
		if err == nil && len(b) > maxJSON {
			err = outcome.Failf(report.ReasonInputInvalid, "the file describes more streams than a video has")
		}
		*into = b
		return false, err
	}
}

// tailBuffer keeps the last maxStderr bytes.
type tailBuffer struct{ b bytes.Buffer }

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.b.Write(p)
	if extra := t.b.Len() - maxStderr; extra > 0 {
		t.b.Next(extra)
	}
	return len(p), nil
}

func (t *tailBuffer) String() string { return t.b.String() }
