package exports

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/links"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/seal"
	"github.com/pose-dev/pose-operator/internal/export"
	"github.com/pose-dev/pose-operator/internal/result"
)

func TestEveryFormatIsDescribed(t *testing.T) {
	for _, f := range export.Formats() {
		a, ok := abouts[f.Name]
		if !ok || a.title == "" || a.use == "" {
			t.Errorf("format %s is not described", f.Name)
		}
		if a.flat == strings.Contains(f.About, "needs 3D") || a.motion != f.PerPerson || a.perFrame != strings.Contains(f.About, "a file a frame") {
			t.Errorf("format %s: %+v is not what it says of itself: %s", f.Name, a, f.About)
		}
	}
	if len(abouts) != len(export.Formats()) {
		t.Errorf("%d formats are described, there are %d", len(abouts), len(export.Formats()))
	}
}

func TestFileName(t *testing.T) {
	for _, c := range [][3]string{
		{"run-42.mov", "video-x", "run-42-bvh.zip"},
		{"Lauf über 5 km.final.mp4", "video-x", "Lauf-ber-5-km-final-bvh.zip"},
		{"", "video-x", "video-x-bvh.zip"},
		{"走.mp4", "my.job", "my-job-bvh.zip"},
		{`../../"evil\r\n.mp4`, "video-x", "evil-r-n-bvh.zip"},
		{strings.Repeat("a", 300) + ".mp4", "video-x", strings.Repeat("a", 80) + "-bvh.zip"},
	} {
		if got := FileName(c[0], c[1], "bvh"); got != c[2] {
			t.Errorf("%q: %q, want %q", c[0], got, c[2])
		}
	}
}

func TestHas3D(t *testing.T) {
	for text, want := range map[string]struct{ is, ok bool }{
		`{"kind":"PoseResult","people":[{"id":1}],"units":{"joints3d":"metres"},"frames":[`: {true, true},
		`{"units":{"joints2d":"pixels"},"frames":[`:                                         {false, true},
		`{"frames":[],"units":{"joints3d":"metres"}}`:                                       {},
		`{"units":[]}`: {}, `[]`: {}, ``: {}, `{"units"`: {}, `{"a":` + strings.Repeat("[", 20000): {},
	} {
		is, err := has3D(strings.NewReader(text))
		if is != want.is || (err == nil) != want.ok {
			t.Errorf("%.80s: %v %v", text, is, err)
		}
	}
}

// TestAtOnce: no more run than allowed, a few wait, the others are told to come later.
func TestAtOnce(t *testing.T) {
	s := &Service{Limits: Limits{AtOnce: 1, Wait: time.Hour}}
	leave, err := s.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type turn struct {
		leave func()
		err   error
	}
	turns := make(chan turn)
	for range 4 {
		go func() { l, err := s.enter(t.Context()); turns <- turn{l, err} }()
	}
	for len(s.waiting) < 4 {
		time.Sleep(time.Millisecond)
	}
	tooMany := func() {
		t.Helper()
		_, err := s.enter(t.Context())
		var p *problem.Problem
		if !errors.As(err, &p) || p.Status != http.StatusTooManyRequests || p.RetryAfter == 0 {
			t.Fatalf("%v", err)
		}
	}
	tooMany()
	leave()
	for range 4 {
		v := <-turns
		if v.err != nil {
			t.Fatal(v.err)
		}
		v.leave()
	}
	if leave, err = s.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Nobody waits for longer than Wait, nor after the request's end.
	s.Limits.Wait = time.Millisecond
	tooMany()
	s.Limits.Wait = time.Hour
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.enter(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	leave()
}

func source(t *testing.T) *export.Source {
	t.Helper()
	b, err := os.ReadFile("../../../../internal/export/testdata/mediapipe/pose.json")
	if err != nil {
		t.Fatal(err)
	}
	src, err := export.NewSource(bytes.NewReader(b), result.Limits{Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// ending is a context whose time is over when the test says so.
type ending struct {
	context.Context
	over *bool
}

func (e ending) Err() error {
	if *e.over {
		return context.DeadlineExceeded
	}
	return nil
}

// TestSlowReader: what is sent after an export's last frame is within its time, too.
func TestSlowReader(t *testing.T) {
	f, err := export.Find("coco")
	if err != nil {
		t.Fatal(err)
	}
	over := false
	o := export.Options{Progress: func(done, total int64) error {
		over = done == total
		return nil
	}}
	s := &Service{Dir: t.TempDir(), Limits: Limits{Bytes: 1 << 20}}
	err = s.send(ending{t.Context(), &over}, io.Discard, source(t), f, o, "x")
	var p *problem.Problem
	if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable {
		t.Errorf("%v", err)
	}
}

// TestBrokenOff: an error in the middle is given back, and what was sent by then is no
// zip. That the connection is broken then is the business of httpapi.
func TestBrokenOff(t *testing.T) {
	f, err := export.Find("openpose")
	if err != nil {
		t.Fatal(err)
	}
	over := false
	ctx := ending{t.Context(), &over}
	o := export.Options{Progress: func(done, _ int64) error {
		over = done == 11
		return ctx.Err()
	}}
	var sent bytes.Buffer
	s := &Service{Dir: t.TempDir(), Limits: Limits{Bytes: 1 << 20}}
	err = s.send(ctx, &sent, source(t), f, o, "x")
	var p *problem.Problem
	if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable || p.RetryAfter == 0 {
		t.Errorf("%v", err)
	}
	if sent.Len() == 0 {
		t.Error("nothing was sent before the error: the test tests nothing")
	}
	if _, err := zip.NewReader(bytes.NewReader(sent.Bytes()), int64(sent.Len())); err == nil {
		t.Error("what was broken off is a whole zip")
	}
}

// TestPack: files that are open at the same time are all in the zip, one after the other.
func TestPack(t *testing.T) {
	var b bytes.Buffer
	p := newPack(&b, "x", t.TempDir(), 100)
	defer p.Close()
	var open []io.WriteCloser
	for _, name := range []string{"a", "b", "c"} {
		w, err := p.create(name)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, w)
	}
	for range 3 {
		for i, w := range open {
			if _, err := w.Write([]byte{byte('a' + i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, i := range []int{1, 0, 2} {
		if err := open[i].Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got += f.Name + " " + string(text) + " "
	}
	if got != "x/a aaa x/b bbb x/c ccc " {
		t.Errorf("%s", got)
	}
	// What waits is bounded.
	p = newPack(io.Discard, "x", t.TempDir(), 100)
	defer p.Close()
	if _, err := p.create("a"); err != nil {
		t.Fatal(err)
	}
	w, err := p.create("b")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(make([]byte, 101))
	if err = errors.Join(err, w.Close()); err == nil || !strings.Contains(err.Error(), "more aside") {
		t.Errorf("%v", err)
	}
}

// TestLinks: a link is for one user and one job, and ends.
func TestLinks(t *testing.T) {
	keys, err := seal.New(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s := &Service{Keys: keys, Now: func() time.Time { return now }}
	l := link{Bearer: links.Bearer{Namespace: "poses", Job: "a", JobUID: "1", User: "alice"}, Format: "coco", Name: "a-coco.zip"}
	text, err := keys.Seal(purposeLink, l, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := keys.Seal("link", l, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	job := func(uid types.UID, deleted *metav1.Time) *v1alpha1.PoseJob {
		return &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: "poses", Name: "a", UID: uid, DeletionTimestamp: deleted}}
	}
	gone := metav1.NewTime(now)
	for name, c := range map[string]struct {
		text   string
		user   *auth.User
		job    *v1alpha1.PoseJob
		after  time.Duration
		status int
	}{
		"another job of the name": {text, nil, job("2", nil), 0, http.StatusNotFound},
		"a job that goes":         {text, nil, job("1", &gone), 0, http.StatusNotFound},
		"another user":            {text, &auth.User{Name: "bob"}, job("1", nil), 0, http.StatusForbidden},
		"too late":                {text, nil, job("1", nil), time.Minute, http.StatusForbidden},
		"a link to a file":        {foreign, nil, job("1", nil), 0, http.StatusForbidden},
	} {
		now = now.Add(c.after)
		get := func(context.Context, string, string) (*v1alpha1.PoseJob, error) { return c.job, nil }
		err := s.ServeLink(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil), c.text, c.user, get)
		var p *problem.Problem
		if !errors.As(err, &p) || p.Status != c.status {
			t.Errorf("%s: %v", name, err)
		}
		now = now.Add(-c.after)
	}
}
