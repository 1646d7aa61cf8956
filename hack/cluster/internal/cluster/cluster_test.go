package cluster

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
)

func TestOwner(t *testing.T) {
	run := t.TempDir()
	if err := checkOwner(run, "/a"); err != nil {
		t.Fatalf("a free machine: %v", err)
	}
	since := time.Date(2026, 1, 2, 3, 4, 0, 0, time.Local)
	if err := writeOwner(run, Owner{Dir: "/a/.cluster", Program: "/a/.tools/bin/cluster", Since: since}); err != nil {
		t.Fatal(err)
	}
	if err := checkOwner(run, "/a/.cluster"); err != nil {
		t.Errorf("the owner itself: %v", err)
	}
	err := checkOwner(run, "/b/.cluster")
	if !errors.As(err, &ErrForeign{}) {
		t.Fatalf("another clone: %v", err)
	}
	// One line that says where it runs and both ways out.
	for _, part := range []string{
		"/a/.cluster", "2026-01-02 03:04", "`/a/.tools/bin/cluster down --dir /a/.cluster`", "--replace",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the message lacks %q: %s", part, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %s", err)
	}
	if err := os.WriteFile(ownerFile(run), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkOwner(run, "/b/.cluster"); err == nil || errors.As(err, &ErrForeign{}) {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestMissingNamesEachPackageOnce(t *testing.T) {
	want := map[string]string{"ctr": "containerd", "containerd": "containerd", "ip": "iproute2", "runc": "runc"}
	got := missing(want, func(program string) bool { return program == "runc" })
	if !reflect.DeepEqual(got, []string{"containerd", "iproute2"}) {
		t.Errorf("got %v", got)
	}
}

func TestPinned(t *testing.T) {
	for tag, want := range map[string]string{
		"localhost/a:dev":         "localhost/a@sha256:1",
		"localhost:5000/a":        "localhost:5000/a@sha256:1",
		"localhost:5000/b/a:v1.2": "localhost:5000/b/a@sha256:1",
	} {
		if got := pinned(tag, "sha256:1"); got != want {
			t.Errorf("%s: %s", tag, got)
		}
	}
}

func TestParseDigest(t *testing.T) {
	listing := "REF TYPE DIGEST SIZE PLATFORMS LABELS\n" +
		"localhost/a:dev2 application/x sha256:22 1 MiB linux/amd64 -\n" +
		"localhost/a:dev application/x sha256:11 1 MiB linux/amd64 -\n"
	if got, err := parseDigest(listing, "localhost/a:dev"); err != nil || got != "sha256:11" {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := parseDigest(listing, "localhost/b:dev"); err == nil {
		t.Error("an image that is not there has a digest")
	}
}

func TestArchiveOf(t *testing.T) {
	c := New(layout.Paths{Dir: t.TempDir()}, io.Discard)
	file := filepath.Join(c.Images(), "media.tar")
	if err := os.MkdirAll(c.Images(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, argument := range []string{"media", file} {
		if got, err := c.archiveOf(argument); err != nil || got != file {
			t.Errorf("%s: %s, %v", argument, got, err)
		}
	}
	if _, err := c.archiveOf("nosuch"); err == nil || !strings.Contains(err.Error(), "media") {
		t.Errorf("the message does not say what is there: %v", err)
	}
}

func TestStagedGPU(t *testing.T) {
	var n node
	n.Metadata.Labels = map[string]string{}
	for k, v := range gpuLabels {
		n.Metadata.Labels[k] = v
	}
	n.Status.Capacity = map[string]string{gpuResource: "1"}
	n.Status.Allocatable = map[string]string{gpuResource: "1"}
	if !staged(n) {
		t.Error("a complete node is not recognised")
	}
	n.Metadata.Annotations = map[string]string{gpuAnnotation: "0"}
	if staged(n) {
		t.Error("the annotation is ignored")
	}
	n.Metadata.Annotations = nil
	n.Status.Allocatable[gpuResource] = "0" // what a restarted kubelet leaves
	if staged(n) {
		t.Error("a lost GPU is not noticed")
	}
	n.Status.Allocatable[gpuResource] = "1"
	n.Metadata.Labels["nvidia.com/gpu.product"] = "changed-by-a-test"
	if !staged(n) {
		t.Error("a label that a test changed would be overwritten")
	}
	delete(n.Metadata.Labels, "nvidia.com/gpu.product")
	if staged(n) {
		t.Error("a lost label is not noticed")
	}
}
