package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// entry is one file of an archive.
type entry struct {
	name string
	data []byte
	mode int64
}

// epoch is the time of every file, so that the same binary gives the same archive.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// pack files as the archive's name says.
func pack(name string, files []entry) ([]byte, error) {
	var out bytes.Buffer
	if strings.HasSuffix(name, ".zip") {
		z := zip.NewWriter(&out)
		for _, f := range files {
			w, err := z.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: epoch})
			if err == nil {
				_, err = w.Write(f.data)
			}
			if err != nil {
				return nil, err
			}
		}
		err := z.Close()
		return out.Bytes(), err
	}
	g := gzip.NewWriter(&out)
	t := tar.NewWriter(g)
	for _, f := range files {
		err := t.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: epoch, Format: tar.FormatPAX})
		if err == nil {
			_, err = t.Write(f.data)
		}
		if err != nil {
			return nil, err
		}
	}
	err := errors.Join(t.Close(), g.Close())
	return out.Bytes(), err
}

// contains says whether an archive has the files that the manifest will name.
func contains(name string, b []byte, wanted ...string) error {
	has := map[string]bool{}
	if strings.HasSuffix(name, ".zip") {
		z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return fmt.Errorf("it is no zip: %w", err)
		}
		for _, f := range z.File {
			has[f.Name] = true
		}
	} else {
		g, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return fmt.Errorf("it is no tar.gz: %w", err)
		}
		t := tar.NewReader(g)
		for {
			h, err := t.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("it is no tar.gz: %w", err)
			}
			has[h.Name] = true
		}
	}
	for _, w := range wanted {
		if !has[w] {
			return fmt.Errorf("it has no %s", w)
		}
	}
	return nil
}
