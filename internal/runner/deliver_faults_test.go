package runner_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// The outputs of these tests: one small file, and one that an S3 client sends in
// several parts.
const largeOutput = 20 << 20

// delivered is a pod whose engine has ended well, with its outputs.
func delivered(t *testing.T) *pod {
	t.Helper()
	p := newPod(t)
	p.writeFacts(smallVideo)
	if code := write("good", p.l.OutputDir, p.l.FactsFile); code != 0 {
		t.Fatalf("the engine's code %d", code)
	}
	p.writeLarge(largeOutput)
	return p
}

func (p *pod) writeLarge(n int) {
	p.t.Helper()
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i >> 10)
	}
	if err := os.WriteFile(filepath.Join(p.l.OutputDir, "large.bin"), b, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// withLarge delivers both files of an engine that ended before.
func withLarge(cfg report.Config) report.Config {
	cfg.Deliver.EngineEnded = true
	cfg.Deliver.Outputs = append(cfg.Deliver.Outputs, report.OutputFile{Name: "large", Path: "large.bin", Format: report.FormatOpaque})
	return cfg
}

// s3Proxy stands between a pod and a real S3 server.
func s3Proxy(t *testing.T, endpoint string, handle func(w http.ResponseWriter, r *http.Request, forward http.Handler)) string {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, proxy) }))
	t.Cleanup(srv.Close)
	return srv.URL
}

// reader looks at a place as somebody who fetches results does.
func (p *pod) reader(uri string, store report.StoreConfig, claim string) verify.Store {
	p.t.Helper()
	sink, err := storage.OpenSink(uri, storage.Options{Store: store, CredentialsDir: p.l.CredentialsDir, PVCMount: claim})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = sink.Close() })
	return sink
}

// sees says what a reader sees: "" for no result, or the digest of a whole one.
// Anything else is what must never be.
func sees(t *testing.T, s verify.Store) string {
	t.Helper()
	rep, _, err := verify.Whole(t.Context(), s, "", verify.Options{})
	if storage.KindOf(err) == storage.NotFound {
		return ""
	}
	if err != nil || len(rep.Problems) > 0 {
		t.Errorf("%s: a reader sees %+v %v", s, rep, err)
		return "broken"
	}
	return rep.ManifestSHA256
}

// stop is a moment of a delivery to S3 at which the process is killed.
type stop struct {
	name   string
	method string
	key    string // the end of the path
	query  string // in the raw query
	when   string // of the request: "before", "middle" or "after" the server has it
	// poseThere, manifestThere, pointerThere are what is left.
	poseThere, manifestThere, pointerThere bool
}

const attemptFolder = "team-a/walk/attempts/1-abcde/"

var stops = []stop{
	{"before the files", "PUT", attemptFolder + "pose.json", "", "before", false, false, false},
	{"in the middle of a file", "PUT", attemptFolder + "pose.json", "", "middle", false, false, false},
	{"after a file", "PUT", attemptFolder + "pose.json", "", "after", true, false, false},
	{"between two files", "POST", attemptFolder + "large.bin", "uploads", "before", true, false, false},
	{"in the middle of a large file", "PUT", attemptFolder + "large.bin", "partNumber=2", "middle", true, false, false},
	{"before its parts are joined", "POST", attemptFolder + "large.bin", "uploadId=", "before", true, false, false},
	{"after its parts are joined", "POST", attemptFolder + "large.bin", "uploadId=", "after", true, false, false},
	{"before the manifest", "PUT", attemptFolder + "manifest.json", "", "before", true, false, false},
	{"in the middle of the manifest", "PUT", attemptFolder + "manifest.json", "", "middle", true, false, false},
	{"after the manifest", "PUT", attemptFolder + "manifest.json", "", "after", true, true, false},
	{"before the pointer", "PUT", "team-a/walk/manifest.json", "", "before", true, true, false},
	{"in the middle of the pointer", "PUT", "team-a/walk/manifest.json", "", "middle", true, true, false},
	{"after the pointer", "PUT", "team-a/walk/manifest.json", "", "after", true, true, true},
}

// halfway hands out one half of a body, then says so and waits for the end.
type halfway struct {
	io.ReadCloser
	left    int64
	reached func()
	gone    <-chan struct{}
}

func (h *halfway) Read(p []byte) (int, error) {
	if h.left <= 0 {
		h.reached()
		<-h.gone
		return 0, io.ErrUnexpectedEOF
	}
	n, err := h.ReadCloser.Read(p[:min(int64(len(p)), h.left)])
	h.left -= int64(n)
	return n, err
}

// hold stops at the first request that is meant, and counts the uploads of each key.
func (s stop) hold(reached, killed chan struct{}, puts *sync.Map) func(http.ResponseWriter, *http.Request, http.Handler) {
	var once sync.Once
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		if r.Method == http.MethodPut {
			puts.Store(r.URL.Path, true)
		}
		hit := false
		if r.Method == s.method && strings.HasSuffix(r.URL.Path, "/"+s.key) && strings.Contains(r.URL.RawQuery, s.query) {
			once.Do(func() { hit = true })
		}
		if !hit {
			forward.ServeHTTP(w, r)
			return
		}
		switch s.when {
		case "before":
			close(reached)
			<-killed
		case "middle":
			r.Body = &halfway{r.Body, r.ContentLength / 2, sync.OnceFunc(func() { close(reached) }), killed}
			forward.ServeHTTP(w, r)
		case "after":
			forward.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
			close(reached)
			<-killed
		}
		panic(http.ErrAbortHandler)
	}
}

// TestDeliverKilledToS3 kills deliver at each moment, and runs it again as the
// kubelet does with a container, or the operator with a pod of the same attempt.
func TestDeliverKilledToS3(t *testing.T) {
	t.Parallel()
	for _, s := range stops {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			endpoint, _ := bucket(t)
			p, puts := delivered(t), &sync.Map{}
			reached, killed := make(chan struct{}), make(chan struct{})
			cfg := withLarge(p.s3Deliver(s3Proxy(t, endpoint, s.hold(reached, killed, puts)), "admin-secret"))
			direct := cfg.Deliver.Store
			direct.S3Endpoint = endpoint
			root, folder := p.reader(cfg.Deliver.URI, direct, ""), p.reader("s3://bucket/"+attemptFolder, direct, "")

			d := p.start(cfg)
			select {
			case <-reached:
			case <-d.done:
				close(killed)
				t.Fatalf("deliver ended before that moment:\n%s", d.out)
			}
			_ = d.cmd.Process.Kill()
			<-d.done
			close(killed)
			manifest := sees(t, folder)
			if pointer := sees(t, root); (manifest != "") != s.manifestThere || (pointer != "") != s.pointerThere {
				t.Errorf("killed: manifest %q, pointer %q", manifest, pointer)
			}

			puts.Clear()
			m, code, out := p.run(cfg)
			if code != 0 || m.Result != report.ResultOK {
				t.Fatalf("the second run: code %d %+v\n%s", code, m, out)
			}
			got := sees(t, root)
			if got == "" || got != sees(t, folder) || got != m.Deliver.ManifestSHA256 || s.manifestThere && got != manifest {
				t.Errorf("after the second run: %q, the manifest before was %q", got, manifest)
			}
			for key, sent := range map[string]bool{attemptFolder + "pose.json": s.poseThere, attemptFolder + "manifest.json": s.manifestThere, "team-a/walk/manifest.json": s.pointerThere} {
				if _, again := puts.Load("/bucket/" + key); again == sent {
					t.Errorf("%s: it was there: %v, it was sent again: %v\n%s", key, sent, again, out)
				}
			}
			if n, err := storage.AbortUploads(t.Context(), root.(storage.Sink), "", time.Now().Add(time.Hour)); n != 0 || err != nil {
				t.Errorf("%d uploads were left open: %v", n, err)
			}
		})
	}
}

// TestDeliverKilledToAClaim kills deliver after each change that it makes to a
// claim's folders, as closely as a watcher can.
func TestDeliverKilledToAClaim(t *testing.T) {
	t.Parallel()
	p, claim := delivered(t), t.TempDir()
	if m, code, out := p.run(withLarge(deliverConfig(claim))); code != 0 {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	for after := range 12 {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			claim := t.TempDir()
			cfg := withLarge(deliverConfig(claim))
			root, folder := p.reader(cfg.Deliver.URI, report.StoreConfig{}, claim), p.reader(cfg.Deliver.URI+"/attempts/1-abcde", report.StoreConfig{}, claim)
			changes := newWatcher(t, claim)
			d := p.start(cfg)
			go func() {
				for range after {
					if !changes.next() {
						return
					}
				}
				_ = d.cmd.Process.Kill()
			}()
			<-d.done
			changes.stop()
			manifest, pointer := sees(t, folder), sees(t, root)
			if pointer != "" && pointer != manifest {
				t.Errorf("killed: manifest %q, pointer %q", manifest, pointer)
			}
			t.Logf("killed: files %v, manifest %q, pointer %q", names(filepath.Join(claim, "walk/attempts/1-abcde")), manifest, pointer)
			before, there := os.Stat(filepath.Join(claim, "walk/attempts/1-abcde/pose.json"))
			m, code, out := p.run(cfg)
			if code != 0 || m.Result != report.ResultOK {
				t.Fatalf("the second run: code %d %+v\n%s", code, m, out)
			}
			if got := sees(t, root); got != m.Deliver.ManifestSHA256 || manifest != "" && got != manifest {
				t.Errorf("after the second run: %q, the manifest before was %q", got, manifest)
			}
			if now, err := os.Stat(filepath.Join(claim, "walk/attempts/1-abcde/pose.json")); err != nil || there == nil && !os.SameFile(before, now) {
				t.Errorf("a file that was there was written again: %v\n%s", err, out)
			}
		})
	}
}

func names(dir string) (out []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// TestDeliverAnotherResult: the same attempt ran its engine twice, and the results
// differ. A reader sees the first, or none, or the second.
func TestDeliverAnotherResult(t *testing.T) {
	t.Parallel()
	p, claim := delivered(t), t.TempDir()
	cfg := withLarge(deliverConfig(claim))
	root := p.reader(cfg.Deliver.URI, report.StoreConfig{}, claim)
	first, code, out := p.run(cfg)
	if code != 0 {
		t.Fatalf("code %d %+v\n%s", code, first, out)
	}
	p.writeLarge(largeOutput - 1)
	second, code, out := p.run(cfg)
	if code != 0 || !strings.Contains(out, "which had another result, and is replaced") || second.Deliver.ManifestSHA256 == first.Deliver.ManifestSHA256 {
		t.Fatalf("code %d %+v\n%s", code, second, out)
	}
	if got := sees(t, root); got != second.Deliver.ManifestSHA256 {
		t.Errorf("%s", got)
	}
}

// TestDeliverIntoAFolderOfOthers: a result that lies in the attempt's own folder is
// somebody else's, and stays unless it may be overwritten.
func TestDeliverIntoAFolderOfOthers(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"another job's": `{"apiVersion":"pose.dev/v1alpha1","kind":"PoseManifest","version":1,"attemptID":"1-abcde","job":{"namespace":"team-b","name":"walk","uid":"x","attempt":1},"files":[{"path":"a","sha256":"` + strings.Repeat("a", 64) + `"}]}`,
		"anybody's":     "hello",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, claim := delivered(t), t.TempDir()
			path := filepath.Join(claim, "walk/attempts/1-abcde/manifest.json")
			if os.MkdirAll(filepath.Dir(path), 0o755) != nil || os.WriteFile(path, []byte(raw), 0o600) != nil {
				t.Fatal("cannot place the manifest")
			}
			cfg := withLarge(deliverConfig(claim))
			m, code, out := p.run(cfg)
			if code != 1 || m.Reason != report.ReasonDeliveryFailed || m.Temporary || !strings.Contains(m.Message, "is not overwritten") || !slices.Equal(names(filepath.Dir(path)), []string{"manifest.json"}) {
				t.Fatalf("code %d %+v\n%s", code, m, out)
			}
			cfg.Deliver.Overwrite = true
			if m, code, out := p.run(cfg); code != 0 || sees(t, p.reader(cfg.Deliver.URI, report.StoreConfig{}, claim)) != m.Deliver.ManifestSHA256 || !strings.Contains(out, "is replaced") {
				t.Fatalf("code %d %+v\n%s", code, m, out)
			}
		})
	}
}

// TestAttemptsRaceForThePointer: two attempts write the pointer in the same moment.
// The earlier one has looked, and is held up until the later one has written.
func TestAttemptsRaceForThePointer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		later func(*report.Config)
		want  string // in the earlier one's message or log
		code  int
	}{
		"a later attempt": {func(c *report.Config) { c.Deliver.AttemptID, c.Job.Attempt = "2-fghij", 2 }, "a later attempt has delivered already", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint, _ := bucket(t)
			p := delivered(t)
			looked, written := make(chan struct{}), make(chan struct{})
			var once sync.Once
			held := s3Proxy(t, endpoint, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
				if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/team-a/walk/manifest.json") {
					once.Do(func() { close(looked); <-written })
				}
				forward.ServeHTTP(w, r)
			})
			earlier, later := withLarge(p.s3Deliver(held, "admin-secret")), withLarge(p.s3Deliver(endpoint, "admin-secret"))
			c.later(&later)
			d := p.start(earlier)
			select {
			case <-looked:
			case <-d.done:
				t.Fatalf("deliver ended:\n%s", d.out)
			}
			l, code, out := p.run(later)
			if code != 0 {
				t.Fatalf("the later one: code %d %+v\n%s", code, l, out)
			}
			close(written)
			m, code, out := d.wait()
			if code != c.code || !strings.Contains(out, "was written by somebody else meanwhile") || !strings.Contains(out+m.Message, c.want) {
				t.Errorf("the earlier one: code %d %+v\n%s", code, m, out)
			}
			if got := sees(t, p.reader(later.Deliver.URI, later.Deliver.Store, "")); got != l.Deliver.ManifestSHA256 {
				t.Errorf("the pointer leads to %s", got)
			}
		})
	}
}
