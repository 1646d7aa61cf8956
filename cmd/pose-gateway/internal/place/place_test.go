package place

import (
	"testing"

	"github.com/pose-dev/pose-operator/internal/storage"
)

func TestServes(t *testing.T) {
	p := &Places{base: "s3://poses/gw"}
	for uri, want := range map[string]bool{
		"s3://poses/gw/a/results/x":        true,
		"s3://poses/gw/a/own.folder/x_1-2": true,
		"s3://poses/gw/b/results/x":        false,
		"s3://poses/gw/ab/results/x":       false,
		"s3://poses/gw/a":                  false,
		"s3://poses/gw/a/":                 false,
		"s3://poses/gw/a/../b/x":           false,
		"s3://poses/gw/a/..":               false,
		"s3://poses/gw/a/%2e%2e/b":         false,
		"s3://poses/gw/a//x":               false,
		"s3://poses/gw/a/x/":               false,
		"s3://poses/gw/a/x?y":              false,
		"s3://poses/gw/a/x\\..\\..":        false,
		"s3://other/gw/a/results/x":        false,
		"gs://poses/gw/a/results/x":        false,
		"s3://poses/gw/a/.hidden":          false,
		"":                                 false,
	} {
		if got := p.Serves("a", uri); got != want {
			t.Errorf("Serves(%q) = %t, want %t", uri, got, want)
		}
	}
}

func TestUploadOf(t *testing.T) {
	p := &Places{base: "s3://poses"}
	id := NewID()
	for uri, want := range map[string]string{
		p.Upload("a", id) + "/video.mp4":   id,
		p.Upload("b", id) + "/video.mp4":   "",
		p.Upload("a", id) + "/upload.json": "",
		p.Upload("a", id) + "/x/video.mp4": "",
		p.Upload("a", "..") + "/video.mp4": "",
		"https://host/video.mp4":           "",
	} {
		if got := p.UploadOf("a", uri); got != want {
			t.Errorf("UploadOf(%q) = %q, want %q", uri, got, want)
		}
	}
}

func TestNew(t *testing.T) {
	for base, ok := range map[string]bool{
		"s3://poses": true, "s3://poses/gw/": true, "gs://poses": true,
		"pvc://claim/x": false, "https://host/x": false, "s3://": false, "s3://a/../b": false, "s3://a:b@c/d": false, "poses": false, "": false,
	} {
		if _, err := New(base, storage.Options{}); (err == nil) != ok {
			t.Errorf("New(%q): %v", base, err)
		}
	}
}

func TestNewID(t *testing.T) {
	a, b := NewID(), NewID()
	if a == b || !ValidID(a) || ValidID(a+"a") || ValidID("../../etc/passwd/aaaaaaaaaa") {
		t.Errorf("ids %q, %q", a, b)
	}
}
