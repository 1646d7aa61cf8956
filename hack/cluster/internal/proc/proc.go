// Package proc starts the cluster's long-lived processes, remembers them in
// files, and recognises them again. A process is ours only when its pid,
// start time and command line all match: pids are reused.
package proc

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Spec says how to run one process.
type Spec struct {
	Name  string
	NetNS string // empty: the host's network
	Argv  []string
	Log   string
	// Urgent processes answer on a machine that is busy with builds: a kubelet
	// that cannot report for a minute costs its node all pods.
	Urgent bool
	// Inputs are files whose change means that the process must be restarted.
	Inputs []string
}

// Record is what is remembered of a started process.
type Record struct {
	Name   string   `json:"name"`
	PID    int      `json:"pid"`
	Start  uint64   `json:"start"` // clock ticks since boot, from /proc
	Argv   []string `json:"argv"`
	Inputs string   `json:"inputs"` // digest of the input files
}

// State of a process compared with its Spec.
type State int

// A process is not there, was started from other settings, or is as wanted.
const (
	Dead State = iota
	Outdated
	Running
)

// Check compares a spec with what is recorded and running.
func Check(dir string, s Spec) (State, Record) {
	r, err := read(dir, s.Name)
	if err != nil || !r.Alive() {
		return Dead, r
	}
	if !slices.Equal(r.Argv, s.Argv) || r.Inputs != digest(s.Inputs) {
		return Outdated, r
	}
	return Running, r
}

// Start runs the process apart from this one's session and records it.
func Start(dir string, s Spec) error {
	if err := os.MkdirAll(filepath.Dir(s.Log), 0o755); err != nil {
		return err
	}
	log, err := openLog(s.Log)
	if err != nil {
		return err
	}
	defer log.Close()
	argv := s.Argv
	if s.Urgent {
		argv = append([]string{"nice", "-n", "-5"}, argv...)
	}
	if s.NetNS != "" {
		// Not "ip netns exec": it mounts a new /sys, and the kubelet no longer
		// finds the cgroups.
		argv = append([]string{"nsenter", "--net=" + s.NetNS, "--"}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	start, _, err := stat(cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("%s ended at once; see %s", s.Name, s.Log)
	}
	r := Record{Name: s.Name, PID: cmd.Process.Pid, Start: start, Argv: s.Argv, Inputs: digest(s.Inputs)}
	// Collect the exit status while we live; later the process is init's.
	go func() { _ = cmd.Wait() }()
	return write(dir, r)
}

// Alive says whether the recorded process still runs.
func (r Record) Alive() bool {
	if r.PID <= 0 {
		return false
	}
	start, zombie, err := stat(r.PID)
	if err != nil || zombie || start != r.Start {
		return false
	}
	// Right after its start the process may still be nsenter or nice.
	argv := cmdline(r.PID)
	if len(argv) == 0 {
		// Between nice and the program there is a moment without a command line;
		// the start time says that it is the same process.
		return true
	}
	if own := len(argv) - len(r.Argv); own > 0 && (argv[0] == "nsenter" || argv[0] == "nice") {
		argv = argv[own:]
	}
	return slices.Equal(argv, r.Argv)
}

// Stop ends the recorded process, politely first, and forgets it.
func Stop(dir string, r Record, grace time.Duration) error {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if !r.Alive() {
			break
		}
		if err := syscall.Kill(r.PID, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end %s (pid %d): %w", r.Name, r.PID, err)
		}
		waitGone(r, grace)
	}
	if r.Alive() {
		return fmt.Errorf("%s (pid %d) does not end, not even killed", r.Name, r.PID)
	}
	if err := os.Remove(recordFile(dir, r.Name)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func waitGone(r Record, limit time.Duration) {
	for end := time.Now().Add(limit); r.Alive() && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
}

// Records reads all that is remembered.
func Records(dir string) []Record {
	files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
	var all []Record
	for _, f := range files {
		if r, err := read(dir, strings.TrimSuffix(filepath.Base(f), ".json")); err == nil {
			all = append(all, r)
		}
	}
	return all
}

func recordFile(dir, name string) string { return filepath.Join(dir, name+".json") }

func read(dir, name string) (Record, error) {
	var r Record
	data, err := os.ReadFile(recordFile(dir, name))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(data, &r)
}

func write(dir string, r Record) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(recordFile(dir, r.Name), data, 0o644)
}

func digest(files []string) string {
	h := sha256.New()
	for _, f := range files {
		data, _ := os.ReadFile(f) // a missing file is a state like any other
		fmt.Fprintf(h, "%s %d\n", f, len(data))
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// logLimit keeps a log from filling the disk over many ups and downs.
const logLimit = 20 << 20

func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > logLimit {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
}

// stat reads a process's start time and whether it has ended already.
func stat(pid int) (start uint64, zombie bool, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false, err
	}
	return parseStat(data)
}

// parseStat skips the command in brackets, which may hold spaces and
// brackets itself.
func parseStat(data []byte) (start uint64, zombie bool, err error) {
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	// The first field here is the third of proc(5); the start time is the 22nd.
	if len(fields) < 20 {
		return 0, false, fmt.Errorf("unreadable process state %q", data)
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return start, string(fields[0]) == "Z", err
}

func cmdline(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(data) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}
