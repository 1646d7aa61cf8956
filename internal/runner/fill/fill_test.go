package fill

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

func digest(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// place is a server of files that counts what is asked of it.
type place struct {
	*httptest.Server
	files map[string][]byte
	asked atomic.Int32
}

func serve(t *testing.T, files map[string][]byte) *place {
	t.Helper()
	p := &place{files: files}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		b, ok := p.files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(b)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *place) config(sources ...Source) *Config {
	for i := range sources {
		sources[i].URI = p.URL + sources[i].URI
	}
	return &Config{MaxBytes: 1 << 20, Sources: sources, Store: report.StoreConfig{HTTPAllowedHosts: []string{"127.0.0.1"}}}
}

func run(t *testing.T, dir string, c *Config) (string, error) {
	t.Helper()
	var log bytes.Buffer
	err := Run(t.Context(), c, Options{Target: dir, Log: &log})
	return log.String(), err
}

// holds compares the files below dir, but for the runs' own, with want.
func holds(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(dir, path)
		if d.Type().IsRegular() && rel != recordFile && rel != DigestsFile && rel != lockFile {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got[rel] = string(b)
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), stagingPrefix) {
			t.Errorf("left behind: %s", rel)
		}
		return nil
	})
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the volume holds %v, want %v", got, want)
	}
}

// sums asks sha256sum, which is not ours, whether the list of digests is right.
func sums(t *testing.T, dir string) {
	t.Helper()
	c := exec.Command("sha256sum", "--check", "--strict", "--quiet", DigestsFile)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
}

type member struct {
	name, body string
	kind       byte
}

func archive(t *testing.T, zipped bool, members ...member) []byte {
	t.Helper()
	var b, z bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if m.kind == 0 {
			m.kind = tar.TypeReg
		}
		h := &tar.Header{Name: m.name, Typeflag: m.kind, Mode: 0o600, Linkname: "x"}
		if m.kind == tar.TypeReg {
			h.Size, h.Linkname = int64(len(m.body)), ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if m.kind == tar.TypeReg {
			_, _ = w.Write([]byte(m.body))
		}
	}
	_ = w.Close()
	if !zipped {
		return b.Bytes()
	}
	g := gzip.NewWriter(&z)
	_, _ = g.Write(b.Bytes())
	_ = g.Close()
	return z.Bytes()
}

func TestFillOnceAndNotAgain(t *testing.T) {
	for _, zipped := range []bool{false, true} {
		t.Run(fmt.Sprint("gzip ", zipped), func(t *testing.T) {
			tarball := archive(t, zipped, member{name: "4DHumans/", kind: tar.TypeDir}, member{name: "./4DHumans/a.ckpt", body: "ckpt"}, member{name: "phalp/3D/b.npy", body: "npy"}, member{name: "weights.sha256", body: "x"})
			p := serve(t, map[string][]byte{"/one": []byte("first"), "/all.tar": tarball})
			c := p.config(Source{URI: "/one", Path: "x/one.pth", SHA256: digest([]byte("first"))}, Source{URI: "/all.tar", Path: ".", Unpack: true, SHA256: digest(tarball)})
			dir := t.TempDir()
			for range 2 {
				if log, err := run(t, dir, c); err != nil {
					t.Fatalf("%v\n%s", err, log)
				}
				holds(t, dir, map[string]string{"x/one.pth": "first", "4DHumans/a.ckpt": "ckpt", "phalp/3D/b.npy": "npy"})
				sums(t, dir)
			}
			if n := p.asked.Load(); n != 2 {
				t.Errorf("%d requests, want one for each source", n)
			}
			info, err := os.Stat(filepath.Join(dir, "4DHumans/a.ckpt"))
			if err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("mode %v %v: other users must read it", info.Mode(), err)
			}
		})
	}
}

func TestWhatIsWrongIsFetchedAgain(t *testing.T) {
	p := serve(t, map[string][]byte{"/one": []byte("first")})
	dir, file := t.TempDir(), ""
	c := p.config(Source{URI: "/one", Path: "one", SHA256: digest([]byte("first"))})
	file = filepath.Join(dir, "one")
	for _, spoil := range []func(){
		func() {},
		func() { _ = os.WriteFile(file, []byte("f1rst"), 0o600) },
		func() { _ = os.Remove(file) },
		func() { _ = os.WriteFile(filepath.Join(dir, recordFile), []byte("{"), 0o600); _ = os.Remove(file) },
		func() { _ = os.Mkdir(filepath.Join(dir, stagingPrefix+"old"), 0o700) },
	} {
		spoil()
		if _, err := run(t, dir, c); err != nil {
			t.Fatal(err)
		}
		holds(t, dir, map[string]string{"one": "first"})
	}
	if n := p.asked.Load(); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
	p.files["/one"] = []byte("second")
	c.Sources[0].SHA256 = digest([]byte("second"))
	if _, err := run(t, dir, c); err != nil {
		t.Fatal(err)
	}
	holds(t, dir, map[string]string{"one": "second"})
	sums(t, dir)
}

func TestFilesOfSomebodyElseStay(t *testing.T) {
	p := serve(t, map[string][]byte{})
	dir := t.TempDir()
	_ = os.WriteFile(filepath.Join(dir, "smpl"), []byte("mine"), 0o600)
	_ = os.WriteFile(filepath.Join(dir, "one"), []byte("first"), 0o600)
	_ = os.WriteFile(filepath.Join(dir, DigestsFile), []byte(digest([]byte("mine"))+"  smpl\n"), 0o600)
	c := p.config(Source{URI: "/one", Path: "one", SHA256: digest([]byte("first"))})
	if _, err := run(t, dir, c); err != nil {
		t.Fatal(err)
	}
	if p.asked.Load() != 0 {
		t.Error("a file that was put there by hand was fetched")
	}
	sums(t, dir)
	if b, _ := os.ReadFile(filepath.Join(dir, DigestsFile)); strings.Count(string(b), "\n") != 2 {
		t.Errorf("digests:\n%s", b)
	}
}

func TestRefusesWhatCame(t *testing.T) {
	good := archive(t, false, member{name: "a", body: strings.Repeat("x", 5000)})
	for name, c := range map[string]struct {
		body   []byte
		source Source
		want   string
	}{
		"another file":          {[]byte("evil"), Source{Path: "f", SHA256: digest([]byte("good"))}, "another file, or damaged"},
		"too large":             {bytes.Repeat([]byte("x"), 1<<20+1), Source{Path: "f"}, "larger than the limit"},
		"no archive":            {[]byte("<html>"), Source{Path: ".", Unpack: true}, "no whole tar archive"},
		"an archive cut off":    {good[:3000], Source{Path: ".", Unpack: true}, "cannot be taken whole"},
		"another archive":       {good, Source{Path: ".", Unpack: true, SHA256: digest(nil)}, "another file, or damaged"},
		"gzip cut off":          {archive(t, true, member{name: "a", body: "b"})[:20], Source{Path: ".", Unpack: true}, "no whole"},
		"an empty archive":      {archive(t, false), Source{Path: ".", Unpack: true}, "holds no file"},
		"a way out":             {archive(t, false, member{name: "../a"}), Source{Path: "x", Unpack: true}, "no proper name"},
		"an absolute name":      {archive(t, false, member{name: "/etc/a"}), Source{Path: "x", Unpack: true}, "no proper name"},
		"a hidden name":         {archive(t, false, member{name: ".pose-fill.json"}), Source{Path: ".", Unpack: true}, "no proper name"},
		"a symbolic link":       {archive(t, false, member{name: "a", kind: tar.TypeSymlink}), Source{Path: "x", Unpack: true}, "no regular file"},
		"a hard link":           {archive(t, false, member{name: "a", kind: tar.TypeLink}), Source{Path: "x", Unpack: true}, "no regular file"},
		"a device":              {archive(t, false, member{name: "a", kind: tar.TypeChar}), Source{Path: "x", Unpack: true}, "no regular file"},
		"a name twice":          {archive(t, false, member{name: "a"}, member{name: "a"}), Source{Path: "x", Unpack: true}, "twice"},
		"a bomb":                {archive(t, true, member{name: "a", body: strings.Repeat("0", 1<<20+1)}), Source{Path: "x", Unpack: true}, "unpacks to more"},
		"nothing at the source": {nil, Source{URI: "/none", Path: "f"}, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			p := serve(t, map[string][]byte{"/f": c.body})
			if c.source.URI == "" {
				c.source.URI = "/f"
			}
			dir := t.TempDir()
			_, err := run(t, dir, p.config(c.source))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
			holds(t, dir, map[string]string{})
		})
	}
}

func TestLinksOnTheVolumeLeadNowhere(t *testing.T) {
	p := serve(t, map[string][]byte{"/one": []byte("first")})
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "x")); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, dir, p.config(Source{URI: "/one", Path: "x/one"})); err == nil {
		t.Error("a link out of the volume was followed")
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 0 {
		t.Errorf("written outside: %v", entries)
	}
}

func TestEndsWhenTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("begin"))
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	}))
	defer s.Close()
	dir := t.TempDir()
	p := place{Server: s}
	err := Run(ctx, p.config(Source{Path: "f"}), Options{Target: dir, Log: new(bytes.Buffer)})
	if err == nil {
		t.Error("half a file is no success")
	}
	holds(t, dir, map[string]string{})
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"right":             {`{"maxBytes": 1, "sources": [{"uri": "s3://b/k", "path": "a/b"}, {"uri": "https://h/k", "path": ".", "unpack": true}]}`, ""},
		"no sources":        {`{"maxBytes": 1}`, "has 0 sources"},
		"no bound":          {`{"sources": [{"uri": "s3://b/k", "path": "a"}]}`, "no maxBytes"},
		"another field":     {`{"maxBytes": 1, "url": ""}`, "url"},
		"another scheme":    {`{"maxBytes": 1, "sources": [{"uri": "file:///etc/passwd", "path": "a"}]}`, "must begin with s3://"},
		"a way out":         {`{"maxBytes": 1, "sources": [{"uri": "s3://b/k", "path": "a/../../b"}]}`, "must be relative"},
		"an absolute path":  {`{"maxBytes": 1, "sources": [{"uri": "s3://b/k", "path": "/a"}]}`, "must be relative"},
		"the volume itself": {`{"maxBytes": 1, "sources": [{"uri": "s3://b/k", "path": "."}]}`, "must be relative"},
		"its own list":      {`{"maxBytes": 1, "sources": [{"uri": "s3://b/k", "path": "weights.sha256"}]}`, "must be relative"},
		"a short digest":    {`{"maxBytes": 1, "sources": [{"uri": "s3://b/k", "path": "a", "sha256": "ab"}]}`, "64 lower-case"},
		"a path twice":      {`{"maxBytes": 1, "sources": [{"uri": "s3://b/k", "path": "a"}, {"uri": "s3://b/l", "path": "a"}]}`, "twice"},
		"no JSON":           {`sources:`, "makes no sense"},
		"far too much":      {strings.Repeat(" ", maxSmall+1), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(c.text))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
}

// TestResumes breaks the first connection in the middle of an archive.
func TestResumes(t *testing.T) {
	tarball := archive(t, false, member{name: "a", body: strings.Repeat("x", 300_000)}, member{name: "b", body: "end"})
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if asked.Add(1) == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(tarball)))
			_, _ = w.Write(tarball[:100_000])
			panic(http.ErrAbortHandler)
		}
		if r.Header.Get("Range") == "" {
			t.Error("what had come was asked for again")
		}
		http.ServeContent(w, r, "a.tar", time.Time{}, bytes.NewReader(tarball))
	}))
	defer s.Close()
	dir := t.TempDir()
	c := (&place{Server: s}).config(Source{URI: "/a.tar", Path: ".", Unpack: true, SHA256: digest(tarball)})
	if log, err := run(t, dir, c); err != nil || !strings.Contains(log, "trying again") {
		t.Fatalf("%v\n%s", err, log)
	}
	holds(t, dir, map[string]string{"a": strings.Repeat("x", 300_000), "b": "end"})
	sums(t, dir)
}
