// Package archive reads and writes images as docker-archive files, so that
// images of a single static program need no image builder.
package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
)

// Image is what an archive's manifest says of one image in it.
type Image struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// ID is the digest of the image's configuration, which names its contents.
func (i Image) ID() string {
	base := path.Base(i.Config)
	return "sha256:" + base[:len(base)-len(path.Ext(base))]
}

// Images lists the images in a docker-archive file.
func Images(file string) ([]Image, error) {
	var images []Image
	err := walk(file, func(header *tar.Header, r io.Reader) error {
		if path.Clean(header.Name) != "manifest.json" {
			return nil
		}
		if err := json.NewDecoder(r).Decode(&images); err != nil {
			return fmt.Errorf("manifest.json in %s: %w", file, err)
		}
		return errFound
	})
	if err == nil {
		return nil, fmt.Errorf("%s is no docker-archive: it has no manifest.json", file)
	}
	if !errors.Is(err, errFound) {
		return nil, err
	}
	return images, nil
}

// LayerBytes gives the size of each layer in a docker-archive file, by the name of
// its file. Archives of this project's builder name layers by their digest, so
// that a layer of two archives is one.
func LayerBytes(file string) (map[string]int64, error) {
	layers := map[string]int64{}
	err := walk(file, func(header *tar.Header, _ io.Reader) error {
		if header.Typeflag == tar.TypeReg && path.Ext(header.Name) == ".tar" {
			layers[path.Clean(header.Name)] = header.Size
		}
		return nil
	})
	return layers, err
}

// errFound ends a walk early.
var errFound = errors.New("found")

func walk(file string, visit func(*tar.Header, io.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	r := tar.NewReader(f)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if err := visit(header, r); err != nil {
			return err
		}
	}
}

// WriteStatic writes an image that holds one static program and runs it as
// an unprivileged user.
func WriteStatic(file, tag, program string) error {
	layer, err := staticLayer(program)
	if err != nil {
		return err
	}
	diffID := digest(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/" + filepath.Base(program)}, "User": "65534:65534"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + diffID}},
	})
	if err != nil {
		return err
	}
	image := Image{Config: digest(config) + ".json", RepoTags: []string{tag}, Layers: []string{diffID + ".tar"}}
	manifest, err := json.Marshal([]Image{image})
	if err != nil {
		return err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err = errors.Join(
		add(w, image.Config, 0o644, config),
		add(w, image.Layers[0], 0o644, layer),
		add(w, "manifest.json", 0o644, manifest),
		w.Close(),
	)
	if err != nil {
		return err
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}

func staticLayer(program string) ([]byte, error) {
	data, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err = errors.Join(add(w, filepath.Base(program), 0o755, data), w.Close())
	return layer.Bytes(), err
}

// add leaves out times and owners: the same program gives the same image.
func add(w *tar.Writer, name string, mode int64, data []byte) error {
	header := &tar.Header{Name: name, Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
