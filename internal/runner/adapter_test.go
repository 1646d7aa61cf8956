package runner_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
)

var adapterConfig = report.Config{Role: report.RoleAdapter}

// withAdapter is a pod with an adapter's image and the volume for its files.
func withAdapter(t *testing.T) *pod {
	t.Helper()
	p := newPod(t)
	for _, d := range []string{p.l.AdapterSource, p.l.AdapterDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func put(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if os.MkdirAll(filepath.Dir(path), 0o755) != nil || os.WriteFile(path, []byte(text), 0o600) != nil || os.Chmod(path, mode) != nil {
		t.Fatalf("cannot place %s", path)
	}
}

// tree lists files and folders below dir with mode and content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(b)
		}
		rel, _ := filepath.Rel(dir, path)
		out[rel] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAdapterIsCopied twice, as after a restart of the node, when the image has
// changed meanwhile.
func TestAdapterIsCopied(t *testing.T) {
	t.Parallel()
	p := withAdapter(t)
	put(t, filepath.Join(p.l.AdapterSource, "pose-phalp"), "#!python", 0o755)
	put(t, filepath.Join(p.l.AdapterSource, "lib/pose/a.py"), "a", 0o640)
	put(t, filepath.Join(p.l.AdapterSource, "lib/gone/b.py"), "b", 0o666|fs.ModeSetuid)
	put(t, filepath.Join(p.l.AdapterSource, "lib/it's $(odd)\n.py"), "", 0o444)
	if err := os.Mkdir(filepath.Join(p.l.AdapterSource, "empty"), 0o777); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"pose-phalp": "-r-xr-xr-x #!python", "lib": "dr-xr-xr-x", "lib/pose": "dr-xr-xr-x", "lib/pose/a.py": "-r--r--r-- a",
		"lib/gone": "dr-xr-xr-x", "lib/gone/b.py": "-r--r--r-- b", "lib/it's $(odd)\n.py": "-r--r--r-- ", "empty": "dr-xr-xr-x",
	}
	m, code, out := p.run(adapterConfig)
	if d := cmp.Diff(want, tree(t, p.l.AdapterDir)); d != "" || code != 0 || m.Result != report.ResultOK || !strings.Contains(out, "4 files") {
		t.Fatalf("code %d %+v\n%s\n%s", code, m, d, out)
	}
	if err := os.RemoveAll(filepath.Join(p.l.AdapterSource, "lib/gone")); err != nil {
		t.Fatal(err)
	}
	delete(want, "lib/gone")
	delete(want, "lib/gone/b.py")
	m, code, out = p.run(adapterConfig)
	if d := cmp.Diff(want, tree(t, p.l.AdapterDir)); d != "" || code != 0 {
		t.Fatalf("again: code %d %+v\n%s\n%s", code, m, d, out)
	}
}

func TestAdapterIsRefused(t *testing.T) {
	t.Parallel()
	const missing = "has no folder /adapter: put the adapter's files there"
	for name, tc := range map[string]struct {
		make func(t *testing.T, dir string)
		want string
	}{
		"no folder":     {func(_ *testing.T, dir string) { _ = os.Remove(dir) }, missing},
		"an empty one":  {func(*testing.T, string) {}, "the folder /adapter of the adapter's image holds no file"},
		"folders alone": {func(_ *testing.T, dir string) { _ = os.MkdirAll(filepath.Join(dir, "a/b"), 0o755) }, "holds no file"},
		"a file": {func(t *testing.T, dir string) { _ = os.Remove(dir); put(t, dir, "x", 0o644) },
			"/adapter of the adapter's image is a file, a folder is expected"},
		"a link to a folder": {func(_ *testing.T, dir string) { _ = os.Remove(dir); _ = os.Symlink("/etc", dir) },
			"/adapter of the adapter's image is a symbolic link"},
		"a link to a file": {func(_ *testing.T, dir string) { _ = os.Symlink("/etc/passwd", filepath.Join(dir, "a")) },
			`"/adapter/a" of the adapter's image is a symbolic link: an adapter holds regular files and folders only`},
		"a link to a folder within": {func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "a/x"), "x", 0o644)
			_ = os.Symlink("a", filepath.Join(dir, "b"))
		}, `"/adapter/b" of the adapter's image is a symbolic link`},
		"a pipe":   {func(_ *testing.T, dir string) { _ = syscall.Mkfifo(filepath.Join(dir, "p"), 0o644) }, "is a named pipe"},
		"a socket": {func(_ *testing.T, dir string) { _ = unix.Mknod(filepath.Join(dir, "s"), unix.S_IFSOCK|0o644, 0) }, "is a socket"},
		"too many": {func(t *testing.T, dir string) {
			for i := range 10_001 {
				put(t, filepath.Join(dir, fmt.Sprint(i)), "", 0o644)
			}
		}, "more than 10000 files and folders"},
		"too deep": {func(t *testing.T, dir string) { put(t, filepath.Join(dir, strings.Repeat("d/", 32), "f"), "x", 0o644) }, "more than 32 folders deep"},
		"too large": {func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "a"), "x", 0o644)
			put(t, filepath.Join(dir, "b"), "", 0o644)
			if err := os.Truncate(filepath.Join(dir, "b"), 192<<20); err != nil {
				t.Fatal(err)
			}
		}, `(with "/adapter/b")`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := withAdapter(t)
			tc.make(t, p.l.AdapterSource)
			m, code, out := p.run(adapterConfig)
			if code != 1 || m.Reason != report.ReasonAdapterInvalid || !strings.Contains(m.Message, tc.want) || strings.Contains(m.Message, p.root) {
				t.Fatalf("code %d %+v\n%s", code, m, out)
			}
		})
	}
}

// TestAdapterOfAnotherUser: images are mostly made by root, and the role is not.
func TestAdapterOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root to become another user")
	}
	p := withAdapter(t)
	p.binary = filepath.Join(p.root, "runner.test")
	copyFile(t, os.Args[0], p.binary)
	if err := os.Chmod(p.binary, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, p.root)
	secret := filepath.Join(p.l.AdapterSource, "lib/secret.py")
	put(t, filepath.Join(p.l.AdapterSource, "lib/a.py"), "a", 0o644)
	put(t, secret, "s", 0o600)
	as := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 2002, Gid: 2002}}
	if err := os.Chown(p.l.AdapterDir, 2002, 2002); err != nil {
		t.Fatal(err)
	}
	m, code, out := p.startAs(adapterConfig, as).wait()
	if code != 1 || m.Reason != report.ReasonAdapterInvalid || !strings.Contains(m.Message, `"/adapter/lib/secret.py" of the adapter's image cannot be read by user 2002: give everybody the right to (chmod -R a+rX /adapter in the image)`) {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	if err := os.Chmod(filepath.Join(p.l.AdapterSource, "lib/secret.py"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Twice: the second run must first open what the first one closed.
	for range 2 {
		if m, code, out := p.startAs(adapterConfig, as).wait(); code != 0 {
			t.Fatalf("code %d %+v\n%s", code, m, out)
		}
	}
	if d := cmp.Diff(map[string]string{"lib": "dr-xr-xr-x", "lib/a.py": "-r--r--r-- a", "lib/secret.py": "-r--r--r-- s"}, tree(t, p.l.AdapterDir)); d != "" {
		t.Error(d)
	}
}

// TestAdapterFillsTheDisk uses a volume that is really too small.
func TestAdapterFillsTheDisk(t *testing.T) {
	t.Parallel()
	p := withAdapter(t)
	if err := syscall.Mount("tmpfs", p.l.AdapterDir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("SKIPPED: a small volume cannot be mounted: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(p.l.AdapterDir, 0) })
	put(t, filepath.Join(p.l.AdapterSource, "a"), strings.Repeat("x", 1<<20), 0o644)
	if m, code, out := p.run(adapterConfig); code != 1 || m.Reason != report.ReasonScratchExceeded || !strings.Contains(m.Message, "disk is full while the adapter is copied") {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
}
