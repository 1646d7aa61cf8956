package jobs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSet(t *testing.T) {
	var s Settings
	for k, v := range map[string]string{
		"engine": "phalp", "device": "GPU", "overlay": "Blurred", "deletionPolicy": "Retain", "people": "3", "frameStart": "10", "frameEnd": "20",
		"sha256": strings.Repeat("a1", 32), "filename": "C:\\Users\\x\\my run.mp4", "filetype": "text/html",
	} {
		if err := s.Set(k, v); err != nil {
			t.Errorf("%s=%s: %v", k, v, err)
		}
	}
	want := Settings{Engine: "phalp", Device: "GPU", Overlay: "Blurred", DeletionPolicy: "Retain", People: 3, FrameStart: 10, FrameEnd: 20, SHA256: strings.Repeat("a1", 32), FileName: "my run.mp4"}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	for k, v := range map[string]string{
		"device": "gpu", "overlay": "x", "deletionPolicy": "no", "people": "0", "frameStart": "-1", "frameEnd": "0", "sha256": "AB", "uri": "s3://x/y", "podTemplate": "{}", "engine": strings.Repeat("x", 64),
	} {
		if err := new(Settings).Set(k, v); err == nil {
			t.Errorf("%s=%s is taken", k, v)
		}
	}
}

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"run.mp4":                        "run.mp4",
		"../../etc/passwd":               "passwd",
		"C:\\videos\\Läufer 1.mov":       "Läufer 1.mov",
		"<img src=x onerror=alert(1)>":   "img srcx onerroralert(1)",
		"a\x00b\r\nSet-Cookie: x.mp4":    "abSet-Cookie x.mp4",
		"abc\u202e4pm.exe":               "abc4pm.exe",
		"..":                             "..",
		"":                               "",
		"/":                              "",
		"\xff\xfe.mp4":                   ".mp4",
		strings.Repeat("x", 500):         strings.Repeat("x", 100),
		"$(rm -rf) `id` ; 'q' \"q\".avi": "(rm -rf) id  q q.avi",
	} {
		if got := CleanName(in); got != want {
			t.Errorf("CleanName(%q) = %q, want %q", in, got, want)
		}
	}
}
