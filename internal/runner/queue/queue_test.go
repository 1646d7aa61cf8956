package queue_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/queue"
)

const holdEnv = "POSE_TEST_HOLD"

// TestMain plays a role that holds its lock until it is killed.
func TestMain(m *testing.M) {
	root := os.Getenv(holdEnv)
	if root == "" {
		os.Exit(m.Run())
	}
	q, err := queue.New(report.QueueConfig{Clips: []int32{0}}, layout.Under(root))
	if err == nil {
		err = q.Hold(report.RoleFetch)
	}
	fmt.Println("held", err)
	time.Sleep(time.Hour)
}

func hold(t *testing.T, root string) (*exec.Cmd, string) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), holdEnv+"="+root)
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return c, line
}

func newQueue(t *testing.T, cfg report.QueueConfig) (*queue.Queue, string) {
	t.Helper()
	root := t.TempDir()
	l := layout.Under(root)
	for _, d := range []string{l.InputDir, l.BatchDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	q, err := queue.New(cfg, l)
	if err != nil {
		t.Fatal(err)
	}
	return q, root
}

func never() bool { return false }

// TestAwait: nobody waits for who is dead, and what was done before counts.
func TestAwait(t *testing.T) {
	q, root := newQueue(t, report.QueueConfig{Clips: []int32{0}})
	if q.Started(report.RoleFetch) {
		t.Error("started")
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("enough"))
	defer cancel()
	if err := q.Await(ctx, report.RoleFetch, never); err == nil || err.Error() != "enough" {
		t.Errorf("a role that has not started is awaited: %v", err)
	}
	c, line := hold(t, root)
	if line != "held <nil>\n" || !q.Started(report.RoleFetch) {
		t.Fatalf("%q", line)
	}
	ctx, cancel = context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("enough"))
	defer cancel()
	if err := q.Await(ctx, report.RoleFetch, never); err == nil || err.Error() != "enough" {
		t.Errorf("a role that lives is awaited: %v", err)
	}
	while, stop := q.While(t.Context(), report.RoleFetch)
	defer stop()
	if while.Err() != nil {
		t.Error("it lives")
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	var gone *queue.GoneError
	if err := q.Await(t.Context(), report.RoleFetch, never); !errors.As(err, &gone) || gone.Role != report.RoleFetch || gone.Never {
		t.Errorf("a dead role: %v", err)
	}
	if err := q.Await(t.Context(), report.RoleFetch, func() bool { return true }); err != nil {
		t.Errorf("what it did: %v", err)
	}
	if <-while.Done(); !errors.As(context.Cause(while), &gone) {
		t.Errorf("while: %v", context.Cause(while))
	}
}

// TestAReaderCannotPlayARole: the engine may read the folder, and a lock of a reader
// counts for nothing.
func TestAReaderCannotPlayARole(t *testing.T) {
	q, root := newQueue(t, report.QueueConfig{Clips: []int32{0}})
	c, _ := hold(t, root)
	_ = c.Process.Kill()
	_ = c.Wait()
	path := filepath.Join(root, report.InputDir, ".alive-fetch")
	for name, lock := range map[string]string{"flock": "flock -x 9", "read lock": ""} {
		reader := exec.Command("sh", "-c", "exec 9<"+path+"; "+lock+"; echo ready; sleep 60")
		if lock == "" {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			l := unix.Flock_t{Type: unix.F_WRLCK}
			if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &l); !errors.Is(err, syscall.EBADF) {
				t.Errorf("a reader's write lock: %v", err)
			}
			continue
		}
		out, _ := reader.StdoutPipe()
		if err := reader.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = bufio.NewReader(out).ReadString('\n')
		var gone *queue.GoneError
		if err := q.Await(t.Context(), report.RoleFetch, never); !errors.As(err, &gone) {
			t.Errorf("%s: %v", name, err)
		}
		_ = reader.Process.Kill()
		_ = reader.Wait()
	}
}

func TestSignals(t *testing.T) {
	q, _ := newQueue(t, report.QueueConfig{Clips: []int32{7}})
	c := q.Clips[0]
	if s := c.Seen(); s != (queue.Seen{}) {
		t.Errorf("%+v", s)
	}
	if err := c.Looked(queue.Look{Report: &report.LookupReport{Why: "nothing"}}); err != nil {
		t.Fatal(err)
	}
	if s := c.Seen(); s.Look == nil || s.Look.Reused() != nil || s.Over() {
		t.Errorf("%+v", s)
	}
	for _, path := range []string{c.Layout.SourceFile, c.Layout.SourceFacts, c.Layout.VideoFile + ".part"} {
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if s := c.Seen(); !s.Fetched || s.Prepared || s.Over() {
		t.Errorf("%+v", s)
	}
	if err := c.Fail(outcome.Failf(report.ReasonInputInvalid, "no video\nat all")); err != nil {
		t.Fatal(err)
	}
	if s := c.Seen(); *s.Failed != (queue.Failure{Reason: report.ReasonInputInvalid, Message: "no video at all"}) || !s.Over() {
		t.Errorf("%+v %+v", s, s.Failed)
	}
	if err := c.Finish(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Layout.SourceFile); !c.Seen().Done || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%+v, the source: %v", c.Seen(), err)
	}
}

func TestNewRefuses(t *testing.T) {
	many := make([]int32, report.MaxQueueClips+1)
	for i := range many {
		many[i] = int32(i)
	}
	for name, cfg := range map[string]report.QueueConfig{
		"none": {}, "too many": {Clips: many}, "twice": {Clips: []int32{3, 3}}, "before its chunk": {Clips: []int32{3}, First: 4},
		"behind its chunk": {Clips: []int32{1000}}, "negative": {Clips: []int32{-1}, First: -5},
	} {
		if _, err := queue.New(cfg, layout.Under(t.TempDir())); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestList(t *testing.T) {
	q, root := newQueue(t, report.QueueConfig{Clips: []int32{12, 10}, First: 10, JobPrefix: "runs"})
	path := filepath.Join(root, report.QueueFile)
	if _, err := q.List(); err == nil {
		t.Error("a list that is not there")
	}
	write := func(n int) {
		var list []clips.Clip
		for i := range n {
			list = append(list, clips.Clip{URI: fmt.Sprintf("s3://b/%d.mp4", i), Name: fmt.Sprintf("%d.mp4", i)})
		}
		raw, err := clips.Encode(list)
		if err == nil {
			err = os.WriteFile(path, raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(2)
	if _, err := q.List(); err == nil || !strings.Contains(err.Error(), "clip 12 is not in the batch's list") {
		t.Errorf("a short list: %v", err)
	}
	write(3)
	list, err := q.List()
	if err != nil || len(list) != 2 || list[0].Name != "2.mp4" || list[1].Name != "0.mp4" {
		t.Errorf("%v %v", list, err)
	}
	if got := list[0].Output("s3://out/x"); got != "s3://out/x/2.mp4" {
		t.Errorf("output %s", got)
	}
	if j := q.Job(report.JobRef{Name: "pod", UID: "u"}, q.Clips[0]); j.Name != "runs-12" || j.UID != "u" {
		t.Errorf("job %+v", j)
	}
	if err := os.WriteFile(path, []byte("no gzip"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := q.List(); err == nil {
		t.Error("a broken list")
	}
}
