package runner_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/runner/sweep"
)

// aged makes files that were last written so many days ago.
func (w *world) aged(now time.Time, days map[string]int) {
	w.t.Helper()
	for path, d := range days {
		w.put(path, "a video")
		at := now.Add(-time.Duration(d) * 24 * time.Hour)
		if err := os.Chtimes(filepath.Join(w.dir, path), at, at); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) sweep(entries ...sweep.Entry) *sweep.Config {
	w.t.Helper()
	dir := w.t.TempDir()
	w.credentials(dir)
	for i := range entries {
		e := &entries[i]
		if e.URI == "" {
			e.URI = w.base + "/uploads"
		}
		if e.OlderThan == 0 {
			e.OlderThan = sweep.Duration(7 * 24 * time.Hour)
		}
		e.CredentialsDir, e.PVCMount = dir, w.mount
	}
	return &sweep.Config{Store: w.store, Entries: entries}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, w := range worlds(t) {
		w.aged(now, map[string]int{"uploads/old.mp4": 8, "uploads/d/old.mp4": 30, "uploads/new.mp4": 6, "uploads/d/old.keep": 30, "uploads/future.mp4": -1, "elsewhere/old.mp4": 30, "uploads-2/old.mp4": 30})
		if w.mount != "" {
			for link, to := range map[string]string{"uploads/link": "../elsewhere", "uploads/link.mp4": "../elsewhere/old.mp4"} {
				if err := os.Symlink(to, filepath.Join(w.dir, link)); err != nil {
					t.Fatal(err)
				}
			}
		}
		var out bytes.Buffer
		entry := sweep.Entry{Keep: []string{"*.keep"}, DryRun: true}
		before := w.files("uploads")
		got, err := sweep.Run(t.Context(), w.sweep(entry), now, &out)
		if err != nil || got != (sweep.Totals{Removed: 2, Bytes: 14, Kept: 1, Young: 2}) || !strings.Contains(out.String(), "would remove "+w.base+"/uploads/d/old.mp4") || strings.Contains(out.String(), ": removed") {
			t.Errorf("%s: a dry run: %+v %v\n%s", name, got, err, &out)
		}
		same(t, name+": a dry run", w.files("uploads"), before)
		out.Reset()
		entry.DryRun = false
		got, err = sweep.Run(t.Context(), w.sweep(entry), now, &out)
		if err != nil || got != (sweep.Totals{Removed: 2, Bytes: 14, Kept: 1, Young: 2}) || !strings.Contains(out.String(), "removed 2 uploads older than 168h0m0s, 14B; 2 are younger, 1 are kept, 0 are left") {
			t.Errorf("%s: %+v %v\n%s", name, got, err, &out)
		}
		same(t, name, w.files("uploads"), []string{"d/old.keep", "future.mp4", "new.mp4"})
		same(t, name, w.files("elsewhere"), []string{"old.mp4"})
		same(t, name, w.files("uploads-2"), []string{"old.mp4"})
		if got, err = sweep.Run(t.Context(), w.sweep(entry), now, &out); err != nil || got.Removed != 0 {
			t.Errorf("%s: again: %+v %v", name, got, err)
		}
	}
}

// TestSweepGoesOn after an object, or an entry, that cannot be removed.
func TestSweepGoesOn(t *testing.T) {
	t.Parallel()
	now := time.Now()
	w := bucketWorld(t)
	k := newKiller(t, w.store.S3Endpoint)
	w.aged(now, map[string]int{"uploads/a": 8, "uploads/b": 8, "uploads/c": 8, "more/d": 8})
	k.refuse = func(r *http.Request) bool {
		return r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/b")
	}
	w.store.S3Endpoint = k.URL
	var out bytes.Buffer
	got, err := sweep.Run(t.Context(), w.sweep(sweep.Entry{URI: "s3://nowhere/uploads"}, sweep.Entry{}, sweep.Entry{URI: w.base + "/more"}), now, &out)
	if err == nil || !strings.Contains(err.Error(), "2 of 3 entries") || got != (sweep.Totals{Removed: 3, Bytes: 21, Left: 1}) || !strings.Contains(out.String(), "s3://bucket/uploads/b is left: ") {
		t.Errorf("%+v %v\n%s", got, err, &out)
	}
	same(t, "uploads", w.files("uploads"), []string{"b"})
}

// TestSweepEndsBrokenUploads, but none that may still be under way.
func TestSweepEndsBrokenUploads(t *testing.T) {
	t.Parallel()
	w := bucketWorld(t)
	w.begin("uploads/a.mp4", "elsewhere/b.mp4")
	for want, days := range []time.Duration{6, 8} {
		var out bytes.Buffer
		got, err := sweep.Run(t.Context(), w.sweep(sweep.Entry{}), time.Now().Add(days*24*time.Hour), &out)
		if err != nil || got.Broken != int64(want) {
			t.Errorf("after %d days: %+v %v\n%s", days, got, err, &out)
		}
	}
	same(t, "begun", w.begun(), []string{"elsewhere/b.mp4"})
}

// TestSweepOfWhatIsWrittenAnew between the listing and the removal: somebody needs it.
func TestSweepOfWhatIsWrittenAnew(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, w := range worlds(t) {
		w.aged(now, map[string]int{"uploads/a.mp4": 8, "uploads/b.mp4": 8, "uploads/c.mp4": 8})
		// The first removal is said before the next is made.
		var said []string
		out := writer(func(line string) {
			if said = append(said, line); len(said) == 1 {
				for _, key := range w.files("uploads") {
					w.put("uploads/"+key, "another video")
				}
			}
		})
		got, err := sweep.Run(t.Context(), w.sweep(sweep.Entry{}), now, out)
		if err != nil || got.Removed != 1 || got.Young != 2 || got.Left != 0 || !strings.Contains(strings.Join(said, ""), "was written anew meanwhile, and stays") {
			t.Errorf("%s: %+v %v\n%s", name, got, err, said)
		}
		if n := len(w.files("uploads")); n != 2 {
			t.Errorf("%s: %d uploads are left", name, n)
		}
	}
}

type writer func(string)

func (w writer) Write(p []byte) (int, error) {
	w(string(p))
	return len(p), nil
}
