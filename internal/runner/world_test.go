package runner_test

import (
	"encoding/json"
	"errors"
	"io/fs"
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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// world is a place with videos and results: a bucket of a real server, or a claim.
type world struct {
	t      *testing.T
	base   string // of its URIs
	dir    string // where its files lie
	mount  string
	store  report.StoreConfig
	secret map[string]string
}

// worlds are one of each kind.
func worlds(t *testing.T) map[string]*world {
	t.Helper()
	claim := t.TempDir()
	out := map[string]*world{"claim": {t: t, base: "pvc://results", dir: claim, mount: claim}}
	if os.Getenv("POSE_TEST_VERSITYGW") != "" {
		out["bucket"] = bucketWorld(t)
	}
	return out
}

func bucketWorld(t *testing.T) *world {
	t.Helper()
	endpoint, dir := bucket(t)
	return &world{
		t: t, base: "s3://bucket", dir: dir, store: report.StoreConfig{S3Endpoint: endpoint, S3PathStyle: true, S3Region: "us-east-1"},
		secret: map[string]string{"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "admin-secret"},
	}
}

// pod with the credentials of the world for everything.
func (w *world) pod() *pod {
	w.t.Helper()
	p := newPod(w.t)
	for _, d := range []string{p.l.CredentialsDir, p.l.OutputCredentials, p.l.BoxesCredentials} {
		w.credentials(d)
	}
	return p
}

func (w *world) credentials(dir string) {
	w.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	for k, v := range w.secret {
		if err := os.WriteFile(filepath.Join(dir, k), []byte(v), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) sink(path string) storage.Sink {
	w.t.Helper()
	dir := w.t.TempDir()
	w.credentials(dir)
	s, err := storage.OpenSink(w.base+"/"+path, storage.Options{Store: w.store, CredentialsDir: dir, PVCMount: w.mount})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

func (w *world) put(path, data string) {
	w.t.Helper()
	o := storage.Object{Key: filepath.Base(path), Size: int64(len(data)), SHA256: digest(data)}
	if err := w.sink(filepath.Dir(path)).Put(w.t.Context(), o, strings.NewReader(data)); err != nil {
		w.t.Fatal(err)
	}
}

// files gives the keys below a path.
func (w *world) files(path string) []string {
	w.t.Helper()
	keys := []string{}
	if err := w.sink(path).List(w.t.Context(), "", func(e storage.Entry) error {
		keys = append(keys, e.Key)
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

// spoil changes a byte of a file behind the back of its server.
func (w *world) spoil(path string) {
	w.t.Helper()
	path = filepath.Join(w.dir, path)
	b, err := os.ReadFile(path)
	if err == nil {
		b[len(b)/2] ^= 1
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(path string) []byte {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	return b
}

// snapshot is what lies below a path, by key.
func (w *world) snapshot(path string) map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for _, key := range w.files(path) {
		all[path+"/"+key] = string(w.read(path + "/" + key))
	}
	return all
}

func (w *world) restore(snapshot map[string]string) {
	w.t.Helper()
	for path, data := range snapshot {
		w.put(path, data)
	}
}

func jobRef(namespace, name, uid string) report.JobRef {
	return report.JobRef{Namespace: namespace, Name: name, UID: uid, Attempt: 1}
}

// compute makes a result as a pod does: it fetches the video, and delivers what an
// engine made of it.
func (w *world) compute(video, output, id string, job report.JobRef, change func(*report.DeliverConfig, *report.VideoFacts)) *report.DeliveryReport {
	w.t.Helper()
	p := w.pod()
	fetch := report.Config{Role: report.RoleFetch, Job: job, Fetch: &report.FetchConfig{URI: w.base + "/" + video, MaxBytes: 1 << 30, TimeoutSeconds: 60, Store: w.store, PVCMount: w.mount}}
	m, code, out := p.run(fetch)
	if code != 0 {
		w.t.Fatalf("fetch: %d %+v\n%s", code, m, out)
	}
	facts := smallVideo
	facts.SourceSHA256, facts.SourceVersion, facts.Source = m.Fetch.SHA256, m.Fetch.Version, &report.SourceFacts{Bytes: m.Fetch.Bytes}
	cfg := deliverConfig(w.mount)
	cfg.Job = job
	d := cfg.Deliver
	d.URI, d.AttemptID, d.Store, d.EngineEnded = w.base+"/"+output, id, w.store, true
	d.Provenance = report.Provenance{VideoURI: fetch.Fetch.URI, Engine: "test", Variant: "gpu", Device: "GPU", Image: "i@sha256:1", Recipe: "sha256:1", Request: "sha256:r"}
	if change != nil {
		change(d, &facts)
	}
	p.writeFacts(facts)
	doc, err := json.Marshal(document(facts, facts.Frames, true))
	if err != nil || os.WriteFile(filepath.Join(p.l.OutputDir, "pose.json"), doc, 0o600) != nil {
		w.t.Fatal(err)
	}
	if m, code, out = p.run(cfg); code != 0 {
		w.t.Fatalf("deliver: %d %+v\n%s", code, m, out)
	}
	return m.Deliver
}

// whole checks what must hold of an output at any moment: its root leads to a whole
// result or to none, and so does every folder with a manifest. It says whether the
// root leads to one.
func (w *world) whole(output string) bool {
	w.t.Helper()
	sink := w.sink(output)
	for _, key := range w.files(output) {
		if strings.HasPrefix(key, result.AttemptsDir+"/") && filepath.Base(key) == result.ManifestFile {
			folder := w.sink(output + "/" + filepath.Dir(key))
			if rep, _, err := verify.Whole(w.t.Context(), folder, "", verify.Options{}); err != nil || len(rep.Problems) > 0 {
				w.t.Errorf("%s: %v %+v", key, err, rep)
			}
		}
	}
	rep, _, err := verify.Whole(w.t.Context(), sink, "", verify.Options{})
	if storage.KindOf(err) == storage.NotFound {
		return false
	}
	if err != nil || len(rep.Problems) > 0 {
		w.t.Errorf("the root: %v %+v", err, rep)
	}
	return true
}

// killer is a proxy before the bucket that kills a role at its nth write, before or
// after the server has it.
type killer struct {
	*httptest.Server
	mu     sync.Mutex
	writes int
	at     int // 0 is never
	after  bool
	victim *container
	// refuse answers a request with 403.
	refuse func(*http.Request) bool
}

func newKiller(t *testing.T, endpoint string) *killer {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	k := &killer{}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.refuse != nil && k.refuse(r) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		hit := false
		if r.Method == http.MethodPut || r.Method == http.MethodPost || r.Method == http.MethodDelete {
			k.writes++
			hit = k.writes == k.at
		}
		if hit && !k.after {
			k.kill()
			return
		}
		proxy.ServeHTTP(w, r)
		if hit {
			k.kill()
		}
	}))
	t.Cleanup(k.Close)
	return k
}

func (k *killer) kill() {
	_ = k.victim.cmd.Process.Kill()
	<-k.victim.done
}

// run starts a role and kills it at a write. It says whether the role came so far.
func (k *killer) run(p *pod, cfg report.Config, at int, after bool) (killed bool) {
	p.t.Helper()
	k.mu.Lock()
	k.writes, k.at, k.after = 0, at, after
	k.victim = p.start(cfg)
	k.mu.Unlock()
	<-k.victim.done
	k.mu.Lock()
	defer k.mu.Unlock()
	if code := k.victim.code(); k.writes < at && code != 0 {
		p.t.Fatalf("code %d\n%s", code, k.victim.out)
	}
	return k.writes >= at
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// contains says whether one of the lines holds each of the words.
func contains(lines []string, words ...string) bool {
	return slices.ContainsFunc(lines, func(l string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(l, w) })
	})
}

func (w *world) client() *s3.Client {
	return s3.NewFromConfig(aws.Config{
		Region:      w.store.S3Region,
		Credentials: credentials.NewStaticCredentialsProvider(w.secret["AWS_ACCESS_KEY_ID"], w.secret["AWS_SECRET_ACCESS_KEY"], ""),
	}, func(o *s3.Options) {
		o.BaseEndpoint, o.UsePathStyle = &w.store.S3Endpoint, true
	})
}

// begin uploads that are never completed, as a pod that is killed leaves them.
func (w *world) begin(keys ...string) {
	w.t.Helper()
	for _, key := range keys {
		up, err := w.client().CreateMultipartUpload(w.t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String("bucket"), Key: &key})
		if err == nil {
			_, err = w.client().UploadPart(w.t.Context(), &s3.UploadPartInput{
				Bucket: aws.String("bucket"), Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("a part"),
			})
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// begun are the keys of uploads that were never completed.
func (w *world) begun() []string {
	w.t.Helper()
	keys := []string{}
	out, err := w.client().ListMultipartUploads(w.t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String("bucket")})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, u := range out.Uploads {
		keys = append(keys, aws.ToString(u.Key))
	}
	slices.Sort(keys)
	return keys
}
