package runner_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
)

func pointer[T any](p *T) unsafe.Pointer { return unsafe.Pointer(p) }

// patience bounds waiting for what must happen; no test asserts a time.
const patience = 60 * time.Second

// pod is the file tree that the containers of one pod share.
type pod struct {
	t    *testing.T
	root string
	l    layout.Layout
	// binary that plays the containers; this test binary unless set.
	binary string
}

func newPod(t *testing.T) *pod {
	t.Helper()
	p := &pod{t: t, root: t.TempDir()}
	p.l = layout.Under(p.root)
	for _, d := range []string{p.l.OutputDir, filepath.Dir(p.l.SourceFile), filepath.Dir(p.l.SocketFile), p.l.CredentialsDir, filepath.Dir(p.l.Termination), filepath.Dir(p.l.ProgressToken)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// container is one running role.
type container struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *safeBuffer
	term string
	done chan struct{}
}

// start runs a role in a process of its own, as a container does.
func (p *pod) start(cfg report.Config) *container {
	p.t.Helper()
	return p.startAs(cfg, nil)
}

func (p *pod) startAs(cfg report.Config, as *syscall.SysProcAttr) *container {
	p.t.Helper()
	cfg.Version = report.Version
	if cfg.Job.Name == "" {
		cfg.Job = report.JobRef{Namespace: "team-a", Name: "walk", UID: "uid-1", Attempt: max(1, cfg.Job.Attempt)}
	}
	raw, err := json.Marshal(cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	// Each container has its own /dev: one termination file each.
	root := filepath.Join(p.t.TempDir(), "c")
	if err := os.MkdirAll(filepath.Join(root, "dev"), 0o755); err != nil {
		p.t.Fatal(err)
	}
	// The kubelet makes the message's file, writable for every user.
	term := filepath.Join(root, "dev/termination-log")
	if os.WriteFile(term, nil, 0o600) != nil || os.Chmod(term, 0o666) != nil {
		p.t.Fatal("cannot make the termination message's file")
	}
	if as != nil && as.Credential != nil {
		open(p.t, filepath.Join(root, "dev"))
	}
	if err := os.Symlink(filepath.Join(p.root, "pose"), filepath.Join(root, "pose")); err != nil {
		p.t.Fatal(err)
	}
	// The adapter's image has its folder in its own place, not behind a link.
	if _, err := os.Lstat(p.l.AdapterSource); err == nil {
		if err := os.Rename(p.l.AdapterSource, filepath.Join(root, "adapter")); err != nil {
			p.t.Fatal(err)
		}
		p.l.AdapterSource = filepath.Join(root, "adapter")
	}
	c := &container{t: p.t, out: &safeBuffer{}, term: term, done: make(chan struct{})}
	binary := os.Args[0]
	if p.binary != "" {
		binary = p.binary
	}
	c.cmd = exec.Command(binary)
	c.cmd.Env = append(os.Environ(), rootEnv+"="+root, report.ConfigEnv+"="+string(raw))
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	c.cmd.WaitDelay, c.cmd.SysProcAttr = time.Second, as
	if err := c.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() { _ = c.cmd.Wait(); close(c.done) }()
	p.t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.done
	})
	return c
}

// run starts a role and waits for its end.
func (p *pod) run(cfg report.Config) (*report.Termination, int, string) {
	p.t.Helper()
	return p.start(cfg).wait()
}

func (c *container) wait() (*report.Termination, int, string) {
	c.t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		c.t.Fatalf("the role did not end; output:\n%s", c.out)
	}
	return c.termination(), c.code(), c.out.String()
}

func (c *container) code() int {
	if ws, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return c.cmd.ProcessState.ExitCode()
}

func (c *container) termination() *report.Termination {
	c.t.Helper()
	b, err := os.ReadFile(c.term)
	if err != nil {
		c.t.Fatalf("no termination message: %v; output:\n%s", err, c.out)
	}
	if len(b) > report.MaxTerminationBytes {
		c.t.Fatalf("the termination message has %d bytes", len(b))
	}
	m, err := report.ParseTermination(string(b))
	if err != nil {
		c.t.Fatalf("termination message %q: %v", b, err)
	}
	return m
}

// await polls until ok.
func (c *container) await(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("%s did not happen; output:\n%s", what, c.out)
		}
	}
}

// engineConfig runs this test binary as an engine.
func (p *pod) engineConfig(how string, args ...string) report.Config {
	return report.Config{Role: report.RoleExec, Exec: &report.ExecConfig{
		Command: append([]string{os.Args[0], "engine=" + how}, args...),
		Stages: []report.StagePattern{
			{Name: "Load", Pattern: `stage=load`}, {Name: "Detector", Pattern: `stage=detector`}, {Name: "Tracking", Pattern: `stage=track`},
		},
		ProgressPattern: `frame=(?P<frame>\d+) total=(?P<total>\d+)`,
	}}
}

func (p *pod) writeFacts(f report.VideoFacts) {
	p.t.Helper()
	b, err := json.Marshal(f)
	if err == nil {
		err = os.WriteFile(p.l.FactsFile, b, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// safeBuffer is written by a process while a test reads it.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// tool skips a test that needs a program which is not installed.
func tool(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			t.Skipf("SKIPPED: %s is not installed (apt-get install ffmpeg)", n)
		}
	}
}

// ffmpeg makes a video.
func ffmpeg(t *testing.T, args ...string) {
	t.Helper()
	tool(t, "ffmpeg", "ffprobe")
	out, err := exec.Command("ffmpeg", append([]string{"-nostdin", "-v", "error", "-y"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("SKIPPED: %s is not there (apt-get install opencv-doc)", from)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}
