package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// tree makes files below a new folder.
func tree(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), []byte(f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func listed(t *testing.T, dir, rel string) []string {
	t.Helper()
	var got []string
	if err := List(dir, rel, func(f File) error {
		got = append(got, f.Path)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

func TestListFollowsNothing(t *testing.T) {
	outside := tree(t, "secret")
	dir := tree(t, "a", "b/c", "b/.hidden", "b/d/e")
	for name, to := range map[string]string{"link": outside, "b/link": filepath.Join(outside, "secret"), "loop": ".", "broken": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, dir, ""); !slices.Equal(got, []string{"a", "b/.hidden", "b/c", "b/d/e"}) {
		t.Errorf("%q", got)
	}
	if got := listed(t, dir, "b"); !slices.Equal(got, []string{".hidden", "c", "d/e"}) {
		t.Errorf("%q", got)
	}
	for rel, want := range map[string]error{"link": ErrLink, "loop/b": ErrLink, "none": fs.ErrNotExist, "a": syscall.ENOTDIR} {
		if err := List(dir, rel, func(File) error { return nil }); !errors.Is(err, want) {
			t.Errorf("%s: %v", rel, err)
		}
	}
	for _, rel := range []string{"..", "b/../..", "/etc"} {
		if err := List(dir, rel, func(File) error { return nil }); err == nil {
			t.Errorf("%s was listed", rel)
		}
	}
}

func TestListIsBounded(t *testing.T) {
	dir := t.TempDir()
	deep := strings.Repeat("d/", MaxDepth+1)
	if err := os.MkdirAll(filepath.Join(dir, deep), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := List(dir, "", func(File) error { return nil }); !errors.Is(err, ErrDepth) {
		t.Errorf("error %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, deep)); err != nil {
		t.Fatal(err)
	}
	if err := List(dir, "", func(File) error { return nil }); err != nil {
		t.Errorf("%d folders: %v", MaxDepth, err)
	}
}

func TestRemove(t *testing.T) {
	outside := tree(t, "secret")
	dir := tree(t, "jobs/a/x/y/file", "jobs/a/z", "jobs/b")
	if err := os.Symlink(outside, filepath.Join(dir, "jobs/a/link")); err != nil {
		t.Fatal(err)
	}
	for _, rel := range []string{"jobs/a/x/y/file", "jobs/a/x/y/file", "jobs/a/none/at/all", "jobs/a/z/below/a/file"} {
		if err := Remove(dir, rel, "jobs/a"); err != nil {
			t.Errorf("%s: %v", rel, err)
		}
	}
	if got := listed(t, dir, ""); !slices.Equal(got, []string{"jobs/a/z", "jobs/b"}) {
		t.Errorf("%q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "jobs/a/x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty folders stay: %v", err)
	}
	// A link goes, and not what it leads to.
	if err := Remove(dir, "jobs/a/link/secret", "jobs/a"); !errors.Is(err, ErrLink) {
		t.Errorf("error %v", err)
	}
	if err := Remove(dir, "jobs/a/link", "jobs/a"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(outside, "secret")); err != nil {
		t.Error(err)
	}
	// The folder that is kept stays though it is empty.
	if err := Remove(dir, "jobs/a/z", "jobs/a"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "jobs/a")); err != nil {
		t.Error(err)
	}
	for _, tc := range [][2]string{{"jobs/b", "jobs/a"}, {"jobs/a", "jobs/a"}, {"../x", ""}, {"jobs/ab/x", "jobs/a"}, {"", ""}} {
		if err := Remove(dir, tc[0], tc[1]); err == nil {
			t.Errorf("%q was removed below %q", tc[0], tc[1])
		}
	}
	if err := Remove(dir, "jobs", ""); !errors.Is(err, ErrNotRegular) {
		t.Errorf("a folder: %v", err)
	}
}

func text(s string) func(*os.File) error {
	return func(f *os.File) error {
		_, err := f.WriteString(s)
		return err
	}
}

// TestWriteNewOnce lets many write the same new file: one does.
func TestWriteNewOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wg.Go(func() { errs[i] = WriteNew(dir, "a/b", text(fmt.Sprint(i))) })
	}
	wg.Wait()
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won < 0:
			won = i
		case !errors.Is(err, fs.ErrExist):
			t.Errorf("writer %d: %v", i, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a/b")); err != nil || string(b) != fmt.Sprint(won) {
		t.Errorf("writer %d won, %q is there: %v", won, b, err)
	}
	if got := listed(t, dir, ""); !slices.Equal(got, []string{"a/b"}) {
		t.Errorf("%q", got)
	}
}

// TestWriteAtOnce lets many write the same file: each writes it whole.
func TestWriteAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if err := Write(dir, "a/b", text(strings.Repeat(string(rune('a'+i)), 1000))); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	b, err := os.ReadFile(filepath.Join(dir, "a/b"))
	if err != nil || len(b) != 1000 || strings.Count(string(b), string(b[:1])) != 1000 {
		t.Errorf("%q %v", b, err)
	}
	if got := listed(t, dir, ""); !slices.Equal(got, []string{"a/b"}) {
		t.Errorf("%q", got)
	}
}

// TestWriteWhileFoldersGo has empty folders removed between their making and the
// file's.
func TestWriteWhileFoldersGo(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = Remove(dir, "a/b/c/other", "")
				_ = Remove(dir, "a/other", "")
			}
		}
	})
	for i := range 200 {
		if err := Write(dir, "a/b/c/file", text("x")); err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
		if err := Remove(dir, "a/b/c/file", ""); err != nil {
			t.Fatalf("remove %d: %v", i, err)
		}
	}
	close(stop)
	wg.Wait()
}

// TestWriteSweeps the leftovers of killed writers, and of nobody else.
func TestWriteSweeps(t *testing.T) {
	dir := tree(t, "d/.file.00.tmp", "d/.file.11.tmp", "d/.other.00.tmp", "d/.file.txt")
	old := time.Now().Add(-2 * stale)
	for _, f := range []string{"d/.file.00.tmp", "d/.other.00.tmp", "d/.file.txt"} {
		if err := os.Chtimes(filepath.Join(dir, f), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := Write(dir, "d/file", text("x")); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, dir, ""); !slices.Equal(got, []string{"d/.file.11.tmp", "d/.file.txt", "d/.other.00.tmp", "d/file"}) {
		t.Errorf("%q", got)
	}
	long := strings.Repeat("n", 255)
	if err := Write(dir, "d/"+long, text("x")); err != nil {
		t.Errorf("the longest name: %v", err)
	}
}
