package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/exports"
	"github.com/pose-dev/pose-operator/internal/export"
	"github.com/pose-dev/pose-operator/internal/result"
)

var exportLimits = result.Limits{Bytes: 1 << 30}

// fixture is a result of internal/export's tests.
func fixture(t *testing.T, folder string, files ...string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join("../../internal/export/testdata", folder, name))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = b
	}
	return out
}

// unzipped files of an answer, by their names.
func unzipped(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if out[f.Name], err = io.ReadAll(r); err != nil { // its CRC included
			t.Fatal(err)
		}
	}
	return out
}

// sameFiles as internal/export writes by itself.
func sameFiles(t *testing.T, got map[string][]byte, folder string, files map[string][]byte, format string, o export.Options) {
	t.Helper()
	src, err := export.NewSource(bytes.NewReader(files["pose.json"]), exportLimits)
	if err != nil {
		t.Fatal(err)
	}
	if b := files["frame-times.json"]; b != nil {
		if err := src.AttachTimes(bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := export.Find(format)
	if err != nil {
		t.Fatal(err)
	}
	if b := files["smpl.npz"]; b != nil && f.UsesSMPL {
		if err := src.Attach(bytes.NewReader(b), int64(len(b)), exportLimits); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]*bytes.Buffer{}
	err = export.Export(src, f, o, func(name string) (io.WriteCloser, error) {
		want[folder+"/"+name] = &bytes.Buffer{}
		return closing{want[folder+"/"+name]}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 || len(want) != len(got) {
		t.Errorf("%s: %d files, want %d", format, len(got), len(want))
	}
	for name, b := range want {
		if !bytes.Equal(got[name], b.Bytes()) {
			t.Errorf("%s: %s differs", format, name)
		}
	}
}

type closing struct{ io.Writer }

func (closing) Close() error { return nil }

// TestExports: each format is what internal/export makes of the result, by name and by
// link, for those who may see the job.
func TestExports(t *testing.T) {
	g := start(t, nil)
	files := fixture(t, "smpl", "pose.json", "smpl.npz")
	seconds := make([]float64, 24)
	for i := range seconds {
		seconds[i] = 2 + float64(i*i)/100
	}
	times, err := json.Marshal(map[string]any{"apiVersion": "pose.dev/v1alpha1", "kind": "FrameTimes", "startFrame": 50, "seconds": seconds})
	if err != nil {
		t.Fatal(err)
	}
	files["frame-times.json"] = times
	job, _ := g.finished(files)
	list := decode[exports.List](t, g.ask(alice, http.MethodGet, job.Links.Self+"/results", http.StatusOK))
	if len(list.Exports) != len(export.Formats()) || len(list.Missing) != 0 {
		t.Fatalf("%+v", list)
	}
	for _, e := range list.Exports {
		if e.Name != "run-"+e.Format+".zip" || e.Title == "" || e.For == "" {
			t.Errorf("%+v", e)
		}
		path := job.Links.Self + "/exports/" + e.Format
		for _, url := range []string{path, e.URL} {
			u := alice
			if url == e.URL {
				u = nil // the link is enough
			}
			a := g.ask(u, http.MethodGet, url, http.StatusOK)
			if a.Header.Get("Content-Disposition") != `attachment; filename="`+e.Name+`"` || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %v", e.Format, a.Header)
			}
			sameFiles(t, unzipped(t, a.body), "run-"+e.Format, files, e.Format, export.Options{})
		}
		o := export.Options{People: []int64{2}, CaptureFPS: 240}
		sameFiles(t, unzipped(t, g.ask(alice, http.MethodGet, path+"?person=2&captureFPS=240", http.StatusOK).body), "run-"+e.Format, files, e.Format, o)
		g.ask(alice, http.MethodHead, path, http.StatusOK)
		g.ask(bob, http.MethodGet, path, http.StatusForbidden)
		g.ask(nil, http.MethodGet, path, http.StatusUnauthorized)
	}
	url, self := list.Exports[0].URL, job.Links.Self+"/exports/"
	for path, status := range map[string]int{
		"coco?person=7": http.StatusUnprocessableEntity, "coco?person=": http.StatusBadRequest, "coco?person=1,x": http.StatusBadRequest,
		"coco?person=" + strings.Repeat("1,", 200) + "1": http.StatusBadRequest, "coco?captureFPS=0": http.StatusBadRequest,
		"coco?captureFPS=NaN": http.StatusBadRequest, "coco?captureFPS=x": http.StatusBadRequest, "fbx": http.StatusNotFound,
	} {
		g.ask(alice, http.MethodGet, self+path, status)
	}
	token := strings.Split(url, "/")[4]
	for _, bad := range []string{token[:len(token)-4], "x"} {
		g.ask(nil, http.MethodGet, "/api/pose/exports/"+bad+"/x.zip", http.StatusForbidden)
	}
	// A link to a file is none to an export, nor the other way round.
	g.ask(nil, http.MethodGet, "/api/pose/media/"+token+"/x", http.StatusForbidden)
	g.ask(alice, http.MethodDelete, job.Links.Self, http.StatusNoContent)
	g.until("the link's end", func() bool { return g.do(g.request(nil, http.MethodGet, url, nil)).StatusCode == http.StatusNotFound })
}

// flat is a result without three-dimensional joints.
func flat(t *testing.T) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(fixture(t, "mediapipe", "pose.json")["pose.json"], &doc); err != nil {
		t.Fatal(err)
	}
	units, _ := doc["units"].(map[string]any)
	delete(units, "joints3d")
	coordinates, _ := doc["coordinates"].(map[string]any)
	for name := range coordinates {
		if strings.HasPrefix(name, "joints3d") {
			delete(coordinates, name)
		}
	}
	frames, _ := doc["frames"].([]any)
	for _, f := range frames {
		frame, _ := f.(map[string]any)
		people, _ := frame["people"].([]any)
		for _, p := range people {
			person, _ := p.(map[string]any)
			delete(person, "joints3d")
		}
	}
	delete(doc, "frames")
	head, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	tail, err := json.Marshal(frames)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(head[:len(head)-1], []byte(`,"frames":`), tail, []byte("}"))
}

// TestExportsOfOtherResults: what cannot be had says why, before and when it is asked for.
func TestExportsOfOtherResults(t *testing.T) {
	g := start(t, map[string]any{"limits": map[string]any{"exportBytes": 1 << 20, "exportMotionBytes": 60_000, "requestsPerMinute": 100000, "addressRequestsPerMinute": 100000}})
	pose := fixture(t, "mediapipe", "pose.json")["pose.json"]
	all := []string{"coco", "openpose", "bvh", "trc", "c3d", "csv"}
	for name, c := range map[string]struct {
		files map[string][]byte
		can   []string
		why   string
	}{
		"2D only":            {map[string][]byte{"pose.json": flat(t)}, all[:2], "needs joints in 3D"},
		"no pose.json":       {map[string][]byte{"other.json": []byte("{}")}, nil, "no pose.json"},
		"no document":        {map[string][]byte{"pose.json": []byte("nonsense")}, nil, "could not be read"},
		"empty":              {map[string][]byte{"pose.json": {}}, nil, "could not be read"},
		"too large":          {map[string][]byte{"pose.json": append(bytes.Clone(pose), bytes.Repeat([]byte(" "), 1<<20)...)}, nil, "that this service turns into it"},
		"much motion":        {map[string][]byte{"pose.json": pose}, []string{"coco", "openpose", "csv"}, "turns into it"},
		"times of another":   {map[string][]byte{"pose.json": pose, "frame-times.json": []byte("{}")}, []string{"coco", "openpose", "csv"}, "turns into it"},
		"frames not allowed": {map[string][]byte{"pose.json": bytes.Replace(pose, []byte(`"index":3`), []byte(`"index":4`), 1)}, []string{"coco", "openpose", "csv"}, "turns into it"},
	} {
		job, _ := g.finished(c.files)
		list := decode[exports.List](t, g.ask(alice, http.MethodGet, job.Links.Self+"/results", http.StatusOK))
		var can []string
		for _, e := range list.Exports {
			can = append(can, e.Format)
		}
		if !slices.Equal(can, c.can) || len(can)+len(list.Missing) != len(all) {
			t.Errorf("%s: %v can be had", name, can)
		}
		for _, m := range list.Missing {
			if !strings.Contains(m.Reason, c.why) || m.Title == "" || m.For == "" {
				t.Errorf("%s: %+v", name, m)
			}
			g.ask(alice, http.MethodGet, job.Links.Self+"/exports/"+m.Format, http.StatusUnprocessableEntity)
		}
		for _, format := range can {
			want := http.StatusOK
			if name == "times of another" || name == "frames not allowed" {
				want = http.StatusUnprocessableEntity
			}
			a := g.ask(alice, http.MethodGet, job.Links.Self+"/exports/"+format, want)
			if want == http.StatusOK {
				sameFiles(t, unzipped(t, a.body), "run-"+format, c.files, format, export.Options{})
			} else if a.Header.Get("Content-Disposition") != "" || bytes.Contains(a.body, []byte(os.TempDir())) {
				t.Errorf("%s: %v %s", name, a.Header, a.body)
			}
		}
	}
}

// TestExportsOfDamagedResults: not a byte of what is not as it was delivered.
func TestExportsOfDamagedResults(t *testing.T) {
	g := start(t, nil)
	for name, harm := range map[string]func(dir string, b []byte) error{
		"a space for another": func(d string, b []byte) error {
			return os.WriteFile(d+"/pose.json", append(b[:len(b)-2], "\n\n"...), 0o600)
		},
		"one byte more":         func(d string, b []byte) error { return os.WriteFile(d+"/pose.json", append(b, ' '), 0o600) },
		"gone":                  func(d string, _ []byte) error { return os.Remove(d + "/pose.json") },
		"another body model":    func(d string, _ []byte) error { return os.WriteFile(d+"/smpl.npz", make([]byte, 29296), 0o600) },
		"the body model is out": func(d string, _ []byte) error { return os.Remove(d + "/smpl.npz") },
	} {
		files := fixture(t, "smpl", "pose.json", "smpl.npz")
		files["pose.json"] = append(files["pose.json"], " \n"...)
		job, j := g.finished(files)
		if err := harm(attempt(j), bytes.Clone(files["pose.json"])); err != nil {
			t.Fatal(err)
		}
		a := g.ask(alice, http.MethodGet, job.Links.Self+"/exports/bvh", http.StatusBadGateway)
		if !bytes.Contains(a.body, []byte("not the one that was delivered")) {
			t.Errorf("%s: %s", name, a.body)
		}
	}
}
