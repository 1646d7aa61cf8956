package lookup

import (
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
)

const (
	digestA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// TestFits: a wrong hit gives a person the wrong people; so what is not known proves
// nothing.
func TestFits(t *testing.T) {
	type m = result.Manifest
	for name, tc := range map[string]struct {
		want     func(*want)
		manifest func(*m)
		why      string // "" when it fits
	}{
		"the same":                           {nil, nil, ""},
		"another name of the job":            {func(w *want) { w.job.Name = "run" }, nil, ""},
		"the same request, another variant":  {nil, func(m *m) { m.Provenance.Recipe = "sha256:2" }, ""},
		"another request, the first recipe":  {nil, func(m *m) { m.Provenance.Request = "r9" }, ""},
		"another request, a later recipe":    {nil, func(m *m) { m.Provenance.Request, m.Provenance.Recipe = "r9", "sha256:2" }, "variant cpu, which is not the first"},
		"another request, an unknown recipe": {nil, func(m *m) { m.Provenance.Request, m.Provenance.Recipe = "r9", "sha256:9" }, "engine phalp, variant cpu, image i@sha256:1, frames.end 10, overlay Full"},
		"no recipe":                          {nil, func(m *m) { m.Provenance.Request, m.Provenance.Recipe = "", "" }, "not pinned"},
		"no recipe, and none is wanted":      {func(w *want) { w.request, w.recipes = "", []string{""} }, func(m *m) { m.Provenance.Request, m.Provenance.Recipe = "", "" }, "not pinned"},
		"no request, and none is wanted":     {func(w *want) { w.request = "" }, func(m *m) { m.Provenance.Request, m.Provenance.Recipe = "", "sha256:9" }, "otherwise"},
		"a request for no recipe":            {func(w *want) { w.recipes = nil }, nil, ""},
		"the digest asked for": {func(w *want) {
			w.video = seen{uri: "https://else/where", sha256: strings.ToUpper(digestA), info: storage.Info{Size: 7}}
		}, nil, ""},
		"the digest of another file": {func(w *want) { w.video = seen{uri: "https://else/where", sha256: digestA, info: storage.Info{Size: 8}} }, nil, "has 7 bytes, the one at the job's URI 8"},
		"a digest, and no size to be known": {func(w *want) {
			w.video = seen{uri: "https://else/where", sha256: digestA, info: storage.Info{Size: -1}}
		}, nil, ""},
		"another digest":                     {func(w *want) { w.video.sha256 = digestB }, nil, "its sha256 is aaaaaaaaaaaaaaaa"},
		"a digest, and none recorded":        {func(w *want) { w.video.sha256 = digestB }, func(m *m) { m.Video.SourceSHA256 = "" }, "its sha256 is none"},
		"another URI":                        {func(w *want) { w.video.uri = "s3://b/w.mp4" }, nil, "its URI is another; a sha256 in the job's spec"},
		"uploaded again":                     {func(w *want) { w.video.info.Version = `"e2"` }, nil, "uploaded again since"},
		"another size":                       {func(w *want) { w.video.info.Size = 8 }, nil, "it had 7 bytes and has 8"},
		"no size at the place":               {func(w *want) { w.video.info.Size = -1 }, nil, ""},
		"no version at the place":            {func(w *want) { w.video.info.Version = "" }, nil, "does not tell"},
		"no version at either":               {func(w *want) { w.video.info.Version = "" }, func(m *m) { m.Video.SourceVersion = "" }, "does not tell"},
		"no version recorded":                {nil, func(m *m) { m.Video.SourceVersion = "" }, "was not recorded"},
		"no size recorded":                   {nil, func(m *m) { m.Video.Source = nil }, ""},
		"the store's note is of other bytes": {func(w *want) { w.video.info.SHA256 = digestB }, nil, "notes of it is another"},
		"the store's note alone is no proof": {func(w *want) { w.video.info = storage.Info{Size: 7, SHA256: digestA, Version: "x"} }, nil, "uploaded again"},
		"a web server's strong ETag":         {web(`"e1"`), webManifest(`"e1"`), ""},
		"a web server's weak ETag":           {web(`W/"e1"`), webManifest(`W/"e1"`), "no strong ETag"},
		"a web server's time":                {web("Tue, 24 Nov 2026 22:00:00 GMT"), webManifest("Tue, 24 Nov 2026 22:00:00 GMT"), "no strong ETag"},
		"a claim":                            {func(w *want) { w.video.uri = "pvc://c/v" }, func(m *m) { m.Provenance.VideoURI = "pvc://c/v" }, ""},
		"a namesake claim elsewhere":         {func(w *want) { w.video.uri = "pvc://c/v" }, func(m *m) { m.Provenance.VideoURI, m.Job.Namespace = "pvc://c/v", "other" }, "claim of another namespace"},
		"a namesake claim, and a digest":     {func(w *want) { w.video = seen{uri: "pvc://c/v", sha256: digestA, info: storage.Info{Size: 7}} }, func(m *m) { m.Provenance.VideoURI, m.Job.Namespace = "pvc://c/v", "other" }, ""},
		"made with boxes":                    {nil, boxesManifest, "boxes that were given"},
		"made without boxes":                 {boxes(seen{uri: "s3://b/b.json"}), nil, "without the boxes"},
		"the same boxes":                     {boxes(seen{uri: "s3://b/b.json", info: storage.Info{Size: 3, Version: `"b1"`}}), boxesManifest, ""},
		"other boxes":                        {boxes(seen{uri: "s3://b/b.json", info: storage.Info{Size: 3, Version: `"b2"`}}), boxesManifest, "other boxes: it was changed"},
		"the boxes' digest":                  {boxes(seen{sha256: digestB}), boxesManifest, ""},
		"another digest of the boxes":        {boxes(seen{sha256: digestA}), boxesManifest, "other boxes"},
		"hostile words in the manifest": {nil, func(m *m) {
			m.Provenance = report.Provenance{VideoURI: "s3://b/v.mp4", Recipe: "x", Engine: "\x1b[31mred\x1b[0m"}
		}, "engine red,"},
		"no video in the manifest":            {nil, func(m *m) { m.Video, m.Provenance = report.VideoFacts{}, report.Provenance{Request: "r1"} }, "another video"},
		"nothing in the manifest, and a want": {func(w *want) { *w = want{} }, func(m *m) { *m = result.Manifest{} }, "does not tell"},
	} {
		w := want{
			job: report.JobRef{Namespace: "team-a", Name: "walk"}, request: "r1", recipes: []string{"sha256:1", "sha256:2"},
			video: seen{uri: "s3://b/v.mp4", info: storage.Info{Size: 7, Version: `"e1"`}},
		}
		made := &result.Manifest{
			Job:   report.JobRef{Namespace: "team-a", Name: "walk"},
			Video: report.VideoFacts{SourceSHA256: digestA, SourceVersion: `"e1"`, Source: &report.SourceFacts{Bytes: 7}},
			Provenance: report.Provenance{
				VideoURI: "s3://b/v.mp4", Engine: "phalp", Variant: "cpu", Image: "i@sha256:1", Request: "r1", Recipe: "sha256:1",
				Parameters: map[string]string{"overlay": "Full", "frames.end": "10"},
			},
		}
		if tc.want != nil {
			tc.want(&w)
		}
		if tc.manifest != nil {
			tc.manifest(made)
		}
		if why := w.fits(made); (why == "") != (tc.why == "") || !strings.Contains(why, tc.why) {
			t.Errorf("%s: %q, want %q", name, why, tc.why)
		}
	}
}

func web(version string) func(*want) {
	return func(w *want) { w.video = seen{uri: "https://h/v", info: storage.Info{Size: 7, Version: version}} }
}

func webManifest(version string) func(*result.Manifest) {
	return func(m *result.Manifest) { m.Provenance.VideoURI, m.Video.SourceVersion = "https://h/v", version }
}

func boxes(s seen) func(*want) { return func(w *want) { w.boxes = &s } }

func boxesManifest(m *result.Manifest) {
	m.Provenance.BoxesURI = "s3://b/b.json"
	m.Video.Boxes = &report.BoxesFacts{SourceSHA256: digestB, SourceVersion: `"b1"`}
}
