package result

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
)

var memberName = regexp.MustCompile(`"(\w+)":`)

// TestNamesThatDifferByCase gives every object of a document that has all members
// each of its names again in capitals: encoding/json would take that for the member.
func TestNamesThatDifferByCase(t *testing.T) {
	doc := strings.Replace(full(), `,"parametric":{"a":[1,{"b":null}]}`, "", 1)
	doc = strings.Replace(doc, `"score":0.5,`, `"score":0.5,"observed":true,`, 1)
	seen := map[string]bool{}
	for _, at := range memberName.FindAllStringSubmatchIndex(doc, -1) {
		name := doc[at[2]:at[3]]
		seen[name] = true
		twin := doc[:at[0]] + fmt.Sprintf("%q:0,", strings.ToUpper(name)) + doc[at[0]:]
		_, err := Validate(strings.NewReader(twin), Limits{Bytes: 1 << 20}, 3)
		var inv *Invalid
		if !errors.As(err, &inv) || !strings.HasSuffix(inv.Place, strings.ToUpper(name)) || !strings.Contains(inv.What, "by case only") {
			t.Errorf("%s beside %s at byte %d: error %v", strings.ToUpper(name), name, at[0], err)
		}
	}
	if len(seen) < 40 {
		t.Errorf("only %d names were tried", len(seen))
	}
}

// TestNamesThatOnlyUnicodeFolds: a long s and the sign of the kelvin are letters, too.
func TestNamesThatOnlyUnicodeFolds(t *testing.T) {
	for old, twin := range map[string]string{`"frames":3`: `"frame\u017f":12,"frames":3`, `"skeleton"`: `"s\u212aeleton":1,"skeleton"`} {
		doc := strings.Replace(valid(), old, twin, 1)
		if _, err := Validate(strings.NewReader(doc), Limits{Bytes: 1 << 20}, 3); err == nil || !strings.Contains(err.Error(), "by case only") {
			t.Errorf("%s: error %v", twin, err)
		}
	}
}

// junk is n members of different unknown names.
func junk(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"x%d":0,`, i)
	}
	return b.String()
}

func TestAMemberTwiceBehindManyUnknownOnes(t *testing.T) {
	doc := strings.Replace(valid(), `"durationSeconds":0.3`, `"durationSeconds":0.3,`+junk(100)+`"captureFPS":240,"captureFPS":30`, 1)
	if _, err := Validate(strings.NewReader(doc), Limits{Bytes: 1 << 20}, 3); err == nil || !strings.Contains(err.Error(), "occurs twice") {
		t.Errorf("error %v", err)
	}
}

func TestUnknownNamesAreNotKept(t *testing.T) {
	doc := strings.Replace(valid(), `"kind"`, junk(1000)+`"kind"`, 1)
	v := &validator{cursor: newCursor(strings.NewReader(doc), 1<<20), limits: Limits{People: 10}, tracks: map[int64]*track{}}
	if err := v.document(); err != nil {
		t.Fatal(err)
	}
	if len(v.got) > len(topLevel)+len(topLevelOptional) {
		t.Errorf("%d names are kept", len(v.got))
	}
}

// TestPartsAreBounded: what readers hold whole ends somewhere; what they pass over
// does not.
func TestPartsAreBounded(t *testing.T) {
	const cell = 1 << 15
	filler := func(size int) io.Reader {
		unit := `"` + strings.Repeat("x", cell-3) + `",`
		return strings.NewReader(strings.Repeat(unit, size/cell) + `""`)
	}
	for name, tc := range map[string]struct {
		before, place string
		size          int
	}{
		"a frame that fits":              {`"people":[` + guessed, "", maxPart - 2*cell},
		"a frame":                        {`"people":[` + guessed, "frames[1]", maxPart},
		"a member that is read":          {`"joints":["a","b"]`, "skeleton", maxPart},
		"a member of no meaning is long": {`"kind"`, "", 2 * maxPart},
	} {
		t.Run(name, func(t *testing.T) {
			front, back, found := strings.Cut(valid(), tc.before)
			if !found {
				t.Fatalf("%q is not in the document", tc.before)
			}
			r := io.MultiReader(strings.NewReader(front+`"new":[`), filler(tc.size), strings.NewReader("],"+tc.before+back))
			_, err := Validate(r, Limits{Bytes: 1 << 30}, 3)
			var inv *Invalid
			switch {
			case tc.place == "" && err != nil:
				t.Errorf("error %v", err)
			case tc.place != "" && (!errors.As(err, &inv) || inv.Place != tc.place || !strings.Contains(inv.What, "at most 16777216 are read")):
				t.Errorf("error %v", err)
			}
		})
	}
}
