package clips_test

import (
	"bytes"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/clips"
)

// FuzzParseList: what a list's lines become are clips that the controller takes too,
// and a refusal is short, however long the list.
func FuzzParseList(f *testing.F) {
	f.Add([]byte("s3://b/a.mp4\n# no\nhttps://h/b%20c.mov\r\n"), false)
	f.Add([]byte("camera,URI\n1,s3://b/a\n2,\"s3://b/x,y\"\n"), true)
	f.Add([]byte("\ufeffpvc://c/a//b.mp4\ns3://b/%2e%2e/a\n"), false)
	f.Add([]byte("oci://r/x@sha256:"+strings.Repeat("0", 64)+"//a//b.mp4"), false)
	f.Fuzz(func(t *testing.T, raw []byte, csv bool) {
		found, err := clips.ParseList(raw, csv)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		list, left := clips.Name(found)
		uris := map[string]bool{}
		for _, x := range found {
			uris[x.URI] = true
		}
		if len(list)+left != len(uris) {
			t.Fatalf("%d URIs, %d clips, %d left", len(uris), len(list), left)
		}
		for _, part := range clips.Chunks(list) {
			if err := clips.CheckChunk(part); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range list {
			below(t, c)
		}
	})
}

// below: the results of a clip lie in a folder of the batch's output.
func below(t *testing.T, c clips.Clip) {
	t.Helper()
	u, err := url.Parse(c.Output("s3://bucket/out"))
	if err != nil || u.RawQuery != "" || u.Fragment != "" || !strings.HasPrefix(u.Path, "/out/") || slices.Contains(strings.Split(u.Path, "/"), "..") {
		t.Fatalf("%+v has its results at %v, %v", c, u, err)
	}
}

// FuzzCheckURI: a URI that is taken is one for net/url too, without what could carry a
// credential or lead elsewhere.
func FuzzCheckURI(f *testing.F) {
	for _, uri := range []string{"s3://b/a", "https://h:1/a", "pvc://c/a", "s3://b@c/a", "http://[::1]/a", "s3://b/..%2fa", "s3://b/%2E", "pvc://C/a", "s3://b/%", "oci://r/x@sha256:0//a"} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if clips.CheckURI(uri) != nil {
			return
		}
		u, err := url.Parse(uri)
		if err != nil || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Host == "" || len(uri) > clips.MaxURIBytes {
			t.Fatalf("%q is taken: %+v, %v", uri, u, err)
		}
		for part := range strings.SplitSeq(u.Path, "/") {
			if part == ".." || part == "." {
				t.Fatalf("%q is taken", uri)
			}
		}
		if _, err := clips.ParseURI(uri); err != nil {
			t.Fatalf("%q is taken and cannot be read: %v", uri, err)
		}
	})
}

// FuzzDecode: a stored chunk that is accepted keeps its rules and comes back the same.
func FuzzDecode(f *testing.F) {
	for _, list := range [][]clips.Clip{{{URI: "s3://b/a.mp4", Name: "a.mp4", Bytes: 7}}, {{URI: "s3://b/a", Name: "a"}, {URI: "s3://b/ü", Name: "ü/x"}}, {{URI: "s3://b/a", Name: "../a"}}, nil} {
		raw, err := clips.Encode(list)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := clips.Decode(raw)
		if err != nil {
			return
		}
		again, err := clips.Encode(list)
		if err != nil {
			t.Fatal(err)
		}
		got, err := clips.Decode(again)
		if err != nil || cmp.Diff(list, got) != "" {
			t.Fatalf("%v %s", err, cmp.Diff(list, got))
		}
	})
}

// FuzzCheckChunk works on a chunk past the checksum that keeps FuzzDecode from most
// inputs: two clips of any text.
func FuzzCheckChunk(f *testing.F) {
	f.Add("s3://b/a.mp4", "a.mp4", "s3://b/c", "c", int64(1))
	f.Add("s3://b/a", "%2e%2e/x", "s3://b/c", "x/../..", int64(-1))
	f.Add("s3://b/a", "a/attempts/b", "s3://b/c", "manifest.json", int64(0))
	f.Fuzz(func(t *testing.T, uri, name, uri2, name2 string, n int64) {
		list := []clips.Clip{{URI: uri, Name: name, Bytes: n}, {URI: uri2, Name: name2}}
		if clips.CheckChunk(list) != nil {
			return
		}
		for _, c := range list {
			below(t, c)
		}
		if name == name2 {
			t.Fatal("two clips of one name")
		}
		raw, err := clips.Encode(list)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := clips.Decode(raw); err != nil || cmp.Diff(list, got) != "" {
			t.Fatalf("%v %s", err, cmp.Diff(list, got))
		}
	})
}

// FuzzReadIndex: what is read of an index is bounded, and is the same when it is
// written and read again.
func FuzzReadIndex(f *testing.F) {
	one := int64(1)
	f.Add(index(f, clips.IndexHead{APIVersion: clips.APIVersion, Kind: clips.KindIndex, Version: clips.IndexVersion, URI: "s3://b/out", Counts: clips.IndexCounts{Total: 2, Succeeded: 1, Failed: 1}},
		[]clips.IndexEntry{{Name: "a", Video: "s3://b/a", State: clips.StateSucceeded, Result: "s3://b/out/a/attempts/x-1", ManifestSHA256: strings.Repeat("a", 64), People: &one}, {Name: "b", State: clips.StateFailed, Reason: "InputInvalid"}}))
	f.Add([]byte(`{"apiVersion":"pose.dev/v1alpha1","kind":"PoseBatchIndex","version":1,"clips":[]}`))
	f.Add([]byte(`{"apiVersion":"pose.dev/v1alpha1","kind":"PoseBatchIndex","version":1,"clips":[{}],"x":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var list []clips.IndexEntry
		head, err := clips.ReadIndex(bytes.NewReader(raw), func(e clips.IndexEntry) error { list = append(list, e); return nil })
		if err != nil {
			if len(err.Error()) > 2000 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if only, err := clips.ReadIndexHead(bytes.NewReader(raw)); err != nil || cmp.Diff(head, only) != "" {
			t.Fatalf("the head alone is another: %v %s", err, cmp.Diff(head, only))
		}
		var again []clips.IndexEntry
		got, err := clips.ReadIndex(bytes.NewReader(index(t, *head, list)), func(e clips.IndexEntry) error { again = append(again, e); return nil })
		if err != nil || cmp.Diff(head, got) != "" || cmp.Diff(list, again) != "" {
			t.Fatalf("%v %s %s", err, cmp.Diff(head, got), cmp.Diff(list, again))
		}
		if _, err := clips.ReadIndex(bytes.NewReader(raw), func(clips.IndexEntry) error { return errStop }); len(list) > 0 && !errors.Is(err, errStop) {
			t.Fatalf("the error of each is lost: %v", err)
		}
	})
}

var errStop = errors.New("stop")

func index(t testing.TB, head clips.IndexHead, list []clips.IndexEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := clips.NewIndexWriter(&b, head)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzFilter: any patterns are refused or answer, in time that grows with the text alone.
func FuzzFilter(f *testing.F) {
	f.Add("cam?/**/*.mp4", "*-test*", "cam1/x/a.mp4")
	f.Add("[", "\\", "\n")
	f.Fuzz(func(t *testing.T, include, exclude, path string) {
		x, err := clips.NewFilter([]string{include}, []string{exclude}, true)
		if err != nil || len(path) > 4096 {
			return
		}
		without, err := clips.NewFilter([]string{include}, nil, true)
		if err != nil {
			t.Fatal(err)
		}
		if x.Keeps(path) && !without.Keeps(path) {
			t.Fatalf("exclude %q makes include %q keep %q", exclude, include, path)
		}
	})
}
