package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// plugin is a manifest as krew reads it.
type plugin struct {
	APIVersion, Kind string
	Metadata         struct{ Name string }
	Spec             struct {
		Version, Homepage, ShortDescription, Description, Caveats string
		Platforms                                                 []struct {
			Selector struct{ MatchLabels map[string]string }
			URI      string
			SHA256   string
			Bin      string
			Files    []struct{ From, To string }
		}
	}
}

// dist has an archive for each platform.
func dist(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range platforms {
		b, err := pack(p.name("v1.2.3"), []entry{{p.binary(), []byte(p.OS + p.Arch), 0o755}, {"LICENSE", []byte("l"), 0o644}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, p.name("v1.2.3")), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func args(dir string, more ...string) []string {
	return append([]string{"-build=false", "-version", "v1.2.3", "-base-uri", "https://example.org/download/v1.2.3", "-dist", dir}, more...)
}

func TestManifest(t *testing.T) {
	dir := dist(t)
	if err := run(t.Context(), args(dir)); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "pose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var p plugin
	if err := yaml.UnmarshalStrict(raw, &p); err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	if p.Metadata.Name != "pose" || p.Spec.Version != "v1.2.3" || len(p.Spec.ShortDescription) > 50 || len(p.Spec.Platforms) != len(platforms) {
		t.Errorf("%+v", p)
	}
	seen := map[string]bool{}
	for _, pl := range p.Spec.Platforms {
		b, err := os.ReadFile(filepath.Join(dir, path.Base(pl.URI)))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		if pl.SHA256 != hex.EncodeToString(sum[:]) || !strings.HasPrefix(pl.URI, "https://example.org/download/v1.2.3/kubectl-pose_v1.2.3_"+pl.Selector.MatchLabels["os"]) {
			t.Errorf("%+v", pl)
		}
		var files []string
		for _, f := range pl.Files {
			files = append(files, f.From)
		}
		if err := contains(pl.URI, b, append(files, pl.Bin)...); err != nil {
			t.Errorf("%s: %v", pl.URI, err)
		}
		seen[pl.Selector.MatchLabels["os"]+"/"+pl.Selector.MatchLabels["arch"]] = true
	}
	if len(seen) != len(platforms) {
		t.Errorf("%v", seen)
	}
}

func TestRefuses(t *testing.T) {
	lost := dist(t)
	if err := os.Remove(filepath.Join(lost, platforms[3].name("v1.2.3"))); err != nil {
		t.Fatal(err)
	}
	broken := dist(t)
	if err := os.WriteFile(filepath.Join(broken, platforms[0].name("v1.2.3")), []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := dist(t)
	b, err := pack("x.zip", []entry{{"LICENSE", nil, 0o644}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(empty, platforms[4].name("v1.2.3")), b, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"an archive is missing": {args(lost), "darwin/arm64"},
		"it is none":            {args(broken), "no tar.gz"},
		"it has no binary":      {args(empty), "has no kubectl-pose.exe"},
		"no version":            {args(dist(t), "-version", "1.2"), "no version"},
		"no URL":                {args(dist(t), "-base-uri", "http://example.org"), "no https URL"},
	} {
		if err := run(t.Context(), c.args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTemplate has no digest of its own, and packing is repeatable.
func TestTemplate(t *testing.T) {
	if regexp.MustCompile(`[0-9a-f]{64}`).MatchString(manifestTemplate) {
		t.Error("the template has a digest")
	}
	for _, name := range []string{"a.zip", "a.tar.gz"} {
		one, err1 := pack(name, []entry{{"f", []byte("x"), 0o755}})
		two, err2 := pack(name, []entry{{"f", []byte("x"), 0o755}})
		if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
			t.Errorf("%s: %v %v", name, err1, err2)
		}
	}
}
