package boxes_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/boxes"
)

const head = `{"apiVersion":"pose.dev/v1alpha1","kind":"PoseBoxes","frames":`

func doc(frames string) string { return head + frames + "}" }

func one(box string) string { return doc(`[{"index":3,"boxes":[` + box + `]}]`) }

// both readers give the same set for the same boxes.
func TestReads(t *testing.T) {
	box := func(frame int32, x, y, w, h, score float64, id int32) boxes.Box {
		return boxes.Box{Frame: frame, X: x, Y: y, W: w, H: h, Score: score, ID: id}
	}
	plain := boxes.Set{Boxes: []boxes.Box{box(3, 1, 2, 3, 4, -1, -1)}}
	rich := boxes.Set{IDs: true, Boxes: []boxes.Box{
		box(0, -5.25, 0, 30, 60, 0.9, 7), box(0, 1, 2, 3, 4, -1, 0), box(9_999_999, 10.5, 20, 1e2, 0.5, 1, 2147483647),
	}}
	for name, c := range map[string]struct {
		json, csv string
		want      boxes.Set
	}{
		"a box":                {one(`{"bbox":[1,2,3,4]}`), "frame,x,y,w,h\n3,1,2,3,4\n", plain},
		"without a line's end": {" " + one(`{"bbox":[1,2,3,4]}`) + "\n\n", "frame,x,y,w,h\n3,1,2,3,4", plain},
		"a byte order mark":    {"\ufeff" + one(`{"bbox":[1,2,3,4]}`), "\ufeffframe,x,y,w,h\r\n3,1,2,3,4\r\n", plain},
		"members in any order": {`{"frames":[{"boxes":[{"bbox":[1,2,3,4]}],"index":3}],"kind":"PoseBoxes","apiVersion":"pose.dev/v1alpha1"}`, "h,w,y,x,frame\n4,3,2,1,3\n", plain},
		"blanks, quotes and numbers of other programs": {one(`{"bbox": [1.0, 2e0, 30e-1, 4]}`), "\"frame\", x,y,w,h\n\n\"3.0\", 1.0,2e0,30e-1,+4\n   \n", plain},
		"scores and ids": {
			doc(`[{"index":9999999,"boxes":[{"id":2147483647,"bbox":[10.5,20,1e2,0.5],"score":1}]},{"index":1,"boxes":[]},{"index":0,"boxes":[{"bbox":[-5.25,0,30,60],"score":0.9,"id":7},{"bbox":[1,2,3,4],"id":0}]}]`),
			"frame,x,y,w,h,score,id\n9999999,10.5,20,1e2,.5,1,2147483647\n0,-5.25,0,30,60,0.9,7\n0,1,2,3,4,,0\n", rich,
		},
		"nobody":                   {doc(`[]`), "frame,x,y,w,h\n", boxes.Set{}},
		"nobody in a named frame":  {doc(`[{"index":5,"boxes":[]}]`), "frame,x,y,w,h,score,id\n\n", boxes.Set{}},
		"columns that stay empty":  {one(`{"bbox":[1,2,3,4]}`), "frame,x,y,w,h,score,id\n3,1,2,3,4,,\n", plain},
		"an id column before them": {one(`{"id":1,"bbox":[1,2,3,4]}`), "id,frame,x,y,w,h\n1,3,1,2,3,4\n", boxes.Set{IDs: true, Boxes: []boxes.Box{box(3, 1, 2, 3, 4, -1, 1)}}},
	} {
		t.Run(name, func(t *testing.T) {
			for format, read := range map[string]func() (boxes.Set, error){
				"JSON": func() (boxes.Set, error) { return boxes.ReadJSON(strings.NewReader(c.json), boxes.Limits{}) },
				"CSV":  func() (boxes.Set, error) { return boxes.ReadCSV(strings.NewReader(c.csv), boxes.Limits{}) },
			} {
				got, err := read()
				if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
					t.Errorf("%s: %v (-want +got):\n%s", format, err, diff)
				}
			}
		})
	}
}

func TestRefusesJSON(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"nothing":                        {"", "it is incomplete"},
		"half":                           {head + `[{"index":`, "frames[0].index: the file ends here"},
		"a text":                         {"frame,x,y,w,h\n", "no JSON at byte"},
		"a list":                         {"[]", "an object is expected"},
		"pose.json":                      {`{"apiVersion":"pose.dev/v1alpha1","kind":"PoseResult"}`, `kind: it must be "PoseBoxes"`},
		"another version":                {`{"apiVersion":"pose.dev/v2"}`, `apiVersion: it must be "pose.dev/v1alpha1"`},
		"no kind":                        {`{"apiVersion":"pose.dev/v1alpha1","frames":[]}`, `member "kind" is missing`},
		"no frames":                      {`{"apiVersion":"pose.dev/v1alpha1","kind":"PoseBoxes"}`, `member "frames" is missing`},
		"more behind it":                 {doc("[]") + "{}", "goes on behind the document's end"},
		"an unknown member":              {`{"version":1}`, `member "version" is unknown: the known ones are apiVersion, kind, frames (B1)`},
		"a member with hostile name":     {"{\"\\u001b[31m" + strings.Repeat("x", 100) + `":1}`, `member "?[31mxxxxx`},
		"a member twice":                 {`{"kind":"PoseBoxes","kind":"PoseBoxes"}`, `member "kind" occurs twice`},
		"frames that are no list":        {doc(`{}`), "frames: an array is expected"},
		"a frame that is none":           {doc(`[3]`), "frames[0]: an object is expected"},
		"a frame without an index":       {doc(`[{"boxes":[]}]`), `frames[0]: member "index" is missing`},
		"a frame without boxes":          {doc(`[{"index":1}]`), `frames[0]: member "boxes" is missing`},
		"a frame with more":              {doc(`[{"index":1,"box":[]}]`), `frames[0]: member "box" is unknown`},
		"a frame below 0":                {doc(`[{"index":-1,"boxes":[]}]`), "frames[0].index: frame -1 is not between 0 and 9999999"},
		"a frame beyond all":             {doc(`[{"index":10000000,"boxes":[]}]`), "frame 1e+07 is not between"},
		"half a frame":                   {doc(`[{"index":1.5,"boxes":[]}]`), "frame 1.5 is no whole number"},
		"a frame in words":               {doc(`[{"index":"1","boxes":[]}]`), "frames[0].index: a number is expected"},
		"a frame twice":                  {doc(`[{"index":1,"boxes":[]},{"index":64,"boxes":[]},{"boxes":[],"index":1}]`), "frames[2].index: frame 1 has an entry already"},
		"a box that is a list":           {one(`[1,2,3,4]`), "frames[0].boxes[0]: an object is expected"},
		"a box without a bbox":           {one(`{"score":1}`), `member "bbox" is missing`},
		"a box with more":                {one(`{"bbox":[1,2,3,4],"class":0}`), `frames[0].boxes[0]: member "class" is unknown: the known ones are bbox, score, id`},
		"a box with its bbox twice":      {one(`{"bbox":[1,2,3,4],"bbox":[1,2,3,4]}`), `member "bbox" occurs twice`},
		"three numbers":                  {one(`{"bbox":[1,2,3]}`), "frames[0].boxes[0].bbox: 3 numbers instead of 4"},
		"five numbers":                   {one(`{"bbox":[1,2,3,4,5]}`), "more than 4 entries"},
		"a number in words":              {one(`{"bbox":[1,2,3,"4"]}`), "frames[0].boxes[0].bbox[3]: a number is expected"},
		"null":                           {one(`{"bbox":[1,2,3,null]}`), "a number is expected"},
		"a NaN":                          {one(`{"bbox":[1,2,3,NaN]}`), "NaN and Infinity are no JSON"},
		"infinity":                       {one(`{"bbox":[1,2,3,1e999]}`), "a number is not finite"},
		"no width":                       {one(`{"bbox":[1,2,0,4]}`), "frames[0].boxes[0]: the box's width 0 is not greater than 0"},
		"a height below 0":               {one(`{"bbox":[1,2,3,-4]}`), "the box's height -4 is not greater than 0"},
		"a width of almost nothing":      {one(`{"bbox":[1,2,1e-300,4]}`), "the box's width 1e-300"},
		"a score above 1":                {one(`{"bbox":[1,2,3,4],"score":1.01}`), "score 1.01 is not between 0 and 1 (B5)"},
		"a score below 0":                {one(`{"bbox":[1,2,3,4],"score":-1}`), "score -1 is not between 0 and 1"},
		"an id below 0":                  {one(`{"bbox":[1,2,3,4],"id":-1}`), "id -1 is not between 0 and 2147483647"},
		"an id beyond all":               {one(`{"bbox":[1,2,3,4],"id":2147483648}`), "is not between"},
		"ids for some":                   {one(`{"bbox":[1,2,3,4],"id":1},{"bbox":[1,2,3,4]}`), "frames[0].boxes[1]: ids are given for some boxes only, first with at frames[0].boxes[0] and without at frames[0].boxes[1]"},
		"ids for some, the others first": {one(`{"bbox":[1,2,3,4]},{"bbox":[1,2,3,4],"id":1}`), "first with at frames[0].boxes[1] and without at frames[0].boxes[0]"},
		"an id twice in a frame":         {one(`{"bbox":[1,2,3,4],"id":1},{"bbox":[1,2,3,4],"id":1}`), "frame 3: id 1 occurs twice"},
		"too many in a frame":            {one(strings.TrimSuffix(strings.Repeat(`{"bbox":[1,2,3,4]},`, 1001), ",")), "frames[0].boxes: more than 1000 entries"},
		"a depth without end":            {head + strings.Repeat("[", 1<<20), "frames[0]: an object is expected"},
		"a string without end":           {`{"` + strings.Repeat("x", 1<<20) + `":1}`, "one value is longer than 65536 bytes"},
		"white space without end":        {head + strings.Repeat(" ", 1<<20) + "[]}", "one value is longer"},
		"a number without end":           {head + "[{\"index\":" + strings.Repeat("1", 1<<20) + "}]}", "one value is longer"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := boxes.ReadJSON(strings.NewReader(c.file), boxes.Limits{})
			refused(t, err, c.want)
		})
	}
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	var invalid *boxes.Invalid
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if err != nil && (len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\x1b\n\x00")) {
		t.Errorf("the message is not clean: %q", err.Error())
	}
}

func TestRefusesCSV(t *testing.T) {
	const header = "frame,x,y,w,h\n"
	for name, c := range map[string]struct{ file, want string }{
		"nothing":                        {"", "the file is empty: its first line must be the header frame,x,y,w,h"},
		"blank lines":                    {"\n \n", "the file is empty"},
		"no header":                      {"0,1,2,3,4\n", `line 1: column "0" is unknown`},
		"semicolons":                     {"frame;x;y;w;h\n", `column "frame;x;y;w;h" is unknown: the header is frame,x,y,w,h and may go on with score and id, separated by commas`},
		"another column":                 {"frame,x,y,w,h,class\n", `column "class" is unknown`},
		"a column in upper case":         {"Frame,x,y,w,h\n", `column "Frame" is unknown`},
		"a column twice":                 {"frame,x,x,y,w,h\n", `column "x" occurs twice`},
		"a missing column":               {"frame,x,y,w\n", `column "h" is missing`},
		"an empty column":                {"frame,x,y,w,h,\n", `column "" is unknown`},
		"too few values":                 {header + "0,1,2,3\n", "line 2: 4 values, the header names 5 columns"},
		"decimal commas":                 {header + "0,1,5,2,5,3,5,4,5\n", "separate values by commas, and write decimals with a point"},
		"a comment":                      {header + "# mine\n", "line 2: 1 values"},
		"no value":                       {header + "0,,2,3,4\n", `line 2: x is "", a finite number in decimals is expected`},
		"a word":                         {header + "0,1,2,3,much\n", `h is "much"`},
		"a NaN":                          {header + "0,nan,2,3,4\n", `x is "nan"`},
		"infinity":                       {header + "0,1,2,3,Inf\n", `h is "Inf"`},
		"infinity in decimals":           {header + "0,1,2,3,1e999\n", `h is "1e999"`},
		"hexadecimal":                    {header + "0x10,1,2,3,4\n", `frame is "0x10"`},
		"a terminal's command":           {header + "\x1b[31m,1,2,3,4\n", `frame is "?[31m"`},
		"a null byte":                    {header + "0\x00,1,2,3,4\n", `frame is "0?"`},
		"a frame below 0":                {header + "-1,1,2,3,4\n", "line 2: frame -1 is not between 0 and 9999999"},
		"half a frame":                   {header + "1.5,1,2,3,4\n", "frame 1.5 is no whole number"},
		"no height":                      {header + "7,1,2,3,0\n", "line 2 (frame 7): the box's height 0 is not greater than 0"},
		"corners instead of sides":       {header + "7,100,100,-20,40\n", "its numbers are x, y, width, height"},
		"a score above 1":                {"frame,x,y,w,h,score\n0,1,2,3,4,99\n", "score 99 is not between 0 and 1"},
		"a score below 0":                {"frame,x,y,w,h,score\n0,1,2,3,4,-1\n", "score -1 is not between 0 and 1"},
		"an id below 0":                  {"frame,x,y,w,h,id\n0,1,2,3,4,-1\n", "id -1 is not between 0 and"},
		"ids for some":                   {"frame,x,y,w,h,id\n0,1,2,3,4,1\n0,1,2,3,4,\n", "line 3: ids are given for some boxes only, first with at line 2 and without at line 3"},
		"an id twice in a frame":         {"frame,x,y,w,h,id\n4,1,2,3,4,1\n5,1,2,3,4,1\n4,1,2,3,4,1\n", "frame 4: id 1 occurs twice"},
		"too many in a frame":            {header + strings.Repeat("6,1,2,3,4\n7,1,2,3,4\n", 1001), "frame 6: more than 1000 boxes"},
		"a line without end":             {header + strings.Repeat("1", 5000), "line 2: it is longer than 4096 bytes"},
		"lines that end with CR alone":   {"frame,x,y,w,h\r" + strings.Repeat("0,1,2,3,4\r", 1000), "line 1: it is longer"},
		"UTF-16, little end first":       {"\xff\xfef\x00r\x00", "line 1: the file is UTF-16: save it as UTF-8"},
		"UTF-16, big end first":          {"\xfe\xff\x00f\x00r", "UTF-16"},
		"a pickle":                       {"\x80\x04\x95\x0f\x00", "line 1: column"},
		"a header of one endless column": {strings.Repeat("é", 1000), `column "éééééééééééééééééééé…" is unknown`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := boxes.ReadCSV(strings.NewReader(c.file), boxes.Limits{})
			refused(t, err, c.want)
		})
	}
}

func TestLimits(t *testing.T) {
	j, c := one(`{"bbox":[1,2,3,4]},{"bbox":[1,2,3,4]}`), "frame,x,y,w,h\n3,1,2,3,4\n3,1,2,3,4\n"
	for name, tc := range map[string]struct {
		limits boxes.Limits
		want   string
	}{
		"all of it":    {boxes.Limits{Bytes: -1, Boxes: -1}, ""},
		"exactly":      {boxes.Limits{Boxes: 2}, ""},
		"a box less":   {boxes.Limits{Boxes: 1}, "more than 1 boxes"},
		"half of it":   {boxes.Limits{Bytes: 20}, "larger than the operator accepts, 20 bytes"},
		"a byte less":  {boxes.Limits{Bytes: 1}, "larger than the operator accepts"},
		"a byte above": {boxes.Limits{Bytes: 2}, ""},
	} {
		for format, file := range map[string]string{"JSON": j, "CSV": c} {
			read := map[string]func(io.Reader, boxes.Limits) (boxes.Set, error){"JSON": boxes.ReadJSON, "CSV": boxes.ReadCSV}[format]
			limits := tc.limits
			if limits.Bytes > 0 && limits.Bytes < 3 { // relative to the file
				limits.Bytes += int64(len(file)) - 2
			}
			s, err := read(strings.NewReader(file), limits)
			if tc.want != "" {
				refused(t, err, tc.want)
			} else if err != nil || len(s.Boxes) != 2 {
				t.Errorf("%s, %s: %v", name, format, err)
			}
		}
	}
}

// A disk that fails is no fault of the file.
func TestReadErrorsAreNotTheFiles(t *testing.T) {
	for _, file := range []string{"", head, "frame,x,y,w,h\n1,"} {
		for _, read := range []func(io.Reader, boxes.Limits) (boxes.Set, error){boxes.ReadJSON, boxes.ReadCSV} {
			_, err := read(io.MultiReader(strings.NewReader(file), broken{}), boxes.Limits{})
			var invalid *boxes.Invalid
			if strings.HasPrefix(file, "{") == strings.HasPrefix(file, "frame") && !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("%q: %v", file, err)
			}
			if errors.Is(err, io.ErrClosedPipe) && errors.As(err, &invalid) {
				t.Errorf("%q: %v counts as the file's fault", file, err)
			}
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestCut(t *testing.T) {
	video := func(start, frames, source int64) boxes.Video {
		return boxes.Video{Width: 100, Height: 50, Start: start, Frames: frames, SourceFrames: source}
	}
	at := func(frames ...int32) []boxes.Box {
		var out []boxes.Box
		for i, f := range frames {
			out = append(out, boxes.Box{Frame: f, X: float64(i), Y: 1, W: 10, H: 20, Score: -1, ID: int32(i)})
		}
		return out
	}
	with := func(x, y, w, h float64) []boxes.Box {
		return []boxes.Box{{Frame: 2, X: 1, W: 1, H: 1}, {Frame: 2, X: x, Y: y, W: w, H: h}}
	}
	for name, c := range map[string]struct {
		in    []boxes.Box
		video boxes.Video
		want  []int32 // frames
		left  float64 // x of the first
		fault string
	}{
		"the whole video":                  {in: at(0, 0, 5, 9), video: video(0, 10, 10), want: []int32{0, 0, 5, 9}},
		"its beginning":                    {in: at(0, 0, 5, 9), video: video(0, 6, 0), want: []int32{0, 0, 5}},
		"its middle":                       {in: at(0, 4, 4, 5, 6, 9), video: video(4, 2, 0), want: []int32{0, 0, 1}, left: 1},
		"its end":                          {in: at(0, 4, 9), video: video(9, 1, 10), want: []int32{0}, left: 2},
		"nobody at all":                    {video: video(4, 2, 10)},
		"no box in the cut":                {in: at(0, 1), video: video(4, 2, 0), fault: "none of its 2 boxes is in the frames 4 to 5 that are asked for; they are of the frames 0 to 1"},
		"a frame behind the end":           {in: at(0, 10), video: video(0, 10, 10), fault: "frame 10: the video has 10 frames, numbered 0 to 9: the boxes are of another video, or count from 1 (B7)"},
		"a frame behind the end, in a cut": {in: at(0, 10), video: video(0, 5, 10), fault: "frame 10: the video has 10 frames"},
		"behind an end that nobody knows":  {in: at(0, 10), video: video(0, 10, 0), want: []int32{0}},
		"over every edge":                  {in: with(-10, -10, 120, 70), video: video(0, 10, 10), want: []int32{2, 2}, left: 1},
		"as large as may be":               {in: with(-200, -100, 300, 150), video: video(0, 10, 10), want: []int32{2, 2}, left: 1},
		"too wide":                         {in: with(0, 0, 300.1, 10), video: video(0, 10, 10), fault: "frame 2, boxes[1]: box [0, 0, 300.1, 10] is more than three times as large as the picture of 100x50 pixels"},
		"too high":                         {in: with(0, 0, 10, 151), video: video(0, 10, 10), fault: "more than three times"},
		"right of it":                      {in: with(100, 0, 10, 10), video: video(0, 10, 10), fault: "frame 2, boxes[1]: box [100, 0, 10, 10] lies outside the picture of 100x50 pixels"},
		"below it":                         {in: with(0, 50, 10, 10), video: video(0, 10, 10), fault: "lies outside"},
		"left of it":                       {in: with(-10, 0, 10, 10), video: video(0, 10, 10), fault: "lies outside"},
		"above it":                         {in: with(0, -10, 10, 10), video: video(0, 10, 10), fault: "lies outside"},
		"outside, in a frame that is cut":  {in: with(100, 0, 10, 10), video: video(5, 2, 10), fault: "lies outside"},
	} {
		t.Run(name, func(t *testing.T) {
			before := append([]boxes.Box{}, c.in...)
			got, err := boxes.Set{Boxes: c.in, IDs: true}.Cut(c.video)
			if c.fault != "" {
				refused(t, err, c.fault)
				return
			}
			var frames []int32
			for _, b := range got.Boxes {
				frames = append(frames, b.Frame)
			}
			if diff := cmp.Diff(c.want, frames); err != nil || diff != "" || !got.IDs || len(got.Boxes) > 0 && got.Boxes[0].X != c.left {
				t.Errorf("%v, %+v (-want +got):\n%s", err, got, diff)
			}
			if diff := cmp.Diff(before, append([]boxes.Box{}, c.in...)); diff != "" {
				t.Errorf("the input changed:\n%s", diff)
			}
		})
	}
}

// TestCutMakesNoWordsForGoodBoxes: there may be five million of them.
func TestCutMakesNoWordsForGoodBoxes(t *testing.T) {
	s := boxes.Set{Boxes: make([]boxes.Box, 1000)}
	for i := range s.Boxes {
		s.Boxes[i] = boxes.Box{Frame: int32(i / 3), X: 1, Y: 2, W: 10, H: 20, Score: -1, ID: -1}
	}
	allocations := testing.AllocsPerRun(5, func() {
		if _, err := s.Cut(boxes.Video{Width: 100, Height: 50, Frames: 400, SourceFrames: 400}); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 10 {
		t.Errorf("%v allocations for %d boxes", allocations, len(s.Boxes))
	}
}

func TestWrites(t *testing.T) {
	for name, c := range map[string]struct {
		set    boxes.Set
		frames int64
		want   string
	}{
		"nobody": {want: doc("[]") + "\n"},
		"two frames": {frames: 2, set: boxes.Set{Boxes: []boxes.Box{
			{Frame: 2, X: -1.5, Y: 1e7, W: 0.1, H: 4, Score: 0.25, ID: 0}, {Frame: 2, X: 1, Y: 2, W: 3, H: 4, Score: -1, ID: -1}, {Frame: 5, X: 1, Y: 2, W: 3, H: 4, ID: 9},
		}}, want: doc(`[{"index":2,"boxes":[{"bbox":[-1.5,1e+07,0.1,4],"score":0.25,"id":0},{"bbox":[1,2,3,4]}]},{"index":5,"boxes":[{"bbox":[1,2,3,4],"score":0,"id":9}]}]`) + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := c.set.WriteJSON(&b); err != nil || b.String() != c.want || c.set.Frames() != c.frames {
				t.Errorf("%v, %d frames, %s, want %s", err, c.set.Frames(), b.String(), c.want)
			}
		})
	}
	if err := (boxes.Set{}).WriteJSON(full{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a full disk gives %v", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// The page that users read shows files that are read as they stand.
func TestDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/boxes.md")
	if err != nil {
		t.Fatal(err)
	}
	sets := map[string]boxes.Set{}
	for format, read := range map[string]func(io.Reader, boxes.Limits) (boxes.Set, error){"json": boxes.ReadJSON, "csv": boxes.ReadCSV} {
		_, rest, _ := strings.Cut(string(page), "```"+format+"\n")
		example, _, ok := strings.Cut(rest, "```")
		s, err := read(strings.NewReader(example), boxes.Limits{})
		if !ok || err != nil || len(s.Boxes) == 0 {
			t.Fatalf("the %s example: %v\n%s", format, err, example)
		}
		sets[format] = s
	}
	if diff := cmp.Diff(sets["json"], sets["csv"]); diff != "" {
		t.Errorf("the examples differ (-JSON +CSV):\n%s", diff)
	}
	for i := 1; i <= 8; i++ {
		if !strings.Contains(string(page), fmt.Sprintf("**(B%d)**", i)) {
			t.Errorf("rule B%d is not documented", i)
		}
	}
}

// FuzzRead: whatever is read keeps the rules, and what is written of it is read
// back as the same.
func FuzzRead(f *testing.F) {
	seeds, err := filepath.Glob("testdata/seeds/*")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, s := range seeds {
		b, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, int64(64), int64(48), int64(1), int64(20))
	}
	f.Fuzz(func(t *testing.T, raw []byte, width, height, start, frames int64) {
		for _, read := range []func(io.Reader, boxes.Limits) (boxes.Set, error){boxes.ReadJSON, boxes.ReadCSV} {
			s, err := read(bytes.NewReader(raw), boxes.Limits{Boxes: 4096})
			var invalid *boxes.Invalid
			if err != nil && (!errors.As(err, &invalid) || len(err.Error()) > 600) {
				t.Fatalf("%v", err)
			}
			if err != nil {
				continue
			}
			sound(t, s)
			again(t, s)
			v := boxes.Video{Width: clamp(width, 1, 16384), Height: clamp(height, 1, 16384), Start: clamp(start, 0, 1<<31), Frames: clamp(frames, 1, 1<<31)}
			cut, err := s.Cut(v)
			if err != nil && !errors.As(err, &invalid) {
				t.Fatal(err)
			}
			for _, b := range cut.Boxes {
				if int64(b.Frame) >= v.Frames || b.Frame < 0 {
					t.Fatalf("frame %d of %d", b.Frame, v.Frames)
				}
			}
			sound(t, cut)
			again(t, cut)
		}
	})
}

func clamp(n, low, high int64) int64 { return min(max(n, low), high) }

// sound checks the rules anew.
func sound(t *testing.T, s boxes.Set) {
	t.Helper()
	type key struct{ frame, id int32 }
	perFrame, ids := map[int32]int{}, map[key]bool{}
	for i, b := range s.Boxes {
		perFrame[b.Frame]++
		k := key{b.Frame, b.ID}
		switch {
		case i > 0 && s.Boxes[i-1].Frame > b.Frame, perFrame[b.Frame] > boxes.MaxPerFrame, b.Frame < 0 || b.Frame >= boxes.MaxFrames,
			!(b.W >= boxes.MinSide) || !(b.H >= boxes.MinSide), b.X-b.X != 0 || b.Y-b.Y != 0 || b.W-b.W != 0 || b.H-b.H != 0,
			b.Score != boxes.NoScore && !(b.Score >= 0 && b.Score <= 1), (b.ID != boxes.NoID) != s.IDs, b.ID < boxes.NoID, s.IDs && ids[k]:
			t.Fatalf("box %d: %+v", i, b)
		}
		ids[k] = true
	}
}

func again(t *testing.T, s boxes.Set) {
	t.Helper()
	var b bytes.Buffer
	if err := s.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	got, err := boxes.ReadJSON(&b, boxes.Limits{})
	if err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	if len(s.Boxes) == 0 {
		s = boxes.Set{}
	}
	if diff := cmp.Diff(s, got); diff != "" {
		t.Fatalf("read back (-want +got):\n%s", diff)
	}
}
