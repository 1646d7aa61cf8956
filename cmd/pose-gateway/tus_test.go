package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/stand"
)

func metadata(pairs ...string) string {
	var out []string
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, pairs[i]+" "+base64.StdEncoding.EncodeToString([]byte(pairs[i+1])))
	}
	return strings.Join(out, ",")
}

func (g *gateway) tus(u *stand.User, method, path string, body io.Reader, headers ...string) *answer {
	g.t.Helper()
	return g.do(g.request(u, method, path, body, append([]string{"Tus-Resumable", "1.0.0"}, headers...)...))
}

func (g *gateway) create(size int) string {
	g.t.Helper()
	a := g.tus(alice, http.MethodPost, "/api/pose/uploads", nil, "Upload-Length", strconv.Itoa(size), "Upload-Metadata", metadata("filename", "walk.mp4", "device", "CPU"))
	a.want(g.t, http.StatusCreated)
	return a.Header.Get("Location")
}

const offsetStream = "application/offset+octet-stream"

func (g *gateway) send(path string, offset int, b []byte) *answer {
	g.t.Helper()
	return g.tus(alice, http.MethodPatch, path, bytes.NewReader(b), "Upload-Offset", strconv.Itoa(offset), "Content-Type", offsetStream)
}

func (g *gateway) offset(path string) int {
	g.t.Helper()
	a := g.tus(alice, http.MethodHead, path, nil)
	a.want(g.t, http.StatusOK)
	n, err := strconv.Atoi(a.Header.Get("Upload-Offset"))
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

// TestTusResumes cuts the connection in the midst of a piece and goes on.
func TestTusResumes(t *testing.T) {
	g := start(t, nil)
	content := video(20<<20 + 12345)
	path := g.create(len(content))
	if n := g.offset(path); n != 0 {
		t.Fatalf("offset %d at the beginning", n)
	}
	pr, pw := io.Pipe()
	go func() {
		_, _ = pw.Write(content[:11<<20])
		// The client's own buffers are empty once it wants more.
		_, _ = pw.Write(content[11<<20 : 12<<20])
		pw.CloseWithError(errors.New("cut"))
	}()
	if resp, err := http.DefaultClient.Do(g.request(alice, http.MethodPatch, path, pr, "Tus-Resumable", "1.0.0", "Upload-Offset", "0", "Content-Type", offsetStream)); err == nil { //nolint:bodyclose // the test ends
		t.Fatalf("answered %s", resp.Status)
	}
	got := 0
	g.until("the part that came", func() bool { got = g.offset(path); return got > 8<<20 })
	if got > 12<<20 {
		t.Fatalf("offset %d", got)
	}
	g.send(path, 0, content).want(t, http.StatusConflict)
	g.send(path, got, append(bytes.Clone(content[got:]), 'x')).want(t, http.StatusRequestEntityTooLarge)
	a := g.send(path, got, content[got:20<<20])
	a.want(t, http.StatusNoContent)
	if a.Header.Get("Upload-Offset") != strconv.Itoa(20<<20) || a.Header.Get("Pose-Job-Id") != "" {
		t.Errorf("headers %v", a.Header)
	}
	a = g.send(path, 20<<20, content[20<<20:])
	a.want(t, http.StatusNoContent)
	id := a.Header.Get("Pose-Job-Id")
	job := poseJob(t, id)
	key := strings.TrimPrefix(job.Spec.Video.URI, stand.Base+"/")
	b, err := os.ReadFile(filepath.Join(store.Dir, stand.Bucket, key))
	if err != nil || !bytes.Equal(b, content) || job.Spec.Video.SHA256 != digest(content) || job.Spec.Device != "CPU" || job.Annotations["pose.dev/upload-name"] != "walk.mp4" {
		t.Errorf("%d bytes, %v, %+v", len(b), err, job.Spec)
	}
	head := g.tus(alice, http.MethodHead, path, nil)
	if head.Header.Get("Upload-Offset") != strconv.Itoa(len(content)) || head.Header.Get("Pose-Job-Id") != id {
		t.Errorf("afterwards %v", head.Header)
	}
	if files := stored(t, filepath.Dir(key)); len(files) != 2 {
		t.Errorf("stored %v", files)
	}
	g.tus(alice, http.MethodDelete, path, nil).want(t, http.StatusConflict)
	g.ask(alice, http.MethodDelete, "/api/pose/jobs/"+id, http.StatusNoContent)
	if files := stored(t, filepath.Dir(key)); len(files) != 0 {
		t.Errorf("after the job was deleted: %v", files)
	}
}

// TestTusEndIsTriedAgain: the gateway died after the last piece was stored and before
// the job was made.
func TestTusEndIsTriedAgain(t *testing.T) {
	g := start(t, nil)
	content := video(9 << 20)
	path := g.create(len(content))
	g.send(path, 0, content[:8<<20]).want(t, http.StatusNoContent)
	pieces := filepath.Join(store.Dir, stand.Bucket, "poses/uploads", filepath.Base(path), "pieces")
	if err := os.WriteFile(filepath.Join(pieces, fmt.Sprintf("%020d", 8<<20)), content[8<<20:], 0o600); err != nil {
		t.Fatal(err)
	}
	if n := g.offset(path); n != 8<<20 {
		t.Fatalf("offset %d: the last piece must be asked for again", n)
	}
	a := g.send(path, 8<<20, content[8<<20:])
	a.want(t, http.StatusNoContent)
	if job := poseJob(t, a.Header.Get("Pose-Job-Id")); job.Spec.Video.SHA256 != digest(content) {
		t.Errorf("digest %s", job.Spec.Video.SHA256)
	}
	// And once more, as a client does whose answer was lost.
	b := g.send(path, 8<<20, nil)
	b.want(t, http.StatusNoContent)
	if b.Header.Get("Pose-Job-Id") != a.Header.Get("Pose-Job-Id") {
		t.Errorf("jobs %s and %s", a.Header.Get("Pose-Job-Id"), b.Header.Get("Pose-Job-Id"))
	}
}

func TestTusRules(t *testing.T) {
	g := start(t, map[string]any{"limits": map[string]any{"videoBytes": 10 << 20, "requestsPerMinute": 100000, "addressRequestsPerMinute": 100000}})
	o := g.ask(nil, http.MethodOptions, "/api/pose/uploads", http.StatusNoContent)
	if o.Header.Get("Tus-Max-Size") != "10485760" || o.Header.Get("Tus-Version") != "1.0.0" || o.Header.Get("Tus-Extension") != "creation,termination,expiration" {
		t.Errorf("options %v", o.Header)
	}
	for name, c := range map[string]struct {
		user    *stand.User
		headers []string
		status  int
	}{
		"nobody":             {nil, []string{"Upload-Length", "5"}, 401},
		"no rights":          {bob, []string{"Upload-Length", "5"}, 403},
		"no length":          {alice, nil, 400},
		"an empty video":     {alice, []string{"Upload-Length", "0"}, 400},
		"a negative length":  {alice, []string{"Upload-Length", "-5"}, 400},
		"a signed length":    {alice, []string{"Upload-Length", "+5"}, 400},
		"too large":          {alice, []string{"Upload-Length", "10485761"}, 413},
		"no base64":          {alice, []string{"Upload-Length", "5", "Upload-Metadata", "filename %%"}, 400},
		"an unknown key":     {alice, []string{"Upload-Length", "5", "Upload-Metadata", metadata("place", "s3://x")}, 400},
		"an unknown engine":  {alice, []string{"Upload-Length", "5", "Upload-Metadata", metadata("engine", "nosuch")}, 422},
		"another protocol":   {alice, []string{"Upload-Length", "5", "Tus-Resumable", "0.2.2"}, 412},
		"too much metadata":  {alice, []string{"Upload-Length", "5", "Upload-Metadata", metadata("filename", strings.Repeat("x", 5000))}, 400},
		"metadata of no use": {alice, []string{"Upload-Length", "5", "Upload-Metadata", metadata("filename", "", "filetype", "video/mp4")}, 201},
	} {
		if a := g.tus(c.user, http.MethodPost, "/api/pose/uploads", nil, c.headers...); a.StatusCode != c.status {
			t.Errorf("%s: %s %s", name, a.Status, a.body)
		}
	}
	path := g.create(1000)
	if a := g.tus(dave, http.MethodHead, path, nil); a.StatusCode != http.StatusNotFound {
		t.Errorf("somebody else sees the upload: %s", a.Status)
	}
	g.ask(alice, http.MethodHead, path, http.StatusPreconditionFailed)
	g.tus(alice, http.MethodPatch, path, strings.NewReader("x"), "Upload-Offset", "0", "Content-Type", "text/plain").want(t, http.StatusUnsupportedMediaType)
	g.tus(alice, http.MethodPatch, path, strings.NewReader("x"), "Upload-Offset", "x", "Content-Type", offsetStream).want(t, http.StatusBadRequest)
	g.send(path, 0, make([]byte, 1000)).want(t, http.StatusUnsupportedMediaType)
	for _, other := range []string{"/api/pose/uploads/nosuch", "/api/pose/uploads/" + strings.Repeat("a", 26), "/api/pose/uploads/..%2f..%2fother"} {
		g.tus(alice, http.MethodHead, other, nil).want(t, http.StatusNotFound)
	}
	gone := g.create(1000)
	g.tus(alice, http.MethodDelete, gone, nil).want(t, http.StatusNoContent)
	g.tus(alice, http.MethodHead, gone, nil).want(t, http.StatusNotFound)
	if files := stored(t, "poses/uploads/"+filepath.Base(gone)); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
}

func TestTusExpires(t *testing.T) {
	g := start(t, nil)
	path := g.create(1000)
	name := filepath.Join(store.Dir, stand.Bucket, "poses/uploads", filepath.Base(path), "upload.json")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	year := strconv.Itoa(time.Now().Year())
	if err := os.WriteFile(name, bytes.ReplaceAll(raw, []byte(`"expires":"`+year), []byte(`"expires":"2001`)), 0o600); err != nil {
		t.Fatal(err)
	}
	g.tus(alice, http.MethodHead, path, nil).want(t, http.StatusGone)
	g.tus(alice, http.MethodHead, path, nil).want(t, http.StatusNotFound)
}

// TestTusKeepsTheVideoOfAJob: the gateway died after the job was made and before that
// was written down, and the upload's time is over. The video is the job's.
func TestTusKeepsTheVideoOfAJob(t *testing.T) {
	g := start(t, nil)
	content := video(1 << 20)
	path := g.create(len(content))
	folder := "poses/uploads/" + filepath.Base(path)
	name := filepath.Join(store.Dir, stand.Bucket, folder, "upload.json")
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	g.send(path, 0, content).want(t, http.StatusNoContent)
	kept := stored(t, folder)
	for what, state := range map[string][]byte{
		"deleted": before,
		"expired": bytes.ReplaceAll(before, []byte(`"expires":"`+strconv.Itoa(time.Now().Year())), []byte(`"expires":"2001`)),
	} {
		if err := os.WriteFile(name, state, 0o600); err != nil {
			t.Fatal(err)
		}
		if what == "deleted" {
			g.tus(alice, http.MethodDelete, path, nil).want(t, http.StatusConflict)
		} else {
			g.tus(alice, http.MethodHead, path, nil).want(t, http.StatusGone)
		}
		if got := stored(t, folder); !slices.Equal(got, kept) {
			t.Errorf("%s: of %v these are left: %v", what, kept, got)
		}
	}
	// It is known again.
	a := g.tus(alice, http.MethodHead, path, nil)
	a.want(t, http.StatusOK)
	if a.Header.Get("Pose-Job-Id") == "" {
		t.Error("the upload does not name its job")
	}
}

// TestTusOfAnotherVideo than was announced leaves nothing: no repetition mends it.
func TestTusOfAnotherVideo(t *testing.T) {
	g := start(t, nil)
	content := video(1 << 20)
	a := g.tus(alice, http.MethodPost, "/api/pose/uploads", nil, "Upload-Length", strconv.Itoa(len(content)), "Upload-Metadata", metadata("filename", "walk.mp4", "sha256", digest([]byte("another"))))
	a.want(t, http.StatusCreated)
	path := a.Header.Get("Location")
	g.send(path, 0, content).want(t, http.StatusUnprocessableEntity)
	g.tus(alice, http.MethodHead, path, nil).want(t, http.StatusNotFound)
	if left := stored(t, "poses/uploads/"+filepath.Base(path)); len(left) > 0 {
		t.Errorf("these are left: %v", left)
	}
}
