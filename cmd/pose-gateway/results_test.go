package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/jobs"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/media"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/stand"
)

// finished job of alice's with files.
func (g *gateway) finished(files map[string][]byte) (jobs.Job, *v1alpha1.PoseJob) {
	g.t.Helper()
	job := g.uploaded(1000, nil)
	j := poseJob(g.t, job.ID)
	if err := stand.Succeed(g.t.Context(), admin, store.Options(), j, files); err != nil {
		g.t.Fatal(err)
	}
	g.until("the result", func() bool {
		return decode[jobs.Job](g.t, g.ask(alice, http.MethodGet, job.Links.Self, http.StatusOK)).Links.Results != ""
	})
	return job, j
}

func attempt(j *v1alpha1.PoseJob) string {
	return filepath.Join(store.Dir, stand.Bucket, strings.TrimPrefix(j.Status.Output.URI, stand.Base))
}

func TestResults(t *testing.T) {
	g := start(t, nil)
	overlay := video(9 << 20)
	files := map[string][]byte{"pose.json": []byte(`{"frames":[]}`), "overlay.mp4": overlay, "page.html": []byte("<script>alert(1)</script>")}
	job, _ := g.finished(files)
	view := g.ask(alice, http.MethodGet, job.Links.Self, http.StatusOK)
	if bytes.Contains(view.body, []byte("s3://")) {
		t.Errorf("places of the store are shown: %s", view.body)
	}
	list := decode[media.Results](t, g.ask(alice, http.MethodGet, job.Links.Self+"/results", http.StatusOK))
	if len(list.Files) != 3 || list.People != 2 || len(list.ManifestSHA256) != 64 || list.ExpiresAt.IsZero() {
		t.Fatalf("%+v", list)
	}
	for _, f := range list.Files {
		want := files[f.Path]
		if f.SHA256 != digest(want) || f.Size != int64(len(want)) {
			t.Errorf("%+v", f)
		}
		for _, url := range []string{f.URL, f.DownloadURL, job.Links.Self + "/results/" + f.Name} {
			u := alice
			if strings.Contains(url, "/media/") {
				u = nil // the link is enough
			}
			a := g.ask(u, http.MethodGet, url, http.StatusOK)
			if !bytes.Equal(a.body, want) || a.Header.Get("ETag") != `"`+f.SHA256+`"` || a.Header.Get("Accept-Ranges") != "bytes" || a.Header.Get("X-Content-Type-Options") != "nosniff" ||
				!strings.Contains(a.Header.Get("Content-Security-Policy"), "sandbox") || a.Header.Get("Repr-Digest") == "" {
				t.Errorf("%s: %d bytes, %v", f.Name, len(a.body), a.Header)
			}
			if kind := a.Header.Get("Content-Type"); strings.Contains(kind, "html") || f.Path == "page.html" && kind != "application/octet-stream" {
				t.Errorf("%s is served as %s", f.Path, kind)
			}
			if attached := a.Header.Get("Content-Disposition") == `attachment; filename="`+f.Path+`"`; attached != (url == f.DownloadURL) {
				t.Errorf("%s: disposition %q", url, a.Header.Get("Content-Disposition"))
			}
		}
	}
	url := list.Files[0].URL
	for _, f := range list.Files {
		if f.Name == "overlay" {
			url = f.URL
		}
	}
	for want, c := range map[string]struct {
		status   int
		from, to int
		headers  []string
	}{
		"the first bytes":   {206, 0, 100, []string{"Range", "bytes=0-99"}},
		"in the midst":      {206, 8<<20 - 5, 8<<20 + 5, []string{"Range", "bytes=8388603-8388612"}},
		"to the end":        {206, 9<<20 - 7, 9 << 20, []string{"Range", "bytes=9437177-"}},
		"the last bytes":    {206, 9<<20 - 7, 9 << 20, []string{"Range", "bytes=-7"}},
		"more than it has":  {206, 9<<20 - 7, 9 << 20, []string{"Range", "bytes=9437177-99999999999"}},
		"several":           {200, 0, 9 << 20, []string{"Range", "bytes=0-1,5-6"}},
		"another unit":      {200, 0, 9 << 20, []string{"Range", "frames=0-1"}},
		"if it is the same": {206, 0, 10, []string{"Range", "bytes=0-9", "If-Range", `"` + digest(overlay) + `"`}},
		"if it is another":  {200, 0, 9 << 20, []string{"Range", "bytes=0-9", "If-Range", `"x"`}},
	} {
		a := g.ask(nil, http.MethodGet, url, c.status, c.headers...)
		if !bytes.Equal(a.body, overlay[c.from:c.to]) {
			t.Errorf("%s: %d bytes", want, len(a.body))
		}
	}
	g.ask(nil, http.MethodGet, url, http.StatusRequestedRangeNotSatisfiable, "Range", "bytes=9437184-")
	g.ask(nil, http.MethodGet, url, http.StatusNotModified, "If-None-Match", `"`+digest(overlay)+`"`)
	g.ask(alice, http.MethodGet, job.Links.Self+"/results/nosuch", http.StatusNotFound)
	g.ask(bob, http.MethodGet, job.Links.Self+"/results", http.StatusForbidden)
	g.ask(bob, http.MethodGet, job.Links.Self+"/results/pose", http.StatusForbidden)
	g.ask(nil, http.MethodGet, job.Links.Self+"/results/pose", http.StatusUnauthorized)

	token, name := strings.Split(url, "/")[4], strings.Split(url, "/")[5]
	turned := []byte(token)
	turned[20] ^= 1
	for _, bad := range []string{string(turned), token[:len(token)-4], "x", token + token} {
		g.ask(nil, http.MethodGet, "/api/pose/media/"+bad+"/"+name, http.StatusForbidden)
	}
	g.ask(alice, http.MethodDelete, job.Links.Self, http.StatusNoContent)
	g.until("the link's end", func() bool { return g.do(g.request(nil, http.MethodGet, url, nil)).StatusCode == http.StatusNotFound })
}

// TestDamagedResults: what is not as it was delivered is never given as a success.
func TestDamagedResults(t *testing.T) {
	g := start(t, nil)
	pose := bytes.Repeat([]byte("pose"), 200_000)
	for name, c := range map[string]struct {
		harm   func(dir string, b []byte) error
		status int
		list   int
	}{
		"a bit turned":     {func(d string, b []byte) error { b[len(b)/2] ^= 1; return os.WriteFile(d+"/pose.json", b, 0o600) }, 200, 200},
		"one byte less":    {func(d string, b []byte) error { return os.WriteFile(d+"/pose.json", b[1:], 0o600) }, 502, 200},
		"a file lost":      {func(d string, _ []byte) error { return os.Remove(d + "/pose.json") }, 502, 200},
		"another manifest": {func(d string, _ []byte) error { return os.WriteFile(d+"/manifest.json", []byte("{}"), 0o600) }, 502, 502},
		"no manifest":      {func(d string, _ []byte) error { return os.Remove(d + "/manifest.json") }, 502, 502},
	} {
		job, j := g.finished(map[string][]byte{"pose.json": bytes.Clone(pose)})
		if err := c.harm(attempt(j), bytes.Clone(pose)); err != nil {
			t.Fatal(err)
		}
		if a := g.do(g.request(alice, http.MethodGet, job.Links.Self+"/results", nil)); a.StatusCode != c.list {
			t.Errorf("%s: list %s %s", name, a.Status, a.body)
		}
		resp, err := http.DefaultClient.Do(g.request(alice, http.MethodGet, job.Links.Self+"/results/pose", nil))
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		_, err = b.ReadFrom(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || c.status == 200 && err == nil {
			t.Errorf("%s: %s, %d bytes, %v", name, resp.Status, b.Len(), err)
		}
	}
}

// TestForeignPlaces: whatever a status or a spec says, nothing is served but what is
// below the gateway's base and the namespace.
func TestForeignPlaces(t *testing.T) {
	g := start(t, nil)
	_, victim := g.finished(map[string][]byte{"pose.json": []byte("secret")})
	// The same bucket, another namespace's results.
	other := victim.DeepCopy()
	other.Namespace = "other"
	other.Spec.Output.URI = stand.Base + "/other/results/x"
	out, err := stand.Result(t.Context(), store.Options(), other, map[string][]byte{"pose.json": []byte("secret")})
	if err != nil {
		t.Fatal(err)
	}
	now := metav1.Now()
	complete := func(uri string, output *v1alpha1.OutputStatus) func(*v1alpha1.PoseJobStatus) {
		return func(s *v1alpha1.PoseJobStatus) {
			o := *output
			o.URI = uri
			for i := range o.Files {
				o.Files[i].URI = uri + "/" + o.Files[i].Name
			}
			s.Output, s.Phase, s.CompletionTime = &o, v1alpha1.PhaseSucceeded, &now
			s.Conditions = []metav1.Condition{{Type: "Complete", Status: "True", Reason: "Succeeded", LastTransitionTime: now}}
		}
	}
	// A status that points into the other namespace.
	job := g.uploaded(1000, nil)
	if err := stand.Write(t.Context(), admin, poseJob(t, job.ID), complete(out.URI, out)); err != nil {
		t.Fatal(err)
	}
	g.until("the status", func() bool {
		return decode[jobs.Job](t, g.ask(alice, http.MethodGet, job.Links.Self, http.StatusOK)).Links.Results != ""
	})
	for _, path := range []string{"/results", "/results/pose"} {
		a := g.ask(alice, http.MethodGet, job.Links.Self+path, http.StatusBadGateway)
		if bytes.Contains(a.body, []byte("secret")) {
			t.Errorf("%s", a.body)
		}
	}
	// Jobs that somebody made by kubectl, with outputs elsewhere.
	for i, uri := range []string{stand.Base + "/other/results/x", "s3://elsewhere/poses/x", stand.Base + "/posesx/results/x", "s3://" + stand.Bucket + "/poses/%6f", "pvc://claim/poses/x"} {
		j := &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: stand.Namespace, GenerateName: "by-kubectl-"}}
		j.Spec.Video.URI = "https://example.org/v.mp4"
		j.Spec.Output.URI = uri
		if err := admin.Create(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		if err := stand.Write(t.Context(), admin, j, complete(uri, out)); err != nil {
			t.Fatal(err)
		}
		g.until("the job", func() bool {
			a := g.do(g.request(alice, http.MethodGet, "/api/pose/jobs/"+j.Name, nil))
			return a.StatusCode == http.StatusOK && bytes.Contains(a.body, []byte("Succeeded"))
		})
		if v := decode[jobs.Job](t, g.ask(alice, http.MethodGet, "/api/pose/jobs/"+j.Name, http.StatusOK)); v.Links.Results != "" {
			t.Errorf("%d: %+v", i, v.Links)
		}
		g.ask(alice, http.MethodGet, "/api/pose/jobs/"+j.Name+"/results", http.StatusForbidden)
		// Deleting it touches no video that is not an upload of the gateway's.
		g.ask(alice, http.MethodDelete, "/api/pose/jobs/"+j.Name, http.StatusNoContent)
	}
}

func TestLinksExpire(t *testing.T) {
	g := start(t, nil)
	job, j := g.finished(map[string][]byte{"pose.json": []byte("{}")})
	_ = j
	list := decode[media.Results](t, g.ask(alice, http.MethodGet, job.Links.Self+"/results", http.StatusOK))
	// Another gateway with another key knows nothing of the link.
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, bytes.Repeat([]byte("k"), 40), 0o600); err != nil {
		t.Fatal(err)
	}
	stranger := start(t, map[string]any{"keyFiles": []string{file}})
	stranger.ask(nil, http.MethodGet, list.Files[0].URL, http.StatusForbidden)
	// And one whose base is elsewhere serves it no longer.
	moved := start(t, map[string]any{"place": map[string]any{"base": "s3://elsewhere", "credentialsDir": store.CredentialsDir}})
	moved.ask(nil, http.MethodGet, list.Files[0].URL, http.StatusForbidden)
	g.ask(nil, http.MethodGet, list.Files[0].URL, http.StatusOK)
}
