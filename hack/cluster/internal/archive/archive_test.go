package archive

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStaticImage(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "pause")
	if err := os.WriteFile(program, []byte("a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	var archives [2][]byte
	for i := range archives {
		file := filepath.Join(dir, "image.tar")
		if err := WriteStatic(file, "localhost/x:dev", program); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
		images, err := Images(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(images) != 1 || images[0].RepoTags[0] != "localhost/x:dev" || !strings.HasPrefix(images[0].ID(), "sha256:") {
			t.Errorf("got %+v", images)
		}
		layers, err := LayerBytes(file)
		if err != nil {
			t.Fatal(err)
		}
		if size := layers[images[0].Layers[0]]; len(layers) != 1 || size < 1024 || size > int64(len(archives[i])) {
			t.Errorf("layers %v of an archive of %d bytes with layers %v", layers, len(archives[i]), images[0].Layers)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same program gave two different images")
	}
}

func TestNotAnArchive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(file, make([]byte, 1024), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Images(file); err == nil || !strings.Contains(err.Error(), "manifest.json") {
		t.Errorf("got %v", err)
	}
}
