package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// places are all that can be written to, each started anew. A place whose server
// is not here is skipped, and says how to get it.
var places = []struct {
	name string
	open func(*testing.T) (uri string, o Options)
	// digests says that it keeps the digest that Put was given.
	digests bool
	// folders says that a file system lies under it: "a//b" is "a/b", and "a" cannot
	// be a file beside "a/b".
	folders bool
}{
	{name: "s3", digests: true, folders: true, open: func(t *testing.T) (string, Options) {
		return "s3://results/jobs/walk", s3Options(t, gateway(t, "results"))
	}},
	{name: "pvc", folders: true, open: func(t *testing.T) (string, Options) {
		return "pvc://claim/jobs/walk", Options{PVCMount: t.TempDir()}
	}},
	{name: "gs", digests: true, open: func(t *testing.T) (string, Options) {
		return "gs://results/jobs/walk", gcsOptions(t, "results")
	}},
	{name: "azblob", digests: true, open: func(t *testing.T) (string, Options) {
		return "azblob://results/jobs/walk", azureOptions(t, "results")
	}},
}

// large is more than two parts of every place.
func large() []byte { return bytes.Repeat(content(), 20) }

func object(key string, data []byte) Object {
	sum := sha256.Sum256(data)
	return Object{Key: key, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), MediaType: "application/octet-stream"}
}

func TestPlaces(t *testing.T) {
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			uri, o := p.open(t)
			sink, err := OpenSink(uri, o)
			if err != nil {
				t.Fatal(err)
			}
			defer sink.Close()
			c := &conformance{sink: sink, uri: uri, options: o, digests: p.digests, folders: p.folders}
			t.Run("write and read", c.roundTrip)
			t.Run("large", c.large)
			t.Run("ranges", c.ranges)
			t.Run("missing", c.missing)
			t.Run("changed", c.changed)
			t.Run("conditions", c.conditions)
			t.Run("two at once", c.race)
			t.Run("wrong sizes", c.sizes)
			t.Run("foreign characters", c.characters)
			t.Run("keys that lead out", c.outside)
			t.Run("list and delete", c.list)
			t.Run("delete one version", c.deleteVersion)
			t.Run("a long list", c.longList)
			t.Run("cancelled", c.cancelled)
		})
	}
}

type conformance struct {
	sink             Sink
	uri              string
	options          Options
	digests, folders bool
}

func (c *conformance) put(t *testing.T, key string, data []byte) {
	t.Helper()
	if err := c.sink.Put(t.Context(), object(key, data), bytes.NewReader(data)); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func (c *conformance) source(t *testing.T, key string) Source {
	t.Helper()
	s, err := OpenSource(Child(c.uri, key), c.options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (c *conformance) check(t *testing.T, key string, data []byte, info Info) {
	t.Helper()
	want := object(key, data)
	if info.Size != want.Size || info.Version == "" || c.digests && info.SHA256 != want.SHA256 {
		t.Errorf("%s: %+v, want %+v", key, info, want)
	}
}

func (c *conformance) roundTrip(t *testing.T) {
	if err := c.sink.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	for key, data := range map[string][]byte{"empty": {}, "a.txt": []byte("hello"), "attempts/1/b.json": []byte("{}")} {
		c.put(t, key, data)
		info, err := c.sink.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		c.check(t, key, data, info)
		got, info2, err := c.sink.Get(t.Context(), key, 100)
		if err != nil || !bytes.Equal(got, data) || info2.Version != info.Version {
			t.Errorf("get %s: %q %+v %v", key, got, info2, err)
		}
		c.check(t, key, data, info2)
		s := c.source(t, key)
		if info3, err := s.Stat(t.Context()); err != nil || info3.Version != info.Version || info3.Size != info.Size {
			t.Errorf("stat %s: %+v %v", key, info3, err)
		}
		r, info4, err := s.Open(t.Context(), 0, -1, info.Version)
		if err != nil {
			t.Fatal(err)
		}
		got, err = io.ReadAll(r)
		if err != nil || !bytes.Equal(got, data) || info4.Version != info.Version || info4.Size != info.Size {
			t.Errorf("read %s: %q %+v %v", key, got, info4, err)
		}
		_ = r.Close()
	}
	if _, _, err := c.sink.Get(t.Context(), "a.txt", 4); err == nil {
		t.Error("more than the limit was read")
	}
}

func (c *conformance) large(t *testing.T) {
	data := large()
	c.put(t, "large.mp4", data)
	info, err := c.sink.Stat(t.Context(), "large.mp4")
	if err != nil {
		t.Fatal(err)
	}
	c.check(t, "large.mp4", data, info)
	r, info, err := c.sink.Open(t.Context(), "large.mp4")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.check(t, "large.mp4", data, info)
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back of %d: %v", len(got), len(data), err)
	}
}

func (c *conformance) ranges(t *testing.T) {
	data := content()
	c.put(t, "ranges", data)
	s := c.source(t, "ranges")
	size := int64(len(data))
	for _, r := range [][2]int64{{0, -1}, {0, 1}, {1, 1}, {5, -1}, {size - 1, 1}, {size - 1, -1}, {100, 70_000}, {size - 10, 100}} {
		body, info, err := s.Open(t.Context(), r[0], r[1], "")
		if err != nil {
			t.Errorf("%v: %v", r, err)
			continue
		}
		got, err := io.ReadAll(body)
		_ = body.Close()
		end := size
		if r[1] >= 0 {
			end = min(size, r[0]+r[1])
		}
		if err != nil || !bytes.Equal(got, data[r[0]:end]) || info.Size != size || info.Version == "" {
			t.Errorf("%v: %d bytes, %+v, %v", r, len(got), info, err)
		}
	}
}

func (c *conformance) missing(t *testing.T) {
	s := c.source(t, "none")
	_, _, err1 := s.Open(t.Context(), 0, -1, "")
	_, err2 := s.Stat(t.Context())
	_, err3 := c.sink.Stat(t.Context(), "none")
	_, _, err4 := c.sink.Get(t.Context(), "none", 10)
	_, _, err5 := c.sink.Open(t.Context(), "none")
	for i, err := range []error{err1, err2, err3, err4, err5} {
		if KindOf(err) != NotFound || Temporary(err) || !strings.Contains(err.Error(), "none") {
			t.Errorf("%d: %v", i+1, err)
		}
	}
	if err := c.sink.Delete(t.Context(), "none/at/all"); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := c.sink.List(t.Context(), "none", func(e Entry) error { return fmt.Errorf("listed %+v", e) }); err != nil {
		t.Error(err)
	}
}

func (c *conformance) changed(t *testing.T) {
	c.put(t, "changing", content())
	s := c.source(t, "changing")
	info, err := s.Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.put(t, "changing", bytes.ToUpper(content()))
	for _, r := range [][2]int64{{0, -1}, {10, -1}, {10, 10}} {
		if _, _, err := s.Open(t.Context(), r[0], r[1], info.Version); KindOf(err) != Changed || Temporary(err) {
			t.Errorf("%v: %v", r, err)
		}
	}
}

func (c *conformance) conditions(t *testing.T) {
	for _, size := range []int{5, partSize + 5} {
		key := fmt.Sprintf("conditions-%d", size)
		first, second := bytes.Repeat([]byte("a"), size), bytes.Repeat([]byte("b"), size)
		write := func(data []byte, when Condition) error {
			o := object(key, data)
			o.If = when
			return c.sink.Put(t.Context(), o, bytes.NewReader(data))
		}
		if err := write(first, Condition{Version: "\"0123\""}); KindOf(err) != Changed {
			t.Errorf("%d bytes, a version of nothing: %v", size, err)
		}
		if err := write(first, Condition{Absent: true}); err != nil {
			t.Fatalf("%d bytes, nothing there: %v", size, err)
		}
		info, err := c.sink.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := write(second, Condition{Absent: true}); KindOf(err) != Changed || Temporary(err) {
			t.Errorf("%d bytes, something there: %v", size, err)
		}
		if err := write(second, Condition{Version: info.Version}); err != nil {
			t.Errorf("%d bytes, the version that is there: %v", size, err)
		}
		if err := write(first, Condition{Version: info.Version}); KindOf(err) != Changed || Temporary(err) {
			t.Errorf("%d bytes, a version of before: %v", size, err)
		}
		if got, _, err := c.sink.Get(t.Context(), key, 1<<30); err != nil || !bytes.Equal(got, second) {
			t.Errorf("%d bytes came back: %v", len(got), err)
		}
	}
}

// race writes the same key from many sides: one alone may find it absent.
func (c *conformance) race(t *testing.T) {
	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() {
			data := []byte(fmt.Sprintf("writer %d", i))
			o := object("race", data)
			o.If.Absent = true
			results[i] = c.sink.Put(context.Background(), o, bytes.NewReader(data))
		})
	}
	wg.Wait()
	won := 0
	for i, err := range results {
		switch {
		case err == nil:
			won++
			if got, _, err := c.sink.Get(t.Context(), "race", 100); err != nil || string(got) != fmt.Sprintf("writer %d", i) {
				t.Errorf("writer %d won, %q is there (%v)", i, got, err)
			}
		case KindOf(err) != Changed:
			t.Errorf("writer %d: %v", i, err)
		}
	}
	if won != 1 {
		t.Errorf("%d writers of 8 found the object absent", won)
	}
}

func (c *conformance) sizes(t *testing.T) {
	data := large()
	for name, tc := range map[string]struct {
		say int64
		has int
	}{"short": {9, 5}, "long": {3, 5}, "empty": {1, 0}, "short large": {int64(len(data)), len(data) - 1}, "long large": {int64(len(data)) - 1, len(data)}} {
		key := "sizes/" + name
		err := c.sink.Put(t.Context(), Object{Key: key, Size: tc.say}, bytes.NewReader(data[:tc.has]))
		if err == nil || Temporary(err) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.sink.Stat(t.Context(), key); KindOf(err) != NotFound {
			t.Errorf("%s left something behind: %v", name, err)
		}
	}
	c.expect(t, "sizes")
}

// expect lists below prefix.
func (c *conformance) expect(t *testing.T, prefix string, want ...string) {
	t.Helper()
	var got []string
	if err := c.sink.List(t.Context(), prefix, func(e Entry) error {
		got = append(got, e.Key)
		return nil
	}); err != nil {
		t.Errorf("list %q: %v", prefix, err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("list %q gives %q, want %q", prefix, got, want)
	}
}

func (c *conformance) characters(t *testing.T) {
	keys := []string{
		"white space.txt", "plus+and&amp;.txt", "per%20cent", "hash#tag", "what?", "ünïcödé-日本", "~tilde!'()*,:;=@$", "quote\"<>|^`{}[]", " leading", "trailing ", "...", "..a", "a..",
		"emoji-🏃", "%2e%2e", "a=b", strings.Repeat("n", 200),
	}
	if !strings.HasPrefix(c.uri, "azblob:") {
		keys = append(keys, `back\slash`)
	} else if err := c.sink.Put(t.Context(), Object{Key: `back\slash`, Size: 1}, strings.NewReader("x")); KindOf(err) != Refused {
		t.Errorf("a backslash: %v", err)
	}
	if !c.folders {
		keys = append(keys, "twice//slashed", "a", "a/b")
	}
	var want []string
	for _, k := range keys {
		key := path.Join("characters", "x") + "/" + k
		data := []byte(k)
		if err := c.sink.Put(t.Context(), object(key, data), bytes.NewReader(data)); err != nil {
			t.Errorf("put %q: %v", key, err)
			continue
		}
		want = append(want, key)
		if got, _, err := c.sink.Get(t.Context(), key, 1000); err != nil || string(got) != k {
			t.Errorf("get %q: %q %v", key, got, err)
		}
		s, err := OpenSource(Child(c.uri, key), c.options)
		if err != nil {
			t.Errorf("%q as the URI %s: %v", key, Child(c.uri, key), err)
			continue
		}
		if info, err := s.Stat(t.Context()); err != nil || info.Size != int64(len(k)) {
			t.Errorf("%q as the URI %s: %+v %v", key, Child(c.uri, key), info, err)
		}
		_ = s.Close()
	}
	c.expect(t, "characters", want...)
	for _, key := range want {
		if err := c.sink.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %q: %v", key, err)
		}
	}
	c.expect(t, "characters")
}

func (c *conformance) outside(t *testing.T) {
	for _, key := range []string{"", "/", "/new", "..", "../new", "a/../../new", "a/..", "./a", "a/./b", "nul\x00", "line\nfeed", "bad\xff", strings.Repeat("n/", 600)} {
		if err := c.sink.Put(t.Context(), Object{Key: key, Size: 1}, strings.NewReader("x")); err == nil {
			t.Errorf("%q was written", key)
		}
		if _, err := c.sink.Stat(t.Context(), key); err == nil || KindOf(err) == NotFound {
			t.Errorf("%q was looked for: %v", key, err)
		}
		if err := c.sink.Delete(t.Context(), key); err == nil {
			t.Errorf("%q was deleted", key)
		}
	}
	for _, uri := range []string{"/../other", "/./x", "/a/..", "/%2e%2e/x", "/%00"} {
		if _, err := OpenSink(c.uri+uri, c.options); err == nil {
			t.Errorf("%s was opened", c.uri+uri)
		}
	}
}

func (c *conformance) list(t *testing.T) {
	begin := time.Now()
	for _, key := range []string{"list/a", "list/b/c", "list/b/d/e", "listing", "list.txt"} {
		c.put(t, key, []byte(key))
	}
	c.expect(t, "list", "list/a", "list/b/c", "list/b/d/e")
	c.expect(t, "list/", "list/a", "list/b/c", "list/b/d/e")
	c.expect(t, "list/b", "list/b/c", "list/b/d/e")
	c.expect(t, "list/a")
	err := c.sink.List(t.Context(), "list", func(e Entry) error {
		if e.Size != int64(len(e.Key)) || e.ModTime.Sub(begin).Abs() > time.Hour {
			t.Errorf("%+v", e)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	stop := errors.New("enough")
	if err := c.sink.List(t.Context(), "list", func(Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("each's error became %v", err)
	}
	// Deleting what is being listed.
	if err := c.sink.List(t.Context(), "list", func(e Entry) error { return c.sink.Delete(t.Context(), e.Key) }); err != nil {
		t.Errorf("list and delete: %v", err)
	}
	c.expect(t, "list")
	if _, err := c.sink.Stat(t.Context(), "list/a"); KindOf(err) != NotFound {
		t.Errorf("stat of what was deleted: %v", err)
	}
	if got, _, err := c.sink.Get(t.Context(), "listing", 100); err != nil || string(got) != "listing" {
		t.Errorf("a neighbour: %q %v", got, err)
	}
}

func init() { listPage = 40 }

// longList has more entries than two pages.
func (c *conformance) longList(t *testing.T) {
	const n = 100
	var (
		wg   sync.WaitGroup
		next = make(chan int)
	)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				key := fmt.Sprintf("long/%05d", i)
				if err := c.sink.Put(t.Context(), Object{Key: key, Size: 1}, strings.NewReader("x")); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	seen := map[string]bool{}
	if err := c.sink.List(t.Context(), "long", func(e Entry) error {
		if seen[e.Key] {
			t.Errorf("%s twice", e.Key)
		}
		seen[e.Key] = true
		return nil
	}); err != nil || len(seen) != n {
		t.Errorf("%d of %d entries: %v", len(seen), n, err)
	}
}

// cancelled ends writes and reads in their midst.
func (c *conformance) cancelled(t *testing.T) {
	data := large()
	ctx, cancel := context.WithCancel(t.Context())
	read := 0
	err := c.sink.Put(ctx, object("cancelled", data), readerFunc(func(p []byte) (int, error) {
		n := copy(p, data[read:])
		if read += n; read > len(data)/2 {
			cancel()
		}
		return n, nil
	}))
	if !errors.Is(err, context.Canceled) || Temporary(err) {
		t.Errorf("put: %v", err)
	}
	if _, err := c.sink.Stat(t.Context(), "cancelled"); KindOf(err) != NotFound {
		t.Errorf("it left something behind: %v", err)
	}
	for what, err := range map[string]error{
		"stat":   func() error { _, err := c.source(t, "a.txt").Stat(ctx); return err }(),
		"delete": c.sink.Delete(ctx, "a.txt"),
		"list":   c.sink.List(ctx, "", func(Entry) error { return nil }),
	} {
		if c.digests && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
