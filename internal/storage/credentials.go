package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Keys of the Secret of a location.
const (
	fileAccessKey    = "AWS_ACCESS_KEY_ID"
	fileSecretKey    = "AWS_SECRET_ACCESS_KEY" //nolint:gosec // the name of a key
	fileSessionToken = "AWS_SESSION_TOKEN"     //nolint:gosec // the name of a key
	fileUsername     = "username"
	filePassword     = "password"
	fileToken        = "token"
	fileURL          = "url"
	fileGoogle       = "credentials.json"
	fileAzureKey     = "AZURE_STORAGE_KEY"
	fileAzureSAS     = "AZURE_STORAGE_SAS_TOKEN"
)

// maxCredential bounds one file, in bytes: signed URLs are the longest.
const maxCredential = 16 << 10

// credential reads one key of the location's Secret, "" when it has none.
func credential(dir, name string) (string, error) {
	if dir == "" {
		return "", nil
	}
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read key %s of the location's Secret: %w", name, err)
	}
	if info.Size() > maxCredential {
		return "", fmt.Errorf("key %s of the location's Secret has %d bytes, at most %d are taken", name, info.Size(), maxCredential)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read key %s of the location's Secret: %w", name, err)
	}
	// Secrets made from files by hand often end in a newline.
	return strings.TrimSpace(string(b)), nil
}

// secretKeys reads several keys.
func secretKeys(dir string, names ...string) (map[string]string, error) {
	out := make(map[string]string, len(names))
	for _, n := range names {
		v, err := credential(dir, n)
		if err != nil {
			return nil, err
		}
		out[n] = v
	}
	return out, known(dir, out, names)
}

// known says which keys a Secret ought to have when it has none of them: nobody
// names a Secret to be anonymous.
func known(dir string, values map[string]string, names []string) error {
	for _, v := range values {
		if v != "" {
			return nil
		}
	}
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the keys of the location's Secret: %w", err)
	}
	var has []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") { // the kubelet's own links
			has = append(has, e.Name())
		}
	}
	return &Error{Kind: Forbidden, Cause: fmt.Sprintf("the Secret has none of the keys %s; it has %s", strings.Join(names, ", "), strings.Join(has, ", "))}
}
