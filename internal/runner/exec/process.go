package exec

import (
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/child"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
)

// process is the engine, its preflight, or a tool.
type process struct {
	pid   int // also its process group
	out   *os.File
	ended <-chan waited
}

// end is how a process ended.
type end struct {
	status syscall.WaitStatus
	maxRSS int64 // bytes, of the largest single process
}

// engineEnv is the image's environment without our own configuration, and with
// what makes Python tell why it dies.
func engineEnv(env []string) []string {
	env = child.Without(env, report.ConfigEnv)
	for _, def := range []string{"PYTHONFAULTHANDLER=1", "PYTHONUNBUFFERED=1"} {
		name, _, _ := strings.Cut(def, "=")
		if len(child.Without(env, name)) == len(env) {
			env = append(env, def)
		}
	}
	return env
}

// start runs an engine's program as the leader of its own process group. Without
// stdin it reads nothing there.
func start(cfg report.ExecConfig, command, env []string, stdin *os.File) (*process, error) {
	if len(command) == 0 {
		return nil, outcome.Failf(report.ReasonConfig, "the engine's variant has no command")
	}
	path, err := osexec.LookPath(command[0])
	if err != nil {
		return nil, outcome.Failf(report.ReasonConfig, "the engine's image has no program %q that can be executed (PATH %s): correct image or command of the PoseEngine's variant", command[0], os.Getenv("PATH"))
	}
	return launch(child.Spec{Path: path, Args: command, DenyNetwork: !cfg.AllowNetwork}, env, stdin)
}

// launch starts the program of spec with one pipe for its output.
func launch(spec child.Spec, env []string, stdin *os.File) (*process, error) {
	env, err := spec.Env(env)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find pose-runner's own file: %w", err)
	}
	// One pipe for both streams keeps their lines in order.
	out, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer outW.Close()
	problem, problemW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer problem.Close()
	if stdin == nil {
		if stdin, err = os.Open(os.DevNull); err != nil {
			return nil, err
		}
		defer stdin.Close()
	}
	// Not os/exec: as PID 1 all children are waited for in one place.
	pid, ended, err := children.spawn(func() (int, error) {
		return syscall.ForkExec(self, []string{self, child.Entry}, &syscall.ProcAttr{
			Env:   env,
			Files: []uintptr{stdin.Fd(), outW.Fd(), outW.Fd(), problemW.Fd()},
			Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: pdeathsig()},
		})
	})
	problemW.Close()
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("start pose-runner's child: %w", err)
	}
	// Ends when execve closes the other end, or with the reason why it did not.
	if why, _ := io.ReadAll(io.LimitReader(problem, 1024)); len(why) > 0 {
		out.Close()
		<-ended
		return nil, outcome.Failf(report.ReasonConfig, "the engine cannot be started: %s", why)
	}
	return &process{pid: pid, out: out, ended: ended}, nil
}

// pdeathsig ends the engine with a runner that is not PID 1; as PID 1 the kernel
// does that anyway, and no thread of ours must be mistaken for it.
func pdeathsig() syscall.Signal {
	if os.Getpid() == 1 {
		return 0
	}
	return syscall.SIGKILL
}

// signal reaches the engine's whole process group.
func (p *process) signal(s syscall.Signal) { _ = syscall.Kill(-p.pid, s) }

// exitCode is what the container's process ends with: the engine's own code, or
// 128 plus the signal.
func (e end) exitCode() int {
	if e.status.Signaled() {
		return 128 + int(e.status.Signal())
	}
	return e.status.ExitStatus()
}

// fill writes the end into a report.
func (e end) fill(r *report.EngineReport) {
	if e.status.Signaled() {
		r.Signal = unix.SignalName(e.status.Signal())
		if r.Signal == "" {
			r.Signal = fmt.Sprintf("SIG%d", int(e.status.Signal()))
		}
		return
	}
	code := int32(e.status.ExitStatus()) //nolint:gosec // 0 to 255
	r.ExitCode = &code
}
