package runner_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

const boxesCSV = "frame,x,y,w,h,id\n3,1,2,30,40,1\n8,5,6,30,40,1\n8,50,60,30,40,2\n30,1,2,30,40,1\n"

// TestFetchBoxes: video and boxes come from two servers that each know one token.
func TestFetchBoxes(t *testing.T) {
	t.Parallel()
	serve := func(token, body string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v" || r.Header.Get("Authorization") != "Bearer "+token {
				w.WriteHeader(map[bool]int{true: http.StatusUnauthorized, false: http.StatusNotFound}[r.URL.Path == "/v"])
				return
			}
			fmt.Fprint(w, body)
		}))
		t.Cleanup(s.Close)
		return s
	}
	video, boxes, empty := serve("video-token", "a video"), serve("boxes-token", boxesCSV), serve("boxes-token", "")
	for _, tc := range []struct {
		name   string
		change func(*report.FetchConfig)
		reason string
		want   string
	}{
		{"both", nil, "", ""},
		{"right digest", func(c *report.FetchConfig) { c.Boxes.SHA256 = strings.ToUpper(digest(boxesCSV)) }, "", ""},
		{"exactly as large as may be", func(c *report.FetchConfig) { c.Boxes.MaxBytes = int64(len(boxesCSV)) }, "", ""},
		{"wrong digest", func(c *report.FetchConfig) { c.Boxes.SHA256 = digest("x") }, report.ReasonInputInvalid, "spec.video.boxes: " + boxes.URL + "/v has sha256 " + digest(boxesCSV)},
		{"empty", func(c *report.FetchConfig) { c.Boxes.URI = empty.URL + "/v" }, report.ReasonInputInvalid, "is empty: upload the file with the boxes again"},
		{"too large", func(c *report.FetchConfig) { c.Boxes.MaxBytes-- }, report.ReasonInputInvalid, "spec.video.boxes: " + boxes.URL + "/v has"},
		{"too large is no matter of the scratch", func(c *report.FetchConfig) { c.Boxes.MaxBytes--; c.ScratchBound = true }, report.ReasonInputInvalid, "leave out boxes of low score"},
		{"missing", func(c *report.FetchConfig) { c.Boxes.URI = boxes.URL + "/none" }, report.ReasonInputUnavailable, "spec.video.boxes: " + boxes.URL + "/none: the server answered 404"},
		{"the video's credentials are not the boxes'", func(c *report.FetchConfig) { c.Boxes.URI = video.URL + "/v" }, report.ReasonInputUnavailable, "spec.video.boxes: " + video.URL + "/v: the server answered 401"},
		{"the boxes' credentials are not the video's", func(c *report.FetchConfig) { c.URI = boxes.URL + "/v" }, report.ReasonInputUnavailable, boxes.URL + "/v: the server answered 401"},
		{"a host that is not allowed", func(c *report.FetchConfig) { c.Store.HTTPAllowedHosts = nil }, report.ReasonInputUnavailable, "spec.video.boxes: "},
		{"an unmounted claim", func(c *report.FetchConfig) { c.Boxes.URI = "pvc://c/b.csv" }, report.ReasonInputUnavailable, "spec.video.boxes: pvc://c/b.csv: it is not mounted"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			for dir, token := range map[string]string{p.l.CredentialsDir: "video-token", p.l.BoxesCredentials: "boxes-token"} {
				if os.MkdirAll(dir, 0o755) != nil || os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600) != nil {
					t.Fatal("cannot place the credentials")
				}
			}
			cfg := fetchConfig(video.URL + "/v")
			cfg.Fetch.Boxes = &report.BoxesFetchConfig{URI: boxes.URL + "/v", MaxBytes: int64(len(boxesCSV))}
			if tc.change != nil {
				tc.change(cfg.Fetch)
			}
			m, code, out := p.run(cfg)
			if m.Reason != tc.reason || (code == 0) != (tc.reason == "") || !strings.Contains(m.Message, tc.want) {
				t.Fatalf("code %d %+v\n%s", code, m, out)
			}
			if tc.reason != "" {
				if left, _ := os.ReadDir(filepath.Dir(p.l.SourceFile)); len(left) != 0 || m.Fetch != nil {
					t.Errorf("left behind: %v, %+v", left, m.Fetch)
				}
				return
			}
			want := &report.FetchReport{Bytes: 7, SHA256: digest("a video"), Boxes: &report.FileFacts{Bytes: int64(len(boxesCSV)), SHA256: digest(boxesCSV)}}
			if d := cmp.Diff(want, m.Fetch); d != "" {
				t.Error(d)
			}
			if got, err := os.ReadFile(p.l.BoxesSource); string(got) != boxesCSV {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

// TestFetchBoxesFromClaims: each claim has a mount of its own.
func TestFetchBoxesFromClaims(t *testing.T) {
	t.Parallel()
	p, videos, found := newPod(t), t.TempDir(), t.TempDir()
	if os.WriteFile(filepath.Join(videos, "v.mp4"), []byte("v"), 0o600) != nil || os.WriteFile(filepath.Join(found, "b.json"), []byte("{}"), 0o600) != nil {
		t.Fatal("cannot fill the claims")
	}
	cfg := fetchConfig("pvc://videos/v.mp4")
	cfg.Fetch.PVCMount = videos
	cfg.Fetch.Boxes = &report.BoxesFetchConfig{URI: "pvc://found/b.json", MaxBytes: 10, PVCMount: found}
	if m, code, out := p.run(cfg); code != 0 || m.Fetch.Boxes.Bytes != 2 {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
}

func TestPrepareBoxes(t *testing.T) {
	t.Parallel()
	tool(t, "ffmpeg", "ffprobe")
	flat := filepath.Join(t.TempDir(), "a.mp4")
	ffmpeg(t, "-f", "lavfi", "-i", lavfi, "-c:v", "libx264", "-pix_fmt", "yuv420p", flat)
	upright := filepath.Join(t.TempDir(), "r.mp4")
	ffmpeg(t, "-i", flat, "-c", "copy", "-metadata:s:v", "rotate=90", upright)
	const inJSON = `{"apiVersion":"pose.dev/v1alpha1","kind":"PoseBoxes","frames":[{"index":8,"boxes":[{"bbox":[5,6,30,40],"score":0.5}]}]}`
	none := strings.Repeat(" ", 10)
	for _, tc := range []struct {
		name, video, boxes string
		cfg                func(*report.PrepareConfig)
		want               string // of boxes.json, or in the message
		facts              *report.BoxesFacts
	}{
		{name: "the whole video", video: flat, boxes: boxesCSV,
			want:  `[{"index":3,"boxes":[{"bbox":[1,2,30,40],"id":1}]},{"index":8,"boxes":[{"bbox":[5,6,30,40],"id":1},{"bbox":[50,60,30,40],"id":2}]},{"index":30,"boxes":[{"bbox":[1,2,30,40],"id":1}]}]`,
			facts: &report.BoxesFacts{Boxes: 4, Frames: 3, IDs: true}},
		{name: "cut with the video", video: flat, boxes: boxesCSV, cfg: func(c *report.PrepareConfig) { c.StartFrame, c.EndFrame = 8, 20 },
			want:  `[{"index":0,"boxes":[{"bbox":[5,6,30,40],"id":1},{"bbox":[50,60,30,40],"id":2}]}]`,
			facts: &report.BoxesFacts{Boxes: 2, Frames: 1, IDs: true}},
		{name: "JSON, to the end", video: flat, boxes: inJSON, cfg: func(c *report.PrepareConfig) { c.StartFrame, c.Boxes = 1, report.BoxesJSON },
			want: `[{"index":7,"boxes":[{"bbox":[5,6,30,40],"score":0.5}]}]`, facts: &report.BoxesFacts{Boxes: 1, Frames: 1}},
		{name: "pixels of the upright picture", video: upright, boxes: "frame,x,y,w,h\n0,5,130,30,20\n", want: `[{"index":0,"boxes":[{"bbox":[5,130,30,20]}]}]`, facts: &report.BoxesFacts{Boxes: 1, Frames: 1}},
		{name: "nobody", video: flat, boxes: "frame,x,y,w,h\n", want: `[]`, facts: &report.BoxesFacts{}},

		{name: "outside the picture", video: flat, boxes: "frame,x,y,w,h\n0,5,130,30,20\n", want: "spec.video.boxes: frame 0, boxes[0]: box [5, 130, 30, 20] lies outside the picture of 160x120 pixels"},
		{name: "a frame that is not there", video: flat, boxes: "frame,x,y,w,h\n50,1,2,3,4\n", want: "spec.video.boxes: frame 50: the video has 50 frames, numbered 0 to 49"},
		{name: "none in the cut", video: flat, boxes: boxesCSV, cfg: func(c *report.PrepareConfig) { c.StartFrame, c.EndFrame = 9, 20 }, want: "spec.video.boxes: none of its 4 boxes is in the frames 9 to 19"},
		{name: "JSON that is said to be CSV", video: flat, boxes: inJSON, want: "spec.video.boxes: line 1: column"},
		{name: "CSV that is said to be JSON", video: flat, boxes: boxesCSV, cfg: func(c *report.PrepareConfig) { c.Boxes = report.BoxesJSON }, want: "spec.video.boxes: no JSON at byte"},
		{name: "blanks", video: flat, boxes: none, want: "spec.video.boxes: the file is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			copyFile(t, tc.video, p.l.SourceFile)
			if os.WriteFile(p.l.BoxesSource, []byte(tc.boxes), 0o600) != nil ||
				os.WriteFile(p.l.SourceFacts, []byte(`{"bytes":1,"sha256":"ab","boxes":{"bytes":2,"sha256":"cd"}}`), 0o600) != nil {
				t.Fatal("cannot place what fetch leaves")
			}
			m, code, out := p.run(prepareConfig(func(c *report.PrepareConfig) {
				if c.Boxes = report.BoxesCSV; tc.cfg != nil {
					tc.cfg(c)
				}
			}))
			got, err := os.ReadFile(p.l.BoxesFile)
			if tc.facts == nil {
				_, verr := os.Stat(p.l.VideoFile)
				if code != 1 || m.Reason != report.ReasonInputInvalid || !strings.Contains(m.Message, tc.want) || err == nil || verr == nil {
					t.Fatalf("code %d %+v, boxes %v, video %v\n%s", code, m, err, verr, out)
				}
				return
			}
			if code != 0 {
				t.Fatalf("code %d %+v\n%s", code, m, out)
			}
			tc.facts.SourceSHA256 = "cd"
			if d := cmp.Diff(tc.facts, m.Video.Boxes); d != "" || m.Video.SourceSHA256 != "ab" {
				t.Errorf("facts: %s", d)
			}
			if want := `{"apiVersion":"pose.dev/v1alpha1","kind":"PoseBoxes","frames":` + tc.want + "}\n"; string(got) != want {
				t.Errorf("%s, want %s", got, want)
			}
			if info, err := os.Stat(p.l.BoxesFile); err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("%v %v", info.Mode(), err)
			}
			if _, err := os.Stat(p.l.BoxesSource); !os.IsNotExist(err) {
				t.Errorf("the fetched boxes take space still: %v", err)
			}
		})
	}
}

func TestPrepareWithoutBoxes(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	ffmpeg(t, "-f", "lavfi", "-i", lavfi, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-f", "mp4", p.l.SourceFile)
	m, code, out := p.run(prepareConfig(nil))
	if _, err := os.Stat(p.l.BoxesFile); code != 0 || m.Video.Boxes != nil || !os.IsNotExist(err) {
		t.Fatalf("code %d %+v %v\n%s", code, m, err, out)
	}
	q := newPod(t)
	copyFile(t, p.l.VideoFile, q.l.SourceFile)
	for _, tc := range []struct {
		format report.BoxesFormat
		want   string
	}{{report.BoxesCSV, "the fetched boxes are not there"}, {"XML", `unknown format "XML"`}} {
		if tc.format == "XML" && os.WriteFile(q.l.BoxesSource, nil, 0o600) != nil {
			t.Fatal("cannot place the boxes")
		}
		m, code, out := q.run(prepareConfig(func(c *report.PrepareConfig) { c.Boxes = tc.format }))
		if code != 1 || m.Reason == report.ReasonInputInvalid || !strings.Contains(m.Message, tc.want) {
			t.Errorf("%s: code %d %+v\n%s", tc.format, code, m, out)
		}
	}
}

// TestDeliverCarriesQuality: what the engine says of its result reaches the
// controller.
func TestDeliverCarriesQuality(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	p.writeFacts(smallVideo)
	doc := document(smallVideo, 20, false)
	filtered := int64(12)
	doc.Quality = &result.Quality{PeopleFiltered: &filtered}
	b, err := json.Marshal(doc)
	if err != nil || os.WriteFile(filepath.Join(p.l.OutputDir, "pose.json"), b, 0o600) != nil {
		t.Fatal("cannot write pose.json")
	}
	cfg := deliverConfig(t.TempDir())
	cfg.Deliver.EngineEnded = true
	m, code, out := p.run(cfg)
	if code != 0 {
		t.Fatalf("code %d %+v\n%s", code, m, out)
	}
	if d := cmp.Diff(&report.ResultQuality{PeopleFiltered: 12}, m.Deliver.Quality); d != "" {
		t.Error(d)
	}
}
