package result_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
)

var (
	sumA = strings.Repeat("a", 64)
	sumB = strings.Repeat("b", 64)
	noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
)

// manifest is a whole one.
func manifest() result.Manifest {
	return result.Manifest{
		APIVersion: result.APIVersion, Kind: result.KindManifest, Version: 1, AttemptID: "3f2c1-2",
		Job:        report.JobRef{Namespace: "snow", Name: "run-42", UID: "uid-1", Attempt: 2},
		Video:      report.VideoFacts{Width: 64, Height: 48, FPS: 10, Frames: 20, SourceSHA256: sumA, SourceVersion: `"etag"`},
		Provenance: report.Provenance{VideoURI: "s3://videos/run-42.mov", Engine: "phalp", Variant: "gpu", Device: "GPU", Image: "phalp@sha256:" + sumB, Parameters: map[string]string{"people.max": "2"}, Attempts: []report.AttemptSummary{{Number: 1, Variant: "gpu", Device: "GPU", Reason: "EngineCrashed"}}},
		Engine:     &result.Engine{Name: "phalp", Version: "1", Device: "GPU", Models: []result.Model{{Name: "hmr", SHA256: sumA}}},
		Run:        &result.EngineRun{DeviceUsed: "GPU", StageSeconds: map[string]float64{"Tracking": 1.5}},
		People:     2, Frames: 20, Quality: &result.Quality{Coverage: 0.5},
		Files: []result.ManifestFileRef{
			{Name: "pose", Path: "pose.json", Size: 10, SHA256: sumA, MediaType: "application/json"},
			{Name: "sheet", Path: "pictures/sheet.png", Size: 0, SHA256: sumB, MediaType: "image/png"},
		},
		FetchedAt: &noon, StartedAt: noon, EngineEndedAt: noon, CompletedAt: noon,
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReadManifest(t *testing.T) {
	want := manifest()
	got, err := result.ReadManifest([]byte(encoded(t, want)))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&want, got); d != "" {
		t.Error(d)
	}
	// What a newer release adds does not keep an older one from checking files.
	newer := strings.Replace(encoded(t, want), "{", `{"weather": {"sky": ["blue"]},`, 1)
	if _, err := result.ReadManifest([]byte(newer)); err != nil {
		t.Error(err)
	}
}

// TestReadHostileManifest: nobody knows who wrote it.
func TestReadHostileManifest(t *testing.T) {
	file := func(change func(*result.ManifestFileRef)) string {
		m := manifest()
		change(&m.Files[1])
		return encoded(t, m)
	}
	path := func(p string) string { return file(func(f *result.ManifestFileRef) { f.Path = p }) }
	with := func(change func(*result.Manifest)) string {
		m := manifest()
		change(&m)
		return encoded(t, m)
	}
	good := encoded(t, manifest())
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	var many []result.ManifestFileRef
	for i := range 1001 {
		many = append(many, result.ManifestFileRef{Path: fmt.Sprint(i), SHA256: sumA})
	}
	for name, c := range map[string]struct {
		raw     string
		foreign bool
		want    string
	}{
		"nothing":             {"", true, ""},
		"no JSON":             {"hello", true, ""},
		"a list":              {"[]", true, ""},
		"a web app's":         {`{"name": "app", "icons": []}`, true, ""},
		"a pointer":           {`{"apiVersion": "pose.dev/v1alpha1", "kind": "PosePointer"}`, true, ""},
		"another API":         {strings.Replace(good, "pose.dev/v1alpha1", "other.dev/v1", 1), true, ""},
		"a later format":      {with(func(m *result.Manifest) { m.Version = 2 }), true, "version 2"},
		"huge":                {good + strings.Repeat(" ", result.MaxManifestBytes), true, "bytes"},
		"deep":                {strings.Replace(good, "{", `{"x": `+deep+`,`, 1), false, "nested deeper"},
		"deep beyond JSON":    {`{"apiVersion":"pose.dev/v1alpha1","kind":"PoseManifest","x":` + strings.Repeat("[", 100_000), true, ""},
		"many values":         {strings.Replace(good, "{", `{"x": [`+strings.Repeat("0,", 20_000)+`0],`, 1), false, "more than 20000 values"},
		"a long text":         {strings.Replace(good, "{", `{"x": "`+strings.Repeat("x", 3000)+`",`, 1), false, "text of more than"},
		"a number too large":  {strings.Replace(good, "{", `{"x": 1e999,`, 1), false, "number"},
		"two of a kind":       {strings.Replace(good, "{", `{"files": [],`, 1), false, `"files" occurs twice`},
		"one of another case": {strings.Replace(good, `"files"`, `"Files"`, 1), false, `"Files" differs from "files" by case only`},
		"one that JSON folds": {strings.Replace(good, `"files"`, "\"file\u017f\"", 1), false, "by case only"},
		"two inside":          {strings.Replace(good, `"size": 10,`, `"size": 10, "Size": 11,`, 1), false, "occurs twice"},
		"behind its end":      {good + "{}", true, ""},
		"not UTF-8":           {strings.Replace(good, "run-42", "run-\xff", 1), false, "UTF-8"},
		"other types":         {strings.Replace(good, `"size": 10`, `"size": "10"`, 1), false, "members"},
		"a fraction":          {strings.Replace(good, `"size": 10`, `"size": 10.5`, 1), false, "members"},
		"path up":             {path("../pose.json"), false, "files[1].path"},
		"path up later":       {path("a/../../pose.json"), false, "files[1].path"},
		"path not clean":      {path("a//b"), false, "files[1].path"},
		"path from the root":  {path("/etc/passwd"), false, "files[1].path"},
		"path of nothing":     {path(""), false, "files[1].path"},
		"path of the folder":  {path("."), false, "files[1].path"},
		"path with controls":  {path("a\x1b[2J"), false, "files[1].path"},
		"path of DOS":         {path(`..\pose.json`), false, "files[1].path"},
		"path too long":       {path(strings.Repeat("a", 600)), false, "files[1].path"},
		"path twice":          {path("pose.json"), false, `"pose.json" occurs twice`},
		"path of itself":      {path("manifest.json"), false, "manifest itself"},
		"negative size":       {file(func(f *result.ManifestFileRef) { f.Size = -1 }), false, "files[1].size"},
		"size that overflows": {with(func(m *result.Manifest) {
			m.Files[0].Size, m.Files[1].Size = 1<<50, 1<<50
		}), false, "together"},
		"no digest":         {file(func(f *result.ManifestFileRef) { f.SHA256 = "" }), false, "files[1].sha256"},
		"upper case digest": {file(func(f *result.ManifestFileRef) { f.SHA256 = strings.ToUpper(sumA) }), false, "files[1].sha256"},
		"media type":        {file(func(f *result.ManifestFileRef) { f.MediaType = "text/html\r\nSet-Cookie: a" }), false, "files[1].mediaType"},
		"name":              {file(func(f *result.ManifestFileRef) { f.Name = strings.Repeat("n", 200) }), false, "files[1].name"},
		"no files":          {with(func(m *result.Manifest) { m.Files = nil }), false, "files"},
		"too many files":    {with(func(m *result.Manifest) { m.Files = many }), false, "more than 1000"},
		"negative frames":   {with(func(m *result.Manifest) { m.Frames = -1 }), false, "frames"},
		"negative people":   {with(func(m *result.Manifest) { m.People = -1 }), false, "people"},
		"attempt's folder":  {with(func(m *result.Manifest) { m.AttemptID = "../x" }), false, "attemptID"},
		"a job's name":      {with(func(m *result.Manifest) { m.Job.Name = "a\nb" }), false, "job.name"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := result.ReadManifest([]byte(c.raw))
			var invalid *result.Invalid
			if err == nil || m != nil || errors.Is(err, result.ErrForeign) != c.foreign || errors.As(err, &invalid) == c.foreign || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// FuzzReadManifest: what is accepted stays below its folder.
func FuzzReadManifest(f *testing.F) {
	b, err := json.Marshal(manifest())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(bytes.Replace(b, []byte("pose.json"), []byte("../pose"), 1))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := result.ReadManifest(raw)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, file := range m.Files {
			for part := range strings.SplitSeq(file.Path, "/") {
				if part == "" || part == "." || part == ".." {
					t.Errorf("path %q", file.Path)
				}
			}
			if seen[file.Path] || file.Size < 0 || len(file.SHA256) != 64 {
				t.Errorf("%+v", file)
			}
			seen[file.Path] = true
		}
	})
}

func pointer(change func(*result.Pointer)) result.Pointer {
	p := result.Pointer{
		APIVersion: result.APIVersion, Kind: result.KindPointer, Attempt: 1, AttemptID: "uid-1-1", ManifestSHA256: sumA, StartedAt: &noon,
		Job: report.JobRef{Namespace: "snow", Name: "run", UID: "uid-1", Attempt: 1},
	}
	if change != nil {
		change(&p)
	}
	return p
}

func TestDecidePointer(t *testing.T) {
	at := func(d time.Duration) *time.Time { return new(noon.Add(d)) }
	there := func(change func(*result.Pointer)) []byte { return []byte(encoded(t, pointer(change))) }
	for name, c := range map[string]struct {
		there     []byte
		overwrite bool
		next      func(*result.Pointer)
		want      result.PointerDecision
	}{
		"nothing there":                    {want: result.PointerDecision{Write: true}},
		"an earlier attempt":               {there: there(nil), next: func(p *result.Pointer) { p.Attempt, p.AttemptID = 2, "uid-1-2" }, want: result.PointerDecision{Write: true}},
		"a later attempt":                  {there: there(func(p *result.Pointer) { p.Attempt, p.AttemptID = 2, "uid-1-2" }), want: result.PointerDecision{Later: true}},
		"a later attempt, to be replaced":  {there: there(func(p *result.Pointer) { p.Attempt = 2 }), overwrite: true, want: result.PointerDecision{Later: true}},
		"the same":                         {there: there(nil), want: result.PointerDecision{Same: true}},
		"the same attempt made again":      {there: there(func(p *result.Pointer) { p.ManifestSHA256 = sumB }), want: result.PointerDecision{Write: true}},
		"a job that was made again":        {there: there(func(p *result.Pointer) { p.Job.UID, p.Attempt, p.StartedAt = "uid-0", 9, at(-time.Hour) }), want: result.PointerDecision{Write: true}},
		"a predecessor of earlier release": {there: there(func(p *result.Pointer) { p.Job.UID, p.Attempt, p.StartedAt = "uid-0", 9, nil }), want: result.PointerDecision{Write: true}},
		"a successor that was faster":      {there: there(func(p *result.Pointer) { p.Job.UID, p.StartedAt = "uid-2", at(time.Minute) }), want: result.PointerDecision{Later: true}},
		"a clock that is wrong":            {there: there(func(p *result.Pointer) { p.Job.UID, p.StartedAt = "uid-0", at(1000*time.Hour) }), want: result.PointerDecision{Write: true}},
		"a batch that was made again": {there: there(func(p *result.Pointer) {
			p.Job.Name, p.Job.UID, p.Job.Batch, p.StartedAt = "walk", "uid-0", "clips", at(-time.Hour)
		}), next: func(p *result.Pointer) { p.Job.Batch = "clips" }, want: result.PointerDecision{Write: true}},
		"another batch's":                  {there: there(func(p *result.Pointer) { p.Job.Name, p.Job.Batch = "walk", "others" }), want: result.PointerDecision{Refused: "belongs to the job snow/walk"}},
		"another job's":                    {there: there(func(p *result.Pointer) { p.Job.Name = "walk" }), want: result.PointerDecision{Refused: "belongs to the job snow/walk"}},
		"another namespace's":              {there: there(func(p *result.Pointer) { p.Job.Namespace = "ice" }), want: result.PointerDecision{Refused: "belongs to the job ice/run"}},
		"another job's, to be replaced":    {there: there(func(p *result.Pointer) { p.Job.Name = "walk" }), overwrite: true, want: result.PointerDecision{Write: true, Replaces: "the result uid-1-1 of the job snow/walk"}},
		"somebody's":                       {there: []byte(`{"name": "web app"}`), want: result.PointerDecision{Refused: "is a file of somebody else"}},
		"somebody's, empty":                {there: []byte{}, want: result.PointerDecision{Refused: "is a file of somebody else"}},
		"somebody's, to be replaced":       {there: []byte("hello"), overwrite: true, want: result.PointerDecision{Write: true, Replaces: "a file of somebody else"}},
		"a result's manifest":              {there: []byte(encoded(t, manifest())), want: result.PointerDecision{Refused: "is a file of somebody else"}},
		"a broken pointer":                 {there: there(func(p *result.Pointer) { p.AttemptID = "../x" }), want: result.PointerDecision{Refused: `is a broken pointer (attemptID: "../x" cannot be a folder's name)`}},
		"a broken pointer, to be replaced": {there: there(func(p *result.Pointer) { p.AttemptID = "../x" }), overwrite: true, want: result.PointerDecision{Write: true, Replaces: "a file of somebody else"}},
	} {
		if d := cmp.Diff(c.want, result.DecidePointer(c.there, pointer(c.next), c.overwrite, noon.Add(2*time.Minute))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// TestOnePointerStays: whoever comes last, of two attempts the same one stays.
func TestOnePointerStays(t *testing.T) {
	attempts := []result.Pointer{
		pointer(nil),
		pointer(func(p *result.Pointer) {
			p.Attempt, p.AttemptID, p.StartedAt = 2, "uid-1-2", new(noon.Add(time.Minute))
		}),
		pointer(func(p *result.Pointer) {
			p.Job.UID, p.AttemptID, p.StartedAt = "uid-2", "uid-2-1", new(noon.Add(2*time.Minute))
		}),
	}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		var there []byte
		for _, i := range order {
			if result.DecidePointer(there, attempts[i], false, noon.Add(time.Hour)).Write {
				there = []byte(encoded(t, attempts[i]))
			}
		}
		if p, err := result.ReadPointer(there); err != nil || p.Job.UID != "uid-2" {
			t.Errorf("%v: %+v %v", order, p, err)
		}
	}
}

func TestQuality(t *testing.T) {
	n := func(i int64) *int64 { return &i }
	for name, c := range map[string]struct {
		in   *result.Quality
		want *report.ResultQuality
	}{
		"none":               {nil, nil},
		"nothing to say":     {&result.Quality{Coverage: 1}, &report.ResultQuality{CoveragePercent: 100}},
		"everything":         {&result.Quality{Coverage: 0.29, Gaps: 3, IDSwitchesSuspected: n(2), PeopleFiltered: n(17)}, &report.ResultQuality{CoveragePercent: 29, Gaps: 3, IDSwitchesSuspected: 2, PeopleFiltered: 17}},
		"almost all frames":  {&result.Quality{Coverage: 0.9999}, &report.ResultQuality{CoveragePercent: 99}},
		"out of their range": {&result.Quality{Coverage: 7, Gaps: -1, PeopleFiltered: n(1 << 60)}, &report.ResultQuality{CoveragePercent: 100, PeopleFiltered: report.MaxQualityCount}},
		"below their range":  {&result.Quality{Coverage: -7}, &report.ResultQuality{}},
	} {
		if diff := cmp.Diff(c.want, c.in.Report()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
