package send_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/send"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// claim with a file in a folder, and things that are none of it.
func claim(t *testing.T) (report.SendConfig, string) {
	t.Helper()
	mount := t.TempDir()
	folder := filepath.Join(mount, "results", "run")
	if err := os.MkdirAll(filepath.Join(folder, "sub"), 0o750); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(mount, "secret.txt")
	err := errors.Join(
		os.WriteFile(filepath.Join(folder, "sub", "pose.json"), []byte("line\n\x00rest"), 0o600),
		os.WriteFile(filepath.Join(folder, "empty"), nil, 0o600),
		os.WriteFile(outside, []byte("secret"), 0o600),
		os.Symlink(outside, filepath.Join(folder, "link")),
		os.Symlink(mount, filepath.Join(folder, "up")),
	)
	if err != nil {
		t.Fatal(err)
	}
	return report.SendConfig{URI: "pvc://results/results/run", PVCMount: mount}, folder
}

func TestSentAndReceived(t *testing.T) {
	cfg, _ := claim(t)
	for key, want := range map[string]string{"sub/pose.json": "line\n\x00rest", "empty": ""} {
		var sent bytes.Buffer
		if err := send.File(t.Context(), cfg, key, &sent); err != nil {
			t.Fatal(err)
		}
		body, size, err := send.Receive(&sent, "there")
		if err != nil || size != int64(len(want)) {
			t.Fatalf("%s: %d %v", key, size, err)
		}
		if b, err := io.ReadAll(body); err != nil || string(b) != want {
			t.Errorf("%s: %q %v", key, b, err)
		}
	}
}

// TestNothingElseIsSent: what lies outside of the folder, and what is no file.
func TestNothingElseIsSent(t *testing.T) {
	cfg, _ := claim(t)
	for key, kind := range map[string]storage.Kind{
		"none": storage.NotFound, "link": storage.Other, "up/secret.txt": storage.Other, "../secret.txt": storage.Other, "../../secret.txt": storage.Other,
		"sub": storage.Other, "": storage.Other, "/etc/passwd": storage.Other, "sub/../../../secret.txt": storage.Other, strings.Repeat("x", 5000): storage.Other,
	} {
		var sent bytes.Buffer
		if err := send.File(t.Context(), cfg, key, &sent); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(sent.String(), "secret\n") || sent.Len() > 4096 {
			t.Errorf("%.20s: %d bytes came: %s", key, sent.Len(), sent.String())
		}
		_, _, err := send.Receive(&sent, "there")
		if err == nil || storage.KindOf(err) != kind || storage.Temporary(err) || !strings.HasPrefix(err.Error(), "there: ") {
			t.Errorf("%.20s: kind %d: %v", key, storage.KindOf(err), err)
		}
	}
	cfg.URI = "s3://bucket/key"
	var sent bytes.Buffer
	if err := send.File(t.Context(), cfg, "sub/pose.json", &sent); err != nil || !strings.Contains(sent.String(), "no claim") {
		t.Errorf("%v %s", err, sent.String())
	}
}

// TestHalfIsNoFile: a connection that breaks anywhere can be tried again, and an answer
// that is none cannot.
func TestHalfIsNoFile(t *testing.T) {
	cfg, _ := claim(t)
	var sent bytes.Buffer
	if err := send.File(t.Context(), cfg, "sub/pose.json", &sent); err != nil {
		t.Fatal(err)
	}
	for n := range sent.Len() {
		body, _, err := send.Receive(bytes.NewReader(sent.Bytes()[:n]), "there")
		if err == nil {
			_, err = io.ReadAll(body)
		}
		if !storage.Temporary(err) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
	own := &storage.Error{Kind: storage.Forbidden, Place: "x", Cause: "no"}
	if _, _, err := send.Receive(&failing{own}, "there"); !errors.Is(err, own) {
		t.Errorf("%v", err)
	}
	for _, foreign := range []string{"exec failed\n", `{"size":-1}` + "\n", `[]` + "\n"} {
		if _, _, err := send.Receive(strings.NewReader(foreign), "there"); err == nil || storage.Temporary(err) || !strings.Contains(err.Error(), "release") {
			t.Errorf("%q: %v", foreign, err)
		}
	}
	if _, _, err := send.Receive(strings.NewReader(strings.Repeat("x", 1<<20)), "there"); err == nil {
		t.Error("a header without an end was taken")
	}
	// More than was announced is not read.
	body, _, err := send.Receive(strings.NewReader(`{"size":2}`+"\nabc"), "there")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(body); err != nil || string(b) != "ab" {
		t.Errorf("%q %v", b, err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestHold(t *testing.T) {
	if err := send.Hold(t.Context(), report.SendConfig{}); err != nil {
		t.Errorf("its time was over: %v", err)
	}
	told := errors.New("told to end")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(told)
	if err := send.Hold(ctx, report.SendConfig{TimeoutSeconds: 3600}); !errors.Is(err, told) {
		t.Errorf("%v", err)
	}
}
