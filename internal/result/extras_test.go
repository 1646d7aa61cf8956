package result

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// full is valid with every optional member: person 1 is lost in the second of
// three frames, so somebody is observed in two of three and one gap is closed.
func full() string {
	place := func(doc string) string {
		return strings.ReplaceAll(doc, `[0.1,-1,2]]`, `[0.1,-1,2]],"translation":[0.5,-1,12.5]`)
	}
	doc := place(valid())
	for _, r := range []struct{ old, new string }{
		{`"durationSeconds":0.3`, `"durationSeconds":0.3,"captureFPS":240`},
		{`"joints3d":"metres"`, `"joints3d":"metres","translation":"metres"`},
		{`"people":[{"id":1,"first`, `"camera":{"model":"pinhole","focalLengthPx":900,"focalLengthOrigin":"Given","principalPoint":[50,40],"caveats":["one eye"]},` +
			`"quality":{"coverage":0.667,"gaps":1,"idSwitchesSuspected":0,"peopleFiltered":3,"peopleNotSelected":2},` +
			`"parametric":{"model":"SMPL","file":"smpl.npz"},"people":[{"id":1,"first`},
		{`{"index":0,`, `{"index":0,"time":-0.1,`},
		{`{"index":1,`, `{"index":1,"time":0,`},
		{`{"index":2,`, `{"index":2,"time":0.25,`},
	} {
		doc = strings.Replace(doc, r.old, r.new, 1)
	}
	return doc
}

func TestOptionalMembers(t *testing.T) {
	s, err := Validate(strings.NewReader(full()), Limits{Bytes: 1 << 20}, 3)
	if err != nil {
		t.Fatal(err)
	}
	if s.Seen != 2 || s.Quality == nil || s.Quality.Gaps != 1 || s.Quality.PeopleFiltered == nil || *s.Quality.PeopleFiltered != 3 ||
		s.Camera == nil || s.Camera.FocalLengthPx != 900 || s.Camera.Caveats[0] != "one eye" ||
		s.Parametric == nil || s.Parametric.File != "smpl.npz" || s.Video.WorldFPS() != 240 {
		t.Errorf("%+v", s)
	}
	var d Document
	if err := json.Unmarshal([]byte(full()), &d); err != nil {
		t.Fatal(err)
	}
	if *d.Frames[2].Time != 0.25 || d.Frames[2].People[1].Translation[2] != 12.5 || d.Quality.Coverage != 0.667 || d.Units.Translation != "metres" {
		t.Errorf("%+v", d)
	}
	again, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Validate(strings.NewReader(string(again)), Limits{Bytes: 1 << 20}, 3); err != nil {
		t.Errorf("what the type writes is invalid: %v", err)
	}
}

func TestWithoutOptionalMembers(t *testing.T) {
	s, err := Validate(strings.NewReader(valid()), Limits{Bytes: 1 << 20}, 3)
	if err != nil || s.Quality != nil || s.Camera != nil || s.Parametric != nil || s.Seen != 2 || s.Video.WorldFPS() != 10 {
		t.Errorf("%+v %v", s, err)
	}
}

// TestBrokenOptionalMembers replaces one piece of the full document each.
func TestBrokenOptionalMembers(t *testing.T) {
	camera := full()[strings.Index(full(), `"camera"`):strings.Index(full(), `"quality"`)]
	for name, tc := range map[string]struct{ old, new, place, want string }{
		"capture rate zero":           {`"captureFPS":240`, `"captureFPS":0`, "video.captureFPS", "greater than 0"},
		"capture rate is text":        {`"captureFPS":240`, `"captureFPS":"240"`, "video.captureFPS", "a number"},
		"time repeats":                {`"time":0.25`, `"time":0`, "frames[2].time", "R13"},
		"time overflows":              {`"time":0.25`, `"time":1e999`, "frames[2].time", "no JSON"},
		"time out of bounds":          {`"time":0.25`, `"time":1e10`, "frames[2].time", "not between"},
		"one frame without time":      {`"time":0,`, ``, "frames[1]", "R13"},
		"first frame without time":    {`"time":-0.1,`, ``, "frames[1]", "R13"},
		"focal length zero":           {`"focalLengthPx":900`, `"focalLengthPx":0`, "camera.focalLengthPx", "greater than 0"},
		"focal length missing":        {`"focalLengthPx":900,`, ``, "camera", "missing"},
		"unknown camera":              {`"pinhole"`, `"fisheye"`, "camera.model", "not one of"},
		"unknown origin":              {`"Given"`, `"Guess"`, "camera.focalLengthOrigin", "not one of"},
		"principal point":             {`[50,40]`, `[50]`, "camera.principalPoint", "1 numbers instead of 2"},
		"too many caveats":            {`["one eye"]`, `[` + strings.Repeat(`"x",`, 16) + `"x"]`, "camera.caveats", "more than 16"},
		"long caveat":                 {`one eye`, strings.Repeat("x", 401), "camera.caveats[0]", "400"},
		"translation without camera":  {camera, ``, "", "R14"},
		"translation not announced":   {`,"translation":"metres"`, ``, "frames[0].people[0]", "R14"},
		"translation of all but one":  {`,"translation":[0.5,-1,12.5]}]},{"index":2`, `}]},{"index":2`, "frames[1].people[0]", "R14"},
		"behind the camera":           {`[0.5,-1,12.5]`, `[0.5,-1,-12.5]`, "translation", "R14"},
		"too far away":                {`[0.5,-1,12.5]`, `[0.5,-1,1e6]`, "translation", "R14"},
		"translation is short":        {`[0.5,-1,12.5]`, `[0.5,-1]`, "translation", "2 numbers instead of 3"},
		"coverage is wrong":           {`"coverage":0.667`, `"coverage":0.7`, "frames", "R15"},
		"coverage above 1":            {`"coverage":0.667`, `"coverage":1.1`, "quality.coverage", "not between"},
		"gaps are wrong":              {`"gaps":1`, `"gaps":0`, "frames", "R15"},
		"gaps missing":                {`"gaps":1,`, ``, "quality", "missing"},
		"fewer than nobody":           {`"peopleFiltered":3`, `"peopleFiltered":-1`, "quality.peopleFiltered", "not between"},
		"half a person":               {`"peopleNotSelected":2`, `"peopleNotSelected":2.5`, "quality.peopleNotSelected", "no integer"},
		"unknown body model":          {`"SMPL"`, `"SMPL-X"`, "parametric.model", "not one of"},
		"parameters in a folder":      {`smpl.npz`, `../smpl.npz`, "parametric.file", "R16"},
		"parameters hidden":           {`smpl.npz`, `.npz`, "parametric.file", "R16"},
		"parameters are the document": {`smpl.npz`, `pose.json`, "parametric.file", "R16"},
	} {
		t.Run(name, func(t *testing.T) {
			doc := strings.Replace(full(), tc.old, tc.new, 1)
			if doc == full() {
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

func TestTranslationNeedsJoints3D(t *testing.T) {
	doc := full()
	for _, piece := range []string{`"joints3d":"metres",`, `,"joints3d":"x-right-y-down-z-forward","joints3dOrigin":"hip-centre"`} {
		doc = strings.Replace(doc, piece, "", 1)
	}
	if _, err := Validate(strings.NewReader(doc), Limits{Bytes: 1 << 20}, 3); err == nil || !strings.Contains(err.Error(), "R14") {
		t.Errorf("error %v", err)
	}
}
