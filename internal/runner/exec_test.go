package runner_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

func TestEngineEnds(t *testing.T) {
	t.Parallel()
	code := func(n int32) *int32 { return &n }
	for _, tc := range []struct {
		name, how string
		exit      int
		result    report.Result
		code      *int32
		signal    string
		stage     string
	}{
		{"exit 0", "", 0, report.ResultOK, code(0), "", "Load"},
		{"exit 3 in tracking", "exit3", 3, report.ResultFailed, code(3), "", "Tracking"},
		{"segmentation fault in the detector", "segv", 139, report.ResultFailed, nil, "SIGSEGV", "Detector"},
		{"killed in the detector", "kill", 137, report.ResultFailed, nil, "SIGKILL", "Detector"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			m, exit, out := p.run(p.engineConfig(tc.how))
			if exit != tc.exit || m.Result != tc.result || m.Role != report.RoleExec {
				t.Fatalf("exit %d, %+v\n%s", exit, m, out)
			}
			e := m.Engine
			if e == nil || e.Signal != tc.signal || e.Stage != tc.stage || !equal(e.ExitCode, tc.code) {
				t.Fatalf("engine report %+v\n%s", e, out)
			}
			if !strings.Contains(out, "a line on stderr") || !strings.Contains(e.LogTail, "a line on stderr") {
				t.Errorf("the engine's stderr is lost: log %q, tail %q", out, e.LogTail)
			}
			var left report.EngineReport
			readJSON(t, p.l.EngineFile, &left)
			if left.Signal != tc.signal || !equal(left.ExitCode, tc.code) {
				t.Errorf("left for a late deliver: %+v", left)
			}
			if log, err := os.ReadFile(p.l.Diagnostics); err != nil || !strings.Contains(string(log), "stage=load") {
				t.Errorf("diagnostics: %q %v", log, err)
			}
		})
	}
}

func equal(a, b *int32) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

func TestEngineThatCannotStart(t *testing.T) {
	t.Parallel()
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*report.ExecConfig)
		want   string
	}{
		"not in the image":     {func(c *report.ExecConfig) { c.Command = []string{"no-such-engine"} }, "no-such-engine"},
		"not a program":        {func(c *report.ExecConfig) { c.Command = []string{text} }, "exec format error"},
		"no command":           {func(c *report.ExecConfig) { c.Command = nil }, "no command"},
		"bad stage":            {func(c *report.ExecConfig) { c.Stages[0].Pattern = "(" }, `stage "Load"`},
		"bad progress pattern": {func(c *report.ExecConfig) { c.ProgressPattern = "frame=[0-9]+" }, "group named frame"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			cfg := p.engineConfig("")
			tc.change(cfg.Exec)
			m, code, out := p.run(cfg)
			if code == 0 || m.Reason != report.ReasonConfig || !strings.Contains(m.Message, tc.want) {
				t.Fatalf("code %d, %+v\n%s", code, m, out)
			}
		})
	}
}

func TestEngineEnvironment(t *testing.T) {
	t.Setenv("HOME", "/home/of/the/image")
	p := newPod(t)
	_, _, out := p.run(p.engineConfig("env"))
	for _, want := range []string{"env: PYTHONFAULTHANDLER=1", "env: PYTHONUNBUFFERED=1", "env: HOME=/home/of/the/image"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing", want)
		}
	}
	for _, never := range []string{report.ConfigEnv, "POSE_RUNNER_CHILD"} {
		if strings.Contains(out, "env: "+never) {
			t.Errorf("the engine sees %s", never)
		}
	}
}

func TestEngineHasNoNetwork(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	_, code, out := p.run(p.engineConfig("sockets"))
	if code != 0 {
		t.Fatalf("code %d\n%s", code, out)
	}
	for what, want := range map[string]string{
		"inet": "permission denied", "inet6": "permission denied", "netlink": "permission denied", "packet": "permission denied",
		"vsock": "permission denied", "alg": "permission denied", "unix": "<nil>", "unix-pair": "<nil>", "inet-high-bits": "permission denied",
		"io_uring": "function not implemented", "ptrace": "operation not permitted",
	} {
		if !strings.Contains(out, "try "+what+": "+want+"\n") {
			t.Errorf("%s is not answered by %q:\n%s", what, want, out)
		}
	}
	if !strings.Contains(out, "try dial: dial tcp") || strings.Contains(out, "connection refused") {
		t.Errorf("a connection left the engine:\n%s", out)
	}

	open := p.engineConfig("inet")
	open.Exec.AllowNetwork = true
	if _, _, out := p.run(open); !strings.Contains(out, "try inet: <nil>") {
		t.Errorf("allowNetwork does not allow it:\n%s", out)
	}
}

func TestStalledEngine(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"hang", "deaf"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			cfg := p.engineConfig(how)
			cfg.Exec.StallTimeoutSeconds = 1
			m, code, out := p.run(cfg)
			if m.Reason != report.ReasonNoProgress || m.Result != report.ResultFailed || code == 0 || !strings.Contains(m.Message, "stage Load") {
				t.Fatalf("code %d, %+v\n%s", code, m, out)
			}
			// One that does not even hear SIGABRT is killed.
			if how == "deaf" && m.Engine.Signal != "SIGKILL" {
				t.Errorf("%+v", m.Engine)
			}
		})
	}
}

func TestSIGTERM(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		how  string
		exit int
		want string
	}{
		{"polite", 7, ""},
		{"stubborn", 137, "SIGKILL"},
	} {
		t.Run(tc.how, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			cfg := p.engineConfig(tc.how)
			cfg.Exec.GraceSeconds = 2
			c := p.start(cfg)
			c.await("tracking", func() bool { return strings.Contains(c.out.String(), "stage=track") })
			_ = c.cmd.Process.Signal(syscall.SIGTERM)
			m, code, out := c.wait()
			if code != tc.exit || m.Engine.Signal != tc.want || !strings.Contains(m.Message, "SIGTERM") {
				t.Fatalf("code %d %+v %+v\n%s", code, m, m.Engine, out)
			}
		})
	}
}

func TestOrphansDoNotHoldTheContainer(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	m, code, out := p.run(p.engineConfig("orphan"))
	if code != 5 || *m.Engine.ExitCode != 5 {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	_, rest, _ := strings.Cut(out, "orphan=")
	pid, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]))
	if err != nil {
		t.Fatalf("no orphan in %q", out)
	}
	for range 600 {
		// A zombie's stat is all that may be left: its reaper is not ours.
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("the orphan %d lives on", pid)
}

// TestAsPID1 runs exec as PID 1 of a PID namespace of its own, as in a container:
// signals reach the engine, and orphans are reaped.
func TestAsPID1(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	cfg := p.engineConfig("segv")
	c := p.startAs(cfg, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID})
	m, code, out := c.wait()
	if code != 139 || m.Engine.Signal != "SIGSEGV" {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	cfg = p.engineConfig("orphan")
	m, code, out = p.startAs(cfg, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}).wait()
	if code != 5 || m.Engine.ExitCode == nil || *m.Engine.ExitCode != 5 {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	m, code, out = p.startAs(p.engineConfig("reaped"), &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}).wait()
	if code != 0 {
		t.Fatalf("an orphan was not reaped: code %d %+v\n%s", code, m, out)
	}
}

func TestPeakMemory(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	m, code, out := p.run(p.engineConfig("memory"))
	if code != 0 || m.Engine.PeakMemoryBytes < 96<<20 {
		t.Fatalf("code %d, peak %d\n%s", code, m.Engine.PeakMemoryBytes, out)
	}
}

// TestSocketClosesWhenExecIsKilled is what deliver relies on: the kernel ends the
// connection when the runner is killed without a word.
func TestSocketClosesWhenExecIsKilled(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	c := p.start(p.engineConfig("go", filepath.Join(p.root, "stop")))
	var conn net.Conn
	c.await("the socket", func() (ok bool) {
		dir, err := os.Open(filepath.Dir(p.l.SocketFile))
		if err != nil {
			return false
		}
		defer dir.Close()
		conn, err = net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(p.l.SocketFile)))
		return err == nil
	})
	defer conn.Close()
	lines := json.NewDecoder(conn)
	var seen []int64
	for len(seen) < 3 {
		var r report.EngineReport
		if err := lines.Decode(&r); err != nil {
			t.Fatalf("reports %v, then %v\n%s", seen, err, c.out)
		}
		if r.Frames > 0 {
			seen = append(seen, r.Frames)
		}
	}
	if !slices.IsSorted(seen) {
		t.Errorf("frames %v", seen)
	}
	if info, err := os.Stat(p.l.SocketFile); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket's mode: %v %v", info.Mode(), err)
	}
	_ = c.cmd.Process.Kill()
	for {
		var r report.EngineReport
		if err := lines.Decode(&r); err != nil {
			break // the end, and in time for the test's own limit
		}
		if r.ExitCode != nil || r.Signal != "" {
			t.Fatalf("a killed runner reported an end: %+v", r)
		}
	}
	_, code, _ := c.wait()
	if m := c.termination(); code != 137 || m.Result != report.ResultRunning || m.Engine.Stage != "Load" {
		t.Errorf("code %d; the message left behind: %+v", code, m)
	}
}
