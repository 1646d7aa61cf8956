package storage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClaim(t *testing.T) {
	mount := t.TempDir()
	o := Options{PVCMount: mount}
	sink, err := OpenSink("pvc://claim/jobs/walk", o)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Put(t.Context(), Object{Key: "attempts/1/a.txt", Size: 5}, strings.NewReader("hello")); err != nil {
		t.Fatal(err)
	}
	if info, err := sink.Stat(t.Context(), "attempts/1/a.txt"); err != nil || info.Size != 5 {
		t.Errorf("%+v %v", info, err)
	}
	if b, _, err := sink.Get(t.Context(), "attempts/1/a.txt", 5); err != nil || string(b) != "hello" {
		t.Errorf("%q %v", b, err)
	}
	if _, _, err := sink.Get(t.Context(), "attempts/1/a.txt", 4); err == nil {
		t.Error("a file beyond the limit was read")
	}
	if _, _, err := sink.Get(t.Context(), "none", 4); KindOf(err) != NotFound {
		t.Errorf("error %v", err)
	}
	if err := sink.Put(t.Context(), Object{Key: "short", Size: 9}, strings.NewReader("hello")); err == nil {
		t.Error("a short body was taken")
	}
	if names, _ := filepath.Glob(filepath.Join(mount, "jobs/walk/*")); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
	if got, err := download(t, "pvc://claim/jobs/walk/attempts/1/a.txt", o, 10); err != nil || string(got) != "hello" {
		t.Errorf("%q %v", got, err)
	}
}

func TestClaimFollowsNoLinks(t *testing.T) {
	mount, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, l := range [][2]string{{filepath.Join(outside, "secret"), "file"}, {outside, "dir"}} {
		if err := os.Symlink(l[0], filepath.Join(mount, l[1])); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{PVCMount: mount}
	for _, uri := range []string{"pvc://c/file", "pvc://c/dir/secret", "pvc://c/../" + filepath.Base(outside) + "/secret", "pvc://c/x/../../secret"} {
		if got, err := download(t, uri, o, 100); err == nil {
			t.Errorf("%s was read: %q", uri, got)
		}
	}
	sink, err := OpenSink("pvc://c", o)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"dir/new", "../new", "/new", "a/../../new", ""} {
		if err := sink.Put(t.Context(), Object{Key: key, Size: 1}, strings.NewReader("x")); err == nil {
			t.Errorf("%q was written", key)
		}
	}
	if names, _ := os.ReadDir(outside); len(names) != 1 {
		t.Errorf("outside: %v", names)
	}
}

func TestClaimErrors(t *testing.T) {
	mount := t.TempDir()
	if err := os.Mkdir(filepath.Join(mount, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]string{
		"pvc://c/none.mp4": "no such file", "pvc://c/folder": "not a regular file", "pvc://c/": "names no file", "pvc:///x": "names no host",
	} {
		if _, err := download(t, uri, Options{PVCMount: mount}, 10); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", uri, err)
		}
	}
}
