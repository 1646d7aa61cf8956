package place

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/storage"
)

// TestFileThatChanges after its digest was computed is not uploaded.
func TestFileThatChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	u, err := Measure(t.Context(), path, func(int64) {})
	if err != nil || u.Size != 5 || len(u.SHA256) != 64 {
		t.Fatalf("%+v %v", u, err)
	}
	dir := t.TempDir()
	sink, err := storage.OpenSink("pvc://videos/up", storage.Options{PVCMount: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"other", "longer than it was", "x"} {
		write(text)
		told := int64(0)
		if _, _, err := u.To(t.Context(), sink, func(n int64) { told += n }); err == nil || !strings.Contains(err.Error(), "changed since its digest") || told != 0 {
			t.Errorf("%q: %v, %d bytes were told of", text, err, told)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "up", "*", "a.mp4")); len(left) > 0 {
			t.Errorf("%q was stored: %v", text, left)
		}
	}
	write("first")
	uri, sent, err := u.To(t.Context(), sink, func(int64) {})
	if err != nil || !sent || uri != "pvc://videos/up/"+u.Key() {
		t.Errorf("%s %v %v", uri, sent, err)
	}
}

func TestMeasureRefuses(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.mp4")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{dir: "is a folder", empty: "is empty", os.DevNull: "no regular file", filepath.Join(dir, "no"): "no file", `a\b.mp4`: "separated by /"} {
		if _, err := Measure(t.Context(), path, func(int64) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	full := filepath.Join(dir, "full.mp4")
	if err := os.WriteFile(full, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Measure(ctx, full, func(int64) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
