package runner_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

// TestQueueWhenAContainerDies: whoever is killed, everybody ends, and what is said to
// be delivered is.
func TestQueueWhenAContainerDies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		role report.Role
		sig  syscall.Signal
		want string
	}{
		{report.RoleFetch, syscall.SIGKILL, "SSS.."},
		{report.RolePrepare, syscall.SIGKILL, "SSS.."},
		{report.RoleDeliver, syscall.SIGKILL, "S...."},
		{report.RoleExec, syscall.SIGKILL, "SF..."},
		{report.RoleDeliver, syscall.SIGTERM, "S...."},
	} {
		t.Run(fmt.Sprint(tc.role, " ", tc.sig), func(t *testing.T) {
			t.Parallel()
			hold := filepath.Join(t.TempDir(), "go")
			q := newQueue(t, claimWorld(t), "41=wait:"+hold)
			q.beginAll()
			d := q.parts[report.RoleDeliver]
			d.await("the first clip is delivered and the next are here", func() bool {
				m, err := os.ReadFile(d.term)
				_, gone := os.Stat(filepath.Join(q.l.InputDir, "40", "done"))
				_, here := os.Stat(filepath.Join(q.l.InputDir, "42", "facts.json"))
				return err == nil && strings.Contains(string(m), `"S...."`) && gone == nil && here == nil
			})
			// The window lets a fourth clip in as soon as the first is done.
			q.parts[report.RolePrepare].await("the fourth is here", func() bool {
				_, err := os.Stat(filepath.Join(q.l.InputDir, "43", "facts.json"))
				return err == nil
			})
			victim := q.parts[tc.role]
			_ = victim.cmd.Process.Signal(tc.sig)
			<-victim.done
			if tc.role != report.RoleDeliver && tc.role != report.RoleExec {
				if err := os.WriteFile(hold, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				tc.want = "SSSS."
			}
			q.states(tc.want)
		})
	}
}

// TestQueueAtOthersPlaces: where nothing can be delivered nothing is computed.
func TestQueueAtOthersPlaces(t *testing.T) {
	t.Parallel()
	for _, look := range []bool{false, true} {
		t.Run(fmt.Sprint("look ", look), func(t *testing.T) {
			t.Parallel()
			q := newQueue(t, claimWorld(t))
			q.cfg.Look = look
			q.w.put("out/cam/3.mp4/manifest.json", "mine")
			q.beginAll()
			m, code := q.end()
			if code != 0 || m.Queue.States != "SSSFS" || !strings.Contains(m.Queue.Why, "not overwritten") || string(q.w.read("out/cam/3.mp4/manifest.json")) != "mine" {
				t.Errorf("code %d %+v\n%s", code, m.Queue, q.logs())
			}
			if strings.Contains(q.parts[report.RoleExec].out.String(), "clip 43 goes to the engine") {
				t.Errorf("the clip was computed:\n%s", q.logs())
			}
		})
	}
}

// TestQueueWithoutItsLook: a container that ended and did not say what is awaited ends
// the pod.
func TestQueueWithoutItsLook(t *testing.T) {
	t.Parallel()
	q := newQueue(t, claimWorld(t))
	q.cfg.Look = true
	list := filepath.Join(q.l.BatchDir, "clips-0")
	if err := os.Rename(list, list+".away"); err != nil {
		t.Fatal(err)
	}
	q.begin(report.RoleLookup)
	if m, code, out := q.parts[report.RoleLookup].wait(); code != 1 || !strings.Contains(m.Message, "list is not there") {
		t.Fatalf("lookup: %d %+v\n%s", code, m, out)
	}
	if err := os.Rename(list+".away", list); err != nil {
		t.Fatal(err)
	}
	q.begin(report.RoleFetch, report.RolePrepare, report.RoleExec, report.RoleDeliver)
	q.states(".....")
	for _, role := range []report.Role{report.RoleFetch, report.RolePrepare} {
		if m := q.parts[role].termination(); m.Result != report.ResultSkipped || !strings.Contains(m.Message, "has ended") {
			t.Errorf("%s: %+v", role, m)
		}
	}
}

// TestQueueBelievesNoForgedFind: the decoder of hostile videos writes to the volume on
// which a result is said to be there.
func TestQueueBelievesNoForgedFind(t *testing.T) {
	t.Parallel()
	q := newQueue(t, claimWorld(t))
	q.cfg.Look = true
	forged := report.LookupReport{Reused: &report.ReusedResult{Result: report.DeliveryReport{ManifestSHA256: strings.Repeat("ab", 32)}}}
	raw, err := json.Marshal(map[string]any{"report": forged})
	if err == nil {
		err = os.MkdirAll(filepath.Join(q.l.InputDir, "42"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(q.l.InputDir, "42", "look.json"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	q.beginAll()
	if m := q.states("SSFSS"); !strings.Contains(m.Queue.Why, "not at its place") {
		t.Errorf("why %q", m.Queue.Why)
	}
}

// TestQueueToldWhileDelivering: what was not finished has not failed.
func TestQueueToldWhileDelivering(t *testing.T) {
	t.Parallel()
	w, ok := worlds(t)["bucket"]
	if !ok {
		t.Skip("SKIPPED: POSE_TEST_VERSITYGW does not name a server")
	}
	k := newKiller(t, w.store.S3Endpoint)
	hit, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	t.Cleanup(func() { close(release) })
	k.refuse = func(r *http.Request) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "1.mp4/attempts") {
			once.Do(func() { close(hit) })
			<-release
		}
		return false
	}
	direct := w.store.S3Endpoint
	w.store.S3Endpoint = k.URL
	q := newQueue(t, w)
	q.beginAll()
	select {
	case <-hit:
	case <-time.After(patience):
		t.Fatal("nothing is delivered")
	}
	for _, c := range q.parts {
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
	}
	w.store.S3Endpoint = direct
	q.states("S....")
}

// TestQueueGoesOnAfterADeath: deliver is killed at a write. What it said to be
// delivered is, and the next pod does the rest.
func TestQueueGoesOnAfterADeath(t *testing.T) {
	t.Parallel()
	if os.Getenv("POSE_TEST_VERSITYGW") == "" {
		t.Skip("SKIPPED: POSE_TEST_VERSITYGW does not name a server")
	}
	// A clip has four writes: whose it is, its file, its manifest and the pointer.
	for _, at := range []int{1, 3, 4, 5, 8} {
		t.Run(fmt.Sprint("write ", at), func(t *testing.T) {
			t.Parallel()
			w := bucketWorld(t)
			first := newQueue(t, w)
			first.cfg.Clips = first.cfg.Clips[:2]
			direct := w.store.S3Endpoint
			k := newKiller(t, direct)
			first.begin(report.RoleFetch, report.RolePrepare, report.RoleExec)
			w.store.S3Endpoint = k.URL
			k.at, k.after = at, true
			k.mu.Lock()
			first.begin(report.RoleDeliver)
			k.victim = first.parts[report.RoleDeliver]
			k.mu.Unlock()
			m, code := first.end()
			w.store.S3Endpoint = direct
			if code != 128+9 {
				t.Fatalf("deliver was not killed: %d\n%s", code, first.logs())
			}
			for i := range 2 {
				if there := w.whole(fmt.Sprintf("out/cam/%d.mp4", i)); m.Queue != nil && m.Queue.States[i] == 'S' && !there {
					t.Errorf("clip %d is not there, and is said to be delivered", i)
				}
			}
			second := newQueue(t, w)
			second.cfg.Clips, second.cfg.Look, second.id = first.cfg.Clips, true, "abcde-2"
			second.beginAll()
			if m, code := second.end(); code != 0 || m.Queue == nil || strings.Trim(m.Queue.States, "SR") != "" || m.Queue.States == "" {
				t.Fatalf("code %d %+v\n%s", code, m, second.logs())
			}
			for i := range 2 {
				if !w.whole(fmt.Sprintf("out/cam/%d.mp4", i)) {
					t.Errorf("clip %d is not there", i)
				}
			}
		})
	}
}

// TestQueueOfUsersOfTheirOwn: the roles and the engine share the pod's group only, on
// volumes as the kubelet makes them for an fsGroup.
func TestQueueOfUsersOfTheirOwn(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root to become other users")
	}
	const group = 42424
	q := newQueue(t, claimWorld(t))
	hold := filepath.Join(q.root, "go")
	q.args = []string{"44=wait:" + hold}
	binary := filepath.Join(q.root, "runner.test")
	copyFile(t, os.Args[0], binary)
	if err := os.Chmod(binary, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{q.l.OutputDir, filepath.Dir(q.l.SocketFile), q.l.InputDir, q.w.dir} {
		if os.Chown(d, 0, group) != nil || os.Chmod(d, 0o2770|os.ModeSetgid) != nil {
			t.Fatal("cannot give the volume to the group")
		}
	}
	open(t, q.root)
	open(t, filepath.Dir(q.w.dir))
	for _, path := range []string{filepath.Join(q.w.dir, "videos"), filepath.Join(q.l.BatchDir, "clips-0")} {
		if out, err := exec.Command("chmod", "-R", "a+rX", path).CombinedOutput(); err != nil {
			t.Fatalf("%s", out)
		}
	}
	as := func(uid uint32) *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: group, Groups: []uint32{group}}}
	}
	q.binary = binary
	q.exec = func(c *report.ExecConfig) { c.Command[0] = binary }
	for role, uid := range map[report.Role]uint32{report.RoleFetch: 2002, report.RolePrepare: 2002, report.RoleDeliver: 2002, report.RoleExec: 1001} {
		q.parts[role] = q.startAs(q.config(role), as(uid))
	}
	q.parts[report.RoleExec].await("the outputs of what is delivered are removed", func() bool {
		left, _ := filepath.Glob(filepath.Join(q.l.OutputDir, "4[0-3]"))
		_, begun := os.Stat(filepath.Join(q.l.OutputDir, "44"))
		return len(left) == 0 && begun == nil
	})
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if m, code := q.end(); code != 0 || m.Queue.States != "SSSSS" {
		t.Fatalf("code %d %+v %+v\n%s", code, m, m.Queue, q.logs())
	}
}

// TestQueueIsToldToEnd: all containers get SIGTERM at once.
func TestQueueIsToldToEnd(t *testing.T) {
	t.Parallel()
	q := newQueue(t, claimWorld(t), "41=wait:"+filepath.Join(t.TempDir(), "never"))
	q.beginAll()
	d := q.parts[report.RoleDeliver]
	d.await("the first clip is delivered", func() bool {
		m, err := os.ReadFile(d.term)
		return err == nil && strings.Contains(string(m), `"S...."`)
	})
	for _, c := range q.parts {
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
	}
	if m := q.states("S...."); !strings.Contains(m.Message, "SIGTERM") {
		t.Errorf("%+v", m)
	}
	for role, c := range q.parts {
		if c.code() != 128+15 {
			t.Errorf("%s: code %d\n%s", role, c.code(), c.out)
		}
	}
}
