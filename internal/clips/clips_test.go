package clips_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pose-dev/pose-operator/internal/clips"
)

func TestCheckURI(t *testing.T) {
	const image = "oci://registry.example/clips@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for uri, refusal := range map[string]string{
		"s3://bucket/a.mp4": "", "gs://bucket/a.mp4": "", "azblob://container/a.mp4": "", "https://host:8443/a.mp4": "", "pvc://claim/a.mp4": "",
		image + "//a.mp4": "", "s3://bucket/映像.mp4": "", "s3://bucket/my%20video.mp4": "", "s3://bucket/a//b.mp4": "", "s3://bucket/me@home.mp4": "",
		"ftp://host/a": "schemes", "s3://bucket": "schemes", "s3://bucket/": "schemes", "https://me:x@host/a": "schemes", "https://host/a?sig=1": "schemes",
		"s3://bucket/a b": "schemes", "s3://bucket/a\n": "schemes", "": "schemes", "pvc://Claim/a": "PersistentVolumeClaim", "oci://registry/x:v1//a": "schemes",
		"s3://bucket/../a": ". or ..", "s3://bucket/./a": ". or ..", "s3://bucket/a/..": ". or ..", "s3://bucket/%2e%2e/a": ". or ..", "s3://bucket/a%2Fb": ". or ..",
		"s3://bucket/%zz": "percent-encoding", "s3://bucket/a%0Ab": "control character", "s3://bucket/%ff": "not UTF-8", "s3://bucket/a\xff": "not UTF-8",
		"s3://bucket/a/": "names a folder", "s3://bucket/" + strings.Repeat("a", 1024): "at most 1024",
	} {
		err := clips.CheckURI(uri)
		if (err == nil) != (refusal == "") || err != nil && !strings.Contains(err.Error(), refusal) {
			t.Errorf("CheckURI(%.60q) = %v, want %q", uri, err, refusal)
		}
	}
}

// at gives what is found under keys of a prefix.
func at(t *testing.T, keys ...string) []clips.Found {
	t.Helper()
	var out []clips.Found
	for _, k := range keys {
		f, ok := clips.At("s3://videos/in/", k, 7)
		if !ok {
			t.Fatalf("%q cannot be named", k)
		}
		out = append(out, f)
	}
	return out
}

func TestName(t *testing.T) {
	for name, c := range map[string]struct {
		keys []string
		want []string // names, sorted; # is a digest
	}{
		"with the endings":                     {[]string{"b.mov", "cam1/a.MP4"}, []string{"b.mov", "cam1/a.MP4"}},
		"an ending that is no video's":         {[]string{"a.v1", "notes"}, []string{"a.v1", "notes"}},
		"two endings of one name":              {[]string{"a.mp4", "a.mov", "b.mp4"}, []string{"a.mov", "a.mp4", "b.mp4"}},
		"a name that is another's without":     {[]string{"a.mp4", "a"}, []string{"a", "a.mp4"}},
		"a folder beside its video":            {[]string{"a.mp4", "a/b.mp4"}, []string{"a.mp4", "a/b.mp4"}},
		"what a URI cannot hold":               {[]string{"my video?.mp4", "50%#.mp4"}, []string{"50%25%23.mp4", "my%20video%3F.mp4"}},
		"other scripts":                        {[]string{"映像.mp4"}, []string{"映像.mp4"}},
		"parts that mean something of results": {[]string{"attempts/a.mp4", "manifest.json", "batch.json.mp4"}, []string{"attempts_/a.mp4", "batch.json.mp4", "manifest.json_"}},
		"empty parts":                          {[]string{"a//b.mp4"}, []string{"a/b.mp4"}},
		"empty parts beside none":              {[]string{"a//b.mp4", "a/b.mp4"}, []string{"a/b.mp4", "a/b.mp4-#"}},
		"an ending alone":                      {[]string{"x/.mp4"}, []string{"x/.mp4"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, left := clips.Name(at(t, c.keys...))
			if left != 0 || len(got) != len(c.want) {
				t.Fatalf("%v, %d left", got, left)
			}
			for i := range got {
				before, _, digest := strings.Cut(c.want[i], "#")
				fits := got[i].Name == c.want[i]
				if digest {
					fits = strings.HasPrefix(got[i].Name, before) && len(got[i].Name) == len(before)+10
				}
				if !fits {
					t.Errorf("name %q, want %q", got[i].Name, c.want[i])
				}
				if err := clips.Check(got[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	twice := at(t, "a.mp4", "a.mp4")
	if got, _ := clips.Name(twice); len(got) != 1 {
		t.Errorf("the same URI twice: %v", got)
	}
	long := strings.Repeat("x", 470) + strings.Repeat("ä", 100)
	got, left := clips.Name(at(t, long+".mp4", long+".mov"))
	if left != 0 || len(got) != 2 || clips.Check(got[0]) != nil || clips.Check(got[1]) != nil {
		t.Errorf("long names: %d, %d left", len(got), left)
	}
}

// TestNamesOfAnything: names are unique and well formed, do not depend on the order,
// and nothing is lost.
func TestNamesOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"a", "b", "a.mp4", "a.mov", "attempts", "attempts_", "batch.json", "%", "a b", "ü", "a-" + strings.Repeat("0", 10), strings.Repeat("l", 300), "", "\"", "\\"})
		keys := rapid.SliceOfN(rapid.Map(rapid.SliceOfN(part, 1, 3), func(p []string) string { return strings.Join(p, "/") }), 0, 12).Draw(t, "keys")
		var found []clips.Found
		want := map[string]bool{}
		for _, k := range keys {
			if f, ok := clips.At("s3://videos/in/", k, 1); ok {
				found = append(found, f)
				want[f.URI] = true
			}
		}
		got, left := clips.Name(found)
		if len(got)+left != len(want) || left > 0 && slices.IndexFunc(keys, func(k string) bool { return strings.Trim(k, "/") == "" }) < 0 {
			t.Fatalf("%d of %d are named, %d left", len(got), len(want), left)
		}
		for _, chunk := range clips.Chunks(got) {
			raw, err := clips.Encode(chunk)
			if err != nil {
				t.Fatal(err)
			}
			again, err := clips.Decode(raw)
			if err != nil || cmp.Diff(chunk, again) != "" {
				t.Fatalf("%v: %s", err, cmp.Diff(chunk, again))
			}
		}
		other := slices.Clone(found)
		rand.Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
		if again, _ := clips.Name(other); cmp.Diff(got, again) != "" {
			t.Fatalf("another order gives other names: %s", cmp.Diff(got, again))
		}
	})
}

func TestFilter(t *testing.T) {
	for name, c := range map[string]struct {
		include, exclude []string
		videos           bool
		keeps, not       []string
	}{
		"videos alone":              {videos: true, keeps: []string{"a.mp4", "x/b.MOV"}, not: []string{"a.txt", "mp4", "x/.a.mp4", "a.mp4/b"}},
		"everything of a list":      {keeps: []string{"a", "a.txt"}},
		"include of names":          {include: []string{"run-*"}, videos: true, keeps: []string{"run-1.mp4", "x/run-2.txt"}, not: []string{"walk-1.mp4"}},
		"include of paths":          {include: []string{"cam?/*.mp4"}, keeps: []string{"cam1/a.mp4"}, not: []string{"cam1/x/a.mp4", "cam12/a.mp4"}},
		"include of paths anywhere": {include: []string{"**/day-1/**"}, keeps: []string{"day-1/a", "x/y/day-1/z/a"}, not: []string{"day-2/a"}},
		"exclude":                   {exclude: []string{"*-test.mp4"}, videos: true, keeps: []string{"a.mp4"}, not: []string{"x/a-test.mp4"}},
		"no expressions":            {include: []string{"a.+(b)[c].mp4"}, keeps: []string{"a.+(b)[c].mp4"}, not: []string{"aab.mp4"}},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := clips.NewFilter(c.include, c.exclude, c.videos)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range c.keeps {
				if !f.Keeps(p) {
					t.Errorf("%q is left out", p)
				}
			}
			for _, p := range c.not {
				if f.Keeps(p) {
					t.Errorf("%q is kept", p)
				}
			}
		})
	}
	if _, err := clips.NewFilter([]string{strings.Repeat("*", 257)}, nil, false); err == nil {
		t.Error("a pattern that is too long")
	}
	// Stars upon stars take no time that matters.
	f, err := clips.NewFilter([]string{strings.Repeat("**a", 80)}, nil, false)
	if err != nil || f.Keeps(strings.Repeat("a", 4000)+"b") {
		t.Error(err)
	}
}

func TestParseList(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		csv  bool
		want []string
		err  string
	}{
		"lines":                      {text: "s3://b/a\n\n# no\n  s3://b/c  \r\ns3://b/d", want: []string{"s3://b/a", "s3://b/c", "s3://b/d"}},
		"a byte order mark":          {text: "\ufeffs3://b/a", want: []string{"s3://b/a"}},
		"nothing":                    {text: ""},
		"no URI":                     {text: "s3://b/a\nvideo.mp4\n", err: `line 2: "video.mp4"`},
		"a line that is long":        {text: "s3://b/" + strings.Repeat("a", 100_000), err: "line 1"},
		"no text":                    {text: "\xff\xfe", err: "not UTF-8"},
		"a way out":                  {text: "s3://b/../a", err: "line 1"},
		"first column":               {csv: true, text: "s3://b/a,1\ns3://b/c,2\n", want: []string{"s3://b/a", "s3://b/c"}},
		"a named column":             {csv: true, text: "camera,URI\n1,s3://b/a\n2,\"s3://b/x,y\"\n", want: []string{"s3://b/a", "s3://b/x,y"}},
		"a row that is short":        {csv: true, text: "camera,uri\n1\n", err: "line 2 has no column 2"},
		"no comma-separated text":    {csv: true, text: "\"a\nb", err: "comma-separated"},
		"a heading of no URI column": {csv: true, text: "camera,video\n1,s3://b/a\n", err: `line 1: "camera"`},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := clips.ParseList([]byte(c.text), c.csv)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || len(err.Error()) > 500 {
					t.Errorf("ParseList = %v, want %q", err, c.err)
				}
				return
			}
			var got []string
			for _, f := range found {
				got = append(got, f.URI)
			}
			if err != nil || cmp.Diff(c.want, got) != "" {
				t.Errorf("%v %s", err, cmp.Diff(c.want, got))
			}
		})
	}
	if _, err := clips.ParseList([]byte(strings.Repeat("s3://b/a\n", clips.MaxClips+2)), false); err == nil || !strings.Contains(err.Error(), "more than 100000") {
		t.Error(err)
	}
}

func TestChunks(t *testing.T) {
	var list []clips.Clip
	for i := range 2500 {
		list = append(list, clips.Clip{URI: fmt.Sprintf("s3://videos/%05d.mp4", i), Name: fmt.Sprintf("%05d", i)})
	}
	var sizes []int
	for _, c := range clips.Chunks(list) {
		sizes = append(sizes, len(c))
	}
	if cmp.Diff([]int{1000, 1000, 500}, sizes) != "" {
		t.Error(sizes)
	}
	worst := make([]clips.Clip, clips.MaxClips)
	for i := range worst {
		n := fmt.Sprintf("%06d", i)
		worst[i] = clips.Clip{URI: "s3://" + n + strings.Repeat("u", clips.MaxURIBytes-11), Name: n + strings.Repeat("n", clips.MaxNameBytes-6)}
	}
	if n := len(clips.Chunks(worst)); n > clips.MaxChunks {
		t.Errorf("%d chunks of the longest list", n)
	}
}

// TestDecodeOfAnything: what a person put into a ConfigMap costs little.
func TestDecodeOfAnything(t *testing.T) {
	pack := func(text []byte) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(text)
		_ = z.Close()
		return b.Bytes()
	}
	good, _ := json.Marshal([]clips.Clip{{URI: "s3://b/a", Name: "a"}})
	if _, err := clips.Decode(pack(good)); err != nil {
		t.Error(err)
	}
	for name, raw := range map[string][]byte{
		"nothing":       nil,
		"plain text":    good,
		"cut off":       pack(good)[:20],
		"a bomb":        pack(bytes.Repeat([]byte(" "), 64<<20)),
		"no list":       pack([]byte(`{"a":1}`)),
		"an empty list": pack([]byte(`[]`)),
		"names falling": pack([]byte(`[{"uri":"s3://b/a","name":"b"},{"uri":"s3://b/b","name":"a"}]`)),
		"a way out":     pack([]byte(`[{"uri":"s3://b/a","name":"../a"}]`)),
	} {
		if _, err := clips.Decode(raw); err == nil {
			t.Errorf("%s is taken for a chunk", name)
		}
	}
}

func TestIndex(t *testing.T) {
	var b bytes.Buffer
	head := clips.IndexHead{APIVersion: clips.APIVersion, Kind: clips.KindIndex, Version: 1, Batch: clips.BatchRef{Namespace: "team-a", Name: "many", UID: "u"}, Counts: clips.IndexCounts{Total: 2, Succeeded: 2}}
	w, err := clips.NewIndexWriter(&b, head)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"a", "b"} {
		if err := w.Add(clips.IndexEntry{Name: n, State: clips.StateSucceeded, People: new(int64(0))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var whole struct {
		clips.IndexHead
		Clips []clips.IndexEntry `json:"clips"`
	}
	if err := json.Unmarshal(b.Bytes(), &whole); err != nil || cmp.Diff(head, whole.IndexHead) != "" || len(whole.Clips) != 2 || whole.Clips[1].Name != "b" {
		t.Errorf("%v in %s", err, b.String())
	}
	got, err := clips.ReadIndexHead(bytes.NewReader(b.Bytes()[:bytes.Index(b.Bytes(), []byte(`"clips"`))+9]))
	if err != nil || cmp.Diff(&head, got) != "" {
		t.Errorf("%v: %s", err, cmp.Diff(&head, got))
	}
	for _, foreign := range []string{"", "[]", "42", `{"a":1}`, `{"kind":"PoseBatchIndex"}`, `{"apiVersion":"pose.dev/v1alpha1","kind":"PosePointer"}`, strings.Repeat("{", 1000)} {
		if _, err := clips.ReadIndexHead(strings.NewReader(foreign)); err == nil {
			t.Errorf("%.20q is taken for an index", foreign)
		}
	}
}
