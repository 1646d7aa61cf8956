package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const testResult = "../../internal/export/testdata/"

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

// resultFolder copies the SMPL result, under a manifest if wanted.
func resultFolder(t *testing.T, dir string, manifest bool) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var refs []map[string]any
	for _, name := range []string{"pose.json", "smpl.npz"} {
		b, err := os.ReadFile(testResult + "smpl/" + name)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, name), b)
		sum := sha256.Sum256(b)
		refs = append(refs, map[string]any{"name": name, "path": name, "size": len(b), "sha256": hex.EncodeToString(sum[:])})
	}
	if manifest {
		putJSON(t, filepath.Join(dir, "manifest.json"), map[string]any{"kind": "PoseManifest", "files": refs})
	}
	return dir
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
	attempt := resultFolder(t, filepath.Join(root, "attempts", "abcde-2"), true)
	putJSON(t, filepath.Join(root, "manifest.json"), map[string]any{"kind": "PosePointer", "attemptID": "abcde-2", "uri": "s3://elsewhere/x"})
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
	changed := resultFolder(t, at("changed"), true)
	b, _ := os.ReadFile(filepath.Join(changed, "pose.json"))
	put(t, filepath.Join(changed, "pose.json"), append(b, ' '))
	noSMPL := resultFolder(t, at("no-smpl"), false)
	brokenSMPL := resultFolder(t, at("broken-smpl"), false)
	if err := os.Remove(filepath.Join(noSMPL, "smpl.npz")); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(brokenSMPL, "smpl.npz"), []byte("no zip"))
	for name, manifest := range map[string]map[string]any{
		"outside": {"kind": "PoseManifest", "files": []any{map[string]any{"name": "pose.json", "path": "../changed/pose.json"}}},
		"pointer": {"kind": "PosePointer", "attemptID": "../changed"},
		"gone":    {"kind": "PosePointer", "attemptID": "abcde-1"},
		"nothing": {"kind": "PoseManifest"},
		"kind":    {"kind": "List"},
	} {
		if err := os.Mkdir(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
		putJSON(t, filepath.Join(at(name), "manifest.json"), manifest)
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
		"a result in a store":        {"s3://bucket/run", "bvh", "fetch its folder first", nil},
		"a file that was changed":    {changed, "bvh", "the manifest says", nil},
		"no smpl.npz":                {noSMPL, "bvh", "fetch the whole folder", nil},
		"an smpl.npz that is none":   {brokenSMPL, "bvh", "smpl.npz", nil},
		"a manifest leads out":       {at("outside"), "bvh", "leads out of its folder", nil},
		"a pointer leads out":        {at("pointer"), "bvh", "no name of a folder", nil},
		"a pointer to nothing":       {at("gone"), "bvh", "fetch the folder attempts", nil},
		"a manifest without a pose":  {at("nothing"), "bvh", "lists no pose.json", nil},
		"another kind":               {at("kind"), "bvh", `kind "List"`, nil},
		"a link out of the folder":   {at("escape"), "bvh", "escapes", nil},
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
	err := runExport(ctx, testResult+"smpl", exportFlags{format: "csv", out: out}, streams)
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
	p, err := findResult(testResult + "smpl")
	if err != nil {
		t.Fatal(err)
	}
	r := &localResult{opened: []io.Closer{p.root}}
	defer r.Close()
	if err := r.load(context.Background(), testResult+"smpl", p, false); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.loadSMPL(ctx, p, "smpl.npz"); !errors.Is(err, errInterrupted) {
		t.Errorf("error %v", err)
	}
}

// TestExportEndsWhenTold: kill sends SIGTERM, a terminal that closes SIGHUP.
func TestExportEndsWhenTold(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		guard := make(chan os.Signal, 1)
		signal.Notify(guard, s) // the test must not end with it
		ctx, stop := untilEnded(context.Background())
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
	o, err := newOutput(dir, true)
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
	o, err := newOutput(dir, false)
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
