package runner_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
)

// clipsEngine speaks docs/clips.md. Each argument NUMBER=HOW says what it does with a
// clip, any other what it does all the time.
func clipsEngine(args []string) int {
	how := map[int32]string{}
	for _, a := range args {
		number, what, _ := strings.Cut(a, "=")
		if n, err := strconv.Atoi(number); err == nil {
			how[int32(n)] = what
		}
	}
	if slices.Contains(args, "dies-loading") {
		return 3
	}
	if slices.Contains(args, "forges") {
		for n := 60; n >= 40; n-- { // the one at work last
			fmt.Printf("pose-engine: clip=%d begin\npose-engine: clip=%d result frames=1 people=1\n", n, n)
		}
	}
	fmt.Println("pose-engine: ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var l report.ClipLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			fmt.Println("a line that cannot be read:", err)
			return 90
		}
		if code, more := workOn(l, how[l.Clip]); !more {
			return code
		}
	}
	if slices.Contains(args, "stays") {
		time.Sleep(time.Hour)
	}
	fmt.Println("pose-engine: stage=done")
	return 0
}

func workOn(l report.ClipLine, how string) (code int, more bool) {
	if strings.HasPrefix(how, "unbegun-") {
		how = strings.TrimPrefix(how, "unbegun-")
	} else {
		fmt.Printf("pose-engine: clip=%d begin\n", l.Clip)
	}
	facts := filepath.Join(filepath.Dir(l.Video), "facts.json")
	if wait, ok := strings.CutPrefix(how, "wait:"); ok {
		for {
			if _, err := os.Stat(wait); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	switch how {
	case "skip":
		return 0, true
	case "exit":
		return 5, false
	case "end":
		return 0, false
	case "segv":
		die(syscall.SIGSEGV)
	case "silent":
		fmt.Println("pose-engine: stage=detector")
		time.Sleep(time.Hour)
	case "chatty":
		for {
			fmt.Println("pose-engine: warning still at it")
			time.Sleep(100 * time.Millisecond)
		}
	case "error":
		fmt.Fprintf(os.Stderr, "pose-engine: clip=%d error code=NO_FRAMES message=\"it said \\\"none\\\"\"\n", l.Clip)
		return 0, true
	case "unknown":
		fmt.Fprintln(os.Stderr, `pose-engine: clip=unknown error code=USAGE message="what?"`)
		return 0, true
	case "other":
		fmt.Printf("pose-engine: clip=%d result frames=1 people=1\n", l.Clip+1)
		time.Sleep(time.Second) // were it believed, there would be nothing to deliver
	case "linked":
		// The folder itself becomes a link to one that is closed to the engine.
		if os.Remove(l.OutputDir) != nil || os.Symlink(filepath.Dir(l.Video), l.OutputDir) != nil {
			return 91, false
		}
		fmt.Printf("pose-engine: clip=%d result frames=1 people=1\n", l.Clip)
		return 0, true
	}
	what := "good"
	if how == "nothing" || how == "short" || how == "link" {
		what = how
	}
	if code := write(what, l.OutputDir, facts); code != 0 {
		return code, false
	}
	fmt.Printf("pose-engine: clip=%d result frames=1 people=1\n", l.Clip)
	return 0, true
}

// queuePod is a pod of many clips.
type queuePod struct {
	*pod
	w     *world
	cfg   report.QueueConfig
	parts map[report.Role]*container
	id    string   // of the attempt's folders
	args  []string // of the engine
	exec  func(*report.ExecConfig)
}

var madeClips = sync.OnceValues(func() ([][]byte, error) {
	dir, err := os.MkdirTemp("", "clips")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var all [][]byte
	for i := range 5 {
		path := filepath.Join(dir, "v.mp4")
		out, err := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", fmt.Sprintf("testsrc=size=64x48:rate=10:duration=0.%d", i+3), "-pix_fmt", "yuv420p", path).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
})

// newQueue puts five clips at a place, and makes the pod that works through them.
func newQueue(t *testing.T, w *world, args ...string) *queuePod {
	t.Helper()
	tool(t, "ffmpeg", "ffprobe")
	videos, err := madeClips()
	if err != nil {
		t.Fatal(err)
	}
	q := &queuePod{pod: w.pod(), w: w, id: "abcde-1", parts: map[report.Role]*container{}, args: args}
	var list []clips.Clip
	for i, v := range videos {
		path := fmt.Sprintf("videos/%d.mp4", i)
		if len(w.read(path)) == 0 {
			w.put(path, string(v))
		}
		list = append(list, clips.Clip{URI: w.base + "/" + path, Name: fmt.Sprintf("cam/%d.mp4", i)})
	}
	q.cfg = report.QueueConfig{First: 40, JobPrefix: "runs-abcde", Line: report.ClipLine{Overlay: "none"}}
	for i := range videos {
		q.cfg.Clips = append(q.cfg.Clips, q.cfg.First+int32(i))
	}
	raw, err := clips.Encode(list)
	if err == nil {
		err = os.MkdirAll(q.l.BatchDir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(q.l.BatchDir, "clips-0"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func (q *queuePod) config(role report.Role) report.Config {
	cfg := report.Config{Role: role, Queue: &q.cfg, Job: report.JobRef{Namespace: "team-a", Name: "runs-q0-1", UID: "uid-b", Attempt: 1, Batch: "runs"}}
	switch role {
	case report.RoleLookup:
		cfg.Lookup = &report.LookupConfig{
			Video: report.LookupInput{MaxBytes: 1 << 30, PVCMount: q.w.mount}, URI: q.w.base + "/out", PVCMount: q.w.mount, MaxBytes: 1 << 30, Store: q.w.store,
			AttemptID: q.id, Request: "sha256:r", Recipes: []string{"sha256:1"}, TimeoutSeconds: 60,
		}
	case report.RoleFetch:
		cfg.Fetch = &report.FetchConfig{MaxBytes: 1 << 30, TimeoutSeconds: 60, Store: q.w.store, PVCMount: q.w.mount}
	case report.RolePrepare:
		cfg.Prepare = &report.PrepareConfig{MaxPixels: 1 << 24, MaxFrames: 10000, TimeoutSeconds: 120}
	case report.RoleExec:
		cfg.Exec = q.engineConfig("clips", q.args...).Exec
		if q.exec != nil {
			q.exec(cfg.Exec)
		}
	case report.RoleDeliver:
		cfg.Deliver = deliverConfig(q.w.mount).Deliver
		d := cfg.Deliver
		d.URI, d.AttemptID, d.Store = q.w.base+"/out", q.id, q.w.store
		d.Provenance = report.Provenance{Engine: "test", Variant: "gpu", Device: "GPU", Image: "i@sha256:1", Recipe: "sha256:1", Request: "sha256:r"}
	}
	return cfg
}

// begin starts roles side by side, as the kubelet does.
func (q *queuePod) begin(roles ...report.Role) {
	q.t.Helper()
	for _, role := range roles {
		q.parts[role] = q.start(q.config(role))
	}
}

func (q *queuePod) beginAll() {
	q.t.Helper()
	roles := []report.Role{report.RoleFetch, report.RolePrepare, report.RoleExec, report.RoleDeliver}
	if q.cfg.Look {
		roles = append(roles, report.RoleLookup)
	}
	q.begin(roles...)
}

// end waits for every container, and gives deliver's word.
func (q *queuePod) end() (*report.Termination, int) {
	q.t.Helper()
	for role, c := range q.parts {
		select {
		case <-c.done:
		case <-time.After(patience):
			q.t.Fatalf("%s did not end; output:\n%s", role, c.out)
		}
	}
	d := q.parts[report.RoleDeliver]
	return d.termination(), d.code()
}

// logs of all containers.
func (q *queuePod) logs() string {
	out := ""
	for role, c := range q.parts {
		out += fmt.Sprintf("--- %s (code %d)\n%s", role, c.code(), c.out)
	}
	return out
}

// states checks deliver's word against what lies at the place.
func (q *queuePod) states(want string) *report.Termination {
	q.t.Helper()
	m, code := q.end()
	if m.Queue == nil || m.Queue.States != want {
		q.t.Fatalf("code %d %+v %+v, want %s\n%s", code, m, m.Queue, want, q.logs())
	}
	digests := ""
	for i, s := range want {
		output := fmt.Sprintf("out/cam/%d.mp4", i)
		if got := q.w.whole(output); got != (s == 'S' || s == 'R') {
			q.t.Errorf("clip %d is %c, its result is there: %v", i, s, got)
		}
		if s == 'S' || s == 'R' {
			var p result.Pointer
			if err := json.Unmarshal(q.w.read(output+"/manifest.json"), &p); err != nil {
				q.t.Fatal(err)
			}
			digests += report.ShortDigest(p.ManifestSHA256)
		}
	}
	if m.Queue.Digests != digests {
		q.t.Errorf("digests %s, want %s", m.Queue.Digests, digests)
	}
	if ok := !strings.Contains(want, "."); (m.Result == report.ResultOK) != ok || (code == 0) != ok {
		q.t.Errorf("code %d %+v", code, m)
	}
	return m
}

func claimWorld(t *testing.T) *world { return worlds(t)["claim"] }
