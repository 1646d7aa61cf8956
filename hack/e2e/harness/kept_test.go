package harness

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// place is a clone with versitygw, and the folder of a store.
func place(t *testing.T) (*Env, string) {
	t.Helper()
	binary := os.Getenv("POSE_TEST_VERSITYGW")
	if binary == "" {
		t.Skip("SKIPPED: POSE_TEST_VERSITYGW names no versitygw binary (make tools)")
	}
	t.Setenv("POSE_HOST_ADDRESS", "127.0.0.1")
	e := &Env{Root: t.TempDir()}
	if err := os.MkdirAll(filepath.Dir(e.Tool("versitygw")), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, e.Tool("versitygw")); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(e.Root, ".demo", "store")
	t.Cleanup(func() {
		if _, err := EndStore(dir); err != nil {
			t.Error(err)
		}
	})
	return e, dir
}

func keep(t *testing.T, e *Env, dir string) *Store {
	t.Helper()
	s, err := e.KeepStore(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func gone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("pid %d is still there", pid)
		}
	}
}

func TestKeepStore(t *testing.T) {
	e, dir := place(t)
	ctx := context.Background()
	first := keep(t, e, dir)
	if err := first.Bucket(ctx, "demo"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir + ".json")
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("the record: %v, %v; want mode 0600", info.Mode(), err)
	}
	if sid, _, _ := syscall.Syscall(syscall.SYS_GETSID, uintptr(first.PID), 0, 0); int(sid) != first.PID {
		t.Errorf("session %d: the server would end with its starter's terminal", sid)
	}

	t.Run("one that answers is used again", func(t *testing.T) {
		second := keep(t, e, dir)
		if second.PID != first.PID || second.Endpoint != first.Endpoint || second.SecretKey != first.SecretKey {
			t.Errorf("another server: pid %d at %s after %d at %s", second.PID, second.Endpoint, first.PID, first.Endpoint)
		}
		if err := second.Bucket(ctx, "demo"); err != nil {
			t.Error(err)
		}
	})
	t.Run("a file that was copied in is an object", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(dir, "demo", "mine.mp4"), []byte("video"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := first.Get(ctx, "demo", "mine.mp4"); err != nil || string(got) != "video" {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("for another address there is another", func(t *testing.T) {
		t.Setenv("POSE_HOST_ADDRESS", "127.0.0.2")
		second := keep(t, e, dir)
		gone(t, first.PID)
		if !strings.HasPrefix(second.Endpoint, "http://127.0.0.2:") {
			t.Errorf("at %s", second.Endpoint)
		}
		first = second
	})
	t.Run("after one that was killed comes another", func(t *testing.T) {
		if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		gone(t, first.PID)
		second := keep(t, e, dir)
		if second.PID == first.PID {
			t.Error("the same pid")
		}
		first = second
	})
	t.Run("ended, it is gone, and so is its record", func(t *testing.T) {
		if pid, err := EndStore(dir); err != nil || pid != first.PID {
			t.Errorf("ended %d, %v, want %d", pid, err, first.PID)
		}
		gone(t, first.PID)
		if left, _ := filepath.Glob(dir + "*.*"); len(left) != 1 || left[0] != dir+".log" {
			t.Errorf("left: %v, want the log alone", left)
		}
		if pid, err := EndStore(dir); err != nil || pid != 0 {
			t.Errorf("ended %d once more, %v", pid, err)
		}
	})
}

// A pid that now is another process is left alone.
func TestEndStoreOfAStranger(t *testing.T) {
	for name, argv := range map[string][]string{
		"another program":  {"/clone/.tools/bin/versitygw", "--port", "10.99.0.1:1", "posix", "/clone/.demo/store"},
		"the same program": {"sleep", "61"},
		"nothing is known": nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			stranger := exec.Command("sleep", "60")
			if err := stranger.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = stranger.Process.Kill()
				_ = stranger.Wait()
			})
			itself := kept{PID: stranger.Process.Pid, Argv: stranger.Args}
			for !itself.alive() { // exec shows the new command line a moment later
				time.Sleep(time.Millisecond)
			}
			if err := (kept{PID: stranger.Process.Pid, Argv: argv}).write(dir); err != nil {
				t.Fatal(err)
			}
			if pid, err := EndStore(dir); err != nil || pid != 0 {
				t.Errorf("ended %d, %v", pid, err)
			}
			if !itself.alive() {
				t.Error("the stranger was ended")
			}
			if _, err := os.Stat(dir + ".json"); !os.IsNotExist(err) {
				t.Errorf("the record is still there: %v", err)
			}
		})
	}
}

func TestADamagedRecordIsTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.WriteFile(dir+".json", []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := EndStore(dir); err == nil || !strings.Contains(err.Error(), dir+".json is damaged") {
		t.Errorf("err = %v", err)
	}
}

// The stores of tests are none of these: they end with their starter, however
// that ends.
func TestStartStoreEndsWithItsStarter(t *testing.T) {
	if root := os.Getenv("POSE_TEST_STARTER"); root != "" {
		s, err := (&Env{Root: root}).StartStore(context.Background(), filepath.Join(root, "private"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("PID", s.PID)
		select {}
	}
	e, _ := place(t)
	starter := exec.Command(os.Args[0], "-test.run=^TestStartStoreEndsWithItsStarter$")
	starter.Env = append(os.Environ(), "POSE_TEST_STARTER="+e.Root)
	out, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "PID %d", &pid)
	}
	_ = starter.Process.Kill()
	_ = starter.Wait()
	if pid == 0 {
		t.Fatal("the starter started no store")
	}
	gone(t, pid)
}
