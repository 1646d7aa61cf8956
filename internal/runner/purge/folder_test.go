package purge

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
)

var mine = report.JobRef{Namespace: "team-a", Name: "walk", UID: "3f2c1aaa"}

func manifest(t *testing.T, namespace, name string) []byte {
	t.Helper()
	m := result.Manifest{
		APIVersion: result.APIVersion, Kind: result.KindManifest, Version: result.ManifestVersion, AttemptID: "x",
		Job:   report.JobRef{Namespace: namespace, Name: name, UID: "old"},
		Files: []result.ManifestFileRef{{Name: "pose", Path: "pose.json", SHA256: strings.Repeat("a", 64)}},
	}
	return encode(t, m)
}

func owner(t *testing.T, namespace, name string) []byte {
	t.Helper()
	return encode(t, result.NewOwner(report.JobRef{Namespace: namespace, Name: name, UID: "old"}, "", ""))
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		folder folder
		prefix string
		want   verdict
	}{
		"an attempt":                     {folder{id: "3f2c1-1", manifest: manifest(t, "team-a", "walk")}, "3f2c1-", verdict{remove: true, whole: true}},
		"a partial one":                  {folder{id: "3f2c1-2"}, "3f2c1-", verdict{remove: true}},
		"one with a broken manifest":     {folder{id: "3f2c1-3", manifest: []byte("{")}, "3f2c1-", verdict{remove: true}},
		"a namesake's":                   {folder{id: "99999-1", manifest: manifest(t, "team-a", "walk")}, "3f2c1-", verdict{remove: true, whole: true, orphan: true}},
		"a namesake's, being removed":    {folder{id: "99999-1", owner: owner(t, "team-a", "walk")}, "3f2c1-", verdict{remove: true}},
		"a namesake's copy":              {folder{id: "99999-0", manifest: manifest(t, "team-a", "run"), owner: owner(t, "team-a", "walk")}, "3f2c1-", verdict{remove: true, whole: true}},
		"a copy":                         {folder{id: "3f2c1-0", manifest: manifest(t, "team-a", "run"), owner: owner(t, "team-a", "walk")}, "3f2c1-", verdict{remove: true, whole: true}},
		"another job's":                  {folder{id: "77777-1", manifest: manifest(t, "team-a", "run")}, "3f2c1-", verdict{whole: true, why: "is the result of job team-a/run"}},
		"another job's, of a like name":  {folder{id: "3f2c1-1", manifest: manifest(t, "team-a", "run")}, "3f2c1-", verdict{whole: true, why: "is the result of job team-a/run"}},
		"another namespace's namesake":   {folder{id: "77777-1", manifest: manifest(t, "team-b", "walk")}, "3f2c1-", verdict{whole: true, why: "is the result of job team-b/walk"}},
		"a copy that another made of it": {folder{id: "3f2c1-1", manifest: manifest(t, "team-a", "walk"), owner: owner(t, "team-a", "run")}, "3f2c1-", verdict{whole: true, why: "is the result of job team-a/run"}},
		"somebody's partial one":         {folder{id: "77777-1"}, "3f2c1-", verdict{why: "has no manifest, and is not named as this job's"}},
		"somebody's broken one":          {folder{id: "77777-1", manifest: []byte("{}")}, "3f2c1-", verdict{why: "has a manifest that cannot be read: "}},
		"a forged owner":                 {folder{id: "77777-1", owner: []byte(`{"kind":"PoseOwner"}`)}, "3f2c1-", verdict{why: "has no manifest"}},
		"no prefix is no match":          {folder{id: "77777-1"}, "", verdict{why: "has no manifest"}},
		"no prefix, by its manifest":     {folder{id: "77777-1", manifest: manifest(t, "team-a", "walk")}, "", verdict{remove: true, whole: true, orphan: true}},
	} {
		got := judge(tc.folder, mine.Same, tc.prefix)
		why := got.why
		got.why = tc.want.why
		if got != tc.want || !strings.HasPrefix(why, tc.want.why) || (why == "") != got.remove {
			t.Errorf("%s: %+v %q, want %+v", name, got, why, tc.want)
		}
	}
}

// TestOrder: no manifest without its files, and the owner last.
func TestOrder(t *testing.T) {
	f := folder{id: "1"}
	for _, k := range []string{"owner.json", "a", "manifest.json", "b/manifest.json"} {
		f.entries = append(f.entries, storage.Entry{Key: "attempts/1/" + k})
	}
	var got []string
	for _, e := range f.order() {
		got = append(got, strings.TrimPrefix(e.Key, "attempts/1/"))
	}
	if s := strings.Join(got, " "); s != "manifest.json a b/manifest.json owner.json" {
		t.Error(s)
	}
}

func TestSplit(t *testing.T) {
	for uri, want := range map[string][3]string{
		"s3://b/v.mp4":          {"s3://b", "v.mp4", ""},
		"gs://b/in/a%20b.mp4":   {"gs://b/in", "a b.mp4", ""},
		"azblob://c/in/v.mp4":   {"azblob://c/in", "v.mp4", ""},
		"pvc://c/in/v.mp4":      {"pvc://c/in", "v.mp4", ""},
		"https://h/v.mp4":       {"", "", "web server"},
		"oci://r/i@sha256:0//v": {"", "", "image"},
		"ftp://h/v":             {"", "", "of this kind"},
		"s3://b/":               {"", "", "names no file"},
		"s3://b":                {"", "", "names no file"},
		"s3://b/x%2Fy":          {"", "", "names no file"},
		"":                      {"", "", "of this kind"},
	} {
		parent, key, why := split(uri)
		if parent != want[0] || key != want[1] || !strings.Contains(why, want[2]) || (why == "") != (want[2] == "") {
			t.Errorf("%s: %q %q %q", uri, parent, key, why)
		}
	}
}
