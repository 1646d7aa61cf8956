package runner_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/index"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/list"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
)

// manager takes pages as the real one does, after it answered what it is told to.
type manager struct {
	mu      sync.Mutex
	pages   map[int32][]clips.Clip
	answers []int // before it takes any
	push    report.ProgressConfig
}

func startManager(t *testing.T, answers ...int) *manager {
	t.Helper()
	m := &manager{pages: map[int32][]clips.Clip{}, answers: answers}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		var page report.ClipsPage
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.Header.Get("Authorization") != "Bearer the-token" || r.URL.Path != report.ClipsPath:
			w.WriteHeader(http.StatusUnauthorized)
		case len(m.answers) > 0:
			w.WriteHeader(m.answers[0])
			m.answers = m.answers[1:]
		case len(body) > report.MaxClipsPageBytes || json.Unmarshal(body, &page) != nil || clips.CheckChunk(page.Clips) != nil:
			w.WriteHeader(http.StatusBadRequest)
		default:
			m.pages[page.Page] = page.Clips
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	m.push = report.ProgressConfig{URL: server.URL + report.ClipsPath, CAPEM: string(ca)}
	return m
}

func (m *manager) names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for i := range int32(len(m.pages)) {
		for _, c := range m.pages[i] {
			out = append(out, c.Name)
		}
	}
	return out
}

// batchPod is the layout of a pod of a batch, with its token and S3 credentials.
func batchPod(t *testing.T, secret string) layout.Layout {
	t.Helper()
	l := layout.Under(t.TempDir())
	for file, text := range map[string]string{
		l.ProgressToken: "the-token\n", filepath.Join(l.CredentialsDir, "AWS_ACCESS_KEY_ID"): "admin", filepath.Join(l.CredentialsDir, "AWS_SECRET_ACCESS_KEY"): secret,
	} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// lay files with their own names as contents.
func lay(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, f := range files {
		name := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListAFolder(t *testing.T) {
	t.Parallel()
	files := []string{"b.mov", "a.mp4", "a.mov", "cam 1/ü%.MP4", "notes.txt", "out/many/a/overlay.mp4", "x/../x/c.mkv", "old/d.mp4"}
	want := []string{"a.mov", "a.mp4", "b.mov", "cam%201/ü%25.MP4", "x/c.mkv"}
	cfg := report.ListConfig{MaxVideos: 10, Exclude: []string{"old/**"}, TimeoutSeconds: 60}
	t.Run("of a claim", func(t *testing.T) {
		t.Parallel()
		m, l, cfg := startManager(t), batchPod(t, ""), cfg
		lay(t, filepath.Join(l.ScratchDir, "in"), files...)
		if err := os.Symlink("/etc", filepath.Join(l.ScratchDir, "in", "link")); err != nil {
			t.Fatal(err)
		}
		cfg.Prefix, cfg.Output, cfg.PVCMount, cfg.Push = "pvc://claim/in/", "pvc://claim/in/out/many", l.ScratchDir, m.push
		rep, err := list.Run(t.Context(), cfg, l, io.Discard)
		if err != nil || rep.Clips != 5 || rep.Pages != 1 || cmp.Diff(want, m.names()) != "" {
			t.Errorf("%+v %v %s", rep, err, cmp.Diff(want, m.names()))
		}
	})
	t.Run("of a bucket, by a manager that is busy at first", func(t *testing.T) {
		t.Parallel()
		endpoint, dir := bucket(t)
		lay(t, filepath.Join(dir, "in"), files...)
		lay(t, filepath.Join(dir, "in-2"), "never.mp4")
		m, l, cfg := startManager(t, 503, 403, 401, 500), batchPod(t, "admin-secret"), cfg
		cfg.Prefix, cfg.Output, cfg.Push = "s3://bucket/in/", "s3://bucket/in/out/many", m.push
		cfg.Store = report.StoreConfig{S3Endpoint: endpoint, S3PathStyle: true, S3Region: "us-east-1"}
		rep, err := list.Run(t.Context(), cfg, l, io.Discard)
		if err != nil || rep.Clips != 5 || cmp.Diff(want, m.names()) != "" {
			t.Errorf("%+v %v %s", rep, err, cmp.Diff(want, m.names()))
		}
		for _, c := range m.pages[0] {
			if c.Bytes == 0 || !strings.HasPrefix(c.URI, "s3://bucket/in/") {
				t.Errorf("clip %+v", c)
			}
		}
	})
}

// TestListABucket is a prefix without a folder.
func TestListABucket(t *testing.T) {
	t.Parallel()
	endpoint, dir := bucket(t)
	lay(t, dir, "a.mp4", "x/b.mp4")
	m, l := startManager(t), batchPod(t, "admin-secret")
	cfg := report.ListConfig{Prefix: "s3://bucket/", MaxVideos: 10, Push: m.push, Store: report.StoreConfig{S3Endpoint: endpoint, S3PathStyle: true, S3Region: "us-east-1"}}
	rep, err := list.Run(t.Context(), cfg, l, io.Discard)
	if want := []string{"a.mp4", "x/b.mp4"}; err != nil || cmp.Diff(want, m.names()) != "" || m.pages[0][1].URI != "s3://bucket/x/b.mp4" {
		t.Errorf("%+v %v %v", rep, err, m.pages)
	}
}

func TestListThatCannotBeMade(t *testing.T) {
	t.Parallel()
	endpoint, dir := bucket(t)
	lay(t, dir, "in/a.mp4", "in/b.mp4", "in/c.mp4")
	if err := os.WriteFile(filepath.Join(dir, "bad.txt"), []byte("s3://bucket/in/a.mp4\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change    func(*report.ListConfig)
		secret    string
		answers   []int
		reason    string
		says      string
		temporary bool
	}{
		"too many":                   {change: func(c *report.ListConfig) { c.MaxVideos = 2 }, reason: report.ReasonInputInvalid, says: "more than 2 videos"},
		"no such bucket":             {change: func(c *report.ListConfig) { c.Prefix = "s3://nowhere/in/" }, reason: report.ReasonInputUnavailable, says: "s3://nowhere/in"},
		"no right":                   {secret: "wrong", reason: report.ReasonInputUnavailable, says: "Secret"},
		"no such list":               {change: func(c *report.ListConfig) { c.Prefix, c.List = "", "s3://bucket/none.txt" }, reason: report.ReasonInputUnavailable, says: "none.txt"},
		"a list of nonsense":         {change: func(c *report.ListConfig) { c.Prefix, c.List = "", "s3://bucket/bad.txt" }, reason: report.ReasonInputInvalid, says: "line 2"},
		"a page that is kept":        {answers: []int{409}, says: "page 0 of the list is refused", temporary: true},
		"a list by HTTP from within": {change: func(c *report.ListConfig) { c.Prefix, c.List = "", "http://127.0.0.1:1/list.txt" }, reason: report.ReasonInputUnavailable, says: "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := "admin-secret"
			if c.secret != "" {
				secret = c.secret
			}
			m, l := startManager(t, c.answers...), batchPod(t, secret)
			cfg := report.ListConfig{Prefix: "s3://bucket/in/", MaxVideos: 10, Push: m.push, TimeoutSeconds: 60}
			cfg.Store = report.StoreConfig{S3Endpoint: endpoint, S3PathStyle: true, S3Region: "us-east-1"}
			if c.change != nil {
				c.change(&cfg)
			}
			_, err := list.Run(t.Context(), cfg, l, io.Discard)
			var term report.Termination
			outcome.Apply(&term, err)
			if term.Result != report.ResultFailed || term.Reason != c.reason || term.Temporary != c.temporary || !strings.Contains(term.Message, c.says) || strings.Contains(term.Message, "admin-secret") {
				t.Errorf("%+v", term)
			}
			if n := len(m.names()); n > 0 {
				t.Errorf("%d clips were pushed", n)
			}
		})
	}
}

// TestListAFile reads a list of many lines, in several pages.
func TestListAFile(t *testing.T) {
	t.Parallel()
	m, l := startManager(t), batchPod(t, "")
	var text bytes.Buffer
	text.WriteString("camera,uri\n")
	for i := range 2300 {
		fmt.Fprintf(&text, "1,s3://other/cam/%05d.mp4\n", i)
	}
	if err := os.MkdirAll(l.ScratchDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.ScratchDir, "list.csv"), text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := report.ListConfig{List: "pvc://claim/list.csv", MaxVideos: 100_000, PVCMount: l.ScratchDir, Push: m.push, Exclude: []string{"*1.mp4"}}
	rep, err := list.Run(t.Context(), cfg, l, io.Discard)
	names := m.names()
	if err != nil || rep.Pages != 3 || rep.Clips != 2070 || len(names) != 2070 || !slices.IsSorted(names) || names[0] != "cam/00000.mp4" {
		t.Errorf("%+v, %d names, %v", rep, len(names), err)
	}
}

// chunk lays one chunk of a batch below the pod's folder.
func chunk(t *testing.T, l layout.Layout, n int, names []string, states, failures string) {
	t.Helper()
	var list []clips.Clip
	for _, n := range names {
		list = append(list, clips.Clip{URI: "s3://videos/" + n + ".mp4", Name: n})
	}
	raw, err := clips.Encode(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(l.BatchDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{report.ClipsFile: raw, report.StatesFile: []byte(states), report.FailuresFile: []byte(failures)} {
		if err := os.WriteFile(filepath.Join(l.BatchDir, fmt.Sprint(name, n)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// layResult lays a result as deliver does, and gives its manifest's digest.
func layResult(t *testing.T, dir, name string, people int64) string {
	t.Helper()
	job := report.JobRef{Namespace: "team-a", Name: "many-" + filepath.Base(name), UID: "u"}
	folder := filepath.Join(dir, name, "attempts", "abcde-1")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(file string, v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:])
	}
	sum := write(filepath.Join(folder, result.ManifestFile), result.Manifest{
		APIVersion: result.APIVersion, Kind: result.KindManifest, Version: 1, Job: job, AttemptID: "abcde-1", People: people, Frames: 12,
		Files: []result.ManifestFileRef{{Name: "poses", Path: "pose.json", Size: 1, SHA256: strings.Repeat("a", 64), MediaType: "application/json"}},
	})
	write(filepath.Join(dir, name, result.ManifestFile), result.Pointer{APIVersion: result.APIVersion, Kind: result.KindPointer, Job: job, Attempt: 1, AttemptID: "abcde-1", ManifestSHA256: sum})
	return sum
}

func TestIndex(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"bucket", "claim"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			l := batchPod(t, "admin-secret")
			cfg := report.IndexConfig{URI: "pvc://claim/team-a/many/", PVCMount: l.OutputDir, Chunks: 2, StartedAt: "2026-01-01T00:00:00Z", TimeoutSeconds: 60}
			dir := filepath.Join(l.OutputDir, "team-a", "many")
			if where == "bucket" {
				endpoint, data := bucket(t)
				cfg.URI, cfg.Store = "s3://bucket/team-a/many", report.StoreConfig{S3Endpoint: endpoint, S3PathStyle: true, S3Region: "us-east-1"}
				dir = filepath.Join(data, "team-a", "many")
			}
			chunk(t, l, 0, []string{"a%20b", "cam/b", "cam/c"}, "SSF", `{"2":{"reason":"InputInvalid","message":"no video"}}`)
			chunk(t, l, 1, []string{"d", "e"}, "SC", `{}`)
			sum := layResult(t, dir, "a b", 2)
			layResult(t, dir, "cam/b", 0)
			// The manifest of d is not the one that its pointer names.
			layResult(t, dir, "d", 1)
			if err := os.WriteFile(filepath.Join(dir, "d", "attempts", "abcde-1", "manifest.json"), []byte("{}"), 0o644); err != nil {
				t.Fatal(err)
			}
			batch := report.JobRef{Namespace: "team-a", Name: "many", UID: "u"}
			rep, err := index.Run(t.Context(), cfg, batch, l, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(filepath.Join(dir, "batch.json"))
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				clips.IndexHead
				Clips []clips.IndexEntry `json:"clips"`
			}
			digest := sha256.Sum256(raw)
			if err := json.Unmarshal(raw, &got); err != nil || rep.SHA256 != hex.EncodeToString(digest[:]) || rep.Clips != 5 || rep.Missing != 1 {
				t.Fatalf("%v %+v", err, rep)
			}
			if got.Counts != (clips.IndexCounts{Total: 5, Succeeded: 3, Failed: 1, Cancelled: 1}) || len(got.Clips) != 5 {
				t.Errorf("%+v", got)
			}
			uri := strings.TrimSuffix(cfg.URI, "/")
			want := clips.IndexEntry{Name: "a%20b", Video: "s3://videos/a%20b.mp4", State: "Succeeded", Result: uri + "/a%20b/attempts/abcde-1", ManifestSHA256: sum, People: new(int64(2)), Frames: new(int64(12)), Job: "team-a/many-a b"}
			if diff := cmp.Diff(want, got.Clips[0]); diff != "" {
				t.Error(diff)
			}
			if e := got.Clips[2]; e.State != "Failed" || e.Reason != "InputInvalid" || e.Message != "no video" {
				t.Errorf("%+v", e)
			}
			if e := got.Clips[3]; e.State != "Succeeded" || e.Result != "" || e.Message == "" {
				t.Errorf("a result that is not whole: %+v", e)
			}
			// Written again by the same batch; not over that of another, nor over a foreign
			// file, unless it may.
			if _, err := index.Run(t.Context(), cfg, batch, l, io.Discard); err != nil {
				t.Error(err)
			}
			other := report.JobRef{Namespace: "team-a", Name: "other", UID: "v"}
			refused(t, cfg, other, l, "belongs to the batch team-a/many")
			if err := os.WriteFile(filepath.Join(dir, "batch.json"), []byte("mine"), 0o644); err != nil {
				t.Fatal(err)
			}
			refused(t, cfg, batch, l, "a file of somebody else")
			cfg.Overwrite = true
			if _, err := index.Run(t.Context(), cfg, other, l, io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
}

func refused(t *testing.T, cfg report.IndexConfig, job report.JobRef, l layout.Layout, says string) {
	t.Helper()
	_, err := index.Run(t.Context(), cfg, job, l, io.Discard)
	var term report.Termination
	outcome.Apply(&term, err)
	if term.Reason != report.ReasonDeliveryFailed || term.Temporary || !strings.Contains(term.Message, says) {
		t.Errorf("%+v, want %q", term, says)
	}
}

// TestIndexOfAnOldRecord: a clip that runs by this pod's copy has ended by another.
func TestIndexOfAnOldRecord(t *testing.T) {
	t.Parallel()
	l := batchPod(t, "")
	chunk(t, l, 0, []string{"a"}, "r", `{}`)
	_, err := index.Run(t.Context(), report.IndexConfig{URI: "pvc://claim/many", PVCMount: l.OutputDir, Chunks: 1}, report.JobRef{}, l, io.Discard)
	var term report.Termination
	outcome.Apply(&term, err)
	if !term.Temporary || !strings.Contains(term.Message, "old copy") {
		t.Errorf("%+v", term)
	}
	if _, err := os.Stat(filepath.Join(l.OutputDir, "many", "batch.json")); err == nil {
		t.Error("an index was written")
	}
}
