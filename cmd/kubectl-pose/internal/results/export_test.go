package results

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/clitest"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/verify"
)

const testResult = "../../../../internal/export/testdata/"

// listing gives the names in a folder, hidden ones too.
func listing(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// resultFolder copies the SMPL result, under a manifest if wanted, whose digest it
// gives.
func resultFolder(t *testing.T, dir string, manifest bool, change ...func(*result.Manifest)) (string, string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := result.Manifest{
		APIVersion: result.APIVersion, Kind: result.KindManifest, Version: result.ManifestVersion,
		Job: report.JobRef{Namespace: "snow", Name: "run-42", UID: "u", Attempt: 2}, AttemptID: "abcde-2", CompletedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	for _, name := range []string{"pose.json", "smpl.npz"} {
		b, err := os.ReadFile(testResult + "smpl/" + name)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, name), b)
		m.Files = append(m.Files, result.ManifestFileRef{Name: name, Path: name, Size: int64(len(b)), SHA256: sum(b)})
	}
	if !manifest {
		return dir, ""
	}
	for _, f := range change {
		f(&m)
	}
	raw, err := verify.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "manifest.json"), raw)
	return dir, sum(raw)
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func pointer(id, digest string) result.Pointer {
	return result.Pointer{
		APIVersion: result.APIVersion, Kind: result.KindPointer, Job: report.JobRef{Namespace: "snow", Name: "run-42", UID: "u", Attempt: 2},
		Attempt: 2, AttemptID: id, URI: "s3://elsewhere/x", ManifestSHA256: digest,
	}
}

func put(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func putJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, b)
}

func TestExportToAFolder(t *testing.T) {
	out := filepath.Join(t.TempDir(), "new", "folder")
	text, err := say(t, "", "export", testResult+"smpl", "--format", "bvh", "--out", out, "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var answer exported
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	want := []string{"bvh-README.txt", "person-1.bvh", "person-2.bvh"}
	if got := listing(t, out); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if answer.Format != "bvh" || len(answer.Files) != 3 || answer.Files[0].Path != filepath.Join(out, "person-1.bvh") || answer.Files[0].Size < 1000 {
		t.Errorf("%+v", answer)
	}
	readme, err := os.ReadFile(filepath.Join(out, "bvh-README.txt"))
	if err != nil || !strings.Contains(string(readme), "Rotations are SMPL's own") {
		t.Errorf("%v %s", err, readme)
	}
}

func TestExportToAFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := say(t, "", "export", testResult+"mediapipe/pose.json", "--format", "csv", "--out", filepath.Join(dir, "walk.csv")); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, dir); !slices.Equal(got, []string{"walk-README.txt", "walk.csv"}) {
		t.Errorf("%q", got)
	}
}

func TestExportReplacesNothingUnasked(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "person-2.trc"), []byte("mine"))
	args := []string{"export", testResult + "smpl", "--format", "trc", "--out", dir}
	_, err := say(t, "", args...)
	if err == nil || !strings.Contains(err.Error(), "person-2.trc is there already") || !strings.Contains(err.Error(), "--force") {
		t.Errorf("error %v", err)
	}
	if got := listing(t, dir); !slices.Equal(got, []string{"person-2.trc"}) {
		t.Errorf("an export that failed left %q", got)
	}
	if _, err := say(t, "", append(args, "--force")...); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "person-2.trc")); err != nil || !strings.HasPrefix(string(b), "PathFileType") {
		t.Errorf("%v %.40s", err, b)
	}
	if got := listing(t, dir); len(got) != 3 {
		t.Errorf("%q", got)
	}
}

func TestExportDoesNotWriteThroughALink(t *testing.T) {
	dir := t.TempDir()
	elsewhere := filepath.Join(t.TempDir(), "precious")
	put(t, elsewhere, []byte("mine"))
	if err := os.Symlink(elsewhere, filepath.Join(dir, "angles.csv")); err != nil {
		t.Fatal(err)
	}
	args := []string{"export", testResult + "smpl", "--format", "csv", "--out", dir}
	if _, err := say(t, "", args...); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("error %v", err)
	}
	if _, err := say(t, "", append(args, "--force")...); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(elsewhere); string(b) != "mine" {
		t.Errorf("the link's target is now %.40s", b)
	}
}

func TestExportFollowsManifests(t *testing.T) {
	root := t.TempDir()
	attempt, digest := resultFolder(t, filepath.Join(root, "attempts", "abcde-2"), true)
	putJSON(t, filepath.Join(root, "manifest.json"), pointer("abcde-2", digest))
	for name, from := range map[string]string{
		"the output's folder": root, "its manifest": filepath.Join(root, "manifest.json"),
		"the attempt's folder": attempt, "its manifest, too": filepath.Join(attempt, "manifest.json"),
		"pose.json alone": filepath.Join(attempt, "pose.json"),
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			if _, err := say(t, "", "export", from, "--format", "bvh", "--out", out); err != nil {
				t.Fatal(err)
			}
			if got := listing(t, out); len(got) != 3 {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestExportRefuses(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	changed, _ := resultFolder(t, at("changed"), true)
	b, _ := os.ReadFile(filepath.Join(changed, "pose.json"))
	put(t, filepath.Join(changed, "pose.json"), append(b, ' '))
	noSMPL, _ := resultFolder(t, at("no-smpl"), false)
	brokenSMPL, _ := resultFolder(t, at("broken-smpl"), false)
	if err := os.Remove(filepath.Join(noSMPL, "smpl.npz")); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(brokenSMPL, "smpl.npz"), []byte("no zip"))
	resultFolder(t, at("outside"), true, func(m *result.Manifest) { m.Files[0].Path = "../changed/pose.json" })
	resultFolder(t, at("nothing"), true, func(m *result.Manifest) { m.Files = m.Files[1:] })
	resultFolder(t, at("unlisted"), true, func(m *result.Manifest) { m.Files = m.Files[:1] })
	for name, p := range map[string]any{
		"pointer": pointer("../changed", strings.Repeat("a", 64)),
		"gone":    pointer("abcde-1", strings.Repeat("a", 64)),
		"kind":    map[string]any{"apiVersion": result.APIVersion, "kind": "List"},
	} {
		if err := os.Mkdir(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
		putJSON(t, filepath.Join(at(name), "manifest.json"), p)
	}
	if err := os.Mkdir(at("escape"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(noSMPL, "pose.json"), filepath.Join(at("escape"), "pose.json")); err != nil {
		t.Fatal(err)
	}
	put(t, at("taken"), nil)
	for name, tc := range map[string]struct {
		from, format, want string
		more               []string
	}{
		"no such result":             {at("none"), "bvh", "no such file", nil},
		"a folder without a result":  {dir, "bvh", "pose.json", nil},
		"a result on a claim":        {"pvc://claim/run", "bvh", "only pods of its cluster", nil},
		"a file that was changed":    {changed, "bvh", "the manifest says", nil},
		"no smpl.npz":                {noSMPL, "bvh", "fetch the whole folder", nil},
		"an smpl.npz that is none":   {brokenSMPL, "bvh", "smpl.npz", nil},
		"a manifest leads out":       {at("outside"), "bvh", "cannot be right", nil},
		"a pointer leads out":        {at("pointer"), "bvh", "cannot be a folder's name", nil},
		"a pointer to nothing":       {at("gone"), "bvh", "which is not there", nil},
		"a manifest without a pose":  {at("nothing"), "bvh", "lists no pose.json", nil},
		"another kind":               {at("kind"), "bvh", "no document of the pose operator", nil},
		"smpl.npz is not listed":     {at("unlisted"), "bvh", "is not part of the result", nil},
		"a link out of the folder":   {at("escape"), "bvh", "symbolic link", nil},
		"an unknown format":          {noSMPL, "fbx", "use one of coco", nil},
		"an unknown output":          {noSMPL, "csv", "use json", []string{"-o", "xml"}},
		"an unknown person":          {noSMPL, "csv", "choose from 1, 2", []string{"--person", "7"}},
		"a file where a folder is":   {noSMPL, "csv", "is a file, not a folder", []string{"--out", at("taken")}},
		"a place that is not here":   {noSMPL, "csv", "written to this machine only", []string{"--out", "s3://bucket/x"}},
		"a name that is all suffix":  {noSMPL, "csv", "nothing before its extension", []string{"--out", at(".csv")}},
		"a rate that makes no sense": {noSMPL, "csv", "makes no sense", []string{"--capture-fps", "-3"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			args := append([]string{"export", tc.from, "--format", tc.format, "--out", out}, tc.more...)
			if _, err := say(t, "", args...); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one that says %q", err, tc.want)
			}
			if got := listing(t, out); len(got) > 0 {
				t.Errorf("it left %q", got)
			}
		})
	}
}

func TestExportEndsWhenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	out := filepath.Join(t.TempDir(), "out")
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	err := runExport(ctx, testResult+"smpl", exportFlags{format: "csv", out: out}, streams, nil)
	// Reading stops already, not only the first frame.
	if err == nil || !strings.Contains(err.Error(), "interrupted") || strings.Contains(err.Error(), "interrupted at") {
		t.Errorf("error %v", err)
	}
	if got := listing(t, filepath.Dir(out)); len(got) > 0 {
		t.Errorf("it left %q", got)
	}
}

// TestExportEndsWhileParametersAreRead: smpl.npz is read with the same patience.
func TestExportEndsWhileParametersAreRead(t *testing.T) {
	r, err := openResult(context.Background(), verify.Folder(testResult+"smpl"), testResult+"smpl", "", parts{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.loadSMPL(ctx, "smpl.npz"); !errors.Is(err, errInterrupted) {
		t.Errorf("error %v", err)
	}
}

// TestExportEndsWhenTold: kill sends SIGTERM, a terminal that closes SIGHUP.
func TestExportEndsWhenTold(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		guard := make(chan os.Signal, 1)
		signal.Notify(guard, s) // the test must not end with it
		ctx, stop := term.UntilEnded(context.Background())
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
		<-guard
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Errorf("%v does not end it", s)
		}
		stop()
		signal.Stop(guard)
	}
}

// TestExportThatFailsTakesItsFoldersAway: those above the folder of --out, too.
func TestExportThatFailsTakesItsFoldersAway(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "mine"), nil)
	args := []string{"export", testResult + "smpl", "--format", "csv", "--out", filepath.Join(dir, "a", "b", "c"), "--person", "7"}
	if _, err := say(t, "", args...); err == nil {
		t.Fatal("it found a person who is not there")
	}
	if got := listing(t, dir); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("it left %q", got)
	}
}

// TestExportPutsBackWhatItReplaced when a later file finds no place.
func TestExportPutsBackWhatItReplaced(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a"), []byte("mine"))
	if err := os.Symlink("a", filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	o, err := newOutput("--out", dir, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		w, err := o.create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := o.commit(); err == nil || !strings.Contains(err.Error(), "d is a folder") {
		t.Errorf("error %v", err)
	}
	o.discard()
	if got := listing(t, dir); !slices.Equal(got, []string{"a", "b", "d"}) {
		t.Errorf("it left %q", got)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(b) != "mine" {
		t.Errorf("a is now %q, %v", b, err)
	}
	if target, err := os.Readlink(filepath.Join(dir, "b")); err != nil || target != "a" {
		t.Errorf("b leads to %q, %v", target, err)
	}
}

func TestExportReplacesNoFileThatAppearsMeanwhile(t *testing.T) {
	dir := t.TempDir()
	o, err := newOutput("--out", dir, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		w, err := o.create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(dir, "b"), []byte("mine"))
	if _, err := o.commit(); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("error %v", err)
	}
	o.discard()
	if got := listing(t, dir); !slices.Equal(got, []string{"b"}) {
		t.Errorf("it left %q", got)
	}
	for _, name := range []string{"", "..", "../x", "a/b", "/etc/x"} {
		if _, err := o.create(name); err == nil {
			t.Errorf("%q was taken for a file's name", name)
		}
	}
}

// TestExportTimes: the source's own times are used where the result has them, and are
// checked as the rest of it is.
func TestExportTimes(t *testing.T) {
	pose, err := os.ReadFile(testResult + "smpl/pose.json")
	if err != nil {
		t.Fatal(err)
	}
	var head struct{ Video result.Video }
	if err := json.Unmarshal(pose, &head); err != nil {
		t.Fatal(err)
	}
	times := result.FrameTimes{APIVersion: result.APIVersion, Kind: result.KindFrameTimes, StartFrame: head.Video.StartFrame}
	for i := range head.Video.Frames {
		times.Seconds = append(times.Seconds, 100+float64(i*i)/8) // slower and slower
	}
	good, err := json.Marshal(times)
	if err != nil {
		t.Fatal(err)
	}
	listed := func(b []byte) func(*result.Manifest) {
		return func(m *result.Manifest) {
			m.Files = append(m.Files, result.ManifestFileRef{Name: "frameTimes", Path: result.FrameTimesFile, Size: int64(len(b)), SHA256: sum(b)})
		}
	}
	const varies = "frame rate varies"
	for name, c := range map[string]struct {
		manifest bool
		change   func(*result.Manifest)
		file     []byte
		args     []string
		want     string // in the README, or in the error
		fails    bool
	}{
		"listed":                  {manifest: true, change: listed(good), file: good, want: varies},
		"without a manifest":      {file: good, want: varies},
		"left out":                {manifest: true, change: listed(good), file: good, args: []string{"--constant-rate"}},
		"none":                    {manifest: true},
		"not listed":              {manifest: true, file: good},
		"changed":                 {manifest: true, change: listed(good), file: append([]byte{' '}, good[:len(good)-1]...), want: "the manifest says", fails: true},
		"missing":                 {manifest: true, change: listed(good), want: result.FrameTimesFile, fails: true},
		"the engine's own":        {manifest: true, change: listed([]byte("{}")), file: []byte("{}"), want: "--constant-rate", fails: true},
		"broken, and no manifest": {file: []byte("{"), want: "is not valid", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			var change []func(*result.Manifest)
			if c.change != nil {
				change = append(change, c.change)
			}
			dir, _ := resultFolder(t, t.TempDir(), c.manifest, change...)
			if c.file != nil {
				put(t, filepath.Join(dir, result.FrameTimesFile), c.file)
			}
			out := t.TempDir()
			said, err := clitest.Say(t, Commands, "", append([]string{"export", dir, "--format", "csv", "--out", out}, c.args...)...)
			if c.fails {
				if err == nil || !strings.Contains(err.Error(), c.want) || len(listing(t, out)) > 0 {
					t.Errorf("%v %s", err, said)
				}
				return
			}
			readme, rerr := os.ReadFile(filepath.Join(out, "csv-README.txt"))
			if err != nil || rerr != nil || strings.Contains(string(readme), varies) != (c.want == varies) {
				t.Errorf("%v %v %s", err, rerr, readme)
			}
		})
	}
}
