package runner_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
)

// TestUsersOfTheirOwn runs exec and deliver as two users who share the pod's
// group only, on volumes as the kubelet makes them for an fsGroup.
func TestUsersOfTheirOwn(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root to become other users")
	}
	const group = 42424
	p, claim := newPod(t), t.TempDir()
	p.writeFacts(smallVideo)
	binary := filepath.Join(p.root, "runner.test")
	copyFile(t, os.Args[0], binary)
	if err := os.Chmod(binary, 0o755); err != nil {
		t.Fatal(err)
	}
	shared := []string{p.l.OutputDir, filepath.Dir(p.l.SocketFile), filepath.Dir(p.l.SourceFile), claim}
	for _, d := range shared {
		if os.Chown(d, 0, group) != nil || os.Chmod(d, 0o2770|os.ModeSetgid) != nil {
			t.Fatal("cannot give the volume to the group")
		}
	}
	if os.Chmod(p.l.FactsFile, 0o644) != nil {
		t.Fatal("cannot open the facts")
	}
	open(t, p.root)
	open(t, filepath.Dir(claim))
	as := func(uid uint32) *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{group}}}
	}
	p.binary = binary
	d := p.startAs(deliverConfig(claim), as(2002))
	cfg := p.engineConfig("good", p.l.OutputDir, p.l.FactsFile)
	cfg.Exec.Command[0] = binary
	m, code, out := p.startAs(cfg, as(1001)).wait()
	if code != 0 {
		t.Fatalf("exec: code %d %+v\n%s", code, m, out)
	}
	// The engine's file is 0600 by its own wish: exec shares it.
	m, code, out = d.wait()
	if code != 0 || m.Result != report.ResultOK {
		t.Fatalf("deliver: code %d %+v\n%s", code, m, out)
	}
}

// open lets every user pass through dir and its parents below the temporary one.
func open(t *testing.T, dir string) {
	t.Helper()
	for ; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
