package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/place"
)

// What is remembered of uploads that are not complete, so that a later process can go
// on: one file for each, under a name made of the gateway, the namespace, the video's
// size and sha256, and the fields, as an upload keeps those that it was begun with. A
// note has no token and nothing of the video but its path and digest.

const (
	// forgetAfter is when a note is of no use whatever it says.
	forgetAfter = 8 * 24 * time.Hour
	// maxNote bounds a note in bytes, maxNotes how many are looked at.
	maxNote  = 16 << 10
	maxNotes = 1000
	noteExt  = ".json"
)

// note of one upload.
type note struct {
	Gateway   string            `json:"gateway"`
	Namespace string            `json:"namespace,omitempty"`
	Path      string            `json:"path"`
	Size      int64             `json:"size"`
	SHA256    string            `json:"sha256"`
	Fields    map[string]string `json:"fields,omitempty"`
	// Upload is its id at the gateway.
	Upload  string    `json:"upload"`
	Expires time.Time `json:"expires"`
}

// notesFolder of this user; empty where the system names none.
func notesFolder() string {
	dir, err := os.UserCacheDir()
	if err != nil || !filepath.IsAbs(dir) {
		return ""
	}
	return filepath.Join(dir, "kubectl-pose", "uploads")
}

// noteOf an upload that is about to begin.
func (c *Client) noteOf(u *place.Upload, fields map[string]string) note {
	path := u.Path
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	own := maps.Clone(fields)
	maps.DeleteFunc(own, func(_, v string) bool { return v == "" })
	return note{Gateway: c.base.String(), Namespace: c.namespace, Path: path, Size: u.Size, SHA256: u.SHA256, Fields: own}
}

// same says whether two notes are of one upload.
func (n note) same(o note) bool {
	return n.Gateway == o.Gateway && n.Namespace == o.Namespace && n.Size == o.Size && n.SHA256 == o.SHA256 && maps.Equal(n.Fields, o.Fields)
}

// file in which the note lies.
func (n note) file(folder string) (string, error) {
	n.Path, n.Upload, n.Expires = "", "", time.Time{}
	raw, err := json.Marshal(n)
	if err != nil {
		return "", fmt.Errorf("name the note of the upload: %w", err)
	}
	sum := sha256.Sum256(raw)
	return filepath.Join(folder, hex.EncodeToString(sum[:16])+noteExt), nil
}

// recall the upload of this note, if one was begun: its id. Another one of the same
// file is given as old; it cannot be gone on with. Notes that are of no use any more
// are removed.
func (c *Client) recall(own note) (id string, old *note) {
	entries, err := os.ReadDir(c.notes)
	if err != nil {
		return "", nil
	}
	for _, e := range entries[:min(len(entries), maxNotes)] {
		file := filepath.Join(c.notes, e.Name())
		if filepath.Ext(file) != noteExt || !e.Type().IsRegular() {
			continue
		}
		n, err := readNote(file)
		switch {
		case err != nil, c.now().After(n.Expires), n.Expires.Sub(c.now()) > 2*forgetAfter, !uploadID.MatchString(n.Upload):
			_ = os.Remove(file) // of no use; it is tried again the next time
		case n.same(own):
			id = n.Upload
		case n.Gateway == own.Gateway && n.Namespace == own.Namespace && n.Path == own.Path:
			old = n
		}
	}
	return id, old
}

func readNote(file string) (*note, error) {
	f, err := os.Open(file) //nolint:gosec // in the user's own cache
	if err != nil {
		return nil, fmt.Errorf("open a note: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxNote+1))
	if err == nil && len(raw) > maxNote {
		err = errors.New("it is too long")
	}
	var n note
	if err == nil {
		err = json.Unmarshal(raw, &n)
	}
	if err != nil {
		return nil, fmt.Errorf("read the note %s: %w", file, err)
	}
	return &n, nil
}

// remember an upload. The file appears whole or not at all, for this user alone.
func (c *Client) remember(n note) error {
	if c.notes == "" {
		return errors.New("this system names no folder for caches (HOME, or XDG_CACHE_HOME)")
	}
	name, err := n.file(c.notes)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("write the note of the upload: %w", err)
	}
	if err := os.MkdirAll(c.notes, 0o700); err != nil {
		return fmt.Errorf("make the folder of notes: %w", err)
	}
	f, err := os.CreateTemp(c.notes, ".note-") // mode 0600
	if err != nil {
		return fmt.Errorf("write the note of the upload: %w", err)
	}
	_, err = f.Write(raw)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error counts
		return fmt.Errorf("write the note of the upload: %w", err)
	}
	return nil
}

// forget an upload.
func (c *Client) forget(n note) {
	if name, err := n.file(c.notes); err == nil && c.notes != "" {
		_ = os.Remove(name) //nolint:gosec // a digest in the user's own cache; one that stays is asked for once, and is of no use then
	}
}
