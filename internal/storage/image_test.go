package storage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestImage reads a file of an image that is mounted, as the kubelet mounts it.
func TestImage(t *testing.T) {
	mount := t.TempDir()
	if err := os.MkdirAll(filepath.Join(mount, "clips"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mount, "clips", "walk.mp4"), []byte("hello"), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(mount, "link")); err != nil {
		t.Fatal(err)
	}
	o := Options{PVCMount: mount}
	digest := "@sha256:" + strings.Repeat("0a", 32)
	if got, err := download(t, "oci://registry.example:5000/videos/walk"+digest+"//clips/walk.mp4", o, 10); err != nil || string(got) != "hello" {
		t.Errorf("%q %v", got, err)
	}
	for uri, want := range map[string]string{
		"oci://registry.example/walk" + digest + "//clips/none.mp4":    "no such file",
		"oci://registry.example/walk" + digest + "//link":              "symbolic link",
		"oci://registry.example/walk" + digest + "//../x":              "lead out",
		"oci://registry.example/walk" + digest + "//clips":             "not a regular file",
		"oci://registry.example/walk" + digest + "//clips/":            "names no file",
		"oci://registry.example/walk" + digest + "/clips/walk.mp4":     "names no file",
		"oci://registry.example/walk:latest//clips/walk.mp4":           "named by its digest",
		"oci://registry.example/walk@sha256:123//clips/walk.mp4":       "named by its digest",
		"oci://user:secret@registry.example/walk" + digest + "//x.mp4": "user, password",
	} {
		if _, err := download(t, uri, o, 1000); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if _, err := OpenSource("oci://registry.example/walk"+digest+"//x.mp4", Options{}); err == nil || !strings.Contains(err.Error(), "not mounted") {
		t.Errorf("error %v", err)
	}
	if _, err := OpenSink("oci://registry.example/walk"+digest+"//x", o); KindOf(err) != Refused {
		t.Errorf("results in an image: %v", err)
	}
}
