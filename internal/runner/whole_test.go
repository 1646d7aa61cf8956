package runner_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
)

const vtest = "/usr/share/doc/opencv-doc/examples/data/vtest.avi"

func deliverConfig(claim string) report.Config {
	return report.Config{Role: report.RoleDeliver, Deliver: &report.DeliverConfig{
		URI: "pvc://results/walk", AttemptID: "1-abcde", PVCMount: claim, MaxBytes: 1 << 30, TimeoutSeconds: 60, EngineWaitSeconds: 60,
		Outputs: []report.OutputFile{
			{Name: "pose", Path: "pose.json", Format: report.FormatPoseJSON, Required: true},
			{Name: "overlay", Path: "overlay.mp4", Format: report.FormatMP4},
		},
		Provenance: report.Provenance{Engine: "test", Variant: "cpu", Device: "CPU"},
	}}
}

// TestWholePod runs every role after the other on a real video, as the pod does.
func TestWholePod(t *testing.T) {
	t.Parallel()
	tool(t, "ffmpeg", "ffprobe")
	p := newPod(t)
	claim := t.TempDir()
	copyFile(t, vtest, filepath.Join(claim, "vtest.avi"))
	found := "frame,x,y,w,h\n9,1,2,30,40\n10,1,2,30,40\n59,1,2,30,40\n59,500,2,30,40\n60,1,2,30,40\n"
	if err := os.WriteFile(filepath.Join(claim, "vtest.csv"), []byte(found), 0o600); err != nil {
		t.Fatal(err)
	}

	if m, code, out := p.run(report.Config{Role: report.RoleCopy}); code != 0 || m.Result != report.ResultOK {
		t.Fatalf("copy: %d %+v\n%s", code, m, out)
	}
	if info, err := os.Stat(p.l.RunnerBinary); err != nil || info.Mode().Perm() != 0o555 {
		t.Fatalf("the runner's copy: %v %v", info, err)
	}
	fetched, code, out := p.run(report.Config{Role: report.RoleFetch, Fetch: &report.FetchConfig{URI: "pvc://videos/vtest.avi", PVCMount: claim, MaxBytes: 1 << 30, TimeoutSeconds: 60,
		Boxes: &report.BoxesFetchConfig{URI: "pvc://videos/vtest.csv", PVCMount: claim, MaxBytes: 1 << 20}}})
	if code != 0 || fetched.Fetch.Bytes != 8131690 {
		t.Fatalf("fetch: %d %+v\n%s", code, fetched, out)
	}
	prepared, code, out := p.run(report.Config{Role: report.RolePrepare, Prepare: &report.PrepareConfig{StartFrame: 10, EndFrame: 60, MaxPixels: 1 << 24, MaxFrames: 10000, TimeoutSeconds: 120, Boxes: report.BoxesCSV}})
	if code != 0 {
		t.Fatalf("prepare: %d %+v\n%s", code, prepared, out)
	}
	want := &report.VideoFacts{
		Container: "mp4", Codec: "h264", Width: 768, Height: 576, FPS: 10, Frames: 50, StartFrame: 10,
		Normalised: true, DurationSec: 5, SourceSHA256: fetched.Fetch.SHA256, SourceVersion: fetched.Fetch.Version,
		Source: &report.SourceFacts{Bytes: 8131690, Container: "avi", Codec: "msmpeg4v3", Width: 768, Height: 576, Why: "container avi"},
		Boxes:  &report.BoxesFacts{Boxes: 3, Frames: 2, SourceSHA256: digest(found), SourceVersion: fetched.Fetch.Boxes.Version},
	}
	if d := cmp.Diff(want, prepared.Video); d != "" {
		t.Fatalf("facts: %s", d)
	}

	deliver := p.start(deliverConfig(claim))
	m, code, out := p.run(p.engineConfig("good", p.l.OutputDir, p.l.FactsFile))
	if code != 0 || m.Result != report.ResultOK || m.Engine.Stage != "Tracking" || m.Engine.Frames != 50 || *m.Engine.ExitCode != 0 {
		t.Fatalf("exec: %d %+v %+v\n%s", code, m, m.Engine, out)
	}
	d, code, out := deliver.wait()
	if code != 0 || d.Result != report.ResultOK || d.Deliver == nil {
		t.Fatalf("deliver: %d %+v\n%s", code, d, out)
	}
	checkDelivered(t, filepath.Join(claim, "walk"), d.Deliver, fetched.Fetch.SHA256)
	if !strings.Contains(out, "stage=Deliver") {
		t.Errorf("deliver's log has no progress:\n%s", out)
	}
}

func checkDelivered(t *testing.T, dir string, d *report.DeliveryReport, source string) {
	t.Helper()
	if d.URI != "pvc://results/walk/attempts/1-abcde" || d.Frames != 50 || d.People != 1 || len(d.Files) != 1 {
		t.Errorf("report: %+v", d)
	}
	var pointer result.Pointer
	var manifest result.Manifest
	readJSON(t, filepath.Join(dir, "manifest.json"), &pointer)
	readJSON(t, filepath.Join(dir, "attempts/1-abcde/manifest.json"), &manifest)
	if pointer.ManifestSHA256 != d.ManifestSHA256 || pointer.URI != d.URI || pointer.Attempt != 1 || pointer.Job.UID != "uid-1" {
		t.Errorf("pointer: %+v", pointer)
	}
	if manifest.Video.SourceSHA256 != source || manifest.Video.Boxes == nil || manifest.Video.Boxes.Boxes != 3 || manifest.Frames != 50 || manifest.People != 1 || manifest.Provenance.Engine != "test" ||
		manifest.Video.Source == nil || manifest.Engine == nil || manifest.Engine.Version != "1" || manifest.Run == nil || manifest.FetchedAt == nil || manifest.PreparedAt.Before(*manifest.FetchedAt) {
		t.Errorf("manifest: %+v", manifest)
	}
	info, err := os.Stat(filepath.Join(dir, "attempts/1-abcde/pose.json"))
	if err != nil || len(manifest.Files) != 1 || info.Size() != manifest.Files[0].Size || manifest.Files[0].SHA256 != d.Files[0].SHA256 {
		t.Errorf("file: %v %v %+v", info, err, manifest.Files)
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}
