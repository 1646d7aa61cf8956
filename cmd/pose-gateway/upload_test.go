package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/jobs"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/stand"
)

func TestUpload(t *testing.T) {
	g := start(t, nil)
	for name, size := range map[string]int{"small": 100_000, "in pieces": 20 << 20} {
		content := video(size)
		a := g.upload(alice, "../../C:\\x\\my <run>.mp4", content, map[string]string{"overlay": "Blurred", "device": "CPU"}, map[string]string{"people": "3"})
		a.want(t, http.StatusCreated)
		job := decode[jobs.Job](t, a)
		if a.Header.Get("Location") != "/api/pose/jobs/"+job.ID || job.Name != "my run.mp4" || job.Overlay != "Blurred" || job.Links.Cancel == "" || job.Links.Retry != "" {
			t.Errorf("%s: job %+v", name, job)
		}
		j := poseJob(t, job.ID)
		key, ok := strings.CutPrefix(j.Spec.Video.URI, stand.Base+"/")
		if !ok || !strings.HasPrefix(key, "poses/uploads/") || !strings.HasSuffix(key, "/video.mp4") || strings.Contains(key, "run") {
			t.Fatalf("%s: video %s", name, j.Spec.Video.URI)
		}
		b, err := os.ReadFile(filepath.Join(store.Dir, stand.Bucket, key))
		if err != nil || string(b) != string(content) {
			t.Errorf("%s: %d bytes stored, %v", name, len(b), err)
		}
		if files := stored(t, filepath.Dir(key)); len(files) != 1 {
			t.Errorf("%s: stored %v", name, files)
		}
		if j.Spec.Video.SHA256 != digest(content) || j.Spec.Output.URI != stand.Base+"/poses/results/"+job.ID || j.Spec.People.Max != 3 || j.Spec.Device != v1alpha1.DeviceCPU ||
			j.Spec.Output.DeletionPolicy != v1alpha1.DeletionDelete || j.Spec.Video.CredentialsSecretRef.Name != "store" {
			t.Errorf("%s: spec %+v", name, j.Spec)
		}
	}
}

func TestUploadsThatAreRefused(t *testing.T) {
	g := start(t, map[string]any{"limits": map[string]any{"videoBytes": 9 << 20, "requestsPerMinute": 100000, "addressRequestsPerMinute": 100000}})
	before := len(stored(t, "poses/uploads"))
	good, kind := form("a.mp4", video(1000), nil, nil)
	stranger := &stand.User{Token: "eyJhbGciOiJub25lIn0.e30."}
	for name, c := range map[string]struct {
		user          *stand.User
		content       []byte
		before, after map[string]string
		status        int
		says          string
	}{
		"no token":               {nil, video(1000), nil, nil, 401, "Authorization"},
		"a token of nobody":      {stranger, video(1000), nil, nil, 401, "not valid"},
		"no rights":              {bob, video(1000), nil, nil, 403, `may not create posejobs in namespace \"poses\"`},
		"rights to look":         {carol, video(1000), nil, nil, 403, "may not create"},
		"no video":               {alice, []byte("<html>hello</html>"), nil, nil, 415, "does not begin as a video"},
		"an empty file":          {alice, nil, nil, nil, 400, "empty"},
		"too large in pieces":    {alice, video(9<<20 + 1), nil, nil, 413, "larger than the 9437184 bytes"},
		"another digest":         {alice, video(1000), map[string]string{"sha256": strings.Repeat("a", 64)}, nil, 422, "sha256"},
		"another digest, pieces": {alice, video(9 << 20), map[string]string{"sha256": strings.Repeat("a", 64)}, nil, 422, "sha256"},
		"no engine":              {alice, video(1000), map[string]string{"engine": "nosuch"}, nil, 422, "there is no engine"},
		"no overlay":             {alice, video(1000), map[string]string{"overlay": "full"}, nil, 400, "None, Blurred or Full"},
		"an unknown field":       {alice, video(1000), map[string]string{"uri": "s3://other/video"}, nil, 400, "unknown field"},
		"unknown afterwards":     {alice, video(1000), nil, map[string]string{"outputURI": "s3://x/y"}, 400, "unknown field"},
		"frames that run back":   {alice, video(1000), map[string]string{"frameStart": "10", "frameEnd": "5"}, nil, 422, "frames.end must be greater"},
		"wrong after the video":  {alice, video(9 << 20), nil, map[string]string{"frameStart": "10", "frameEnd": "5"}, 422, "frames.end must be greater"},
		"another namespace":      {alice, video(1000), map[string]string{}, nil, 403, "does not serve the namespace"},
	} {
		body, kind := form("a.mp4", c.content, c.before, c.after)
		path := "/api/pose/video"
		if name == "another namespace" {
			path += "?namespace=kube-system"
		}
		a := g.do(g.request(c.user, http.MethodPost, path, body, "Content-Type", kind))
		if a.StatusCode != c.status || !strings.Contains(string(a.body), c.says) {
			t.Errorf("%s: %s %s", name, a.Status, a.body)
		}
	}
	if a := g.do(g.request(alice, http.MethodPost, "/api/pose/video", good, "Content-Type", strings.Replace(kind, "form-data", "mixed", 1))); a.StatusCode != 415 {
		t.Errorf("another media type: %s", a.Status)
	}
	if a := g.do(g.request(alice, http.MethodPost, "/api/pose/video", strings.NewReader("--x\r\n\r\n"), "Content-Type", "multipart/form-data; boundary=x")); a.StatusCode != 400 {
		t.Errorf("a broken form: %s", a.Status)
	}
	if after := len(stored(t, "poses/uploads")); after != before {
		t.Errorf("%d objects before, %d after", before, after)
	}
}

// TestAbortedUpload: nothing is left of a client that is gone.
func TestAbortedUpload(t *testing.T) {
	g := start(t, nil)
	before := len(stored(t, "poses/uploads"))
	body, kind := form("a.mp4", video(30<<20), nil, nil)
	pr, pw := io.Pipe()
	go func() {
		_, _ = io.CopyN(pw, body, 20<<20)
		for len(stored(t, "poses/uploads")) == before {
			time.Sleep(10 * time.Millisecond)
		}
		pw.CloseWithError(errors.New("the client is gone"))
	}()
	if resp, err := http.DefaultClient.Do(g.request(alice, http.MethodPost, "/api/pose/video", pr, "Content-Type", kind)); err == nil { //nolint:bodyclose // the test ends
		t.Fatalf("answered %s", resp.Status)
	}
	g.until("the removal of the pieces", func() bool { return len(stored(t, "poses/uploads")) == before })
	var jobs v1alpha1.PoseJobList
	if err := admin.List(t.Context(), &jobs, client.InNamespace(stand.Namespace), client.MatchingLabels{"pose.dev/upload": "none"}); err != nil || len(jobs.Items) != 0 {
		t.Errorf("jobs %v, %v", jobs.Items, err)
	}
}

// TestSlowClient is told after a while, or cut off.
func TestSlowClient(t *testing.T) {
	g := start(t, map[string]any{"limits": map[string]any{"idleSeconds": 1, "requestsPerMinute": 100000, "addressRequestsPerMinute": 100000}})
	before := len(stored(t, "poses/uploads"))
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/pose/video HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000\r\n\r\n--x\r\nContent-Disposition: form-data; name=\"video\"; filename=\"a.mp4\"\r\n\r\n", alice.Token)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("answered %s", resp.Status)
	}
	if after := len(stored(t, "poses/uploads")); after != before {
		t.Errorf("%d objects before, %d after", before, after)
	}
}

// TestMemory of a large upload: a bound that does not grow with the video. 1 GiB with
// POSE_TEST_LARGE set.
func TestMemory(t *testing.T) {
	size := int64(192 << 20)
	if os.Getenv("POSE_TEST_LARGE") != "" {
		size = 1 << 30
	}
	g := start(t, nil)
	pr, pw := io.Pipe()
	m := multipart.NewWriter(pw)
	go func() {
		w, _ := m.CreateFormFile("video", "large.mp4")
		block := video(1 << 20)
		for range size >> 20 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
		pw.CloseWithError(m.Close())
	}()
	runtime.GC()
	var peak atomic.Uint64
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				var ms runtime.MemStats
				runtime.ReadMemStats(&ms)
				peak.Store(max(peak.Load(), ms.HeapInuse))
			}
		}
	}()
	begun := time.Now()
	a := g.do(g.request(alice, http.MethodPost, "/api/pose/video", pr, "Content-Type", m.FormDataContentType()))
	close(stop)
	a.want(t, http.StatusCreated)
	job := poseJob(t, decode[jobs.Job](t, a).ID)
	st, err := os.Stat(filepath.Join(store.Dir, stand.Bucket, strings.TrimPrefix(job.Spec.Video.URI, stand.Base)))
	if err != nil || st.Size() != size {
		t.Errorf("%v, %v", st, err)
	}
	t.Logf("%d MiB in %s, heap at most %d MiB", size>>20, time.Since(begun).Round(time.Second/10), peak.Load()>>20)
	if peak.Load() > 256<<20 {
		t.Errorf("the heap grew to %d MiB", peak.Load()>>20)
	}
	g.ask(alice, http.MethodDelete, "/api/pose/jobs/"+job.Name, http.StatusNoContent)
}

// TestShutdown lets an upload end that is under way.
func TestShutdown(t *testing.T) {
	g := start(t, nil)
	body, kind := form("a.mp4", video(10<<20), nil, nil)
	pr, pw := io.Pipe()
	begun, stopping := make(chan struct{}), make(chan error, 1)
	go func() {
		_, _ = io.CopyN(pw, body, 9<<20)
		close(begun)
		for {
			resp, err := http.Get(g.url + "/api/pose/config")
			if err != nil {
				break // no longer listening
			}
			resp.Body.Close()
			time.Sleep(10 * time.Millisecond)
		}
		_, _ = io.Copy(pw, body)
		pw.Close()
	}()
	go func() {
		<-begun
		stopping <- g.stop()
	}()
	a := g.do(g.request(alice, http.MethodPost, "/api/pose/video", pr, "Content-Type", kind))
	a.want(t, http.StatusCreated)
	if err := <-stopping; err != nil {
		t.Error(err)
	}
	poseJob(t, decode[jobs.Job](t, a).ID)
}
