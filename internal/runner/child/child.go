// Package child starts a program under limits that Go's own os/exec cannot set:
// pose-runner starts itself with Entry as first argument, takes the limits upon
// itself and then becomes the program by execve.
package child

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Entry is the first argument of the hidden entry point.
const Entry = "__child"

// specEnv carries the Spec; it is removed before the program starts.
const specEnv = "POSE_RUNNER_CHILD"

// errorFD is where the entry point reports why the program cannot start. It
// closes by itself when execve succeeds.
const errorFD = 3

// Spec is what the entry point does.
type Spec struct {
	// Path of the program, absolute or relative to the working directory.
	Path string   `json:"path"`
	Args []string `json:"args"` // argv with its name first
	// DenyNetwork installs the filter of sockets, io_uring and ptrace.
	DenyNetwork bool `json:"denyNetwork,omitempty"`
	// Limits in bytes and seconds; 0 leaves them as they are.
	AddressSpace uint64 `json:"addressSpace,omitempty"`
	FileSize     uint64 `json:"fileSize,omitempty"`
	CPUSeconds   uint64 `json:"cpuSeconds,omitempty"`
}

// Env gives env with the Spec added.
func (s Spec) Env(env []string) ([]string, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return append(Without(env, specEnv), specEnv+"="+string(b)), nil
}

// Without gives env without the named variables.
func Without(env []string, names ...string) []string {
	out := make([]string, 0, len(env))
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		keep := true
		for _, n := range names {
			keep = keep && n != name
		}
		if keep {
			out = append(out, kv)
		}
	}
	return out
}

// Main is the entry point. It returns only when the program cannot start.
func Main() int {
	// Filter and execve must happen on one thread.
	runtime.LockOSThread()
	unix.CloseOnExec(errorFD)
	err := become()
	report := os.NewFile(errorFD, "report")
	if _, werr := io.WriteString(report, err.Error()); werr != nil {
		fmt.Fprintln(os.Stderr, "pose-runner:", err)
	}
	if errors.Is(err, unix.ENOENT) {
		return 127
	}
	return 126
}

func become() error {
	var s Spec
	if err := json.Unmarshal([]byte(os.Getenv(specEnv)), &s); err != nil {
		return fmt.Errorf("read %s: %w", specEnv, err)
	}
	for _, l := range []struct {
		what  int
		value uint64
	}{
		{unix.RLIMIT_FSIZE, s.FileSize}, {unix.RLIMIT_CPU, s.CPUSeconds}, {unix.RLIMIT_CORE, 0},
	} {
		if l.value == 0 && l.what != unix.RLIMIT_CORE {
			continue
		}
		if err := setLimit(l.what, l.value); err != nil {
			return err
		}
	}
	env := Without(os.Environ(), specEnv)
	if s.DenyNetwork {
		if err := denyNetwork(); err != nil {
			return err
		}
	}
	if s.AddressSpace > 0 {
		// Last: Go's own runtime reserves much address space.
		if err := setLimit(unix.RLIMIT_AS, s.AddressSpace); err != nil {
			return err
		}
	}
	return fmt.Errorf("execute %s: %w", s.Path, unix.Exec(s.Path, s.Args, env))
}

func setLimit(what int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(what, &now); err != nil {
		return fmt.Errorf("read resource limit %d: %w", what, err)
	}
	value = min(value, now.Max)
	if err := unix.Setrlimit(what, &unix.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("set resource limit %d: %w", what, err)
	}
	return nil
}
