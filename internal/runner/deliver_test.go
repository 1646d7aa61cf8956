package runner_test

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
)

var smallVideo = report.VideoFacts{Width: 64, Height: 48, FPS: 10, Frames: 20}

// TestDeliverJudges runs engine and deliver together, for each kind of end.
func TestDeliverJudges(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		how    string
		result report.Result
		reason string
		want   string // in the message
		log    bool   // engine.log is uploaded
	}{
		{"good", report.ResultOK, "", "", false},
		{"nobody", report.ResultOK, "", "", false},
		{"short", report.ResultFailed, report.ReasonOutputInvalid, "covers 19 frames, the video has 20", true},
		{"nothing", report.ResultFailed, report.ReasonOutputInvalid, "wrote none", true},
		{"link", report.ResultFailed, report.ReasonOutputInvalid, "symbolic link", true},
		{"exit3", report.ResultSkipped, "", "exit code 3 in stage Tracking", true},
		{"segv", report.ResultSkipped, "", "SIGSEGV in stage Detector", true},
	} {
		t.Run(tc.how, func(t *testing.T) {
			t.Parallel()
			p, claim := newPod(t), t.TempDir()
			p.writeFacts(smallVideo)
			d := p.start(deliverConfig(claim))
			p.run(p.engineConfig(tc.how, p.l.OutputDir, p.l.FactsFile))
			m, code, out := d.wait()
			if m.Result != tc.result || m.Reason != tc.reason || !strings.Contains(m.Message, tc.want) {
				t.Fatalf("code %d %+v\n%s", code, m, out)
			}
			if wantCode := map[report.Result]int{report.ResultFailed: 1}[tc.result]; code != wantCode {
				t.Errorf("code %d", code)
			}
			if tc.how == "nobody" && (m.Deliver.People != 0 || m.Deliver.Frames != 20) {
				t.Errorf("report %+v", m.Deliver)
			}
			_, err := os.Stat(filepath.Join(claim, "walk/attempts/1-abcde/engine.log"))
			if (err == nil) != tc.log {
				t.Errorf("engine.log: %v\n%s", err, out)
			}
			_, err = os.Stat(filepath.Join(claim, "walk/manifest.json"))
			if (err == nil) != (tc.result == report.ResultOK) {
				t.Errorf("the root's manifest: %v", err)
			}
		})
	}
}

// TestDeliverComesLate starts deliver when the engine has come and gone.
func TestDeliverComesLate(t *testing.T) {
	t.Parallel()
	p, claim := newPod(t), t.TempDir()
	p.writeFacts(smallVideo)
	p.run(p.engineConfig("good", p.l.OutputDir, p.l.FactsFile))
	m, code, out := p.run(deliverConfig(claim))
	if code != 0 || m.Result != report.ResultOK {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
}

// TestDeliverAfterTheEngine: without a runner the engine ran before deliver.
// There is no socket and no report, and the outputs alone are judged.
func TestDeliverAfterTheEngine(t *testing.T) {
	t.Parallel()
	for how, want := range map[string]string{"good": "", "nobody": "", "short": "covers 19 frames", "nothing": "wrote none"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p, claim := newPod(t), t.TempDir()
			p.writeFacts(smallVideo)
			if code := write(how, p.l.OutputDir, p.l.FactsFile); code != 0 {
				t.Fatalf("the engine's code %d", code)
			}
			cfg := deliverConfig(claim)
			cfg.Deliver.EngineEnded, cfg.Deliver.EngineWaitSeconds = true, 1
			m, code, out := p.run(cfg)
			if want != "" {
				if code != 1 || m.Reason != report.ReasonOutputInvalid || !strings.Contains(m.Message, want) || strings.Contains(out, "engine's log") {
					t.Fatalf("code %d %+v\n%s", code, m, out)
				}
				return
			}
			var manifest result.Manifest
			readJSON(t, filepath.Join(claim, "walk/attempts/1-abcde/manifest.json"), &manifest)
			if code != 0 || m.Result != report.ResultOK || m.Deliver.Frames != 20 || manifest.Frames != 20 || manifest.EngineEndedAt.IsZero() || manifest.CompletedAt.Before(manifest.EngineEndedAt) {
				t.Fatalf("code %d %+v %+v\n%s", code, m, manifest, out)
			}
		})
	}
}

// TestDeliverAfterAPreflight: a preflight that failed leaves nothing to judge,
// whatever its exit code was.
func TestDeliverAfterAPreflight(t *testing.T) {
	t.Parallel()
	p, claim := newPod(t), t.TempDir()
	p.writeFacts(smallVideo)
	cfg := p.engineConfig("good", p.l.OutputDir, p.l.FactsFile)
	cfg.Exec.Preflight = &report.PreflightConfig{Command: []string{os.Args[0], "engine=segv"}}
	d := p.start(deliverConfig(claim))
	p.run(cfg)
	m, code, out := d.wait()
	if code != 0 || m.Result != report.ResultSkipped || !strings.Contains(m.Message, "the engine's preflight ended by SIGSEGV in stage DetectorLoad") {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	if _, err := os.Stat(filepath.Join(claim, "walk/attempts/1-abcde/engine.log")); err != nil {
		t.Error(err)
	}
}

func TestDeliverWhenExecIsKilled(t *testing.T) {
	t.Parallel()
	p, claim := newPod(t), t.TempDir()
	p.writeFacts(smallVideo)
	d := p.start(deliverConfig(claim))
	e := p.start(p.engineConfig("go", filepath.Join(p.root, "stop")))
	d.await("a frame", func() bool { return strings.Contains(d.out.String(), "stage=Load") })
	_ = e.cmd.Process.Kill()
	m, code, out := d.wait()
	if code != 0 || m.Result != report.ResultSkipped || !strings.Contains(m.Message, "without saying how in stage Load") {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
}

func TestDeliverWithoutEngine(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	p.writeFacts(smallVideo)
	cfg := deliverConfig(t.TempDir())
	cfg.Deliver.EngineWaitSeconds = 1
	m, code, out := p.run(cfg)
	if code != 0 || m.Result != report.ResultSkipped || !strings.Contains(m.Message, "did not start") {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}

	cfg.Deliver.EngineWaitSeconds = 0
	c := p.start(cfg)
	c.await("the first message", func() bool { b, err := os.ReadFile(c.term); return err == nil && len(b) > 0 })
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	m, code, out = c.wait()
	if code != 143 || m.Result != report.ResultFailed || !strings.Contains(m.Message, "SIGTERM") {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
}

// TestRootPointer covers who may replace the root's manifest.
func TestRootPointer(t *testing.T) {
	t.Parallel()
	pointer := func(change func(*result.Pointer)) string {
		p := result.Pointer{
			APIVersion: result.APIVersion, Kind: result.KindPointer, Attempt: 1, AttemptID: "1-older", ManifestSHA256: strings.Repeat("a", 64),
			Job: report.JobRef{Namespace: "team-a", Name: "walk", UID: "uid-1", Attempt: 1},
		}
		change(&p)
		b, _ := json.Marshal(p)
		return string(b)
	}
	for name, tc := range map[string]struct {
		there     string
		overwrite bool
		moved     bool
		want      string // in the message of a failure, or in the log
	}{
		"earlier attempt":        {pointer(func(*result.Pointer) {}), false, true, ""},
		"later attempt":          {pointer(func(p *result.Pointer) { p.Attempt = 9 }), false, false, ""},
		"re-created job":         {pointer(func(p *result.Pointer) { p.Job.UID, p.Attempt = "uid-0", 9 }), false, true, ""},
		"another job":            {pointer(func(p *result.Pointer) { p.Job.Name, p.Job.UID = "run", "uid-2" }), false, false, "belongs to the job team-a/run"},
		"another job, overwrite": {pointer(func(p *result.Pointer) { p.Job.Name, p.Job.UID = "run", "uid-2" }), true, true, "was the result 1-older of the job team-a/run, and is replaced"},
		"somebody's manifest":    {`{"name": "web app"}`, false, false, "somebody else"},
		"somebody's other thing": {"hello", false, false, "somebody else"},
		"somebody's, overwrite":  {"hello", true, true, "was a file of somebody else, and is replaced"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, claim := newPod(t), t.TempDir()
			p.writeFacts(smallVideo)
			root := filepath.Join(claim, "walk/manifest.json")
			if os.Mkdir(filepath.Dir(root), 0o755) != nil || os.WriteFile(root, []byte(tc.there), 0o600) != nil {
				t.Fatal("cannot place the manifest")
			}
			p.run(p.engineConfig("good", p.l.OutputDir, p.l.FactsFile))
			cfg := deliverConfig(claim)
			cfg.Deliver.Overwrite = tc.overwrite
			m, code, out := p.run(cfg)
			refused := tc.want != "" && !tc.overwrite
			if refused && (code != 1 || m.Reason != report.ReasonDeliveryFailed || !strings.Contains(m.Message, tc.want)) ||
				!refused && (code != 0 || m.Result != report.ResultOK || !strings.Contains(out, tc.want)) {
				t.Fatalf("code %d %+v\n%s", code, m, out)
			}
			b, err := os.ReadFile(root)
			if err != nil || tc.moved == (string(b) == tc.there) {
				t.Errorf("the root's manifest: %s %v", b, err)
			}
			_, err = os.Stat(filepath.Join(claim, "walk/attempts/1-abcde/pose.json"))
			if (err == nil) == refused {
				t.Errorf("files: %v", err)
			}
		})
	}
}

// TestForgedEnd: an engine can write to the socket's folder, but saying "exit 0"
// proves nothing.
func TestForgedEnd(t *testing.T) {
	t.Parallel()
	m, code, out := afterSaying(t, "no json\n{\"exitCode\":0,\"frames\":20}\n")
	if code != 1 || m.Reason != report.ReasonOutputInvalid {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	// A preflight that was ended may end well by its own account.
	m, code, out = afterSaying(t, "{\"exitCode\":0,\"preflight\":true}\n")
	if code != 0 || m.Result != report.ResultSkipped {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
}

// afterSaying runs deliver beside somebody who says these lines on the socket.
func afterSaying(t *testing.T, lines string) (*report.Termination, int, string) {
	t.Helper()
	p, claim := newPod(t), t.TempDir()
	p.writeFacts(smallVideo)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	defer l.Close()
	if err := os.Rename(l.Addr().String(), p.l.SocketFile); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, _ = c.Write([]byte(lines))
			c.Close()
		}
	}()
	return p.run(deliverConfig(claim))
}
