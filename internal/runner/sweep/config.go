package sweep

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

const (
	maxConfig  = 1 << 20 // bytes
	maxEntries = 256
	// defaultAge is how old an upload may become where an entry does not say.
	defaultAge = 7 * 24 * time.Hour
	// minAge keeps a slip of the pen from removing what is being uploaded.
	minAge = time.Minute
)

// Config says what to remove.
type Config struct {
	// Store is the platform admin's policy on places, as for videos.
	Store   report.StoreConfig `json:"store"`
	Entries []Entry            `json:"entries"`
}

// Entry is one prefix or folder with uploads.
type Entry struct {
	// URI is s3://bucket/prefix, gs://bucket/prefix, azblob://container/prefix or
	// pvc://claim/path.
	URI string `json:"uri"`
	// OlderThan is how old an upload may become since it was last written; the zero
	// value is seven days.
	OlderThan Duration `json:"olderThan,omitempty"`
	// CredentialsDir holds one file per key of the place's Secret; empty for none.
	CredentialsDir string `json:"credentialsDir,omitempty"`
	// PVCMount is where the claim of a pvc:// URI is mounted.
	PVCMount string `json:"pvcMount,omitempty"`
	// Keep are globs of what stays. One without a slash is compared with each part
	// of a key, one with a slash with the key from its beginning: a folder that
	// matches is kept whole.
	Keep []string `json:"keep,omitempty"`
	// DryRun only says what would be removed.
	DryRun bool `json:"dryRun,omitempty"`
	// AllowRoot allows a whole bucket, container or claim.
	AllowRoot bool `json:"allowRoot,omitempty"`
}

// Duration is written as "168h".
type Duration time.Duration

// UnmarshalJSON reads Go's notation of durations.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return errors.New(`a duration is written as "168h"`)
	}
	v, err := time.ParseDuration(s)
	*d = Duration(v)
	return err
}

// Parse reads and checks a configuration.
func Parse(r io.Reader) (*Config, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("read the list of uploads: %w", err)
	}
	if len(raw) > maxConfig {
		return nil, fmt.Errorf("the list of uploads is larger than %d bytes", maxConfig)
	}
	var c Config
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("the list of uploads makes no sense: %w", err)
	}
	if len(c.Entries) == 0 || len(c.Entries) > maxEntries {
		return nil, fmt.Errorf("the list of uploads has %d entries; it needs 1 to %d", len(c.Entries), maxEntries)
	}
	for i := range c.Entries {
		if err := c.Entries[i].check(); err != nil {
			return nil, fmt.Errorf("entries[%d]: %w", i, err)
		}
	}
	return &c, nil
}

func (e *Entry) check() error {
	u, err := url.Parse(e.URI)
	if err != nil || !slices.Contains([]string{"s3", "gs", "azblob", "pvc"}, u.Scheme) || u.Host == "" {
		return errors.New("uri must be s3://bucket/prefix, gs://bucket/prefix, azblob://container/prefix or pvc://claim/path")
	}
	if e.OlderThan == 0 {
		e.OlderThan = Duration(defaultAge)
	}
	switch {
	case strings.Trim(u.Path, "/") == "" && !e.AllowRoot:
		return fmt.Errorf("%s is a whole bucket, container or claim: name a prefix in it, or set allowRoot", e.URI)
	case time.Duration(e.OlderThan) < minAge:
		return fmt.Errorf("olderThan is %s, at least %s is needed", time.Duration(e.OlderThan), minAge)
	case u.Scheme == "pvc" && e.PVCMount == "":
		return errors.New("pvcMount must say where the claim is mounted")
	}
	for _, k := range e.Keep {
		if _, err := path.Match(k, ""); err != nil || strings.Trim(k, "/") == "" {
			return fmt.Errorf("keep: %q is no glob", k)
		}
	}
	return nil
}

// keeps says whether a key is to stay.
func (e *Entry) keeps(key string) bool {
	parts := strings.Split(key, "/")
	for _, glob := range e.Keep {
		glob = strings.Trim(glob, "/")
		if n := strings.Count(glob, "/") + 1; n > 1 {
			if n <= len(parts) && match(glob, strings.Join(parts[:n], "/")) {
				return true
			}
			continue
		}
		if slices.ContainsFunc(parts, func(p string) bool { return match(glob, p) }) {
			return true
		}
	}
	return false
}

func match(glob, name string) bool {
	ok, err := path.Match(glob, name)
	return ok && err == nil
}
