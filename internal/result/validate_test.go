package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

const headOf3 = `{"apiVersion":"pose.dev/v1alpha1","kind":"PoseResult",
"video":{"width":100,"height":80,"fps":10,"frames":3,"startFrame":0,"durationSeconds":0.3},
"engine":{"name":"e","version":"1","device":"CPU","models":[{"name":"m","sha256":"` + sha + `"}]},
"skeleton":{"name":"two","joints":["a","b"],"edges":[[0,1]]},
"units":{"bbox":"pixels","joints2d":"pixels","joints3d":"metres"},
"coordinates":{"image":"x-right-y-down","joints3d":"x-right-y-down-z-forward","joints3dOrigin":"hip-centre"},
"people":[{"id":1,"firstFrame":0,"lastFrame":2,"framesSeen":2},{"id":7,"firstFrame":2,"lastFrame":2,"framesSeen":1}],
"frames":[`

const sha = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func someone(id int, extra string) string {
	return fmt.Sprintf(`{"id":%d,"bbox":[1,2,30,40],"score":0.5%s,"joints2d":[[1,2,1],[3,4,0.5]],"joints3d":[[0,0,0],[0.1,-1,2]]}`, id, extra)
}

const guessed = `{"id":1,"bbox":[1,2,30,40],"score":0.5,"observed":false,"joints2d":[[1,2,0],[3,4,0]],"joints3d":[[0,0,0],[0.1,-1,2]]}`

// valid has three frames: person 1 in all, guessed in the second, 7 in the last.
func valid() string {
	return headOf3 +
		`{"index":0,"people":[` + someone(1, "") + `]},` +
		`{"index":1,"people":[` + guessed + `]},` +
		`{"index":2,"people":[` + someone(1, `,"observed":true`) + `,` + someone(7, `,"parametric":{"a":[1,{"b":null}]}`) + `]}` +
		`]}` + "\n"
}

func TestValid(t *testing.T) {
	s, err := Validate(strings.NewReader(valid()), Limits{Bytes: 1 << 20}, 3)
	if err != nil || s.Frames != 3 || s.People != 2 || s.Engine.Name != "e" || s.Video.Width != 100 {
		t.Fatalf("%+v %v", s, err)
	}
	var d Document
	if err := json.Unmarshal([]byte(valid()), &d); err != nil || len(d.Frames) != 3 || d.People[1].ID != 7 {
		t.Errorf("%+v %v", d, err)
	}
}

func TestNobodyIsValid(t *testing.T) {
	head, _, _ := strings.Cut(headOf3, `"people":`)
	doc := head + `"people":[],"frames":[{"index":0,"people":[]},{"index":1,"people":[]},{"index":2,"people":[]}]}`
	if s, err := Validate(strings.NewReader(doc), Limits{Bytes: 1 << 20}, 3); err != nil || s.People != 0 || s.Frames != 3 {
		t.Fatalf("%+v %v", s, err)
	}
}

func TestExampleOfTheDocumentation(t *testing.T) {
	f, err := os.Open("../../docs/schema/pose-v1alpha1.example.json")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("SKIPPED: docs/schema has no example yet")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if s, err := Validate(f, Limits{Bytes: 1 << 20}, 0); err != nil || s.Frames == 0 {
		t.Fatalf("%+v %v", s, err)
	}
}

// TestBrokenRules replaces one piece of the valid document each.
func TestBrokenRules(t *testing.T) {
	for name, tc := range map[string]struct{ old, new, place, want string }{
		"wrong kind":                {`"kind":"PoseResult"`, `"kind":"Other"`, "kind", "not one of"},
		"wrong api version":         {"pose.dev/v1alpha1", "pose.dev/v9", "apiVersion", "not one of"},
		"NaN":                       {`"fps":10`, `"fps":NaN`, "video.fps", "NaN and Infinity"},
		"infinite by overflow":      {`[3,4,0.5]`, `[3,1e999,0.5]`, "frames[0].people[0].joints2d[1][1]", "no JSON"},
		"zero fps":                  {`"fps":10`, `"fps":0`, "video.fps", "greater than 0"},
		"no integer":                {`"width":100`, `"width":100.5`, "video.width", "no integer"},
		"string for a number":       {`"width":100`, `"width":"100"`, "video.width", "a number"},
		"null joint":                {`[[1,2,1],[3,4,0.5]]`, `[null,[3,4,0.5]]`, "frames[0].people[0].joints2d[0]", "an array"},
		"missing member":            {`"startFrame":0,`, ``, "video", `"startFrame" is missing`},
		"key twice":                 {`"startFrame":0,`, `"startFrame":0,"startFrame":0,`, "video", "occurs twice"},
		"fewer frames announced":    {`"frames":3`, `"frames":2`, "video", "covers 2 frames, the video has 3"},
		"wrong index":               {`"index":1`, `"index":2`, "frames[1].index", "R2"},
		"joint too few":             {`[[1,2,1],[3,4,0.5]]`, `[[1,2,1]]`, "frames[0].people[0].joints2d", "1 joints instead of 2"},
		"joint too many":            {`[[1,2,1],[3,4,0.5]]`, `[[1,2,1],[3,4,0.5],[1,1,1]]`, "frames[0].people[0].joints2d", "more than 2"},
		"joint too short":           {`[3,4,0.5]`, `[3,4]`, "frames[0].people[0].joints2d[1]", "2 numbers instead of 3"},
		"joint far away":            {`[3,4,0.5]`, `[3,4000,0.5]`, "joints2d[1]", "R10"},
		"3d joint far away":         {`[0.1,-1,2]`, `[0.1,-11,2]`, "joints3d[1]", "R11"},
		"visibility":                {`[3,4,0.5]`, `[3,4,1.5]`, "joints2d[1]", "visibility"},
		"box without height":        {`[1,2,30,40]`, `[1,2,30,0]`, "bbox", "greater than 0"},
		"box off the frame":         {`[1,2,30,40]`, `[101,2,30,40]`, "bbox", "R9"},
		"huge box":                  {`[1,2,30,40]`, `[1,2,301,40]`, "bbox", "R9"},
		"score":                     {`"score":0.5`, `"score":2`, "score", "between 0 and 1"},
		"edge to nowhere":           {`[[0,1]]`, `[[0,2]]`, "skeleton", "joint 2"},
		"edge to itself":            {`[[0,1]]`, `[[1,1]]`, "edges[0]", "different"},
		"joint name twice":          {`["a","b"]`, `["a","a"]`, "joints[1]", "twice"},
		"bad digest":                {sha, strings.ToUpper(sha), "models[0].sha256", "hex"},
		"duplicate id in people":    {`"id":7,"first`, `"id":1,"first`, "people[1]", "R3"},
		"id not announced":          {`"id":7,"bbox"`, `"id":8,"bbox"`, "frames[2].people[1]", "R4"},
		"id twice in a frame":       {`"id":7,"bbox"`, `"id":1,"bbox"`, "frames[2].people[1]", "R3"},
		"id never seen":             {`{"id":7,"firstFrame"`, `{"id":5,"firstFrame":0,"lastFrame":0,"framesSeen":1},{"id":7,"firstFrame"`, "frames", "R4"},
		"wrong first frame":         {`"id":7,"firstFrame":2`, `"id":7,"firstFrame":1`, "frames", "R5"},
		"wrong frames seen":         {`"framesSeen":2`, `"framesSeen":3`, "frames", "R5"},
		"3d of one only":            {`,"joints3d":[[0,0,0],[0.1,-1,2]]}]},{"index":1`, `}]},{"index":1`, "frames[0].people[0]", "R7"},
		"3d not announced in units": {`,"joints3d":"metres"`, ``, "coordinates", "R7"},
		"origin missing":            {`,"joints3dOrigin":"hip-centre"`, ``, "coordinates", "R7"},
		"visible though unobserved": {`[[1,2,0],[3,4,0]]`, `[[1,2,0],[3,4,0.1]]`, "frames[1]", "R12"},
		"guessed at the end":        {`"observed":true`, `"observed":false`, "frames[2].people[0]", "R12"},
		"observed is no truth":      {`"observed":true`, `"observed":1`, "observed", "true or false"},
		"frames are not last":       {"]}\n", `],"extra":1}`, "extra", "last member"},
		"trailing rubbish":          {"]}\n", "]} x", "", "behind the document's end"},
		"second document":           {"]}\n", "]} {}", "", "behind the document's end"},
		"cut off":                   {"]}\n", "", "", "incomplete"},
	} {
		t.Run(name, func(t *testing.T) {
			doc := strings.Replace(valid(), tc.old, tc.new, 1)
			if doc == valid() {
				t.Fatalf("%q is not in the document", tc.old)
			}
			_, err := Validate(strings.NewReader(doc), Limits{Bytes: 1 << 20}, 3)
			var inv *Invalid
			if !errors.As(err, &inv) || !strings.Contains(inv.Place, tc.place) || !strings.Contains(inv.What, tc.want) {
				t.Fatalf("error %v", err)
			}
		})
	}
}

func TestMissingFrames(t *testing.T) {
	i := strings.Index(valid(), `,{"index":2`)
	doc := strings.Replace(valid()[:i]+"]}", `,{"id":7,"firstFrame":2,"lastFrame":2,"framesSeen":1}`, "", 1)
	if _, err := Validate(strings.NewReader(doc), Limits{Bytes: 1 << 20}, 3); err == nil || !strings.Contains(err.Error(), "2 frames of 3") {
		t.Fatalf("error %v", err)
	}
}

func TestOrderOfMembers(t *testing.T) {
	doc := `{"frames":[],` + valid()[1:]
	if _, err := Validate(strings.NewReader(doc), Limits{Bytes: 1 << 20}, 3); err == nil || !strings.Contains(err.Error(), "before frames") {
		t.Fatalf("error %v", err)
	}
}

// TestHostileSizes feeds documents that would fill the memory of a careless
// reader, from readers without an end.
func TestHostileSizes(t *testing.T) {
	endless := func(prefix, unit string) io.Reader {
		return io.MultiReader(strings.NewReader(prefix), &repeat{unit: unit})
	}
	for name, tc := range map[string]struct {
		r    io.Reader
		want string
	}{
		"string":         {endless(`{"x":"`, "aaaaaaaa"), "one value is longer"},
		"number":         {endless(`{"x":`, "11111111"), "one value is longer"},
		"white space":    {endless(`{"x":`, "        "), "one value is longer"},
		"space in front": {endless(``, "        "), "one value is longer"},
		"depth":          {endless(`{"x":`, "[[[[[[[["), "nested deeper"},
		"unknown array":  {endless(`{"x":[1`, ",1,1,1,1"), "larger than the operator accepts"},
		"people": {endless(headOf3[:strings.Index(headOf3, `{"id":1,"first`)]+ //nolint:gocritic // it is there
			`{"id":1,"firstFrame":0,"lastFrame":0,"framesSeen":1}`, ","), "no JSON"},
		"people per frame": {endless(headOf3+`{"index":0,"people":[`, someone(1, "")+","), "R3"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Validate(tc.r, Limits{Bytes: 8 << 20}, 3)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v", err)
			}
		})
	}
}

func TestSizeLimitIsExact(t *testing.T) {
	n := int64(len(valid()))
	if _, err := Validate(strings.NewReader(valid()), Limits{Bytes: n}, 3); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := Validate(strings.NewReader(valid()), Limits{Bytes: n - 2}, 3); err == nil {
		t.Error("beyond the limit it was accepted")
	}
}

type repeat struct{ unit string }

func (r *repeat) Read(p []byte) (int, error) {
	n := 0
	for n+len(r.unit) <= len(p) {
		n += copy(p[n:], r.unit)
	}
	if n == 0 {
		n = copy(p, r.unit) // a small buffer: the unit's beginning will do
	}
	return n, nil
}

// FuzzValidate: no input makes it panic or hang, and what it accepts is what
// encoding/json reads, with the same counts.
func FuzzValidate(f *testing.F) {
	f.Add([]byte(valid()))
	f.Add([]byte(`{"frames":[{"index":0,"people":[{"id":1}]}]}`))
	f.Add([]byte(headOf3))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Validate(strings.NewReader(string(b)), Limits{Bytes: 1 << 20}, 0)
		if err != nil {
			return
		}
		var d Document
		if err := json.Unmarshal(b, &d); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		if int64(len(d.Frames)) != s.Frames || int64(len(d.People)) != s.People {
			t.Fatalf("%d frames and %d people, summary %+v", len(d.Frames), len(d.People), s)
		}
	})
}
